//! Device time: programs launch in their turn, and nothing about turns can stop them for ever.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::{Lease, OCLGRIND, QUANTUM_NS, Talk, example, missing, pocl};

const MEMORY: u64 = 1 << 28;
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn nothing_is_launched_while_the_gate_is_closed() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("launches", 20);
    program.expect("ready");
    lease.close();
    program.go();
    assert!(program.is_silent(A_WHILE), "it launched behind a closed gate");
    lease.until("a thread waits", |census| census.waiting == 1 && census.inflight == 0);
    lease.open();
    for index in 0..20 {
        program.expect(&index.to_string());
    }
    program.expect("done");
    program.end();
    assert_eq!((lease.census().inflight, lease.census().waiting), (0, 0));
}

#[test]
fn a_command_buffer_is_one_command_that_waits_for_its_turn() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("recorded", 5);
    program.expect("ready");
    lease.close();
    let launched = || lease.usage().slot[0].launched.load(Ordering::Relaxed);
    let before = launched();
    program.go();
    lease.until("a thread waits", |census| census.waiting == 1 && census.inflight == 0);
    assert_eq!(launched(), before, "it was handed over behind a closed gate");
    lease.open();
    program.expect("10");
    program.end();
    assert_eq!(launched() - before, 6, "five command buffers and what reads the result");
    assert_eq!((lease.census().inflight, lease.census().waiting), (0, 0));
}

#[test]
fn what_stands_behind_the_programs_own_event_waits_for_its_turn_when_that_is_signalled() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("user-event", 0);
    program.expect("queued");
    lease.until("nothing is in flight", |census| census.inflight == 0 && census.waiting == 0);
    lease.close();
    program.go();
    lease.until("who signals waits", |census| census.waiting == 1);
    assert!(program.is_silent(A_WHILE), "it began behind a closed gate");
    assert_eq!(lease.census().inflight, 0);
    lease.open();
    program.expect("complete");
    lease.until("all are counted out", |census| census.inflight == 0);
    program.go();
    program.expect("done");
    program.end();
}

#[test]
fn a_blocking_read_behind_the_programs_own_event_waits_with_whom_signals() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("blocking-read", 0);
    program.expect("reading");
    std::thread::sleep(A_WHILE);
    lease.close();
    program.go();
    lease.until("who signals waits", |census| census.waiting == 1 && census.inflight == 0);
    assert!(program.is_silent(A_WHILE), "it read behind a closed gate");
    lease.open();
    program.expect("done");
    program.end();
    assert_eq!(lease.census().inflight, 0);
}

#[test]
fn many_threads_get_through_many_turns_and_all_is_counted_out() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("threads", 2000);
    while program.is_silent(Duration::from_millis(1)) {
        lease.turn(2_000_000);
        std::thread::sleep(Duration::from_millis(2));
        lease.close();
    }
    lease.open();
    lease.until("nothing is held", |_| lease.held(0) == 0);
    program.go();
    program.end();
    let slot = &lease.usage().slot[0];
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(count(&slot.launched), count(&slot.completed));
    assert_eq!((lease.census().inflight, lease.census().waiting), (0, 0));
}

#[test]
fn commands_behind_an_event_that_fails_are_counted_out() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("failed-event", 0);
    program.expect("failed as it should");
    program.end();
    assert_eq!(lease.census().inflight, 0);
}

#[test]
fn a_host_function_in_a_queue_finds_its_arguments() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    match lease.probe("native", 0).line().as_str() {
        "done" => {}
        other => support::skipped(&format!("native kernels: {other}")),
    }
}

#[test]
fn a_buffer_is_filled_from_the_programs_memory_in_its_turn() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("filled", 0);
    program.expect("ready");
    lease.close();
    program.go();
    program.expect("used");
    lease.until("the copy waits", |census| census.waiting == 1 && census.inflight == 0);
    assert!(program.is_silent(Duration::from_millis(50)), "it copied behind a closed gate");
    lease.open();
    program.expect("copied");
    program.end();
    assert_eq!((lease.census().inflight, lease.held(0)), (0, 0));
}

#[test]
fn a_burst_drains_within_a_few_quanta_of_a_revocation() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("burst", 10_000);
    program.expect("ready");
    program.go();
    std::thread::sleep(A_WHILE);
    let before = lease.census().inflight;
    lease.close();
    let closed = Instant::now();
    lease.until("drained", |census| census.inflight == 0);
    // Kernels of about 0.2 ms: the whole burst would take seconds. The bound is loose because the
    // machine may be busy; the count in flight is not.
    assert!(closed.elapsed() < Duration::from_nanos(10 * QUANTUM_NS), "{:?}", closed.elapsed());
    assert!((1..1024).contains(&before), "{before} in flight");
    assert!(program.is_silent(Duration::from_millis(50)));
    lease.open();
    program.expect("done");
    program.end();
}

#[test]
fn queues_without_order_keep_their_dependences_through_turns() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("cross", 0);
    for _ in 0..20 {
        lease.close();
        std::thread::sleep(Duration::from_millis(2));
        lease.turn(QUANTUM_NS / 10);
        std::thread::sleep(Duration::from_millis(2));
    }
    lease.open();
    program.expect("done");
    program.end();
}

#[test]
fn two_devices_whose_kernels_wait_for_each_other_get_through_short_turns() {
    let Some(pocl) = pocl() else { return };
    let lease = Lease::new(&[(pocl, 0, MEMORY), (pocl, 1, MEMORY)]);
    let mut command = lease.command(example("probe"));
    command.args(["collective", "0"]).env("POCL_DEVICES", "pthread pthread");
    let mut program = Talk::start(&mut command);
    let said = program.line();
    if said == "unsupported" {
        return support::skipped("the driver does not make two devices");
    }
    program.go();
    let deadline = Instant::now() + Duration::from_secs(60);
    while program.is_silent(Duration::from_millis(2)) {
        assert!(Instant::now() < deadline, "the kernels wait for each other: {:?}", lease.census());
        lease.turn(1_000_000);
        std::thread::sleep(Duration::from_millis(2));
        lease.close();
    }
    program.end();
}

#[test]
fn a_turn_that_is_too_short_still_takes_one_command() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("burst", 3);
    program.expect("ready");
    lease.close();
    program.go();
    lease.until("a thread waits", |census| census.waiting == 1);
    for _ in 0..200 {
        lease.turn(10_000_000);
        std::thread::sleep(Duration::from_millis(5));
        lease.close();
        std::thread::sleep(Duration::from_millis(5));
        if !program.is_silent(Duration::from_millis(1)) {
            return program.end().clear();
        }
    }
    panic!("a launch never got its turn: {:?}", lease.census());
}

#[test]
fn two_vendors_compute_side_by_side() {
    let Some(pocl) = pocl() else { return };
    if missing(OCLGRIND.0, "oclgrind") {
        return;
    }
    let lease = Lease::new(&[(pocl, 0, MEMORY), (OCLGRIND, 0, MEMORY)]);
    assert_eq!(lease.probe("platforms", 0).end(), ["2"]);
    assert_eq!(lease.census().inflight, 0);
}

/// Lines of a scenario with Polder and without it.
fn both(lease: &Lease, scenario: &str) -> (Vec<String>, Vec<String>) {
    let through = lease.probe(scenario, 0).end();
    let mut native = std::process::Command::new(example("probe"));
    native.args([scenario, "0"]).env("POCL_CACHE_DIR", support::cache());
    let alone = Talk::start(&mut native).end();
    assert!(!through.is_empty());
    (through, alone)
}

#[test]
fn results_are_those_of_the_driver_alone() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let (through, alone) = both(&lease, "checksum");
    assert_eq!(through, alone);
}

#[test]
fn answers_are_those_of_the_driver_alone_also_to_nonsense() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    answers_as_alone(&lease);
}

/// The same where the handles of buffers are ours.
#[test]
fn answers_are_those_of_the_driver_alone_with_host_memory_behind_the_device() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    lease.set_backing(&[MEMORY]);
    answers_as_alone(&lease);
}

#[track_caller]
fn answers_as_alone(lease: &Lease) {
    let (through, alone) = both(lease, "answers");
    for (index, (through, alone)) in through.iter().zip(&alone).enumerate() {
        assert_eq!(through, alone, "line {}", index + 1);
    }
    assert_eq!(through.len(), alone.len());
    assert_eq!(lease.census().inflight, 0);
}
