//! Why a write is refused, in words.

use crate::auth::{Denied, UnknownUser};
use polder_engine::Refusal;
use polder_model::{Bytes, DeviceId, JobId, Micros, NodeId, UserName};

/// Why a write was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteError {
    Unknown(UnknownUser),
    Denied(Denied),
    Refused(Refusal),
    /// The key already stands for a job that was asked for differently.
    KeyReused {
        key: String,
        job: JobId,
    },
    /// It would hide that this user, as whom the server runs, is its admin in any case.
    Owner {
        user: UserName,
    },
    /// A task holds more memory than it would have.
    Holds {
        job: JobId,
        node: NodeId,
        device: DeviceId,
        held: Bytes,
        wanted: Bytes,
    },
    /// It could not be over by its deadline even if it started now.
    Late {
        /// How long until the deadline; 0 once it has passed.
        left: Micros,
        /// How long its user says it runs.
        estimate: Option<Micros>,
    },
    /// The server is ending every job and takes no new one, or has stopped.
    Stopping,
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(UnknownUser(user)) => write!(f, "the pool does not know user {user}"),
            Self::Denied(denied) => denied.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::KeyReused { key, job } => write!(
                f,
                "idempotency key {key:?} already stands for job {job}, which was asked differently"
            ),
            Self::Owner { user } => write!(
                f,
                "the server runs as {user}, who is its admin whatever this list says: {user} \
                 cannot be removed or given another role"
            ),
            Self::Holds { job, node, device, held, wanted } => write!(
                f,
                "job {job} holds {held} on {device} of {node} and cannot be left with {wanted}: \
                 nothing was changed; ask for {} or more, or again when it has freed some",
                held.shown_up()
            ),
            Self::Late { left: Micros(0), .. } => {
                f.write_str("when.deadline has passed: give one that lies ahead, or leave it out")
            }
            Self::Late { left, estimate } => write!(
                f,
                "when.deadline is in {left} and when.estimate {}: it would be late even if it started \
                 now; give a later deadline or a lower estimate",
                estimate.unwrap_or(Micros(0))
            ),
            Self::Stopping => f.write_str("the server is stopping"),
        }
    }
}
