//! What a node says of itself, and what its silence does to the jobs it holds.

use crate::Engine;
use crate::facts::{Away, NodeState};
use crate::shape::Class;
use polder_model::{
    Device, DeviceId, GangKind, Health, Inventory, JobId, LeaseId, NodeFacts, NodeId, Slice, Spot,
    StopReason,
};
use std::collections::{BTreeMap, BTreeSet};

impl Engine {
    /// Room on a node that is no longer there is promised to nobody, nor is any of devices that are not what
    /// they were: instances that were promised there may not exist any more.
    pub(super) fn break_promises(&mut self, id: &NodeId, other: &BTreeSet<DeviceId>) {
        for job in self.index.promises.on(id) {
            let node = self.index.space.node(id);
            let has = |spot: &Spot| {
                spot.devices.iter().all(|device| {
                    let is_there = node.as_ref().is_some_and(|node| node.room(device).is_some());
                    is_there && !other.contains(device)
                })
            };
            let claim = self.facts.jobs.get(&job).and_then(|job| job.claim.as_ref());
            let spots = claim.map_or(&[][..], |claim| &claim.spots);
            if node.is_none() || !spots.iter().filter(|spot| spot.node == *id).all(has) {
                self.change_job(job, |job| job.claim = None);
            }
        }
    }

    pub(super) fn node_reported(&mut self, id: &NodeId, incarnation: u64, inventory: &Inventory) {
        let before = self.facts.nodes.get(id);
        let other = before.map_or_else(BTreeSet::new, |state| others(&state.inventory, inventory));
        if self.facts.nodes.contains_key(id) {
            let serves = self.leases_of_node(id).next().is_some();
            self.change_node(id, |state| {
                let less = is_less(&inventory.node, &state.inventory.node);
                state.shrank = serves && (state.shrank || less);
                state.incarnation = incarnation;
                state.had_devices |= !state.inventory.devices.is_empty();
                state.inventory = inventory.clone();
                state.silent = false;
            });
        } else {
            let state = NodeState {
                incarnation,
                inventory: inventory.clone(),
                silent: false,
                desired_version: 1,
                shrank: false,
                had_devices: false,
                slot: u32::try_from(self.facts.nodes.len()).unwrap_or(u32::MAX),
            };
            self.index.link_node(&self.facts, id, &state);
            self.facts.nodes.insert(id.clone(), state);
        }
        self.break_promises(id, &other);
        if self.facts.policy.reclaim.class {
            // Whose partition a node is in says who is a guest there.
            let leases = self.index.leases_of.get(id).into_iter().flatten();
            let jobs = leases.filter_map(|lease| Some(self.facts.leases.get(lease)?.lease.job));
            let mut jobs: Vec<JobId> = jobs.chain(self.index.promises.on(id)).collect();
            jobs.dedup();
            jobs.into_iter().for_each(|job| self.relink_live(job));
        }
        for ((job, lease), why) in self.lost_on(id, inventory) {
            self.lost_device(id, job, lease, why);
        }
    }

    /// A device under a lease went away. A replica, or who has not joined yet, goes alone.
    pub(super) fn lost_device(&mut self, node: &NodeId, job: JobId, lease: LeaseId, why: String) {
        let now = self.facts.now;
        let kind = self.facts.jobs.get(&job).map(|job| job.ask.gang.kind);
        let mut goes_alone = false;
        self.change_hold(job, |hold| {
            if hold.leaving.contains_key(&lease) {
                return;
            }
            goes_alone = kind == Some(GangKind::Service) || hold.joining.contains_key(&lease);
            if goes_alone {
                hold.leave(lease, StopReason::DeviceLost { why }, now);
            } else {
                hold.away.get_or_insert(Away { node: node.clone(), why });
            }
        });
        if goes_alone {
            self.bump(node);
        }
    }

    /// Leases whose slices a node no longer has, or whose devices failed, by job, and why.
    pub(super) fn lost_on(
        &self,
        id: &NodeId,
        inventory: &Inventory,
    ) -> BTreeMap<(JobId, LeaseId), String> {
        let devices: BTreeMap<_, _> =
            inventory.devices.iter().map(|device| (&device.id, device)).collect();
        let leases = || self.leases_of_node(id);
        let mut held: BTreeMap<_, u64> = BTreeMap::new();
        for (lease, slice) in
            leases().flat_map(|lease| lease.slices.iter().map(move |s| (lease, s)))
        {
            let sum = held.entry(&slice.device).or_default();
            *sum = sum.saturating_add(lease.kept(slice).0);
        }
        let mut lost = BTreeMap::new();
        for lease in leases() {
            for slice in &lease.slices {
                let why = match devices.get(&slice.device) {
                    None => "is gone",
                    Some(Device { health: Health::Failed(why), .. }) => why.as_str(),
                    Some(now) if held.get(&slice.device) > Some(&now.memory.0) => "lost memory",
                    Some(now) if !can_have(now, slice) => "is no longer cut so",
                    Some(_) => continue,
                };
                let why = || format!("device {} of node {id} {why}", slice.device);
                lost.entry((lease.job, lease.id)).or_insert_with(why);
            }
        }
        lost
    }

    pub(super) fn node_silent(&mut self, id: &NodeId) {
        self.change_node(id, |state| state.silent = true);
        self.break_promises(id, &BTreeSet::new());
        let jobs: BTreeSet<JobId> = self.leases_of_node(id).map(|lease| lease.job).collect();
        for job in jobs {
            let away = Away { node: id.clone(), why: format!("node {id} does not answer") };
            self.change_hold(job, |hold| {
                // A gang that was told to start may run there: only its node can say.
                if !hold.start {
                    hold.away.get_or_insert(away);
                }
            });
        }
    }
}

/// Whether a machine has less of anything beside its devices than it had.
fn is_less(now: &NodeFacts, before: &NodeFacts) -> bool {
    let beside = now.cpu < before.cpu || now.memory < before.memory;
    beside || now.nic < before.nic || now.backing < before.backing
}

/// Devices that a node had before and has now, and that are of another kind now, or of another size.
fn others(before: &Inventory, now: &Inventory) -> BTreeSet<DeviceId> {
    let is = Class::of;
    let had: BTreeMap<_, _> = before.devices.iter().map(|one| (&one.id, is(one))).collect();
    let is_other = |one: &&Device| had.get(&one.id).is_some_and(|had| *had != is(one));
    now.devices.iter().filter(is_other).map(|one| one.id.clone()).collect()
}

/// Whether a device can have the instance of a slice, if it is one.
fn can_have(device: &Device, slice: &Slice) -> bool {
    let Some(instance) = &slice.instance else { return true };
    let parts = Class::of(device).parts;
    parts.is_some_and(|table| {
        let profile = table.profile(&instance.profile).and_then(|at| table.profiles.get(at));
        profile.is_some_and(|profile| profile.starts.contains(&instance.start))
    })
}
