//! The rule of the policy is the one that places go by.

use crate::world::{With, World, ask, gib};
use polder_engine::Engine;
use polder_model::{Ask, Event, PlaceRule, Placement, Policy, Quota};

/// Two nodes of two devices, a quarter of one in use, and this rule.
fn pool(rule: PlaceRule) -> World {
    let mut world = World::new();
    for node in ["n1", "n2"] {
        world = world.device(node, "d0").device(node, "d1");
    }
    world.submit(ask().share(250, gib(1)));
    world.settle();
    world.apply(Event::PolicySet {
        policy: Box::new(Policy {
            place: Placement { rule, ..Placement::default() },
            ..Policy::default()
        }),
    });
    world
}

fn spot(rule: PlaceRule, ask: Ask) -> String {
    let mut world = pool(rule);
    let job = world.submit(ask);
    world.settle();
    world.spots(job).remove(0)
}

#[test]
fn tight_or_spread() {
    let share = || ask().share(250, gib(1));
    assert_eq!(spot(PlaceRule::Tightest, share()), "n1/d0");
    assert_eq!(spot(PlaceRule::BestFit, share()), "n1/d0");
    assert_eq!(spot(PlaceRule::Spread, share()), "n2/d0");
    assert_eq!(spot(PlaceRule::Balance, share()), "n2/d0");
    assert_eq!(spot(PlaceRule::Layered, share()), "n1/d0");
    assert_eq!(spot(PlaceRule::Fragmentation, share()), "n1/d0");
}

#[test]
fn what_is_usual_is_learned_and_survives_a_snapshot() {
    for rule in [PlaceRule::Layered, PlaceRule::Fragmentation] {
        let mut world = pool(rule);
        for number in 0..40 {
            let job = world.submit(ask().share(if number % 3 == 0 { 1000 } else { 500 }, gib(1)));
            world.settle();
            world.cancel(job);
            for lease in world.leases(job) {
                world.end_lease(lease.id, polder_model::Outcome::Cancelled);
            }
            world.settle();
        }
        let text = serde_json::to_string(&world.engine).unwrap();
        let mut restored: polder_engine::Engine = serde_json::from_str(&text).unwrap();
        assert_eq!(restored, world.engine);
        let job = world.engine.next_job_id();
        let event = Event::JobSubmitted { job, ask: ask().share(500, gib(1)), key: None };
        restored.apply(world.now(), &event).unwrap();
        world.apply(event);
        assert_eq!(restored.plan(world.now()).0.len(), 1);
        let leases = |decisions: Vec<polder_model::Decision>| format!("{:?}", decisions);
        let spots = |text: String| text.split("granted_at").next().unwrap().to_owned();
        assert_eq!(
            spots(leases(restored.plan(world.now()).0)),
            spots(leases(world.engine.plan(world.now()).0))
        );
    }
}

#[test]
fn an_engine_decides_by_the_policy_it_began_with() {
    let place = Placement { rule: PlaceRule::Spread, ..Placement::default() };
    let policy = Policy { place, ..Policy::default() };
    let mut world = World::new();
    (world.engine, world.journal) = (Engine::new(policy), vec![]);
    let mut world = world.tenant("lab", Quota::default()).device("n1", "d0").device("n2", "d0");
    let jobs: Vec<_> = (0..2).map(|_| world.submit(ask().share(100, gib(1)))).collect();
    world.settle();
    assert_eq!(world.spots(jobs[0]), ["n1/d0"]);
    assert_eq!(world.spots(jobs[1]), ["n2/d0"]);
}
