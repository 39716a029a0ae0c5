//! Members beyond a gang's fewest yield to jobs that wait, before anybody is ended.
//!
//! What must hold:
//! * a gang keeps its fewest members, and of the others the last rank goes first;
//! * nobody leaves unless the job then starts: the trial is on the kernel that places it, under its
//!   quotas; and no gang gives more than that needs: its last member to go was not in vain;
//! * room that is about to be free counts as free, and a job that fits without is no reason;
//! * a job takes no room that is held for one that waits before it, and never makes a gang shrink
//!   that ranks above it.

use super::elastic::{Elastic, next_to_shrink};
use crate::admit;
use crate::facts::{Facts, JobFacts};
use crate::grow;
use crate::index::queue::{BucketKey, Queue};
use crate::index::space::CellKey;
use crate::index::{held_of, take_of};
use crate::line::Line;
use crate::members::resizable;
use crate::order::{self, priority};
use crate::pass::Pass;
use crate::place::Spot;
use crate::quota::{self, More};
use crate::sieve::{self, Sieve};
use polder_model::{Decision, Ground, JobId, Lease, LeaseId, Market, Mechanism, Shrink, TaskIndex};
use std::collections::{BTreeMap, BTreeSet};

/// Most jobs looked at in one pass.
const LOOKS_MAX: u32 = 256;
/// Most members that one job can make leave.
const SPARE_MAX: usize = 1024;

/// A member that its gang can do without, once those before it in the list have left.
#[derive(Clone, Copy)]
struct Spare<'a> {
    id: JobId,
    job: &'a JobFacts,
    lease: &'a Lease,
}

/// A job that waits, and where it may go.
struct Claim<'a, 'q> {
    id: JobId,
    job: &'a JobFacts,
    key: &'q BucketKey,
    cells: Vec<CellKey>,
    sieve: Sieve,
}

/// Decides for whom gangs shrink next, and which; the next pass goes on.
pub(crate) fn decide(pass: &mut Pass<'_>, queue: &Queue) -> Vec<Decision> {
    let idle = pass.index.elastic.is_empty() || queue.ranks().next().is_none();
    if idle || !pass.facts.policy.elastic.shrink {
        return Vec::new();
    }
    let spares = spares(pass);
    if spares.is_empty() {
        return Vec::new();
    }
    let mark = pass.space.suppose();
    let mut less = More::default();
    for (lease, job) in ending(pass.facts) {
        pass.space.give(&lease.node, &take_of(lease, &job.ask));
        less.add(&lease.tenant, &lease.user, held_of(lease));
    }
    let decision = first(pass, queue, &spares, &less);
    pass.space.unsuppose(mark);
    decision.into_iter().collect()
}

/// The first job for which others shrink.
fn first(
    pass: &mut Pass<'_>,
    queue: &Queue,
    spares: &[Spare<'_>],
    less: &More,
) -> Option<Decision> {
    let fair = order::fair_place(&pass.facts.policy, pass.at);
    let mut line = Line::new(queue, fair, |tenant| pass.standing(tenant));
    let mut before = BTreeSet::new();
    for _ in 0..LOOKS_MAX {
        let (rank, bucket) = line.next(|tenant| pass.standing(tenant))?;
        pass.report.steps += 1;
        let claim = claim(pass, rank.job, &bucket.key, &before);
        before.insert(rank.job);
        let Some(claim) = claim else { continue };
        if let Some(decision) = look(pass, &claim, spares, less) {
            return Some(decision);
        }
    }
    None
}

/// Leases that are being ended.
fn ending(facts: &Facts) -> impl Iterator<Item = (&Lease, &JobFacts)> {
    facts.leases.iter().filter_map(|(id, lease)| {
        let job: &JobFacts = facts.jobs.get(&lease.lease.job)?;
        let hold = job.hold.as_ref()?;
        let whole = !hold.goes_on() || job.cancelled_by.is_some();
        (whole || hold.leaving.contains_key(id)).then_some((&lease.lease, job))
    })
}

/// Members that could leave, in the order in which they do.
fn spares<'a>(pass: &Pass<'a>) -> Vec<Spare<'a>> {
    let facts: &'a Facts = pass.facts;
    let mut gangs: Vec<Elastic> = Vec::new();
    let mut tails: Vec<Vec<Spare<'a>>> = Vec::new();
    for id in pass.index.elastic.iter().take(grow::GROWERS_MAX) {
        let Some(job) = facts.jobs.get(id) else { continue };
        let Some(hold) = resizable(job).filter(|hold| hold.is_complete()) else { continue };
        let spare = |(_, lease): (TaskIndex, LeaseId)| {
            let lease = &facts.leases.get(&lease)?.lease;
            Some(Spare { id: *id, job, lease })
        };
        let mut tail: Vec<Spare<'a>> = hold.spare(job.ask.gang).filter_map(spare).collect();
        tail.reverse();
        gangs.push(grow::elastic(*id, job, hold, pass.at));
        tails.push(tail);
    }
    let mut spares = Vec::new();
    while spares.len() < SPARE_MAX
        && let Some(next) = next_to_shrink(&gangs)
        && let (Some(gang), Some(tail)) = (gangs.get_mut(next), tails.get_mut(next))
    {
        gang.members -= 1;
        match tail.pop() {
            Some(spare) => spares.push(spare),
            None => gang.min = gang.members,
        }
    }
    spares
}

/// Whether a gang's spare members yield to a job: not if the gang ranks above it.
fn yields_to(gang: &JobFacts, claimant: &JobFacts, pass: &Pass<'_>) -> bool {
    let is_spot = |job: &JobFacts| job.ask.when.market == Market::Spot;
    match (is_spot(gang), is_spot(claimant)) {
        (true, false) => true,
        (false, true) => false,
        _ => priority(gang, pass.at) <= priority(claimant, pass.at),
    }
}

/// What a job claims that waits behind these. Those behind it may hold what it would borrow: not from it.
fn claim<'a, 'q>(
    pass: &Pass<'a>,
    id: JobId,
    key: &'q BucketKey,
    before: &BTreeSet<JobId>,
) -> Option<Claim<'a, 'q>> {
    let job: &JobFacts = pass.facts.jobs.get(&id)?;
    // Nobody is promised instances that are not cut yet, or places apart.
    let is_plain = job.ask.devices.mechanism() != Mechanism::Mig && job.ask.place.apart.is_none();
    if !is_plain || sieve::closing(pass.facts, &job.ask, pass.at).next().is_some() {
        return None;
    }
    let mut cells = pass.reach(job, &pass.space.answer(&key.need).cells).all();
    cells.retain(|cell| !pass.is_for_one_of(*cell, before));
    let sieve = Sieve::of(pass.facts, pass.index, job, pass.at);
    (!cells.is_empty()).then_some(Claim { id, job, key, cells, sieve })
}

/// Where a job goes as the trial stands, if it fits, with `less` held by its tenants.
fn fits(pass: &Pass<'_>, claim: &Claim<'_, '_>, less: &More) -> Option<Vec<Spot>> {
    let need = &claim.key.need;
    let gang = admit::each(pass.index, need).times(need.min.into());
    let whose = (&claim.job.ask.tenant, &claim.job.ask.user);
    let (room, _) = quota::room_after(pass.facts, pass.index, (pass.more(), less), whose, gang);
    if room == 0 {
        return None;
    }
    let spots = pass.space.find(need, &claim.cells, &claim.sieve, need.min);
    let found = u32::try_from(spots.len()).unwrap_or(u32::MAX);
    (found >= need.min).then_some(spots)
}

/// Who leaves so that a job fits, if that is enough.
fn look(
    pass: &mut Pass<'_>,
    claim: &Claim<'_, '_>,
    spares: &[Spare<'_>],
    less: &More,
) -> Option<Decision> {
    if fits(pass, claim, less).is_some() {
        return None;
    }
    let yielding: Vec<Spare<'_>> =
        spares.iter().filter(|spare| yields_to(spare.job, claim.job, pass)).copied().collect();
    // The fewest of them, in order, that are enough: more only makes more room.
    let (mut short, mut enough) = (0, yielding.len());
    if !is_enough(pass, claim, &yielding, less) {
        return None;
    }
    while short + 1 < enough {
        let middle = short.midpoint(enough);
        let part = yielding.get(..middle).unwrap_or_default();
        if is_enough(pass, claim, part, less) { enough = middle } else { short = middle }
    }
    let leaving = yielding.get(..enough).unwrap_or_default();
    let mark = pass.space.suppose();
    let decision = spare_others(pass, claim, leaving, less);
    pass.space.unsuppose(mark);
    decision
}

fn give(pass: &mut Pass<'_>, less: &mut More, spare: &Spare<'_>) {
    pass.space.give(&spare.lease.node, &take_of(spare.lease, &spare.job.ask));
    less.add(&spare.lease.tenant, &spare.lease.user, held_of(spare.lease));
}

fn take(pass: &mut Pass<'_>, less: &mut More, spare: &Spare<'_>) {
    pass.space.take(&spare.lease.node, &take_of(spare.lease, &spare.job.ask));
    less.remove(&spare.lease.tenant, &spare.lease.user, held_of(spare.lease));
}

/// Whether a job would fit without these. Leaves the trial as it was.
fn is_enough(
    pass: &mut Pass<'_>,
    claim: &Claim<'_, '_>,
    spares: &[Spare<'_>],
    less: &More,
) -> bool {
    let (mark, mut less) = (pass.space.suppose(), less.clone());
    spares.iter().for_each(|spare| give(pass, &mut less, spare));
    let fits = fits(pass, claim, &less).is_some();
    pass.space.unsuppose(mark);
    fits
}

/// Lets all of these go, then lets those stay that need not: of a gang, who would go last first.
fn spare_others(
    pass: &mut Pass<'_>,
    claim: &Claim<'_, '_>,
    leaving: &[Spare<'_>],
    less: &More,
) -> Option<Decision> {
    let mut less = less.clone();
    leaving.iter().for_each(|spare| give(pass, &mut less, spare));
    let mut gone: BTreeMap<JobId, Vec<LeaseId>> = BTreeMap::new();
    for spare in leaving.iter().rev() {
        if !gone.contains_key(&spare.id) {
            take(pass, &mut less, spare);
            if fits(pass, claim, &less).is_some() {
                continue;
            }
            give(pass, &mut less, spare);
        }
        gone.entry(spare.id).or_default().push(spare.lease.id);
    }
    let spots = fits(pass, claim, &less)?;
    let shrink = |(job, mut leases): (JobId, Vec<LeaseId>)| {
        leases.reverse();
        Shrink { job, leases }
    };
    Some(Decision::Preempt {
        job: claim.id,
        victims: Vec::new(),
        ground: Ground::Elastic,
        spots,
        moves: Vec::new(),
        shrinks: gone.into_iter().map(shrink).collect(),
    })
}
