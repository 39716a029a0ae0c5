//! Work that yields to whom the order puts before it: least attained service and the index of
//! service, as they are meant.

use crate::world::{With, World, ask};
use polder_engine::service::{SERVICE_LEVELS, ServiceHistory};
use polder_model::{
    Ask, Decision, Event, Ground, JobId, LeaseId, Micros, Order, Outcome, Policy, Quota, Reclaim,
    StopReason, Term, Timestamp,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const HOUR: u64 = 3600;

/// A pool of one device whose order also says who yields.
fn pool(by: &[Term]) -> World {
    let mut world = World::new().tenant("hall", Quota::default()).device("n0", "d0");
    set_order(&mut world, Order { by: by.to_vec(), ..Order::default() });
    world
}

fn set_order(world: &mut World, order: Order) {
    let reclaim = Reclaim { order: true, ..Reclaim::default() };
    let policy = Policy { order, reclaim, ..world.engine.policy().clone() };
    world.apply(Event::PolicySet { policy: Box::new(policy) });
}

fn whole() -> Ask {
    let mut ask = ask().whole();
    ask.yields.preemptible = true;
    ask
}

/// Jobs that were told to leave, and for whom.
fn told(world: &World) -> Vec<(u64, u64)> {
    let of = |decision: &Decision| match decision {
        Decision::Preempt { job, victims, ground, .. } => {
            assert_eq!(*ground, Ground::Order);
            Some((victims[0].0, job.0))
        }
        _ => None,
    };
    world.decisions.iter().filter_map(of).collect()
}

/// Leases that are to end end, and whoever they made room for starts, until nobody is to end.
fn leave(world: &mut World) {
    loop {
        let tombstones = world.engine.nodes().flat_map(|node| world.engine.desired(node.id).1);
        let made_room = tombstones.filter(|t| matches!(t.why, StopReason::Preempted { .. }));
        let leaving: Vec<LeaseId> = made_room.map(|tombstone| tombstone.lease).collect();
        if leaving.is_empty() {
            return;
        }
        for lease in leaving {
            world.end_lease(lease, Outcome::Signalled { signal: 15 });
        }
        world.run();
    }
}

#[test]
fn who_was_served_long_yields_to_who_was_not() {
    for by in [Term::LeastService, Term::Gittins] {
        let mut world = pool(&[by]);
        let long = world.submit(whole());
        world.run();
        world.pass_seconds(HOUR);
        let fresh = world.submit(whole());
        world.run();
        assert_eq!(told(&world), [(long.0, fresh.0)]);
        leave(&mut world);
        assert_eq!(world.states(&[long, fresh]), "queued running");
    }
}

#[test]
fn work_keeps_its_place_until_it_has_had_twice_as_much() {
    let mut world = pool(&[Term::LeastService]);
    let first = world.submit(whole());
    world.run();
    world.pass_seconds(100);
    let second = world.submit(whole());
    world.run();
    // The first octave ends after 67 s, the second after 134 s: the first job is one octave ahead.
    assert_eq!(told(&world), []);
    // Nothing happens but that time passes.
    let wake = world.engine.next_wake(world.now()).unwrap();
    assert!((133..136).contains(&(wake.0 / 1_000_000)), "{wake:?}");
    let before = Timestamp(wake.0 - 1);
    assert_eq!(world.engine.plan(before).0, []);
    world.pass_until(wake);
    world.run();
    assert_eq!(told(&world), [(first.0, second.0)]);
    leave(&mut world);
    assert_eq!(world.states(&[first, second]), "queued running");
    // Now the second keeps its place until it is two octaves ahead.
    world.pass_seconds(500);
    world.run();
    assert_eq!(told(&world).len(), 1);
    world.pass_seconds(60);
    world.run();
    assert_eq!(told(&world)[1..], [(second.0, first.0)]);
}

#[test]
fn nobody_yields_who_did_not_say_so_or_ran_too_short_or_has_higher_priority() {
    let mut young = whole();
    young.yields.runtime_min = Micros::from_secs(2 * HOUR);
    for runs in [ask().whole(), young, whole().priority(1, None)] {
        let mut world = pool(&[Term::LeastService]);
        world.submit(runs);
        world.run();
        world.pass_seconds(HOUR);
        world.submit(whole());
        world.run();
        assert_eq!(told(&world), []);
    }
}

#[test]
fn shares_between_tenants_are_for_quotas() {
    for (by, yields) in [
        (vec![Term::FairShare, Term::LeastService], false),
        (vec![Term::LeastService, Term::FairShare], true),
    ] {
        let mut world = pool(&by);
        let long = world.submit(whole());
        world.run();
        world.pass_seconds(HOUR);
        world.submit(whole().of("hall"));
        world.run();
        assert_eq!(!told(&world).is_empty(), yields, "{by:?}");
        let fresh = world.submit(whole());
        world.run();
        assert!(yields || told(&world) == [(long.0, fresh.0)], "{by:?}");
    }
}

#[test]
fn who_waited_too_long_gets_room_and_keeps_it() {
    let mut world = pool(&[Term::Shortest]);
    let order = |wait| Order {
        by: vec![Term::Shortest],
        wait_max: Some(Micros::from_secs(wait)),
        ..Order::default()
    };
    set_order(&mut world, order(HOUR));
    let lasting = |seconds: u64| {
        let mut ask = whole();
        ask.when.estimate = Some(Micros::from_secs(seconds));
        ask
    };
    let quick = world.submit(lasting(60));
    world.run();
    let slow = world.submit(lasting(9000));
    world.run();
    assert_eq!(told(&world), []);
    // An order of run times: both have waited an hour, so who came first is first.
    world.pass_seconds(HOUR);
    let quicker = world.submit(lasting(30));
    world.run();
    assert_eq!(told(&world), []);
    world.end(quick, Outcome::Succeeded);
    world.run();
    assert_eq!(world.states(&[slow, quicker]), "running queued");
    assert_eq!(told(&world), []);
}

#[test]
fn what_is_learned_moves_those_who_wait() {
    let mut world = pool(&[Term::Priority, Term::Gittins]);
    let kind = |name: &str, priority: i32| {
        let mut ask = ask().whole().priority(priority, None);
        ask.hints.script = Some(name.to_owned());
        ask
    };
    let teach: Vec<(JobId, u64)> = (0..24)
        .map(|place| [("long", 40 * HOUR), ("short", 30)][place % 2])
        .map(|(name, seconds)| (world.submit(kind(name, 1)), seconds))
        .collect();
    // Nobody knows anything: who came first is first.
    let long = world.submit(kind("long", 0));
    world.pass_seconds(120);
    let short = world.submit(kind("short", 0));
    let last = |world: &World| world.engine.queue(world.now()).skip(23).collect::<Vec<_>>();
    world.run();
    assert_eq!(last(&world), [long, short]);
    let lasts: BTreeMap<JobId, u64> = teach.iter().copied().collect();
    for _ in 0..23 {
        world.run();
        let runs = world.engine.leases().next().unwrap().job;
        world.pass_seconds(lasts[&runs]);
        world.end(runs, Outcome::Succeeded);
    }
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    assert_eq!(queue, [short, long]);
}

/// Lets jobs of these lengths, in seconds, run to their ends; gives how often one yielded.
fn live_through(world: &mut World, lengths: &[(u64, u64)]) -> usize {
    let mut coming: Vec<(Timestamp, u64)> =
        lengths.iter().map(|(at, long)| (Timestamp(at * 1_000_000), *long)).collect();
    coming.sort_unstable();
    coming.reverse();
    let mut left: BTreeMap<JobId, u64> = BTreeMap::new();
    while !left.is_empty() || !coming.is_empty() {
        let running = world.engine.leases().find(|lease| lease.started_at.is_some());
        let running = running.map(|lease| (lease.job, lease.id, world.now()));
        let ends = running.map(|(job, ..)| world.now().after(Micros(left[&job])));
        let comes = coming.last().map(|(at, _)| *at);
        let wake = world.engine.next_wake(world.now());
        let next = ends.into_iter().chain(comes).chain(wake).min().unwrap();
        let before = world.now();
        world.pass_until(next);
        let passed = world.now().since(before).0;
        if let Some((job, lease, _)) = running {
            let left_of = left.get_mut(&job).unwrap();
            *left_of = left_of.saturating_sub(passed);
            if *left_of == 0 {
                left.remove(&job);
                world.end_lease(lease, Outcome::Succeeded);
            }
        }
        while coming.last().is_some_and(|(at, _)| *at <= world.now()) {
            let (_, long) = coming.pop().unwrap();
            let job = world.submit(whole());
            left.insert(job, long * 1_000_000);
        }
        world.run();
        leave(world);
    }
    told(world).len()
}

/// Octaves that so many seconds on one device pass.
fn octaves(seconds: u64) -> usize {
    let mut at = 0;
    (0..SERVICE_LEVELS)
        .take_while(|_| {
            at = ServiceHistory::next_change(at);
            at <= seconds * 1_000_000
        })
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whoever yields has passed an octave since it last began: jobs do not take turns for ever.
    #[test]
    fn jobs_yield_at_most_once_for_each_octave_of_their_service(
        lengths in prop::collection::vec((0u64..20_000, 1u64..40_000), 1..6),
        gittins in any::<bool>(),
    ) {
        let mut world = pool(&[if gittins { Term::Gittins } else { Term::LeastService }]);
        world.checks = false;
        let yielded = live_through(&mut world, &lengths);
        prop_assert_eq!(world.engine.check(), []);
        prop_assert!(world.over.values().all(|outcome| *outcome == Outcome::Succeeded));
        prop_assert_eq!(world.over.len(), lengths.len());
        let octaves: usize = lengths.iter().map(|(_, seconds)| octaves(*seconds)).sum();
        // What is learned moves indexes too, at ends and at octaves.
        let learned = if gittins { lengths.len() * 4 } else { 0 };
        prop_assert!(yielded <= octaves + learned, "{yielded} of {octaves}");
    }
}

#[test]
fn two_jobs_that_are_alike_change_places_at_octaves_alone() {
    let mut world = pool(&[Term::LeastService]);
    let yielded = live_through(&mut world, &[(0, 40_000), (1, 40_000)]);
    assert!((4..=2 * octaves(40_000)).contains(&yielded), "{yielded}");
}

#[test]
fn a_burst_of_jobs_that_are_alike_draws_lots() {
    let mut world = pool(&[Term::Gittins]);
    world.submit(ask().whole());
    world.run();
    let burst: Vec<JobId> = (0..40).map(|_| world.submit(whole())).collect();
    world.pass_seconds(120);
    let later: Vec<JobId> = (0..40).map(|_| world.submit(whole())).collect();
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    let (first, second) = queue.split_at(40);
    for (drawn, came) in [(first, &burst), (second, &later)] {
        let mut sorted = drawn.to_vec();
        sorted.sort_unstable();
        assert_eq!((sorted.as_slice(), drawn == came.as_slice()), (came.as_slice(), false));
    }
}
