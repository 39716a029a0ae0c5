//! Fair shares: what tenants get when all want everything, held against what they are due.

use super::{Bench, between, text};
use crate::pool;
use crate::random::Random;
use crate::workload::{ask_share, ask_whole};
use polder_engine::Policy;
use polder_model::{Bytes, Decision, MilliCpu, Order, Permille, Share, Tenant, TenantPath, Term};
use std::collections::BTreeMap;

/// Bytes that are one of a thousand parts of a device's memory.
const UNIT: u64 = 64 << 20;

fn bench() -> Result<Bench, String> {
    let order = Order { by: vec![Term::FairShare], ..Order::default() };
    let mut bench = Bench::new(Policy { order, ..Policy::default() });
    let card = pool::device("d0", "Tide", Bytes(1000 * UNIT)).map_err(text)?;
    let inventory = pool::node(MilliCpu(64_000), Bytes(1 << 40), vec![card]);
    bench.node("n0".parse().map_err(text)?, inventory)?;
    Ok(bench)
}

fn submit(bench: &mut Bench, tenant: &str, compute: u32, units: u64) -> Result<(), String> {
    let ask = ask_whole(tenant.parse().map_err(text)?, "ada".parse().map_err(text)?, 1);
    let ask = ask_share(ask, Permille(compute), Bytes(units * UNIT));
    bench.submit(ask)?.map(drop).ok_or_else(|| "an ask is refused".to_owned())
}

/// Tenants whose tasks take different parts of compute and memory share one device. Dominant
/// resource fairness fills it step by step: whoever has the least dominant share is next, until the
/// next task does not fit.
///
/// # Errors
/// A grant went to somebody else; somebody would rather have another's part without its last
/// task; or somebody has less of their dominant resource than an equal part (but for what tasks
/// are too large for).
pub fn dominant(random: &mut Random) -> Result<(), String> {
    let mut bench = bench()?;
    let names = ["a", "b", "c", "d"];
    let number = usize::try_from(between(random, 2, 4)).map_err(text)?;
    let names = names.get(..number).unwrap_or(&names);
    let task = |_: &&str| (between(random, 10, 300), u64::from(between(random, 10, 300)));
    let tasks: Vec<(u32, u64)> = names.iter().map(task).collect();
    for name in names {
        bench.tenant(Tenant::new(name.parse().map_err(text)?))?;
    }
    for _ in 0..101 {
        for (name, (compute, units)) in names.iter().zip(&tasks) {
            submit(&mut bench, name, *compute, *units)?;
        }
    }
    let mut granted = Vec::new();
    for decision in bench.settle()? {
        if let Decision::Grant { leases, .. } = &decision {
            granted.extend(leases.iter().map(|lease| lease.tenant.to_string()));
        }
    }
    let mut counts = vec![0u64; number];
    let (mut compute, mut units) = (1000u64, 1000u64);
    let share = |(compute, units): &(u32, u64), count: u64| count * u64::from(*compute).max(*units);
    let mut expect = Vec::new();
    loop {
        let next = (0..number).min_by_key(|at| (share(&tasks[*at], counts[*at]), counts[*at], *at));
        let Some(next) = next else { break };
        let (takes, holds) = tasks[next];
        if compute < takes.into() || units < holds {
            break;
        }
        compute -= u64::from(takes);
        units -= holds;
        counts[next] += 1;
        expect.push(names[next].to_owned());
    }
    if granted != expect {
        return Err(format!("{tasks:?}: granted {granted:?}, should be {expect:?}"));
    }
    let largest = tasks.iter().map(|task| share(task, 1)).max().unwrap_or(0);
    for (at, task) in tasks.iter().enumerate() {
        let equal = 1000 / u64::try_from(number).map_err(text)?;
        if share(task, counts[at]) + 2 * largest < equal {
            return Err(format!("{tasks:?}: {} has too little: {counts:?}", names[at]));
        }
        for (other, theirs) in tasks.iter().enumerate() {
            // Before its last task nobody had more of their dominant resource than any other.
            let before = counts[other].saturating_sub(1);
            let by_compute = u64::from(theirs.0) * before / u64::from(task.0);
            let by_memory = theirs.1 * before / task.1;
            if by_compute.min(by_memory) > counts[at] {
                return Err(format!(
                    "{tasks:?}: {} envies {}: {counts:?}",
                    names[at], names[other]
                ));
            }
        }
    }
    bench.check()
}

/// A tree of two or three organisations with one or two teams each, all of which want everything
/// in equal pieces.
///
/// # Errors
/// Somebody has less than they deserve although there is enough for what all deserve; or a piece
/// more than what they deserve and their weight's part of the rest, at either level.
pub fn guarantee(random: &mut Random) -> Result<(), String> {
    let mut bench = bench()?;
    let piece = *[10u32, 20, 25, 40, 50]
        .get(usize::try_from(random.below(5)).map_err(text)?)
        .unwrap_or(&50);
    let mut shares: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    let mut teams: Vec<String> = Vec::new();
    let (mut left, piece_of) = (1000 / piece, u64::from(piece));
    for org in ["a", "b", "c"].iter().take(usize::try_from(between(random, 2, 3)).map_err(text)?) {
        let pieces = between(random, 0, left / 2);
        left -= pieces;
        shares.insert((*org).to_owned(), (u64::from(pieces) * piece_of, between(random, 1, 4)));
        let mut inside = pieces;
        for team in ["x", "y"].iter().take(usize::try_from(between(random, 1, 2)).map_err(text)?) {
            let pieces = between(random, 0, inside);
            inside -= pieces;
            let path = format!("{org}/{team}");
            shares.insert(path.clone(), (u64::from(pieces) * piece_of, between(random, 1, 4)));
            teams.push(path);
        }
    }
    for (path, (deserved, weight)) in &shares {
        let path: TenantPath = path.parse().map_err(text)?;
        let share = Share { deserved: *deserved, weight: *weight };
        bench.tenant(Tenant { share, ..Tenant::new(path) })?;
    }
    for _ in 0..1000 / piece + 1 {
        for team in &teams {
            submit(&mut bench, team, piece, 1)?;
        }
    }
    bench.settle()?;
    let held = |path: &str| {
        let inside = |lease: &&polder_model::Lease| {
            let of = lease.tenant.as_str();
            of == path || of.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        };
        piece_of * u64::try_from(bench.engine.leases().filter(inside).count()).unwrap_or(u64::MAX)
    };
    let mut families =
        vec![(1000, shares.keys().filter(|path| !path.contains('/')).collect::<Vec<_>>())];
    for org in shares.keys().filter(|path| !path.contains('/')) {
        let inside = shares.keys().filter(|path| path.starts_with(&format!("{org}/"))).collect();
        families.push((held(org), inside));
    }
    for (all, siblings) in families {
        let of = |path: &&String| shares.get(*path).copied().unwrap_or_default();
        let deserved: u64 = siblings.iter().map(|path| of(path).0).sum();
        let weights: u64 = siblings.iter().map(|path| u64::from(of(path).1)).sum();
        let got: u64 = siblings.iter().map(|path| held(path)).sum();
        if got != all || deserved > all {
            return Err(format!("{shares:?}: {siblings:?} hold {got} of {all}"));
        }
        for path in siblings {
            let ((due, weight), has) = (of(&path), held(path));
            let most = due * weights + (all - deserved) * u64::from(weight) + piece_of * weights;
            if has < due || has * weights > most {
                return Err(format!("{shares:?} in pieces of {piece}: {path} holds {has}"));
            }
        }
    }
    bench.check()
}
