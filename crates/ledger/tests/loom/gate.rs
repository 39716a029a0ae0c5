//! The gate: who launches, what is in flight, what was counted.

use super::{Lease, model};
use loom::sync::Arc;
use loom::thread;
use polder_ledger::block::Block;
use polder_ledger::{busy, die_after, gate};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

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

/// One that cannot begin while a thread of its process waits is counted out: the arbiter sees that or hears of
/// it, and nothing is left counted when it has been resumed and is over.
#[test]
fn what_is_paused_drains_and_is_counted_once_when_it_goes_on() {
    model(|| {
        let lease = Lease::new(1);
        gate::enter_late(&lease.usage.slot[0]);
        let waits = Arc::clone(&lease);
        let thread = thread::spawn(move || {
            waits.ring(gate::pause(&waits.limits, &waits.usage.slot[0]));
        });
        lease.wait_for_zero(0);
        thread.join().unwrap();
        let slot = &lease.usage.slot[0];
        gate::resume(slot);
        assert_eq!(gate::census(&lease.usage).inflight, 1);
        lease.ring(gate::leave(&lease.limits, slot));
        let census = gate::census(&lease.usage);
        let launched = slot.launched.load(SeqCst);
        assert_eq!((census.inflight, census.completed, launched), (0, 1, 1));
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
