//! How much work of this process is in flight on one device, in estimated nanoseconds, and whether
//! another command may follow.
//!
//! A command's length is learned from the moments at which commands complete: on a device that
//! works through its queues, one command's work lies between the completion before it and its own.

use crate::ends::End;
use crate::locks::lock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Most commands of a process in flight on a device, however short they seem.
const INFLIGHT_MAX: u32 = 1024;
/// So many may be in flight whatever has completed lately, and beyond them twice as many as have: a
/// kernel that takes a thousand times as long as last time must not be in flight a thousand times.
const INFLIGHT_FREE: u32 = 32;
/// What counts as lately.
const LATELY_NS: u64 = 20_000_000;
/// Longest sleep when it is the number of commands that leaves no room.
const CROWD_WAIT_NS: u64 = 1_000_000;
/// Most kinds of command whose length is remembered; beyond it learning starts anew.
const KINDS_MAX: usize = 4096;
/// A new sample counts for one part in this many.
const LENGTH_PARTS: u64 = 4;
/// As good as all: a length blended in so often is what is believed.
const BLENDS_MAX: u32 = 16;
/// Of the room that is left, one part in so many may be taken ahead: other threads want some too.
const AHEAD_PARTS: u32 = 4;
/// Most work that is remembered after it was counted out before its end.
const EARLY_NS_MAX: u64 = 10_000_000;
/// Most work in flight that is taken to be over though nobody has heard of it.
const UNHEARD_NS_MAX: u64 = 10_000_000;
/// A command never seen is taken for this part of a quantum, so that few of its kind go out before
/// the first has told its length.
const UNKNOWN_PARTS: u64 = 4;
/// What a process that keeps to its share by itself may have saved up.
const CREDIT_NS_MAX: i64 = 20_000_000;
/// Whoever waits for room hears when so many quarters of a quantum are left: early enough that the
/// device does not run dry while a busy machine wakes the thread, late enough that it is not woken
/// for every command.
const LOW_QUARTERS: u64 = 3;
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
    /// Enough is in flight; by the estimates there is room in this many nanoseconds.
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

#[derive(Debug, Default)]
struct Flight {
    commands: u32,
    estimate_ns: u64,
    /// Up to here the time with commands in flight is told as [`Done`]: while there are any, all since is
    /// not.
    untold_ns: u64,
    /// Since when the oldest command has the device.
    since_ns: u64,
    /// When the last end that was learned from was.
    ended_ns: u64,
    /// Until when work that was counted out before its end is expected to have the device.
    early_until_ns: u64,
    /// Where ends are heard of late: how much of what is in flight may be over already.
    unheard_ns: u64,
    /// The deadline under which the last command was launched: a turn is known by it.
    turn_ns: u64,
    waiters: u32,
    /// Waiters want to hear when no more than this is left...
    low_ns: u64,
    /// ...and no more commands than these.
    low_commands: u32,
    /// Commands completed in this stretch of [`LATELY_NS`] and in the one before.
    lately: [u32; 2],
    lately_since_ns: u64,
    lengths: BTreeMap<Kind, u64>,
    mean_ns: u64,
    longest_ns: u64,
    /// For a process without an arbiter: device time it may still use.
    credit_ns: i64,
    credited_ns: u64,
}

/// When the first of them was handed over, nanoseconds; `now_ns` of none.
fn first_launch(now_ns: u64, members: &[Member]) -> u64 {
    members.iter().map(|member| member.launched_ns).min().unwrap_or(now_ns)
}

fn low_ns(moment: Moment) -> u64 {
    moment.quantum_ns / 4 * LOW_QUARTERS
}

impl Flight {
    fn estimate(&self, kind: Kind, quantum_ns: u64) -> u64 {
        let key = Kind { guess_ns: 0, ..kind };
        if let Some(length) = self.lengths.get(&key) {
            return *length;
        }
        match kind.guess_ns {
            0 => self.mean_ns.max(quantum_ns / UNKNOWN_PARTS),
            guess => guess,
        }
    }

    /// Estimated work left, with the time taken off that the oldest command has had so far, and those
    /// that may be over without having been heard of.
    fn left_ns(&self, now_ns: u64) -> u64 {
        if self.commands == 0 {
            return 0;
        }
        let oldest = self.estimate_ns / u64::from(self.commands);
        let most = oldest.saturating_add(self.unheard_ns).min(self.estimate_ns);
        self.estimate_ns - now_ns.saturating_sub(self.since_ns).min(most)
    }

    fn admit(&mut self, moment: Moment, kind: Kind) -> Verdict {
        let estimate_ns = self.estimate(kind, moment.quantum_ns);
        let left = self.left_ns(moment.now_ns);
        let mut long = false;
        if let Some(deadline_ns) = moment.deadline_ns {
            let from = moment.now_ns.max(self.early_until_ns);
            let end = from.saturating_add(left).saturating_add(estimate_ns);
            let first = self.commands == 0 && self.turn_ns != deadline_ns;
            long = end > deadline_ns;
            if long && !(moment.now_ns < deadline_ns && (first || moment.held_back)) {
                return Verdict::Turn;
            }
        }
        // A command that is overdue is still there, whatever the estimates say is left of it.
        let crowded = moment.one
            && !moment.impatient
            && self.estimate_ns.saturating_add(estimate_ns) > moment.quantum_ns;
        if self.commands > 0 && !moment.impatient {
            if left >= moment.quantum_ns || crowded {
                let over = left.saturating_sub(low_ns(moment));
                return Verdict::Room(over.max(WAIT_NS_MIN));
            } else if self.commands >= self.commands_max() {
                return Verdict::Room(CROWD_WAIT_NS);
            }
        }
        if (long || crowded) && !moment.single {
            return Verdict::Single { long };
        }
        self.turn_ns = moment.deadline_ns.unwrap_or(self.turn_ns);
        self.launch(moment.now_ns, estimate_ns);
        Verdict::Go { estimate_ns }
    }

    /// Most commands that may be in flight now.
    fn commands_max(&self) -> u32 {
        let lately = self.lately[0].saturating_add(self.lately[1]);
        lately.saturating_mul(2).saturating_add(INFLIGHT_FREE).min(INFLIGHT_MAX)
    }

    fn count_lately(&mut self, now_ns: u64, count: u32) {
        let passed = now_ns.saturating_sub(self.lately_since_ns);
        if passed >= LATELY_NS {
            let before = if passed < 2 * LATELY_NS { self.lately[0] } else { 0 };
            self.lately = [0, before];
            self.lately_since_ns = now_ns;
        }
        self.lately[0] = self.lately[0].saturating_add(count);
    }

    fn launch(&mut self, now_ns: u64, estimate_ns: u64) {
        if self.commands == 0 {
            self.untold_ns = self.untold_ns.max(now_ns);
            self.since_ns = now_ns;
        }
        self.commands += 1;
        self.estimate_ns += estimate_ns;
    }

    fn withdraw(&mut self, estimate_ns: u64) {
        self.give_back(Room { commands: 1, estimate_ns });
    }

    /// A part of the room that is left, and at most `most`.
    fn take(&mut self, now_ns: u64, quantum_ns: u64, most: Room) -> Room {
        let commands = self.commands_max().saturating_sub(self.commands) / AHEAD_PARTS;
        let left_ns = quantum_ns.saturating_sub(self.left_ns(now_ns)) / u64::from(AHEAD_PARTS);
        let room = Room {
            commands: commands.min(most.commands),
            estimate_ns: left_ns.min(most.estimate_ns),
        };
        if room.commands == 0 || room.estimate_ns == 0 {
            return Room::default();
        }
        if self.commands == 0 {
            self.untold_ns = self.untold_ns.max(now_ns);
        }
        self.commands += room.commands;
        self.estimate_ns += room.estimate_ns;
        room
    }

    fn give_back(&mut self, room: Room) {
        self.commands = self.commands.saturating_sub(room.commands);
        self.estimate_ns = match self.commands {
            0 => 0,
            _ => self.estimate_ns.saturating_sub(room.estimate_ns),
        };
    }

    fn complete(&mut self, now_ns: u64, launched_ns: u64, estimate_ns: u64, kind: Kind) -> u64 {
        let length = now_ns.saturating_sub(self.since_ns.max(launched_ns)).max(1);
        self.withdraw(estimate_ns);
        (self.since_ns, self.ended_ns) = (now_ns, now_ns);
        self.count_lately(now_ns, 1);
        self.learn(kind, length, 1);
        length
    }

    /// From when on nothing was told of the time that commands had the device, of which the first was
    /// `launched_ns`; all up to `now_ns` is told by this. Before they are counted out.
    fn tell_busy(&mut self, now_ns: u64, launched_ns: u64) -> u64 {
        let launched_ns = if self.commands > 0 { 0 } else { launched_ns };
        let from_ns = self.untold_ns.max(launched_ns);
        self.untold_ns = self.untold_ns.max(now_ns);
        from_ns
    }

    /// Remembers how long each of `count` commands of `kind` took.
    fn learn(&mut self, kind: Kind, length: u64, count: u32) {
        // Longer is believed sooner than shorter: too much in flight is the worse mistake.
        let blend = |mut old: u64| {
            for _ in 0..count.min(BLENDS_MAX) {
                let parts = if length > old { LENGTH_PARTS / 2 } else { LENGTH_PARTS };
                old = old - old / parts + length / parts;
            }
            old
        };
        if self.lengths.len() >= KINDS_MAX {
            self.lengths.clear();
        }
        let key = Kind { guess_ns: 0, ..kind };
        self.lengths.entry(key).and_modify(|old| *old = blend(*old)).or_insert(length);
        self.mean_ns = if self.mean_ns == 0 { length } else { blend(self.mean_ns) };
        self.longest_ns = length.max(self.longest_ns - self.longest_ns / 64);
    }

    /// Counts out commands that were over at `now_ns`, as far as they still count.
    fn count_out(&mut self, now_ns: u64, members: &[Member]) {
        for member in members.iter().filter(|member| member.counted) {
            let estimate_ns = member.estimate_ns.saturating_mul(member.count.into());
            self.give_back(Room { commands: member.count, estimate_ns });
            self.count_lately(now_ns, member.count);
        }
        self.since_ns = now_ns;
    }

    /// Learns from commands that ended together: the time since the end before them is theirs in the
    /// proportion of their estimates. Returns each one's length.
    fn learn_together(&mut self, end: End, members: &[Member]) -> Vec<u64> {
        let ended_ns = end.at_ns;
        let first = members.iter().map(|member| member.launched_ns).min().unwrap_or(ended_ns);
        let passed_ns = ended_ns.saturating_sub(self.ended_ns.max(first));
        let total = u128::from(passed_ns.min(end.within_ns).max(1));
        let weight = |member: &Member| u128::from(member.estimate_ns.max(1));
        let weights: u128 =
            members.iter().map(|member| weight(member) * u128::from(member.count)).sum();
        let mut lengths = Vec::with_capacity(members.len());
        for member in members {
            let length = u64::try_from(total * weight(member) / weights.max(1)).unwrap_or(u64::MAX);
            self.learn(member.kind, length.max(1), member.count);
            lengths.push(length.max(1));
        }
        self.ended_ns = self.ended_ns.max(ended_ns);
        lengths
    }

    /// What a process without an arbiter paid too much or too little.
    fn settle(&mut self, members: &[Member], lengths: &[u64]) {
        let signed = |ns| i64::try_from(ns).unwrap_or(i64::MAX);
        for (member, length) in members.iter().zip(lengths).filter(|(member, _)| member.paid) {
            let all = |ns: u64| signed(ns.saturating_mul(member.count.into()));
            let change = all(member.estimate_ns).saturating_sub(all(*length));
            self.credit_ns = self.credit_ns.saturating_add(change);
        }
    }

    /// Device time earned since the last look, at `share` thousandths.
    fn earn(&mut self, now_ns: u64, share: u64) {
        let earned = now_ns.saturating_sub(self.credited_ns).min(u64::MAX / 1000) * share / 1000;
        let earned = i64::try_from(earned).unwrap_or(CREDIT_NS_MAX);
        self.credit_ns = self.credit_ns.saturating_add(earned).min(CREDIT_NS_MAX);
        self.credited_ns = now_ns;
    }
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
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const KERNEL: Kind = Kind { what: 1, size: 10, guess_ns: 0 };

    fn alone(now_ns: u64) -> Moment {
        Moment { single: true, ..Moment::at(now_ns, 4 * MS) }
    }

    fn turn(now_ns: u64, deadline_ns: u64) -> Moment {
        Moment { deadline_ns: Some(deadline_ns), ..alone(now_ns) }
    }

    /// A flight that knows kernels of `length_ns`, of which many have just completed.
    fn taught(length_ns: u64) -> Flight {
        let mut flight = Flight::default();
        flight.launch(0, 0);
        flight.complete(length_ns, 0, 0, KERNEL);
        Flight { lately: [INFLIGHT_MAX, 0], lately_since_ns: length_ns, ..flight }
    }

    fn launched(flight: &mut Flight, moment: Moment) -> usize {
        (0..100_000)
            .take_while(|_| matches!(flight.admit(moment, KERNEL), Verdict::Go { .. }))
            .count()
    }

    #[test]
    fn a_quantum_is_in_flight_and_no_more() {
        assert_eq!(launched(&mut taught(MS / 10), alone(MS)), 40);
        assert_eq!(launched(&mut taught(30 * MS), alone(100 * MS)), 1);
        assert_eq!(launched(&mut taught(1), alone(MS)), INFLIGHT_MAX as usize);
    }

    #[test]
    fn beside_a_lease_that_is_waited_for_one_command_is_in_flight_or_a_few_short_ones() {
        let beside = |now_ns| Moment { quantum_ns: MS / 5, one: true, ..alone(now_ns) };
        let mut long = taught(10 * MS);
        assert_eq!(launched(&mut long, beside(20 * MS)), 1);
        assert_eq!(launched(&mut long, beside(40 * MS)), 0, "it is overdue and not over");
        long.complete(41 * MS, 20 * MS, 10 * MS, KERNEL);
        assert_eq!(launched(&mut long, beside(41 * MS)), 1);
        assert_eq!(launched(&mut taught(MS / 20), beside(MS)), 4);
        assert_eq!(launched(&mut Flight::default(), beside(MS)), 4, "of an unknown kernel a few");
    }

    #[test]
    fn of_an_unknown_kernel_only_a_few_go_before_the_first_is_known() {
        assert_eq!(launched(&mut Flight::default(), alone(MS)), 4);
    }

    #[test]
    fn more_may_be_in_flight_the_more_has_completed_lately() {
        let mut flight = Flight { lately: [0; 2], ..taught(1) };
        assert_eq!(launched(&mut flight, alone(MS)), INFLIGHT_FREE as usize);
        for _ in 0..10 {
            flight.complete(2 * MS, MS, 1, KERNEL);
        }
        assert_eq!(flight.commands_max(), INFLIGHT_FREE + 20);
        flight.complete(2 * MS + LATELY_NS, MS, 1, KERNEL);
        assert_eq!(flight.commands_max(), INFLIGHT_FREE + 22);
        flight.complete(5 * LATELY_NS, MS, 1, KERNEL);
        assert_eq!(flight.commands_max(), INFLIGHT_FREE + 2);
    }

    #[test]
    fn what_the_oldest_has_done_makes_room() {
        let mut flight = taught(6 * MS);
        assert_eq!(launched(&mut flight, alone(10 * MS)), 1);
        assert_eq!(launched(&mut flight, alone(12 * MS)), 0);
        assert_eq!(launched(&mut flight, alone(12 * MS + 1)), 1);
    }

    #[test]
    fn an_impatient_command_goes_whatever_is_in_flight() {
        let mut flight = taught(30 * MS);
        assert_eq!(launched(&mut flight, alone(100 * MS)), 1);
        let moment = Moment { impatient: true, ..alone(100 * MS) };
        assert!(matches!(flight.admit(moment, KERNEL), Verdict::Go { .. }));
    }

    #[test]
    fn a_turn_takes_what_ends_by_its_deadline() {
        let mut flight = taught(MS);
        assert_eq!(launched(&mut flight, turn(10 * MS, 13 * MS)), 3);
        assert_eq!(flight.admit(turn(10 * MS, 13 * MS), KERNEL), Verdict::Turn);
    }

    #[test]
    fn one_command_goes_in_each_turn_that_is_not_over() {
        let mut flight = taught(30 * MS);
        assert_eq!(launched(&mut flight, turn(100 * MS, 104 * MS)), 1);
        flight.complete(101 * MS, 100 * MS, 30 * MS, KERNEL);
        assert_eq!(launched(&mut flight, turn(101 * MS, 104 * MS)), 0);
        assert_eq!(launched(&mut flight, turn(110 * MS, 110 * MS)), 0);
        assert_eq!(launched(&mut flight, turn(110 * MS, 114 * MS)), 1);
    }

    #[test]
    fn lengths_are_learned_between_completions() {
        let mut flight = Flight::default();
        for _ in 0..3 {
            flight.launch(0, 0);
        }
        assert_eq!(flight.complete(2 * MS, 0, 0, KERNEL), 2 * MS);
        assert_eq!(flight.complete(4 * MS, 0, 0, KERNEL), 2 * MS);
        assert_eq!(flight.estimate(KERNEL, MS), 2 * MS);
        assert_eq!(flight.complete(10 * MS, 0, 0, KERNEL), 6 * MS);
        assert_eq!((flight.estimate(KERNEL, MS), flight.left_ns(20 * MS)), (4 * MS, 0));
    }

    fn told(done: Done) -> (u64, u64) {
        (done.from_ns, done.to_ns)
    }

    #[test]
    fn each_moment_with_commands_in_flight_is_told_once() {
        let meter = Meter::default();
        let launch = |now_ns| meter.launch(now_ns, KERNEL, MS);
        let complete = |now_ns, launched_ns| meter.complete(now_ns, launched_ns, 0, KERNEL, false);
        launch(10);
        launch(15);
        assert_eq!(meter.busy_since(), Some(10));
        assert_eq!(told(complete(16, 15)), (10, 16), "whichever of them ends first");
        assert_eq!(told(complete(20, 10)), (16, 20));
        assert_eq!(meter.busy_since(), None);
        launch(30);
        assert_eq!(told(complete(34, 30)), (30, 34), "and none without");
        // Two threads hear of ends in another order than they happened.
        launch(40);
        launch(40);
        assert_eq!(told(complete(46, 40)), (40, 46));
        let late = told(complete(45, 40));
        assert_eq!(late.1.saturating_sub(late.0), 0);
        launch(50);
        assert_eq!(told(complete(51, 50)), (50, 51));
        // Those that were counted out at once, and are heard of together.
        let dust = Member {
            kind: KERNEL,
            count: 3,
            launched_ns: 60,
            estimate_ns: 1,
            counted: false,
            paid: false,
        };
        assert_eq!(told(meter.complete_together(69, &[dust])), (60, 69));
    }

    #[test]
    fn a_moment_in_which_two_devices_have_commands_is_counted_once() {
        let counted = AtomicU64::new(0);
        let done = |from_ns, to_ns| Done { longest_ns: 1, from_ns, to_ns };
        // A short command on one within a long one on the other, then one after it.
        assert_eq!(done(15, 16).uncounted_ns([10].into_iter(), &counted), 6);
        assert_eq!(done(10, 20).uncounted_ns([].into_iter(), &counted), 4);
        assert_eq!(done(22, 25).uncounted_ns([].into_iter(), &counted), 3);
        // Both at once.
        assert_eq!(done(30, 39).uncounted_ns([31].into_iter(), &counted), 9);
        assert_eq!(done(31, 40).uncounted_ns([].into_iter(), &counted), 1);
    }

    #[test]
    fn a_batch_shares_its_time_in_the_proportion_of_what_was_expected() {
        let other = Kind { what: 2, ..KERNEL };
        let mut flight = Flight::default();
        flight.launch(0, MS);
        flight.launch(0, 3 * MS);
        let member = |kind, estimate_ns, counted| Member {
            kind,
            count: 1,
            launched_ns: 0,
            estimate_ns,
            counted,
            paid: false,
        };
        let batch =
            [member(KERNEL, MS, true), member(other, 3 * MS, true), member(KERNEL, MS, false)];
        flight.count_out(10 * MS, &batch);
        assert_eq!(flight.learn_together(End::heard(10 * MS), &batch), [2 * MS, 6 * MS, 2 * MS]);
        assert_eq!((flight.commands, flight.estimate_ns), (0, 0));
        assert_eq!((flight.estimate(KERNEL, MS), flight.estimate(other, MS)), (2 * MS, 6 * MS));
    }

    #[test]
    fn commands_told_together_count_as_many() {
        let mut flight = taught(MS / 10);
        let most = Room { commands: 8, estimate_ns: MS };
        assert_eq!(flight.take(MS, 4 * MS, most), most);
        let of = |count, kind, estimate_ns| Member {
            kind,
            count,
            launched_ns: MS,
            estimate_ns,
            counted: true,
            paid: false,
        };
        let other = Kind { what: 2, ..KERNEL };
        let batch = [of(6, KERNEL, MS / 10), of(2, other, MS / 5)];
        flight.count_out(3 * MS, &batch);
        assert_eq!(flight.learn_together(End::heard(3 * MS), &batch), [MS / 5, 2 * MS / 5]);
        assert_eq!((flight.commands, flight.estimate_ns), (0, 0));
        assert_eq!(flight.lately[0], INFLIGHT_MAX + 8);
    }

    #[test]
    fn ahead_a_part_of_the_room_is_taken_and_given_back() {
        let mut flight = Flight { lately: [0; 2], ..taught(MS / 10) };
        let most = Room { commands: 100, estimate_ns: 100 * MS };
        let room = flight.take(MS, 4 * MS, most);
        assert_eq!(room, Room { commands: INFLIGHT_FREE / AHEAD_PARTS, estimate_ns: MS });
        flight.give_back(room);
        assert_eq!((flight.commands, flight.estimate_ns), (0, 0));
        while !matches!(flight.admit(alone(MS), KERNEL), Verdict::Room(_)) {}
        assert_eq!(flight.take(MS, 4 * MS, most), Room::default(), "none is left");
    }

    #[test]
    fn what_was_counted_out_before_its_end_still_fills_the_turn() {
        let meter = Meter::default();
        let taught = meter.launch(0, KERNEL, 4 * MS);
        meter.complete(MS, 0, taught, KERNEL, false);
        let go = Verdict::Go { estimate_ns: MS };
        for _ in 0..2 {
            assert_eq!(meter.admit(turn(10 * MS, 12 * MS), KERNEL, false), go);
            meter.leave_early(10 * MS, MS);
        }
        assert_eq!(meter.admit(turn(10 * MS, 12 * MS), KERNEL, false), Verdict::Turn);
        assert_eq!(meter.admit(turn(10 * MS, 13 * MS), KERNEL, false), go);
        assert_eq!(meter.admit(turn(10 * MS, 13 * MS), KERNEL, false), Verdict::Turn);
    }

    #[test]
    fn an_end_heard_of_late_is_learned_as_it_was_and_late_ones_leave_room() {
        let meter = Meter::default();
        let member = |launched_ns| Member {
            kind: KERNEL,
            count: 1,
            launched_ns,
            estimate_ns: MS,
            counted: true,
            paid: false,
        };
        for end in 1..=8 {
            meter.launch((end - 1) * MS, KERNEL, 4 * MS);
            // Each took one millisecond and is heard of three later.
            meter.heard_together((end + 3) * MS, &[member((end - 1) * MS)]);
            let members = [member((end - 1) * MS)];
            assert_eq!(meter.learn_late(End::heard(end * MS), (end + 3) * MS, &members), MS);
        }
        let flight = lock(&meter.flight);
        assert_eq!((flight.estimate(KERNEL, 4 * MS), flight.unheard_ns), (MS, 4 * MS));
        drop(flight);
        // Two of those in flight may be over by now.
        let busy: Vec<_> = (0..4).map(|_| meter.admit(alone(20 * MS), KERNEL, false)).collect();
        assert!(busy.iter().all(|verdict| matches!(verdict, Verdict::Go { .. })), "{busy:?}");
        assert!(matches!(meter.admit(alone(20 * MS), KERNEL, false), Verdict::Room(_)));
        assert!(matches!(meter.admit(alone(22 * MS), KERNEL, false), Verdict::Go { .. }));
        assert!(matches!(meter.admit(alone(22 * MS), KERNEL, false), Verdict::Go { .. }));
        assert!(matches!(meter.admit(alone(22 * MS), KERNEL, false), Verdict::Room(_)));
    }

    #[test]
    fn without_an_arbiter_a_process_keeps_its_share() {
        let meter = Meter::default();
        let (mut now, mut used) = (0, 0);
        while now < 1000 * MS {
            match meter.pay(alone(now), KERNEL, 300) {
                Ok(estimate) => {
                    now += 3 * MS;
                    used += 3 * MS;
                    meter.complete(now, now - 3 * MS, estimate, KERNEL, true);
                }
                Err(wait) => now += u64::try_from(wait.as_nanos()).unwrap(),
            }
        }
        assert!((280 * MS..330 * MS).contains(&used), "{used}");
    }
}
