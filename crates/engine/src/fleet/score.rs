//! How good a place is: rules, and the parts that rules are put together from.
//!
//! Scores are integers and greater is better; 0 is kept for "does not fit". A part judges on levels
//! from 0 to [`LEVELS`], as the published rules do: coarse levels make ties, and ties go to the
//! lowest slot, which keeps work together.

mod fgd;
mod outlook;
mod parts;
mod prices;
mod promise;

pub use fgd::{Typical, TypicalTask};
pub use outlook::{Knobs, Outlook, Supply};

use super::demand::Demand;
use super::pick::Sight;
use std::sync::Arc;

/// The best level of a part.
pub(super) const LEVELS: i64 = 100;

/// How the place of a task is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The device with the least free compute, then memory, that suffices; of several devices the
    /// freest counts; without devices the host's CPU and memory.
    Tightest,
    /// The greatest sum of levels, each times its weight.
    Sum(Vec<(u32, Part)>),
    /// The least taken of what the nodes may still carry.
    Outlook(Arc<Outlook>),
}

/// One way to judge a place, on levels from 0 to 100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Least left over: half of it host CPU, half device compute, against these references.
    BestFit {
        /// CPU in thousandths of a core that counts as all.
        cpu: i64,
        /// Compute in thousandths of a device that counts as all.
        compute: i64,
    },
    /// The node with the greatest share of its device compute (or CPU) free, and the freest device.
    Spread,
    /// The node whose busiest resource is least busy afterwards.
    LoadBalance,
    /// The least new waste as typical tasks see it: what the task makes unusable for them.
    Fgd(Arc<Typical>),
}

/// A task on devices of a node: what a rule judges. Amounts are those before the task.
#[derive(Clone, Copy)]
pub struct Placement<'a> {
    pub(super) sight: Sight<'a>,
    pub(super) demand: &'a Demand,
    pub(super) picks: &'a [u16],
}

/// What a rule keeps between looks. It holds nothing that could not be computed again.
#[derive(Clone, Debug, Default)]
pub(super) struct Memo {
    /// For each part what it keeps.
    parts: Vec<fgd::Memo>,
    outlook: outlook::Memo,
}

impl Rule {
    /// The score of a place: at least 1.
    pub(super) fn score(&self, at: &Placement<'_>, memo: &mut Memo) -> u64 {
        let level = match self {
            Self::Tightest => parts::tightness(at),
            Self::Outlook(outlook) => outlook.score(at, &mut memo.outlook),
            Self::Sum(parts) => {
                if memo.parts.len() < parts.len() {
                    memo.parts.resize_with(parts.len(), fgd::Memo::default);
                }
                let of = |((weight, part), memo): (&(u32, Part), &mut fgd::Memo)| {
                    part.level(at, memo).saturating_mul(i64::from(*weight))
                };
                let sum = parts.iter().zip(&mut memo.parts).map(of).fold(0, i64::saturating_add);
                u64::try_from(sum).unwrap_or(0)
            }
        };
        level.saturating_add(1)
    }

    /// Whether, of equally good devices, the freest is taken.
    pub(super) fn prefers_free(&self) -> bool {
        let free = |part: &Part| matches!(part, Part::Spread | Part::LoadBalance);
        match self {
            Self::Tightest | Self::Outlook(_) => false,
            Self::Sum(parts) => parts.first().is_some_and(|(_, part)| free(part)),
        }
    }
}

impl Part {
    fn level(&self, at: &Placement<'_>, memo: &mut fgd::Memo) -> i64 {
        let level = match self {
            Self::BestFit { cpu, compute } => parts::best_fit(at, *cpu, *compute),
            Self::Spread => parts::spread(at),
            Self::LoadBalance => parts::load_balance(at),
            Self::Fgd(typical) => typical.level(at, memo),
        };
        level.clamp(0, LEVELS)
    }
}
