//! What was found, how it was judged, and the way back.

use super::{Found, Paired, Parameter, Search, evolve};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Records that are kept; the oldest go first.
pub const RECORDS_MAX: usize = 1_000;

/// Blocks of time, one after another: to search on, to judge on, to shadow-run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Seen by the search.
    pub train: Range<u32>,
    /// Not seen by it: here it must win.
    pub held_out: Range<u32>,
    /// Later still: decided beside what is in force, and not to be worse.
    pub shadow: Range<u32>,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// In force from here on.
    Admitted,
    /// What was in force stays.
    Refused {
        /// Why, with the numbers.
        why: String,
    },
    /// It was in force and is not any more.
    RolledBack {
        /// Why.
        why: String,
    },
}

/// Something plain beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// What.
    pub name: String,
    /// The candidate's cost less its cost, on the blocks that the search did not see.
    pub difference: Option<Paired>,
    /// Its cost less that of what was in force, on the same blocks.
    #[serde(default)]
    pub judged: Option<Paired>,
    /// The same in the shadow run.
    #[serde(default)]
    pub shadow: Option<Paired>,
}

impl Beside {
    /// Whether it passes the door that a candidate must pass.
    fn may_be_let_in(&self) -> bool {
        self.judged.is_some_and(|judged| judged.is_lower())
            && self.shadow.is_some_and(|shadow| shadow.mean <= 0.0)
    }
}

/// A decision about parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was tuned.
    pub parameters: Vec<Parameter>,
    /// What was in force.
    pub before: Vec<f64>,
    /// What was found on the blocks of training, and its cost there.
    pub found: Found,
    /// How it was searched.
    pub search: Search,
    /// On which blocks.
    pub split: Split,
    /// Candidate less what was in force, on blocks that the search did not see.
    pub held_out: Option<Paired>,
    /// The same in the shadow run.
    pub shadow: Option<Paired>,
    /// Plain baselines.
    pub beside: Vec<Beside>,
    /// What was decided.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Decisions, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Records(Vec<Record>);

/// Searches, judges and decides. `cost` gives the cost of each block of a range under some
/// parameters; `known` are some to look at first, `plain` baselines with their costs of the held-out
/// blocks and, where they are known, of the shadow run's after them; `unit` is what a refusal says
/// behind a cost, nothing or a space and a unit.
pub fn learn(
    parameters: &[Parameter],
    known: &[Vec<f64>],
    search: Search,
    split: &Split,
    plain: &[(String, Vec<f64>)],
    unit: &str,
    mut cost: impl FnMut(&[f64], Range<u32>) -> Vec<f64>,
) -> Record {
    let before: Vec<f64> = parameters.iter().map(|parameter| parameter.start).collect();
    let train = |values: &[f64]| mean(&cost(values, split.train.clone()));
    let found = evolve(parameters, known, search, train);
    let unseen = split.held_out.start..split.shadow.end.max(split.held_out.end);
    let held = split.held_out.len();
    let (new, old) = (cost(&found.values, unseen.clone()), cost(&before, unseen));
    let judged = |costs: &[f64]| costs.get(..held.min(costs.len())).unwrap_or_default().to_vec();
    let later = |costs: &[f64]| costs.get(held..).unwrap_or_default().to_vec();
    let held_out = Paired::of(&judged(&new), &judged(&old));
    let shadow = Paired::of(&later(&new), &later(&old));
    let beside = plain.iter().map(|(name, costs)| Beside {
        name: name.clone(),
        difference: Paired::of(&judged(&new), &judged(costs)),
        judged: Paired::of(&judged(costs), &judged(&old)),
        shadow: Paired::of(&later(costs), &later(&old)),
    });
    let verdict = match (&held_out, &shadow) {
        (None, _) => refused("too few blocks to judge on: give at least two".to_owned()),
        (Some(judged), _) if !judged.is_lower() => refused(format!(
            "on {} blocks not seen the difference is {:.3}{unit} (95 % between {:.3} and {:.3}): it \
             must lie below 0",
            judged.pairs, judged.mean, judged.low, judged.high
        )),
        (_, Some(shadow)) if shadow.mean > 0.0 => refused(format!(
            "in the shadow run it was worse by {:.3}{unit} (95 % between {:.3} and {:.3})",
            shadow.mean, shadow.low, shadow.high
        )),
        (_, None) => refused("too few blocks for a shadow run: give at least two".to_owned()),
        _ => Verdict::Admitted,
    };
    Record {
        parameters: parameters.to_vec(),
        before,
        found,
        search,
        split: split.clone(),
        held_out,
        shadow,
        beside: beside.collect(),
        verdict,
    }
}

fn refused(why: String) -> Verdict {
    Verdict::Refused { why }
}

#[allow(clippy::cast_precision_loss, reason = "blocks are few")]
fn mean(costs: &[f64]) -> f64 {
    costs.iter().sum::<f64>() / costs.len().max(1) as f64
}

impl Record {
    /// The parameters that hold after this decision.
    #[must_use]
    pub fn in_force(&self) -> &[f64] {
        match self.verdict {
            Verdict::Admitted => &self.found.values,
            Verdict::Refused { .. } | Verdict::RolledBack { .. } => &self.before,
        }
    }

    /// The baseline that is the better choice, where there is one: it passes the door that the
    /// candidate must pass, and the candidate either did not, or costs more than it where the search
    /// did not look, by more than chance. The one with the least cost there.
    #[must_use]
    pub fn better(&self) -> Option<&Beside> {
        let admitted = self.verdict == Verdict::Admitted;
        let wins = |beside: &&Beside| {
            let costs_less = beside.difference.is_some_and(|difference| difference.low > 0.0);
            beside.may_be_let_in() && (costs_less || !admitted)
        };
        let mean = |beside: &Beside| beside.judged.map_or(f64::INFINITY, |judged| judged.mean);
        let wins = self.beside.iter().filter(wins);
        wins.reduce(|least, other| if mean(other) < mean(least) { other } else { least })
    }
}

impl Records {
    /// Notes a decision.
    pub fn push(&mut self, record: Record) {
        if self.0.len() >= RECORDS_MAX {
            self.0.remove(0);
        }
        self.0.push(record);
    }

    /// The parameters in force, if anything was decided yet.
    #[must_use]
    pub fn in_force(&self) -> Option<&[f64]> {
        self.0.last().map(Record::in_force)
    }

    /// Takes the newest admitted decision back: what was in force before it is again. Says whether
    /// there was one.
    pub fn roll_back(&mut self, why: &str) -> bool {
        let admitted = self.0.iter().rfind(|record| record.verdict == Verdict::Admitted);
        let Some(record) = admitted.cloned() else { return false };
        if let Some(admitted) = self.0.iter_mut().rfind(|r| r.verdict == Verdict::Admitted) {
            admitted.verdict = Verdict::RolledBack { why: why.to_owned() };
        }
        self.0.push(Record { verdict: Verdict::RolledBack { why: why.to_owned() }, ..record });
        true
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[Record] {
        &self.0
    }
}
