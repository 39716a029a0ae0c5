//! Leases with host memory behind their device: what has no room there goes to the host and comes
//! back, and is what it was. PoCL's device memory is host memory: what is measured here is what the
//! ledger counts, which side the vendor's objects are on, and what is in them.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Lease, Talk};

const MIB: u64 = 1 << 20;
/// What all buffers of the program have together.
const ALL: u64 = 24 * 65_536;

/// Runs `body` and returns the most that was held of the device and behind it meanwhile.
fn watched(lease: &Lease, body: impl FnOnce()) -> (u64, u64) {
    let (device, host) = (AtomicU64::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                device.fetch_max(lease.held(0), Ordering::Relaxed);
                host.fetch_max(lease.held(1), Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        body();
        over.store(true, Ordering::Release);
    });
    (device.into_inner(), host.into_inner())
}

/// A lease of so much of the device, and so much behind it.
fn lease(device: u64, host: u64) -> Option<Lease> {
    let lease = Lease::pocl(device)?;
    lease.set_backing(&[host]);
    Some(lease)
}

fn finish(lease: &Lease, mut program: Talk) {
    program.go();
    program.expect("as computed");
    program.go();
    program.expect("released");
    program.end();
    assert_eq!((lease.held(0), lease.held(1)), (0, 0), "all of it is given back");
}

/// One tenant, one thread and three: half of what it uses is never on the device together.
#[test]
fn what_is_computed_is_what_it_would_be_and_both_sides_hold() {
    for threads in [1, 3] {
        let Some(lease) = lease(MIB, MIB) else { return };
        let mut program = lease.probe("mirrored", threads);
        program.expect("made");
        assert_eq!((lease.held(0), lease.held(1)), (MIB, ALL - MIB));
        let (device, host) = watched(&lease, || finish(&lease, program));
        assert!(device <= MIB && host <= MIB, "{device} {host}");
    }
}

/// Threads that take what they can at the same time, of what moves and of what does not, leave room to
/// move the largest buffer: whatever was given can be used.
#[test]
fn what_many_threads_were_given_can_be_used() {
    for _ in 0..5 {
        let Some(lease) = lease(MIB / 2, MIB) else { return };
        assert_eq!(lease.probe("greedy", 8).end(), ["all can be used"]);
    }
}

/// Two tenants who were promised more than 1.6 times what the device has, and use it all at the same time. They
/// never have more of it than their parts, so no byte of one is ever taken for the other.
#[test]
fn two_tenants_with_more_than_the_device_both_come_to_their_results() {
    // The device of this test is 2 MiB: 3.25 MiB are promised.
    let parts = [(MIB, 10 * 65_536), (MIB, 10 * 65_536)];
    let Some(one) = lease(parts[0].0, parts[0].1) else { return };
    let Some(two) = lease(parts[1].0, parts[1].1) else { return };
    let leases = [&one, &two];
    let programs = leases.map(|lease| {
        let mut program = lease.probe("mirrored", 1);
        program.expect("made");
        assert_eq!(lease.held(0) + lease.held(1), ALL);
        program
    });
    std::thread::scope(|scope| {
        for ((lease, program), (device_max, host_max)) in
            leases.into_iter().zip(programs).zip(parts)
        {
            scope.spawn(move || {
                let (device, host) = watched(lease, || finish(lease, program));
                assert!(device <= device_max && host <= host_max, "{device} {host}");
            });
        }
    });
}

/// Neighbours' turns come and go, and what is moved waits for its own.
#[test]
fn nothing_is_moved_out_of_turn() {
    let Some(lease) = lease(MIB, MIB) else { return };
    let mut program = lease.probe("mirrored", 1);
    program.expect("made");
    lease.close();
    program.go();
    lease.until("it waits", |census| census.waiting > 0);
    let before = (lease.held(0), lease.held(1));
    assert!(program.is_silent(std::time::Duration::from_millis(200)));
    assert_eq!((lease.held(0), lease.held(1)), before);
    lease.open();
    program.expect("as computed");
    program.go();
    program.expect("released");
    program.end();
}

#[test]
fn a_buffer_on_the_host_answers_as_one_on_the_device_and_no_more_is_made_than_fits() {
    let Some(lease) = lease(MIB, MIB) else { return };
    let said = lease.probe("asked", 0).end();
    let largest = format!("largest {MIB}");
    assert_eq!(
        said,
        [
            "global 2097152",
            largest.as_str(),
            "refused -30 -30 -38",
            "past -4, wrong -61",
            "released"
        ]
    );
    assert_eq!((lease.held(0), lease.held(1)), (0, 0));
}

/// Who did not ask is never touched, and has nothing behind the device.
#[test]
fn a_lease_without_backing_is_held_to_its_memory() {
    let Some(lease) = Lease::pocl(MIB) else { return };
    let mut program = lease.probe("cap", usize::try_from(MIB).unwrap());
    program.expect("past -4");
    program.expect("past again -4");
    program.end();
    assert_eq!(lease.held(1), 0);
}
