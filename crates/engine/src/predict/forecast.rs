//! Weighted observations, and what can be said from them.

use super::Level;
use super::book::Seen;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// All of the probability.
const CERTAIN: u64 = 1 << 40;

/// What is known of a value that is not yet there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// By value, with what each counts for.
    samples: Vec<(Seen, u64)>,
    /// What no observation accounts for.
    unknown: u64,
    limit: Option<u64>,
    nearest: Option<Nearest>,
    upper: u32,
}

/// The most alike history there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// How alike it is.
    pub level: Level,
    /// What it has seen, at most [`super::WINDOW`].
    pub observations: u32,
    /// How many of them were cut short.
    pub cut_short: u32,
    /// The largest of them, cut short or not.
    pub largest: u64,
}

impl Nearest {
    pub(super) fn of(level: Level, seen: &VecDeque<Seen>) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            level,
            observations: number(seen.len()),
            cut_short: number(seen.iter().filter(|seen| seen.was_cut).count()),
            largest: seen.iter().map(|seen| seen.value).max().unwrap_or(0),
        }
    }
}

/// Quantiles and how far to trust them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// Half of such values are at most this.
    pub p50: u64,
    /// Nine of ten are at most this. Corrected by how often that was true lately.
    pub p90: u64,
    /// Observations of the most alike history there is, at most [`super::WINDOW`].
    pub observations: u32,
    /// How alike those are; absent without history.
    pub level: Option<Level>,
    /// From 0 (it has always been the same) to 1000 (nothing is known): the largest of what no
    /// observation accounts for, what was cut short, and how far p50 lies below p90.
    pub doubt: u32,
    /// The part of that, in thousandths, which no observation accounts for or which was cut short.
    #[serde(default)]
    pub untold: u32,
}

impl Forecast {
    pub(super) fn new(
        mut samples: Vec<(Seen, u64)>,
        unknown: u64,
        limit: Option<u64>,
        nearest: Option<Nearest>,
        upper: u32,
    ) -> Self {
        samples.sort_unstable();
        Self { samples, unknown, limit, nearest, upper }
    }

    /// The least value that so many thousandths do not pass. Where all that went so far was cut
    /// short, or nothing is known, it is the limit.
    #[must_use]
    pub fn quantile(&self, thousandths: u32) -> Option<u64> {
        self.reached(thousandths, 0).or_else(|| self.furthest())
    }

    /// The least value that so many thousandths of those that went beyond `value` do not pass; `None`
    /// where too many of them were cut short to tell.
    #[must_use]
    pub fn reached(&self, thousandths: u32, value: u64) -> Option<u64> {
        self.of(thousandths, |seen| value == 0 || seen.value > value)
    }

    /// The upper quantile that lately covered nine of ten, in thousandths.
    #[must_use]
    pub fn upper(&self) -> u32 {
        self.upper
    }

    /// The most alike history there is.
    #[must_use]
    pub fn nearest(&self) -> Option<Nearest> {
        self.nearest
    }

    /// The same among observations that went beyond a value.
    #[must_use]
    pub fn beyond(&self, thousandths: u32, value: u64) -> Option<u64> {
        let mut later = self.samples.iter().filter(|(seen, _)| seen.value > value);
        later.next()?;
        self.reached(thousandths, value).or_else(|| self.furthest())
    }

    /// The limit; without one, as far as anybody went.
    fn furthest(&self) -> Option<u64> {
        self.limit.or_else(|| self.samples.last().map(|(seen, _)| seen.value))
    }

    /// The two usual quantiles and how far to trust them. None without history or limit.
    #[must_use]
    pub fn prediction(&self) -> Option<Prediction> {
        let p50 = self.quantile(500)?;
        let p90 = self.quantile(self.upper).unwrap_or(p50).max(p50);
        let known: u64 = self.samples.iter().map(|(_, weight)| *weight).sum();
        let all = known.saturating_add(self.unknown).max(1);
        let cut = self.samples.iter().filter(|(seen, _)| seen.was_cut).map(|(_, weight)| *weight);
        let untold = permille(self.unknown.saturating_add(cut.sum()), all);
        let observations = self.nearest.map_or(0, |nearest| nearest.observations);
        let level = self.nearest.map(|nearest| nearest.level);
        let doubt = untold.max(permille(p90 - p50, p90.max(1)));
        Some(Prediction { p50, p90, observations, level, doubt, untold })
    }

    /// The product-limit estimate: an observation that was cut short counts for those that went
    /// further, in proportion. `None` where what went furthest was cut before so many had ended.
    fn of(&self, thousandths: u32, counts: impl Fn(&Seen) -> bool) -> Option<u64> {
        let samples = || self.samples.iter().filter(|(seen, _)| counts(seen));
        // What nothing accounts for does not move a quantile: it is said as doubt.
        let mut at_risk: u64 = samples().map(|(_, weight)| *weight).sum();
        let mut surviving = CERTAIN;
        let may_survive = CERTAIN - CERTAIN * u64::from(thousandths.min(1000)) / 1000;
        for (seen, weight) in samples() {
            if !seen.was_cut {
                let left = u128::from(surviving) * u128::from(at_risk.saturating_sub(*weight));
                surviving = u64::try_from(left / u128::from(at_risk.max(1))).unwrap_or(CERTAIN);
                if surviving <= may_survive {
                    return Some(self.limit.map_or(seen.value, |limit| limit.min(seen.value)));
                }
            }
            at_risk = at_risk.saturating_sub(*weight);
        }
        None
    }
}

fn permille(part: u64, whole: u64) -> u32 {
    u32::try_from(u128::from(part) * 1000 / u128::from(whole.max(1))).unwrap_or(1000).min(1000)
}
