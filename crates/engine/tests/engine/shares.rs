//! Fair shares against oracles: the tree of tenants filled piece by piece, dominant resources made
//! equal, and what is deserved kept and taken back.

use crate::world::{With, World, ask, gib};
use polder_model::{
    Ask, Event, LeaseId, Order, Outcome, Policy, Quota, Reclaim, Share, StopReason, Tenant, Term,
};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Thousandths of a device in one piece.
const PIECE: u64 = 100;

/// A tenant as drawn: what it deserves and its limit in pieces, and its weight.
#[derive(Clone, Debug)]
struct Drawn {
    deserved: u64,
    weight: u32,
    limit: Option<u64>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (0u64..8, 1u32..5, prop::option::weighted(0.25, 1u64..12))
        .prop_map(|(deserved, weight, limit)| Drawn { deserved, weight, limit })
}

/// A pool of so many devices and these tenants, by path.
fn pool(devices: usize, tenants: &BTreeMap<String, Drawn>, reclaim: Reclaim) -> World {
    let mut world = World::new();
    for device in 0..devices {
        world = world.device("n0", &format!("d{device}"));
    }
    for (path, drawn) in tenants {
        let share = Share { deserved: drawn.deserved * PIECE, weight: drawn.weight };
        let compute = drawn.limit.map(|limit| limit * PIECE);
        let quota = Quota { compute, ..Quota::default() };
        let tenant = Tenant { share, quota, ..Tenant::new(path.parse().unwrap()) };
        world.apply(Event::TenantSet { tenant });
    }
    let order = Order { by: vec![Term::FairShare], ..Order::default() };
    let policy = Policy { order, reclaim, ..Policy::default() };
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    world
}

fn piece(tenant: &str) -> Ask {
    ask().of(tenant).share(u32::try_from(PIECE).unwrap(), gib(0).max(polder_model::Bytes(1 << 20)))
}

fn pieces(world: &World, tenant: &str) -> u64 {
    world.engine.held_by(&tenant.parse().unwrap()).compute / PIECE
}

/// Which of two tenants of one parent has had less of what it deserves, as fractions.
fn compare((one, its): (&Drawn, u64), (other, theirs): (&Drawn, u64)) -> Ordering {
    let (below, other_below) = (its < one.deserved, theirs < other.deserved);
    let cross = |a: u64, b: u64, c: u64, d: u64| (a * d).cmp(&(c * b));
    match (below, other_below) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (true, true) => cross(its, one.deserved, theirs, other.deserved),
        (false, false) => {
            let (over, others) = (its - one.deserved, theirs - other.deserved);
            cross(over, one.weight.into(), others, other.weight.into())
        }
    }
}

fn parent(path: &str) -> &str {
    path.split('/').next().unwrap()
}

/// Pieces that each team gets when one piece after the other goes to whoever has had least, level
/// by level, as far as limits allow.
fn filled(tenants: &BTreeMap<String, Drawn>, teams: &[String], pool: u64) -> BTreeMap<String, u64> {
    let mut has: BTreeMap<String, u64> = tenants.keys().map(|path| (path.clone(), 0)).collect();
    for _ in 0..pool {
        let open = |path: &str| tenants[path].limit.is_none_or(|limit| has[path] < limit);
        let next = teams.iter().filter(|team| open(team) && open(parent(team))).min_by(|a, b| {
            let at = |path: &str| (&tenants[path], has[path]);
            let above = compare(at(parent(a)), at(parent(b)));
            // With equal standing, who asked first: teams ask in turn.
            let asked = |team: &String| (has[team], teams.iter().position(|other| other == team));
            above.then(compare(at(a), at(b))).then_with(|| asked(a).cmp(&asked(b)))
        });
        let Some(team) = next.cloned() else { break };
        *has.get_mut(parent(&team)).unwrap() += 1;
        *has.get_mut(&team).unwrap() += 1;
    }
    has
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Hierarchical fair share against the tree filled piece by piece; and nobody who deserves a
    /// whole piece more waits while a tenant beside it has a whole piece more than it deserves.
    #[test]
    fn a_tree_of_tenants_is_filled_as_an_oracle_fills_it(
        organisations in prop::collection::vec((drawn(), prop::collection::vec(drawn(), 1..4)), 1..4),
        devices in 1usize..3,
    ) {
        let mut tenants = BTreeMap::new();
        let mut teams = Vec::new();
        for (place, (organisation, below)) in organisations.iter().enumerate() {
            tenants.insert(format!("o{place}"), organisation.clone());
            for (number, team) in below.iter().enumerate() {
                let path = format!("o{place}/t{number}");
                tenants.insert(path.clone(), team.clone());
                teams.push(path);
            }
        }
        let mut world = pool(devices, &tenants, Reclaim::default());
        let pool = devices as u64 * 10;
        for _ in 0..pool {
            for team in &teams {
                world.submit(piece(team));
            }
        }
        world.settle();
        let expect = filled(&tenants, &teams, pool);
        for (path, pieces_of) in &expect {
            prop_assert_eq!(pieces(&world, path), *pieces_of, "{} of {:?}", path, &tenants);
        }
        let siblings = |a: &str, b: &str| a != b && a.contains('/') == b.contains('/')
            && (!a.contains('/') || parent(a) == parent(b));
        for (a, of) in &tenants {
            let capped = of.limit.is_some_and(|limit| expect[a] >= limit);
            let above_capped = a.contains('/')
                && tenants[parent(a)].limit.is_some_and(|limit| expect[parent(a)] >= limit);
            // Whether somebody of it could take more at all.
            let wants = |team: &&String| parent(team) == a
                && tenants[*team].limit.is_none_or(|limit| expect[*team] < limit);
            let waits = a.contains('/') || teams.iter().any(|team| wants(&team));
            if capped || above_capped || !waits || expect[a] >= of.deserved {
                continue;
            }
            for (b, other) in tenants.iter().filter(|(b, _)| siblings(a, b)) {
                prop_assert!(expect[b] <= other.deserved, "{a} waits below, {b} is above");
            }
        }
    }

    /// Dominant resources are equal up to one piece of whoever has more, whatever shapes are asked.
    #[test]
    fn dominant_shares_are_equal_up_to_a_piece(
        shapes in prop::collection::vec((1u64..8, 1u64..8), 2..5),
        devices in 1u64..3,
    ) {
        let plain = Drawn { deserved: 0, weight: 1, limit: None };
        let names = ["a", "b", "c", "d"];
        let tenants = names.iter().map(|name| ((*name).to_owned(), plain.clone())).collect();
        let mut world = pool(usize::try_from(devices).unwrap(), &tenants, Reclaim::default());
        for _ in 0..10 * devices {
            for (name, (compute, memory)) in names.iter().zip(&shapes) {
                // Twentieths of a device, and sixteenths of its memory.
                let compute = u32::try_from(compute * 50).unwrap();
                world.submit(ask().of(name).share(compute, polder_model::Bytes(memory << 29)));
            }
        }
        world.settle();
        // In parts of a pool of 20 x 16 x devices.
        let dominant = |compute: u64, memory: u64| (compute * 16).max(memory * 20);
        let has = |name: &str| {
            let held = world.engine.held_by(&name.parse().unwrap());
            dominant(held.compute / 50, held.memory.0 >> 29)
        };
        let waits = |name: &str| {
            let jobs = world.engine.jobs().filter(|job| job.ask.tenant.to_string() == name);
            jobs.filter(|job| job.state == polder_model::JobState::Queued).count() > 0
        };
        for (name, (compute, memory)) in names.iter().zip(&shapes) {
            for other in names.iter().take(shapes.len()).filter(|other| waits(other)) {
                let before_its_last = has(name).saturating_sub(dominant(*compute, *memory));
                prop_assert!(before_its_last <= has(other), "{name} went ahead of {other}");
            }
        }
    }

    /// What tenants deserve comes back to them from whoever holds more than it deserves, piece by
    /// piece, and nobody is taken below what it deserves.
    #[test]
    fn what_is_deserved_comes_back_and_is_kept(
        deserved in prop::collection::vec(0u64..7, 3),
        first in 0usize..3,
    ) {
        let names = ["a", "b", "c"];
        let of = |deserved: &u64| Drawn { deserved: *deserved, weight: 1, limit: None };
        let tenants: BTreeMap<String, Drawn> =
            names.iter().map(|name| (*name).to_owned()).zip(deserved.iter().map(of)).collect();
        let mut world = pool(2, &tenants, Reclaim { quota: true, ..Reclaim::default() });
        let preemptible = |tenant: &str| {
            let mut ask = piece(tenant);
            ask.yields.preemptible = true;
            ask
        };
        // One tenant takes all of the pool before anybody else comes.
        for _ in 0..24 {
            world.submit(preemptible(names[first]));
        }
        world.run();
        prop_assert_eq!(pieces(&world, names[first]), 20);
        let others = [names[(first + 1) % 3], names[(first + 2) % 3]];
        for _ in 0..24 {
            for other in others {
                world.submit(preemptible(other));
            }
        }
        for _ in 0..100 {
            world.run();
            let leaving = leaving(&world);
            if leaving.is_empty() {
                break;
            }
            for lease in leaving {
                world.end_lease(lease, Outcome::Signalled { signal: 15 });
            }
        }
        prop_assert!(leaving(&world).is_empty(), "it does not end");
        for (name, deserved) in names.iter().zip(&deserved) {
            let has = pieces(&world, name);
            prop_assert!(has >= *deserved, "{name} has {has} of {deserved}");
        }
        prop_assert_eq!(names.map(|name| pieces(&world, name)).iter().sum::<u64>(), 20);
    }
}

/// Leases that are to end to make room.
fn leaving(world: &World) -> Vec<LeaseId> {
    let tombstones = world.engine.nodes().flat_map(|node| world.engine.desired(node.id).1);
    let made_room = tombstones.filter(|t| matches!(t.why, StopReason::Preempted { .. }));
    made_room.map(|tombstone| tombstone.lease).collect()
}
