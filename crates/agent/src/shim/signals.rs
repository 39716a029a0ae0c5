//! Signals as a descriptor: the shim has no handlers.
#![allow(unsafe_code)] // signal masks are C structures

use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signalled {
    /// A child has changed.
    pub(super) child: bool,
    /// Somebody wants the shim to end.
    pub(super) end: bool,
}

/// The descriptor.
#[derive(Debug)]
pub(super) struct Signals(OwnedFd);

impl Signals {
    /// From now on SIGCHLD and SIGTERM arrive here, and what a terminal sends is ignored.
    pub(super) fn new() -> io::Result<Self> {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGPIPE] {
            // SAFETY: ignoring a signal runs no code of ours.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        // SAFETY: the set is built before it is used, all pointers are valid for their calls, and
        // the descriptor is a new one.
        unsafe {
            // Whoever started this may have ignored it, and then children would reap themselves.
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            let mut set = MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            match libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// What has come since the last call.
    pub(super) fn take(&self) -> Signalled {
        let mut all = Signalled::default();
        loop {
            let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
            let size = size_of::<libc::signalfd_siginfo>();
            // SAFETY: `info` has room for `size` bytes.
            let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            if usize::try_from(read) != Ok(size) {
                return all;
            }
            // SAFETY: the kernel wrote all of it, and it is made of integers.
            match unsafe { info.assume_init() }.ssi_signo.cast_signed() {
                libc::SIGCHLD => all.child = true,
                _ => all.end = true,
            }
        }
    }
}

/// What a terminal sends, it sends to everything that runs before it.
const OF_TERMINALS: [libc::c_int; 7] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGTSTP,
    libc::SIGSTOP,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// Whether there is such a signal, one without a name too.
///
/// # Errors
/// That there is not.
pub(super) fn check(number: i32) -> Result<(), String> {
    let nameless = (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number);
    match nameless || Signal::from_named_raw(number).is_some() {
        true => Ok(()),
        false => Err(format!("{number} is no signal that can be sent: see kill -l")),
    }
}

/// Sends a signal that [`check`] let pass to the command that leads a process group: to all of the group
/// where it is one that a terminal sends, else to the command `alone`, as `kill` does. What passes signals
/// on to a container is better told alone: the programs that it does so with are in its group.
///
/// # Errors
/// What the system says.
pub(super) fn to_command(leader: Pid, number: i32, alone: bool) -> Result<(), String> {
    let leader = leader.as_raw_nonzero().get();
    let to = if !alone && OF_TERMINALS.contains(&number) { -leader } else { leader };
    // SAFETY: sending a signal touches no memory of this process.
    match unsafe { libc::kill(to, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().to_string()),
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaped {
    /// This one, with what `waitpid` says of it.
    Child(i32, libc::c_int),
    /// None has ended, but some are left.
    Later,
    /// None is left.
    Nobody,
}

/// Takes the end of one child, of whatever kind: also those that a descendant left to us.
pub(super) fn reap() -> Reaped {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for the call.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) } {
            0 => return Reaped::Later,
            -1 if Errno::from_io_error(&io::Error::last_os_error()) == Some(Errno::INTR) => {}
            -1 => return Reaped::Nobody,
            pid => return Reaped::Child(pid, status),
        }
    }
}
