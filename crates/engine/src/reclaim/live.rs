//! Keeps [`Running`] equal to the facts: which job, node and tenant is which number.
//!
//! A job is in here while it holds leases and nothing ends them; while others leave room for it, or
//! room is kept for it, what it was promised is in here instead. Numbers depend on history; two
//! values are equal when they say the same of the same names.

use super::cover::{Cover, Share};
use super::room::{Piece, Room, Rooms, part};
use super::running::{GangFacts, MemberFacts, Running, Yields};
use crate::Held;
use crate::decided::may_yield;
use crate::facts::{Facts, Hold, JobFacts, NodeState};
use crate::home;
use crate::index::is_healthy;
use crate::mig::{self, Table};
use crate::need::Need;
use crate::order::priority;
use crate::order::turn::{self, Turn};
use crate::shape::Class;
use polder_model::{
    Ask, DeviceId, Ground, Instance, JobId, Lease, LeaseId, Market, NodeId, Spot, Tenant,
    TenantPath, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Who could yield, by name and number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    pub(crate) running: Running,
    /// Numbers of nodes.
    nodes: BTreeMap<NodeId, usize>,
    /// By number.
    seen: Vec<Seen>,
    tenants: BTreeMap<TenantPath, usize>,
    /// Numbers of partitions that lend room, or might.
    partitions: BTreeMap<String, usize>,
    /// Kinds of device, by number.
    pub(crate) classes: Vec<Class>,
    class_of: BTreeMap<Class, usize>,
    /// What is in `running` of each job.
    jobs: BTreeMap<JobId, Entry>,
    /// When jobs that yield have run as long as they may at least.
    ripening: BTreeSet<(Timestamp, JobId)>,
    /// When jobs in here next stand elsewhere by themselves: their priority ends, or their turn is
    /// another one.
    changing: BTreeSet<(Timestamp, JobId)>,
}

/// The island, NUMA node and rail of a device, where known.
type Lies = (Option<u32>, Option<u32>, Option<u32>);

/// A node's name and what its devices are.
#[derive(Clone, Debug, Default)]
struct Seen {
    node: Option<NodeId>,
    /// It answers.
    is_open: bool,
    /// Places of devices, never used again for another.
    places: BTreeMap<DeviceId, usize>,
    /// By place: name and class, the class where work may be placed.
    devices: Vec<(DeviceId, Option<usize>)>,
    /// By place: the island, NUMA node and rail.
    lies: Vec<Lies>,
}

/// What is known of a job, so that only what changes is linked anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    first: Option<LeaseId>,
    members: u32,
    started_at: Option<Timestamp>,
    priority: i32,
    turn: Turn,
    ripe: Option<Timestamp>,
    change: Option<Timestamp>,
    /// Partitions of other classes that it has room of.
    lenders: BTreeSet<String>,
}

/// Whether anybody ever yields: what is in here is needed by nobody else.
pub(crate) fn is_on(facts: &Facts) -> bool {
    let reclaim = &facts.policy.reclaim;
    let ends = reclaim.priority || reclaim.quota || reclaim.spot || reclaim.class || reclaim.order;
    ends || reclaim.moves_max > 0
}

/// Whether a job holds leases that nothing ends.
fn is_at_work(job: &JobFacts) -> Option<&Hold> {
    let goes_on = |hold: &&Hold| {
        hold.live > 0 && !hold.is_stopping() && hold.failed.is_none() && hold.away.is_none()
    };
    job.hold.as_ref().filter(goes_on).filter(|_| job.cancelled_by.is_none())
}

impl Live {
    pub(crate) fn link_node(&mut self, facts: &Facts, id: &NodeId, node: &NodeState) {
        if !is_on(facts) {
            return;
        }
        let place = self.node_of(id);
        let mut has = Rooms {
            devices: Vec::new(),
            cpu: node.inventory.node.cpu.0.into(),
            memory: node.inventory.node.memory.0,
            nic: node.inventory.node.nic.unwrap_or_default().0,
            backing: node.inventory.node.backing.0,
        };
        let Some(seen) = self.seen.get_mut(place) else { return };
        seen.is_open = !node.silent;
        seen.devices.iter_mut().for_each(|(_, class)| *class = None);
        for device in &node.inventory.devices {
            let at = *seen.places.entry(device.id.clone()).or_insert_with(|| {
                seen.devices.push((device.id.clone(), None));
                seen.devices.len() - 1
            });
            if !node.silent && is_healthy(device) {
                let class = Class::of(device);
                let parts = class.parts;
                let number = self.class_of.get(&class).copied().unwrap_or_else(|| {
                    self.classes.push(class.clone());
                    self.class_of.insert(class, self.classes.len() - 1);
                    self.classes.len() - 1
                });
                if let Some((_, slot)) = seen.devices.get_mut(at) {
                    *slot = Some(number);
                }
                seen.lies.resize(seen.lies.len().max(at + 1), Lies::default());
                if let Some(lies) = seen.lies.get_mut(at) {
                    *lies = (device.island, device.numa_node, device.rail);
                }
                has.devices.resize(has.devices.len().max(at + 1), Room::default());
                if let Some(room) = has.devices.get_mut(at) {
                    *room = Room::idle(device.memory.0, parts);
                }
            }
        }
        has.devices.resize(seen.devices.len(), Room::default());
        self.running.set_node(place, has);
    }

    /// The number of a node, given to it when it is first met.
    fn node_of(&mut self, id: &NodeId) -> usize {
        if let Some(place) = self.nodes.get(id) {
            return *place;
        }
        let place = self.running.add_node(Rooms::default());
        self.nodes.insert(id.clone(), place);
        self.seen.push(Seen { node: Some(id.clone()), ..Seen::default() });
        place
    }

    /// The number of a tenant, given to it and all above it when it is first met.
    fn tenant_of(&mut self, path: &TenantPath) -> usize {
        if let Some(place) = self.tenants.get(path) {
            return *place;
        }
        let mut parent = None;
        let mut lineage: Vec<TenantPath> = path.lineage().collect();
        lineage.reverse();
        for path in lineage {
            let known = self.tenants.get(&path).copied();
            let place = known.unwrap_or_else(|| self.running.add_tenant(parent));
            self.tenants.insert(path, place);
            parent = Some(place);
        }
        parent.unwrap_or_default()
    }

    pub(crate) fn link_tenant(&mut self, facts: &Facts, tenant: &Tenant) {
        if !is_on(facts) {
            return;
        }
        let place = self.tenant_of(&tenant.path);
        let deserved = Some(tenant.share.deserved).filter(|deserved| *deserved > 0);
        let deserved = Share { compute: deserved, ..Share::default() };
        let quota = &tenant.quota;
        let limit = Share {
            devices: quota.devices.map(u64::from),
            compute: quota.compute,
            memory: quota.memory.map(|memory| memory.0),
        };
        self.running.set_tenant(place, deserved, limit);
    }

    pub(crate) fn unlink_tenant(&mut self, path: &TenantPath) {
        if let Some(place) = self.tenants.get(path) {
            self.running.set_tenant(*place, Share::default(), Share::default());
        }
    }

    /// Takes in what changed of a job, as it stands at `now`; its leases must be among the facts
    /// already.
    pub(crate) fn link_job(&mut self, facts: &Facts, id: JobId, job: &JobFacts, now: Timestamp) {
        if !is_on(facts) {
            return;
        }
        let work = is_at_work(job);
        let claim = job.claim.as_ref().filter(|_| work.is_none());
        let leases = || {
            let leases = work.map_or(&[][..], |hold| &hold.leases);
            let goes_on = |lease: &&LeaseId| {
                // A rank may still name who had it last.
                work.is_some_and(|hold| !hold.leaving.contains_key(lease))
            };
            leases.iter().filter(goes_on).filter_map(|lease| facts.leases.get(lease))
        };
        let first = work.and_then(|hold| hold.leases.first()).copied();
        // A grant is told of before its leases are there.
        if claim.is_none() && leases().next().is_none() {
            self.remove_job(id);
            return;
        }
        let priority = priority(job, now);
        let turn = turn::turn(&facts.policy, job, now);
        let started_at = work.and_then(|hold| hold.started_at);
        let lenders = match claim {
            Some(claim) => lenders(facts, &job.ask, claim.spots.iter().map(|spot| &spot.node)),
            None => lenders(facts, &job.ask, leases().map(|lease| &lease.lease.node)),
        };
        let mut facts_of = self.gang_facts(facts, (id, job), work, (priority, turn));
        facts_of.lenders = lenders.iter().map(|name| self.partition_of(name)).collect();
        let ripe = facts_of
            .yields
            .map(|yields| Timestamp(facts_of.started_at.saturating_add(yields.runtime_min)));
        let when = &job.ask.when;
        let expiry = when.priority_expiry.filter(|expiry| when.priority != 0 && *expiry > now);
        let change =
            expiry.into_iter().chain(turn::next_change(facts, job, job.served_before, now)).min();
        let members = work.map_or(0, Hold::members);
        let entry = Entry { first, members, started_at, priority, turn, ripe, change, lenders };
        if self.jobs.get(&id) == Some(&entry) {
            return;
        }
        self.remove_job(id);
        let members = match claim {
            Some(claim) => claim.spots.iter().map(|spot| self.promised(facts, job, spot)).collect(),
            None => leases().map(|lease| self.member(facts, job, &lease.lease)).collect(),
        };
        self.running.add_gang(facts_of, members);
        self.ripening.extend(ripe.map(|ripe| (ripe, id)));
        self.changing.extend(change.map(|change| (change, id)));
        self.jobs.insert(id, entry);
    }

    fn gang_facts(
        &mut self,
        facts: &Facts,
        (id, job): (JobId, &JobFacts),
        work: Option<&Hold>,
        (priority, turn): (i32, Turn),
    ) -> GangFacts {
        let spot = job.ask.when.market == Market::Spot;
        let ask = &job.ask.yields;
        let runtime_min = ask.runtime_min.0.max(facts.policy.reclaim.runtime_min.0);
        let yields = Yields {
            runtime_min,
            interval: ask.checkpoint_interval.map(|interval| interval.0),
            restart: ask.restart_cost.0,
        };
        let may = spot || ask.preemptible;
        let began = |hold: &Hold| hold.started_at.unwrap_or(hold.granted_at).0;
        GangFacts {
            job: id.0,
            tenant: self.tenant_of(&job.ask.tenant),
            priority,
            spot,
            turn,
            lenders: Vec::new(),
            yields: Some(yields).filter(|_| work.is_some() && may),
            started_at: work.map_or(0, began),
            // Members beyond its fewest yield before anybody ends (see `shrink`); here a gang ends
            // as a whole.
            min: work.map_or(0, |hold| u32::try_from(hold.leases.len()).unwrap_or(u32::MAX)),
            is_complete: work.is_some_and(|hold| hold.is_complete() && hold.vacant.is_empty()),
        }
    }

    fn member(&mut self, facts: &Facts, job: &JobFacts, lease: &Lease) -> MemberFacts {
        let node = self.node_of(&lease.node);
        let mut slices = Vec::with_capacity(lease.slices.len());
        for slice in &lease.slices {
            let device = self.device_of(node, &slice.device);
            let instance = slice.instance.as_ref();
            let cut =
                instance.and_then(|part| cut(facts, (&lease.node, &slice.device), device, part));
            let (compute, memory) = (slice.compute.0, lease.kept(slice).0);
            slices.push(Piece { device, compute, memory, cut: cut.map_or(0, |piece| piece.cut) });
        }
        beside(job, node, slices)
    }

    /// What a task that was promised room will hold.
    fn promised(&mut self, facts: &Facts, job: &JobFacts, spot: &Spot) -> MemberFacts {
        let node = self.node_of(&spot.node);
        let need = Need::of(&job.ask);
        let mut slices = Vec::with_capacity(spot.devices.len());
        for (at, name) in spot.devices.iter().enumerate() {
            let device = self.device_of(node, name);
            let instance = spot.instances.get(at);
            let cut = instance.and_then(|part| cut(facts, (&spot.node, name), device, part));
            let usual = Piece { device, compute: need.compute, memory: need.memory, cut: 0 };
            slices.push(cut.unwrap_or(usual));
        }
        beside(job, node, slices)
    }

    /// The place of a device, given to it when it is first met.
    fn device_of(&mut self, node: usize, device: &DeviceId) -> usize {
        let Some(seen) = self.seen.get_mut(node) else { return 0 };
        if let Some(place) = seen.places.get(device) {
            return *place;
        }
        let place = seen.devices.len();
        seen.places.insert(device.clone(), place);
        seen.devices.push((device.clone(), None));
        self.running.grow_node(node, place + 1);
        place
    }

    /// A lease ended; its job's other members, if any, go on.
    pub(crate) fn unlink_lease(&mut self, facts: &Facts, job: (JobId, &JobFacts), lease: &Lease) {
        let (id, job) = job;
        let leaves = job.hold.as_ref().is_some_and(|hold| hold.leaving.contains_key(&lease.id));
        if !leaves && self.jobs.get(&id).is_some_and(|entry| entry.first.is_some()) {
            let member = self.member(facts, job, lease);
            self.running.remove_member(id.0, &member);
        }
    }

    pub(crate) fn remove_job(&mut self, id: JobId) {
        if let Some(entry) = self.jobs.remove(&id) {
            self.running.remove_gang(id.0);
            entry.ripe.map(|ripe| self.ripening.remove(&(ripe, id)));
            entry.change.map(|change| self.changing.remove(&(change, id)));
        }
    }

    /// Jobs that stand elsewhere by `at`, the first to change first.
    pub(crate) fn changed(&self, at: Timestamp) -> Vec<JobId> {
        let due = self.changing.range(..=(at, JobId(u64::MAX)));
        due.map(|(_, id)| *id).collect()
    }

    /// The first moment after `after` at which a job stands elsewhere.
    pub(crate) fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let later = Timestamp(after.0.saturating_add(1));
        self.changing.range((later, JobId(0))..).next().map(|(at, _)| *at)
    }

    /// Every job in here.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.keys().copied()
    }

    /// The first moment after `after` at which work may yield that might not before.
    pub(crate) fn next_ripe(&self, after: Timestamp) -> Option<Timestamp> {
        let later = Timestamp(after.0.saturating_add(1));
        self.ripening.range((later, JobId(0))..).next().map(|(at, _)| *at)
    }

    /// Whether there is work that ever yields.
    pub(crate) fn could_anybody_yield(&self) -> bool {
        !self.running.tiers.is_empty()
    }

    /// The number of a tenant that was met.
    pub(crate) fn tenant(&self, path: &TenantPath) -> Option<usize> {
        self.tenants.get(path).copied()
    }

    /// The name of a tenant. It looks through all of them.
    pub(crate) fn tenant_name(&self, tenant: usize) -> Option<&TenantPath> {
        self.tenants.iter().find(|(_, place)| **place == tenant).map(|(path, _)| path)
    }

    fn partition_of(&mut self, name: &str) -> usize {
        if let Some(place) = self.partitions.get(name) {
            return *place;
        }
        let place = self.partitions.len();
        self.partitions.insert(name.to_owned(), place);
        place
    }

    /// The partition that a job may take back for its class, if anybody has room of it.
    pub(crate) fn home(&self, facts: &Facts, ask: &Ask) -> Option<usize> {
        if !facts.policy.reclaim.class {
            return None;
        }
        self.partitions.get(home::of(&facts.policy, ask)?).copied()
    }

    /// The name of a node.
    pub(crate) fn node_name(&self, node: usize) -> Option<&NodeId> {
        self.seen.get(node)?.node.as_ref()
    }

    /// The name of a device.
    pub(crate) fn device_name(&self, node: usize, device: usize) -> Option<&DeviceId> {
        self.seen.get(node)?.devices.get(device).map(|(id, _)| id)
    }

    /// Whether a node answers.
    pub(crate) fn is_open(&self, node: usize) -> bool {
        self.seen.get(node).is_some_and(|seen| seen.is_open)
    }

    /// The kind of a device on which work may be placed.
    pub(crate) fn class(&self, node: usize, device: usize) -> Option<usize> {
        self.seen.get(node)?.devices.get(device)?.1
    }

    /// The island, NUMA node and rail of a device, where known.
    pub(crate) fn lies(&self, node: usize, device: usize) -> Lies {
        let seen = self.seen.get(node).and_then(|seen| seen.lies.get(device));
        seen.copied().unwrap_or_default()
    }

    /// Everything by name.
    fn said(&self) -> Said<'_> {
        let running = &self.running;
        let mut said = Said::default();
        for (name, place) in &self.nodes {
            let (Some(node), Some(seen)) = (running.nodes.get(*place), self.seen.get(*place))
            else {
                continue;
            };
            let free = node.free();
            let devices = seen.devices.iter().zip(&free.devices);
            let devices = devices.filter(|((_, class), _)| class.is_some());
            let devices = devices.map(|((id, class), room)| {
                let class = class.and_then(|class| self.classes.get(class));
                (id, (class, room.compute, room.memory, room.open))
            });
            let beside = [free.cpu, free.memory, free.nic, free.backing];
            said.nodes.insert(name, (seen.is_open, devices.collect(), beside));
        }
        for (path, place) in &self.tenants {
            let Some(tenant) = running.tenants.get(*place) else { continue };
            let is_set = tenant.cover.deserved().is_set() || tenant.limit.is_set();
            if is_set || !tenant.gangs.is_empty() {
                let gangs = tenant.gangs.keys().map(|standing| standing.job).collect();
                said.tenants.insert(path, (&tenant.limit, &tenant.cover, &tenant.held, gangs));
            }
        }
        for (id, entry) in &self.jobs {
            let gang = running.gang_of(id.0).and_then(|gang| running.gang(gang));
            let Some(gang) = gang else { continue };
            let members = gang.members.iter().filter_map(|member| running.member(*member));
            let members = members.filter_map(|member| {
                let node = member.facts.node;
                let slices = member.facts.slices.iter();
                let of = |piece: &Piece| {
                    Some((self.device_name(node, piece.device)?, piece.compute, piece.memory))
                };
                Some((self.node_name(node)?, slices.filter_map(of).collect()))
            });
            let mut members: Vec<_> = members.collect();
            members.sort();
            said.jobs
                .insert(*id, (entry.clone(), &gang.facts.yields, gang.facts.is_complete, members));
        }
        said
    }
}

/// The partitions of other classes that work on these nodes has room of.
fn lenders<'n>(
    facts: &Facts,
    ask: &Ask,
    nodes: impl Iterator<Item = &'n NodeId>,
) -> BTreeSet<String> {
    let (reclaim, home) = (&facts.policy.reclaim, home::of(&facts.policy, ask));
    let Some(home) = home.filter(|_| reclaim.class && may_yield(ask, Ground::Class)) else {
        return BTreeSet::new();
    };
    let partitions = nodes.filter_map(|node| facts.nodes.get(node));
    let partitions = partitions.map(|node| &node.inventory.node.partitions);
    partitions.filter(|of| !of.contains(home)).flatten().cloned().collect()
}

/// What a member of a job holds, with these slices.
fn beside(job: &JobFacts, node: usize, slices: Vec<Piece>) -> MemberFacts {
    let host = &job.ask.host;
    MemberFacts {
        node,
        slices,
        cpu: host.cpu.map_or(0, |cpu| cpu.0.into()),
        host_memory: host.memory.map_or(0, |memory| memory.0),
        nic: host.nic.map_or(0, |nic| nic.0),
        backing: job.ask.devices.backing_each_task().0,
    }
}

/// What an instance is of a device, by what the device was last said to be, faulty or not.
fn cut(
    facts: &Facts,
    (node, name): (&NodeId, &DeviceId),
    device: usize,
    instance: &Instance,
) -> Option<Piece> {
    let devices = &facts.nodes.get(node)?.inventory.devices;
    let is = devices.iter().find(|other| other.id == *name)?;
    let layouts = Table::of(&is.model, is.memory)?.layouts();
    let profile = layouts.table().profile(&instance.profile)?;
    Some(part(layouts, device, mig::Instance { profile, start: instance.start }))
}

type Devices<'l> = BTreeMap<&'l DeviceId, (Option<&'l Class>, u32, u64, u32)>;
type Members<'l> = Vec<(&'l NodeId, Vec<(&'l DeviceId, u32, u64)>)>;

/// The same by name, to compare.
#[derive(Debug, Default, PartialEq)]
struct Said<'l> {
    nodes: BTreeMap<&'l NodeId, (bool, Devices<'l>, [u64; 4])>,
    tenants: BTreeMap<&'l TenantPath, (&'l Share, &'l Cover, &'l Held, Vec<u64>)>,
    jobs: BTreeMap<JobId, (Entry, &'l Option<Yields>, bool, Members<'l>)>,
}

impl PartialEq for Live {
    fn eq(&self, other: &Self) -> bool {
        self.said() == other.said()
            && self.ripening == other.ripening
            && self.changing == other.changing
    }
}
