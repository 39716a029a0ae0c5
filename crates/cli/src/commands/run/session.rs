//! One `polder run` from its submission to its exit code, over all tries.

use super::start::Begun;
use crate::client::{Client, Query};
use crate::commands::Done;
use crate::commands::wait::{finished, say_found, say_outcome};
use crate::failure::Failure;
use crate::output::Output;
use crate::show;
use crate::terminal::{Descriptors, Relay, Signals, stop_self};
use polder_agent::Inherited;
use polder_agent::client::Following;
use polder_model::{JobId, JobState, Outcome};
use polder_server::api::JobDetail;
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the end of a job is left to the daemon to note before this client ends: what is asked
/// right after `polder run` should know of it.
const NOTED_MAX: Duration = Duration::from_secs(2);

/// How often it is asked.
const NOTED_POLL: Duration = Duration::from_millis(10);

/// What a run works with.
pub(super) struct Session {
    pub(super) out: Output,
    pub(super) client: Client,
    pub(super) folder: PathBuf,
    pub(super) job: JobId,
    pub(super) signals: Signals,
    /// Which try is under way.
    pub(super) attempt: u32,
    /// Whether the ask limits CPU, memory or processes.
    pub(super) limited: bool,
    /// What the command inherits besides input, output and error.
    pub(super) inherited: Inherited,
    /// Whether it may be started again, which needs them again.
    pub(super) again: bool,
    /// From the first start of the command to the end of the last try, nanoseconds of the monotonic
    /// clock.
    pub(super) times: Option<(u64, u64)>,
}

impl Session {
    /// Waits for the job's turn, runs it, and again for each further try.
    pub(super) async fn perform(&mut self) -> Done {
        loop {
            let descriptors = Descriptors::choose()
                .map_err(|error| Failure::failed(format!("making a terminal: {error}")))?;
            let outcome = match self.start(&descriptors).await? {
                Begun::Cancelled(signal) => return Ok(128 + signal),
                Begun::Over(outcome) => return Ok(self.conclude(&outcome)),
                Begun::Launched(following, held) => {
                    if !self.again {
                        // Who waits for the end of a pipe waits for the command alone.
                        self.inherited.descriptors.clear();
                    }
                    let began = self.times.map_or_else(monotonic_ns, |(began, _)| began);
                    self.say_not_enforced().await;
                    let outcome = self.follow(following, descriptors, held).await?;
                    if !matches!(outcome, Outcome::NotStarted { .. }) {
                        self.times = Some((began, monotonic_ns()));
                    }
                    outcome
                }
            };
            match self.noted(&outcome).await {
                Noted::Over(outcome) => return Ok(self.conclude(&outcome)),
                Noted::Again => {
                    self.out.note(&format!("job {}: {outcome}; trying again", self.job));
                }
            }
        }
    }

    /// Says which limits of the ask the command runs without. The command is not kept waiting for
    /// a daemon that does not answer: `polder show` tells the same later.
    async fn say_not_enforced(&self) {
        if !self.limited {
            return;
        }
        let path = Query::new(&["jobs", &self.job.to_string()]);
        let asked = tokio::time::timeout(NOTED_MAX, self.client.get::<JobDetail>(path)).await;
        let Ok(Ok(detail)) = asked else { return };
        let leases = detail.leases.iter().map(|view| &view.lease);
        for limit in show::not_enforced(leases.filter(|lease| lease.attempt == self.attempt)) {
            self.out.warn(&format!("job {}: {limit}", self.job));
        }
    }

    /// The command runs: passes signals on until it is over.
    async fn follow(
        &mut self,
        mut following: Following,
        descriptors: Descriptors,
        held: Vec<i32>,
    ) -> Result<Outcome, Failure> {
        let relay = match descriptors {
            Descriptors::Own => None,
            Descriptors::Pty(pty) => Some(pty.relay(self.out).map_err(|error| {
                Failure::failed(format!("joining this terminal to the command's: {error}"))
            })?),
        };
        for signal in held {
            pass_on(signal, &following, relay.as_ref());
        }
        let outcome = loop {
            tokio::select! {
                ended = following.ended() => break ended,
                signal = self.signals.next() => pass_on(signal, &following, relay.as_ref()),
            }
        };
        if let Some(relay) = relay {
            relay.finish().await;
        }
        match outcome {
            Ok(outcome) => Ok(outcome),
            // Its shim is gone: the daemon knows, or will, what became of the task.
            Err(error) => {
                let job = finished(&self.client, self.out, self.job, None).await;
                match job.map(|job| job.state) {
                    Ok(JobState::Finished { outcome }) => Ok(outcome),
                    _ => Err(Failure::failed(format!("job {}: {error}", self.job))
                        .help(format!("`polder show {}` tells what is known of it", self.job))),
                }
            }
        }
    }

    /// Whether the daemon takes this end for the job's, as far as it can be asked. The exit code is
    /// known: a daemon that does not answer changes nothing.
    async fn noted(&mut self, outcome: &Outcome) -> Noted {
        let deadline = Instant::now() + NOTED_MAX;
        while Instant::now() < deadline {
            let path = Query::new(&["jobs", &self.job.to_string()]);
            match self.client.get::<JobDetail>(path).await {
                Ok(JobDetail { job, leases, .. }) => match job.state {
                    JobState::Finished { outcome } => {
                        for kills in show::memory_kills(&leases) {
                            self.out.warn(&format!("job {}: {kills}", self.job));
                        }
                        if outcome != Outcome::Succeeded {
                            say_found(self.out, self.job, &leases);
                        }
                        return Noted::Over(outcome);
                    }
                    _ if job.attempt > self.attempt => {
                        self.attempt = job.attempt;
                        return Noted::Again;
                    }
                    _ => {}
                },
                Err(_) => break,
            }
            tokio::time::sleep(NOTED_POLL).await;
        }
        Noted::Over(outcome.clone())
    }

    fn conclude(&self, outcome: &Outcome) -> i32 {
        // A shell says itself which signal ended a command.
        if !matches!(outcome, Outcome::Signalled { .. }) {
            say_outcome(self.out, self.job, outcome);
        }
        outcome.exit_code()
    }
}

/// The monotonic clock, nanoseconds.
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000) + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// What the daemon makes of the end of a try.
enum Noted {
    /// The job is over.
    Over(Outcome),
    /// It is queued again.
    Again,
}

/// Passes a signal on to the task. One that comes too late concerns nobody.
fn pass_on(number: i32, following: &Following, relay: Option<&Relay>) {
    let is = |signal: Signal| signal.as_raw() == number;
    match relay {
        // The kernel tells the task when its own terminal changes.
        Some(relay) if is(Signal::WINCH) => relay.resize(),
        _ if is(Signal::TSTP) => stop_both(following, relay),
        _ => {
            if is(Signal::CONT) {
                // Stopped by force, it may go on elsewhere than where it was.
                relay.inspect(|relay| relay.resume());
            }
            let _ = following.signal(number);
        }
    }
}

/// Stops the task and this client, as a shell expects of a job, until the shell continues it.
fn stop_both(following: &Following, relay: Option<&Relay>) {
    relay.inspect(|relay| relay.suspend());
    // SIGTSTP is void for a task that no shell watches.
    let stopped = following.stop();
    stop_self();
    relay.inspect(|relay| relay.resume());
    let _ = following.signal(Signal::CONT.as_raw());
    drop(stopped);
    if relay.is_some() {
        // What it had drawn may be gone from the screen.
        let _ = following.signal(Signal::WINCH.as_raw());
    }
}
