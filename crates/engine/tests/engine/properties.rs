//! Any history: promises hold after every event, a replay gives the same bytes and decisions, a
//! snapshot changes nothing, nothing is stuck, and every job that waits is told why.

use crate::elastic;
use crate::world::{With, World, ask, gib};
use polder_engine::{Engine, Report};
use polder_model::{
    Ask, ClassPool, Decision, Event, GangKind, Health, Isolation, JobId, JobState, LeaseEnd,
    LeaseId, LeaseSample, Market, Micros, Order, Outcome, Permille, Policy, Quota, Reclaim, Share,
    Size, StopReason, TenantPath, Term, Timestamp, WorkClass,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NODES: [&str; 3] = ["n0", "n1", "n2"];
const TENANTS: [&str; 3] = ["lab", "lab/a", "hall"];

/// One thing that happens; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Submit {
        tenant: usize,
        compute: u32,
        memory: u64,
        count: u32,
        gang: (u32, u32),
        kind: GangKind,
        more: u32,
    },
    Whole {
        tenant: usize,
        gang: u32,
    },
    Cancel(u64),
    Scale(u64, u32, u32),
    /// Another share, memory and priority.
    Resize(usize, u32, u64, i32),
    /// A node says that a lease has shrunk, perhaps one that has not.
    Shrunk(usize),
    /// Plans and applies at most so many decisions.
    Decide(usize),
    Prepare(usize),
    Start(usize),
    End(usize, u32),
    Silent(usize),
    Back(usize),
    /// Reports a node with a device missing, faulty, smaller, or as it was.
    Report(usize, u32),
    Quota(usize, Option<u64>),
    Share(usize, u64),
    /// Who yields to whom, as bits.
    Yields(u32),
    Wait(u64),
    TakeOver,
    /// A fact that may make no sense.
    Nonsense(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        2 => Just(GangKind::Rigid),
        2 => Just(GangKind::Elastic),
        1 => Just(GangKind::Service),
    ];
    let gang = (1u32..3, 0u32..3).prop_map(|(min, more)| (min, min + more));
    prop_oneof![
        4 => (0usize..3, 1u32..=10, 1u64..=8, 1u32..=2, gang, kind, 0u32..12).prop_map(
            |(tenant, compute, memory, count, gang, kind, more)| Op::Submit {
                tenant, compute: compute * 100, memory, count, gang, kind, more,
            }
        ),
        1 => (0usize..3, 1u32..3).prop_map(|(tenant, gang)| Op::Whole { tenant, gang }),
        1 => (0u64..40).prop_map(Op::Cancel),
        1 => (0u64..20, 0u32..4, 0u32..4).prop_map(|(job, min, more)| {
            Op::Scale(job, min, min + more)
        }),
        2 => (0usize..20, 0u32..=10, 0u64..=8, -2i32..3).prop_map(|(job, compute, memory, priority)| {
            Op::Resize(job, compute, memory, priority)
        }),
        1 => (0usize..9).prop_map(Op::Shrunk),
        6 => (1usize..9).prop_map(Op::Decide),
        4 => (0usize..9).prop_map(Op::Prepare),
        4 => (0usize..9).prop_map(Op::Start),
        4 => (0usize..9, 0u32..6).prop_map(|(lease, how)| Op::End(lease, how)),
        1 => (0usize..3).prop_map(Op::Silent),
        1 => (0usize..3).prop_map(Op::Back),
        1 => (0usize..3, 0u32..5).prop_map(|(node, how)| Op::Report(node, how)),
        1 => (0usize..3, prop::option::of(0u64..3000)).prop_map(|(t, q)| Op::Quota(t, q)),
        1 => (0usize..3, 0u64..4000).prop_map(|(t, share)| Op::Share(t, share)),
        1 => (0u32..256).prop_map(Op::Yields),
        1 => (0u64..40).prop_map(Op::Wait),
        1 => (0u64..20_000).prop_map(Op::Wait),
        1 => Just(Op::TakeOver),
        1 => (0u64..40).prop_map(Op::Nonsense),
    ]
}

fn pool() -> World {
    let mut world = World::new().tenant("lab/a", Quota::default()).tenant("hall", Quota::default());
    for node in NODES {
        world = world.device(node, "d0").device(node, "d1");
    }
    for (node, partition) in [("n0", "even"), ("n1", "odd")] {
        world.inventory(node).node.partitions.insert(partition.into());
        world.report(node);
    }
    world
}

fn pool_that_yields(order: u32) -> World {
    let mut world = pool();
    do_op(&mut world, &Op::Yields(order | 0b1001_0111));
    do_op(&mut world, &Op::Share(1, 3000));
    do_op(&mut world, &Op::Share(2, 2000));
    world
}

fn outcome(how: u32) -> Outcome {
    match how {
        0 | 1 => Outcome::Succeeded,
        2 => Outcome::Failed { code: 1 },
        3 => Outcome::NotStarted { why: "absent".into() },
        4 => Outcome::Cancelled,
        _ => Outcome::Returned,
    }
}

fn nth_lease(world: &World, place: usize) -> Option<LeaseId> {
    let leases: Vec<LeaseId> = world.engine.leases().map(|lease| lease.id).collect();
    leases.get(place % leases.len().max(1)).copied()
}

fn decide(world: &mut World, most: usize) {
    let (decisions, _) = world.engine.plan(world.now());
    assert_eq!(world.engine.plan(world.now()).0, decisions);
    elastic::nobody_suffers(&world.engine, world.now(), &decisions);
    for decision in decisions.into_iter().take(most) {
        world.decisions.push(decision.clone());
        world.apply(Event::Decided { decision });
    }
}

fn report(world: &mut World, node: &str, how: u32) {
    let whole = world.inventory(node).clone();
    let devices = &mut world.inventory(node).devices;
    match how {
        0 => drop(devices.remove(0)),
        1 => devices[1].health = Health::Faulty("hot".into()),
        2 => devices[0].memory = gib(4),
        4 => devices[1].health = Health::Failed("has failed: hot".into()),
        3 => world.inventory(node).node.partitions = BTreeSet::from(["odd".into()]),
        _ => {}
    }
    world.report(node);
    *world.inventory(node) = whole;
}

/// Changes the size of a job as the server does: what is admitted can be applied.
fn resize(world: &mut World, place: usize, (compute, memory, priority): (u32, u64, i32)) {
    let jobs: Vec<JobId> = world.engine.jobs().map(|job| job.id).collect();
    let Some(job) = jobs.get(place % jobs.len().max(1)).copied() else { return };
    let ask = world.engine.job(job).unwrap().ask;
    let compute = Permille(compute * 100);
    let to = Size { compute, memory: gib(memory), priority, ..Size::of(&ask) };
    let event = Event::JobResized { job, to, by: "ada".parse().unwrap(), until_shrunk: true };
    if world.engine.admit(world.now(), &event).is_ok() {
        world.apply(event);
        let resized = world.engine.job(job).unwrap();
        assert_eq!(Size::of(&resized.ask), to);
        for lease in world.engine.resizable(job) {
            let lease = world.engine.lease(lease).unwrap();
            assert!(lease.slices.iter().all(|slice| slice.compute == to.compute));
        }
    }
}

fn do_op(world: &mut World, op: &Op) {
    match op {
        Op::Submit { tenant, compute, memory, count, gang, kind, more } => {
            let ask = ask().of(TENANTS[*tenant]).share(*compute, gib(*memory)).devices(*count);
            let retries = if *kind == GangKind::Service { 0 } else { more % 2 };
            let ask = ask.gang(gang.0, gang.1).kind(*kind).retries(retries);
            let expiry = (*more > 6).then_some(u64::from(*more) * 10);
            let mut ask = ask.priority(i32::try_from(more / 4).unwrap(), expiry);
            ask.yields.preemptible = more % 3 > 0;
            ask.yields.runtime_min = Micros::from_secs(u64::from(more % 2) * 5);
            ask.when.class = [WorkClass::Batch, WorkClass::Training, WorkClass::Inference]
                [usize::try_from(more % 3).unwrap()];
            ask.when.market = if more % 5 == 1 { Market::Spot } else { Market::OnDemand };
            let _ = world.try_submit(ask);
        }
        Op::Whole { tenant, gang } => {
            let _ = world.try_submit(ask().of(TENANTS[*tenant]).whole().gang(*gang, *gang));
        }
        Op::Cancel(job) => {
            let by = "ada".parse().unwrap();
            let _ = world.try_apply(Event::JobCancelled { job: JobId(*job), by });
        }
        Op::Scale(job, min, max) => {
            let (job, min, max) = (JobId(*job), *min, *max);
            let _ = world.try_apply(Event::JobScaled { job, min, max, by: "ada".parse().unwrap() });
        }
        Op::Resize(place, compute, memory, priority) => {
            resize(world, *place, (*compute, *memory, *priority));
        }
        Op::Shrunk(place) => {
            if let Some(lease) = nth_lease(world, *place) {
                let leaves = !world.engine.lease(lease).unwrap().leaving.is_zero();
                assert_eq!(world.try_apply(Event::LeaseShrunk { lease }).is_ok(), leaves);
            }
        }
        Op::Decide(most) => decide(world, *most),
        Op::Prepare(place) => {
            if let Some(lease) = nth_lease(world, *place) {
                let isolation = Isolation::Soft;
                let (master_port, not_enforced) = (Some(1), vec![]);
                let event = Event::LeasePrepared { lease, isolation, master_port, not_enforced };
                let _ = world.try_apply(event);
            }
        }
        Op::Start(place) => {
            if let Some(lease) = nth_lease(world, *place) {
                let _ = world.try_apply(Event::LeaseStarted { lease });
            }
        }
        Op::End(place, how) => {
            if let Some(lease) = nth_lease(world, *place) {
                world.end_lease(lease, outcome(*how));
            }
        }
        Op::Silent(node) => world.silent(NODES[*node]),
        Op::Back(node) => world.apply(Event::NodeBack { node: NODES[*node].parse().unwrap() }),
        Op::Report(node, how) => report(world, NODES[*node], *how),
        Op::Quota(tenant, compute) => {
            world.set_tenant(TENANTS[*tenant], Quota { compute: *compute, ..Quota::default() });
        }
        Op::Share(tenant, deserved) => {
            world.set_share(TENANTS[*tenant], Share { deserved: *deserved, weight: 1 });
        }
        Op::Yields(bits) => {
            let mut policy = world.engine.policy().clone();
            let by = match (bits >> 5) & 3 {
                0 => vec![Term::Priority],
                1 => vec![Term::Priority, Term::Gittins],
                2 => vec![Term::LeastService],
                _ => vec![Term::FairShare, Term::LeastService, Term::Arrival],
            };
            let wait_max = (bits & 64 > 0).then_some(Micros::from_secs(3000));
            policy.order = Order { by, wait_max, ..Order::default() };
            policy.reclaim = Reclaim {
                priority: bits & 1 > 0,
                quota: bits & 2 > 0,
                spot: bits & 4 > 0,
                order: bits & 96 > 0,
                runtime_min: Micros::from_secs(u64::from(bits & 8)),
                class: bits & 128 > 0,
                moves_max: bits & 16,
            };
            let own =
                |partition: &str| ClassPool { partition: Some(partition.into()), borrow: true };
            policy.classes = match bits & 128 {
                0 => BTreeMap::new(),
                _ => [(WorkClass::Batch, own("even")), (WorkClass::Training, own("odd"))].into(),
            };
            world.apply(Event::PolicySet { policy: Box::new(policy) });
        }
        Op::TakeOver => world.apply(Event::Fenced { writer: "next".into(), engine: 1 }),
        Op::Wait(seconds) => world.pass_seconds(*seconds),
        Op::Nonsense(number) => nonsense(world, *number),
    }
}

/// Facts and decisions about things that may not be there.
fn nonsense(world: &mut World, number: u64) {
    let (job, lease) = (JobId(number), LeaseId(number));
    let end = LeaseEnd {
        outcome: Outcome::Lost { why: String::new() },
        ran: Micros(0),
        sample: LeaseSample::default(),
    };
    let decisions = [
        Decision::Start { job },
        Decision::Retry { job, attempt: 2 },
        Decision::Grant { job, leases: vec![] },
        Decision::Grow { job, leases: vec![] },
        Decision::Shrink { job, leases: vec![lease], reason: StopReason::Shrunk { job: None } },
    ];
    for decision in decisions {
        let _ = world.try_apply(Event::Decided { decision });
    }
    let _ = world.try_apply(Event::LeaseStarted { lease });
    let _ = world.try_apply(Event::LeaseEnded { lease: LeaseId(number + 900), end });
    let tenant: TenantPath = TENANTS[1].parse().unwrap();
    if world.try_apply(Event::TenantRemoved { tenant }).is_ok() {
        world.set_tenant(TENANTS[1], Quota::default());
    }
}

fn bytes(engine: &Engine) -> String {
    serde_json::to_string(engine).unwrap()
}

fn restored(engine: &Engine) -> Engine {
    serde_json::from_str(&bytes(engine)).unwrap()
}

/// What a plan says; the steps it took depend on what was looked up before.
fn planned(engine: &Engine, at: Timestamp) -> (Vec<Decision>, Report) {
    let (decisions, report) = engine.plan(at);
    (decisions, Report { steps: 0, ..report })
}

/// Every job is told something, and whoever waits is told why.
fn all_explained(world: &World) {
    for job in world.engine.jobs() {
        let explanation = world.engine.explain(world.now(), job.id).unwrap();
        let waits = matches!(job.state, JobState::Queued);
        assert!(!waits || !explanation.reasons.is_empty(), "{:?}", job.ask);
        assert_eq!(explanation.position.is_some(), waits);
    }
}

/// With everything back as it was, every job comes to an end.
fn drains(world: &mut World) {
    for tenant in TENANTS {
        world.set_tenant(tenant, Quota::default());
    }
    let mut policy = world.engine.policy().clone();
    policy.classes.clear();
    policy.reclaim.class = false;
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    for node in NODES {
        world.report(node);
    }
    let services: Vec<JobId> = world
        .engine
        .jobs()
        .filter(|job| job.ask.gang.kind == GangKind::Service)
        .map(|job| job.id)
        .collect();
    for job in services {
        // It may be cancelled already.
        let _ = world.try_apply(Event::JobCancelled { job, by: "ada".parse().unwrap() });
    }
    for _ in 0..1000 {
        world.run();
        let Some(lease) = world.engine.leases().next().map(|lease| lease.id) else { break };
        world.end_lease(lease, Outcome::Succeeded);
    }
    let left: Vec<(JobState, Ask)> =
        world.engine.jobs().map(|job| (job.state.clone(), job.ask.clone())).collect();
    assert!(left.is_empty(), "stuck: {left:?}");
}

proptest! {
    #[test]
    fn any_history_keeps_every_promise(
        ops in prop::collection::vec(op(), 1..120),
        yields in prop::option::of(0u32..4),
    ) {
        let mut world = yields.map_or_else(pool, |order| pool_that_yields(order << 5));
        for op in &ops {
            do_op(&mut world, op);
        }
        all_explained(&world);
        drains(&mut world);
    }

    #[test]
    fn a_replay_and_a_snapshot_give_the_same(
        ops in prop::collection::vec(op(), 1..120),
        cut in 0usize..200,
    ) {
        let mut world = pool();
        for op in &ops {
            do_op(&mut world, op);
        }
        let mut replayed = Engine::new(Policy::default());
        let mut resumed = replayed.clone();
        for (place, (at, event)) in world.journal.iter().enumerate() {
            if place == cut {
                resumed = restored(&resumed);
            }
            prop_assert_eq!(replayed.apply(*at, event), Ok(()));
            prop_assert_eq!(resumed.apply(*at, event), Ok(()));
            prop_assert_eq!(planned(&replayed, *at), planned(&resumed, *at));
        }
        prop_assert_eq!(bytes(&replayed), bytes(&world.engine));
        prop_assert_eq!(bytes(&resumed), bytes(&world.engine));
        prop_assert_eq!(&restored(&world.engine), &world.engine);
    }
}
