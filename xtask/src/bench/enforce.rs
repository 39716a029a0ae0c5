//! The figures of enforcement: the `enforce` example of `polder-standin-limiter` replays limiters on
//! a stand-in device in virtual time; nothing in it depends on the machine, so it is built as tests
//! are. Its `wall` example has a few of the same cells in wall time, with real processes and the arbiter's
//! thread. The `storm` example of `polder-ledger` is a million steps of processes that are killed. The
//! `enforce_cost` example of `polder-driver-cuda` is timed, and so built in release.

use super::engine::{names, parts};
use super::figures::Figures;
use crate::{build, packages};
use anyhow::{Result, bail};

/// Package and example of each program that measures.
const PROGRAMS: [(&str, &str); 3] = [
    ("polder-standin-limiter", "enforce"),
    ("polder-standin-limiter", "wall"),
    ("polder-ledger", "ledger_storm"),
];
/// The part that is timed: what a launch and an allocation cost.
const COST: &str = "cost";
/// What the processes of `wall` load and are.
const WALL: [&[&str]; 2] = [
    &["build", "--package", "polder-driver-cuda", "--package", "polder-standin-cuda"],
    &["build", "--package", "polder-standin-cuda", "--example", "client"],
];

/// Every part whose name contains `only`.
pub(super) fn run(quick: bool, only: Option<&str>, figures: &mut Figures) -> Result<()> {
    let mut all = String::new();
    let mut found = false;
    for (package, example) in PROGRAMS {
        let what = ["--package", package, "--example", example];
        build::check(build::cargo().arg("build").args(what))?;
        let program = build::target().join("debug/examples").join(example);
        let names = names(&program)?;
        if only.is_none_or(|text| names.lines().any(|part| part.contains(text))) {
            found = true;
            if example == "wall" {
                for words in WALL {
                    build::check(build::cargo().args(words))?;
                }
            }
            parts(&program, quick, only, figures)?;
        }
        all += &names;
    }
    if only.is_none_or(|text| COST.contains(text)) {
        found = true;
        cost(quick, figures)?;
    }
    all += COST;
    if !found {
        bail!("no part matches: the parts are {}", all.trim().replace('\n', ", "));
    }
    Ok(())
}

fn cost(quick: bool, figures: &mut Figures) -> Result<()> {
    packages::install(packages::ALL)?;
    let what = ["--release", "--package", "polder-driver-cuda", "--lib", "--examples"];
    build::check(build::cargo().arg("build").args(what))?;
    let program = build::target().join("release/examples/enforce_cost");
    parts(&program, quick, Some(COST), figures)
}
