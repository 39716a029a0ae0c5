//! Whether a decision can be carried out now. A decision comes back as an event, possibly from a
//! journal that was tampered with or written by another version, so it is checked like any other.

use crate::facts::{Facts, Hold, JobFacts};
use crate::index::entry::NodeSpace;
use crate::index::{Index, held_of, take_of};
use crate::members;
use crate::need::{Need, WHOLE};
use crate::order::rank;
use crate::quota;
use crate::reclaim::promise;
use crate::shape::Class;
use crate::{DecisionError, Held};
use polder_model::{
    Ask, Decision, Ground, JobId, Lease, LeaseId, LeaseState, Market, Mechanism, Move, NodeId,
    Shrink, Slice, Spot, TaskIndex, Timestamp,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The job a decision is about.
pub(crate) fn subject(decision: &Decision) -> JobId {
    match decision {
        Decision::Grant { job, .. }
        | Decision::Start { job }
        | Decision::Return { job, .. }
        | Decision::Grow { job, .. }
        | Decision::Shrink { job, .. }
        | Decision::Stop { job, .. }
        | Decision::Preempt { job, .. }
        | Decision::Release { job }
        | Decision::Retry { job, .. }
        | Decision::Finish { job, .. } => *job,
    }
}

/// Whether a decision can be carried out now.
pub(crate) fn possible(
    facts: &Facts,
    index: &Index,
    at: Timestamp,
    decision: &Decision,
) -> Result<(), DecisionError> {
    let id = subject(decision);
    let job = facts.jobs.get(&id).ok_or(DecisionError::UnknownJob)?;
    match decision {
        Decision::Grant { leases, .. } => granted(facts, index, at, (id, job), leases),
        Decision::Start { .. } => started(job),
        Decision::Return { .. } => {
            let hold = held(job)?;
            let late = hold.start || hold.is_stopping() || hold.live == 0;
            if late { Err(DecisionError::TooLate) } else { Ok(()) }
        }
        Decision::Stop { .. } => {
            let hold = held(job)?;
            let late = hold.is_stopping() || hold.live == 0;
            if late { Err(DecisionError::TooLate) } else { Ok(()) }
        }
        Decision::Grow { leases, .. } => grown(facts, index, at, job, leases),
        Decision::Shrink { leases, .. } => {
            let hold = members::resizable(job).ok_or(DecisionError::TooLate)?;
            let joins = |lease: &LeaseId| hold.joining.contains_key(lease);
            match leases.iter().find(|lease| !joins(lease)) {
                Some(lease) => Err(DecisionError::NoSpare { lease: *lease }),
                None => Ok(()),
            }
        }
        Decision::Preempt { job: id, victims, ground, spots, moves, shrinks } => {
            preempted(facts, job, (victims, shrinks), *ground, spots)?;
            shrunk(facts, *id, victims, shrinks)?;
            moved(facts, index, victims, *ground, moves)?;
            spots.iter().try_for_each(|spot| there(index, &job.ask, spot))
        }
        Decision::Release { .. } => {
            if job.claim.is_some() {
                Ok(())
            } else {
                Err(DecisionError::HoldsNothing)
            }
        }
        Decision::Retry { attempt, .. } => {
            let live = held(job)?.live;
            if live > 0 {
                return Err(DecisionError::StillHeld { live });
            }
            if job.cancelled_by.is_some() {
                return Err(DecisionError::TooLate);
            }
            let (attempt, current) = (*attempt, job.attempt);
            let follows = current.checked_add(1) == Some(attempt);
            if follows { Ok(()) } else { Err(DecisionError::WrongAttempt { attempt, current }) }
        }
        Decision::Finish { .. } => match job.hold.as_ref().map_or(0, |hold| hold.live) {
            0 => Ok(()),
            live => Err(DecisionError::StillHeld { live }),
        },
    }
}

fn held(job: &JobFacts) -> Result<&Hold, DecisionError> {
    job.hold.as_ref().ok_or(DecisionError::HoldsNothing)
}

fn started(job: &JobFacts) -> Result<(), DecisionError> {
    let hold = held(job)?;
    if hold.start || hold.is_stopping() || hold.failed.is_some() || job.cancelled_by.is_some() {
        return Err(DecisionError::TooLate);
    }
    if !hold.is_prepared() {
        let members = u32::try_from(hold.leases.len()).unwrap_or(u32::MAX);
        return Err(DecisionError::NotPrepared { prepared: hold.prepared, members });
    }
    Ok(())
}

/// Whether these jobs can yield to that one. Who ought to is for the plan to say.
fn preempted(
    facts: &Facts,
    job: &JobFacts,
    (victims, shrinks): (&[JobId], &[Shrink]),
    ground: Ground,
    spots: &[Spot],
) -> Result<(), DecisionError> {
    if !job.is_queued() || job.claim.is_some() {
        return Err(DecisionError::NotQueued);
    }
    let (min, max, size) = (job.ask.gang.start_min(), job.ask.gang.max, spots.len());
    let tasks = u32::try_from(size).unwrap_or(u32::MAX);
    if !(min..=max).contains(&tasks) {
        return Err(DecisionError::GangSize { size, min, max });
    }
    let mut seen = BTreeSet::new();
    for id in victims {
        let refuse = |why| Err(DecisionError::NoVictim { victim: *id, why });
        let Some(victim) = facts.jobs.get(id) else { return refuse("it is over") };
        let Some(hold) = &victim.hold else { return refuse("it holds nothing") };
        if hold.is_stopping() || victim.cancelled_by.is_some() {
            return refuse("it is being ended already");
        }
        if !may_yield(&victim.ask, ground) {
            return refuse("it may not be preempted");
        }
        if !seen.insert(*id) {
            return refuse("it is named twice");
        }
    }
    let nobody = victims.is_empty() && shrinks.is_empty();
    if nobody { Err(DecisionError::NotQueued) } else { Ok(()) }
}

/// Whether these gangs can do without these members: their last, beyond their fewest.
fn shrunk(
    facts: &Facts,
    claimant: JobId,
    victims: &[JobId],
    shrinks: &[Shrink],
) -> Result<(), DecisionError> {
    let mut seen = BTreeSet::new();
    for Shrink { job: id, leases } in shrinks {
        let refuse = |why| Err(DecisionError::NoVictim { victim: *id, why });
        let Some(job) = facts.jobs.get(id) else { return refuse("it is over") };
        let Some(hold) = members::resizable(job) else { return refuse("it cannot shrink") };
        if *id == claimant || victims.contains(id) || !seen.insert(*id) {
            return refuse("it is named twice");
        }
        let spare = hold.spare(job.ask.gang).map(|(_, lease)| lease).take(leases.len());
        if leases.is_empty() || !hold.is_complete() || !spare.eq(leases.iter().copied()) {
            return refuse("these are not members that it can do without");
        }
    }
    Ok(())
}

/// Whether jobs can go on where they are moved to.
fn moved(
    facts: &Facts,
    index: &Index,
    victims: &[JobId],
    ground: Ground,
    moves: &[Move],
) -> Result<(), DecisionError> {
    for moved in moves {
        let refuse = |why| Err(DecisionError::NoVictim { victim: moved.job, why });
        if !victims.contains(&moved.job) || ground != Ground::Move {
            return refuse("it is not moved");
        }
        let Some(job) = facts.jobs.get(&moved.job) else { return refuse("it is over") };
        let tasks = u32::try_from(moved.spots.len()).unwrap_or(u32::MAX);
        if !(job.ask.gang.start_min()..=job.ask.gang.max).contains(&tasks) {
            return refuse("its gang would be of another size");
        }
        moved.spots.iter().try_for_each(|spot| there(index, &job.ask, spot))?;
    }
    Ok(())
}

/// Whether a place that is promised is one, and has instances where hardware cuts them.
fn there(index: &Index, ask: &Ask, spot: &Spot) -> Result<(), DecisionError> {
    let node = index.space.node(&spot.node);
    let cuts = ask.devices.mechanism() == Mechanism::Mig;
    let whole = spot.instances.len() == if cuts { spot.devices.len() } else { 0 };
    let has = |node: &NodeSpace| {
        let mut parts = spot.devices.iter().zip(&spot.instances);
        spot.devices.iter().all(|device| node.room(device).is_some())
            && parts.all(|(device, part)| node.entry.amounts_of(device, part).is_some())
    };
    if whole && node.as_ref().is_some_and(has) {
        return Ok(());
    }
    Err(DecisionError::NoPlace { node: spot.node.clone() })
}

/// Whether a job agreed to yield on this ground.
pub(crate) fn may_yield(ask: &Ask, ground: Ground) -> bool {
    let spot = ask.when.market == Market::Spot;
    match ground {
        Ground::Spot => spot,
        Ground::Class | Ground::Priority | Ground::Order | Ground::Quota | Ground::Move => {
            ask.yields.preemptible || spot
        }
        // What is beyond a gang's fewest was never its to keep; what is not, is.
        Ground::Elastic => false,
    }
}

fn granted(
    facts: &Facts,
    index: &Index,
    at: Timestamp,
    (id, job): (JobId, &JobFacts),
    leases: &[Lease],
) -> Result<(), DecisionError> {
    if !job.is_queued() {
        return Err(DecisionError::NotQueued);
    }
    let (min, max, size) = (job.ask.gang.start_min(), job.ask.gang.max, leases.len());
    let tasks = u32::try_from(size).unwrap_or(u32::MAX);
    if !(min..=max).contains(&tasks) {
        return Err(DecisionError::GangSize { size, min, max });
    }
    promise_kept(job, leases)?;
    // Who stands in line has a need that was worked out already.
    let known = index.queue.need(&rank(&facts.policy, id, job, facts.now));
    let need = known.map_or_else(|| Cow::Owned(Need::of(&job.ask)), Cow::Borrowed);
    let ranks: Vec<TaskIndex> = (0..tasks).collect();
    carried(facts, index, at, (job, &need), leases, &ranks)
}

/// Whether a gang that goes on can be given these further members.
fn grown(
    facts: &Facts,
    index: &Index,
    at: Timestamp,
    job: &JobFacts,
    leases: &[Lease],
) -> Result<(), DecisionError> {
    let hold = members::resizable(job).ok_or(DecisionError::TooLate)?;
    let free = hold.free_ranks(job.ask.gang, at);
    // Ranks in order, so that those beyond the last follow it without a gap.
    let mut rest = free.iter();
    let taken = |lease: &Lease| rest.by_ref().find(|task| **task == lease.task).copied();
    let ranks: Vec<TaskIndex> = leases.iter().filter_map(taken).collect();
    let end = u32::try_from(hold.leases.len()).unwrap_or(u32::MAX);
    let further = ranks.iter().filter(|task| **task >= end);
    let follows = (end..).zip(further).all(|(next, task)| next == *task);
    let more = u32::try_from(ranks.len()).unwrap_or(u32::MAX);
    let fits = hold.members().saturating_add(more) <= job.ask.gang.max;
    if ranks.is_empty() || ranks.len() != leases.len() || !follows || !fits {
        let (size, max) = (leases.len(), job.ask.gang.max);
        return Err(DecisionError::GangSize { size, min: 1, max });
    }
    carried(facts, index, at, (job, &Need::of(&job.ask)), leases, &ranks)
}

/// Whether leases are the job's, and their nodes and its quotas carry them.
fn carried(
    facts: &Facts,
    index: &Index,
    at: Timestamp,
    (job, need): (&JobFacts, &Need),
    leases: &[Lease],
    ranks: &[TaskIndex],
) -> Result<(), DecisionError> {
    let mut next = facts.next_lease;
    let mut nodes: BTreeMap<&NodeId, NodeSpace> = BTreeMap::new();
    let mut sum = Held::default();
    for (task, lease) in ranks.iter().zip(leases) {
        belongs(job, lease, *task)?;
        if lease.granted_at > at {
            return Err(DecisionError::ForeignLease { lease: lease.id, field: "its time" });
        }
        if lease.id < next || lease.id.0 == u64::MAX {
            return Err(DecisionError::ForeignLease { lease: lease.id, field: "its number" });
        }
        next = LeaseId(lease.id.0 + 1);
        let space = match nodes.entry(&lease.node) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let (id, node) = (lease.id, lease.node.clone());
                let space = index.space.node(&lease.node);
                let mut space = space.ok_or(DecisionError::NodeAway { lease: id, node })?;
                promise::give_own(job, &lease.node, &mut space);
                entry.insert(space)
            }
        };
        carries(space, need, lease)?;
        let take = take_of(lease, &job.ask);
        if !space.has(&take) {
            return Err(DecisionError::NoHostRoom { lease: lease.id, node: lease.node.clone() });
        }
        space.take(&take);
        sum.add(held_of(lease));
    }
    let promised = promise::to_others(index, job);
    let (room, short) = quota::room(facts, index, &promised, (&job.ask.tenant, &job.ask.user), sum);
    match short.filter(|_| room == 0) {
        Some(short) => {
            Err(DecisionError::PastQuota { tenant: short.holder.tenant, resource: short.resource })
        }
        None => Ok(()),
    }
}

/// Whether a job that was promised room gets just that.
fn promise_kept(job: &JobFacts, leases: &[Lease]) -> Result<(), DecisionError> {
    let Some(claim) = &job.claim else { return Ok(()) };
    let is = |(lease, spot): (&Lease, &Spot)| {
        let devices = lease.slices.iter().map(|slice| &slice.device);
        let parts = lease.slices.iter().filter_map(|slice| slice.instance.as_ref());
        lease.node == spot.node && devices.eq(&spot.devices) && parts.eq(&spot.instances)
    };
    match leases.iter().zip(&claim.spots).find(|pair| !is(*pair)) {
        Some((lease, _)) => {
            Err(DecisionError::ForeignLease { lease: lease.id, field: "its place" })
        }
        None if leases.len() != claim.spots.len() => Err(DecisionError::GangSize {
            size: leases.len(),
            min: u32::try_from(claim.spots.len()).unwrap_or(u32::MAX),
            max: u32::try_from(claim.spots.len()).unwrap_or(u32::MAX),
        }),
        None => Ok(()),
    }
}

/// Whether a lease says of its job what is so.
fn belongs(job: &JobFacts, lease: &Lease, task: TaskIndex) -> Result<(), DecisionError> {
    let differs = |field| Err(DecisionError::ForeignLease { lease: lease.id, field });
    if lease.task != task {
        return differs("its rank");
    }
    if lease.attempt != job.attempt {
        return differs("its try");
    }
    if lease.tenant != job.ask.tenant || lease.user != job.ask.user {
        return differs("its owner");
    }
    if lease.state != LeaseState::Granted || lease.started_at.is_some() {
        return differs("its state");
    }
    if !lease.leaving.is_zero() || lease.resizes > 0 {
        return differs("its size");
    }
    Ok(())
}

/// Whether the devices of a lease are what was asked and have that much free.
fn carries(space: &NodeSpace, need: &Need, lease: &Lease) -> Result<(), DecisionError> {
    let mut seen = BTreeSet::new();
    for slice in &lease.slices {
        if !seen.insert(&slice.device) {
            return Err(no_room(lease, slice, "it is named twice"));
        }
        let Some(room) = space.room(&slice.device) else {
            return Err(no_room(lease, slice, "it is not there or faulty"));
        };
        let class = space.entry.shape.classes.get(room.class).map(|(class, _)| class);
        if !class.is_some_and(|class| need.misses(class).is_empty()) {
            return Err(no_room(lease, slice, "it is not what was asked"));
        }
        if !class.is_some_and(|class| is_asked(class, need, slice)) {
            return Err(no_room(lease, slice, "the slice is not what was asked"));
        }
        if room.is_cut && slice.instance.is_none() {
            return Err(no_room(lease, slice, "it is cut into instances"));
        }
        if !room.is_cut && slice.instance.is_some() && room.compute != WHOLE {
            return Err(no_room(lease, slice, "it is shared and cannot be cut"));
        }
        if need.is_whole() && room.compute != WHOLE {
            return Err(no_room(lease, slice, "it is shared"));
        }
        if room.compute < slice.compute.0 {
            return Err(no_room(lease, slice, "too little compute is free"));
        }
        if room.memory < slice.memory.0 {
            return Err(no_room(lease, slice, "too little memory is free"));
        }
    }
    let differs = Err(DecisionError::ForeignLease { lease: lease.id, field: "its devices" });
    if u32::try_from(lease.slices.len()) != Ok(need.count) {
        return differs;
    }
    let devices = lease.slices.iter().map(|slice| &slice.device);
    if space.lie_as_required(devices, &need.wish) { Ok(()) } else { differs }
}

/// Whether a slice of such a device is what a need asks for.
fn is_asked(class: &Class, need: &Need, slice: &Slice) -> bool {
    if slice.mechanism != need.mechanism {
        return false;
    }
    let Some(wants) = need.wants() else {
        let memory = if need.is_whole() { class.memory.0 } else { need.memory };
        let amounts = slice.compute.0 == need.compute && slice.memory.0 == memory;
        return amounts && slice.backing == need.backing_each() && slice.instance.is_none();
    };
    let profile = class.parts.zip(slice.instance.as_ref()).and_then(|(table, instance)| {
        Some((table, table.profiles.get(table.profile(&instance.profile)?)?))
    });
    profile.is_some_and(|(table, profile)| {
        wants.carried_by(table, profile)
            && slice.compute == table.compute(profile)
            && slice.memory == profile.memory
            && slice.backing.is_zero()
    })
}

fn no_room(lease: &Lease, slice: &Slice, lacks: &'static str) -> DecisionError {
    DecisionError::NoRoom {
        lease: lease.id,
        node: lease.node.clone(),
        device: slice.device.clone(),
        lacks,
    }
}
