//! Who gets a slot, and when it is free again.

use crate::entry::knock;
use crate::kit::{Lease, tenant, wait_for};
use polder_agent::shim::Pages;
use polder_ledger::attach::{Message, receive};
use polder_ledger::{LimitsWriter, Mapped, SLOTS_MAX, Usage, map_usage, memory};
use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal};

/// A lease whose program attaches in a role, and the agent's view of it.
struct Scene {
    lease: Lease,
    _limits: LimitsWriter,
    pages: Pages,
    usage: Mapped<Usage>,
}

fn scene(role: &str) -> Scene {
    let lease = Lease::prepared(&tenant(role));
    let limits = lease.give_limits(1);
    let mut client = polder_agent::shim::ShimClient::connect(lease.dir()).unwrap();
    let pages = client.hello().unwrap().pages.unwrap();
    let usage = map_usage(&pages.usage).unwrap();
    client.start(None, false, None).unwrap();
    Scene { lease, _limits: limits, pages, usage }
}

impl Scene {
    fn held(&self) -> u64 {
        memory::held(&self.usage, 0)
    }

    fn wait_held(&self, bytes: u64) {
        wait_for(&format!("{bytes} bytes held"), || (self.held() == bytes).then_some(()));
    }

    fn attached(&self) -> Vec<u32> {
        self.lease.state().attached.iter().map(|one| one.pid).collect()
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_killed_holders_memory_is_free_and_the_bell_rings() {
    let scene = scene("child");
    let child: u32 = scene.lease.line("child ").parse().unwrap();
    scene.wait_held(2000);
    assert_eq!(scene.attached().len(), 2, "a child has a slot of its own");
    kill(child);
    scene.wait_held(1000);
    assert!(!scene.attached().contains(&child));
    let mut count = [0; 8];
    assert_eq!(rustix::io::read(&scene.pages.doorbell, &mut count), Ok(8));
}

#[test]
fn a_process_that_became_another_program_holds_nothing() {
    let scene = scene("exec");
    scene.lease.line("holds ");
    scene.wait_held(0);
    assert!(scene.attached().is_empty());
}

#[test]
fn a_process_that_came_again_as_another_program_holds_once() {
    let scene = scene("exec-again");
    scene.lease.line("child ");
    wait_for("a second attachment", || {
        (scene.lease.output().matches("holds ").count() == 2).then_some(())
    });
    scene.wait_held(1000);
    assert_eq!(scene.attached().len(), 1);
}

#[test]
fn one_that_closes_its_connection_and_maps_the_page_keeps_its_slot() {
    let scene = scene("close");
    scene.lease.line("holds ");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!((scene.held(), scene.attached().len()), (1000, 1));
}

#[test]
fn one_that_speaks_out_of_turn_is_shut_out_but_counted() {
    let scene = scene("babble");
    scene.lease.line("shut");
    assert_eq!((scene.held(), scene.attached().len()), (1000, 1));
}

#[test]
fn a_stranger_is_refused() {
    let scene = scene("hold");
    scene.lease.line("holds ");
    let socket = knock(scene.lease.file("driver.sock").to_str().unwrap());
    let (message, fds) = receive(&socket, RecvFlags::empty()).unwrap().unwrap();
    let Message::Refused { why } = message else { panic!("{message:?}") };
    assert!(why.contains("no process of this lease") && fds.is_empty(), "{why}");
    assert_eq!(scene.attached().len(), 1);
}

#[test]
fn a_full_lease_says_so() {
    let scene = scene("many");
    let refused = scene.lease.line("refused ");
    assert!(refused.contains("256 processes of this lease use its devices already"), "{refused}");
    assert_eq!(refused.matches("256").count(), 1, "the others were let in");
    assert_eq!(scene.lease.state().attached.len(), SLOTS_MAX);
}

#[test]
fn new_limits_reach_those_who_are_in() {
    let scene = scene("listen");
    scene.lease.line("holds ");
    let _second = scene.lease.give_limits(2);
    assert_eq!(scene.lease.line("epoch "), "2");
    assert_eq!(scene.lease.state().limits_epoch, Some(2));
    let old = LimitsWriter::create(7, 2).unwrap();
    let refused = scene.lease.client().send_limits(old.fd(), 2).unwrap_err().to_string();
    assert!(refused.contains("epoch 2 is not above"), "{refused}");
    let other = LimitsWriter::create(8, 3).unwrap();
    let refused = scene.lease.client().send_limits(other.fd(), 3).unwrap_err().to_string();
    assert!(refused.contains("page is of lease L8"), "{refused}");
}

#[test]
fn who_comes_before_the_limits_waits_for_them() {
    let lease = Lease::started(&tenant("hold"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!lease.output().contains("holds ") && lease.state().attached.is_empty());
    let _limits = lease.give_limits(1);
    lease.line("holds ");
}

#[test]
fn an_end_tells_what_was_used() {
    let scene = scene("hold");
    scene.lease.line("holds ");
    scene.lease.stop(polder_model::Micros(0));
    let sample = scene.lease.end().sample;
    assert_eq!(sample.devices[0].memory_peak, polder_model::Bytes(1000));
    assert_eq!(scene.held(), 0);
}
