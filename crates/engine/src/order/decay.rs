//! Use that fades: after each half-life it counts half. In integers, so that a replay gives the
//! same.

use polder_model::{Micros, Timestamp};
use serde::{Deserialize, Serialize};

/// 2 to the power of -1/2, -1/4, ... -1/65536, in 2^-32.
const ROOTS: [u64; 16] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_010,
    4_293_513_907,
    4_294_240_540,
    4_294_603_903,
    4_294_785_595,
    4_294_876_445,
    4_294_921_870,
];
/// 1 / ln 2 in millionths.
const PER_LN2: u128 = 1_442_695;
const MICROS_PER_MILLI: u64 = 1000;

/// 2^(-`time` / `half_life`) in 2^-32.
fn factor(time: Micros, half_life: Micros) -> u64 {
    let half_life = half_life.0.max(1);
    let (halvings, rest) = (time.0 / half_life, time.0 % half_life);
    let Some(mut factor) = u32::try_from(halvings).ok().and_then(|n| (1u64 << 32).checked_shr(n))
    else {
        return 0;
    };
    let fraction = u128::from(rest) * 65_536 / u128::from(half_life);
    for (bit, root) in ROOTS.iter().enumerate() {
        if fraction & (1 << (15 - bit)) != 0 {
            factor = u64::try_from((u128::from(factor) * u128::from(*root)) >> 32).unwrap_or(0);
        }
    }
    factor
}

/// An amount over time that fades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faded {
    /// In thousandths of a device times milliseconds.
    amount: u64,
    /// As of when.
    at: Timestamp,
}

impl Faded {
    /// The same amount, counted from `now` on.
    pub(crate) fn from(self, now: Timestamp) -> Self {
        Self { at: now, ..self }
    }

    /// What it is at `now`, if `rate` (thousandths of a device) was held since it was last set.
    pub(crate) fn at(self, now: Timestamp, rate: u64, half_life: Micros) -> Self {
        let time = now.since(self.at);
        let factor = u128::from(factor(time, half_life));
        let left = (u128::from(self.amount) * factor) >> 32;
        // The integral of what was added meanwhile and faded since.
        let span = u128::from(half_life.0 / MICROS_PER_MILLI) * PER_LN2 / 1_000_000;
        let faded = (1u128 << 32) - factor;
        let added = u128::from(rate).saturating_mul(span).saturating_mul(faded) >> 32;
        Self { amount: u64::try_from(left.saturating_add(added)).unwrap_or(u64::MAX), at: now }
    }

    /// What must be held all the time for it to be this much, in thousandths of a device.
    pub(crate) fn mean(self, half_life: Micros) -> u64 {
        let span = u128::from(half_life.0 / MICROS_PER_MILLI) * PER_LN2 / 1_000_000;
        u64::try_from(u128::from(self.amount) / span.max(1)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Micros = Micros::from_secs(3600);

    fn hours(number: u64) -> Timestamp {
        Timestamp(HOUR.0 * number)
    }

    #[test]
    fn what_is_held_all_the_time_is_its_mean() {
        let held = Faded::default().at(hours(100), 2500, HOUR);
        assert!((2490..=2500).contains(&held.mean(HOUR)), "{}", held.mean(HOUR));
        let after = held.at(hours(101), 0, HOUR);
        assert!((1240..=1250).contains(&after.mean(HOUR)), "{}", after.mean(HOUR));
        assert_eq!(held.at(hours(100_000), 0, HOUR).mean(HOUR), 0);
    }

    proptest! {
        /// In one step or in two, up to rounding: that is what makes it independent of how often
        /// anything else happens.
        #[test]
        fn steps_do_not_matter(first in 0u64..500, second in 0u64..500, rate in 0u64..100_000) {
            let at = |minutes: u64| Timestamp(minutes * 60_000_000);
            let once = Faded::default().at(at(first + second), rate, HOUR).mean(HOUR);
            let twice = Faded::default().at(at(first), rate, HOUR);
            let twice = twice.at(at(first + second), rate, HOUR).mean(HOUR);
            let close = once.abs_diff(twice) <= 2 + once / 5_000;
            prop_assert!(close, "{once} {twice}");
        }

        #[test]
        fn nothing_overflows(amount in any::<u64>(), time in any::<u64>(), rate in any::<u64>(), half in 1u64..) {
            let faded = Faded { amount, at: Timestamp(0) };
            let _ = faded.at(Timestamp(time), rate, Micros(half)).mean(Micros(half));
        }

        #[test]
        fn more_time_never_leaves_more(time in 0u64..1 << 40, more in 0u64..1 << 40, half in 1u64..1 << 40) {
            prop_assert!(factor(Micros(time + more), Micros(half)) <= factor(Micros(time), Micros(half)));
        }
    }
}
