//! Programs that nobody here wrote.

#![allow(clippy::unwrap_used)] // all of this is test code

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Lease, cache, missing, skipped};

fn run(lease: &Lease, program: &str, arguments: &[&str]) -> String {
    let output = lease.command(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {}\n{said}\n{why}", output.status);
    said
}

#[test]
fn clinfo_shows_the_lease() {
    if missing("/usr/bin/clinfo", "clinfo") {
        return;
    }
    let Some(lease) = Lease::pocl(123 << 20) else { return };
    let said = run(&lease, "clinfo", &[]);
    assert!(said.contains("Number of platforms                               1"), "{said}");
    assert!(said.contains("128974848 (123MiB)"), "{said}");
    assert!(said.contains("cl_khr_fp64") && said.contains("cl_khr_command_buffer"), "{said}");
    assert!(!said.contains("cl_khr_command_buffer_"), "one that is hidden: {said}");
    assert_eq!(lease.held(0), 0);
}

#[test]
fn clpeak_measures() {
    if missing("/usr/bin/clpeak", "clpeak") {
        return;
    }
    let Some(lease) = Lease::pocl(2 << 30) else { return };
    let said = run(&lease, "clpeak", &["--kernel-latency"]);
    assert!(said.contains("Kernel launch latency"), "{said}");
    assert_eq!((lease.held(0), lease.census().inflight), (0, 0));
}

#[test]
fn hashcat_cracks() {
    if missing("/usr/bin/hashcat", "hashcat") {
        return;
    }
    // Its kernels take a minute to compile the first time; the folder keeps them.
    let home = cache().join("hashcat");
    std::fs::create_dir_all(&home).unwrap();
    let hash = home.join("hash");
    std::fs::write(&hash, "5d41402abc4b2a76b9719d911017c592\n").unwrap();
    let Some(lease) = Lease::pocl(2 << 30) else { return };
    let arguments =
        ["--potfile-disable", "-D", "1", "--force", "-m", "0", "-a", "3", "-O", "--quiet"];
    let mut command = lease.command("hashcat");
    let output = command.env("HOME", &home).args(arguments).arg(&hash).arg("hel?l?l").output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(":hello"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lease.census().inflight, 0);
}

/// Python with pyopencl and its tests, where `cargo xtask test` has made it.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("python");
    if !folder.join("complete").exists() {
        skipped("pyopencl and its tests are absent: `cargo xtask test` fetches them from PyPI");
        return None;
    }
    Some(folder)
}

/// How each test of one of pyopencl's files ended, with its name, as pytest sums it up.
fn ends(mut command: Command, folder: &Path, file: &str) -> BTreeSet<String> {
    const ENDS: &[&str] = &["PASSED ", "FAILED ", "ERROR ", "SKIPPED ", "XFAIL ", "XPASS "];
    let tests = folder.join("pyopencl-tests");
    let output = command
        .args(["-m", "pytest", "-q", "--tb=no", "-rA", "-p", "no:cacheprovider"])
        .arg(tests.join(file))
        .current_dir(&tests)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = said.lines().filter(|line| ENDS.iter().any(|end| line.starts_with(end)));
    // Behind the name stands why, with addresses.
    let ends: BTreeSet<_> =
        lines.map(|line| line.split(" - ").next().unwrap_or(line).to_owned()).collect();
    assert!(!ends.is_empty(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    ends
}

#[test]
fn pyopencls_own_tests_end_as_they_do_natively() {
    let Some(folder) = python() else { return };
    let Some(lease) = Lease::pocl(4 << 30) else { return };
    let program = folder.join("bin/python");
    let mut native = Command::new(&program);
    native.env("POCL_CACHE_DIR", cache());
    let native = ends(native, &folder, "test_wrapper.py");
    let leased = ends(lease.command(&program), &folder, "test_wrapper.py");
    let (lost, new): (Vec<_>, Vec<_>) =
        (native.difference(&leased).collect(), leased.difference(&native).collect());
    assert!(lost.is_empty() && new.is_empty(), "natively {lost:?}, under a lease {new:?}");
    assert!(lease.usage().slot[0].launched.load(std::sync::atomic::Ordering::Relaxed) > 100);
    assert_eq!((lease.census().inflight, lease.held(0)), (0, 0));
}
