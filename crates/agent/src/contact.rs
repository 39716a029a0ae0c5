//! For how long the server has been out of reach, as far as this node can know. Pure: time comes in, from
//! the boot clock, which goes on while a machine sleeps.
//!
//! What must hold:
//! * while this node runs, silence is the time since the last call that was answered was made;
//! * a server that answers is never taken for a silent one, however often newer calls overtake those that it
//!   holds: what it may hold is counted from its last answer and not from each call, and two of that are
//!   well below the silence that ends a lease;
//! * time in which this node did not run (a machine that slept, an agent that was stopped) is not held
//!   against the server before this node has had a chance to call it: nobody could be heard meanwhile;
//! * that chance is bounded, and there is one between two contacts: without an answer, all of the time
//!   counts [`CHANCE`] after the node woke, so a lease outlives its limit by no more than that and the time
//!   in which nobody here could end it.

use polder_model::Micros;

/// A gap between two looks from which on this node did not run. It looks every second.
const LAPSE_MIN: Micros = Micros::from_secs(5);
/// How long a node that did not run has to reach its server.
const CHANCE: Micros = Micros::from_secs(30);

/// How long the server may hold a call.
const CALL_WAIT: Micros = Micros::from_secs(10);
/// Parts of the shortest contact limit of which a call may be held for one: a lease may be ended after half
/// of its limit, and the last call that was answered was made up to two holds ago.
const LIMIT_PARTS: u64 = 8;

/// What is known of the last contact.
#[derive(Debug)]
pub(crate) struct Contact {
    /// When the last call that was answered was made.
    heard: Micros,
    /// When an answer last came, whatever it said.
    answered: Micros,
    /// When silence was last looked at.
    looked: Micros,
    /// The first time since then that this node did not run.
    lapse: Option<Lapse>,
}

#[derive(Debug, Clone, Copy)]
struct Lapse {
    /// The silence before it.
    before: Micros,
    /// When the node ran again.
    woke: Micros,
    /// The server has not been asked since.
    unasked: bool,
}

impl Contact {
    /// A node that begins now.
    pub(crate) fn new(now: Micros) -> Self {
        Self { heard: now, answered: now, looked: now, lapse: None }
    }

    /// An answer has come.
    pub(crate) fn answered(&mut self, now: Micros) {
        self.answered = self.answered.max(now);
    }

    /// A call that was made at `sent` has been answered by the server that this node obeys.
    pub(crate) fn heard(&mut self, sent: Micros) {
        self.heard = self.heard.max(sent);
        // An answer to an older call may have come before the node slept.
        self.lapse = self.lapse.filter(|lapse| sent < lapse.woke);
    }

    /// The silence at `now`.
    pub(crate) fn look(&mut self, now: Micros) -> Micros {
        let before = since(self.looked, self.heard);
        if since(now, self.looked) >= LAPSE_MIN && self.lapse.is_none() {
            self.lapse = Some(Lapse { before, woke: now, unasked: true });
        }
        self.looked = self.looked.max(now);
        match self.lapse {
            Some(Lapse { before, woke, .. }) if since(now, woke) < CHANCE => {
                Micros(before.0.saturating_add(since(now, woke).0))
            }
            _ => since(now, self.heard),
        }
    }

    /// Whether this node did not run and has not called since.
    pub(crate) fn is_unasked(&self) -> bool {
        self.lapse.is_some_and(|lapse| lapse.unasked)
    }

    /// A call is made: for how long the server may hold it. `shortest` is the shortest contact limit of a
    /// lease here. Not at all where this node did not run and must know whether the server is there.
    pub(crate) fn hold(&mut self, now: Micros, shortest: Option<Micros>) -> Micros {
        let asks = |lapse: &mut Lapse| std::mem::replace(&mut lapse.unasked, false);
        if self.lapse.as_mut().is_some_and(asks) {
            return Micros(0);
        }
        let part = shortest.map_or(CALL_WAIT, |limit| Micros(limit.0 / LIMIT_PARTS));
        Micros(part.min(CALL_WAIT).0.saturating_sub(since(now, self.answered).0))
    }
}

fn since(now: Micros, then: Micros) -> Micros {
    Micros(now.0.saturating_sub(then.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::{Pace, Went};
    use proptest::prelude::*;

    fn secs(seconds: u64) -> Micros {
        Micros::from_secs(seconds)
    }

    /// Looks every second from one moment to another, and gives the silence at the end.
    fn run(contact: &mut Contact, from: u64, to: u64) -> Micros {
        (from..=to).map(|second| contact.look(secs(second))).last().unwrap()
    }

    #[test]
    fn a_node_that_runs_counts_all_of_its_silence() {
        let mut contact = Contact::new(secs(100));
        assert_eq!(run(&mut contact, 100, 700), secs(600));
        contact.heard(secs(695));
        assert_eq!(run(&mut contact, 701, 703), secs(8));
        assert!(!contact.is_unasked());
    }

    #[test]
    fn a_node_that_slept_may_call_before_its_sleep_counts() {
        let mut contact = Contact::new(secs(0));
        assert_eq!(run(&mut contact, 0, 10), secs(10));
        // It sleeps for a day, and its server with it.
        assert_eq!(run(&mut contact, 86_410, 86_411), secs(11), "what it knew, and a second awake");
        assert!(contact.is_unasked());
        contact.answered(secs(86_411));
        assert_eq!(contact.hold(secs(86_411), None), secs(0), "it must know");
        assert!(!contact.is_unasked());
        assert_eq!(contact.hold(secs(86_411), None), secs(10), "one such call is enough");
        contact.heard(secs(5));
        assert_eq!(contact.look(secs(86_412)), secs(12), "that call was made before it slept");
        contact.heard(secs(86_412));
        assert_eq!(run(&mut contact, 86_413, 86_415), secs(3));
        // The next sleep is another one.
        assert_eq!(contact.look(secs(90_000)), secs(3));
    }

    #[test]
    fn who_is_not_answered_after_a_sleep_counts_all_of_it_soon() {
        let mut contact = Contact::new(secs(0));
        run(&mut contact, 0, 10);
        assert_eq!(run(&mut contact, 1000, 1029), secs(39));
        assert_eq!(contact.look(secs(1030)), secs(1030));
        // Sleeping again without an answer in between is no further chance.
        assert_eq!(contact.look(secs(2000)), secs(2000));
        let mut short = Contact::new(secs(0));
        run(&mut short, 0, 10);
        short.look(secs(1000));
        assert_eq!(short.look(secs(1040)), secs(1040), "it slept through its chance");
    }

    /// A node in virtual time, milliseconds, whose server answers a call once it has held it as long as it
    /// may, or refuses it once a newer one has come. Gives the longest silence.
    fn longest_silence(limit: u64, has_news: impl Fn(u64) -> bool) -> u64 {
        let at = |millis: u64| Micros::from_millis(millis);
        let since_birth = |millis: u64| std::time::Duration::from_millis(millis);
        let (mut contact, mut pace) = (Contact::new(at(0)), Pace::default());
        let mut held: Option<(u64, u64)> = None;
        let mut longest = 0;
        for now in 0..limit * 3 {
            if let Some((sent, _)) = held.filter(|(_, until)| *until <= now) {
                held = None;
                contact.answered(at(now));
                contact.heard(at(sent));
                pace.heard();
                pace.over(since_birth(now), Went::Answered, 0);
            }
            if now % 1000 == 0 {
                longest = longest.max(contact.look(at(now)).0 / 1000);
                if has_news(now / 1000) {
                    pace.news();
                }
            }
            if pace.due().is_some_and(|due| due <= since_birth(now)) {
                let hold = contact.hold(at(now), Some(at(limit)));
                // What it held before is refused: that is no answer.
                held = Some((now, now + hold.0.div_ceil(1000).max(1)));
                pace.called(since_birth(now));
            }
        }
        longest
    }

    #[test]
    fn a_server_that_answers_is_never_silent_however_much_happens_here() {
        for limit in [8_000, 40_000, 600_000] {
            for every in [1, 2, 3, 7, u64::MAX] {
                let longest = longest_silence(limit, |second| second % every == 0);
                // Leases are ended after half of their limit, or later.
                assert!(
                    longest < limit / 2 - 1000,
                    "{limit} ms, news every {every} s: {longest} ms"
                );
            }
        }
    }

    proptest! {
        /// Whatever the clock does, silence never passes the time since the last contact, and falls short
        /// of it only within the chance after one lapse.
        #[test]
        fn silence_is_bounded(steps in prop::collection::vec((0u64..40, prop::bool::ANY), 1..200)) {
            let mut contact = Contact::new(secs(1000));
            let (mut now, mut heard, mut woke) = (1000, 1000, None);
            for (gap, answered) in steps {
                woke = woke.or((gap >= 5).then_some(now + gap));
                now += gap;
                let silence = contact.look(secs(now));
                prop_assert!(silence <= secs(now - heard));
                if silence < secs(now - heard) {
                    prop_assert!(woke.is_some_and(|woke| now - woke < 30));
                }
                if answered {
                    contact.heard(secs(now));
                    (heard, woke) = (now, None);
                }
            }
        }
    }
}
