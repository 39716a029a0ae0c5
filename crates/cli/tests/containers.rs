//! Jobs in containers, with real podman, a real daemon of Docker's and a real device. The stand-in for a
//! registry is an image made of this machine's own files.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "a skip is said aloud")]

mod common;
#[path = "common/image.rs"]
mod image;

use common::{Pool, read_until, say, soon};
use image::{Engine, Image};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

/// What a share of it asks for.
const SHARE: [&str; 4] = ["--compute", "50%", "--memory", "32MiB"];
/// Runs, of which each is stopped a little later than the one before, and their exit codes.
const STOPS_RUNS: &str = "\
    for after in 0.1 0.2 0.3 0.4 0.5 3; do
        $1 --state $2 run --devices 0 --image $3 -- \
            sh -c \"trap 'exit 3' TERM; while :; do sleep 0.05; done\" &
        sleep $after; kill -TERM $!; wait $!; echo $?
    done";
/// A program without an end.
const FOR_EVER: &str = "while :; do sleep 0.05; done";

fn pool(engine: &Engine) -> Option<Pool> {
    let flags = engine.flags();
    Pool::start_with(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_container_is_held_as_any_task_and_strangers_are_not_let_in() {
    let Some(podman) = Engine::podman().filter(|_| image::has_pocl()) else { return };
    let Some(image) = podman.image(image::pocl) else { return };
    let Some(pool) = pool(&podman) else { return };
    held(&podman, &image, &pool);
    unfetched(&pool);
    refused(&image, &pool);
}

#[test]
fn a_container_of_dockers_is_held_likewise_though_its_daemon_starts_it() {
    let Some(docker) = Engine::docker().filter(|_| image::has_pocl()) else { return };
    let Some(image) = docker.image(image::pocl) else { return };
    let Some(pool) = pool(&docker) else { return };
    held(&docker, &image, &pool);
    unfetched(&pool);
    lost(&docker, &image, &pool);
}

/// A user's own podman cannot make cgroups, so it stays in the lease's with all that it starts, whatever
/// its settings say.
#[test]
fn another_users_own_podman_is_held_with_what_it_starts() {
    let Some(podman) = Engine::podman() else { return };
    let Some(own) = image::Rootless::new() else { return };
    let Some(pool) = pool(&podman) else { return };
    fs::set_permissions(pool.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    pool.ok(&["admin", "user", "add", own.user(), "--tenant", "default"]);
    own.settings("[containers]\ncgroups = \"disabled\"\n");
    let run = |pids: &str, script: &str| {
        let mut command = own.command(common::POLDER);
        command.arg("--state").arg(pool.path());
        command.args(["run", "--devices", "0", "--image", &own.image, "--pids", pids]);
        command.args(["--", "sh", "-c", script]);
        say(command)
    };
    let ids = run("200", "id -u; exit 3");
    if ids.code == 125 {
        eprintln!("SKIPPED: {} runs no containers here: {}", own.user(), ids.stderr.trim());
        return;
    }
    assert_eq!(
        (ids.code, ids.stdout.as_str()),
        (3, "0\n"),
        "root in a namespace of its own: {ids:?}"
    );
    let mut command = own.command(common::POLDER);
    command.arg("--state").arg(pool.path());
    command.args(["run", "--devices", "0", "--image", &own.image, "--", "no-such-program"]);
    let gone = say(command);
    assert_eq!(gone.code, 127, "{gone:?}");
    // Here it is two processes, of which the first passes signals on to the second.
    let mut command = own.command("sh");
    command.args(["-c", STOPS_RUNS, "sh", common::POLDER]).arg(pool.path()).arg(&own.image);
    let stopped = say(command);
    let codes: Vec<&str> = stopped.stdout.lines().collect();
    assert!(
        codes.len() == 6 && codes.iter().all(|code| ["3", "143"].contains(code)),
        "{stopped:?}"
    );
    assert!(codes.contains(&"3"), "none came so far that it could trap it: {stopped:?}");
    if limits_processes() {
        let forks = "n=0; while [ $n -lt 80 ]; do sleep 60 & n=$((n + 1)); done; echo all";
        let none = run("4", "exit 126");
        assert_eq!(none.code, 125, "podman itself has no four threads: {none:?}");
        let few = run("60", forks);
        assert!(few.code != 0 && few.stdout.is_empty(), "eighty where 60 may be: {few:?}");
        assert!(few.stderr.contains("Cannot fork"), "the shell began, and was held: {few:?}");
        let enough = run("200", forks);
        assert_eq!((enough.code, enough.stdout.as_str()), (0, "all\n"), "{enough:?}");
    }
}

/// Waits for this file, as closely as can be, and removes it.
fn begun(mark: &Path) {
    let until = Instant::now() + Duration::from_secs(60);
    while !mark.exists() {
        assert!(Instant::now() < until, "it has not begun");
        std::thread::sleep(Duration::from_micros(100));
    }
    fs::remove_file(mark).unwrap();
}

/// How a run that was sent a signal ended, which it must soon.
#[track_caller]
fn signalled(mut child: Child, signal: Signal) -> Output {
    kill_process(Pid::from_child(&child), signal).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            // What it runs may hold its output open, which is not waited for.
            child.kill().unwrap();
            panic!("it goes on");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// Interrupts a run whose program says that it was, and ends with 3.
fn interrupt(child: Child, when: &str) {
    let rest = signalled(child, Signal::INT);
    let said = String::from_utf8_lossy(&rest.stdout);
    assert_eq!((rest.status.code(), &*said), (Some(3), "got it\n"), "{when}: {rest:?}");
}

/// What holds of a job in a container, whoever starts it.
fn held(engine: &Engine, image: &Image<'_>, pool: &Pool) {
    let image_flags = ["--image", image.name.as_str()];
    let flags = [&image_flags[..], &SHARE].concat();
    let folder = pool.file("work");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("here"), "from the job's directory\n").unwrap();
    let run = |script: &str| {
        let mut command = pool.run(&[&["--quiet"], &flags[..]].concat(), script);
        command.current_dir(&folder);
        command
    };
    let check = |script: &str, code: i32, stdout: &str| {
        let said = say(run(script));
        assert_eq!((said.code, said.stdout.as_str()), (code, stdout), "{script}: {said:?}");
    };

    // It is the command as far as its caller can tell.
    check("exit 7", 7, "");
    check("exit 1", 1, "");
    let program = |name: &str| {
        let said = say(pool.polder([&["run", "--quiet"], &flags[..], &["--", name]].concat()));
        (said.code, said.stdout)
    };
    assert_eq!(program("no-such-program"), (127, String::new()), "as without a container");
    assert_eq!(program("/etc"), (126, String::new()), "not executable");
    check("cat here; pwd", 0, &format!("from the job's directory\n{}\n", folder.display()));
    let mut command = run("cat; echo \"$FRUIT\"; echo ${POLDER_LEASE_DIR:+known}");
    command.env("FRUIT", "a  pear").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"from the pipe\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from the pipe\na  pear\nknown\n");
    let traps = |ready: &str| format!("trap 'echo got it; exit 3' INT; {ready}; {FOR_EVER}");
    let mut child = run(&traps("printf ready")).stdout(Stdio::piped()).spawn().unwrap();
    assert!(read_until(child.stdout.as_mut().unwrap(), "ready").ends_with("ready"));
    interrupt(child, "after it said so");
    // Podman itself passes a signal on only from some moment after the program has begun.
    let mark = folder.join("begun");
    for time in 0..3 {
        let child = run(&traps(": > begun")).stdout(Stdio::piped()).spawn().unwrap();
        begun(&mark);
        interrupt(child, &format!("as soon as it had begun, time {time}"));
    }
    // Whatever has begun by then: the client, the job, what makes its container, its program without a trap yet.
    for ms in (50..=400).step_by(50) {
        let child = run(&traps(":")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        let rest = signalled(child, Signal::INT);
        let trapped = (Some(3), None, &b"got it\n"[..]);
        let ended = [(Some(130), None, &b""[..]), (None, Some(Signal::INT.as_raw()), b"")];
        let said = (rest.status.code(), rest.status.signal(), &rest.stdout[..]);
        assert!(said == trapped || ended.contains(&said), "after {ms} ms: {rest:?}");
    }

    // Of the machine it sees no device and no vendor's ICD; the image's own is hidden.
    check("ls /etc/OpenCL/vendors", 0, "polder.icd\n");
    let devices = say(run("ls /dev")).stdout;
    let usual = [
        "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm",
        "stderr", "stdin", "stdout", "tty", "urandom", "zero",
    ];
    let foreign: Vec<&str> = devices.lines().filter(|name| !usual.contains(name)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");

    // Its device memory and its processes are limited, and its device time is charged.
    let work = "workload --kernel-us 100 --iterations 1000 --commands 20";
    let held = say(run(&format!("{work} --memory 16777216 && ! {work} --memory 67108864")));
    assert_eq!(held.code, 0, "16 of 32 MiB, and not 64: {held:?}");
    let held = say(run(&format!(
        "env -i PATH=$PATH {work} --memory 16777216 && ! env -i PATH=$PATH {work} --memory 67108864"
    )));
    assert_eq!(held.code, 0, "nor where the environment was cleared: {held:?}");
    // Long enough to be looked at while it works.
    let long = "workload --kernel-us 100 --iterations 1000000 --commands 100";
    let job = pool.submit(&flags, long);
    assert_eq!(pool.say(&["wait", &job]).code, 0, "{:?}", pool.say(&["logs", "--stderr", &job]));
    let shown = pool.json(&["show", &job]);
    let used = &shown["leases"][0]["ending"]["end"]["sample"];
    assert!(used["devices"][0]["device_time"].as_u64().unwrap() > 0, "{used}");
    assert!(used["launches"].as_u64().unwrap() >= 20, "{used}");
    assert_eq!(shown["leases"][0]["lease"]["isolation"], "soft");
    let forks = "n=0; while [ $n -lt 40 ]; do sleep 60 & n=$((n + 1)); done; echo all";
    if limits_processes() {
        let few = say(pool.run(&[&["--pids", "24"], &flags[..]].concat(), forks));
        assert!(few.code != 0 && few.stdout.is_empty(), "forty where 24 may be: {few:?}");
        assert!(few.stderr.contains("Cannot fork"), "the shell began, and was held: {few:?}");
        let enough = say(pool.run(&[&["--pids", "64"], &flags[..]].concat(), forks));
        assert_eq!((enough.code, enough.stdout.as_str()), (0, "all\n"), "{enough:?}");
        assert!(!enough.stderr.contains("not enforced"), "{enough:?}");
        let job = pool.submit(&[&["--pids", "4"], &flags[..]].concat(), "exit 126");
        assert_eq!(
            pool.say(&["wait", &job]).code,
            125,
            "the runtime's own: it has no four threads"
        );
        let shown = pool.say(&["show", &job]).stdout;
        if matches!(engine, Engine::Podman) {
            let why =
                "was not begun in its container: its own words are on the job's standard error";
            assert!(shown.contains(why) && shown.contains("--pids, which is 4"), "{shown}");
        }
    }
    check("exit 126", 126, "");

    // A container that is not the lease's is not let in, though it holds the same files.
    let holds = pool.submit(&flags, "while :; do sleep 0.1; done");
    pool.wait_state(&holds, "running");
    let lease = pool.json(&["show", &holds])["leases"][0]["lease"]["id"].as_u64().unwrap();
    let dir = fs::canonicalize(pool.path().join("leases").join(format!("L{lease}"))).unwrap();
    let (socket, icd) = (dir.join("driver.sock"), dir.join("icd"));
    let driver = fs::read_to_string(icd.join("polder.icd")).unwrap().trim().to_owned();
    let bind = |from: &str, to: &str| format!("--mount=type=bind,source={from},destination={to}");
    let stranger = engine.run(&[
        &bind(socket.to_str().unwrap(), socket.to_str().unwrap()),
        &bind(icd.to_str().unwrap(), "/etc/OpenCL/vendors"),
        &bind(&driver, &driver),
        &format!("--env=POLDER_SOCKET={}", socket.display()),
        "--env=POLDER_LOG=1",
        &image.name,
        "workload",
        "--kernel-us",
        "100",
        "--iterations",
        "10",
        "--commands",
        "1",
    ]);
    assert_ne!(stranger.code, 0, "a stranger ran on the lease's share: {stranger:?}");
    assert!(stranger.stderr.contains("no process of this lease"), "{stranger:?}");

    // Cancelled, nothing of it is left, with who started it neither.
    let since = Instant::now();
    pool.ok(&["cancel", &holds]);
    assert_eq!(pool.say(&["wait", &holds]).code, 130, "after {:?}", since.elapsed());
    let name = format!("--filter=name=polder-L{lease}-");
    soon("it is forgotten", || {
        let left = engine.say(&["ps", "--all", "--quiet", &name]).stdout;
        left.trim().is_empty().then_some(())
    });

    // A whole device has nothing of ours about it: the image's own driver works on it.
    let whole = say(pool.run(&["--quiet", "--whole", "--image", &image.name], work));
    assert_eq!(whole.code, 0, "{whole:?}");
}

/// Who waits for an image that does not come is heard, whatever was sent before.
fn unfetched(pool: &Pool) {
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/polder:1", registry.local_addr().unwrap());
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131)] {
        let mut command = pool.run(&[&["--quiet", "--image", &image][..], &SHARE].concat(), "true");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1000));
        kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let ended = signalled(child, signal);
        let error = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(code) && error.lines().count() < 10, "{ended:?}");
    }
}

/// Whether this machine limits the number of processes at all, or a loud word that it does not.
fn limits_processes() -> bool {
    let version_1 = std::path::Path::new("/sys/fs/cgroup/pids").exists();
    let version_2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let limits = version_1 || version_2.split_whitespace().any(|name| name == "pids");
    if !limits {
        eprintln!("SKIPPED: no controller here limits processes, so containers' are not tried");
    }
    limits
}

/// What is no image, and what there is no image of.
fn refused(image: &Image<'_>, pool: &Pool) {
    for odd in ["--image=--privileged", "--image=", "--image=a b"] {
        let said = pool.say(&[&["run", odd], &SHARE[..], &["--", "true"]].concat());
        assert!(said.code == 2 && said.stderr.contains("is no image"), "{odd}: {said:?}");
    }
    let odd = pool.file("a,b");
    fs::create_dir(&odd).unwrap();
    let mut command = pool.run(&["--image", &image.name], "true");
    command.current_dir(&odd);
    let said = say(command);
    assert!(said.code == 127 && said.stderr.contains("leave out ,"), "{said:?}");
    let said = pool.say(&["up", "--containers", "lxc"]);
    assert!(said.code == 2 && said.stderr.contains("starts no containers"), "{said:?}");
}

/// A container whose shim is killed does not live on with its daemon.
fn lost(engine: &Engine, image: &Image<'_>, pool: &Pool) {
    let flags = [&["--image", image.name.as_str()][..], &SHARE].concat();
    let job = pool.submit(&flags, "while :; do sleep 0.1; done");
    pool.wait_state(&job, "running");
    let lease = pool.json(&["show", &job])["leases"][0]["lease"]["id"].as_u64().unwrap();
    let status = pool.path().join("leases").join(format!("L{lease}/status.json"));
    let status: serde_json::Value = serde_json::from_slice(&fs::read(status).unwrap()).unwrap();
    let shim = Pid::from_raw(i32::try_from(status["shim"].as_i64().unwrap()).unwrap()).unwrap();
    let name = format!("--filter=name=polder-L{lease}-");
    let left = || engine.say(&["ps", "--all", "--quiet", &name]).stdout;
    soon("its container", || (!left().trim().is_empty()).then_some(()));
    kill_process(shim, Signal::KILL).unwrap();
    soon("the container's end", || left().trim().is_empty().then_some(()));
    pool.wait_state(&job, "finished");
}
