//! `polder queue`: what runs and what waits.

use super::{Context, Done};
use crate::client::{Client, Query};
use crate::failure::Failure;
use crate::output::Table;
use crate::show;
use clap::Args;
use polder_model::{Job, JobState, TenantPath, Timestamp, UserName};
use polder_server::api::{JobList, LIST_LIMIT_MAX, QueueEntry, QueueView};
use serde::Serialize;

/// Jobs that are over, at most, with `--all`.
const OVER_SHOWN: u32 = 20;

/// Flags of `polder queue`.
#[derive(Debug, Args)]
pub(crate) struct Queue {
    /// Only jobs of this tenant and all below it.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantPath>,
    /// Only jobs of this user.
    #[arg(long, value_name = "USER")]
    user: Option<UserName>,
    /// Show the latest jobs that are over, too.
    #[arg(long, short)]
    all: bool,
}

/// What is shown: jobs that hold leases, then those that wait, in the order of the queue.
#[derive(Debug, Serialize)]
struct Live {
    active: Vec<Job>,
    waiting: Vec<QueueEntry>,
    waiting_total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<Vec<Job>>,
}

impl Queue {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        let queue: QueueView = client.get("queue").await?;
        let path = Query::new(&["jobs"])
            .with("state", "live")
            .with("limit", LIST_LIMIT_MAX)
            .with_some("tenant", self.tenant.as_ref())
            .with_some("user", self.user.as_ref());
        let jobs: JobList = client.get(path).await?;
        let mut active = jobs.jobs;
        active.retain(|job| job.state != JobState::Queued);
        active.reverse();
        let mut waiting = queue.entries;
        waiting.retain(|entry| self.wants(entry));
        let over = if self.all { Some(self.over(&client).await?) } else { None };
        let live = Live { active, waiting, waiting_total: queue.total, over };
        if context.out.json_wanted() {
            context.out.json(&live)?;
        } else {
            context.out.table(&live.table())?;
            let shown = live.waiting.len() as u64;
            if shown < live.waiting_total {
                let hidden = live.waiting_total - shown;
                context.out.note(&format!("{hidden} more wait and are not shown"));
            }
        }
        Ok(0)
    }

    /// The latest jobs that are over, latest first.
    async fn over(&self, client: &Client) -> Result<Vec<Job>, Failure> {
        let path = Query::new(&["jobs"])
            .with("state", "finished")
            .with("limit", OVER_SHOWN)
            .with_some("tenant", self.tenant.as_ref())
            .with_some("user", self.user.as_ref());
        Ok(client.get::<JobList>(path).await?.jobs)
    }

    fn wants(&self, entry: &QueueEntry) -> bool {
        let tenant = self.tenant.as_ref();
        tenant.is_none_or(|tenant| entry.tenant.is_within(tenant))
            && self.user.as_ref().is_none_or(|user| *user == entry.user)
    }
}

impl Live {
    fn table(&self) -> Table {
        let mut table = Table::new(
            &[
                ">PLACE",
                ">JOB",
                "NAME",
                "STATE",
                "TENANT",
                "USER",
                ">TASKS",
                "EACH",
                ">PRIORITY",
                ">TIME",
                "WHY",
            ],
            "nothing runs and nothing waits",
        );
        let now = show::now();
        for job in &self.active {
            table.row(placeless(job, now));
        }
        for entry in &self.waiting {
            table.row([
                entry.position.to_string(),
                entry.job.to_string(),
                entry.name.clone().unwrap_or_else(|| show::command(&entry.command)),
                JobState::Queued.to_string(),
                entry.tenant.to_string(),
                entry.user.to_string(),
                show::gang(entry.gang),
                show::devices(&entry.devices),
                entry.priority.to_string(),
                now.since(entry.submitted_at).to_string(),
                entry.reason.as_ref().map_or_else(String::new, ToString::to_string),
            ]);
        }
        for job in self.over.iter().flatten() {
            table.row(placeless(job, now));
        }
        table
    }
}

/// A job that does not wait.
fn placeless(job: &Job, now: Timestamp) -> [String; 11] {
    let begin = job.started_at.unwrap_or(job.submitted_at);
    [
        String::new(),
        job.id.to_string(),
        job.ask.name.clone().unwrap_or_else(|| show::command(&job.ask.work.command)),
        job.state.to_string(),
        job.ask.tenant.to_string(),
        job.ask.user.to_string(),
        show::tasks(job),
        show::devices(&job.ask.devices),
        job.ask.when.priority.to_string(),
        job.finished_at.unwrap_or(now).since(begin).to_string(),
        String::new(),
    ]
}
