//! How much work of this process is in flight on one device, in estimated nanoseconds, and whether
//! another command may follow.
//!
//! A command's length is learned from the moments at which commands complete: on a device that
//! works through its queues, one command's work lies between the completion before it and its own.

mod flight;

use crate::ends::End;
use crate::locks::lock;
use flight::{Flight, first_launch, low_ns};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Most work that is remembered after it was counted out before its end.
const EARLY_NS_MAX: u64 = 10_000_000;
/// Most work in flight that is taken to be over though nobody has heard of it.
const UNHEARD_NS_MAX: u64 = 10_000_000;
/// Shortest wait for room that is worth sleeping for.
const WAIT_NS_MIN: u64 = 20_000;

/// What is expected to take the same time again: a kernel or a kind of copy, and its size in
/// powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// A kernel's handle, or the slot of a copying function.
    pub what: usize,
    /// Bits of the number of work items or bytes.
    pub size: u8,
    /// A guess for the first time, nanoseconds; 0 when there is none.
    pub guess_ns: u64,
}

/// What holds at the moment of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Nanoseconds of the monotonic clock.
    pub now_ns: u64,
    /// When the turn ends, if another lease wants the device.
    pub deadline_ns: Option<u64>,
    /// Estimated work that may be in flight.
    pub quantum_ns: u64,
    /// Somebody waits for the work of another lease: one command at a time, or as many short ones
    /// as fit into `quantum_ns` from their beginning to their end.
    pub one: bool,
    /// Whether the command has waited so long for room that it goes anyway: two kernels may be
    /// waiting for each other.
    pub impatient: bool,
    /// Whether it was held back in a turn before this one.
    pub held_back: bool,
    /// Whether it has the right to be the lease's single command: see [`polder_ledger::single`].
    pub single: bool,
    /// Whether a function launches it that the driver called back: while that waits, what is in flight
    /// may be unable to go on.
    pub called_back: bool,
}

impl Moment {
    /// One at which nothing presses.
    #[must_use]
    pub const fn at(now_ns: u64, quantum_ns: u64) -> Self {
        Self {
            now_ns,
            deadline_ns: None,
            quantum_ns,
            one: false,
            impatient: false,
            held_back: false,
            single: false,
            called_back: false,
        }
    }
}

/// Whether a command may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may; this much was added to what is in flight.
    Go {
        /// Nanoseconds.
        estimate_ns: u64,
    },
    /// Enough is in flight; by the estimates there is room in this many nanoseconds. To a function that the
    /// driver called back, which may wait for what it holds up, this is how long to wait before it is
    /// impatient: so it launches no more than the device could do meanwhile.
    Room(u64),
    /// It would end after the turn.
    Turn,
    /// It may if it has the right to be the lease's single command.
    Single {
        /// Because it would end after the turn, and is the one that may.
        long: bool,
    },
}

/// Commands of a batch whose end is heard of as one.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// What they are.
    pub kind: Kind,
    /// How many.
    pub count: u32,
    /// When the first was handed over, nanoseconds of the monotonic clock.
    pub launched_ns: u64,
    /// What each was taken for, nanoseconds.
    pub estimate_ns: u64,
    /// Whether they are still counted as in flight.
    pub counted: bool,
    /// Whether their estimates were taken from the process's own credit.
    pub paid: bool,
}

/// Room taken ahead for commands that will not ask one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Commands.
    pub commands: u32,
    /// Their estimated work, nanoseconds.
    pub estimate_ns: u64,
}

/// What is known when commands have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The longest command seen lately, nanoseconds.
    pub longest_ns: u64,
    /// The device had commands of the process from here, nanoseconds of the monotonic clock...
    pub from_ns: u64,
    /// ...to here, and none of that was told before.
    pub to_ns: u64,
}

impl Done {
    /// What of the process's time with commands in flight is told by this and was not before,
    /// nanoseconds: `others` are the beginnings of what its other devices have in flight, and up to
    /// `counted_ns` all is counted.
    pub fn uncounted_ns(self, others: impl Iterator<Item = u64>, counted_ns: &AtomicU64) -> u64 {
        let from_ns = others.fold(self.from_ns, u64::min);
        let counted_ns = counted_ns.fetch_max(self.to_ns, Ordering::AcqRel);
        self.to_ns.saturating_sub(from_ns.max(counted_ns))
    }
}

/// One device's meter.
#[derive(Debug, Default)]
pub struct Meter {
    flight: Mutex<Flight>,
    room: Condvar,
}

impl Meter {
    /// Whether a command of `kind` may go; if so it is in flight from now on. When there is no room
    /// it waits for it here if `may_wait`, and the caller asks again.
    pub fn admit(&self, moment: Moment, kind: Kind, may_wait: bool) -> Verdict {
        let mut flight = lock(&self.flight);
        let verdict = flight.admit(moment, kind);
        if let (Verdict::Room(ns), true) = (verdict, may_wait) {
            flight.low_ns = low_ns(moment);
            flight.low_commands = flight.commands_max() / 2;
            drop(self.sleep(flight, ns));
        }
        verdict
    }

    /// Waits until nothing is in flight or `ns` have passed. True when nothing is.
    pub fn wait_for_end(&self, ns: u64) -> bool {
        let mut flight = lock(&self.flight);
        if flight.commands > 0 {
            (flight.low_ns, flight.low_commands) = (0, 0);
            flight = self.sleep(flight, ns);
        }
        flight.commands == 0
    }

    fn sleep<'a>(
        &self,
        mut flight: std::sync::MutexGuard<'a, Flight>,
        ns: u64,
    ) -> std::sync::MutexGuard<'a, Flight> {
        flight.waiters += 1;
        let woken = self.room.wait_timeout(flight, Duration::from_nanos(ns));
        let mut flight = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        flight.waiters -= 1;
        flight
    }

    /// Counts a command in, whatever is in flight.
    pub fn launch(&self, now_ns: u64, kind: Kind, quantum_ns: u64) -> u64 {
        let mut flight = lock(&self.flight);
        let estimate_ns = flight.estimate(kind, quantum_ns);
        flight.launch(now_ns, estimate_ns);
        estimate_ns
    }

    /// Counts out a command of whose end nobody will hear: it has the device for as long as it is taken
    /// to, behind those that went the same way.
    pub fn leave_early(&self, now_ns: u64, estimate_ns: u64) {
        let mut flight = lock(&self.flight);
        let from_ns = flight.early_until_ns.max(now_ns);
        let until_ns = from_ns.saturating_add(estimate_ns).min(now_ns.saturating_add(EARLY_NS_MAX));
        flight.early_until_ns = until_ns.max(flight.early_until_ns);
        flight.withdraw(estimate_ns);
        self.tell(&flight, now_ns);
    }

    /// Counts out a command that was not launched after all.
    pub fn cancel(&self, estimate_ns: u64) {
        let mut flight = lock(&self.flight);
        flight.withdraw(estimate_ns);
        self.tell(&flight, 0);
    }

    /// Counts a command out that has not begun and cannot, until [`Meter::resume`]; it goes on to take room.
    pub fn pause(&self, estimate_ns: u64) {
        let mut flight = lock(&self.flight);
        flight.pause(estimate_ns);
        self.tell(&flight, 0);
    }

    /// Counts a command in again that was paused: it had not begun at `from_ns`.
    pub fn resume(&self, from_ns: u64, estimate_ns: u64) {
        lock(&self.flight).resume(from_ns, estimate_ns);
    }

    /// What is in flight stood still until now, and learns no length from that.
    pub fn go_on(&self, now_ns: u64) {
        lock(&self.flight).go_on(now_ns);
    }

    /// Takes room ahead for commands of which each will be told as a [`Member`], or given back.
    #[must_use]
    pub fn take(&self, now_ns: u64, quantum_ns: u64, most: Room) -> Room {
        lock(&self.flight).take(now_ns, quantum_ns, most)
    }

    /// Gives back room that was taken and not used.
    pub fn give_back(&self, room: Room) {
        let mut flight = lock(&self.flight);
        flight.give_back(room);
        self.tell(&flight, 0);
    }

    /// What commands of known `kinds` are taken for, nanoseconds.
    pub fn estimates(&self, kinds: impl Iterator<Item = Kind>, mut tell: impl FnMut(Kind, u64)) {
        let flight = lock(&self.flight);
        for kind in kinds {
            if let Some(length_ns) = flight.lengths.get(&Kind { guess_ns: 0, ..kind }) {
                tell(kind, *length_ns);
            }
        }
    }

    /// Since when the device has had commands without a break that are not told, if it has any.
    pub fn busy_since(&self) -> Option<u64> {
        let flight = lock(&self.flight);
        (flight.commands > 0).then_some(flight.untold_ns)
    }

    /// Counts a completed command out and learns its length.
    pub fn complete(
        &self,
        now_ns: u64,
        launched_ns: u64,
        estimate_ns: u64,
        kind: Kind,
        paid: bool,
    ) -> Done {
        let mut flight = lock(&self.flight);
        let from_ns = flight.tell_busy(now_ns, launched_ns);
        let length = flight.complete(now_ns, launched_ns, estimate_ns, kind);
        if paid {
            let signed = |ns| i64::try_from(ns).unwrap_or(i64::MAX);
            let change = signed(estimate_ns).saturating_sub(signed(length));
            flight.credit_ns = flight.credit_ns.saturating_add(change);
        }
        self.tell(&flight, now_ns);
        Done { longest_ns: flight.longest_ns, from_ns, to_ns: now_ns }
    }

    /// Counts out commands that are known to be over now, and learns their lengths.
    pub fn complete_together(&self, now_ns: u64, members: &[Member]) -> Done {
        let mut flight = lock(&self.flight);
        let from_ns = flight.tell_busy(now_ns, first_launch(now_ns, members));
        flight.count_out(now_ns, members);
        let lengths = flight.learn_together(End::heard(now_ns), members);
        flight.settle(members, &lengths);
        self.tell(&flight, now_ns);
        Done { longest_ns: flight.longest_ns, from_ns, to_ns: now_ns }
    }

    /// Counts out commands of whose end is heard now. They ended earlier: when is told later, with
    /// [`Meter::learn_late`].
    pub fn heard_together(&self, now_ns: u64, members: &[Member]) -> Done {
        let mut flight = lock(&self.flight);
        let from_ns = flight.tell_busy(now_ns, first_launch(now_ns, members));
        flight.count_out(now_ns, members);
        self.tell(&flight, now_ns);
        Done { longest_ns: flight.longest_ns, from_ns, to_ns: now_ns }
    }

    /// Learns from commands that were counted out at `heard_ns`, from how they had ended. Returns the
    /// longest command seen lately.
    pub fn learn_late(&self, end: End, heard_ns: u64, members: &[Member]) -> u64 {
        let ended_ns = end.at_ns;
        let mut flight = lock(&self.flight);
        let before_ns = flight.ended_ns;
        let lengths = flight.learn_together(end, members);
        flight.settle(members, &lengths);
        let first_ns = members.iter().map(|member| member.launched_ns).min().unwrap_or(ended_ns);
        // The next was with the device while this one was not heard of, and is not heard of either.
        let late_ns = heard_ns.saturating_sub(before_ns.max(first_ns));
        let unheard_ns = late_ns.min(UNHEARD_NS_MAX);
        flight.unheard_ns = unheard_ns.max(flight.unheard_ns - flight.unheard_ns / 16);
        if flight.since_ns == heard_ns {
            flight.since_ns = flight.since_ns.min(ended_ns);
        }
        flight.longest_ns
    }

    fn tell(&self, flight: &Flight, now_ns: u64) {
        if flight.waiters > 0 && (flight.commands == 0 || flight.left_ns(now_ns) <= flight.low_ns) {
            self.room.notify_all();
        }
    }

    /// Whether a process without an arbiter may launch: it earns `share` thousandths of the time
    /// and pays with what its commands take. Returns the estimate paid, or how long to wait.
    pub fn pay(&self, moment: Moment, kind: Kind, share: u64) -> Result<u64, Duration> {
        let mut flight = lock(&self.flight);
        flight.earn(moment.now_ns, share);
        if flight.credit_ns < 0 {
            let debt = flight.credit_ns.unsigned_abs().saturating_mul(1000) / share.max(1);
            return Err(Duration::from_nanos(debt.max(WAIT_NS_MIN)));
        }
        match flight.admit(Moment { deadline_ns: None, single: true, ..moment }, kind) {
            Verdict::Go { estimate_ns } => {
                let paid = i64::try_from(estimate_ns).unwrap_or(i64::MAX);
                flight.credit_ns = flight.credit_ns.saturating_sub(paid);
                Ok(estimate_ns)
            }
            Verdict::Room(ns) => Err(Duration::from_nanos(ns)),
            Verdict::Turn | Verdict::Single { .. } => Err(Duration::from_nanos(WAIT_NS_MIN)),
        }
    }
}

#[cfg(test)]
mod tests;
