//! Jobs whose client went away before they ran: nobody is left to bring their descriptors, so they
//! are cancelled at once and keep no device waiting.

use crate::runner::Account;
use crate::sync::{self, SyncError};
use hyper::Method;
use polder_model::{Job, JobId, JobState, Stdio};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// How often the server is asked again while it does not answer.
const TRIES_MAX: u32 = 20;
/// How long to rest between.
const REST: Duration = Duration::from_millis(500);

/// A job as the server shows it.
#[derive(Deserialize)]
struct Detail {
    job: Job,
}

/// Cancels `job`, whose client of user `uid` is gone, unless it runs or was none of that user's. A
/// server that stays away is left alone: then the lease ends for want of its client, at its turn.
pub(crate) async fn end(server: &Path, job: JobId, uid: u32) {
    for _ in 0..TRIES_MAX {
        match try_end(server, job, uid).await {
            Ok(()) => return,
            Err(SyncError::Unreachable { .. } | SyncError::Broken { .. }) => {
                tokio::time::sleep(REST).await;
            }
            Err(error) => {
                // Most likely it is over: its client cancelled it before it went.
                tracing::debug!(%job, %error, "a job whose client is gone was not cancelled");
                return;
            }
        }
    }
}

async fn try_end(server: &Path, job: JobId, uid: u32) -> Result<(), SyncError> {
    let path = format!("/api/v1/jobs/{job}");
    let Detail { job: known } = sync::ask(server, Method::GET, &path).await?;
    let waits = matches!(known.state, JobState::Queued | JobState::Starting);
    if !waits || known.ask.work.stdio != Stdio::Client || !may(uid, known).await {
        return Ok(());
    }
    let _: Job = sync::ask(server, Method::POST, &format!("{path}/cancel")).await?;
    tracing::info!(%job, "its client went away before it ran: cancelled");
    Ok(())
}

/// Whether a user may bring the descriptors of a job, and so take them away.
async fn may(uid: u32, job: Job) -> bool {
    let user = job.ask.user;
    let find = move || Account::find(user.as_str());
    let owner = tokio::task::spawn_blocking(find).await.ok().and_then(Result::ok);
    uid == 0
        || uid == rustix::process::geteuid().as_raw()
        || owner.is_some_and(|owner| owner.uid == uid)
}
