//! A job's life as the pool sees it.

use crate::{Ask, JobId, LeaseId, Resized, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Has leases; its nodes prepare them. The gang starts when all are prepared.
    Starting,
    /// At least one task has started and none has ended for good.
    Running,
    /// Is being ended: cancelled, or a member of its gang failed.
    Stopping,
    /// Over.
    Finished {
        /// How.
        outcome: Outcome,
    },
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued => f.pad("queued"),
            Self::Starting => f.pad("starting"),
            Self::Running => f.pad("running"),
            Self::Stopping => f.pad("stopping"),
            Self::Finished { outcome } => outcome.fmt(f),
        }
    }
}

/// How a task, or a whole job, ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Exit code 0.
    Succeeded,
    /// Another exit code.
    Failed {
        /// The code.
        code: i32,
    },
    /// Ended by a signal that Polder did not send.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// A user or administrator ended it.
    Cancelled,
    /// Its time limit passed.
    TimedOut,
    /// The program could not be started, and why.
    NotStarted {
        /// What was wrong and what to do.
        why: String,
    },
    /// Its node, or the device under it, was lost.
    Lost {
        /// What is known.
        why: String,
    },
    /// The gang was returned before it started; the job is queued again.
    Returned,
}

impl Outcome {
    /// Whether trying again could help.
    #[must_use]
    pub const fn may_retry(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Signalled { .. } | Self::Lost { .. })
    }

    /// The exit code `polder run` and `polder wait` give back, as a shell would.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Succeeded => 0,
            Self::Failed { code } => *code,
            Self::Signalled { signal } => 128 + *signal,
            Self::Cancelled => 130,
            Self::TimedOut => 124,
            Self::NotStarted { .. } => 127,
            Self::Lost { .. } | Self::Returned => 125,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.pad("succeeded"),
            Self::Failed { code } => f.pad(&format!("failed ({code})")),
            Self::Signalled { signal } => f.pad(&format!("signal {signal}")),
            Self::Cancelled => f.pad("cancelled"),
            Self::TimedOut => f.pad("timed out"),
            Self::NotStarted { .. } => f.pad("not started"),
            Self::Lost { .. } => f.pad("lost"),
            Self::Returned => f.pad("returned"),
        }
    }
}

/// A job as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What was asked.
    pub ask: Ask,
    /// Where it stands.
    pub state: JobState,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// When its first task of this try started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Members that run now.
    #[serde(default)]
    pub running: u32,
    /// Leases of this try, by rank.
    pub leases: Vec<LeaseId>,
    /// How its size was changed since it was accepted, oldest first; only the last of many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resizes: Vec<Resized>,
}
