//! A tenant may write anything into its `Usage` page: nothing that reads it panics or believes
//! more than a bound. And against an obvious model, the ledger adds up.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

use polder_ledger::gate::{self, COUNT_MAX};
use polder_ledger::{DEVICES_MAX, SLOTS_MAX, Usage, create_usage, memory};
use proptest::prelude::*;

const LIMIT: u64 = 1000;

fn read_everything(usage: &Usage) {
    let census = gate::census(usage);
    let slots = usage.slots().len();
    assert!(slots <= SLOTS_MAX && census.processes as usize <= slots);
    let most = slots as u64 * u64::from(COUNT_MAX);
    assert!(census.inflight <= most && census.waiting <= most);
    for device in 0..DEVICES_MAX {
        let _ = memory::held(usage, device);
    }
    // Not the lease's first own page any more, but no reason to fall over either.
    let _ = (usage.check(), usage.lease());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_can_be_read(pattern in prop::collection::vec(any::<u8>(), 1..4096)) {
        let (fd, usage) = create_usage(1).unwrap();
        let bytes: Vec<u8> = pattern.iter().copied().cycle().take(size_of::<Usage>()).collect();
        rustix::io::pwrite(&fd, &bytes, 0).unwrap();
        read_everything(&usage);
        let got = memory::reserve(&usage, 0, 0, 10, || LIMIT, || ());
        if got.is_ok() {
            memory::free(&usage, 0, 0, 10);
        }
        memory::free(&usage, 1, 0, u64::MAX);
        for slot in 0..SLOTS_MAX {
            usage.retire_slot(slot);
        }
        prop_assert_eq!(memory::held(&usage, 0), 0);
        prop_assert_eq!(gate::census(&usage).inflight, 0);
    }

    #[test]
    fn the_ledger_agrees_with_a_simple_sum(
        steps in prop::collection::vec((0usize..4, 0u8..8, 1u64..600), 1..200),
    ) {
        let usage = Usage::new(1);
        let mut held = [0u64; 4];
        let mut peak = 0;
        for slot in 0..4 {
            usage.claim_slot(slot, 1);
        }
        for (slot, what, bytes) in steps {
            match what {
                0 => {
                    usage.retire_slot(slot);
                    usage.claim_slot(slot, 1);
                    held[slot] = 0;
                }
                1..4 => {
                    memory::free(&usage, slot, 0, bytes);
                    held[slot] = held[slot].saturating_sub(bytes);
                }
                _ => {
                    let fits = held.iter().sum::<u64>() + bytes <= LIMIT;
                    let got = memory::reserve(&usage, slot, 0, bytes, || LIMIT, || ());
                    prop_assert_eq!(got.is_ok(), fits);
                    held[slot] += if fits { bytes } else { 0 };
                }
            }
            let sum: u64 = held.iter().sum();
            peak = peak.max(sum);
            prop_assert_eq!(memory::held(&usage, 0), sum);
            let seen = usage.peak[0].load(std::sync::atomic::Ordering::Relaxed);
            prop_assert_eq!(seen, peak);
        }
    }

    #[test]
    fn charges_are_whole_granules(bytes in any::<u64>(), granularity in any::<u64>()) {
        match memory::charge(bytes, granularity) {
            Some(charge) => {
                prop_assert!(charge >= bytes.max(1));
                prop_assert_eq!(charge % granularity.max(1), 0);
                prop_assert!(charge - bytes.max(1) < granularity.max(1));
            }
            None => prop_assert!(bytes.checked_add(granularity).is_none()),
        }
    }
}

#[test]
fn the_first_byte_past_the_limit_is_refused_and_says_why() {
    let usage = Usage::new(1);
    usage.claim_slot(0, 1);
    memory::reserve(&usage, 0, 0, LIMIT, || LIMIT, || ()).unwrap();
    let refused = memory::reserve(&usage, 0, 0, 1, || LIMIT, || ()).unwrap_err();
    assert_eq!(refused.to_string(), "1 bytes asked, 1000 of the lease's 1000 held");
    // Another device of the lease is another account.
    memory::reserve(&usage, 0, 1, LIMIT, || LIMIT, || ()).unwrap();
}
