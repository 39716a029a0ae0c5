//! The process's place in its lease: the connection to the shim, the two pages, the doorbell.

use crate::locks::lock;
use crate::place;
use polder_ledger::attach::{Message, Route, SOCKET_VARIABLE, WELCOME_FDS, receive, send};
use polder_ledger::{
    LAYOUT, Limits, Mapped, PageError, Slot, Usage, map_limits, map_usage, monotonic_ns,
};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    sockopt,
};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;
use thiserror::Error;

/// How long the shim may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a process has no place in a lease.
#[derive(Debug, Error)]
pub enum AttachError {
    /// Nothing says where the lease's shim listens.
    #[error(
        "{SOCKET_VARIABLE} is not set, so this process sees no device: start it with `polder run`; in a \
         lease, have what clears the environment (env -i, sudo, ssh, cron, tox) keep {SOCKET_VARIABLE}"
    )]
    Nowhere,
    /// The shim's socket cannot be reached.
    #[error("{what} {path}: {errno}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The socket.
        path: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// No packet came, or none of the protocol.
    #[error("the lease's shim did not answer as it should")]
    Answer(#[source] std::io::Error),
    /// The shim is gone.
    #[error("the lease's shim closed the connection")]
    Closed,
    /// A packet that does not belong here.
    #[error("the lease's shim sent {0}")]
    Unexpected(&'static str),
    /// Why the shim let nobody in.
    #[error("refused: {0}")]
    Refused(String),
    /// A page that is not one.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// A process's place in its lease. Kept until the process ends.
#[derive(Debug)]
pub struct Attachment {
    connection: Kept,
    doorbell: Kept,
    /// The newest page. Older ones stay mapped, for other threads may be reading them: one small
    /// page per restart of the agent.
    limits: AtomicPtr<Mapped<Limits>>,
    /// Held while asking for a newer page.
    asking: Mutex<()>,
    usage: Mapped<Usage>,
    slot: usize,
    routes: Vec<Route>,
}

impl Attachment {
    /// Connects to the lease's shim, and is let in.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn connect() -> Result<Self, AttachError> {
        let connection = reach(place::candidates())?;
        let _ =
            sockopt::set_socket_timeout(&connection, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT));
        let hello = Message::Hello { layout: LAYOUT };
        again(|| send(&connection, &hello, &[])).map_err(AttachError::Answer)?;
        let answer = again(|| receive(&connection, RecvFlags::empty()));
        let answer = answer.map_err(AttachError::Answer)?;
        let (message, fds) = answer.ok_or(AttachError::Closed)?;
        let (slot, routes) = match message {
            Message::Welcome { slot, routes, .. } => (slot as usize, routes),
            Message::Refused { why } => return Err(AttachError::Refused(why)),
            _ => return Err(AttachError::Unexpected("neither a welcome nor a refusal")),
        };
        let Ok::<[OwnedFd; WELCOME_FDS], _>([limits, usage, doorbell]) = fds.try_into() else {
            return Err(AttachError::Unexpected("a welcome without its three descriptors"));
        };
        let limits = AtomicPtr::new(Box::into_raw(Box::new(map_limits(&limits)?)));
        let usage = map_usage(&usage)?;
        let (connection, doorbell) = (Kept::new(connection), Kept::new(doorbell));
        Ok(Self { connection, doorbell, limits, asking: Mutex::new(()), usage, slot, routes })
    }

    /// The lease's devices, in the order of the pages.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// What the lease may have, from the newest page.
    #[inline]
    pub fn limits(&self) -> &Limits {
        #[expect(unsafe_code, reason = "a page that is swapped under its readers")]
        // SAFETY: the pointer comes from `Box::into_raw` and what it points to is never dropped.
        unsafe {
            &*self.limits.load(Ordering::Acquire)
        }
    }

    /// What the lease's processes use.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Place of the process in the usage page.
    pub fn index(&self) -> usize {
        self.slot
    }

    /// The process's part of the usage page.
    #[inline]
    pub fn slot(&self) -> &Slot {
        &self.usage.slot[self.slot]
    }

    /// The connection, for the child of a fork to close.
    pub fn connection(&self) -> &Kept {
        &self.connection
    }

    /// Rings the agent's doorbell.
    pub fn ring(&self) {
        if let Some(fd) = self.doorbell.get() {
            // A full counter rings too, and a closed one has nobody to hear it.
            let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
        }
    }

    /// Takes a new limits page when a restarted agent has sent one, unless another thread is at it.
    pub fn refresh(&self) {
        if let Ok(_asking) = self.asking.try_lock() {
            self.take_newer();
        }
    }

    /// The most memory of a row of the pages, bytes, by the newest page that there is: when this one's
    /// agent is gone, its successor may have sent another. So from [`polder_ledger::HEARTBEAT_NS_MAX`] after a page
    /// was succeeded no memory is had by it any more.
    pub fn memory_max(&self, row: usize) -> u64 {
        if self.limits().is_deserted(monotonic_ns()) {
            // Nobody who has it waits for anything.
            let _asking = lock(&self.asking);
            self.take_newer();
        }
        self.limits().device[row].memory_max.load(Ordering::Acquire)
    }

    /// Takes the pages that have been sent. The caller holds `asking`.
    fn take_newer(&self) {
        let Some(connection) = self.connection.get() else { return };
        while let Ok(Some((Message::NewLimits, fds))) = receive(connection, RecvFlags::DONTWAIT) {
            let Some(page) = fds.first().and_then(|fd| map_limits(fd).ok()) else { continue };
            if page.lease() == self.limits().lease() {
                self.limits.store(Box::into_raw(Box::new(page)), Ordering::Release);
            }
        }
    }
}

/// A connection to the first of these sockets that can be reached, or why the last of them cannot.
fn reach(sockets: Vec<PathBuf>) -> Result<OwnedFd, AttachError> {
    let mut why = AttachError::Nowhere;
    for path in sockets {
        match dial(&path) {
            Ok(connection) => return Ok(connection),
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn dial(path: &Path) -> Result<OwnedFd, AttachError> {
    let named = |what| {
        let path = path.to_string_lossy().into_owned();
        move |errno| AttachError::Socket { what, path, errno }
    };
    let address = SocketAddrUnix::new(path).map_err(named("socket path"))?;
    let connection =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(named("socket for"))?;
    retry_on_intr(|| connect(&connection, &address)).map_err(named("connecting to"))?;
    Ok(connection)
}

/// A descriptor in a stranger's process: the program may close numbers it does not know, and open
/// files of its own under them.
#[derive(Debug)]
pub struct Kept {
    fd: OwnedFd,
    identity: Identity,
}

/// What tells one open file from another: device and inode.
pub type Identity = (u64, u64);

impl Kept {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let identity = identity(&fd).unwrap_or_default();
        Self { fd, identity }
    }

    /// The descriptor, unless its number now belongs to another file.
    pub(crate) fn get(&self) -> Option<&OwnedFd> {
        (identity(&self.fd) == Some(self.identity)).then_some(&self.fd)
    }

    /// Its number and what it should be.
    pub fn name(&self) -> (i32, Identity) {
        (self.fd.as_raw_fd(), self.identity)
    }
}

fn identity(fd: &OwnedFd) -> Option<Identity> {
    rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Calls again what a signal of the program has interrupted.
fn again<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
