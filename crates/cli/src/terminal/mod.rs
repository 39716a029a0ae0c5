//! The caller's terminal, lent to a task: a pty pair, raw mode, window sizes, signals.

mod faults;
mod keys;
mod pty;
mod signals;
mod standing;

pub(crate) use faults::hold;
pub(crate) use keys::Keys;
pub(crate) use pty::{Pty, Relay};
pub(crate) use signals::{Signals, ends, stop_self};

use rustix::io::Errno;
use rustix::termios::tcgetpgrp;
use standing::Standing;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

/// Whether reading from a terminal or changing its modes stops nobody: this process is in the
/// foreground of it, or no shell controls jobs there.
fn in_foreground(terminal: BorrowedFd<'_>) -> bool {
    front(terminal).is_none_or(|front| owns(front).is_some())
}

/// Whether a shell could continue this process after a stop: it is in the foreground, and not of the
/// session's own first group, above which there is no shell.
fn is_shells_job() -> bool {
    let own = front(io::stdin().as_fd()).and_then(owns);
    own.is_some_and(|own| own.session != own.group)
}

/// The process group in front at this process's terminal, 0 for one that this pid namespace cannot see.
fn front(terminal: BorrowedFd<'_>) -> Option<u32> {
    match tcgetpgrp(terminal) {
        Ok(group) => Some(group.as_raw_pid().cast_unsigned()),
        Err(Errno::OPNOTSUPP) => Some(0),
        Err(_) => None,
    }
}

/// Where this process stands if it is of that group.
fn owns(group: u32) -> Option<Standing> {
    Standing::own().filter(|own| own.group == group)
}

/// What a task gets as input, output and error.
#[derive(Debug)]
pub(crate) enum Descriptors {
    /// The caller's own.
    Own,
    /// A new terminal; standard error stays the caller's own when it is no terminal.
    Pty(Pty),
}

impl Descriptors {
    /// A new terminal when the caller sits at one, else the caller's own descriptors.
    pub(crate) fn choose() -> io::Result<Self> {
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            Pty::open(io::stdin().as_fd()).map(Self::Pty)
        } else {
            Ok(Self::Own)
        }
    }

    /// Whether the task gets a terminal to control.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Pty(_))
    }

    /// Gives `with` the task's input, output and error.
    pub(crate) fn lend<T>(
        &self,
        with: impl FnOnce([BorrowedFd<'_>; 3]) -> io::Result<T>,
    ) -> io::Result<T> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        match self {
            Self::Own => with([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]),
            Self::Pty(pty) => {
                let task = pty.task_end()?;
                let error = if stderr.is_terminal() { task.as_fd() } else { stderr.as_fd() };
                with([task.as_fd(), task.as_fd(), error])
            }
        }
    }
}
