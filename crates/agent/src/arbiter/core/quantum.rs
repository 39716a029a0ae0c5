//! How long a turn is: by how many want the device, and by who waits.
//!
//! A long turn costs fewer changes; a short one lets others in sooner. Where somebody waits for an
//! answer turns are short; where only training waits they are long; and the more wait, the shorter
//! each, so that a round of all of them stays within what the most impatient one bears.

use super::{Arbiter, Lease, QUANTUM_MAX_NS, QUANTUM_MIN_NS, QUANTUM_NS};
use polder_model::WorkClass;

/// What one that waits bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patience {
    /// The longest turn of another.
    turn_ns: u64,
    /// A round of everybody's turns.
    round_ns: u64,
}

/// So many usual turns make a round that is not too long: with more who wait, turns are shorter.
const TURNS_A_ROUND: u64 = 3;

impl Patience {
    const fn of(class: WorkClass) -> Self {
        let turn_ns = match class {
            WorkClass::Training => QUANTUM_MAX_NS,
            WorkClass::Batch => QUANTUM_NS,
            WorkClass::Inference | WorkClass::Interactive => QUANTUM_NS / 4,
        };
        Self { turn_ns, round_ns: TURNS_A_ROUND * turn_ns }
    }
}

/// The turn of a holder for whose devices leases of these classes wait.
fn quantum_ns(waiting: impl Iterator<Item = WorkClass>) -> u64 {
    let (mut contenders, mut least) = (1, None::<Patience>);
    for class in waiting {
        contenders += 1;
        let patience = Patience::of(class);
        least = Some(least.map_or(patience, |least| {
            if patience.turn_ns < least.turn_ns { patience } else { least }
        }));
    }
    let Some(least) = least else { return QUANTUM_NS };
    least.turn_ns.min(least.round_ns / contenders).clamp(QUANTUM_MIN_NS, QUANTUM_MAX_NS)
}

impl Arbiter {
    /// How long a turn of `lease` is that begins or goes on now.
    pub(super) fn quantum_ns(&self, lease: &Lease) -> u64 {
        let waits = |other: &&Lease| {
            !std::ptr::eq(*other, lease)
                && other.is_ready(self.now_ns)
                && other.shares_device(lease)
        };
        quantum_ns(self.leases.values().filter(waits).map(|other| other.class))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::MS;
    use super::*;
    use WorkClass::{Batch, Inference, Interactive, Training};

    #[test]
    fn turns_are_as_long_as_those_who_wait_can_bear() {
        for (waiting, expect_ns) in [
            (&[][..], 20 * MS),
            (&[Batch], 20 * MS),
            (&[Batch; 2], 20 * MS),
            (&[Batch; 5], 10 * MS),
            (&[Training], 50 * MS),
            (&[Training; 5], 25 * MS),
            (&[Training, Batch], 20 * MS),
            (&[Interactive], 5 * MS),
            (&[Training, Batch, Inference], 15 * MS / 4),
            (&[Batch; 100], MS),
            (&[Inference; 20], MS),
        ] {
            assert_eq!(quantum_ns(waiting.iter().copied()), expect_ns, "{waiting:?}");
        }
    }
}
