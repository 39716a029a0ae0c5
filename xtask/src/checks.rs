//! Tests and the checks around them.

use crate::build::{cargo, check, root};
use crate::{fuzz, packages, python, say};
use anyhow::Result;
use std::process::{Command, Stdio};

/// From what continuous integration draws its random cases, unless `PROPTEST_RNG_SEED` says otherwise:
/// it judges a change, and so does not depend on chance. `cargo xtask test` draws anew each time.
const CI_SEED: &str = "20261125";

/// Every test of the workspace, and the model-checked ones before them.
pub(crate) fn test() -> Result<()> {
    every_test(cargo())
}

fn every_test(run: Command) -> Result<()> {
    packages::install(packages::ALL)?;
    if let Err(why) = python::install() {
        say::note(format!("SKIPPED: pyopencl's own tests will be: {why:#}"));
    }
    // Tests load the driver library and run the binary from the same folder.
    check(cargo().args([
        "build",
        "--package",
        "polder-driver-opencl",
        "--package",
        "polder-driver-cuda",
        "--package",
        "polder-driver-nvml",
        "--package",
        "polder-cli",
    ]))?;
    loom()?;
    // Programs under test inherit which signals are ignored, and some of them are about just that:
    // whoever started this (nohup, a shell's background) must not matter.
    let mut plain = Command::new("env");
    plain.current_dir(root()).arg("--default-signal").arg(run.get_program());
    plain.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // One run tells every failure.
    check(plain.args(["test", "--workspace", "--no-fail-fast"]))
}

/// The ledger's protocols under loom, which runs every interleaving.
fn loom() -> Result<()> {
    check(
        cargo()
            .args(["test", "--package", "polder-ledger", "--release", "--test", "loom"])
            .args(["--target-dir", "target/loom"])
            .env("RUSTFLAGS", "--cfg loom"),
    )
}

/// What continuous integration runs.
pub(crate) fn ci() -> Result<()> {
    packages::install(packages::ALL)?;
    check(cargo().args(["fmt", "--all", "--check"]))?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    check(cargo().args(lints))?;
    check(
        cargo()
            .args(["doc", "--workspace", "--no-deps", "--document-private-items"])
            // The pages are for those who work on it, so they may lead to private rooms.
            .env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"),
    )?;
    deny()?;
    let mut run = cargo();
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        run.env("PROPTEST_RNG_SEED", CI_SEED);
    }
    every_test(run)?;
    // After the tests, whose builds of everything that is not Polder's own it goes on with.
    fuzz::run(fuzz::SECONDS, None)
}

/// Bans, licences and sources of every dependency. Advisories need a database that not every
/// machine can reach, so they are checked where it can (`cargo deny check advisories`).
fn deny() -> Result<()> {
    let there = Command::new("cargo-deny")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        check(cargo().args(["install", "cargo-deny", "--locked", "--quiet"]))?;
    }
    check(cargo().args(["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))
}
