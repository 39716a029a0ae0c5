//! Why a job waits, as data: CLI, API and console render this same value.

mod words;

pub use words::none_of;

use crate::{
    BitRate, Bytes, DeviceId, Ground, JobId, JobState, Micros, MilliCpu, NodeId, Permille, Resized,
    TenantPath, Timestamp, UserName, WorkClass,
};
use serde::{Deserialize, Serialize};

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Devices.
    Devices,
    /// Thousandths of a device.
    Compute,
    /// Bytes of device memory.
    Memory,
}

/// Where a job would fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Fit {
    /// The node, or the first of them by name.
    pub node: NodeId,
    /// How many nodes its tasks would go to.
    pub nodes: u32,
}

/// Why a node is not open to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "closed")]
pub enum Closed {
    /// A task that is to be apart from it is there, or would be.
    Apart {
        /// The word by which they are apart.
        word: String,
    },
    /// The job names other nodes.
    NotNamed,
    /// The job avoids it.
    Avoided,
    /// It is outside the partition, or lacks a label, that the job asks for.
    Elsewhere,
}

/// One thing that keeps a job from starting, with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// Jobs ahead of it come first.
    Behind {
        /// How many are ahead.
        ahead: u64,
        /// The first of them that waits.
        first: JobId,
        /// Where it would start now, were it the first. Absent when it would not; another reason
        /// then says what is lacking.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fit: Option<Fit>,
    },
    /// A tenant's quota has no room now.
    Quota {
        /// Whose quota.
        tenant: TenantPath,
        /// The user, where it is what the tenant allows each of its users.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
        /// Which.
        resource: Resource,
        /// The most allowed at once.
        limit: u64,
        /// Held now.
        used: u64,
        /// Needed by this job.
        asked: u64,
    },
    /// No device of the pool has what the job selects (model, features, isolation, size).
    NoSuchDevice {
        /// Devices looked at.
        devices: u32,
        /// The nearest miss, in words.
        nearest: String,
    },
    /// No node of the pool could carry a task of it that needs no device, or no node has devices.
    NoSuchNode {
        /// Nodes looked at.
        nodes: u64,
        /// The nearest miss, in words.
        nearest: String,
    },
    /// Devices that would do lie outside the partition that its class keeps to.
    NotOfClass {
        /// Its class.
        class: WorkClass,
        /// The partition.
        partition: String,
    },
    /// Devices fit by kind but too little is free; the closest one is named.
    NotEnoughFree {
        /// Tasks that could be placed now.
        placeable: u32,
        /// Tasks that must start together.
        needed: u32,
        /// Node of the closest device.
        node: NodeId,
        /// The closest device.
        device: DeviceId,
        /// Compute missing there.
        compute_lacking: Permille,
        /// Memory missing there.
        memory_lacking: Bytes,
    },
    /// Nodes are reserved, or will be before it could be over.
    Reserved {
        /// The reservation.
        reservation: String,
        /// How many nodes it keeps.
        nodes: u32,
        /// Until when.
        until: Timestamp,
        /// In how long it begins; 0 once it has.
        begins_in: Micros,
        /// In how long it is over.
        over_in: Micros,
    },
    /// There is room, but only on nodes that are not open to it.
    NotOpen {
        /// One of them.
        node: NodeId,
        /// Why it is not.
        why: Closed,
    },
    /// A whole device is wanted and every fitting one is shared or taken.
    NoIdleDevice {
        /// Tasks that could be placed now.
        placeable: u32,
        /// Tasks that must start together.
        needed: u32,
        /// Devices that would fit.
        fitting: u32,
        /// How many of them others are on.
        in_use: u32,
        /// Node of the one of which least is held.
        node: NodeId,
        /// That device.
        device: DeviceId,
        /// Compute held of it.
        compute_held: Permille,
    },
    /// Fitting devices are on nodes that do not answer, or are faulty.
    Unreachable {
        /// How many.
        devices: u32,
        /// Fitting devices that can be used.
        others: u32,
        /// How many of those somebody is on.
        in_use: u32,
    },
    /// Nodes that could carry it do not answer.
    NodesSilent {
        /// How many.
        nodes: u64,
    },
    /// A node has the devices free, if any are needed, but too little CPU, memory or network.
    NoHostRoom {
        /// Devices of each task, which are free there.
        devices: u32,
        /// The closest node.
        node: NodeId,
        /// CPU missing there.
        cpu_lacking: MilliCpu,
        /// Host memory missing there.
        memory_lacking: Bytes,
        /// Bits a second of its network missing there.
        #[serde(default, skip_serializing_if = "is_no_rate")]
        nic_lacking: BitRate,
        /// Host memory kept for backing that is missing there.
        #[serde(default, skip_serializing_if = "Bytes::is_zero")]
        backing_lacking: Bytes,
    },
    /// The devices of a task must lie together, and nowhere are enough free that do.
    NotTogether {
        /// Devices of one task.
        count: u32,
        /// Compute wanted of each.
        compute: Permille,
        /// Memory wanted of each; 0 for whole devices.
        memory: Bytes,
        /// On one island of fast links.
        island: bool,
        /// On one NUMA node.
        numa: bool,
        /// Each on a NIC rail of its own.
        rail: bool,
        /// The closest node.
        node: NodeId,
        /// The device there that is missing.
        device: DeviceId,
        /// Compute missing there.
        compute_lacking: Permille,
        /// Memory missing there.
        memory_lacking: Bytes,
    },
    /// Hardware is to cut the device, and no card has room for the instance.
    NoInstance {
        /// The smallest instance that would do on the closest card.
        profile: String,
        /// Node of the closest card.
        node: NodeId,
        /// The closest card.
        device: DeviceId,
        /// The largest instance for which it has room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<String>,
    },
    /// Work that ranks behind it is part of what its tenant deserves, and is therefore kept.
    Kept {
        /// Whose.
        tenant: TenantPath,
        /// What that tenant deserves, in thousandths of a device.
        deserved: u64,
        /// Jobs that would make room, were they not kept.
        jobs: u32,
    },
    /// Work that ranks behind it has not run as long as it may at least.
    NotYet {
        /// The first that will have.
        job: JobId,
        /// In how long.
        left: Micros,
        /// How many such jobs there are.
        jobs: u32,
    },
    /// Work that ranks behind it holds what it could use, and never yields.
    NeverYields {
        /// How many jobs.
        jobs: u32,
    },
    /// There is room for it, but it could still run there when somebody is to start who was promised
    /// that.
    Delays {
        /// Who was.
        job: JobId,
        /// In how long that is, if everything ends as believed.
        starts_in: Micros,
        /// Where it would start now.
        fit: Fit,
    },
    /// Nothing: the pass that comes next starts it.
    Next,
    /// It ran and was ended to make room; it is in the queue again.
    Evicted {
        /// For whom.
        by: JobId,
        /// On what ground.
        ground: Ground,
        /// How often it has made room so far.
        times: u32,
    },
    /// Its try before this one was lost, and it is tried again.
    Lost {
        /// Which try, from 1.
        attempt: u32,
        /// What is known.
        why: String,
    },
    /// It runs, and some of its members are missing. The other reasons are why.
    Missing {
        /// Members that run.
        running: u32,
        /// Members that are being prepared.
        joining: u32,
        /// Members that are leaving.
        leaving: u32,
        /// Fewest members.
        min: u32,
        /// Most members.
        max: u32,
    },
    /// A replica that ended is not replaced before some time has passed.
    Backoff {
        /// How long that is from now.
        left: Micros,
    },
    /// Others are leaving room for it.
    Promised {
        /// Jobs that have not left yet.
        leaving: u32,
    },
    /// It runs, and memory that a resize took from it may still be held: nobody else has it yet.
    Leaving {
        /// Leases whose nodes have not said that no more can be held.
        leases: u32,
        /// In all.
        memory: Bytes,
    },
    /// Its leases are being prepared.
    Preparing {
        /// Members ready.
        prepared: u32,
        /// Members in all.
        members: u32,
    },
}

/// What would let it start sooner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "help")]
pub enum Help {
    /// Ask for at most this much memory.
    LessMemory {
        /// What fits now.
        fits: Bytes,
    },
    /// Ask for at most this much compute.
    LessCompute {
        /// What fits now.
        fits: Permille,
    },
    /// Ask for the memory that such jobs hold.
    Rightsize {
        /// Nine of ten held no more, with a fifth on top.
        memory: Bytes,
    },
    /// Ask for a time limit below this: nodes that are reserved later would serve it now.
    ShorterLimit {
        /// From when the limit is too long.
        below: Micros,
    },
    /// Ask for no more than an instance for which a card has room now.
    SmallerInstance {
        /// The instance.
        profile: String,
        /// What of the compute asked for it has.
        compute: Permille,
        /// What of the memory asked for it has.
        memory: Bytes,
    },
    /// Wait for, or end, this job.
    JobEnds {
        /// Which.
        job: JobId,
    },
    /// Wait for, or end, all of these jobs.
    JobsEnd {
        /// Which, in the order of their numbers.
        jobs: Vec<JobId>,
    },
    /// Ask for a gang that starts with fewer tasks.
    FewerTasks {
        /// How many fit now.
        fits: u32,
    },
    /// An administrator can raise the quota.
    RaiseQuota {
        /// Whose.
        tenant: TenantPath,
        /// The user, where it is what the tenant allows each of its users.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
        /// Which.
        resource: Resource,
        /// To at least this much.
        at_least: u64,
    },
}

/// Why a job is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// Which job.
    pub job: JobId,
    /// Where it stands.
    #[serde(flatten)]
    pub state: JobState,
    /// Its place among the queued, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What keeps it, most telling first. Empty for a job that runs or is over.
    pub reasons: Vec<Reason>,
    /// When it should start at the latest, if time limits of running jobs tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_start: Option<Timestamp>,
    /// What would help.
    pub help: Vec<Help>,
    /// What such jobs did before, where any is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// How long its user says it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Micros>,
    /// Its deadline, where it will not be over by then, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Late>,
    /// How its size was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resized: Option<Resized>,
}

/// A deadline that will not be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Late {
    /// By when the job should be over.
    pub deadline: Timestamp,
    /// When it would be over if it started now, or since it runs.
    pub over_at: Timestamp,
    /// Whether that is what its user says; else what such jobs did.
    pub by_estimate: bool,
}

impl Explanation {
    /// Of a job of which there is nothing to say but where it stands.
    #[must_use]
    pub const fn bare(job: JobId, state: JobState) -> Self {
        Self {
            job,
            state,
            position: None,
            reasons: Vec::new(),
            predicted_start: None,
            help: Vec::new(),
            expected: None,
            estimate: None,
            late: None,
            resized: None,
        }
    }
}

/// What history says of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Expected {
    /// How long the job has run so far, if it runs. The other times are then of those that ran
    /// longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<Micros>,
    /// Half of such jobs run no longer; absent where too many were ended from outside to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_time_p50: Option<Micros>,
    /// Nine of ten such jobs run no longer; absent where too many were ended from outside to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_time_p90: Option<Micros>,
    /// The longest time that one of those ran, ended by itself or not.
    pub run_time_max: Micros,
    /// Nine of ten such jobs hold no more memory on one device; absent where none was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_p90: Option<Bytes>,
    /// How many of the most alike were seen.
    pub observations: u32,
    /// How many of them were ended from outside (cancelled, timed out, lost): they would have run
    /// longer.
    pub cut_short: u32,
    /// From 0 (it has always been the same) to 1000 (nothing is known).
    pub doubt: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_no_rate(rate: &BitRate) -> bool {
    rate.0 == 0
}
