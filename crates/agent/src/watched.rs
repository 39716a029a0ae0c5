//! A shim's states as they change, for async code.

use crate::shim::{ShimError, ShimState, ShimWatch};
use std::io;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A [`ShimWatch`] whose arrivals the reactor sees through a second descriptor of its socket.
pub(crate) struct Watched {
    watch: ShimWatch,
    ready: UnixStream,
}

impl Watched {
    pub(crate) fn new(watch: ShimWatch) -> io::Result<Self> {
        let copy = rustix::io::fcntl_dupfd_cloexec(&watch, 0)?;
        rustix::io::ioctl_fionbio(&copy, true)?;
        let ready = UnixStream::from_std(std::os::unix::net::UnixStream::from(copy))?;
        Ok(Self { watch, ready })
    }

    /// The next state; `None` when the shim has gone, or cannot be understood any more.
    pub(crate) async fn next(&mut self) -> Option<ShimState> {
        let watch = &mut self.watch;
        let receive = || match watch.try_next_state() {
            Ok(state) => Ok(Ok(state)),
            Err(ShimError::Talk { error, .. }) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(error)
            }
            Err(error) => Ok(Err(error)),
        };
        match self.ready.async_io(Interest::READABLE, receive).await {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a shim's words are not understood");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "waiting for a shim");
                None
            }
        }
    }
}
