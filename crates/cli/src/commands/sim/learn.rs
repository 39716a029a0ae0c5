//! `polder sim learn`: a better policy, found in a history and proved on days it has not seen.

use super::source::{Source, warn_of_partitions, whole};
use crate::commands::{Context, Done};
use crate::failure::Failure;
use crate::output::Table;
use crate::show;
use clap::{Args, ValueEnum};
use polder_model::{Micros, Policy};
use polder_sim::learn::{Goal, Learned, Paired, Past, Search, Verdict, tune};
use polder_sim::report;
use std::path::PathBuf;

/// Longest search, in rounds and in tries of each.
const SEARCH_MAX: u64 = 1000;

/// Shortest blocks that are compared: a minute, which errors call 1m.
const BLOCK_MIN: Micros = Micros(60_000_000);
/// Fewest jobs of a block, in the mean, whose comparison goes without a warning.
const BLOCK_JOBS_MIN: u64 = 5;

/// Flags of `polder sim learn`.
#[derive(Debug, Args)]
pub(crate) struct Learn {
    #[command(flatten)]
    source: Source,
    /// The policy in force, as TOML; a journal brings its own [default: the engine's].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What is to become small.
    #[arg(long, value_name = "WHAT", default_value = "wait")]
    goal: Wanted,
    /// Length of the blocks of time that are compared.
    #[arg(long, value_name = "TIME", default_value = "1d", allow_hyphen_values = true)]
    block: Micros,
    /// Rounds of the search.
    #[arg(
        long, value_name = "N", default_value_t = 10, allow_hyphen_values = true,
        value_parser = whole
    )]
    rounds: u64,
    /// Policies tried in each round.
    #[arg(
        long, value_name = "N", default_value_t = 6, allow_hyphen_values = true,
        value_parser = whole
    )]
    tries: u64,
    /// Write policy.toml (if it is admitted, else refused.toml), plain.toml (if a plain policy is
    /// better), learned.json and learned.html into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What is to become small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wanted {
    /// Mean time from arrival to first start.
    Wait,
    /// Mean of time in the pool over time the work needs alone.
    Slowdown,
    /// Mean time from arrival to end.
    Completion,
}

impl Wanted {
    pub(crate) fn goal(self) -> Goal {
        match self {
            Self::Wait => Goal::Wait,
            Self::Slowdown => Goal::Slowdown,
            Self::Completion => Goal::Completion,
        }
    }
}

/// A number of the search, which is at most [`SEARCH_MAX`].
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Refuses blocks too short for any comparison.
pub(crate) fn check_block(block: Micros) -> Result<(), Failure> {
    if block >= BLOCK_MIN {
        return Ok(());
    }
    Err(Failure::usage(format!("--block is {block}: give 1m or more")))
}

impl Learn {
    pub(super) async fn execute(self, context: &Context) -> Done {
        for (flag, value) in [("--rounds", self.rounds), ("--tries", self.tries)] {
            if !(1..=SEARCH_MAX).contains(&value) {
                let message = format!("{flag} is {value}: give 1 to {SEARCH_MAX}");
                return Err(Failure::usage(message));
            }
        }
        check_block(self.block)?;
        let history = self.source.history().await?;
        let pool = self.source.pool(&history)?;
        let base = match (&self.policy, &history.policy) {
            (Some(file), _) => crate::policy::read(file)?,
            (None, Some(policy)) => policy.clone(),
            (None, None) => Policy::default(),
        };
        warn_of_partitions(context, &pool, std::iter::once(&base));
        let mut past = Past::new(&history, &pool, self.block);
        (past.goal, past.seed, past.slowdown) =
            (self.goal.goal(), self.source.seed, self.source.slowdown);
        if let Some(folder) = &self.out {
            report::check_writable(folder).map_err(Failure::failed)?;
        }
        if past.length() > self.block {
            let message = format!(
                "--block is {}: this history is so long that it takes {}s or more",
                self.block,
                past.length().0.div_ceil(1_000_000)
            );
            return Err(Failure::usage(message));
        }
        let (blocks, jobs) = past
            .blocks()
            .iter()
            .fold((0, 0), |(blocks, jobs), block| (blocks + 1, jobs + block.jobs));
        if jobs < BLOCK_JOBS_MIN * blocks {
            context.out.warn(&format!(
                "{jobs} jobs came in {blocks} blocks of {}: so few in each say little, and \
                 neighbours share a queue; give a longer --block",
                self.block
            ));
        }
        let search = Search {
            seed: self.source.seed,
            generations: small(self.rounds),
            children: small(self.tries),
        };
        let mut progress = context.out.progress_on_terminal();
        let learned = tokio::task::block_in_place(|| {
            tune(&past, &base, search, &self.source.name(), &mut |replays| {
                progress.set(&format!("{replays} replays"));
            })
        });
        progress.clear();
        let learned = learned.map_err(Failure::failed)?;
        if let Some(folder) = &self.out {
            let policy = crate::policy::written(&learned.candidate)?;
            let plain = learned.plain.as_ref().map(|plain| crate::policy::written(&plain.policy));
            let plain = plain.transpose()?;
            report::write_learned(folder, &learned, &policy, plain.as_deref())
                .map_err(Failure::failed)?;
            context.out.note(&format!("wrote {}", folder.join("learned.html").display()));
        }
        if context.out.json_wanted() {
            context.out.json(&learned)?;
        } else {
            context.out.table(&table(&learned))?;
            context.out.text(&told(&learned))?;
        }
        for note in &history.workload.notes {
            context.out.note(note);
        }
        Ok(0)
    }
}

/// A cost of this goal, for people.
pub(crate) fn shown(goal: Goal, cost: f64) -> String {
    match goal {
        Goal::Slowdown => format!("{cost:.3}"),
        Goal::Wait | Goal::Completion => format!("{cost:.1} s"),
    }
}

/// A difference and its interval, for people.
pub(crate) fn interval(goal: Goal, difference: Option<&Paired>) -> (String, String) {
    let Some(paired) = difference else { return (String::new(), "too few blocks".to_owned()) };
    let end = |value: f64| shown(goal, value);
    (end(paired.mean), format!("{} to {}", end(paired.low), end(paired.high)))
}

/// The mean of some costs.
pub(crate) fn mean(costs: impl Iterator<Item = f64>) -> f64 {
    let (sum, number) = costs.fold((0.0, 0.0), |(sum, number), cost| (sum + cost, number + 1.0));
    sum / f64::max(number, 1.0)
}

fn table(learned: &Learned) -> Table {
    let goal = learned.goal;
    let mut table = Table::new(
        &["BLOCKS", ">N", ">IN FORCE", ">CANDIDATE", ">DIFFERENCE", "95 %"],
        "nothing was learned",
    );
    let record = &learned.record;
    let parts = [
        ("searched", None),
        ("judged", Some(record.held_out.as_ref())),
        ("shadow", Some(record.shadow.as_ref())),
    ];
    for (part, difference) in parts {
        let rows = || {
            let rows = learned.rows.iter().enumerate();
            rows.filter(|(at, _)| learned.part(*at) == part).map(|(_, row)| row)
        };
        let (before, after) =
            (mean(rows().map(|row| row.before)), mean(rows().map(|row| row.candidate)));
        // On the blocks that were searched no interval says anything.
        let (difference, between) = difference.map_or_else(
            || (shown(goal, after - before), String::new()),
            |difference| interval(goal, difference),
        );
        table.row([
            part.to_owned(),
            rows().count().to_string(),
            shown(goal, before),
            shown(goal, after),
            difference,
            between,
        ]);
    }
    for beside in learned.beside() {
        let (difference, between) = interval(goal, beside.difference.as_ref());
        let name = format!("judged, against {}", beside.name);
        table.row([name, String::new(), String::new(), String::new(), difference, between]);
    }
    table
}

fn told(learned: &Learned) -> String {
    let record = &learned.record;
    let verdict = match &record.verdict {
        Verdict::Admitted => {
            "admitted: it wins where the search did not look, and did not lose in the shadow run"
                .to_owned()
        }
        Verdict::Refused { why } => format!("refused: {why}"),
        Verdict::RolledBack { why } => format!("rolled back: {why}"),
    };
    let tried = record.found.tried;
    let better = learned.better().map_or_else(String::new, |better| {
        format!("\nbut {better}: --out writes it as plain.toml")
    });
    format!("{}{}", show::plain(&format!("{verdict} ({tried} policies tried)")), better)
}
