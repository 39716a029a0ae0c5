//! A task's output, read from whoever keeps it.

use super::extract::{Params, parse};
use super::jobs::detail;
use super::{ApiError, App};
use crate::api::{LogsQuery, Stream as Output};
use crate::auth::Caller;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hyper::body::Bytes;
use polder_model::{JobId, LeaseId, NodeId};
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
}

/// Pieces of output, in order.
pub type LogChunks = BoxStream<'static, io::Result<Bytes>>;

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
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogChunks, LogsError>>;
}

/// Keeps no output.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLogs;

impl Logs for NoLogs {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogChunks, LogsError>> {
        let why = format!("node {} keeps no output here", request.node);
        Box::pin(std::future::ready(Err(LogsError::NotFound(why))))
    }
}

/// A task's output as it was written.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/logs", tag = "jobs",
    params(("id" = u64, Path, description = "The job's number"), LogsQuery),
    responses((status = 200, description = "The bytes", content_type = "application/octet-stream"))
)]
pub(super) async fn logs(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<LogsQuery>,
) -> Result<Response, ApiError> {
    let id: JobId = parse(&id)?;
    let detail = detail(&app, caller, id).await?;
    let wanted = |attempt| query.attempt.is_none_or(|wanted| wanted == attempt);
    let mut of_task = detail.leases.iter().map(|view| &view.lease).filter(|l| l.task == query.task);
    let Some(lease) = of_task.rfind(|lease| wanted(lease.attempt)) else {
        return Err(ApiError::not_found(format!(
            "task {} of job {id} has not started",
            query.task
        ))
        .help(format!("`polder explain {id}` says what it waits for")));
    };
    let request = LogRequest {
        lease: lease.id,
        node: lease.node.clone(),
        stream: query.stream,
        follow: query.follow,
        tail: query.tail.map(|bytes| bytes.0),
    };
    let chunks = app.logs.open(request).await.map_err(|error| match error {
        LogsError::NotFound(why) => ApiError::not_found(why),
        LogsError::Io { .. } => ApiError::internal(error.to_string()),
    })?;
    let chunks = chunks.take_until(Box::pin(async move { app.stopped().await }));
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, Body::from_stream(chunks)).into_response())
}
