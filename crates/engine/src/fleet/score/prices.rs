//! What shares of a device are worth when whole devices have to be cut into them.
//!
//! Given how often each share is asked for, prices are looked for under which no way of cutting a
//! device is worth more than a device, and what is asked for is worth the most. (They are the dual
//! of the cutting-stock problem's linear relaxation, after Gilmore and Gomory.) Such prices tell
//! which shares belong together: those that fill a device well have prices that add up to one,
//! what needs a device of its own costs a whole one however small it is, and what only ever fills
//! the rest that others leave costs nothing.
//!
//! The search takes steps along the subgradient, each shorter than the one before, and answers with
//! the mean of the later ones; it is integers in a fixed order. Prices that are not quite the best
//! are no error: they are one opinion of two (see `promise`).

use super::promise::{GRAINS, grain_of};

/// Steps of the search.
const STEPS: i64 = 1500;
/// Steps that are forgotten, since they lead from the start to where it is worth looking.
const STEPS_FORGOTTEN: i64 = 500;
/// Parts of a device in which prices are kept during the search.
const NANO: i64 = 1_000_000_000;
/// The first step is 3/10 of this, the others fall like 1/(n + this).
const FIRST_STEPS: i64 = 10;

/// The best way to cut what is free: what it is worth, by grains that are free, and the share to
/// cut first, 0 for none.
fn cuts(prices: &[i64; GRAINS], shares: &[usize]) -> ([i64; GRAINS], [usize; GRAINS]) {
    let (mut worth, mut first) = ([0i64; GRAINS], [0usize; GRAINS]);
    for free in 1..GRAINS {
        worth[free] = worth[free - 1];
        for share in shares.iter().copied().filter(|share| *share <= free) {
            let this = worth[free - share] + prices[share];
            if this > worth[free] {
                (worth[free], first[free]) = (this, share);
            }
        }
    }
    (worth, first)
}

/// What so much free compute is worth, by grain, cut into shares of which there are any.
pub(super) fn worth(prices: &[i64; GRAINS], counts: &[i128; GRAINS]) -> [i64; GRAINS] {
    cuts(prices, &asked(counts)).0
}

/// Shares that are asked for.
fn asked(counts: &[i128; GRAINS]) -> Vec<usize> {
    (1..GRAINS).filter(|share| counts[*share] > 0).collect()
}

/// Prices of shares by grain, in millionths of a device, given how often each is asked for.
pub(super) fn prices(counts: &[i128; GRAINS]) -> [i64; GRAINS] {
    let shares = asked(counts);
    let all: i128 = counts.iter().sum();
    let often = |share: usize| counts[share] * i128::from(NANO) / all.max(1);
    let mut prices = [0i64; GRAINS];
    let mut sums = [0i64; GRAINS];
    for share in &shares {
        prices[*share] = grain_of(*share) * (NANO / 1_000_000);
    }
    for step in 0..STEPS {
        let (worth, first) = cuts(&prices, &shares);
        let most = i128::from(worth[GRAINS - 1].max(1));
        for share in &shares {
            let scaled = i128::from(prices[*share]) * i128::from(NANO) / most;
            prices[*share] = i64::try_from(scaled).unwrap_or(NANO);
            if step >= STEPS_FORGOTTEN {
                sums[*share] += prices[*share];
            }
        }
        let value = |share: &usize| often(*share) * i128::from(prices[*share]) / i128::from(NANO);
        let value: i128 = shares.iter().map(value).sum::<i128>().max(1);
        let (mut cut, mut free) = ([0i64; GRAINS], GRAINS - 1);
        while free > 0 {
            let share = first[free];
            cut[share] += 1;
            free -= share.max(1);
        }
        for share in &shares {
            let wanted = often(*share) * i128::from(NANO) / value;
            let wanted = i64::try_from(wanted).unwrap_or(NANO);
            let change = (wanted - cut[*share] * NANO) * 3 / (10 * (FIRST_STEPS + step));
            prices[*share] = (prices[*share] + change).max(0);
        }
    }
    sums.map(|sum| sum / (STEPS - STEPS_FORGOTTEN) / (NANO / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priced(asked: &[(usize, i128)]) -> [i64; GRAINS] {
        let mut counts = [0; GRAINS];
        asked.iter().for_each(|(share, count)| counts[*share] = *count);
        prices(&counts)
    }

    /// Of each asked share its price in hundredths of a device.
    fn hundredths(asked: &[(usize, i128)]) -> Vec<i64> {
        let prices = priced(asked);
        asked.iter().map(|(share, _)| (prices[*share] + 5000) / 10_000).collect()
    }

    #[test]
    fn shares_that_fill_a_device_together_add_up_to_one() {
        assert_eq!(hundredths(&[(50, 1)]), [50]);
        assert_eq!(hundredths(&[(47, 1)]), [50]);
        let pair = hundredths(&[(65, 1), (32, 1)]);
        assert!((99..=101).contains(&(pair[0] + pair[1])), "{pair:?}");
    }

    #[test]
    fn what_needs_a_device_of_its_own_costs_one_and_what_fills_its_rest_nothing() {
        let found = hundredths(&[(100, 5), (81, 3), (16, 1)]);
        assert_eq!(found[..2], [100, 100]);
        assert!(found[2] <= 1, "{found:?}");
    }

    #[test]
    fn no_cut_is_worth_much_more_than_a_device() {
        let asked =
            [(16, 8), (22, 6), (23, 18), (32, 45), (46, 17), (47, 111), (65, 35), (81, 160)];
        let prices = priced(&asked);
        let shares: Vec<usize> = asked.iter().map(|(share, _)| *share).collect();
        let most = cuts(&prices, &shares).0[GRAINS - 1];
        assert!((990_000..1_010_000).contains(&most), "{most}");
    }
}
