//! Work, counted instead of timed.

use crate::kit::{every_rule, node, pool, task};
use polder_engine::fleet::{Demand, Fleet, NodeIx, Rule, TREES_MAX};

/// Steps of one decision, once the demand is known.
fn steps_of_one(nodes: u32, rule: usize) -> u64 {
    let mut fleet = pool(nodes, 8);
    let rule = fleet.rule(every_rule().swap_remove(rule));
    let demands: Vec<Demand> = (1..=5).map(|tenth| task(1, tenth * 100)).collect();
    let round = |fleet: &mut Fleet| {
        for demand in &demands {
            fleet.place(demand, rule, 1);
        }
    };
    round(&mut fleet);
    let before = fleet.steps();
    (0..20).for_each(|_| round(&mut fleet));
    (fleet.steps() - before) / 100
}

#[test]
fn a_decision_in_a_hundred_times_the_pool_costs_less_than_twice_as_much() {
    for rule in 0..every_rule().len() {
        let (small, large) = (steps_of_one(125, rule), steps_of_one(12_500, rule));
        assert!(large <= 2 * small, "rule {rule}: {small} steps, then {large}");
        assert!(large < 40, "rule {rule}: {large} steps");
    }
}

#[test]
fn what_changed_far_back_costs_no_more_than_one_look_at_each_node() {
    let mut fleet = pool(500, 2);
    let rule = fleet.rule(Rule::Tightest);
    let (often, seldom) = (task(1, 1), task(1, 777));
    fleet.place(&seldom, rule, 1);
    for _ in 0..10_000 {
        let spot = fleet.best(&often, rule).unwrap();
        let take = often.take(fleet.node(spot.node).unwrap(), &spot.devices);
        fleet.take(spot.node, &take);
        fleet.give(spot.node, &take);
    }
    let before = fleet.steps();
    fleet.best(&seldom, rule);
    assert!(fleet.steps() - before < 2 * 500 + 100, "{}", fleet.steps() - before);
}

#[test]
fn nothing_is_looked_at_twice_when_nothing_changed() {
    let mut fleet = pool(1000, 8);
    let rule = fleet.rule(Rule::Tightest);
    fleet.best(&task(1, 300), rule);
    let before = fleet.steps();
    for _ in 0..100 {
        fleet.best(&task(1, 300), rule);
    }
    assert_eq!(fleet.steps() - before, 100);
}

#[test]
fn a_node_that_joins_is_one_change() {
    let mut fleet = pool(1000, 2);
    let rule = fleet.rule(Rule::Tightest);
    fleet.best(&task(3, 300), rule);
    let before = fleet.steps();
    fleet.set(NodeIx(1000), &node(3));
    assert_eq!(fleet.best(&task(3, 300), rule).unwrap().node, NodeIx(1000));
    assert!(fleet.steps() - before < 20, "{}", fleet.steps() - before);
}

#[test]
fn more_demands_than_trees_are_answered_alike() {
    let mut fleet = pool(2, 1);
    let rule = fleet.rule(Rule::Tightest);
    let demands = i64::try_from(TREES_MAX + 10).unwrap();
    for round in 0..2 {
        for memory in 0..demands {
            let demand = Demand { memory: memory % 70, cpu: memory, ..task(1, 1) };
            assert_eq!(fleet.best(&demand, rule), fleet.scan(&demand, rule), "{round} {memory}");
        }
    }
}
