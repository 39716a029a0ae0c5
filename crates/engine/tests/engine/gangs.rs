//! Gangs: all members or none, as many as fit between least and most, one start.

use crate::world::{With, World, ask, gib};
use polder_model::{Outcome, Quota};

/// Devices named `d0..` on one node.
fn node(devices: u32) -> World {
    (0..devices).fold(World::new(), |world, n| world.device("n1", &format!("d{n}")))
}

fn check(mut world: World, ask: polder_model::Ask, members: usize) {
    let job = world.submit(ask);
    world.settle();
    assert_eq!(world.leases(job).len(), members);
}

#[test]
fn all_members_or_none() {
    let mut world = node(2);
    world.submit(ask().whole());
    world.settle();
    check(world, ask().whole().gang(2, 2), 0);
    check(node(2), ask().whole().gang(2, 2), 2);
}

#[test]
fn as_many_as_fit_up_to_the_most_wanted() {
    check(node(3), ask().whole().gang(1, 2), 2);
    check(node(3), ask().whole().gang(1, 9), 3);
    check(node(3), ask().share(400, gib(1)).gang(2, 9), 6);
    check(node(3), ask().share(400, gib(5)).gang(2, 9), 3);
}

#[test]
fn several_devices_each_are_arranged_so_that_no_room_is_missed() {
    // Rooms of 1, 1 and 2 tasks: two tasks of two devices fit only if both use the third.
    let mut world = node(3);
    world.submit(ask().share(600, gib(1)).gang(2, 2));
    world.settle();
    check(world, ask().share(400, gib(1)).devices(2).gang(2, 2), 2);
}

#[test]
fn a_quota_bounds_how_far_a_gang_grows() {
    let quota = Quota { compute: Some(1300), ..Quota::default() };
    check(node(3).tenant("lab", quota), ask().share(400, gib(1)).gang(2, 9), 3);
    let quota = Quota { memory: Some(gib(17)), ..Quota::default() };
    check(node(3).tenant("lab", quota), ask().whole().gang(2, 9), 2);
}

#[test]
fn ranks_on_one_node_are_neighbours() {
    let mut world = node(1).device("n2", "d0").device("n3", "d0");
    let job = world.submit(ask().share(300, gib(1)).gang(8, 8));
    world.settle();
    let nodes: Vec<String> = world.leases(job).iter().map(|l| l.node.to_string()).collect();
    assert!(nodes.is_sorted(), "{nodes:?}");
}

#[test]
fn a_gang_starts_when_its_last_member_is_prepared() {
    let mut world = node(2);
    let job = world.submit(ask().whole().gang(2, 2));
    world.settle();
    let leases = world.leases(job);
    world.prepare(leases[1].id);
    world.settle();
    assert!(!world.engine.desired(&leases[0].node).0[0].start);
    world.prepare(leases[0].id);
    world.prepare(leases[0].id);
    world.settle();
    assert!(world.engine.desired(&leases[0].node).0[0].start);
}

#[test]
fn a_member_that_ended_well_does_not_stop_the_rest() {
    let mut world = node(2);
    let job = world.submit(ask().whole().gang(2, 2));
    world.run();
    let leases = world.leases(job);
    world.end_lease(leases[0].id, Outcome::Succeeded);
    world.settle();
    assert_eq!((world.state(job).as_str(), world.leases(job).len()), ("running", 1));
    world.end_lease(leases[1].id, Outcome::Succeeded);
    world.settle();
    assert_eq!(world.state(job), "succeeded");
}

#[test]
fn a_program_that_is_not_there_ends_a_gang_before_it_starts() {
    let mut world = node(2);
    let job = world.submit(ask().whole().gang(2, 2));
    world.settle();
    let leases = world.leases(job);
    world.end_lease(leases[0].id, Outcome::NotStarted { why: "no such file".into() });
    world.settle();
    world.end_lease(leases[1].id, Outcome::Cancelled);
    world.settle();
    assert_eq!(world.state(job), "not started");
}
