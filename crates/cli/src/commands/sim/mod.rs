//! `polder sim`: what would have happened, decided by the engine that the daemon runs.

mod learn;
mod run;
mod source;
mod table;
mod yielding;

pub(crate) use learn::{Wanted, check_block, interval, mean, shown};
pub(crate) use source::read;

use super::{Context, Done};
use clap::{Args, Subcommand};
use polder_model::Micros;
use source::{Source, whole};
use std::path::PathBuf;

/// Flags of `polder sim`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Sim {
    #[command(subcommand)]
    command: Option<SimCommand>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum SimCommand {
    /// Look for a better policy in a history, and say whether it wins on days not looked at
    Learn(learn::Learn),
}

/// Flags of a replay.
#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    source: Source,
    /// The policy, as TOML; a journal brings its own [default: the engine's].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Run under both policies and show the difference.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "policy")]
    compare: Option<Vec<PathBuf>>,
    /// Write jobs.csv, leases.csv, series.csv, summary.json and report.html into this folder; with
    /// --compare into its folders a and b, and compare.json and compare.html beside them.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Let nodes crash, devices get lost and contact break, as in a bad month; a job that a fault
    /// ends is submitted again, ten times at most.
    #[arg(long)]
    faults: bool,
    /// End the run after this much simulated time, if work is left then.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<Micros>,
    /// What one device costs an hour; one CPU, where no job asks for a device.
    #[arg(long, value_name = "PRICE", default_value_t = 1.0, allow_hyphen_values = true)]
    price: f64,
    /// Recompute the engine's promises after every so many events; 0 for never.
    #[arg(
        long, value_name = "EVENTS", default_value_t = 1000, allow_hyphen_values = true,
        value_parser = whole
    )]
    check: u64,
}

impl Sim {
    pub(super) async fn execute(self, context: &Context) -> Done {
        match self.command {
            Some(SimCommand::Learn(learn)) => learn.execute(context).await,
            None => self.run.execute(context).await,
        }
    }
}
