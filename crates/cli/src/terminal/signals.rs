//! The signals that `polder run` passes on.

use super::faults::Faults;
use super::standing::Standing;
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Every signal that a caller may send to what it takes for its command, by number.
pub(crate) struct Signals {
    streams: Vec<(i32, Stream)>,
    faults: Faults,
}

/// All that a program may get and that means nothing to this one: not those that end it whatever it
/// does, or with which the kernel and its children speak to it alone. Those that its own faults raise
/// come in another way.
const PASSED_ON: [Signal; 21] = [
    Signal::INT,
    Signal::TERM,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::TSTP,
    Signal::CONT,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::POWER,
    Signal::STKFLT,
    Signal::URG,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::TRAP,
    Signal::ABORT,
    Signal::SYS,
];
/// The signals that have no name, as the C library numbers them.
const NAMELESS: std::ops::RangeInclusive<i32> = 34..=64;

impl Signals {
    /// Takes them all but those that the caller ignores: these stay ignored, and none of the others
    /// ends this process from now on.
    pub(crate) fn watch(ignores: impl Fn(i32) -> bool) -> io::Result<Self> {
        let numbers = PASSED_ON.iter().map(|signal| signal.as_raw()).chain(NAMELESS);
        let watch = |number| Ok((number, signal(SignalKind::from_raw(number))?));
        let streams = numbers.filter(|number| !ignores(*number)).map(watch);
        let streams = streams.collect::<io::Result<_>>()?;
        Ok(Self { streams, faults: Faults::watch(ignores)? })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            self.faults.poll(context)
        })
        .await
    }
}

/// Whether a signal of the caller's ends a wait.
pub(crate) fn ends(signal: i32) -> bool {
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].iter().any(|one| one.as_raw() == signal)
}

/// Stops this process until it is continued, as its own SIGTSTP would have: not where nobody is there
/// who would continue it.
pub(crate) fn stop_self() {
    if Standing::own().is_some_and(|own| own.is_a_job_of_somebody(Standing::of)) {
        // The kernel refuses only signals to others.
        let _ = kill_process(getpid(), Signal::STOP);
    }
}
