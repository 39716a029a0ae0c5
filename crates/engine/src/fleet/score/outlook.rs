//! What a node may still carry, and how little of it a place gives away.
//!
//! The published gradient asks of an idle device whether the next typical task fits on it. This
//! rule asks what will have been carried there once no more comes:
//!
//! * *A device's promise* is the compute that typical tasks, coming one after another, will fill of
//!   what is free of it. A filler that leaves little over counts for more, since of all devices with
//!   room the tightest gets it; and what is rare may never come, so a hole that only rare tasks fit
//!   promises less than its size. Half of a promise is that; the other half is what the hole is
//!   worth at the prices of shares that `prices` finds, which know what belongs together.
//! * *The CPU beside the devices* may run out first. The promise of a node is the smaller of what
//!   its devices promise and what its CPU could carry, rounded off where the two are close: which
//!   of them will be short is then not known yet.
//!
//! A place is as good as what is left of the node's promise. So a task that needs much CPU goes
//! where CPU would be left over, a task without devices goes where no device misses it, and small
//! shares go where only they fit. Differences within one step are ties and go to the lowest slot,
//! which keeps work together. Where CPU is scarce for what is typical, steps are coarser and a
//! device is taken to need more CPU.
//!
//! All of it is integers: compute in millionths of a device, weights in millionths of all.

use super::promise::Promises;
use super::{Placement, Typical};
use crate::fleet::WHOLE;
use crate::fleet::node::Node;

/// Thousandths of a device, in its millionths.
const MILLI: i64 = 1000;
/// Most that one node may promise, in millionths of a device; more counts as so much.
const PROMISE_MAX: i64 = 1 << 30;
/// The score of a place that takes nothing of the promise.
const NOTHING_LOST: i64 = 1 << 40;
/// CPU for each device, in thousandths of what typical tasks need beside it, that is plenty.
const PLENTY: i64 = 1200;
/// The most of it that is told apart: beyond, only more of the same could be learned.
const SLACK_MAX: i64 = 1500;

/// What the pool has altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// CPU of all nodes in thousandths of a core.
    pub cpu: i64,
    /// Compute of all devices in thousandths of a device.
    pub compute: i64,
}

impl Supply {
    /// What these nodes have, taken or free.
    pub fn of<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Self {
        let present = nodes.into_iter().filter(|node| node.present);
        present.fold(Self::default(), |sum, node| {
            let healthy = node.devices.iter().filter(|device| device.spec.healthy).count();
            let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
            Self {
                cpu: sum.cpu.saturating_add(node.cpu_all),
                compute: sum.compute.saturating_add(healthy.saturating_mul(WHOLE.into())),
            }
        })
    }
}

/// What of the rule can be tuned. [`Knobs::default`] was tuned on the 17 workloads of openb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// The weight of no fitting task coming, in millionths of the weight of all typical tasks.
    pub doubt_micro: i64,
    /// How much more a filler counts that fills a hole exactly.
    pub neat: i64,
    /// CPU that a device is taken to need, in thousandths of what is typical, when there is
    /// [`PLENTY`] of it.
    pub cpu_permille: i64,
    /// How much more that is for each thousandth by which CPU is scarcer, in thousandths.
    pub cpu_scarce_permille: i64,
    /// Where promises of devices and CPU are this close, in thousandths of a device, it is open
    /// which will be short.
    pub blur_milli: i64,
    /// The part of that which grows with the root of what the devices promise, in thousandths.
    pub blur_root_permille: i64,
    /// How much the worth of a hole by the prices of shares counts in a promise, in thousandths; the
    /// rest is what will be filled when tasks come at random.
    pub price_permille: i64,
    /// A step in thousandths of a device.
    pub step_milli: i64,
    /// What a step is longer when CPU for the devices is all missing, in thousandths of a device.
    pub step_scarce_milli: i64,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            doubt_micro: 9_000,
            neat: 3,
            cpu_permille: 1020,
            cpu_scarce_permille: 1500,
            blur_milli: 214,
            blur_root_permille: 170,
            price_permille: 500,
            step_milli: 20,
            step_scarce_milli: 200,
        }
    }
}

/// What is typical of a pool's work, as this rule sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// What devices promise.
    devices: Promises,
    knobs: Knobs,
    /// CPU that a device is taken to need, in thousandths of a core.
    cpu_per_device: i64,
    /// A step in millionths of a device.
    step: i64,
}

/// What is kept between looks.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Memo {
    /// By node: the state it was computed for (plus 1; 0 is none) and its promise then.
    before: Vec<(u64, i64)>,
}

impl Outlook {
    /// The rule for a pool with these typical tasks and this supply.
    #[must_use]
    pub fn new(typical: &Typical, supply: Supply, knobs: Knobs) -> Self {
        let (mut beside, mut devices, mut alone) = (0i128, 0i128, 0i128);
        for task in typical.tasks() {
            let cpu = i128::from(task.weight) * i128::from(task.demand.cpu.max(0));
            let compute = i128::from(task.demand.compute) * i128::from(task.demand.count);
            devices += i128::from(task.weight) * compute;
            *if task.demand.count == 0 { &mut alone } else { &mut beside } += cpu;
        }
        let per_device = |cpu: i128, compute: i128| cpu * 1000 / compute.max(1);
        let typical_cpu = per_device(beside, devices).max(1);
        // What the pool has for a device, after what work without devices would take of it.
        let left =
            per_device(supply.cpu.into(), supply.compute.into()) - per_device(alone, devices);
        let slack = i64::try_from(left * 1000 / typical_cpu).unwrap_or(PLENTY);
        let scarce = PLENTY - slack.clamp(0, SLACK_MAX);
        let need = (knobs.cpu_permille + knobs.cpu_scarce_permille * scarce / 1000).max(100);
        let cpu_per_device = typical_cpu * i128::from(need) / 1000;
        let step = knobs.step_milli * MILLI + knobs.step_scarce_milli * scarce.max(0);
        Self {
            devices: Promises::new(typical, &knobs),
            knobs,
            cpu_per_device: i64::try_from(cpu_per_device).unwrap_or(i64::MAX).max(1),
            step: step.max(1),
        }
    }

    /// What a node may still carry, in millionths of a device.
    #[must_use]
    pub fn promise_of(&self, node: &Node) -> i64 {
        self.promise(node, node.cpu, (&[], 0))
    }

    pub(super) fn score(&self, at: &Placement<'_>, memo: &mut Memo) -> u64 {
        let taken = (at.picks, at.demand.compute);
        let after = self.promise(at.sight.node, at.cpu_after(), taken);
        let kept = after - self.before(at, memo);
        u64::try_from(NOTHING_LOST + kept.div_euclid(self.step)).unwrap_or(0)
    }

    fn before(&self, at: &Placement<'_>, memo: &mut Memo) -> i64 {
        let place = usize::try_from(at.sight.ix.0).unwrap_or(usize::MAX);
        let state = at.sight.version + 1;
        if let Some((of, promise)) = memo.before.get(place)
            && *of == state
        {
            return *promise;
        }
        let promise = self.promise_of(at.sight.node);
        if memo.before.len() <= place {
            memo.before.resize(place + 1, (0, 0));
        }
        if let Some(kept) = memo.before.get_mut(place) {
            *kept = (state, promise);
        }
        promise
    }

    /// What a node promises with so much CPU free and some compute taken of some of its devices.
    fn promise(&self, node: &Node, cpu: i64, taken: (&[u16], i32)) -> i64 {
        let (picks, compute) = taken;
        let level = self.devices.level(cpu);
        let mut devices = 0i64;
        for (place, device) in (0u16..).zip(&node.devices) {
            if !device.spec.healthy {
                continue;
            }
            let free = device.compute - if picks.contains(&place) { compute } else { 0 };
            devices += self.devices.of(device.spec.cell.0, level, free);
        }
        let by_cpu = i128::from(cpu.max(0)) * 1_000_000 / i128::from(self.cpu_per_device);
        let by_cpu = i64::try_from(by_cpu).unwrap_or(PROMISE_MAX).min(PROMISE_MAX);
        self.smaller(devices.min(PROMISE_MAX), by_cpu)
    }

    /// The smaller of two promises, rounded off where they are close: `d - (sqrt(x^2 + s^2) - x) / 2`
    /// with `x` the surplus of CPU and `s` the width of the doubt.
    fn smaller(&self, devices: i64, by_cpu: i64) -> i64 {
        let root = devices.unsigned_abs().isqrt().cast_signed();
        let blur = self.knobs.blur_milli * MILLI + self.knobs.blur_root_permille * root;
        let (surplus, blur) = (by_cpu - devices, blur.clamp(0, PROMISE_MAX));
        let square = surplus.unsigned_abs().pow(2) + blur.unsigned_abs().pow(2);
        devices - (square.isqrt().cast_signed() - surplus) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_promise_counts_and_doubt_takes_off_of_both() {
        let outlook = Outlook::new(&Typical::new(Vec::new()), Supply::default(), Knobs::default());
        let far = outlook.smaller(1_000_000, 100_000_000);
        assert!((990_000..=1_000_000).contains(&far), "{far}");
        let far = outlook.smaller(8_000_000, 1_000_000);
        assert!((950_000..=1_000_000).contains(&far), "{far}");
        let close = outlook.smaller(2_000_000, 2_000_000);
        assert!((1_500_000..1_900_000).contains(&close), "{close}");
    }
}
