//! Memory: reserved, given back, under a limit that falls.

use super::{LIMIT, Lease, PREEMPTIONS, PREEMPTIONS_OF_THREE, WRITES_MAX, bounded_model, model};
use loom::sync::Arc;
use loom::thread;
use polder_ledger::{die_after, gate, memory};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{self, SeqCst};

/// Two processes reserve at once; how many of them succeed, whatever the order.
fn check_two(first: u64, second: u64, expect: &'static [usize]) {
    model(move || {
        let lease = Lease::new(2);
        let other = Arc::clone(&lease);
        let thread = thread::spawn(move || other.reserve(1, second));
        let mine = lease.reserve(0, first);
        let theirs = thread.join().unwrap();
        let got = usize::from(mine) + usize::from(theirs);
        assert!(expect.contains(&got), "{got} of two reservations succeeded");
        let held = u64::from(mine) * first + u64::from(theirs) * second;
        assert_eq!(memory::held(&lease.usage, 0), held);
    });
}

#[test]
fn two_that_fit_together_both_succeed() {
    check_two(4, 4, &[2]);
}

#[test]
fn of_two_that_do_not_fit_together_one_succeeds() {
    check_two(5, 5, &[1]);
}

#[test]
fn one_that_cannot_fit_does_not_stop_the_other() {
    check_two(9, 8, &[1]);
}

#[test]
fn three_never_pass_the_limit_and_one_succeeds() {
    bounded_model(PREEMPTIONS_OF_THREE, || {
        let lease = Lease::new(3);
        let threads = [1, 2].map(|me| {
            let lease = Arc::clone(&lease);
            thread::spawn(move || lease.reserve(me, 5))
        });
        let mine = lease.reserve(0, 5);
        let got = threads.map(|thread| thread.join().unwrap());
        assert_eq!(usize::from(mine) + got.into_iter().filter(|got| *got).count(), 1);
    });
}

#[test]
fn bytes_given_back_are_used_again_but_never_twice() {
    model(|| {
        let lease = Lease::new(2);
        let other = Arc::clone(&lease);
        let thread = thread::spawn(move || {
            if other.reserve(1, 6) {
                other.free(1, 6);
            }
        });
        if lease.reserve(0, 6) {
            lease.free(0, 6);
        }
        thread.join().unwrap();
        assert!(lease.reserve(0, LIMIT), "everything was given back");
    });
}

const LOWER: u64 = 4;

/// The limit is lowered while processes reserve: once all is seen within the lower one, nothing passes it.
fn lowered_under(processes: usize, preemptions: usize, bytes: u64) {
    bounded_model(preemptions, move || {
        let lease = Lease::new(processes);
        let limit = Arc::new(loom::sync::atomic::AtomicU64::new(LIMIT));
        let lowered = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..processes)
            .map(|me| {
                let (lease, limit, lowered) =
                    (Arc::clone(&lease), Arc::clone(&limit), Arc::clone(&lowered));
                thread::spawn(move || {
                    let limit = || limit.load(Ordering::Acquire);
                    let got = memory::reserve(&lease.usage, me, 0, bytes, limit, thread::yield_now);
                    if got.is_ok() {
                        lease.believed.more(bytes);
                        let most = if lowered.load(SeqCst) == 1 { LOWER } else { LIMIT };
                        let held = lease.believed.0.load(SeqCst);
                        assert!(held <= most, "{held} of {most} bytes held");
                        lease.free(me, bytes);
                    }
                })
            })
            .collect();
        limit.store(LOWER, Ordering::Release);
        if memory::is_within(&lease.usage, 0, LOWER) {
            lowered.store(1, SeqCst);
            let held = lease.believed.0.load(SeqCst);
            assert!(held <= LOWER, "{held} bytes held, and all was said to be within {LOWER}");
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(memory::is_within(&lease.usage, 0, 0), "everything was given back");
    });
}

#[test]
fn nothing_passes_a_lower_limit_once_all_is_within_it() {
    lowered_under(1, PREEMPTIONS, 5);
}

#[test]
fn nor_do_two_together() {
    lowered_under(2, PREEMPTIONS_OF_THREE, 3);
}

#[test]
fn a_process_that_dies_after_any_write_leaves_nothing_behind() {
    for writes in 0..WRITES_MAX {
        model(move || {
            let lease = Lease::new(2);
            let (dying, reaping) = (Arc::clone(&lease), Arc::clone(&lease));
            let victim = thread::spawn(move || {
                die_after(writes);
                // What a dead process believes counts for nobody.
                let got = memory::reserve(&dying.usage, 0, 0, 5, || LIMIT, thread::yield_now);
                if got.is_ok() {
                    memory::free(&dying.usage, 0, 0, 5);
                }
            });
            let reaper = thread::spawn(move || {
                victim.join().unwrap();
                reaping.usage.retire_slot(0);
            });
            let mine = lease.reserve(1, 5);
            reaper.join().unwrap();
            assert_eq!(memory::held(&lease.usage, 0), u64::from(mine) * 5);
            assert!(mine || lease.reserve(1, LIMIT), "the dead hold nothing");
        });
    }
}

#[test]
fn what_a_living_process_holds_is_never_granted_again_when_another_dies() {
    for writes in 0..WRITES_MAX {
        model(move || {
            let lease = Lease::new(2);
            let dying = Arc::clone(&lease);
            let victim = thread::spawn(move || {
                die_after(writes);
                let _ = memory::reserve(&dying.usage, 1, 0, 5, || LIMIT, thread::yield_now);
            });
            let mine = lease.reserve(0, 5);
            victim.join().unwrap();
            lease.usage.retire_slot(1);
            assert_eq!(lease.reserve(0, 4), !mine);
        });
    }
}

#[test]
fn bytes_that_a_dying_process_gives_back_are_given_back_once() {
    for writes in 0..2 {
        model(move || {
            let lease = Lease::new(2);
            memory::reserve(&lease.usage, 0, 0, 6, || LIMIT, thread::yield_now).unwrap();
            let (dying, reaping) = (Arc::clone(&lease), Arc::clone(&lease));
            let victim = thread::spawn(move || {
                die_after(writes);
                memory::free(&dying.usage, 0, 0, 6);
            });
            let reaper = thread::spawn(move || {
                victim.join().unwrap();
                reaping.usage.retire_slot(0);
            });
            let mine = lease.reserve(1, 6);
            reaper.join().unwrap();
            assert_eq!(memory::held(&lease.usage, 0), if mine { 6 } else { 0 });
            assert!(mine || lease.reserve(1, LIMIT), "the dead hold nothing");
        });
    }
}

#[test]
fn who_comes_into_the_slot_of_a_dead_process_has_nothing_of_it() {
    for writes in 0..WRITES_MAX {
        model(move || {
            let lease = Lease::new(1);
            let dying = Arc::clone(&lease);
            let victim = thread::spawn(move || {
                die_after(writes);
                let _ = memory::reserve(&dying.usage, 0, 0, 5, || LIMIT, thread::yield_now);
                let _ = gate::enter(&dying.limits, &dying.usage.slot[0]);
            });
            victim.join().unwrap();
            lease.usage.retire_slot(0);
            lease.usage.claim_slot(0, 9);
            let census = gate::census(&lease.usage);
            assert_eq!((census.inflight, census.waiting, census.processes), (0, 0, 1));
            assert!(lease.reserve(0, LIMIT), "all of it is there");
        });
    }
}
