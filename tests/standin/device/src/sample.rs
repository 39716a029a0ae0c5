//! Utilisation as a driver tells it: whole percent of the last second, as of its last sample.

use crate::log::Truth;
use std::collections::{BTreeMap, VecDeque};

/// What one reading looks back on.
pub(crate) const WINDOW_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// By process, sums at the last sampling moments, oldest first.
    sums: BTreeMap<u32, VecDeque<u64>>,
    taken: u64,
}

impl Samples {
    /// When the next sample is due.
    pub(crate) fn next_ns(&self, period_ns: u64) -> u64 {
        self.taken.saturating_add(1).saturating_mul(period_ns.max(1))
    }

    pub(crate) fn take(&mut self, period_ns: u64, truths: impl Iterator<Item = (u32, Truth)>) {
        self.taken += 1;
        let keep = usize::try_from(WINDOW_NS / period_ns.max(1)).unwrap_or(1).max(1) + 1;
        for (process, truth) in truths {
            // It had nothing at the sample before the one in which it first shows.
            let sums = self.sums.entry(process).or_insert_with(|| VecDeque::from([0]));
            if sums.len() == keep {
                sums.pop_front();
            }
            sums.push_back(truth.ran_ns);
        }
    }

    /// Percent of the last window in which work of the process ran.
    pub(crate) fn percent(&self, process: u32) -> u32 {
        let Some(sums) = self.sums.get(&process) else { return 0 };
        let (Some(first), Some(last)) = (sums.front(), sums.back()) else { return 0 };
        let ran_ns = last.saturating_sub(*first);
        u32::try_from((ran_ns * 100 + WINDOW_NS / 2) / WINDOW_NS).unwrap_or(100).min(100)
    }
}
