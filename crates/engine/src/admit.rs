//! What may be true next: which events are accepted.

use crate::facts::{Facts, LeaseFacts};
use crate::home;
use crate::index::Index;
use crate::need::Need;
use crate::shape::{Class, Hosts, Shape};
use crate::{Held, Refusal, quota, resize};
use polder_model::{
    Ask, Bytes, Event, GANG_MAX, GangKind, Inventory, JobId, LeaseId, LeaseState, Mechanism,
    NodeId, Reservation, Tenant, TenantPath, User, UserName,
};
use std::collections::BTreeSet;

/// Most jobs that are not over.
pub const JOBS_MAX: usize = 4_000_000;
/// Most tenants.
pub const TENANTS_MAX: usize = 100_000;
/// Most users.
pub const USERS_MAX: usize = 1_000_000;
/// Most nodes.
pub const NODES_MAX: usize = 200_000;
/// Most reservations.
pub const RESERVATIONS_MAX: usize = 1000;
/// Most devices of one node.
pub const NODE_DEVICES_MAX: usize = 1024;

/// Most partitions that a refusal names.
const PARTITIONS_NAMED_MAX: usize = 8;

/// Whether an event can be true after those before it.
pub(crate) fn possible(facts: &Facts, index: &Index, event: &Event) -> Result<(), Refusal> {
    match event {
        Event::PoolOpened { .. }
        | Event::Fenced { .. }
        | Event::ClockStepped { .. }
        | Event::Decided { .. } => Ok(()),
        Event::TenantSet { tenant } => tenant_set(facts, tenant),
        Event::TenantRemoved { tenant } => tenant_removed(facts, index, tenant),
        Event::PolicySet { policy } => Ok(policy.check()?),
        Event::PolicyRolledBack if facts.policies.is_first() => Err(Refusal::NoPolicyBefore),
        Event::PolicyRolledBack => Ok(()),
        Event::PolicyShadowed { policy: Some(policy) } => Ok(policy.check()?),
        Event::PolicyShadowed { policy: None } if facts.policies.shadow.is_none() => {
            Err(Refusal::NoShadow)
        }
        Event::PolicyShadowed { policy: None } => Ok(()),
        Event::ReservationSet { reservation } => reservation_set(facts, reservation),
        Event::ReservationRemoved { name } => {
            let known = facts.reservations.contains_key(name);
            if known { Ok(()) } else { Err(Refusal::UnknownReservation { name: name.clone() }) }
        }
        Event::UserSet { user } => user_set(facts, user),
        Event::UserRemoved { user } if facts.users.contains_key(user) => Ok(()),
        Event::UserRemoved { user } => Err(Refusal::UnknownUser { user: user.clone() }),
        Event::JobSubmitted { job, ask, .. } => job_submitted(facts, *job, ask),
        Event::JobCancelled { job, .. } => job_cancelled(facts, *job),
        Event::JobScaled { job, min, max, .. } => job_scaled(facts, *job, (*min, *max)),
        Event::JobResized { job, to, .. } => resize::possible(facts, index, *job, to),
        Event::NodeReported { node, incarnation, inventory } => {
            node_reported(facts, node, *incarnation, inventory)
        }
        Event::NodeSilent { node } | Event::NodeBack { node } => {
            let known = facts.nodes.contains_key(node);
            if known { Ok(()) } else { Err(Refusal::UnknownNode { node: node.clone() }) }
        }
        Event::LeasePrepared { lease, .. } => lease_prepared(facts, *lease),
        Event::LeaseStarted { lease } => lease_started(facts, *lease),
        Event::LeaseShrunk { lease } => lease_shrunk(facts, *lease),
        Event::LeaseFound { lease, .. } | Event::LeaseEnded { lease, .. } => {
            lease_of(facts, *lease).map(|_| ())
        }
    }
}

fn full(what: &'static str, now: usize, limit: usize, help: &'static str) -> Result<(), Refusal> {
    if now < limit { Ok(()) } else { Err(Refusal::Full { what, limit, help }) }
}

fn tenant_set(facts: &Facts, tenant: &Tenant) -> Result<(), Refusal> {
    if let Some(parent) = tenant.path.parent()
        && !facts.tenants.contains_key(&parent)
    {
        return Err(Refusal::NoParent { tenant: tenant.path.clone(), parent });
    }
    if facts.tenants.contains_key(&tenant.path) {
        return Ok(());
    }
    full("tenants", facts.tenants.len(), TENANTS_MAX, "remove some that are not used")
}

fn tenant_removed(facts: &Facts, index: &Index, tenant: &TenantPath) -> Result<(), Refusal> {
    known_tenant(facts, tenant)?;
    let tenant = tenant.clone();
    if let Some(jobs) = index.jobs_of.get(&tenant) {
        return Err(Refusal::TenantHasJobs { tenant, jobs: *jobs });
    }
    let inside = |path: &TenantPath| path.parent().as_ref() == Some(&tenant);
    if let Some(child) = facts.tenants.keys().find(|path| inside(path)) {
        return Err(Refusal::TenantHasChildren { child: child.clone(), tenant });
    }
    if let Some(user) = facts.users.values().find(|user| user.tenants.contains(&tenant)) {
        return Err(Refusal::TenantHasUsers { user: user.name.clone(), tenant });
    }
    Ok(())
}

fn reservation_set(facts: &Facts, reservation: &Reservation) -> Result<(), Refusal> {
    reservation.check()?;
    if let Some(tenant) = &reservation.tenant {
        known_tenant(facts, tenant)?;
    }
    if let Some(node) = reservation.nodes.iter().find(|node| !facts.nodes.contains_key(node)) {
        return Err(Refusal::UnknownNode { node: node.clone() });
    }
    for other in facts.reservations.values() {
        let apart = other.until <= reservation.from || reservation.until <= other.from;
        if other.name == reservation.name || apart {
            continue;
        }
        if let Some(node) = reservation.nodes.iter().find(|node| other.nodes.contains(node)) {
            let (name, other) = (reservation.name.clone(), other.name.clone());
            return Err(Refusal::ReservedTwice { name, other, node: node.clone() });
        }
    }
    if facts.reservations.contains_key(&reservation.name) {
        return Ok(());
    }
    let help = "remove those that are over";
    full("reservations", facts.reservations.len(), RESERVATIONS_MAX, help)
}

fn known_tenant(facts: &Facts, tenant: &TenantPath) -> Result<(), Refusal> {
    if facts.tenants.contains_key(tenant) {
        return Ok(());
    }
    Err(Refusal::UnknownTenant { tenant: tenant.clone() })
}

fn user_set(facts: &Facts, user: &User) -> Result<(), Refusal> {
    for tenant in &user.tenants {
        known_tenant(facts, tenant)?;
    }
    if facts.users.contains_key(&user.name) {
        return Ok(());
    }
    full("users", facts.users.len(), USERS_MAX, "remove some that are not used")
}

fn job_submitted(facts: &Facts, job: JobId, ask: &Ask) -> Result<(), Refusal> {
    ask.check()?;
    let whole = ask.devices.mechanism() == Mechanism::Whole;
    if whole != ask.devices.whole {
        return Err(Refusal::MechanismContradicts { mechanism: ask.devices.mechanism() });
    }
    known_tenant(facts, &ask.tenant)?;
    if job < facts.next_job || job == JobId(u64::MAX) {
        return Err(Refusal::JobIdUsed { job, next: facts.next_job });
    }
    full("jobs that wait or run", facts.jobs.len(), JOBS_MAX, "wait until some are over")
}

fn job_cancelled(facts: &Facts, id: JobId) -> Result<(), Refusal> {
    let job = facts.jobs.get(&id).ok_or(Refusal::UnknownJob { job: id })?;
    let already = |by: &UserName| Refusal::AlreadyCancelled { job: id, by: by.clone() };
    job.cancelled_by.as_ref().map_or(Ok(()), |by| Err(already(by)))
}

fn job_scaled(facts: &Facts, id: JobId, (min, max): (u32, u32)) -> Result<(), Refusal> {
    let job = facts.jobs.get(&id).ok_or(Refusal::UnknownJob { job: id })?;
    job_cancelled(facts, id)?;
    if job.ask.gang.kind != GangKind::Service {
        return Err(Refusal::NoService { job: id });
    }
    if (1..=GANG_MAX).contains(&min) && (min..=GANG_MAX).contains(&max) {
        return Ok(());
    }
    Err(Refusal::Replicas { min, max })
}

fn node_reported(
    facts: &Facts,
    node: &NodeId,
    this: u64,
    inventory: &Inventory,
) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = inventory.devices.iter().find(|device| !seen.insert(&device.id)) {
        return Err(Refusal::DeviceTwice { node: node.clone(), device: twice.id.clone() });
    }
    let (devices, help) = (inventory.devices.len(), "run several agents");
    full("devices on one node", devices.saturating_sub(1), NODE_DEVICES_MAX, help)?;
    match facts.nodes.get(node).map(|state| state.incarnation) {
        Some(current) if this < current => {
            Err(Refusal::OldIncarnation { node: node.clone(), current, this })
        }
        Some(_) => Ok(()),
        None => full("nodes", facts.nodes.len(), NODES_MAX, "open a second pool"),
    }
}

fn lease_of(facts: &Facts, lease: LeaseId) -> Result<&LeaseFacts, Refusal> {
    facts.leases.get(&lease).ok_or(Refusal::UnknownLease { lease })
}

/// Whether the gang a lease belongs to was told to start.
fn told_to_start(facts: &Facts, lease: &LeaseFacts) -> bool {
    let job = facts.jobs.get(&lease.lease.job);
    job.and_then(|job| job.hold.as_ref()).is_some_and(|hold| hold.start)
}

fn lease_prepared(facts: &Facts, id: LeaseId) -> Result<(), Refusal> {
    let lease = lease_of(facts, id)?;
    let state = lease.lease.state;
    // An agent that restarted prepares again, and may then hold another port. Who joins a gang that
    // was told to start is prepared after that.
    let told = state != LeaseState::Granted && told_to_start(facts, lease);
    if state > LeaseState::Prepared || told {
        return Err(Refusal::LeaseOutOfStep { lease: id, state, step: "prepared" });
    }
    Ok(())
}

fn lease_shrunk(facts: &Facts, id: LeaseId) -> Result<(), Refusal> {
    match &lease_of(facts, id)?.lease {
        lease if lease.leaving.is_zero() => Err(Refusal::NothingLeaves { lease: id }),
        _ => Ok(()),
    }
}

fn lease_started(facts: &Facts, id: LeaseId) -> Result<(), Refusal> {
    let lease = lease_of(facts, id)?;
    let state = lease.lease.state;
    if state != LeaseState::Prepared || !told_to_start(facts, lease) {
        return Err(Refusal::LeaseOutOfStep { lease: id, state, step: "started" });
    }
    Ok(())
}

/// What one task adds to what its tenants hold. What a whole device or an instance has is known
/// only once it is chosen, so the smallest that would do counts.
pub(crate) fn each(index: &Index, need: &Need) -> Held {
    let whole = || {
        let classes = index.known.keys().flat_map(|shape| &shape.classes);
        let fitting = classes.filter(|(class, _)| need.misses(class).is_empty());
        fitting.map(|(class, _)| class.memory.0).min().unwrap_or(0)
    };
    let (mut compute, mut memory) = (need.compute, need.memory);
    if need.is_whole() {
        memory = whole();
    }
    if let Some(wants) = need.wants() {
        let tables = index.known.keys().flat_map(|shape| &shape.classes);
        let fitting = tables.filter(|(class, _)| need.misses(class).is_empty());
        let least = |(class, _): &(Class, u32)| {
            let table = class.parts?;
            let profile = table.profiles.get(*table.sufficient(&wants).first()?)?;
            Some((table.compute(profile).0, profile.memory.0))
        };
        let least = fitting.filter_map(least);
        (compute, memory) = least
            .reduce(|(compute, memory), (other, bytes)| (compute.min(other), memory.min(bytes)))
            .unwrap_or((compute, memory));
    }
    Held { devices: 1, compute: compute.into(), memory: Bytes(memory), leases: 0 }
        .times(need.count.into())
}

/// Whether a pool that is empty, and a tenant that holds nothing, could ever serve an ask.
pub(crate) fn servable(facts: &Facts, index: &Index, ask: &Ask) -> Result<(), Refusal> {
    let mut need = Need::of(ask);
    if let Some(partition) = home::of(&facts.policy, ask)
        && !home::borrows(&facts.policy, ask)
    {
        need.partition = Some(partition.to_owned());
    }
    let gang = each(index, &need).times(need.min.into());
    if let Some(short) = quota::never(facts, (&ask.tenant, &ask.user), gang) {
        return Err(Refusal::PastQuota {
            asked: gang.of(short.resource),
            tenant: short.holder.tenant,
            user: short.holder.user,
            resource: short.resource,
            limit: short.limit,
        });
    }
    no_node_left(facts, ask)?;
    if ask.place.apart.is_some() {
        // Each node carries one of them.
        need.max = 1;
    }
    let rooms = index.known.iter().map(|(shape, hosts)| need.room(shape, hosts));
    let mut room = rooms.fold(0, u64::saturating_add);
    if ask.place.apart.is_some() {
        room = room.min(nodes_left(facts, ask, need.min));
    }
    if index.known.is_empty() || room >= need.min.into() {
        return Ok(());
    }
    if room == 0 {
        let devices = devices(index);
        // What all nodes lost may come back; what none ever had will not.
        if devices == 0 && need.count > 0 && facts.nodes.values().any(|node| node.had_devices) {
            return Ok(());
        }
        let (number, what) = match (need.count, devices) {
            (0, _) | (_, 0) => (nodes(index), "node"),
            (_, devices) => (devices.into(), "device"),
        };
        let nearest = need.nearest(index.known.iter()) + &of_partition(facts, ask);
        return Err(Refusal::PastPool { number, what, nearest });
    }
    Err(Refusal::GangPastPool { room, needed: need.min })
}

/// What a partition has to do with it that nothing could serve an ask: who keeps it there, or that no
/// node is in it. Empty where it has nothing.
fn of_partition(facts: &Facts, ask: &Ask) -> String {
    let all = || facts.nodes.values().flat_map(|node| &node.inventory.node.partitions);
    if let Some(named) = &ask.place.partition {
        if all().any(|partition| partition == named) {
            return String::new();
        }
        let some: BTreeSet<&str> = all().map(String::as_str).collect();
        let some: Vec<&str> = some.into_iter().take(PARTITIONS_NAMED_MAX).collect();
        return match some.len() {
            0 => format!("; no node is in partition {named}, or in any"),
            _ => format!("; no node is in partition {named}: there are {}", some.join(", ")),
        };
    }
    let Some(partition) =
        home::of(&facts.policy, ask).filter(|_| !home::borrows(&facts.policy, ask))
    else {
        return String::new();
    };
    let class = ask.when.class;
    let lends = facts.policy.classes.get(&class).is_some_and(|pool| pool.borrow);
    let borrow = if lends { "; with --preemptible it could borrow elsewhere" } else { "" };
    format!("; {class} jobs keep to partition {partition}{borrow}")
}

/// Whether a node is among those that an ask names, and none that it avoids.
fn is_named(ask: &Ask, node: &NodeId) -> bool {
    let place = &ask.place;
    let named = place.nodes.is_empty() || place.nodes.contains(node);
    named && !place.nodes_avoided.contains(node)
}

/// How many of the pool's nodes an ask's names leave for it; no more than `enough` are counted.
fn nodes_left(facts: &Facts, ask: &Ask, enough: u32) -> u64 {
    let left = facts.nodes.keys().filter(|node| is_named(ask, node));
    let enough = usize::try_from(enough).unwrap_or(usize::MAX);
    u64::try_from(left.take(enough).count()).unwrap_or(u64::MAX)
}

/// Says so when an ask names, or avoids, nodes in such a way that none of the pool is left for it.
fn no_node_left(facts: &Facts, ask: &Ask) -> Result<(), Refusal> {
    let place = &ask.place;
    let Some(known) = facts.nodes.keys().next() else { return Ok(()) };
    if nodes_left(facts, ask, 1) > 0 {
        return Ok(());
    }
    let named = place.nodes.iter().find(|node| !facts.nodes.contains_key(*node)).cloned();
    Err(Refusal::NoNodeLeft { named, known: known.clone(), nodes: facts.nodes.len() })
}

/// Nodes of the pool, whether or not they answer.
pub(crate) fn nodes(index: &Index) -> u64 {
    index.known.values().map(Hosts::nodes).sum()
}

/// Devices of the pool, whether or not they can be used now.
pub(crate) fn devices(index: &Index) -> u32 {
    let of = |(shape, hosts): (&Shape, &Hosts)| {
        shape.classes.iter().map(|(_, number)| u64::from(*number)).sum::<u64>() * hosts.nodes()
    };
    u32::try_from(index.known.iter().map(of).sum::<u64>()).unwrap_or(u32::MAX)
}
