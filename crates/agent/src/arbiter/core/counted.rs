//! What a lease's processes have counted of the devices' time, and what of it is charged yet. Pure.
//!
//! **Invariant.** A lease is charged for every nanosecond that its processes have counted
//! ([`polder_ledger::busy`]) and for none twice: a moment that was charged because it went by, during
//! a grant or with commands in flight, is not charged again when it is counted. It is never charged
//! more than the time that has gone by since it was last seen with nothing in flight and was not charged
//! yet, whatever its page says; and what was charged is never taken back, whatever it says next.
//!
//! Counts come when commands end. So time that goes by while one is in flight may be charged before it
//! is counted: `upto_ns` runs ahead of the count by so much. When nothing is in flight, all is counted.

use polder_ledger::gate::Census;

/// How far an earlier arbiter had come with a lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// What of the processes' counts is charged, nanoseconds as [`Census::busy_ns`] counts them.
    pub upto_ns: u64,
    /// For how long nobody has charged anything, nanoseconds.
    pub away_ns: u64,
}

impl Told {
    /// What is owed beyond that when the processes have counted `counted_ns`, nanoseconds.
    pub(in crate::arbiter) fn owed_ns(self, counted_ns: u64) -> u64 {
        beyond(self.upto_ns, counted_ns).min(self.away_ns)
    }
}

/// One lease's account of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// Up to here the processes' counts are charged.
    upto_ns: u64,
    /// Charged since the last look because time went by.
    timed_ns: u64,
    /// Not charged, of the time since nothing was in flight.
    room_ns: u64,
}

/// One look at a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    /// Nanoseconds since the look before it.
    pub(super) passed_ns: u64,
    pub(super) before: &'a Census,
    pub(super) now: &'a Census,
    /// Nobody else has the devices: whatever it has in flight is to be charged here.
    pub(super) free: bool,
    /// What its commands have taken if its processes count nothing.
    pub(super) guess_ns: u64,
}

/// How far `to` lies beyond `from` in counts that come round; zero when it lies behind.
fn beyond(from: u64, to: u64) -> u64 {
    to.wrapping_sub(from).cast_signed().max(0).cast_unsigned()
}

impl Counted {
    /// Goes on where another stopped.
    pub(super) const fn after(told: Told) -> Self {
        Self { upto_ns: told.upto_ns, timed_ns: 0, room_ns: told.away_ns }
    }

    /// How far it has come: what a successor goes on from.
    pub(super) const fn told(&self) -> u64 {
        self.upto_ns.wrapping_add(self.timed_ns)
    }

    /// So much was charged because it went by.
    pub(super) const fn timed(&mut self, ns: u64) {
        self.timed_ns = self.timed_ns.saturating_add(ns);
    }

    /// What is owed beyond that, nanoseconds: to be charged now.
    pub(super) fn look(&mut self, look: Look<'_>) -> u64 {
        let Look { passed_ns, before, now, free, guess_ns } = look;
        let timed_ns = std::mem::take(&mut self.timed_ns).min(passed_ns);
        self.upto_ns = self.upto_ns.wrapping_add(timed_ns);
        let mut open_ns = passed_ns - timed_ns;
        let mut owed_ns = 0;
        // A process counts before it is seen to have completed anything: those here are of an older version.
        let counts = now.busy_ns != 0 || now.completed == 0;
        let flying = [before, now].map(|census| census.inflight > 0);
        if free && (flying == [true, true] || !counts && flying != [false, false]) {
            // Whoever ends before it has counted does not go free.
            self.upto_ns = self.upto_ns.wrapping_add(open_ns);
            (owed_ns, open_ns) = (open_ns, 0);
        } else if !counts {
            owed_ns = guess_ns.min(open_ns);
            open_ns -= owed_ns;
        }
        self.room_ns = self.room_ns.saturating_add(open_ns);
        let counted_ns = beyond(self.upto_ns, now.busy_ns);
        if counted_ns > 0 {
            let more_ns = counted_ns.min(self.room_ns);
            self.room_ns -= more_ns;
            owed_ns += more_ns;
            self.upto_ns = now.busy_ns;
        } else if now.busy_ns != before.busy_ns && beyond(now.busy_ns, self.upto_ns) > passed_ns {
            // What has just been counted ended since the last look: what is in flight and not
            // counted of it is not older.
            self.upto_ns = now.busy_ns.wrapping_add(passed_ns);
        }
        if now.inflight == 0 {
            (self.upto_ns, self.room_ns) = (now.busy_ns, 0);
        }
        owed_ns
    }
}
