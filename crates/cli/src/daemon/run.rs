//! From a state folder to a daemon that serves, and to its end.

use super::logs::ShimLogs;
use super::{Listen, ready};
use crate::failure::Failure;
use crate::output::Output;
use polder_agent::shim::{ShimPhase, read_status};
use polder_agent::spatial::offer::Cards;
use polder_agent::{AgentError, AgentOptions, Containers, StatePaths, check_backing, run_agent};
use polder_model::{Bytes, Device, Enforcement, NodeId, NodeWords};
use polder_server::{Loopback, OpenOptions, ServeError, ServeOptions, Server, ServerHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longest wait for the node's first report before the daemon calls itself ready without it.
const DEVICES_WAIT: Duration = Duration::from_secs(60);
/// How often that report is looked for.
const DEVICES_POLL: Duration = Duration::from_millis(50);
/// Longest time the agent may take to stop.
const AGENT_STOP_MAX: Duration = Duration::from_secs(10);

/// What a daemon is told at its start.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Where it keeps its state.
    pub(crate) folder: PathBuf,
    /// Where it serves loopback HTTP, if it does.
    pub(crate) listen: Option<Listen>,
    /// A file of devices that do not exist.
    pub(crate) simulate: Option<PathBuf>,
    /// Partitions this node belongs to, and its labels.
    pub(crate) words: NodeWords,
    /// What happens to a process that uses a shared device without a slot.
    pub(crate) enforcement: Enforcement,
    /// Cards that are shared spatially.
    pub(crate) spatial: Cards,
    /// Those are cut into static partitions.
    pub(crate) spatial_partitions: bool,
    /// What starts containers.
    pub(crate) containers: Containers,
    /// Where NVIDIA's libraries are, if not where they usually are.
    pub(crate) driver_folder: Option<PathBuf>,
    /// Host memory kept behind the memory of devices.
    pub(crate) backing: Bytes,
}

/// Runs a daemon until it is stopped. `ready` is called once it serves and knows its devices.
pub(crate) async fn run(
    daemon: Daemon,
    out: Output,
    ready: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    raise_open_files();
    let mut stops = Stops::watch()?;
    let options = agent_options(&daemon)?;
    let node = options.node.clone();
    let loopback = match daemon.listen {
        Some(listen) => Some(Loopback::bind(listen.port).await),
        None => None,
    };
    // Before the folder is touched, unless it is in use: then its own daemon may well have the port, and
    // opening the folder says so.
    let loopback = match (loopback.transpose(), polder_server::holder(&daemon.folder)) {
        (Err(error), None) => return Err(refused(error)),
        (loopback, _) => loopback,
    };
    let pool = polder_server::open(OpenOptions::new(&daemon.folder)).await;
    let pool = pool.map_err(|error| Failure::failed(&error))?;
    let serve = ServeOptions {
        loopback: loopback.map_err(refused)?,
        logs: Arc::new(ShimLogs(StatePaths(daemon.folder.clone()))),
        ..ServeOptions::default()
    };
    let server = polder_server::serve(pool, serve).await.map_err(refused)?;
    let handle = server.handle();
    let (stop_agent, agent_stop) = oneshot::channel::<()>();
    let agent = tokio::spawn(run_agent(options, async {
        // A sender that is gone means the same.
        let _ = agent_stop.await;
    }));
    let facts = Facts::of(&daemon, node, &server);
    let mut task = AgentTask { stop: stop_agent, task: agent };
    let over = tokio::select! {
        over = over(&mut stops, &handle, &mut task) => over,
        told = become_ready(&handle, facts, out, ready) => match told {
            Ok(()) => over(&mut stops, &handle, &mut task).await,
            Err(failure) => Over::Failed(failure),
        },
    };
    end(over, server, task, StatePaths(daemon.folder), out).await
}

/// What a daemon says of itself to programs, once it is ready.
#[derive(Debug, Serialize)]
struct Facts {
    version: &'static str,
    pid: u32,
    state: PathBuf,
    socket: PathBuf,
    /// Where loopback HTTP is served, and the file with its token.
    http: Option<String>,
    token: Option<PathBuf>,
    devices: Vec<Device>,
    /// This machine's own.
    #[serde(skip)]
    node: NodeId,
}

impl Facts {
    /// All but the devices, which are not known yet.
    fn of(daemon: &Daemon, node: NodeId, server: &Server) -> Self {
        let http = server.loopback().map(|address| format!("http://{address}"));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            state: daemon.folder.clone(),
            socket: server.socket().to_owned(),
            token: http.is_some().then(|| daemon.folder.join(crate::place::TOKEN)),
            http,
            devices: Vec::new(),
            node,
        }
    }

    /// That it serves, and where.
    fn announce(&self, out: Output) {
        out.note(&format!("polder {} is up", self.version));
        out.note(&format!("  state   {}", self.state.display()));
        out.note(&format!("  socket  {}", self.socket.display()));
        if let (Some(http), Some(token)) = (&self.http, &self.token) {
            out.note(&format!("  http    {http} (token in {})", token.display()));
        }
    }
}

/// Why a daemon ends.
enum Over {
    /// A signal said so.
    Signal,
    /// A client said so, or the server cannot go on.
    Server,
    /// The agent ended by itself.
    Agent(Result<(), AgentError>),
    /// The daemon could not become ready.
    Failed(Failure),
}

/// The agent at work.
struct AgentTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl AgentTask {
    /// Asks it to end and waits, but not for ever: what it leaves undone, the next one does.
    async fn stop(mut self) {
        let (stop, _) = oneshot::channel();
        // An agent that has ended already needs no word.
        let _ = std::mem::replace(&mut self.stop, stop).send(());
        match tokio::time::timeout(AGENT_STOP_MAX, self.ended()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the agent failed while it stopped"),
            Err(_) => tracing::error!("the agent did not stop in time"),
        }
    }

    /// Waits for its end.
    async fn ended(&mut self) -> Result<(), AgentError> {
        let ended = (&mut self.task).await;
        ended.unwrap_or(Err(AgentError::Broken { what: "running: it panicked" }))
    }
}

/// The signals that end a daemon; none that its caller ignores, as `nohup` does.
struct Stops(Vec<Signal>);

impl Stops {
    fn watch() -> Result<Self, Failure> {
        let fail = |error| Failure::failed(format!("watching for signals: {error}"));
        let ignored = polder_agent::ignored_signals().map_err(fail)?;
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let heard = kinds.into_iter().filter(|kind| ignored >> (kind.as_raw_value() - 1) & 1 == 0);
        Ok(Self(heard.map(signal).collect::<Result<_, _>>().map_err(fail)?))
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let came = |signal: &mut Signal| signal.poll_recv(context).is_ready();
            match self.0.iter_mut().any(came) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }
}

async fn over(stops: &mut Stops, handle: &ServerHandle, agent: &mut AgentTask) -> Over {
    tokio::select! {
        () = stops.next() => Over::Signal,
        () = handle.stopping() => Over::Server,
        ended = agent.ended() => Over::Agent(ended),
    }
}

/// Waits until the node has reported its devices, then says that the daemon is ready.
async fn become_ready(
    handle: &ServerHandle,
    facts: Facts,
    out: Output,
    ready: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    // What the journal knows of this node is of an earlier start.
    let known = tokio::time::timeout(DEVICES_WAIT, async {
        while handle.has_called(&facts.node).await != Some(true) {
            tokio::time::sleep(DEVICES_POLL).await;
        }
        let devices = |engine: &polder_engine::Engine| {
            let nodes = engine.nodes().filter(|node| !node.silent);
            nodes.flat_map(|node| node.inventory.devices.iter().cloned()).collect::<Vec<_>>()
        };
        handle.inspect(devices).await.unwrap_or_default()
    });
    let known = known.await;
    facts.announce(out);
    let devices = match known {
        Ok(devices) => {
            out.note(&devices_found(&devices));
            devices
        }
        Err(_) => {
            out.warn("the devices are not known yet; jobs wait until they are");
            Vec::new()
        }
    };
    if out.json_wanted() {
        out.json(&Facts { devices, ..facts })?;
    }
    ready()?;
    if let Err(error) = ready::tell_systemd("READY=1") {
        out.warn(&format!("systemd cannot be told that the daemon is ready: {error}"));
    }
    Ok(())
}

/// Stops both halves; tasks run on under their shims.
async fn end(
    over: Over,
    server: Server,
    agent: AgentTask,
    paths: StatePaths,
    out: Output,
) -> Result<(), Failure> {
    // Systemd learns of the end in any case.
    let _ = ready::tell_systemd("STOPPING=1");
    server.shutdown();
    let failure = match over {
        Over::Agent(Ok(())) => Some(Failure::failed("the agent ended by itself")),
        Over::Agent(Err(error)) => Some(Failure::failed(&error)),
        Over::Failed(failure) => {
            agent.stop().await;
            Some(failure)
        }
        Over::Signal | Over::Server => {
            agent.stop().await;
            None
        }
    };
    server.wait().await.map_err(|error| Failure::failed(&error))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    out.note(&match tasks_running(&paths) {
        0 => "stopped".to_owned(),
        1 => "stopped; 1 task runs on, and the next `polder up` adopts it".to_owned(),
        many => format!("stopped; {many} tasks run on, and the next `polder up` adopts them"),
    });
    Ok(())
}

/// Tasks that run under their shims, as these say: both halves of the daemon have ended.
fn tasks_running(paths: &StatePaths) -> usize {
    let leases = std::fs::read_dir(paths.leases()).into_iter().flatten().flatten();
    let runs = |folder: PathBuf| {
        let status = read_status(&folder).ok().flatten();
        let phase = status.map(|status| status.phase);
        matches!(phase, Some(ShimPhase::Started { .. } | ShimPhase::Stopping { .. }))
    };
    leases.filter(|lease| runs(lease.path())).count()
}

/// What there is to share, and how to begin.
fn devices_found(devices: &[Device]) -> String {
    let list: Vec<String> = devices
        .iter()
        .map(|device| {
            let simulated = if device.simulated { ", simulated" } else { "" };
            let model = crate::show::plain(&device.model);
            format!("  device  {}: {model}, {}{simulated}", device.id, device.memory)
        })
        .collect();
    if list.is_empty() {
        return "  device  none found: `polder devices --local` tells why".to_owned();
    }
    format!("{}\ntry `polder run --compute 30% --memory 1GiB -- COMMAND`", list.join("\n"))
}

fn agent_options(daemon: &Daemon) -> Result<AgentOptions, Failure> {
    let exe = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("this program's own path: {error}")))?;
    let mut options = AgentOptions::new(daemon.folder.clone(), node_name(), exe);
    if let Some(folder) = &daemon.driver_folder {
        options = options.with_driver_folder(folder).map_err(Failure::usage)?;
    }
    options.check_own_libraries().map_err(Failure::failed)?;
    let (simulate, words) = (daemon.simulate.clone(), daemon.words.clone());
    let (enforcement, spatial) = (daemon.enforcement, daemon.spatial.clone());
    let containers = daemon.containers.clone();
    let backing = daemon.backing;
    check_backing(backing).map_err(Failure::usage)?;
    let spatial_partitions = daemon.spatial_partitions;
    Ok(AgentOptions {
        simulate,
        words,
        enforcement,
        spatial,
        spatial_partitions,
        containers,
        backing,
        ..options
    })
}

/// The host's name, as far as it can name a node.
fn node_name() -> NodeId {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    as_node(&name)
}

fn as_node(name: &str) -> NodeId {
    let usable = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(usable).take(64).collect();
    name.parse().unwrap_or_else(|_| "node".parse().expect("letters are a name"))
}

fn refused(error: ServeError) -> Failure {
    match error {
        ServeError::Port { address, source } => {
            Failure::failed(format!("cannot listen on {address}: {source}")).help(
                "another program has the port: choose one with --listen 127.0.0.1:PORT (0 takes a \
                 free one), or use --no-listen",
            )
        }
        other => Failure::failed(&other),
    }
}

/// Each lease, client and task costs the daemon descriptors: it takes as many as it is allowed.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused, the lower limit serves fewer clients.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_names_a_node() {
        let check = |name: &str, expect: &str| assert_eq!(as_node(name).as_str(), expect);
        check("gpu-01.lab", "gpu-01.lab");
        check("gpu 01/x", "gpu-01-x");
        check("", "node");
        check("..", "node");
        check(&"x".repeat(100), &"x".repeat(64));
    }
}
