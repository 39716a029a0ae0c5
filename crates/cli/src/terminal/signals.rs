//! The signals that `polder run` passes on.

use rustix::process::{Signal, kill_process};
use std::io;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Every signal that a caller may send to what it takes for its command.
pub(crate) struct Signals {
    streams: Vec<(Signal, Stream)>,
}

const PASSED_ON: [(Signal, fn() -> SignalKind); 9] = [
    (Signal::INT, SignalKind::interrupt),
    (Signal::TERM, SignalKind::terminate),
    (Signal::HUP, SignalKind::hangup),
    (Signal::QUIT, SignalKind::quit),
    (Signal::USR1, SignalKind::user_defined1),
    (Signal::USR2, SignalKind::user_defined2),
    (Signal::WINCH, SignalKind::window_change),
    (Signal::TSTP, || SignalKind::from_raw(Signal::TSTP.as_raw())),
    (Signal::CONT, || SignalKind::from_raw(Signal::CONT.as_raw())),
];

impl Signals {
    /// Takes them all: none ends this process from now on.
    pub(crate) fn watch() -> io::Result<Self> {
        let watch = |(number, kind): (Signal, fn() -> SignalKind)| Ok((number, signal(kind())?));
        Ok(Self { streams: PASSED_ON.into_iter().map(watch).collect::<io::Result<_>>()? })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Stops this process until it is continued, as its own SIGTSTP would have.
pub(crate) fn stop_self() {
    // The kernel refuses only signals to others.
    let _ = kill_process(rustix::process::getpid(), Signal::STOP);
}
