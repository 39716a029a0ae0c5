//! The foreign boundaries, against small drivers in C that behave as no installed one does.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use polder_devices::{Catalogue, ProbeOptions, probe_in_child};
use polder_model::{Address, Api, Bytes, DeviceKind, Health, Mechanism};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

/// The folder with the two libraries, compiled once. `cc` is what links every Rust program, so it
/// is there. It lies in the target folder, for a static is never dropped.
static FAKES: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fakes");
    fs::create_dir_all(folder.join("vendors")).unwrap();
    for name in ["fake_icd", "fake_nvml"] {
        let source = format!("{}/tests/{name}.c", env!("CARGO_MANIFEST_DIR"));
        let fresh = folder.join(format!("{name}.{}", std::process::id()));
        let cc = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .args([fresh.as_os_str(), source.as_ref()])
            .status();
        assert!(cc.unwrap().success(), "{source} does not compile");
        // Replaced whole, for another run of these tests may have it open.
        fs::rename(fresh, folder.join(format!("lib{name}.so"))).unwrap();
    }
    let icd = folder.join("libfake_icd.so");
    fs::write(folder.join("vendors/fake.icd"), icd.to_str().unwrap()).unwrap();
    folder
});

fn probe_exe() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let exe = tests.ancestors().nth(2).unwrap().join("examples/catalogue");
    assert!(exe.exists(), "{} is not built: cargo test -p polder-devices", exe.display());
    exe
}

/// A probe of the fake OpenCL driver behaving as `icd` and the fake NVML as `nvml`; `absent`
/// leaves one out.
fn probe(icd: &str, nvml: &str) -> Catalogue {
    let path = |name: &str, wanted: &str| {
        let root = if wanted == "absent" { Path::new("/nonexistent") } else { FAKES.as_path() };
        Some(root.join(name))
    };
    let options = ProbeOptions {
        vendor_folder: path("vendors", icd),
        nvml_library: path("libfake_nvml.so", nvml),
        time_limit: Duration::from_secs(if icd == "hang" { 2 } else { 60 }),
        measure_bandwidth: false,
        environment: vec![("FAKE_ICD".into(), icd.into()), ("FAKE_NVML".into(), nvml.into())],
    };
    probe_in_child(&probe_exe(), &[], &options).unwrap()
}

/// No device, and one problem that holds all of `words`.
fn check_problem(found: &Catalogue, words: &[&str]) {
    assert!(found.devices.is_empty(), "{:?}", found.devices);
    let [problem] = found.problems.as_slice() else { panic!("{:?}", found.problems) };
    for word in words {
        assert!(problem.to_string().contains(word), "{word:?} is not in: {problem}");
    }
}

#[test]
fn an_opencl_card_alone() {
    let found = probe("well", "absent");
    assert_eq!(found.problems, []);
    let [card] = found.devices.as_slice() else { panic!("{:?}", found.devices) };
    assert_eq!(
        (card.id.as_str(), card.api, card.kind),
        ("opencl-0-0", Api::Opencl, DeviceKind::Gpu)
    );
    assert_eq!((card.memory, card.compute_units), (Bytes(79 << 30), 132));
    assert_eq!(card.pci_address.as_deref(), Some("0000:3b:00.0"));
    assert_eq!(card.mechanisms, [Mechanism::TimeSlice, Mechanism::Whole]);
}

#[test]
fn an_nvml_card_alone_beside_a_lost_one() {
    let found = probe("absent", "well");
    let [card] = found.devices.as_slice() else { panic!("{:?}", found.devices) };
    assert_eq!(card.id.as_str(), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    assert_eq!(
        (card.model.as_str(), card.driver.as_str()),
        ("NVIDIA H100 80GB HBM3", "NVIDIA 550.54.14")
    );
    assert_eq!((card.memory, card.compute_units), (Bytes(85_020_809_984), 132));
    assert_eq!(card.memory_bandwidth, Some(Bytes(3_352_320_000_000)));
    assert_eq!(card.health, Health::Healthy);
    for word in ["cuda", "sm_90", "fp8", "ecc", "mig"] {
        assert!(card.features.contains(word), "{word} is not in {:?}", card.features);
    }
    assert_eq!(card.mechanisms, [Mechanism::Whole]);
    assert!(found.problems[0].to_string().contains("card 1"), "{:?}", found.problems);
}

#[test]
fn one_card_through_both_is_one_device() {
    let found = probe("well", "well");
    let [card] = found.devices.as_slice() else { panic!("{:?}", found.devices) };
    assert_eq!(card.id.as_str(), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    assert!(matches!(&card.address, Address::Opencl { platform, .. } if platform == "NVIDIA CUDA"));
    assert_eq!((card.memory, card.memory_bandwidth.is_some()), (Bytes(79 << 30), true));
    assert_eq!(card.mechanisms, [Mechanism::TimeSlice, Mechanism::Whole]);
}

#[test]
fn a_driver_without_cards_is_no_problem() {
    for (icd, nvml) in [("none", "absent"), ("empty", "absent"), ("absent", "no_driver")] {
        assert_eq!(probe(icd, nvml), Catalogue::default(), "{icd} {nvml}");
    }
}

#[test]
fn a_driver_that_crashes_leaves_a_problem() {
    check_problem(&probe("crash", "absent"), &["libfake_icd.so", "signal 11"]);
}

#[test]
fn a_crash_leaves_the_card_to_whom_else_sees_it() {
    let found = probe("crash", "well");
    assert_eq!(found.devices[0].mechanisms, [Mechanism::Whole]);
}

#[test]
fn a_driver_that_hangs_is_killed() {
    check_problem(&probe("hang", "absent"), &["libfake_icd.so", "no answer within 2s"]);
}

#[test]
fn a_driver_that_answers_with_an_error_is_told() {
    check_problem(&probe("error", "absent"), &["libfake_icd.so", "NVIDIA CUDA", "error -6"]);
    check_problem(&probe("absent", "mismatch"), &["libfake_nvml.so", "restart the machine"]);
}

#[test]
fn a_drivers_own_lines_do_not_hide_its_devices() {
    let found = probe("noise", "absent");
    assert_eq!((found.devices.len(), found.problems.len()), (1, 0), "{:?}", found.problems);
}

#[test]
fn a_card_with_a_fault_says_so() {
    for (nvml, words) in [("remap", "replace"), ("mig", "MIG mode")] {
        let health = probe("absent", nvml).devices.remove(0).health;
        assert!(matches!(&health, Health::Faulty(why) if why.contains(words)), "{health:?}");
    }
}
