//! A server, an agent process and orders for it.

use crate::entry::STATE_VARIABLE;
use crate::server::Server;
use polder_agent::shim::{ShimClient, ShimState, Stream, read_log};
use polder_agent::{StatePaths, live_shims};
use polder_model::{LeaseEnd, LeaseId, LeaseOrder, LeaseReport, Micros, Outcome, Phase, Tombstone};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a test waits for what must happen, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a test looks whether something happens that must not.
pub(crate) const WATCHFUL: Duration = Duration::from_millis(400);

const DEVICES: &str = "[[device]]
model = \"Test\"
vendor = \"Test\"
memory = \"8GiB\"
compute_units = 4
count = 2
";

/// One node and its server.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) paths: StatePaths,
    agent: Option<Child>,
    _state: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.kill_agent();
        // Whatever a failed test leaves behind.
        for shim in self.shims() {
            let pid = i32::try_from(shim.shim).ok().and_then(rustix::process::Pid::from_raw);
            let stop = |mut shim: ShimClient| {
                shim.hello()?;
                shim.stop(Micros(0), Outcome::Cancelled)
            };
            let _ = ShimClient::connect(&self.paths.lease(shim.lease)).and_then(stop);
            std::thread::sleep(Duration::from_millis(20));
            let _ =
                pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

impl Stage {
    /// A server that wants nothing yet, and an agent.
    pub(crate) fn new() -> Self {
        let mut stage = Self::without_agent();
        stage.start_agent();
        stage
    }

    pub(crate) fn without_agent() -> Self {
        let state = tempfile::Builder::new().prefix("pa").tempdir_in("/tmp").unwrap();
        let paths = StatePaths(state.path().to_owned());
        std::fs::write(state.path().join("devices.toml"), DEVICES).unwrap();
        let server = Server::new(&paths.server_socket());
        Self { server, paths, agent: None, _state: state }
    }

    pub(crate) fn start_agent(&mut self) {
        assert!(self.agent.is_none());
        self.agent = Some(spawn_agent(&self.paths, &[]));
    }

    /// An agent with these variables.
    pub(crate) fn start_agent_with(&mut self, variables: &[(&str, PathBuf)]) {
        self.agent = Some(spawn_agent(&self.paths, variables));
    }

    /// `kill -9`.
    pub(crate) fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// The last words of an agent that gives up.
    pub(crate) async fn agent_words(&mut self) -> String {
        last_words(self.agent.take().unwrap()).await
    }

    /// The last words of another agent in the same folder.
    pub(crate) async fn words_of_a_second_agent(&self) -> String {
        last_words(spawn_agent(&self.paths, &[])).await
    }
    /// Wants a lease prepared.
    pub(crate) fn order(&self, order: LeaseOrder) {
        self.server.want(|script| script.orders.push(order));
    }

    /// Wants it started.
    pub(crate) fn start(&self, lease: u64) {
        self.server.want(|script| script.order(lease).start = true);
    }

    /// Wants a lease prepared and, when it is, started.
    pub(crate) async fn run(&self, order: LeaseOrder) {
        let lease = order.lease.id.0;
        self.order(order);
        self.until_phase(lease, |phase| matches!(phase, Phase::Prepared { .. })).await;
        self.start(lease);
    }

    pub(crate) fn bury(&self, lease: u64, why: polder_model::StopReason) {
        let tombstone = Tombstone { lease: LeaseId(lease), why, grace: Micros(200_000) };
        self.server.want(|script| script.tombstones.push(tombstone));
    }

    /// Waits until it is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let wait = async {
            while !so(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, wait).await;
        assert!(done.is_ok(), "never: {what}; {:?}", self.server.look(|s| s.reports.clone()));
    }

    pub(crate) fn report(&self, lease: u64) -> Option<LeaseReport> {
        self.server.look(|script| script.reports.get(&LeaseId(lease)).cloned())
    }

    pub(crate) async fn until_phase(&self, lease: u64, so: impl Fn(&Phase) -> bool) -> Phase {
        let is = |stage: &Self| stage.report(lease).is_some_and(|report| so(&report.phase));
        self.until("the phase of a lease", is).await;
        self.report(lease).unwrap().phase
    }

    pub(crate) async fn until_started(&self, lease: u64) {
        self.until_phase(lease, |phase| matches!(phase, Phase::Started)).await;
    }

    pub(crate) async fn end_of(&self, lease: u64) -> LeaseEnd {
        match self.until_phase(lease, |phase| matches!(phase, Phase::Ended { .. })).await {
            Phase::Ended { end } => end,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the shim of a lease is gone and its folder holds logs alone.
    pub(crate) async fn until_forgotten(&self, lease: u64) {
        let folder = self.paths.lease(LeaseId(lease));
        let so = |_: &Self| folder.join("end.json").exists() && !folder.join("shim.sock").exists();
        self.until("the lease is forgotten", so).await;
    }

    /// Lets the agent say everything it has to say, and a little longer.
    pub(crate) async fn settle(&self) {
        let calls = self.server.look(|script| script.calls);
        self.server.want(|_| ());
        self.until("another call", |s| s.server.look(|script| script.calls) > calls).await;
        tokio::time::sleep(WATCHFUL).await;
    }

    pub(crate) fn output(&self, lease: u64) -> String {
        let folder = self.paths.lease(LeaseId(lease));
        let part = read_log(&folder, Stream::Output, 0, 1 << 20).unwrap();
        String::from_utf8(part.bytes).unwrap()
    }

    /// What a lease's shim says itself.
    pub(crate) fn shim(&self, lease: u64) -> ShimState {
        let mut shim = ShimClient::connect(&self.paths.lease(LeaseId(lease))).unwrap();
        shim.hello().unwrap().state
    }

    pub(crate) fn shims(&self) -> Vec<ShimState> {
        live_shims(&self.paths.0).unwrap()
    }
}

fn spawn_agent(paths: &StatePaths, variables: &[(&str, PathBuf)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "entry::agent_entry", "--nocapture"])
        .env(STATE_VARIABLE, &paths.0)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn last_words(mut agent: Child) -> String {
    let read = move || {
        let mut words = String::new();
        agent.stdout.take().unwrap().read_to_string(&mut words).unwrap();
        agent.wait().unwrap();
        words
    };
    let read = tokio::task::spawn_blocking(read);
    tokio::time::timeout(PATIENCE, read).await.expect("the agent gives up").unwrap()
}

/// An order to run `script` in a shell, as the user who runs the tests.
pub(crate) fn order(lease: u64, script: &str) -> LeaseOrder {
    let user = format!("uid-{}", rustix::process::geteuid().as_raw());
    let order = serde_json::json!({
        "lease": {
            "id": lease, "job": lease + 100, "task": 0, "attempt": 1, "tenant": "lab",
            "user": user, "node": "here", "state": "granted", "granted_at": 1,
            "contact_limit": 600_000_000,
            "slices": [{
                "device": "sim-0", "mechanism": "time_slice", "compute": 300,
                "compute_max": 1000, "memory": 1 << 30,
            }],
        },
        "work": {
            "command": ["sh", "-c", script],
            "directory": "/",
            "environment": { "PATH": "/usr/bin:/bin" },
        },
        "host": {},
        "grace": 200_000,
        "gang": { "rank": 0, "size": 1, "local_rank": 0, "local_size": 1 },
        "start": false,
    });
    serde_json::from_value(order).unwrap()
}
