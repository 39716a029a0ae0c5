//! Short histories by key, and how far their upper quantile can be trusted.

use super::{Forecast, Nearest, Subject};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Most recent observations that one history keeps.
pub const WINDOW: usize = 32;
/// Most histories kept; the least recently used go first.
pub const HISTORIES_MAX: usize = 16_384;
/// Histories that are let go at once when there are too many, so that sorting them pays.
const FORGOTTEN_AT_ONCE: usize = HISTORIES_MAX / 16;
/// What the coarser histories together count for, in observations.
const COARSER_COUNTS: u64 = 1;
/// All of a forecast's weight. A history's share of it is lost to rounding only after the last.
const WEIGHT: u64 = 1 << 40;
/// A weight that is not worth looking further for: a thousandth of all.
const NEGLIGIBLE: u64 = WEIGHT >> 10;
/// The share of outcomes, in thousandths, that the upper quantile is meant to cover.
const COVERED: u32 = 900;
/// How far one outcome moves the quantile that is looked up, in thousandths, when it was covered;
/// when it was not, nine times as far the other way: at rest, nine of ten are covered.
const STEP: u32 = 1;
/// Bounds of the quantile that is looked up, in thousandths.
const LOOKED_UP: (u32, u32) = (900, 1000);

/// One observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) value: u64,
    /// It was cut short: the true value is larger.
    pub(super) was_cut: bool,
}

/// The last observations of one key, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    used: u64,
    seen: VecDeque<Seen>,
}

/// Histories of one quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    histories: BTreeMap<u64, History>,
    /// Counts observations.
    now: u64,
    /// The quantile, in thousandths, that has lately covered nine outcomes of ten.
    upper: u32,
}

impl Default for Book {
    fn default() -> Self {
        Self { histories: BTreeMap::new(), now: 0, upper: COVERED }
    }
}

impl Book {
    /// What is known of a job's value, at most `limit`.
    #[must_use]
    pub fn forecast(&self, subject: &Subject, limit: Option<u64>) -> Forecast {
        let mut samples = Vec::new();
        let mut left = WEIGHT;
        let mut nearest: Option<Nearest> = None;
        for (level, key) in &subject.keys {
            let Some(history) = self.histories.get(key).filter(|history| !history.seen.is_empty())
            else {
                continue;
            };
            let number = history.seen.len();
            nearest = nearest.or_else(|| Some(Nearest::of(*level, &history.seen)));
            let parts = u64::try_from(number).unwrap_or(u64::MAX).saturating_add(COARSER_COUNTS);
            let each = left / parts;
            samples.extend(history.seen.iter().map(|seen| (*seen, each)));
            left = each * COARSER_COUNTS;
            if left < NEGLIGIBLE {
                break;
            }
        }
        Forecast::new(samples, left, limit, nearest, self.upper)
    }

    /// Learns one value. `told` is the upper quantile that was given out before.
    pub fn observe(&mut self, subject: &Subject, value: u64, was_cut: bool, told: Option<u64>) {
        self.now += 1;
        // What was cut short within what was told says nothing of that.
        if let Some(told) = told.filter(|told| !was_cut || value > *told) {
            self.upper = if value <= told {
                self.upper.saturating_sub(STEP)
            } else {
                self.upper.saturating_add(STEP * COVERED / (1000 - COVERED))
            };
            self.upper = self.upper.clamp(LOOKED_UP.0, LOOKED_UP.1);
        }
        for (_, key) in &subject.keys {
            let history = self.histories.entry(*key).or_default();
            history.used = self.now;
            if history.seen.len() >= WINDOW {
                history.seen.pop_front();
            }
            history.seen.push_back(Seen { value, was_cut });
        }
        if self.histories.len() > HISTORIES_MAX {
            self.forget();
        }
    }

    /// How many histories are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.histories.len()
    }

    /// Nothing was observed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.histories.is_empty()
    }

    fn forget(&mut self) {
        let mut oldest: Vec<(u64, u64)> =
            self.histories.iter().map(|(key, history)| (history.used, *key)).collect();
        oldest.sort_unstable();
        for (_, key) in oldest.iter().take(FORGOTTEN_AT_ONCE) {
            self.histories.remove(key);
        }
    }
}
