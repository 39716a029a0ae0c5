//! Programs that nobody here wrote against the stand-in: an outside check of its ABI.
//!
//! * `nvml-wrapper`, which other Rust programs use, always.
//! * NVIDIA's own Python bindings (`nvidia-ml-py`, fetched from PyPI into a folder of its own).
//! * NVIDIA's own `nvidia-smi` (`POLDER_NVIDIA_SMI` names it, or Debian's is fetched and unpacked in a
//!   folder of its own). Every version from 340 to 550 asks for a private table right after it has
//!   initialised NVML, and goes no further without it. The table is not public and the stand-in does
//!   not have it, so this shows the loading and the initialisation, and nothing of the answers.
//!
//! What cannot be fetched is skipped, and said to be.

#![allow(clippy::print_stderr, reason = "a skip is said aloud")]

#[path = "../../../../crates/agent/tests/support/debian.rs"]
mod debian;

use polder_standin_host::{Ask, Client, Hosted, Script};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where Debian's package has NVIDIA's program.
const SMI: &str = "usr/lib/nvidia/current/nvidia-smi";

/// Runs `with` while a stand-in H200 is served at the path it is given.
fn served<T>(with: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("device");
    let host = Hosted::start(&path, Script { model: 3 });
    let result = with(&path);
    drop(host);
    result
}

fn library() -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    this.parent().expect("a folder").join("libstandin_nvml.so")
}

/// Runs `with` with the program, if there is one.
fn with_smi(with: impl FnOnce(&dyn Fn(&Path, &Path) -> Output)) {
    let folder = tempfile::tempdir().expect("a folder");
    let named = std::env::var_os("POLDER_NVIDIA_SMI").map(PathBuf::from);
    let Some(program) =
        named.or_else(|| debian::fetch("bookworm", "nvidia-smi", SMI, folder.path()))
    else {
        eprintln!(
            "SKIPPED: no nvidia-smi: set POLDER_NVIDIA_SMI, or let apt-get reach deb.debian.org"
        );
        return;
    };
    std::os::unix::fs::symlink(library(), folder.path().join("libnvidia-ml.so.1")).expect("a link");
    let run = |socket: &Path, log: &Path| {
        let mut command = Command::new(&program);
        command.arg("-L").env("STANDIN_SOCKET", socket).env("STANDIN_LOG", log);
        command.env("LD_LIBRARY_PATH", folder.path());
        command.output().expect("it runs")
    };
    with(&run);
}

fn text(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(error))
}

/// A stand-in H200 on which process 4321 has a context, 1 GiB and a kernel that outlasts `with`, and
/// has been busy for more than half of the last second.
fn used<T>(with: impl FnOnce(&Path) -> T) -> T {
    served(|socket| {
        let client = Client::connect(socket, 4321).expect("the host listens");
        assert_eq!(client.ask(Ask::Open).expect("an answer")[0], 0);
        assert_eq!(client.ask(Ask::Allocate { bytes: 1 << 30 }).expect("an answer")[0], 0);
        let (blocks, threads, length_ns) = (1024, 256, 3_600_000_000_000);
        let kernel =
            Ask::Launch { stream: 0, blocks, threads, length_ns, nodes: 0, cooperative: false };
        client.tell(kernel).expect("the host listens");
        while client.ask(Ask::State).expect("an answer")[2] <= 50 {
            std::thread::yield_now();
        }
        with(socket)
    })
}

/// The percent that a line of this beginning ends with.
fn percent(said: &str, begins: &str) -> u32 {
    let line = said.lines().find_map(|line| line.strip_prefix(begins));
    line.and_then(|rest| rest.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {begins} in {said}"))
}

fn check(said: &str) {
    for line in [
        "driver 535.261.03 count 1",
        "Stand-in H200 GPU-7374616e-642d-696e-2064-657669636530 00000000:01:00.0",
        "memory 144384 1424",
        "process 4321 1424",
        "no code for it: true",
    ] {
        assert!(said.lines().any(|it| it.eq_ignore_ascii_case(line)), "no {line:?} in {said}");
    }
    assert!(percent(said, "busy ") > 50 && percent(said, "sample 4321 ") > 50, "{said}");
}

#[test]
fn bindings_of_others_read_what_the_stand_in_says() {
    let deps = std::env::current_exe().expect("this program");
    let reader = deps.parent().and_then(Path::parent).expect("a folder").join("examples/reader");
    let run = |socket: &Path| {
        let mut command = Command::new(&reader);
        command.arg(library()).env("STANDIN_SOCKET", socket).output().expect("it was built")
    };
    let output = used(run);
    assert!(output.status.success(), "{}", text(&output));
    check(&text(&output));
    let nowhere = run(Path::new("/nowhere"));
    assert!(!nowhere.status.success() && text(&nowhere).contains("driver"), "{}", text(&nowhere));
}

const PYTHON: &str = "
import pynvml as n
n.nvmlInit()
d = n.nvmlDeviceGetHandleByIndex(0)
m = n.nvmlDeviceGetMemoryInfo(d)
print('driver', n.nvmlSystemGetDriverVersion(), 'count', n.nvmlDeviceGetCount())
print(n.nvmlDeviceGetName(d), n.nvmlDeviceGetUUID(d), n.nvmlDeviceGetPciInfo(d).busId)
print('memory', m.total >> 20, m.used >> 20)
print('busy', n.nvmlDeviceGetUtilizationRates(d).gpu)
for p in n.nvmlDeviceGetComputeRunningProcesses(d):
    print('process', p.pid, p.usedGpuMemory >> 20)
for s in n.nvmlDeviceGetProcessUtilization(d, 0):
    print('sample', s.pid, s.smUtil)
try:
    n.nvmlDeviceGetFanSpeed(d)
except n.NVMLError_NotSupported:
    print('no code for it: true')
";

#[test]
fn the_vendors_python_bindings_read_what_the_stand_in_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut pip = Command::new("timeout");
    pip.args(["60", "python3", "-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
    let there = pip.arg(folder.path()).arg("nvidia-ml-py").output();
    if !there.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no nvidia-ml-py: pip cannot fetch it: {there:?}");
        return;
    }
    let link = folder.path().join("libnvidia-ml.so.1");
    std::os::unix::fs::symlink(library(), link).expect("a link");
    let output = used(|socket| {
        let mut command = Command::new("python3");
        command.args(["-c", PYTHON]).env("STANDIN_SOCKET", socket);
        command.env("PYTHONPATH", folder.path()).env("LD_LIBRARY_PATH", folder.path());
        command.output().expect("python3 is there: it ran pip")
    });
    assert!(output.status.success(), "{}", text(&output));
    check(&text(&output));
}

#[test]
fn the_vendors_own_tool_comes_as_far_as_its_private_table() {
    with_smi(|smi| {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let said = text(&served(|socket| smi(socket, log.path())));
        assert!(said.contains("Mismatch in versions between nvidia-smi and NVML"), "{said}");
        let calls = std::fs::read_to_string(log.path()).expect("a log");
        let calls: Vec<&str> = calls.lines().collect();
        assert!(calls[0].starts_with("nvmlInit"), "{calls:?}");
        assert_eq!(calls[1..], ["nvmlInternalGetExportTable", "nvmlShutdown"]);
    });
}
