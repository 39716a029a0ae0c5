//! When to call next. Pure: time comes in.
//!
//! A fact must not wait behind a call that the server holds, so a newer call overtakes it. But a
//! server that is still writing the older call's facts down would be overtaken for ever by a node
//! where much happens; so a call is given a little time, longer with each that was overtaken.

use std::time::Duration;

/// Time a call is given before the first newer one overtakes it.
const SETTLE_MIN: Duration = Duration::from_millis(1);
/// Most time a call is given before a newer one overtakes it.
const SETTLE_MAX: Duration = Duration::from_millis(64);
/// First wait after a failed call.
const REST_MIN: Duration = Duration::from_millis(20);
/// Longest wait after failed calls.
const REST_MAX: Duration = Duration::from_secs(5);
/// Wait after a refusal that only people can end.
const REST_REFUSED: Duration = Duration::from_secs(60);

/// How the newest call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    /// It was answered.
    Answered,
    /// It was not.
    Failed,
    /// It never will be, until people act.
    Refused,
}

/// Says when to call. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the newest call was made, while it is not over.
    calling_since: Option<Duration>,
    overtaken: u32,
    failures: u32,
    not_before: Duration,
    news: bool,
}

impl Pace {
    /// The server should hear something new.
    pub(crate) fn news(&mut self) {
        self.news = true;
    }

    /// When the next call is due, if it is.
    pub(crate) fn due(&self) -> Option<Duration> {
        match self.calling_since {
            None => Some(self.not_before),
            Some(since) if self.news => Some((since + self.settle()).max(self.not_before)),
            Some(_) => None,
        }
    }

    fn settle(&self) -> Duration {
        SETTLE_MIN.saturating_mul(1 << self.overtaken.min(16)).min(SETTLE_MAX)
    }

    /// A call is made, with all that is new.
    pub(crate) fn called(&mut self, now: Duration) {
        let overtakes = self.calling_since.replace(now).is_some();
        self.overtaken = if overtakes { self.overtaken.saturating_add(1) } else { 0 };
        self.news = false;
    }

    /// Any call was answered: the server is there, and keeps up.
    pub(crate) fn heard(&mut self) {
        self.overtaken = 0;
        self.failures = 0;
    }

    /// The newest call is over. `random` spreads the calls of many agents.
    pub(crate) fn over(&mut self, now: Duration, went: Went, random: u64) {
        self.calling_since = None;
        let rest = match went {
            Went::Answered => Duration::ZERO,
            Went::Failed => {
                let rest = REST_MIN.saturating_mul(1 << self.failures.min(16)).min(REST_MAX);
                self.failures = self.failures.saturating_add(1);
                jitter(rest, random)
            }
            Went::Refused => jitter(REST_REFUSED, random),
        };
        self.not_before = now + rest;
        // What the call carried may not have arrived; the next one carries it again.
        self.news |= went != Went::Answered;
    }
}

/// Between half of `rest` and all of it.
fn jitter(rest: Duration, random: u64) -> Duration {
    let half = rest / 2;
    let span = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(random % span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn news_overtake_a_waiting_call_at_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.due(), Some(ms(0)));
        pace.called(ms(10));
        assert_eq!(pace.due(), None, "nothing is new: the server holds the call");
        pace.news();
        assert_eq!(pace.due(), Some(ms(11)));
        pace.called(ms(500));
        pace.over(ms(501), Went::Answered, 0);
        assert_eq!(pace.due(), Some(ms(501)));
    }

    #[test]
    fn a_slow_server_is_not_overtaken_for_ever() {
        let mut pace = Pace::default();
        let mut now = ms(0);
        for _ in 0..20 {
            pace.called(now);
            pace.news();
            now = pace.due().unwrap();
        }
        pace.called(now);
        pace.news();
        assert_eq!(pace.due(), Some(now + SETTLE_MAX));
        pace.heard();
        assert_eq!(pace.due(), Some(now + SETTLE_MIN));
    }

    #[test]
    fn failures_are_spaced_out_and_news_do_not_hurry_them() {
        let mut pace = Pace::default();
        let mut rests = Vec::new();
        for _ in 0..12 {
            pace.called(ms(0));
            pace.over(ms(0), Went::Failed, 0);
            pace.news();
            rests.push(pace.due().unwrap());
        }
        assert_eq!((rests[0], rests[1], rests[11]), (ms(10), ms(20), REST_MAX / 2));
    }

    proptest! {
        #[test]
        fn rests_are_bounded(failures in 0usize..40, random: u64) {
            let mut pace = Pace::default();
            for _ in 0..=failures {
                pace.called(ms(0));
                pace.over(ms(0), Went::Failed, random);
            }
            let due = pace.due().unwrap();
            prop_assert!(due >= REST_MIN / 2 && due <= REST_MAX);
        }
    }
}
