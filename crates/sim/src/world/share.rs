//! How tasks on one device share it: the model of the simulator, stated in full.
//!
//! A task that is alone keeps its device busy for `uses` of the time and runs at speed 1. Tasks
//! together get device time as Polder's arbiter gives it: in proportion to their guaranteed
//! compute, none more than it uses or its cap allows, what one leaves is the others' (weighted
//! max-min). Beside that, each is slowed by its neighbours (caches, bandwidth, launches): by
//! `slowdown` of its time for each whole device's worth of time that its neighbours are busy.

/// How much neighbours cost each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interference {
    /// Part of its time that a task loses for each whole device's worth of its neighbours' use.
    pub slowdown: f64,
}

impl Default for Interference {
    fn default() -> Self {
        Self { slowdown: 0.1 }
    }
}

/// One task on a device, in parts of the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sharer {
    /// Guaranteed compute: its weight.
    pub weight: f64,
    /// Most it may have.
    pub cap: f64,
    /// What it keeps busy when alone.
    pub uses: f64,
}

/// What one task gets of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Got {
    /// Device time, in parts of the device.
    pub time: f64,
    /// Its progress, in parts of its progress alone.
    pub speed: f64,
}

/// What each task gets of a device that they share.
#[must_use]
pub fn divide(sharers: &[Sharer], interference: Interference) -> Vec<Got> {
    let mut time = vec![0.0; sharers.len()];
    let mut open: Vec<usize> = (0..sharers.len()).collect();
    let mut left = 1.0;
    while !open.is_empty() {
        let weights: f64 = open.iter().map(|i| sharers[*i].weight).sum();
        let fair = |s: &Sharer| if weights > 0.0 { left * s.weight / weights } else { 0.0 };
        let wants = |s: &Sharer| s.uses.min(s.cap);
        let (sated, more): (Vec<usize>, Vec<usize>) =
            open.iter().copied().partition(|i| wants(&sharers[*i]) <= fair(&sharers[*i]));
        if sated.is_empty() {
            for i in &more {
                time[*i] = fair(&sharers[*i]);
            }
            break;
        }
        for i in &sated {
            time[*i] = wants(&sharers[*i]);
        }
        left -= sated.iter().map(|i| time[*i]).sum::<f64>();
        left = left.max(0.0);
        open = more;
    }
    let all: f64 = time.iter().sum();
    let got = |(sharer, time): (&Sharer, f64)| {
        let part = if sharer.uses > 0.0 { time / sharer.uses } else { 1.0 };
        Got { time, speed: part / (1.0 + interference.slowdown * (all - time)) }
    };
    sharers.iter().zip(time.iter().copied()).map(got).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sharer(weight: f64, uses: f64) -> Sharer {
        Sharer { weight, cap: 1.0, uses }
    }

    #[test]
    fn what_one_leaves_is_the_others() {
        let none = Interference { slowdown: 0.0 };
        let got = divide(&[sharer(0.5, 0.2), sharer(0.25, 1.0), sharer(0.25, 1.0)], none);
        let times: Vec<f64> = got.iter().map(|got| got.time).collect();
        assert_eq!(times, [0.2, 0.4, 0.4]);
        assert_eq!((got[0].speed, got[1].speed), (1.0, 0.4));
        let alone = divide(&[sharer(0.3, 0.9)], Interference { slowdown: 0.5 });
        assert_eq!(alone, [Got { time: 0.9, speed: 1.0 }]);
        let capped = divide(&[Sharer { weight: 0.3, cap: 0.5, uses: 1.0 }], none);
        assert_eq!(capped, [Got { time: 0.5, speed: 0.5 }]);
    }

    #[test]
    fn neighbours_cost() {
        let got = divide(&[sharer(0.5, 0.4), sharer(0.5, 0.5)], Interference { slowdown: 0.1 });
        assert!((got[0].speed - 1.0 / 1.05).abs() < 1e-12, "{got:?}");
    }

    proptest! {
        #[test]
        fn a_guarantee_holds_and_nothing_is_given_twice(
            raw in prop::collection::vec((1u32..1000, 1u32..=1000, 1u32..=1000), 1..8)
        ) {
            let sum: u32 = raw.iter().map(|(weight, _, _)| weight).sum();
            let part = |n: u32| f64::from(n) / 1000.0;
            let sharers: Vec<Sharer> = raw.iter().map(|(weight, cap, uses)| Sharer {
                weight: f64::from(*weight) / f64::from(sum), cap: part(*cap), uses: part(*uses),
            }).collect();
            let got = divide(&sharers, Interference::default());
            let all: f64 = got.iter().map(|got| got.time).sum();
            prop_assert!(all <= 1.0 + 1e-9);
            let wanted: f64 = sharers.iter().map(|s| s.uses.min(s.cap)).sum();
            prop_assert!(all >= wanted.min(1.0) - 1e-9, "{all} of {wanted} given");
            for (sharer, got) in sharers.iter().zip(&got) {
                let wants = sharer.uses.min(sharer.cap);
                prop_assert!(got.time <= wants + 1e-9);
                prop_assert!(got.time >= wants.min(sharer.weight) - 1e-9);
                prop_assert!(got.speed <= 1.0 + 1e-9 && got.speed > 0.0);
            }
        }
    }
}
