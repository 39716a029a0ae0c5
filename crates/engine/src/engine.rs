//! The state machine and what may be asked of it.

use crate::facts::{Facts, Hold, JobFacts, NodeState};
use crate::{ApplyError, Held, Policy, Refusal, Report};
use polder_model::{
    Ask, Decision, DeviceId, Event, Explanation, Inventory, Job, JobId, JobState, Lease, LeaseId,
    LeaseOrder, NodeId, Tenant, TenantPath, Timestamp, Tombstone, User,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole state. Its serialized form is the snapshot, and is exact.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Engine {
    pub(crate) facts: Facts,
}

/// A job that is not over, as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView<'a> {
    /// Its number.
    pub id: JobId,
    /// What was asked.
    pub ask: &'a Ask,
    /// Where it stands.
    pub state: JobState,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// When its first task of this try started.
    pub started_at: Option<Timestamp>,
    /// Leases of this try, by rank, the ended ones too.
    pub leases: &'a [LeaseId],
}

/// A node as last reported.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView<'a> {
    /// Its name.
    pub id: &'a NodeId,
    /// Its agent's incarnation.
    pub incarnation: u64,
    /// What it has.
    pub inventory: &'a Inventory,
    /// Whether it has not called for longer than the server waits.
    pub silent: bool,
    /// What leases hold on it, by device.
    pub held: BTreeMap<DeviceId, Held>,
}

/// Something that must never be true, found by [`Engine::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was found, with its numbers.
    pub what: String,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { facts: Facts::new(policy) }
    }

    /// The settings it decides by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.facts.policy
    }

    /// `at` of the last event applied.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.facts.now
    }

    /// Whether an event is acceptable now. Asked before a write is journaled; `apply` accepts
    /// whatever this accepted in the same state.
    ///
    /// # Errors
    /// Names what stands against it and says what to do.
    pub fn admit(&self, _at: Timestamp, _event: &Event) -> Result<(), Refusal> {
        Ok(())
    }

    /// Takes one event in.
    ///
    /// # Errors
    /// The event cannot be true after those before it; the state is left as it was.
    pub fn apply(&mut self, at: Timestamp, _event: &Event) -> Result<(), ApplyError> {
        self.facts.now = at;
        Ok(())
    }

    /// What should happen now, and why the rest does not. Leaves no state behind. Apply the
    /// decisions as [`Event::Decided`] and plan again, until there are none.
    #[must_use]
    pub fn plan(&self, _at: Timestamp) -> (Vec<Decision>, Report) {
        (Vec::new(), Report::default())
    }

    /// The first moment later than `after` at which `plan` could say something new although no
    /// event came.
    #[must_use]
    pub fn next_wake(&self, _after: Timestamp) -> Option<Timestamp> {
        None
    }

    /// Why a job is where it is; `None` when it is over or never was.
    #[must_use]
    pub fn explain(&self, _at: Timestamp, _job: JobId) -> Option<Explanation> {
        None
    }

    /// The number of the next job.
    #[must_use]
    pub fn next_job_id(&self) -> JobId {
        self.facts.next_job
    }

    /// A job that is not over.
    #[must_use]
    pub fn job(&self, job: JobId) -> Option<Job> {
        self.facts.jobs.get(&job).map(|facts| view(job, facts).to_job())
    }

    /// Jobs that are not over, by number.
    pub fn jobs(&self) -> impl Iterator<Item = JobView<'_>> {
        self.facts.jobs.iter().map(|(id, facts)| view(*id, facts))
    }

    /// The jobs that wait for their turn, in order.
    pub fn queue(&self, _at: Timestamp) -> impl Iterator<Item = JobId> + '_ {
        std::iter::empty()
    }

    /// A lease that has not ended.
    #[must_use]
    pub fn lease(&self, lease: LeaseId) -> Option<&Lease> {
        self.facts.leases.get(&lease).map(|facts| &facts.lease)
    }

    /// Leases that have not ended, by number.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.facts.leases.values().map(|facts| &facts.lease)
    }

    /// Leases of one node that have not ended, by number.
    pub fn leases_of_node(&self, _node: &NodeId) -> impl Iterator<Item = &Lease> {
        std::iter::empty()
    }

    /// Nodes that ever reported, by name.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.facts.nodes.iter().map(|(id, state)| self.node_view(id, state))
    }

    /// One node.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<NodeView<'_>> {
        let (id, state) = self.facts.nodes.get_key_value(node)?;
        Some(self.node_view(id, state))
    }

    /// Tenants, by path.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.facts.tenants.values().map(|facts| &facts.tenant)
    }

    /// Users, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.facts.users.values()
    }

    /// What a tenant and all below it hold.
    #[must_use]
    pub fn held_by(&self, _tenant: &TenantPath) -> Held {
        Held::default()
    }

    /// What a node should hold: orders for leases that go on, tombstones for those to end. A
    /// tombstone stays until the lease's end is applied.
    #[must_use]
    pub fn desired(&self, _node: &NodeId) -> (Vec<LeaseOrder>, Vec<Tombstone>) {
        (Vec::new(), Vec::new())
    }

    /// Grows with every change of [`Engine::desired`] for that node; 0 for an unknown node.
    #[must_use]
    pub fn desired_version(&self, node: &NodeId) -> u64 {
        self.facts.nodes.get(node).map_or(0, |state| state.desired_version)
    }

    /// Recomputes from the leases whether any promise is broken; empty when none is.
    #[must_use]
    pub fn check(&self) -> Vec<Violation> {
        Vec::new()
    }

    fn node_view<'a>(&'a self, id: &'a NodeId, state: &'a NodeState) -> NodeView<'a> {
        NodeView {
            id,
            incarnation: state.incarnation,
            inventory: &state.inventory,
            silent: state.silent,
            held: BTreeMap::new(),
        }
    }
}

fn view(id: JobId, facts: &JobFacts) -> JobView<'_> {
    let hold = facts.hold.as_ref();
    JobView {
        id,
        ask: &facts.ask,
        state: facts.state(),
        attempt: facts.attempt,
        submitted_at: facts.submitted_at,
        started_at: hold.and_then(|hold| hold.started_at),
        leases: hold.map_or(&[], |hold: &Hold| &hold.leases),
    }
}

impl JobView<'_> {
    /// The same as a value of its own.
    #[must_use]
    pub fn to_job(&self) -> Job {
        Job {
            id: self.id,
            ask: self.ask.clone(),
            state: self.state.clone(),
            attempt: self.attempt,
            submitted_at: self.submitted_at,
            started_at: self.started_at,
            finished_at: None,
            leases: self.leases.to_vec(),
        }
    }
}
