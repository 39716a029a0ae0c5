//! Monitors that nobody here wrote inside a slice: through the library, on the stand-in NVML of
//! `tests/standin`, which tells of a stand-in device. The card and its other users are a stand-in's, the
//! lease's pages are real.
#![allow(clippy::unwrap_used)] // all of this is test code

#[path = "../../opencl/tests/support/mod.rs"]
mod support;

use polder_ledger::attach::{Cuda, Route};
use polder_standin_host::{Ask, Client, Hosted, Script};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::Ordering;
use support::{Lease, example, skipped};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Place of the H200 among the stand-in's models.
const H200: usize = 3;
/// What the stand-in's device is called.
const UUID: [u8; 16] = *b"stand-in device0";
/// A process of another lease on the same card.
const NEIGHBOUR: u32 = 4321;
/// A process of the lease, and its slot.
const MINE: (u32, usize) = (5555, 200);

/// A stand-in card that a neighbour uses, and a lease with 2 GiB and 300 thousandths of it, in which a
/// process holds 512 MiB.
struct Scene {
    host: Hosted,
    folder: tempfile::TempDir,
    lease: Lease,
    /// Their work ends with them.
    clients: [Client; 2],
}

fn built() -> PathBuf {
    example("any").ancestors().nth(2).unwrap().to_owned()
}

fn scene_of(nvml: &Path, uuid: [u8; 16]) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    let host = Hosted::start(&socket, Script { model: H200 });
    let ours = built().join("deps/libpolder_nvml.so");
    std::os::unix::fs::symlink(&ours, folder.path().join("libnvidia-ml.so.1")).unwrap();
    let nvml = nvml.to_str().unwrap().to_owned();
    let cuda = Cuda { library: "/nonexistent/libcuda.so.1".into(), nvml, uuid };
    let lease = Lease::of(vec![Route { cuda: Some(cuda), ..Route::default() }], &[2 * GIB]);
    lease.set_compute(300);
    lease.usage().claim_slot(MINE.1, MINE.0);
    lease.usage().slot[MINE.1].device[0].held.store(512 * MIB, Ordering::Release);
    let clients = [NEIGHBOUR, MINE.0].map(|pid| busy(&socket, pid));
    Scene { host, folder, lease, clients }
}

/// A process on the card, as the card sees it: a context, 1 GiB, and kernels for an hour.
fn busy(socket: &Path, pid: u32) -> Client {
    let client = Client::connect(socket, pid).unwrap();
    assert_eq!(client.ask(Ask::Open).unwrap()[0], 0);
    assert_eq!(client.ask(Ask::Allocate { bytes: GIB }).unwrap()[0], 0);
    let (blocks, threads, length_ns) = (1024, 256, 3_600_000_000_000);
    let kernel =
        Ask::Launch { stream: 0, blocks, threads, length_ns, nodes: 0, cooperative: false };
    client.tell(kernel).unwrap();
    client
}

fn scene() -> Scene {
    scene_of(&built().join("deps/libstandin_nvml.so"), UUID)
}

impl Scene {
    /// A program of the lease.
    fn program(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.lease.command(program.as_ref());
        command
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("STANDIN_SOCKET", self.folder.path().join("device"));
        command
    }

    fn tenant(&self, arguments: &[&str]) -> Output {
        let mut command = self.program(example("nvml_tenant"));
        command.arg(self.folder.path().join("libnvidia-ml.so.1")).args(arguments);
        command.output().unwrap()
    }

    /// Waits until the card says that the lease's process has had more of it than it was promised.
    fn warm(&self) {
        // By the number of the process: the neighbour's is lower.
        while self.clients[0].ask(Ask::Process { index: 1 }).unwrap()[2] < 31 {
            std::thread::yield_now();
        }
    }

    /// The arbiter charges the lease at `permille` of the device until the scene is over.
    fn charge(&self, permille: u64) {
        self.lease.charge_at(permille, self.host.over());
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The number that a line of this beginning ends with.
fn number(said: &str, begins: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix(begins));
    line.and_then(|rest| rest.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {begins} in {said}"))
}

#[track_caller]
fn has(said: &str, line: &str) {
    assert!(said.lines().any(|it| it == line), "no {line:?} in {said}");
}

#[test]
fn a_monitor_sees_the_slice_and_neither_the_card_nor_its_neighbours() {
    let scene = scene();
    scene.charge(150);
    scene.warm();
    let output = scene.tenant(&[]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "count 1",
        "Stand-in H200 GPU-7374616e-642d-696e-2064-657669636530 index 0",
        "by uuid 0",
        "by bus 0",
        "beyond Some(InvalidArg)",
        "another's Some(NotFound)",
        "memory 2048 512 1536",
        "process 5555 512",
        "graphics 0",
        "encoder Some(NotSupported)",
        "limit Some(NoPermission)",
        "clocks Some(NoPermission)",
        "celsius 40",
    ] {
        has(&said, line);
    }
    assert!(!said.contains(&NEIGHBOUR.to_string()), "{said}");
    // Half of its share of 300 is used; a loaded machine charges late.
    assert!((25..=75).contains(&number(&said, "busy ")), "{said}");
    // The card runs the two in turns, so the process has far more of it than the lease was promised.
    assert_eq!(number(&said, "sample 5555 "), 100, "{said}");
}

#[test]
fn the_oldest_variants_tell_the_same() {
    let said = said(&scene().tenant(&["oldest"]));
    for line in [
        "too early 1",
        "init 0: Success",
        "count 0 1",
        "handle 0",
        "memory 0 2048",
        "processes 7 1",
        "process 0 5555 512",
        "nowhere to write 2",
        "no handle 2",
    ] {
        has(&said, line);
    }
}

#[test]
fn a_lease_whose_card_the_vendor_does_not_find_shows_none_that_it_has_not() {
    let said = said(&scene_of(&built().join("deps/libstandin_nvml.so"), [9; 16]).tenant(&[]));
    has(&said, "count 1");
    has(&said, "error: NotFound");
}

#[test]
fn a_vendors_library_that_is_absent_lacks_functions_or_talks_nonsense_is_an_error_and_no_crash() {
    let absent = scene_of(Path::new("/nonexistent/libnvidia-ml.so.1"), UUID);
    let words = said(&absent.tenant(&["oldest"]));
    has(
        &words,
        "init 12: the vendor's libnvidia-ml.so.1 cannot be loaded (POLDER_LOG=1 says more)",
    );
    assert!(words.contains("/nonexistent/libnvidia-ml.so.1 cannot be loaded"), "{words}");
    has(&said(&absent.tenant(&[])), "error: LibraryNotFound");
    // A library without any of the functions: any other of the system's will do.
    let other = scene_of(Path::new("libc.so.6"), UUID);
    let words = said(&other.tenant(&["oldest"]));
    has(&words, "init 13: the vendor's library does not have this function");
    has(&words, "count 13 0");
    let scene = scene();
    for (failure, line) in [
        ("nvmlDeviceGetUUID:15", "error: GpuLost"),
        ("nvmlDeviceGetMemoryInfo_v2:999", "error: Unknown"),
        ("nvmlInit_v2:9", "error: DriverNotLoaded"),
    ] {
        let mut command = scene.program(example("nvml_tenant"));
        command.arg(scene.folder.path().join("libnvidia-ml.so.1"));
        has(&said(&command.env("STANDIN_NVML_FAIL", failure).output().unwrap()), line);
    }
}

#[test]
fn a_process_that_no_lease_lets_in_is_told_so() {
    let scene = scene();
    scene.lease.refuse();
    let words = said(&scene.tenant(&["oldest"]));
    let why = "no lease lets this process in: start it with polder run (POLDER_LOG=1 says more)";
    has(&words, &format!("init 4: {why}"));
    has(&words, "count 1 0");
    assert!(words.contains("the lease is over"), "{words}");
    has(&said(&scene.tenant(&[])), "error: NoPermission");
}

const PYTHON: &str = "
import pynvml as n
n.nvmlInit()
print('count', n.nvmlDeviceGetCount())
d = n.nvmlDeviceGetHandleByIndex(0)
print(n.nvmlDeviceGetName(d), n.nvmlDeviceGetUUID(d))
m = n.nvmlDeviceGetMemoryInfo(d)
print('memory', m.total >> 20, m.used >> 20, m.free >> 20)
m = n.nvmlDeviceGetMemoryInfo(d, version=n.nvmlMemory_v2)
print('memory 2', m.total >> 20, m.used >> 20, m.free >> 20, m.reserved)
for p in n.nvmlDeviceGetComputeRunningProcesses(d):
    print('process', p.pid, p.usedGpuMemory >> 20)
for s in n.nvmlDeviceGetProcessUtilization(d, 0):
    print('sample', s.pid, s.smUtil)
print('busy', n.nvmlDeviceGetUtilizationRates(d).gpu)
def refused(name, call, *arguments):
    try:
        call(*arguments)
        print(name, 'done')
    except n.NVMLError as error:
        print(name, error.value)
refused('ecc', n.nvmlDeviceSetEccMode, d, 0)
refused('power', n.nvmlDeviceSetPowerManagementLimit, d, 100000)
refused('mig', n.nvmlDeviceSetMigMode, d, 1)
refused('clocks', n.nvmlDeviceSetGpuLockedClocks, d, 100, 200)
refused('samples', n.nvmlDeviceGetSamples, d, 0, 0)
refused('accounting', n.nvmlDeviceGetAccountingPids, d)
refused('beyond', n.nvmlDeviceGetHandleByIndex, 1)
refused('bus', n.nvmlDeviceGetHandleByPciBusId, b'00000000:02:00.0')
n.nvmlShutdown()
";

#[test]
fn the_vendors_python_bindings_see_the_slice() {
    let folder = tempfile::tempdir().unwrap();
    let mut pip = Command::new("timeout");
    pip.args(["60", "python3", "-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
    let there = pip.arg(folder.path()).arg("nvidia-ml-py").output();
    if !there.as_ref().is_ok_and(|output| output.status.success()) {
        return skipped(&format!("no nvidia-ml-py: pip cannot fetch it: {there:?}"));
    }
    let scene = scene();
    scene.charge(600);
    scene.warm();
    let mut command = scene.program("python3");
    let output = command.args(["-c", PYTHON]).env("PYTHONPATH", folder.path()).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "count 1",
        "Stand-in H200 GPU-7374616e-642d-696e-2064-657669636530",
        "memory 2048 512 1536",
        "memory 2 2048 512 1536 0",
        "process 5555 512",
        "sample 5555 100",
        // It was lent twice its share, and uses all that it was promised.
        "busy 100",
        "ecc 4",
        "power 4",
        "mig 4",
        "clocks 4",
        "samples 3",
        "accounting 3",
        "beyond 2",
        "bus 6",
    ] {
        has(&said, line);
    }
    assert!(!said.contains(&NEIGHBOUR.to_string()), "{said}");
}

/// The vendor's own tool, if it is named. On the stand-in it comes as far as the private table, which is
/// passed on and which the stand-in does not have: what it would show of a slice, only a real card tells.
#[test]
fn the_vendors_own_tool_begins_through_the_library() {
    let Some(program) = std::env::var_os("POLDER_NVIDIA_SMI") else {
        return skipped(
            "nvidia-smi is not named (POLDER_NVIDIA_SMI); on the stand-in NVML it would stop at the \
             vendor's private table, so what it shows inside a slice is not tested without a GPU",
        );
    };
    let scene = scene();
    let log = scene.folder.path().join("log");
    let output = scene.program(program).arg("-L").env("STANDIN_LOG", &log).output().unwrap();
    let calls = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(calls.starts_with("nvmlInit"), "{calls} {}", said(&output));
    assert!(calls.contains("nvmlInternalGetExportTable"), "{calls} {}", said(&output));
    skipped(
        "nvidia-smi stopped at the vendor's private table, which the stand-in NVML does not have",
    );
}
