//! Room that is kept for a job until those who leave it have left.
//!
//! What is promised counts as taken for everybody else, in space and in quota, from the moment
//! others were told to leave. The job that has the promise stands in no queue: it starts as soon as
//! they are gone, or gives the promise back when what was promised is no longer there.

use crate::Held;
use crate::facts::{Facts, JobFacts};
use crate::index::Index;
use crate::index::entry::{NodeSpace, Take};
use crate::need::Need;
use crate::quota::More;
use polder_model::{Bytes, JobId, NodeId, Spot, StopReason};
use std::collections::{BTreeMap, BTreeSet};

/// Who was promised room, and who is leaving it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Promises {
    /// Jobs still leaving, or losing members, by whom they do so for, while that one is promised
    /// what they leave.
    leaving: BTreeMap<JobId, BTreeSet<JobId>>,
    /// The same the other way round.
    leaves_for: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Jobs for which nobody is still leaving.
    ready: BTreeSet<JobId>,
    /// Jobs that were promised room, by node.
    on: BTreeMap<NodeId, BTreeSet<JobId>>,
    /// All jobs that were promised room.
    jobs: BTreeSet<JobId>,
}

/// For whom a job, or members of it, are leaving.
fn leaves_for(job: &JobFacts) -> BTreeSet<JobId> {
    let Some(hold) = job.hold.as_ref().filter(|hold| hold.live > 0) else {
        return BTreeSet::new();
    };
    let members = hold.leaving.values().map(|leaving| &leaving.why);
    let whom = |why: &StopReason| match why {
        StopReason::Preempted { job, .. } => Some(*job),
        StopReason::Shrunk { job } => *job,
        _ => None,
    };
    hold.stop.iter().chain(members).filter_map(whom).collect()
}

/// What a job was promised, node by node.
pub(crate) fn takes(job: &JobFacts) -> Vec<(&NodeId, Take)> {
    let Some(claim) = &job.claim else { return Vec::new() };
    let (need, host) = (Need::of(&job.ask), &job.ask.host);
    let take = |spot: &Spot| Take {
        cpu: host.cpu.map_or(0, |cpu| cpu.0.into()),
        memory: host.memory.map_or(0, |memory| memory.0),
        nic: host.nic.map_or(0, |nic| nic.0),
        backing: need.backing,
        devices: if need.wants().is_some() {
            Vec::new()
        } else {
            spot.devices.iter().map(|d| (d.clone(), need.compute, need.memory)).collect()
        },
        cuts: Vec::new(),
        keeps: spot.devices.iter().cloned().zip(spot.instances.iter().cloned()).collect(),
    };
    claim.spots.iter().map(|spot| (&spot.node, take(spot))).collect()
}

/// What a promise will add to what its tenants hold. A whole device's memory, and what an instance
/// has more than was asked, count when it is granted.
pub(crate) fn held(job: &JobFacts) -> Held {
    let Some(claim) = &job.claim else { return Held::default() };
    let need = Need::of(&job.ask);
    let each =
        Held { devices: 1, compute: need.compute.into(), memory: Bytes(need.memory), leases: 0 };
    let slices = claim.spots.iter().map(|spot| spot.devices.len()).sum::<usize>();
    each.times(u64::try_from(slices).unwrap_or(u64::MAX))
}

/// Frees what a job itself was promised on a node.
pub(crate) fn give_own(job: &JobFacts, node: &NodeId, space: &mut NodeSpace) {
    let takes = takes(job);
    takes.iter().filter(|(on, _)| *on == node).for_each(|(_, take)| space.give(take));
}

/// Whether all that a job was promised is free.
pub(crate) fn is_free(index: &Index, job: &JobFacts) -> bool {
    let mut spaces: BTreeMap<&NodeId, NodeSpace> = BTreeMap::new();
    takes(job).iter().all(|(node, take)| {
        if !spaces.contains_key(node)
            && let Some(mut space) = index.space.node(node)
        {
            give_own(job, node, &mut space);
            spaces.insert(node, space);
        }
        spaces.get_mut(node).is_some_and(|space| {
            let has = space.has(take);
            space.take(take);
            has
        })
    })
}

/// What was promised to others than this job.
pub(crate) fn to_others(index: &Index, job: &JobFacts) -> More {
    let mut promised = index.promised.clone();
    if job.claim.is_some() {
        promised.remove(&job.ask.tenant, &job.ask.user, held(job));
    }
    promised
}

impl Promises {
    pub(crate) fn link_job(&mut self, facts: &Facts, id: JobId, job: &JobFacts) {
        if let Some(before) = self.leaves_for.get(&id) {
            let now = leaves_for(job);
            let gone: Vec<JobId> = before.difference(&now).copied().collect();
            gone.into_iter().for_each(|other| self.has_left_for(facts, id, other));
        }
        let Some(claim) = &job.claim else { return };
        self.jobs.insert(id);
        for spot in &claim.spots {
            self.on.entry(spot.node.clone()).or_default().insert(id);
        }
        let stays = |victim: &&JobId| {
            facts.jobs.get(victim).is_some_and(|job| leaves_for(job).contains(&id))
        };
        let leaving: BTreeSet<JobId> = claim.victims.iter().filter(stays).copied().collect();
        for victim in &leaving {
            self.leaves_for.entry(*victim).or_default().insert(id);
        }
        if !leaving.is_empty() {
            self.leaving.insert(id, leaving);
        } else if job.is_queued() {
            self.ready.insert(id);
        }
    }

    pub(crate) fn unlink_job(&mut self, id: JobId, job: &JobFacts) {
        let Some(claim) = &job.claim else { return };
        self.jobs.remove(&id);
        for spot in &claim.spots {
            if let Some(jobs) = self.on.get_mut(&spot.node) {
                jobs.remove(&id);
                if jobs.is_empty() {
                    self.on.remove(&spot.node);
                }
            }
        }
        for victim in self.leaving.remove(&id).into_iter().flatten() {
            self.forget(victim, id);
        }
        self.ready.remove(&id);
    }

    /// One job no longer leaves for the other.
    fn forget(&mut self, id: JobId, other: JobId) {
        if let Some(others) = self.leaves_for.get_mut(&id) {
            others.remove(&other);
            if others.is_empty() {
                self.leaves_for.remove(&id);
            }
        }
    }

    /// A job has left, or is over.
    pub(crate) fn has_left(&mut self, facts: &Facts, id: JobId) {
        for other in self.leaves_for.get(&id).cloned().unwrap_or_default() {
            self.has_left_for(facts, id, other);
        }
    }

    fn has_left_for(&mut self, facts: &Facts, id: JobId, other: JobId) {
        self.forget(id, other);
        let Some(leaving) = self.leaving.get_mut(&other) else { return };
        leaving.remove(&id);
        if leaving.is_empty() {
            self.leaving.remove(&other);
            if facts.jobs.get(&other).is_some_and(|job| job.is_queued()) {
                self.ready.insert(other);
            }
        }
    }

    /// Jobs still leaving for a job.
    pub(crate) fn leaving_for(&self, job: JobId) -> u32 {
        self.leaving.get(&job).map_or(0, |jobs| u32::try_from(jobs.len()).unwrap_or(u32::MAX))
    }

    /// Whether anybody is still leaving for anybody.
    pub(crate) fn is_anybody_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Jobs for which all have left.
    pub(crate) fn ready(&self) -> &BTreeSet<JobId> {
        &self.ready
    }

    /// Jobs that were promised room on a node.
    pub(crate) fn on(&self, node: &NodeId) -> Vec<JobId> {
        self.on.get(node).into_iter().flatten().copied().collect()
    }

    /// Jobs that were promised room.
    pub(crate) fn jobs(&self) -> &BTreeSet<JobId> {
        &self.jobs
    }
}
