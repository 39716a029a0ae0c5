//! The figures of the engine: each part of the `figures` example of `polder-sim` measures in a
//! process of its own and prints one JSON object a figure; here they are judged and shown.

use super::figures::{Figures, Target};
use crate::{build, say};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One figure as the example prints it.
#[derive(Deserialize)]
struct Line {
    name: String,
    value: f64,
    unit: String,
    baseline: Option<f64>,
    target: Target,
}

/// The parts, as the example lists them.
pub(super) const PARTS: &[&str] = &[
    "packing",
    "wait",
    "jct",
    "guides",
    "guides-varied",
    "guides-most",
    "speed",
    "reclaim",
    "mig",
    "correct",
];

/// Builds the example in release and gives its place.
fn build() -> Result<PathBuf> {
    let what = ["--package", "polder-sim", "--example", "figures"];
    build::check(build::cargo().args(["build", "--release"]).args(what))?;
    Ok(build::target().join("release/examples/figures"))
}

/// Every part of the engine's figures whose name contains `only`.
pub(super) fn run(quick: bool, only: Option<&str>, figures: &mut Figures) -> Result<()> {
    parts(&build()?, PARTS, quick, only, figures)
}

/// The names of the parts of `program`, one a line.
fn names(program: &Path) -> Result<String> {
    let list = Command::new(program).arg("--list").output();
    let list = list.with_context(|| format!("cannot run {}", program.display()))?;
    String::from_utf8(list.stdout).context("names of parts")
}

/// Every part of `program` whose name contains `only`, one after the other. A part that fails is
/// named at the end; the others are measured all the same. `known` are those that it must have: who asks for
/// one is told before anything is built which there are.
pub(super) fn parts(
    program: &Path,
    known: &[&str],
    quick: bool,
    only: Option<&str>,
    figures: &mut Figures,
) -> Result<()> {
    let names = names(program)?;
    ensure!(names.lines().eq(known.iter().copied()), "its parts are {names:?}, not {known:?}");
    let mut failed = Vec::new();
    for part in known.iter().filter(|part| only.is_none_or(|text| part.contains(text))) {
        say::heading(part);
        if !measure(program, part, quick, figures)? {
            failed.push(*part);
        }
    }
    if !failed.is_empty() {
        bail!("these parts failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs one part and adds its figures as they come; false when it failed.
fn measure(program: &Path, part: &str, quick: bool, figures: &mut Figures) -> Result<bool> {
    let mut command = Command::new(program);
    command.current_dir(build::root()).arg(part).stdout(Stdio::piped());
    if quick {
        command.arg("--quick");
    }
    let mut child = command.spawn().with_context(|| format!("cannot start {part}"))?;
    let out = child.stdout.take().context("its output was asked for")?;
    for line in BufReader::new(out).lines() {
        let line = line.with_context(|| format!("reading from {part}"))?;
        let figure: Line =
            serde_json::from_str(&line).with_context(|| format!("{part} printed {line:?}"))?;
        figures.add(figure.name, figure.value, figure.unit, figure.baseline, figure.target);
    }
    Ok(child.wait().with_context(|| format!("waiting for {part}"))?.success())
}
