//! Serving an opened pool.

use crate::auth::Guard;
use crate::http::{App, Listeners, Logs, NoLogs};
use crate::pool::Pool;
use crate::state::{self, StateError, StateLock};
use crate::stop::signalled;
use crate::writer::{Core, Handle, Stopping, SyncError, Writer, WriterError, WriterParts};
use futures_util::FutureExt as _;
use polder_engine::Engine;
use polder_model::{NodeId, SyncRefusal, SyncRequest, SyncResponse};
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The socket's file within the state folder.
pub const SOCKET_FILE: &str = "polder.sock";
/// The file within the state folder that holds the token for loopback HTTP.
pub const TOKEN_FILE: &str = "token";
/// How long a node may be silent before its devices are left out of planning.
pub const SILENT_AFTER: Duration = Duration::from_secs(30);

/// How a pool is served.
pub struct ServeOptions {
    /// Serve loopback HTTP on this port too.
    pub loopback: Option<Loopback>,
    /// Who keeps the output of tasks.
    pub logs: Arc<dyn Logs>,
    /// How long a node may be silent.
    pub silent_after: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { loopback: None, logs: Arc::new(NoLogs), silent_after: SILENT_AFTER }
    }
}

/// A port of the loopback address, taken before a pool is opened: whoever cannot have it has changed
/// nothing yet.
#[derive(Debug)]
pub struct Loopback(TcpListener);

impl Loopback {
    /// Takes a port; 0 takes a free one.
    ///
    /// # Errors
    /// Another program has it.
    pub async fn bind(port: u16) -> Result<Self, ServeError> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let bound = TcpListener::bind(address).await;
        bound.map(Self).map_err(|source| ServeError::Port { address, source })
    }
}

/// Why a pool cannot be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The Unix socket cannot be made.
    #[error(
        "cannot listen on {path}: {source}: choose a state folder on a local disk, with a shorter \
         path, that you own"
    )]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The port cannot be taken.
    #[error(
        "cannot listen on {address}: {source}: another program has the port; choose one with \
         --listen 127.0.0.1:PORT (0 takes a free one)"
    )]
    Port {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The token cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A server at work.
pub struct Server {
    stop: watch::Sender<bool>,
    handle: Handle,
    writer: JoinHandle<Result<(), WriterError>>,
    http: JoinHandle<()>,
    socket: PathBuf,
    loopback: Option<SocketAddr>,
}

/// A way to stop a server from elsewhere, and to sync with it from within the same process.
#[derive(Clone)]
pub struct ServerHandle {
    stop: watch::Sender<bool>,
    handle: Handle,
}

/// Begins to serve a pool. Callers are answered from now on.
///
/// # Errors
/// The token or the socket cannot be had; the pool is closed then.
pub async fn serve(pool: Pool, options: ServeOptions) -> Result<Server, ServeError> {
    let loopback = options.loopback.map(|Loopback(listener)| listener);
    let address = loopback.as_ref().and_then(|listener| listener.local_addr().ok());
    let token = state::token(&pool.state_dir)?;
    // Last of all: a socket that is there is one that is served.
    let socket = pool.state_dir.join(SOCKET_FILE);
    let unix = listen_unix(&socket)?;
    let guard = address.map(|address| Arc::new(Guard::new(address.port(), token)));
    let Pool { lock, state_dir, journal, archive, engine, time, id, snapshot_seq } = pool;
    let (writer, handle) = Writer::new(WriterParts {
        core: Core::new(engine, time, id),
        journal,
        archive: archive.clone(),
        silent_after: options.silent_after,
        snapshot_seq,
    });
    let stop = watch::Sender::new(false);
    let (logs, app_handle) = (options.logs, handle.clone());
    let app = App { handle: app_handle, archive, logs, state_dir, stop: stop.clone(), guard };
    let http = tokio::spawn(Listeners { unix, loopback }.serve(app));
    // The writer outlives the listeners: what they have taken in is still answered.
    let written = watch::Sender::new(false);
    let writer_stop = written.subscribe();
    let (stopping, bound) = (stop.clone(), socket.clone());
    let writer = tokio::spawn(async move {
        let ended = AssertUnwindSafe(writer.run(writer_stop)).catch_unwind().await;
        let ended = ended.unwrap_or_else(|_| {
            Err(WriterError::Engine { what: "the writer panicked; the log says where".to_owned() })
        });
        stopping.send_replace(true);
        leave(&bound, lock);
        ended
    });
    let http = tokio::spawn(async move {
        // A listener task that panicked has logged it, and the server stops all the same.
        let _ = http.await;
        written.send_replace(true);
    });
    Ok(Server { stop, handle, writer, http, socket, loopback: address })
}

/// Takes the socket away and then lets go of the folder, in this order: the next server makes its
/// own socket as soon as it has the folder. A folder that was made anew is another server's.
fn leave(socket: &Path, lock: StateLock) {
    if lock.is_still_there() {
        // A socket that nobody answers on says the same, later.
        let _ = std::fs::remove_file(socket);
    }
    drop(lock);
}

fn listen_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let fail = |source| ServeError::Socket { path: path.to_owned(), source };
    // The lock says that nobody serves this folder: a socket that is there is a dead one's.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    // Everybody may connect: the kernel says who it is, and roles say what they may do.
    std::fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(fail)?;
    Ok(listener)
}

impl Server {
    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where loopback HTTP is served.
    #[must_use]
    pub const fn loopback(&self) -> Option<SocketAddr> {
        self.loopback
    }

    /// A handle to give away.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { stop: self.stop.clone(), handle: self.handle.clone() }
    }

    /// Begins to stop: running requests finish, the journal is closed. Tasks go on.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// Returns when the server has stopped and has let go of the state folder.
    ///
    /// # Errors
    /// The writer had to end: the process must not go on as if it served.
    pub async fn wait(self) -> Result<(), WriterError> {
        let Self { writer, http, handle, .. } = self;
        drop(handle);
        // A panic of the listeners shows as their end.
        let _ = http.await;
        writer.await.unwrap_or_else(|error| {
            Err(WriterError::Engine { what: format!("the writer was ended: {error}") })
        })
    }
}

/// Why a call from within the process is not answered with a desired state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyncFailure {
    /// The call is refused.
    #[error(transparent)]
    Refused(#[from] SyncRefusal),
    /// The inventory makes no sense.
    #[error("{0}")]
    Inventory(String),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl ServerHandle {
    /// Begins to stop.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// Returns when the server begins to stop, for whatever reason.
    pub async fn stopping(&self) {
        signalled(&mut self.stop.subscribe()).await;
    }

    /// The agents' call, from within the same process.
    ///
    /// # Errors
    /// The call is refused, or the server is stopping.
    pub async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, SyncFailure> {
        let answer = tokio::select! {
            answer = self.handle.sync(request) => answer,
            () = self.stopping() => Err(SyncError::Stopping),
        };
        answer.map_err(|error| match error {
            SyncError::Refused(refusal) => SyncFailure::Refused(refusal),
            SyncError::Inventory(refusal) => SyncFailure::Inventory(refusal.to_string()),
            SyncError::Stopping => SyncFailure::Stopping,
        })
    }

    /// Whether the node's agent has called since this server began to serve: what is known of the node from
    /// before may be over. `None` once the server has stopped.
    pub async fn has_called(&self, node: &NodeId) -> Option<bool> {
        let node = node.clone();
        let called = self.handle.query(move |view| view.nodes.last_contact(&node).is_some());
        called.await.map_err(|Stopping| ()).ok()
    }

    /// Looks at the durable state of the engine; `None` once the server has stopped.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Option<T> {
        self.handle.query(|view| look(view.engine)).await.map_err(|Stopping| ()).ok()
    }
}
