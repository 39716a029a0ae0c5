//! Clients that wait for their job to start: each hands over its own descriptors beforehand.
//!
//! What a client may reach is decided by who it is (peer credentials), once its job's lease is
//! known here. A client that goes away before the start takes its descriptors with it.

use crate::abandoned;
use crate::inherited::{DESCRIPTORS_MAX, Inherited, check_numbers};
use crate::shim::wire;
use polder_model::{JobId, LeaseId};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// What a client sends, with its standard input, output and error and what else its job inherits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request", deny_unknown_fields)]
pub(crate) enum Request {
    /// Start `job` on my descriptors.
    Attach {
        /// Which.
        job: JobId,
        /// Whether standard input is a terminal that the task is to control.
        terminal: bool,
        /// Signals that the task ignores from its start; bit N-1 stands for signal N.
        #[serde(default)]
        ignored: u64,
        /// The numbers of further descriptors: those that fit come beside this packet, after the
        /// three, the others in [`Request::More`].
        #[serde(default)]
        numbers: Vec<i32>,
    },
    /// The next of the descriptors that were announced.
    More,
}

/// What the agent answers once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub(crate) enum Answer {
    /// It runs; the shim there knows how it ends.
    Launched {
        /// Its lease.
        lease: LeaseId,
        /// The lease's folder, where its shim listens.
        folder: PathBuf,
    },
    /// It will not run on these descriptors, and why.
    Refused {
        /// What is wrong and what to do.
        why: String,
    },
}

/// Most clients that wait at one time.
const CLIENTS_MAX: usize = 1024;
/// Most clients of one user that wait at one time.
const CLIENTS_PER_USER_MAX: usize = 256;
/// Most descriptors besides the three of each that the waiting clients of one user have lent.
const LENT_PER_USER_MAX: usize = 4 * DESCRIPTORS_MAX;
/// Most that all waiting clients have lent.
const LENT_MAX: usize = 16 * DESCRIPTORS_MAX;
/// How long a client may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 128;
/// How long to rest when connections cannot be accepted for lack of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A client that waits, with what it handed over.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Arc<UnixStream>,
    /// Who it is.
    pub(crate) uid: u32,
    /// Standard input, output and error.
    pub(crate) stdio: [OwnedFd; 3],
    /// What else the task inherits.
    pub(crate) inherited: Inherited,
    /// Whether the task is to control the terminal.
    pub(crate) terminal: bool,
    ticket: u64,
}

impl Client {
    /// Says that its program runs.
    pub(crate) fn launched(self, lease: LeaseId, folder: &Path) {
        self.answer(&Answer::Launched { lease, folder: folder.to_owned() });
    }

    /// Says that it will not run.
    pub(crate) fn refused(self, why: impl Into<String>) {
        self.answer(&Answer::Refused { why: why.into() });
    }

    fn answer(self, answer: &Answer) {
        // A client that went away needs no answer.
        let _ = wire::send(self.socket.as_ref(), answer, &[], SendFlags::DONTWAIT);
    }
}

/// All clients that wait.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// Where the server is told of those that went away; nobody is told when there is none.
    server: Option<PathBuf>,
    waiting: Mutex<BTreeMap<u64, (JobId, Client)>>,
    arrival: Notify,
}

impl Clients {
    /// Clients whose going away is told to the server at `server`.
    pub(crate) fn of_server(server: PathBuf) -> Self {
        Self { server: Some(server), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (JobId, Client)>> {
        // No code panics while it holds the lock; the map is whole in any case.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a client of `job` whose user `may` have it. Those who may not are told so.
    pub(crate) async fn take(&self, job: JobId, may: impl Fn(u32) -> bool) -> Client {
        loop {
            let arrival = self.arrival.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            if let Some(client) = self.pick(job, &may) {
                return client;
            }
            arrival.await;
        }
    }

    fn pick(&self, job: JobId, may: impl Fn(u32) -> bool) -> Option<Client> {
        let mut waiting = self.lock();
        let tickets = waiting.iter().filter(|(_, (of, _))| *of == job).map(|(ticket, _)| *ticket);
        for ticket in tickets.collect::<Vec<_>>() {
            let Some((_, client)) = waiting.remove(&ticket) else { continue };
            if may(client.uid) {
                return Some(client);
            }
            client.refused(format!("job {job} belongs to another user"));
        }
        None
    }

    /// Takes a client in, unless there are too many.
    fn admit(&self, job: JobId, client: Client) {
        let mut waiting = self.lock();
        let mine = waiting.values().filter(|(_, other)| other.uid == client.uid).count();
        if waiting.len() >= CLIENTS_MAX || mine >= CLIENTS_PER_USER_MAX {
            drop(waiting);
            return client.refused(format!(
                "too many clients wait for their jobs ({CLIENTS_PER_USER_MAX} of one user, \
                 {CLIENTS_MAX} in all): use `polder submit`"
            ));
        }
        let lent = |other: &&Client| other.inherited.descriptors.len();
        let new = client.inherited.descriptors.len();
        let others = waiting.values().map(|(_, other)| other);
        let all: usize = others.clone().map(|other| lent(&other)).sum();
        let mine: usize = others.filter(|other| other.uid == client.uid).map(|o| lent(&o)).sum();
        if new > 0 && (mine + new > LENT_PER_USER_MAX || all + new > LENT_MAX) {
            drop(waiting);
            return client.refused(format!(
                "the waiting clients have lent too many descriptors ({LENT_PER_USER_MAX} of one \
                 user, {LENT_MAX} in all): close some before `polder run`, as `9>&-` does"
            ));
        }
        waiting.insert(client.ticket, (job, client));
        drop(waiting);
        self.arrival.notify_waiters();
    }

    /// Forgets a client. True when it was still waiting, and no other waits for the same job.
    fn leave(&self, job: JobId, ticket: u64) -> bool {
        let mut waiting = self.lock();
        waiting.remove(&ticket).is_some() && waiting.values().all(|(of, _)| *of != job)
    }

    /// Serves the socket until dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener) {
        let mut ticket = 0u64;
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    ticket += 1;
                    tokio::spawn(Self::attend(Arc::clone(&self), socket, ticket));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client on the agent's socket");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    /// Reads what a client wants, and keeps it until it leaves or is taken.
    async fn attend(self: Arc<Self>, socket: UnixStream, ticket: u64) {
        let attended = async {
            let socket = Arc::new(socket);
            let request = tokio::time::timeout(REQUEST_LIMIT, read_attach(&socket)).await??;
            let Some(Attach { job, terminal, stdio, inherited }) = request else { return Ok(()) };
            let uid = socket.peer_cred()?.uid();
            let given = stdio.len();
            let Ok(stdio) = <[OwnedFd; 3]>::try_from(stdio) else {
                return refuse(&socket, format!("{given} descriptors came where 3 are needed"));
            };
            if let Err(why) = check_numbers(&inherited.numbers()) {
                return refuse(&socket, why);
            }
            let socket_of_client = Arc::clone(&socket);
            let client =
                Client { socket: socket_of_client, uid, stdio, inherited, terminal, ticket };
            self.admit(job, client);
            wait_for_hangup(&socket).await;
            if self.leave(job, ticket)
                && let Some(server) = &self.server
            {
                abandoned::end(server, job, uid).await;
            }
            Ok::<(), io::Error>(())
        };
        if let Err(error) = attended.await {
            tracing::debug!(%error, "a client of the agent's socket was dropped");
        }
    }
}

/// Opens the agent's socket for everybody: who may have what is decided by peer credentials.
///
/// It is a `SOCK_SEQPACKET` socket behind types made for streams: accepting and waiting are the
/// same, and packets go through [`wire`] alone.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    // Whoever sees it can connect to it: it has its name last.
    let begun = &path.with_extension("new");
    match std::fs::remove_file(begun) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &wire::address(begun)?)?;
    std::fs::set_permissions(begun, std::fs::Permissions::from_mode(0o666))?;
    rustix::net::listen(&socket, BACKLOG)?;
    std::fs::rename(begun, path)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
}

/// What a client has brought.
struct Attach {
    job: JobId,
    terminal: bool,
    stdio: Vec<OwnedFd>,
    inherited: Inherited,
}

/// Reads what a client wants, and all the descriptors that it announces. `None` when it says nothing
/// or something else.
async fn read_attach(socket: &UnixStream) -> io::Result<Option<Attach>> {
    let Some((Request::Attach { job, terminal, ignored, numbers }, mut fds)) =
        read_request(socket).await?
    else {
        return Ok(None);
    };
    // More than may be handed over is refused by the number, without being read.
    while numbers.len() <= DESCRIPTORS_MAX && (3..3 + numbers.len()).contains(&fds.len()) {
        match read_request(socket).await? {
            Some((Request::More, more)) if !more.is_empty() => fds.extend(more),
            _ => break,
        }
    }
    let lent = fds.split_off(fds.len().min(3));
    let inherited = Inherited { ignored, descriptors: numbers.into_iter().zip(lent).collect() };
    Ok(Some(Attach { job, terminal, stdio: fds, inherited }))
}

fn refuse(socket: &UnixStream, why: String) -> io::Result<()> {
    wire::send(socket, &Answer::Refused { why }, &[], SendFlags::DONTWAIT)
}

async fn read_request(socket: &UnixStream) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    let receive = || wire::receive(socket, RecvFlags::DONTWAIT);
    socket.async_io(Interest::READABLE, receive).await
}

/// Returns when the client has closed, or says anything more: it has nothing more to say.
async fn wait_for_hangup(socket: &UnixStream) {
    let peek = || {
        let mut byte = [0; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(socket, &mut byte, flags).map_err(io::Error::from)
    };
    // Whatever ends the wait, an error included, ends the client.
    let _ = socket.async_io(Interest::READABLE, peek).await;
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
