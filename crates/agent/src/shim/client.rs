//! The other end of a shim's control socket: what an agent, or `polder run`, holds.
//!
//! Calls block, each for at most [`REPLY_WAIT`] ([`START_WAIT`] for a start); async code makes them
//! in `spawn_blocking`. A [`ShimWatch`] is readable when a state waits, so it goes into an `AsyncFd`.

use super::protocol::{CONTROL_SOCKET, PACKET_FDS_MAX, Reply, Request, SHIM_PROTOCOL, ShimState};
use super::wire;
use crate::inherited::Inherited;
use polder_model::{Micros, Outcome};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Longest wait for an answer.
pub const REPLY_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a start: entering a directory or reading a program from a slow
/// network file system is part of it.
pub const START_WAIT: Duration = Duration::from_secs(120);

/// Why a shim did not do as asked.
#[derive(Debug, Error)]
pub enum ShimError {
    /// Nobody listens: the shim has exited or was killed. [`super::recover()`] tells the end.
    #[error("no shim answers in {dir}")]
    Gone {
        /// The lease's folder.
        dir: PathBuf,
    },
    /// It answered that it will not.
    #[error("the shim in {dir} refuses: {why}")]
    Refused {
        /// The lease's folder.
        dir: PathBuf,
        /// Its words.
        why: String,
    },
    /// It is there but silent, or speaks in riddles.
    #[error("talking to the shim in {dir}: {error}")]
    Talk {
        /// The lease's folder.
        dir: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
}

/// The descriptors that an agent gets from a shim.
#[derive(Debug)]
pub struct Pages {
    /// The usage page, for [`polder_ledger::adopt_usage`].
    pub usage: OwnedFd,
    /// An eventfd that is rung when something changed in the usage page.
    pub doorbell: OwnedFd,
}

/// The answer to a hello.
#[derive(Debug)]
pub struct Greeting {
    /// How things stand.
    pub state: ShimState,
    /// Absent for a peer that is neither the shim's own user nor root.
    pub pages: Option<Pages>,
}

/// A connection to one shim.
#[derive(Debug)]
pub struct ShimClient {
    socket: OwnedFd,
    dir: PathBuf,
}

/// A shim's states as they change. `AsFd` is readable when one waits.
#[derive(Debug)]
pub struct ShimWatch {
    socket: OwnedFd,
    dir: PathBuf,
}

fn set_wait(socket: &OwnedFd, wait: Option<Duration>) -> io::Result<()> {
    Ok(set_socket_timeout(socket, Timeout::Recv, wait)?)
}

fn talk(dir: &Path, error: io::Error) -> ShimError {
    let dir = dir.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => ShimError::Gone { dir },
        _ => ShimError::Talk { dir, error },
    }
}

impl ShimClient {
    /// Connects to the shim of the lease whose folder is `dir`.
    ///
    /// # Errors
    /// [`ShimError::Gone`] when none listens there.
    pub fn connect(dir: &Path) -> Result<Self, ShimError> {
        Self::open(dir).map_err(|error| talk(dir, error))
    }

    fn open(dir: &Path) -> io::Result<Self> {
        let address = wire::address(&dir.join(CONTROL_SOCKET))?;
        let flags = SocketFlags::CLOEXEC;
        let kind = SocketType::SEQPACKET;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        // The wait also bounds a connect to a shim whose queue is full.
        set_socket_timeout(&socket, Timeout::Send, Some(REPLY_WAIT))?;
        set_wait(&socket, Some(REPLY_WAIT))?;
        rustix::net::connect(&socket, &address)?;
        Ok(Self { socket, dir: dir.to_owned() })
    }

    fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(ShimState, Vec<OwnedFd>), ShimError> {
        let dir = &self.dir;
        wire::send(&self.socket, request, fds, SendFlags::empty())
            .map_err(|error| talk(dir, error))?;
        receive(&self.socket, dir, RecvFlags::empty())?
            .ok_or_else(|| ShimError::Gone { dir: dir.clone() })
    }

    /// The first call on a connection: how things stand, and the lease's pages.
    ///
    /// # Errors
    /// [`ShimError`].
    pub fn hello(&mut self) -> Result<Greeting, ShimError> {
        let (state, fds) = self.ask(&Request::Hello { protocol: SHIM_PROTOCOL }, &[])?;
        let pages = match <[OwnedFd; 2]>::try_from(fds) {
            Ok([usage, doorbell]) => Some(Pages { usage, doorbell }),
            Err(_) => None,
        };
        Ok(Greeting { state, pages })
    }

    /// Hands over a new limits page; attached processes are told of it.
    ///
    /// # Errors
    /// [`ShimError::Refused`] when `epoch` is not above the last one.
    pub fn send_limits(
        &mut self,
        page: BorrowedFd<'_>,
        epoch: u64,
    ) -> Result<ShimState, ShimError> {
        Ok(self.ask(&Request::Limits { epoch }, &[page])?.0)
    }

    /// Lends the task what it is to inherit besides its three descriptors: it counts for a start on
    /// this connection. A shim of the version before is asked nothing when there is nothing.
    ///
    /// # Errors
    /// [`ShimError::Refused`] when the numbers make no sense.
    pub fn lend(&mut self, inherited: &Inherited) -> Result<(), ShimError> {
        if inherited.is_empty() {
            return Ok(());
        }
        let (numbers, fds) = (inherited.numbers(), inherited.borrowed());
        let mut parts: Vec<_> =
            numbers.chunks(PACKET_FDS_MAX).zip(fds.chunks(PACKET_FDS_MAX)).collect();
        if parts.is_empty() {
            parts.push((&[], &[]));
        }
        for (numbers, fds) in parts {
            let numbers = numbers.to_vec();
            self.ask(&Request::Lend { ignored: inherited.ignored, numbers }, fds)?;
        }
        Ok(())
    }

    /// Starts the task; returns when its program runs or cannot. The state tells which: a program
    /// that cannot be started is an end, not an error. Starting what was started already changes
    /// nothing and returns the state.
    ///
    /// # Errors
    /// [`ShimError`].
    pub fn start(
        &mut self,
        master: Option<String>,
        terminal: bool,
        stdio: Option<[BorrowedFd<'_>; 3]>,
    ) -> Result<ShimState, ShimError> {
        let fds = stdio.as_ref().map_or(&[][..], |fds| &fds[..]);
        let wait =
            |length| set_wait(&self.socket, Some(length)).map_err(|error| talk(&self.dir, error));
        wait(START_WAIT)?;
        let answer = self.ask(&Request::Start { master, terminal }, fds)?;
        wait(REPLY_WAIT)?;
        Ok(answer.0)
    }

    /// Begins to end the task; [`ShimWatch`] tells when it has ended.
    ///
    /// # Errors
    /// [`ShimError`].
    pub fn stop(&mut self, grace: Micros, outcome: Outcome) -> Result<ShimState, ShimError> {
        Ok(self.ask(&Request::Stop { grace, outcome }, &[])?.0)
    }

    /// Sends a signal to the task's command; what a terminal sends, to its whole process group. What
    /// SIGSTOP has stopped goes on when this connection ends.
    ///
    /// # Errors
    /// [`ShimError::Refused`] when nothing runs or there is no such signal.
    pub fn signal(&mut self, number: i32) -> Result<ShimState, ShimError> {
        Ok(self.ask(&Request::Signal { number }, &[])?.0)
    }

    /// Turns the connection into a stream of states; the first is the present one.
    ///
    /// # Errors
    /// [`ShimError`].
    pub fn watch(self) -> Result<ShimWatch, ShimError> {
        wire::send(&self.socket, &Request::Watch, &[], SendFlags::empty())
            .and_then(|()| set_wait(&self.socket, None))
            .map_err(|error| talk(&self.dir, error))?;
        Ok(ShimWatch { socket: self.socket, dir: self.dir })
    }

    /// The end is journaled: the shim exits. The folder stays, for the caller to remove.
    ///
    /// # Errors
    /// [`ShimError::Refused`] before the end.
    pub fn forget(self) -> Result<(), ShimError> {
        self.ask(&Request::Forget, &[]).map(|_| ())
    }
}

impl ShimWatch {
    /// Waits for the next state. `None` when the shim has gone.
    ///
    /// # Errors
    /// [`ShimError`].
    pub fn next_state(&mut self) -> Result<Option<ShimState>, ShimError> {
        Ok(receive(&self.socket, &self.dir, RecvFlags::empty())?.map(|(state, _)| state))
    }

    /// The next state if one is there: for use when an `AsyncFd` says that the socket is readable.
    ///
    /// # Errors
    /// [`ShimError::Talk`] with `WouldBlock` when none waits.
    pub fn try_next_state(&mut self) -> Result<Option<ShimState>, ShimError> {
        Ok(receive(&self.socket, &self.dir, RecvFlags::DONTWAIT)?.map(|(state, _)| state))
    }
}

impl AsFd for ShimWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ShimWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn receive(
    socket: &OwnedFd,
    dir: &Path,
    flags: RecvFlags,
) -> Result<Option<(ShimState, Vec<OwnedFd>)>, ShimError> {
    match wire::receive(socket, flags) {
        Ok(Some((Reply::State { state }, fds))) => Ok(Some((*state, fds))),
        Ok(Some((Reply::Refused { why }, _))) => {
            Err(ShimError::Refused { dir: dir.to_owned(), why })
        }
        Ok(None) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(ShimError::Talk { dir: dir.to_owned(), error }),
    }
}
