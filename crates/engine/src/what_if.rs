//! What would happen if: on a copy, so that nothing of it is left behind.

use crate::{Engine, Refusal};
use polder_model::{
    Decision, Event, Explanation, Ground, JobId, LeaseState, NodeId, Shrink, Spot, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most plans of one question: what would follow after them is left open.
pub const WHAT_IF_PLANS_MAX: u32 = 64;

/// What would happen at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// Jobs that would start, in order, and where.
    pub starts: Vec<(JobId, Vec<Spot>)>,
    /// Jobs that would yield, for whom, and on what ground.
    pub yields: Vec<(JobId, JobId, Ground)>,
    /// Jobs with tasks on nodes that would be silent, and how many: they would be lost if the node
    /// stayed away for longer than the policy's contact limit.
    #[serde(default)]
    pub cut_off: Vec<(JobId, NodeId, u32)>,
    /// How the jobs that were asked about would stand, if they still wait then.
    pub waits: Vec<Explanation>,
    /// More would follow than was looked at.
    pub more: bool,
}

impl Engine {
    /// What would happen at once if these events came now. Nothing is changed.
    ///
    /// # Errors
    /// The first event that would not be accepted.
    pub fn what_if(&self, at: Timestamp, events: &[Event]) -> Result<Outlook, Refusal> {
        let mut copy = self.clone();
        let at = at.max(copy.now());
        let mut asked: Vec<JobId> = Vec::new();
        let mut outlook = Outlook::default();
        for event in events {
            copy.admit(at, event)?;
            if let Event::NodeSilent { node } = event {
                outlook.cut_off.extend(self.started_on(node));
            }
            if copy.apply(at, event).is_ok()
                && let Event::JobSubmitted { job, .. } = event
            {
                asked.push(*job);
            }
        }
        for plan in 0.. {
            let (decisions, _) = copy.plan(at);
            outlook.more = plan == WHAT_IF_PLANS_MAX && !decisions.is_empty();
            if decisions.is_empty() || outlook.more {
                break;
            }
            for decision in decisions {
                outlook.note(&decision);
                // What a plan says is acceptable in the state it was made in.
                let _ = copy.apply(at, &Event::Decided { decision });
            }
        }
        let waits = |job: &JobId| {
            let explanation = copy.explain(at, *job)?;
            explanation.position.is_some().then_some(explanation)
        };
        outlook.waits = asked.iter().filter_map(waits).collect();
        Ok(outlook)
    }

    /// Jobs with tasks that have started on a node, and how many.
    fn started_on(&self, node: &NodeId) -> Vec<(JobId, NodeId, u32)> {
        let mut jobs: BTreeMap<JobId, u32> = BTreeMap::new();
        let leases = self.leases_of_node(node);
        for lease in leases.filter(|lease| lease.state == LeaseState::Started) {
            *jobs.entry(lease.job).or_default() += 1;
        }
        jobs.into_iter().map(|(job, tasks)| (job, node.clone(), tasks)).collect()
    }
}

impl Outlook {
    fn note(&mut self, decision: &Decision) {
        match decision {
            Decision::Grant { job, leases } => {
                let spots = leases.iter().map(|lease| Spot {
                    node: lease.node.clone(),
                    devices: lease.slices.iter().map(|slice| slice.device.clone()).collect(),
                    instances: lease.slices.iter().filter_map(|s| s.instance.clone()).collect(),
                });
                self.starts.push((*job, spots.collect()));
            }
            Decision::Preempt { job, victims, ground, shrinks, .. } => {
                let shrink = |shrink: &Shrink| (shrink.job, *job, Ground::Elastic);
                self.yields.extend(shrinks.iter().map(shrink));
                self.yields.extend(victims.iter().map(|victim| (*victim, *job, *ground)));
            }
            _ => {}
        }
    }
}
