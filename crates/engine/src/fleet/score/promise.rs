//! What the free part of a device promises: the compute that will be filled of it.
//!
//! Half of it is what is filled when typical tasks come one after another: a filler that leaves
//! little over counts for more, since of all devices with room the tightest gets it, and what is
//! rare may never come. The other half is what the hole is worth at the prices of shares, which
//! know what belongs together. Tasks whose CPU is not there beside the device do not come.

use super::{Knobs, Typical, TypicalTask, prices};
use crate::fleet::WHOLE;
use crate::fleet::demand::Demand;
use std::collections::BTreeSet;

/// Free compute is looked up in steps of so many thousandths of a device.
const GRAIN: i32 = 10;
/// Steps of a device, and one for nothing.
pub(super) const GRAINS: usize = 101;
/// Thousandths of a device, in its millionths.
const MILLI: i64 = 1000;
/// Most amounts of CPU that are told apart when a typical task is said to fit beside or not.
const CPU_LEVELS_MAX: usize = 128;
/// Most kinds of device that are told apart by which typical tasks they could serve.
const KINDS_MAX: usize = 256;

/// What devices promise, by which typical tasks they could serve, free CPU and free compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promises {
    /// Amounts of free CPU at which one more typical task fits beside, ascending; the first is 0.
    levels: Vec<i64>,
    /// By kind, then level, then grain of free compute, in millionths of a device.
    kinds: Vec<Vec<[i64; GRAINS]>>,
    /// Cells that typical tasks name, ascending, with their kinds; all others are of kind 0.
    cells: Vec<(u32, usize)>,
}

/// The tasks that come, and what is made of them.
struct Source<'a> {
    typical: &'a Typical,
    knobs: &'a Knobs,
    prices: [i64; GRAINS],
}

impl Promises {
    /// What devices promise to these tasks.
    pub(super) fn new(typical: &Typical, knobs: &Knobs) -> Self {
        let prices = prices::prices(&shares(typical, |_| true, |task| task.demand.count));
        let source = Source { typical, knobs, prices };
        let levels = levels(typical);
        let named: BTreeSet<u32> = typical
            .tasks()
            .iter()
            .filter_map(|task| task.demand.cells.as_ref())
            .flat_map(|c| c.iter())
            .collect();
        let serves = |cell: Option<u32>| -> Vec<bool> {
            let one = |task: &TypicalTask| is_served(&task.demand, cell);
            typical.tasks().iter().map(one).collect()
        };
        let mut served = vec![serves(None)];
        let mut cells = Vec::new();
        for cell in named {
            let this = serves(Some(cell));
            let known = served.iter().position(|other| *other == this);
            let kind = known.unwrap_or(if served.len() < KINDS_MAX { served.len() } else { 0 });
            if kind == served.len() {
                served.push(this);
            }
            cells.push((cell, kind));
        }
        let table =
            |served: &Vec<bool>| levels.iter().map(|cpu| source.fill(served, *cpu)).collect();
        Self { kinds: served.iter().map(table).collect(), levels, cells }
    }

    /// The level of so much free CPU, for [`Promises::of`].
    pub(super) fn level(&self, cpu: i64) -> usize {
        self.levels.partition_point(|level| *level <= cpu).saturating_sub(1)
    }

    /// What a device of a cell promises with so much compute free, in millionths of a device.
    pub(super) fn of(&self, cell: u32, level: usize, free: i32) -> i64 {
        let named = self.cells.binary_search_by_key(&cell, |(cell, _)| *cell).ok();
        let kind = named.and_then(|place| self.cells.get(place)).map_or(0, |(_, kind)| *kind);
        let grain = usize::try_from(free.clamp(0, WHOLE) / GRAIN).unwrap_or(0);
        let row = self.kinds.get(kind).and_then(|levels| levels.get(level));
        row.and_then(|row| row.get(grain)).copied().unwrap_or(0)
    }
}

/// Whether devices of a cell would do, or those of cells that nobody names.
fn is_served(demand: &Demand, cell: Option<u32>) -> bool {
    cell.map_or(demand.cells.is_none(), |cell| demand.is_served_by(cell))
}

impl Source<'_> {
    /// What a device that could serve these tasks promises, by grain of free compute, with so much
    /// CPU beside it.
    fn fill(&self, served: &[bool], cpu: i64) -> [i64; GRAINS] {
        let mut served = served.iter();
        let runs = |demand: &Demand| served.next() == Some(&true) && demand.cpu <= cpu;
        let mut weights = shares(self.typical, runs, |_| 1);
        let worth = prices::worth(&self.prices, &weights);
        let total = i128::from(self.typical.total().max(1));
        let micro = |weight: &mut i128| *weight = *weight * 1_000_000 / total;
        weights.iter_mut().for_each(micro);
        let mut promise = [0i64; GRAINS];
        for free in 1..GRAINS {
            let (mut sum, mut all) = (0i128, 1000 * i128::from(self.knobs.doubt_micro.max(1)));
            for task in (1..=free).filter(|task| weights[*task] > 0) {
                let filled = grain_of(task) + promise[free - task];
                let full = filled * 1000 / grain_of(free);
                let neat = (full * full / 1000).pow(2) / 1000;
                let weight = weights[task] * i128::from(1000 + self.knobs.neat * neat);
                sum += weight * i128::from(filled);
                all += weight;
            }
            promise[free] = i64::try_from(sum / all).unwrap_or(0);
        }
        let by_price = self.knobs.price_permille.clamp(0, 1000);
        for (promise, worth) in promise.iter_mut().zip(worth) {
            *promise = (*promise * (1000 - by_price) + worth * by_price) / 1000;
        }
        promise
    }
}

/// How often those of the typical tasks ask for each share of a device, by grain. `only` is asked
/// about each in turn.
fn shares(
    typical: &Typical,
    mut only: impl FnMut(&Demand) -> bool,
    times: impl Fn(&TypicalTask) -> u32,
) -> [i128; GRAINS] {
    let mut shares = [0i128; GRAINS];
    let tasks = typical.tasks().iter().filter(|task| only(&task.demand) && task.demand.count > 0);
    for task in tasks {
        if let Some(share) = shares.get_mut(grains_for(task.demand.compute)) {
            *share += i128::from(task.weight) * i128::from(times(task));
        }
    }
    shares
}

/// Compute of so many grains in millionths of a device.
pub(super) fn grain_of(grains: usize) -> i64 {
    i64::try_from(grains).unwrap_or(0) * i64::from(GRAIN) * MILLI
}

/// Grains that so much compute takes up.
fn grains_for(compute: i32) -> usize {
    let compute = compute.clamp(1, WHOLE);
    usize::try_from((compute + GRAIN - 1) / GRAIN).unwrap_or(0)
}

/// Amounts of CPU at which one more typical task fits beside, from 0; of too many, some.
fn levels(typical: &Typical) -> Vec<i64> {
    let tasks = typical.tasks().iter().filter(|task| task.demand.count > 0);
    let mut levels: Vec<i64> = tasks.map(|task| task.demand.cpu).filter(|cpu| *cpu > 0).collect();
    levels.sort_unstable();
    levels.dedup();
    let each = levels.len().div_ceil(CPU_LEVELS_MAX - 1).max(1);
    // Of neighbours the greatest stays, so that no task is thought to fit where it does not.
    let kept = levels.chunks(each).filter_map(|chunk| chunk.last().copied());
    std::iter::once(0).chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a device promises with all CPU, and with too little.
    fn promised(tasks: &[(u32, i32)], doubt_micro: i64) -> ([i64; GRAINS], [i64; GRAINS]) {
        let task = |(weight, compute): &(u32, i32)| TypicalTask {
            weight: *weight,
            demand: Demand { count: 1, compute: *compute, cpu: 1000, ..Demand::default() },
        };
        let typical = Typical::new(tasks.iter().map(task).collect());
        let knobs = Knobs { doubt_micro, price_permille: 0, ..Knobs::default() };
        let promises = Promises::new(&typical, &knobs);
        let at = |cpu| {
            let free = (0i32..).step_by(10);
            let mut found = [0; GRAINS];
            let level = promises.level(cpu);
            found.iter_mut().zip(free).for_each(|(f, free)| *f = promises.of(7, level, free));
            found
        };
        (at(1000), at(999))
    }

    #[test]
    fn a_device_promises_what_will_be_filled() {
        let (one, none) = promised(&[(1, 400)], 1);
        assert_eq!([one[39], one[40], one[79]], [0, 399_999, 399_999]);
        assert!((799_000..=800_000).contains(&one[100]), "{}", one[100]);
        assert_eq!(none, [0; GRAINS], "no CPU beside it");
        // 300 and 600 in either order, or three times 300: 900 of 1000.
        let (two, _) = promised(&[(1, 300), (5, 600)], 1);
        assert!((899_000..=900_000).contains(&two[100]), "{}", two[100]);
    }

    #[test]
    fn a_hole_for_what_is_rare_promises_less_than_its_size() {
        let (rare, _) = promised(&[(1, 200), (999, 800)], 9000);
        assert!(rare[20] < 100_000 && rare[80] > 750_000, "{} {}", rare[20], rare[80]);
    }

    #[test]
    fn a_cell_promises_nothing_to_tasks_that_may_not_run_there() {
        let cells = Some([3].into_iter().collect());
        let demand = Demand { count: 1, compute: 500, cells, ..Demand::default() };
        let typical = Typical::new(vec![TypicalTask { weight: 1, demand }]);
        let promises = Promises::new(&typical, &Knobs::default());
        assert!(promises.of(3, 0, 1000) > 900_000);
        assert_eq!([promises.of(2, 0, 1000), promises.of(9, 0, 1000)], [0, 0]);
    }
}
