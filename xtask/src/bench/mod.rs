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
use anyhow::{Result, bail};
use clap::ValueEnum;
use figures::Figures;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

/// What the flag that chooses parts says of itself.
pub(crate) static ONLY_HELP: LazyLock<String> = LazyLock::new(|| {
    let parts = [Name::Share, Name::Engine, Name::Enforce]
        .map(|name| format!("{}: {}", name.word(), name.parts().join("; ")));
    format!("Only the parts whose name contains this. {}", parts.join(". "))
});

impl Name {
    /// As it is written.
    fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The names of its parts, each once.
    fn parts(self) -> Vec<&'static str> {
        let named = |parts: &'static [Part]| parts.iter().map(|(part, _)| *part);
        match self {
            Self::Share => named(SHARE).collect(),
            Self::Engine => engine::PARTS.to_vec(),
            Self::Enforce => {
                let mut all: Vec<_> = enforce::names().collect();
                all.extend(named(ENFORCE).chain(named(COMPARED)));
                all.extend(named(BESIDE).filter(|part| !enforce::names().any(|it| it == *part)));
                all
            }
        }
    }

    /// Refuses what names no part.
    fn check(self, only: Option<&str>) -> Result<()> {
        let parts = self.parts();
        match only {
            Some(text) if !parts.iter().any(|part| part.contains(text)) => {
                let (name, parts) = (self.word(), parts.join("; "));
                bail!("no part of {name} matches {text:?}: the parts are {parts}")
            }
            _ => Ok(()),
        }
    }
}

/// Runs the benchmark `name`.
pub(crate) fn run(
    name: Name,
    json: Option<PathBuf>,
    quick: bool,
    only: Option<String>,
) -> Result<()> {
    name.check(only.as_deref())?;
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
    let wanted = |part: &str| only.is_none_or(|text| part.contains(text));
    let any = |parts: &[Part]| parts.iter().any(|(part, _)| wanted(part));
    enforce::run(quick, only, figures)?;
    if any(ENFORCE) || any(COMPARED) || any(BESIDE) {
        packages::install(packages::ALL)?;
    }
    if any(ENFORCE) {
        on_device(ENFORCE, &build::release()?, quick, only, figures)?;
    }
    for parts in [COMPARED, BESIDE] {
        if any(parts) {
            on_device(parts, &build::as_tests()?, quick, only, figures)?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [Name; 3] = [Name::Share, Name::Engine, Name::Enforce];

    /// Before anything is built: what is not there is told at once, with all that is.
    #[test]
    fn what_names_no_part_is_refused_with_all_there_are() {
        for name in NAMES {
            let error = name.check(Some("nosuch")).expect_err("no such part").to_string();
            assert!(error.contains("\"nosuch\"") && error.contains(&name.word()), "{error}");
            for part in name.parts() {
                assert!(error.contains(part), "{part} is missing: {error}");
                assert!(name.check(Some(part)).is_ok(), "{part}");
            }
            assert!(name.check(None).is_ok());
        }
    }

    #[test]
    fn a_benchmark_knows_its_parts_those_on_a_device_too() {
        let parts = Name::Enforce.parts();
        for part in ["limiter", "wall", "cost", "latency", "oversubscribe", "programs"] {
            assert_eq!(parts.iter().filter(|known| **known == part).count(), 1, "{parts:?}");
        }
        assert_eq!(parts.iter().filter(|part| **part == "ledger").count(), 1, "{parts:?}");
        assert!(Name::Enforce.check(Some("conformance")).is_ok());
    }

    #[test]
    fn the_help_names_every_part() {
        let help = crate::bench_help();
        for part in NAMES.into_iter().flat_map(Name::parts) {
            assert!(help.contains(part), "{part} is missing: {help}");
        }
    }
}
