//! Server time: never before, and never equal to, the event ahead of it.

use polder_model::{Event, Micros, Timestamp};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock that goes back by less than this is not worth an event.
const STEP_MIN: Micros = Micros::from_millis(100);

/// Reads the machine's wall clock, or a test's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's wall clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    })
}

/// Turns a clock that may step into times that only grow.
pub(crate) struct ServerTime {
    clock: Clock,
    last: Timestamp,
    /// What the clock said when it was last read; a step is measured from here, because `last`
    /// may run ahead of a good clock by a microsecond for each event of a burst.
    read: Timestamp,
}

impl ServerTime {
    /// Goes on after `last`, the time of the journal's newest event.
    pub(crate) fn new(clock: Clock, last: Timestamp) -> Self {
        Self { clock, last, read: last }
    }

    /// The time of the next event: `max(last + 1, now)`.
    pub(crate) fn next(&mut self) -> Timestamp {
        self.last = Timestamp((self.clock)().0.max(self.last.0.saturating_add(1)));
        self.last
    }

    /// Now, without using it up: later than every event so far.
    pub(crate) fn peek(&self) -> Timestamp {
        Timestamp((self.clock)().0.max(self.last.0.saturating_add(1)))
    }

    /// The event to journal if the clock went back since it was last asked.
    pub(crate) fn step(&mut self) -> Option<Event> {
        let clock = (self.clock)();
        let before = std::mem::replace(&mut self.read, clock);
        (before.since(clock) >= STEP_MIN)
            .then(|| Event::ClockStepped { clock, behind: self.last.since(clock) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn time_goes_on_when_the_clock_goes_back() {
        let now = Arc::new(AtomicU64::new(10_000_000));
        let hand = Arc::clone(&now);
        let clock: Clock = Arc::new(move || Timestamp(hand.load(Ordering::Relaxed)));
        let mut time = ServerTime::new(clock, Timestamp(9_000_000));
        assert_eq!(time.step(), None);
        assert_eq!(time.next(), Timestamp(10_000_000));
        assert_eq!(time.next(), Timestamp(10_000_001));
        now.store(4_000_000, Ordering::Relaxed);
        assert_eq!(time.next(), Timestamp(10_000_002));
        let behind = Micros(6_000_002);
        assert_eq!(time.step(), Some(Event::ClockStepped { clock: Timestamp(4_000_000), behind }));
        assert_eq!(time.step(), None, "a step is told once");
        now.store(20_000_000, Ordering::Relaxed);
        assert_eq!(time.next(), Timestamp(20_000_000));
    }
}
