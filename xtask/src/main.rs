//! Developer commands: `cargo xtask demo | test | bench | gpu | fuzz | ci | packages`.
//!
//! Each installs what it needs from the package registries, so that a fresh Debian machine with
//! Rust needs nothing else.

mod bench;
mod build;
mod checks;
mod demo;
mod fuzz;
mod gpu;
mod packages;
mod polder;
mod python;
mod say;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Polder's developer commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Share a real device between real programs of several tenants, and show that it holds.
    Demo {
        /// Leave the pool running at the end, and say what to try.
        #[arg(long)]
        keep: bool,
    },
    /// Run every test.
    Test,
    /// What continuous integration runs: format, lints, documents, dependencies, every test, fuzzing.
    Ci,
    /// Measure, and print figures as ratios against a baseline of the same run.
    Bench {
        /// Which benchmark.
        #[arg(value_enum)]
        name: bench::Name,
        /// Also write the figures to this file, one JSON object each.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// A smoke run: shorter and fewer; its figures are not to be quoted.
        #[arg(long)]
        quick: bool,
        #[arg(long, value_name = "TEXT", help = bench::ONLY_HELP.as_str())]
        only: Option<String>,
    },
    /// Feed every reader of outside input with what nobody would write, two at a time.
    Fuzz {
        /// How long each is fed.
        #[arg(long, value_name = "N", default_value_t = fuzz::SECONDS)]
        seconds: u64,
        /// Only this one.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
    },
    /// Run everything of enforcement on a real NVIDIA card, against the same without Polder; ends with 3
    /// where there is none.
    Gpu(gpu::Gpu),
    /// Install the system packages that demo, test and bench use.
    Packages,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let done = match command {
        Command::Gpu(options) => return gpu::run(&options),
        Command::Demo { keep } => demo::run(keep),
        Command::Test => checks::test(),
        Command::Ci => checks::ci(),
        Command::Bench { name, json, quick, only } => bench::run(name, json, quick, only),
        Command::Fuzz { seconds, target } => fuzz::run(seconds, target.as_deref()),
        Command::Packages => packages::install(packages::ALL),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// What `bench --help` says, without line breaks of the terminal's.
#[cfg(test)]
fn bench_help() -> String {
    let mut command = <Arguments as clap::CommandFactory>::command();
    let bench = command.find_subcommand_mut("bench").expect("a benchmark");
    bench.render_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
