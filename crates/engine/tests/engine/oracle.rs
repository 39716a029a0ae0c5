//! Small pools, every arrangement tried: the engine misses no room that exists, and takes the
//! tightest device.

use crate::world::{With, World, ask, device, gib};
use polder_model::{Ask, Bytes};
use proptest::prelude::*;

/// One task of a tiny pool: compute in tenths, memory in GiB.
#[derive(Clone, Copy, Debug)]
struct Task {
    compute: u32,
    memory: u64,
}

fn tasks(most: usize) -> impl Strategy<Value = Vec<Task>> {
    let task = (1u32..=10, 1u64..=8).prop_map(|(compute, memory)| Task { compute, memory });
    prop::collection::vec(task, 0..most)
}

/// Nodes with these numbers of devices of 8 GiB.
fn pool(nodes: &[usize]) -> World {
    let mut world = World::new();
    world.checks = false;
    for (node, devices) in nodes.iter().enumerate() {
        for place in 0..*devices {
            world = world.card(&format!("n{node}"), device(&format!("d{place}"), "Tide", gib(8)));
        }
    }
    world
}

fn share(task: Task) -> Ask {
    ask().share(task.compute * 100, gib(task.memory))
}

/// What is free on each device, by node and device: tenths and GiB.
fn free(world: &World) -> Vec<Vec<(u32, u64)>> {
    let of_node = |node: polder_engine::NodeView<'_>| {
        let free = |device: &polder_model::Device| {
            let held = node.held.get(&device.id).copied().unwrap_or_default();
            let compute = 10 - u32::try_from(held.compute / 100).unwrap();
            (compute, (device.memory.0 - held.memory.0) >> 30)
        };
        node.inventory.devices.iter().map(free).collect()
    };
    world.engine.nodes().map(of_node).collect()
}

/// Whether `tasks` more tasks of `count` devices of one node fit in any arrangement at all.
fn fits(free: &mut Vec<Vec<(u32, u64)>>, task: Task, count: usize, tasks: u32) -> bool {
    if tasks == 0 {
        return true;
    }
    for node in 0..free.len() {
        let number = free[node].len();
        for chosen in (0u32..1 << number).filter(|set| set.count_ones() as usize == count) {
            let places: Vec<usize> = (0..number).filter(|place| chosen >> place & 1 == 1).collect();
            let fit = |place: &usize| {
                let (compute, memory) = free[node][*place];
                compute >= task.compute && memory >= task.memory
            };
            if !places.iter().all(fit) {
                continue;
            }
            let before = free[node].clone();
            for place in places {
                free[node][place].0 -= task.compute;
                free[node][place].1 -= task.memory;
            }
            let rest = fits(free, task, count, tasks - 1);
            free[node] = before;
            if rest {
                return true;
            }
        }
    }
    false
}

proptest! {
    #[test]
    fn a_gang_is_placed_exactly_when_an_arrangement_exists(
        held in tasks(8),
        compute in 1u32..=6,
        memory in 1u64..=4,
        count in 1usize..=2,
        size in 1u32..=3,
    ) {
        let task = Task { compute, memory };
        let mut world = pool(&[2, 1, 2]);
        for task in held {
            let job = world.submit(share(task));
            world.settle();
            // What does not fit must not hold devices against the gang.
            if world.leases(job).is_empty() {
                world.cancel(job);
            }
        }
        let mut free = free(&world);
        let expect = fits(&mut free, task, count, size);
        let asked = share(task).devices(u32::try_from(count).unwrap()).gang(size, size);
        let submitted = world.try_submit(asked);
        world.settle();
        let placed = submitted.map_or(0, |job| world.leases(job).len());
        prop_assert_eq!(placed, if expect { size as usize } else { 0 }, "free: {:?}", free);
    }

    #[test]
    fn one_task_takes_the_tightest_device(held in tasks(12), compute in 1u32..=9, memory in 1u64..=8) {
        let mut world = pool(&[2, 3]);
        for task in held {
            let job = world.submit(share(task));
            world.settle();
            if world.leases(job).is_empty() {
                world.cancel(job);
            }
        }
        let all = free(&world);
        let fitting = all.iter().enumerate().flat_map(|(node, devices)| {
            devices.iter().enumerate().map(move |(place, free)| (*free, format!("n{node}/d{place}")))
        });
        let best = fitting.filter(|(free, _)| free.0 >= compute && free.1 >= memory).min();
        let job = world.submit(share(Task { compute, memory }));
        world.settle();
        prop_assert_eq!(world.spots(job), best.map(|(_, spot)| spot).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn whole_devices_are_found_while_any_is_untouched(held in tasks(6), size in 1u32..=4) {
        let mut world = pool(&[2, 2]);
        for task in held {
            let job = world.submit(share(task));
            world.settle();
            if world.leases(job).is_empty() {
                world.cancel(job);
            }
        }
        let untouched = free(&world).iter().flatten().filter(|free| **free == (10, 8)).count();
        let job = world.submit(ask().whole().gang(size, size));
        world.settle();
        let size = size as usize;
        prop_assert_eq!(world.leases(job).len(), if untouched >= size { size } else { 0 });
    }
}

#[test]
fn memory_alone_can_keep_a_task_out() {
    let mut world = pool(&[1]);
    world.submit(ask().share(100, gib(8)));
    let job = world.submit(ask().share(100, Bytes(1)));
    world.settle();
    assert_eq!(world.spots(job), [""; 0]);
}
