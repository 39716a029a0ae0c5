//! A pty pair between the caller's terminal and a task.

use crate::output::Output;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Bytes moved at one time.
const CHUNK: usize = 16 * 1024;
/// Once the task is over, output is waited for until none has come for this long: a process that
/// the task left behind may hold the terminal for ever.
const DRAIN_QUIET: Duration = Duration::from_millis(300);

/// A new terminal, like the caller's.
#[derive(Debug)]
pub(crate) struct Pty {
    ours: Arc<OwnedFd>,
}

impl Pty {
    /// A terminal with the settings and the size of `like`.
    pub(super) fn open(like: BorrowedFd<'_>) -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let pty = Self { ours: Arc::new(ours) };
        let task = pty.task_end()?;
        tcsetattr(&task, OptionalActions::Now, &tcgetattr(like)?)?;
        pty.resize_like(like)?;
        Ok(pty)
    }

    /// The end that the task gets.
    pub(super) fn task_end(&self) -> io::Result<OwnedFd> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        Ok(ioctl_tiocgptpeer(&self.ours, flags)?)
    }

    fn resize_like(&self, like: BorrowedFd<'_>) -> io::Result<()> {
        let size = rustix::termios::tcgetwinsize(like)?;
        Ok(rustix::termios::tcsetwinsize(&self.ours, size)?)
    }

    /// Joins the caller's terminal to this one until the result is dropped.
    pub(crate) fn relay(self, out: Output) -> io::Result<Relay> {
        let raw = RawMode::enter(Termios::make_raw)?;
        let moved = Arc::new(AtomicU64::new(0));
        let (input, output) = (Arc::clone(&self.ours), Arc::clone(&self.ours));
        let (end_of_input, no_more_input) = pipe_with(PipeFlags::CLOEXEC)?;
        std::thread::Builder::new().name("input".into()).spawn(move || {
            copy_input(&input, &end_of_input);
        })?;
        let count = Arc::clone(&moved);
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name("output".into()).spawn(move || {
            copy_output(&output, out, &count);
            let _ = ended.send(());
        })?;
        Ok(Relay { pty: self, raw, moved, end, _input: no_more_input })
    }
}

/// The caller's terminal, joined to a task's.
#[derive(Debug)]
pub(crate) struct Relay {
    pty: Pty,
    raw: RawMode,
    moved: Arc<AtomicU64>,
    end: oneshot::Receiver<()>,
    /// Closing it ends the copying of input, so that a further try gets all that is typed then.
    _input: OwnedFd,
}

impl Relay {
    /// The caller's window has another size.
    pub(crate) fn resize(&self) {
        // A terminal that has just gone has no size that matters.
        let _ = self.pty.resize_like(io::stdin().as_fd());
    }

    /// Gives the terminal back for a while.
    pub(crate) fn suspend(&self) {
        self.raw.leave();
    }

    /// Takes the terminal again, in its present size.
    pub(crate) fn resume(&self) {
        self.raw.again();
        self.resize();
    }

    /// The task is over: writes what it wrote, then gives the terminal back.
    pub(crate) async fn finish(mut self) {
        loop {
            let before = self.moved.load(Ordering::Relaxed);
            match tokio::time::timeout(DRAIN_QUIET, &mut self.end).await {
                Err(_) if self.moved.load(Ordering::Relaxed) != before => {}
                _ => return,
            }
        }
    }
}

/// The caller's terminal in another mode, as long as this lives.
#[derive(Debug)]
pub(super) struct RawMode {
    before: Termios,
    raw: Termios,
}

impl RawMode {
    pub(super) fn enter(change: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        change(&mut raw);
        let mode = Self { before, raw };
        mode.again();
        Ok(mode)
    }

    fn again(&self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.raw);
    }

    fn leave(&self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.leave();
    }
}

fn copy_input(to: &OwnedFd, end: &OwnedFd) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(end, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
        if polled.is_err() || !fds[0].revents().is_empty() {
            return;
        }
        match rustix::io::retry_on_intr(|| rustix::io::read(io::stdin().as_fd(), &mut chunk[..])) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if write_all(to, &chunk[..count]).is_err() {
                    return;
                }
            }
        }
    }
}

fn copy_output(from: &OwnedFd, out: Output, moved: &AtomicU64) {
    let mut chunk = vec![0; CHUNK];
    loop {
        // EIO says that no process has the other end open any more.
        match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut chunk[..])) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if out.bytes(&chunk[..count]).is_err() {
                    return;
                }
                moved.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(to, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::{Winsize, isatty, tcgetwinsize, tcsetwinsize};

    #[test]
    fn a_task_gets_a_terminal_like_the_callers() {
        let like = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&like, size).unwrap();
        let pty = Pty::open(like.as_fd()).unwrap();
        let task = pty.task_end().unwrap();
        assert!(isatty(&task));
        assert_eq!(tcgetwinsize(&task).unwrap().ws_col, 77);
        rustix::io::write(&pty.ours, b"word\n").unwrap();
        let mut read = [0; 16];
        assert_eq!(rustix::io::read(&task, &mut read[..]).unwrap(), 5);
        let size = Winsize { ws_col: 99, ..size };
        tcsetwinsize(&like, size).unwrap();
        pty.resize_like(like.as_fd()).unwrap();
        assert_eq!(tcgetwinsize(&task).unwrap().ws_col, 99);
    }
}
