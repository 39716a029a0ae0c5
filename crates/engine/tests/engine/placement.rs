//! Where: best fit, filters, whole devices, several devices, the machine beside them.

use crate::world::{With, World, ask, device, gib};
use polder_model::{Health, Isolation, Mechanism, Permille};

/// Submits one ask after the other and gives where each went; empty when it waits.
fn check(mut world: World, asks: &[polder_model::Ask], expect: &[&str]) {
    let jobs: Vec<_> = asks.iter().map(|ask| world.submit(ask.clone())).collect();
    world.settle();
    let got: Vec<String> = jobs.iter().map(|job| world.spots(*job).join(" ")).collect();
    assert_eq!(got, expect);
}

fn two() -> World {
    World::new().device("n1", "d0").device("n1", "d1")
}

#[test]
fn the_tightest_device_is_taken() {
    let share = |compute| ask().share(compute, gib(1));
    check(
        two(),
        &[share(500), share(600), share(400), share(500)],
        &["n1/d0", "n1/d1", "n1/d1", "n1/d0"],
    );
}

#[test]
fn memory_decides_between_equally_free_compute() {
    let world = World::new()
        .card("n1", device("big", "Tide 16", gib(16)))
        .card("n2", device("small", "Tide 8", gib(8)));
    check(world, &[ask(), ask().share(300, gib(9))], &["n2/small", "n1/big"]);
}

#[test]
fn ties_go_to_the_node_that_joined_first() {
    let world = World::new().device("n2", "d0").device("n1", "d1").device("n1", "d0");
    check(world, &[ask().whole(), ask().whole(), ask().whole()], &["n2/d0", "n1/d0", "n1/d1"]);
}

#[test]
fn a_whole_device_is_shared_with_nobody() {
    check(two(), &[ask(), ask().whole(), ask(), ask().whole()], &["n1/d0", "n1/d1", "n1/d0", ""]);
}

#[test]
fn a_whole_slice_has_all_memory() {
    let mut world = two();
    let job = world.submit(ask().whole());
    world.settle();
    let slice = &world.leases(job)[0].slices[0];
    assert_eq!((slice.memory, slice.compute), (gib(8), Permille(1000)));
    assert_eq!(slice.mechanism, Mechanism::Whole);
}

#[test]
fn models_match_in_part_and_in_any_case() {
    let world = two().card("n1", device("h", "NVIDIA H200 NVL", gib(141)));
    check(world, &[ask().model("h200"), ask().model("TIDE")], &["n1/h", "n1/d0"]);
}

#[test]
fn features_and_isolation_filter() {
    let mut plain = device("a", "Tide 8", gib(8));
    plain.features.clear();
    let world = World::new()
        .card("n1", plain)
        .card("n1", device("b", "PoCL CPU", gib(8)))
        .card("n1", device("c", "Tide 8", gib(8)));
    let mut fp64 = ask().whole();
    fp64.devices.features.insert("fp64".into());
    let mut hard = ask().whole();
    hard.devices.isolation = Some(Isolation::Hardware);
    hard.devices.features.insert("fp64".into());
    check(world, &[hard, fp64, ask()], &["n1/c", "n1/b", "n1/a"]);
}

#[test]
fn a_faulty_device_and_a_silent_node_take_nothing() {
    let mut faulty = device("d0", "Tide 8", gib(8));
    faulty.health = Health::Faulty("fell off the bus".into());
    let mut world = World::new().card("n1", faulty).device("n2", "d0").device("n3", "d0");
    world.silent("n2");
    check(world, &[ask()], &["n3/d0"]);
}

#[test]
fn a_node_that_is_back_takes_work_again() {
    let mut world = World::new().device("n1", "d0");
    let job = world.submit(ask());
    world.silent("n1");
    world.settle();
    assert_eq!(world.state(job), "queued");
    world.apply(polder_model::Event::NodeBack { node: "n1".parse().unwrap() });
    world.settle();
    assert_eq!(world.state(job), "starting");
}

#[test]
fn devices_of_one_task_share_a_node() {
    let world = World::new().device("n1", "d0").device("n2", "d0").device("n2", "d1");
    check(world, &[ask(), ask().devices(2), ask().whole()], &["n1/d0", "n2/d0+d1", ""]);
}

#[test]
fn devices_of_one_task_may_differ() {
    let world = two().card("n1", device("h", "Sea 80", gib(80)));
    check(world, &[ask().devices(3).whole()], &["n1/d0+d1+h"]);
}

#[test]
fn the_machine_beside_the_devices_counts() {
    let world = two().device("n2", "d0");
    let big = || ask().host(10_000, gib(1));
    check(world, &[big(), big(), big()], &["n1/d0", "n2/d0", ""]);
}

#[test]
fn what_ended_is_free_again() {
    let mut world = World::new().device("n1", "d0");
    let (first, second) = (world.submit(ask().whole()), world.submit(ask().whole()));
    world.run();
    assert_eq!(world.states(&[first, second]), "running queued");
    world.end(first, polder_model::Outcome::Succeeded);
    assert_eq!(world.states(&[first, second]), "succeeded starting");
}

/// An ask for CPU and memory alone.
fn plain(cpu: u32) -> polder_model::Ask {
    let mut ask = ask().share(0, gib(0)).host(cpu, gib(1));
    ask.devices.count = 0;
    ask
}

#[test]
fn jobs_without_devices_fill_the_fullest_machine() {
    let world = World::new().device("n1", "d0").device("n2", "d0");
    let device = || ask().host(10_000, gib(1));
    check(
        world,
        &[device(), plain(4000), plain(4000), plain(16_000)],
        &["n1/d0", "n1/", "n2/", ""],
    );
}

#[test]
fn a_job_without_devices_that_waits_is_told_what_lacks_and_holds_no_device() {
    let mut world = World::new().device("n1", "d0");
    let first = world.submit(plain(10_000));
    let (large, small) = (world.submit(plain(8000)), world.submit(plain(1000)));
    let device = world.submit(ask().whole());
    world.settle();
    let states = world.states(&[first, large, small, device]);
    assert_eq!(states, "starting queued queued starting");
    let reasons = |world: &World, job| {
        let explained = world.engine.explain(world.now(), job).unwrap();
        explained.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert!(reasons(&world, large).contains("n1"), "{}", reasons(&world, large));
    assert!(reasons(&world, small).contains("ahead"), "{}", reasons(&world, small));
    world.run();
    world.end(first, polder_model::Outcome::Succeeded);
    assert_eq!(world.states(&[large, small]), "starting starting");
}

#[test]
fn a_job_without_devices_that_no_machine_holds_is_refused() {
    let mut world = World::new().device("n1", "d0");
    let refusal = world.try_submit(plain(17_000)).unwrap_err();
    assert!(refusal.contains("16 CPUs"), "{refusal}");
}
