//! Host memory behind devices: never more promised than the nodes keep.

use crate::world::{With, World, ask, gib};
use polder_model::{Ask, Bytes, Outcome};
use proptest::prelude::*;

/// An ask with so much of a device's memory and so much behind it.
fn backed(memory: u64, backing: u64) -> Ask {
    let mut ask = ask().share(300, gib(memory));
    ask.devices.backing = Some(gib(backing));
    ask
}

/// A node with a device of 8 GiB that keeps so much host memory.
fn node(kept: u64) -> World {
    let mut world = World::new().device("n1", "d0");
    keep(&mut world, kept);
    world
}

fn keep(world: &mut World, kept: u64) {
    world.inventory("n1").node.backing = gib(kept);
    world.report("n1");
}

/// Everything promised of the device and behind it, in bytes.
fn promised(world: &World) -> (Bytes, Bytes) {
    let slices = || world.engine.leases().flat_map(|lease| &lease.slices);
    let sum = |of: fn(&polder_model::Slice) -> u64| Bytes(slices().map(of).sum());
    (sum(|slice| slice.memory.0), sum(|slice| slice.backing.0))
}

#[test]
fn two_leases_have_more_than_the_device_together_and_the_third_waits() {
    let mut world = node(6);
    let one = world.submit(backed(4, 3));
    let two = world.submit(backed(3, 3));
    let three = world.submit(backed(1, 1));
    world.run();
    assert_eq!(promised(&world), (gib(7), gib(6)), "13 GiB on a device of 8");
    let explanation = world.engine.explain(world.now(), three).unwrap();
    let said: Vec<String> = explanation.reasons.iter().map(ToString::to_string).collect();
    let said = said.join("; ");
    assert!(said.contains("lacks 1 GiB of host memory kept for backing"), "{said}");
    assert!(world.leases(one).len() == 1 && world.leases(two).len() == 1);
    world.end(one, Outcome::Succeeded);
    world.run();
    assert_eq!(world.leases(three).len(), 1);
}

#[test]
fn what_no_node_keeps_is_refused_with_the_reason() {
    for (kept, wanted, expect) in [
        (0, 1, "keeps no host memory for backing where 1 GiB is wanted"),
        (6, 7, "can back 6 GiB with host memory where 7 GiB is wanted"),
    ] {
        let refusal = node(kept).try_submit(backed(1, wanted)).unwrap_err();
        assert!(refusal.ends_with(expect), "{refusal}");
    }
    assert_eq!(node(0).try_submit(ask()).err(), None, "who does not ask needs none");
}

/// A machine that is short of memory offers less: who runs goes on, and nobody else begins.
#[test]
fn a_node_under_pressure_promises_no_more_and_takes_nothing_back() {
    let mut world = node(6);
    let runs = world.submit(backed(2, 3));
    world.run();
    let waits = world.submit(backed(2, 3));
    keep(&mut world, 3);
    world.run();
    assert_eq!(world.leases(runs).len(), 1);
    assert_eq!(world.leases(waits).len(), 0);
    assert_eq!(world.engine.check(), []);
    let refusal = world.try_submit(backed(1, 4)).unwrap_err();
    assert!(
        refusal.ends_with("can back 3 GiB with host memory where 4 GiB is wanted"),
        "{refusal}"
    );
    keep(&mut world, 6);
    world.run();
    assert_eq!(world.leases(waits).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is asked, ends and is offered: on no device more than it has, and behind it no more
    /// than was kept when it was promised. The independent checker agrees after every step.
    #[test]
    fn never_more_is_promised_than_there_is(
        acts in prop::collection::vec((0u8..8, 1u64..5, 0u64..4), 1..24),
    ) {
        let mut world = node(6);
        let (mut jobs, mut most) = (Vec::new(), 6);
        for (what, memory, backing) in acts {
            match what {
                0 => {
                    most = memory + backing;
                    keep(&mut world, most);
                }
                1 if !jobs.is_empty() => {
                    let job = jobs.remove(0);
                    if world.leases(job).len() == 1 {
                        world.end(job, Outcome::Succeeded);
                    }
                }
                _ => {
                    let mut wanted = backed(memory, backing.max(1));
                    wanted.devices.compute = polder_model::Permille(100);
                    if backing == 0 {
                        wanted.devices.backing = None;
                    }
                    jobs.extend(world.try_submit(wanted).ok());
                }
            }
            let before = promised(&world).1;
            world.run();
            let (device, host) = promised(&world);
            prop_assert!(device <= gib(8));
            prop_assert!(host <= gib(most).max(before), "{host} of {most} GiB, {before} before");
            prop_assert_eq!(world.engine.check(), vec![]);
        }
    }
}
