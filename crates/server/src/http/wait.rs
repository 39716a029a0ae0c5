//! Waiting for a job: held calls that cost nothing while nothing happens.

use super::extract::{Params, parse};
use super::jobs::{finished, may_see, show_to};
use super::{ApiError, App};
use crate::api::{WAIT_MS_MAX, WaitAnswer, WaitQuery, WaitUntil};
use crate::auth::Caller;
use axum::Json;
use axum::extract::{Path, State};
use polder_model::{Job, JobId, JobState};
use std::time::Duration;
use tokio::time::Instant;

/// How often a client that follows its place in the queue is told of a new one, at most. A place
/// changes with every job that starts or ends ahead, and every waiting job has one.
const POSITION_INTERVAL: Duration = Duration::from_millis(500);

/// Waits until a job is where the caller wants it, or the time is over.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/wait", tag = "jobs",
    params(("id" = u64, Path, description = "The job's number"), WaitQuery),
    responses((status = 200, description = "Where it stands", body = WaitAnswer))
)]
pub(super) async fn wait(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<WaitQuery>,
) -> Result<Json<WaitAnswer>, ApiError> {
    let id: JobId = parse(&id)?;
    let timeout = query.timeout_ms.unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX);
    let deadline = Instant::now() + Duration::from_millis(timeout);
    let mut watch = app.handle.watchers.watch(id);
    loop {
        let (job, position) = look(&app, caller.clone(), id).await?;
        let seen = name_of(&job, position);
        let changed = query.seen.as_ref().is_some_and(|before| *before != seen);
        let reached = match query.until {
            WaitUntil::Finished => is_over(&job),
            WaitUntil::Started => is_over(&job) || job.started_at.is_some(),
            WaitUntil::Changed => changed,
        };
        if reached || changed || is_over(&job) || Instant::now() >= deadline {
            let reason = reason(&app, &job).await?;
            return Ok(Json(WaitAnswer { job, position, reason, reached, changed, seen }));
        }
        let follows = query.seen.is_some() && position.is_some();
        let next = Instant::now() + POSITION_INTERVAL;
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(if follows { next.min(deadline) } else { deadline }) => {}
            () = app.stopped() => return Err(ApiError::stopping()),
        }
    }
}

fn is_over(job: &Job) -> bool {
    matches!(job.state, JobState::Finished { .. })
}

/// Names everything an answer shows, so that a client can say what it has seen.
fn name_of(job: &Job, position: Option<u64>) -> String {
    let state = match job.state {
        JobState::Queued => "queued",
        JobState::Starting => "starting",
        JobState::Running => "running",
        JobState::Stopping => "stopping",
        JobState::Finished { .. } => "finished",
    };
    let leases = job.leases.first().map_or(0, |lease| lease.0);
    format!("{state}.{}.{}.{leases}", job.attempt, position.unwrap_or(0))
}

async fn look(app: &App, caller: Caller, id: JobId) -> Result<(Job, Option<u64>), ApiError> {
    let (who, live) = app
        .read(caller, move |view, who| {
            let job = view.engine.job(id).filter(|job| may_see(who, &job.ask));
            let queued = job.as_ref().is_some_and(|job| job.state == JobState::Queued);
            let position = queued.then(|| view.positions().get(&id).copied()).flatten();
            Ok((who.clone(), job.map(|job| (show_to(who, job), position))))
        })
        .await?;
    match live {
        Some(live) => Ok(live),
        None => Ok((finished(app, &who, id).await?, None)),
    }
}

/// What keeps a job that has not started.
async fn reason(app: &App, job: &Job) -> Result<Option<polder_model::Reason>, ApiError> {
    if !matches!(job.state, JobState::Queued | JobState::Starting) {
        return Ok(None);
    }
    let id = job.id;
    let explained = app.handle.query(move |view| view.engine.explain(view.at, id)).await?;
    Ok(explained.and_then(|explanation| explanation.reasons.into_iter().next()))
}
