//! Builds of the workspace, and where their products lie.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies below the root").to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `cargo` at the root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end and fails with its name if it does.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let shown = words.join(" ");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// What the release build leaves.
pub(crate) struct Products {
    /// The `polder` binary.
    pub(crate) polder: PathBuf,
    /// The OpenCL program that measures itself, for benchmarks.
    pub(crate) workload: PathBuf,
}

/// Builds everything the demo and the benchmarks run, in release.
pub(crate) fn release() -> Result<Products> {
    products(&["--release"], "release")
}

/// Builds the same as tests are built: for what is counted or compared, and not timed.
pub(crate) fn as_tests() -> Result<Products> {
    products(&[], "debug")
}

fn products(profile: &[&str], folder: &str) -> Result<Products> {
    // One build, so that both share every dependency.
    let packages =
        ["polder-cli", "polder-driver-opencl", "polder-driver-cuda", "polder-driver-nvml"];
    let packages = packages.iter().flat_map(|name| ["--package", name]);
    let targets = ["--lib", "--bins", "--examples"];
    check(cargo().arg("build").args(profile).args(packages).args(targets))?;
    let target = target().join(folder);
    Ok(Products { polder: target.join("polder"), workload: target.join("examples/workload") })
}
