//! What a storm draws: asks, nodes, tenants, policies and reservations of every kind.

use crate::pool;
use crate::random::Random;
use crate::workload::{ask_share, ask_whole};
use polder_engine::Policy;
use polder_model::{
    Ask, Backfill, Believe, BitRate, BlendTerm, Bytes, ClassPool, Device, Elastic, Gang, GangKind,
    Inventory, Isolation, Market, Mechanism, Micros, MilliCpu, NodeId, Order, Outcome, Permille,
    PlaceRule, Placement, Quota, Reclaim, Reservation, Share, Size, Tenant, TenantPath, Term,
    TimeRule, Timestamp, UserName, Wish, WorkClass,
};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Parents before those below them.
pub(super) const TENANTS: [&str; 6] = ["lab", "lab/a", "lab/b", "hall", "hall/x", "guest"];
const USERS: [&str; 3] = ["ada", "bob", "eve"];
const PARTITIONS: [&str; 2] = ["train", "serve"];
const CLASSES: [WorkClass; 4] =
    [WorkClass::Batch, WorkClass::Training, WorkClass::Inference, WorkClass::Interactive];
const GIB: u64 = 1 << 30;
const GBIT: u64 = 1_000_000_000;

/// A name that is written here and therefore is one.
pub(super) fn name<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("it was written here as a name")
}

pub(super) fn node(number: u64) -> NodeId {
    name(&format!("n{number:02}"))
}

/// One of these, if there is any.
pub(super) fn pick<T: Clone>(random: &mut Random, list: &[T]) -> Option<T> {
    let bound = u64::try_from(list.len()).unwrap_or(u64::MAX);
    list.get(usize::try_from(random.below(bound)).unwrap_or(0)).cloned()
}

/// Fewest and most of a gang.
pub(super) fn span(random: &mut Random) -> (u32, u32) {
    let min = between(random, 1, 4);
    (min, min + between(random, 0, 2))
}

/// Another size of a job that has this one; one in some makes no sense.
pub(super) fn size(random: &mut Random, from: Size) -> Size {
    let mut to = from;
    match random.below(6) {
        0 => to.priority = i32::try_from(random.below(20)).unwrap_or(0) - 10,
        1 => to.class = pick(random, &[WorkClass::Training, WorkClass::Batch]).unwrap_or_default(),
        2 => to.compute_max = Permille(50 * between(random, 1, 20)),
        3 => to.memory = Bytes(GIB * random.below(17)),
        _ => {
            to.compute = Permille(50 * between(random, 0, 21));
            to.compute_max = to.compute_max.max(to.compute);
        }
    }
    to
}

fn one_in(random: &mut Random, number: u64) -> bool {
    random.below(number) == 0
}

/// A number from the first up to and including the second.
fn between(random: &mut Random, from: u32, to: u32) -> u32 {
    from + u32::try_from(random.below(u64::from(to - from) + 1)).unwrap_or(0)
}

fn seconds(random: &mut Random, most: u64) -> Micros {
    Micros((1 + random.below(most)) * 1_000_000)
}

pub(super) fn user(random: &mut Random) -> UserName {
    name(pick(random, &USERS).unwrap_or("ada"))
}

fn path(random: &mut Random) -> TenantPath {
    name(pick(random, &TENANTS).unwrap_or("lab"))
}

/// An ask of any kind; some contradict themselves or fit no node.
pub(super) fn ask(random: &mut Random, at: Timestamp) -> Ask {
    let count = pick(random, &[1, 1, 1, 1, 2, 2, 4, 8]).unwrap_or(1);
    let mut ask = ask_whole(path(random), user(random), count);
    let share = (Permille(50 * between(random, 1, 20)), Bytes(GIB * random.below(17).max(1)));
    match random.below(12) {
        0..5 => ask = ask_share(ask, share.0, share.1),
        5..8 => {}
        8 => {
            ask.devices.count = 0;
            ask = ask_share(ask, Permille(0), Bytes(0));
        }
        9 | 10 => {
            ask.devices.count = 1 + u32::from(one_in(random, 4));
            ask = ask_share(ask, share.0, share.1);
            ask.devices.mechanism = Some(Mechanism::Mig);
        }
        _ => {
            ask = ask_share(ask, share.0, share.1);
            ask.devices.isolation = pick(random, &[Isolation::Soft, Isolation::Hardware]);
        }
    }
    if one_in(random, 3) {
        let (min, max) = span(random);
        let kinds = [GangKind::Rigid, GangKind::Elastic, GangKind::Service];
        let kind = pick(random, &kinds).unwrap_or_default();
        ask.gang = Gang { min, max, kind };
    }
    if one_in(random, 6) {
        ask.devices.models =
            pick(random, &["tide", "a100", "sea", "none"]).map(str::to_owned).into_iter().collect();
    }
    if one_in(random, 12) {
        ask.devices.features.insert("fp64".to_owned());
    }
    if one_in(random, 12) {
        ask.devices.bandwidth = Some(Bytes(random.below(4_000_000_000_000)));
    }
    if one_in(random, 3) {
        ask.host.cpu = Some(MilliCpu(500 * between(random, 1, 64)));
        ask.host.memory = Some(Bytes(GIB * random.below(128)));
    }
    let shared = !ask.devices.whole && ask.devices.mechanism() == Mechanism::TimeSlice;
    if shared && (1..=8).contains(&ask.devices.count) && one_in(random, 8) {
        ask.devices.backing = Some(Bytes(GIB * (1 + random.below(24))));
    }
    if one_in(random, 8) {
        ask.host.nic = Some(BitRate(GBIT * random.below(80)));
    }
    lie(random, &mut ask);
    time(random, at, &mut ask);
    ask.yields.preemptible = one_in(random, 2);
    ask.yields.retries = between(random, 0, 2);
    if one_in(random, 4) {
        ask.yields.runtime_min = seconds(random, 120);
        ask.yields.checkpoint_interval = Some(seconds(random, 600));
        ask.yields.restart_cost = seconds(random, 60);
    }
    if one_in(random, 4) {
        ask.name = Some(format!("run-{}", random.below(5)));
        ask.hints.script = Some(format!("script-{}", random.below(5)));
        ask.hints.model_parameters = Some(random.below(3) * 1_000_000);
    }
    ask
}

/// Where, and how devices lie to each other.
fn lie(random: &mut Random, ask: &mut Ask) {
    let wishes = [Wish::Prefer, Wish::Require];
    if ask.devices.count > 1 && one_in(random, 2) {
        let wish = |random: &mut Random| {
            let any = one_in(random, 2);
            if any { Wish::Any } else { pick(random, &wishes).unwrap_or_default() }
        };
        ask.place.island = wish(random);
        ask.place.numa = wish(random);
        ask.place.rail = wish(random);
    }
    match random.below(14) {
        0 => ask.place.partition = pick(random, &PARTITIONS).map(str::to_owned),
        1 => ask.place.nodes.extend([node(random.below(16)), node(random.below(16))]),
        2 => ask.place.nodes_avoided.extend([node(random.below(16)), node(random.below(16))]),
        3 => drop(ask.place.labels.insert("rack=a".to_owned())),
        4 | 5 => ask.place.apart = pick(random, &["replica", "copy"]).map(str::to_owned),
        6 | 7 => ask.place.near = true,
        _ => {}
    }
}

/// When, how long, how urgent.
fn time(random: &mut Random, at: Timestamp, ask: &mut Ask) {
    let when = &mut ask.when;
    if one_in(random, 2) {
        when.priority = i32::try_from(random.below(7)).unwrap_or(0) - 3;
        when.priority_expiry = one_in(random, 2).then(|| at.after(seconds(random, 900)));
    }
    when.time_limit = (!one_in(random, 3)).then(|| seconds(random, 7200));
    when.estimate = one_in(random, 2).then(|| seconds(random, 7200));
    when.deadline = one_in(random, 5).then(|| at.after(seconds(random, 86_400)));
    when.class = pick(random, &CLASSES).unwrap_or_default();
    when.market = if one_in(random, 5) { Market::Spot } else { Market::OnDemand };
}

/// How a lease ends: most often well.
pub(super) fn outcome(random: &mut Random) -> Outcome {
    match random.below(12) {
        0..5 => Outcome::Succeeded,
        5 => Outcome::Failed { code: 1 },
        6 => Outcome::Signalled { signal: 9 },
        7 => Outcome::Cancelled,
        8 => Outcome::TimedOut,
        9 => Outcome::NotStarted { why: "no such program".to_owned() },
        10 => Outcome::Lost { why: "gone".to_owned() },
        _ => Outcome::Returned,
    }
}

/// A node: its number says what kind it is.
pub(super) fn inventory(random: &mut Random, number: u64) -> Inventory {
    let (cards, model, gib): (u32, &str, u64) = match number % 7 {
        0 => (4, "Tide 16", 16),
        1 => (2, "NVIDIA A100-SXM4-40GB", 40),
        2 => (8, "Sea 80", 80),
        3 => (1, "NVIDIA H100 80GB HBM3", 80),
        4 => (0, "", 0),
        5 => (2, "Pond 8", 8),
        _ => (2, "NVIDIA A30", 24),
    };
    let devices = (0..cards).filter_map(|place| card(place, model, gib)).collect();
    let cpu = MilliCpu(1000 * between(random, 8, 64));
    let mut inventory = pool::node(cpu, Bytes(GIB * (64 + random.below(256))), devices);
    if number % 3 < 2 {
        let partition = PARTITIONS.get(usize::try_from(number % 3).unwrap_or(0));
        inventory.node.partitions.extend(partition.map(|name| (*name).to_owned()));
    }
    let rack = if number.is_multiple_of(2) { "rack=a" } else { "rack=b" };
    inventory.node.labels.insert(rack.to_owned());
    // Of some nodes nobody knows it.
    inventory.node.nic = (!number.is_multiple_of(4)).then_some(BitRate(GBIT * 100));
    inventory.node.backing = Bytes(GIB * 16 * (number % 4));
    inventory
}

fn card(place: u32, model: &str, gib: u64) -> Option<Device> {
    let mut device = pool::device(&format!("gpu{place}"), model, Bytes(gib * GIB)).ok()?;
    device.island = Some(place / 2);
    device.numa_node = Some(place / 4);
    device.rail = (!model.contains("Pond")).then_some(place % 4);
    if model.contains("NVIDIA") {
        device.mechanisms.push(Mechanism::Mig);
    }
    if model.contains("Sea") {
        device.features.insert("fp64".to_owned());
        device.memory_bandwidth = Some(Bytes(3_000_000_000_000));
    }
    Some(device)
}

/// A tenant as an administrator may set it; quotas are most often wide.
pub(super) fn tenant(random: &mut Random) -> Tenant {
    let tight = |random: &mut Random, most: u64| one_in(random, 4).then(|| random.below(most));
    let quota = |random: &mut Random| Quota {
        devices: tight(random, 12).and_then(|devices| u32::try_from(devices).ok()),
        compute: tight(random, 12_000),
        memory: tight(random, 200).map(|gib| Bytes(gib * GIB)),
    };
    let share = Share { deserved: random.below(5) * 1000, weight: between(random, 1, 4) };
    let own = quota(random);
    let user_quota = if one_in(random, 3) { quota(random) } else { Quota::default() };
    Tenant { quota: own, share, user_quota, ..Tenant::new(path(random)) }
}

fn order(random: &mut Random) -> Order {
    let blend = || {
        Term::Blend(BTreeMap::from([
            (BlendTerm::Arrival, 1000),
            (BlendTerm::SmallestArea, 300),
            (BlendTerm::Width, -20),
        ]))
    };
    let all = [
        Term::Priority,
        Term::FairShare,
        Term::Shortest,
        Term::SmallestArea,
        Term::Deadline,
        Term::LeastService,
        Term::Gittins,
        Term::Class,
        blend(),
        Term::Arrival,
    ];
    let mut by: Vec<Term> = Vec::new();
    for _ in 0..between(random, 1, 3) {
        by.extend(pick(random, &all).filter(|term| !by.contains(term)));
    }
    let hour = Micros(3_600_000_000);
    let ageing = (by.contains(&Term::Priority) && one_in(random, 2)).then_some(hour);
    let classes = if by.contains(&Term::Class) { CLASSES[2..].to_vec() } else { Vec::new() };
    Order { by, ageing, wait_max: one_in(random, 3).then_some(hour), classes }
}

/// A policy of any kind; some contradict themselves.
pub(super) fn policy(random: &mut Random) -> Policy {
    let mut policy = Policy { order: order(random), ..Policy::default() };
    if one_in(random, 4) {
        let time = |text: &str| text.to_owned().try_into().expect("it is a time of day");
        policy.times.push(TimeRule {
            from: time("08:00"),
            until: time("20:00"),
            days: [].into(),
            order: order(random),
        });
        policy.utc_offset_minutes = 60;
    }
    if policy.orders().any(|order| order.by.contains(&Term::FairShare)) && one_in(random, 2) {
        policy.fair_share.half_life = Some(Micros(3_600_000_000));
        policy.fair_share.model_weights.insert("Sea".to_owned(), 2500);
    }
    let rules = [
        PlaceRule::Tightest,
        PlaceRule::BestFit,
        PlaceRule::Spread,
        PlaceRule::Balance,
        PlaceRule::Fragmentation,
        PlaceRule::Layered,
    ];
    let rule = pick(random, &rules).unwrap_or_default();
    policy.place = Placement { rule, suit: one_in(random, 2) };
    let believes = [Believe::Limit, Believe::Estimate, Believe::Predicted];
    policy.backfill = Backfill {
        reserved: pick(random, &[0, 0, 1, 8]).unwrap_or(0),
        believe: pick(random, &believes).unwrap_or_default(),
    };
    policy.reclaim = Reclaim {
        priority: one_in(random, 2),
        quota: one_in(random, 2),
        spot: one_in(random, 2),
        order: one_in(random, 3),
        class: one_in(random, 2),
        runtime_min: Micros(random.below(2) * 30_000_000),
        moves_max: between(random, 0, 2),
    };
    policy.elastic = Elastic {
        grow: !one_in(random, 4),
        shrink: !one_in(random, 4),
        pause: Micros(random.below(2) * 30_000_000),
    };
    if one_in(random, 4) {
        for (class, partition) in [(WorkClass::Training, "train"), (WorkClass::Inference, "serve")]
        {
            let borrow = one_in(random, 2);
            policy
                .classes
                .insert(class, ClassPool { partition: Some(partition.to_owned()), borrow });
        }
        policy.reclaim.class = one_in(random, 2);
    }
    policy.returns_max = between(random, 0, 3);
    policy
}

/// Some nodes for somebody or nobody, soon or now.
pub(super) fn reservation(random: &mut Random, at: Timestamp) -> Reservation {
    let from = at.after(seconds(random, 3600));
    Reservation {
        name: format!("r{}", random.below(4)),
        tenant: one_in(random, 2).then(|| path(random)),
        nodes: vec![node(random.below(16))],
        from: if one_in(random, 2) { at } else { from },
        until: from.after(seconds(random, 7200)),
        why: "for a storm".to_owned(),
    }
}
