//! What the shim waits for.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Events taken at one time.
const EVENTS_MAX: usize = 32;

/// Which descriptor became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A child has changed, or somebody wants the shim to end.
    Signals,
    /// The next deadline.
    Timer,
    /// Somebody connects to the control socket.
    Control,
    /// A control connection.
    Peer(u32),
    /// A process of the lease connects.
    Door,
    /// The connection of a process of the lease.
    Visitor(u32),
    /// The pidfd of a process that holds a slot.
    Holder(u32),
    /// What the child says before it becomes the task.
    Words,
    /// The task's output, 0, or error output, 1.
    Log(u32),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, number) = match self {
            Self::Signals => (0, 0),
            Self::Timer => (1, 0),
            Self::Control => (2, 0),
            Self::Peer(number) => (3, number),
            Self::Door => (4, 0),
            Self::Visitor(number) => (5, number),
            Self::Holder(number) => (6, number),
            Self::Words => (7, 0),
            Self::Log(number) => (8, number),
        };
        (kind << 32) | u64::from(number)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let number = u32::try_from(packed & u64::from(u32::MAX)).ok()?;
        Some(match packed >> 32 {
            0 => Self::Signals,
            1 => Self::Timer,
            2 => Self::Control,
            3 => Self::Peer(number),
            4 => Self::Door,
            5 => Self::Visitor(number),
            6 => Self::Holder(number),
            7 => Self::Words,
            8 => Self::Log(number),
            _ => return None,
        })
    }
}

/// A set of descriptors, each with its token.
#[derive(Debug)]
pub(super) struct Poller(OwnedFd);

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Waits for `fd` to be readable, or closed by its other side.
    pub(super) fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token.pack()), EventFlags::IN)?)
    }

    /// Waits for `fd` to be writable too, or no longer.
    pub(super) fn also_writable(
        &self,
        fd: impl AsFd,
        token: Token,
        writable: bool,
    ) -> io::Result<()> {
        let flags = if writable { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.0, fd, EventData::new_u64(token.pack()), flags)?)
    }

    /// Waits for `fd` no longer. Needed before it is closed where a child may still hold it.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // Not being there is what is wanted.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until something is ready.
    pub(super) fn wait(&self) -> io::Result<Vec<Token>> {
        let mut events = [MaybeUninit::<Event>::uninit(); EVENTS_MAX];
        // An interrupted wait is an empty one: the caller waits again.
        let ready = match epoll::wait(&self.0, events.as_mut_slice(), None) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => &mut [],
            Err(errno) => return Err(errno.into()),
        };
        Ok(ready.iter().filter_map(|event| Token::unpack(event.data.u64())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        let all = [Token::Signals, Token::Peer(7), Token::Holder(u32::MAX), Token::Log(1)];
        for token in all {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
    }
}
