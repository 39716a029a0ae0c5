//! What goes wrong, by chance that repeats itself.

use crate::num::count;
use crate::random::Random;
use polder_model::{Micros, Timestamp};

/// How often what goes wrong. Each is drawn for itself, so one does not change another.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// Mean time between crashes of one node; absent means none.
    pub crash_every: Option<Micros>,
    /// Mean time until a crashed node is back.
    pub crash_lasts: Micros,
    /// Mean time between losses of one device; absent means none.
    pub device_every: Option<Micros>,
    /// Mean time until a lost device is back.
    pub device_lasts: Micros,
    /// Mean time between one node's losses of contact; absent means none.
    pub cut_every: Option<Micros>,
    /// Mean time that one lasts.
    pub cut_lasts: Micros,
}

impl Faults {
    /// A bad month: each node crashes every 30 days for an hour, each device is lost every 90 days
    /// for six hours, each node is cut off every 10 days for two minutes.
    #[must_use]
    pub fn usual() -> Self {
        const DAY: u64 = 86_400;
        Self {
            crash_every: Some(Micros::from_secs(30 * DAY)),
            crash_lasts: Micros::from_secs(3600),
            device_every: Some(Micros::from_secs(90 * DAY)),
            device_lasts: Micros::from_secs(6 * 3600),
            cut_every: Some(Micros::from_secs(10 * DAY)),
            cut_lasts: Micros::from_secs(120),
        }
    }
}

/// The streams that faults are drawn from.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    pub(super) faults: Faults,
    crash: Random,
    device: Random,
    cut: Random,
}

/// What a draw is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Crash,
    Device,
    Cut,
}

impl Fate {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        let stream = |purpose| Random::stream(seed, purpose);
        Self { faults, crash: stream("crash"), device: stream("device"), cut: stream("cut") }
    }

    /// When the next one begins, if such faults are wanted.
    pub(super) fn begins(&mut self, kind: Kind, now: Timestamp) -> Option<Timestamp> {
        let mean = match kind {
            Kind::Crash => self.faults.crash_every,
            Kind::Device => self.faults.device_every,
            Kind::Cut => self.faults.cut_every,
        }?;
        Some(self.draw(kind, now, mean))
    }

    /// When one that began now is over.
    pub(super) fn ends(&mut self, kind: Kind, now: Timestamp) -> Timestamp {
        let mean = match kind {
            Kind::Crash => self.faults.crash_lasts,
            Kind::Device => self.faults.device_lasts,
            Kind::Cut => self.faults.cut_lasts,
        };
        self.draw(kind, now, mean)
    }

    fn draw(&mut self, kind: Kind, now: Timestamp, mean: Micros) -> Timestamp {
        let random = match kind {
            Kind::Crash => &mut self.crash,
            Kind::Device => &mut self.device,
            Kind::Cut => &mut self.cut,
        };
        now.after(Micros(count(random.exponential(mean.0 as f64)).max(1)))
    }
}
