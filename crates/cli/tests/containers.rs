//! Jobs in containers, with real podman and a real device. The stand-in for a registry is an image
//! made of this machine's own files.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "skips must be heard")]

mod common;

use common::{Pool, Said, program, read_until, say, soon};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// What a share of it asks for.
const SHARE: [&str; 4] = ["--compute", "50%", "--memory", "32MiB"];

/// An image in podman's store; goes with this.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = podman(&["rmi", "--force", &self.0]);
    }
}

fn podman(words: &[&str]) -> Said {
    let mut command = Command::new("podman");
    command.arg("--cgroup-manager=cgroupfs").args(words).stdin(Stdio::null());
    say(command)
}

/// Copies a file of the machine into a tree under the name that it has here, whatever it links to.
fn copy(tree: &Path, file: &Path) {
    // `/lib` is a link to `/usr/lib`, in the tree too.
    let usual = file.strip_prefix("/").unwrap();
    let place =
        if usual.starts_with("usr") { usual.to_owned() } else { Path::new("usr").join(usual) };
    let to = tree.join(place);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(file, to).unwrap();
}

fn files_in(folder: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.is_file());
    files.filter(|path| wanted(&path.file_name().unwrap().to_string_lossy())).collect()
}

/// A shell, a few programs, the test's own, an OpenCL loader, PoCL and the linker that it calls, with
/// every library that they load.
fn tree(tree: &Path) {
    for folder in ["usr/bin", "usr/lib", "usr/lib64", "etc/OpenCL/vendors", "tmp", "root"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    for link in ["bin", "lib", "lib64"] {
        symlink(Path::new("usr").join(link), tree.join(link)).unwrap();
    }
    let mut programs: Vec<PathBuf> =
        ["dash", "sleep", "cat", "ls", "ld"].map(|name| Path::new("/usr/bin").join(name)).into();
    programs.extend(["workload", "steady"].map(|name| program(name).into()));
    let mut wanted: Vec<PathBuf> = files_in(LIBRARIES, |name| {
        name.starts_with("libpocl.so.2") || name.starts_with("libOpenCL.so.1")
    });
    wanted.extend(files_in(&format!("{LIBRARIES}/pocl"), |_| true));
    let mut loaded = BTreeSet::new();
    for file in programs.iter().chain(&wanted) {
        let said = Command::new("ldd").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        loaded.extend(paths.map(PathBuf::from));
    }
    wanted.extend(loaded);
    // What PoCL's linking of kernels looks for, and its own headers and built-ins.
    wanted.extend(files_in(LIBRARIES, |name| {
        ["libc.so", "libc_nonshared.a", "libm.so", "libmvec.so.1"].contains(&name)
            || name.starts_with("crt")
    }));
    for version in fs::read_dir("/usr/lib/gcc/x86_64-linux-gnu").into_iter().flatten().flatten() {
        wanted.extend(files_in(&version.path().to_string_lossy(), |name| {
            name.starts_with("crt") || name == "libgcc.a" || name == "libgcc_s.so"
        }));
    }
    wanted.extend(files_in("/usr/share/pocl", |_| true));
    wanted.extend(files_in("/usr/share/pocl/include", |_| true));
    wanted.iter().for_each(|file| copy(tree, file));
    for file in programs {
        fs::copy(&file, tree.join("usr/bin").join(file.file_name().unwrap())).unwrap();
    }
    symlink("dash", tree.join("usr/bin/sh")).unwrap();
    // What a registry's image would have: the vendor's own, which Polder's must stand over.
    fs::copy("/etc/OpenCL/vendors/pocl.icd", tree.join("etc/OpenCL/vendors/pocl.icd")).unwrap();
}

/// The image, or a loud word on why there is none.
fn image() -> Option<Image> {
    let skip =
        |why: &str| eprintln!("SKIPPED: {why}; on Debian: apt install podman runc catatonit");
    if !rustix::process::geteuid().is_root() {
        skip("this test makes its image as root");
        return None;
    }
    let there = Command::new("podman").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        skip("there is no podman here");
        return None;
    }
    if !Path::new("/etc/OpenCL/vendors/pocl.icd").exists() || !Path::new(LIBRARIES).exists() {
        skip("there is no PoCL here to put into an image");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (root, archive) = (folder.path().join("root"), folder.path().join("image.tar"));
    fs::create_dir(&root).unwrap();
    tree(&root);
    let packed =
        Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".").status();
    assert!(packed.unwrap().success());
    let name = format!("localhost/polder-test:{}", std::process::id());
    let made = podman(&["import", "--quiet", archive.to_str().unwrap(), &name]);
    assert_eq!(made.code, 0, "{made:?}");
    let image = Image(name);
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--network=host"];
    let runtime = if Path::new("/usr/sbin/runc").exists() { "runc" } else { "crun" };
    let tried =
        [&["--runtime", runtime, "run", "--rm"], &limits[..], &[&image.0, "true-ish"]].concat();
    let tried = podman(&tried);
    // 127: it ran, and found no such program.
    if tried.code != 127 {
        skip(&format!("podman cannot run containers here: {}", tried.stderr.trim()));
        return None;
    }
    Some(image)
}

#[test]
fn a_container_is_held_as_any_task_and_strangers_are_not_let_in() {
    let Some(image) = image() else { return };
    let Some(pool) = Pool::start() else { return };
    let image_flags = ["--image", image.0.as_str()];
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
    check("cat here; pwd", 0, &format!("from the job's directory\n{}\n", folder.display()));
    let mut command = run("cat; echo \"$FRUIT\"; echo ${POLDER_LEASE_DIR:+known}");
    command.env("FRUIT", "a  pear").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"from the pipe\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from the pipe\na  pear\nknown\n");
    let mut child =
        run("trap 'echo got it; exit 3' INT; printf ready; while :; do sleep 0.05; done")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    assert!(read_until(child.stdout.as_mut().unwrap(), "ready").ends_with("ready"));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest = child.wait_with_output().unwrap();
    assert_eq!(rest.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&rest.stdout), " got it\n".trim_start());

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
    // Long enough to be looked at while it works.
    let long = "workload --kernel-us 100 --iterations 1000000 --commands 100";
    let job = pool.submit(&flags, long);
    assert_eq!(pool.say(&["wait", &job]).code, 0, "{:?}", pool.say(&["logs", "--stderr", &job]));
    let shown = pool.json(&["show", &job]);
    let used = &shown["leases"][0]["ending"]["end"]["sample"];
    assert!(used["devices"][0]["device_time"].as_u64().unwrap() > 0, "{used}");
    assert!(used["launches"].as_u64().unwrap() >= 20, "{used}");
    assert_eq!(shown["leases"][0]["lease"]["isolation"], "soft");
    let forks = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo all";
    let few = say(pool.run(&[&["--quiet", "--pids", "8"], &flags[..]].concat(), forks));
    let unlimited = few.stderr.contains("process limit is not enforced");
    assert!(few.code != 0 || unlimited, "twelve processes where eight may be: {few:?}");

    // A container that is not the lease's is not let in, though it holds the same files.
    let holds = pool.submit(&flags, "while :; do sleep 0.1; done");
    pool.wait_state(&holds, "running");
    let lease = pool.json(&["show", &holds])["leases"][0]["lease"]["id"].as_u64().unwrap();
    let dir = fs::canonicalize(pool.path().join("leases").join(format!("L{lease}"))).unwrap();
    let (socket, icd) = (dir.join("driver.sock"), dir.join("icd"));
    let driver = fs::read_to_string(icd.join("polder.icd")).unwrap().trim().to_owned();
    let bind = |from: &str, to: &str| format!("--mount=type=bind,source={from},destination={to}");
    let runtime = if Path::new("/usr/sbin/runc").exists() { "runc" } else { "crun" };
    let stranger = podman(&[
        "--runtime",
        runtime,
        "run",
        "--rm",
        "--network=host",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024",
        &bind(socket.to_str().unwrap(), socket.to_str().unwrap()),
        &bind(icd.to_str().unwrap(), "/etc/OpenCL/vendors"),
        &bind(&driver, &driver),
        &format!("--env=POLDER_SOCKET={}", socket.display()),
        "--env=POLDER_LOG=1",
        &image.0,
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

    // Cancelled, nothing of it is left, in podman neither.
    let begun = std::time::Instant::now();
    pool.ok(&["cancel", &holds]);
    assert_eq!(pool.say(&["wait", &holds]).code, 130, "after {:?}", begun.elapsed());
    let name = format!("--filter=name=polder-L{lease}-");
    soon("podman forgets it", || {
        let left = podman(&["ps", "--all", "--quiet", &name]).stdout;
        left.trim().is_empty().then_some(())
    });

    // What is no image, and what there is no image of.
    for odd in ["--image=--privileged", "--image=", "--image=a b"] {
        let said = pool.say(&[&["run", odd], &SHARE[..], &["--", "true"]].concat());
        assert!(said.code == 2 && said.stderr.contains("is no image"), "{odd}: {said:?}");
    }
    let said = pool.say(&["run", "--whole", "--image", &image.0, "--", "true"]);
    assert!(said.code == 127 && said.stderr.contains("leave --image out"), "{said:?}");
}
