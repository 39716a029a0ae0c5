//! What a command and a buffer cost through the library, over PoCL alone, is held in instructions, which
//! depend little on how busy the machine is.
#![allow(clippy::unwrap_used)] // all of this is test code

mod support;

use std::path::Path;
use std::process::Command;
use support::{Lease, cache, example, skipped};

const MEMORY: u64 = 1 << 28;
const VALGRIND: &str = "/usr/bin/valgrind";
/// Runs of each program whose difference is looked at.
const FEW: u32 = 200;
const MANY: u32 = 2_200;

/// Most instructions that are added to a command that launches a kernel, of all threads: its gate, its
/// event, and the callback that counts it out. This build checks more than a release does.
const ENQUEUE_MAX: f64 = 12_000.0;
/// The same of a buffer with its release.
const BUFFER_MAX: f64 = 12_000.0;

/// Instructions of all threads of `command` under callgrind.
fn total(command: &mut Command, out: &Path) -> f64 {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(out).unwrap();
    let line = |name| text.lines().find_map(|line: &str| line.strip_prefix(name));
    let total = line("totals: ").or_else(|| line("summary: ")).unwrap();
    total.trim().parse().unwrap()
}

/// Instructions that one `what` takes, in the lease or without it.
fn each(lease: Option<&Lease>, what: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("callgrind.out");
    let counted = |count: u32| {
        let mut command = lease.map_or_else(
            || {
                let mut native = Command::new(VALGRIND);
                native.env("POCL_CACHE_DIR", cache());
                native
            },
            |lease| lease.command(VALGRIND),
        );
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
        command.arg(example("ocl_cost")).args([what, &count.to_string()]);
        total(&mut command, &out)
    };
    (counted(MANY) - counted(FEW)) / f64::from(MANY - FEW)
}

#[test]
fn a_command_and_a_buffer_cost_no_more_instructions_than_they_may() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    if !Path::new(VALGRIND).exists() {
        return skipped("valgrind is absent (package valgrind)");
    }
    // What PoCL compiles for the processor that valgrind shows it is kept: nobody compiles while
    // instructions are counted.
    let status = Command::new(VALGRIND)
        .args(["--quiet", "--tool=none"])
        .arg(example("ocl_cost"))
        .args(["enqueue", "1"])
        .env("POCL_CACHE_DIR", cache())
        .status();
    assert!(status.unwrap().success(), "`cargo test -p polder-driver-opencl` builds the examples");
    for (what, most) in [("enqueue", ENQUEUE_MAX), ("buffer", BUFFER_MAX)] {
        let mut least = f64::INFINITY;
        // The least of three: a machine that was busy with something else has counted waiting too.
        for _ in 0..3 {
            let (ours, alone) = (each(Some(&lease), what), each(None, what));
            println!("{what}: {ours:.0} instructions, alone {alone:.0}");
            least = least.min(ours - alone);
            if least <= most {
                break;
            }
        }
        assert!(least <= most, "{what}: {least:.0} instructions added");
    }
}
