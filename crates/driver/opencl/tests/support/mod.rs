//! A lease played by the test: it is the shim that lets programs in, and the arbiter that opens and
//! closes the gate.
#![allow(dead_code)] // each test file uses a part
#![allow(clippy::unwrap_used)] // all of this is test code

use polder_ledger::attach::{Message, Route, receive, send};
use polder_ledger::gate::{self, census};
use polder_ledger::{LimitsWriter, Mapped, Usage, create_usage, memory, monotonic_ns};
use rustix::event::EventfdFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    socket_with,
};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Longest that any program of the tests may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const HEARTBEAT: Duration = Duration::from_millis(50);
/// The quantum of the played arbiter.
pub(crate) const QUANTUM_NS: u64 = 20_000_000;

/// A driver: its library and the name of its platform.
pub(crate) type Driver = (&'static str, &'static str);

/// PoCL as it is installed; says so when it is not, and then the test proves nothing.
pub(crate) fn pocl() -> Option<Driver> {
    static LIBRARY: OnceLock<Option<String>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let icd = std::fs::read_to_string("/etc/OpenCL/vendors/pocl.icd").ok()?;
        Some(icd.trim().to_owned())
    });
    if library.is_none() {
        skipped("PoCL is absent (package pocl-opencl-icd)");
    }
    library.as_deref().map(|library| (library, "Portable Computing Language"))
}
/// oclgrind as Debian installs it.
pub(crate) const OCLGRIND: Driver = ("/usr/lib/oclgrind/liboclgrind-rt-icd.so", "Oclgrind");

/// A played lease.
pub(crate) struct Lease {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    usage: Mapped<Usage>,
}

struct Shared {
    limits: Mutex<LimitsWriter>,
    usage_fd: OwnedFd,
    doorbell: OwnedFd,
    routes: Vec<Route>,
    refuse: AtomicBool,
    alive: AtomicBool,
    over: AtomicBool,
    connections: Mutex<Vec<OwnedFd>>,
}

impl Lease {
    /// PoCL's first device with so much memory and an open gate; none when PoCL is absent.
    pub(crate) fn pocl(memory_bytes: u64) -> Option<Self> {
        Some(Self::new(&[(pocl()?, 0, memory_bytes)]))
    }

    /// Devices: their driver, place, and memory.
    pub(crate) fn new(devices: &[(Driver, u32, u64)]) -> Self {
        let route = |((library, platform), index, _): &(Driver, u32, u64)| Route {
            library: (*library).into(),
            platform: (*platform).into(),
            index: *index,
            cuda: None,
        };
        let memory: Vec<u64> = devices.iter().map(|device| device.2).collect();
        Self::of(devices.iter().map(route).collect(), &memory)
    }

    /// Devices as their routes name them, and the memory of each.
    pub(crate) fn of(routes: Vec<Route>, memory: &[u64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vendors = folder.path().join("vendors");
        std::fs::create_dir(&vendors).unwrap();
        std::fs::write(vendors.join("polder.icd"), format!("{}\n", driver().display())).unwrap();
        let limits = LimitsWriter::create(7, 1).unwrap();
        fill(&limits, memory);
        let (usage_fd, usage) = create_usage(7).unwrap();
        let shared = Arc::new(Shared {
            limits: Mutex::new(limits),
            usage_fd,
            doorbell: rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
            routes,
            refuse: AtomicBool::new(false),
            alive: AtomicBool::new(true),
            over: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let lease = Self { folder, shared, usage };
        lease.serve();
        lease.open();
        lease
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("shim")
    }

    /// Lets programs in, and keeps the heart beating.
    fn serve(&self) {
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        bind(&listener, &SocketAddrUnix::new(self.socket()).unwrap()).unwrap();
        listen(&listener, 16).unwrap();
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            while let Ok(client) = accept_with(&listener, SocketFlags::CLOEXEC) {
                shared.welcome(client);
            }
        });
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            while !shared.over.load(Ordering::Acquire) {
                if shared.alive.load(Ordering::Acquire) {
                    let limits = shared.limits.lock().unwrap();
                    limits.heartbeat_ns.store(monotonic_ns(), Ordering::Release);
                }
                std::thread::sleep(HEARTBEAT);
            }
        });
    }

    fn set(&self, flags: u32, deadline_ns: u64) {
        let limits = self.shared.limits.lock().unwrap();
        limits.deadline_ns.store(deadline_ns, Ordering::Release);
        gate::set(&limits, flags);
        limits.wake();
    }

    pub(crate) fn open(&self) {
        self.set(gate::OPEN, u64::MAX);
    }

    pub(crate) fn close(&self) {
        self.set(0, 0);
    }

    /// Opens the gate for a turn of so long, with another lease waiting.
    pub(crate) fn turn(&self, ns: u64) {
        self.set(gate::OPEN | gate::CONTENDED | gate::WATCH, monotonic_ns() + ns);
    }

    pub(crate) fn set_compute(&self, permille: u32) {
        let limits = self.shared.limits.lock().unwrap();
        limits.device[0].compute.store(permille, Ordering::Release);
    }

    /// Charges the lease's device at `permille` of the time that passes, until `over`.
    pub(crate) fn charge_at(&self, permille: u64, over: Arc<AtomicBool>) {
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            let (began, mut charged) = (monotonic_ns(), 0);
            while !over.load(Ordering::Acquire) {
                let due = (monotonic_ns() - began) * permille / 1000;
                let limits = shared.limits.lock().unwrap();
                limits.device[0].charged_ns.fetch_add(due - charged, Ordering::Relaxed);
                drop(limits);
                charged = due;
                std::thread::sleep(HEARTBEAT / 10);
            }
        });
    }

    /// Changes the memory of the lease's device.
    pub(crate) fn set_memory(&self, bytes: u64) {
        let limits = self.shared.limits.lock().unwrap();
        limits.device[0].memory_max.store(bytes, Ordering::Release);
    }

    /// The driver gives the lease's devices memory in blocks of so many bytes.
    pub(crate) fn set_granularity(&self, bytes: u64) {
        let limits = self.shared.limits.lock().unwrap();
        limits.device.iter().for_each(|row| row.granularity.store(bytes, Ordering::Release));
    }

    /// Puts host memory behind the lease's devices: bytes behind each.
    pub(crate) fn set_backing(&self, bytes: &[u64]) {
        let limits = self.shared.limits.lock().unwrap();
        let devices = limits.device_count();
        for (row, bytes) in limits.device.iter().skip(devices).zip(bytes) {
            row.memory_max.store(*bytes, Ordering::Release);
        }
    }

    /// From now on every program is turned away.
    pub(crate) fn refuse(&self) {
        self.shared.refuse.store(true, Ordering::Release);
    }

    /// The agent dies: the heart stops, long ago.
    pub(crate) fn agent_dies(&self) {
        self.shared.alive.store(false, Ordering::Release);
        std::thread::sleep(2 * HEARTBEAT);
        self.shared.limits.lock().unwrap().heartbeat_ns.store(0, Ordering::Release);
    }

    /// Another agent takes over with a page of its own.
    pub(crate) fn agent_returns(&self, memory_bytes: u64) {
        let page = LimitsWriter::create(7, 2).unwrap();
        fill(&page, &[memory_bytes]);
        gate::set(&page, gate::OPEN);
        page.deadline_ns.store(u64::MAX, Ordering::Release);
        page.heartbeat_ns.store(monotonic_ns(), Ordering::Release);
        for client in self.shared.connections.lock().unwrap().iter() {
            send(client, &Message::NewLimits, &[page.fd()]).unwrap();
        }
        *self.shared.limits.lock().unwrap() = page;
        self.shared.alive.store(true, Ordering::Release);
    }

    /// Bytes held of the lease's device.
    pub(crate) fn held(&self, device: usize) -> u64 {
        memory::held(&self.usage, device)
    }

    /// Bytes of host memory that the lease's programs have pinned.
    pub(crate) fn pinned(&self) -> u64 {
        let row = self.shared.limits.lock().unwrap().pinned_row().unwrap();
        memory::held(&self.usage, row)
    }

    /// How many of its first program's callbacks launched without their turn.
    pub(crate) fn out_of_turn(&self) -> u64 {
        let limits = self.shared.limits.lock().unwrap();
        limits.out_of_turn(&self.usage.slot[0]).unwrap().load(Ordering::Acquire)
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(crate) fn census(&self) -> gate::Census {
        census(&self.usage)
    }

    /// Waits until the lease's programs are as `wanted`.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(gate::Census) -> bool) {
        for _ in 0..10_000 {
            if wanted(self.census()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("not in 10 s: {what}; {:?}", self.census());
    }

    /// A program of the lease.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("OCL_ICD_VENDORS", self.folder.path().join("vendors"))
            .env("POLDER_SOCKET", self.socket())
            .env("POLDER_LOG", "1")
            .env("POCL_CACHE_DIR", cache())
            .env("HOME", self.folder.path());
        command
    }

    pub(crate) fn probe(&self, scenario: &str, number: usize) -> Talk {
        Talk::start(self.command(example("probe")).args([scenario, &number.to_string()]))
    }

    /// Adds a driver to what the program's loader finds.
    pub(crate) fn also_vendor(&self, library: &str) {
        let path = self.folder.path().join("vendors/other.icd");
        std::fs::write(path, format!("{library}\n")).unwrap();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
    }
}

impl Shared {
    fn welcome(&self, client: OwnedFd) {
        let Ok(Some((Message::Hello { .. }, _))) = receive(&client, RecvFlags::empty()) else {
            return;
        };
        if self.refuse.load(Ordering::Acquire) {
            let why = Message::Refused { why: "the lease is over".into() };
            return send(&client, &why, &[]).unwrap();
        }
        let usage = polder_ledger::map_usage(&self.usage_fd).unwrap();
        let slot = self.connections.lock().unwrap().len();
        let generation = usage.claim_slot(slot, 1000 + u32::try_from(slot).unwrap());
        let welcome = Message::Welcome {
            lease: 7,
            slot: u32::try_from(slot).unwrap(),
            generation,
            routes: self.routes.clone(),
        };
        let limits = self.limits.lock().unwrap();
        let fds = [limits.fd(), self.usage_fd.as_fd(), self.doorbell.as_fd()];
        send(&client, &welcome, &fds).unwrap();
        self.connections.lock().unwrap().push(client);
    }
}

fn fill(limits: &LimitsWriter, memory: &[u64]) {
    limits.devices.store(u32::try_from(memory.len()).unwrap(), Ordering::Release);
    limits.quantum_ns.store(QUANTUM_NS, Ordering::Release);
    limits.heartbeat_ns.store(monotonic_ns(), Ordering::Release);
    for (device, bytes) in limits.device.iter().zip(memory) {
        device.memory_max.store(*bytes, Ordering::Release);
        device.compute.store(1000, Ordering::Release);
        device.compute_max.store(1000, Ordering::Release);
    }
}

/// A program that a test talks with.
pub(crate) struct Talk {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Talk {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(
            "it starts: `cargo test -p polder-driver-opencl` builds the example programs too",
        );
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, input, lines }
    }

    /// The next line.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the program hangs"),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended: {:?}", self.child.wait()),
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Whether it says nothing for so long.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        matches!(self.lines.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }

    pub(crate) fn go(&mut self) {
        writeln!(self.input).unwrap();
    }

    /// The rest of what it says; it must end well.
    #[track_caller]
    pub(crate) fn end(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(SILENCE_MAX) {
            rest.push(line);
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {rest:?}");
        rest
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_owned()
}

pub(crate) fn example(name: &str) -> PathBuf {
    built().join("examples").join(name)
}

/// The library under test.
pub(crate) fn driver() -> PathBuf {
    built().join("deps/libpolder_opencl.so")
}

/// Where PoCL keeps what it compiles, so that each kernel is compiled once for all tests.
pub(crate) fn cache() -> PathBuf {
    // Not every program that plays a lease is a test.
    let folder = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    folder.join("pocl")
}

/// Whether something a test needs is missing; says so.
pub(crate) fn missing(path: &str, package: &str) -> bool {
    let missing = !Path::new(path).exists();
    if missing {
        skipped(&format!("{path} is absent (package {package})"));
    }
    missing
}

/// Says that a test proved nothing, and why, past the capture of the test's output.
pub(crate) fn skipped(why: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}
