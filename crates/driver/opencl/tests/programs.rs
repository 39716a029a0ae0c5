//! Programs that nobody here wrote.

#![allow(clippy::unwrap_used)] // all of this is test code

mod support;

use support::{Lease, cache, missing};

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
    assert!(said.contains("cl_khr_fp64") && !said.contains("cl_khr_command_buffer"), "{said}");
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
