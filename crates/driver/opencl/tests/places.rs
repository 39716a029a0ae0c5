//! A program's place in its lease: let in or not, forked, kept when the agent dies.

#![allow(clippy::unwrap_used)] // all of this is test code

mod support;

use std::sync::atomic::Ordering;
use support::{Lease, OCLGRIND, Talk, example, missing, pocl};

const MEMORY: u64 = 1 << 28;

#[test]
fn a_program_without_a_lease_sees_no_platform() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    // Said unasked, and once.
    let mut alone = lease.command(example("probe"));
    alone.args(["devices"]).env_remove("POLDER_SOCKET").env_remove("POLDER_LOG");
    let alone = alone.output().unwrap();
    assert!(alone.stdout.is_empty() && alone.status.success());
    let why = String::from_utf8_lossy(&alone.stderr).into_owned();
    let advice = "start it with `polder run`; in a lease, have what clears the environment";
    assert!(why.contains(advice) && why.lines().count() == 1, "{why}");
    let mut quiet = lease.command(example("probe"));
    quiet.args(["devices"]).env("POLDER_SOCKET", "/nowhere").env_remove("POLDER_LOG");
    assert!(quiet.output().unwrap().stderr.is_empty());
}

#[test]
fn a_program_that_is_turned_away_sees_no_platform_and_why() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    lease.refuse();
    let output = lease.command(example("probe")).args(["devices"]).output().unwrap();
    assert!(output.stdout.is_empty());
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("refused: the lease is over"), "{why}");
}

#[test]
fn only_the_leases_devices_are_there_and_they_have_its_memory() {
    let Some(pocl) = pocl() else { return };
    let lease = Lease::new(&[(pocl, 1, 12_345_678)]);
    let mut command = lease.command(example("probe"));
    command.args(["devices"]).env("POCL_DEVICES", "pthread pthread");
    let expect = [
        format!("{}: 1 devices, 1 default, 0 of another type, 1 in a context", pocl.1),
        "memory 12345678 largest 12345678".to_owned(),
    ];
    assert_eq!(Talk::start(&mut command).end(), expect);
}

#[test]
fn two_vendors_are_two_platforms_and_a_driver_that_is_gone_is_none() {
    let Some(pocl) = pocl() else { return };
    if missing(OCLGRIND.0, "oclgrind") {
        return;
    }
    let gone = ("/nowhere/libdriver.so", "Gone");
    let lease = Lease::new(&[(OCLGRIND, 0, MEMORY), (pocl, 0, MEMORY), (gone, 0, MEMORY)]);
    let said = lease.probe("devices", 0).end();
    let platforms = said.iter().filter(|line| line.contains("1 devices")).count();
    assert_eq!((said.len(), platforms), (4, 2), "{said:?}");
}

#[test]
fn functions_past_the_hooks_are_absent() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let expect = [
        "clEnqueueNDRangeKernel there",
        "clGetEventInfo there",
        "clIcdGetPlatformIDsKHR there",
        "clEnqueueAcquireGLObjects absent",
        "clHostMemAllocINTEL absent",
        "clSetContentSizeBufferPoCL there",
    ];
    assert_eq!(lease.probe("functions", 0).end(), expect);
}

#[test]
fn the_child_of_a_fork_has_a_place_of_its_own() {
    let Some(lease) = Lease::pocl(1500) else { return };
    lease.probe("fork", 0).end();
    let held = |slot: usize| lease.usage().slot[slot].device[0].held.load(Ordering::Relaxed);
    assert_eq!((held(0), held(1)), (1000, 300));
}

#[test]
fn the_child_of_a_fork_that_is_turned_away_has_nothing() {
    let Some(lease) = Lease::pocl(1500) else { return };
    let mut program = lease.probe("lonely-fork", 0);
    program.expect("ready");
    lease.refuse();
    program.go();
    assert_eq!(program.end(), ["done"]);
    assert_eq!(lease.held(0), 1);
}

#[test]
fn a_program_that_another_starts_is_let_in_by_itself() {
    let Some(lease) = Lease::pocl(1500) else { return };
    let said = lease.probe("exec", 0).end();
    assert_eq!(said, ["past -4", "past again -4", "executed"]);
    assert_eq!(lease.usage().slots().len(), 2);
}

#[test]
fn without_an_agent_a_program_keeps_to_its_share() {
    let Some(lease) = Lease::pocl(1 << 20) else { return };
    lease.set_compute(200);
    lease.close();
    let mut command = lease.command(example("workload"));
    command.args(["--kernel-us", "1000", "--iterations", "100000", "--async", "4"]);
    lease.agent_dies();
    let said = Talk::start(command.args(["--seconds", "2"])).end().join("");
    let share = number(&said, "busy_seconds") / number(&said, "seconds");
    assert!((0.05..0.35).contains(&share), "{share}: {said}");
}

/// A number of the workload's last line.
fn number(line: &str, name: &str) -> f64 {
    let (_, rest) = line.split_once(&format!("\"{name}\":")).unwrap();
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn a_program_that_waits_takes_the_page_of_a_new_agent() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    lease.close();
    let mut program = lease.probe("checksum", 0);
    lease.until("a thread waits", |census| census.waiting == 1);
    lease.agent_returns(MEMORY);
    assert!(!program.line().is_empty());
    program.end();
}
