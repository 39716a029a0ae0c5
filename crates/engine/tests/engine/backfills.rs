//! Backfill through the whole engine: who starts before a job that waits, and who does not.

use crate::parts::a100;
use crate::world::{With, World, ask, gib};
use polder_model::{
    Ask, Backfill, Believe, Event, GangKind, JobId, Mechanism, Micros, Outcome, Policy,
};
use proptest::prelude::*;

/// Two devices, and this many promises.
fn pool(reserved: u32, believe: Believe) -> World {
    backfilling(World::new().device("n1", "d0").device("n1", "d1"), reserved, believe)
}

fn backfilling(mut world: World, reserved: u32, believe: Believe) -> World {
    let backfill = Backfill { reserved, believe };
    let policy = Policy { backfill, ..Policy::default() };
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    world
}

fn whole(devices: u32, seconds: u64) -> Ask {
    let mut ask = ask().whole().devices(devices).time_limit(seconds);
    ask.yields.grace = Micros(0);
    ask
}

/// Submits all while the first runs, and gives their states.
fn states(mut world: World, asks: &[Ask]) -> String {
    let running = world.submit(whole(1, 100));
    world.run();
    let jobs: Vec<JobId> = asks.iter().map(|ask| world.submit(ask.clone())).collect();
    world.run();
    assert_eq!(world.state(running), "running");
    world.states(&jobs)
}

#[test]
fn who_is_over_in_time_starts_beside_who_waits() {
    let asks = [whole(2, 50), whole(1, 99), whole(1, 60)];
    assert_eq!(states(pool(1, Believe::Limit), &asks), "queued running queued");
    // Too long: it would still run when the first could start.
    let asks = [whole(2, 50), whole(1, 101)];
    assert_eq!(states(pool(1, Believe::Limit), &asks), "queued queued");
    // Without backfill nobody overtakes on devices that the first could use.
    let asks = [whole(2, 50), whole(1, 60)];
    assert_eq!(states(pool(0, Believe::Limit), &asks), "queued queued");
}

/// What is said of a job that waits, reasons and help.
fn said(world: &World, job: JobId) -> String {
    let explanation = world.engine.explain(world.now(), job).unwrap();
    let reasons = explanation.reasons.iter().map(ToString::to_string);
    reasons.chain(explanation.help.iter().map(ToString::to_string)).collect::<Vec<_>>().join("; ")
}

#[test]
fn who_is_kept_by_a_promise_alone_is_told_whose_and_what_would_help() {
    let mut world = pool(1, Believe::Limit);
    world.submit(whole(1, 100));
    world.run();
    let promised = world.submit(whole(2, 50));
    let long = world.submit(whole(1, 101));
    world.run();
    assert_eq!(world.states(&[promised, long]), "queued queued");
    assert_eq!(
        said(&world, long),
        "it would fit now on n1, but could still run when job 2 is to start there, in 1m39s; \
         submitted with a time limit below 1m39s it would start now"
    );
    let short = world.submit(whole(1, 99));
    assert_eq!(said(&world, short), "nothing keeps it: it is next");
    world.run();
    assert_eq!(world.state(short), "running");
}

#[test]
fn of_several_promises_the_one_that_keeps_a_job_is_named() {
    let two = |world: World, node: &str| world.device(node, "d0").device(node, "d1");
    let mut world = backfilling(two(two(World::new(), "n1"), "n2"), 2, Believe::Limit);
    let on = |mut ask: Ask, node: &str| {
        ask.place.nodes.insert(node.parse().unwrap());
        ask
    };
    world.submit(on(whole(1, 100), "n1"));
    world.submit(on(whole(1, 200), "n2"));
    world.run();
    let first = world.submit(on(whole(2, 50), "n1"));
    let second = world.submit(on(whole(2, 50), "n2"));
    let long = world.submit(on(whole(1, 500), "n2"));
    world.run();
    assert_eq!(world.states(&[first, second, long]), "queued queued queued");
    let told = said(&world, long);
    assert!(
        told.contains("on n2, but could still run when job 4 is to start there, in 3m19s"),
        "{told}"
    );
    assert!(told.ends_with("a time limit below 3m19s it would start now"), "{told}");
}

#[test]
fn the_estimate_is_believed_where_the_policy_says_so() {
    let mut long = whole(1, 1000);
    long.when.estimate = Some(Micros::from_secs(60));
    let asks = [whole(2, 50), long];
    assert_eq!(states(pool(1, Believe::Limit), &asks), "queued queued");
    assert_eq!(states(pool(1, Believe::Estimate), &asks), "queued running");
}

#[test]
fn tasks_apart_and_instances_do_not_delay_who_was_promised_a_start() {
    let apart = |seconds| {
        let mut ask = whole(1, seconds);
        ask.place.apart = Some("replica".into());
        ask
    };
    assert_eq!(states(pool(1, Believe::Limit), &[whole(2, 50), apart(101)]), "queued queued");
    assert_eq!(states(pool(1, Believe::Limit), &[whole(2, 50), apart(99)]), "queued running");
    let instance = |seconds| {
        let mut ask = ask().share(300, gib(10)).time_limit(seconds);
        ask.devices.mechanism = Some(Mechanism::Mig);
        ask.yields.grace = Micros(0);
        ask
    };
    let cards = || {
        let world = World::new().card("n1", a100("d0")).card("n1", a100("d1"));
        backfilling(world, 1, Believe::Limit)
    };
    assert_eq!(states(cards(), &[whole(2, 50), instance(101)]), "queued queued");
    assert_eq!(states(cards(), &[whole(2, 50), instance(99)]), "queued running");
}

#[test]
fn a_job_without_a_limit_is_not_believed_to_end() {
    let mut endless = whole(1, 1);
    endless.when.time_limit = None;
    assert_eq!(states(pool(1, Believe::Limit), &[whole(2, 50), endless]), "queued queued");
}

/// Whatever its user or history says of it: a service runs until it is cancelled.
#[test]
fn a_service_is_not_believed_to_end() {
    let quick = |seconds| {
        let mut ask = whole(1, seconds);
        ask.name = Some("quick".into());
        ask.when.time_limit = None;
        ask.when.estimate = Some(Micros::from_secs(seconds));
        ask
    };
    for believe in [Believe::Limit, Believe::Estimate, Believe::Predicted] {
        let world = |runs| {
            let mut world = pool(1, believe);
            for _ in 0..runs {
                let job = world.submit(quick(1));
                world.run();
                world.pass_seconds(1);
                world.end(job, Outcome::Succeeded);
                world.settle();
            }
            let running = world.submit(whole(1, 100));
            world.run();
            (world, running)
        };
        for (runs, estimate) in [(0, Some(Micros::from_secs(1))), (8, None)] {
            let mut ask = quick(1);
            ask.when.estimate = estimate;
            let (mut alone, _) = world(runs);
            alone.submit(whole(2, 50));
            let same = alone.submit(ask.clone());
            alone.run();
            let believed = match believe {
                Believe::Limit => false,
                Believe::Estimate => estimate.is_some(),
                Believe::Predicted => true,
            };
            let state = if believed { "running" } else { "queued" };
            assert_eq!(alone.state(same), state, "{believe:?} {estimate:?}");

            let (mut world, running) = world(runs);
            let promised = world.submit(whole(2, 50));
            // As an older journal may hold it.
            let (job, ask) = (world.engine.next_job_id(), ask.kind(GangKind::Service));
            world.apply(Event::JobSubmitted { job, ask, key: None });
            world.run();
            assert_eq!(world.state(job), "queued", "{believe:?} {estimate:?}");
            world.end(running, Outcome::Succeeded);
            world.run();
            let states = world.states(&[promised, job]);
            assert_eq!(states, "running queued", "{believe:?} {estimate:?}");
        }
    }
}

#[test]
fn a_shorter_job_of_equal_need_is_not_kept_by_a_longer_one() {
    let asks = [whole(2, 50), whole(1, 900), whole(1, 30)];
    assert_eq!(states(pool(1, Believe::Limit), &asks), "queued queued running");
}

#[test]
fn shares_fill_up_beside_a_promise() {
    let share = |seconds| ask().share(400, gib(1)).time_limit(seconds);
    let asks = [whole(2, 50), share(60), share(60), share(60)];
    assert_eq!(states(pool(1, Believe::Limit), &asks), "queued running running queued");
}

#[test]
fn one_promise_or_many() {
    // The second waits for one device, from when the first is over; a long third delays it only
    // if it is promised nothing.
    let asks = |last| [whole(2, 50), whole(2, 50), whole(1, last)];
    assert_eq!(states(pool(1, Believe::Limit), &asks(90)), "queued queued running");
    assert_eq!(states(pool(16, Believe::Limit), &asks(90)), "queued queued running");
    assert_eq!(states(pool(16, Believe::Limit), &asks(101)), "queued queued queued");
}

proptest! {
    /// With true limits, nobody who comes later delays the head beyond when it could have started
    /// had nobody come later.
    #[test]
    fn nobody_delays_the_head(
        running in prop::collection::vec((1u32..=2, 10u64..200), 1..3),
        head in (1u32..=2, 10u64..100),
        later in prop::collection::vec((1u32..=2, 5u64..300), 0..6),
    ) {
        let start = |later: &[(u32, u64)]| {
            let mut world = pool(1, Believe::Limit);
            world.checks = false;
            for (devices, seconds) in &running {
                let job = world.submit(whole(*devices, *seconds));
                world.run();
                // Whoever waits before it would be the head.
                if world.state(job) == "queued" {
                    world.cancel(job);
                    world.settle();
                }
            }
            let head = world.submit(whole(head.0, head.1));
            for (devices, seconds) in later {
                world.submit(whole(*devices, *seconds));
            }
            world.run();
            while world.state(head) == "queued" {
                let end = |lease: &polder_model::Lease| {
                    let limit = world.engine.job(lease.job)?.ask.when.time_limit?;
                    Some((lease.started_at?.after(limit), lease.job))
                };
                let (at, job) = world.engine.leases().filter_map(end).min()?;
                world.pass_until(at);
                world.end(job, Outcome::Succeeded);
                world.run();
            }
            Some(world.now().0 / 1_000_000)
        };
        let (alone, beside) = (start(&[]), start(&later));
        prop_assert!(alone.is_some());
        // A second for the microseconds that events take.
        prop_assert!(beside <= alone.map(|at| at + 1), "{alone:?} {beside:?}");
    }
}
