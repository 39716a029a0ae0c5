//! Every term of an order, their composition, and their change while jobs wait.

use crate::world::{With, World, ask, gib};
use polder_model::{
    Ask, BlendTerm, Event, GangKind, JobId, Micros, Order, Outcome, Policy, Quota, Share, Term,
    TimeRule, Timestamp, WorkClass,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const HOUR: u64 = 3600;

fn by(terms: &[Term]) -> Order {
    Order { by: terms.to_vec(), ..Order::default() }
}

fn policy(order: Order) -> Policy {
    Policy { order, ..Policy::default() }
}

/// A pool of one device with these tenants: name, deserved, weight.
fn pool(order: Order, tenants: &[(&str, u64, u32)]) -> World {
    let mut world = World::new().device("n1", "d0");
    for (tenant, deserved, weight) in tenants {
        world.set_share(tenant, Share { deserved: *deserved, weight: *weight });
    }
    world.apply(Event::PolicySet { policy: Box::new(policy(order)) });
    world
}

/// Submits all, a second apart, and gives the order in which they wait, as places in `asks`.
fn check(mut world: World, asks: &[Ask], seconds: u64, expect: &[usize]) {
    let submit = |ask: &Ask| {
        world.pass_seconds(1);
        world.submit(ask.clone())
    };
    let jobs: Vec<JobId> = asks.iter().map(submit).collect();
    world.pass_seconds(seconds);
    let queue: Vec<usize> = world
        .engine
        .queue(world.now())
        .map(|job| jobs.iter().position(|other| *other == job).unwrap())
        .collect();
    assert_eq!(queue, expect);
}

fn estimate(seconds: u64) -> Ask {
    let mut ask = ask();
    ask.when.estimate = Some(Micros::from_secs(seconds));
    ask
}

fn deadline(seconds: u64) -> Ask {
    let mut ask = ask();
    ask.when.deadline = Some(Timestamp(seconds * 1_000_000));
    ask
}

fn of_class(class: WorkClass) -> Ask {
    let mut ask = ask();
    ask.when.class = class;
    ask
}

#[test]
fn shortest_first_believes_the_estimate_but_never_more_than_the_limit() {
    let asks = [estimate(900), ask(), estimate(60), estimate(9000).time_limit(100)];
    check(pool(by(&[Term::Shortest]), &[]), &asks, 0, &[2, 3, 0, 1]);
}

/// It runs until it is cancelled, however soon such jobs ended.
#[test]
fn a_service_is_longer_than_every_job() {
    let decade = estimate(3660 * 86_400);
    let blend = Term::Blend(BTreeMap::from([(BlendTerm::Shortest, 1000), (BlendTerm::Arrival, 1)]));
    for term in [Term::Shortest, Term::SmallestArea, blend] {
        let mut world = pool(by(&[term]), &[]);
        for _ in 0..8 {
            let job = world.submit(ask());
            world.run();
            world.pass_seconds(1);
            world.end(job, Outcome::Succeeded);
            world.settle();
        }
        let service = || ask().kind(GangKind::Service);
        check(world, &[service(), ask(), service(), decade.clone()], 0, &[1, 3, 0, 2]);
    }
}

#[test]
fn smallest_area_counts_devices() {
    let asks = [estimate(600).gang(3, 3), estimate(900)];
    check(pool(by(&[Term::SmallestArea]), &[]), &asks, 0, &[1, 0]);
    check(pool(by(&[Term::Shortest]), &[]), &asks, 0, &[0, 1]);
}

#[test]
fn the_earliest_deadline_first() {
    let asks = [ask(), deadline(9000), deadline(500)];
    check(pool(by(&[Term::Deadline]), &[]), &asks, 0, &[2, 1, 0]);
}

#[test]
fn classes_in_the_order_listed() {
    let order =
        Order { classes: vec![WorkClass::Interactive, WorkClass::Inference], ..by(&[Term::Class]) };
    let asks = [ask(), of_class(WorkClass::Inference), of_class(WorkClass::Interactive)];
    check(pool(order, &[]), &asks, 0, &[2, 1, 0]);
}

#[test]
fn terms_decide_in_turn() {
    let asks = [estimate(60), estimate(60).priority(1, None), estimate(9).priority(1, None)];
    check(pool(by(&[Term::Priority, Term::Shortest]), &[]), &asks, 0, &[2, 1, 0]);
}

#[test]
fn waiting_counts_as_priority() {
    let order = Order { ageing: Some(Micros::from_secs(HOUR)), ..by(&[Term::Priority]) };
    let mut world = pool(order, &[]);
    let old = world.submit(ask());
    world.pass_seconds(2 * HOUR + 60);
    let urgent = world.submit(ask().priority(3, None));
    let soon = world.submit(ask().priority(2, None));
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    assert_eq!(queue, [urgent, old, soon]);
}

#[test]
fn nobody_waits_longer_than_the_bound_behind_others() {
    let order = Order { wait_max: Some(Micros::from_secs(HOUR)), ..by(&[Term::Shortest]) };
    let asks = [estimate(9000), estimate(8000), estimate(10)];
    check(pool(order.clone(), &[]), &asks, HOUR - 2, &[0, 2, 1]);
    let mut world = pool(order, &[]);
    world.pass_seconds(1);
    let slow = world.submit(estimate(9000));
    let quick = world.submit(estimate(10));
    let wake = world.engine.next_wake(world.now()).unwrap();
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    assert_eq!(queue, [quick, slow]);
    assert_eq!(world.engine.queue(wake).next(), Some(slow));
}

#[test]
fn a_blend_weighs_terms() {
    let blend = |shortest, arrival| {
        let weights = [(BlendTerm::Shortest, shortest), (BlendTerm::Arrival, arrival)];
        by(&[Term::Blend(BTreeMap::from(weights))])
    };
    // The second is 3 s shorter and came 1 s later.
    let asks = [estimate(100), estimate(97)];
    check(pool(blend(1000, 1000), &[]), &asks, 0, &[1, 0]);
    check(pool(blend(100, 1000), &[]), &asks, 0, &[0, 1]);
}

/// Whatever its weight, a deadline says nothing of jobs that have none: the other terms do.
#[test]
fn a_blend_with_deadlines_still_tells_jobs_without_one_apart() {
    let heavy = polder_model::WEIGHT_MAX;
    for deadlines in [1, 1000, 1999, 2000, 3000, heavy, -1, -2000, -3000, -heavy] {
        for shortest in [1000, 5000, heavy] {
            let weights = [
                (BlendTerm::Deadline, deadlines),
                (BlendTerm::Shortest, shortest),
                (BlendTerm::Arrival, heavy / 1000),
                (BlendTerm::LeastService, heavy),
            ];
            let order = by(&[Term::Blend(BTreeMap::from(weights))]);
            let asks = [estimate(90), estimate(10), deadline(HOUR)];
            let expect = if deadlines > 0 { [2, 1, 0] } else { [1, 0, 2] };
            check(pool(order, &[]), &asks, 0, &expect);
        }
    }
}

#[test]
fn who_was_served_least_comes_first() {
    let mut world = pool(by(&[Term::LeastService]), &[]);
    let served = world.submit(ask().whole().retries(1));
    world.run();
    world.pass_seconds(60);
    let fresh = world.submit(ask().whole());
    world.end(served, Outcome::Failed { code: 1 });
    // The retry came first, but it has had its minute.
    assert_eq!(world.states(&[served, fresh]), "queued starting");
}

#[test]
fn an_order_by_day_and_another_by_night() {
    let mut world = pool(by(&[Term::Arrival]), &[]);
    let night = TimeRule {
        from: "01:00".to_owned().try_into().unwrap(),
        until: "02:00".to_owned().try_into().unwrap(),
        days: [].into(),
        order: by(&[Term::Shortest]),
    };
    let policy = Policy { times: vec![night], ..policy(by(&[Term::Arrival])) };
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    let slow = world.submit(estimate(900).whole());
    world.pass_seconds(1);
    let quick = world.submit(estimate(9).whole());
    let first = |world: &World, at: u64| world.engine.queue(Timestamp(at * 1_000_000)).next();
    assert_eq!(first(&world, 10), Some(slow));
    assert_eq!(first(&world, HOUR), Some(quick));
    assert_eq!(world.engine.next_wake(world.now()), Some(Timestamp(HOUR * 1_000_000)));
    world.pass_seconds(HOUR);
    // The facts follow when the next event comes, and the index with them.
    let late = world.submit(estimate(99).whole());
    let queue: Vec<JobId> = world.engine.queue(world.now()).collect();
    assert_eq!(queue, [quick, late, slow]);
}

#[test]
fn a_policy_changes_while_jobs_wait() {
    let mut world = pool(by(&[Term::Arrival]), &[]);
    let slow = world.submit(estimate(900));
    let quick = world.submit(estimate(9));
    assert_eq!(world.engine.queue(world.now()).next(), Some(slow));
    let change = Event::PolicySet { policy: Box::new(policy(by(&[Term::Shortest]))) };
    world.apply(change);
    assert_eq!(world.engine.queue(world.now()).next(), Some(quick));
    let nonsense = policy(by(&[Term::Arrival, Term::Shortest]));
    let error = world.try_apply(Event::PolicySet { policy: Box::new(nonsense) }).unwrap_err();
    assert!(error.contains("shortest after arrival"), "{error}");
    assert_eq!(world.engine.queue(world.now()).next(), Some(quick));
}

/// Slots of a tenth of a device that each tenant holds when all want everything.
fn shared(order: Order, tenants: &[(&str, u64, u32)], ask_of: &[&str]) -> Vec<usize> {
    let mut world = pool(order, tenants);
    for _ in 0..12 {
        for tenant in ask_of {
            world.submit(ask().of(tenant).share(100, gib(0).max(polder_model::Bytes(1 << 20))));
        }
    }
    world.settle();
    let held = |tenant: &&str| {
        world.engine.leases().filter(|lease| lease.tenant.to_string().starts_with(*tenant)).count()
    };
    ask_of.iter().map(held).collect()
}

#[test]
fn tenants_get_what_they_deserve_and_share_the_rest_by_weight() {
    let fair = || by(&[Term::FairShare]);
    let equal = [("a", 0, 1), ("b", 0, 1)];
    assert_eq!(shared(fair(), &equal, &["a", "b"]), [5, 5]);
    let weighted = [("a", 0, 4), ("b", 0, 1)];
    assert_eq!(shared(fair(), &weighted, &["a", "b"]), [8, 2]);
    // b deserves 600, the rest goes by weight.
    let deserved = [("a", 0, 3), ("b", 600, 1)];
    assert_eq!(shared(fair(), &deserved, &["a", "b"]), [3, 7]);
    // Without the term who comes first gets it.
    assert_eq!(shared(by(&[Term::Arrival]), &equal, &["a", "b"]), [5, 5]);
}

#[test]
fn tenants_are_compared_level_by_level() {
    // a has two children that want everything, b has one: half is each parent's.
    let tree = [("a", 0, 1), ("a/x", 0, 1), ("a/y", 0, 1), ("b", 0, 1), ("b/z", 0, 1)];
    assert_eq!(shared(by(&[Term::FairShare]), &tree, &["a/x", "a/y", "b/z"]), [3, 2, 5]);
}

#[test]
fn memory_counts_as_much_as_compute() {
    let mut world = pool(by(&[Term::FairShare]), &[("a", 0, 1), ("b", 0, 1)]);
    for _ in 0..8 {
        // A quarter of the memory each, and a twentieth of the compute.
        world.submit(ask().of("a").share(50, gib(2)));
        world.submit(ask().of("b").share(50, gib(1)));
    }
    world.settle();
    let memory = |tenant: &str| world.engine.held_by(&tenant.parse().unwrap()).memory.0 >> 30;
    assert_eq!((memory("a"), memory("b")), (4, 4));
}

#[test]
fn what_was_used_before_fades() {
    let mut order = policy(by(&[Term::FairShare]));
    order.fair_share.half_life = Some(Micros::from_secs(HOUR));
    let mut world = pool(by(&[Term::FairShare]), &[("a", 0, 1), ("b", 0, 1)]);
    world.apply(Event::PolicySet { policy: Box::new(order) });
    let long = world.submit(ask().of("a").whole());
    world.run();
    world.pass_seconds(HOUR);
    world.end(long, Outcome::Succeeded);
    let first = |world: &mut World| {
        let jobs = [world.submit(ask().of("a").whole()), world.submit(ask().of("b").whole())];
        world.run();
        let running = world.engine.leases().next().unwrap().tenant.to_string();
        for job in jobs {
            world.cancel(job);
        }
        world.settle();
        for lease in world.engine.leases().map(|lease| lease.id).collect::<Vec<_>>() {
            world.end_lease(lease, Outcome::Cancelled);
        }
        world.settle();
        running
    };
    // a held the device for an hour, so it is b's turn although a came first.
    assert_eq!(first(&mut world), "b");
    // After many half-lives nothing is left of it.
    world.pass_seconds(60 * HOUR);
    assert_eq!(first(&mut world), "a");
}

#[test]
fn a_users_quota_keeps_only_that_user_waiting() {
    let mut world = World::new().device("n1", "d0").tenant("hall", Quota::default());
    let quota = Quota { devices: Some(1), ..Quota::default() };
    world.set_user_quota("hall", quota);
    let of = |user: &str| {
        let mut ask = ask().of("hall");
        ask.user = user.parse().unwrap();
        ask
    };
    let jobs = [of("ada"), of("ada"), of("bob")].map(|ask| world.submit(ask));
    world.settle();
    assert_eq!(world.states(&jobs), "starting queued starting");
    let reasons = world.engine.explain(world.now(), jobs[1]).unwrap().reasons;
    let text = reasons[0].to_string();
    assert_eq!(
        text,
        "user ada of tenant hall may hold 1 slice, holds 1 slice and this needs 1 slice"
    );
    let error = world.try_submit(of("eve").gang(2, 2)).unwrap_err();
    assert!(error.contains("hall"), "{error}");
}

proptest! {
    /// With every tenant wanting everything in equal pieces, no tenant gets more than one piece
    /// above its weighted part, which is what water-filling gives; and all of it is given.
    #[test]
    fn no_tenant_gets_a_piece_more_than_water_filling_gives(
        weights in prop::collection::vec(1u32..6, 2..5),
        deserved in prop::collection::vec(0u64..3, 4),
    ) {
        let names = ["a", "b", "c", "d"];
        let tenants: Vec<(&str, u64, u32)> = weights
            .iter()
            .zip(names)
            .zip(&deserved)
            .map(|((weight, name), deserved)| (name, deserved * 100, *weight))
            .collect();
        let asking: Vec<&str> = tenants.iter().map(|(name, _, _)| *name).collect();
        let got = shared(by(&[Term::FairShare]), &tenants, &asking);
        let due: u64 = tenants.iter().map(|(_, deserved, _)| *deserved).sum();
        let all: u64 = tenants.iter().map(|(_, _, weight)| u64::from(*weight)).sum();
        prop_assert_eq!(got.iter().sum::<usize>(), 10);
        for ((_, deserved, weight), got) in tenants.iter().zip(got) {
            let ideal = *deserved as f64
                + (1000 - due) as f64 * f64::from(*weight) / all as f64;
            prop_assert!(got as f64 * 100.0 <= ideal + 100.0, "{got} pieces for {ideal}");
        }
    }
}

#[test]
fn a_place_in_a_fair_queue_is_explained() {
    let mut world = pool(by(&[Term::FairShare]), &[("a", 0, 1), ("b", 0, 1)]);
    let running = world.submit(ask().of("a").whole());
    world.run();
    let jobs = ["a", "a", "b"].map(|tenant| world.submit(ask().of(tenant).whole()));
    let places = jobs.map(|job| world.engine.explain(world.now(), job).unwrap().position);
    assert_eq!(places, [Some(2), Some(3), Some(1)]);
    // With nothing held by anybody, who came first is first.
    world.end(running, Outcome::Succeeded);
    assert_eq!(world.states(&jobs), "starting queued queued");
}
