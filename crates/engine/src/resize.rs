//! Whether a job may have another size, and what would fit if not.
//!
//! What must hold:
//! * a resize that is taken in is true at once: what a job grows by is free now, or still leaving it,
//!   promised to nobody, and within every quota; so no job waits for its resize, and a resize that does
//!   not fit is refused with the most that would;
//! * growth passes nobody: where a job waits that could use such devices, who runs does not grow
//!   into them, or a small ask would be a way around the queue;
//! * all members of a gang are alike. Those that leave keep what they have until they have left.
//!
//! What hardware cut, and whole devices, keep their size; their priority and class may change.

use crate::facts::{Facts, Hold, JobFacts};
use crate::index::Index;
use crate::need::Need;
use crate::shape::Class;
use crate::{Engine, Held, Refusal, WaitingOn, admit, quota};
use polder_model::{
    Ask, Bytes, DeviceId, JobId, Lease, LeaseId, Mechanism, NodeId, Permille, Resource, Size,
    Timestamp,
};
use std::collections::BTreeMap;

/// The members of a gang that a resize is about: those that have not ended and do not leave.
pub(crate) fn members<'a>(facts: &'a Facts, hold: &'a Hold) -> impl Iterator<Item = &'a Lease> {
    let ranks = hold.by_rank_from_last().map(|(_, lease)| lease);
    let leases = ranks.filter(|lease| !hold.leaving.contains_key(lease));
    leases.filter_map(|lease| facts.leases.get(&lease)).map(|facts| &facts.lease)
}

/// Their numbers.
pub(crate) fn member_ids(facts: &Facts, job: &JobFacts) -> Vec<LeaseId> {
    let members = job.hold.as_ref().map(|hold| members(facts, hold));
    members.into_iter().flatten().map(|lease| lease.id).collect()
}

/// What a job would ask for.
fn changed(ask: &Ask, to: &Size) -> Ask {
    let mut ask = ask.clone();
    to.give(&mut ask);
    ask
}

/// Whether a job can have this size now, whoever waits.
pub(crate) fn possible(facts: &Facts, index: &Index, id: JobId, to: &Size) -> Result<(), Refusal> {
    let job = facts.jobs.get(&id).ok_or(Refusal::UnknownJob { job: id })?;
    let ends = job.hold.as_ref().is_some_and(|hold| !hold.goes_on());
    if ends || job.cancelled_by.is_some() {
        return Err(Refusal::ResizeEnding { job: id });
    }
    let from = Size::of(&job.ask);
    let devices = &job.ask.devices;
    if to.is_other_part(&from)
        && (devices.count == 0 || devices.mechanism() != Mechanism::TimeSlice)
    {
        let mechanism = (devices.count > 0).then(|| devices.mechanism());
        return Err(Refusal::ResizeFixed { job: id, mechanism });
    }
    changed(&job.ask, to).check()?;
    match &job.hold {
        Some(hold) if to.is_other_part(&from) => fits(facts, index, (id, job, hold), (&from, to)),
        _ => Ok(()),
    }
}

/// Whether what a job grows by is free, and within its quotas.
fn fits(
    facts: &Facts,
    index: &Index,
    (id, job, hold): (JobId, &JobFacts, &Hold),
    (from, to): (&Size, &Size),
) -> Result<(), Refusal> {
    // How many members are on each device, and the least that is still leaving any of them there.
    let mut slices: BTreeMap<(&NodeId, &DeviceId), (u64, u64)> = BTreeMap::new();
    for lease in members(facts, hold) {
        for slice in &lease.slices {
            let (tasks, leaving) =
                slices.entry((&lease.node, &slice.device)).or_insert((0, u64::MAX));
            (*tasks, *leaving) = (*tasks + 1, (*leaving).min(lease.leaving.0));
        }
    }
    for ((node, device), (tasks, leaving)) in &slices {
        let space = index.space.node(node);
        let room = space.and_then(|space| space.room(device));
        let Some(room) = room else {
            return Err(Refusal::ResizeAway { job: id, node: (*node).clone() });
        };
        let free = [
            (Resource::Compute, u64::from(room.compute), 0),
            (Resource::Memory, room.memory, *leaving),
        ];
        for (resource, free, leaving) in free {
            let (has, wanted) = (amount(from, resource), amount(to, resource));
            let most = has.saturating_add(leaving).saturating_add(free / tasks);
            if wanted > has && wanted > most {
                let (node, device) = ((*node).clone(), (*device).clone());
                let ever = whole(index, &node, &device, resource).map(|whole| whole / tasks);
                if let Some(ever) = ever.filter(|ever| wanted > *ever) {
                    return Err(Refusal::GrowPastDevice {
                        job: id,
                        node,
                        device,
                        resource,
                        wanted,
                        ever,
                    });
                }
                return Err(Refusal::GrowPastRoom {
                    job: id,
                    node,
                    device,
                    resource,
                    wanted,
                    most,
                });
            }
        }
    }
    let number: u64 = slices.values().map(|(tasks, _)| tasks).sum();
    let leaving = slices.values().map(|(_, leaving)| *leaving).min().unwrap_or(0);
    let more = |resource| amount(to, resource).saturating_sub(amount(from, resource));
    let each = Held {
        compute: more(Resource::Compute),
        memory: Bytes(more(Resource::Memory).saturating_sub(leaving)),
        ..Held::default()
    };
    let whose = (&job.ask.tenant, &job.ask.user);
    let (room, short) = quota::room(facts, index, &index.promised, whose, each.times(number));
    match short.filter(|_| room == 0) {
        None => Ok(()),
        Some(short) => {
            let left = short.limit.saturating_sub(short.used);
            let resource = short.resource;
            let leaving = if resource == Resource::Memory { leaving } else { 0 };
            Err(Refusal::GrowPastQuota {
                job: id,
                tenant: short.holder.tenant,
                resource,
                limit: short.limit,
                wanted: amount(to, resource),
                most: amount(from, resource)
                    .saturating_add(leaving)
                    .saturating_add(left.checked_div(number).unwrap_or(0)),
            })
        }
    }
}

/// All that a device has of a resource.
fn whole(index: &Index, node: &NodeId, device: &DeviceId, resource: Resource) -> Option<u64> {
    match resource {
        Resource::Devices => Some(1),
        Resource::Compute => Some(Permille::WHOLE.0.into()),
        Resource::Memory => Some(index.space.node(node)?.entry.memory_of(device)?.0),
    }
}

/// What a size guarantees of a resource.
fn amount(size: &Size, resource: Resource) -> u64 {
    match resource {
        Resource::Devices => 1,
        Resource::Compute => size.compute.0.into(),
        Resource::Memory => size.memory.0,
    }
}

/// An amount for people.
pub(crate) fn shown(resource: Resource, amount: u64) -> String {
    match resource {
        Resource::Compute => Permille(u32::try_from(amount).unwrap_or(u32::MAX)).to_string(),
        Resource::Devices | Resource::Memory => resource.show(amount),
    }
}

impl Engine {
    /// Whether a size that a job could have is one that it may: a job that waits must have a place
    /// to wait for, and one that runs passes nobody who waits.
    pub(crate) fn may_resize(&self, at: Timestamp, id: JobId, to: &Size) -> Result<(), Refusal> {
        let Some(job) = self.facts.jobs.get(&id) else { return Ok(()) };
        let from = Size::of(&job.ask);
        let Some(hold) = &job.hold else {
            return admit::servable(&self.facts, &self.index, &changed(&job.ask, to));
        };
        if !to.is_more(&from) {
            return Ok(());
        }
        let classes: Vec<Class> =
            members(&self.facts, hold).flat_map(|l| self.classes(l)).collect();
        let (_, report) = self.plan(at);
        for waiting in report.waiting.iter().filter(|waiting| waiting.on == WaitingOn::Room) {
            let Some(other) = self.facts.jobs.get(&waiting.job) else { continue };
            let need = Need::of(&other.ask);
            if need.count > 0 && classes.iter().any(|class| need.misses(class).is_empty()) {
                return Err(Refusal::GrowPastWaiting { job: id, waiting: waiting.job });
            }
        }
        Ok(())
    }

    /// What a lease's devices are.
    fn classes(&self, lease: &Lease) -> Vec<Class> {
        let node = self.facts.nodes.get(&lease.node);
        let devices = node.map_or(&[][..], |node| &node.inventory.devices);
        let of = |device: &DeviceId| devices.iter().find(|other| other.id == *device);
        lease.slices.iter().filter_map(|slice| of(&slice.device)).map(Class::of).collect()
    }
}
