//! `polder wait`: until jobs are over.

use super::{Context, Done};
use crate::client::{Client, Query};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::show;
use clap::Args;
use polder_model::{Job, JobId, JobState, Micros, Outcome};
use polder_server::api::{JobDetail, LeaseView, WaitAnswer};
use std::time::{Duration, Instant};

/// How long one call is held; the daemon allows a minute.
const HOLD: Duration = Duration::from_secs(30);
/// How long a daemon may be away (for an upgrade, or after a crash) before waiting ends.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// How long to rest before asking again.
const AWAY_REST: Duration = Duration::from_millis(500);

const WAIT_HELP: &str = "\
Exits as the first job that did not succeed; 125 when the daemon is not there, or went away or fell
silent and was not back within a minute.";

/// Flags of `polder wait`.
#[derive(Debug, Args)]
#[command(after_long_help = WAIT_HELP)]
pub(crate) struct Wait {
    /// Jobs to wait for.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobId>,
    /// Give up after this long, with exit code 5; the jobs go on.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    timeout: Option<Micros>,
}

impl Wait {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        let deadline = self.timeout.map(|limit| Instant::now() + limit.to_duration());
        let mut over = Vec::new();
        for id in self.jobs {
            let job = finished(&client, context.out, id, deadline).await;
            over.push(job.map_err(Away::ended)?);
        }
        if context.out.json_wanted() {
            context.out.json(&over)?;
        }
        let mut code = 0;
        for job in &over {
            if let JobState::Finished { outcome } = &job.state {
                say_outcome(context.out, job.id, outcome);
                // How it ended is known: a daemon that is gone by now changes nothing.
                let path = Query::new(&["jobs", &job.id.to_string()]);
                if *outcome != Outcome::Succeeded
                    && let Ok(detail) = client.get::<JobDetail>(path).await
                {
                    say_found(context.out, job.id, &detail.leases);
                }
                code = if code == 0 { outcome.exit_code() } else { code };
            }
        }
        Ok(code)
    }
}

/// Says how a job ended when that is more than its program's own exit code.
pub(super) fn say_outcome(out: Output, job: JobId, outcome: &Outcome) {
    match outcome {
        Outcome::Succeeded | Outcome::Failed { .. } => {}
        Outcome::Signalled { signal } => out.note(&format!("job {job}: ended by signal {signal}")),
        Outcome::Cancelled => out.note(&format!("job {job}: cancelled")),
        Outcome::TimedOut => out.note(&format!("job {job}: ended at its time limit")),
        Outcome::NotStarted { why } => out.warn(&format!("job {job} could not start: {why}")),
        Outcome::Lost { why } => out.warn(&format!("job {job} was lost: {why}")),
        Outcome::Returned => out.note(&format!("job {job}: returned before it started")),
    }
}

/// Says what Polder found of a job's leases: it may be why the job has ended so.
pub(super) fn say_found(out: Output, job: JobId, leases: &[LeaseView]) {
    for found in show::findings(leases) {
        out.warn(&format!("job {job}: {found}"));
    }
}

/// Where the job stands, for its caller; nothing once it runs.
pub(super) fn place(answer: &WaitAnswer) -> Option<String> {
    let job = answer.job.id;
    let why = answer.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    match (&answer.job.state, answer.position) {
        (JobState::Queued, Some(place)) => Some(format!("job {job} waits, place {place}{why}")),
        (JobState::Queued, None) => Some(format!("job {job} waits{why}")),
        (JobState::Starting, _) => Some(format!("job {job} is being prepared{why}")),
        _ => None,
    }
}

/// Waits until a job is over. A daemon that goes away for a while does not end the wait.
pub(super) async fn finished(
    client: &Client,
    out: Output,
    id: JobId,
    deadline: Option<Instant>,
) -> Result<Job, Failure> {
    let mut away = Away::default();
    // Asked at once whether it is over, so that a daemon that answers is known to be there.
    let mut first = true;
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let most = if std::mem::take(&mut first) { Duration::ZERO } else { HOLD };
        let hold = left.map_or(most, |left| left.min(most));
        let path = Query::new(&["jobs", &id.to_string(), "wait"])
            .with("until", "finished")
            .with("timeout_ms", hold.as_millis());
        match client.get_held::<WaitAnswer>(path, hold).await {
            Ok(answer) if answer.reached => return Ok(answer.job),
            Ok(_) => away.met(),
            Err(failure) => away.bear(failure, out).await?,
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Failure::new(Exit::Timeout, format!("job {id} is not over yet"))
                .help(format!("see `polder show {id}`; it goes on")));
        }
    }
}

/// Whether the daemon was ever there, and how long it has been away.
#[derive(Debug, Default)]
pub(super) struct Away {
    met: bool,
    since: Option<Instant>,
}

impl Away {
    /// The daemon has answered.
    pub(super) fn met(&mut self) {
        *self = Self { met: true, since: None };
    }

    /// A failure for want of a daemon, with an exit code that is not taken for a job's.
    pub(super) fn ended(failure: Failure) -> Failure {
        if failure.unreachable { Failure { exit: Exit::NotRun, ..failure } } else { failure }
    }

    /// Rests and returns when asking again is worth while; else gives the failure back. A daemon
    /// that was never there is not waited for.
    pub(super) async fn bear(&mut self, failure: Failure, out: Output) -> Result<(), Failure> {
        if !failure.unreachable || !self.met {
            return Err(failure);
        }
        match self.since {
            Some(since) if since.elapsed() > AWAY_MAX => return Err(failure),
            Some(_) => {}
            None => {
                self.since = Some(Instant::now());
                out.note(&format!("{}; waiting for it to come back", failure.message));
            }
        }
        tokio::time::sleep(AWAY_REST).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[tokio::test]
    async fn a_daemon_that_stays_away_ends_the_wait_and_one_that_was_never_there_at_once() {
        let out = Output { format: Format::Table, quiet: true };
        let mut away = Away::default();
        let gone = || Failure::unreachable("gone");
        assert!(away.bear(gone(), out).await.is_err(), "it was never there");
        away.met();
        assert!(away.bear(gone(), out).await.is_ok());
        assert!(away.bear(Failure::failed("other"), out).await.is_err());
        away.since = Instant::now().checked_sub(AWAY_MAX + AWAY_REST);
        let failure = Away::ended(away.bear(gone(), out).await.unwrap_err());
        assert_eq!(failure.exit, Exit::NotRun);
        assert_eq!(Away::ended(Failure::failed("other")).exit, Exit::Failed);
    }
}
