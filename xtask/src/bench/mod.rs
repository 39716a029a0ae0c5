//! Benchmarks: every figure is a ratio against a baseline measured in the same run.

mod alone;
mod conformance;
mod enforce;
mod engine;
mod figures;
mod latency;
mod lending;
mod memory;
mod oversubscribe;
mod path;
mod peak;
mod pocl_tests;
mod programs;
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
    /// server of short requests waits beside a batch job on a real OpenCL device, and how other
    /// people's tests and programs fare there.
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
const ENFORCE: &[Part] = &[
    ("latency", latency::run),
    ("oversubscribe", oversubscribe::run),
    ("programs", programs::run),
];
/// Parts of it whose figures are no speeds but comparisons: they run what tests run.
const COMPARED: &[Part] =
    &[("conformance, pyopencl", conformance::run), ("conformance, pocl", pocl_tests::run)];

/// Beside the part of the same name that needs no device.
const BESIDE: &[Part] = &[("ledger", memory::random)];

/// Runs the benchmark `name`.
pub(crate) fn run(
    name: Name,
    json: Option<PathBuf>,
    quick: bool,
    only: Option<String>,
) -> Result<()> {
    let mut figures = Figures::new(quick);
    let measured = match name {
        Name::Share => share(quick, only.as_deref(), &mut figures),
        Name::Engine => engine::run(quick, only.as_deref(), &mut figures),
        Name::Enforce => enforced(quick, only.as_deref(), &mut figures),
    };
    figures.print();
    if let Some(path) = json {
        figures.write(&path)?;
    }
    measured
}

fn share(quick: bool, only: Option<&str>, figures: &mut Figures) -> Result<()> {
    packages::install(packages::ALL)?;
    on_device(SHARE, &build::release()?, quick, only, figures)
}

/// The replayed limiters and the parts that need a device, or of both what `only` names.
fn enforced(quick: bool, only: Option<&str>, figures: &mut Figures) -> Result<()> {
    let named =
        |parts: &[Part]| only.is_some_and(|text| parts.iter().any(|(part, _)| part.contains(text)));
    let (timed, compared) = (named(ENFORCE), named(COMPARED));
    if !timed && !compared {
        enforce::run(quick, only, figures)?;
    }
    let beside = only.is_none() || named(BESIDE);
    if timed || compared || beside {
        packages::install(packages::ALL)?;
    }
    if timed || only.is_none() {
        on_device(ENFORCE, &build::release()?, quick, only, figures)?;
    }
    if compared || only.is_none() {
        on_device(COMPARED, &build::as_tests()?, quick, only, figures)?;
    }
    if beside {
        on_device(BESIDE, &build::as_tests()?, quick, only, figures)?;
    }
    Ok(())
}

/// Each part with a pool of its own, on the machine's OpenCL device.
fn on_device(
    parts: &[Part],
    products: &build::Products,
    quick: bool,
    only: Option<&str>,
    figures: &mut Figures,
) -> Result<()> {
    for (part, run) in parts {
        if only.is_some_and(|text| !part.contains(text)) {
            continue;
        }
        say::heading(part);
        let mut bench = tenants::Bench::start(products, quick)?;
        run(&mut bench, figures)?;
        bench.stop()?;
    }
    Ok(())
}
