//! Who is at the other end of a Unix socket, as the kernel says.
#![allow(unsafe_code)] // rustix has no SO_PEERPIDFD, and its SO_PEERCRED cannot hold a pid of 0

use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Who connected, at the time of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Credentials {
    /// 0 for a process that this pid namespace cannot see.
    pub(super) pid: u32,
    pub(super) uid: u32,
}

/// Most sockets of refused peers that are kept.
const REFUSED_MAX: usize = 8;

/// How long the loop rests when the system has no descriptor left: the connection stays in the
/// queue, and would wake the loop again at once.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(10);

/// Takes one connection, which does not block.
pub(super) fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Some(socket),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
            std::thread::sleep(EXHAUSTED_PAUSE);
            None
        }
        // The peer has gone already.
        Err(_) => None,
    }
}

/// Sockets of peers that were refused. Closed at once, one that is about to send its first packet
/// would get an error in place of the words that wait for it; so the last few stay open, unread.
#[derive(Debug, Default)]
pub(super) struct Refused(VecDeque<OwnedFd>);

impl Refused {
    /// Keeps one, and closes the oldest when there are many.
    pub(super) fn keep(&mut self, socket: OwnedFd) {
        if self.0.len() >= REFUSED_MAX {
            self.0.pop_front();
        }
        // After its words, the end: a peer that asks on does not wait for an answer.
        if rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).is_ok() {
            self.0.push_back(socket);
        }
    }
}

/// Reads a socket option of a plain C type.
fn option<T>(socket: &OwnedFd, name: i32) -> io::Result<T>
where
    T: Copy,
{
    let mut value = MaybeUninit::<T>::uninit();
    let size = libc::socklen_t::try_from(size_of::<T>()).expect("these types are a few bytes");
    let mut length = size;
    // SAFETY: `value` has room for `length` bytes, and both live through the call.
    let code = unsafe {
        let (fd, value, length) = (socket.as_raw_fd(), value.as_mut_ptr(), &raw mut length);
        libc::getsockopt(fd, libc::SOL_SOCKET, name, value.cast(), length)
    };
    match code {
        // SAFETY: the kernel wrote all of it; the callers' types are made of integers.
        0 if length == size => Ok(unsafe { value.assume_init() }),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Who connected.
pub(super) fn credentials(socket: &OwnedFd) -> io::Result<Credentials> {
    let raw = option::<libc::ucred>(socket, libc::SO_PEERCRED)?;
    Ok(Credentials { pid: u32::try_from(raw.pid).unwrap_or(0), uid: raw.uid })
}

/// A descriptor of the very process that connected, where the kernel (6.5) can say so; else of the
/// one that has its id now.
pub(super) fn pidfd(socket: &OwnedFd, pid: u32) -> io::Result<OwnedFd> {
    match option::<i32>(socket, libc::SO_PEERPIDFD) {
        // SAFETY: the kernel made this descriptor for us a moment ago.
        Ok(fd) if fd >= 0 => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOPROTOOPT) => {}
        // Whoever connected is dead: another process may have its id by now.
        Ok(_) => return Err(io::ErrorKind::NotFound.into()),
        Err(error) => return Err(error),
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
