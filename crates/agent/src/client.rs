//! The client's side of a job that runs on its caller's own descriptors (`polder run`).
//!
//! An [`Attachment`] lends descriptors to the agent until the job's turn comes. From then on
//! a [`Following`] speaks with the task's shim alone, and so survives the death of the agent and
//! the server.

use crate::clients::{Answer, Request};
use crate::inherited::Inherited;
use crate::paths::StatePaths;
use crate::shim::wire;
use crate::shim::{PACKET_FDS_MAX, ShimClient, ShimError, ShimPhase, read_status};
use crate::watched::Watched;
use polder_model::{JobId, LeaseId, Outcome};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::Signal;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::Instant;

/// How long a client whose agent has gone waits for the next one.
const AGENT_AWAY_MAX: Duration = Duration::from_secs(600);
/// How long an agent may take to accept a client.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How often it looks for that one.
const AGENT_POLL: Duration = Duration::from_millis(200);

/// Why a client cannot go on.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No agent took the descriptors.
    #[error("no agent answers at {}: {source}: is `polder up` running?", socket.display())]
    NoAgent {
        /// Where it should.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The agent will not start the job on them.
    #[error("the agent refuses: {why}")]
    Refused {
        /// Its words.
        why: String,
    },
    /// The descriptors could not be kept.
    #[error("keeping descriptors for job {job}: {source}")]
    Descriptors {
        /// For which job.
        job: JobId,
        /// What the system said.
        source: io::Error,
    },
    /// The task's shim cannot be reached.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// The task's shim is gone, and its last words cannot be read from here.
    #[error("the shim of lease {lease} is gone: the server will say how it ended")]
    ShimGone {
        /// Whose.
        lease: LeaseId,
    },
}

/// Descriptors lent to the agent, for one job.
#[derive(Debug)]
pub struct Attachment {
    agent: PathBuf,
    job: JobId,
    lent: Lent,
    socket: UnixStream,
}

/// What the job runs on.
#[derive(Debug)]
struct Lent {
    terminal: bool,
    stdio: [OwnedFd; 3],
    inherited: Inherited,
}

impl Attachment {
    /// Hands input, output and error to the agent that works in `state`, for `job` to run on.
    /// `terminal` says that input is a terminal that the task is to control; `inherited` is what it
    /// gets besides. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::NoAgent`], or [`ClientError::Descriptors`].
    pub fn open(
        state: &Path,
        job: JobId,
        terminal: bool,
        stdio: [BorrowedFd<'_>; 3],
        inherited: &Inherited,
    ) -> Result<Self, ClientError> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        let [input, output, error] = stdio;
        let copies = copy(input).and_then(|i| Ok([i, copy(output)?, copy(error)?]));
        let copies = copies.and_then(|stdio| Ok((stdio, inherited.try_clone()?)));
        let (stdio, inherited) =
            copies.map_err(|source| ClientError::Descriptors { job, source })?;
        let lent = Lent { terminal, stdio, inherited };
        let agent = StatePaths(state.to_owned()).agent_socket();
        let socket = attach(&agent, job, &lent)
            .map_err(|source| ClientError::NoAgent { socket: agent.clone(), source })?;
        Ok(Self { agent, job, lent, socket })
    }

    /// Waits until the job runs. When the agent goes meanwhile, the descriptors are lent to the
    /// next one; a job that had already begun is found again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn launched(mut self) -> Result<Following, ClientError> {
        loop {
            match self.answer().await {
                Ok(Some(Answer::Launched { lease, folder })) => {
                    return Following::new(lease, folder);
                }
                Ok(Some(Answer::Refused { why })) => return Err(ClientError::Refused { why }),
                Ok(None) | Err(_) => self.attach_again().await?,
            }
        }
    }

    async fn answer(&self) -> io::Result<Option<Answer>> {
        let receive = || wire::receive::<Answer>(&self.socket, RecvFlags::DONTWAIT);
        let answer = self.socket.async_io(Interest::READABLE, receive).await?;
        Ok(answer.map(|(answer, _)| answer))
    }

    async fn attach_again(&mut self) -> Result<(), ClientError> {
        let until = Instant::now() + AGENT_AWAY_MAX;
        loop {
            tokio::time::sleep(AGENT_POLL).await;
            match attach(&self.agent, self.job, &self.lent) {
                Ok(socket) => {
                    self.socket = socket;
                    return Ok(());
                }
                Err(source) if Instant::now() > until => {
                    return Err(ClientError::NoAgent { socket: self.agent.clone(), source });
                }
                Err(_) => {}
            }
        }
    }
}

fn attach(agent: &Path, job: JobId, lent: &Lent) -> io::Result<UnixStream> {
    let address = wire::address(agent)?;
    let kind = SocketType::SEQPACKET;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    // A busy agent accepts a moment later; one that is stuck is as good as none.
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_WAIT))?;
    rustix::net::connect(&socket, &address)?;
    let Lent { terminal, stdio, inherited } = lent;
    let (terminal, ignored, numbers) = (*terminal, inherited.ignored, inherited.numbers());
    let mut fds: Vec<_> = stdio.iter().map(AsFd::as_fd).collect();
    fds.extend(inherited.borrowed());
    let mut request = Request::Attach { job, terminal, ignored, numbers };
    for part in fds.chunks(PACKET_FDS_MAX) {
        wire::send(&socket, &request, part, SendFlags::empty())?;
        request = Request::More;
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    UnixStream::from_std(std::os::unix::net::UnixStream::from(socket))
}

/// A task that runs, followed to its end.
pub struct Following {
    lease: LeaseId,
    folder: PathBuf,
    /// Absent when the shim was gone at once.
    watched: Option<Watched>,
}

impl Following {
    fn new(lease: LeaseId, folder: PathBuf) -> Result<Self, ClientError> {
        let watch = ShimClient::connect(&folder).and_then(|mut shim| {
            shim.hello()?;
            shim.watch()
        });
        let watched = match watch {
            Ok(watch) => {
                let talk = |error| ShimError::Talk { dir: folder.clone(), error };
                Some(Watched::new(watch).map_err(talk)?)
            }
            Err(ShimError::Gone { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { lease, folder, watched })
    }

    /// Its lease.
    #[must_use]
    pub const fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Sends a signal to the task's command; what a terminal sends, to its whole process group.
    ///
    /// # Errors
    /// [`ClientError::Shim`]: among others when nothing runs any more.
    pub fn signal(&self, number: i32) -> Result<(), ClientError> {
        self.signal_over(number).map(drop)
    }

    /// Stops the task, for as long as what this gives is kept: it goes on when its client dies.
    ///
    /// # Errors
    /// The same.
    pub fn stop(&self) -> Result<Stopped, ClientError> {
        self.signal_over(Signal::STOP.as_raw()).map(Stopped)
    }

    fn signal_over(&self, number: i32) -> Result<ShimClient, ClientError> {
        let mut shim = ShimClient::connect(&self.folder)?;
        shim.hello()?;
        shim.signal(number)?;
        Ok(shim)
    }

    /// Waits for the end. May be dropped and called again.
    ///
    /// # Errors
    /// [`ClientError::ShimGone`].
    pub async fn ended(&mut self) -> Result<Outcome, ClientError> {
        while let Some(watched) = &mut self.watched {
            match watched.next().await {
                Some(state) => {
                    if let ShimPhase::Ended { end } = state.phase {
                        return Ok(end.outcome);
                    }
                }
                None => self.watched = None,
            }
        }
        match read_status(&self.folder) {
            Ok(Some(state)) => match state.phase {
                ShimPhase::Ended { end } => Ok(end.outcome),
                _ => Err(ClientError::ShimGone { lease: self.lease }),
            },
            _ => Err(ClientError::ShimGone { lease: self.lease }),
        }
    }
}

/// A task that is stopped until this is dropped.
#[derive(Debug)]
pub struct Stopped(#[expect(dead_code, reason = "the shim sees its connection end")] ShimClient);

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").field("lease", &self.lease).finish_non_exhaustive()
    }
}
