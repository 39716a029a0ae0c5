//! A child process that runs Rust code, and says what it has to say through a pipe.
#![allow(unsafe_code)] // there is no safe fork

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Exit code of a child that ended in our code, not in the task's.
const CHILD_FAILED: i32 = 127;

/// The flag of `clone3` that names a cgroup.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's highest signal, and the bytes of its mask of signals.
const SIGNAL_MAX: libc::c_long = 64;
const MASK_BYTES: libc::c_long = 8;

/// A child, and the end of its pipe. The pipe closes when the child executes a program or exits.
#[derive(Debug)]
pub(crate) struct Forked {
    pub(crate) pid: Pid,
    pub(crate) words: OwnedFd,
}

/// Forks. The child runs `child` with the pipe's writing end and exits; it never returns into the
/// caller's code, not even by a panic.
///
/// The calling process has one thread: the child may then do whatever a process may.
///
/// # Errors
/// What the system says.
pub(crate) fn fork(child: impl FnOnce(OwnedFd)) -> io::Result<Forked> {
    let (words, said) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the process has one thread, so the child inherits no lock that nobody will release.
    let pid = unsafe { libc::fork() };
    continue_as(pid, (words, said), child)
}

/// Forks into a cgroup of version 2, whose folder is `cgroup`: to be born there takes microseconds
/// where to move there takes milliseconds. `None` where the kernel (5.7) or its owner permits that
/// not; then nothing has happened.
///
/// # Errors
/// What the system says of the pipe.
pub(crate) fn fork_into(
    cgroup: BorrowedFd<'_>,
    child: impl FnOnce(OwnedFd),
) -> io::Result<Option<Forked>> {
    let (words, said) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the structure is made of integers, for which zero means "not used".
    let mut ask: libc::clone_args = unsafe { std::mem::zeroed() };
    ask.flags = CLONE_INTO_CGROUP;
    ask.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    ask.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    // SAFETY: without CLONE_VM this is a fork, and the process has one thread as above. The C
    // library is told nothing, and has nothing to set right where there is one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const ask, size_of_val(&ask)) };
    match libc::pid_t::try_from(pid) {
        Ok(-1) | Err(_) => Ok(None),
        Ok(pid) => continue_as(pid, (words, said), child).map(Some),
    }
}

/// After a fork, in whichever process this is.
fn continue_as(
    pid: libc::pid_t,
    (words, said): (OwnedFd, OwnedFd),
    child: impl FnOnce(OwnedFd),
) -> io::Result<Forked> {
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(words);
            let _ = catch_unwind(AssertUnwindSafe(|| child(said)));
            // SAFETY: `_exit` ends the process at once, without the parent's exit handlers.
            unsafe { libc::_exit(CHILD_FAILED) }
        }
        pid => {
            drop(said);
            let pid = Pid::from_raw(pid).ok_or(Errno::CHILD)?;
            Ok(Forked { pid, words })
        }
    }
}

/// Gives every signal its default meaning, but for the `ignored` ones (bit N-1 stands for signal N),
/// and lets all of them through: what a program expects.
pub(crate) fn default_signals(ignored: u64) {
    // The kernel's own structure, all zero: the default meaning, no flags, no mask. Larger than it
    // is on any architecture. Not the C library's call, which leaves out the signals it uses.
    let default = [0u64; 8];
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: setting a default meaning runs no code of ours, and the kernel reads no more of
        // `default` than there is. The two signals that cannot be set are refused, as they should.
        unsafe {
            let nothing = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), nothing, MASK_BYTES)
        };
    }
    for signal in (1..=64).filter(|signal| ignored & crate::inherited::bit(*signal) != 0) {
        // SAFETY: ignoring a signal runs no code of ours; those that cannot be ignored are refused.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: an empty set is built and installed; both pointers are valid for the calls.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
