//! The figures of enforcement: the `enforce` example of `polder-standin-limiter` replays limiters on
//! a stand-in device in virtual time. Nothing in it depends on the machine, so it is built as tests
//! are.

use super::engine::parts;
use super::figures::Figures;
use crate::build;
use anyhow::Result;

/// Every part whose name contains `only`.
pub(super) fn run(quick: bool, only: Option<&str>, figures: &mut Figures) -> Result<()> {
    let what = ["--package", "polder-standin-limiter", "--example", "enforce"];
    build::check(build::cargo().arg("build").args(what))?;
    parts(&build::target().join("debug/examples/enforce"), quick, only, figures)
}
