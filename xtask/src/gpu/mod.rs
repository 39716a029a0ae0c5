//! `cargo xtask gpu`: everything of enforcement on a real NVIDIA card, against the same without Polder.
//!
//! Each step has a bound on its time and a line of its own: passed, failed or skipped, and why. A step
//! that misses a target has failed. Nothing here changes a card's settings. Without a card it says so
//! and ends with [`NO_CARD`], never as passed. `--stand-in` runs what can be run without a card on the
//! stand-in driver of `tests/standin`, to show that the command itself works: its figures say
//! nothing about any card, and every line of its output says so.

mod card;
mod frameworks;
mod report;
mod run;
mod steps;
mod tenants;

use crate::{build, polder, say};
use anyhow::{Result, bail};
use card::Machine;
use frameworks::Python;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use steps::Scene;

/// How the command ends where there is no card.
pub(crate) const NO_CARD: u8 = 3;

/// What `cargo xtask gpu` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Gpu {
    /// Run on the stand-in driver: shows that the command works, and nothing about a card.
    #[arg(long)]
    stand_in: bool,
    /// Also write the figures and steps to this file, one JSON object each.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write them as a page to this file.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Install PyTorch, Triton, JAX, Numba and CuPy from this folder of wheels instead of PyPI.
    #[arg(long, value_name = "DIR")]
    wheels: Option<PathBuf>,
    /// A Python that has PyTorch, Triton, JAX, Numba and CuPy already: nothing is installed.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "wheels")]
    python: Option<PathBuf>,
    /// Run what an earlier `cargo build` left in the target folder: for a machine without Rust.
    #[arg(long)]
    no_build: bool,
    /// A smoke run: shorter and fewer; its figures are not to be quoted.
    #[arg(long)]
    quick: bool,
    /// Only the steps whose name contains this; may be given again.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
}

impl Gpu {
    fn python(&self) -> Python {
        match (&self.python, &self.wheels) {
            (Some(program), _) => Python::There(program.clone()),
            (None, Some(wheels)) => Python::FromWheels(wheels.clone()),
            (None, None) => Python::FromPypi,
        }
    }
}

/// How a step ended that did not fail.
pub(crate) enum Ended {
    /// All that it wanted was so.
    Passed,
    /// It could not be done here: why.
    Skipped(String),
}

/// A step's name, what it shows, and what does it.
type Step = (&'static str, &'static str, fn(&mut Scene) -> Result<Ended>);

const STEPS: &[Step] = &[
    ("driver", "a program sees and does the same through Polder", steps::driver),
    ("view", "the driver and NVML tell the slice's truth", steps::view),
    ("launches", "what a launch costs", steps::launches),
    ("memory", "a lease's memory is the most it gets", steps::memory),
    ("context", "what the driver holds for a program is its lease's", steps::context),
    ("shares", "shares in wall time", steps::shares),
    ("cap", "a hard cap beside an idle device", steps::cap),
    ("latency", "short requests beside a batch job", steps::latency),
    ("containment", "a neighbour that faults", steps::containment),
    ("strict", "a process without a slot", tenants::strict),
    ("cleared", "what a lease leaves in memory", tenants::cleared),
    ("backing", "host memory behind a lease's memory", tenants::backing),
    ("resize", "a running lease's cap, changed", tenants::resize),
    ("checkpoint", "a program moved off the card and back", tenants::checkpoint),
    ("profile", "where a program's time goes", tenants::profile),
    ("mps", "leases beside each other under MPS", steps::mps),
    ("pytorch", "a PyTorch program, native against leased", frameworks::pytorch),
    ("triton", "a Triton program, native against leased", frameworks::triton),
    ("jax", "a JAX program, native against leased", frameworks::jax),
    ("numba", "a Numba program, native against leased", frameworks::numba),
    ("cupy", "a CuPy program, native against leased", frameworks::cupy),
];

/// Runs the suite.
pub(crate) fn run(options: &Gpu) -> Result<ExitCode> {
    let wanted = |name: &str| {
        options.only.is_empty() || options.only.iter().any(|text| name.contains(text.as_str()))
    };
    let chosen: Vec<&Step> = STEPS.iter().filter(|(name, ..)| wanted(name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = STEPS.iter().map(|(name, ..)| *name).collect();
        bail!("no step is called so: the steps are {}", names.join(", "));
    }
    if !options.stand_in && !card::may_be_here() {
        return Ok(nothing("there is no NVIDIA device node on this machine"));
    }
    polder::catch_interrupts()?;
    let machine = Machine::prepare(options.stand_in, !options.no_build)?;
    let Some(card) = machine.look()? else {
        return Ok(nothing("polder sees no NVIDIA card: see `polder devices --local`"));
    };
    let mut report = Report::new(&card, options.stand_in, options.quick);
    report.begin();
    let mut scene = Scene::new(machine, card, options.quick, options.python());
    for (name, about, step) in chosen {
        polder::check_interrupt()?;
        say::heading(format!("{name}: {about}"));
        let from = Instant::now();
        let ended = step(&mut scene);
        if let (Err(_), Some(log)) = (&ended, scene.log()) {
            say::note(format!("its daemon said last:\n{log}"));
        }
        // A pool that a step broke is not the next step's.
        let left = if ended.is_err() { scene.drop_pool() } else { Ok(()) };
        report.step(name, about, from.elapsed(), &ended, scene.take_figures());
        if let Err(error) = left {
            say::note(format!("ending the pool: {error:#}"));
        }
    }
    scene.drop_pool()?;
    report.print();
    report.write(options.json.as_deref(), options.table.as_deref())?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn nothing(why: &str) -> ExitCode {
    say::line(format!(
        "NOT RUN: {why}. Nothing was shown here. `--stand-in` runs the command itself on a stand-in \
         driver, which shows nothing about a card."
    ));
    ExitCode::from(NO_CARD)
}

/// What the build leaves in this folder of the target folder.
pub(crate) fn built(profile: &str) -> PathBuf {
    build::target().join(profile)
}
