//! `polder logs`: what a job wrote.

use super::{Context, Done};
use crate::client::Query;
use clap::Args;
use polder_model::{Bytes, JobId};

/// Flags of `polder logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The job.
    #[arg(value_name = "JOB")]
    job: JobId,
    /// Go on until the task is over.
    #[arg(long, short)]
    follow: bool,
    /// Standard error instead of standard output.
    #[arg(long)]
    stderr: bool,
    /// Which task, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    task: u32,
    /// Of which try [default: the last].
    #[arg(long = "try", value_name = "N")]
    attempt: Option<u32>,
    /// Only about this much from the end: `64KiB`.
    #[arg(long, value_name = "SIZE")]
    tail: Option<Bytes>,
}

impl Logs {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        let path = Query::new(&["jobs", &self.job.to_string(), "logs"])
            .with("task", self.task)
            .with("stream", if self.stderr { "stderr" } else { "stdout" })
            .with("follow", self.follow)
            .with_some("attempt", self.attempt)
            .with_some("tail", self.tail.map(|tail| tail.0));
        let mut stream = client.stream(path).await?;
        while let Some(bytes) = client.next(&mut stream).await? {
            context.out.bytes(&bytes)?;
        }
        Ok(0)
    }
}
