//! A task's output, read from whoever keeps it.

use super::extract::{Params, parse};
use super::jobs::detail;
use super::{ApiError, App};
use crate::api::{
    JobDetail, LOG_DROPPED_HEADER, LOG_LOST_HEADER, LOG_OFFSET_HEADER, LogsQuery, Stream as Output,
};
use crate::auth::Caller;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hyper::body::Bytes;
use polder_model::{JobId, JobState, Lease, LeaseId, NodeId};
use std::io;
use thiserror::Error;

/// Whose output is wanted, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// The task's lease.
    pub lease: LeaseId,
    /// Where it ran or runs.
    pub node: NodeId,
    /// Which output.
    pub stream: Output,
    /// Goes on until the task is over.
    pub follow: bool,
    /// Starts this many bytes before the end.
    pub tail: Option<u64>,
    /// Starts at this byte of the whole.
    pub offset: Option<u64>,
}

/// Pieces of output, in order.
pub type LogChunks = BoxStream<'static, io::Result<Bytes>>;

/// A task's output, opened.
pub struct LogOutput {
    /// Its pieces.
    pub chunks: LogChunks,
    /// At which byte of the whole it begins.
    pub offset: u64,
    /// Bytes before that which were asked for and are not kept any more.
    pub dropped: u64,
    /// Bytes that could never be kept.
    pub lost: u64,
}

/// Why output cannot be read.
#[derive(Debug, Error)]
pub enum LogsError {
    /// There is none, and why.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be read now.
    #[error("{subject}: {source}")]
    Io {
        /// Which file or node.
        subject: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Whoever keeps the output of tasks: the agent of a node.
pub trait Logs: Send + Sync + 'static {
    /// Opens a task's output.
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogOutput, LogsError>>;
}

/// Keeps no output.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLogs;

impl Logs for NoLogs {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogOutput, LogsError>> {
        let why = format!("node {} keeps no output here", request.node);
        Box::pin(std::future::ready(Err(LogsError::NotFound(why))))
    }
}

/// A task's output as it was written; headers say where in the whole it begins, and what is missing.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/logs", tag = "jobs",
    params(("id" = u64, Path, description = "The job's number"), LogsQuery),
    responses((status = 200, description = "The bytes", content_type = "application/octet-stream",
        headers(
            ("polder-log-offset" = u64, description = "At which byte of the whole it begins"),
            ("polder-log-dropped" = u64, description = "Bytes asked for that are kept no more"),
            ("polder-log-lost" = u64, description = "Bytes that the disk refused")
        )))
)]
pub(super) async fn logs(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<LogsQuery>,
) -> Result<Response, ApiError> {
    let id: JobId = parse(&id)?;
    if query.tail.is_some() && query.offset.is_some() {
        return Err(ApiError::bad_request("tail and offset both say where to start: give one"));
    }
    let detail = detail(&app, caller, id).await?;
    let lease = lease_of(&detail, &query)?;
    let request = LogRequest {
        lease: lease.id,
        node: lease.node.clone(),
        stream: query.stream,
        follow: query.follow,
        tail: query.tail.map(|bytes| bytes.0),
        offset: query.offset.map(|bytes| bytes.0),
    };
    let output = app.logs.open(request).await.map_err(|error| match error {
        LogsError::NotFound(why) => ApiError::not_found(why),
        LogsError::Io { .. } => ApiError::internal(error.to_string()),
    })?;
    let LogOutput { chunks, offset, dropped, lost } = output;
    let chunks = chunks.take_until(Box::pin(async move { app.stopped().await }));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (HeaderName::from_static(LOG_OFFSET_HEADER), offset.to_string()),
        (HeaderName::from_static(LOG_DROPPED_HEADER), dropped.to_string()),
        (HeaderName::from_static(LOG_LOST_HEADER), lost.to_string()),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// The lease whose output is meant, or what there is instead.
fn lease_of<'a>(detail: &'a JobDetail, query: &LogsQuery) -> Result<&'a Lease, ApiError> {
    let (job, task) = (&detail.job, query.task);
    let id = job.id;
    let tries = job.attempt;
    if let Some(attempt) = query.attempt.filter(|attempt| !(1..=tries).contains(attempt)) {
        return Err(ApiError::not_found(format!(
            "job {id} has had {}: there is no try {attempt}",
            match tries {
                0 => "no try yet".to_owned(),
                1 => "try 1 alone".to_owned(),
                _ => format!("tries 1 to {tries}"),
            }
        )));
    }
    let leases = detail.leases.iter().map(|view| &view.lease);
    let tasks = leases.clone().map(|lease| lease.task + 1).max().unwrap_or(job.ask.gang.max);
    if task >= tasks {
        return Err(ApiError::not_found(format!(
            "job {id} has {}: there is no task {task}",
            match tasks {
                0 | 1 => "task 0 alone".to_owned(),
                _ => format!("tasks 0 to {}", tasks - 1),
            }
        )));
    }
    let wanted = |lease: &&Lease| {
        lease.task == task
            && query.attempt.is_none_or(|wanted| wanted == lease.attempt)
            && query.lease.is_none_or(|wanted| wanted == lease.id)
    };
    let mut of_task = leases.filter(wanted);
    of_task.next_back().ok_or_else(|| match &job.state {
        JobState::Finished { outcome } => {
            ApiError::not_found(format!("task {task} of job {id} never started: {outcome}"))
        }
        _ => ApiError::not_found(format!("task {task} of job {id} has not started"))
            .help(format!("`polder explain {id}` says what it waits for")),
    })
}
