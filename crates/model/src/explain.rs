//! Why a job waits, as data: CLI, API and console render this same value.

use crate::{
    BitRate, Bytes, DeviceId, Ground, JobId, JobState, Micros, MilliCpu, NodeId, Permille,
    TenantPath, Timestamp, UserName, WorkClass,
};
use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// Wait for, or end, this job.
    JobEnds {
        /// Which.
        job: JobId,
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

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Devices => "devices",
            Self::Compute => "compute",
            Self::Memory => "memory",
        })
    }
}

impl Resource {
    /// `amount` of this resource for people.
    #[must_use]
    pub fn show(self, amount: u64) -> String {
        match self {
            Self::Devices => format!("{amount}"),
            Self::Compute => format!("{}.{:03} devices", amount / 1000, amount % 1000),
            Self::Memory => Bytes(amount).to_string(),
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nodes {
            ..=1 => write!(f, "{}", self.node),
            nodes => write!(f, "{nodes} nodes, the first of them {}", self.node),
        }
    }
}

/// A number with the word that goes with it.
fn counted(number: u32, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// What a device lacks, in words.
fn lacks(f: &mut fmt::Formatter<'_>, compute: Permille, memory: Bytes) -> fmt::Result {
    match (compute.0, memory.0) {
        (0, _) => write!(f, "{memory} of memory"),
        (_, 0) => write!(f, "{compute} of compute"),
        _ => write!(f, "{compute} of compute and {memory} of memory"),
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apart { word } => {
                write!(f, "a task that is to be apart from this one ({word}) is there, or would be")
            }
            Self::NotNamed => f.write_str("it names other nodes"),
            Self::Avoided => f.write_str("it avoids that node"),
            Self::Elsewhere => {
                f.write_str("that is outside the partition, or without a label, it asks for")
            }
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_no_rate(rate: &BitRate) -> bool {
    rate.0 == 0
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind { ahead, first, fit } => {
                let jobs = if *ahead == 1 { "job is" } else { "jobs are" };
                write!(f, "{ahead} {jobs} ahead in the queue; the first is job {first}")?;
                match fit {
                    Some(fit) => write!(f, "; were it first, it would fit now on {fit}"),
                    None => Ok(()),
                }
            }
            Self::Quota { tenant, user, resource, limit, used, asked } => write!(
                f,
                "{}tenant {tenant} may hold {} of {resource}, holds {} and this needs {}",
                user.as_ref().map_or(String::new(), |user| format!("user {user} of ")),
                resource.show(*limit),
                resource.show(*used),
                resource.show(*asked)
            ),
            Self::NoSuchDevice { devices, nearest } => {
                write!(f, "none of the pool's {devices} devices has what it selects: {nearest}")
            }
            Self::NoSuchNode { nodes, nearest } => {
                write!(f, "none of the pool's {nodes} nodes could carry it: {nearest}")
            }
            Self::NotOfClass { class, partition } => write!(
                f,
                "{class} jobs keep to partition {partition}, where no device has what it selects"
            ),
            Self::NotEnoughFree {
                placeable,
                needed,
                node,
                device,
                compute_lacking,
                memory_lacking,
            } => {
                if *needed > 1 {
                    write!(f, "{placeable} of {needed} tasks fit now; ")?;
                }
                write!(f, "closest is {device} on {node}, which lacks ")?;
                lacks(f, *compute_lacking, *memory_lacking)
            }
            Self::Reserved { reservation, nodes, .. } => {
                let nodes = if *nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") };
                write!(f, "{nodes} reserved ({reservation}) before it would be over")
            }
            Self::NotOpen { node, why } => write!(f, "{node} has room, but {why}"),
            Self::NoIdleDevice {
                placeable,
                needed,
                fitting,
                in_use,
                node,
                device,
                compute_held,
            } => {
                if *needed > 1 {
                    write!(f, "{placeable} of {needed} tasks fit now; ")?;
                }
                match (*fitting, *in_use) {
                    (1, _) => write!(f, "wants a whole device; the only fitting one is in use: ")?,
                    (fitting, in_use) if fitting == in_use => {
                        write!(
                            f,
                            "wants a whole device; all {fitting} fitting devices are in use"
                        )?;
                    }
                    (fitting, 1) => {
                        write!(f, "wants whole devices; 1 of {fitting} fitting ones is in use")?;
                    }
                    (fitting, in_use) => {
                        write!(
                            f,
                            "wants whole devices; {in_use} of {fitting} fitting ones are in use"
                        )?;
                    }
                }
                if *fitting != 1 {
                    write!(f, "; closest is ")?;
                }
                write!(f, "{device} on {node}, {compute_held} of it held")
            }
            Self::Unreachable { devices, others, in_use } => {
                let s = if *devices == 1 { " is" } else { "s are" };
                write!(f, "{devices} fitting device{s} faulty or on nodes that do not answer")?;
                match (*others, *in_use) {
                    (0, _) => Ok(()),
                    (1, 1) => write!(f, "; the other one is in use"),
                    (others, in_use) if others == in_use => {
                        write!(f, "; the other {others} are in use")
                    }
                    (others, 0) => write!(f, "; {others} more would not be enough"),
                    (others, in_use) => write!(f, "; {in_use} of the other {others} in use"),
                }
            }
            Self::NodesSilent { nodes: 1 } => {
                write!(f, "the node that could carry it does not answer")
            }
            Self::NodesSilent { nodes } => {
                write!(f, "the {nodes} nodes that could carry it do not answer")
            }
            Self::NoHostRoom { devices, node, cpu_lacking, memory_lacking, nic_lacking } => {
                match devices {
                    0 => write!(f, "closest is {node}, which lacks ")?,
                    _ => write!(f, "devices are free, but {node} lacks ")?,
                }
                let s = if cpu_lacking.0 == 1000 { "" } else { "s" };
                let lacking = [
                    (cpu_lacking.0 > 0).then(|| format!("{cpu_lacking} CPU{s}")),
                    (memory_lacking.0 > 0).then(|| format!("{memory_lacking} of host memory")),
                    (nic_lacking.0 > 0).then(|| format!("{nic_lacking} of network")),
                ];
                let lacking: Vec<String> = lacking.into_iter().flatten().collect();
                f.write_str(&lacking.join(" and "))
            }
            Self::NotTogether {
                count,
                compute,
                memory,
                island,
                numa,
                rail,
                node,
                device,
                compute_lacking,
                memory_lacking,
            } => {
                match memory.0 {
                    0 => write!(f, "needs {count} whole devices")?,
                    _ => write!(f, "needs {count} x {memory} and {compute}")?,
                }
                let where_to = [
                    (island, "on one NVLink island"),
                    (numa, "on one NUMA node"),
                    (rail, "each on a NIC rail of its own"),
                ];
                let words = where_to.iter().filter(|(wanted, _)| **wanted).map(|(_, words)| *words);
                write!(f, " {}; ", words.collect::<Vec<_>>().join(" and "))?;
                write!(f, "closest is {node}, where {device} lacks ")?;
                lacks(f, *compute_lacking, *memory_lacking)
            }
            Self::NoInstance { profile, node, device, room } => {
                write!(f, "needs a {profile} instance; closest is {device} on {node}, which has ")?;
                match room {
                    Some(room) => write!(f, "room for a {room}"),
                    None => write!(f, "no room"),
                }
            }
            Self::Kept { tenant, deserved, jobs } => {
                let jobs = counted(*jobs, "job behind it is", "jobs behind it are");
                let deserved = Resource::Compute.show(*deserved);
                write!(f, "{jobs} kept, within the {deserved} that tenant {tenant} deserves")
            }
            Self::NotYet { job, left, jobs: 1 } => {
                write!(f, "job {job}, behind it, yields when it has run its least time, in {left}")
            }
            Self::NotYet { job, left, jobs } => write!(
                f,
                "{jobs} jobs behind it yield when they have run their least time, the first of \
                 them job {job} in {left}"
            ),
            Self::NeverYields { jobs } => {
                let jobs = counted(*jobs, "job behind it holds", "jobs behind it hold");
                write!(f, "{jobs} what it could use, and may not be ended for it")
            }
            Self::Next => write!(f, "nothing keeps it: it is next"),
            Self::Evicted { by, ground, times } => {
                let ground = match ground {
                    Ground::Priority => "whose priority is higher",
                    Ground::Quota => "whose tenant takes back what it deserves",
                    Ground::Spot => "which is not spot",
                    Ground::Class => "whose class takes its partition back",
                    Ground::Move => "to go on elsewhere",
                    Ground::Order => "which the policy's order puts first",
                    Ground::Elastic => "as it can do with fewer members",
                };
                write!(f, "it was ended to make room for job {by}, {ground}")?;
                if *times > 1 { write!(f, "; {times} times so far") } else { Ok(()) }
            }
            Self::Missing { running, joining, leaving, min, max } => {
                write!(f, "{running} of {max} members run")?;
                if joining + leaving > 0 {
                    let word = |number: &u32, word: &str| {
                        (*number > 0).then(|| format!("{number} {word}"))
                    };
                    let words = [word(joining, "being prepared"), word(leaving, "leaving")];
                    let words: Vec<String> = words.into_iter().flatten().collect();
                    write!(f, ", {}", words.join(", "))?;
                }
                if running < min { write!(f, "; {min} are the fewest") } else { Ok(()) }
            }
            Self::Backoff { left } => {
                write!(f, "a replica that ended by itself is replaced in {left}")
            }
            Self::Promised { leaving: 0 } => {
                write!(f, "the room that was made for it is nearly free")
            }
            Self::Promised { leaving: 1 } => write!(f, "a job is leaving room for it"),
            Self::Promised { leaving } => {
                write!(f, "{leaving} jobs are leaving room for it")
            }
            Self::Preparing { prepared, members } => {
                write!(f, "its node prepares it: {prepared} of {members} tasks ready")
            }
        }
    }
}

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LessMemory { fits } => write!(f, "asking for at most {fits} would fit now"),
            Self::LessCompute { fits } => write!(f, "asking for at most {fits} would fit now"),
            Self::Rightsize { memory } => {
                write!(f, "such jobs hold less: asking for {memory} would do for nine of ten")
            }
            Self::JobEnds { job } => write!(f, "it can start when job {job} ends"),
            Self::RaiseQuota { tenant, user, resource, at_least } => write!(
                f,
                "an administrator can raise {tenant}'s {resource} quota{} to {}",
                if user.is_some() { " for each user" } else { "" },
                resource.show(*at_least)
            ),
        }
    }
}
