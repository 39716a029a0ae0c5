//! The fragmentation gradient (Weng et al., ATC 2023): how much device compute a task makes
//! unusable for the tasks that are typical of the pool.
//!
//! A typical task sees as fragments all idle compute of a node that cannot take it, and of a node
//! that can the devices on which it does not fit. The fragmentation of a node is the mean over the
//! typical tasks, by weight. A place is judged by how much it grows: by a logistic curve in the
//! published form, here by the table of the values at which that curve passes each level.

use super::{LEVELS, Placement};
use crate::fleet::demand::Demand;
use crate::fleet::node::Node;

/// A task that stands for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypicalTask {
    /// How many it stands for.
    pub weight: u32,
    /// What it needs; memory does not count.
    pub demand: Demand,
}

/// What is typical of the work of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typical {
    /// By compute of a device, ascending.
    tasks: Vec<TypicalTask>,
    /// Sum of the weights.
    total: i64,
    /// Whether no task cares for the class of device.
    any_cell: bool,
}

/// One typical task as seen on nodes of one cell.
#[derive(Clone, Copy, Debug)]
struct Entry {
    compute: i32,
    count: u32,
    cpu: i64,
    weight: i64,
}

/// The typical tasks as seen on nodes of one cell.
#[derive(Clone, Debug, Default)]
struct View {
    /// Those that could run there, by compute ascending.
    entries: Vec<Entry>,
    /// Weight of those that could not.
    excluded: i64,
}

/// What is kept between looks.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Memo {
    /// By cell; one for all if no task cares.
    views: Vec<Option<Box<View>>>,
    /// By node: the state it was computed for (plus 1; 0 is none) and its fragmentation then.
    before: Vec<(u64, i64)>,
    free: Vec<i32>,
}

/// `1000 * ln(k / (100 - k))` in millionths, rounded up, for k from 50 to 99: growth of
/// fragmentation in thousandths of a device, negated, from which on the level is k.
const LEVEL_FROM: [i64; 50] = [
    0,
    40_005_335,
    80_042_708,
    120_144_312,
    160_342_651,
    200_670_696,
    241_162_057,
    281_851_153,
    322_773_393,
    363_965_378,
    405_465_109,
    447_312_219,
    489_548_226,
    532_216_814,
    575_364_145,
    619_039_209,
    663_294_218,
    708_185_058,
    753_771_803,
    800_119_301,
    847_297_861,
    895_384_048,
    944_461_609,
    994_622_576,
    1_045_968_556,
    1_098_612_289,
    1_152_679_510,
    1_208_311_206,
    1_265_666_374,
    1_324_925_415,
    1_386_294_362,
    1_450_010_176,
    1_516_347_490,
    1_585_627_264,
    1_658_228_077,
    1_734_601_056,
    1_815_289_967,
    1_900_958_762,
    1_992_430_165,
    2_090_741_097,
    2_197_224_578,
    2_313_634_930,
    2_442_347_036,
    2_586_689_345,
    2_751_535_314,
    2_944_438_980,
    3_178_053_831,
    3_476_098_690,
    3_891_820_299,
    4_595_119_851,
];

impl Typical {
    /// The typical tasks of a pool. The order of the list does not matter.
    #[must_use]
    pub fn new(mut tasks: Vec<TypicalTask>) -> Self {
        tasks.retain(|task| task.weight > 0);
        tasks.sort_by(|a, b| (a.demand.compute, &a.demand).cmp(&(b.demand.compute, &b.demand)));
        let total = tasks.iter().map(|task| i64::from(task.weight)).sum();
        let any_cell = tasks.iter().all(|task| task.demand.cells.is_none());
        Self { tasks, total, any_cell }
    }

    /// The tasks, by compute of a device.
    #[must_use]
    pub fn tasks(&self) -> &[TypicalTask] {
        &self.tasks
    }

    /// Mean fragmentation of a node in thousandths of a device, times the sum of the weights.
    #[must_use]
    pub fn fragmentation(&self, node: &Node) -> i64 {
        self.sum(node, node.cpu, &[], 0, &mut Memo::default())
    }

    /// Sum of the weights.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.total
    }

    pub(super) fn level(&self, at: &Placement<'_>, memo: &mut Memo) -> i64 {
        let after = self.sum(at.sight.node, at.cpu_after(), at.picks, at.demand.compute, memo);
        level_of(self.before(at, memo).saturating_sub(after), self.total)
    }

    fn before(&self, at: &Placement<'_>, memo: &mut Memo) -> i64 {
        let place = usize::try_from(at.sight.ix.0).unwrap_or(usize::MAX);
        let state = at.sight.version + 1;
        if let Some((of, sum)) = memo.before.get(place)
            && *of == state
        {
            return *sum;
        }
        let sum = self.sum(at.sight.node, at.sight.node.cpu, &[], 0, memo);
        if memo.before.len() <= place {
            memo.before.resize(place + 1, (0, 0));
        }
        if let Some(kept) = memo.before.get_mut(place) {
            *kept = (state, sum);
        }
        sum
    }

    /// Fragmentation of a node with so much CPU free and `compute` taken of each of `picks`.
    fn sum(&self, node: &Node, cpu: i64, picks: &[u16], compute: i32, memo: &mut Memo) -> i64 {
        let Memo { views, free, .. } = memo;
        free.clear();
        let mut cell = None;
        let mut mixed = false;
        for (place, device) in (0u16..).zip(&node.devices) {
            if !device.spec.healthy {
                continue;
            }
            mixed |= cell.is_some_and(|cell| cell != device.spec.cell.0);
            cell = Some(device.spec.cell.0);
            let taken = if picks.contains(&place) { compute } else { 0 };
            free.push((device.compute - taken).max(0));
        }
        if mixed && !self.any_cell {
            return self.sum_mixed(node, cpu, free);
        }
        let cell = if self.any_cell { 0 } else { cell.unwrap_or(0) };
        let place = usize::try_from(cell).unwrap_or(usize::MAX);
        if views.len() <= place {
            views.resize(place + 1, None);
        }
        let Some(view) = views.get_mut(place) else { return 0 };
        free.sort_unstable();
        view.get_or_insert_with(|| Box::new(self.view(cell))).sum(free, cpu)
    }

    fn view(&self, cell: u32) -> View {
        let mut view = View::default();
        for TypicalTask { weight, demand } in &self.tasks {
            let weight = i64::from(*weight);
            if demand.count == 0 || !demand.is_served_by(cell) {
                view.excluded += weight;
            } else {
                let (compute, count, cpu) = (demand.compute, demand.count, demand.cpu);
                view.entries.push(Entry { compute, count, cpu, weight });
            }
        }
        view
    }

    /// The same for a node whose devices differ; `free` is by device.
    fn sum_mixed(&self, node: &Node, cpu: i64, free: &[i32]) -> i64 {
        let cells = node.devices.iter().filter(|d| d.spec.healthy).map(|d| d.spec.cell.0);
        let devices: Vec<(u32, i32)> = cells.zip(free.iter().copied()).collect();
        let idle: i64 = free.iter().map(|free| i64::from(*free)).sum();
        let of = |TypicalTask { weight, demand }: &TypicalTask| {
            let fits =
                |(cell, free): &&(u32, i32)| *free >= demand.compute && demand.is_served_by(*cell);
            let fitting = devices.iter().filter(fits);
            let (count, sum) =
                fitting.fold((0u32, 0i64), |(n, sum), (_, free)| (n + 1, sum + i64::from(*free)));
            let runs = demand.count > 0 && cpu >= demand.cpu && count >= demand.count;
            i64::from(*weight) * if runs { idle - sum } else { idle }
        };
        self.tasks.iter().map(of).sum()
    }
}

impl View {
    /// `free` ascending.
    fn sum(&self, free: &[i32], cpu: i64) -> i64 {
        let idle: i64 = free.iter().map(|free| i64::from(*free)).sum();
        let (mut low, mut small) = (0i64, 0usize);
        let mut sum = self.excluded * idle;
        for entry in &self.entries {
            while let Some(free) = free.get(small).filter(|free| **free < entry.compute) {
                low += i64::from(*free);
                small += 1;
            }
            let fits = free.len() - small >= usize::try_from(entry.count).unwrap_or(usize::MAX);
            sum += entry.weight * if fits && cpu >= entry.cpu { low } else { idle };
        }
        sum
    }
}

/// The level of a gain of `gain / total` thousandths of a device.
fn level_of(gain: i64, total: i64) -> i64 {
    let reaches = |amount: i64, from: &i64| {
        i128::from(amount) * 1_000_000 >= i128::from(*from) * i128::from(total)
    };
    // A part is chosen from few levels around the middle, so a walk outwards is the shortest.
    let steps = |amount: i64| {
        let passed = LEVEL_FROM.iter().skip(1).take_while(|from| reaches(amount, from)).count();
        i64::try_from(passed).unwrap_or(LEVELS)
    };
    if gain >= 0 {
        LEVELS / 2 + steps(gain)
    } else {
        // The curve is point-symmetric; below the middle a level is reached from above, so an
        // amount exactly on a bound belongs to the level that begins there.
        let beyond = LEVEL_FROM.iter().skip(1).take_while(|from| {
            i128::from(-gain) * 1_000_000 > i128::from(**from) * i128::from(total)
        });
        LEVELS / 2 - 1 - i64::try_from(beyond.count()).unwrap_or(LEVELS / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_curve() {
        // round(x, y): int(100 * sigmoid(x / 1000)) as the published rule computes it.
        for (gain, level) in
            [(0, 50), (40, 50), (41, 51), (-1, 49), (-40, 49), (-41, 48), (1000, 73), (-1000, 26)]
        {
            assert_eq!(level_of(gain * 7, 7), level, "{gain}");
        }
        assert_eq!((level_of(i64::MAX / 2, 1), level_of(i64::MIN / 2, 1)), (99, 0));
    }
}
