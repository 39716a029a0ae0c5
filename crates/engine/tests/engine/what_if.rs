//! Questions to the live state leave nothing behind, and their answers come true.

use crate::world::{With, World, ask};
use polder_model::{Event, JobId, Order, Policy, Term};

fn submitted(world: &World, ask: polder_model::Ask) -> (JobId, Event) {
    let job = world.engine.next_job_id();
    (job, Event::JobSubmitted { job, ask, key: None })
}

#[test]
fn what_would_start_does_and_nothing_is_left_behind() {
    let mut world = World::new().device("n1", "d0");
    let before = world.engine.clone();
    let (job, event) = submitted(&world, ask());
    let outlook = world.engine.what_if(world.now(), &[event]).unwrap();
    assert_eq!(world.engine, before);
    assert_eq!(outlook.starts.len(), 1);
    let (would, spots) = &outlook.starts[0];
    assert_eq!((*would, spots[0].node.as_str()), (job, "n1"));
    let done = world.submit(ask());
    world.settle();
    assert_eq!((done, world.spots(done)), (job, vec!["n1/d0".to_owned()]));
}

#[test]
fn what_would_wait_is_explained() {
    let mut world = World::new().device("n1", "d0");
    world.submit(ask().whole());
    world.settle();
    let (_, event) = submitted(&world, ask());
    let outlook = world.engine.what_if(world.now(), &[event]).unwrap();
    assert_eq!(outlook.starts, []);
    assert!(outlook.waits[0].reasons[0].to_string().contains("lacks 30% of compute"));
}

#[test]
fn another_policy_would_start_another() {
    let mut world = World::new().device("n1", "d0");
    let running = world.submit(ask().whole());
    world.settle();
    let slow = world.submit(ask().whole().time_limit(900));
    let quick = world.submit(ask().whole().time_limit(9));
    let order = Order { by: vec![Term::Shortest], ..Order::default() };
    let policy = Event::PolicySet { policy: Box::new(Policy { order, ..Policy::default() }) };
    let by = "ada".parse().unwrap();
    let ended = [policy, Event::JobCancelled { job: running, by }];
    let outlook = world.engine.what_if(world.now(), &ended).unwrap();
    // The cancelled job's device is free only when its node says so.
    assert_eq!(outlook.starts, []);
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    assert_eq!(queue, [slow, quick]);
}

#[test]
fn what_a_node_that_falls_silent_takes_with_it_is_told() {
    let mut world = World::new().device("n1", "d0").device("n1", "d1").device("n2", "d0");
    let gang = world.submit(ask().whole().gang(3, 3));
    world.run();
    let gone = Event::NodeSilent { node: "n1".parse().unwrap() };
    let outlook = world.engine.what_if(world.now(), &[gone]).unwrap();
    assert_eq!(outlook.cut_off, [(gang, "n1".parse().unwrap(), 2)]);
    assert_eq!(world.state(gang), "running");
}

#[test]
fn what_could_never_be_is_refused() {
    let world = World::new().device("n1", "d0");
    let (_, event) = submitted(&world, ask().model("H200"));
    let refusal = world.engine.what_if(world.now(), &[event]).unwrap_err().to_string();
    assert!(refusal.contains("is not a h200"), "{refusal}");
}
