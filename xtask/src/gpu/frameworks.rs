//! Programs of frameworks, each in an environment of its own below cargo's folder: the same program
//! native and leased must say the same, and as fast.

use super::Ended;
use super::report::Target;
use super::run::{number, start};
use super::steps::Scene;
use crate::build;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Longest installation: PyTorch with its libraries is three gigabytes.
const INSTALL_MAX: Duration = Duration::from_secs(1_200);
/// Longest run of a program.
const PROGRAM_MAX: Duration = Duration::from_secs(300);
/// Longest wait to hear that there is no network.
const NETWORK_SECONDS: &str = "15";

/// Where the frameworks come from.
#[derive(Debug, Clone)]
pub(crate) enum Python {
    /// They are installed from PyPI.
    FromPypi,
    /// From this folder of wheels.
    FromWheels(PathBuf),
    /// This interpreter has them.
    There(PathBuf),
}

/// One framework.
struct Framework {
    name: &'static str,
    packages: &'static [&'static str],
    program: &'static str,
}

pub(crate) fn pytorch(scene: &mut Scene) -> Result<Ended> {
    run(
        scene,
        &Framework {
            name: "pytorch",
            packages: &["torch", "numpy"],
            program: include_str!("programs/pytorch.py"),
        },
    )
}

/// PyTorch brings Triton along.
pub(crate) fn triton(scene: &mut Scene) -> Result<Ended> {
    run(
        scene,
        &Framework {
            name: "pytorch",
            packages: &["torch", "numpy"],
            program: include_str!("programs/triton.py"),
        },
    )
}

pub(crate) fn jax(scene: &mut Scene) -> Result<Ended> {
    run(
        scene,
        &Framework {
            name: "jax",
            packages: &["jax[cuda12]"],
            program: include_str!("programs/jax.py"),
        },
    )
}

pub(crate) fn numba(scene: &mut Scene) -> Result<Ended> {
    run(
        scene,
        &Framework {
            name: "numba",
            packages: &["numba-cuda[cu12]", "numpy"],
            program: include_str!("programs/numba.py"),
        },
    )
}

pub(crate) fn cupy(scene: &mut Scene) -> Result<Ended> {
    run(
        scene,
        &Framework {
            name: "cupy",
            packages: &["cupy-cuda12x", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-runtime-cu12"],
            program: include_str!("programs/cupy.py"),
        },
    )
}

/// The interpreter of a framework's environment, installed when it is not there; or why it cannot be.
fn install(scene: &Scene, framework: &Framework) -> Result<Result<PathBuf, String>> {
    if let Python::There(program) = &scene.python {
        return Ok(Ok(program.clone()));
    }
    let folder = build::target().join("gpu-python").join(framework.name);
    let (python, mark) = (folder.join("bin/python"), folder.join("complete"));
    if mark.exists() {
        return Ok(Ok(python));
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder);
    let made = start(&mut venv, PROGRAM_MAX).and_then(super::run::Running::finish_well);
    if let Err(error) = made {
        return Ok(Err(format!("no environment for Python (package python3-venv): {error:#}")));
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--timeout", NETWORK_SECONDS, "--retries", "1", "install"]);
    if let Python::FromWheels(wheels) = &scene.python {
        pip.arg("--no-index").arg("--find-links").arg(wheels);
    }
    pip.args(framework.packages);
    let said = start(&mut pip, INSTALL_MAX)?.finish()?;
    if !said.status.success() {
        let packages = framework.packages.join(" ");
        let why = format!("{packages} cannot be installed (--wheels DIR?): {}", said.words());
        return Ok(Err(why));
    }
    std::fs::write(&mark, framework.packages.join("\n"))?;
    Ok(Ok(python))
}

fn run(scene: &mut Scene, framework: &Framework) -> Result<Ended> {
    if scene.machine.is_stand_in() {
        return Ok(Ended::Skipped(
            "it looks at what it computed: the stand-in computes nothing".into(),
        ));
    }
    let python = match install(scene, framework)? {
        Ok(python) => python,
        Err(why) => return Ok(Ended::Skipped(why)),
    };
    let words = ["-c".to_owned(), framework.program.to_owned()];
    // Half of the card at most: what it takes for itself shows whether it believes the slice.
    let memory = format!("{}MiB", (scene.card.memory >> 21).min(16 << 10));
    let flags = ["--compute", "50%", "--memory", &memory];
    let pairs = if scene.quick { 1 } else { 3 };
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let native = start(&mut scene.machine.native(&python, &words), PROGRAM_MAX)?;
        let native = native.finish_well()?.figures()?;
        let leased = start(&mut scene.leased(&flags, &python, &words)?, PROGRAM_MAX)?;
        let leased = leased.finish_well()?.figures()?;
        let said = |figures: &serde_json::Value| figures["result"].as_str().map(str::to_owned);
        let (here, there) = (said(&native).context("no result")?, said(&leased));
        ensure!(there.as_deref() == Some(&here), "natively {here}, leased {there:?}");
        ratios.push(number(&native, "seconds")? * 100.0 / number(&leased, "seconds")?.max(1e-9));
    }
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.get(ratios.len() / 2).copied().unwrap_or(0.0);
    let target = scene.timed(Target::AtLeast(97.0));
    scene.figure("speed alone, uncapped, median", middle, "% of native", Some(100.0), target);
    Ok(Ended::Passed)
}
