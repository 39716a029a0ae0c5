//! Signals that this program's own faults raise, when somebody else sends them: read from a descriptor.
//!
//! A handler would be called for own faults too, and return to the very instruction that is at fault.
//! Held back, such a signal ends this program when it is its own fault, whatever is held back, and else
//! waits to be read.
#![allow(unsafe_code)] // signal masks are C structures

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;

/// Those, and the one that a broken pipe raises.
const RAISED: [libc::c_int; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGPIPE];

/// Holds them back in this thread and in those that it starts: to be called before there are others,
/// for the kernel gives a signal to any thread that takes it.
///
/// # Errors
/// What the system says.
pub(crate) fn hold() -> io::Result<()> {
    let set = set(&RAISED);
    // SAFETY: the set is a whole one, and no old one is asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn set(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is made before it is used, and all of these are signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// What of them comes from others.
#[derive(Debug)]
pub(super) struct Faults(AsyncFd<OwnedFd>);

impl Faults {
    /// All but those that the caller ignores. They must be held back already.
    pub(super) fn watch(ignores: impl Fn(i32) -> bool) -> io::Result<Self> {
        let wanted: Vec<libc::c_int> =
            RAISED.into_iter().filter(|signal| !ignores(*signal)).collect();
        let set = set(&wanted);
        // SAFETY: the set is a whole one, and the descriptor is a new one.
        let fd = unsafe {
            match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => return Err(io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        // SAFETY: the descriptor is owned, and neither replaced nor closed while this has it.
        Ok(Self(unsafe { AsyncFd::register(fd)? }))
    }

    /// The next one.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<i32> {
        loop {
            let Ok(mut guard) = ready!(self.0.poll_read_ready_mut(context)) else {
                return Poll::Pending;
            };
            match guard.try_io(|fd| read(fd.get_ref())) {
                Ok(Ok(Some(number))) => return Poll::Ready(number),
                // An own one, or nothing more.
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(_)) => return Poll::Pending,
            }
        }
    }
}

/// One signal, unless it is this process's own: its writes to a broken pipe raise one for each.
fn read(fd: &OwnedFd) -> io::Result<Option<i32>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` has room for `size` bytes.
    let count = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if usize::try_from(count) != Ok(size) {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel wrote all of it, and it is made of integers.
    let info = unsafe { info.assume_init() };
    let own = info.ssi_pid == std::process::id();
    Ok((!own).then_some(info.ssi_signo.cast_signed()))
}
