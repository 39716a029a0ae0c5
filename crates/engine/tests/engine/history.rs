//! What the pool has seen of jobs changes what it expects, and nothing else does.

use crate::world::{With, World, ask, gib};
use polder_model::{
    Ask, Bytes, DeviceSample, Event, Help, JobId, JobState, LeaseEnd, LeaseSample, Micros, Order,
    Outcome, Policy, Term,
};

fn named(name: &str) -> Ask {
    let mut ask = ask().share(1000, gib(4));
    ask.name = Some(name.into());
    ask.work.command = vec![name.into()];
    ask
}

/// Runs a job to its end: this long, holding this much.
fn lived(world: &mut World, ask: Ask, seconds: u64, peak: Bytes) {
    let job = world.submit(ask);
    world.run();
    world.pass_seconds(seconds);
    for lease in world.leases(job) {
        let device = DeviceSample {
            device: lease.slices[0].device.clone(),
            device_time: Micros::from_secs(seconds),
            contended_time: Micros(0),
            memory: Bytes(0),
            memory_peak: peak,
            refused: 0,
        };
        let sample = LeaseSample { devices: vec![device], ..LeaseSample::default() };
        let end = LeaseEnd { outcome: Outcome::Succeeded, ran: Micros::from_secs(seconds), sample };
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
    assert_eq!(expected.run_time_p50, Micros::from_secs(60));
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
