//! `polder logs`: what a job wrote.

use super::wait::{Away, place};
use super::{Context, Done};
use crate::client::{Client, Query};
use crate::failure::Failure;
use crate::output::{Output, Progress};
use clap::Args;
use hyper::header::HeaderMap;
use polder_model::{Bytes, Job, JobId, JobState, LeaseId, Stdio};
use polder_server::api::{
    JobDetail, LOG_DROPPED_HEADER, LOG_LOST_HEADER, LOG_OFFSET_HEADER, LeaseView, WaitAnswer,
};
use serde::Serialize;
use std::time::Duration;

/// How long one call waits for a job to move on.
const HOLD: Duration = Duration::from_secs(30);
/// How long an end that a shim knows may take to reach the daemon's books before it is asked again.
const NOTED_REST: Duration = Duration::from_millis(100);

const LOGS_HELP: &str = "\
The end of a long output is kept: 64 MiB of each stream. Standard error tells how many bytes before
that were dropped, and how many a full disk refused. --follow waits for a job that is queued, goes on
through its retries, and waits up to a minute for a daemon that went away.

With --output json each line is one JSON object: job, task, try, stream and text.

Exit codes: 3 when there is no such job, task or try; 125 when the daemon went away and stayed away.";

/// Flags of `polder logs`.
#[derive(Debug, Args)]
#[command(after_long_help = LOGS_HELP)]
pub(crate) struct Logs {
    /// The job.
    #[arg(value_name = "JOB")]
    job: JobId,
    /// Go on until the job is over, from before its start.
    #[arg(long, short)]
    follow: bool,
    /// Standard error instead of standard output.
    #[arg(long)]
    stderr: bool,
    /// Which task, from 0.
    #[arg(long, value_name = "N", default_value_t = 0, allow_hyphen_values = true)]
    task: u32,
    /// Of which try, from 1 [default: the last, and with --follow those after it].
    #[arg(long = "try", value_name = "N", allow_hyphen_values = true)]
    attempt: Option<u32>,
    /// Only about this much from the end: `64KiB`.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    tail: Option<Bytes>,
}

impl Logs {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        let mut printer = Printer::new(context.out, &self);
        let mut away = Away::default();
        if self.follow {
            self.follow(&client, &mut printer, &mut away).await.map_err(Away::ended)?;
        } else {
            let detail: JobDetail = client.get(self.job_path()).await?;
            printer.attempt = self.attempt.unwrap_or(detail.job.attempt);
            say_terminal(context.out, &detail.job);
            self.print(&client, &mut printer, None).await?;
            printer.finish()?;
        }
        Ok(0)
    }

    fn job_path(&self) -> Query {
        Query::new(&["jobs", &self.job.to_string()])
    }

    /// Prints one lease of the task after another, each from its beginning to its end, until the job
    /// is over.
    async fn follow(
        &self,
        client: &Client,
        printer: &mut Printer,
        away: &mut Away,
    ) -> Result<(), Failure> {
        // The lease being printed, and the last that was printed to its end.
        let (mut current, mut done) = (None, None);
        let mut waiting = Waiting::new(printer.out);
        loop {
            let detail = match client.get::<JobDetail>(self.job_path()).await {
                Ok(detail) => detail,
                Err(failure) => {
                    away.bear(failure, printer.out).await?;
                    continue;
                }
            };
            away.met();
            let over = matches!(detail.job.state, JobState::Finished { .. });
            let Some(view) = self.next_lease(&detail, current, done) else {
                if over && done.is_some() {
                    return Ok(());
                }
                if over || self.is_past(&detail.job) {
                    // The daemon says what there is instead.
                    return self.print(client, printer, None).await;
                }
                if let Err(failure) = waiting.wait(client, &detail.job).await {
                    away.bear(failure, printer.out).await?;
                }
                continue;
            };
            waiting.over();
            current = Some(view.lease.id);
            if printer.begin(view) {
                say_terminal(printer.out, &detail.job);
            }
            match self.print(client, printer, Some(view.lease.id)).await {
                Ok(()) if view.ending.is_some() || over => {
                    printer.finish()?;
                    self.say_dropped(client, printer, view.lease.id).await;
                    (current, done) = (None, Some(view.lease.id));
                }
                // The end of the output is not the end of the task: the daemon stopped, or has not
                // noted the end yet.
                Ok(()) => tokio::time::sleep(NOTED_REST).await,
                Err(failure) => away.bear(failure, printer.out).await?,
            }
        }
    }

    /// The lease to print next, if it is there: what was begun goes on, though a later try may have
    /// come meanwhile; at first the last one; from then on all that follow.
    fn next_lease<'a>(
        &self,
        detail: &'a JobDetail,
        current: Option<LeaseId>,
        done: Option<LeaseId>,
    ) -> Option<&'a LeaseView> {
        let wanted = |view: &&LeaseView| {
            view.lease.task == self.task
                && self.attempt.is_none_or(|attempt| attempt == view.lease.attempt)
        };
        let mut all = detail.leases.iter().filter(wanted);
        if let Some(current) = current {
            return all.find(|view| view.lease.id == current);
        }
        match done {
            None => all.max_by_key(|view| view.lease.id),
            Some(done) => all.find(|view| view.lease.id > done),
        }
    }

    /// Whether the task or try asked for will never be.
    fn is_past(&self, job: &Job) -> bool {
        let tries = job.ask.yields.retries.saturating_add(1).max(job.attempt);
        self.task >= job.ask.gang.max
            || self.attempt.is_some_and(|attempt| attempt == 0 || attempt > tries)
    }

    fn output(&self, lease: Option<LeaseId>) -> Query {
        Query::new(&["jobs", &self.job.to_string(), "logs"])
            .with("task", self.task)
            .with("stream", stream(self.stderr))
            .with_some("attempt", self.attempt)
            .with_some("lease", lease.map(|lease| lease.0))
    }

    /// Prints what comes of one lease, from where the last answer broke off, and follows it if it is
    /// named.
    async fn print(
        &self,
        client: &Client,
        printer: &mut Printer,
        lease: Option<LeaseId>,
    ) -> Result<(), Failure> {
        let mut path = self.output(lease).with("follow", lease.is_some());
        path = match (printer.at, self.tail) {
            (Some(at), _) => path.with("offset", at),
            (None, tail) => path.with_some("tail", tail.map(|tail| tail.0)),
        };
        let (headers, mut stream) = client.stream(path).await?;
        printer.opened(&headers);
        while let Some(bytes) = client.next(&mut stream).await? {
            printer.print(&bytes)?;
        }
        Ok(())
    }

    /// Tells of what was dropped while it was followed; what cannot be asked is not told.
    async fn say_dropped(&self, client: &Client, printer: &mut Printer, lease: LeaseId) {
        let path = self.output(Some(lease)).with("tail", 0);
        if let Ok((headers, _)) = client.stream(path).await {
            printer.closed(&headers);
        }
    }
}

fn stream(stderr: bool) -> &'static str {
    if stderr { "stderr" } else { "stdout" }
}

/// A `polder run` keeps no output: it went to its caller.
fn say_terminal(out: Output, job: &Job) {
    if job.ask.work.stdio == Stdio::Client {
        out.note(&format!("job {} wrote to whoever ran it: nothing of it is kept", job.id));
    }
}

/// The wait for a job's next start, said on a terminal.
struct Waiting {
    progress: Progress,
    seen: Option<String>,
}

impl Waiting {
    fn new(out: Output) -> Self {
        Self { progress: out.progress_on_terminal(), seen: None }
    }

    /// Waits until the job has moved, or for a while.
    async fn wait(&mut self, client: &Client, job: &Job) -> Result<(), Failure> {
        // The first look tells where it stands.
        let hold = if self.seen.is_some() { HOLD } else { Duration::ZERO };
        let path = Query::new(&["jobs", &job.id.to_string(), "wait"])
            .with("until", "changed")
            .with("timeout_ms", hold.as_millis())
            .with_some("seen", self.seen.as_ref());
        let answer: WaitAnswer = client.get_held(path, hold).await?;
        match place(&answer) {
            Some(place) => self.progress.set(&place),
            None => self.progress.clear(),
        }
        self.seen = Some(answer.seen);
        Ok(())
    }

    fn over(&mut self) {
        self.progress.clear();
        self.seen = None;
    }
}

/// A line of output, for programs.
#[derive(Serialize)]
struct Line<'a> {
    job: JobId,
    task: u32,
    r#try: u32,
    stream: &'static str,
    text: &'a str,
}

/// Where output goes, as it comes or line by line.
struct Printer {
    out: Output,
    job: JobId,
    task: u32,
    stream: &'static str,
    attempt: u32,
    lease: Option<LeaseId>,
    /// The next byte of the lease's whole output.
    at: Option<u64>,
    /// A line without its end.
    rest: Vec<u8>,
}

impl Printer {
    fn new(out: Output, logs: &Logs) -> Self {
        let stream = stream(logs.stderr);
        let (job, task) = (logs.job, logs.task);
        Self { out, job, task, stream, attempt: 0, lease: None, at: None, rest: Vec::new() }
    }

    /// Turns to a lease. True when it is another than before.
    fn begin(&mut self, view: &LeaseView) -> bool {
        let (lease, attempt) = (view.lease.id, view.lease.attempt);
        if self.lease == Some(lease) {
            return false;
        }
        if self.lease.is_some() {
            self.out.note(&format!("job {}: started again, try {attempt}", self.job));
        }
        (self.lease, self.attempt, self.at) = (Some(lease), attempt, None);
        true
    }

    /// An answer has begun.
    fn opened(&mut self, headers: &HeaderMap) {
        let dropped = number(headers, LOG_DROPPED_HEADER);
        if dropped > 0 {
            let place = if self.at.is_none() { "first" } else { "next" };
            self.warn_dropped(&format!("the {place} {dropped} bytes"));
        }
        if self.at.is_none() {
            self.warn_lost(headers);
        }
        self.at = Some(number(headers, LOG_OFFSET_HEADER));
    }

    /// The task is over, and an empty answer tells how much it wrote in all.
    fn closed(&mut self, headers: &HeaderMap) {
        let missed = number(headers, LOG_OFFSET_HEADER).saturating_sub(self.at.unwrap_or(0));
        if missed > 0 {
            self.warn_dropped(&format!("{missed} bytes in between"));
        }
    }

    fn warn_dropped(&self, what: &str) {
        self.out.warn(&format!(
            "job {}: {what} of {} are dropped: only the end of a long output is kept",
            self.job, self.stream
        ));
    }

    fn warn_lost(&self, headers: &HeaderMap) {
        let lost = number(headers, LOG_LOST_HEADER);
        if lost > 0 {
            self.out.warn(&format!(
                "job {}: {lost} bytes of {} are missing: the disk was full or faulty",
                self.job, self.stream
            ));
        }
    }

    fn print(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.at = self.at.map(|at| at + bytes.len() as u64);
        if !self.out.json_wanted() {
            return self.out.bytes(bytes);
        }
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = whole.split(|byte| *byte == b'\n');
        let count = whole.iter().filter(|byte| **byte == b'\n').count();
        lines.take(count).try_for_each(|line| self.line(line))
    }

    /// Prints a last line that has no end.
    fn finish(&mut self) -> Result<(), Failure> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { Ok(()) } else { self.line(&rest) }
    }

    fn line(&self, text: &[u8]) -> Result<(), Failure> {
        let Self { job, task, attempt, stream, .. } = *self;
        let text = &String::from_utf8_lossy(text);
        self.out.json_line(&Line { job, task, r#try: attempt, stream, text })
    }
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers.get(name).and_then(|text| text.to_str().ok()?.parse().ok()).unwrap_or(0)
}
