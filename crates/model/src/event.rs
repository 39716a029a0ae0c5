//! Facts and decisions, as the journal keeps them. A reader of version N reads 1..=N.

use crate::device::Inventory;
use crate::{
    Ask, DeviceId, Finding, Instance, Isolation, JobId, Lease, LeaseEnd, LeaseId, Micros, NodeId,
    NotEnforced, Outcome, Policy, PoolId, Reservation, Size, Tenant, TenantPath, Timestamp, User,
    UserName,
};
use serde::{Deserialize, Serialize};

/// The version this program writes.
pub const EVENT_VERSION: u32 = 4;

/// One row of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Its place, from 1, without gaps.
    pub seq: u64,
    /// The writer that appended it; a take-over or restart begins a new one.
    pub epoch: u64,
    /// Server time: never before the event ahead of it.
    pub at: Timestamp,
    /// Layout of `event`.
    pub version: u32,
    /// What happened.
    pub event: Event,
}

/// What happened.
// Events are built once, written, applied and dropped: a box around the larger ones would cost every
// reader a dereference to save bytes that nobody keeps.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Event {
    /// The first event of every journal.
    PoolOpened {
        /// The pool.
        pool: PoolId,
        /// Engine version that replay equality holds for.
        engine: u32,
    },
    /// A writer took over; its epoch is the envelope's.
    Fenced {
        /// Program version and process of the writer.
        writer: String,
        /// Engine version that decides from here on.
        engine: u32,
    },
    /// The machine's clock went back; `at` went on regardless.
    ClockStepped {
        /// What the clock said.
        clock: Timestamp,
        /// By how much it was behind the journal.
        behind: Micros,
    },
    /// A tenant was added or changed.
    TenantSet {
        /// As it now is.
        tenant: Tenant,
    },
    /// A tenant without jobs and sub-tenants was removed.
    TenantRemoved {
        /// Which.
        tenant: TenantPath,
    },
    /// The settings that decisions depend on were changed.
    PolicySet {
        /// As they now are.
        policy: Box<Policy>,
    },
    /// The settings before the present ones hold again.
    PolicyRolledBack,
    /// Settings that nothing is decided by are looked at beside those in force, or no more.
    PolicyShadowed {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<Box<Policy>>,
    },
    /// Nodes were reserved, or a reservation was changed.
    ReservationSet {
        /// As it now is.
        reservation: Reservation,
    },
    /// A reservation was removed.
    ReservationRemoved {
        /// Its name.
        name: String,
    },
    /// A user was added or changed.
    UserSet {
        /// As it now is.
        user: User,
    },
    /// A user was removed; running jobs stay.
    UserRemoved {
        /// Who.
        user: UserName,
    },
    /// A job was accepted.
    JobSubmitted {
        /// Its number.
        job: JobId,
        /// What was asked.
        ask: Ask,
        /// The client's idempotency key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// Somebody ended a job.
    JobCancelled {
        /// Which.
        job: JobId,
        /// Who.
        by: UserName,
    },
    /// Somebody changed how many replicas a service has.
    JobScaled {
        /// Which.
        job: JobId,
        /// Fewest from now on.
        min: u32,
        /// Most from now on.
        max: u32,
        /// Who.
        by: UserName,
    },
    /// Somebody changed what each task of a job has of its devices, or how urgent it is: all its
    /// members alike, from now on.
    JobResized {
        /// Which.
        job: JobId,
        /// What it has from now on, what stays the same too.
        to: Size,
        /// Who.
        by: UserName,
        /// Whether memory that it gives back stays with each lease until [`Event::LeaseShrunk`].
        /// Always, from version 4 on; before, it was free at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        until_shrunk: bool,
    },
    /// A node joined or its inventory changed.
    NodeReported {
        /// Which.
        node: NodeId,
        /// The agent's incarnation.
        incarnation: u64,
        /// What it has.
        inventory: Inventory,
    },
    /// No call from a node for longer than the server waits. Leases are kept.
    NodeSilent {
        /// Which.
        node: NodeId,
    },
    /// A node's incarnation called again after silence, with an unchanged inventory.
    NodeBack {
        /// Which.
        node: NodeId,
    },
    /// A node holds everything a lease needs.
    LeasePrepared {
        /// Which.
        lease: LeaseId,
        /// What is guaranteed there.
        isolation: Isolation,
        /// On rank 0: the port the gang meets on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        master_port: Option<u16>,
        /// Limits asked for that are not set there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_enforced: Vec<NotEnforced>,
    },
    /// A lease's program runs.
    LeaseStarted {
        /// Which.
        lease: LeaseId,
    },
    /// A node says that a lease neither has nor can come to have more memory than its slices: what a
    /// resize took from it is free.
    LeaseShrunk {
        /// Which.
        lease: LeaseId,
    },
    /// A node found that a lease breaks the rules. Decides nothing.
    LeaseFound {
        /// Which.
        lease: LeaseId,
        /// What was found.
        finding: Finding,
    },
    /// A lease is over and its node holds nothing of it.
    LeaseEnded {
        /// Which.
        lease: LeaseId,
        /// How, and what it used.
        end: LeaseEnd,
    },
    /// The engine decided.
    Decided {
        /// What.
        decision: Decision,
    },
}

/// What should happen, as `plan` says it. Effective once journaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// All leases of one job's gang, or none.
    Grant {
        /// Whose.
        job: JobId,
        /// By rank.
        leases: Vec<Lease>,
    },
    /// All members are prepared: start them.
    Start {
        /// Whose.
        job: JobId,
    },
    /// Give every lease of a gang that has not started back, and queue the job again.
    Return {
        /// Whose.
        job: JobId,
        /// Why.
        reason: ReturnReason,
    },
    /// End the job's remaining leases.
    Stop {
        /// Whose.
        job: JobId,
        /// Why.
        reason: StopReason,
    },
    /// End these jobs and queue them again, so that all of another's gang can start. The room
    /// they leave is kept for it.
    Preempt {
        /// For whom.
        job: JobId,
        /// Who yields; none is in vain: without any one of them the gang would not fit.
        victims: Vec<JobId>,
        /// On what ground.
        ground: Ground,
        /// Where the gang will go, by rank.
        spots: Vec<Spot>,
        /// Of those that are moved: where they go on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        moves: Vec<Move>,
        /// Gangs that lose members and go on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shrinks: Vec<Shrink>,
    },
    /// Further members for a gang that runs and may grow.
    Grow {
        /// Whose.
        job: JobId,
        /// By rank.
        leases: Vec<Lease>,
    },
    /// Members of a gang that was told to start end, and it goes on without them.
    Shrink {
        /// Whose.
        job: JobId,
        /// Which.
        leases: Vec<LeaseId>,
        /// Why.
        reason: StopReason,
    },
    /// A job for which others yielded needs what was kept for it no longer.
    Release {
        /// Whose.
        job: JobId,
    },
    /// Every lease of a try has ended (or none was held): queue it again.
    Retry {
        /// Whose.
        job: JobId,
        /// The try that begins.
        attempt: u32,
    },
    /// Every lease has ended (or none was held): the job is over.
    Finish {
        /// Whose.
        job: JobId,
        /// How.
        outcome: Outcome,
    },
}

/// On what ground a job may make others yield.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// Its priority is higher.
    Priority,
    /// Its tenant holds less than it deserves, theirs more.
    Quota,
    /// They run on spot terms.
    Spot,
    /// They run in room of its class that they borrowed.
    Class,
    /// They fit elsewhere and are moved.
    Move,
    /// The policy's order puts it before them.
    Order,
    /// Their gangs go on with fewer members.
    Elastic,
}

/// Members that a gang can do without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrink {
    /// Whose.
    pub job: JobId,
    /// The last of the gang, by rank.
    pub leases: Vec<LeaseId>,
}

/// A job that goes on elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Which.
    pub job: JobId,
    /// Where its gang will go, by rank. The room is kept for it.
    pub spots: Vec<Spot>,
}

/// Devices of one node for one task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Spot {
    /// Which node.
    pub node: NodeId,
    /// Which of its devices.
    pub devices: Vec<DeviceId>,
    /// What hardware cuts from the devices for it, one for each where it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Instance>,
}

/// Why a gang was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum ReturnReason {
    /// Not all members were prepared in time.
    PrepareTimeout {
        /// The time they had.
        limit: Micros,
    },
    /// A member's node or device went away first.
    NodeSilent {
        /// Which.
        node: NodeId,
    },
}

/// Why a job's leases are ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum StopReason {
    /// Somebody cancelled it.
    Cancelled {
        /// Who.
        by: UserName,
    },
    /// A member of the gang failed, so the others have no use.
    GangMemberEnded {
        /// Which.
        lease: LeaseId,
    },
    /// A gang was returned before it started.
    Returned,
    /// It made room for another and is queued again.
    Preempted {
        /// For whom.
        job: JobId,
        /// On what ground.
        ground: Ground,
    },
    /// Its gang goes on without it.
    Shrunk {
        /// For whom it made room, if for somebody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<JobId>,
    },
    /// The device under it went away.
    DeviceLost {
        /// What is known.
        why: String,
    },
    /// The server has no such lease any more.
    Unknown,
}
