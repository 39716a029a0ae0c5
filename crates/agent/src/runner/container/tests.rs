//! The words of both runtimes for the same lease.

use super::docker::Daemon;
use super::*;
use crate::shim::{CudaLibraries, NvmlLibraries, test_plan};
use polder_model::{Address, Mechanism};

const UUID: &str = "GPU-6f0c8a4e-1111-2222-3333-444455556666";

fn podman() -> Podman {
    Podman {
        program: "/usr/bin/podman".into(),
        runtime: Some("/usr/bin/runc"),
        has_init: true,
        splits: false,
    }
}

fn docker() -> Docker {
    Docker { program: "/usr/bin/docker".into(), socket: "/run/d.sock".into() }
}

fn plan() -> Plan {
    let mut plan = test_plan(&["--privileged", "x"]);
    plan.order.work.directory = "/home/ada".into();
    plan.driver = Some("/opt/libpolder_opencl.so".into());
    plan.addresses =
        vec![Address::Opencl { library: "libpocl.so.2".into(), platform: "PoCL".into(), index: 0 }];
    plan
}

/// The same with a card that CUDA reaches.
fn card() -> Plan {
    let mut plan = plan();
    plan.driver = None;
    plan.addresses = vec![Address::Nvml { index: 0, uuid: UUID.into() }];
    plan.nodes = Some(vec!["/dev/nvidia1".into(), "/dev/nvidiactl".into()]);
    let nvml = Some(NvmlLibraries { ours: "/n.so".into(), vendor: "/nowhere/libnvml.so.5".into() });
    plan.cuda =
        Some(CudaLibraries { ours: "/c.so".into(), vendor: "/nowhere/libcuda.so.5".into(), nvml });
    plan
}

fn with<T>(act: impl FnOnce(&Moment<'_>) -> T) -> T {
    let limit = Rlimit { current: Some(1024), maximum: None };
    let account = Account { uid: 1001, gid: 100, name: None };
    act(&Moment {
        dir: Path::new("/s/L7"),
        terminal: false,
        open_files: limit,
        processes: limit,
        cgroup: Some("/polder/L7-9"),
        account: &account,
        home: "/home/ada",
        runtime_dir: None,
    })
}

fn start(plan: &Plan) -> Start {
    let environment = [
        ("SECRET", "s"),
        ("PATH", "/mine"),
        ("LD_PRELOAD", "/evil.so"),
        ("CONTAINER_HOST", "tcp://elsewhere"),
        ("DOCKER_HOST", "tcp://elsewhere"),
        ("NVIDIA_VISIBLE_DEVICES", "all"),
        ("OCL_ICD_VENDORS", "/s/L7/icd"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let runtime = Runtime::Podman(podman());
    let subject = ("localhost/tools:1", 9);
    with(|moment| runtime.start(plan, subject, &environment.into(), moment)).unwrap()
}

/// What Docker is told of a lease before the variables and the image.
fn docker_words(plan: &Plan) -> Vec<String> {
    let daemon = Daemon { has_init: true };
    let words = with(|moment| docker().spell(plan, "polder-L7-9", moment, (&daemon, &[100, 27])));
    words.unwrap()
}

/// Mounts of both, which must agree: from, to, and whether it is read-only.
fn mounts(plan: &Plan) -> Vec<String> {
    let begins = |word: &&str| word.starts_with("type=bind,");
    let podman = with(|moment| podman().words(plan, "n", moment));
    let podman = podman.iter().map(String::as_str).filter(begins);
    let podman: Vec<String> = podman.map(|word| word.replace(",ro=true", " ro")).collect();
    let docker = docker_words(plan);
    let docker = docker.iter().filter_map(|word| word.strip_prefix("--mount=")).filter(begins);
    let docker: Vec<String> = docker.map(|word| word.replace(",readonly", " ro")).collect();
    assert_eq!(podman, docker);
    let short =
        |word: &String| word.replace("type=bind,source=", "").replace(",destination=", " -> ");
    docker.iter().map(short).collect()
}

#[test]
fn words_of_the_user_are_values_and_never_flags() {
    let start = start(&plan());
    let end = start.words.iter().position(|word| word == "--").unwrap();
    assert_eq!(start.words[end + 1..], ["localhost/tools:1", "--privileged", "x"]);
    assert!(start.words[..end].iter().all(|word| !word.contains("privileged")));
    assert!(!start.words.iter().any(|word| word == "--tty=true"), "{:?}", start.words);
}

#[test]
fn of_the_machine_it_has_the_directory_the_socket_and_polders_driver() {
    assert_eq!(
        mounts(&plan()),
        [
            "/home/ada -> /home/ada",
            "/s/L7/driver.sock -> /s/L7/driver.sock",
            "/s/L7/icd -> /etc/OpenCL/vendors ro",
            "/opt/libpolder_opencl.so -> /opt/libpolder_opencl.so ro",
        ]
    );
    let words = start(&plan()).words;
    for word in [
        "--ulimit=nofile=1024:-1",
        "--ulimit=nproc=1024:32768",
        "--cgroup-parent=/polder/L7-9",
        "--name=polder-L7-9",
    ] {
        assert!(words.contains(&word.to_owned()), "{word}");
    }
    assert!(!words.iter().any(|word| word.starts_with("--device")));
}

#[test]
fn docker_holds_a_task_in_the_leases_cgroup_as_its_user_for_good() {
    let words = docker_words(&plan());
    assert_eq!(words[..3], ["docker", "--host=unix:///run/d.sock", "run"]);
    for word in [
        "--cgroup-parent=/polder/L7-9",
        "--user=1001:100",
        "--group-add=27",
        "--security-opt=no-new-privileges",
        "--init=true",
        "--rm=true",
    ] {
        assert!(words.contains(&word.to_owned()), "{word} in {words:?}");
    }
    assert!(!words.iter().any(|word| word == "--group-add=100"), "that one is first");
    let daemon = Daemon { has_init: false };
    let homeless = with(|moment| {
        let moment = Moment { cgroup: None, ..*moment };
        docker().spell(&plan(), "n", &moment, (&daemon, &[]))
    });
    assert!(homeless.unwrap_err().contains("run the daemon as root"));
}

#[test]
fn a_daemon_of_dockers_must_make_cgroups_itself() {
    assert_eq!(Daemon::read("cgroupfs docker-init\n"), Ok(Daemon { has_init: true }));
    assert_eq!(Daemon::read("cgroupfs\n"), Ok(Daemon { has_init: false }));
    for odd in ["systemd docker-init", "", "none"] {
        let why = Daemon::read(odd).unwrap_err();
        assert!(why.contains("native.cgroupdriver=cgroupfs"), "{why}");
    }
}

#[test]
fn a_shared_card_is_shown_with_our_libraries_under_the_vendors_names() {
    let all = mounts(&card());
    for word in [
        "/c.so -> /usr/lib64/libcuda.so.1 ro",
        "/c.so -> /usr/lib64/libcuda.so ro",
        "/n.so -> /usr/lib64/libnvidia-ml.so.1 ro",
        "/nowhere/libcuda.so.5 -> /s/L7/cuda/vendor/libcuda.so.1 ro",
        "/nowhere/libnvml.so.5 -> /s/L7/cuda/vendor/libnvidia-ml.so.1 ro",
        "/s/L7/icd -> /etc/OpenCL/vendors ro",
    ] {
        assert!(all.contains(&word.to_owned()), "{word} in {all:?}");
    }
    for words in [start(&card()).words, docker_words(&card())] {
        let nodes: Vec<&String> = words.iter().filter(|it| it.starts_with("--device")).collect();
        assert_eq!(nodes, ["--device=/dev/nvidia1", "--device=/dev/nvidiactl"]);
        assert!(!words.iter().any(|word| word.starts_with("--ipc")), "memory of its own");
    }
}

#[test]
fn a_whole_card_is_shown_with_the_vendors_own_and_nothing_of_polders() {
    let mut whole = card();
    whole.order.lease.slices[0].mechanism = Mechanism::Whole;
    let all = mounts(&whole);
    assert!(all.contains(&"/nowhere/libcuda.so.5 -> /usr/lib64/libcuda.so.1 ro".to_owned()));
    assert!(all.contains(&"/nowhere/libnvml.so.5 -> /usr/lib64/libnvidia-ml.so.1 ro".to_owned()));
    assert!(!all.iter().any(|mount| mount.contains("/c.so") || mount.contains("driver.sock")));
    assert!(!all.iter().any(|mount| mount.contains("OpenCL")), "its image's own");
    assert!(docker_words(&whole).contains(&"--device=/dev/nvidia1".to_owned()));
}

#[test]
fn a_spatial_part_is_shown_its_control_daemon_and_shares_memory_with_its_server() {
    let mut spatial = card();
    spatial.order.lease.slices[0].mechanism = Mechanism::Spatial;
    let part = crate::spatial::words::Part { compute: polder_model::Permille(255), memory_mib: 1 };
    let (pipe, uuid) = (PathBuf::from("/s/mps/0"), UUID.to_owned());
    spatial.mps = Some(crate::spatial::words::Place { pipe, uuid, part, partition: None });
    let all = mounts(&spatial);
    assert!(all.contains(&"/s/mps/0 -> /s/mps/0".to_owned()), "{all:?}");
    assert!(all.contains(&"/nowhere/libcuda.so.5 -> /usr/lib64/libcuda.so.1 ro".to_owned()));
    for words in [start(&spatial).words, docker_words(&spatial)] {
        assert!(words.contains(&"--ipc=host".to_owned()), "{words:?}");
    }
}

#[test]
fn variables_are_the_jobs_without_those_of_the_machine_and_of_the_runtime() {
    let start = start(&plan());
    assert_eq!(start.environment["SECRET"], "s");
    assert!(start.words.contains(&"--env=SECRET".to_owned()));
    assert!(!start.words.iter().any(|word| word.contains("=s")), "{:?}", start.words);
    for name in ["PATH", "LD_PRELOAD", "CONTAINER_HOST", "DOCKER_HOST", "HOME"] {
        assert!(!start.words.contains(&format!("--env={name}")), "{name}");
    }
    assert!(!start.environment.contains_key("CONTAINER_HOST"));
    assert!(!start.environment.contains_key("DOCKER_HOST"));
    assert!(!start.environment.contains_key("LD_PRELOAD"));
    assert_eq!(start.environment["OCL_ICD_VENDORS"], "/etc/OpenCL/vendors");
    assert_eq!(start.environment["NVIDIA_VISIBLE_DEVICES"], "void");
    assert_eq!(start.environment["PATH"], "/usr/local/bin:/usr/bin:/bin");
}

#[test]
fn what_cannot_be_handed_in_is_named() {
    let check = |change: fn(&mut Plan), words: Option<&str>| {
        let mut plan = card();
        change(&mut plan);
        let why = barred(&plan);
        assert!(
            why.as_deref().unwrap_or("").contains(words.unwrap_or(""))
                && why.is_some() == words.is_some(),
            "{why:?}"
        );
    };
    check(|plan| plan.order.lease.slices[0].mechanism = Mechanism::Whole, None);
    check(|_| (), None);
    check(|plan| plan.order.lease.slices[0].mechanism = Mechanism::Mig, Some("no slice by mig"));
    check(|plan| plan.nodes = None, Some("which device nodes belong to its devices"));
    check(|plan| plan.cuda = None, Some("--driver-folder"));
    for odd in ["/home/a,source=/", "/home/a\ntype=bind", "/home/\"a", "/home/a\r"] {
        let mut plan = card();
        plan.order.work.directory = odd.into();
        assert!(barred(&plan).unwrap().contains("leave out ,"), "{odd:?}");
    }
    assert_eq!(barred(&plan()), None);
}

#[test]
fn what_starts_containers_is_named_in_words() {
    for text in ["auto", "podman", "docker", "docker:/run/d.sock"] {
        assert_eq!(text.parse::<Containers>().unwrap().to_string(), text);
    }
    for odd in ["", "Docker", "docker:", "docker:run/d.sock", "tcp://x", "podman:/x"] {
        let why = odd.parse::<Containers>().unwrap_err().to_string();
        assert!(why.contains("starts no containers"), "{why}");
    }
    let none = Containers::Docker(Some("/nowhere/docker.sock".into()));
    let why = Runtime::find(&none).unwrap_err();
    assert!(why.contains("does not listen on /nowhere/docker.sock") || why.contains("install"));
}

#[test]
fn whether_a_program_began_is_told_by_what_became_of_its_container() {
    let check = |events: &str, began| assert_eq!(super::podman::began(events), began, "{events:?}");
    check("create\ninit\nstart\nattach\ndied\nremove\n", Some(true));
    check("create\nremove\n", Some(false));
    check("create\ninit\nremove\n", Some(false));
    // Nobody wrote it down, or it is forgotten.
    check("", None);
    check("remove\n", None);
}

#[test]
fn who_asked_for_few_processes_is_told_that_a_runtime_needs_some() {
    let mut plan = test_plan(&["true"]);
    assert!(!super::failed(&plan).evidence.contains("--pids"));
    plan.order.host.pids = Some(4 << 20);
    let finding = super::failed(&plan);
    assert!(finding.evidence.contains("--pids, which is 4194304: ask for more"), "{finding:?}");
    assert_eq!(polder_model::Finding::bounded(vec![finding.clone()]), [finding], "none is cut");
}

#[test]
fn a_runtimes_words_on_a_program_have_the_usual_codes() {
    let (runc, crun) = ("runc create failed: unable to start container process: ", "crun: ");
    let (gone, barred) = (
        ": OCI runtime attempted to invoke a command that was not found",
        ": OCI permission denied",
    );
    let check = |said: &str, code| assert_eq!(super::podman::code_of(said), code, "{said}");
    check(&format!("{runc}exec: \"x\": executable file not found in $PATH{gone}"), Some(127));
    check(&format!("{crun}executable file `x` not found in $PATH: No such file{gone}"), Some(127));
    check(&format!("{runc}exec: \"/bin\": permission denied{barred}"), Some(126));
    check(&format!("{crun}open executable: Permission denied{barred}"), Some(126));
    check(&format!("{runc}error setting rlimit type 7: operation not permitted{barred}"), None);
    check("podman init: not within 20 s", None);
}
