//! Parts that look at one node alone.

use super::{LEVELS, Placement};
use crate::fleet::WHOLE;
use crate::fleet::node::Device;

impl Placement<'_> {
    /// Devices that work may be placed on.
    pub(super) fn usable(&self) -> impl Iterator<Item = &Device> {
        self.sight.node.devices.iter().filter(|device| device.spec.healthy)
    }

    /// Host CPU that is left afterwards.
    pub(super) fn cpu_after(&self) -> i64 {
        self.sight.node.cpu - self.demand.cpu
    }

    /// Device compute that is left afterwards on all devices of the node.
    pub(super) fn compute_after(&self) -> i64 {
        let free: i64 = self.usable().map(|device| i64::from(device.compute.max(0))).sum();
        let picks = i64::try_from(self.picks.len()).unwrap_or(i64::MAX);
        free - picks.saturating_mul(self.demand.compute.into())
    }

    fn pick(&self, pick: u16) -> Option<&Device> {
        self.sight.node.devices.get(usize::from(pick))
    }
}

/// Bits of a score: how well devices suit, and wishes that are met, count above them.
const SCORE_BITS: u32 = 57;

/// Two amounts as one score: least of the first, then least of the second, is best.
fn least(first: i64, second: i64, second_bits: u32) -> u64 {
    let top = |bits: u32| (1i64 << bits) - 1;
    let first_bits = SCORE_BITS - second_bits;
    let left = |amount: i64, bits: u32| top(bits) - amount.clamp(0, top(bits));
    let both = left(first, first_bits) << second_bits | left(second, second_bits);
    u64::try_from(both).unwrap_or(0)
}

/// How little is free on the freest of the devices taken, or beside them if there is none.
pub(super) fn tightness(at: &Placement<'_>) -> u64 {
    let device = |pick: &u16| at.pick(*pick).map(|device| (device.compute, device.memory));
    match (at.demand.count, at.picks.iter().filter_map(device).max()) {
        (0, _) | (_, None) => least(at.sight.node.cpu, at.sight.node.memory >> 12, 28),
        (1, Some((compute, memory))) => least(compute.into(), memory, 46),
        // Several devices differ in memory by model more than by use: only compute says how tight.
        (_, Some((compute, _))) => least(compute.into(), 0, 46),
    }
}

/// `int(100 * (1 - (cpu_left / cpu + compute_left / compute) / 2))`.
pub(super) fn best_fit(at: &Placement<'_>, cpu: i64, compute: i64) -> i64 {
    let (cpu, compute) = (i128::from(cpu.max(1)), i128::from(compute.max(1)));
    let all = 2 * cpu * compute;
    let left = i128::from(at.cpu_after()) * compute + i128::from(at.compute_after()) * cpu;
    let level = i128::from(LEVELS) * (all - left) / all;
    i64::try_from(level).unwrap_or(0)
}

/// `part` of `all` in levels.
fn share(part: i64, all: i64) -> i64 {
    let share = i128::from(LEVELS) * i128::from(part.max(0));
    i64::try_from(share.checked_div(all.into()).unwrap_or(0)).unwrap_or(LEVELS)
}

fn compute_all(at: &Placement<'_>) -> i64 {
    i64::from(WHOLE) * i64::try_from(at.usable().count()).unwrap_or(0)
}

/// The share of the node's device compute that stays free, or of its CPU if it has no device.
pub(super) fn spread(at: &Placement<'_>) -> i64 {
    match compute_all(at) {
        0 => share(at.cpu_after(), at.sight.node.cpu_all),
        all => share(at.compute_after(), all),
    }
}

/// The free share of whatever is busiest afterwards: CPU, host memory or device compute.
pub(super) fn load_balance(at: &Placement<'_>) -> i64 {
    let node = at.sight.node;
    let cpu = share(at.cpu_after(), node.cpu_all);
    let memory = share(node.memory - at.demand.memory, node.memory_all);
    let compute = match compute_all(at) {
        0 => LEVELS,
        all => share(at.compute_after(), all),
    };
    cpu.min(memory).min(compute)
}
