//! What one device has in flight: how much, since when, and what is known of its lengths. Pure; whoever
//! holds it holds the meter's lock.

use super::{Kind, Member, Moment, Room, Verdict, WAIT_NS_MIN};
use crate::ends::End;
use std::collections::BTreeMap;

/// Most commands of a process in flight on a device, however short they seem.
pub(super) const INFLIGHT_MAX: u32 = 1024;
/// So many may be in flight whatever has completed lately, and beyond them twice as many as have: a
/// kernel that takes a thousand times as long as last time must not be in flight a thousand times.
pub(super) const INFLIGHT_FREE: u32 = 32;
/// What counts as lately.
pub(super) const LATELY_NS: u64 = 20_000_000;
/// Longest sleep when it is the number of commands that leaves no room.
const CROWD_WAIT_NS: u64 = 1_000_000;
/// Most kinds of command whose length is remembered; beyond it learning starts anew.
const KINDS_MAX: usize = 4096;
/// A new sample counts for one part in this many.
const LENGTH_PARTS: u64 = 4;
/// As good as all: a length blended in so often is what is believed.
const BLENDS_MAX: u32 = 16;
/// Of the room that is left, one part in so many may be taken ahead: other threads want some too.
pub(super) const AHEAD_PARTS: u32 = 4;
/// A command never seen is taken for this part of a quantum, so that few of its kind go out before
/// the first has told its length.
const UNKNOWN_PARTS: u64 = 4;
/// What a process that keeps to its share by itself may have saved up.
const CREDIT_NS_MAX: i64 = 20_000_000;
/// Whoever waits for room hears when so many quarters of a quantum are left: early enough that the
/// device does not run dry while a busy machine wakes the thread, late enough that it is not woken
/// for every command.
const LOW_QUARTERS: u64 = 3;

/// Functions that the driver calls back may have so many quanta of work in flight...
const CALLED_BACK_QUANTA: u64 = 8;
/// ...or so many commands, before they wait for room: what they launch often follows what has just
/// ended, and what is in flight may be unable to end while they wait.
const CALLED_BACK_COMMANDS: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) commands: u32,
    pub(super) estimate_ns: u64,
    /// Commands that were counted out until they can begin, and their estimates.
    pub(super) paused: Room,
    /// Up to here the time with commands in flight is told as [`super::Done`]: while there are any, all since is
    /// not.
    pub(super) untold_ns: u64,
    /// Since when the oldest command has the device.
    pub(super) since_ns: u64,
    /// When the last end that was learned from was.
    pub(super) ended_ns: u64,
    /// Until when work that was counted out before its end is expected to have the device.
    pub(super) early_until_ns: u64,
    /// Where ends are heard of late: how much of what is in flight may be over already.
    pub(super) unheard_ns: u64,
    /// The deadline under which the last command was launched: a turn is known by it.
    pub(super) turn_ns: u64,
    pub(super) waiters: u32,
    /// Waiters want to hear when no more than this is left...
    pub(super) low_ns: u64,
    /// ...and no more commands than these.
    pub(super) low_commands: u32,
    /// Commands completed in this stretch of [`LATELY_NS`] and in the one before.
    pub(super) lately: [u32; 2],
    pub(super) lately_since_ns: u64,
    pub(super) lengths: BTreeMap<Kind, u64>,
    pub(super) mean_ns: u64,
    pub(super) longest_ns: u64,
    /// For a process without an arbiter: device time it may still use.
    pub(super) credit_ns: i64,
    pub(super) credited_ns: u64,
}

/// When the first of them was handed over, nanoseconds; `now_ns` of none.
pub(super) fn first_launch(now_ns: u64, members: &[Member]) -> u64 {
    members.iter().map(|member| member.launched_ns).min().unwrap_or(now_ns)
}

pub(super) fn low_ns(moment: Moment) -> u64 {
    moment.quantum_ns / 4 * LOW_QUARTERS
}

impl Flight {
    pub(super) fn estimate(&self, kind: Kind, quantum_ns: u64) -> u64 {
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
    pub(super) fn left_ns(&self, now_ns: u64) -> u64 {
        if self.commands == 0 {
            return 0;
        }
        let oldest = self.estimate_ns / u64::from(self.commands);
        let most = oldest.saturating_add(self.unheard_ns).min(self.estimate_ns);
        self.estimate_ns - now_ns.saturating_sub(self.since_ns).min(most)
    }

    /// A function that the driver called back has waited, and what is in flight may have stood still: from
    /// that no length is learned.
    pub(super) fn go_on(&mut self, now_ns: u64) {
        self.since_ns = self.since_ns.max(now_ns);
    }

    /// Whether a function that the driver called back finds room, given what is left of the work in flight.
    fn has_room_called_back(&self, moment: Moment, left_ns: u64) -> bool {
        let commands = self.commands.saturating_add(self.paused.commands);
        let most_ns = moment.quantum_ns.saturating_mul(CALLED_BACK_QUANTA);
        let left_ns = left_ns.saturating_add(self.paused.estimate_ns);
        moment.impatient
            || commands < CALLED_BACK_COMMANDS
            || left_ns < most_ns && commands < self.commands_max()
    }

    pub(super) fn admit(&mut self, moment: Moment, kind: Kind) -> Verdict {
        let estimate_ns = self.estimate(kind, moment.quantum_ns);
        let left = self.left_ns(moment.now_ns);
        let mut long = false;
        if let Some(deadline_ns) = moment.deadline_ns {
            let from = moment.now_ns.max(self.early_until_ns);
            // What is in flight may be waiting for this one to go.
            let before = if moment.called_back { 0 } else { left };
            let end = from.saturating_add(before).saturating_add(estimate_ns);
            let first = self.commands == 0 && self.turn_ns != deadline_ns;
            long = end > deadline_ns;
            if long && !(moment.now_ns < deadline_ns && (first || moment.held_back)) {
                return Verdict::Turn;
            }
        }
        // A command that is overdue is still there, whatever the estimates say is left of it.
        let crowded = moment.one
            && !moment.impatient
            && !moment.called_back
            && self.estimate_ns.saturating_add(estimate_ns) > moment.quantum_ns;
        if moment.called_back {
            if !self.has_room_called_back(moment, left) {
                return Verdict::Room(estimate_ns);
            }
        } else if self.commands > 0 && !moment.impatient {
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
    pub(super) fn commands_max(&self) -> u32 {
        let lately = self.lately[0].saturating_add(self.lately[1]);
        lately.saturating_mul(2).saturating_add(INFLIGHT_FREE).min(INFLIGHT_MAX)
    }

    pub(super) fn count_lately(&mut self, now_ns: u64, count: u32) {
        let passed = now_ns.saturating_sub(self.lately_since_ns);
        if passed >= LATELY_NS {
            let before = if passed < 2 * LATELY_NS { self.lately[0] } else { 0 };
            self.lately = [0, before];
            self.lately_since_ns = now_ns;
        }
        self.lately[0] = self.lately[0].saturating_add(count);
    }

    pub(super) fn launch(&mut self, now_ns: u64, estimate_ns: u64) {
        if self.commands == 0 {
            self.untold_ns = self.untold_ns.max(now_ns);
            self.since_ns = now_ns;
        }
        self.commands += 1;
        self.estimate_ns += estimate_ns;
    }

    pub(super) fn pause(&mut self, estimate_ns: u64) {
        self.withdraw(estimate_ns);
        self.paused.commands = self.paused.commands.saturating_add(1);
        self.paused.estimate_ns = self.paused.estimate_ns.saturating_add(estimate_ns);
    }

    pub(super) fn resume(&mut self, from_ns: u64, estimate_ns: u64) {
        self.paused.commands = self.paused.commands.saturating_sub(1);
        self.paused.estimate_ns = match self.paused.commands {
            0 => 0,
            _ => self.paused.estimate_ns.saturating_sub(estimate_ns),
        };
        self.launch(from_ns.max(self.since_ns), estimate_ns);
    }

    pub(super) fn withdraw(&mut self, estimate_ns: u64) {
        self.give_back(Room { commands: 1, estimate_ns });
    }

    /// A part of the room that is left, and at most `most`.
    pub(super) fn take(&mut self, now_ns: u64, quantum_ns: u64, most: Room) -> Room {
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

    pub(super) fn give_back(&mut self, room: Room) {
        self.commands = self.commands.saturating_sub(room.commands);
        self.estimate_ns = match self.commands {
            0 => 0,
            _ => self.estimate_ns.saturating_sub(room.estimate_ns),
        };
    }

    pub(super) fn complete(
        &mut self,
        now_ns: u64,
        launched_ns: u64,
        estimate_ns: u64,
        kind: Kind,
    ) -> u64 {
        let length = now_ns.saturating_sub(self.since_ns.max(launched_ns)).max(1);
        self.withdraw(estimate_ns);
        (self.since_ns, self.ended_ns) = (now_ns, now_ns);
        self.count_lately(now_ns, 1);
        self.learn(kind, length, 1);
        length
    }

    /// From when on nothing was told of the time that commands had the device, of which the first was
    /// `launched_ns`; all up to `now_ns` is told by this. Before they are counted out.
    pub(super) fn tell_busy(&mut self, now_ns: u64, launched_ns: u64) -> u64 {
        let launched_ns = if self.commands > 0 { 0 } else { launched_ns };
        let from_ns = self.untold_ns.max(launched_ns);
        self.untold_ns = self.untold_ns.max(now_ns);
        from_ns
    }

    /// Remembers how long each of `count` commands of `kind` took.
    pub(super) fn learn(&mut self, kind: Kind, length: u64, count: u32) {
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
    pub(super) fn count_out(&mut self, now_ns: u64, members: &[Member]) {
        for member in members.iter().filter(|member| member.counted) {
            let estimate_ns = member.estimate_ns.saturating_mul(member.count.into());
            self.give_back(Room { commands: member.count, estimate_ns });
            self.count_lately(now_ns, member.count);
        }
        self.since_ns = now_ns;
    }

    /// Learns from commands that ended together: the time since the end before them is theirs in the
    /// proportion of their estimates. Returns each one's length.
    pub(super) fn learn_together(&mut self, end: End, members: &[Member]) -> Vec<u64> {
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
    pub(super) fn settle(&mut self, members: &[Member], lengths: &[u64]) {
        let signed = |ns| i64::try_from(ns).unwrap_or(i64::MAX);
        for (member, length) in members.iter().zip(lengths).filter(|(member, _)| member.paid) {
            let all = |ns: u64| signed(ns.saturating_mul(member.count.into()));
            let change = all(member.estimate_ns).saturating_sub(all(*length));
            self.credit_ns = self.credit_ns.saturating_add(change);
        }
    }

    /// Device time earned since the last look, at `share` thousandths.
    pub(super) fn earn(&mut self, now_ns: u64, share: u64) {
        let earned = now_ns.saturating_sub(self.credited_ns).min(u64::MAX / 1000) * share / 1000;
        let earned = i64::try_from(earned).unwrap_or(CREDIT_NS_MAX);
        self.credit_ns = self.credit_ns.saturating_add(earned).min(CREDIT_NS_MAX);
        self.credited_ns = now_ns;
    }
}
