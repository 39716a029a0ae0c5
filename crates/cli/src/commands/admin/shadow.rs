//! `polder admin policy shadow`: a policy looked at beside the one in force.

use super::tenant::told;
use super::{Context, Done};
use crate::commands::sim::{self, Wanted, interval, mean, shown};
use crate::failure::Failure;
use crate::output::Table;
use crate::{policy, show};
use clap::Args;
use hyper::Method;
use polder_model::{Micros, Policy};
use polder_server::api::{PolicyShadow, Removed};
use polder_sim::learn::{self, Goal, Past, Shadowed};
use std::path::PathBuf;

/// Flags of `polder admin policy shadow`.
#[derive(Debug, Args)]
pub(crate) struct Shadow {
    /// Put this policy into the shadow, from now on; TOML.
    file: Option<PathBuf>,
    /// Take what is in the shadow away.
    #[arg(long, conflicts_with = "file")]
    drop: bool,
    /// Where the journal is: a state folder, or what `polder admin backup` wrote [default: the
    /// daemon's].
    #[arg(long, value_name = "PATH", conflicts_with_all = ["file", "drop"])]
    journal: Option<PathBuf>,
    /// Length of the blocks of time that are compared.
    #[arg(long, value_name = "TIME", default_value = "1h", allow_hyphen_values = true,
          conflicts_with_all = ["file", "drop"])]
    block: Micros,
    /// What is compared.
    #[arg(long, value_name = "WHAT", default_value = "wait", conflicts_with_all = ["file", "drop"])]
    goal: Wanted,
}

impl Shadow {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        if let Some(file) = &self.file {
            let wanted = policy::read(file)?;
            let set: PolicyShadow = client.send(Method::PUT, "policy/shadow", &wanted).await?;
            told(context, &set, "it is in the shadow: nothing is decided by it")?;
            return Ok(0);
        }
        if self.drop {
            let gone: Removed = client.send(Method::DELETE, "policy/shadow", &()).await?;
            told(context, &gone, "nothing is in the shadow")?;
            return Ok(0);
        }
        sim::check_block(self.block)?;
        let candidate: PolicyShadow = client.get("policy/shadow").await?;
        let now: Policy = client.get("policy").await?;
        let path = match &self.journal {
            Some(path) => path.clone(),
            None => context.client_folder()?,
        };
        let history = sim::read(&path, false, None).await?;
        let mut past = Past::new(&history, &history.pool, self.block);
        past.goal = self.goal.goal();
        let begin = history.begin.unwrap_or_default();
        let since = candidate.since.since(begin);
        if history.workload.jobs.is_empty() {
            return Err(Failure::failed("no job has run yet: there is nothing to compare"));
        }
        let shadowed =
            tokio::task::block_in_place(|| learn::shadow(&past, &now, &candidate.policy, since));
        let shadowed = shadowed.map_err(Failure::failed)?;
        if context.out.json_wanted() {
            context.out.json(&shadowed)?;
            return Ok(0);
        }
        context.out.table(&table(&shadowed))?;
        context.out.text(&verdict(&shadowed, &show::moment(candidate.since), past.length()))?;
        Ok(0)
    }
}

fn table(shadowed: &Shadowed) -> Table {
    let goal = shadowed.goal;
    let mut table = Table::new(
        &["JOBS", ">BLOCKS", ">AS IT WAS", ">IN FORCE", ">SHADOW", ">DIFFERENCE", "95 %"],
        "no block to compare yet",
    );
    if shadowed.rows.is_empty() {
        return table;
    }
    let rows = || shadowed.rows.iter();
    let really = rows().all(|row| row.really.is_some());
    let really = really.then(|| shown(goal, mean(rows().filter_map(|row| row.really))));
    let (difference, between) = interval(goal, shadowed.difference.as_ref());
    table.row([
        shadowed.jobs.to_string(),
        rows().count().to_string(),
        really.unwrap_or_default(),
        shown(goal, mean(rows().map(|row| row.before))),
        shown(goal, mean(rows().map(|row| row.candidate))),
        difference,
        between,
    ]);
    table
}

fn verdict(shadowed: &Shadowed, since: &str, block: Micros) -> String {
    let what = match shadowed.goal {
        Goal::Wait => "waits",
        Goal::Slowdown => "slowdowns",
        Goal::Completion => "completions",
    };
    let text = match &shadowed.difference {
        None if shadowed.rows.is_empty() && shadowed.early > 0 => {
            return format!(
                "{} came since {since}, in a block of {block} that had begun before: \
                 see sooner with a shorter --block",
                show::count(shadowed.early, "job")
            );
        }
        None => "too little has happened to say anything",
        Some(difference) if difference.high < 0.0 => "shorter, beyond chance",
        Some(difference) if difference.low > 0.0 => "longer, beyond chance",
        Some(_) => "no difference beyond chance",
    };
    format!("{what} since {since}: {text}")
}
