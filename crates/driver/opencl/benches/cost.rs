//! What the library costs a program that has its device to itself: one launch, and kernels per
//! second, with and without it, in interleaved runs.
//!
//! `cargo build --release -p polder-driver-opencl --examples && cargo bench -p polder-driver-opencl`

#![allow(clippy::unwrap_used)] // a measurement ends where it fails

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::process::Command;
use support::{Lease, cache, example};

const PAIRS: usize = 7;

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn native(program: &str, arguments: &[&str]) -> String {
    output(Command::new(example(program)).args(arguments).env("POCL_CACHE_DIR", cache()))
}

fn through(lease: &Lease, program: &str, arguments: &[&str]) -> String {
    output(lease.command(example(program)).args(arguments))
}

fn per_second(line: &str) -> f64 {
    let number = |name: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\":")).unwrap();
        rest.split([',', '}']).next().unwrap().parse::<f64>().unwrap()
    };
    number("kernels") / number("seconds")
}

fn main() {
    let mut out = std::io::stdout();
    let Some(lease) = Lease::pocl(1 << 30) else { return };
    for _ in 0..3 {
        let arguments = ["overhead", "500"];
        writeln!(out, "alone    {}", native("probe", &arguments)).unwrap();
        writeln!(out, "through  {}", through(&lease, "probe", &arguments)).unwrap();
    }
    for kernel_us in ["100", "1000"] {
        let arguments = ["--kernel-us", kernel_us, "--calibrate-only"];
        let iterations = native("workload", &arguments);
        let arguments = ["--iterations", &iterations, "--seconds", "2", "--async", "64"];
        let mut ratios: Vec<[f64; 2]> = (0..PAIRS)
            .map(|_| {
                let base = per_second(&native("workload", &arguments));
                let ours = per_second(&through(&lease, "workload", &arguments));
                let again = per_second(&native("workload", &arguments));
                [ours / base, again / base]
            })
            .collect();
        for (index, name) in ["through", "alone again"].into_iter().enumerate() {
            ratios.sort_by(|a, b| a[index].total_cmp(&b[index]));
            let median = ratios[PAIRS / 2][index];
            writeln!(out, "{kernel_us} us kernels, {name} over alone: median {median:.4}").unwrap();
        }
    }
}
