//! The rules once more, straight from their words: slow and without anything kept.

use super::super::Standing;
use super::super::cost::Value;
use super::super::room::{Demand, Lie, Piece, Rooms, part};
use super::super::running::MemberFacts;
use super::{Job, Lies, PARENTS, Pool, is_home};
use crate::mig::Instance;
use polder_model::Ground;
use std::collections::BTreeSet;

pub(super) fn lineage(tenant: usize) -> Vec<usize> {
    std::iter::successors(Some(tenant), |tenant| PARENTS[*tenant]).collect()
}

fn held(members: &[MemberFacts]) -> u64 {
    members.iter().map(|member| member.slices.len() as u64).sum()
}

/// Jobs of a tenant's subtree that run and that it keeps.
pub(super) fn kept(pool: &Pool, tenant: usize) -> BTreeSet<u64> {
    let Some(deserved) = pool.tenants[tenant].0 else { return BTreeSet::new() };
    let inside = |job: &&Job| lineage(job.facts.tenant).contains(&tenant);
    let mut jobs: Vec<&Job> =
        pool.jobs.iter().filter(inside).filter(|job| job.runs() && !is_loose(job)).collect();
    jobs.sort_by_key(|job| job.facts.standing());
    let (mut sum, mut kept) = (0, BTreeSet::new());
    for job in jobs {
        if sum >= deserved {
            break;
        }
        sum += held(&job.members);
        kept.insert(job.facts.job);
    }
    kept
}

fn is_loose(job: &Job) -> bool {
    job.facts.spot || !job.facts.lenders.is_empty()
}

/// What a tenant and all below it hold, with or without what is loose.
pub(super) fn holds(pool: &Pool, tenant: usize, loose: bool) -> u64 {
    let inside = |job: &&Job| lineage(job.facts.tenant).contains(&tenant);
    let counts = |job: &&Job| loose || !is_loose(job);
    pool.jobs.iter().filter(inside).filter(counts).map(|job| held(&job.members)).sum()
}

/// Why `victim` yields to `job`, if it does.
pub(super) fn ground(pool: &Pool, job: &Job, victim: &Job) -> Option<Ground> {
    let yields = victim.facts.yields?;
    if pool.now < victim.facts.started_at + yields.runtime_min {
        return None;
    }
    if victim.facts.spot && !job.facts.spot {
        return Some(Ground::Spot);
    }
    if job.facts.spot && !victim.facts.spot {
        return None;
    }
    if job.class.is_some_and(|home| victim.facts.lenders.contains(&home)) {
        return Some(Ground::Class);
    }
    let (ours, theirs) = (lineage(job.facts.tenant), lineage(victim.facts.tenant));
    let apart = |of: &[usize], other: &[usize]| -> Vec<usize> {
        of.iter().copied().filter(|tenant| !other.contains(tenant)).collect()
    };
    let keeps = |tenant: &usize| kept(pool, *tenant).contains(&victim.facts.job);
    if apart(&theirs, &ours).iter().any(keeps) {
        return None;
    }
    if victim.facts.priority < job.facts.priority {
        return Some(Ground::Priority);
    }
    let half = victim.facts.turn.served() / 2;
    if victim.facts.priority <= job.facts.priority && job.facts.turn.served() < half {
        return Some(Ground::Order);
    }
    let deserving: Vec<(usize, u64)> = apart(&ours, &theirs)
        .into_iter()
        .filter_map(|tenant| Some((tenant, pool.tenants[tenant].0?)))
        .collect();
    let wants = job.claimant().held.devices;
    let within =
        |(tenant, deserved): &(usize, u64)| holds(pool, *tenant, false) + wants <= *deserved;
    let entitled =
        wants > 0 && !deserving.is_empty() && deserving.iter().all(within) && !job.facts.spot;
    entitled.then_some(Ground::Quota)
}

/// What ending these members of a job comes to.
pub(super) fn value(pool: &Pool, job: &Job, ended: &[MemberFacts]) -> Value {
    let mut value = Value::NOTHING;
    for member in ended {
        let compute: u64 = member.slices.iter().map(|piece| u64::from(piece.compute)).sum();
        let weight = if member.slices.is_empty() { member.cpu } else { compute };
        let restart = job.facts.yields.map_or(0, |yields| yields.restart);
        let ran = pool.now - job.facts.started_at;
        let mut lost = ran;
        while let Some(interval) = job.facts.yields.and_then(|yields| yields.interval)
            && lost >= interval
        {
            lost -= interval;
        }
        value += Value {
            cost: u128::from((lost + restart) * weight.max(1)),
            members: 1,
            ran: ran.into(),
        };
    }
    value
}

/// Every way to take what a task wants of these devices.
fn pieces(demand: &Demand, rooms: &Rooms, chosen: &[usize]) -> Vec<Vec<Piece>> {
    let mut ways = vec![Vec::new()];
    for device in chosen {
        let room = rooms.devices[*device];
        let mut of_device = Vec::new();
        if let Some(wants) = &demand.cut {
            if let Some((layouts, card)) = room.card() {
                for profile in layouts.table().sufficient(wants) {
                    for start in layouts.table().profiles[profile].starts {
                        let instance = Instance { profile, start: *start };
                        if layouts.with(card, instance).is_some() {
                            of_device.push(part(layouts, *device, instance));
                        }
                    }
                }
            }
        } else {
            let whole = !demand.whole || room.compute == 1000;
            let fits = room.compute >= demand.compute && room.memory >= demand.memory;
            if whole && fits && room.cut() == 0 {
                let (compute, memory) = (demand.compute, demand.memory);
                of_device.push(Piece { device: *device, compute, memory, cut: 0 });
            }
        }
        let longer = |way: &Vec<Piece>| {
            of_device.iter().map(|piece| [way.as_slice(), &[*piece]].concat()).collect::<Vec<_>>()
        };
        ways = ways.iter().flat_map(longer).collect();
    }
    ways
}

/// Whether devices lie as a task wants them.
pub(super) fn lie_well(lies: Lies, chosen: &[usize]) -> bool {
    let all: Vec<Lie> = chosen.iter().map(|device| lies.of(*device)).collect();
    let rails: BTreeSet<u64> = all.iter().filter_map(|lie| lie.rail).collect();
    all.iter().all(|lie| lie.island == all[0].island) && (!lies.rail || rails.len() == all.len())
}

/// Whether all tasks fit, by trying every place of every task.
pub(super) fn all_fit(
    demand: &Demand,
    (lies, class): (Lies, Option<usize>),
    free: &[Rooms],
    tasks: u32,
    taken: &BTreeSet<usize>,
) -> bool {
    if tasks == 0 {
        return true;
    }
    let count = demand.devices as usize;
    for (node, rooms) in free.iter().enumerate() {
        let closed = demand.apart && taken.contains(&node) || !is_home(class, node);
        let beside = rooms.cpu >= demand.cpu && rooms.memory >= demand.host_memory;
        if closed || !beside || rooms.nic < demand.nic {
            continue;
        }
        for set in 0u32..1 << rooms.devices.len() {
            if set.count_ones() as usize != count {
                continue;
            }
            let chosen: Vec<usize> =
                (0..rooms.devices.len()).filter(|device| set & (1 << device) != 0).collect();
            if !lie_well(lies, &chosen) {
                continue;
            }
            for slices in pieces(demand, rooms, &chosen) {
                let mut after = free.to_vec();
                let Demand { cpu, host_memory, nic, .. } = *demand;
                after[node].take(&MemberFacts { node, slices, cpu, host_memory, nic, backing: 0 });
                let mut taken = taken.clone();
                taken.insert(node);
                if all_fit(demand, (lies, class), &after, tasks - 1, &taken) {
                    return true;
                }
            }
        }
    }
    false
}

/// Whether a job fits, quota too, when of each job that runs only these members remain.
pub(super) fn fits(pool: &Pool, job: &Job, remaining: &[Vec<MemberFacts>]) -> bool {
    let within = |tenant: &usize| {
        let inside =
            |(of, _): &(&Job, &Vec<MemberFacts>)| lineage(of.facts.tenant).contains(tenant);
        let jobs = pool.jobs.iter().zip(remaining).filter(inside);
        let sum: u64 = jobs.map(|(_, members)| held(members)).sum();
        pool.tenants[*tenant].1.is_none_or(|limit| sum + job.claimant().held.devices <= limit)
    };
    let free = pool.free(remaining.iter().map(Vec::as_slice));
    lineage(job.facts.tenant).iter().all(within)
        && all_fit(&job.demand, (job.lies, job.class), &free, job.demand.tasks, &BTreeSet::new())
}

/// Every way in which a job may yield: for each, the members that remain.
pub(super) fn ways(job: &Job) -> Vec<Vec<MemberFacts>> {
    let members = &job.members;
    let mut ways = vec![Vec::new()];
    for set in 1u32..1 << members.len() {
        let remain = set.count_ones();
        // The first member goes last.
        if set & 1 == 1 && (remain >= job.facts.min || remain as usize == members.len()) {
            let of = |(place, member): (usize, &MemberFacts)| {
                (set & (1 << place) != 0).then(|| member.clone())
            };
            ways.push(members.iter().enumerate().filter_map(of).collect());
        }
    }
    ways
}

/// The potential: what is kept, from the deepest level up, then all that runs.
pub(super) fn potential(pool: &Pool) -> Vec<BTreeSet<(Standing, usize)>> {
    let depth = |tenant: usize| lineage(tenant).len();
    let deepest = (0..PARENTS.len()).map(depth).max().unwrap();
    let members = |job: &Job| {
        (0..job.members.len()).map(|rank| (job.facts.standing(), rank)).collect::<Vec<_>>()
    };
    let mut levels = Vec::new();
    for level in (1..=deepest).rev() {
        let tenants = (0..PARENTS.len()).filter(|tenant| depth(*tenant) == level);
        let kept: BTreeSet<u64> = tenants.flat_map(|tenant| kept(pool, tenant)).collect();
        let jobs = pool.jobs.iter().filter(|job| kept.contains(&job.facts.job));
        levels.push(jobs.flat_map(members).collect());
    }
    levels.push(pool.jobs.iter().flat_map(members).collect());
    levels
}

/// Whether the potential grew: in the first part that differs, the strongest that differs is new.
pub(super) fn grew(
    before: &[BTreeSet<(Standing, usize)>],
    after: &[BTreeSet<(Standing, usize)>],
) -> bool {
    let Some((before, after)) = before.iter().zip(after).find(|(b, a)| b != a) else {
        return false;
    };
    before.symmetric_difference(after).next().is_some_and(|first| after.contains(first))
}
