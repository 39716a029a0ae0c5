//! A program of a tenant through the library, on a stand-in for the vendor's driver.
#![allow(clippy::unwrap_used)] // all of this is test code

#[path = "../../opencl/tests/support/mod.rs"]
mod support;

use polder_ledger::attach::{Cuda, Route};
use std::path::PathBuf;
use std::time::Duration;
use support::{Lease, Talk, example};

const MIB: u64 = 1 << 20;

fn stub() -> PathBuf {
    example("libcuda_stub.so")
}

/// A lease with the stand-in's second card, of so many bytes.
fn lease(bytes: u64) -> Lease {
    let library = stub().to_str().unwrap().to_owned();
    let cuda = Cuda { library, nvml: String::new(), uuid: [2; 16] };
    Lease::of(vec![Route { cuda: Some(cuda), ..Route::default() }], &[bytes])
}

fn program(lease: &Lease, arguments: &[&str]) -> Talk {
    let built = example("cuda_tenant");
    let library = built.ancestors().nth(2).unwrap().join("deps/libpolder_cuda.so");
    let mut command = lease.command(&built);
    Talk::start(command.args(arguments).env("CUDA_LIBRARY", library).env("STUB", stub()))
}

#[test]
fn every_function_of_the_table_is_exported() {
    let lines = program(&lease(MIB), &["exports"]).end();
    assert_eq!(lines, [format!("exports {}", polder_gpuapi::cuda::COUNT)]);
}

#[test]
fn only_the_leases_devices_are_there_with_the_leases_memory() {
    let lines = program(&lease(100 * MIB), &["devices"]).end();
    let expected = [
        "init 0",
        "count 0",
        "devices 1",
        "get 0",
        "handle 1",
        "total 100",
        "beyond 101",
        "by id 101",
        "context on another's 101",
        "primary of another's 101",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_host_function_that_launches_is_refused_as_the_api_has_it() {
    let lease = lease(MIB);
    let mut program = program(&lease, &["from-host"]);
    program.expect("ready");
    program.go();
    assert_eq!(program.end(), ["from a host function 800", "launched 0"]);
    assert_eq!(lease.census().inflight, 0);
}

#[test]
fn every_kind_of_memory_is_charged_and_given_back() {
    let lease = lease(100 * MIB);
    let lines = program(&lease, &["memory"]).end();
    let expected = [
        "free 100 of 100",
        "alloc 40 0",
        "alloc 30 0",
        "free 30 of 100",
        "free 0",
        "free again 1",
        "free 70 of 100",
        // 10 bytes wide, but the driver makes each row 512: 8 MiB.
        "pitch 0",
        "free 62 of 100",
        "free 0",
        "managed 0",
        "nothing 1",
        // Host memory is not the device's.
        "host 0",
        "free 5 of 100",
        "array 2",
        "free 5 of 100",
        "managed gone 0",
        "array 0",
        "free 54 of 100",
        "array gone 0",
        // Physical memory lives for as long as it is mapped.
        "physical 0",
        "map 0",
        "release 0",
        "free 38 of 100",
        "unmap 0",
        "free 70 of 100",
        // A pool keeps what is freed into it until it is told not to.
        "async 0",
        "async freed 0",
        "free 50 of 100",
        "trim 0",
        "free 70 of 100",
        // A context takes what is in it along.
        "alloc 40 0",
        "context gone 0",
        "free 100 of 100",
    ];
    assert_eq!(lines, expected);
    assert_eq!(lease.held(0), 0, "its process is gone");
}

/// Counted apart from the device's, held to no limit, and given back with what frees it: the call, the
/// context, or the end of the process.
#[test]
fn pinned_host_memory_is_counted_apart_and_given_back() {
    let lease = lease(100 * MIB);
    let mut client = program(&lease, &["pinned"]);
    let mut said = |lines: &[&str], mib: u64| {
        lines.iter().chain(&["free 100 of 100", "ready"]).for_each(|line| client.expect(line));
        assert_eq!((lease.pinned(), lease.held(0)), (mib * MIB, 0), "{lines:?}");
        client.go();
    };
    let pins = ["first 0", "second 0", "third 0", "nothing 1"];
    said(&[&pins[..], &["registered 0", "registered 0", "nothing 1"]].concat(), 540);
    said(&["freed 0", "freed nothing 1", "unregistered 0", "never was 1"], 509);
    said(&["physical 0"], 525);
    said(&["released 0", "context gone 0"], 0);
    said(&["again 0"], 5);
    client.end();
    // The shim takes the slot back.
    lease.usage().retire_slot(0);
    assert_eq!(lease.pinned(), 0, "its process is gone");
}

#[test]
fn launches_wait_for_the_turn_and_their_end_is_heard_of() {
    let lease = lease(100 * MIB);
    let mut client = program(&lease, &["launch", "100", "50"]);
    client.expect("ready");
    lease.close();
    client.go();
    assert!(client.is_silent(Duration::from_millis(200)), "it launched at a closed gate");
    lease.until("waits", |census| census.waiting > 0);
    lease.open();
    client.expect("launched 50");
    client.expect("ready");
    // Nobody synchronises: the batches are heard of all the same.
    lease.until("drained", |census| census.inflight == 0);
    client.go();
    client.expect("synchronised 0");
    client.expect("ready");
    client.go();
    client.end();
}

#[test]
fn work_in_flight_is_bounded() {
    let lease = lease(100 * MIB);
    let mut client = program(&lease, &["launch", "5000", "100"]);
    client.expect("ready");
    let before = std::time::Instant::now();
    client.go();
    client.expect("launched 100");
    // Half a second of work, of which about a quantum of 20 ms is still to be done.
    assert!(before.elapsed() > Duration::from_millis(350), "{:?}", before.elapsed());
    client.expect("ready");
    client.go();
    client.expect("synchronised 0");
    lease.until("drained", |census| census.inflight == 0);
    client.expect("ready");
    client.go();
    client.end();
}

#[test]
fn every_way_of_launching_is_counted() {
    let lease = lease(100 * MIB);
    let mut client = program(&lease, &["kinds"]);
    for line in ["ex 0", "graph 0", "per thread 0", "per thread 1", "fill 0", "copy 0", "ready"] {
        client.expect(line);
    }
    lease.until("drained", |census| census.inflight == 0);
    let launched = lease.usage().slots()[0].launched.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(launched, 5);
    client.go();
    client.end();
}

#[test]
fn nothing_is_put_into_a_capture_and_nothing_waits_there() {
    let lease = lease(100 * MIB);
    let mut client = program(&lease, &["capture"]);
    for line in ["stream 0", "begin 0", "ready"] {
        client.expect(line);
    }
    lease.close();
    client.go();
    // Far beyond the lease's memory, but only a node of a graph that may never be.
    for line in ["alloc 0", "end 0", "nodes 100 events 0", "ready"] {
        client.expect(line);
    }
    assert_eq!(lease.held(0), 0);
    lease.open();
    client.go();
    client.end();
}

/// Memory that a graph's nodes allocate is there for each of its executables, from then on.
#[test]
fn what_a_graph_allocates_is_charged_when_it_becomes_executable() {
    let lines = program(&lease(100 * MIB), &["graph"]).end();
    let expected = [
        "node 0",
        "end 0",
        "free 100",
        "executable 0",
        "executable 0",
        "executable 2",
        "free 20",
        "destroyed 0",
        "free 60",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn addresses_are_ours_where_it_matters_and_flags_and_versions_are_honoured() {
    let lines = program(&lease(100 * MIB), &["addresses"]).end();
    let expected = [
        "cuMemAlloc 12000 0: 0 0 ours",
        "cuLaunchKernel 12000 0: 0 0 ours",
        "cuLaunchKernel 12000 2: 0 0 ours",
        "cuStreamCreate 12000 0: 0 0 theirs",
        "cuGetProcAddress 12000 0: 0 0 ours",
        "cuMemAllocAsync 11000 0: 500 2 nobody",
        "cuNoSuchThing 12000 0: 500 1 nobody",
        "private 0",
        "table 5afe",
        // Not in the stand-in's version.
        "absent 801",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_child_of_a_fork_has_a_place_of_its_own_in_the_same_lease() {
    let lines = program(&lease(100 * MIB), &["fork"]).end();
    // 10 MiB of the parent and 95 of the child do not fit.
    assert_eq!(lines, ["parent 0", "child 2"]);
}

#[test]
fn a_program_that_is_turned_away_sees_no_device() {
    let lease = lease(100 * MIB);
    lease.refuse();
    assert_eq!(program(&lease, &["init"]).end(), ["init 100"]);
}

#[test]
fn a_driver_that_is_not_there_or_none_is_no_device() {
    let cuda =
        Cuda { library: "/nonexistent/libcuda.so.1".into(), nvml: String::new(), uuid: [2; 16] };
    let lease = Lease::of(vec![Route { cuda: Some(cuda), ..Route::default() }], &[MIB]);
    assert_eq!(program(&lease, &["init"]).end(), ["init 100"]);
    // Some other card than those that the driver has.
    let cuda =
        Cuda { library: stub().to_str().unwrap().into(), nvml: String::new(), uuid: [9; 16] };
    let lease = Lease::of(vec![Route { cuda: Some(cuda), ..Route::default() }], &[MIB]);
    assert_eq!(program(&lease, &["init"]).end(), ["init 100"]);
}
