//! What becomes of leases on an NVIDIA card that is slowed, faults or falls off the bus: a real daemon,
//! and beneath it the stand-in NVML of `tests/standin`, which tells of a stand-in device whose faults are
//! scripted here. No card is there.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; skips must be heard")]

mod common;

use common::{POLDER, Pool, ended, read_until, soon};
use polder_standin_host::{Ask, Client, Hosted, Script};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What the stand-in's one device is called.
const CARD: &str = "GPU-7374616e-642d-696e-2064-657669636530";
/// Bits of NVML's clock event reasons: the power cap, and heat as the driver sees it.
const POWER_AND_HEAT: u64 = 0x24;

const CUDA: [&str; 3] = ["--lib", "--package", "polder-standin-cuda"];
const OUR_CUDA: [&str; 3] = ["--lib", "--package", "polder-driver-cuda"];
const OUR_NVML: [&str; 3] = ["--lib", "--package", "polder-driver-nvml"];
const CLIENT: [&str; 3] = ["--examples", "--package", "polder-standin-cuda"];
/// What a context of the stand-in takes of its memory.
const CONTEXT: u64 = 400 << 20;

/// A stand-in H200, and a pool whose daemon finds it through the stand-in NVML.
struct Scene {
    pool: Pool,
    device: Client,
    _host: Hosted,
    folder: tempfile::TempDir,
}

/// Builds the stand-ins with their programs, and ours; where they are.
fn built() -> PathBuf {
    let folder = Path::new(POLDER).parent().unwrap().parent().unwrap();
    for what in [["--lib", "--package", "polder-standin-nvml"], CUDA, CLIENT, OUR_CUDA, OUR_NVML] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet"]).args(what).arg("--target-dir").arg(folder);
        assert!(cargo.status().unwrap().success(), "it builds");
    }
    folder.join("debug")
}

fn scene() -> Option<Scene> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("standin-device");
    let host = Hosted::start(&socket, Script { model: 3 });
    let built = built();
    let link = |from: &str, to: &str| {
        std::os::unix::fs::symlink(built.join(from), folder.path().join(to)).unwrap();
    };
    link("libstandin_nvml.so", "libnvidia-ml.so.1");
    link("libstandin_cuda.so", "libcuda.so.1");
    link("examples/client", "client");
    let place = folder.path().to_str().unwrap();
    let variables = [
        ("LD_LIBRARY_PATH", place),
        ("TMPDIR", place),
        ("STANDIN_SOCKET", socket.to_str().unwrap()),
        ("POLDER_LOG", "warn,polder_agent::leases=info"),
    ];
    let pool = Pool::start_in(&["--no-listen", "--driver-folder", place], &variables)?;
    let device = Client::connect(&socket, 4321).unwrap();
    Some(Scene { pool, device, _host: host, folder })
}

impl Scene {
    /// A job that has the card whole, and runs.
    fn job(&self) -> String {
        let flags = ["--whole", "--model", "Stand-in", "--retries", "1"];
        let job = self.pool.submit(&flags, "sleep 600");
        soon("the job runs", || (self.lease(&job)["lease"]["state"] == "started").then_some(()));
        job
    }

    /// The program of `client`'s `room 64`, ready in the first job: its context is counted with its memory, and
    /// what is free of its 2 GiB is less by both.
    fn counts_the_context(&self, program: &mut Child, output: &mut ChildStdout) {
        let whole = (64 << 20) + CONTEXT;
        soon("the context is counted", || {
            let lease = self.lease("1");
            (lease["sample"]["devices"][0]["memory"].as_u64()? == whole).then_some(())
        });
        program.stdin.take().unwrap().write_all(b"\n").unwrap();
        let said = read_until(output, "blocks 25");
        assert!(said.contains(&format!("free {} of 2048 MiB", 2048 - (whole >> 20))), "{said}");
        assert!(ended(program).success());
    }

    /// The newest lease of a job.
    fn lease(&self, job: &str) -> Value {
        let shown = self.pool.json(&["show", job]);
        shown["leases"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default()
    }

    fn health(&self) -> Value {
        let devices = self.pool.json(&["devices"]);
        let all = devices["devices"].as_array().unwrap();
        let card = all.iter().find(|view| view["device"]["id"] == CARD);
        card.map(|view| view["device"]["health"].clone()).unwrap_or_default()
    }
}

#[test]
fn a_card_that_is_slowed_says_so_and_one_that_falls_off_ends_what_ran_on_it() {
    let Some(scene) = scene() else { return };
    assert_eq!(scene.health()["state"], "healthy", "{}", scene.health());
    let job = scene.job();

    scene.device.tell(Ask::Throttle { reasons: POWER_AND_HEAT, speed: 700 }).unwrap();
    let reasons = soon("the sample says that the card is slowed", || {
        let lease = scene.lease(&job);
        let reasons = lease["sample"]["devices"][0]["throttle"].as_array()?.clone();
        (!reasons.is_empty()).then_some(reasons)
    });
    assert_eq!(reasons, ["power_cap", "thermal"]);
    let top = scene.pool.say(&["top", "--once"]).stdout;
    assert!(top.contains("slowed by power cap, heat") && top.contains("SLOWED BY"), "{top}");
    let shown = scene.pool.say(&["show", &job]).stdout;
    assert!(shown.contains("power cap, heat"), "{shown}");

    // A fault of a program's own is told of the only lease on the card, and ends nothing.
    scene.device.tell(Ask::Fail { xid: 31, pid: 1 }).unwrap();
    let finding = soon("the program's fault is found", || {
        scene.lease(&job)["lease"]["findings"].as_array()?.first().cloned()
    });
    assert_eq!(finding["rule"], "device_fault", "{finding}");
    assert!(finding["evidence"].as_str().unwrap().contains("XID 31"), "{finding}");
    assert_eq!(scene.health()["state"], "healthy");
    assert_eq!(scene.lease(&job)["lease"]["state"], "started");

    scene.device.tell(Ask::Fail { xid: 79, pid: 0 }).unwrap();
    let ended = soon("the lease on the lost card ends", || {
        let lease = scene.lease(&job);
        (!lease["ending"].is_null()).then_some(lease)
    });
    let words = ended["ending"].to_string();
    assert!(words.contains("XID 79") && words.contains("restart the machine"), "{words}");
    assert_eq!(scene.health()["state"], "failed", "{}", scene.health());
    // Its one retry waits: nothing is placed on a card that has failed.
    let state = soon("it is tried again", || {
        let shown = scene.pool.json(&["show", &job]);
        (shown["job"]["attempt"] == 2).then(|| shown["job"]["state"].clone())
    });
    assert!(state.to_string().contains("queued"), "{state}");
    let devices = scene.pool.say(&["devices"]).stdout;
    assert!(devices.contains("failed"), "{devices}");
}

/// A program's context takes memory that it never asked for: it is the lease's, so that what its neighbours
/// were promised is there.
#[test]
fn what_a_context_takes_is_the_leases_own() {
    let Some(scene) = scene() else { return };
    let share = ["run", "--quiet", "--compute", "50%", "--memory", "2GiB", "--model", "Stand-in"];
    let client = scene.folder.path().join("client");
    let mut command = scene.pool.polder(share);
    command.arg("--").arg(client).args(["libcuda.so.1", "room", "64"]);
    command.env("STANDIN_SOCKET", scene.folder.path().join("standin-device"));
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = program.stdout.take().unwrap();
    read_until(&mut output, "ready");
    scene.counts_the_context(&mut program, &mut output);

    // The job has ended: whatever its programs left is gone, all over the card.
    let log = scene.pool.log();
    let cleared = log.lines().find(|line| line.contains("cleared for whoever is next"));
    let cleared = cleared.unwrap_or_else(|| panic!("{log}"));
    let bytes = cleared.split("bytes=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let bytes: u64 = bytes.parse().unwrap();
    let card = 141 << 30;
    assert!(bytes <= card - CONTEXT && bytes > card - CONTEXT - (4 << 20), "{cleared}");
}

/// A program that is moved off the card in the middle of a launch (`cuda-checkpoint`, from outside) is charged
/// nothing while it is away, and what it holds and its context takes stays the lease's, for its return.
#[test]
fn who_is_moved_off_the_card_pays_for_no_time_and_comes_back_to_its_memory() {
    let Some(scene) = scene() else { return };
    let share = ["run", "--quiet", "--compute", "50%", "--memory", "2GiB", "--model", "Stand-in"];
    let client = scene.folder.path().join("client");
    let device = scene.folder.path().join("standin-device");
    let mut command = scene.pool.polder(share);
    command.arg("--").arg(&client).args(["libcuda.so.1", "hold", "64"]);
    command.env("STANDIN_SOCKET", &device);
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = program.stdout.take().unwrap();
    let said = read_until(&mut output, "\n");
    let pid = said.trim().strip_prefix("pid ").unwrap().to_owned();
    let sample = || scene.lease("1")["sample"]["devices"][0].clone();
    let whole = (64 << 20) + CONTEXT;
    soon("the context is counted", || (sample()["memory"].as_u64()? == whole).then_some(()));
    let freeze = |steps: &[&str]| {
        for step in steps {
            let mut command = Command::new(&client);
            command.arg(scene.folder.path().join("libcuda.so.1")).args(["freeze", &pid, step]);
            let output = command.env("STANDIN_SOCKET", &device).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.starts_with(&format!("{step}: 0,")), "{said}");
        }
    };
    let charged = || sample()["device_time"].as_u64().unwrap();

    freeze(&["lock", "checkpoint"]);
    // Until two looks at the card have missed it.
    std::thread::sleep(Duration::from_secs(2));
    let (before, began) = (charged(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let more = charged() - before;
    let lease = scene.lease("1");
    assert!(more < 200_000, "{more} us charged of {:?}: {lease}", began.elapsed());
    assert_eq!(sample()["memory"], whole, "{lease}");
    assert!(lease["lease"]["findings"].is_null(), "{lease}");

    freeze(&["restore", "unlock"]);
    let before = charged();
    soon("it works on", || (charged() > before + 500_000).then_some(()));
    program.stdin.take().unwrap().write_all(b"\n").unwrap();
    read_until(&mut output, "as it was: true");
    assert!(ended(&mut program).success());
}

/// Pinned host memory is shown beside the device's, and gone with the process that pinned it, though its lease
/// goes on.
#[test]
fn what_programs_pin_of_the_hosts_memory_is_shown_apart() {
    let Some(scene) = scene() else { return };
    let share = ["run", "--quiet", "--compute", "50%", "--memory", "2GiB", "--model", "Stand-in"];
    let place = scene.folder.path().display();
    let client = format!("{place}/client libcuda.so.1 pin 4096; echo over; cat");
    let mut command = scene.pool.polder(share);
    command.args(["--", "sh", "-c", &client]);
    command.env("STANDIN_SOCKET", scene.folder.path().join("standin-device"));
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = program.stdout.take().unwrap();
    read_until(&mut output, "pinned");
    let memory = soon("what is pinned is told", || {
        let sample = &scene.lease("1")["sample"];
        (sample["host_pinned"].as_u64()? == 4 << 30).then(|| sample["devices"][0]["memory"].clone())
    });
    assert!(memory.as_u64().unwrap() < 2 << 30, "twice the lease's memory is none of it: {memory}");
    let top = scene.pool.say(&["top", "--once"]).stdout;
    assert!(top.contains("HOST-PINNED") && top.contains("4 GiB"), "{top}");
    let shown = scene.pool.say(&["show", "1"]).stdout;
    assert!(
        shown.lines().any(|line| line.starts_with("pinned") && line.contains("4 GiB")),
        "{shown}"
    );
    let mut input = program.stdin.take().unwrap();
    input.write_all(b"\n").unwrap();
    read_until(&mut output, "over");
    soon("nothing is pinned any more", || {
        let lease = scene.lease("1");
        (lease["lease"]["state"] == "started" && lease["sample"]["host_pinned"].is_null())
            .then_some(())
    });
    drop(input);
    assert!(ended(&mut program).success());
}

/// Whoever clears the environment finds the vendor's library by its path, which is ours, and by the lease's
/// own mount its place: every call is held, and the vendor's own is loaded from where the shim says.
#[test]
fn a_cleared_environment_has_the_leases_part_of_the_card() {
    let Some(scene) = scene() else { return };
    let share = ["run", "--quiet", "--compute", "50%", "--memory", "2GiB", "--model", "Stand-in"];
    let place = scene.folder.path().display();
    // The stand-in's own variable says where its device is: a real driver has none.
    let client = format!(
        "exec env -i STANDIN_SOCKET={place}/standin-device {place}/client {place}/libcuda.so.1 room 64"
    );
    let mut command = scene.pool.polder(share);
    command.args(["--", "sh", "-c", &client]);
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = program.stdout.take().unwrap();
    read_until(&mut output, "ready");
    if scene.lease("1")["lease"]["isolation"] != "soft" {
        eprintln!("SKIPPED: leases have no mount namespace here");
        drop(program.stdin.take());
        ended(&mut program);
        return;
    }
    scene.counts_the_context(&mut program, &mut output);
}
