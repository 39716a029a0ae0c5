//! `polder cancel`: ends jobs.

use super::{Context, Done};
use crate::client::Query;
use crate::output;
use clap::Args;
use hyper::Method;
use polder_model::{Job, JobId, JobState};
use serde_json::json;

/// Flags of `polder cancel`.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Jobs to end.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobId>,
}

impl Cancel {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        let mut ended: Vec<Job> = Vec::new();
        let mut first_failure = None;
        for id in self.jobs {
            let path = Query::new(&["jobs", &id.to_string(), "cancel"]);
            match client.send::<Job>(Method::POST, path, &json!({})).await {
                Ok(job) => ended.push(job),
                Err(failure) if failure.unreachable => return Err(failure),
                // The others are still to be ended.
                Err(failure) => {
                    if let Some(earlier) = first_failure.replace(failure) {
                        output::failure(&earlier);
                    }
                }
            }
        }
        if context.out.json_wanted() {
            context.out.json(&ended)?;
        }
        for job in &ended {
            let word =
                if matches!(job.state, JobState::Stopping) { "is being ended" } else { "is over" };
            context.out.note(&format!("job {} {word}", job.id));
        }
        first_failure.map_or(Ok(0), Err)
    }
}
