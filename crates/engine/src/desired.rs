//! What each node should hold.

use crate::Engine;
use crate::facts::{Hold, JobFacts, LeaseFacts};
use polder_model::{
    GangKind, GangPlace, LeaseId, LeaseOrder, LeaseState, Micros, NodeId, StopReason, Tombstone,
};

impl Engine {
    /// What a node should hold: orders for leases that go on, tombstones for those to end. A
    /// tombstone stays until the lease's end is applied.
    #[must_use]
    pub fn desired(&self, node: &NodeId) -> (Vec<LeaseOrder>, Vec<Tombstone>) {
        let (mut orders, mut tombstones) = (Vec::new(), Vec::new());
        for id in self.index.leases_of.get(node).into_iter().flatten() {
            let Some((lease, job, hold)) = self.parts(*id) else { continue };
            match why_end(*id, job, hold) {
                Some(why) => {
                    let grace = job.ask.yields.grace;
                    tombstones.push(Tombstone { lease: *id, why, grace });
                }
                None => orders.push(order(lease, job, hold)),
            }
        }
        (orders, tombstones)
    }

    /// Grows with every change of [`Engine::desired`] for that node; 0 for an unknown node.
    #[must_use]
    pub fn desired_version(&self, node: &NodeId) -> u64 {
        self.facts.nodes.get(node).map_or(0, |state| state.desired_version)
    }

    fn parts(&self, id: LeaseId) -> Option<(&LeaseFacts, &JobFacts, &Hold)> {
        let lease = self.facts.leases.get(&id)?;
        let job = self.facts.jobs.get(&lease.lease.job)?;
        Some((lease, job, job.hold.as_ref()?))
    }
}

/// Why a lease of a job is to end, if it is: the first cause, so that it does not change.
fn why_end(id: LeaseId, job: &JobFacts, hold: &Hold) -> Option<StopReason> {
    if let Some(leaving) = hold.leaving.get(&id) {
        return Some(leaving.why.clone());
    }
    if let Some(stop) = &hold.stop {
        return Some(stop.clone());
    }
    if hold.returned.is_some() {
        return Some(StopReason::Returned);
    }
    job.cancelled_by.clone().map(|by| StopReason::Cancelled { by })
}

fn order(lease: &LeaseFacts, job: &JobFacts, hold: &Hold) -> LeaseOrder {
    let alone = job.ask.gang.kind == GangKind::Service;
    let gang = if alone {
        // To its program, a replica is all there is.
        GangPlace { rank: 0, size: 1, local_rank: 0, local_size: 1, master: None }
    } else {
        GangPlace {
            rank: lease.lease.task,
            size: hold.members(),
            local_rank: lease.local_rank,
            local_size: lease.local_size,
            master: hold.master.clone(),
        }
    };
    let late = hold.started_at.map_or(Micros(0), |start| lease.lease.granted_at.since(start));
    LeaseOrder {
        lease: lease.lease.clone(),
        work: job.ask.work.clone(),
        host: job.ask.host.clone(),
        isolation: job.ask.devices.isolation,
        // Who joined later has what is left of the gang's time.
        time_limit: job.ask.when.time_limit.map(|limit| Micros(limit.0.saturating_sub(late.0))),
        grace: job.ask.yields.grace,
        gang,
        // Who joins a gang that runs starts once it is prepared itself.
        start: hold.start && lease.lease.state != LeaseState::Granted,
    }
}
