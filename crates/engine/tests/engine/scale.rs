//! Bounded work, counted in steps instead of timed.

use crate::world::{With, World, ask, device, gib};
use polder_engine::PASS_GRANTS_MAX;
use polder_model::{Backfill, Event, Outcome, Policy, Quota};

/// A pool whose promises are not checked after every event, for large numbers.
fn large(nodes: u32, devices: u32) -> World {
    let mut world = World::new();
    world.checks = false;
    for number in 0..nodes {
        let node = format!("n{number:05}");
        for place in 0..devices {
            let device = device(&format!("d{place}"), "Tide 8", gib(8));
            world.inventory(&node).devices.push(device);
        }
        // Machines of one fleet differ by a few pages.
        world.inventory(&node).node.memory.0 -= u64::from(number) * 4096;
        world.report(&node);
    }
    world
}

#[test]
fn a_long_queue_of_equal_jobs_costs_one_look() {
    let mut world = large(1, 1);
    for _ in 0..10_000 {
        world.submit(ask().whole());
    }
    world.settle();
    let report = world.engine.plan(world.now()).1;
    assert!(report.steps < 10, "{report:?}");
    assert_eq!(world.engine.check(), []);
}

#[test]
fn a_long_queue_of_different_jobs_costs_one_look_once_all_is_held() {
    let mut world = large(1, 1);
    world.submit(ask().whole());
    for n in 0..10_000u64 {
        world.submit(ask().share(100, polder_model::Bytes(1 << 20 | n)));
    }
    world.settle();
    let report = world.engine.plan(world.now()).1;
    assert!(report.steps < 10, "{report:?}");
}

#[test]
fn a_tenant_past_its_quota_costs_one_look_however_long_its_queue() {
    let quota = Quota { devices: Some(1), ..Quota::default() };
    let mut world = large(1, 4).tenant("lab", quota);
    for _ in 0..5_000 {
        world.submit(ask());
    }
    world.settle();
    let report = world.engine.plan(world.now()).1;
    assert!(report.steps < 10, "{report:?}");
}

#[test]
fn one_decision_does_not_cost_more_in_a_larger_pool() {
    let steps = |nodes| {
        let mut world = large(nodes, 2);
        // The first look at a kind of ask looks at every node, later ones at what changed.
        let mut steps = 0;
        for _ in 0..2 {
            world.submit(ask().share(400, gib(2)));
            world.submit(ask().share(700, gib(2)).devices(2));
            steps = world.engine.plan(world.now()).1.steps;
            world.settle();
        }
        steps
    };
    let (small, large) = (steps(8), steps(800));
    assert!(large <= 2 * small && large < 60, "{small} steps, then {large}");
}

#[test]
fn a_pass_is_bounded_and_the_next_goes_on() {
    let mut world = large(40, 8);
    for _ in 0..PASS_GRANTS_MAX + 10 {
        world.submit(ask().whole());
    }
    let (decisions, report) = world.engine.plan(world.now());
    assert_eq!((decisions.len(), report.more), (PASS_GRANTS_MAX, true));
    world.settle();
    assert_eq!(world.engine.leases().count(), PASS_GRANTS_MAX + 10);
    assert_eq!(world.engine.check(), []);
}

#[test]
fn a_queue_drains_in_order() {
    let mut world = large(1, 1);
    let jobs: Vec<_> = (0..1000).map(|_| world.submit(ask().whole())).collect();
    for job in jobs {
        world.run();
        world.end(job, Outcome::Succeeded);
        assert_eq!(world.state(job), "succeeded");
    }
    assert_eq!(world.engine.check(), []);
}

#[test]
fn looking_ahead_does_not_cost_more_in_a_larger_pool() {
    let steps = |nodes: u32| {
        let mut world = large(nodes, 2);
        let jobs: Vec<_> = (0..u64::from(nodes) * 2)
            .map(|number| world.submit(ask().whole().time_limit(1000 + number)))
            .collect();
        world.run();
        let backfill = Backfill { reserved: 1, ..Backfill::default() };
        let policy = Policy { backfill, ..Policy::default() };
        world.apply(Event::PolicySet { policy: Box::new(policy) });
        world.submit(ask().whole().gang(2, 2).time_limit(500));
        for _ in 0..6 {
            world.submit(ask().whole().time_limit(90));
        }
        world.settle();
        // What looks at every node for the first time has done so; now a device is free again.
        let mut steps = 0;
        for job in jobs.iter().take(2) {
            let lease = world.leases(*job)[0].id;
            world.end_lease(lease, Outcome::Succeeded);
            steps = world.engine.plan(world.now()).1.steps;
            world.settle();
        }
        steps
    };
    let (small, large) = (steps(8), steps(400));
    assert!(large <= 2 * small && large < 200, "{small} steps, then {large}");
}
