//! Memory that a device's driver holds for a lease beyond what its programs have allocated: contexts,
//! code, workspaces of libraries. No call allocates it, so no hook sees it; the vendor's driver tells how
//! much each process has altogether. Pure.
//!
//! **Invariants.** What the driver says of the lease's own processes counts, and of nobody else's. A
//! process that says it holds more than it does hides nothing: what it says counts against the lease in
//! any case. What is only under way between two looks, allocated or freed, is not taken for hidden: of the
//! last [`LOOKS`] looks the least counts, each against the most that the process held since the one before.
//! So what is hidden is counted late, by that many looks, and never for longer than one. A process that the
//! driver does not name, though it holds memory, has been moved off the device (`cuda-checkpoint`) and may
//! come back: what was hidden of it stays, so that there is room for it.

use std::collections::BTreeMap;

/// So many looks must show bytes before they count.
const LOOKS: usize = 3;
/// So many looks in a row must miss a process before it counts as moved off the device.
const MISSED: u32 = 2;

/// A process that the driver has named.
#[derive(Debug, Clone, Copy, Default)]
struct Named {
    /// What was hidden of it when it last was, bytes.
    hidden: u64,
    /// Looks since then.
    missed: u32,
}

/// One device of one lease, look by look.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// What each process held at the last look, by its pages.
    held: BTreeMap<u32, u64>,
    /// Those of them that the driver has named.
    named: BTreeMap<u32, Named>,
    /// What was hidden in each of the last looks.
    seen: [u64; LOOKS],
}

impl Hidden {
    /// Goes on from what an earlier agent knew.
    pub(super) fn from(bytes: u64) -> Self {
        Self { seen: [bytes; LOOKS], ..Self::default() }
    }

    /// One look: `used` is what the driver says that each process on the device has, `held` what the
    /// lease's own have allocated, bytes; `named` are those that it names without saying. Returns what is
    /// hidden.
    pub(super) fn look(
        &mut self,
        used: impl Iterator<Item = (u32, u64)>,
        named: &[u32],
        held: BTreeMap<u32, u64>,
    ) -> u64 {
        // Who has nothing there any more, or is gone, does not come back to it.
        self.named.retain(|pid, _| held.get(pid).is_some_and(|held| *held > 0));
        self.named.values_mut().for_each(|named| named.missed = named.missed.saturating_add(1));
        for pid in named {
            if let Some(named) = self.named.get_mut(pid) {
                named.missed = 0;
            }
        }
        for (pid, used) in used {
            let Some(now) = held.get(&pid) else { continue };
            let before = self.held.get(&pid).copied().unwrap_or(0);
            let hidden = used.saturating_sub(before.max(*now));
            self.named.insert(pid, Named { hidden, missed: 0 });
        }
        let sum = self.named.values().map(|named| named.hidden).fold(0, u64::saturating_add);
        self.held = held;
        self.seen.rotate_left(1);
        self.seen[LOOKS - 1] = sum;
        self.seen.iter().copied().min().unwrap_or(0)
    }

    /// Processes that have been moved off the device: they hold memory of it, the driver has named them and
    /// does so no more.
    pub(super) fn away(&self) -> impl Iterator<Item = u32> {
        self.named.iter().filter(|(_, named)| named.missed >= MISSED).map(|(pid, _)| *pid)
    }

    /// Whether a process holds memory of the device, and is there.
    pub(super) fn has(&self, pid: u32) -> bool {
        let missed = self.named.get(&pid).map_or(0, |named| named.missed);
        self.held.get(&pid).is_some_and(|held| *held > 0) && missed < MISSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTEXT: u64 = 400;

    fn look(hidden: &mut Hidden, used: &[(u32, u64)], held: &[(u32, u64)]) -> u64 {
        hidden.look(used.iter().copied(), &[], held.iter().copied().collect())
    }

    #[test]
    fn a_context_counts_after_a_few_looks_and_no_more_once_its_process_is_gone() {
        let mut hidden = Hidden::default();
        let seen: Vec<u64> = (0..4)
            .map(|_| look(&mut hidden, &[(7, 100 + CONTEXT), (9, 5000)], &[(7, 100)]))
            .collect();
        assert_eq!(seen, [0, 0, CONTEXT, CONTEXT], "9 is not the lease's");
        // It ends, and another comes.
        assert_eq!(look(&mut hidden, &[], &[]), 0);
        assert_eq!(look(&mut hidden, &[(8, CONTEXT)], &[(8, 0)]), 0);
    }

    #[test]
    fn a_process_that_says_it_holds_more_hides_what_counts_anyway() {
        let mut hidden = Hidden::default();
        for _ in 0..LOOKS {
            let lied = 10_000;
            let counted = look(&mut hidden, &[(7, CONTEXT)], &[(7, lied)]) + lied;
            assert!(counted >= CONTEXT);
        }
        // And one that says less: all that the driver tells is hidden.
        let mut hidden = Hidden::default();
        let counted = (0..LOOKS).map(|_| look(&mut hidden, &[(7, 9000)], &[(7, 0)])).last();
        assert_eq!(counted, Some(9000));
    }

    #[test]
    fn what_was_hidden_of_a_process_that_is_off_the_device_is_kept_for_its_return() {
        let mut hidden = Hidden::default();
        let here = [(7, 100 + CONTEXT), (9, 5000)];
        for _ in 0..LOOKS {
            look(&mut hidden, &here, &[(7, 100)]);
        }
        for _ in 0..2 * LOOKS {
            assert_eq!(look(&mut hidden, &[(9, 5000)], &[(7, 100)]), CONTEXT);
        }
        assert_eq!(look(&mut hidden, &here, &[(7, 100)]), CONTEXT, "it is back");
        assert_eq!(look(&mut hidden, &[(9, 5000)], &[(7, 0)]), 0, "it has nothing left there");
        // One that was never seen there has nothing to come back to.
        assert_eq!(look(&mut hidden, &[], &[(8, 10_000)]), 0);
    }

    #[test]
    fn who_has_been_there_and_is_missed_twice_is_away_until_it_is_back() {
        const NOBODY: [u32; 0] = [];
        let mut hidden = Hidden::default();
        let mut away = |used: &[(u32, u64)], held: &[(u32, u64)]| {
            look(&mut hidden, used, held);
            hidden.away().collect::<Vec<_>>()
        };
        let held = [(7, 100), (8, 100)];
        // Of a driver that names nobody nothing is concluded.
        assert_eq!(away(&[], &held), NOBODY);
        assert_eq!(away(&[], &held), NOBODY);
        let here = [(7, CONTEXT), (8, CONTEXT)];
        assert_eq!(away(&here, &held), NOBODY);
        assert_eq!(away(&here[..1], &held), NOBODY, "one look may miss anybody");
        assert_eq!(away(&here[..1], &held), [8]);
        assert_eq!(away(&here[..1], &held), [8]);
        assert_eq!(away(&here, &held), NOBODY);
        let named = |hidden: &mut Hidden| {
            hidden.look(here[..1].iter().copied(), &[8], held.into_iter().collect());
        };
        (0..3).for_each(|_| named(&mut hidden));
        assert_eq!(
            hidden.away().collect::<Vec<_>>(),
            NOBODY,
            "it is named, with no number of bytes"
        );
        let mut away = |used: &[(u32, u64)], held: &[(u32, u64)]| {
            look(&mut hidden, used, held);
            hidden.away().collect::<Vec<_>>()
        };
        assert_eq!(away(&here[1..], &[(7, 0), (8, 100)]), NOBODY);
        assert_eq!(away(&here[1..], &[(8, 100)]), NOBODY, "it is gone");
    }

    #[test]
    fn a_successor_goes_on_from_what_was_known() {
        let mut hidden = Hidden::from(CONTEXT);
        assert_eq!(look(&mut hidden, &[(7, CONTEXT)], &[(7, 0)]), CONTEXT);
        assert_eq!(look(&mut hidden, &[], &[]), 0);
    }

    proptest! {
        /// A program that allocates and frees what it likes, once between two moments at which
        /// anybody looks, never has more counted than its context; and all of that soon.
        #[test]
        fn what_is_allocated_and_freed_is_never_taken_for_hidden(
            held in prop::collection::vec((0u64..1000, any::<bool>()), 1..40)
        ) {
            let mut hidden = Hidden::default();
            let (mut before, mut last) = (0, 0);
            for (now, early) in held {
                // The driver was asked before or after the program's last call.
                let told = if early { before } else { now };
                last = look(&mut hidden, &[(7, CONTEXT + told)], &[(7, now)]);
                prop_assert!(last <= CONTEXT);
                before = now;
            }
            // It is quiet.
            for _ in 0..=LOOKS {
                last = look(&mut hidden, &[(7, CONTEXT + before)], &[(7, before)]);
            }
            prop_assert_eq!(last, CONTEXT);
        }
    }
}
