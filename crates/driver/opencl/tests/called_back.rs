//! Functions that the driver calls back and that launch: they wait for their turn as anybody does, and
//! hold nothing up by it.
#![allow(clippy::unwrap_used)] // all of this is test code

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{Lease, Talk, example};

const MEMORY: u64 = 1 << 28;
const A_WHILE: Duration = Duration::from_millis(300);

fn chains(lease: &Lease, words: &str) -> Talk {
    Talk::start(lease.command(example("chains")).args(words.split(' ')))
}

/// What `chains` says that it had: nanoseconds of the device, and of the clock.
fn had(program: Talk) -> (u64, u64) {
    let said = program.end().concat();
    let number = |name: &str| {
        let rest = said.split_once(&format!("\"{name}\": ")).unwrap().1;
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    };
    (number("used_ns"), number("wall_ns"))
}

fn all_is_counted_out(lease: &Lease) {
    lease.until("all is counted out", |census| census.inflight == 0 && census.waiting == 0);
    let slot = &lease.usage().slot[0];
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(count(&slot.launched), count(&slot.completed));
    assert_eq!(lease.out_of_turn(), 0, "each had its turn");
}

#[test]
fn a_launch_from_a_callback_waits_for_its_turn() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("callback", 0);
    program.expect("running");
    lease.close();
    lease.until("the callback waits", |census| census.waiting == 1 && census.inflight == 0);
    assert!(program.is_silent(A_WHILE), "it launched behind a closed gate");
    lease.open();
    program.expect("launched from the callback");
    program.go();
    program.expect("done");
    program.end();
    all_is_counted_out(&lease);
}

#[test]
fn what_stands_behind_a_callback_that_waits_is_not_in_flight() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("callback-behind", 0);
    program.expect("running");
    lease.close();
    program.go();
    lease.until("drained", |census| census.waiting == 1 && census.inflight == 0);
    assert!(program.is_silent(A_WHILE), "it went on behind a closed gate");
    assert_eq!((lease.census().waiting, lease.census().inflight), (1, 0));
    lease.open();
    program.expect("done");
    program.end();
    all_is_counted_out(&lease);
}

#[test]
fn callbacks_that_launch_get_through_short_turns() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    for shape in ["--chains 1", "--chains 6 --queues 3", "--chains 2 --burst 8 --queues 2"] {
        let mut program = chains(&lease, &format!("--seconds 2 --iterations 40000 {shape}"));
        while program.is_silent(Duration::from_millis(1)) {
            lease.turn(5_000_000);
            std::thread::sleep(Duration::from_millis(5));
            lease.close();
            std::thread::sleep(Duration::from_millis(5));
        }
        program.end();
        lease.open();
    }
    assert_eq!(lease.census().inflight, 0);
}

#[test]
fn a_callback_that_waits_goes_on_by_the_leases_share_when_the_agent_dies() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut program = lease.probe("callback", 0);
    program.expect("running");
    lease.close();
    lease.until("the callback waits", |census| census.waiting == 1 && census.inflight == 0);
    lease.agent_dies();
    program.expect("launched from the callback");
    program.go();
    program.expect("done");
    program.end();
}

#[test]
fn callbacks_in_the_middle_of_a_command_keep_to_the_share_behind_a_gate_that_stays_closed() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    lease.set_compute(100);
    let program = chains(&lease, "--seconds 4 --stage running");
    lease.until("it runs", |census| census.completed > 2);
    lease.close();
    let (used, wall) = had(program);
    // What it had before the gate was closed and what it may save up, and a command.
    assert!(used < wall / 10 + 500_000_000, "{used} ns of {wall}");
    assert!(lease.out_of_turn() >= 3, "{} are counted for the agent", lease.out_of_turn());
    assert_eq!(lease.census().inflight, 0);
}
