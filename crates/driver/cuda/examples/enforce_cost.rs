//! What a launch and an allocation cost through the library, over the stand-in for a driver on which
//! everything is over at once called directly: the same program, rounds of both in turn, medians. And
//! the same in instructions, under callgrind.
//!
//! ```text
//! enforce_cost --list | cost [--quick]
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)] // a measurement

#[path = "../tests/cost/measure.rs"]
mod measure;
#[path = "../../opencl/tests/support/mod.rs"]
mod support;

use measure::{Round, What, instructions, lease, rounds};
use std::process::ExitCode;
use support::Lease;

/// Most that may be added to a launch, nanoseconds: by one thread, and by sixteen.
const LAUNCH_NS: f64 = 20.0;
const LAUNCH_OF_MANY_NS: f64 = 100.0;
/// Most that may be added to an allocation with its free, nanoseconds.
const ALLOCATION_NS: f64 = 300.0;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let quick = words.iter().any(|word| word == "--quick");
    match words.first().map(String::as_str) {
        Some("--list") => println!("cost"),
        Some("cost") => cost(quick),
        _ => {
            eprintln!("usage: enforce_cost --list | cost [--quick]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn figure(name: &str, value: f64, unit: &str, baseline: Option<f64>, target: &str) {
    let baseline = baseline.map_or_else(|| "null".into(), |number| number.to_string());
    println!(
        "{{\"name\":\"cost: {name}\",\"value\":{value},\"unit\":\"{unit}\",\
         \"baseline\":{baseline},\"target\":{target}}}"
    );
}

fn at_most(limit: f64) -> String {
    format!("{{\"at_most\":{limit}}}")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cost(quick: bool) {
    let lease = lease();
    let many = if quick { 100_000 } else { 1_600_000 };
    let launch = |threads, busy| What { name: "launch", threads, count: many / threads, busy };
    let memory = |threads| What { name: "memory", threads, count: many / 4 / threads, busy: false };
    for (what, busy) in [("launch", false), ("launch, device busy", true)] {
        timed(&lease, what, launch(1, busy), quick, &at_most(LAUNCH_NS));
        timed(&lease, what, launch(16, busy), quick, &at_most(LAUNCH_OF_MANY_NS));
    }
    let what = "allocation and its free";
    timed(&lease, what, memory(1), quick, &at_most(ALLOCATION_NS));
    timed(&lease, what, memory(16), quick, "\"shown\"");
    for (what, name) in [("launch", "launch"), (what, "memory")] {
        match instructions(&lease, name) {
            Some([ours, null]) => {
                let name = format!("{what}: instructions added, all threads");
                figure(&name, ours - null, "instructions", Some(null), "\"shown\"");
            }
            None => eprintln!("SKIPPED: valgrind is absent (package valgrind)"),
        }
    }
}

/// Rounds through both libraries, of which what is added is the median of the pairs' differences.
fn timed(lease: &Lease, what: &str, of: What, quick: bool, target: &str) {
    let [ours, null] = rounds(lease, of, if quick { 5 } else { 21 });
    let count = f64::from(of.threads * of.count);
    // So much of a processor's time: more threads than processors take turns.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = f64::from(of.threads).min(f64::from(u32::try_from(processors).unwrap()));
    let each = |take: fn(&Round) -> f64, of: &[Round]| -> Vec<f64> {
        of.iter().map(|round| take(round) / count).collect()
    };
    let added = |take: fn(&Round) -> f64| {
        let pairs = each(take, &ours).into_iter().zip(each(take, &null));
        median(pairs.map(|(ours, null)| ours - null).collect())
    };
    let threads =
        if of.threads == 1 { "1 thread".into() } else { format!("{} threads", of.threads) };
    // What the driver takes to hand a function to its thread is not ours.
    let driver = |round: &Round| round.timing_ns;
    let apart = median(each(driver, &ours));
    let wall = |round: &Round| round.wall_ns;
    let base = median(each(wall, &null)) * at_once;
    figure(
        &format!("{what}, {threads}: added"),
        added(wall) * at_once - apart,
        "ns",
        Some(base),
        target,
    );
    if of.name == "launch" {
        let calls = median(each(|round| round.timing_calls, &ours)) * 1000.0;
        let name = format!("{what}, {threads}: driver calls for timing, of 1000 launches");
        figure(&name, calls, "", None, "\"shown\"");
        let name = format!("{what}, {threads}: the driver's own time in those, counted apart");
        figure(&name, apart, "ns", None, "\"shown\"");
    }
}
