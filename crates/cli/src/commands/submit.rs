//! `polder submit`: a job from flags or a file.

use super::{Context, Done, ask};
use crate::failure::Failure;
use crate::job::{self, Draft, JobFlags, Tasks};
use clap::Args;
use polder_model::Stdio;
use std::ffi::OsString;
use std::path::PathBuf;

const FILE_HELP: &str = "\
A job file is TOML or YAML with these keys, all optional; flags win over it:
  name = \"train\"                # a name for people
  tenant = \"lab/vision\"         # who pays
  command = [\"python\", \"x.py\"]  # or give it after --
  directory = \"/work\"           # where it starts
  tasks = \"2..4\"                # how many start together
  [environment]                 # on top of yours
  EPOCHS = \"3\"
  [devices]                     # for each task
  count = 1
  compute = \"30%\"
  compute_max = \"50%\"
  memory = \"1GiB\"
  whole = false
  models = [\"H200\"]
  features = [\"fp64\"]
  [host]                        # for each task
  cpu = \"1.5\"
  memory = \"4GiB\"
  pids = 100
  [when]
  time_limit = \"2h\"
  priority = 10
  [yields]
  grace = \"10s\"
  retries = 2
  [terms]                       # the flags of the same names
  class = \"training\"
  preemptible = true
  checkpoint_interval = \"10m\"
  estimate = \"2h\"
  partition = \"train\"
  island = \"prefer\"

The job starts in your working directory with your environment (POLDER_TOKEN excepted), unless
--directory, --env or the file say otherwise. Each of several tasks finds RANK, WORLD_SIZE,
LOCAL_RANK, MASTER_ADDR and MASTER_PORT in its environment. With --elastic their number may change
while they run, with --service each is a replica by itself.";

/// Flags of `polder submit`.
#[derive(Debug, Args)]
#[command(after_long_help = FILE_HELP)]
pub(crate) struct Submit {
    #[command(flatten)]
    job: JobFlags,
    /// Tasks that start together, or not at all: `4`, or `2..4` for at least two.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    tasks: Option<Tasks>,
    /// Replicas of a service: `2`, or `1..4` for at least one and at most four.
    #[arg(long, value_name = "N", allow_hyphen_values = true, conflicts_with = "tasks")]
    replicas: Option<Tasks>,
    /// A job file, TOML or YAML; `-` reads it from standard input.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where the job starts [default: here].
    #[arg(long, value_name = "DIR")]
    directory: Option<String>,
    /// Sets a variable in the job's environment; may be given again.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,
    /// The program and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Submit {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let draft = self.draft()?;
        let client = context.client()?;
        let ask = ask::complete(context, &client, draft, Stdio::Logs).await?;
        let job = ask::submit(&client, &ask).await?;
        if context.out.json_wanted() {
            context.out.json(&job)?;
        } else {
            context.out.text(&job.id.to_string())?;
        }
        Ok(0)
    }

    fn draft(self) -> Result<Draft, Failure> {
        let file = self.file.as_deref().map(job::read).transpose()?.unwrap_or_default();
        let tasks = self.tasks.or(self.replicas);
        let flags = self.job.into_draft(ask::words(self.command)?, tasks);
        let environment = self.environment.into_iter().collect();
        let draft = file.with(Draft { directory: self.directory, environment, ..flags });
        draft.check_replicas(self.replicas)?;
        Ok(draft)
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
