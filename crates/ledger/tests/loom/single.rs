//! The lease's single command.

use super::{Lease, PREEMPTIONS_OF_THREE, bounded_model, model};
use loom::sync::Arc;
use loom::thread;
use polder_ledger::die_after;
use polder_ledger::single::{self, BELIEVED_NS, Held};
use std::sync::atomic::Ordering::SeqCst;

/// A moment, and a turn that it lies in.
const NOW: u64 = 5_000_000;
const TURN: u64 = 9_000_000;

impl Lease {
    /// A process has the lease's single command in flight for a while, if it may.
    fn fly(&self, me: usize, turn: Option<u64>, polite: bool) -> Result<(), Held> {
        let single = single::take(&self.usage, me, NOW, turn, polite)?;
        assert_eq!(self.flying.fetch_add(1, SeqCst), 0, "two have it in flight");
        thread::yield_now();
        self.flying.fetch_sub(1, SeqCst);
        single::give_back(&self.usage, single);
        Ok(())
    }
}

#[test]
fn of_two_that_pass_the_end_of_a_turn_one_goes() {
    model(|| {
        let lease = Lease::new(2);
        let other = Arc::clone(&lease);
        let thread = thread::spawn(move || other.fly(1, Some(TURN), false));
        let mine = lease.fly(0, Some(TURN), false);
        let theirs = thread.join().unwrap();
        assert!(mine.is_ok() ^ theirs.is_ok(), "{mine:?} {theirs:?}");
        assert_eq!(lease.fly(0, Some(TURN), false), Err(Held::Turn));
        assert_eq!(lease.fly(0, None, false), Ok(()), "what ends within the turn is another thing");
        assert_eq!(lease.fly(1, Some(TURN), false), Err(Held::Turn), "nor is it forgotten");
        assert_eq!(lease.fly(1, Some(TURN + BELIEVED_NS / 10), false), Ok(()), "the next turn");
    });
}

#[test]
fn two_never_have_the_single_command_at_once_and_one_of_them_does() {
    for polite in [false, true] {
        model(move || {
            let lease = Lease::new(2);
            let other = Arc::clone(&lease);
            let thread = thread::spawn(move || other.fly(1, None, polite));
            let mine = lease.fly(0, None, polite);
            let theirs = thread.join().unwrap();
            assert!(mine.is_ok() || theirs.is_ok(), "{mine:?} {theirs:?}");
        });
    }
}

#[test]
fn of_three_that_pass_the_end_of_a_turn_one_goes() {
    bounded_model(PREEMPTIONS_OF_THREE, || {
        let lease = Lease::new(3);
        let threads = [1, 2].map(|me| {
            let lease = Arc::clone(&lease);
            thread::spawn(move || lease.fly(me, Some(TURN), false).is_ok())
        });
        let mine = lease.fly(0, Some(TURN), false).is_ok();
        let went = threads.map(|thread| thread.join().unwrap());
        assert_eq!(usize::from(mine) + went.into_iter().filter(|went| *went).count(), 1);
    });
}

#[test]
fn a_process_that_dies_with_the_single_command_holds_nobody_once_it_is_reaped() {
    // Taken, given back.
    for writes in 0..3 {
        model(move || {
            let lease = Lease::new(2);
            let (dying, reaping) = (Arc::clone(&lease), Arc::clone(&lease));
            let victim = thread::spawn(move || {
                die_after(writes);
                if let Ok(single) = single::take(&dying.usage, 0, NOW, Some(TURN), false) {
                    single::give_back(&dying.usage, single);
                }
            });
            let reaper = thread::spawn(move || {
                victim.join().unwrap();
                reaping.usage.retire_slot(0);
            });
            let went = lease.fly(1, Some(TURN), false);
            reaper.join().unwrap();
            match went {
                // What the living has had in this turn, it has had.
                Ok(()) => assert_eq!(lease.fly(1, Some(TURN), false), Err(Held::Turn)),
                Err(_) => assert_eq!(lease.fly(1, Some(TURN), false), Ok(())),
            }
        });
    }
}

#[test]
fn what_a_living_process_has_in_flight_stays_its_own_when_another_dies() {
    for writes in 0..3 {
        model(move || {
            let lease = Lease::new(3);
            let dying = Arc::clone(&lease);
            let victim = thread::spawn(move || {
                die_after(writes);
                if let Ok(single) = single::take(&dying.usage, 0, NOW, None, false) {
                    single::give_back(&dying.usage, single);
                }
            });
            let mine = single::take(&lease.usage, 1, NOW, None, false);
            victim.join().unwrap();
            lease.usage.retire_slot(0);
            let theirs = single::take(&lease.usage, 2, NOW, None, false);
            assert_eq!(theirs.is_err(), mine.is_ok(), "{mine:?} {theirs:?}");
        });
    }
}

#[test]
fn who_comes_into_the_slot_of_a_dead_process_has_not_its_single_command() {
    model(|| {
        let lease = Lease::new(2);
        single::take(&lease.usage, 0, NOW, None, false).unwrap();
        assert_eq!(lease.fly(1, None, false), Err(Held::Flying));
        let reaping = Arc::clone(&lease);
        let reaper = thread::spawn(move || {
            reaping.usage.retire_slot(0);
            reaping.usage.claim_slot(0, 9);
        });
        let _ = lease.fly(1, None, false);
        reaper.join().unwrap();
        assert_eq!(lease.fly(1, None, false), Ok(()));
    });
}
