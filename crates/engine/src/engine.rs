//! The state machine and what may be asked of it.

use crate::facts::{Facts, Hold, JobFacts, NodeState};
use crate::index::Index;
use crate::resize::member_ids;
use crate::{Held, Policy, Refusal, admit, predict};
use polder_model::{
    Ask, DeviceId, Event, Inventory, Job, JobId, JobState, Lease, LeaseId, NodeId, Reservation,
    Resized, Tenant, TenantPath, Timestamp, User,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// The whole state. Its serialized form is the snapshot, and is exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    pub(crate) facts: Facts,
    pub(crate) index: Index,
}

impl Serialize for Engine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.facts.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Engine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut facts = Facts::deserialize(deserializer)?;
        facts.number_nodes();
        Ok(Self { index: Index::build(&facts), facts })
    }
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
    /// Members that run now.
    pub running: u32,
    /// Leases of this try, by rank, the ended ones too.
    pub leases: &'a [LeaseId],
    /// Those of them, or beside them, that leave while the others go on.
    pub leaving: Vec<LeaseId>,
    /// How its size was changed, oldest first; the last of many.
    pub resizes: &'a [Resized],
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

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let facts = Facts::new(policy);
        Self { index: Index::build(&facts), facts }
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
    pub fn admit(&self, at: Timestamp, event: &Event) -> Result<(), Refusal> {
        admit::possible(&self.facts, &self.index, event)?;
        match event {
            Event::JobSubmitted { ask, .. } => {
                ask.check_written()?;
                admit::servable(&self.facts, &self.index, ask)
            }
            Event::JobResized { job, to, .. } => self.may_resize(at, *job, to),
            Event::TenantSet { tenant } if tenant.share.weight == 0 => {
                Err(Refusal::NoWeight { tenant: tenant.path.clone() })
            }
            _ => Ok(()),
        }
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

    /// A lease that has not ended.
    #[must_use]
    pub fn lease(&self, lease: LeaseId) -> Option<&Lease> {
        self.facts.leases.get(&lease).map(|facts| &facts.lease)
    }

    /// Leases that have not ended, by number.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.facts.leases.values().map(|facts| &facts.lease)
    }

    /// Since when a lease that runs has the slices that it has: the moment its present term began.
    #[must_use]
    pub fn term_since(&self, lease: LeaseId) -> Option<Timestamp> {
        let facts = self.facts.leases.get(&lease)?;
        facts.lease.started_at.map(|started| facts.sized_at.map_or(started, |at| at.max(started)))
    }

    /// Leases that changing the size of a job's tasks is about: those that have not ended and do
    /// not leave.
    #[must_use]
    pub fn resizable(&self, job: JobId) -> Vec<LeaseId> {
        self.facts.jobs.get(&job).map_or_else(Vec::new, |job| member_ids(&self.facts, job))
    }

    /// Leases of one node that have not ended, by number.
    pub fn leases_of_node(&self, node: &NodeId) -> impl Iterator<Item = &Lease> {
        let leases = self.index.leases_of.get(node).into_iter().flatten();
        leases.filter_map(|id| self.lease(*id))
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

    /// Reservations, by name.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.facts.reservations.values()
    }

    /// Thousandths of a device that jobs will probably ask for in each of the hours ahead.
    #[must_use]
    pub fn demand_ahead(&self, at: Timestamp, hours: usize) -> Vec<predict::Expected> {
        self.facts.history.ahead(at, hours)
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
    pub fn held_by(&self, tenant: &TenantPath) -> Held {
        self.index.held.get(tenant).copied().unwrap_or_default()
    }

    fn node_view<'a>(&'a self, id: &'a NodeId, state: &'a NodeState) -> NodeView<'a> {
        let mut held: BTreeMap<DeviceId, Held> = BTreeMap::new();
        for lease in self.leases_of_node(id) {
            for slice in &lease.slices {
                let sum = held.entry(slice.device.clone()).or_default();
                sum.add(Held {
                    devices: 1,
                    compute: slice.compute.0.into(),
                    memory: lease.kept(slice),
                    leases: 1,
                });
            }
        }
        NodeView {
            id,
            incarnation: state.incarnation,
            inventory: &state.inventory,
            silent: state.silent,
            held,
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
        running: hold.map_or(0, Hold::running),
        leases: hold.map_or(&[], |hold: &Hold| &hold.leases),
        leaving: hold.map_or_else(Vec::new, |hold| hold.leaving.keys().copied().collect()),
        resizes: &facts.resizes,
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
            running: self.running,
            leases: {
                let beside = |lease: &&LeaseId| !self.leases.contains(lease);
                let beside = self.leaving.iter().filter(beside);
                self.leases.iter().chain(beside).copied().collect()
            },
            resizes: self.resizes.to_vec(),
        }
    }
}
