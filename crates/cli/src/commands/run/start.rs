//! Until the command runs: its place in the queue, and what the caller may do meanwhile.

use super::session::Session;
use crate::client::{Client, Query};
use crate::commands::wait::place;
use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::{Descriptors, ends, stop_self};
use polder_agent::client::{Attachment, Following};
use polder_model::{Job, JobId, JobState, Outcome};
use polder_server::api::WaitAnswer;
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A job that starts within this time says nothing of queues.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// How long one call is held.
const HOLD: Duration = Duration::from_secs(30);
/// How long a signal is held for a command that is about to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(3);
/// Most signals held for it.
const HELD_MAX: usize = 16;
/// How long to rest before a daemon that is away is asked again.
const AWAY_REST: Duration = Duration::from_millis(500);

/// How the wait for a job's turn ended.
pub(super) enum Begun {
    /// It runs; signals that came just before are for the command.
    Launched(Following, Vec<i32>),
    /// It is over without having run here.
    Over(Outcome),
    /// The caller ended the wait with this signal.
    Cancelled(i32),
}

impl Session {
    /// Hands the descriptors over and waits for the job's turn.
    pub(super) async fn start(&mut self, descriptors: &Descriptors) -> Result<Begun, Failure> {
        let terminal = descriptors.is_terminal();
        let attachment = descriptors
            .lend(|fds| {
                Attachment::open(&self.folder, self.job, terminal, fds, &self.inherited)
                    .map_err(std::io::Error::other)
            })
            .map_err(|error| Failure::failed(format!("job {}: {error}", self.job)));
        let attachment = match attachment {
            Ok(attachment) => attachment,
            // Nobody would ever hand it its descriptors.
            Err(failure) => return Err(self.give_up(failure).await),
        };
        let mut launched = Box::pin(attachment.launched());
        let (out, job) = (self.out, self.job);
        let client = self.client.clone();
        let told = AtomicBool::new(false);
        let mut turn = Box::pin(watch_turn(&client, out, job, &told));
        let mut held = Vec::new();
        loop {
            let patience = if held.is_empty() { HOLD } else { BEGINS_WITHIN };
            tokio::select! {
                biased;
                launched = &mut launched => {
                    drop(turn);
                    return match launched {
                        Ok(following) => {
                            if told.load(Ordering::Relaxed) {
                                out.note(&format!("job {job} runs"));
                            }
                            Ok(Begun::Launched(following, held))
                        }
                        Err(error) => self.refused(&error).await,
                    };
                }
                signal = self.signals.next() => {
                    let again = held.iter().copied().any(ends);
                    if held.len() < HELD_MAX && !again && self.begins().await {
                        held.push(signal);
                    } else if ends(signal) {
                        drop(turn);
                        return self.cancelled_by(signal).await;
                    } else if signal == Signal::TSTP.as_raw() {
                        stop_self();
                    }
                }
                () = tokio::time::sleep(patience) => {
                    if let Some(signal) = held.iter().copied().find(|signal| ends(*signal)) {
                        drop(turn);
                        return self.cancelled_by(signal).await;
                    }
                }
                over = &mut turn => return over.map(Begun::Over),
            }
        }
    }

    async fn cancelled_by(&self, signal: i32) -> Result<Begun, Failure> {
        self.cancel().await?;
        Ok(Begun::Cancelled(signal))
    }

    /// Whether the job has its leases, so that its command runs at any moment, if it does not
    /// already: a signal is then the command's and not for the queue.
    async fn begins(&self) -> bool {
        let path = Query::new(&["jobs", &self.job.to_string()]);
        let known = self.client.get::<polder_server::api::JobDetail>(path).await;
        known.is_ok_and(|detail| matches!(detail.job.state, JobState::Starting | JobState::Running))
    }

    /// The agent will not start it on these descriptors, or went away.
    async fn refused(&self, error: &polder_agent::client::ClientError) -> Result<Begun, Failure> {
        let path = Query::new(&["jobs", &self.job.to_string()]);
        let known = self.client.get::<polder_server::api::JobDetail>(path).await;
        if let Ok(JobState::Finished { outcome }) = known.map(|detail| detail.job.state) {
            return Ok(Begun::Over(outcome));
        }
        let failure = Failure::failed(format!("job {}: {error}", self.job));
        Err(self.give_up(failure).await)
    }

    /// Ends the job because it can no longer be run from here; gives the reason back.
    async fn give_up(&self, failure: Failure) -> Failure {
        match self.cancel().await {
            Ok(()) => failure,
            Err(_) => failure.help(format!("end it with `polder cancel {}`", self.job)),
        }
    }

    async fn cancel(&self) -> Result<(), Failure> {
        let path = Query::new(&["jobs", &self.job.to_string(), "cancel"]);
        match self.client.send::<Job>(hyper::Method::POST, path, &serde_json::json!({})).await {
            Ok(_) => {
                self.out.note(&format!("job {} is cancelled", self.job));
                Ok(())
            }
            Err(failure) if failure.is_broken() => Err(Failure::failed(format!(
                "job {} is still queued: {}",
                self.job, failure.message
            ))
            .help(format!("start the daemon and end it with `polder cancel {}`", self.job))),
            Err(failure) => Err(failure),
        }
    }
}

/// Shows the job's place in the queue, and whether what it said of that stays where it was said. Returns
/// only when the job is over.
async fn watch_turn(
    client: &Client,
    out: Output,
    job: JobId,
    told: &AtomicBool,
) -> Result<Outcome, Failure> {
    let mut progress = out.progress();
    let mut seen: Option<String> = None;
    loop {
        let (until, hold) = match seen {
            None => ("started", FIRST_LOOK),
            Some(_) => ("changed", HOLD),
        };
        let path = Query::new(&["jobs", &job.to_string(), "wait"])
            .with("until", until)
            .with("timeout_ms", hold.as_millis())
            .with_some("seen", seen.as_ref());
        match client.get_held::<WaitAnswer>(path, hold).await {
            Ok(answer) => {
                if let JobState::Finished { outcome } = answer.job.state {
                    return Ok(outcome);
                }
                match place(&answer) {
                    Some(place) => progress.set(&place),
                    None => progress.clear(),
                }
                told.fetch_or(progress.stays(), Ordering::Relaxed);
                seen = Some(answer.seen);
            }
            // How long an agent is waited for is the attachment's to say.
            Err(failure) if failure.unreachable => {
                progress.set(&format!("{}; job {job} waits for it", failure.message));
                told.fetch_or(progress.stays(), Ordering::Relaxed);
                tokio::time::sleep(AWAY_REST).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}
