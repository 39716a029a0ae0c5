//! A job's life: starting, running, ending, cancelling, retrying, losing its node or device.

use crate::world::{With, World, ask, gib};
use polder_engine::ENGINE_VERSION;
use polder_model::{
    Bytes, Decision, Event, Health, Inventory, LeaseId, NodeId, Outcome, Quota, StopReason,
    Timestamp,
};

fn one() -> World {
    World::new().device("n1", "d0")
}

fn failed() -> Outcome {
    Outcome::Failed { code: 3 }
}

/// The tombstones of a node, as `L1: reason`.
fn tombstones(world: &World, node: &str) -> Vec<String> {
    let (_, tombstones) = world.engine.desired(&node.parse().unwrap());
    tombstones.iter().map(|t| format!("{}: {:?}", t.lease, t.why)).collect()
}

fn version(world: &World) -> u64 {
    world.engine.desired_version(&"n1".parse().unwrap())
}

#[test]
fn from_queue_to_success() {
    let mut world = one();
    let job = world.submit(ask());
    assert_eq!(world.state(job), "queued");
    world.settle();
    assert_eq!(world.state(job), "starting");
    world.run();
    assert_eq!(world.state(job), "running");
    world.end(job, Outcome::Succeeded);
    assert_eq!(world.state(job), "succeeded");
    assert_eq!(world.engine.jobs().count() + world.engine.leases().count(), 0);
}

#[test]
fn an_end_without_a_word_of_the_start_counts() {
    let mut world = one();
    let job = world.submit(ask());
    world.settle();
    world.prepare(LeaseId(1));
    world.settle();
    world.end(job, Outcome::Succeeded);
    assert_eq!(world.state(job), "succeeded");
}

#[test]
fn a_success_before_the_start_is_not_believed() {
    let mut world = one();
    let job = world.submit(ask());
    world.settle();
    world.end(job, Outcome::Succeeded);
    assert_eq!(world.state(job), "lost");
}

#[test]
fn failures_are_retried_as_often_as_asked() {
    let mut world = one();
    let job = world.submit(ask().retries(2));
    for attempt in 1..=3 {
        world.run();
        let found = world.engine.job(job).unwrap();
        assert_eq!((found.attempt, found.leases), (attempt, vec![LeaseId(attempt.into())]));
        world.end(job, failed());
    }
    assert_eq!(world.state(job), "failed (3)");
}

#[test]
fn what_trying_again_cannot_help_is_not_retried() {
    let mut world = one();
    let job = world.submit(ask().retries(5));
    world.run();
    world.end(job, Outcome::TimedOut);
    assert_eq!(world.state(job), "timed out");
}

#[test]
fn a_cancelled_job_in_the_queue_is_over_and_never_granted() {
    let mut world = World::new();
    let job = world.submit(ask());
    world.cancel(job);
    assert_eq!(world.engine.queue(world.now()).count(), 0);
    let mut world = world.device("n1", "d0");
    world.settle();
    assert_eq!(world.state(job), "cancelled");
    assert!(!world.decisions.iter().any(|d| matches!(d, Decision::Grant { .. })));
}

#[test]
fn a_cancelled_job_is_over_when_its_leases_are() {
    let mut world = one();
    let job = world.submit(ask().retries(1));
    world.run();
    let before = version(&world);
    world.cancel(job);
    world.settle();
    assert!(version(&world) > before);
    assert_eq!(world.state(job), "stopping");
    assert!(tombstones(&world, "n1")[0].starts_with("L1: Cancelled"));
    world.end(job, Outcome::Signalled { signal: 9 });
    assert_eq!(world.state(job), "cancelled");
}

#[test]
fn a_program_that_ends_well_while_cancelled_succeeded() {
    let mut world = one();
    let job = world.submit(ask());
    world.run();
    world.cancel(job);
    world.end(job, Outcome::Succeeded);
    assert_eq!(world.state(job), "succeeded");
}

#[test]
fn a_gang_not_prepared_in_time_is_returned_and_waits_until_its_leases_ended() {
    let mut world = one().device("n2", "d0");
    let job = world.submit(ask().whole().gang(2, 2));
    world.settle();
    world.prepare(LeaseId(1));
    let wake = world.engine.next_wake(world.now()).unwrap();
    assert_eq!(wake, world.leases(job)[0].granted_at.after(world.engine.policy().prepare_limit));
    world.pass_seconds(31);
    world.settle();
    assert_eq!(world.state(job), "stopping");
    assert_eq!(tombstones(&world, "n2"), ["L2: Returned"]);
    world.end_lease(LeaseId(1), Outcome::Returned);
    world.settle();
    assert_eq!((world.state(job).as_str(), world.leases(job).len()), ("stopping", 1));
    world.end_lease(LeaseId(2), Outcome::Returned);
    assert_eq!(world.state(job), "queued");
    world.settle();
    let again: Vec<_> = world.leases(job).iter().map(|lease| lease.id).collect();
    assert_eq!(again, [LeaseId(3), LeaseId(4)]);
    assert_eq!(world.engine.job(job).unwrap().attempt, 1);
}

#[test]
fn time_without_a_writer_does_not_count_against_a_gang() {
    let mut world = one();
    let job = world.submit(ask());
    world.settle();
    world.pass_seconds(600);
    world.apply(Event::Fenced { writer: "second".into(), engine: 1 });
    world.settle();
    assert_eq!(world.state(job), "starting");
    world.pass_seconds(31);
    world.settle();
    assert_eq!(world.state(job), "stopping");
}

#[test]
fn a_journal_of_a_newer_engine_is_refused() {
    let mut world = one();
    let newer = Event::Fenced { writer: "newer".into(), engine: ENGINE_VERSION + 1 };
    let error = world.try_apply(newer).unwrap_err();
    let (newer, this) = (ENGINE_VERSION + 1, ENGINE_VERSION);
    let expect = format!("engine version {newer} decided this: run that version, this is {this}");
    assert_eq!(error, expect);
    let opened = || Event::PoolOpened { pool: "p".parse().unwrap(), engine: 1 };
    world.apply(opened());
    let twice = "the pool is opened twice: two journals were joined";
    assert_eq!(world.try_apply(opened()), Err(twice.into()));
}

#[test]
fn a_gang_that_is_never_prepared_is_given_up() {
    let mut world = one();
    let job = world.submit(ask());
    for _ in 0..=world.engine.policy().returns_max {
        world.settle();
        world.pass_seconds(31);
        world.settle();
        world.end(job, Outcome::Returned);
    }
    let Some(Outcome::NotStarted { why }) = world.over.get(&job) else { panic!("goes on") };
    assert!(why.contains("within 30.0s, 21 times"), "{why}");
}

#[test]
fn a_silent_node_keeps_what_runs() {
    let mut world = one();
    let job = world.submit(ask().retries(3));
    world.run();
    world.silent("n1");
    world.pass_seconds(100_000);
    world.settle();
    assert_eq!(world.states(&[job]), "running");
    assert_eq!(tombstones(&world, "n1"), [""; 0]);
}

#[test]
fn a_silent_node_returns_what_was_starting() {
    let mut world = one().device("n2", "d0");
    let job = world.submit(ask().whole().gang(2, 2));
    world.settle();
    world.silent("n2");
    world.settle();
    assert_eq!(world.state(job), "stopping");
    assert_eq!(tombstones(&world, "n1"), ["L1: Returned"]);
}

#[test]
fn a_device_that_is_gone_stops_its_leases_as_lost() {
    let mut world = one();
    let job = world.submit(ask());
    world.run();
    world.inventory("n1").devices.clear();
    world.report("n1");
    world.settle();
    assert!(tombstones(&world, "n1")[0].contains("device d0 of node n1 is gone"));
    world.end(job, Outcome::Signalled { signal: 15 });
    let Some(Outcome::Lost { why }) = world.over.get(&job) else { panic!("{:?}", world.over) };
    assert_eq!(why, "device d0 of node n1 is gone");
}

#[test]
fn a_device_that_failed_ends_its_leases_with_its_words_and_is_not_used_again() {
    let mut world = World::new().device("n1", "d0").device("n1", "d1");
    let job = world.submit(ask().retries(1));
    let other = world.submit(ask().whole());
    world.run();
    let lost = world.leases(job)[0].clone();
    let of = |device: &&mut polder_model::Device| device.id == lost.slices[0].device;
    let words = "has failed: XID 79, the card has fallen off the bus; restart the machine";
    let failed = world.inventory("n1").devices.iter_mut().find(of).unwrap();
    failed.health = Health::Failed(words.into());
    world.report("n1");
    world.settle();
    assert!(tombstones(&world, "n1")[0].contains(words), "{:?}", tombstones(&world, "n1"));
    assert_eq!(tombstones(&world, "n1").len(), 1, "the other device's lease goes on");
    world.end_lease(lost.id, Outcome::Signalled { signal: 15 });
    world.settle();
    // It is tried again, and has only the failed device to go to.
    assert_eq!((world.state(job), world.state(other)), ("queued".into(), "running".into()));
    let of = |device: &&mut polder_model::Device| device.id == lost.slices[0].device;
    world.inventory("n1").devices.iter_mut().find(of).unwrap().health = Health::Healthy;
    world.report("n1");
    world.settle();
    assert_eq!(world.leases(job)[0].slices[0].device, lost.slices[0].device);
}

#[test]
fn a_device_that_lost_memory_breaks_its_leases() {
    let mut world = one();
    let job = world.submit(ask().share(300, gib(6)).retries(1));
    world.run();
    world.inventory("n1").devices[0].memory = gib(4);
    world.report("n1");
    world.settle();
    world.end(job, Outcome::Cancelled);
    assert_eq!(world.state(job), "queued");
    let reasons = world.engine.explain(world.now(), job).unwrap().reasons;
    assert!(reasons[0].to_string().contains("Tide 8 (4 GiB), has 4 GiB"), "{reasons:?}");
}

#[test]
fn orders_say_when_to_start_and_where_to_meet() {
    let mut world = one().device("n2", "d0");
    world.inventory("n1").node.address = "10.1.1.1".into();
    world.report("n1");
    let job = world.submit(ask().share(400, gib(1)).gang(3, 3));
    world.settle();
    let node: NodeId = "n1".parse().unwrap();
    let (orders, _) = world.engine.desired(&node);
    let places: Vec<_> = orders.iter().map(|o| (o.gang.rank, o.gang.local_rank)).collect();
    assert_eq!((places, orders[0].gang.local_size), (vec![(0, 0), (1, 1)], 2));
    assert!(orders.iter().all(|o| !o.start && o.gang.master.is_none() && o.gang.size == 3));
    let before = version(&world);
    for lease in world.leases(job) {
        world.prepare(lease.id);
    }
    world.settle();
    assert!(version(&world) > before);
    let (orders, _) = world.engine.desired(&"n2".parse().unwrap());
    assert!(orders[0].start);
    assert_eq!(orders[0].gang.master.as_deref(), Some("10.1.1.1:4000"));
    assert_eq!((orders[0].gang.rank, orders[0].gang.local_rank), (2, 0));
}

#[test]
fn facts_out_of_step_are_errors() {
    let mut world = one();
    let job = world.submit(ask());
    world.settle();
    let started = Event::LeaseStarted { lease: LeaseId(1) };
    let out_of_step = "lease L1 is Granted: it cannot be started now";
    assert_eq!(world.try_apply(started.clone()), Err(out_of_step.into()));
    world.prepare(LeaseId(1));
    assert!(world.try_apply(started).unwrap_err().contains("Prepared"));
    let ended = "lease L9 has ended or never was";
    let start = Decision::Start { job: polder_model::JobId(9) };
    let unknown = world.try_apply(Event::Decided { decision: start }).unwrap_err();
    assert!(unknown.contains("job 9") && unknown.contains("over or never was"));
    assert_eq!(world.try_apply(Event::LeaseStarted { lease: LeaseId(9) }), Err(ended.into()));
    let finish = Decision::Finish { job, outcome: Outcome::Succeeded };
    let held = world.try_apply(Event::Decided { decision: finish }).unwrap_err();
    assert!(held.contains("1 of its leases have not ended"), "{held}");
    let back = world.engine.apply(Timestamp(0), &Event::NodeSilent { node: "n1".parse().unwrap() });
    assert!(back.unwrap_err().to_string().contains("out of order"));
}

#[test]
fn a_forged_grant_is_refused() {
    let mut world = one();
    world.set_tenant("lab", Quota { memory: Some(gib(5)), ..Quota::default() });
    let job = world.submit(ask().share(600, gib(3)));
    world.submit(ask().share(600, gib(3)));
    let (decisions, _) = world.engine.plan(world.now());
    let Decision::Grant { leases, .. } = &decisions[0] else { panic!("{decisions:?}") };
    let mut forge = |change: &dyn Fn(&mut polder_model::Lease), expect: &str| {
        let mut leases = leases.clone();
        change(&mut leases[0]);
        let decision = Decision::Grant { job, leases };
        let error = world.try_apply(Event::Decided { decision }).unwrap_err();
        assert!(error.contains(expect), "{error}");
    };
    forge(&|l| l.slices[0].memory = gib(9), "not what was asked");
    forge(&|l| l.slices[0].device = "d9".parse().unwrap(), "not there or faulty");
    forge(&|l| l.slices.push(l.slices[0].clone()), "named twice");
    forge(&|l| l.slices.clear(), "its devices differs");
    forge(&|l| l.node = "n9".parse().unwrap(), "does not answer");
    forge(&|l| l.attempt = 2, "its try differs");
    forge(&|l| l.id = LeaseId(0), "its number differs");
    forge(&|l| l.user = "eve".parse().unwrap(), "its owner differs");
    world.settle();
    assert_eq!(world.leases(job).len(), 1);
}

#[test]
fn an_empty_inventory_is_fine_and_a_double_device_is_not() {
    let mut world = one();
    let mut inventory: Inventory = world.inventory("n1").clone();
    inventory.devices.push(inventory.devices[0].clone());
    let node: NodeId = "n1".parse().unwrap();
    let twice = Event::NodeReported { node: node.clone(), incarnation: 1, inventory };
    let error = world.try_apply(twice).unwrap_err();
    assert_eq!(error, "node n1 reports device d0 twice: give each its own id");
    let inventory = Inventory { devices: vec![], ..world.inventory("n1").clone() };
    let old =
        Event::NodeReported { node: node.clone(), incarnation: 0, inventory: inventory.clone() };
    assert!(world.try_apply(old).unwrap_err().contains("0 is older"));
    world.apply(Event::NodeReported { node, incarnation: 2, inventory });
}

#[test]
fn a_stop_tells_which_member_failed() {
    let mut world = one();
    let job = world.submit(ask().share(100, Bytes(1)).gang(3, 3));
    world.run();
    world.end_lease(LeaseId(2), failed());
    world.settle();
    let reason = StopReason::GangMemberEnded { lease: LeaseId(2) };
    assert_eq!(world.decisions.last(), Some(&Decision::Stop { job, reason }));
    assert_eq!(tombstones(&world, "n1").len(), 2);
    world.end(job, Outcome::Cancelled);
    assert_eq!(world.state(job), "failed (3)");
}
