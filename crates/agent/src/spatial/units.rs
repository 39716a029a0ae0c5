//! Masks of compute units: leases side by side on one of AMD's cards, each on units of its own.
//!
//! **Invariants.** No two leases of a card have a unit in common. A lease has whole atoms, and of the card's
//! units never more than its part. What a lease had is free once it is released. The same leases in the
//! same order have the same units.
//!
//! **What a mask holds, and what it does not.** The mask is told to a program in its environment, and the
//! vendor's ROCr runtime puts its queues on these units: for HIP, for ROCm's OpenCL and for whatever else
//! goes through ROCr. A program that clears its environment, or reaches the card in another way (Vulkan,
//! Mesa's OpenCL, the kernel's driver itself), is not held: the isolation is `none`. Memory is counted where
//! leases are placed and held by nobody.
//!
//! It knows no process and starts none; which units a card has is [`polder_devices`]'s to say.

use polder_devices::ComputeUnits;
use polder_model::{DeviceId, LeaseId, Permille};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// The mask of a program's units.
const MASK_VARIABLE: &str = "HSA_CU_MASK";
/// The cards that a program sees.
const VISIBLE_VARIABLE: &str = "ROCR_VISIBLE_DEVICES";
/// Variables that would choose among these cards or units anew: they are not handed on.
pub const OTHER_VARIABLES: [&str; 4] =
    ["ROC_GLOBAL_CU_MASK", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "CUDA_VISIBLE_DEVICES"];

/// Why a lease has no units.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitsError {
    /// Its part is less than can be told apart.
    #[error(
        "{compute} of a card with {count} compute units is less than the {atom} that a mask can keep \
         apart: ask for {least} or more"
    )]
    Small {
        /// What it was granted.
        compute: Permille,
        /// The card's.
        count: u32,
        /// Those that go together.
        atom: u32,
        /// The least that holds them.
        least: Permille,
    },
    /// Others have them.
    #[error(
        "{wanted} compute units of {card} are wanted and {free} are free: wait until a lease there ends"
    )]
    Taken {
        /// Which card.
        card: DeviceId,
        /// How many.
        wanted: u32,
        /// How many there are.
        free: u32,
    },
    /// The kernel does not tell.
    #[error(
        "the kernel does not tell the compute units of {0} now: see dmesg for amdgpu, or ask for another device"
    )]
    Unknown(DeviceId),
}

/// A lease's units of a card. Kept in the lease's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// Which card.
    pub card: DeviceId,
    /// What the vendor's runtimes call it.
    name: String,
    /// First and last units, in order and apart.
    ranges: Vec<(u32, u32)>,
}

impl Mask {
    /// Variables of the lease's programs. The card is the only one that they see, and so card 0.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let range = |(first, last): &(u32, u32)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let ranges: Vec<String> = self.ranges.iter().map(range).collect();
        let mask = format!("0:{}", ranges.join(","));
        [(VISIBLE_VARIABLE, self.name.clone()), (MASK_VARIABLE, mask)]
    }

    /// How many units it has.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.ranges.iter().map(|(first, last)| last.saturating_sub(*first).saturating_add(1)).sum()
    }

    /// Whether it has one of these.
    fn has_any(&self, first: u32, last: u32) -> bool {
        self.ranges.iter().any(|(from, to)| *from <= last && first <= *to)
    }
}

/// Who has which units of the cards of one node.
#[derive(Debug, Clone, Default)]
pub struct Masks {
    held: Arc<Mutex<Held>>,
}

type Held = BTreeMap<LeaseId, Mask>;

impl Masks {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // No code panics while it holds the lock; the map is whole in any case.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a lease its part of a card: the most whole atoms in it, the lowest that are free.
    ///
    /// # Errors
    /// [`UnitsError`]; then it has none.
    pub fn take(
        &self,
        lease: LeaseId,
        card: &DeviceId,
        units: &ComputeUnits,
        compute: Permille,
    ) -> Result<Mask, UnitsError> {
        let mut held = self.lock();
        let mask = pick(&held, lease, card, units, compute)?;
        held.insert(lease, mask.clone());
        Ok(mask)
    }

    /// Takes over what an earlier agent gave a lease.
    pub fn adopt(&self, lease: LeaseId, mask: Mask) {
        self.lock().insert(lease, mask);
    }

    /// What a lease has is free again, if it has any.
    pub fn release(&self, lease: LeaseId) {
        self.lock().remove(&lease);
    }
}

fn pick(
    held: &Held,
    lease: LeaseId,
    card: &DeviceId,
    units: &ComputeUnits,
    compute: Permille,
) -> Result<Mask, UnitsError> {
    let ComputeUnits { count, atom, name } = units;
    let (count, atom) = (*count, (*atom).max(1));
    let part = u64::from(compute.0.min(1000)) * u64::from(count) / 1000;
    let wanted = usize::try_from(part / u64::from(atom)).unwrap_or(usize::MAX);
    if wanted == 0 {
        let least = (u64::from(atom) * 1000).div_ceil(u64::from(count.max(1)));
        let least = Permille(u32::try_from(least).unwrap_or(u32::MAX));
        return Err(UnitsError::Small { compute, count, atom, least });
    }
    let others = || held.iter().filter(|(other, mask)| **other != lease && mask.card == *card);
    let all = (0..count / atom).map(|number| (number * atom, number * atom + atom - 1));
    let is_free = |(first, last): &(u32, u32)| !others().any(|(_, it)| it.has_any(*first, *last));
    let free: Vec<(u32, u32)> = all.filter(is_free).collect();
    let Some(taken) = free.get(..wanted) else {
        let number = |atoms: usize| u32::try_from(atoms).unwrap_or(u32::MAX).saturating_mul(atom);
        let (wanted, free) = (number(wanted), number(free.len()));
        return Err(UnitsError::Taken { card: card.clone(), wanted, free });
    };
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for (first, last) in taken {
        match ranges.last_mut() {
            Some(before) if before.1 + 1 == *first => before.1 = *last,
            _ => ranges.push((*first, *last)),
        }
    }
    Ok(Mask { card: card.clone(), name: name.clone(), ranges })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn card(number: u32) -> DeviceId {
        format!("opencl-0-{number}").parse().unwrap()
    }

    fn units(count: u32, atom: u32) -> ComputeUnits {
        ComputeUnits { count, atom, name: "GPU-0123456789abcdef".into() }
    }

    fn told(mask: &Mask) -> String {
        mask.variables()[1].1.clone()
    }

    #[test]
    fn a_part_is_whole_atoms_and_rounded_down() {
        // What was measured on cards of these shapes: one of three engines in pairs, one of eight dies.
        for (count, atom, compute, expect) in [
            (60, 6, 100, "0:0-5"),
            (60, 6, 250, "0:0-11"),
            (60, 6, 500, "0:0-29"),
            (60, 6, 750, "0:0-41"),
            (60, 6, 1000, "0:0-59"),
            (304, 8, 50, "0:0-7"),
            (304, 8, 105, "0:0-23"),
            (304, 8, 500, "0:0-151"),
            (304, 8, 1000, "0:0-303"),
            (50, 8, 1000, "0:0-47"),
            (36, 1, 28, "0:0"),
        ] {
            let mask =
                Masks::default().take(LeaseId(1), &card(0), &units(count, atom), Permille(compute));
            assert_eq!(told(&mask.unwrap()), expect, "{compute} of {count}");
        }
        let small = Masks::default().take(LeaseId(1), &card(0), &units(304, 8), Permille(10));
        assert!(small.unwrap_err().to_string().contains("ask for 2.7%"));
        let odd = Masks::default().take(LeaseId(1), &card(0), &units(0, 0), Permille(1000));
        assert!(odd.is_err());
    }

    #[test]
    fn leases_have_units_of_their_own_and_give_them_back() {
        let masks = Masks::default();
        let take = |lease, number, compute| {
            masks.take(LeaseId(lease), &card(number), &units(60, 6), Permille(compute))
        };
        let first = take(1, 0, 300).unwrap();
        assert_eq!(
            first.variables(),
            [
                ("ROCR_VISIBLE_DEVICES", "GPU-0123456789abcdef".to_owned()),
                ("HSA_CU_MASK", "0:0-17".to_owned())
            ]
        );
        assert_eq!(told(&take(2, 0, 200).unwrap()), "0:18-29");
        assert_eq!(told(&take(3, 1, 200).unwrap()), "0:0-11", "another card");
        masks.release(LeaseId(1));
        assert_eq!(told(&take(4, 0, 500).unwrap()), "0:0-17,30-41", "in two places");
        let full = take(5, 0, 400).unwrap_err().to_string();
        assert!(full.contains("24 compute units") && full.contains("18 are free"), "{full}");

        // A successor knows what is held.
        let after = Masks::default();
        after.adopt(LeaseId(1), first);
        let next = after.take(LeaseId(6), &card(0), &units(60, 6), Permille(100)).unwrap();
        assert_eq!(told(&next), "0:18-23");
    }

    proptest! {
        /// What holds after every step of leases that come and go.
        #[test]
        fn masks_are_disjoint_and_never_more_than_the_part(
            pairs in 1u32..3, groups in 1u32..9, atoms in 1u32..40, rest in 0u32..9,
            steps in prop::collection::vec((0u64..8, 0u32..2, 0u32..1100), 1..60),
        ) {
            let atom = pairs * groups;
            let all = units(atom * atoms + rest % atom, atom);
            let (masks, again) = (Masks::default(), Masks::default());
            let mut known: BTreeMap<u64, Mask> = BTreeMap::new();
            for (lease, number, compute) in steps {
                if known.remove(&lease).is_some() {
                    masks.release(LeaseId(lease));
                    again.release(LeaseId(lease));
                    continue;
                }
                let took = masks.take(LeaseId(lease), &card(number), &all, Permille(compute));
                let same = again.take(LeaseId(lease), &card(number), &all, Permille(compute));
                prop_assert_eq!(&took, &same);
                let others = known.values().filter(|mask| mask.card == card(number));
                let taken: u32 = others.clone().map(Mask::count).sum();
                match took {
                    Ok(mask) => {
                        prop_assert!(u64::from(mask.count()) * 1000
                            <= u64::from(compute.min(1000)) * u64::from(all.count));
                        prop_assert!(mask.count() > 0 && taken + mask.count() <= all.count);
                        for (first, last) in &mask.ranges {
                            prop_assert!(first % atom == 0 && (last + 1) % atom == 0);
                            prop_assert!(first <= last && *last < all.count);
                            prop_assert!(!others.clone().any(|other| other.has_any(*first, *last)));
                        }
                        known.insert(lease, mask);
                    }
                    Err(UnitsError::Taken { wanted, free, .. }) => {
                        prop_assert!(wanted > free);
                        prop_assert_eq!(free, atoms * atom - taken, "nothing leaks");
                    }
                    Err(error) => prop_assert!(matches!(error, UnitsError::Small { .. }), "{error:?}"),
                }
            }
        }

        /// Parts that fit a card always find their units, whatever has come and gone before.
        #[test]
        fn parts_that_fit_are_never_refused(
            parts in prop::collection::vec(1u32..=1000, 1..12), atom in 1u32..17, atoms in 1u32..40,
        ) {
            let (masks, all) = (Masks::default(), units(atom * atoms, atom));
            let (mut left, mut lease) = (1000, 0);
            for part in parts {
                let part = part.min(left);
                lease += 1;
                let took = masks.take(LeaseId(lease), &card(0), &all, Permille(part));
                prop_assert!(!matches!(took, Err(UnitsError::Taken { .. })), "{took:?}");
                left -= part;
                // Every other one goes again.
                if lease % 2 == 0 {
                    masks.release(LeaseId(lease));
                    left += part;
                }
            }
        }
    }
}
