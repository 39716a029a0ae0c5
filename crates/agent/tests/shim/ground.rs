//! What a task finds when it starts.

use crate::kit::{Lease, SHIM, is_root, plan, script, skip};
use polder_agent::shim::Plan;
use polder_model::{Address, Isolation, Outcome};

/// A lease that is intercepted. Any readable file does for a driver: nothing loads it here.
fn intercepted(text: &str) -> Plan {
    let mut plan = script(text);
    plan.addresses = vec![Address::Opencl {
        library: "libpocl.so.2".into(),
        platform: "Portable Computing Language".into(),
        index: 0,
    }];
    plan.driver = Some("/etc/hostname".into());
    plan
}

fn check(text: &str, expect: &str) {
    let (lease, outcome) = Lease::run(&script(text));
    assert_eq!((outcome, lease.output().trim()), (Outcome::Succeeded, expect), "{text}");
}

#[test]
fn a_task_starts_clean() {
    // Its own session and group, no descriptor but three, every signal as the system has it.
    check("test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo own", "own");
    check("test $(cut -d' ' -f5 /proc/$$/stat) = $$ && echo own", "own");
    check("umask", "0022");
    check("cat; pwd", "/");
    // The fourth is the one that ls itself opened.
    assert_eq!(Lease::run(&plan(&["ls", "/proc/self/fd"])).0.output(), "0\n1\n2\n3\n");
    let (lease, _) = Lease::run(&plan(&["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]));
    let none = "0".repeat(16);
    assert_eq!(lease.output(), format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"));
}

#[test]
fn its_environment_is_the_orders_and_polders() {
    let mut plan = plan(&["env"]);
    plan.order.work.environment.insert("MINE".into(), "two words".into());
    let (lease, _) = Lease::run(&plan);
    let output = lease.output();
    for line in ["MINE=two words", "RANK=0", "WORLD_SIZE=1", "POLDER_LEASE=L7", "POLDER_JOB=3"] {
        assert!(output.lines().any(|found| found == line), "{line} in {output}");
    }
    let socket = format!("POLDER_SOCKET={}", lease.file("driver.sock").display());
    assert!(output.contains(&socket) && !output.contains("HOME="), "{output}");
    assert!(!output.contains("LD_PRELOAD") && !output.contains("LD_AUDIT"), "{output}");
}

#[test]
fn clearing_the_environment_changes_no_icd_where_mounts_are_permitted() {
    let text = "env -i /bin/ls /etc/OpenCL/vendors; cat $OCL_ICD_VENDORS/*; sleep 600";
    let lease = Lease::prepared(&intercepted(text));
    let state = lease.state();
    let polder_agent::shim::ShimPhase::Prepared { isolation, .. } = state.phase else {
        panic!("{state:?}");
    };
    if isolation == Isolation::None {
        return skip(&state.notes.join("; "));
    }
    assert_eq!(isolation, Isolation::Soft);
    lease.client().start(None, false, None).unwrap();
    if std::path::Path::new("/etc/OpenCL/vendors").exists() {
        lease.line("polder.icd");
    }
    lease.line("/etc/hostname");
    let ours = lease.dir().file_name().unwrap().to_str().unwrap().to_owned();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts().contains(&ours), "the mount is seen outside");
    drop(lease);
    assert!(!mounts().contains(&ours), "the mount was left behind");
}

/// A lease whose card programs reach through CUDA. Any files do for libraries: nothing loads them.
fn cuda(text: &str, folder: &std::path::Path) -> Plan {
    let mut plan = script(text);
    let uuid = "GPU-6f0c8a4e-1111-2222-3333-444455556666".to_owned();
    plan.addresses = vec![Address::Nvml { index: 0, uuid }];
    let (ours, vendor) = (folder.join("ours.so"), folder.join("libcuda.so.999.1"));
    std::fs::write(&ours, "ours\n").unwrap();
    std::fs::write(&vendor, "the vendor's\n").unwrap();
    let nvml = polder_agent::shim::NvmlLibraries {
        ours: folder.join("nvml.so"),
        vendor: folder.join("libnvidia-ml.so.999.1"),
    };
    std::fs::write(&nvml.ours, "our nvml\n").unwrap();
    std::fs::write(&nvml.vendor, "the vendor's nvml\n").unwrap();
    plan.cuda = Some(polder_agent::shim::CudaLibraries { ours, vendor, nvml: Some(nvml) });
    plan
}

#[test]
fn the_vendors_libraries_are_ours_under_every_name_and_ours_find_them_where_mounts_are_permitted() {
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let at = folder.path().display();
    let text = format!(
        "cat $LD_LIBRARY_PATH/libcuda.so.1; env -i /bin/cat {at}/libcuda.so.999.1; \
         cat $LD_LIBRARY_PATH/vendor/libcuda.so.1; cat $LD_LIBRARY_PATH/libnvidia-ml.so.1; \
         env -i /bin/cat {at}/libnvidia-ml.so.999.1; \
         cat $LD_LIBRARY_PATH/vendor/libnvidia-ml.so.1; echo $CUDA_VISIBLE_DEVICES; sleep 600"
    );
    let lease = Lease::prepared(&cuda(&text, folder.path()));
    let state = lease.state();
    let polder_agent::shim::ShimPhase::Prepared { isolation, .. } = state.phase else {
        panic!("{state:?}");
    };
    if isolation == Isolation::None {
        return skip(&state.notes.join("; "));
    }
    lease.client().start(None, false, None).unwrap();
    lease.line("GPU-6f0c8a4e-1111-2222-3333-444455556666");
    let lines: Vec<String> = lease.output().lines().map(str::to_owned).collect();
    assert_eq!(lines[..3], ["ours", "ours", "the vendor's"]);
    assert_eq!(lines[3..6], ["our nvml", "our nvml", "the vendor's nvml"]);
    let here = std::fs::read_to_string(folder.path().join("libcuda.so.999.1")).unwrap();
    assert_eq!(here, "the vendor's\n", "nothing has changed outside");
}

#[test]
fn a_job_without_devices_finds_no_driver_of_any() {
    let text = "for name in CUDA NVIDIA ROCR; do printenv ${name}_VISIBLE_DEVICES; done; \
                ls -A \"$OCL_ICD_VENDORS\"; env -i /bin/ls -A /etc/OpenCL/vendors; echo end";
    let mut plan = intercepted(text);
    plan.order.lease.slices.clear();
    plan.addresses.clear();
    let lease = Lease::prepared(&plan);
    let state = lease.state();
    let polder_agent::shim::ShimPhase::Prepared { isolation, .. } = state.phase else {
        panic!("{state:?}");
    };
    lease.client().start(None, false, None).unwrap();
    assert_eq!(lease.end().outcome, Outcome::Succeeded);
    if isolation == Isolation::None {
        assert!(state.notes.iter().any(|note| note.contains("finds the devices")), "{state:?}");
        return skip(&state.notes.join("; "));
    }
    assert_eq!((isolation, lease.output().as_str()), (Isolation::Soft, "\n\n\nend\n"));
}

#[test]
fn a_mount_stays_the_tasks_own_where_mounts_are_shared() {
    if !is_root() {
        return skip("only root may make a mount namespace with shared mounts");
    }
    let lease = Lease::planned(&intercepted("echo on; sleep 600"));
    let me = std::env::current_exe().unwrap();
    let me = me.to_str().unwrap();
    // The shim's own namespace passes mounts on, as a machine's first one usually does.
    let args = ["--mount", "--propagation", "shared", me, "--exact", SHIM, "--nocapture"];
    polder_agent::shim::spawn_shim("/usr/bin/unshare".as_ref(), &args, lease.dir()).unwrap();
    lease.client().start(None, false, None).unwrap();
    lease.line("on");
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", lease.state().shim));
    let mounts = mounts.unwrap();
    assert!(mounts.contains(" shared:"), "{mounts}");
    assert!(!mounts.contains("/icd "), "the mount has spread: {mounts}");
}

#[test]
fn a_whole_device_is_not_intercepted() {
    let mut plan = intercepted("env");
    plan.order.lease.slices[0].mechanism = polder_model::Mechanism::Whole;
    let (lease, _) = Lease::run(&plan);
    let output = lease.output();
    assert!(!output.contains("OCL_ICD_VENDORS") && !output.contains("POLDER_SOCKET"), "{output}");
}

#[test]
fn a_task_runs_as_its_user() {
    if !is_root() {
        return skip("only root may run a task as another user");
    }
    let mut plan = script("id -u; id -g; id -G");
    plan.order.lease.user = "nobody".parse().unwrap();
    let (lease, outcome) = Lease::run(&plan);
    assert_eq!((outcome, lease.output().as_str()), (Outcome::Succeeded, "65534\n65534\n65534\n"));
    plan.order.lease.user = "uid-4242".parse().unwrap();
    assert_eq!(Lease::run(&plan).0.output(), "4242\n4242\n4242\n");
}

#[test]
fn a_user_who_cannot_reach_the_socket_is_told_so() {
    if !is_root() {
        return skip("only root may run a task as another user");
    }
    let mut plan = plan(&["true"]);
    plan.order.lease.user = "nobody".parse().unwrap();
    let lease = Lease::prepared(&plan);
    std::fs::set_permissions(lease.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    lease.client().start(None, false, None).unwrap();
    let Outcome::NotStarted { why } = lease.end().outcome else { panic!("it started") };
    assert!(why.contains("searchable for all"), "{why}");
}

#[test]
fn limits_on_cpu_and_processes_are_set_where_permitted() {
    let mut plan = script("cat /proc/self/cgroup; (:) || echo full; sleep 600");
    plan.order.host.cpu = Some(polder_model::MilliCpu(500));
    plan.order.host.pids = Some(100);
    let lease = Lease::started(&plan);
    let state = lease.state();
    if !state.not_enforced.is_empty() {
        return skip(&format!("{:?}", state.not_enforced));
    }
    lease.line("");
    let read = |name: &str| {
        state.cgroups.iter().find_map(|path| std::fs::read_to_string(path.join(name)).ok())
    };
    let quota = read("cpu.cfs_quota_us").or_else(|| read("cpu.max")).unwrap();
    assert!(quota.starts_with("50000"), "{quota}");
    assert_eq!(read("pids.max").unwrap().trim(), "100");
    let folders = state.cgroups.clone();
    drop(lease);
    assert!(folders.iter().all(|path| !path.exists()), "{folders:?}");
}

#[test]
fn rank_zero_reserves_a_port_until_the_start() {
    let lease = Lease::prepared(&script("echo port $MASTER_PORT at $MASTER_ADDR; sleep 600"));
    let state = lease.state();
    let polder_agent::shim::ShimPhase::Prepared { master_port: Some(port), .. } = state.phase
    else {
        panic!("{state:?}");
    };
    assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_err(), "it is not reserved");
    lease.client().start(None, false, None).unwrap();
    assert_eq!(lease.line("port "), format!("{port} at 127.0.0.1"));
    std::net::TcpListener::bind(("0.0.0.0", port)).unwrap();
}
