//! What a pool was like over time, in at most [`BUCKETS_MAX`] stretches of equal length.

use polder_model::{Micros, Timestamp};

/// Most stretches kept; past it, two become one.
pub const BUCKETS_MAX: usize = 1024;

/// Quantities as they stand, or their integrals over a stretch of time (in microseconds).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Levels {
    /// Devices that are there and in reach.
    pub devices: f64,
    /// Compute that leases hold, in devices.
    pub held: f64,
    /// Devices that any lease holds a part of.
    pub touched: f64,
    /// Devices' worth of time that programs keep busy.
    pub busy: f64,
    /// Free compute on devices of which a part is held: no job that wants a whole one can use it.
    pub fragmented: f64,
    /// CPUs of nodes that are there and in reach.
    pub cpus: f64,
    /// CPUs that leases hold.
    pub cpus_held: f64,
    /// Jobs that wait.
    pub queued: f64,
    /// Jobs that run.
    pub running: f64,
}

impl Levels {
    fn add(&mut self, other: Self, factor: f64) {
        self.devices += other.devices * factor;
        self.held += other.held * factor;
        self.touched += other.touched * factor;
        self.busy += other.busy * factor;
        self.fragmented += other.fragmented * factor;
        self.cpus += other.cpus * factor;
        self.cpus_held += other.cpus_held * factor;
        self.queued += other.queued * factor;
        self.running += other.running * factor;
    }

    /// Each, divided.
    #[must_use]
    pub fn over(self, divisor: f64) -> Self {
        let mut result = Self::default();
        if divisor > 0.0 {
            result.add(self, 1.0 / divisor);
        }
        result
    }
}

/// Levels over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    begin: Timestamp,
    end: Timestamp,
    width: u64,
    buckets: Vec<Levels>,
    /// Integrals over all of it.
    pub total: Levels,
}

impl Series {
    /// Nothing yet.
    #[must_use]
    pub fn new(begin: Timestamp) -> Self {
        Self { begin, end: begin, width: 1_000_000, buckets: Vec::new(), total: Levels::default() }
    }

    /// Levels that stood from the end of what is known until `to`.
    pub fn extend(&mut self, to: Timestamp, levels: Levels) {
        if to <= self.end {
            return;
        }
        while self.place(to.0 - 1) >= BUCKETS_MAX {
            let pair = |pair: &[Levels]| {
                let mut sum = Levels::default();
                pair.iter().for_each(|one| sum.add(*one, 1.0));
                sum
            };
            self.buckets = self.buckets.chunks(2).map(pair).collect();
            self.width = self.width.saturating_mul(2);
        }
        let last = self.place(to.0 - 1);
        if self.buckets.len() <= last {
            self.buckets.resize(last + 1, Levels::default());
        }
        let mut from = self.end.0;
        while from < to.0 {
            let here = self.place(from);
            let border = self.begin.0 + (crate::num::len(here) + 1).saturating_mul(self.width);
            let until = border.min(to.0);
            self.buckets[here].add(levels, (until - from) as f64);
            from = until;
        }
        self.total.add(levels, (to.0 - self.end.0) as f64);
        self.end = to;
    }

    fn place(&self, at: u64) -> usize {
        crate::num::place((at - self.begin.0) / self.width)
    }

    /// The length of one stretch.
    #[must_use]
    pub fn width(&self) -> Micros {
        Micros(self.width)
    }

    /// How much time is known.
    #[must_use]
    pub fn span(&self) -> Micros {
        self.end.since(self.begin)
    }

    /// Mean levels of each stretch, and when it began.
    pub fn rows(&self) -> impl Iterator<Item = (Timestamp, Levels)> + '_ {
        self.buckets.iter().enumerate().map(|(place, sums)| {
            let from = self.begin.0 + crate::num::len(place) * self.width;
            let known = self.end.0.min(from + self.width).saturating_sub(from);
            (Timestamp(from), sums.over(known as f64))
        })
    }

    /// Mean levels over all of it.
    #[must_use]
    pub fn mean(&self) -> Levels {
        self.total.over(self.span().0 as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queued(queued: f64) -> Levels {
        Levels { queued, ..Levels::default() }
    }

    #[test]
    fn means_are_of_time() {
        let mut series = Series::new(Timestamp(5));
        series.extend(Timestamp(5 + 1_500_000), queued(2.0));
        series.extend(Timestamp(5 + 2_000_000), queued(4.0));
        let rows: Vec<f64> = series.rows().map(|(_, levels)| levels.queued).collect();
        assert_eq!(rows, [2.0, 3.0]);
        assert_eq!(series.mean().queued, 2.5);
    }

    proptest! {
        #[test]
        fn coarser_stretches_keep_the_sum(steps in prop::collection::vec((1u64..1 << 34, 0u32..9), 1..60)) {
            let mut series = Series::new(Timestamp(1 << 50));
            let (mut at, mut sum) = (1 << 50, 0.0);
            for (length, level) in steps {
                at += length;
                sum += length as f64 * f64::from(level);
                series.extend(Timestamp(at), queued(f64::from(level)));
            }
            prop_assert!(series.buckets.len() <= BUCKETS_MAX);
            let kept: f64 = series.buckets.iter().map(|bucket| bucket.queued).sum();
            prop_assert!((kept - sum).abs() <= sum * 1e-9 + 1e-9, "{kept} {sum}");
            prop_assert!((series.total.queued - sum).abs() <= sum * 1e-9 + 1e-9);
        }
    }
}
