//! A policy tuned on a pool's history, and two policies compared on a stretch of it.

use super::{Beside, Knobs, Paired, Past, Record, Search, Split, Verdict, learn};
use crate::num::len;
use crate::world::WorldError;
use polder_model::{Micros, Policy};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use thiserror::Error;

/// Fewest blocks of which anything can be learned: three to search, two to judge, two to shadow.
pub const BLOCKS_MIN: u32 = 7;

/// Why nothing was learned.
#[derive(Debug, Error)]
pub enum TuneError {
    /// Too short.
    #[error(
        "jobs came in {blocks} blocks of {length} only: at least {BLOCKS_MIN} are needed; give a \
         longer history, or shorter blocks"
    )]
    TooShort {
        /// Blocks in which jobs came.
        blocks: u32,
        /// Of this length.
        length: Micros,
    },
    /// A replay went wrong.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// One block under what is in force and under the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// When it begins, in seconds from the first job.
    pub from_seconds: f64,
    /// Jobs that came in it.
    pub jobs: u64,
    /// Cost under what is in force.
    pub before: f64,
    /// Cost under the candidate.
    pub candidate: f64,
    /// What the journal itself tells, for waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub really: Option<f64>,
}

/// What was learned of a history, and whether it may be let in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// What was replayed.
    pub history: String,
    /// What is to become small.
    pub goal: super::Goal,
    /// Length of a block, in seconds.
    pub block_seconds: f64,
    /// Every block.
    pub rows: Vec<Row>,
    /// The candidate.
    pub candidate: Policy,
    /// How it was found and judged.
    pub record: Record,
    /// A plain policy that is the better choice, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<Plain>,
}

/// A plain policy that is offered in the candidate's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plain {
    /// Which of those beside the candidate.
    pub name: String,
    /// The policy.
    pub policy: Policy,
}

/// The parts of a history of so many blocks: three fifths to search on, a quarter to judge on, the
/// rest to shadow-run on.
#[must_use]
pub fn split(blocks: u32) -> Split {
    let shadow = (blocks * 3 / 20).max(2);
    let held = (blocks / 4).max(2);
    let train = blocks.saturating_sub(shadow + held);
    let held_out = train..train + held;
    Split { train: 0..train, shadow: held_out.end..held_out.end + shadow, held_out }
}

/// Looks for a better policy than the one in force, and judges it. `told` hears of each replay: how
/// many there were.
///
/// # Errors
/// The history is too short, or the engine broke a promise.
pub fn tune(
    past: &Past<'_>,
    base: &Policy,
    search: Search,
    name: &str,
    told: &mut dyn FnMut(u32),
) -> Result<Learned, TuneError> {
    let blocks = u32::try_from(past.blocks().len()).unwrap_or(u32::MAX);
    if blocks < BLOCKS_MIN {
        return Err(TuneError::TooShort { blocks, length: past.length() });
    }
    let (knobs, split) = (Knobs::of(base), split(blocks));
    let replays = RefCell::new((0u32, told));
    let replayed = |policy: &Policy, blocks| {
        let costs = past.costs(policy, blocks);
        let (number, told) = &mut *replays.borrow_mut();
        *number += 1;
        told(*number);
        costs
    };
    let (mut plain, unseen) = (Vec::new(), split.held_out.start..split.shadow.end);
    for (name, policy) in knobs.plain() {
        plain.push((name, replayed(&policy, unseen.clone())?));
    }
    let mut wrong = None;
    let record = learn(
        knobs.parameters(),
        &knobs.known(),
        search,
        &split,
        &plain,
        past.goal.unit(),
        |values, blocks| {
            if wrong.is_some() {
                return Vec::new();
            }
            let policy = knobs.policy(values);
            // What contradicts itself never wins: its cost is no number.
            if policy.check().is_err() {
                return blocks.map(|_| f64::NAN).collect();
            }
            replayed(&policy, blocks).unwrap_or_else(|error| {
                wrong = Some(error);
                Vec::new()
            })
        },
    );
    if let Some(error) = wrong {
        return Err(error.into());
    }
    let candidate = knobs.policy(&record.found.values);
    let rows = rows(past, base, &candidate, 0)?;
    let better = record.better().and_then(|better| {
        let (name, policy) = knobs.plain().into_iter().find(|(name, _)| *name == better.name)?;
        Some(Plain { name, policy })
    });
    Ok(Learned {
        history: name.to_owned(),
        goal: past.goal,
        block_seconds: past.length().0 as f64 / 1e6,
        rows,
        candidate,
        record,
        plain: better,
    })
}

/// Every block from one on, under both.
fn rows(
    past: &Past<'_>,
    now: &Policy,
    candidate: &Policy,
    first: u32,
) -> Result<Vec<Row>, WorldError> {
    let blocks = u32::try_from(past.blocks().len()).unwrap_or(u32::MAX);
    let (before, after) = (past.costs(now, first..blocks)?, past.costs(candidate, first..blocks)?);
    let counted = past.blocks().iter().enumerate().skip(usize::try_from(first).unwrap_or(0));
    let row = |((at, block), (before, candidate)): ((usize, &super::Block), (f64, f64))| Row {
        from_seconds: block.from.0 as f64 / 1e6,
        jobs: block.jobs,
        before,
        candidate,
        really: past.really_waited(at).filter(|_| past.goal == super::Goal::Wait),
    };
    Ok(counted.zip(before.into_iter().zip(after)).map(row).collect())
}

/// Two policies on a stretch of history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadowed {
    /// What is to become small.
    pub goal: super::Goal,
    /// Length of a block, in seconds.
    pub block_seconds: f64,
    /// Every block.
    pub rows: Vec<Row>,
    /// Candidate less what is in force, block by block; absent with fewer than two blocks.
    pub difference: Option<Paired>,
    /// Jobs that came in them.
    pub jobs: u64,
    /// Jobs that came before the first of them, in a block that had begun already: not compared.
    pub early: u64,
}

/// What would have differed under another policy since a moment of the history, counted from its
/// first job: compared are the blocks that have begun since.
///
/// # Errors
/// The engine broke a promise.
pub fn shadow(
    past: &Past<'_>,
    now: &Policy,
    candidate: &Policy,
    since: Micros,
) -> Result<Shadowed, WorldError> {
    let rows = rows(past, now, candidate, past.block_since(since))?;
    let of = |cost: fn(&Row) -> f64| rows.iter().map(cost).collect::<Vec<f64>>();
    Ok(Shadowed {
        goal: past.goal,
        block_seconds: past.length().0 as f64 / 1e6,
        difference: Paired::of(&of(|row| row.candidate), &of(|row| row.before)),
        jobs: rows.iter().map(|row| row.jobs).sum(),
        early: past.early(since),
        rows,
    })
}

impl Learned {
    /// Whether it may be let in.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.record.verdict == Verdict::Admitted
    }

    /// Which part of the history a row is in.
    #[must_use]
    pub fn part(&self, row: usize) -> &'static str {
        let split = &self.record.split;
        match u32::try_from(len(row)).unwrap_or(u32::MAX) {
            row if row < split.train.end => "searched",
            row if row < split.held_out.end => "judged",
            _ => "shadow",
        }
    }

    /// What is said beside the verdict: the plain policy that is the better choice, if one is, with
    /// its advantage where the search did not look.
    #[must_use]
    pub fn better(&self) -> Option<String> {
        let better = self.record.better()?;
        let (over, difference) = if self.is_admitted() {
            ("better there than the candidate", better.difference?)
        } else {
            let judged = better.judged?;
            let turned =
                Paired { mean: -judged.mean, low: -judged.high, high: -judged.low, ..judged };
            ("better there than what is in force", turned)
        };
        let unit = self.goal.unit();
        Some(format!(
            "the plain policy \"{}\", one of {} beside it, is {over} by {:.3}{unit} (95 % between \
             {:.3} and {:.3})",
            better.name,
            self.record.beside.len(),
            difference.mean,
            difference.low,
            difference.high
        ))
    }

    /// Plain policies, by name, with the candidate's cost less theirs where the search did not look.
    pub fn beside(&self) -> impl Iterator<Item = &Beside> {
        self.record.beside.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::preset;
    use crate::random::Random;
    use crate::workload::journal::History;
    use crate::workload::{WorkJob, Workload, ask_whole};

    /// Days of one card on which the short jobs of one user come beside the long ones of another.
    fn history(days: u64) -> History {
        let mut random = Random::stream(7, "history");
        let mut jobs = Vec::new();
        for day in 0..days {
            for _ in 0..40 {
                let at = day * 86_400 + random.below(40_000);
                let runs = if random.below(4) == 0 { 5_400 } else { 120 };
                let user = if runs > 1000 { "eve" } else { "ada" };
                let ask = ask_whole("lab".parse().unwrap(), user.parse().unwrap(), 1);
                jobs.push(WorkJob::new(Micros::from_secs(at), ask, Micros::from_secs(runs)));
            }
        }
        let mut workload = Workload { name: "days".into(), jobs, notes: Vec::new() };
        workload.sort();
        History { workload, ..History::default() }
    }

    const SEARCH: Search = Search { seed: 3, generations: 2, children: 3 };

    #[test]
    fn what_wins_on_days_not_seen_is_admitted() {
        let (history, pool) = (history(16), preset("1x1").unwrap());
        let past = Past::new(&history, &pool, Micros::from_secs(86_400));
        let mut replays = 0;
        let learned =
            tune(&past, &Policy::default(), SEARCH, "days", &mut |n| replays = n).unwrap();
        assert!(learned.is_admitted(), "{:?}", learned.record);
        assert_eq!(learned.record.found.tried, 1 + 5 + 2 * 3);
        assert_eq!(replays, 6 + 12 + 2);
        assert!(learned.record.held_out.is_some_and(|held| held.high < 0.0));
        assert_eq!(
            (learned.rows.len(), learned.part(0), learned.part(15)),
            (16, "searched", "shadow")
        );
        let again = tune(&past, &Policy::default(), SEARCH, "days", &mut |_| {}).unwrap();
        assert_eq!(learned, again, "the same seed learns the same");
    }

    #[test]
    fn what_changes_nothing_is_refused() {
        // One job at a time: no order can differ from another.
        let mut history = history(10);
        for (at, job) in (0u64..).zip(&mut history.workload.jobs) {
            (job.arrives, job.runs) = (Micros::from_secs(at * 7_200), Micros::from_secs(60));
        }
        let pool = preset("1x1").unwrap();
        let past = Past::new(&history, &pool, Micros::from_secs(86_400));
        let learned = tune(&past, &Policy::default(), SEARCH, "days", &mut |_| {}).unwrap();
        let Verdict::Refused { why } = &learned.record.verdict else { panic!("{learned:?}") };
        assert!(why.contains("it must lie below 0"), "{why}");
    }

    #[test]
    fn a_short_history_teaches_nothing() {
        let (history, pool) = (history(6), preset("1x1").unwrap());
        let past = Past::new(&history, &pool, Micros::from_secs(86_400));
        let error = tune(&past, &Policy::default(), SEARCH, "days", &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("in 6 blocks of 1d"), "{error}");
    }

    #[test]
    fn two_policies_are_compared_since_a_day() {
        let (history, pool) = (history(6), preset("1x1").unwrap());
        let past = Past::new(&history, &pool, Micros::from_secs(86_400));
        let mut shortest = Policy::default();
        shortest.order.by = vec![polder_model::Term::Shortest];
        let since = Micros::from_secs(2 * 86_400);
        let shadowed = shadow(&past, &Policy::default(), &shortest, since).unwrap();
        assert_eq!((shadowed.rows.len(), shadowed.jobs, shadowed.early), (4, 160, 0));
        assert!(shadowed.difference.is_some_and(|d| d.mean < 0.0), "{shadowed:?}");
        let same = shadow(&past, &shortest, &shortest, since).unwrap();
        assert_eq!(same.difference.map(|d| (d.mean, d.high)), Some((0.0, 0.0)));
    }

    #[test]
    fn jobs_of_a_block_that_had_begun_are_counted_apart() {
        let (history, pool) = (history(6), preset("1x1").unwrap());
        let past = Past::new(&history, &pool, Micros::from_secs(86_400));
        let last = history.workload.jobs.last().unwrap().arrives;
        let shadowed = shadow(&past, &Policy::default(), &Policy::default(), last).unwrap();
        assert_eq!((shadowed.rows.len(), shadowed.jobs, shadowed.early), (0, 0, 1));
    }

    #[test]
    fn every_block_is_in_one_part() {
        for blocks in BLOCKS_MIN..400 {
            let split = split(blocks);
            assert!(split.train.len() >= 3 && split.held_out.len() >= 2 && split.shadow.len() >= 2);
            assert_eq!((split.train.start, split.shadow.end), (0, blocks));
            assert_eq!(
                (split.train.end, split.held_out.end),
                (split.held_out.start, split.shadow.start)
            );
        }
    }
}
