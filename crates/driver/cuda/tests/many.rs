//! Much at once through the library: threads, contexts, devices, processes; on the stand-in for a driver
//! on which everything is over at once.
#![allow(clippy::unwrap_used)] // all of this is test code

#[path = "../../opencl/tests/support/mod.rs"]
mod support;

use polder_ledger::attach::{Cuda, Route};
use std::sync::atomic::Ordering;
use support::{Lease, Talk, example};

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

/// A lease of so many of the stand-in's cards.
fn lease(cards: u8) -> Lease {
    let route = |card: u8| {
        let library = example("libcuda_null.so").to_str().unwrap().to_owned();
        let cuda = Cuda { library, nvml: String::new(), uuid: [card + 1; 16] };
        Route { cuda: Some(cuda), ..Route::default() }
    };
    Lease::of((0..cards).map(route).collect(), &vec![100 * MIB; cards.into()])
}

fn start(lease: &Lease, words: &[&str], busy: bool) -> Talk {
    let built = example("cuda_many");
    let library = built.ancestors().nth(2).unwrap().join("deps/libpolder_cuda.so");
    let mut command = lease.command(&built);
    command.args(words).env("CUDA_LIBRARY", library);
    Talk::start(command.env("NULL_BUSY", u8::from(busy).to_string()))
}

/// Sixteen threads on six contexts of three devices do everything at once.
#[track_caller]
fn many(busy: bool) {
    let lease = lease(3);
    let mut program = start(&lease, &["many"], busy);
    let said = program.line();
    program.expect("ready");
    lease.until("drained", |census| census.inflight == 0 && census.waiting == 0);
    let slot = &lease.usage().slots()[0];
    let counted = slot.launched.load(Ordering::Relaxed);
    assert_eq!(said, format!("launched {counted} on 3"), "each launch is counted once");
    assert_eq!(slot.completed.load(Ordering::Relaxed), counted);
    assert_eq!([0, 1, 2].map(|card| lease.held(card)), [0; 3]);
    program.go();
    program.end();
}

#[test]
fn what_sixteen_threads_do_at_once_is_counted_and_nothing_is_left() {
    many(false);
}

#[test]
fn and_so_it_is_where_a_thread_of_the_driver_tells_of_the_end() {
    many(true);
}

#[test]
fn a_gate_that_closes_under_sixteen_threads_stops_them_all_and_opens_again() {
    let lease = lease(3);
    let mut program = start(&lease, &["many"], true);
    let counted =
        || lease.usage().slots().first().map_or(0, |slot| slot.launched.load(Ordering::Acquire));
    for _ in 0..20 {
        lease.close();
        lease.until("drained", |census| census.inflight == 0);
        // Whatever is told later was launched before.
        let before = counted();
        if before > 0 && lease.census().waiting == 16 {
            assert_eq!(lease.census().inflight, 0);
            assert_eq!(counted(), before, "somebody launched at a closed gate");
        }
        lease.open();
    }
    let said = program.line();
    program.expect("ready");
    lease.until("drained", |census| census.inflight == 0);
    assert_eq!(said, format!("launched {} on 3", counted()));
    program.go();
    program.end();
}

#[test]
fn what_is_in_a_primary_context_ends_with_its_last_reference() {
    let lease = lease(1);
    let mut program = start(&lease, &["primary"], false);
    program.expect("ready");
    assert_eq!(lease.held(0), KIB, "one reference is left");
    program.go();
    program.expect("ready");
    assert_eq!(lease.held(0), 0);
    lease.until("drained", |census| census.inflight == 0);
    program.go();
    program.end();
}

#[test]
fn memory_that_two_processes_of_a_lease_see_is_counted_once() {
    let lease = lease(1);
    let mut owner = start(&lease, &["share"], false);
    let address = owner.line().strip_prefix("address ").unwrap().to_owned();
    owner.expect("ready");
    let mut guest = start(&lease, &["open", &address], false);
    guest.expect("opened true");
    guest.expect("ready");
    assert_eq!(lease.held(0), 100 * KIB);
    guest.go();
    guest.expect("ready");
    assert_eq!(lease.held(0), 100 * KIB, "the guest has given back what was never its own");
    owner.go();
    owner.expect("ready");
    assert_eq!(lease.held(0), 0);
    guest.go();
    owner.go();
    guest.end();
    owner.end();
}

#[test]
fn who_does_not_load_the_library_pays_nothing_and_who_does_no_thread_and_no_handler() {
    let lease = lease(1);
    let same = "same mask, threads and handlers true";
    let expected = |mapped| [same.into(), format!("mapped {mapped}")];
    assert_eq!(start(&lease, &["without"], false).end(), expected(false));
    assert_eq!(start(&lease, &["loaded"], false).end(), expected(true));
    assert!(lease.usage().slots().is_empty(), "nobody has asked for a place");
    assert_eq!(start(&lease, &["worked"], false).end(), [same]);
}
