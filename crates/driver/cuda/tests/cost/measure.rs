//! What a launch and an allocation cost through the library, on the stand-in on which everything is
//! over at once: the `cuda_cost` example in a played lease.
#![allow(dead_code)] // each user takes a part

use crate::support::{Lease, example};
use polder_ledger::attach::{Cuda, Route};
use std::path::Path;
use std::process::Command;

/// Room for every allocation.
const LEASE_BYTES: u64 = 1 << 36;

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct What {
    pub(crate) name: &'static str,
    pub(crate) threads: u32,
    pub(crate) count: u32,
    /// Whether the driver has a thread that tells when work is over; if not, each batch is over before
    /// the next comes.
    pub(crate) busy: bool,
}

/// One round through one library.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Round {
    /// From start to end, nanoseconds.
    pub(crate) wall_ns: f64,
    /// Calls of the driver that serve to learn when work is over.
    pub(crate) timing_calls: f64,
    /// Time of all threads in those, nanoseconds.
    pub(crate) timing_ns: f64,
}

/// A lease whose only device is the stand-in's first card.
pub(crate) fn lease() -> Lease {
    let library = example("libcuda_null.so").to_string_lossy().into_owned();
    let cuda = Cuda { library, nvml: String::new(), uuid: [1; 16] };
    Lease::of(vec![Route { cuda: Some(cuda), ..Route::default() }], &[LEASE_BYTES])
}

/// `cuda_cost` under `before` (a tool and its arguments), in `lease`.
fn program(lease: &Lease, before: &[&str], what: What, rounds: u32, only: &[&str]) -> Command {
    let built = example("cuda_cost");
    let ours = built.ancestors().nth(2).expect("below a folder").join("deps/libpolder_cuda.so");
    let built = built.to_string_lossy().into_owned();
    let words: Vec<&str> = before.iter().copied().chain([built.as_str()]).collect();
    let mut command = lease.command(words[0]);
    command.args(&words[1..]);
    command.args([what.name, &what.threads.to_string(), &what.count.to_string()]);
    command.arg(rounds.to_string()).args(only).env("NULL_BUSY", u8::from(what.busy).to_string());
    command.env("CUDA_LIBRARY", ours).env("NULL_DRIVER", example("libcuda_null.so"));
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// So many rounds through each library in turn: ours, and the stand-in alone.
pub(crate) fn rounds(lease: &Lease, what: What, rounds: u32) -> [Vec<Round>; 2] {
    let text = run(&mut program(lease, &[], what, rounds, &[]));
    let of = |name: &str| -> Vec<Round> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let round = |line: &str| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().expect("a number"));
            let mut next = || numbers.next().expect("three numbers");
            Round { wall_ns: next(), timing_calls: next(), timing_ns: next() }
        };
        lines.map(round).collect()
    };
    [of("ours "), of("null ")]
}

/// Instructions of one launch or pair, counted by callgrind in all threads: ours, and the stand-in's
/// alone. None where there is no valgrind.
pub(crate) fn instructions(lease: &Lease, name: &'static str) -> Option<[f64; 2]> {
    if !Path::new("/usr/bin/valgrind").exists() {
        return None;
    }
    let (few, many) = (2_000, 12_000);
    let folder = tempfile::tempdir().expect("a folder for callgrind");
    let out = folder.path().join("callgrind.out");
    let counted = |only: &str, count: u32| {
        let to = format!("--callgrind-out-file={}", out.display());
        let tool = ["/usr/bin/valgrind", "--tool=callgrind", &to];
        let what = What { name, threads: 1, count, busy: false };
        run(&mut program(lease, &tool, what, 1, &[only]));
        let text = std::fs::read_to_string(&out).expect("callgrind writes what it counted");
        let total = text.lines().find_map(|line| {
            line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: "))
        });
        total.and_then(|total| total.trim().parse::<f64>().ok()).expect("a total")
    };
    let each = |only| (counted(only, many) - counted(only, few)) / f64::from(many - few);
    Some([each("ours"), each("null")])
}
