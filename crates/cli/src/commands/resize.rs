//! `polder resize`: changes the share, cap, memory, priority or class of a job that waits or runs.

use super::{Context, Done};
use crate::args::priority;
use crate::client::Query;
use crate::failure::Failure;
use crate::job::Class;
use clap::Args;
use hyper::Method;
use polder_model::{Bytes, Job, JobId, Permille, Size};
use polder_server::api::{JobDetail, ResizeRequest};

/// Flags of `polder resize`.
#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// The job.
    #[arg(value_name = "JOB")]
    job: JobId,
    /// Guaranteed share of each device's compute: `50%` or `0.5`.
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    compute: Option<Permille>,
    /// Most compute it may ever use, also while others are idle; `none` for all of it.
    #[arg(long, value_name = "SHARE|none", allow_hyphen_values = true, value_parser = cap)]
    compute_max: Option<Permille>,
    /// Memory on each device.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = Bytes::of_memory)]
    memory: Option<Bytes>,
    /// Higher goes first; 0 is usual. Between -1000 and 1000; holds without an end.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = priority)]
    priority: Option<i32>,
    /// What kind of work it is.
    #[arg(long, value_enum, value_name = "CLASS")]
    class: Option<Class>,
}

/// A cap, or none.
fn cap(text: &str) -> Result<Permille, String> {
    match text {
        "none" => Ok(Permille::WHOLE),
        text => text.parse().map_err(|error| format!("{error}; or `none`")),
    }
}

impl Resize {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let job = self.job.to_string();
        let request = ResizeRequest {
            compute: self.compute,
            compute_max: self.compute_max,
            memory: self.memory,
            priority: self.priority,
            class: self.class.map(Into::into),
        };
        if request == ResizeRequest::default() {
            return Err(Failure::usage(format!("nothing of job {job} is to change"))
                .help("say what is: --compute, --compute-max, --memory, --priority or --class"));
        }
        let client = context.client()?;
        let before: JobDetail = client.get(Query::new(&["jobs", &job])).await?;
        let path = Query::new(&["jobs", &job, "resize"]);
        let after: Job = client.send(Method::POST, path, &request).await?;
        if context.out.json_wanted() {
            context.out.json(&after)?;
        }
        context.out.note(&said(&before.job, &after));
        Ok::<_, Failure>(0)
    }
}

/// What has changed, if anything has.
fn said(before: &Job, after: &Job) -> String {
    let id = after.id;
    match after.resizes.last().filter(|_| Size::of(&before.ask) != Size::of(&after.ask)) {
        Some(resized) => format!("job {id}: {resized}, from now on"),
        None => format!("job {id} is so already"),
    }
}
