//! Programs that nobody here wrote, and the stand-in's own, through the library on the stand-in CUDA
//! driver of `tests/standin`: its memory and copies are real, its kernels only take their time.
#![allow(clippy::unwrap_used)] // all of this is test code

#[path = "../../opencl/tests/support/mod.rs"]
mod support;

use polder_ledger::attach::{Cuda, Route};
use polder_ledger::record::{Budget, Log, PROFILE_VARIABLE, Span, SpanKind};
use polder_standin_host::{Ask, Client, Hosted, Script};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Lease, Talk, example, skipped};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Place of the H200 among the stand-in's models.
const H200: usize = 3;
/// What the stand-in's device is called.
const UUID: [u8; 16] = *b"stand-in device0";

/// A stand-in device and a lease that has a part of it.
struct Scene {
    /// None where another scene's is used.
    _host: Option<Hosted>,
    folder: tempfile::TempDir,
    lease: Lease,
}

fn built() -> PathBuf {
    example("any").ancestors().nth(2).unwrap().to_owned()
}

fn scene(bytes: u64) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    let host = Hosted::start(&socket, Script { model: H200 });
    Scene { _host: Some(host), lease: lease(&folder, bytes), folder }
}

/// A lease of the stand-in's device, whose programs find our library in a folder.
fn lease(folder: &tempfile::TempDir, bytes: u64) -> Lease {
    let ours = built().join("deps/libpolder_cuda.so");
    for name in ["libcuda.so.1", "libcuda.so"] {
        std::os::unix::fs::symlink(&ours, folder.path().join(name)).unwrap();
    }
    let library = built().join("deps/libstandin_cuda.so").to_str().unwrap().to_owned();
    let cuda = Cuda { library, nvml: String::new(), uuid: UUID };
    Lease::of(vec![Route { cuda: Some(cuda), ..Route::default() }], &[bytes])
}

impl Scene {
    /// Another lease of the same device.
    fn another(&self, bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = self.folder.path().join("device");
        std::os::unix::fs::symlink(device, folder.path().join("device")).unwrap();
        Self { _host: None, lease: lease(&folder, bytes), folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A program of the lease.
    fn program(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.lease.command(program.as_ref());
        command
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("STANDIN_SOCKET", self.folder.path().join("device"))
            .env("STANDIN_LOG", self.log());
        command
    }

    /// How often the stand-in was called by this name.
    fn calls(&self, name: &str) -> usize {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').any(|word| word == name)).count()
    }
}

/// The stand-in's own client program.
fn client() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let client = BUILT.get_or_init(|| {
        let folder = built();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "polder-standin-cuda", "--examples"]);
        cargo.arg("--target-dir").arg(folder.parent().unwrap());
        assert!(cargo.status().unwrap().success(), "the stand-in's client builds");
        folder.join("examples/client")
    });
    client.clone()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_profiled_program_tells_its_kernels_copies_and_waits() {
    let scene = scene(200 * GIB);
    let folder = scene.folder.path().join("records");
    std::fs::create_dir(&folder).unwrap();
    let mut command = scene.program(client());
    command.arg(scene.folder.path().join("libcuda.so.1")).arg("check");
    let output = command.env(PROFILE_VARIABLE, &folder).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let log = Log::read(std::fs::File::open(file).unwrap(), &mut Budget::of(vec![0])).unwrap();
    let ms = |span: &Span| (span.end_ns - span.start_ns) as f64 / 1e6;
    let named = |name: &str| log.spans.iter().filter(|s| log.name(s) == name).collect::<Vec<_>>();
    let kernels = named("work_2ms");
    // What was captured is no launch.
    assert_eq!(kernels.len(), 5, "{log:?}");
    assert!(kernels.iter().all(|span| (1.9..60.0).contains(&ms(span))), "{kernels:?}");
    assert!(kernels.windows(2).all(|two| two[1].start_ns + 1000 >= two[0].end_ns), "{kernels:?}");
    let [graph] = &named("(graph)")[..] else { panic!("{log:?}") };
    assert!(ms(graph) > 19.0, "{graph:?}");
    let long = named("work_30ms");
    assert!(long.len() == 1 && ms(long[0]) > 29.0, "{long:?}");
    let moved = |kind| {
        let spans = log.spans.iter().filter(|span| span.kind == kind);
        spans.map(|span| span.bytes).collect::<Vec<_>>()
    };
    assert_eq!(moved(SpanKind::ToDevice), [4096]);
    assert_eq!(moved(SpanKind::ToHost), [4096]);
    assert_eq!(moved(SpanKind::Within), [1], "a fill");
    for wait in ["cuEventSynchronize", "cuStreamSynchronize"] {
        assert!(!named(wait).is_empty(), "{wait}: {:?}", log.names);
    }
    assert_eq!((log.unfinished, log.malformed, log.header.dropped), (0, 0, 0));
}

#[test]
fn a_program_finds_through_the_library_what_it_finds_without() {
    let scene = scene(200 * GIB);
    let run = |library: PathBuf| {
        let mut command = scene.program(client());
        command.arg(library).arg("check").output().unwrap()
    };
    let native = run(built().join("deps/libstandin_cuda.so"));
    let through = run(scene.folder.path().join("libcuda.so.1"));
    assert!(native.status.success() && through.status.success(), "{}", said(&through));
    // A busy machine may let a kernel's time pass before the program begins to wait for it.
    let lines = |output| said(output).replace("waited false", "waited true");
    assert_eq!(lines(&through), lines(&native));
    let launches = scene.lease.usage().slots()[0].launched.load(Ordering::Relaxed);
    // Five kernels and one, a graph, two copies and a fill: what was captured is no launch.
    assert_eq!(launches, 10);
    scene.lease.until("drained", |census| census.inflight == 0);
}

/// Programs that begin too early or name nothing get the driver's own answer, and go on; and who only opens
/// the library has asked the driver for nothing.
#[test]
fn a_program_that_calls_too_early_or_with_nothing_is_answered_as_by_the_driver_alone() {
    let scene = scene(200 * GIB);
    let run = |library: PathBuf, what: &str| {
        let output = scene.program(client()).arg(library).arg(what).output().unwrap();
        assert!(output.status.success(), "{what}: {:?} {}", output.status, said(&output));
        said(&output).replace("waited false", "waited true")
    };
    let ours = scene.folder.path().join("libcuda.so.1");
    run(ours.clone(), "nothing");
    assert_eq!(std::fs::read_to_string(scene.log()).unwrap_or_default(), "");
    let native = run(built().join("deps/libstandin_cuda.so"), "odd");
    assert!(native.lines().count() > 40 && native.starts_with("cuDeviceGetCount: 3"), "{native}");
    let through = run(ours, "odd");
    let differs = through.lines().zip(native.lines()).filter(|(one, other)| one != other);
    assert_eq!(through, native, "{:?}", differs.collect::<Vec<_>>());
}

/// The driver gives memory in whole blocks, and those are what a lease has of its device.
#[test]
fn small_allocations_are_charged_the_blocks_that_they_take() {
    let scene = scene(16 * MIB);
    scene.lease.set_granularity(2 * MIB);
    let mut command = scene.program(client());
    command.arg(scene.folder.path().join("libcuda.so.1")).arg("small");
    let mut program = Talk::start(&mut command);
    program.expect("ready");
    let before = used(&scene);
    program.go();
    program.expect("blocks 8");
    assert_eq!(scene.lease.held(0), 16 * MIB);
    assert_eq!(used(&scene) - before, 16 * MIB, "by the stand-in's own account");
    program.go();
    program.end();
}

/// What the stand-in has given away of its memory, by its own account.
fn used(scene: &Scene) -> u64 {
    let watcher = Client::connect(&scene.folder.path().join("device"), 1).unwrap();
    watcher.ask(Ask::State).unwrap()[1]
}

fn behind(scene: &Scene) -> Talk {
    let mut command = scene.program(client());
    Talk::start(command.arg(scene.folder.path().join("libcuda.so.1")).args(["behind", "4"]))
}

/// What a lease has no room for lives behind the device, never on it; its contents are the program's,
/// and no more is promised than the two hold together.
#[test]
fn what_has_no_room_on_the_device_lives_behind_it() {
    let scene = scene(16 * MIB);
    scene.lease.set_backing(&[24 * MIB]);
    let mut program = behind(&scene);
    program.expect("free 40 of 40 MiB");
    let before = used(&scene);
    program.go();
    program.expect("blocks ddddhhhhhh");
    program.expect("free 0 MiB");
    program.expect("used");
    let usage = scene.lease.usage();
    assert_eq!((scene.lease.held(0), scene.lease.held(1)), (16 * MIB, 24 * MIB));
    // One of the blocks on the device is the program's own managed memory, which went there with
    // its first use.
    assert_eq!(used(&scene) - before, 16 * MIB, "nothing behind the device is on it");
    // The eleventh block was refused; those that found a place behind the device were not.
    assert_eq!(usage.slots()[0].refused.load(Ordering::Relaxed), 2);
    program.go();
    program.expect("contents are as they were");
    program.expect("again d");
    program.end();
    assert_eq!((scene.lease.held(0), scene.lease.held(1)), (0, 0));
}

#[test]
fn a_lease_that_did_not_ask_has_nothing_behind_its_device() {
    let scene = scene(16 * MIB);
    let mut program = behind(&scene);
    program.expect("free 16 of 16 MiB");
    program.go();
    program.expect("blocks dddd");
    program.expect("free 0 MiB");
    program.expect("used");
    assert_eq!(scene.calls("cuMemAdvise"), 0);
    program.go();
    program.expect("contents are as they were");
    program.expect("again d");
    program.end();
}

/// Two tenants who were promised 1.6 times what the device has, both of whom use all of it at the
/// same time.
#[test]
fn two_tenants_have_more_than_the_device_and_neither_takes_of_the_other() {
    let one = scene(16 * MIB);
    let two = one.another(16 * MIB);
    let leases = [&one, &two];
    leases.iter().for_each(|scene| scene.lease.set_backing(&[12 * MIB]));
    let mut programs: Vec<Talk> = leases.iter().map(|scene| behind(scene)).collect();
    programs.iter_mut().for_each(|program| program.expect("free 28 of 28 MiB"));
    let before = used(&one);
    programs.iter_mut().for_each(Talk::go);
    for program in &mut programs {
        program.expect("blocks ddddhhh");
        program.expect("free 0 MiB");
        program.expect("used");
    }
    assert_eq!(used(&one) - before, 32 * MIB, "each has its memory on the device, and no more");
    programs.iter_mut().for_each(Talk::go);
    for mut program in programs {
        program.expect("contents are as they were");
        program.expect("again d");
        program.end();
    }
}

/// A driver that would move managed memory as a whole, or does not hear where it belongs, gets none.
#[test]
fn a_driver_that_cannot_keep_memory_on_the_host_gets_none_behind_the_device() {
    for failure in ["cuMemAdvise:1", "cuMemAllocManaged:2:1"] {
        let scene = scene(16 * MIB);
        scene.lease.set_backing(&[24 * MIB]);
        let mut command = scene.program(client());
        command.arg(scene.folder.path().join("libcuda.so.1")).args(["behind", "4"]);
        let mut program = Talk::start(command.env("STANDIN_FAIL", failure));
        program.expect("free 40 of 40 MiB");
        program.go();
        let blocks = program.line();
        assert_eq!(blocks, "blocks dddd", "{failure}");
        assert_eq!(scene.lease.held(1), 0);
        drop(program);
    }
}

#[test]
fn calls_that_the_driver_fails_fail_as_it_says_and_leave_nothing_charged() {
    let scene = scene(GIB);
    for (failure, code) in [("cuMemAlloc_v2:2", "2"), ("cuLaunchKernel:719", "719")] {
        let mut command = scene.program(client());
        command.arg(scene.folder.path().join("libcuda.so.1")).arg("check");
        let output = command.env("STANDIN_FAIL", failure).output().unwrap();
        assert!(!output.status.success());
        assert!(said(&output).contains(code), "{}", said(&output));
    }
    scene.lease.until("drained", |census| census.inflight == 0);
}

/// A process is moved off the device in the middle of its work (`cuda-checkpoint`), by another one of its
/// lease: its memory is off the device and still its lease's, it launches nothing meanwhile, however its gate stands,
/// and it goes on as if nothing had been.
#[test]
fn a_process_that_is_moved_off_the_device_keeps_its_place_in_the_lease() {
    let scene = scene(GIB);
    let freeze = |pid: u32, steps: &[(&str, &str)]| {
        for (step, expect) in steps {
            let mut command = scene.program(client());
            command.arg(scene.folder.path().join("libcuda.so.1"));
            let output = command.args(["freeze", &pid.to_string(), step]).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert_eq!(printed, format!("{step}: {expect}\n"), "{}", said(&output));
        }
    };
    let mut command = scene.program(client());
    let library = scene.folder.path().join("libcuda.so.1");
    let mut program = Talk::start(command.arg(library).args(["hold", "64"]));
    let before = used(&scene);
    let pid = program.line().strip_prefix("pid ").unwrap().parse().unwrap();
    let usage = scene.lease.usage();
    let launched = || usage.slots()[0].launched.load(Ordering::Acquire);
    let moves_on = || {
        let before = launched();
        scene.lease.until("it launches", |_| launched() > before + 3);
    };
    moves_on();
    assert!(used(&scene) > before + 64 * MIB);

    freeze(
        pid,
        &[("unlock", "401, state 0"), ("lock", "0, state 1"), ("checkpoint", "0, state 2")],
    );
    assert!(used(&scene) <= before, "nothing of it is on the device");
    assert_eq!(scene.lease.held(0), 64 * MIB, "and its part is still its own");
    let at = launched();
    scene.lease.close();
    scene.lease.open();
    std::thread::sleep(Duration::from_millis(100));
    assert!(launched() <= at + 1, "it launches while it is locked");

    freeze(pid, &[("restore", "0, state 1"), ("unlock", "0, state 0")]);
    moves_on();
    program.go();
    let last = program.line();
    assert!(last.starts_with("kernels ") && last.ends_with("as it was: true"), "{last}");
    program.end();
    scene.lease.until("all is counted out", |census| census.inflight == 0);
}

#[test]
fn cudarc_runs_and_is_held_and_counted() {
    let scene = scene(GIB);
    let output = scene.program(example("cuda_cudarc")).output().unwrap();
    let expected = "cudarc: 65536 floats in 4 threads, 1024 MiB, true";
    assert!(said(&output).contains(expected), "{}", said(&output));
    scene.lease.until("drained", |census| census.inflight == 0);
    let counted = scene.lease.usage().slots()[0].launched.load(Ordering::Relaxed);
    assert!(counted >= 4 * 200, "{counted}");
    assert_eq!(scene.lease.held(0), 0, "its process is gone");
}

/// A Python that has `module`: the one that `cargo xtask test` has made, or one on `PATH`. Says so when
/// none has.
fn python(module: &str) -> Option<PathBuf> {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("python/bin/python");
    let path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("python3")).collect::<Vec<_>>()
    });
    let mut found = std::iter::once(made).chain(path);
    let has = |python: &PathBuf| {
        let tried = Command::new(python).args(["-c", &format!("import {module}")]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let python = found.find(has);
    if python.is_none() {
        skipped(&format!(
            "{module} is absent: `cargo xtask test` fetches it from PyPI, or put a python3 that has it on PATH"
        ));
    }
    python
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

#[test]
fn tinygrad_runs_and_is_counted() {
    let Some(python) = python("tinygrad") else { return };
    let scene = scene(GIB);
    let output = scene.program(python).arg(script("through_tinygrad.py")).output().unwrap();
    assert!(said(&output).contains("tinygrad is done"), "{}", said(&output));
    let counted = scene.lease.usage().slots()[0].launched.load(Ordering::Relaxed);
    assert!(counted >= 20 && scene.calls("cuLaunchKernel") >= 20, "{counted}");
}

#[test]
fn numba_cuda_runs_and_is_held() {
    let Some(python) = python("numba.cuda") else { return };
    let scene = scene(GIB);
    let output = scene.program(python).arg(script("through_numba.py")).output().unwrap();
    assert!(said(&output).contains("numba-cuda is done on 1024 MiB"), "{}", said(&output));
    assert!(said(&output).contains("CUDA_ERROR_OUT_OF_MEMORY"), "{}", said(&output));
    let counted = scene.lease.usage().slots()[0].launched.load(Ordering::Relaxed);
    assert!(counted >= 50, "{counted}");
}
