//! Jobs, their leases and the queue.

use polder_model::{
    Bytes, DeviceAsk, Gang, Job, JobId, JobState, Lease, LeaseEnd, LeaseId, LeaseSample, Permille,
    Reason, Size, TenantPath, Timestamp, UserName, WorkClass,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::{IntoParams, ToSchema};

/// How many replicas a service is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Fewest.
    pub min: u32,
    /// Most.
    pub max: u32,
}

/// What to change of a job that waits or runs. What is absent stays as it is; all values are what
/// holds from then on, so sending the same again changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeRequest {
    /// Guaranteed share of each device's compute, thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<Permille>,
    /// Most it may reach when others are idle, thousandths; 1000 for no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_max: Option<Permille>,
    /// Memory on each device, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Higher goes first; holds without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What kind of work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<WorkClass>,
}

impl ResizeRequest {
    /// What a job of this size has then.
    #[must_use]
    pub fn of(&self, size: Size) -> Size {
        Size {
            compute: self.compute.unwrap_or(size.compute),
            compute_max: self.compute_max.unwrap_or(size.compute_max),
            memory: self.memory.unwrap_or(size.memory),
            priority: self.priority.unwrap_or(size.priority),
            class: self.class.unwrap_or(size.class),
        }
    }
}

/// What it changes, for the audit log.
impl fmt::Display for ResizeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("compute", self.compute.map(|compute| compute.to_string())),
            ("cap", self.compute_max.map(|max| max.to_string())),
            ("memory", self.memory.map(|memory| memory.to_string())),
            ("priority", self.priority.map(|priority| priority.to_string())),
            ("class", self.class.map(|class| class.to_string())),
        ];
        let said = parts.iter().filter_map(|(what, to)| Some(format!("{what} {}", to.as_ref()?)));
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}

/// Which jobs a list shows, by where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateFilter {
    /// Waiting for their turn.
    Queued,
    /// Being prepared.
    Starting,
    /// Running.
    Running,
    /// Being ended.
    Stopping,
    /// Over.
    Finished,
    /// Not over.
    Live,
}

/// Which jobs to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JobQuery {
    /// Only those that stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateFilter>,
    /// Only those of this tenant and all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantPath>,
    /// Only those of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// At most this many; 100 when absent, never more than 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One page of jobs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Ask again with this for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A job with its leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobDetail {
    /// The job.
    pub job: Job,
    /// Its place among the queued, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Its leases of every try, oldest first: live ones with their latest sample, ended ones
    /// with what they used.
    pub leases: Vec<LeaseView>,
}

/// A lease and what is known of its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// What was granted.
    pub lease: Lease,
    /// The latest sample of a live lease, once its node has sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<LeaseSample>,
    /// How it ended, for one that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<LeaseEnding>,
}

/// How and when a lease ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseEnding {
    /// When the end was journaled.
    pub at: Timestamp,
    /// How, and what it used.
    pub end: LeaseEnd,
}

/// What a `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitUntil {
    /// The job is over.
    #[default]
    Finished,
    /// Its program runs, or it is over.
    Started,
    /// Anything the answer shows differs from `seen`: state, try, position, leases.
    Changed,
}

/// How long and for what a `wait` is held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// Waits for this; `finished` when absent.
    #[serde(default)]
    pub until: WaitUntil,
    /// Answers after this long at the latest; never longer than 60000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// `seen` of the answer before. When given, the call also ends as soon as anything differs
    /// from that answer, so that a client can show the place in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

/// Where a job stands after a wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitAnswer {
    /// The job.
    pub job: Job,
    /// Its place among the queued, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What keeps a job that has not started, most telling first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whether what was waited for has come.
    pub reached: bool,
    /// Whether this differs from the `seen` that was given.
    pub changed: bool,
    /// Names this answer; give it back to wait for the next change.
    pub seen: String,
}

/// The queue in the order in which jobs will be considered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// From the head; at most 1000.
    pub entries: Vec<QueueEntry>,
    /// How many wait in all.
    pub total: u64,
}

/// One waiting job. Jobs of tenants that the caller may not see keep their place in
/// [`QueueView::total`] and in positions, and are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueEntry {
    /// Its place, from 1.
    pub position: u64,
    /// Its number.
    pub job: JobId,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who pays.
    pub tenant: TenantPath,
    /// Who asked.
    pub user: UserName,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How many tasks.
    pub gang: Gang,
    /// Devices for each.
    pub devices: DeviceAsk,
    /// Its priority now: 0 once it has expired.
    pub priority: i32,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// Which try this is.
    pub attempt: u32,
    /// What keeps it, most telling; for those near the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Which of a task's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which output to read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// Which task of the gang, from 0.
    #[serde(default)]
    pub task: u32,
    /// Which output.
    #[serde(default)]
    pub stream: Stream,
    /// Goes on until the task is over.
    #[serde(default)]
    pub follow: bool,
    /// Of which try; the last when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Of which of its leases, where a try had several because it yielded; the last when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    /// Starts this many bytes before the end; from the beginning when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Bytes>,
    /// Starts at this byte of the whole output, to go on where an answer broke off; not with `tail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Bytes>,
}

/// The header of an output that says at which byte of the whole it begins.
pub const LOG_OFFSET_HEADER: &str = "polder-log-offset";
/// The header of an output that says how many bytes before that were asked for and are dropped,
/// because only the last of a long output are kept.
pub const LOG_DROPPED_HEADER: &str = "polder-log-dropped";
/// The header of an output that says how many bytes could never be kept, because the disk was full
/// or faulty; they are missing somewhere in between.
pub const LOG_LOST_HEADER: &str = "polder-log-lost";

/// One durable change, as `/api/v1/events` sends it (`text/event-stream`; `id` is `seq`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// A job came, moved on or is over.
    Job {
        /// Its place in the journal.
        seq: u64,
        /// Which.
        job: JobId,
        /// Who pays.
        tenant: TenantPath,
        /// Where it stands now.
        state: JobState,
        /// When.
        at: Timestamp,
    },
    /// A lease moved on; absent from `/leases` once it has ended.
    Lease {
        /// Its place in the journal.
        seq: u64,
        /// Which.
        lease: LeaseId,
        /// Whose.
        job: JobId,
        /// Who pays.
        tenant: TenantPath,
        /// How far it has come.
        state: polder_model::LeaseState,
        /// When.
        at: Timestamp,
    },
    /// The client was too slow and missed changes: read the lists again.
    Missed {
        /// How many.
        count: u64,
    },
}
