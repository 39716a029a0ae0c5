//! Benchmarks: every figure is a ratio against a baseline measured in the same run.

mod alone;
mod enforce;
mod engine;
mod figures;
mod latency;
mod lending;
mod memory;
mod path;
mod shares;
mod stamps;
mod stats;
mod tenants;

use crate::{build, packages, say};
use anyhow::Result;
use clap::ValueEnum;
use figures::Figures;
use std::path::PathBuf;

/// A benchmark.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Name {
    /// Shares, cost alone, lending, memory and the job path on a real OpenCL device.
    Share,
    /// Decisions of the engine on public traces: packing, completion, waiting, speed, correctness.
    Engine,
    /// Limiters of compute on a stand-in device in virtual time: Polder's own and peers'. And what a
    /// server of short requests waits beside a batch job on a real OpenCL device.
    Enforce,
}

type Part = (&'static str, fn(&mut tenants::Bench, &mut Figures) -> Result<()>);

const SHARE: &[Part] = &[
    ("shares", shares::run),
    ("alone", alone::run),
    ("cap", alone::cap),
    ("lending", lending::run),
    ("memory", memory::run),
    ("path", path::run),
];

/// Parts of `enforce` that need a device.
const ENFORCE: &[Part] = &[("latency", latency::run)];

/// Runs the benchmark `name`.
pub(crate) fn run(
    name: Name,
    json: Option<PathBuf>,
    quick: bool,
    only: Option<String>,
) -> Result<()> {
    let mut figures = Figures::new(quick);
    let measured = match name {
        Name::Share => on_device(SHARE, quick, only.as_deref(), &mut figures),
        Name::Engine => engine::run(quick, only.as_deref(), &mut figures),
        Name::Enforce => enforced(quick, only.as_deref(), &mut figures),
    };
    figures.print();
    if let Some(path) = json {
        figures.write(&path)?;
    }
    measured
}

/// The replayed limiters and the parts that need a device, or of both what `only` names.
fn enforced(quick: bool, only: Option<&str>, figures: &mut Figures) -> Result<()> {
    let named = |text: &str| ENFORCE.iter().any(|(part, _)| part.contains(text));
    if !only.is_some_and(named) {
        enforce::run(quick, only, figures)?;
    }
    if only.is_none_or(named) { on_device(ENFORCE, quick, only, figures) } else { Ok(()) }
}

/// Each part with a pool of its own, on the machine's OpenCL device.
fn on_device(parts: &[Part], quick: bool, only: Option<&str>, figures: &mut Figures) -> Result<()> {
    packages::install(packages::ALL)?;
    let products = build::release()?;
    for (part, run) in parts {
        if only.is_some_and(|text| !part.contains(text)) {
            continue;
        }
        say::heading(part);
        let mut bench = tenants::Bench::start(&products, quick)?;
        run(&mut bench, figures)?;
        bench.stop()?;
    }
    Ok(())
}
