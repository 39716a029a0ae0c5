//! Slices granted to one task: the unit of enforcement, metering and billing.

use crate::{
    Bytes, DeviceId, Finding, Isolation, JobId, LeaseId, Mechanism, Micros, NodeId, Permille,
    TaskIndex, TenantPath, Timestamp, UserName, WorkClass,
};
use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// Host memory of the node that is kept behind it: what the lease may hold beyond `memory`, and
    /// never on the device.
    #[serde(default, skip_serializing_if = "Bytes::is_zero")]
    pub backing: Bytes,
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

/// Longest [`NotEnforced::why`] that is kept, bytes.
pub const NOT_ENFORCED_WHY_BYTES_MAX: usize = 512;

/// What an ask can limit of a node beside its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HostLimit {
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Network bandwidth.
    Nic,
}

impl fmt::Display for HostLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpu => "CPU",
            Self::Memory => "host memory",
            Self::Pids => "process",
            Self::Nic => "network",
        })
    }
}

/// A limit that was asked for and that the node could not set: the task runs without it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NotEnforced {
    /// Which.
    pub limit: HostLimit,
    /// What stands against it and what to do.
    pub why: String,
}

impl NotEnforced {
    /// What is kept of a node's list, whatever it sends: each limit once, with a reason of at most
    /// [`NOT_ENFORCED_WHY_BYTES_MAX`].
    #[must_use]
    pub fn bounded(mut list: Vec<Self>) -> Vec<Self> {
        list.sort();
        list.dedup_by_key(|one| one.limit);
        for one in &mut list {
            let mut ends = (0..=NOT_ENFORCED_WHY_BYTES_MAX).rev();
            let end = ends.find(|at| one.why.is_char_boundary(*at));
            one.why.truncate(end.unwrap_or(0));
        }
        list
    }
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
    /// Bytes that a resize has taken from each of its slices, and that it may still hold there:
    /// nobody else's until its node has said that no more can be held than the slice has.
    #[serde(default, skip_serializing_if = "Bytes::is_zero")]
    pub leaving: Bytes,
    /// How often its slices were changed. Its node says how many of those changes are in force.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub resizes: u32,
    /// What kind of work it does: on a shared device, who waits for it and how urgently.
    #[serde(default, skip_serializing_if = "WorkClass::is_default")]
    pub class: WorkClass,
    /// On a shared device, within its own share: goes before leases of the same kind with less. As
    /// asked, unless that had expired when it was granted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// How far it has come.
    pub state: LeaseState,
    /// What is guaranteed, once the node has prepared it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Limits on CPU, memory and processes that its node could not set; each at most once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_enforced: Vec<NotEnforced>,
    /// What its node found that breaks the rules: the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When its program started, by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How long its node keeps it running without contact.
    pub contact_limit: Micros,
}

impl Lease {
    /// Bytes of one of its devices that nobody else may have: what the slice has, and what is leaving.
    #[must_use]
    pub fn kept(&self, slice: &Slice) -> Bytes {
        Bytes(slice.memory.0.saturating_add(self.leaving.0))
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn is_none_yet(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_bounded() {
        let one = |limit, why: &str| NotEnforced { limit, why: why.to_owned() };
        let long = "\u{e9}".repeat(NOT_ENFORCED_WHY_BYTES_MAX);
        let list = vec![
            one(HostLimit::Pids, &format!("x{long}")),
            one(HostLimit::Cpu, "first"),
            one(HostLimit::Cpu, "second"),
        ];
        let kept = NotEnforced::bounded(list);
        let limits: Vec<HostLimit> = kept.iter().map(|one| one.limit).collect();
        assert_eq!(limits, [HostLimit::Cpu, HostLimit::Pids]);
        assert_eq!(kept[0].why, "first");
        assert_eq!(kept[1].why.len(), NOT_ENFORCED_WHY_BYTES_MAX - 1, "cut between characters");
    }
}
