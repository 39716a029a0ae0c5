//! Reasons and what would help, in words for people.

use super::{Closed, Fit, Help, Reason, Resource};
use crate::{Bytes, Ground, Micros, Permille};
use std::fmt;

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
            Self::Devices => format!("{amount} slice{}", if amount == 1 { "" } else { "s" }),
            Self::Compute => format!("{}.{:03} devices", amount / 1000, amount % 1000),
            Self::Memory => Bytes(amount).to_string(),
        }
    }

    /// The same with the resource's name, where the amount alone does not say it.
    #[must_use]
    pub fn named(self, amount: u64) -> String {
        let shown = self.show(amount);
        if self == Self::Devices { shown } else { format!("{shown} of {self}") }
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

/// None of so many things of a pool.
#[must_use]
pub fn none_of(number: u64, one: &str) -> String {
    match number {
        0 | 1 => format!("no {one} of the pool"),
        _ => format!("none of the pool's {number} {one}s"),
    }
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
                "{}tenant {tenant} may hold {}, holds {} and this needs {}",
                user.as_ref().map_or(String::new(), |user| format!("user {user} of ")),
                resource.named(*limit),
                resource.show(*used),
                resource.show(*asked)
            ),
            Self::NoSuchDevice { devices, nearest } => {
                write!(f, "{} has what it selects: {nearest}", none_of((*devices).into(), "device"))
            }
            Self::NoSuchNode { nodes, nearest } => {
                write!(f, "{} could carry it: {nearest}", none_of(*nodes, "node"))
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
            Self::Reserved { reservation, nodes, begins_in, over_in, .. } => {
                write!(f, "{} reserved ({reservation}) ", counted(*nodes, "node", "nodes"))?;
                match begins_in.0 {
                    0 => write!(f, "for another {over_in}"),
                    _ => {
                        let lasts = Micros(over_in.0.saturating_sub(begins_in.0));
                        write!(f, "in {begins_in}, before it would be over, for {lasts}")
                    }
                }
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
            Self::NoHostRoom {
                devices,
                node,
                cpu_lacking,
                memory_lacking,
                nic_lacking,
                backing_lacking,
            } => {
                match devices {
                    0 => write!(f, "closest is {node}, which lacks ")?,
                    _ => write!(f, "devices are free, but {node} lacks ")?,
                }
                let s = if cpu_lacking.0 == 1000 { "" } else { "s" };
                let lacking = [
                    (cpu_lacking.0 > 0).then(|| format!("{cpu_lacking} CPU{s}")),
                    (memory_lacking.0 > 0).then(|| format!("{memory_lacking} of host memory")),
                    (nic_lacking.0 > 0).then(|| format!("{nic_lacking} of network")),
                    (backing_lacking.0 > 0)
                        .then(|| format!("{backing_lacking} of host memory kept for backing")),
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
            Self::Delays { job, starts_in, fit } => write!(
                f,
                "it would fit now on {fit}, but could still run when job {job} is to start there, in \
                 {starts_in}"
            ),
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
            Self::Lost { attempt, why } => {
                write!(f, "its try {attempt} was lost, and it is tried again: {why}")
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
            Self::Leaving { leases, memory } => write!(
                f,
                "{memory} that a resize took from it are kept for it until its node says that no more \
                 can be held ({leases} leases)"
            ),
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
            Self::ShorterLimit { below } => {
                write!(f, "submitted with a time limit below {below} it would start now")
            }
            Self::SmallerInstance { profile, compute, memory } => write!(
                f,
                "asking for at most {compute} and {memory} would fit now, as a {profile} instance"
            ),
            Self::JobEnds { job } => write!(f, "it can start when job {job} ends"),
            Self::JobsEnd { jobs } => {
                let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
                let (last, before) = jobs.split_last().ok_or(fmt::Error)?;
                write!(f, "it can start when jobs {} and {last} have ended", before.join(", "))
            }
            Self::FewerTasks { fits: 1 } => f.write_str("a gang of 1 task would fit now"),
            Self::FewerTasks { fits } => write!(f, "a gang of {fits} tasks would fit now"),
            Self::RaiseQuota { tenant, user, resource, at_least } => write!(
                f,
                "an administrator can raise {tenant}'s {resource} quota{} to {}",
                if user.is_some() { " for each user" } else { "" },
                resource.show(*at_least)
            ),
        }
    }
}
