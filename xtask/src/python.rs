//! Programs written in Python, in an environment of their own below cargo's folder: pyopencl with
//! the tests of its source package, tinygrad, and numba-cuda.

use crate::{build, say};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is installed, each at the one version that the figures are of.
const PINS: &[&str] = &[
    "pyopencl==2026.1.4",
    "numpy==2.4.6",
    "pytest==9.2.0",
    "mako==1.4.3",
    "siphash24==1.9",
    "tinygrad==0.14.0",
    "numba==0.68.1",
    "numba-cuda==0.30.4",
    // What it compiles and links with. Of CUDA 12.6, whose packages are half as large as later ones; and
    // none of what else `numba-cuda[cu12]` brings: the driver is a stand-in, which runs no code.
    "cuda-bindings==12.9.10",
    "nvidia-cuda-nvcc-cu12==12.6.85",
    "nvidia-cuda-nvrtc-cu12==12.6.85",
    "nvidia-cuda-runtime-cu12==12.6.77",
    "nvidia-nvjitlink-cu12==12.6.85",
];

/// The environment.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    folder: PathBuf,
}

impl Python {
    /// Where the tests of the workspace look for it too.
    fn new() -> Self {
        Self { folder: build::target().join("python") }
    }

    /// Its interpreter.
    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// pyopencl's own tests.
    pub(crate) fn pyopencl_tests(&self) -> PathBuf {
        self.folder.join("pyopencl-tests")
    }

    /// Where its programs keep what they compile.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// Whether all of it is there, at these versions.
    fn is_complete(&self) -> bool {
        std::fs::read_to_string(self.mark()).is_ok_and(|text| text == PINS.join("\n"))
    }

    fn mark(&self) -> PathBuf {
        self.folder.join("complete")
    }
}

/// Installs what is missing from the package index.
pub(crate) fn install() -> Result<Python> {
    let python = Python::new();
    if python.is_complete() {
        return Ok(python);
    }
    say::note(format!("installing {}", PINS.join(" ")));
    let folder = &python.folder;
    quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let pip = || {
        let mut command = Command::new(python.program());
        command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
        command
    };
    quietly(pip().arg("install").args(PINS))?;
    // The tests come with the source alone. Only pyopencl itself is wanted as source: what would
    // build it is fetched as it is.
    let source = folder.join("source");
    let download = ["download", "--no-deps", "--no-binary", "pyopencl", PINS[0], "--dest"];
    quietly(pip().args(download).arg(&source))?;
    unpack(&source, &python.pyopencl_tests())?;
    std::fs::create_dir_all(python.cache())?;
    std::fs::write(python.mark(), PINS.join("\n"))?;
    Ok(python)
}

/// Unpacks the `test` folder of the one archive in `source`.
fn unpack(source: &Path, to: &Path) -> Result<()> {
    let archive = std::fs::read_dir(source)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .with_context(|| format!("no source package in {}", source.display()))?;
    std::fs::create_dir_all(to)?;
    let tests = ["--strip-components=2", "--wildcards", "*/test/*"];
    quietly(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(to).args(tests))
}

fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {name} (package python3-venv)"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
