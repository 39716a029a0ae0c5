//! A real program through the stand-in driver, its device served by a host in this process.

use polder_gpuapi::cuda::FUNCTIONS;
use polder_standin_host::{Ask, Client, Hosted, Script};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `with` while a stand-in H200 is served at the path it is given.
fn served<T>(with: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("device");
    let host = Hosted::start(&path, Script { model: 3 });
    let result = with(&path);
    drop(host);
    result
}

/// Where cargo puts what it builds beside this test.
fn built(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    let folder = this.parent().and_then(Path::parent).expect("deps in the profile's folder");
    folder.join(name)
}

fn library() -> PathBuf {
    let beside = built("deps/libstandin_cuda.so");
    if beside.exists() { beside } else { built("libstandin_cuda.so") }
}

fn client(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(built("examples/client"));
    command.arg(library()).args(words).env("STANDIN_SOCKET", socket);
    command
}

fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("the client was built with this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || !said.is_empty());
    (output.status.success(), text + &said)
}

#[test]
fn a_program_finds_a_device_that_says_what_it_is() {
    let (fine, said) = served(|socket| run(&mut client(socket, &["check"])));
    assert!(fine, "{said}");
    for line in [
        "device: Stand-in H200",
        "memory: 1 MiB took 2 MiB",
        "memory: more than there is: 2",
        "events: early 600, five kernels of 2 ms took at least 10 ms: true",
        "events: backwards below zero: true, of one without time: 400",
        "streams: early 0, waited true",
        "graph: ten nodes took at least 20 ms: true",
        "name cuMemAlloc: 0 0 true",
        "name cuMemAllocAsync: 500 2 false",
        "name cuNo: 500 1 false",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
}

#[test]
fn every_call_is_logged_and_fails_when_the_script_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let (fine, said) = served(|socket| {
        let mut command = client(socket, &["check"]);
        run(command.env("STANDIN_LOG", &log).env("STANDIN_FAIL", "cuMemFree_v2:719"))
    });
    assert!(!fine && said.contains("cuMemFree_v2 failed"), "{said}");
    let log = std::fs::read_to_string(log).expect("a log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!((lines[0], lines[lines.len() - 1]), ("cuInit", "cuMemFree_v2"));
}

#[test]
fn without_a_device_there_is_none() {
    let (fine, said) = run(&mut client(Path::new("/nowhere"), &["check"]));
    assert!(!fine && said.contains("cuInit failed") && said.contains("100"), "{said}");
}

#[test]
fn processes_share_the_device_and_its_log_tells_whose_it_was() {
    served(|socket| {
        let start =
            || client(socket, &["saturate", "kernel", "1000", "1"]).spawn().expect("it starts");
        let children = [start(), start()];
        let watch = Client::connect(socket, std::process::id()).expect("the host listens");
        let pids: Vec<u32> = children.iter().map(std::process::Child::id).collect();
        for mut child in children {
            assert!(child.wait().expect("it ends").success());
        }
        let truths: Vec<_> =
            pids.iter().map(|&pid| watch.ask(Ask::Truth { pid }).expect("an answer")).collect();
        // Kernels of a millisecond, of two contexts that took turns.
        assert!(truths.iter().all(|it| it[0] > 100_000_000 && it[1] > 0), "{truths:?}");
    });
}

#[test]
fn it_exports_what_a_driver_exports() {
    // SAFETY: it runs nothing when it is loaded.
    #[allow(unsafe_code, reason = "loading a library")]
    let library = unsafe { libloading::Library::new(library()) }.expect("it opens");
    for entry in FUNCTIONS {
        // SAFETY: looked at and not called.
        #[allow(unsafe_code)]
        let found = unsafe { library.get::<*const ()>(entry.name.as_bytes()) };
        assert!(found.is_ok(), "no {}", entry.name);
    }
}
