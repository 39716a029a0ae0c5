//! Builds the fuzz targets with the compiler's coverage counters and runs them.

use crate::build::{cargo, check, root, target};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// How long each target is fed when nothing else is said.
pub(crate) const SECONDS: u64 = 20;
/// Targets fed at the same time: each keeps one CPU busy.
const AT_ONCE: usize = 2;

/// Feeds one target, or all, each for so long.
pub(crate) fn run(seconds: u64, only: Option<&str>) -> Result<()> {
    // Of the whole workspace one program: what it depends on then has the features that tests have, and
    // is there already. Only the workspace's own crates are built again, with counters.
    check(
        cargo()
            .args(["build", "--workspace", "--bin", "polder-fuzz"])
            .env("RUSTC_WORKSPACE_WRAPPER", root().join("tests/fuzz/counted")),
    )?;
    let program = target().join("debug/polder-fuzz");
    let list = Command::new(&program).arg("--list").output();
    let list = list.with_context(|| format!("running {}", program.display()))?;
    let names = String::from_utf8(list.stdout).context("names of targets")?;
    let wanted: Vec<&str> = only.map_or_else(|| names.lines().collect(), |only| vec![only]);
    let mut broken = Vec::new();
    for names in wanted.chunks(AT_ONCE) {
        let mut running = Vec::new();
        for name in names {
            let mut command = Command::new(&program);
            command.args([&seconds.to_string(), *name]);
            let child =
                command.spawn().with_context(|| format!("starting {}", program.display()))?;
            running.push((*name, child));
        }
        for (name, mut child) in running {
            if !child.wait()?.success() {
                broken.push(name);
            }
        }
    }
    if !broken.is_empty() {
        bail!("{} broke: the input lies in tests/fuzz/corpus", broken.join(", "));
    }
    Ok(())
}
