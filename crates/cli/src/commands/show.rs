//! `polder show`: one job in full, or the latest jobs.

use super::{Context, Done};
use crate::client::{Client, Query};
use crate::failure::Failure;
use crate::output::Table;
use crate::show;
use clap::Args;
use polder_model::{Job, JobId, JobState, LeaseState, Outcome, TenantPath, When};
use polder_server::api::{JobDetail, JobList, LeaseView};
use std::fmt::Write;

/// Jobs listed when no number is given.
const LISTED: u32 = 20;

/// Flags of `polder show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The job; without it, the latest jobs are listed.
    #[arg(value_name = "JOB")]
    job: Option<JobId>,
    /// List only jobs of this tenant and all below it.
    #[arg(long, value_name = "TENANT", conflicts_with = "job")]
    tenant: Option<TenantPath>,
    /// List only jobs that are not over.
    #[arg(long, conflicts_with = "job")]
    live: bool,
    /// List at most this many.
    #[arg(long, value_name = "N", default_value_t = LISTED, conflicts_with = "job",
          allow_hyphen_values = true,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl Show {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        match self.job {
            Some(job) => one(context, &client, job).await?,
            None => self.list(context, &client).await?,
        }
        Ok(0)
    }

    async fn list(&self, context: &Context, client: &Client) -> Result<(), Failure> {
        let path = Query::new(&["jobs"])
            .with("limit", self.limit)
            .with_some("state", self.live.then_some("live"))
            .with_some("tenant", self.tenant.as_ref());
        let list: JobList = client.get(path).await?;
        if context.out.json_wanted() {
            return context.out.json(&list);
        }
        let mut table = Table::new(
            &[">JOB", "NAME", "STATE", "TENANT", "USER", ">TASKS", "EACH", "SUBMITTED", ">RAN"],
            "no jobs yet",
        );
        for job in &list.jobs {
            table.row([
                job.id.to_string(),
                job.ask.name.clone().unwrap_or_else(|| show::command(&job.ask.work.command)),
                job.state.to_string(),
                job.ask.tenant.to_string(),
                job.ask.user.to_string(),
                show::tasks(job),
                show::devices(&job.ask.devices),
                show::moment(job.submitted_at),
                ran(job),
            ]);
        }
        context.out.table(&table)
    }
}

async fn one(context: &Context, client: &Client, job: JobId) -> Result<(), Failure> {
    let detail: JobDetail = client.get(Query::new(&["jobs", &job.to_string()])).await?;
    if context.out.json_wanted() {
        return context.out.json(&detail);
    }
    context.out.text(&facts(&detail))?;
    if detail.leases.is_empty() {
        return Ok(());
    }
    context.out.text("")?;
    context.out.table(&leases(&detail.leases))
}

fn ran(job: &Job) -> String {
    let end = job.finished_at.unwrap_or_else(show::now);
    job.started_at.map_or_else(String::new, |start| end.since(start).to_string())
}

/// How long its last try ran by the clocks of its nodes, once that is over: the daemon hears of a
/// start and of an end some time later.
fn measured(detail: &JobDetail) -> Option<String> {
    detail.job.finished_at?;
    let last = detail.leases.iter().filter(|view| view.lease.attempt == detail.job.attempt);
    let ran = last.filter_map(|view| Some(view.ending.as_ref()?.end.ran)).max()?;
    Some(ran.to_string())
}

fn facts(detail: &JobDetail) -> String {
    let job = &detail.job;
    let ask = &job.ask;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<10} {}", show::one_line(&value));
        }
    };
    line("job", job.id.to_string());
    line("name", ask.name.clone().unwrap_or_default());
    line("state", state(detail));
    line("tenant", ask.tenant.to_string());
    line("user", ask.user.to_string());
    let words: Vec<String> = ask.work.command.iter().map(|word| show::quoted(word)).collect();
    line("command", words.join(" "));
    line("directory", ask.work.directory.clone());
    line("tasks", show::tasks(job));
    line("each", show::devices(&ask.devices));
    line("cap", ask.devices.compute_max.map_or_else(String::new, |max| max.to_string()));
    line("beside", show::beside(&ask.host));
    line("models", ask.devices.models.join(", "));
    line("features", ask.devices.features.iter().cloned().collect::<Vec<_>>().join(", "));
    line("limit", ask.when.time_limit.map_or_else(String::new, |limit| limit.to_string()));
    line("priority", priority(&ask.when));
    line("try", format!("{} of {}", job.attempt, u64::from(ask.yields.retries) + 1));
    line("submitted", show::moment(job.submitted_at));
    line("started", job.started_at.map_or_else(String::new, show::moment));
    line("finished", job.finished_at.map_or_else(String::new, show::moment));
    line("ran", measured(detail).unwrap_or_else(|| ran(job)));
    for resized in &job.resizes {
        line("resized", show::resized(resized));
    }
    for leaving in show::leaving(&detail.leases) {
        line("leaving", leaving);
    }
    for kills in show::memory_kills(&detail.leases) {
        line("note", kills);
    }
    for pinned in show::all_pinned(&detail.leases) {
        line("pinned", pinned);
    }
    for owed in show::all_owed(&detail.leases) {
        line("owes", owed);
    }
    for slowed in show::slowed(&detail.leases) {
        line("slowed", slowed);
    }
    for found in show::findings(&detail.leases) {
        line("found", found);
    }
    for limit in show::not_enforced(detail.leases.iter().map(|view| &view.lease)) {
        line("warning", limit);
    }
    text
}

fn priority(when: &When) -> String {
    match when.priority_expiry {
        Some(expiry) => format!("{} until {}", when.priority, show::moment(expiry)),
        None => when.priority.to_string(),
    }
}

fn state(detail: &JobDetail) -> String {
    match (&detail.job.state, detail.position) {
        (JobState::Queued, Some(place)) => format!("queued, place {place}"),
        (JobState::Finished { outcome: outcome @ Outcome::NotStarted { why } }, _)
        | (JobState::Finished { outcome: outcome @ Outcome::Lost { why } }, _) => {
            format!("{outcome}: {why}")
        }
        (state, _) => state.to_string(),
    }
}

fn leases(leases: &[LeaseView]) -> Table {
    let mut table = Table::new(
        &[
            "LEASE",
            ">TASK",
            ">TRY",
            "STATE",
            "NODE",
            "DEVICE",
            "MECHANISM",
            "ISOLATION",
            ">COMPUTE",
            ">MEMORY",
            ">PEAK",
            ">REFUSED",
            ">DEVICE-TIME",
        ],
        "no leases",
    );
    for view in leases {
        let lease = &view.lease;
        let sample = view.ending.as_ref().map(|ending| &ending.end.sample).or(view.sample.as_ref());
        let state = view
            .ending
            .as_ref()
            .map_or_else(|| lease_state(lease.state), |ending| ending.end.outcome.to_string());
        if lease.slices.is_empty() {
            let mut row: [String; 13] = std::array::from_fn(|_| String::new());
            row[0] = lease.id.to_string();
            row[1] = lease.task.to_string();
            row[2] = lease.attempt.to_string();
            row[3] = state;
            row[4] = lease.node.to_string();
            row[5] = "none".to_owned();
            row[7] = show::isolation(lease, None);
            table.row(row);
            continue;
        }
        for slice in &lease.slices {
            let used = sample
                .and_then(|sample| sample.devices.iter().find(|used| used.device == slice.device));
            table.row([
                lease.id.to_string(),
                lease.task.to_string(),
                lease.attempt.to_string(),
                state.clone(),
                lease.node.to_string(),
                show::device(&slice.device),
                slice.mechanism.to_string(),
                show::isolation(lease, Some(slice)),
                slice.compute.to_string(),
                slice.memory.to_string(),
                used.map_or_else(String::new, |used| used.memory_peak.to_string()),
                used.map_or_else(String::new, |used| used.refused.to_string()),
                used.map_or_else(String::new, |used| used.device_time.to_string()),
            ]);
        }
    }
    table
}

fn lease_state(state: LeaseState) -> String {
    match state {
        LeaseState::Granted => "granted",
        LeaseState::Prepared => "prepared",
        LeaseState::Started => "started",
        LeaseState::Ended => "ended",
    }
    .to_owned()
}
