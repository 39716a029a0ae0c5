//! Gangs that change their size while they run, and services.

use crate::world::{With, World, ask, gib};
use polder_engine::Engine;
use polder_model::{
    Ask, ClassPool, Decision, Device, Event, GangKind, Ground, Health, JobId, JobState, Lease,
    LeaseEnd, LeaseId, LeaseSample, Micros, Outcome, Policy, Quota, Reason, Shrink, StopReason,
    Timestamp, WorkClass,
};

/// A node with so many devices, each of which one task takes whole.
fn node(devices: u32) -> World {
    (0..devices).fold(World::new(), |world, device| world.device("n1", &format!("d{device}")))
}

fn elastic(min: u32, max: u32) -> Ask {
    ask().whole().gang(min, max).kind(GangKind::Elastic)
}

fn service(min: u32, max: u32) -> Ask {
    ask().whole().gang(min, max).kind(GangKind::Service)
}

/// Ranks of a job's leases that go on, and of those that leave.
fn ranks(world: &World, job: JobId) -> (Vec<u32>, Vec<u32>) {
    let (mut stay, mut leave) = (Vec::new(), Vec::new());
    for node in world.engine.nodes() {
        let (orders, tombstones) = world.engine.desired(node.id);
        let orders = orders.iter().filter(|order| order.lease.job == job);
        stay.extend(orders.map(|order| order.lease.task));
        let gone = tombstones.iter().filter_map(|tomb| world.engine.lease(tomb.lease));
        leave.extend(gone.filter(|lease| lease.job == job).map(|lease| lease.task));
    }
    stay.sort_unstable();
    leave.sort_unstable();
    (stay, leave)
}

/// What was told to end has ended.
fn tombstones_end(world: &mut World) {
    for lease in told_to_end(&world.engine) {
        world.end_lease(lease, Outcome::Returned);
    }
    world.run();
}

fn told_to_end(engine: &Engine) -> Vec<LeaseId> {
    let of = |node| engine.desired(node).1.into_iter().map(|tombstone| tombstone.lease);
    engine.nodes().flat_map(|node| of(node.id)).collect()
}

/// Members that came since: granted, prepared and started.
fn rest(world: &mut World, seconds: u64) {
    world.pass_seconds(seconds);
    world.run();
}

// What holds of every plan; `properties` asks this of any history.

/// Nobody who waits could have used what gangs grow into; whoever shrinks does so for somebody who
/// then starts, and by no more members than that needs.
pub(crate) fn nobody_suffers(engine: &Engine, at: Timestamp, decisions: &[Decision]) {
    for decision in decisions {
        match decision {
            Decision::Grow { job, .. } => grows_into_nothing_wanted(engine, at, *job, decisions),
            Decision::Preempt { job, ground: Ground::Elastic, .. } => {
                assert!(starts_after(engine, at, decision, *job, false), "in vain: {decision:?}");
                nobody_is_spared(engine, at, decision, *job);
            }
            _ => {}
        }
    }
}

fn grows_into_nothing_wanted(engine: &Engine, at: Timestamp, id: JobId, all: &[Decision]) {
    let job = engine.job(id).unwrap();
    let leaves = told_to_end(engine);
    let goes_on = |lease: &&LeaseId| engine.lease(**lease).is_some() && !leaves.contains(lease);
    let has = job.leases.iter().filter(goes_on).count();
    if job.ask.gang.kind == GangKind::Service && has < job.ask.gang.min as usize {
        return;
    }
    let grow = |decision: &Decision| matches!(decision, Decision::Grow { .. });
    assert!(all.iter().all(grow), "something else could happen first: {all:?}");
    for other in engine.jobs().filter(|job| job.state == JobState::Queued) {
        let reasons = engine.explain(at, other.id).unwrap().reasons;
        let hopeless = reasons.iter().any(|reason| match reason {
            Reason::Promised { .. }
            | Reason::NoSuchDevice { .. }
            | Reason::NotOfClass { .. }
            | Reason::Unreachable { .. } => true,
            Reason::Quota { tenant, .. } => !job.ask.tenant.lineage().any(|above| above == *tenant),
            _ => false,
        });
        let elsewhere = all.iter().all(|decision| match decision {
            Decision::Grow { leases, .. } => {
                leases.iter().all(|lease| !could_use(engine, other.ask, lease))
            }
            _ => false,
        });
        assert!(hopeless || elsewhere, "{id} grows and {} waits: {reasons:?}", other.id);
    }
}

/// Whether one task of an ask could be where a lease is, on a device of that lease: its node has enough
/// healthy devices of the size that the task needs, and the lease's is one of them.
fn could_use(engine: &Engine, ask: &Ask, lease: &Lease) -> bool {
    let node = engine.nodes().find(|other| *other.id == lease.node).unwrap();
    let fits = |one: &&Device| one.memory >= ask.devices.memory && one.health == Health::Healthy;
    let large: Vec<&Device> = node.inventory.devices.iter().filter(fits).collect();
    let taken = |one: &&Device| lease.slices.iter().any(|slice| slice.device == one.id);
    large.len() >= ask.devices.count as usize && (ask.devices.count == 0 || large.iter().any(taken))
}

/// Whether a job starts once a decision has been carried out and all that was told to end has
/// ended; if `released`, without what was kept for it.
fn starts_after(
    engine: &Engine,
    at: Timestamp,
    decision: &Decision,
    job: JobId,
    released: bool,
) -> bool {
    let mut copy = engine.clone();
    copy.apply(at, &Event::Decided { decision: decision.clone() }).unwrap();
    ends_what_was_told(&mut copy, at);
    if released {
        copy.apply(at, &Event::Decided { decision: Decision::Release { job } }).unwrap();
    }
    is_granted(&copy, at, job)
}

fn ends_what_was_told(engine: &mut Engine, at: Timestamp) {
    for lease in told_to_end(engine) {
        let (ran, sample) = (Micros(0), LeaseSample::default());
        let end = LeaseEnd { outcome: Outcome::Returned, ran, sample };
        engine.apply(at, &Event::LeaseEnded { lease, end }).unwrap();
    }
}

fn is_granted(engine: &Engine, at: Timestamp, id: JobId) -> bool {
    let grants =
        |decision: &Decision| matches!(decision, Decision::Grant { job, .. } if *job == id);
    let (decisions, _) = engine.plan(at);
    // A plan ends where somebody is tried again: who stands in line then is another question.
    if !decisions.iter().any(|decision| matches!(decision, Decision::Retry { .. })) {
        return decisions.iter().any(grants);
    }
    let mut copy = engine.clone();
    for decision in decisions {
        copy.apply(at, &Event::Decided { decision }).unwrap();
    }
    is_granted(&copy, at, id)
}

fn nobody_is_spared(engine: &Engine, at: Timestamp, decision: &Decision, id: JobId) {
    let Decision::Preempt { job, victims, ground, spots, moves, shrinks } = decision else {
        return;
    };
    for (place, shrink) in shrinks.iter().enumerate() {
        let mut fewer: Vec<Shrink> = shrinks.clone();
        if shrink.leases.len() == 1 {
            fewer.remove(place);
        } else {
            fewer[place].leases.pop();
        }
        let starts = if fewer.is_empty() {
            let mut copy = engine.clone();
            ends_what_was_told(&mut copy, at);
            is_granted(&copy, at, id)
        } else {
            let fewer = Decision::Preempt {
                job: *job,
                victims: victims.clone(),
                ground: *ground,
                spots: spots.clone(),
                moves: moves.clone(),
                shrinks: fewer,
            };
            starts_after(engine, at, &fewer, id, true)
        };
        assert!(!starts, "{} gives more than is needed: {decision:?}", shrink.job);
    }
}

// Examples.

#[test]
fn a_gang_grows_when_nobody_waits() {
    let mut world = node(4);
    let other = world.submit(ask().whole().gang(3, 3));
    let job = world.submit(elastic(1, 3));
    world.run();
    assert_eq!(ranks(&world, job).0, [0]);
    world.end(other, Outcome::Succeeded);
    world.run();
    assert_eq!(ranks(&world, job).0, [0], "it has just started");
    let wake = world.engine.next_wake(world.now()).unwrap();
    world.pass_until(wake);
    world.run();
    assert_eq!(ranks(&world, job).0, [0, 1, 2]);
    assert_eq!(world.state(job), "running");
    world.end(job, Outcome::Succeeded);
    assert_eq!(world.state(job), "succeeded");
}

#[test]
fn what_a_later_job_holds_is_still_to_be_borrowed_by_an_earlier_one() {
    let mut world = World::new().device("n0", "d0").device("n1", "d0");
    for (node, partition) in [("n0", "even"), ("n1", "odd")] {
        world.inventory(node).node.partitions.insert(partition.into());
        world.report(node);
    }
    let own = ClassPool { partition: Some("odd".into()), borrow: true };
    let classes = [(WorkClass::Training, own)].into();
    world.apply(Event::PolicySet { policy: Box::new(Policy { classes, ..Policy::default() }) });
    let ends = world.submit(ask().share(800, gib(6)));
    world.run();
    let gang = world.submit(ask().share(100, gib(2)).gang(1, 2).kind(GangKind::Elastic));
    world.run();
    assert_eq!(world.spots(ends), ["n0/d0"]);
    assert_eq!(world.spots(gang), ["n0/d0", "n1/d0"]);
    world.cancel(ends);
    let mut training = ask().share(100, gib(4)).gang(2, 2).priority(1, None);
    training.when.class = WorkClass::Training;
    // Who would not yield borrows nothing.
    training.yields.preemptible = true;
    let training = world.submit(training);
    world.submit(ask().share(100, gib(4)));
    let (decisions, _) = world.engine.plan(world.now());
    nobody_suffers(&world.engine, world.now(), &decisions);
    world.run();
    assert_eq!(ranks(&world, gang).0, [0, 1], "one fits beside each: nobody has to leave");
    tombstones_end(&mut world);
    assert_eq!(world.state(training), "running");
}

#[test]
fn a_rigid_gang_keeps_its_size() {
    let mut world = node(3);
    let other = world.submit(ask().whole().gang(2, 2));
    let job = world.submit(ask().whole().gang(1, 3));
    world.run();
    world.end(other, Outcome::Succeeded);
    rest(&mut world, 3600);
    assert_eq!(ranks(&world, job).0, [0]);
}

#[test]
fn nobody_grows_into_what_somebody_waits_for() {
    let mut world = node(4);
    let other = world.submit(ask().whole().gang(2, 2));
    world.run();
    let job = world.submit(elastic(1, 4).priority(5, None));
    world.run();
    assert_eq!(ranks(&world, job).0, [0, 1]);
    let waits = world.submit(ask().whole().gang(4, 4));
    world.run();
    rest(&mut world, 60);
    world.end(other, Outcome::Succeeded);
    rest(&mut world, 60);
    assert_eq!(ranks(&world, job).0, [0, 1], "two are free, and a gang of four waits for them");
    world.cancel(waits);
    rest(&mut world, 60);
    assert_eq!(ranks(&world, job).0, [0, 1, 2, 3]);
}

#[test]
fn nobody_grows_into_the_last_of_a_quota_for_which_somebody_waits() {
    let quota = Quota { devices: Some(3), ..Quota::default() };
    let mut world = node(6).tenant("lab", quota).tenant("hall", Quota::default());
    let job = world.submit(elastic(1, 2));
    let other = world.submit(elastic(1, 2).of("hall"));
    world.run();
    world.cancel(other);
    tombstones_end(&mut world);
    let waits = world.submit(ask().whole().gang(2, 2).priority(-1, None));
    let grows = world.submit(elastic(1, 2).of("hall"));
    rest(&mut world, 60);
    assert_eq!(world.states(&[job, waits, grows]), "running queued running");
    assert_eq!(ranks(&world, job).0, [0, 1], "as many as fitted at its start");
    assert_eq!(ranks(&world, grows).0, [0, 1]);
}

#[test]
fn members_beyond_the_fewest_make_room_the_last_rank_first() {
    let mut world = node(4);
    let job = world.submit(elastic(2, 4));
    world.run();
    assert_eq!(ranks(&world, job).0, [0, 1, 2, 3]);
    let next = world.submit(ask().whole());
    world.settle();
    assert_eq!(ranks(&world, job), (vec![0, 1, 2], vec![3]));
    assert_eq!(world.states(&[job, next]), "running queued");
    tombstones_end(&mut world);
    assert_eq!(world.states(&[job, next]), "running running");
    // Its fewest are its own.
    let (third, fourth) = (world.submit(ask().whole()), world.submit(ask().whole()));
    world.run();
    tombstones_end(&mut world);
    assert_eq!(world.states(&[job, third, fourth]), "running running queued");
    assert_eq!(ranks(&world, job).0, [0, 1]);
    world.cancel(fourth);
    world.run();
    world.end(next, Outcome::Succeeded);
    rest(&mut world, 60);
    assert_eq!(ranks(&world, job).0, [0, 1, 2], "what was given back comes back");
    let sizes = world.engine.desired(&"n1".parse().unwrap()).0;
    let last = sizes.iter().find(|order| order.gang.rank == 2).unwrap();
    assert_eq!((last.gang.size, last.gang.master.as_deref()), (3, Some("10.0.0.1:4000")));
}

#[test]
fn who_shrinks_is_for_the_policy_and_priorities_to_say() {
    let mut world = node(2);
    let job = world.submit(elastic(1, 2).priority(5, None));
    world.run();
    let low = world.submit(ask().whole());
    world.run();
    assert_eq!(ranks(&world, job), (vec![0, 1], vec![]), "the gang ranks above who waits");
    let high = world.submit(ask().whole().priority(5, None));
    let mut policy = world.engine.policy().clone();
    policy.elastic.shrink = false;
    world.apply(Event::PolicySet { policy: Box::new(policy.clone()) });
    world.run();
    assert_eq!(ranks(&world, job), (vec![0, 1], vec![]));
    policy.elastic.shrink = true;
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    world.run();
    assert_eq!(ranks(&world, job), (vec![0], vec![1]));
    tombstones_end(&mut world);
    assert_eq!(world.states(&[low, high]), "queued running");
}

#[test]
fn a_quota_can_be_what_others_make_room_under() {
    let quota = Quota { devices: Some(3), ..Quota::default() };
    let mut world = node(6).tenant("lab", quota);
    let job = world.submit(elastic(1, 3));
    world.run();
    let next = world.submit(ask().whole().gang(2, 2));
    world.run();
    assert_eq!(ranks(&world, job), (vec![0], vec![1, 2]));
    tombstones_end(&mut world);
    assert_eq!(world.states(&[job, next]), "running running");
}

#[test]
fn nobody_shrinks_in_vain_or_for_what_is_leaving_anyway() {
    let mut world = node(4);
    let rigid = world.submit(ask().whole().gang(2, 2));
    let job = world.submit(elastic(1, 2));
    world.run();
    let wide = world.submit(ask().whole().gang(4, 4));
    world.run();
    assert_eq!(ranks(&world, job), (vec![0, 1], vec![]), "four would still not fit");
    world.cancel(wide);
    world.cancel(rigid);
    let next = world.submit(ask().whole().gang(2, 2));
    world.settle();
    assert_eq!(ranks(&world, job), (vec![0, 1], vec![]), "two are about to be free");
    tombstones_end(&mut world);
    assert_eq!(world.states(&[job, next]), "running running");
}

#[test]
fn who_joins_waits_for_nobody_and_fails_nobody() {
    let mut world = node(3);
    let other = world.submit(ask().whole().gang(2, 2));
    let job = world.submit(elastic(1, 3));
    world.run();
    world.end(other, Outcome::Succeeded);
    world.pass_seconds(60);
    world.settle();
    let leases = world.leases(job);
    assert_eq!(leases.len(), 3);
    // One starts while the other is not even prepared.
    world.prepare(leases[1].id);
    world.settle();
    world.apply(Event::LeaseStarted { lease: leases[1].id });
    world.end_lease(leases[2].id, Outcome::NotStarted { why: "no disk".into() });
    world.settle();
    assert_eq!(world.state(job), "running");
    assert_eq!(ranks(&world, job).0, [0, 1]);
    // It is tried again, and who is not prepared in time is given up.
    world.pass_seconds(60);
    world.settle();
    assert_eq!(ranks(&world, job).0, [0, 1, 2]);
    let limit = world.engine.policy().prepare_limit;
    world.pass_until(world.now().after(limit));
    world.settle();
    assert_eq!(ranks(&world, job), (vec![0, 1], vec![2]));
    tombstones_end(&mut world);
    assert_eq!(world.state(job), "running");
    // Who has joined counts like any other.
    world.end_lease(leases[1].id, Outcome::Failed { code: 1 });
    world.settle();
    assert_eq!(world.state(job), "stopping");
}

#[test]
fn a_device_lost_under_who_joins_ends_nobody_else() {
    let mut world = World::new().device("n1", "d0").device("n2", "d0");
    let other = world.submit(ask().whole());
    let job = world.submit(elastic(1, 2));
    world.run();
    world.end(other, Outcome::Succeeded);
    world.pass_seconds(60);
    world.settle();
    let joins = world.leases(job)[1].clone();
    let node = joins.node.to_string();
    world.inventory(&node).devices.clear();
    world.report(&node);
    world.settle();
    assert_eq!(ranks(&world, job), (vec![0], vec![1]));
    tombstones_end(&mut world);
    assert_eq!(world.states(&[job]), "running");
}

#[test]
fn who_has_done_its_part_neither_grows_nor_shrinks() {
    let mut world = node(4);
    let job = world.submit(elastic(1, 3));
    world.run();
    let leases = world.leases(job);
    world.end_lease(leases[1].id, Outcome::Succeeded);
    let next = world.submit(ask().whole().gang(3, 3));
    rest(&mut world, 60);
    assert_eq!(ranks(&world, job), (vec![0, 2], vec![]));
    world.end(job, Outcome::Succeeded);
    world.run();
    assert_eq!(world.states(&[job, next]), "succeeded running");
}

#[test]
fn growth_leaves_a_time_limit_as_it_is() {
    let mut world = node(2);
    let other = world.submit(ask().whole());
    let job = world.submit(elastic(1, 2).time_limit(100));
    world.run();
    world.end(other, Outcome::Succeeded);
    rest(&mut world, 40);
    let orders = world.engine.desired(&"n1".parse().unwrap()).0;
    let limits: Vec<u64> =
        orders.iter().filter_map(|o| Some(o.time_limit?.0 / 1_000_000)).collect();
    assert_eq!((ranks(&world, job).0, limits), (vec![0, 1], vec![100, 59]));
}

#[test]
fn gangs_of_one_class_grow_together() {
    let mut world = node(8);
    let other = world.submit(ask().whole().gang(4, 4));
    let (one, two) = (world.submit(elastic(2, 8)), world.submit(elastic(2, 8)));
    world.run();
    assert_eq!((ranks(&world, one).1.len(), ranks(&world, two).0.len()), (2, 0));
    tombstones_end(&mut world);
    assert_eq!((ranks(&world, one).0.len(), ranks(&world, two).0.len()), (2, 2));
    world.end(other, Outcome::Succeeded);
    rest(&mut world, 60);
    assert_eq!((ranks(&world, one).0.len(), ranks(&world, two).0.len()), (4, 4));
}

// Services.

#[test]
fn replicas_start_by_themselves_and_are_replaced() {
    let mut world = node(3);
    let other = world.submit(ask().whole().gang(2, 2));
    let job = world.submit(service(2, 3));
    world.run();
    assert_eq!((world.state(job), ranks(&world, job).0), ("running".into(), vec![0]));
    world.end(other, Outcome::Succeeded);
    world.run();
    assert_eq!(ranks(&world, job).0, [0, 1], "up to its fewest at once");
    rest(&mut world, 60);
    assert_eq!(ranks(&world, job).0, [0, 1, 2]);
    let orders = world.engine.desired(&"n1".parse().unwrap()).0;
    assert!(orders.iter().all(|order| order.start && order.gang.size == 1));
    let first = world.leases(job)[0].clone();
    world.end_lease(first.id, Outcome::Failed { code: 1 });
    world.run();
    assert_eq!(ranks(&world, job).0, [1, 2], "after a moment");
    let wake = world.engine.next_wake(world.now()).unwrap();
    world.pass_until(wake);
    world.run();
    rest(&mut world, 60);
    assert_eq!(ranks(&world, job).0, [0, 1, 2]);
    assert_eq!(world.state(job), "running");
    world.cancel(job);
    tombstones_end(&mut world);
    assert_eq!(world.state(job), "cancelled");
}

#[test]
fn a_replica_that_keeps_ending_waits_longer_each_time() {
    let mut world = node(1);
    let job = world.submit(service(1, 1));
    world.run();
    let mut waits = Vec::new();
    for _ in 0..11 {
        let lease = world.leases(job)[0].id;
        world.end_lease(lease, Outcome::Succeeded);
        let from = world.now();
        world.run();
        assert!(world.leases(job).is_empty());
        let wake = world.engine.next_wake(world.now()).unwrap();
        waits.push(wake.since(from).0 / 1_000_000);
        world.pass_until(wake);
        world.run();
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    world.pass_seconds(600);
    let lease = world.leases(job)[0].id;
    world.end_lease(lease, Outcome::Succeeded);
    let wake = world.engine.next_wake(world.now()).unwrap();
    assert_eq!(wake.since(world.now()).0, 1_000_000, "it has run long enough");
}

#[test]
fn what_a_service_lost_comes_before_who_waits() {
    let mut world = node(2);
    let job = world.submit(service(2, 2));
    world.run();
    let waits = world.submit(ask().whole().priority(9, None));
    world.run();
    let lost = world.leases(job)[1].id;
    world.end_lease(lost, Outcome::Lost { why: "its node restarted".into() });
    world.run();
    assert_eq!((ranks(&world, job).0, world.state(waits)), (vec![0, 1], "queued".into()));
}

#[test]
fn a_device_lost_under_a_replica_ends_that_one_alone() {
    let mut world = World::new().device("n1", "d0").device("n2", "d0").device("n3", "d0");
    let job = world.submit(service(1, 2));
    world.run();
    let lost = world.leases(job)[1].clone();
    let node = lost.node.to_string();
    world.inventory(&node).devices.clear();
    world.report(&node);
    world.run();
    assert_eq!(ranks(&world, job), (vec![0], vec![1]));
    let tombstone = world.engine.desired(&lost.node).1.remove(0);
    assert!(matches!(tombstone.why, StopReason::DeviceLost { .. }));
    tombstones_end(&mut world);
    rest(&mut world, 60);
    assert_eq!(ranks(&world, job).0, [0, 1]);
}

/// What is said of a job that runs.
fn why(world: &World, job: JobId) -> Vec<String> {
    let why = world.engine.explain(world.now(), job).unwrap();
    why.reasons.iter().map(ToString::to_string).collect()
}

#[test]
fn missing_members_are_told_and_why() {
    let mut world = node(3);
    let other = world.submit(ask().whole());
    world.run();
    let job = world.submit(service(1, 3));
    world.run();
    rest(&mut world, 3600);
    rest(&mut world, 3600);
    assert_eq!(
        why(&world, job),
        [
            "2 of 3 members run",
            "wants a whole device; all 3 fitting devices are in use; closest is d0 on n1, 100% of \
             it held"
        ]
    );
    world.end(other, Outcome::Succeeded);
    world.run();
    rest(&mut world, 3600);
    assert_eq!(why(&world, job), [""; 0]);
    let first = world.leases(job)[0].id;
    world.end_lease(first, Outcome::Failed { code: 1 });
    let told = why(&world, job);
    assert_eq!(told[0], "2 of 3 members run");
    assert!(told[1].starts_with("a replica that ended by itself is replaced in "), "{told:?}");
}
