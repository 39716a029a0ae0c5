//! Who is next: priority while it holds, then who came first, and nobody overtaken for ever.

use crate::world::{With, World, ask, device, gib};
use polder_model::{Ask, JobId, Outcome, Quota, WorkClass};

fn one() -> World {
    World::new().device("n1", "d0")
}

/// Submits all to a full pool and gives the order in which they wait, as places in `asks`.
fn check(mut world: World, asks: &[Ask], seconds: u64, expect: &[usize]) {
    let jobs: Vec<JobId> = asks.iter().map(|ask| world.submit(ask.clone())).collect();
    world.pass_seconds(seconds);
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    let expect: Vec<JobId> = expect.iter().map(|place| jobs[*place]).collect();
    assert_eq!(queue, expect);
}

#[test]
fn first_come_first_served() {
    check(one(), &[ask(), ask().whole(), ask()], 0, &[0, 1, 2]);
}

#[test]
fn priority_goes_first_until_it_expires() {
    let asks =
        || [ask().priority(-5, None), ask(), ask().priority(9, Some(60)), ask().priority(5, None)];
    check(one(), &asks(), 0, &[2, 3, 1, 0]);
    check(one(), &asks(), 61, &[3, 1, 2, 0]);
}

#[test]
fn a_lease_says_how_urgent_its_work_is_and_an_expired_priority_counts_as_none() {
    let mut world = one();
    let mut served = ask().priority(7, None);
    served.when.class = WorkClass::Inference;
    let expires = || ask().priority(9, Some(60));
    let first = [world.submit(served), world.submit(expires())];
    world.run();
    let of = |world: &World, job| {
        let (orders, _) = world.engine.desired(&"n1".parse().unwrap());
        let lease = orders.into_iter().find(|order| order.lease.job == job).unwrap().lease;
        (lease.class, lease.priority)
    };
    assert_eq!(of(&world, first[0]), (WorkClass::Inference, 7));
    assert_eq!(of(&world, first[1]), (WorkClass::Batch, 9));
    world.pass_seconds(61);
    let late = world.submit(expires());
    world.settle();
    assert_eq!(of(&world, late), (WorkClass::Batch, 0));
}

#[test]
fn an_expiry_is_a_moment_to_plan_at_and_changes_who_is_next() {
    let mut world = one();
    let running = world.submit(ask().whole());
    world.run();
    let usual = world.submit(ask().whole());
    let urgent = world.submit(ask().whole().priority(1, Some(60)));
    let wake = world.engine.next_wake(world.now()).unwrap();
    assert_eq!(wake.0, 60_000_000);
    assert_eq!(world.engine.next_wake(wake), None);
    assert_eq!(world.engine.queue(world.now()).next(), Some(urgent));
    world.pass_seconds(61);
    assert_eq!(world.engine.queue(world.now()).next(), Some(usual));
    world.end(running, Outcome::Succeeded);
    assert_eq!(world.states(&[usual, urgent]), "starting queued");
}

#[test]
fn a_job_that_does_not_fit_is_not_overtaken_on_the_devices_it_could_use() {
    let mut world = one().device("n1", "d1");
    let small = world.submit(ask());
    world.settle();
    let large = world.submit(ask().whole().gang(2, 2));
    let late = world.submit(ask());
    let report = world.settle();
    assert_eq!(world.states(&[small, large, late]), "starting queued queued");
    assert_eq!(report.waiting.len(), 1);
}

#[test]
fn devices_it_could_not_use_are_free_for_others() {
    let mut world = one().card("n2", device("h", "Sea 80", gib(80)));
    let running = world.submit(ask().model("sea").whole());
    let waits = world.submit(ask().model("sea"));
    let other = world.submit(ask().model("tide"));
    let any = world.submit(ask());
    world.settle();
    assert_eq!(world.states(&[running, waits, other, any]), "starting queued starting starting");
}

#[test]
fn a_quota_keeps_only_its_own_tenant_waiting() {
    let quota = Quota { devices: Some(1), ..Quota::default() };
    let mut world = one().tenant("lab", quota).tenant("hall", Quota::default());
    let jobs = [ask(), ask(), ask().of("hall")].map(|ask| world.submit(ask));
    world.settle();
    assert_eq!(world.states(&jobs), "starting queued starting");
}

#[test]
fn a_quota_counts_for_all_below_it() {
    let quota = Quota { compute: Some(500), ..Quota::default() };
    let mut world = one()
        .tenant("lab", quota)
        .tenant("lab/a", Quota::default())
        .tenant("lab/b", Quota::default());
    let jobs = [ask().of("lab/a"), ask().of("lab/b"), ask().of("lab")].map(|a| world.submit(a));
    world.settle();
    assert_eq!(world.states(&jobs), "starting queued queued");
    assert_eq!(world.engine.held_by(&"lab".parse().unwrap()).compute, 300);
    world.run();
    world.end(jobs[0], Outcome::Succeeded);
    assert_eq!(world.states(&jobs), "succeeded starting queued");
}

#[test]
fn a_quota_lowered_below_what_is_held_evicts_nobody_and_grants_nothing() {
    let mut world = one();
    let jobs = [ask(), ask()].map(|ask| world.submit(ask));
    world.run();
    world.set_tenant("lab", Quota { devices: Some(1), ..Quota::default() });
    let more = world.submit(ask());
    world.settle();
    assert_eq!(world.states(&[jobs[0], jobs[1], more]), "running running queued");
    world.end(jobs[0], Outcome::Succeeded);
    assert_eq!(world.state(more), "queued");
    world.end(jobs[1], Outcome::Succeeded);
    assert_eq!(world.state(more), "starting");
}

#[test]
fn a_job_whose_devices_are_out_of_reach_holds_nothing() {
    let mut world = one().device("n2", "d0");
    let large = world.submit(ask().whole().gang(2, 2));
    world.silent("n2");
    let small = world.submit(ask());
    world.settle();
    assert_eq!(world.states(&[large, small]), "queued starting");
}

#[test]
fn a_returned_job_keeps_its_place() {
    let mut world = one();
    let (first, second) = (world.submit(ask().whole()), world.submit(ask().whole()));
    world.settle();
    world.pass_seconds(31);
    world.settle();
    world.end(first, Outcome::Returned);
    assert_eq!(world.states(&[first, second]), "starting queued");
}
