//! `polder scale`: changes how many replicas a service has.

use super::{Context, Done};
use crate::client::Query;
use crate::job::Tasks;
use crate::show;
use clap::Args;
use hyper::Method;
use polder_model::{Job, JobId};
use serde_json::json;

/// Flags of `polder scale`.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// The service.
    #[arg(value_name = "JOB")]
    job: JobId,
    /// Replicas: `4`, or `2..4` for at least two.
    #[arg(value_name = "N")]
    replicas: Tasks,
}

impl Scale {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        let path = Query::new(&["jobs", &self.job.to_string(), "scale"]);
        let Tasks { min, max } = self.replicas;
        let bounds = json!({ "min": min, "max": max });
        let job: Job = client.send(Method::POST, path, &bounds).await?;
        if context.out.json_wanted() {
            context.out.json(&job)?;
        }
        context.out.note(&format!(
            "job {} has {} tasks from now on",
            job.id,
            show::gang(job.ask.gang)
        ));
        Ok(0)
    }
}
