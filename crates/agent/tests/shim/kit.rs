//! Leases for tests: real shims and real processes. The test program itself plays the shim and the
//! lease's programs (`entry.rs`).

#[path = "../support/order.rs"]
mod order;

use order::order;
use polder_agent::shim::{
    Plan, ShimClient, ShimPhase, ShimState, Stream, read_log, read_status, spawn_shim, write_plan,
};
use polder_ledger::LimitsWriter;
use polder_model::{Address, LeaseEnd, Micros, Outcome};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The test that plays the shim.
pub(crate) const SHIM: &str = "entry::shim_entry";

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A plan: lease L7 of this user, one shared device that is simulated.
pub(crate) fn plan(command: &[&str]) -> Plan {
    let uid = rustix::process::geteuid().as_raw();
    Plan {
        order: order(&format!("uid-{uid}"), command, 2_000_000),
        addresses: vec![Address::Simulated],
        driver: None,
        cuda: None,
        mps: None,
        units: None,
        containers: polder_agent::Containers::Auto,
        nodes: None,
    }
}

/// A shell script as a command.
pub(crate) fn script(text: &str) -> Plan {
    plan(&["sh", "-c", text])
}

/// A program of the lease: the test program in the given role.
pub(crate) fn tenant(role: &str) -> Plan {
    let exe = std::env::current_exe().unwrap();
    let mut plan = plan(&[exe.to_str().unwrap(), "--exact", "entry::tenant_entry", "--nocapture"]);
    plan.order.work.environment.insert("TENANT_ROLE".into(), role.into());
    plan
}

/// A lease with its shim. Dropped, it leaves no process.
pub(crate) struct Lease {
    dir: tempfile::TempDir,
}

impl Lease {
    /// A prepared lease.
    pub(crate) fn prepared(plan: &Plan) -> Self {
        let lease = Self::planned(plan);
        lease.spawn().unwrap();
        lease
    }

    /// A lease's folder with its plan, and no shim yet.
    pub(crate) fn planned(plan: &Plan) -> Self {
        let dir = tempfile::Builder::new().prefix("lease").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        write_plan(dir.path(), plan).unwrap();
        Self { dir }
    }

    /// A started lease.
    pub(crate) fn started(plan: &Plan) -> Self {
        let lease = Self::prepared(plan);
        lease.client().start(None, false, None).unwrap();
        lease
    }

    /// Runs a plan to its end.
    pub(crate) fn run(plan: &Plan) -> (Self, Outcome) {
        let lease = Self::started(plan);
        let end = lease.end();
        (lease, end.outcome)
    }

    pub(crate) fn spawn(&self) -> Result<(), polder_agent::shim::SpawnError> {
        let exe = std::env::current_exe().unwrap();
        spawn_shim(&exe, &["--exact", SHIM, "--nocapture"], self.dir())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// A new connection of the agent.
    pub(crate) fn client(&self) -> ShimClient {
        let mut client = ShimClient::connect(self.dir()).unwrap();
        client.hello().unwrap();
        client
    }

    pub(crate) fn state(&self) -> ShimState {
        ShimClient::connect(self.dir()).unwrap().hello().unwrap().state
    }

    /// Gives it a limits page.
    pub(crate) fn give_limits(&self, epoch: u64) -> LimitsWriter {
        let page = LimitsWriter::create(7, epoch).unwrap();
        page.device[0].memory_max.store(1 << 30, std::sync::atomic::Ordering::Release);
        page.devices.store(1, std::sync::atomic::Ordering::Release);
        self.client().send_limits(page.fd(), epoch).unwrap();
        page
    }

    pub(crate) fn stop(&self, grace: Micros) {
        self.client().stop(grace, Outcome::Cancelled).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(&self) -> LeaseEnd {
        let mut watch = self.client().watch().unwrap();
        loop {
            let state = watch.next_state().unwrap().expect("the shim stays until it is forgotten");
            if let ShimPhase::Ended { end } = state.phase {
                return end;
            }
        }
    }

    /// All of its output.
    pub(crate) fn output(&self) -> String {
        self.stream(Stream::Output)
    }

    pub(crate) fn stream(&self, stream: Stream) -> String {
        String::from_utf8(read_log(self.dir(), stream, 0, 1 << 20).unwrap().bytes).unwrap()
    }

    /// Waits until its output has a line that begins with `prefix`, and returns the rest of it.
    pub(crate) fn line(&self, prefix: &str) -> String {
        wait_for(&format!("a line {prefix:?}"), || {
            let output = self.output();
            let whole = output.rsplit_once('\n')?.0;
            whole.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned)
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Ok(mut client) = ShimClient::connect(self.dir()) else { return };
        if std::thread::panicking() {
            // The test has failed already: as much tidying as can be had.
            let _ = client.hello().and_then(|_| client.stop(Micros(0), Outcome::Cancelled));
            return;
        }
        let shim = client.hello().unwrap().state.shim;
        client.stop(Micros(0), Outcome::Cancelled).unwrap();
        self.end();
        client.forget().unwrap();
        wait_for("the shim to exit", || (!alive(shim)).then_some(()));
        assert!(read_status(self.dir()).unwrap().unwrap().cgroups.is_empty());
    }
}

/// Waits for something to be there.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match look() {
            Some(found) => return found,
            None if Instant::now() > until => panic!("waited in vain for {what}"),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Whether a process lives; a zombie does not.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test did not test.
pub(crate) fn skip(why: &str) {
    println!("SKIPPED: {why}");
}

pub(crate) fn fds<'a>(all: &'a [std::os::fd::OwnedFd; 3]) -> [BorrowedFd<'a>; 3] {
    use std::os::fd::AsFd;
    [all[0].as_fd(), all[1].as_fd(), all[2].as_fd()]
}
