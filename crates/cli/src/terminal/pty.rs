//! A pty pair between the caller's terminal and a task.

use super::standing::Standing;
use super::{in_foreground, is_shells_job};
use crate::output::Output;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_current_process_group};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Bytes moved at one time.
const CHUNK: usize = 16 * 1024;
/// Once the task is over, output is waited for until none has come for this long: a process that
/// the task left behind may hold the terminal for ever.
const DRAIN_QUIET: Duration = Duration::from_millis(300);

/// How often a client in the background looks whether it is in the foreground.
const BACKGROUND_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

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
        // In the background the modes are those of the shell's own line editor.
        if in_foreground(like) {
            tcsetattr(&pty.task_end()?, OptionalActions::Now, &tcgetattr(like)?)?;
        }
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
        let raw = Arc::new(RawMode::enter(io::stdin().as_fd(), Termios::make_raw)?);
        let moved = Arc::new(AtomicU64::new(0));
        let (input, output) = (Arc::clone(&self.ours), Arc::clone(&self.ours));
        let (wakes, wake_input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let mode = Arc::clone(&raw);
        std::thread::Builder::new().name("input".into()).spawn(move || {
            copy_input(&input, &wakes, &mode);
        })?;
        let count = Arc::clone(&moved);
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name("output".into()).spawn(move || {
            copy_output(&output, out, &count);
            let _ = ended.send(());
        })?;
        Ok(Relay { pty: self, raw, moved, end, input: wake_input })
    }
}

/// The caller's terminal, joined to a task's.
#[derive(Debug)]
pub(crate) struct Relay {
    pty: Pty,
    raw: Arc<RawMode>,
    moved: Arc<AtomicU64>,
    end: oneshot::Receiver<()>,
    /// A byte makes the copying of input look at the terminal again; closing it ends the copying, so
    /// that a further try gets all that is typed then.
    input: OwnedFd,
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

    /// Takes the terminal again, in its present size, unless it is another's now.
    pub(crate) fn resume(&self) {
        self.raw.again();
        // Whether this is in the foreground is to be looked at again; a full pipe says so already.
        let _ = rustix::io::write(&self.input, &[0]);
        self.resize();
    }

    /// The task is over: writes what it wrote, then gives the terminal back.
    pub(crate) async fn finish(mut self) {
        loop {
            let before = self.moved.load(Ordering::Relaxed);
            match tokio::time::timeout(DRAIN_QUIET, &mut self.end).await {
                Err(_) if self.moved.load(Ordering::Relaxed) != before => {}
                // The copying of input may live a moment longer and must not take it again.
                _ => return self.raw.leave(),
            }
        }
    }
}

/// The caller's terminal in another mode, as long as this lives and is in the foreground.
#[derive(Debug)]
pub(super) struct RawMode {
    terminal: OwnedFd,
    change: fn(&mut Termios),
    state: Mutex<ModeState>,
}

#[derive(Debug)]
struct ModeState {
    /// What the modes were before they were changed, while they are.
    before: Option<Termios>,
    /// They are not to be changed now.
    left: bool,
}

impl RawMode {
    /// Changes the modes with `change`; in the background not now but once it is in front.
    pub(super) fn enter(terminal: BorrowedFd<'_>, change: fn(&mut Termios)) -> io::Result<Self> {
        tcgetattr(terminal)?;
        let terminal = terminal.try_clone_to_owned()?;
        let state = Mutex::new(ModeState { before: None, left: false });
        let mode = Self { terminal, change, state };
        mode.again();
        Ok(mode)
    }

    fn state(&self) -> MutexGuard<'_, ModeState> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn again(&self) {
        self.state().left = false;
        self.keep();
    }

    /// Changes the modes if they are not changed and may be. Whether what is typed is for this
    /// program: it has the terminal and is in the foreground. A terminal that has just gone has no
    /// modes that matter.
    fn keep(&self) -> bool {
        let mut state = self.state();
        if state.left || !in_foreground(self.terminal.as_fd()) {
            return false;
        }
        if state.before.is_none() {
            let Ok(before) = tcgetattr(&self.terminal) else { return true };
            let mut raw = before.clone();
            (self.change)(&mut raw);
            if tcsetattr(&self.terminal, OptionalActions::Now, &raw).is_ok() {
                state.before = Some(before);
            }
        }
        true
    }

    /// What was typed, if something was and it is for this program. Modes are not given back
    /// meanwhile: once they are, what is typed is for others, and none of it is taken from them.
    fn read(&self, chunk: &mut [u8]) -> io::Result<Option<usize>> {
        let state = self.state();
        // A read from the background would stop this program.
        if state.left || !in_foreground(self.terminal.as_fd()) {
            return Ok(None);
        }
        let mut typed = [PollFd::new(&self.terminal, PollFlags::IN)];
        // A read that waits for a key would keep the modes from being given back as long.
        if rustix::io::retry_on_intr(|| poll(&mut typed, Some(&Timespec::default())))? == 0 {
            return Ok(None);
        }
        Ok(Some(rustix::io::retry_on_intr(|| rustix::io::read(&self.terminal, &mut *chunk))?))
    }

    /// Gives the modes back; in the background they are another's and stay as they are.
    fn leave(&self) {
        let mut state = self.state();
        state.left = true;
        if let Some(before) = state.before.take()
            && in_foreground(self.terminal.as_fd())
        {
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, &before);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.leave();
    }
}

fn copy_input(to: &OwnedFd, wakes: &OwnedFd, mode: &RawMode) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let front = mode.keep();
        let mut fds = [wakes, &mode.terminal].map(|fd| PollFd::new(fd, PollFlags::IN));
        // In the background, or once the terminal is given back, what is typed is for others; nobody
        // says when that changes.
        let (watched, limit) = if front { (2, None) } else { (1, Some(&BACKGROUND_POLL)) };
        let polled = rustix::io::retry_on_intr(|| poll(&mut fds[..watched], limit));
        let (woken, readable) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if polled.is_err() {
            return;
        }
        if woken {
            match rustix::io::read(wakes, &mut chunk[..]) {
                Ok(count) if count > 0 => continue,
                _ => return,
            }
        }
        if !readable {
            continue;
        }
        match mode.read(&mut chunk) {
            Ok(None) => {}
            Ok(Some(0)) | Err(_) => return,
            Ok(Some(count)) => {
                let (typed, stops) = until_stop(to, &chunk[..count]);
                if write_all(to, typed).is_err() {
                    return;
                }
                if stops {
                    // As the kernel would: everyone in the foreground gets it, this process too.
                    let _ = kill_current_process_group(Signal::TSTP);
                }
            }
        }
    }
}

/// What was typed before the key that stops a job, and whether that key is among it and would stop
/// the task if a shell watched it: its terminal makes signals of keys, its first process is in front
/// and takes the signal as the system means it.
fn until_stop<'a>(terminal: &OwnedFd, typed: &'a [u8]) -> (&'a [u8], bool) {
    let at = || {
        let modes = tcgetattr(terminal).ok()?;
        let key = modes.special_codes[SpecialCodeIndex::VSUSP];
        let at = typed.iter().position(|byte| *byte == key && key != 0)?;
        let front = tcgetpgrp(terminal).ok()?;
        let pid = front.as_raw_pid().cast_unsigned();
        let leads = Standing::of(pid).is_some_and(|standing| standing.session == pid);
        let stops = modes.local_modes.contains(LocalModes::ISIG) && leads && is_shells_job();
        (stops && takes_stops(front)).then_some(at)
    };
    match at() {
        Some(at) => (&typed[..at], true),
        None => (typed, false),
    }
}

/// Whether a process neither ignores nor handles SIGTSTP.
fn takes_stops(process: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()));
    let status = status.unwrap_or_default();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let bit = 1 << (Signal::TSTP.as_raw() - 1);
    matches!((mask("SigIgn:"), mask("SigCgt:")), (Some(one), Some(two)) if (one | two) & bit == 0)
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
    fn what_is_typed_once_the_modes_are_given_back_is_for_others() {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let terminal = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let mode = RawMode::enter(terminal.as_fd(), Termios::make_raw).unwrap();
        let arrived = || {
            let mut fds = [PollFd::new(&terminal, PollFlags::IN)];
            let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
            assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "what was typed has arrived");
        };
        let mut chunk = [0; 16];
        assert_eq!(mode.read(&mut chunk).unwrap(), None);
        rustix::io::write(&ours, b"task").unwrap();
        arrived();
        assert_eq!(mode.read(&mut chunk).unwrap(), Some(4));
        mode.leave();
        rustix::io::write(&ours, b"shell\n").unwrap();
        arrived();
        assert_eq!(mode.read(&mut chunk).unwrap(), None);
        assert!(!mode.keep());
        assert_eq!(rustix::io::read(&terminal, &mut chunk[..]).unwrap(), 6);
        mode.again();
        rustix::io::write(&ours, b"on").unwrap();
        arrived();
        assert_eq!(mode.read(&mut chunk).unwrap(), Some(2));
    }

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
