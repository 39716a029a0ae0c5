//! Devices that must, or had better, lie together: islands of links, NUMA nodes, NIC rails; and
//! those with the bandwidth that is asked.

use crate::world::{With, World, ask, device, gib};
use polder_model::{Ask, Bytes, Device, Wish};

/// A device of 80 GiB.
fn lying(id: &str, island: Option<u32>, numa: Option<u32>, rail: Option<u32>) -> Device {
    let mut device = device(id, "Tide 80", gib(80));
    (device.island, device.numa_node, device.rail) = (island, numa, rail);
    device
}

/// A node of eight devices on two islands and NUMA nodes, each device with a rail.
fn eight(mut world: World, node: &str) -> World {
    for at in 0..8 {
        let half = Some(at / 4);
        world = world.card(node, lying(&format!("d{at}"), half, half, Some(at)));
    }
    world
}

fn wish(mut ask: Ask, island: Wish) -> Ask {
    ask.place.island = island;
    ask
}

#[test]
fn devices_of_a_task_are_on_one_island_where_that_is_required() {
    let mut world = eight(World::new(), "n1");
    let single = world.submit(ask().whole());
    let four = world.submit(wish(ask().whole().devices(4), Wish::Require));
    let three = world.submit(wish(ask().whole().devices(3), Wish::Require));
    world.settle();
    assert_eq!(world.spots(single), ["n1/d0"]);
    assert_eq!(world.spots(four), ["n1/d4+d5+d6+d7"]);
    assert_eq!(world.spots(three), ["n1/d1+d2+d3"]);
}

#[test]
fn why_devices_do_not_lie_together_is_told_with_numbers() {
    let mut world = World::new();
    for (id, island) in [("d0", 0), ("d1", 0), ("d2", 1), ("d3", 1)] {
        world = world.card("n1", lying(id, Some(island), None, None));
    }
    let jobs: Vec<_> = (0..2).map(|_| world.submit(ask().share(500, gib(52)))).collect();
    world.settle();
    assert_eq!(world.spots(jobs[1]), ["n1/d1"]);
    // One of each island is taken: two have room, and not on one island.
    world.run();
    world.end(jobs[1], polder_model::Outcome::Succeeded);
    let more = world.submit(ask().share(501, gib(70)));
    world.settle();
    assert_eq!(world.spots(more), ["n1/d1"], "the broken island");
    let other = world.submit(ask().share(900, gib(52)));
    world.settle();
    assert_eq!(world.spots(other), ["n1/d2"]);
    let pair = world.submit(wish(ask().share(100, gib(40)).devices(2), Wish::Require));
    world.settle();
    let why = world.engine.explain(world.now(), pair).unwrap();
    assert_eq!(
        why.reasons[0].to_string(),
        "needs 2 x 40 GiB and 10% on one NVLink island; closest is n1, where d2 lacks 12 GiB of memory"
    );
}

#[test]
fn a_preference_is_met_where_it_can_be_and_forgone_where_it_cannot() {
    let mut world = World::new();
    for at in 0..4 {
        world = world.card("n1", lying(&format!("d{at}"), None, None, None));
    }
    world = eight(world, "n2");
    let pair = || wish(ask().whole().devices(2), Wish::Prefer);
    let jobs: Vec<_> = (0..5).map(|_| world.submit(pair())).collect();
    world.settle();
    let spots: Vec<_> = jobs.iter().flat_map(|job| world.spots(*job)).collect();
    assert_eq!(spots, ["n2/d0+d1", "n2/d2+d3", "n2/d4+d5", "n2/d6+d7", "n1/d0+d1"]);
}

#[test]
fn what_no_node_joins_is_refused_at_once() {
    let mut world = eight(World::new(), "n1");
    let refused = world.try_submit(wish(ask().whole().devices(5), Wish::Require)).unwrap_err();
    assert!(refused.contains("does not lie together with 4 others"), "{refused}");
    let mut numa = ask().whole().devices(5);
    numa.place.numa = Wish::Require;
    assert!(world.try_submit(numa).is_err());
    let mut rails = ask().whole().devices(8);
    rails.place.rail = Wish::Require;
    let job = world.submit(rails);
    world.settle();
    assert_eq!(world.state(job), "starting");
    let mut one = ask().whole();
    one.place.island = Wish::Require;
    world.submit(one);
}

#[test]
fn devices_of_which_nothing_is_known_are_not_together() {
    let mut world = World::new().device("n1", "d0").device("n1", "d1");
    let refused = world.try_submit(wish(ask().devices(2), Wish::Require)).unwrap_err();
    assert!(refused.contains("does not lie together"), "{refused}");
    let job = world.submit(wish(ask().devices(2), Wish::Prefer));
    world.settle();
    assert_eq!(world.spots(job), ["n1/d0+d1"]);
}

#[test]
fn rails_of_a_task_differ() {
    let mut world = World::new();
    for (id, rail) in [("d0", 0), ("d1", 0), ("d2", 1)] {
        world = world.card("n1", lying(id, None, None, Some(rail)));
    }
    let mut ask = ask().whole().devices(2);
    ask.place.rail = Wish::Require;
    let job = world.submit(ask);
    world.settle();
    assert_eq!(world.spots(job), ["n1/d0+d2"]);
}

#[test]
fn a_device_without_a_rail_is_on_none_of_its_own() {
    let mut pair = ask().whole().devices(2);
    pair.place.rail = Wish::Require;
    let mut world = World::new();
    for (id, rail) in [("d0", None), ("d1", None), ("d2", Some(1))] {
        world = world.card("n1", lying(id, None, None, rail));
    }
    let refused = world.try_submit(pair.clone()).unwrap_err();
    assert!(refused.contains("does not lie together with 1 other as asked"), "{refused}");
    for (id, rail) in [("d0", None), ("d1", Some(0)), ("d2", Some(1))] {
        world = world.card("n2", lying(id, None, None, rail));
    }
    let first = world.submit(pair.clone());
    let second = world.submit(pair);
    world.settle();
    assert_eq!(world.spots(first), ["n2/d1+d2"]);
    let why = world.engine.explain(world.now(), second).unwrap().reasons[0].to_string();
    assert!(why.contains("closest is n2, where d"), "{why}");
    // Where it is only wished for, a device that has one goes first.
    let mut world = World::new();
    for (id, rail) in [("d0", None), ("d1", Some(0))] {
        world = world.card("n1", lying(id, None, None, rail));
    }
    for (id, rail) in [("d0", Some(0)), ("d1", Some(1))] {
        world = world.card("n2", lying(id, None, None, rail));
    }
    let mut wished = ask().whole().devices(2);
    wished.place.rail = Wish::Prefer;
    let job = world.submit(wished);
    world.settle();
    assert_eq!(world.spots(job), ["n2/d0+d1"]);
}

#[test]
fn a_gang_has_an_island_for_each_task() {
    let mut world = eight(eight(World::new(), "n1"), "n2");
    let gang = world.submit(wish(ask().whole().devices(4), Wish::Require).gang(4, 4));
    world.settle();
    assert_eq!(
        world.spots(gang),
        ["n1/d0+d1+d2+d3", "n1/d4+d5+d6+d7", "n2/d0+d1+d2+d3", "n2/d4+d5+d6+d7"]
    );
    let refused = world.try_submit(wish(ask().whole().devices(3), Wish::Require).gang(5, 5));
    assert!(refused.unwrap_err().contains('5'));
}

#[test]
fn a_device_too_slow_for_the_ask_is_no_choice() {
    let mut fast = device("d1", "Tide 8", gib(8));
    fast.memory_bandwidth = Some(Bytes(3_000_000_000_000));
    let mut world = World::new().device("n1", "d0").card("n1", fast);
    let mut ask = ask();
    ask.devices.bandwidth = Some(Bytes(2_000_000_000_000));
    let job = world.submit(ask.clone());
    world.settle();
    assert_eq!(world.spots(job), ["n1/d1"]);
    ask.devices.bandwidth = Some(Bytes(4_000_000_000_000));
    let refused = world.try_submit(ask).unwrap_err();
    assert!(refused.contains("a second where"), "{refused}");
}
