//! How much work the hours ahead will bring, learned from the same hours of earlier days and weeks.
//!
//! Each hour of the week, and each hour of a working day and of a weekend's, has a level that
//! follows what arrived in it, the newest counting most. A forecast mixes the two, and moves with how the last day compared
//! with what was expected of it.

use polder_model::{Micros, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Longest look ahead, in hours: two weeks.
pub const HOURS_AHEAD_MAX: usize = 336;

const HOUR: u64 = 3_600_000_000;
const DAY_HOURS: usize = 24;
const WEEK_HOURS: usize = 168;
/// Hours of the working days of a week; the weekend's follow.
const WORKING_HOURS: u64 = 120;
/// 1970 began on a Thursday, three days into a week.
const EPOCH_HOURS: u64 = 72;
/// Hours without any arrival that are gone through one by one; after more, the past is forgotten.
const GAP_HOURS_MAX: u64 = 10 * WEEK_HOURS as u64;
/// An observation counts one in so many in its hour of the week.
const WEEK_MEMORY: u64 = 4;
/// An observation counts one in so many in its hour of the day.
const DAY_MEMORY: u64 = 2;
/// The hour of the day counts as much as so many observations of the hour of the week.
const DAY_COUNTS: u64 = 2;
/// Part of a unit that levels are kept in.
const UNIT: u64 = 1 << 10;
/// Hours whose outcome is compared with what was expected: two weeks.
const OUTCOMES_MAX: usize = 336;
/// Fewest of them from which quantiles are told.
const OUTCOMES_MIN: usize = 24;
/// Largest amount that one hour counts, so that sums cannot overflow.
const AMOUNT_MAX: u64 = 1 << 40;

/// A level that follows what it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Smooth {
    level: u64,
    seen: u64,
}

/// What to expect of one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The mean.
    pub mean: u64,
    /// Such an hour was seen before: otherwise the mean says nothing.
    #[serde(default)]
    pub is_known: bool,
    /// Half of such hours bring at most this; absent while too few were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<u64>,
    /// Nine of ten bring at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<u64>,
    /// Ninety-nine of a hundred bring at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<u64>,
}

/// Arrivals by hour, in any whole unit (thousandths of a device, jobs).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Ahead of UTC, in microseconds: where the users' day begins.
    zone: Micros,
    /// The hour that is being filled, since 1970, and what arrived in it so far.
    hour: Option<u64>,
    amount: u64,
    week: Vec<Smooth>,
    day: Vec<Smooth>,
    /// What arrived, and what was expected, of late.
    arrived: Smooth,
    expected: Smooth,
    /// Of the last hours, what arrived and what was expected of them, the newest last.
    #[serde(default)]
    outcomes: VecDeque<(u64, u64)>,
}

impl Smooth {
    /// The first observations count equally, later ones one in `memory`.
    fn see(&mut self, amount: u64, memory: u64) {
        self.seen = self.seen.saturating_add(1);
        let weight = self.seen.min(memory);
        let amount = amount.saturating_mul(UNIT);
        self.level = (self.level * (weight - 1) + amount) / weight;
    }
}

impl Demand {
    /// Nothing is known yet. `zone` is how far the users' clocks are ahead of UTC.
    #[must_use]
    pub fn new(zone: Micros) -> Self {
        Self {
            zone,
            hour: None,
            amount: 0,
            week: vec![Smooth::default(); WEEK_HOURS],
            day: vec![Smooth::default(); 2 * DAY_HOURS],
            arrived: Smooth::default(),
            expected: Smooth::default(),
            outcomes: VecDeque::new(),
        }
    }

    /// So much arrived.
    pub fn arrived(&mut self, at: Timestamp, amount: u64) {
        self.advance(at);
        self.amount = self.amount.saturating_add(amount).min(AMOUNT_MAX);
    }

    /// Time went on; hours without arrivals count too. Time that goes back counts as now.
    pub fn advance(&mut self, at: Timestamp) {
        let now = self.hour_of(at);
        let Some(mut hour) = self.hour else {
            self.hour = Some(now);
            return;
        };
        if now.saturating_sub(hour) > GAP_HOURS_MAX {
            *self = Self { hour: Some(now), ..Self::new(self.zone) };
            return;
        }
        while hour < now {
            self.close(hour);
            hour += 1;
        }
        self.hour = Some(hour);
    }

    /// What to expect in each of the hours that follow the one at `at`.
    #[must_use]
    pub fn ahead(&self, at: Timestamp, hours: usize) -> Vec<u64> {
        let first = self.hour_of(at) + 1;
        let hours = u64::try_from(hours.min(HOURS_AHEAD_MAX)).unwrap_or(0);
        (first..first + hours).map(|hour| self.of_late(self.usual(hour)) / UNIT).collect()
    }

    /// The same with quantiles, from how the last hours compare with what was expected of them.
    #[must_use]
    pub fn expected(&self, at: Timestamp, hours: usize) -> Vec<Expected> {
        let usual = self.usual_level() / UNIT + 1;
        let add = |amount: u64| u128::from(amount.saturating_add(usual));
        let mut ratios: Vec<u128> = self
            .outcomes
            .iter()
            .map(|(arrived, expected)| add(*arrived) * u128::from(UNIT) / add(*expected))
            .collect();
        ratios.sort_unstable();
        let of = |mean: u64, thousandths: usize| {
            let rank = (ratios.len() * thousandths).div_ceil(1000).max(1);
            let ratio = ratios.get(rank - 1).filter(|_| ratios.len() >= OUTCOMES_MIN)?;
            let moved = add(mean) * ratio / u128::from(UNIT);
            Some(u64::try_from(moved).unwrap_or(u64::MAX).saturating_sub(usual))
        };
        let first = self.hour_of(at) + 1;
        let hour = |(hour, mean): (u64, u64)| Expected {
            mean,
            is_known: self.day.get(places(hour).1).is_some_and(|day| day.seen > 0),
            p50: of(mean, 500),
            p90: of(mean, 900),
            p99: of(mean, 990),
        };
        (first..).zip(self.ahead(at, hours)).map(hour).collect()
    }

    /// The mean over all kinds of hours, in units.
    fn usual_level(&self) -> u64 {
        self.day.iter().map(|smooth| smooth.level).sum::<u64>() / (2 * DAY_HOURS as u64)
    }

    fn hour_of(&self, at: Timestamp) -> u64 {
        at.after(self.zone).0 / HOUR + EPOCH_HOURS
    }

    fn close(&mut self, hour: u64) {
        let amount = std::mem::take(&mut self.amount);
        let usual = self.usual(hour);
        if self.day.iter().all(|smooth| smooth.seen > 0) {
            if self.outcomes.len() >= OUTCOMES_MAX {
                self.outcomes.pop_front();
            }
            self.outcomes.push_back((amount, self.of_late(usual) / UNIT));
            let day = DAY_HOURS as u64;
            self.expected.see(usual / UNIT, day);
            self.arrived.see(amount, day);
        }
        let (week, day) = places(hour);
        if let Some(smooth) = self.week.get_mut(week) {
            smooth.see(amount, WEEK_MEMORY);
        }
        if let Some(smooth) = self.day.get_mut(day) {
            smooth.see(amount, DAY_MEMORY);
        }
    }

    /// The usual amount of an hour: that of the week counts more the more often it was seen.
    fn usual(&self, hour: u64) -> u64 {
        let (week, day) = places(hour);
        let week = self.week.get(week).copied().unwrap_or_default();
        let day = self.day.get(day).copied().unwrap_or_default();
        let seen = week.seen.min(WEEK_MEMORY);
        (week.level * seen + day.level * DAY_COUNTS) / (seen + DAY_COUNTS)
    }

    /// An amount, as the last day compares with what was expected of it. A usual hour is added to
    /// both, so that a quiet day says little.
    fn of_late(&self, amount: u64) -> u64 {
        if self.expected.seen < DAY_HOURS as u64 {
            return amount;
        }
        let usual = self.usual_level();
        let add = |level: u64| u128::from(level.saturating_add(usual).max(1));
        let moved = u128::from(amount) * add(self.arrived.level) / add(self.expected.level);
        u64::try_from(moved).unwrap_or(u64::MAX).clamp(amount / 2, amount.saturating_mul(2))
    }
}

/// The places of an hour in the week and in its kind of day.
fn places(hour: u64) -> (usize, usize) {
    let of_week = hour % WEEK_HOURS as u64;
    let first = if of_week < WORKING_HOURS { 0 } else { DAY_HOURS };
    let place = |hour: u64| usize::try_from(hour).unwrap_or(0);
    (place(of_week), first + place(hour % DAY_HOURS as u64))
}
