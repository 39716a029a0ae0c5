//! Time into charges: virtual times, caps, credit and debt.

use super::counted::Look;
use super::left::Left;
use super::rank::Earned;
use super::{
    Arbiter, BURST_NS, COMMAND_MIN_NS, CREDIT_NS, DEBT_NS, Device, Lease, QUANTUM_MAX_NS,
    QUANTUM_NS, Turn,
};
use crate::arbiter::page::{Carried, Share};
use polder_ledger::gate::Census;

/// Virtual nanoseconds that a nanosecond of device time is at weight 1.
const SCALE: u128 = 1 << 20;
/// A whole device, in thousandths.
pub(super) const WHOLE: u64 = 1000;
/// A capped lease that has used up its time starts again with this much at least...
const REFILL_MIN_NS: u64 = QUANTUM_NS / 2;
/// ...at most...
const REFILL_MAX_NS: u64 = QUANTUM_MAX_NS;
/// ...and in between with so many times what its turns have lately taken to drain. While it drains it
/// is charged for a device that it may no longer use, so the slower its ends are heard of, the fewer
/// turns it takes.
const REFILL_DRAINS: u64 = 16;
/// A new drain counts for one part in this many.
const DRAIN_PARTS: u64 = 4;

/// How a lease stands on one of its devices.
#[derive(Debug)]
pub(super) struct Standing {
    /// Place in [`Arbiter::devices`].
    pub(super) device: usize,
    weight: u64,
    cap: u64,
    pub(super) vtime: u128,
    /// Device time in thousandths of nanoseconds that a cap still allows; below zero after an
    /// overrun.
    tokens: i64,
    /// What its rank may still give it before others.
    pub(super) earned: Earned,
    /// Device time that it had beyond its turns and has not paid.
    pub(super) debt_ns: u64,
    /// What earlier leases have left to pay.
    pub(super) left: Left,
    /// Charged, and not yet taken.
    pub(super) untold: Carried,
}

impl Standing {
    pub(super) fn new(device: usize, share: &Share, vtime: u128) -> Self {
        let mut standing = Self {
            device,
            weight: 1,
            cap: 1,
            vtime,
            tokens: 0,
            earned: Earned::FULL,
            debt_ns: 0,
            left: Left::default(),
            untold: Carried::default(),
        };
        standing.resize(share, vtime);
        standing.tokens = BURST_NS.cast_signed() * WHOLE.cast_signed();
        standing
    }

    /// Takes another share. What it owes and is owed stays the same device time.
    pub(super) fn resize(&mut self, share: &Share, device_vtime: u128) {
        let weight = u64::from(share.compute.0).clamp(1, WHOLE);
        let scale = |distance: u128| distance * u128::from(self.weight) / u128::from(weight);
        self.vtime = if self.vtime >= device_vtime {
            device_vtime + scale(self.vtime - device_vtime)
        } else {
            device_vtime.saturating_sub(scale(device_vtime - self.vtime))
        };
        self.weight = weight;
        if self.cap == WHOLE {
            // Without a cap nothing was counted against one.
            self.tokens = self.tokens.max(0);
        }
        self.cap = u64::from(share.compute_max.0).clamp(1, WHOLE);
    }

    /// What is guaranteed to it, thousandths.
    pub(super) const fn share(&self) -> u64 {
        self.weight
    }

    /// `device_ns` of this lease in virtual time.
    pub(super) fn scaled(&self, device_ns: u64) -> u128 {
        u128::from(device_ns) * SCALE / u128::from(self.weight)
    }

    /// The most that it may use, thousandths.
    pub(super) const fn cap(&self) -> u64 {
        self.cap
    }

    /// How far it is ahead of its device's queue, nanoseconds of device time.
    pub(super) fn ahead_ns(&self, device_vtime: u128) -> u64 {
        let ahead = self.vtime.saturating_sub(device_vtime) * u128::from(self.weight) / SCALE;
        u64::try_from(ahead).unwrap_or(u64::MAX)
    }

    /// Device time that it has used before its cap allowed it, nanoseconds.
    pub(super) fn beyond_its_cap_ns(&self) -> u64 {
        if self.cap < WHOLE { self.tokens.min(0).unsigned_abs() / WHOLE } else { 0 }
    }

    /// Device time that it lacks of what its cap lets it save up, nanoseconds.
    pub(super) fn spent_of_its_cap_ns(&self) -> u64 {
        let full = BURST_NS.cast_signed() * WHOLE.cast_signed();
        full.saturating_sub(self.tokens).max(0).cast_unsigned() / WHOLE
    }

    /// What a lease that was idle may have kept: a bounded credit.
    pub(super) fn come_back(&mut self, device_vtime: u128) {
        self.vtime = self.vtime.max(device_vtime.saturating_sub(self.scaled(CREDIT_NS)));
    }

    fn refill(&mut self, wall_ns: u64, start_ns: u64) {
        let full = BURST_NS.max(start_ns).cast_signed() * WHOLE.cast_signed();
        let more = i64::try_from(wall_ns.saturating_mul(self.cap)).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(more).min(full);
        self.earned.earn(wall_ns, self.weight);
    }

    fn charge(&mut self, device_ns: u64, contended: bool) {
        self.vtime += self.scaled(device_ns);
        let used = i64::try_from(device_ns.saturating_mul(WHOLE)).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_sub(used);
        self.untold.charged_ns += device_ns;
        if contended {
            self.untold.contended_ns += device_ns;
            self.earned.pay(device_ns);
        }
    }

    /// Charges time in flight without a grant: all of it, but the lease falls behind only so far.
    fn charge_overlap(&mut self, device_ns: u64, contended: bool, device_vtime: u128) {
        let most = self.vtime.max(device_vtime + self.scaled(DEBT_NS));
        self.charge(device_ns, contended);
        self.vtime = self.vtime.min(most);
    }
}

impl Lease {
    pub(super) fn capped(&self) -> bool {
        self.standing.iter().any(|standing| standing.cap < WHOLE)
    }

    /// How long a capped lease may run from now on; `None` without a cap.
    pub(super) fn allowance_ns(&self) -> Option<u64> {
        let capped = self.standing.iter().filter(|standing| standing.cap < WHOLE);
        capped.map(|standing| standing.tokens.max(0).cast_unsigned() / (WHOLE - standing.cap)).min()
    }

    /// What a capped lease starts again with when it has used up its time.
    pub(super) fn start_ns(&self) -> u64 {
        self.drain_ns.saturating_mul(REFILL_DRAINS).clamp(REFILL_MIN_NS, REFILL_MAX_NS)
    }

    /// A turn took so long from its end until nothing was in flight.
    pub(super) fn drained_in(&mut self, ns: u64) {
        self.drain_ns = self.drain_ns - self.drain_ns / DRAIN_PARTS + ns / DRAIN_PARTS;
    }

    /// How long until a capped lease may have its devices again; zero without a cap.
    pub(super) fn refill_ns(&self, now_ns: u64) -> u64 {
        let capped = self.standing.iter().filter(|standing| standing.cap < WHOLE);
        let start = (self.start_ns() * WHOLE).cast_signed();
        let lack = |standing: &Standing| {
            let lack = start.saturating_sub(standing.tokens);
            let own_ns = lack.max(0).cast_unsigned().div_ceil(standing.cap);
            own_ns.max(standing.left.cap.in_ns(now_ns))
        };
        capped.map(lack).max().unwrap_or(0)
    }

    /// Waits for a grant that it may be given.
    pub(super) fn is_ready(&self, now_ns: u64) -> bool {
        self.turn == Turn::Out
            && self.census.waiting > 0
            && now_ns >= self.absent_until_ns
            && self.refill_ns(now_ns) == 0
    }

    fn demands(&self, now_ns: u64) -> bool {
        self.census.inflight > 0 || self.is_ready(now_ns)
    }

    pub(super) fn is_active(&self, now_ns: u64) -> bool {
        match self.turn {
            Turn::Held(_) | Turn::Draining { .. } => true,
            // Between two commands it is still at work.
            Turn::Free { idle, .. } => !idle,
            // What is in flight without a grant has no place in the queue: were the device's time
            // to follow it, its debt would be forgotten. Nor has who owes: what it waits for that reason
            // is no credit.
            Turn::Out => self.is_ready(now_ns) && !self.owes(now_ns),
        }
    }

    /// Charges what happened between two looks and was not charged as time went by: the use of a lease
    /// that nobody contests, and commands without a grant that came and went.
    pub(super) fn charge_unseen(&mut self, now_ns: u64, census: &Census, devices: &[Device]) {
        let commands = census.completed.saturating_sub(self.census.completed);
        let guess_ns = commands.saturating_mul(census.longest_ns.max(COMMAND_MIN_NS));
        let free = matches!(self.turn, Turn::Free { .. });
        // In flight when last looked at: charged by the passing of time already.
        let unseen = free || self.turn == Turn::Out && self.census.inflight == 0;
        let owed_ns = self.counted.look(Look {
            passed_ns: now_ns.saturating_sub(self.looked_ns),
            before: &self.census,
            now: census,
            free,
            guess_ns: if unseen { guess_ns } else { 0 },
        });
        for standing in &mut self.standing {
            standing.charge_overlap(owed_ns, false, devices[standing.device].vtime);
        }
    }
}

impl Arbiter {
    /// Charges the time since the last call as things stood during it. Time never runs backwards.
    pub(super) fn settle(&mut self, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.now_ns);
        if passed_ns == 0 {
            return;
        }
        let before_ns = self.now_ns;
        self.count_demand(before_ns);
        for lease in self.leases.values_mut() {
            let own = u32::from(lease.demands(before_ns));
            let claims = own * u32::from(!lease.owes(before_ns));
            let beyond_ns = lease.beyond_ns(before_ns, now_ns);
            let held = matches!(lease.turn, Turn::Held(_) | Turn::Draining { .. });
            let overlaps = lease.turn == Turn::Out && lease.census.inflight > 0;
            if held || overlaps {
                lease.counted.timed(passed_ns);
            }
            let start_ns = lease.start_ns();
            for standing in &mut lease.standing {
                let device = &self.devices[standing.device];
                if held {
                    standing.charge(passed_ns, device.demand > own);
                } else if overlaps {
                    standing.charge_overlap(passed_ns, device.demand > own, device.vtime);
                }
                let beyond_ns = if device.claims > claims { beyond_ns } else { 0 };
                standing.owe_and_pay(passed_ns, beyond_ns, device.recent);
                // After the charge: what is earned while a full bucket is used is not lost.
                standing.refill(passed_ns, start_ns);
            }
            lease.judge_urgency();
        }
        self.now_ns = now_ns;
        self.move_devices();
    }

    /// Counts who wants each device, and who has lately.
    fn count_demand(&mut self, now_ns: u64) {
        for device in &mut self.devices {
            (device.demand, device.claims, device.recent) = (0, 0, 0);
        }
        for lease in self.leases.values() {
            let demands = lease.demands(now_ns);
            let claims = demands && !lease.owes(now_ns);
            let recent = demands || lease.is_recent(now_ns);
            for standing in &lease.standing {
                let device = &mut self.devices[standing.device];
                device.demand += u32::from(demands);
                device.claims += u32::from(claims);
                device.recent += if recent { standing.share() } else { 0 };
            }
        }
    }

    /// Each device's virtual time follows the least of those active on it.
    pub(super) fn move_devices(&mut self) {
        let mut least = vec![None; self.devices.len()];
        for lease in self.leases.values().filter(|lease| lease.active) {
            for standing in &lease.standing {
                let slot: &mut Option<u128> = &mut least[standing.device];
                *slot = Some(slot.map_or(standing.vtime, |least| least.min(standing.vtime)));
            }
        }
        for (device, least) in self.devices.iter_mut().zip(least) {
            device.vtime = device.vtime.max(least.unwrap_or(0));
        }
        let now_ns = self.now_ns;
        for lease in self.leases.values_mut().filter(|lease| lease.owes(now_ns)) {
            for standing in &mut lease.standing {
                standing.vtime = standing.vtime.max(self.devices[standing.device].vtime);
            }
        }
    }

    /// How far a lease is ahead: least goes first.
    pub(super) fn ahead(&self, lease: &Lease) -> i128 {
        let ahead = |standing: &Standing| {
            let device = self.devices[standing.device].vtime;
            i128::try_from(standing.vtime).unwrap_or(i128::MAX)
                - i128::try_from(device).unwrap_or(i128::MAX)
        };
        lease.standing.iter().map(ahead).max().unwrap_or(0)
    }

    /// How far it will be ahead after `device_ns` more.
    pub(super) fn ahead_after(&self, lease: &Lease, device_ns: u64) -> i128 {
        let more = lease.standing.iter().map(|standing| standing.scaled(device_ns)).max();
        self.ahead(lease) + i128::try_from(more.unwrap_or(0)).unwrap_or(i128::MAX)
    }
}
