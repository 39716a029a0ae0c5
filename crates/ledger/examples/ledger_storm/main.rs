//! Sixty-four real processes of one lease that allocate, free, fork, become other programs, end, and
//! are killed at random, upon real pages and the attach protocol.
//!
//! ```text
//! ledger_storm --list | ledger [--quick]
//! ```
//!
//! `ledger` is a million steps (with `--quick` twenty thousand), and prints a JSON object for each
//! figure. It fails when the bytes held ever pass the lease's memory, or when anything is left once
//! all are gone.

mod lease;
mod process;

use lease::{Lease, Report};
use std::io::Write as _;
use std::process::ExitCode;

const STEPS: u64 = 1_000_000;
const STEPS_QUICK: u64 = 20_000;
const SEED: u64 = 42;
/// Most CPU time of one operation in a thousand, milliseconds.
const CPU_MS: f64 = 1.0;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let quick = words.iter().any(|word| word == "--quick");
    match words.first().map(String::as_str) {
        Some("--list") => println("ledger"),
        Some("ledger") => {
            let steps = if quick { STEPS_QUICK } else { STEPS };
            match Lease::new(SEED).and_then(|lease| lease.run(steps)) {
                Ok(report) => tell(&report),
                Err(error) => {
                    complain(&format!("seed {SEED}: {error}"));
                    return ExitCode::FAILURE;
                }
            }
        }
        Some("process") => return process::run(words.get(1).map(String::as_str)),
        _ => {
            complain("usage: ledger_storm --list | ledger [--quick]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn println(line: &str) {
    // Who does not listen needs no figures.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Says what went wrong.
pub(crate) fn complain(line: &str) {
    // As above.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn tell(report: &Report) {
    let figure = |name: &str, value: f64, unit: &str, target: &str| {
        println(&format!(
            "{{\"name\":\"ledger, 64 processes: {name}\",\"value\":{value},\"unit\":\"{unit}\",\
             \"baseline\":null,\"target\":{target}}}"
        ));
    };
    let shown = "\"shown\"";
    #[allow(clippy::cast_precision_loss)] // counts of a run
    let number = |count: u64| count as f64;
    figure("steps", number(report.steps), "", shown);
    figure("forks", number(report.forks), "", shown);
    figure("execs", number(report.execs), "", shown);
    figure("killed with SIGKILL", number(report.kills), "", shown);
    figure("bytes held beyond the lease's memory", number(report.beyond), "", "{\"at_most\":0}");
    figure("bytes, claims and slots left", number(report.left), "", "{\"at_most\":0}");
    figure("most held of its memory", report.highest * 100.0, "%", "{\"at_least\":90}");
    let ms = number(report.cpu_ns_p999) / 1e6;
    let target = format!("{{\"at_most\":{CPU_MS}}}");
    figure("CPU time of an operation, p99.9", ms, "ms", &target);
    figure("CPU time of an operation, most", number(report.cpu_ns_max) / 1e6, "ms", shown);
}
