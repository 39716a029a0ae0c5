//! Policies that were in force come back, and one that is only looked at decides nothing.

use crate::world::{With, World, ask, gib};
use polder_engine::{Engine, PAST_POLICIES_MAX, Shadow};
use polder_model::{Event, Policy, Term};

fn set(world: &mut World, terms: &[Term]) {
    let mut policy = Policy::default();
    policy.order.by = terms.to_vec();
    world.apply(Event::PolicySet { policy: Box::new(policy) });
}

fn by(engine: &Engine) -> &[Term] {
    &engine.policy().order.by
}

#[test]
fn the_policy_before_comes_back_one_after_the_other() {
    let mut world = World::new().device("n1", "d0");
    let error = world.try_apply(Event::PolicyRolledBack).unwrap_err();
    assert!(error.contains("no policy is known to have been in force before"), "{error}");
    set(&mut world, &[Term::Shortest]);
    set(&mut world, &[Term::Arrival]);
    assert_eq!(
        world.engine.policy_before().map(|p| p.order.by.clone()),
        Some(vec![Term::Shortest])
    );
    world.apply(Event::PolicyRolledBack);
    assert_eq!(by(&world.engine), [Term::Shortest]);
    world.apply(Event::PolicyRolledBack);
    assert_eq!(by(&world.engine), [Term::Priority], "the one it began with");
    assert!(world.try_apply(Event::PolicyRolledBack).is_err());
    for _ in 0..2 * PAST_POLICIES_MAX {
        set(&mut world, &[Term::Deadline]);
    }
    let back = (0..).take_while(|_| world.try_apply(Event::PolicyRolledBack).is_ok()).count();
    assert_eq!(back, PAST_POLICIES_MAX);
}

#[test]
fn a_shadow_decides_nothing_and_survives_a_snapshot() {
    let mut world = World::new().device("n1", "d0");
    let gone = Event::PolicyShadowed { policy: None };
    assert!(world.try_apply(gone.clone()).unwrap_err().contains("no policy is in the shadow"));
    for _ in 0..3 {
        world.submit(ask().share(1000, gib(1)));
    }
    let mut plain = world.engine.clone();
    let mut policy = Policy::default();
    policy.order.by = vec![Term::Shortest];
    world.apply(Event::PolicyShadowed { policy: Some(Box::new(policy.clone())) });
    let since = world.engine.now();
    assert_eq!(world.engine.shadow(), Some(&Shadow { policy: policy.clone(), since }));
    let step = Event::ClockStepped { clock: since, behind: polder_model::Micros(0) };
    plain.apply(since, &step).unwrap();
    assert_eq!(plain.plan(world.now()), world.engine.plan(world.now()));
    let text = serde_json::to_string(&world.engine).unwrap();
    assert_eq!(serde_json::from_str::<Engine>(&text).unwrap(), world.engine);
    policy.order.by.clear();
    let wrong = world.try_apply(Event::PolicyShadowed { policy: Some(Box::new(policy)) });
    assert!(wrong.unwrap_err().contains("order.by has 0 entries"));
    world.apply(gone);
    assert_eq!(world.engine.shadow(), None);
}
