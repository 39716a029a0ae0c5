//! What is true: everything the engine knows, with nothing derived from it.
//!
//! A snapshot is exactly this. Whatever makes decisions fast is derived in [`crate::index`].

use crate::Policy;
use crate::history::{History, Shown};
use crate::members::{Joining, Leaving, Trouble};
use crate::order::decay::Faded;
use crate::policies::Policies;
use crate::predict::Outlook;
use polder_model::{
    Ask, Ground, Inventory, JobId, JobState, Lease, LeaseId, NodeId, Outcome, PoolId, Quota,
    Reservation, Resized, ReturnReason, Spot, StopReason, TaskIndex, Tenant, TenantPath, Timestamp,
    User, UserName,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything the engine knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) policy: Policy,
    /// Policies beside the one in force.
    #[serde(default)]
    pub(crate) policies: Policies,
    pub(crate) pool: Option<PoolId>,
    /// `at` of the last event.
    pub(crate) now: Timestamp,
    /// When the present writer took over.
    pub(crate) since: Timestamp,
    pub(crate) next_job: JobId,
    pub(crate) next_lease: LeaseId,
    pub(crate) tenants: BTreeMap<TenantPath, TenantFacts>,
    pub(crate) users: BTreeMap<UserName, User>,
    pub(crate) nodes: BTreeMap<NodeId, NodeState>,
    /// Nodes kept for somebody or nobody at times, by name.
    #[serde(default)]
    pub(crate) reservations: BTreeMap<String, Reservation>,
    /// What was seen of jobs.
    #[serde(default)]
    pub(crate) history: History,
    /// Jobs that are not over. Each has a place of its own: one that changes stays where it is.
    pub(crate) jobs: BTreeMap<JobId, Box<JobFacts>>,
    /// Leases that have not ended.
    pub(crate) leases: BTreeMap<LeaseId, LeaseFacts>,
}

/// A tenant and since when its quota holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TenantFacts {
    pub(crate) tenant: Tenant,
    /// Leases from this one on were granted under this quota; older ones may exceed it.
    pub(crate) since: LeaseId,
    /// What it and all below it have had, fading; kept while the policy has a half-life.
    #[serde(default)]
    pub(crate) used: Faded,
}

/// A node as last reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeState {
    pub(crate) incarnation: u64,
    pub(crate) inventory: Inventory,
    pub(crate) silent: bool,
    /// Counts changes of what the node should hold.
    pub(crate) desired_version: u64,
    /// Its machine has less than it had when some of its leases were granted.
    #[serde(default)]
    pub(crate) shrank: bool,
    /// It had devices before it last reported: they may come back.
    #[serde(default)]
    pub(crate) had_devices: bool,
    /// Its number in the order of joining; ties between nodes are broken by it.
    #[serde(default)]
    pub(crate) slot: u32,
}

/// A job that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobFacts {
    pub(crate) ask: Ask,
    pub(crate) submitted_at: Timestamp,
    pub(crate) attempt: u32,
    /// How often its gang was given back.
    pub(crate) returns: u32,
    pub(crate) cancelled_by: Option<UserName>,
    /// How often it made room for another.
    #[serde(default)]
    pub(crate) preempted: u32,
    /// For whom it made room last, while it waits again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evicted: Option<Evicted>,
    /// Device-time it had in leases that ended, in microseconds times devices.
    #[serde(default)]
    pub(crate) served: u64,
    /// Of that, what it had had when it was last queued.
    #[serde(default)]
    pub(crate) served_before: u64,
    /// What history said of it when it was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outlook: Option<Outlook>,
    /// Its index since it was queued, from the history of such jobs; less is sooner.
    #[serde(default)]
    pub(crate) index: u64,
    /// Room that others are leaving for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<Claim>,
    /// How its size was changed, oldest first; the last of many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) resizes: Vec<Resized>,
    /// The leases it was granted; absent while it waits.
    pub(crate) hold: Option<Hold>,
}

/// For whom a job made room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evicted {
    pub(crate) by: JobId,
    pub(crate) ground: Ground,
}

/// Room that others are leaving for a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The jobs that yield.
    pub(crate) victims: Vec<JobId>,
    pub(crate) ground: Ground,
    /// Where its gang will go, by rank.
    pub(crate) spots: Vec<Spot>,
}

/// The gang of one try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hold {
    /// By rank, the ended ones too; at a vacant rank, who had it last.
    pub(crate) leases: Vec<LeaseId>,
    pub(crate) granted_at: Timestamp,
    /// Leases that have not ended, of members and of those that leave.
    pub(crate) live: u32,
    /// Members that were prepared.
    pub(crate) prepared: u32,
    /// Whether the gang was told to start.
    pub(crate) start: bool,
    pub(crate) started_at: Option<Timestamp>,
    /// `address:port` of rank 0, fixed at the start.
    pub(crate) master: Option<String>,
    /// No member that ended so far ended without success.
    pub(crate) all_succeeded: bool,
    /// The first member that ended without success while nothing had ended it.
    pub(crate) failed: Option<(LeaseId, Outcome)>,
    /// What went away under a member.
    pub(crate) away: Option<Away>,
    pub(crate) stop: Option<StopReason>,
    pub(crate) returned: Option<ReturnReason>,
    /// What its members showed of it so far.
    #[serde(default)]
    pub(crate) shown: Shown,
    /// Members that came after it was told to start, and have not started.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) joining: BTreeMap<LeaseId, Joining>,
    /// Members that were told to go while the others go on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) leaving: BTreeMap<LeaseId, Leaving>,
    /// Ranks that have no member.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) vacant: BTreeSet<TaskIndex>,
    /// Ranks whose replicas ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) troubles: BTreeMap<TaskIndex, Trouble>,
    /// When members last came or went.
    #[serde(default = "never")]
    pub(crate) changed_at: Timestamp,
}

/// For holds of snapshots before gangs could change their size.
fn never() -> Timestamp {
    Timestamp(0)
}

/// A node or device that went away under a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Away {
    pub(crate) node: NodeId,
    pub(crate) why: String,
}

/// A lease that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeaseFacts {
    pub(crate) lease: Lease,
    pub(crate) local_rank: TaskIndex,
    pub(crate) local_size: u32,
    pub(crate) master_port: Option<u16>,
    /// Its compute in thousandths of a device, weighted by the device's model.
    #[serde(default)]
    pub(crate) weighted: u64,
    /// Since when it has the slices that it has, if it was resized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sized_at: Option<Timestamp>,
}

impl Facts {
    /// Whether a tenant limits what each of its users may hold.
    pub(crate) fn limits_users_itself(&self, tenant: &TenantPath) -> bool {
        let facts = self.tenants.get(tenant);
        facts.is_some_and(|facts| facts.tenant.user_quota != Quota::default())
    }

    /// Whether a tenant, or one above it, limits what each of its users may hold.
    pub(crate) fn limits_users(&self, tenant: &TenantPath) -> bool {
        tenant.lineage().any(|path| self.limits_users_itself(&path))
    }

    /// Numbers nodes that have none, as those of snapshots before nodes were numbered.
    pub(crate) fn number_nodes(&mut self) {
        let slots: BTreeSet<u32> = self.nodes.values().map(|node| node.slot).collect();
        if slots.len() == self.nodes.len() {
            return;
        }
        for (slot, node) in (0u32..).zip(self.nodes.values_mut()) {
            node.slot = slot;
        }
    }

    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            policies: Policies::default(),
            pool: None,
            now: Timestamp(0),
            since: Timestamp(0),
            next_job: JobId(1),
            next_lease: LeaseId(1),
            tenants: BTreeMap::new(),
            users: BTreeMap::new(),
            nodes: BTreeMap::new(),
            reservations: BTreeMap::new(),
            history: History::default(),
            jobs: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }
}

impl JobFacts {
    /// Waits for its turn.
    pub(crate) fn is_queued(&self) -> bool {
        self.hold.is_none() && self.cancelled_by.is_none()
    }

    pub(crate) fn state(&self) -> JobState {
        match &self.hold {
            _ if self.cancelled_by.is_some() => JobState::Stopping,
            None => JobState::Queued,
            Some(hold) if hold.is_stopping() || hold.failed.is_some() => JobState::Stopping,
            Some(hold) if hold.started_at.is_some() => JobState::Running,
            Some(_) => JobState::Starting,
        }
    }
}

impl Hold {
    /// All members were prepared.
    pub(crate) fn is_prepared(&self) -> bool {
        usize::try_from(self.prepared) == Ok(self.leases.len())
    }

    /// It was ended to make room, and its work is not done.
    pub(crate) fn yielded(&self) -> bool {
        let preempted = matches!(self.stop, Some(StopReason::Preempted { .. }));
        preempted && !self.all_succeeded
    }

    /// Its remaining leases are to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_some() || self.returned.is_some()
    }
}
