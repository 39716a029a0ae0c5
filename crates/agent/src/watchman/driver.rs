//! Who computes on a card, as NVIDIA's driver lists it, and has no slot of any lease.
//!
//! The driver's list needs no right to read another process's memory map, and cannot be deceived by a
//! library that is renamed or linked in. It tells of contexts: a program that has none is not in it.

use polder_devices::CardsNow;
use std::collections::{BTreeMap, BTreeSet};

/// Most processes of one look that are followed up; of more, the first by number.
const UNSLOTTED_MAX: usize = 256;

/// Processes with a context and no slot, and the card of each.
pub(super) fn unslotted(cards: &CardsNow, attached: &BTreeSet<u32>) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for card in &cards.cards {
        for pid in card.processes.iter().flatten() {
            if *pid != 0 && !attached.contains(pid) && found.len() < UNSLOTTED_MAX {
                found.entry(*pid).or_insert_with(|| card.uuid.clone());
            }
        }
    }
    found
}

/// Looks after which a process that is no lease's is told of: whose the machine's processes are is asked
/// at every second look, so a lease's own process is known by then.
const STRANGER_LOOKS: u32 = 3;

/// Processes that are no lease's, on the cards of one lease.
#[derive(Debug, Default)]
pub(super) struct Strangers(BTreeMap<u32, u32>);

impl Strangers {
    /// Hears of those that are there now; returns those that have been there for long enough.
    pub(super) fn see(&mut self, now: &BTreeSet<u32>) -> Vec<u32> {
        self.0.retain(|pid, _| now.contains(pid));
        for pid in now {
            let looks = self.0.entry(*pid).or_default();
            *looks = looks.saturating_add(1);
        }
        let long = self.0.iter().filter(|(_, looks)| **looks >= STRANGER_LOOKS);
        long.map(|(pid, _)| *pid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_devices::CardNow;

    #[test]
    fn whoever_has_a_slot_is_not_among_them() {
        let card = |uuid: &str, processes| CardNow {
            uuid: uuid.to_owned(),
            processes,
            ..CardNow::default()
        };
        let processes = Some(vec![7, 8, 0]);
        let cards = CardsNow { cards: vec![card("GPU-1", processes), card("GPU-2", None)] };
        let found = unslotted(&cards, &BTreeSet::from([7]));
        assert_eq!(found, BTreeMap::from([(8, "GPU-1".to_owned())]));
        let many = CardsNow { cards: vec![card("GPU-1", Some((1..10_000).collect()))] };
        assert_eq!(unslotted(&many, &BTreeSet::new()).len(), UNSLOTTED_MAX);
    }

    #[test]
    fn a_stranger_is_told_of_when_it_stays() {
        let (mut strangers, there) = (Strangers::default(), BTreeSet::from([8]));
        assert!(strangers.see(&there).is_empty() && strangers.see(&there).is_empty());
        assert!(strangers.see(&BTreeSet::new()).is_empty());
        assert!(strangers.see(&there).is_empty() && strangers.see(&there).is_empty());
        assert_eq!(strangers.see(&there), [8]);
    }
}
