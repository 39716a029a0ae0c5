//! Slices granted to one task: the unit of enforcement, metering and billing.

use crate::{
    Bytes, DeviceId, Isolation, JobId, LeaseId, Mechanism, Micros, NodeId, Permille, TaskIndex,
    TenantPath, Timestamp, UserName,
};
use serde::{Deserialize, Serialize};

/// A share of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Slice {
    /// Which device of the lease's node.
    pub device: DeviceId,
    /// How it is cut.
    pub mechanism: Mechanism,
    /// Guaranteed compute.
    pub compute: Permille,
    /// Most compute it may reach when others are idle.
    pub compute_max: Permille,
    /// Memory guaranteed, and the most it may hold. A whole slice has the device's.
    pub memory: Bytes,
    /// The instance, where the hardware cuts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
}

/// A part of a device that its hardware cut.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Instance {
    /// The vendor's name of its size: `2g.20gb`.
    pub profile: String,
    /// The memory slot it begins at.
    pub start: u8,
}

/// How far a lease has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Journaled; its node does not hold it yet.
    Granted,
    /// The node holds pages, directories and limits; the program has not started.
    Prepared,
    /// The program runs; billing began.
    Started,
    /// Over.
    Ended,
}

/// Slices granted to one task from a start to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lease {
    /// Its number, never used again.
    pub id: LeaseId,
    /// Whose.
    pub job: JobId,
    /// Which member of the gang.
    pub task: TaskIndex,
    /// Which try of the job.
    pub attempt: u32,
    /// Who pays.
    pub tenant: TenantPath,
    /// Who asked.
    pub user: UserName,
    /// Where.
    pub node: NodeId,
    /// What, all on `node`.
    pub slices: Vec<Slice>,
    /// How far it has come.
    pub state: LeaseState,
    /// What is guaranteed, once the node has prepared it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When its program started, by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How long its node keeps it running without contact.
    pub contact_limit: Micros,
}
