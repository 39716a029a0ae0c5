//! Everything derived from the facts to make decisions fast.
//!
//! Whoever changes a fact unlinks what depends on it before and links it again after; the result
//! always equals [`Index::build`], which `Engine::check` verifies.

pub(crate) mod alike;
pub(crate) mod entry;
pub(crate) mod queue;
pub(crate) mod rule;
pub(crate) mod space;
mod suit;

use crate::Held;
use crate::ahead::Runs;
use crate::facts::{Facts, Hold, JobFacts, LeaseFacts, NodeState};
use crate::fleet::NodeIx;
use crate::members;
use crate::quota::More;
use crate::reclaim::live::Live;
use crate::reclaim::promise::{self, Promises};
use crate::shape::{Host, Hosts, Shape};
use crate::step::step;
use alike::Alike;
use entry::{Entry, Take};
use polder_model::{
    Ask, Bytes, Device, Health, JobId, Lease, LeaseId, NodeId, Slice, TenantPath, Timestamp,
    UserName,
};
use queue::Queue;
use rule::Making;
use space::Space;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything derived from the facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    pub(crate) queue: Queue,
    pub(crate) space: Space,
    /// Nodes by what they have, whether or not it can be used now.
    pub(crate) known: BTreeMap<Shape, Hosts>,
    /// What each tenant and all below it hold.
    pub(crate) held: BTreeMap<TenantPath, Held>,
    /// What each user holds in each tenant and all below it, where the tenant limits its users.
    pub(crate) user_held: BTreeMap<(TenantPath, UserName), Held>,
    /// What each tenant and all below it hold, in thousandths of a device, weighted by the devices' models.
    pub(crate) weighted: BTreeMap<TenantPath, u64>,
    /// Jobs that are not over, by tenant.
    pub(crate) jobs_of: BTreeMap<TenantPath, u64>,
    pub(crate) leases_of: BTreeMap<NodeId, BTreeSet<LeaseId>>,
    /// Tasks that want to be apart: by tenant and word, how many are on which node, or promised room
    /// there.
    pub(crate) apart: BTreeMap<(TenantPath, String), BTreeMap<NodeId, u32>>,
    /// Who was promised room that others are leaving.
    pub(crate) promises: Promises,
    /// What was promised, by whose quota it counts against.
    pub(crate) promised: More,
    /// Who could yield.
    pub(crate) live: Live,
    /// Jobs that have the same index of service.
    pub(crate) alike: Alike,
    /// Jobs for which a next step is due whatever the time.
    pub(crate) due: BTreeSet<JobId>,
    /// When what runs is believed to end, while the policy looks ahead.
    pub(crate) runs: Runs,
    /// By when a gang must be prepared.
    pub(crate) deadlines: BTreeSet<(Timestamp, JobId)>,
    /// Jobs that go on and whose gangs may change their size.
    pub(crate) elastic: BTreeSet<JobId>,
}

/// Whether work may be placed on a device of a node that answers.
pub(crate) fn is_healthy(device: &Device) -> bool {
    device.health == Health::Healthy
}

/// What a lease takes of its node.
pub(crate) fn take_of(lease: &Lease, ask: &Ask) -> Take {
    let device = |slice: &Slice| (slice.device.clone(), slice.compute.0, lease.kept(slice).0);
    let cut = |slice: &Slice| Some((slice.device.clone(), slice.instance.clone()?));
    Take {
        cpu: ask.host.cpu.map_or(0, |cpu| cpu.0.into()),
        memory: ask.host.memory.map_or(0, |memory| memory.0),
        nic: ask.host.nic.map_or(0, |nic| nic.0),
        backing: ask.devices.backing_each_task().0,
        devices: lease.slices.iter().map(device).collect(),
        cuts: lease.slices.iter().filter_map(cut).collect(),
        keeps: Vec::new(),
    }
}

/// What a lease adds to what its tenants hold.
pub(crate) fn held_of(lease: &Lease) -> Held {
    lease.slices.iter().fold(Held { leases: 1, ..Held::default() }, |held, slice| Held {
        devices: held.devices + 1,
        compute: held.compute + u64::from(slice.compute.0),
        memory: Bytes(held.memory.0.saturating_add(lease.kept(slice).0)),
        ..held
    })
}

/// By when a gang, or who joins it, must be prepared, while that is still open. While no writer was there nobody
/// could say that it was prepared, so that time does not count.
fn deadline(facts: &Facts, job: &JobFacts) -> Option<Timestamp> {
    let open = |hold: &&Hold| !hold.is_stopping() && hold.live > 0;
    let hold = job.hold.as_ref().filter(open).filter(|_| job.cancelled_by.is_none())?;
    let since = if hold.start { hold.waits_to_join()? } else { hold.granted_at };
    Some(since.max(facts.since).after(facts.policy.prepare_limit))
}

/// A node as placement knows it: its healthy devices.
fn entry(id: &NodeId, node: &NodeState) -> Entry {
    let inventory = &node.inventory;
    let (shape, devices) = Shape::with_devices(inventory, is_healthy);
    Entry::new(id.clone(), Arc::new(shape), Host::of(&inventory.node), devices)
}

impl Index {
    /// The index of these facts, from nothing.
    pub(crate) fn build(facts: &Facts) -> Self {
        let mut index = Self::default();
        for tenant in facts.tenants.values() {
            index.live.link_tenant(facts, &tenant.tenant);
        }
        index.judge(facts);
        for (id, lease) in &facts.leases {
            index.link_lease(facts, *id, lease);
        }
        for (id, node) in &facts.nodes {
            index.link_node(facts, id, node);
        }
        for (id, job) in &facts.jobs {
            index.count_job(job);
            index.link_job(facts, *id, job);
        }
        index
    }

    /// The parts in which it is not equal to another.
    pub(crate) fn differs(&self, other: &Self) -> Vec<&'static str> {
        let parts = [
            ("queue", self.queue == other.queue),
            ("space", self.space == other.space),
            ("known", self.known == other.known),
            ("held", self.held == other.held && self.weighted == other.weighted),
            ("user_held", self.user_held == other.user_held),
            ("jobs_of", self.jobs_of == other.jobs_of),
            ("leases_of", self.leases_of == other.leases_of),
            ("apart", self.apart == other.apart),
            ("promises", self.promises == other.promises && self.promised == other.promised),
            ("live", self.live == other.live),
            ("runs", self.runs == other.runs),
            ("due", self.due == other.due && self.deadlines == other.deadlines),
        ];
        parts.into_iter().filter(|(_, equal)| !equal).map(|(part, _)| part).collect()
    }

    /// Takes in by what places are judged.
    pub(crate) fn judge(&mut self, facts: &Facts) {
        let (place, suit) = (facts.policy.place.rule, facts.policy.place.suit);
        let usual = if rule::needs_usual(place) { facts.history.usual() } else { &[] };
        self.space.make_rule(Making { place, suit, usual: usual.to_vec() });
    }

    /// Takes in a job that is not over yet.
    pub(crate) fn count_job(&mut self, job: &JobFacts) {
        *self.jobs_of.entry(job.ask.tenant.clone()).or_default() += 1;
    }

    /// The reverse of [`Index::count_job`].
    pub(crate) fn discount_job(&mut self, job: &JobFacts) {
        if let Some(jobs) = self.jobs_of.get_mut(&job.ask.tenant) {
            *jobs -= 1;
            if *jobs == 0 {
                self.jobs_of.remove(&job.ask.tenant);
            }
        }
    }

    pub(crate) fn link_job(&mut self, facts: &Facts, id: JobId, job: &JobFacts) {
        if job.is_queued() && job.claim.is_none() {
            self.queue.insert(facts, id, job, facts.now);
        }
        if step(&facts.policy, id, job).is_some() {
            self.due.insert(id);
        }
        if let Some(deadline) = deadline(facts, job) {
            self.deadlines.insert((deadline, id));
        }
        if members::resizable(job).is_some() {
            self.elastic.insert(id);
        }
        self.promises.link_job(facts, id, job);
        if let Some(claim) = &job.claim {
            if let Some(word) = &job.ask.place.apart {
                let on = self.apart.entry((job.ask.tenant.clone(), word.clone())).or_default();
                claim.spots.iter().for_each(|spot| *on.entry(spot.node.clone()).or_default() += 1);
            }
            for (node, take) in promise::takes(job) {
                self.space.take(node, &take);
            }
            self.promised.add(&job.ask.tenant, &job.ask.user, promise::held(job));
        }
        self.live.link_job(facts, id, job, facts.now);
        self.alike.link_job(facts, id, job);
    }

    pub(crate) fn unlink_job(&mut self, facts: &Facts, id: JobId, job: &JobFacts) {
        if job.is_queued() && job.claim.is_none() {
            self.queue.remove(facts, id, job, facts.now);
        }
        self.alike.unlink_job(facts, id, job);
        self.due.remove(&id);
        self.elastic.remove(&id);
        if let Some(deadline) = deadline(facts, job) {
            self.deadlines.remove(&(deadline, id));
        }
        self.promises.unlink_job(id, job);
        if let Some(claim) = &job.claim {
            for spot in claim.spots.iter().filter(|_| job.ask.place.apart.is_some()) {
                let word = job.ask.place.apart.as_deref().unwrap_or_default();
                self.together_again(&job.ask.tenant, word, &spot.node);
            }
            for (node, take) in promise::takes(job) {
                self.space.give(node, &take);
            }
            self.promised.remove(&job.ask.tenant, &job.ask.user, promise::held(job));
        }
    }

    pub(crate) fn link_lease(&mut self, facts: &Facts, id: LeaseId, whole: &LeaseFacts) {
        let weighted = whole.weighted;
        let lease = &whole.lease;
        let added = held_of(lease);
        for tenant in lease.tenant.lineage() {
            *self.weighted.entry(tenant.clone()).or_default() += weighted;
            if facts.limits_users_itself(&tenant) {
                let user = (tenant.clone(), lease.user.clone());
                self.user_held.entry(user).or_default().add(added);
            }
            self.held.entry(tenant).or_default().add(added);
        }
        self.leases_of.entry(lease.node.clone()).or_default().insert(id);
        if let Some(job) = facts.jobs.get(&lease.job) {
            if let Some(word) = &job.ask.place.apart {
                let on = self.apart.entry((lease.tenant.clone(), word.clone())).or_default();
                *on.entry(lease.node.clone()).or_default() += 1;
            }
            let take = take_of(lease, &job.ask);
            self.space.take(&lease.node, &take);
        }
        self.link_run(facts, id, whole);
    }

    /// The fact itself must be gone already: what is free on its node is computed anew.
    pub(crate) fn unlink_lease(&mut self, facts: &Facts, id: LeaseId, lease: &LeaseFacts) {
        self.runs.remove(id);
        let weighted = lease.weighted;
        let lease = &lease.lease;
        let gone = held_of(lease);
        for tenant in lease.tenant.lineage() {
            let user = (tenant.clone(), lease.user.clone());
            if let Some(held) = self.user_held.get_mut(&user) {
                held.subtract(gone);
                if *held == Held::default() {
                    self.user_held.remove(&user);
                }
            }
            if let Some(held) = self.weighted.get_mut(&tenant) {
                *held = held.saturating_sub(weighted);
            }
            if let Some(held) = self.held.get_mut(&tenant) {
                held.subtract(gone);
                if *held == Held::default() {
                    self.held.remove(&tenant);
                    self.weighted.remove(&tenant);
                }
            }
        }
        if let Some(leases) = self.leases_of.get_mut(&lease.node) {
            leases.remove(&id);
            if leases.is_empty() {
                self.leases_of.remove(&lease.node);
            }
        }
        if let Some(job) = facts.jobs.get(&lease.job) {
            if let Some(word) = &job.ask.place.apart {
                self.together_again(&lease.tenant, word, &lease.node);
            }
            self.space.give(&lease.node, &take_of(lease, &job.ask));
            self.live.unlink_lease(facts, (lease.job, job), lease);
        }
    }

    /// One task that wants to be apart has left a node.
    fn together_again(&mut self, tenant: &TenantPath, word: &str, node: &NodeId) {
        let key = (tenant.clone(), word.to_owned());
        let Some(on) = self.apart.get_mut(&key) else { return };
        if let Some(tasks) = on.get_mut(node) {
            *tasks -= 1;
            if *tasks == 0 {
                on.remove(node);
            }
        }
        if on.is_empty() {
            self.apart.remove(&key);
        }
    }

    pub(crate) fn link_node(&mut self, facts: &Facts, id: &NodeId, node: &NodeState) {
        let hosts = self.known.entry(Shape::of(&node.inventory, |_| true)).or_default();
        hosts.insert(Host::of(&node.inventory.node));
        if !node.silent {
            self.space.insert(NodeIx(node.slot), entry(id, node));
            for lease in self.leases_of.get(id).into_iter().flatten() {
                if let Some(LeaseFacts { lease, .. }) = facts.leases.get(lease)
                    && let Some(job) = facts.jobs.get(&lease.job)
                {
                    self.space.take(id, &take_of(lease, &job.ask));
                }
            }
            for job in self.promises.on(id).iter().filter_map(|job| facts.jobs.get(job)) {
                for (_, take) in promise::takes(job).iter().filter(|(node, _)| *node == id) {
                    self.space.take(id, take);
                }
            }
        }
        self.live.link_node(facts, id, node);
        let leases: Vec<LeaseId> = self.leases_of.get(id).into_iter().flatten().copied().collect();
        for lease in leases {
            if let Some(of) = facts.leases.get(&lease) {
                self.link_run(facts, lease, of);
            }
        }
    }

    pub(crate) fn unlink_node(&mut self, id: &NodeId, node: &NodeState) {
        let shape = Shape::of(&node.inventory, |_| true);
        if let Some(hosts) = self.known.get_mut(&shape) {
            hosts.remove(Host::of(&node.inventory.node));
            if hosts.is_empty() {
                self.known.remove(&shape);
            }
        }
        self.space.remove(id);
    }
}
