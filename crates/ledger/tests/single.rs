//! The lease's single command: who is next, what is believed and for how long.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

use polder_ledger::single::{BELIEVED_NS, Held, Single, give_back, take};
use polder_ledger::{Usage, gate};
use std::sync::atomic::Ordering;

const MS: u64 = 1_000_000;

fn lease(processes: usize) -> Box<Usage> {
    let usage = Box::new(Usage::new(1));
    for slot in 0..processes {
        usage.claim_slot(slot, 100);
    }
    usage
}

#[test]
fn it_goes_round_among_those_that_wait() {
    let usage = lease(4);
    for slot in [0, 1, 3] {
        gate::wait_begin(&usage.slot[slot]);
    }
    let mut order = Vec::new();
    for turn in 1..=6 {
        let at_ns = turn * 100 * MS;
        // Whoever asks first, and however often.
        let (me, single) = (0..4)
            .rev()
            .find_map(|me| Some((me, take(&usage, me, at_ns, Some(at_ns + MS), true).ok()?)))
            .unwrap();
        assert!(give_back(&usage, single));
        order.push(me);
    }
    assert_eq!(order, [1, 3, 0, 1, 3, 0]);
    assert_eq!(take(&usage, 0, 900 * MS, None, true), Err(Held::Line));
    assert!(take(&usage, 0, 900 * MS, None, false).is_ok(), "it has been polite long enough");
}

#[test]
fn who_dies_in_flight_is_believed_until_it_is_reaped_and_one_that_hangs_for_a_second() {
    let usage = lease(2);
    let at_ns = 7_000 * MS;
    let single = take(&usage, 0, at_ns, None, true).unwrap();
    assert_eq!(take(&usage, 1, at_ns + BELIEVED_NS, None, true), Err(Held::Flying));
    let later_ns = at_ns + BELIEVED_NS + MS;
    let theirs = take(&usage, 1, later_ns, None, true).unwrap();
    give_back(&usage, single);
    assert_eq!(take(&usage, 0, later_ns, None, true), Err(Held::Flying), "it is theirs now");
    usage.retire_slot(1);
    assert!(take(&usage, 0, later_ns, None, true).is_ok());
    give_back(&usage, theirs);
    assert_eq!(take(&usage, 0, later_ns, None, true), Err(Held::Flying), "not theirs any more");
}

#[test]
fn whatever_stands_there_holds_nobody_for_longer_than_it_is_believed() {
    let usage = lease(3);
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200_000_u64 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
        // Half of them name a live slot, in flight, at a moment near now.
        let near = 1 << 63 | noise >> 40 & 1 << 62 | 1 << 40 | (noise >> 8 & 3) << 32;
        let now_ns = 3_000_000 * MS + noise % (4_000_000 * MS);
        let word = match noise >> 60 & 1 {
            0 => noise,
            _ => near | (now_ns / 1000).wrapping_add(noise >> 44 & 0xf_ffff) & 0xffff_ffff,
        };
        usage.single.store(word, Ordering::Relaxed);
        let moments = [now_ns, now_ns + BELIEVED_NS + MS, now_ns + 2 * (BELIEVED_NS + MS)];
        let had =
            moments.iter().any(|at_ns| take(&usage, 1, *at_ns, Some(at_ns + MS), true).is_ok());
        assert!(had, "{word:#x} holds somebody up");
    }
    assert_eq!(Single::of_word(0), None);
}
