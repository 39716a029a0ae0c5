//! Every interleaving of a few processes, with death after any step:
//! `RUSTFLAGS="--cfg loom" cargo test -p polder-ledger --release --test loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

use loom::sync::{Arc, Notify};
use loom::thread;
use polder_ledger::block::Block;
use polder_ledger::gate::{self, Bell};
use polder_ledger::single::{self, BELIEVED_NS, Held};
use polder_ledger::{Limits, Usage, busy, die_after, memory};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{self, SeqCst};

const LIMIT: u64 = 8;
/// More writes than any process below makes.
const WRITES_MAX: u32 = 12;
/// Enough for every bug a model of this size has shown; more takes hours.
const PREEMPTIONS: usize = 3;
const PREEMPTIONS_OF_THREE: usize = 1;

/// What processes believe they hold. Not loom's atomic: it is not part of the protocol, and loom
/// runs one thread at a time.
#[derive(Default)]
struct Believed(AtomicU64);

impl Believed {
    fn more(&self, bytes: u64) {
        let sum = self.0.fetch_add(bytes, SeqCst) + bytes;
        assert!(sum <= LIMIT, "{sum} of {LIMIT} bytes held");
    }
    fn less(&self, bytes: u64) {
        self.0.fetch_sub(bytes, SeqCst);
    }
}

struct Lease {
    usage: Usage,
    limits: Limits,
    believed: Believed,
    drained: AtomicU64,
    bell: Notify,
    /// Processes that believe to have the lease's single command in flight.
    flying: AtomicU64,
}

impl Lease {
    fn new(processes: usize) -> Arc<Self> {
        let usage = Usage::new(1);
        for slot in 0..processes {
            usage.claim_slot(slot, 100 + slot as u32);
        }
        Arc::new(Self {
            usage,
            limits: Limits::new(1, 1),
            believed: Believed::default(),
            drained: AtomicU64::new(0),
            bell: Notify::new(),
            flying: AtomicU64::new(0),
        })
    }

    fn reserve(&self, me: usize, bytes: u64) -> bool {
        let got = memory::reserve(&self.usage, me, 0, bytes, || LIMIT, thread::yield_now).is_ok();
        if got {
            self.believed.more(bytes);
        }
        got
    }

    fn free(&self, me: usize, bytes: u64) {
        self.believed.less(bytes);
        memory::free(&self.usage, me, 0, bytes);
    }

    fn ring(&self, bell: Bell) {
        if bell == Bell::Ring {
            self.bell.notify();
        }
    }

    /// A process launches one command if it may.
    fn launch(&self, me: usize) {
        match gate::enter(&self.limits, &self.usage.slot[me]) {
            Ok(_) => {
                assert_eq!(self.drained.load(SeqCst), 0, "launched after the lease had drained");
                let bell = gate::leave(&self.limits, &self.usage.slot[me]);
                self.ring(bell);
            }
            Err((_, bell)) => self.ring(bell),
        }
    }

    /// The arbiter sets the gate and waits until nothing is in flight.
    fn wait_for_zero(&self, flags: u32) {
        gate::set(&self.limits, flags);
        while gate::census(&self.usage).inflight > 0 {
            self.bell.wait();
        }
    }
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    bounded_model(PREEMPTIONS, body);
}

fn bounded_model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

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
fn nothing_is_launched_after_a_lease_has_drained() {
    model(|| {
        let lease = Lease::new(2);
        gate::set(&lease.limits, gate::OPEN);
        let threads = [0, 1].map(|me| {
            let lease = Arc::clone(&lease);
            thread::spawn(move || lease.launch(me))
        });
        // A lost bell would be a deadlock here.
        lease.wait_for_zero(0);
        lease.drained.store(1, SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn two_threads_of_one_process_ring_when_the_last_is_out() {
    model(|| {
        let lease = Lease::new(1);
        gate::set(&lease.limits, gate::OPEN);
        let threads = [0, 0].map(|me| {
            let lease = Arc::clone(&lease);
            thread::spawn(move || lease.launch(me))
        });
        lease.wait_for_zero(0);
        lease.drained.store(1, SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_watched_holder_rings_when_it_goes_idle() {
    model(|| {
        let lease = Lease::new(2);
        gate::set(&lease.limits, gate::OPEN);
        let threads = [0, 1].map(|me| {
            let lease = Arc::clone(&lease);
            thread::spawn(move || lease.launch(me))
        });
        lease.wait_for_zero(gate::OPEN | gate::WATCH);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_launch_that_must_not_wait_is_seen_or_rings() {
    model(|| {
        let lease = Lease::new(1);
        let late = Arc::clone(&lease);
        let thread = thread::spawn(move || {
            gate::enter_late(&late.usage.slot[0]);
            let bell = gate::leave(&late.limits, &late.usage.slot[0]);
            late.ring(bell);
        });
        lease.wait_for_zero(0);
        thread.join().unwrap();
        assert_eq!(gate::census(&lease.usage).inflight, 0);
    });
}

/// A command of 7 ns, counted before it is counted out.
fn launch_and_count(lease: &Lease, me: usize) {
    let slot = &lease.usage.slot[me];
    match gate::enter(&lease.limits, slot) {
        Ok(_) => {
            busy::count(slot, 7);
            lease.ring(gate::leave(&lease.limits, slot));
        }
        Err((_, bell)) => lease.ring(bell),
    }
}

#[test]
fn who_sees_nothing_in_flight_sees_all_that_was_counted() {
    model(|| {
        let lease = Lease::new(2);
        gate::set(&lease.limits, gate::OPEN);
        let threads = [0, 1].map(|me| {
            let lease = Arc::clone(&lease);
            thread::spawn(move || launch_and_count(&lease, me))
        });
        lease.wait_for_zero(0);
        let (seen, census) = (busy::total(&lease.usage), gate::census(&lease.usage));
        assert_eq!(seen, 7 * census.completed, "the gate is closed, and all are out");
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(gate::census(&lease.usage).busy_ns, seen);
    });
}

#[test]
fn what_a_process_counted_is_never_missing_while_it_is_reaped() {
    // In, counted, completed and out.
    for writes in 0..6 {
        model(move || {
            let lease = Lease::new(1);
            gate::set(&lease.limits, gate::OPEN);
            let (dying, reaping) = (Arc::clone(&lease), Arc::clone(&lease));
            let victim = thread::spawn(move || {
                die_after(writes);
                launch_and_count(&dying, 0);
            });
            let reaper = thread::spawn(move || {
                victim.join().unwrap();
                let counted = busy::total(&reaping.usage);
                reaping.usage.retire_slot(0);
                reaping.usage.claim_slot(0, 200);
                counted
            });
            let (one, two) = (busy::total(&lease.usage), busy::total(&lease.usage));
            assert!(one <= two, "it never falls");
            let counted = reaper.join().unwrap();
            assert!(two <= counted);
            assert_eq!(busy::total(&lease.usage), counted);
        });
    }
}

#[test]
fn a_lease_drains_when_a_process_dies_with_work_in_flight() {
    for writes in 0..6 {
        model(move || {
            let lease = Lease::new(2);
            gate::set(&lease.limits, gate::OPEN);
            let (dying, reaping) = (Arc::clone(&lease), Arc::clone(&lease));
            let victim = thread::spawn(move || {
                die_after(writes);
                let slot = &dying.usage.slot[0];
                if gate::enter(&dying.limits, slot).is_ok() {
                    let _ = gate::leave(&dying.limits, slot);
                }
            });
            let reaper = thread::spawn(move || {
                victim.join().unwrap();
                reaping.usage.retire_slot(0);
                reaping.bell.notify();
            });
            lease.wait_for_zero(0);
            reaper.join().unwrap();
        });
    }
}

#[test]
fn a_process_that_dies_at_a_closed_gate_is_counted_no_more() {
    // In and out again, waiting and not: four writes.
    for writes in 0..5 {
        model(move || {
            let lease = Lease::new(2);
            let (dying, reaping) = (Arc::clone(&lease), Arc::clone(&lease));
            let victim = thread::spawn(move || {
                die_after(writes);
                let slot = &dying.usage.slot[0];
                if gate::enter(&dying.limits, slot).is_err() {
                    gate::wait_begin(slot);
                    gate::wait_end(slot);
                }
            });
            let reaper = thread::spawn(move || {
                victim.join().unwrap();
                reaping.usage.retire_slot(0);
                reaping.bell.notify();
            });
            lease.wait_for_zero(0);
            reaper.join().unwrap();
            let census = gate::census(&lease.usage);
            assert_eq!((census.inflight, census.waiting, census.processes), (0, 0, 1));
        });
    }
}

#[test]
fn a_launch_that_must_not_wait_is_cleared_when_its_process_dies() {
    for writes in 0..5 {
        model(move || {
            let lease = Lease::new(1);
            let (dying, reaping) = (Arc::clone(&lease), Arc::clone(&lease));
            let victim = thread::spawn(move || {
                die_after(writes);
                let slot = &dying.usage.slot[0];
                gate::enter_late(slot);
                let _ = gate::leave(&dying.limits, slot);
            });
            let reaper = thread::spawn(move || {
                victim.join().unwrap();
                reaping.usage.retire_slot(0);
                reaping.bell.notify();
            });
            lease.wait_for_zero(0);
            reaper.join().unwrap();
            assert_eq!(gate::census(&lease.usage).inflight, 0);
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

/// A process launches twice without asking anew, as long as the gate stays as it was.
#[test]
fn what_passes_under_a_gate_seen_open_never_launches_after_the_lease_has_drained() {
    model(|| {
        let lease = Lease::new(1);
        let seen = gate::set(&lease.limits, gate::OPEN);
        let process = Arc::clone(&lease);
        let thread = thread::spawn(move || {
            let slot = &process.usage.slot[0];
            for _ in 0..2 {
                match gate::pass(&process.limits, slot, seen) {
                    Ok(()) => {
                        assert_eq!(process.drained.load(SeqCst), 0, "launched after the drain");
                        process.ring(gate::pass_end(&process.limits, slot));
                    }
                    Err(bell) => process.ring(bell),
                }
            }
        });
        lease.wait_for_zero(0);
        lease.drained.store(1, SeqCst);
        thread.join().unwrap();
    });
}

/// A thread launches in a block, another ends the block, and the arbiter closes the gate.
#[test]
fn a_block_is_ended_once_with_no_launch_under_way_and_none_later() {
    model(|| {
        let lease = Lease::new(1);
        gate::set(&lease.limits, gate::OPEN);
        let block = Arc::new(Block::new());
        let ended = Arc::new(AtomicU64::new(0));
        let slot = &lease.usage.slot[0];
        assert!(gate::enter(&lease.limits, slot).is_ok());
        gate::hold(slot);
        lease.ring(gate::leave(&lease.limits, slot));
        let end = |lease: &Lease, ended: &AtomicU64| {
            assert_eq!(ended.fetch_add(1, SeqCst), 0, "ended twice");
            lease.ring(gate::release(&lease.limits, &lease.usage.slot[0]));
        };
        let (owner, mine, told) = (Arc::clone(&lease), Arc::clone(&block), Arc::clone(&ended));
        let launching = thread::spawn(move || {
            for _ in 0..2 {
                if mine.begin() {
                    assert_eq!(owner.drained.load(SeqCst), 0, "launched after the drain");
                    assert_eq!(told.load(SeqCst), 0, "launched in a block that is over");
                    if mine.end() {
                        end(&owner, &told);
                    }
                }
            }
        });
        let (other, theirs, told) = (Arc::clone(&lease), Arc::clone(&block), Arc::clone(&ended));
        let closing = thread::spawn(move || {
            if theirs.close() {
                end(&other, &told);
            }
        });
        lease.wait_for_zero(0);
        lease.drained.store(1, SeqCst);
        launching.join().unwrap();
        closing.join().unwrap();
        assert_eq!(ended.load(SeqCst), 1);
    });
}

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
