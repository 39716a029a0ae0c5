//! Leases that share a card spatially: NVIDIA's own MPS control daemon under a real daemon of ours, on a
//! stand-in for the card.
//!
//! There is no card here: NVML is a stand-in, no MPS server can start and no program computes. What is
//! shown is everything up to the vendor's server: who is placed where, what programs are told, what
//! the control daemon holds, and what becomes of it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "a skip is said aloud")]

mod common;
#[path = "../../agent/tests/support/mps_program.rs"]
mod mps_program;

use common::{POLDER, Pool, soon};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A machine with a stand-in H200 and the vendor's MPS, or a stand-in for a newer one.
struct Machine {
    host: Child,
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Machine {
    fn new() -> Option<Self> {
        mps_program::find().map(|program| Self::with(program.to_owned()))
    }

    /// With a control program that cuts static partitions: a STAND-IN, since Debian's is too old.
    fn newer() -> Self {
        let mut machine = Self::with(PathBuf::new());
        let built = Path::new(POLDER).parent().unwrap().join("standin-mps-control");
        let bin = machine.folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        machine.program = bin.join("nvidia-cuda-mps-control");
        std::fs::copy(built, &machine.program).unwrap();
        machine
    }

    fn with(program: PathBuf) -> Self {
        let profile = Path::new(POLDER).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "polder-standin-nvml", "-p", "polder-standin-host"]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the stand-ins build");
        let folder = tempfile::tempdir().unwrap();
        let library = profile.join("libstandin_nvml.so");
        std::os::unix::fs::symlink(library, folder.path().join("libnvidia-ml.so.1")).unwrap();
        let socket = folder.path().join("device");
        let mut host = Command::new(profile.join("standin-host"));
        host.arg(&socket).arg("H200").stdin(Stdio::piped()).stdout(Stdio::null());
        let host = host.spawn().unwrap();
        soon("the stand-in card", || socket.exists().then_some(()));
        Self { host, folder, program }
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        let path = std::env::var("PATH").unwrap_or_default();
        let here = self.folder.path();
        [
            ("PATH", format!("{}:{path}", self.program.parent().unwrap().display())),
            ("LD_LIBRARY_PATH", here.display().to_string()),
            ("STANDIN_SOCKET", here.join("device").display().to_string()),
        ]
    }

    fn pool(&self, flags: &[&str]) -> Option<Pool> {
        let variables = self.variables();
        Pool::start_in(&with(flags), &variables.each_ref().map(|(name, value)| (*name, &**value)))
    }

    fn restart(&self, pool: &Pool, flags: &[&str]) {
        let variables = self.variables();
        pool.restart_in(&with(flags), &variables.each_ref().map(|(name, value)| (*name, &**value)));
    }

    /// What the control daemon of the first folder says.
    fn ask(&self, pool: &Pool, words: &str) -> String {
        let script = format!("echo {words} | {}", self.program.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("CUDA_MPS_PIPE_DIRECTORY", pool.file("mps/0"));
        String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

fn with<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [&["--no-listen"], flags].concat()
}

fn daemon(pool: &Pool) -> Option<u32> {
    let file = pool.file("mps/0/nvidia-cuda-mps-control.pid");
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn gone(pool: &Pool) {
    let folder: PathBuf = pool.file("mps/0");
    soon("the end of the control daemon", || (!folder.exists()).then_some(()));
}

const PART: [&str; 6] = ["--mechanism", "spatial", "--compute", "30%", "--memory", "10GiB"];

#[test]
fn leases_share_a_card_beside_each_other_under_one_daemon() {
    let Some(machine) = Machine::new() else { return };
    let Some(pool) = machine.pool(&["--spatial", "all"]) else { return };
    let devices = pool.ok(&["devices"]);
    assert!(
        devices.lines().any(|line| line.contains("GPU-7374616e") && line.contains("mps")),
        "{devices}"
    );

    let until = pool.file("until");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", until.display());
    let first = pool.submit(&PART, &format!("env | sort; {wait}"));
    pool.wait_state(&first, "running");
    let log = soon("its environment", || {
        let log = pool.ok(&["logs", &first]);
        log.contains("CUDA_VISIBLE_DEVICES").then_some(log)
    });
    for line in [
        format!("CUDA_MPS_PIPE_DIRECTORY={}", pool.file("mps/0").display()),
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=30".to_owned(),
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=10240M".to_owned(),
        "CUDA_VISIBLE_DEVICES=GPU-7374616e-642d-696e-2064-657669636530".to_owned(),
    ] {
        assert!(log.lines().any(|it| it == line), "no {line} in {log}");
    }
    assert_eq!(machine.ask(&pool, "get_default_active_thread_percentage"), "30.0");
    let shown = pool.json(&["show", &first]);
    let lease = &shown["leases"][0]["lease"];
    assert_eq!(lease["isolation"], "none", "a program that clears its environment is not held");
    assert_eq!(lease["slices"][0]["compute_max"], 300, "it lends nothing and borrows nothing");

    let larger = ["--mechanism", "spatial", "--compute", "60%", "--memory", "20GiB"];
    let second = pool.submit(&larger, &wait);
    pool.wait_state(&second, "running");
    assert_eq!(machine.ask(&pool, "get_default_active_thread_percentage"), "60.0");
    let third = pool.submit(&PART, "true");
    let why = pool.ok(&["explain", &third]);
    assert_eq!(pool.state(&third), "queued", "{why}");
    // Nobody has turns on it meanwhile.
    let turns =
        ["--model", "H200", "--compute", "10%", "--memory", "1GiB", "--mechanism", "time-slice"];
    let refused = pool.say(&[&["submit"], &turns[..], &["--", "true"]].concat());
    assert!(refused.stderr.contains("cannot be cut by time_slice"), "{refused:?}");

    std::fs::write(&until, "").unwrap();
    for job in [&first, &second, &third] {
        pool.wait_state(job, "finished");
    }
    gone(&pool);
}

/// Static partitions, with a STAND-IN for a control program that cuts them: what each lease is told, and
/// what the control daemon has.
#[test]
fn leases_of_a_cut_card_are_told_partitions_of_their_own() {
    let machine = Machine::newer();
    let Some(pool) = machine.pool(&["--spatial", "all", "--spatial-partitions"]) else { return };
    let devices = pool.ok(&["devices"]);
    assert!(devices.contains("mps_partitions"), "{devices}");
    let until = pool.file("until");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", until.display());
    let script = format!("env | sort; {wait}");
    let mine = |name: &str| std::env::var_os(name).is_some();
    assert!(!mine("CUDA_MPS_SM_PARTITION"), "the test's own environment would be the job's");
    let submit = |more: &[&str]| {
        let job = pool.submit(more, &script);
        pool.wait_state(&job, "running");
        let log = soon("its environment", || {
            let log = pool.ok(&["logs", &job]);
            log.contains("CUDA_VISIBLE_DEVICES").then_some(log)
        });
        let cut = log.lines().find_map(|line| line.strip_prefix("CUDA_MPS_SM_PARTITION="));
        let cut = cut.unwrap_or_else(|| panic!("no partition in {log}")).to_owned();
        assert!(!log.contains("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"), "{log}");
        assert!(log.contains("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0="), "{log}");
        (job, cut)
    };
    let larger = ["--mechanism", "spatial", "--compute", "60%", "--memory", "20GiB"];
    let ((first, one), (second, other)) = (submit(&PART), submit(&larger));
    assert_ne!(one, other);
    for cut in [&one, &other] {
        let name = cut.strip_prefix("GPU-7374616e-642d-696e-2064-657669636530/").unwrap();
        assert!(machine.ask(&pool, "lspart").contains(name), "the daemon has cut it");
    }
    let lease = &pool.json(&["show", &first])["leases"][0]["lease"];
    assert_eq!(lease["isolation"], "none", "a program that clears its environment is not held");
    let status = pool.path().join(format!("leases/L{}/status.json", lease["id"]));
    let status = std::fs::read_to_string(status).unwrap();
    // 39 of 132, in whole chunks of eight.
    assert!(status.contains("32 multiprocessors of its own"), "{status}");

    // A part that is no chunk is refused, and says which would be one.
    let small = ["--mechanism", "spatial", "--compute", "5%", "--memory", "1GiB"];
    let refused = pool.say(&[&["run"], &small[..], &["--", "true"]].concat());
    assert!(refused.code == 127 && refused.stderr.contains("ask for 6.1%"), "{refused:?}");
    std::fs::write(&until, "").unwrap();
    pool.wait_state(&first, "finished");
    pool.wait_state(&second, "finished");
    gone(&pool);
}

/// The vendor's own program of an older driver cuts none: its cards stay as they are, and it is said.
#[test]
fn a_control_program_that_cuts_no_partitions_shares_no_card_so() {
    let Some(machine) = Machine::new() else { return };
    let Some(pool) = machine.pool(&["--spatial", "all", "--spatial-partitions"]) else { return };
    let refused = pool.say(&[&["submit"], &PART[..], &["--", "true"]].concat());
    assert!(refused.stderr.contains("cannot be cut by spatial"), "{refused:?}");
    assert!(pool.log().contains("leave out --spatial-partitions"), "{}", pool.log());
}

#[test]
fn the_daemon_outlives_the_agent_and_an_agent_outlives_the_daemon() {
    let Some(machine) = Machine::new() else { return };
    let Some(pool) = machine.pool(&["--spatial", "all"]) else { return };
    let until = pool.file("until");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", until.display());
    let job = pool.submit(&PART, &wait);
    pool.wait_state(&job, "running");
    let before = daemon(&pool).unwrap();
    pool.crash();
    // Started with other words, it leaves the card as it is until nobody has a part of it.
    machine.restart(&pool, &[]);
    pool.wait_state(&job, "running");
    assert_eq!(daemon(&pool), Some(before));
    let second = pool.submit(&PART, "true");
    pool.wait_state(&second, "finished");

    let raw = rustix::process::Pid::from_raw(i32::try_from(before).unwrap()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
    soon("another control daemon", || daemon(&pool).filter(|pid| *pid != before));
    soon("its limits", || {
        (machine.ask(&pool, "get_default_active_thread_percentage") == "30.0").then_some(())
    });
    assert!(pool.log().contains("has died under its leases"), "{}", pool.log());
    assert_eq!(pool.state(&job), "running", "what runs goes on");
    std::fs::write(&until, "").unwrap();
    pool.wait_state(&job, "finished");
    gone(&pool);
    pool.crash();
    machine.restart(&pool, &[]);
    // The daemon answers before its agent has told what it now offers.
    soon("a card that is not shared so any more", || {
        (!pool.ok(&["devices"]).contains(" mps")).then_some(())
    });
    let refused = pool.say(&[&["submit"], &PART[..], &["--", "true"]].concat());
    assert!(refused.stderr.contains("cannot be cut by spatial"), "{refused:?}");
}

#[test]
fn what_cannot_be_a_spatial_part_is_refused_by_name() {
    let Some(pool) = Pool::start() else { return };
    let check = |more: &[&str], words: &str| {
        let said = pool.say(&[&["submit"], &PART[..], more, &["--", "true"]].concat());
        assert!(said.code != 0 && said.stderr.contains(words), "{said:?}");
    };
    check(&[], "cannot be cut by spatial");
    check(&["--devices", "2"], "spatial part of one device");
    check(&["--compute-max", "50%"], "as large as it is");
    let odd = common::say(pool.polder(["up", "--spatial", "a b"]));
    assert!(odd.code == 2 && odd.stderr.contains("names no cards"), "{odd:?}");
    let alone = common::say(pool.polder(["up", "--spatial-partitions"]));
    assert!(alone.code == 2 && alone.stderr.contains("--spatial <CARDS>"), "{alone:?}");
}
