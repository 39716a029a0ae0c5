//! Who is next, and by whose word a job ends.

use polder_engine::backfill::RESERVATIONS_MAX;
use serde::{Deserialize, Serialize};

/// Hours of the users' day in which short and interactive work goes first.
const DAY: std::ops::Range<u64> = 8..20;

/// One set of rules for a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// For tables.
    pub name: String,
    /// By whose word a job is expected to end.
    pub expect: Expect,
    /// Who is next.
    pub order: Order,
    /// Who is tried first of those that may overtake; the same order when absent.
    pub fill: Option<Order>,
    /// How many jobs are promised a start; nothing means first come, first served.
    pub depth: usize,
}

impl Rules {
    fn new(name: &str, expect: Expect, order: Order, fill: Option<Order>, depth: usize) -> Self {
        Self { name: name.to_owned(), expect, order, fill, depth }
    }

    /// What is compared: published rules on the users' estimates, the same on predictions, and two
    /// marks that know the future.
    #[must_use]
    pub fn table() -> Vec<Self> {
        use Expect::{Estimate, Truth};
        use Order::{Arrival, Hybrid, Shortest, Smallest};
        let predicted = Expect::Predicted;
        vec![
            Self::new("FCFS", Estimate, Arrival, None, 0),
            Self::new("EASY, users' estimates", Estimate, Arrival, None, 1),
            Self::new("conservative, users' estimates", Estimate, Arrival, None, RESERVATIONS_MAX),
            Self::new("EASY, predicted", predicted, Arrival, None, 1),
            Self::new("conservative, predicted", predicted, Arrival, None, RESERVATIONS_MAX),
            Self::new("EASY, predicted, shortest overtakes", predicted, Arrival, Some(Shortest), 1),
            Self::new("time of day, predicted", predicted, Hybrid, None, 1),
            Self::new("shortest predicted first", predicted, Shortest, None, 1),
            Self::new("smallest predicted first", predicted, Smallest, None, 1),
            Self::new("shortest first, users' estimates", Estimate, Shortest, None, 1),
            Self::new("mark: EASY, true run times", Truth, Arrival, None, 1),
            Self::new("mark: shortest first, true run times", Truth, Shortest, None, 1),
        ]
    }

    /// The same as shortest predicted first, but by a score of these weights.
    #[must_use]
    pub fn learned(weights: Weights) -> Self {
        Self::new("learned", Expect::Predicted, Order::Learned(weights), None, 1)
    }
}

/// By whose word a job is expected to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// The user's estimate, which is also the limit.
    Estimate,
    /// The median that the engine predicts.
    Predicted,
    /// What really happens: a mark that nobody can reach.
    Truth,
}

/// Who is next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// First come, first served.
    Arrival,
    /// Shortest expected run first.
    Shortest,
    /// Smallest expected run times processors first.
    Smallest,
    /// By day interactive work and then the shortest, by night the longest.
    Hybrid,
    /// By a score with weights of its own.
    Learned(Weights),
}

/// Weights of a score: the highest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// For each hour waited.
    pub waited: f64,
    /// For the wait as a multiple of the expected run.
    pub stretch: f64,
    /// Against each doubling of the expected run, by day.
    pub length: f64,
    /// The same by night.
    pub length_by_night: f64,
    /// Against each doubling of the processors.
    pub width: f64,
    /// For an interactive job.
    pub interactive: f64,
}

/// What an order looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) waited_seconds: u64,
    pub(super) expected_seconds: u64,
    pub(super) processors: u32,
    pub(super) is_interactive: bool,
    pub(super) hour: u64,
}

impl Order {
    /// Smaller goes first; ties go by arrival.
    pub(super) fn key(self, look: &Look) -> (i64, i64) {
        let length = i64::try_from(look.expected_seconds).unwrap_or(i64::MAX);
        match self {
            Self::Arrival => (0, 0),
            Self::Shortest => (length, 0),
            Self::Smallest => (length.saturating_mul(look.processors.into()), 0),
            Self::Hybrid if DAY.contains(&look.hour) => (i64::from(!look.is_interactive), length),
            Self::Hybrid => (i64::from(!look.is_interactive), -length),
            Self::Learned(weights) => (weights.score(look), 0),
        }
    }

    /// Whether the order of two waiting jobs can change while they wait.
    pub(super) fn moves(self) -> bool {
        matches!(self, Self::Hybrid | Self::Learned(_))
    }
}

impl Weights {
    #[allow(clippy::cast_possible_truncation, reason = "a score is far smaller than its integer")]
    fn score(&self, look: &Look) -> i64 {
        #[allow(clippy::cast_precision_loss, reason = "seconds of a trace are far below 2^52")]
        let (waited, expected) = (look.waited_seconds as f64, look.expected_seconds as f64);
        let is_day = DAY.contains(&look.hour);
        let length = if is_day { self.length } else { self.length_by_night };
        let score = self.waited * waited / 3600.0 + self.stretch * waited / expected.max(60.0)
            - length * doublings(look.expected_seconds)
            - self.width * doublings(look.processors.into())
            + if look.is_interactive { self.interactive } else { 0.0 };
        -((score * 1e6).clamp(-9e18, 9e18) as i64)
    }
}

/// How often 1 is doubled to reach a number, straight between powers of two.
fn doublings(number: u64) -> f64 {
    let whole = number.max(1).ilog2();
    #[allow(clippy::cast_precision_loss, reason = "numbers of a trace are far below 2^52")]
    let part = number.max(1) as f64 / (1u64 << whole) as f64;
    f64::from(whole) + part - 1.0
}
