//! What an agent and the server say to each other: one call, made again and again.
//!
//! The agent sends what it observes and gets back the leases it should have; the server holds
//! the call until that changes. A newer call (by incarnation, then sequence) ends an older one;
//! an older incarnation is refused. An agent ignores an answer older than one it has seen, and
//! ends a lease only on a [`Tombstone`]: silence, an empty answer or a restored server end nothing.

use crate::device::Inventory;
use crate::{
    Bytes, DeviceId, Finding, HostAsk, Isolation, Lease, LeaseId, Micros, NodeId, NotEnforced,
    Outcome, PoolId, StopReason, Throttle, Work,
};
use serde::{Deserialize, Serialize};

/// The protocol this program speaks; a server answers other versions with a refusal.
pub const SYNC_PROTOCOL: u32 = 1;

/// Orders desired states: a newer epoch wins, then a newer version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Version {
    /// Of which pool; an agent obeys one pool only.
    pub pool: PoolId,
    /// The writer's epoch.
    pub epoch: u64,
    /// Counts changes of this node's desired state within the epoch.
    pub version: u64,
}

/// What an agent observes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SyncRequest {
    /// [`SYNC_PROTOCOL`].
    pub protocol: u32,
    /// Who calls.
    pub node: NodeId,
    /// Grows with each start of the agent, also across reboots.
    pub incarnation: u64,
    /// Grows with each call of this incarnation.
    pub sequence: u64,
    /// The newest answer the agent acts on; the server waits until it has a newer one.
    #[serde(default)]
    pub seen: Option<Version>,
    /// Sent with the first call of an incarnation and whenever it changed.
    #[serde(default)]
    pub inventory: Option<Inventory>,
    /// Every lease the agent holds, and every end not yet acknowledged by its absence.
    pub leases: Vec<LeaseReport>,
    /// How long the server may hold the call.
    pub wait: Micros,
}

/// One lease as its node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LeaseReport {
    /// Which.
    pub lease: LeaseId,
    /// How far it has come there.
    pub phase: Phase,
    /// What it uses now; present from `Started` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<LeaseSample>,
    /// How many of its lease's resizes are in force: the memory of that many holds, and its programs
    /// neither have nor can come to have more.
    #[serde(default, skip_serializing_if = "crate::lease::is_none_yet")]
    pub resizes: u32,
    /// What was found of it that breaks the rules, oldest first, at most
    /// [`crate::FINDINGS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// How far a lease has come on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Known; being prepared.
    Preparing,
    /// Ready to start.
    Prepared {
        /// What is guaranteed.
        isolation: Isolation,
        /// On rank 0 of a gang: a free port for the gang to meet on.
        #[serde(default)]
        master_port: Option<u16>,
        /// Limits asked for that are not set there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_enforced: Vec<NotEnforced>,
    },
    /// Its program runs.
    Started,
    /// Being ended, within its grace.
    Stopping,
    /// Over; nothing of it is left on the node.
    Ended {
        /// How, and what it used.
        end: LeaseEnd,
    },
}

/// How a lease ended, and what it used. Lengths are from the node's boot clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LeaseEnd {
    /// How.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// From start to end; zero when it never started.
    pub ran: Micros,
    /// The last sample.
    pub sample: LeaseSample,
}

/// What a lease has used so far: sums since its start, and peaks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LeaseSample {
    /// By device, in the lease's order.
    pub devices: Vec<DeviceSample>,
    /// Processes attached now.
    pub processes: u32,
    /// Its processes that the kernel ended for passing the lease's host memory; known at the end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_kills: u64,
    /// Device commands launched.
    pub launches: u64,
    /// Time its programs waited for their turn.
    pub waited: Micros,
    /// Host memory that its programs have pinned for a device now: no device's memory, and held to no
    /// limit here. What programs without a slot pin is not among it, and never more than the node has.
    #[serde(default, skip_serializing_if = "Bytes::is_zero")]
    pub host_pinned: Bytes,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl LeaseSample {
    /// Makes every sum and peak at least what an `earlier` account of the same lease said: what was used
    /// is never used less. What is held now stays as it is.
    pub fn raise_to(&mut self, earlier: &Self) {
        self.launches = self.launches.max(earlier.launches);
        self.waited = self.waited.max(earlier.waited);
        self.memory_kills = self.memory_kills.max(earlier.memory_kills);
        for before in &earlier.devices {
            let Some(now) = self.devices.iter_mut().find(|now| now.device == before.device) else {
                self.devices.push(DeviceSample {
                    memory: Bytes(0),
                    backing: Bytes(0),
                    throttle: Vec::new(),
                    owed: Micros(0),
                    ..before.clone()
                });
                continue;
            };
            now.device_time = now.device_time.max(before.device_time);
            now.contended_time = now.contended_time.max(before.contended_time);
            now.memory_peak = now.memory_peak.max(before.memory_peak);
            now.refused = now.refused.max(before.refused);
        }
    }
}

/// What a lease has used of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeviceSample {
    /// Which.
    pub device: DeviceId,
    /// Device time charged: from grant to release.
    pub device_time: Micros,
    /// Of it, time during which another lease also wanted the device.
    pub contended_time: Micros,
    /// Memory held now.
    pub memory: Bytes,
    /// The most memory held.
    pub memory_peak: Bytes,
    /// Allocations refused because they would pass the lease's memory.
    pub refused: u64,
    /// Host memory held behind the device's.
    #[serde(default, skip_serializing_if = "Bytes::is_zero")]
    pub backing: Bytes,
    /// Why the device runs slower than it could, if it does: for all its leases alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttle: Vec<Throttle>,
    /// Device time that it, or an earlier lease of its user there, has used beyond share or cap and not
    /// paid back yet: beside others, or under its cap, it has no turn before. None is told below a tenth of
    /// a second, nor when the lease is over.
    #[serde(default, skip_serializing_if = "is_none")]
    pub owed: Micros,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_none(owed: &Micros) -> bool {
    owed.0 == 0
}

/// What an agent should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SyncResponse {
    /// How new this is.
    pub version: Version,
    /// Leases to hold. A lease that is absent here and has no tombstone is kept and reported.
    pub leases: Vec<LeaseOrder>,
    /// Leases to end.
    pub tombstones: Vec<Tombstone>,
    /// Ends the server has journaled: the agent may forget these.
    pub acknowledged: Vec<LeaseId>,
}

/// One lease to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LeaseOrder {
    /// What was granted.
    pub lease: Lease,
    /// What to run.
    pub work: Work,
    /// CPU, memory and processes.
    pub host: HostAsk,
    /// Weakest isolation that will do for its parts of devices; whole ones are nobody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Wall time after which the shim ends it.
    #[serde(default)]
    pub time_limit: Option<Micros>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Micros,
    /// Its place in the gang.
    pub gang: GangPlace,
    /// False: prepare only. True: all members are prepared, start.
    pub start: bool,
}

/// A task's place in its gang, for its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GangPlace {
    /// From 0.
    pub rank: u32,
    /// Members.
    pub size: u32,
    /// Place among the members on the same node, from 0.
    pub local_rank: u32,
    /// Members on the same node.
    pub local_size: u32,
    /// `address:port` of rank 0, known once all are prepared.
    #[serde(default)]
    pub master: Option<String>,
}

/// A lease to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tombstone {
    /// Which.
    pub lease: LeaseId,
    /// Why.
    pub why: StopReason,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Micros,
}

/// Why the server refuses a call. The agent stops calling, keeps its leases and says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "refusal")]
pub enum SyncRefusal {
    /// Another version of the protocol.
    #[error("agent speaks protocol {agent}, server {server}: install the same version on both")]
    Protocol {
        /// The agent's.
        agent: u32,
        /// The server's.
        server: u32,
    },
    /// A newer agent of this node is at work.
    #[error("node {node} has a newer agent (incarnation {current}, this is {this}): stop this one")]
    OldIncarnation {
        /// Which node.
        node: NodeId,
        /// The newer incarnation.
        current: u64,
        /// The caller's.
        this: u64,
    },
    /// A newer call of the same agent has arrived; this one is answered so that it ends.
    #[error("a newer call of the same agent has arrived")]
    Superseded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_never_told_as_less() {
        let sample = |device: &str, micros, memory| LeaseSample {
            devices: vec![DeviceSample {
                device: device.parse().expect("a device's name"),
                device_time: Micros(micros),
                contended_time: Micros(micros / 2),
                memory: Bytes(memory),
                memory_peak: Bytes(memory),
                refused: 0,
                backing: Bytes(0),
                throttle: Vec::new(),
                owed: Micros(0),
            }],
            launches: micros,
            ..LeaseSample::default()
        };
        let mut now = sample("d0", 50, 3);
        now.raise_to(&sample("d0", 70, 9));
        let used = &now.devices[0];
        assert_eq!((used.device_time, used.contended_time), (Micros(70), Micros(35)));
        assert_eq!((used.memory, used.memory_peak, now.launches), (Bytes(3), Bytes(9), 70));
        now.raise_to(&sample("d0", 60, 1));
        assert_eq!(now.devices[0].device_time, Micros(70));
        // An end of which nothing is known has had what was seen, and holds nothing.
        let mut lost = LeaseSample::default();
        lost.raise_to(&now);
        assert_eq!(lost.devices[0].device_time, Micros(70));
        assert_eq!(lost.devices[0].memory, Bytes(0));
    }
}
