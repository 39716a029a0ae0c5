//! Storms of random events, each event checked, and the oracles on a few cases of each.

use polder_sim::oracle::ORACLES;
use polder_sim::random::Random;
use polder_sim::storm::Storm;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn no_event_breaks_a_promise(seed in any::<u64>()) {
        let mut storm = Storm::new(seed, 1);
        prop_assert_eq!(storm.run(300), Ok(()));
        prop_assert!(storm.told().applied >= 300);
    }
}

#[test]
fn a_storm_brings_everything_and_repeats_itself() {
    let run = || {
        let mut storm = Storm::new(7, 250);
        storm.run(5_000).unwrap();
        storm.told().clone()
    };
    let told = run();
    assert_eq!(told, run());
    let missing = [
        "node_reported",
        "node_silent",
        "lease_ended",
        "job_cancelled",
        "policy_set",
        "reservation_set",
        "decided: grant",
        "decided: start",
        "decided: return",
        "decided: stop",
        "decided: retry",
        "decided: preempt",
        "decided: grow",
        "decided: shrink",
        "decided: finish",
    ];
    let missing: Vec<&str> =
        missing.into_iter().filter(|kind| !told.kinds.contains_key(*kind)).collect();
    assert_eq!(missing, [""; 0], "{told:?}");
    assert!(told.refused > 0 && told.plans_compared > 0 && told.snapshots > 0);
}

#[test]
fn brute_force_agrees() {
    for oracle in ORACLES {
        for seed in 0..60 {
            let mut random = Random::stream(seed, oracle.name);
            assert_eq!((oracle.case)(&mut random), Ok(()), "{}, seed {seed}", oracle.name);
        }
    }
}
