//! When work really ended, told late: from the moments at which its ends were heard of and what the
//! device's own clock says of them.
//!
//! The device's clock has a beginning of its own and may run a little faster or slower than the
//! host's. What is heard of is heard of too late, never too early, and what ends was handed over
//! before. So the distance between the clocks lies between the least lateness seen lately and what the
//! launches allow; the former is taken, as far as the latter lets it.

/// What is believed of the clocks is forgotten after one to two of these, nanoseconds: time enough to
/// hear of some end at once, too little for the clocks to drift apart by more than microseconds.
const LATELY_NS: u64 = 1_000_000_000;

/// When something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// By the host's clock, nanoseconds.
    pub at_ns: u64,
    /// By the device's clock, since the end before it: it took no longer than that. `u64::MAX` when
    /// that is not known.
    pub within_ns: u64,
}

impl End {
    /// One of which the device's clock says nothing.
    #[must_use]
    pub const fn heard(at_ns: u64) -> Self {
        Self { at_ns, within_ns: u64::MAX }
    }
}

/// One device clock beside the host's.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// The last end by the device's clock.
    last_ns: Option<u64>,
    since_ns: u64,
    /// Least of heard minus device time in this stretch and in the one before.
    most: [Option<i64>; 2],
    /// Greatest of launched minus device time in the same.
    least: [Option<i64>; 2],
}

fn apart(host_ns: u64, device_ns: u64) -> i64 {
    host_ns.wrapping_sub(device_ns).cast_signed()
}

impl Ends {
    /// When something ended that ended at `device_ns` of the device's clock, was heard of at `heard_ns`
    /// of the host's, and had last been added to at `launched_ns`. Never after it was heard of.
    pub fn end(&mut self, device_ns: u64, heard_ns: u64, launched_ns: u64) -> End {
        // The device's clock wraps round, and ends of several streams are not looked at in their order.
        let since_ns = self.last_ns.map(|last_ns| apart(device_ns, last_ns));
        if since_ns.is_none_or(|since_ns| since_ns >= 0) {
            self.last_ns = Some(device_ns);
        }
        let within_ns = since_ns.and_then(|ns| u64::try_from(ns).ok()).unwrap_or(u64::MAX);
        End { at_ns: self.at_ns(device_ns, heard_ns, launched_ns), within_ns }
    }

    fn at_ns(&mut self, device_ns: u64, heard_ns: u64, launched_ns: u64) -> u64 {
        let passed_ns = heard_ns.saturating_sub(self.since_ns);
        if passed_ns >= LATELY_NS {
            let keep = passed_ns < 2 * LATELY_NS;
            let before = |now: [Option<i64>; 2]| [None, now[0].filter(|_| keep)];
            (self.most, self.least) = (before(self.most), before(self.least));
            self.since_ns = heard_ns;
        }
        let (heard, launched) = (apart(heard_ns, device_ns), apart(launched_ns, device_ns));
        self.most[0] = Some(self.most[0].map_or(heard, |most| most.min(heard)));
        self.least[0] = Some(self.least[0].map_or(launched, |least| least.max(launched)));
        let most = self.most.into_iter().flatten().min().unwrap_or(heard);
        let least = self.least.into_iter().flatten().max().unwrap_or(launched);
        device_ns.wrapping_add(most.max(least).cast_unsigned()).min(heard_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Ends every 2 ms, heard of late by a moving amount, on a clock that runs `ppm` millionths fast.
    fn furthest(ppm: u64, late_ns: impl Fn(u64) -> u64) -> u64 {
        let mut ends = Ends::default();
        let mut worst = 0;
        for number in 1..5_000_u64 {
            let ended_ns = 70_000 * MS + number * 2 * MS;
            let device_ns = number * 2 * MS + number * 2 * ppm;
            let told = ends.at_ns(device_ns, ended_ns + late_ns(number), ended_ns - 5 * MS);
            if number > 600 {
                worst = worst.max(told.abs_diff(ended_ns));
            }
        }
        worst
    }

    #[test]
    fn the_lateness_of_hearing_is_taken_off() {
        let late = |number: u64| 20_000 + number * 7_919 % 100 * 45_000;
        let worst = furthest(0, late);
        assert_eq!(worst, 20_000, "what it is always late by cannot be known");
        assert!(furthest(50, late) <= 20_000 + 100_000, "nor more than two seconds of drift");
    }

    #[test]
    fn nothing_ends_before_it_was_launched_or_after_it_was_heard_of() {
        let mut ends = Ends::default();
        assert_eq!(ends.at_ns(5 * MS, 100 * MS, 90 * MS), 100 * MS);
        // One that was heard of before it can have ended: that clock is wrong, and forgotten.
        assert_eq!(ends.at_ns(9 * MS, 101 * MS, 100 * MS), 101 * MS);
        let told = ends.at_ns(u64::MAX, 102 * MS, 101 * MS);
        assert!(told <= 102 * MS);
        let late = ends.at_ns(5_000 * MS, 5_097 * MS, 5_090 * MS);
        assert_eq!(late, 5_097 * MS, "the old is not believed any more");
    }

    #[test]
    fn what_ended_took_no_longer_than_the_device_says_lies_between() {
        let mut ends = Ends::default();
        let mut within = |device_ns| ends.end(device_ns, 100 * MS, 90 * MS).within_ns;
        assert_eq!(within(u64::MAX - MS), u64::MAX, "nothing is before the first");
        assert_eq!(within(MS - 1), 2 * MS);
        assert_eq!(within(0), u64::MAX, "one that was before the last");
        assert_eq!(within(4 * MS - 1), 3 * MS);
        assert_eq!(within(4 * MS - 1), 0, "at the same moment");
    }
}
