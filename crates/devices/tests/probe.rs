//! Real drivers in real children, and children that misbehave.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // Helpers of tests, and skips must be loud.

use polder_devices::{Catalogue, ProbeError, ProbeOptions, Problem, probe_in_child};
use polder_model::{Address, Api, DeviceKind, Health, Mechanism};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// The example `probe`, which `cargo test` builds beside the tests.
fn probe_exe() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let exe = tests.ancestors().nth(2).unwrap().join("examples/catalogue");
    assert!(exe.exists(), "{} is not built: cargo test -p polder-devices", exe.display());
    exe
}

/// A folder that names these libraries, each in an `.icd` file.
fn drivers(libraries: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (library, number) in libraries.iter().zip(0..) {
        fs::write(folder.path().join(format!("{number}.icd")), library).unwrap();
    }
    folder
}

/// The library of the PoCL that is installed here, if there is one.
fn pocl() -> Option<String> {
    let text = fs::read_to_string("/etc/OpenCL/vendors/pocl.icd").ok();
    if text.is_none() {
        eprintln!("SKIPPED: PoCL is not installed (apt-get install pocl-opencl-icd)");
    }
    text.map(|text| text.trim().to_owned())
}

/// Looks only at `folder`, never at a real NVIDIA card.
fn options(folder: &Path) -> ProbeOptions {
    ProbeOptions {
        vendor_folder: Some(folder.to_owned()),
        nvml_library: Some("/nonexistent/libnvidia-ml.so.1".into()),
        time_limit: Duration::from_secs(60),
        measure_bandwidth: false,
        environment: Vec::new(),
    }
}

fn probe(options: &ProbeOptions) -> Catalogue {
    probe_in_child(&probe_exe(), &[], options).unwrap()
}

/// The real probe, unless its request names `bad`: then the shell runs `instead`.
fn probe_with_bad_child(folder: &Path, bad: &str, instead: &str, limit_ms: u64) -> Catalogue {
    let script = format!(
        "case \"$1\" in *{bad}*) {instead};; *) exec '{}' \"$1\";; esac",
        probe_exe().display()
    );
    let options = ProbeOptions { time_limit: Duration::from_millis(limit_ms), ..options(folder) };
    probe_in_child(Path::new("/bin/sh"), &["-c", &script, "sh"], &options).unwrap()
}

/// A bad library beside PoCL loses nothing of PoCL's, and its one problem holds `words`.
fn check_bad_child(instead: &str, limit_ms: u64, words: &[&str]) {
    let pocl = pocl();
    let names: Vec<&str> = ["/opt/libbad.so"].into_iter().chain(pocl.as_deref()).collect();
    let folder = drivers(&names);
    let found = probe_with_bad_child(folder.path(), "libbad", instead, limit_ms);
    assert_eq!(found.devices.len(), usize::from(pocl.is_some()));
    if let [device] = found.devices.as_slice() {
        assert_eq!(device.id.as_str(), "opencl-1-0", "its number does not depend on the bad one");
    }
    let [problem] = found.problems.as_slice() else { panic!("{:?}", found.problems) };
    for word in ["/opt/libbad.so"].iter().chain(words) {
        assert!(problem.to_string().contains(word), "{word:?} is not in: {problem}");
    }
}

#[test]
fn pocl_is_read_through_its_own_library() {
    let Some(library) = pocl() else { return };
    let folder = drivers(&[&library]);
    let found = probe(&ProbeOptions { measure_bandwidth: true, ..options(folder.path()) });
    assert_eq!(found.problems, [], "{:?}", found.problems);
    let [device] = found.devices.as_slice() else { panic!("{:?}", found.devices) };
    assert_eq!((device.id.as_str(), device.api), ("opencl-0-0", Api::Opencl));
    assert_eq!((device.kind, &device.health), (DeviceKind::Cpu, &Health::Healthy));
    assert!(device.memory.0 > 64 << 20 && device.compute_units > 0 && !device.simulated);
    assert!(device.allocation_max.unwrap() <= device.memory);
    assert!(device.memory_bandwidth.unwrap().0 > 100_000_000);
    assert_eq!(device.mechanisms, [Mechanism::TimeSlice, Mechanism::Whole]);
    assert!(device.features.contains("fp64") && device.features.contains("images"));
    let Address::Opencl { library: path, platform, index } = &device.address else {
        panic!("{:?}", device.address)
    };
    assert!(Path::new(path).is_absolute() && path.contains("libpocl"), "{path}");
    assert_eq!((platform.as_str(), *index), ("Portable Computing Language", 0));
}

#[test]
fn one_driver_may_have_two_devices() {
    let Some(library) = pocl() else { return };
    let folder = drivers(&[&library]);
    let two = vec![("POCL_DEVICES".into(), "pthread pthread".into())];
    let found = probe(&ProbeOptions { environment: two, ..options(folder.path()) });
    let ids: Vec<&str> = found.devices.iter().map(|device| device.id.as_str()).collect();
    assert_eq!(ids, ["opencl-0-0", "opencl-0-1"]);
}

#[test]
fn two_drivers_are_two_platforms() {
    const OCLGRIND: &str = "/usr/lib/oclgrind/liboclgrind-rt-icd.so";
    if !Path::new(OCLGRIND).exists() {
        eprintln!("SKIPPED: oclgrind is not installed (apt-get install oclgrind)");
        return;
    }
    let Some(library) = pocl() else { return };
    let folder = drivers(&[&library, OCLGRIND]);
    let found = probe(&options(folder.path()));
    let ids: Vec<&str> = found.devices.iter().map(|device| device.id.as_str()).collect();
    assert_eq!((ids, found.problems), (vec!["opencl-0-0", "opencl-1-0"], Vec::new()));
}

#[test]
fn a_machine_without_drivers_has_no_devices_and_no_problems() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(probe(&options(folder.path())), Catalogue::default());
    assert_eq!(probe(&options(Path::new("/nonexistent/vendors"))), Catalogue::default());
}

#[test]
fn polders_own_icd_is_not_probed() {
    let folder = drivers(&["/nonexistent/libpolder_opencl.so"]);
    assert_eq!(probe(&options(folder.path())), Catalogue::default());
}

/// Under another name, our library is known by where the dynamic linker found it.
#[test]
fn a_link_to_polders_own_icd_is_not_probed() {
    let Some(library) = pocl() else { return };
    let folder = tempfile::tempdir().unwrap();
    let found = probe(&options(drivers(&[&library]).path()));
    let Address::Opencl { library, .. } = &found.devices[0].address else { panic!() };
    let own = folder.path().join("libpolder_opencl.so");
    fs::copy(library, &own).unwrap();
    let link = folder.path().join("libvendor.so");
    std::os::unix::fs::symlink(&own, &link).unwrap();
    let found = probe(&options(drivers(&[link.to_str().unwrap()]).path()));
    assert_eq!(found, Catalogue::default());
}

#[test]
fn a_library_that_is_not_there_or_no_driver_is_a_problem() {
    let folder = drivers(&["/nonexistent/libgone.so", "libc.so.6"]);
    let found = probe(&options(folder.path()));
    let [gone, libc] = found.problems.as_slice() else { panic!("{:?}", found.problems) };
    assert!(gone.to_string().contains("libgone.so") && gone.what.contains("reinstall"), "{gone}");
    assert!(libc.to_string().contains("libc.so.6") && libc.what.contains("no OpenCL"), "{libc}");
}

#[test]
fn a_crashing_driver_loses_only_its_own_devices() {
    check_bad_child("kill -SEGV $$", 60_000, &["signal 11"]);
}

#[test]
fn a_hanging_driver_is_killed_and_named() {
    // Long enough for the real child beside it on a busy machine.
    check_bad_child("sleep 600", 5_000, &["no answer within 5s"]);
}

#[test]
fn garbage_is_not_taken_for_devices() {
    check_bad_child("echo nonsense", 60_000, &["cannot be understood"]);
    check_bad_child("echo '{\"devices\": 7}'", 60_000, &["cannot be understood"]);
    check_bad_child("true", 60_000, &["cannot be understood"]);
}

#[test]
fn endless_output_is_cut_short() {
    check_bad_child("exec yes", 60_000, &["4194304 bytes"]);
}

#[test]
fn a_drivers_own_lines_and_a_crash_at_exit_do_not_hide_its_answer() {
    let answer = r#"echo "driver starting"; echo '{"devices":[],"problems":[]}'; kill -ABRT $$"#;
    check_bad_child(answer, 60_000, &["signal 6", "after it had listed"]);
}

#[test]
fn the_child_sees_only_what_it_needs_of_the_environment() {
    let folder = drivers(&["/opt/libbad.so"]);
    let found = probe_with_bad_child(folder.path(), "libbad", "env >&2; exit 1", 60_000);
    let [Problem { what, .. }] = found.problems.as_slice() else { panic!("{:?}", found.problems) };
    assert!(what.contains("PATH=") && !what.contains("CARGO_"), "{what}");
}

#[test]
fn a_program_that_cannot_be_started_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let result = probe_in_child(Path::new("/nonexistent/polder"), &[], &options(folder.path()));
    let error = result.unwrap_err();
    assert!(matches!(error, ProbeError::Start { .. }), "{error}");
    assert!(error.to_string().contains("/nonexistent/polder"), "{error}");
}
