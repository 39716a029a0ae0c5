//! The figures of enforcement: the `enforce` example of `polder-standin-limiter` replays limiters on
//! a stand-in device in virtual time; nothing in it depends on the machine, so it is built as tests
//! are. Its `wall` example has a few of the same cells in wall time, with real processes and the arbiter's
//! thread. The `storm` example of `polder-ledger` is a million steps of processes that are killed. The
//! `enforce_cost` example of `polder-driver-cuda` is timed, and so built in release.

use super::engine;
use super::figures::Figures;
use crate::{build, packages};
use anyhow::Result;

/// A program that measures: its package, the example, and the parts that it lists itself.
struct Program {
    package: &'static str,
    example: &'static str,
    parts: &'static [&'static str],
    /// What the example loads and starts.
    needs: &'static [&'static [&'static str]],
}

const PROGRAMS: [Program; 3] = [
    Program {
        package: "polder-standin-limiter",
        example: "enforce",
        parts: &["reproduce", "limiter", "batches", "peers"],
        needs: &[],
    },
    Program {
        package: "polder-standin-limiter",
        example: "wall",
        parts: &["wall"],
        needs: &[
            &["build", "--package", "polder-driver-cuda", "--package", "polder-standin-cuda"],
            &["build", "--package", "polder-standin-cuda", "--example", "client"],
        ],
    },
    Program { package: "polder-ledger", example: "ledger_storm", parts: &["ledger"], needs: &[] },
];
/// The part that is timed: what a launch and an allocation cost.
const COST: &str = "cost";

/// The names of all parts.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().flat_map(|program| program.parts).copied().chain([COST])
}

/// Every part whose name contains `only`. Nothing is built for the others.
pub(super) fn run(quick: bool, only: Option<&str>, figures: &mut Figures) -> Result<()> {
    let wanted = |part: &str| only.is_none_or(|text| part.contains(text));
    for Program { package, example, parts, needs } in PROGRAMS {
        if !parts.iter().any(|part| wanted(part)) {
            continue;
        }
        let what = ["--package", package, "--example", example];
        build::check(build::cargo().arg("build").args(what))?;
        for words in needs {
            build::check(build::cargo().args(*words))?;
        }
        let program = build::target().join("debug/examples").join(example);
        engine::parts(&program, parts, quick, only, figures)?;
    }
    if wanted(COST) { cost(quick, figures) } else { Ok(()) }
}

fn cost(quick: bool, figures: &mut Figures) -> Result<()> {
    packages::install(packages::ALL)?;
    let what = ["--release", "--package", "polder-driver-cuda", "--lib", "--examples"];
    build::check(build::cargo().arg("build").args(what))?;
    let program = build::target().join("release/examples/enforce_cost");
    engine::parts(&program, &[COST], quick, None, figures)
}
