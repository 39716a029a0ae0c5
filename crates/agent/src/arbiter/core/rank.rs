//! Who goes before whom whatever the fair queue says, and how far that carries.
//!
//! **Invariant.** A lease goes before leases of lower rank, and ends their turns at the next kernel
//! boundary, only with time that its share has earned: its guaranteed part of the clock, of which
//! it may save up [`URGENT_NS`]. Every contended nanosecond it holds is paid from that, also below
//! zero; from zero on, and until it has earned [`URGENT_AGAIN_NS`], it stands in the fair queue
//! like everybody. So in a time T its rank gives a lease of share `s` at most `s x T + URGENT_NS`
//! and one command; and a lease whose own share is `w` never waits behind rank for longer than the
//! sum over the leases above it of [`URGENT_NS`] and a command of each, divided by `w`.
//!
//! Rank decides when a lease has its time, not how much: virtual times grow by all that is charged.

use super::account::WHOLE;
use super::{Arbiter, LATENCY_RECENT_NS, Lease, URGENT_AGAIN_NS, URGENT_NS};
use polder_model::WorkClass;
use std::cmp::Reverse;

/// The least of what a lease may owe, in thousandths of nanoseconds: the longest command that is
/// waited for.
const OWED_MAX: i64 = (super::DRAIN_MAX_NS * WHOLE).cast_signed();

/// How urgent a lease's work is: greater goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Somebody waits for each piece of its work.
    latency: bool,
    priority: i32,
}

impl Rank {
    pub(super) const fn of(class: WorkClass, priority: i32) -> Self {
        Self { latency: class.is_latency(), priority }
    }
}

/// Where a lease stands in the queue of its devices: least goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    level: Reverse<Rank>,
    owes: bool,
    ahead: i128,
}

/// Device time that a lease may have before others of lower rank, in thousandths of nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Earned(i64);

impl Earned {
    /// As much as can be saved up.
    pub(super) const FULL: Self = Self((URGENT_NS * WHOLE).cast_signed());

    /// `wall_ns` have passed for a lease of `share` thousandths.
    pub(super) fn earn(&mut self, wall_ns: u64, share: u64) {
        let more = i64::try_from(wall_ns.saturating_mul(share)).unwrap_or(i64::MAX);
        self.0 = self.0.saturating_add(more).min(Self::FULL.0);
    }

    pub(super) fn pay(&mut self, device_ns: u64) {
        let used = i64::try_from(device_ns.saturating_mul(WHOLE)).unwrap_or(i64::MAX);
        self.0 = self.0.saturating_sub(used).max(-OWED_MAX);
    }

    /// What it lacks of all that can be saved up, nanoseconds.
    pub(super) const fn lacks_of_full_ns(self) -> u64 {
        Self::FULL.0.saturating_sub(self.0).cast_unsigned() / WHOLE
    }

    /// How long a lease of `share` thousandths can hold its device on it.
    fn lasts_ns(self, share: u64) -> u64 {
        match WHOLE.saturating_sub(share) {
            0 => u64::MAX,
            net => self.0.max(0).cast_unsigned() / net,
        }
    }

    /// How long a lease of `share` thousandths needs to be urgent again.
    fn lacks_ns(self, share: u64) -> u64 {
        let lack = (URGENT_AGAIN_NS * WHOLE).cast_signed().saturating_sub(self.0);
        lack.max(1).cast_unsigned().div_ceil(share.max(1))
    }
}

impl Lease {
    /// Notes whether its rank counts now.
    pub(super) fn judge_urgency(&mut self) {
        let enough = (URGENT_AGAIN_NS * WHOLE).cast_signed();
        if self.standing.iter().any(|standing| standing.earned.0 <= 0) {
            self.urgent = false;
        } else if self.standing.iter().all(|standing| standing.earned.0 >= enough) {
            self.urgent = true;
        }
    }

    /// Whether it goes before others by rank, and not by the fair queue alone.
    pub(super) fn presses(&self) -> bool {
        self.urgent && self.rank > self.least_rank
    }

    /// How long its rank still counts while it holds its devices; `None` when it does not matter.
    pub(super) fn presses_for_ns(&self) -> Option<u64> {
        let lasts = self.standing.iter().map(|it| it.earned.lasts_ns(it.share()));
        self.presses().then(|| lasts.min().unwrap_or(0))
    }

    /// How long until its rank counts again; `None` when it does now, or never matters.
    pub(super) fn presses_in_ns(&self) -> Option<u64> {
        let lacks = self.standing.iter().map(|it| it.earned.lacks_ns(it.share()));
        (!self.urgent && self.rank > self.least_rank).then(|| lacks.max().unwrap_or(u64::MAX))
    }

    fn level(&self, presses: bool) -> Reverse<Rank> {
        Reverse(if presses { self.rank } else { self.least_rank })
    }

    /// Whether somebody has waited for its work of late.
    pub(super) fn serves(&self, now_ns: u64) -> bool {
        self.rank.latency && self.has_worked_lately(now_ns)
    }

    /// Whether it was seen to work within [`LATENCY_RECENT_NS`].
    pub(super) fn has_worked_lately(&self, now_ns: u64) -> bool {
        self.worked_ns.is_some_and(|at_ns| now_ns < at_ns.saturating_add(LATENCY_RECENT_NS))
    }
}

impl Arbiter {
    /// Where a lease stands now.
    pub(super) fn place(&self, lease: &Lease) -> Place {
        let level = lease.level(lease.presses());
        Place { level, owes: lease.owes(self.now_ns), ahead: self.ahead(lease) }
    }

    /// Where it will stand after `device_ns` more.
    pub(super) fn place_after(&self, lease: &Lease, device_ns: u64) -> Place {
        let presses = lease.presses_for_ns().is_some_and(|lasts_ns| lasts_ns > device_ns);
        let (level, owes) = (lease.level(presses), lease.owes(self.now_ns));
        Place { level, owes, ahead: self.ahead_after(lease, device_ns) }
    }

    /// Whether `other` ends the turn of `holder` by its rank.
    pub(super) fn presses_on(&self, other: &Lease, holder: &Lease) -> bool {
        self.place(other).level < self.place(holder).level
    }

    /// Finds the lowest rank that each lease meets on its devices.
    pub(super) fn compare_ranks(&mut self) {
        let least = |lease: &Lease| {
            let met = self.leases.values().filter(|other| other.shares_device(lease));
            met.map(|other| other.rank).min().unwrap_or(lease.rank)
        };
        let least: Vec<Rank> = self.leases.values().map(least).collect();
        for (lease, least) in self.leases.values_mut().zip(least) {
            lease.least_rank = least;
        }
    }
}
