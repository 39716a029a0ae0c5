//! The one writer: validate, apply, plan, append, and only then answer.
//!
//! Every write is a [`Command`] in a bounded channel. The loop in [`run`] takes all that wait,
//! makes one transaction of their events and of what the engine decides upon them, and answers
//! when it is on disk. Reads are closures run between transactions, so that nobody is ever shown
//! what could still be lost.

mod core;
mod error;
mod jobs;
mod nodes;
mod run;
mod sync;
mod watch;

pub(crate) use self::core::{Core, Written};
pub(crate) use error::WriteError;
pub(crate) use nodes::Nodes;
pub(crate) use run::{Writer, WriterParts};
pub(crate) use watch::Watchers;

use crate::api::{Change, ResizeRequest, UserChange};
use crate::auth::Caller;
use crate::journal::AppendError;
use polder_engine::{Engine, Refusal};
use polder_model::{
    Ask, JobId, Policy, PoolId, Reservation, SyncRefusal, SyncRequest, SyncResponse, Tenant,
    TenantPath, Timestamp, UserName,
};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Commands that may wait; beyond them, callers wait to be let in.
const COMMANDS_MAX: usize = 4096;
/// Queries that may wait.
const QUERIES_MAX: usize = 1024;
/// Changes kept for a slow listener before it is told that it missed some.
const CHANGES_MAX: usize = 4096;

/// Why the writer ended. The process must end with it: what it had begun is not kept.
#[derive(Debug, Error)]
pub enum WriterError {
    /// Events could not be made durable.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The journal could not be read.
    #[error("cannot read the journal: {0}: this server stops; running tasks go on")]
    Read(#[from] sqlx::Error),
    /// The engine refuses what it had accepted or decided: a defect of this program.
    #[error(
        "the engine contradicts itself: {what}: this server stops before anything is written; \
         running tasks go on; please report this"
    )]
    Engine {
        /// What it said.
        what: String,
    },
}

/// A write and who wants it.
pub(crate) enum Write {
    Submit { ask: Box<Ask>, key: Option<String> },
    Cancel { job: JobId },
    Scale { job: JobId, min: u32, max: u32 },
    Resize { job: JobId, request: ResizeRequest },
    TenantSet { tenant: Tenant },
    TenantRemove { path: TenantPath },
    PolicySet { policy: Box<Policy> },
    PolicyRollBack,
    PolicyShadow { policy: Option<Box<Policy>> },
    ReservationSet { reservation: Reservation },
    ReservationRemove { name: String },
    UserSet { name: UserName, change: UserChange },
    UserRemove { name: UserName },
    Backup { path: String },
    Shutdown { end_tasks: bool },
}

/// Why a call of an agent is not answered with a desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SyncError {
    Refused(SyncRefusal),
    Inventory(Refusal),
    Stopping,
}

type Reply<T> = oneshot::Sender<T>;

pub(crate) enum Command {
    Write { caller: Caller, write: Write, reply: Reply<Result<Written, WriteError>> },
    Sync { request: Box<SyncRequest>, reply: Reply<Result<SyncResponse, SyncError>> },
}

type Query = Box<dyn FnOnce(&View<'_>) + Send>;

/// What queries see: the state as of the last durable event.
pub(crate) struct View<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) nodes: &'a Nodes,
    pub(crate) pool: &'a PoolId,
    pub(crate) at: Timestamp,
    positions: &'a OnceLock<BTreeMap<JobId, u64>>,
}

impl View<'_> {
    /// Places in the queue, from 1. Worked out once for all who ask between two transactions.
    pub(crate) fn positions(&self) -> &BTreeMap<JobId, u64> {
        self.positions.get_or_init(|| self.engine.queue(self.at).zip(1..).collect())
    }
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    queries: mpsc::Sender<Query>,
    pub(crate) changes: broadcast::Sender<Change>,
    pub(crate) watchers: Arc<Watchers>,
}

/// The writer is gone: the server is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopping;

impl Handle {
    /// Writes, and answers once it is durable.
    pub(crate) async fn write(&self, caller: Caller, write: Write) -> Result<Written, WriteError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Write { caller, write, reply };
        self.commands.send(command).await.map_err(|_| WriteError::Stopping)?;
        answer.await.unwrap_or(Err(WriteError::Stopping))
    }

    /// Takes in what an agent observes; answers with its desired state once that is newer than
    /// what the agent has, or its wait is over.
    pub(crate) async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, SyncError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Sync { request: Box::new(request), reply };
        self.commands.send(command).await.map_err(|_| SyncError::Stopping)?;
        answer.await.unwrap_or(Err(SyncError::Stopping))
    }

    /// Reads the durable state.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        // A caller that has gone away needs no answer.
        let query: Query = Box::new(move |view| drop(reply.send(read(view))));
        self.queries.send(query).await.map_err(|_| Stopping)?;
        answer.await.map_err(|_| Stopping)
    }
}
