//! A pool of its own for end-to-end tests: the real binary, a real state folder, a real device.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]
#![allow(clippy::print_stderr, reason = "skips and daemons must be heard")]

use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const POLDER: &str = env!("CARGO_BIN_EXE_polder");
/// Longest wait for anything that should happen soon, on a slow and busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Devices that do not exist.
pub const RACK: &str = "[[device]]\nmodel = \"X1\"\nvendor = \"Nobody\"\nmemory = \"80GiB\"\n\
                        compute_units = 100\ncount = 2\n";

/// The binary, without anything of the caller's that could change what it does.
pub fn polder<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    wrapped(&[], words)
}

/// The same as the last words of the command `wrap`.
fn wrapped<S: AsRef<std::ffi::OsStr>>(
    wrap: &[&str],
    words: impl IntoIterator<Item = S>,
) -> Command {
    let mut all = wrap.iter().copied().chain([POLDER]);
    let mut command = Command::new(all.next().unwrap_or(POLDER));
    command.args(all).args(words).stdin(Stdio::null());
    for name in ["POLDER_STATE", "POLDER_SERVER", "POLDER_TOKEN", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("polder never ends by a signal"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
pub fn say(mut command: Command) -> Said {
    command.output().expect("the binary runs").into()
}

/// Waits until `done` gives something.
pub fn soon<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + SOON;
    while Instant::now() < limit {
        if let Some(value) = done() {
            return value;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("{what}: not within {} s", SOON.as_secs());
}

/// Waits for a process.
pub fn ended(child: &mut Child) -> ExitStatus {
    soon("the end of a process", || child.try_wait().expect("a child can be waited for"))
}

/// Whether there is a device to share. Says loudly when not.
pub fn has_device() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        let said = say(polder(["devices", "--local", "--output", "json"]));
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        answer["devices"].as_array().is_some_and(|devices| !devices.is_empty())
    });
    if !found {
        eprintln!("SKIPPED: no OpenCL device here; on Debian: apt install pocl-opencl-icd");
    }
    found
}

/// Whether this may mount. Says loudly when not.
pub fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    let tried = || Command::new("unshare").args(["--mount", "true"]).output();
    let may = root && tried().is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("SKIPPED: this needs root, and the right to mount");
    }
    may
}

/// Whether leases here have a mount namespace. Says loudly when not.
pub fn has_namespaces(pool: &Pool) -> bool {
    let job = pool.submit(&["--compute", "50%", "--memory", "32MiB"], "true");
    assert_eq!(pool.say(&["wait", &job]).code, 0);
    let isolation = &pool.json(&["show", &job])["leases"][0]["lease"]["isolation"];
    let bound = isolation == "soft";
    if !bound {
        eprintln!("SKIPPED: leases have no mount namespace here: {isolation}");
    }
    bound
}

/// Builds the driver library that `polder up` looks for beside itself.
fn build_driver() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(POLDER).parent().expect("a binary lies in a folder");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "polder-driver-opencl", "--target-dir"]);
        cargo.arg(folder.parent().expect("a profile's folder lies in the target folder"));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo.status().expect("cargo runs").success();
        // Shares need it; nothing here can be said about a pool without it.
        let library = folder.join("libpolder_opencl.so");
        assert!(built || library.exists(), "the driver library builds");
        if !built {
            eprintln!("WARNING: the driver does not build; using the older {}", library.display());
        }
    });
}

/// A tenant's program, one of the driver's examples.
pub fn program(name: &str) -> String {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let profile = Path::new(POLDER).parent().expect("the target folder is as cargo makes it");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "polder-driver-opencl", "--examples"]);
        cargo
            .arg("--target-dir")
            .arg(profile.parent().expect("the target folder is as cargo makes it"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the tenants' programs build");
        profile.join("examples")
    });
    folder.join(name).to_str().expect("the target folder is as cargo makes it").to_owned()
}

/// A running `polder up`; ends with every task of its own.
pub struct Pool {
    pub folder: tempfile::TempDir,
    up: Mutex<Child>,
}

impl Pool {
    /// Starts one, or says loudly why it cannot.
    pub fn start() -> Option<Self> {
        Self::start_with(&["--no-listen"])
    }

    /// Starts one with these flags.
    pub fn start_with(flags: &[&str]) -> Option<Self> {
        Self::start_in(flags, &[])
    }

    /// Starts one with these flags and variables.
    pub fn start_in(flags: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        Self::start_wrapped(&[], flags, variables)
    }

    /// Starts one that may set no limit of a cgroup: it sees none.
    pub fn start_without_cgroups() -> Option<Self> {
        let hide = "umount --recursive --lazy /sys/fs/cgroup; exec \"$@\"";
        let wrap = ["unshare", "--mount", "sh", "-c", hide, "sh"];
        may_mount().then(|| Self::start_wrapped(&wrap, &["--no-listen"], &[]))?
    }

    fn start_wrapped(wrap: &[&str], flags: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        has_device().then(|| {
            build_driver();
            let folder = tempfile::tempdir().expect("a temporary folder");
            let up = Mutex::new(begin(wrap, folder.path(), flags, variables));
            let pool = Self { folder, up };
            pool.wait_ready();
            pool
        })
    }

    /// A pool that tests share while any of them runs.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Pool>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = shared.upgrade() {
            return Some(pool);
        }
        let pool = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&pool);
        Some(pool)
    }

    fn wait_ready(&self) {
        soon("a device in the pool", || {
            let status = self.up().try_wait().expect("a child can be waited for");
            assert!(status.is_none(), "polder up ended: {}", self.log());
            let said = say(self.polder(["nodes", "--output", "json"]));
            let answer: Value = serde_json::from_str(&said.stdout).ok()?;
            answer["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()).then_some(())
        });
    }

    fn up(&self) -> std::sync::MutexGuard<'_, Child> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pid(&self) -> u32 {
        self.up().id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("up.log")).unwrap_or_default()
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path for a test's own file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn polder<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = polder(["--state"]);
        command.arg(self.path()).args(words);
        command
    }

    /// Runs a command to its end, whatever that is.
    pub fn say(&self, words: &[&str]) -> Said {
        say(self.polder(words))
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let said = self.say(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}\n{}", self.log());
        said.stdout
    }

    pub fn json(&self, words: &[&str]) -> Value {
        let text = self.ok(&[&["--output", "json"], words].concat());
        serde_json::from_str(&text).expect("--output json prints JSON")
    }

    /// Submits `sh -c script` and returns its number.
    pub fn submit(&self, flags: &[&str], script: &str) -> String {
        let words = [&["submit"], flags, &["--", "sh", "-c", script]].concat();
        self.ok(&words).trim().to_owned()
    }

    /// A command for `polder run -- sh -c script`.
    pub fn run(&self, flags: &[&str], script: &str) -> Command {
        self.polder([&["run"], flags, &["--", "sh", "-c", script]].concat())
    }

    pub fn state(&self, job: &str) -> String {
        self.json(&["show", job])["job"]["state"]["state"].as_str().unwrap_or("?").to_owned()
    }

    pub fn wait_state(&self, job: &str, state: &str) {
        soon(&format!("job {job} {state}"), || (self.state(job) == state).then_some(()));
    }

    /// Kills the daemon as a crash would.
    pub fn crash(&self) {
        let mut up = self.up();
        up.kill().expect("a child can be killed");
        up.wait().expect("a child can be waited for");
    }

    /// Ends the daemon as an administrator would.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.up());
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    /// Starts a daemon again.
    pub fn restart(&self) {
        self.restart_with(&["--no-listen"]);
    }

    pub fn restart_with(&self, flags: &[&str]) {
        self.restart_in(flags, &[]);
    }

    /// The same with these variables.
    pub fn restart_in(&self, flags: &[&str], variables: &[(&str, &str)]) {
        *self.up() = begin(&[], self.path(), flags, variables);
        self.wait_ready();
    }

    /// Waits for the daemon to end by itself.
    pub fn wait_down(&self) -> ExitStatus {
        soon("the end of polder up", || self.up().try_wait().expect("it can be waited for"))
    }

    /// Ends whatever shims were left behind; each takes its task with it.
    fn kill_shims(&self) {
        let leases = fs::read_dir(self.path().join("leases")).into_iter().flatten().flatten();
        for lease in leases {
            let status = fs::read(lease.path().join("status.json")).unwrap_or_default();
            let status: Value = serde_json::from_slice(&status).unwrap_or_default();
            let Some(shim) = status["shim"].as_u64().filter(|_| status["phase"]["end"].is_null())
            else {
                continue;
            };
            let comm = fs::read_to_string(format!("/proc/{shim}/cmdline")).unwrap_or_default();
            let ours = comm.contains("shim") && comm.contains(&*self.path().to_string_lossy());
            if let (true, Some(pid)) =
                (ours, i32::try_from(shim).ok().and_then(rustix::process::Pid::from_raw))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- polder up said:\n{}", self.log());
        }
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(up.try_wait(), Ok(None)) {
            let _ = say(self.polder(["down", "--all"]));
            let limit = Instant::now() + Duration::from_secs(20);
            while matches!(up.try_wait(), Ok(None)) && Instant::now() < limit {
                sleep(Duration::from_millis(20));
            }
            let _ = up.kill();
            let _ = up.wait();
        }
        self.kill_shims();
    }
}

/// Starts a daemon, as the last words of the command `wrap`; everything it says goes into a file.
fn begin(wrap: &[&str], folder: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("up.log"));
    let log = log.expect("the log can be written");
    let mut command = wrapped(wrap, ["--state"]);
    command.arg(folder).arg("up").args(flags).envs(variables.iter().copied());
    command.stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
    command.spawn().expect("the binary runs")
}

/// Reads until `text` has come.
pub fn read_until(from: &mut impl Read, text: &str) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(text.as_bytes()) {
        match from.read(&mut byte) {
            Ok(1) => read.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}
