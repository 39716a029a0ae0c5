//! What the pool has seen of jobs changes what it expects, and nothing else does.

use crate::world::{With, World, ask, gib};
use polder_model::{
    Ask, Bytes, DeviceSample, Event, GangKind, Help, JobId, JobState, LeaseEnd, LeaseSample,
    Micros, Order, Outcome, Policy, Term, Timestamp,
};

fn named(name: &str) -> Ask {
    let mut ask = ask().share(1000, gib(4));
    ask.name = Some(name.into());
    ask.work.command = vec![name.into()];
    ask
}

/// Runs a job to its end: this long, holding this much.
fn lived(world: &mut World, ask: Ask, seconds: u64, peak: Bytes) {
    ended(world, ask, (seconds, peak), Outcome::Succeeded);
}

/// The same however it ends.
fn ended(world: &mut World, ask: Ask, (seconds, peak): (u64, Bytes), outcome: Outcome) {
    let job = world.submit(ask);
    world.run();
    world.pass_seconds(seconds);
    if outcome == Outcome::Cancelled {
        world.cancel(job);
    }
    for lease in world.leases(job) {
        let device = DeviceSample {
            device: lease.slices[0].device.clone(),
            device_time: Micros::from_secs(seconds),
            contended_time: Micros(0),
            memory: Bytes(0),
            backing: Bytes(0),
            memory_peak: peak,
            refused: 0,
            throttle: Vec::new(),
            owed: Micros(0),
        };
        let sample = LeaseSample { devices: vec![device], ..LeaseSample::default() };
        let ran = Micros::from_secs(seconds);
        let end = LeaseEnd { outcome: outcome.clone(), ran, sample };
        world.apply(Event::LeaseEnded { lease: lease.id, end });
    }
    world.settle();
}

#[test]
fn what_such_jobs_did_is_expected_of_the_next_and_orders_it() {
    let mut world = World::new().device("n1", "d0");
    let order = Order { by: vec![Term::Shortest], ..Order::default() };
    let policy = Policy { order, ..Policy::default() };
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    let fresh = world.submit(named("long"));
    assert_eq!(world.engine.explain(world.now(), fresh).unwrap().expected, None);
    world.cancel(fresh);
    world.settle();
    for _ in 0..6 {
        lived(&mut world, named("long"), 3600, gib(1));
        lived(&mut world, named("short"), 60, gib(1));
    }
    world.submit(named("long"));
    world.settle();
    let jobs: [JobId; 2] = [world.submit(named("long")), world.submit(named("short"))];
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    assert_eq!(queue, [jobs[1], jobs[0]]);
    let explained = world.engine.explain(world.now(), jobs[1]).unwrap();
    let expected = explained.expected.unwrap();
    assert_eq!(expected.run_time_p50, Some(Micros::from_secs(60)));
    assert_eq!(expected.observations, 6);
    let less = Help::Rightsize { memory: Bytes((1 << 30) + (1 << 30) / 5) };
    assert!(explained.help.contains(&less), "{:?}", explained.help);
    // Whoever runs is told as well: the next can ask for less.
    world.run();
    let running = world.engine.jobs().find(|job| job.state == JobState::Running);
    let running = world.engine.explain(world.now(), running.unwrap().id).unwrap();
    assert_eq!(running.help, [less]);
}

#[test]
fn what_was_ended_from_outside_is_no_more_than_a_lower_bound() {
    let mut world = World::new().device("n1", "d0");
    for seconds in [20, 30, 40] {
        ended(&mut world, named("x"), (seconds, gib(1)), Outcome::Cancelled);
    }
    ended(&mut world, named("x").time_limit(60), (60, gib(1)), Outcome::TimedOut);
    let expected = |world: &mut World, ask: Ask| {
        let job = world.submit(ask);
        let explained = world.engine.explain(world.now(), job).unwrap();
        world.cancel(job);
        world.settle();
        explained.expected.unwrap()
    };
    for ask in [named("x"), named("x").time_limit(1800)] {
        let seen = expected(&mut world, ask);
        assert_eq!((seen.run_time_p50, seen.run_time_p90), (None, None), "nobody came to its end");
        assert!(seen.run_time_max >= Micros::from_secs(40));
        assert_eq!((seen.cut_short, seen.doubt), (seen.observations, 1000));
    }
    // One that came to its end says something; those cut before say that most run longer.
    lived(&mut world, named("x"), 90, gib(1));
    let seen = expected(&mut world, named("x"));
    assert_eq!(seen.run_time_p50, Some(Micros::from_secs(90)));
}

#[test]
fn a_users_estimate_counts_where_history_says_nothing() {
    let mut world = World::new().device("n1", "d0");
    let order = Order { by: vec![Term::Shortest], ..Order::default() };
    let policy = Policy { order, ..Policy::default() };
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    for _ in 0..8 {
        ended(&mut world, named("x"), (5, gib(1)), Outcome::Cancelled);
    }
    world.submit(named("first"));
    world.settle();
    let estimated = |seconds| {
        let mut ask = named("x");
        ask.when.estimate = Some(Micros::from_secs(seconds));
        ask
    };
    let jobs = [world.submit(estimated(3600)), world.submit(estimated(60))];
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    assert_eq!(queue, [jobs[1], jobs[0]]);
}

#[test]
fn who_runs_is_compared_with_those_that_ran_longer_and_services_with_nobody() {
    let mut world = World::new().device("n1", "d0").device("n1", "d1");
    for seconds in [10, 10, 10, 100, 100] {
        lived(&mut world, named("x"), seconds, gib(1));
    }
    let job = world.submit(named("x"));
    world.run();
    let expected =
        |world: &World| world.engine.explain(world.now(), job).unwrap().expected.unwrap();
    assert_eq!(expected(&world).run_time_p50, Some(Micros::from_secs(10)));
    world.pass_seconds(50);
    let seen = expected(&world);
    assert_eq!(seen.run_time_p50, Some(Micros::from_secs(100)));
    assert_eq!(seen.ran.map(|ran| ran.0 / 1_000_000), Some(50));
    world.pass_seconds(60);
    let seen = expected(&world);
    assert_eq!((seen.run_time_p50, seen.run_time_p90), (None, None));
    let service = world.submit(named("x").kind(GangKind::Service));
    assert_eq!(world.engine.explain(world.now(), service).unwrap().expected, None);
}

#[test]
fn a_deadline_that_will_not_be_met_is_told() {
    let mut world = World::new().device("n1", "d0");
    let due = |name: &str, at: Timestamp, estimate: Option<u64>| {
        let mut ask = named(name);
        ask.when.deadline = Some(at);
        ask.when.estimate = estimate.map(Micros::from_secs);
        ask
    };
    let late = |world: &World, job| world.engine.explain(world.now(), job).unwrap().late;
    let in_an_hour = world.now().after(Micros::from_secs(3600));
    let job = world.submit(due("new", in_an_hour, Some(1800)));
    assert_eq!(late(&world, job), None);
    world.cancel(job);
    world.settle();
    let job = world.submit(due("new", in_an_hour, Some(7200)));
    let told = late(&world, job).unwrap();
    assert!(told.by_estimate);
    assert_eq!(told.over_at, world.now().after(Micros::from_secs(7200)));
    world.cancel(job);
    world.settle();
    for _ in 0..5 {
        lived(&mut world, named("known"), 7200, gib(1));
    }
    let in_an_hour = world.now().after(Micros::from_secs(3600));
    let job = world.submit(due("known", in_an_hour, Some(60)));
    assert!(!late(&world, job).unwrap().by_estimate, "such jobs have always run two hours");
}

#[test]
fn what_never_ran_teaches_nothing() {
    let mut world = World::new().device("n1", "d0");
    for _ in 0..3 {
        let job = world.submit(named("absent"));
        world.run();
        world.end(job, Outcome::NotStarted { why: "absent".into() });
    }
    let job = world.submit(named("absent"));
    assert_eq!(world.engine.explain(world.now(), job).unwrap().expected, None);
}

#[test]
fn the_hours_ahead_are_like_those_before() {
    let mut world = World::new().device("n1", "d0");
    for hour in 0..24 * 15u64 {
        for _ in 0..(if hour % 24 < 12 { 4 } else { 1 }) {
            let job = world.submit(named("x"));
            world.cancel(job);
            world.settle();
        }
        world.pass_seconds(3600);
    }
    let ahead = world.engine.demand_ahead(world.now(), 24);
    let ahead: Vec<u64> = ahead.iter().map(|hour| hour.mean).collect();
    let (day, night): (u64, u64) = (ahead[1..10].iter().sum(), ahead[13..22].iter().sum());
    assert!(day > 2 * night, "{ahead:?}");
}

#[test]
fn who_is_near_the_end_of_such_jobs_comes_first() {
    let mut world = World::new().device("n1", "d0");
    let order = Order { by: vec![Term::Gittins], ..Order::default() };
    let policy = Policy { order, ..Policy::default() };
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    for _ in 0..20 {
        lived(&mut world, named("short"), 100, gib(1));
        lived(&mut world, named("long"), 50_000, gib(1));
    }
    world.submit(named("other"));
    world.settle();
    let jobs = [world.submit(named("long")), world.submit(named("short"))];
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    assert_eq!(queue, [jobs[1], jobs[0]]);
}
