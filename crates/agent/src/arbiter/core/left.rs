//! What a lease owes: device time that it had beyond its turns, while others waited.
//!
//! **Invariants.** A command that outlasts its turn by more than a quantum is owed from that turn's end on,
//! while somebody waits who owes nothing. A debt falls by the lease's part of the time that goes by, and
//! never because others do nothing for a moment: so what a lease has beyond its turns, from others who
//! come and go, is its part in the long run, and kernels up to [`DEBT_NS`] take nothing from them.
//!
//! A lease that owes has no turn while another that owes nothing wants its devices, or has wanted them within
//! [`super::LATENCY_RECENT_NS`]: a kernel of seconds does not fit into the gap between two of its neighbour's.
//! It always has one when nobody is there.
//!
//! What a lease owes when it ends, to others or to its own cap, is owed by all leases of the same user and
//! tenant on the device that begin before it would have been paid: a row of short leases has no more than one
//! that lasts. It goes to nobody's account, so no lease can take it for another.

use super::account::{Standing, WHOLE};
use super::{Arbiter, DEBT_NS, Lease, QUANTUM_MAX_NS, QUANTUM_NS, Turn};
use crate::arbiter::page::Owner;
use polder_model::LeaseId;
use std::collections::BTreeMap;

/// Sooner nobody is looked at again who pays.
const LOOK_NS: u64 = 1_000_000;
/// What may be owed without a consequence: every turn owes a little.
const FREE_NS: u64 = QUANTUM_MAX_NS;

/// Something that is owed until a moment, and is paid by so many thousandths of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Until {
    ns: u64,
    rate: u64,
}

impl Until {
    /// When `owed_ns` of device time are paid.
    fn paid(now_ns: u64, owed_ns: u64, rate: u64) -> Self {
        let rate = rate.max(1);
        let wall_ns = owed_ns.min(DEBT_NS).saturating_mul(WHOLE) / rate;
        Self { ns: now_ns.saturating_add(wall_ns), rate }
    }

    fn later(self, other: Self) -> Self {
        if other.ns > self.ns { other } else { self }
    }

    /// How long from now, nanoseconds.
    pub(super) fn in_ns(self, now_ns: u64) -> u64 {
        self.ns.saturating_sub(now_ns)
    }

    /// Device time that is still owed, nanoseconds.
    fn owed_ns(self, now_ns: u64) -> u64 {
        self.in_ns(now_ns).saturating_mul(self.rate) / WHOLE
    }
}

/// What earlier leases have left to pay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// To others.
    pub(super) share: Until,
    /// To their caps.
    pub(super) cap: Until,
    /// To those of lower rank, before whom they went.
    pub(super) rank: Until,
}

impl Left {
    fn later(self, other: Self) -> Self {
        Self {
            share: self.share.later(other.share),
            cap: self.cap.later(other.cap),
            rank: self.rank.later(other.rank),
        }
    }

    fn is_paid(&self, now_ns: u64) -> bool {
        [self.share, self.cap, self.rank].iter().all(|until| until.in_ns(now_ns) == 0)
    }
}

/// Debts of leases that have ended, by whose they were and place of the device in [`Arbiter::devices`].
pub(super) type Debts = BTreeMap<(Owner, usize), Left>;

impl Standing {
    /// Time went by in which `beyond_ns` were used beyond turns while others waited. Its part of the time
    /// is its weight in `recent`, the weights of all that have been at work.
    pub(super) fn owe_and_pay(&mut self, passed_ns: u64, beyond_ns: u64, recent: u64) {
        let (passed, all) = (u128::from(passed_ns), u128::from(recent.max(self.share())));
        let paid = (passed * u128::from(self.share())).div_ceil(all);
        let paid_ns = u64::try_from(paid).unwrap_or(u64::MAX);
        let owed_ns = self.debt_ns.saturating_add(beyond_ns);
        self.debt_ns = owed_ns.saturating_sub(paid_ns).min(DEBT_NS);
    }

    fn owes(&self, now_ns: u64) -> bool {
        self.debt_ns > FREE_NS || self.left.share.in_ns(now_ns) > 0
    }

    /// What is left to pay of it, at a lease's end.
    fn leaves(&self, now_ns: u64, device_vtime: u128) -> Left {
        let share_ns = self.debt_ns.max(self.ahead_ns(device_vtime));
        let cap_ns = if self.cap() < WHOLE { self.spent_of_its_cap_ns() } else { 0 };
        let left = Left {
            share: Until::paid(now_ns, share_ns, self.share()),
            cap: Until::paid(now_ns, cap_ns, self.cap()),
            rank: Until::paid(now_ns, self.earned.lacks_of_full_ns(), self.share()),
        };
        // What it was left itself and has not paid.
        left.later(self.left)
    }
}

impl Lease {
    /// Whether it owes others more than every turn does.
    pub(super) fn owes(&self, now_ns: u64) -> bool {
        self.standing.iter().any(|standing| standing.owes(now_ns))
    }

    /// Whether it is at work, or was a moment ago.
    pub(super) fn is_recent(&self, now_ns: u64) -> bool {
        self.turn != Turn::Out
            || self.census.inflight > 0
            || self.is_ready(now_ns)
            || self.has_worked_lately(now_ns)
    }

    /// Of the time from `before_ns` to `now_ns`, what went by while it used its devices beyond a turn.
    pub(super) fn beyond_ns(&self, before_ns: u64, now_ns: u64) -> u64 {
        match self.turn {
            Turn::Draining { since_ns, .. } => {
                let free_ns = since_ns.saturating_add(QUANTUM_NS);
                // All of it, once it is too much.
                let from_ns = if before_ns <= free_ns { since_ns } else { before_ns };
                if now_ns > free_ns { now_ns.saturating_sub(from_ns) } else { 0 }
            }
            Turn::Out if self.census.inflight > 0 => now_ns.saturating_sub(before_ns),
            _ => 0,
        }
    }
}

impl Arbiter {
    /// What a lease owes of each of its devices, nanoseconds.
    pub fn owed(&self, lease: LeaseId) -> impl Iterator<Item = u64> {
        let now_ns = self.now_ns;
        let standing = self.leases.get(&lease).into_iter().flat_map(|lease| &lease.standing);
        standing.map(move |one| {
            let own_ns = one.debt_ns.max(one.beyond_its_cap_ns());
            let left_ns = one.left.share.owed_ns(now_ns);
            let capped = one.cap() < WHOLE;
            own_ns.max(left_ns).max(if capped { one.left.cap.owed_ns(now_ns) } else { 0 })
        })
    }

    /// A lease of `owner` that is about to begin owes what earlier ones have left.
    pub(super) fn take_over(&self, owner: Option<&Owner>, standing: &mut [Standing]) {
        let Some(owner) = owner else { return };
        for one in standing {
            if let Some(left) = self.debts.get(&(owner.clone(), one.device)) {
                one.left = *left;
                one.earned.pay(left.rank.owed_ns(self.now_ns));
            }
        }
    }

    /// Remembers what a lease that ends owes, and forgets what is paid.
    pub(super) fn leave(&mut self, lease: Lease) {
        let now_ns = self.now_ns;
        self.debts.retain(|_, left| !left.is_paid(now_ns));
        let Some(owner) = lease.owner else { return };
        for standing in lease.standing {
            let more = standing.leaves(now_ns, self.devices[standing.device].vtime);
            let left = self.debts.entry((owner.clone(), standing.device)).or_default();
            *left = left.later(more);
        }
    }

    /// For each device whether a lease that owes nothing wants it, or has wanted it lately.
    pub(super) fn owed_devices(&self) -> Vec<bool> {
        let mut owed = vec![false; self.devices.len()];
        for lease in self.leases.values() {
            if lease.is_recent(self.now_ns) && !lease.owes(self.now_ns) {
                lease.standing.iter().for_each(|standing| owed[standing.device] = true);
            }
        }
        owed
    }

    /// Whether a lease has to let its devices stand for those that are `owed` one of them.
    pub(super) fn lets_others(&self, lease: &Lease, owed: &[bool]) -> bool {
        lease.owes(self.now_ns) && lease.standing.iter().any(|standing| owed[standing.device])
    }

    /// When a lease that owes will have paid, at the earliest.
    pub(super) fn pays_in_ns(&self, lease: &Lease) -> Option<u64> {
        let pays = |one: &Standing| {
            let recent = self.devices[one.device].recent.max(one.share());
            let owed = u128::from(one.debt_ns.saturating_sub(FREE_NS));
            let own = (owed * u128::from(recent)).div_ceil(u128::from(one.share()));
            let own_ns = u64::try_from(own).unwrap_or(u64::MAX).max(LOOK_NS);
            own_ns.max(one.left.share.in_ns(self.now_ns))
        };
        lease.owes(self.now_ns).then(|| lease.standing.iter().map(pays).max().unwrap_or(0))
    }
}
