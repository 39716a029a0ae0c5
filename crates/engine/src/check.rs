//! The independent checker: recomputes every promise from the leases, by other means than those
//! that keep it.

use crate::facts::{Facts, JobFacts, TenantFacts};
use crate::index::Index;
use crate::mig::Table;
use crate::{Engine, Held};
use polder_model::{
    Bytes, DeviceId, GangKind, Health, Instance, Lease, LeaseId, Mechanism, NodeId, Resource,
    TenantPath, UserName,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Something that must never be true, found by [`Engine::check`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// What was found, with its numbers.
    pub what: String,
}

impl Engine {
    /// Recomputes from the leases whether any promise is broken; empty when none is.
    #[must_use]
    pub fn check(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        devices(&self.facts, &mut found);
        instances(&self.facts, &mut found);
        machines(&self.facts, &mut found);
        quotas(&self.facts, &mut found);
        gangs(&self.facts, &mut found);
        promises(&self.facts, &mut found);
        promised_instances(&self.facts, &mut found);
        for part in self.index.differs(&Index::build(&self.facts)) {
            found.push(format!("the index ({part}) differs from the facts it is derived from"));
        }
        found.into_iter().map(|what| Violation { what }).collect()
    }
}

/// Nothing is granted twice.
fn devices(facts: &Facts, found: &mut Vec<String>) {
    let mut on_device: BTreeMap<(&NodeId, &DeviceId), Vec<&Lease>> = BTreeMap::new();
    for facts in facts.leases.values() {
        for slice in &facts.lease.slices {
            on_device.entry((&facts.lease.node, &slice.device)).or_default().push(&facts.lease);
        }
    }
    for ((node, device), leases) in on_device {
        let all = || leases.iter().flat_map(|lease| lease.slices.iter().map(move |s| (lease, s)));
        let on_it = || all().filter(|(_, slice)| slice.device == *device);
        let slices = || on_it().map(|(_, slice)| slice);
        let number = slices().count();
        if number != leases.len() {
            found.push(format!("a lease holds {device} of {node} twice"));
        }
        let compute: u64 = slices().map(|slice| u64::from(slice.compute.0)).sum();
        if compute > 1000 {
            found.push(format!("{compute} thousandths of {device} of {node} are granted"));
        }
        let whole = slices().any(|slice| slice.mechanism == Mechanism::Whole);
        if whole && number > 1 {
            found.push(format!("{device} of {node} is granted whole and {number} times"));
        }
        let cut = slices().filter(|slice| slice.instance.is_some()).count();
        if cut > 0 && cut < number {
            found.push(format!("{device} of {node} is cut into instances and shared otherwise"));
        }
        let state = facts.nodes.get(node);
        let inventory = state.map_or(&[][..], |state| &state.inventory.devices);
        // The caps in force, not those wished for: what leaves a lease may still be allocated there.
        let memory: u128 = on_it().map(|(lease, slice)| u128::from(lease.kept(slice).0)).sum();
        let has = inventory.iter().find(|other| other.id == *device).map(|device| device.memory);
        let failed = inventory
            .iter()
            .any(|other| other.id == *device && matches!(other.health, Health::Failed(_)));
        for lease in leases.iter().filter(|lease| failed && !is_ending(facts, lease)) {
            found.push(format!("{device} of {node} has failed, and lease {} goes on", lease.id));
        }
        // A device that went away or shrank under its leases: they must be on their way out.
        if has.is_none_or(|has| memory > u128::from(has.0)) {
            for lease in leases.iter().filter(|lease| !is_ending(facts, lease)) {
                found.push(format!(
                    "{memory} bytes of {device} of {node} are granted, it has {}, and lease {} goes on",
                    has.unwrap_or(Bytes(0)).0,
                    lease.id
                ));
            }
        }
    }
}

/// What a machine gives beside its devices, as [`machines`] sums it up.
const WORDS: [&str; 4] = ["CPU", "memory", "network", "backing"];

/// No machine gives more CPU, memory, network or backing than it has, to work that goes on.
fn machines(facts: &Facts, found: &mut Vec<String>) {
    let mut given: BTreeMap<&NodeId, [u128; 4]> = BTreeMap::new();
    for lease in facts.leases.values().map(|facts| &facts.lease) {
        let Some(job) = facts.jobs.get(&lease.job).filter(|_| !is_ending(facts, lease)) else {
            continue;
        };
        let host = &job.ask.host;
        let more: [u128; 4] = [
            host.cpu.map_or(0, |cpu| cpu.0.into()),
            host.memory.map_or(0, |memory| memory.0.into()),
            host.nic.map_or(0, |nic| nic.0.into()),
            lease.slices.iter().map(|slice| u128::from(slice.backing.0)).sum(),
        ];
        let sums = given.entry(&lease.node).or_default();
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    for (node, sums) in given {
        let Some(state) = facts.nodes.get(node) else { continue };
        let machine = &state.inventory.node;
        let nic = machine.nic.map_or(0, |nic| nic.0.into());
        let backing = machine.backing.0.into();
        let has: [u128; 4] = [machine.cpu.0.into(), machine.memory.0.into(), nic, backing];
        for ((sum, has), what) in sums.into_iter().zip(has).zip(WORDS) {
            if sum > has && !state.shrank {
                found.push(format!("{sum} of {what} of {node} is granted, which has {has}"));
            }
        }
    }
}

/// The memory slots of a card that an instance covers; `None` if the card cannot have it.
fn slots(facts: &Facts, node: &NodeId, device: &DeviceId, part: &Instance) -> Option<Range<u8>> {
    let inventory = &facts.nodes.get(node)?.inventory.devices;
    let device = inventory.iter().find(|other| other.id == *device)?;
    let profiles = Table::of(&device.model, device.memory)?.profiles;
    let profile = profiles.iter().find(|profile| profile.name == part.profile)?;
    let slots = part.start..part.start.saturating_add(profile.slots);
    profile.starts.contains(&part.start).then_some(slots)
}

/// No instance is promised where another goes on, or is promised.
fn promised_instances(facts: &Facts, found: &mut Vec<String>) {
    let mut taken: BTreeSet<(&NodeId, &DeviceId, u8)> = BTreeSet::new();
    let lasting = facts.leases.values().map(|facts| &facts.lease);
    for lease in lasting.filter(|lease| !is_ending(facts, lease)) {
        for slice in &lease.slices {
            let part = slice.instance.as_ref();
            let covered = part.and_then(|part| slots(facts, &lease.node, &slice.device, part));
            taken.extend(covered.into_iter().flatten().map(|at| (&lease.node, &slice.device, at)));
        }
    }
    for (id, job) in &facts.jobs {
        let spots = job.claim.as_ref().map_or(&[][..], |claim| &claim.spots);
        for spot in spots {
            for (device, part) in spot.devices.iter().zip(&spot.instances) {
                let covered = slots(facts, &spot.node, device, part).into_iter().flatten();
                for at in covered {
                    if !taken.insert((&spot.node, device, at)) {
                        let node = &spot.node;
                        found.push(format!("job {id} was promised slot {at} of {device} of {node}, and it is not alone"));
                    }
                }
            }
        }
    }
}

/// No two instances of a card cover one of its memory slots, and none is one that it cannot have.
fn instances(facts: &Facts, found: &mut Vec<String>) {
    let mut taken: BTreeMap<(&NodeId, &DeviceId, u8), LeaseId> = BTreeMap::new();
    for lease in facts.leases.values().map(|facts| &facts.lease) {
        for slice in &lease.slices {
            let Some(instance) = &slice.instance else { continue };
            let Some(slots) = slots(facts, &lease.node, &slice.device, instance) else {
                if !is_ending(facts, lease) {
                    let (size, start) = (&instance.profile, instance.start);
                    found.push(format!("lease {} holds a {size} at {start}: no such", lease.id));
                }
                continue;
            };
            for slot in slots {
                let place = (&lease.node, &slice.device, slot);
                if let Some(other) = taken.insert(place, lease.id) {
                    found.push(format!(
                        "leases {other} and {} both hold slot {slot} of {} of {}",
                        lease.id, slice.device, lease.node
                    ));
                }
            }
        }
    }
}

/// Whether a lease is being ended, or the next plan ends it.
fn is_ending(facts: &Facts, lease: &Lease) -> bool {
    facts.jobs.get(&lease.job).is_some_and(|job| {
        let hold = job.hold.as_ref();
        job.cancelled_by.is_some()
            || hold.is_some_and(|hold| {
                let leaves = hold.leaving.contains_key(&lease.id);
                leaves || hold.away.is_some() || hold.failed.is_some() || hold.is_stopping()
            })
    })
}

/// No quota is passed by a lease granted under it.
fn quotas(facts: &Facts, found: &mut Vec<String>) {
    for (path, tenant) in &facts.tenants {
        let inside = |other: &TenantPath| other.lineage().any(|above| above == *path);
        let leases = || facts.leases.values().map(|l| &l.lease).filter(|l| inside(&l.tenant));
        // A quota lowered below what is held evicts nobody, so only grants made since count, and
        // each only for what it holds any of.
        if !leases().any(|lease| lease.id >= tenant.since) {
            continue;
        }
        let (mut held, mut since) = (Held::default(), Held::default());
        for lease in leases() {
            for slice in &lease.slices {
                let slice = Held {
                    devices: 1,
                    compute: slice.compute.0.into(),
                    memory: lease.kept(slice),
                    leases: 0,
                };
                held.add(slice);
                if lease.id >= tenant.since {
                    since.add(slice);
                }
            }
        }
        for resource in [Resource::Devices, Resource::Compute, Resource::Memory] {
            let limit = crate::quota::limit(&tenant.tenant.quota, resource);
            let amount = held.of(resource);
            if since.of(resource) > 0 && limit.is_some_and(|limit| amount > limit) {
                found.push(format!("tenant {path} holds {amount} of {resource}, past its quota"));
            }
        }
        users(path, tenant, leases(), found);
    }
}

/// No user passes what a tenant allows each of its users.
fn users<'a>(
    path: &TenantPath,
    tenant: &TenantFacts,
    leases: impl Iterator<Item = &'a Lease>,
    found: &mut Vec<String>,
) {
    let mut held: BTreeMap<&UserName, (Held, Held)> = BTreeMap::new();
    for lease in leases {
        let (sum, since) = held.entry(&lease.user).or_default();
        sum.add(crate::index::held_of(lease));
        if lease.id >= tenant.since {
            since.add(crate::index::held_of(lease));
        }
    }
    for (user, (held, since)) in held {
        for resource in [Resource::Devices, Resource::Compute, Resource::Memory] {
            let limit = crate::quota::limit(&tenant.tenant.user_quota, resource);
            let amount = held.of(resource);
            if since.of(resource) > 0 && limit.is_some_and(|limit| amount > limit) {
                found.push(format!("user {user} holds {amount} of {resource} in {path}, too much"));
            }
        }
    }
}

/// Nothing is promised twice: what goes on and what was promised fit together.
fn promises(facts: &Facts, found: &mut Vec<String>) {
    let mut compute: BTreeMap<(&NodeId, &DeviceId), u64> = BTreeMap::new();
    let mut promised: BTreeSet<(&NodeId, &DeviceId)> = BTreeSet::new();
    for (id, job) in &facts.jobs {
        let Some(claim) = &job.claim else { continue };
        if job.cancelled_by.is_some() || job.hold.as_ref().is_some_and(|hold| !hold.is_stopping()) {
            found.push(format!("job {id} does not wait and yet was promised room"));
        }
        let each = u64::from(job.ask.devices.compute.0);
        for spot in &claim.spots {
            for device in &spot.devices {
                promised.insert((&spot.node, device));
                *compute.entry((&spot.node, device)).or_default() += each;
            }
        }
    }
    for lease in facts.leases.values().map(|lease| &lease.lease) {
        if !is_ending(facts, lease) {
            for slice in &lease.slices {
                *compute.entry((&lease.node, &slice.device)).or_default() +=
                    u64::from(slice.compute.0);
            }
        }
    }
    for (node, device) in promised {
        let sum = compute.get(&(node, device)).copied().unwrap_or(0);
        if sum > 1000 {
            found.push(format!("{sum} thousandths of {device} of {node} are granted or promised"));
        }
    }
}

/// No gang is half placed, and no lease is without its job.
fn gangs(facts: &Facts, found: &mut Vec<String>) {
    let mut live: BTreeMap<_, u64> = BTreeMap::new();
    for (id, lease) in &facts.leases {
        let job = facts.jobs.get(&lease.lease.job).and_then(|job| job.hold.as_ref());
        let task = lease.lease.task;
        if !job.is_some_and(|hold| hold.has(*id, task) || hold.leaving.contains_key(id)) {
            found.push(format!("lease {id} belongs to no job that is not over"));
        }
        if !facts.nodes.contains_key(&lease.lease.node) {
            found.push(format!("lease {id} is on {}, which never reported", lease.lease.node));
        }
        *live.entry(lease.lease.job).or_default() += 1;
    }
    for (id, job) in &facts.jobs {
        if let Some(what) = gang(job, live.get(id).copied().unwrap_or(0)) {
            found.push(format!("job {id} {what}"));
        }
    }
}

fn gang(job: &JobFacts, live: u64) -> Option<String> {
    let Some(hold) = &job.hold else {
        return (live > 0).then(|| format!("waits and yet holds {live} leases"));
    };
    let ranks = u64::try_from(hold.leases.len()).unwrap_or(u64::MAX);
    let vacant = u64::try_from(hold.vacant.len()).unwrap_or(u64::MAX);
    let members = ranks.saturating_sub(vacant);
    let is_service = job.ask.gang.kind == GangKind::Service;
    // Replicas are replaced when they have ended, so for a while there may be none.
    let min = if is_service { 0 } else { u64::from(job.ask.gang.min) };
    // Who is scaled down while its gang is being ended keeps its members until they have left.
    let ends = is_service && !hold.goes_on();
    let max = if ends { u64::MAX } else { u64::from(job.ask.gang.max) };
    if !(min..=max).contains(&members) {
        return Some(format!("has {members} members where {min} to {max} were asked"));
    }
    if hold.vacant.last().is_some_and(|last| u64::from(*last) + 1 >= ranks) {
        return Some(format!("has {ranks} ranks, the last of them vacant"));
    }
    let moves = vacant > 0 || !hold.leaving.is_empty() || !hold.joining.is_empty();
    if moves && (job.ask.gang.kind == GangKind::Rigid || !hold.start) {
        // A rigid gang, or one that has not started, changed its size.
        return Some("changed its size and may not".to_owned());
    }
    if live != u64::from(hold.live) {
        return Some(format!("holds {live} leases and counts {}", hold.live));
    }
    let waiting = hold.joining.values().filter(|joining| !joining.is_prepared).count();
    let ready = members.saturating_sub(u64::try_from(waiting).unwrap_or(u64::MAX));
    let half = hold.start && u64::from(hold.prepared) != ready;
    half.then(|| format!("was told to start with {} of {ready} prepared", hold.prepared))
}
