//! The figures of the engine, part by part: `figures PART [--quick]` prints one JSON object a
//! figure to standard output, and what it is doing to standard error.
//! `cargo xtask bench engine` builds this in release, runs every part and prints the table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod backfill;
mod correct;
mod guides;
mod jct;
mod mig;
mod openb;
mod packing;
mod reclaim;
mod speed;
mod wait;

use polder_sim::figure::Figure;
use std::process::ExitCode;

/// A part's name and what measures it. `quick` asks for a smoke run.
type Part = (&'static str, fn(quick: bool) -> Result<Vec<Figure>, String>);

const PARTS: &[Part] = &[
    ("packing", packing::run),
    ("wait", wait::run),
    ("jct", jct::run),
    ("guides", guides::run),
    ("guides-varied", guides::varied),
    ("guides-most", guides::most),
    ("speed", speed::run),
    ("reclaim", reclaim::run),
    ("mig", mig::run),
    ("correct", correct::run),
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let quick = words.any(|word| word == "--quick");
    if name == "--list" {
        PARTS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let Some((_, run)) = PARTS.iter().find(|(part, _)| *part == name) else {
        let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        eprintln!("no part {name:?}: the parts are {}", known.join(", "));
        return ExitCode::FAILURE;
    };
    match run(quick) {
        Ok(figures) => {
            for figure in figures {
                println!("{}", serde_json::json!(figure));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
