//! The life of a lease, and what its end says of its job.

use crate::Engine;
use crate::facts::{Evicted, Hold};
use polder_model::{
    FINDINGS_MAX, Finding, Isolation, Lease, LeaseEnd, LeaseId, LeaseState, Micros, NotEnforced,
    Outcome, Slice, StopReason, TenantPath, Timestamp,
};

impl Engine {
    pub(super) fn lease_prepared(
        &mut self,
        id: LeaseId,
        isolation: Isolation,
        master_port: Option<u16>,
        not_enforced: &[NotEnforced],
    ) {
        let Some(facts) = self.facts.leases.get_mut(&id) else { return };
        let first = facts.lease.state == LeaseState::Granted;
        let node = facts.lease.node.clone();
        facts.lease.state = LeaseState::Prepared;
        facts.lease.isolation = Some(isolation);
        facts.lease.not_enforced = not_enforced.to_vec();
        facts.master_port = master_port;
        let job = facts.lease.job;
        if first {
            let mut joins = false;
            self.change_hold(job, |hold| {
                let joining = hold.joining.get_mut(&id);
                joins = joining.map(|joining| joining.is_prepared = true).is_some();
                // Who leaves counts no longer.
                hold.prepared += u32::from(joins || !hold.leaving.contains_key(&id));
            });
            if joins {
                // It need wait for nobody.
                self.bump(&node);
            }
        }
    }

    pub(super) fn lease_started(&mut self, at: Timestamp, id: LeaseId) {
        let Some(facts) = self.facts.leases.get_mut(&id) else { return };
        facts.lease.state = LeaseState::Started;
        facts.lease.started_at = Some(at);
        let job = facts.lease.job;
        if let Some(lease) = self.facts.leases.get(&id) {
            self.index.link_run(&self.facts, id, lease);
        }
        self.change_hold(job, |hold| {
            hold.joining.remove(&id);
            hold.started_at.get_or_insert(at);
        });
    }

    /// Kept for whoever looks: nothing is decided by it.
    pub(super) fn lease_found(&mut self, id: LeaseId, finding: &Finding) {
        let Some(facts) = self.facts.leases.get_mut(&id) else { return };
        let known = &mut facts.lease.findings;
        if known.len() < FINDINGS_MAX && !known.iter().any(|one| one.is_again(finding)) {
            known.push(finding.clone());
        }
    }

    pub(super) fn lease_ended(&mut self, at: Timestamp, id: LeaseId, end: &LeaseEnd) {
        let Some(ended) = self.facts.leases.remove(&id) else { return };
        self.note_use(at, &ended.lease.tenant);
        self.index.unlink_lease(&self.facts, id, &ended);
        let lease = ended.lease;
        let returns_max = self.facts.policy.returns_max;
        let devices = u64::try_from(lease.slices.len()).unwrap_or(u64::MAX).max(1);
        let ran = lease.started_at.map_or(Micros(0), |start| at.since(start));
        let served = ran.0.saturating_mul(devices);
        self.change_job(lease.job, |job| {
            job.served = job.served.saturating_add(served);
            let cancelled = job.cancelled_by.is_some();
            let Some(hold) = &mut job.hold else { return };
            hold.live = hold.live.saturating_sub(1);
            hold.shown.see(end);
            let outcome = meaning(hold, &end.outcome);
            let kind = job.ask.gang.kind;
            let is_told = hold.lost_member((id, kind), (at, ran), &end.outcome);
            if !is_told && outcome != Outcome::Succeeded {
                hold.all_succeeded = false;
                let its_own = !cancelled && !hold.is_stopping() && hold.away.is_none();
                // A program that is not there will not be there next time either.
                let hopeless = hold.returned.is_some() && is_not_started(&outcome);
                if hold.failed.is_none() && (its_own || hopeless) {
                    hold.failed = Some((id, outcome));
                }
            }
            if hold.live == 0 && hold.yielded() && !cancelled {
                job.preempted = job.preempted.saturating_add(1);
                job.evicted = match hold.stop {
                    Some(StopReason::Preempted { job, ground }) => {
                        Some(Evicted { by: job, ground })
                    }
                    _ => None,
                };
                job.hold = None;
                return;
            }
            let again = hold.live == 0 && hold.returned.is_some() && hold.failed.is_none();
            if again && !cancelled && job.returns < returns_max {
                job.returns += 1;
                job.hold = None;
            }
        });
        self.requeued(lease.job);
        self.bump(&lease.node);
    }

    /// Brings up to date what a tenant and those above it have had, before what they hold changes.
    pub(super) fn note_use(&mut self, at: Timestamp, tenant: &TenantPath) {
        let Some(half_life) = self.facts.policy.fair_share.half_life else { return };
        for path in tenant.lineage() {
            let rate = self.index.weighted.get(&path).copied().unwrap_or(0);
            if let Some(tenant) = self.facts.tenants.get_mut(&path) {
                tenant.used = tenant.used.at(at, rate, half_life);
            }
        }
    }

    /// A lease's compute, weighted by the models of its devices.
    pub(super) fn weighted(&self, lease: &Lease) -> u64 {
        let weights = &self.facts.policy.fair_share.model_weights;
        let node = (!weights.is_empty()).then(|| self.facts.nodes.get(&lease.node)).flatten();
        let model = |slice: &Slice| {
            let devices = &node?.inventory.devices;
            Some(devices.iter().find(|device| device.id == slice.device)?.model.as_str())
        };
        let of = |slice: &Slice| {
            let compute = u64::from(slice.compute.0);
            let Some(model) = model(slice) else { return compute };
            let weight = weights.iter().find(|(part, _)| model.contains(part.as_str()));
            compute.saturating_mul(weight.map_or(1000, |(_, weight)| u64::from(*weight))) / 1000
        };
        lease.slices.iter().map(of).fold(0, u64::saturating_add)
    }
}

fn is_not_started(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::NotStarted { .. })
}

/// What a lease's end says of its job, given what the job was told.
fn meaning(hold: &Hold, outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Returned if hold.returned.is_none() => {
            Outcome::Lost { why: "its node gave it back unasked".to_owned() }
        }
        Outcome::Succeeded if !hold.start => {
            Outcome::Lost { why: "its node ended it before it was told to start".to_owned() }
        }
        other => other.clone(),
    }
}
