//! A small evolution of a few numbers. The same seed finds the same.

use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Most evaluations of one search, whatever was asked for.
pub const EVALUATIONS_MAX: u32 = 10_000;
/// First step of a mutation, as a part of a parameter's range.
const STEP: f64 = 0.2;
/// Smallest and largest step.
const STEPS: (f64, f64) = (0.01, 0.5);

/// A number to be tuned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// For people.
    pub name: String,
    /// Least.
    pub low: f64,
    /// Most.
    pub high: f64,
    /// Where the search begins: what is in force.
    pub start: f64,
}

/// How hard to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Decides every draw.
    pub seed: u64,
    /// Rounds.
    pub generations: u32,
    /// Candidates in each.
    pub children: u32,
}

/// The best that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// By parameter.
    pub values: Vec<f64>,
    /// Its cost.
    pub cost: f64,
    /// What the start cost.
    pub cost_at_start: f64,
    /// How many were tried, the start and what was known among them.
    pub tried: u32,
}

/// Looks for the parameters of the least cost, from the start and from what is `known` to be worth a
/// look: each round draws children around the best, half of them mixed with the second best, and
/// steps grow while that helps. A cost that is not a number never wins.
pub fn evolve(
    parameters: &[Parameter],
    known: &[Vec<f64>],
    search: Search,
    mut cost: impl FnMut(&[f64]) -> f64,
) -> Found {
    let mut random = Random::stream(search.seed, "evolve");
    let start: Vec<f64> = parameters.iter().map(|parameter| parameter.start).collect();
    let cost_at_start = cost(&start);
    let mut best = (cost_at_start, start.clone());
    let (mut second, mut step, mut tried) = (best.clone(), STEP, 1);
    for values in known.iter().filter(|values| **values != start) {
        let known = (cost(values), values.clone());
        tried += 1;
        if known.0 < best.0 {
            second = std::mem::replace(&mut best, known);
        } else if known.0 < second.0 || second.1 == best.1 && !known.0.is_nan() {
            second = known;
        }
    }
    for _ in 0..search.generations {
        let mut improved = false;
        let parents = (best.1.clone(), second.1.clone());
        for child in 0..search.children {
            if tried >= EVALUATIONS_MAX {
                break;
            }
            let mixes = child % 2 == 1;
            let values = parameters.iter().enumerate().map(|(place, parameter)| {
                let from = if mixes && random.below(2) == 1 { &parents.1 } else { &parents.0 };
                let from = from.get(place).copied().unwrap_or(parameter.start);
                let range = parameter.high - parameter.low;
                let value = from + bell(&mut random) * step * range;
                value.clamp(parameter.low, parameter.high)
            });
            let values: Vec<f64> = values.collect();
            let child = (cost(&values), values);
            tried += 1;
            if child.0 < best.0 {
                second = std::mem::replace(&mut best, child);
                improved = true;
            } else if child.0 < second.0 || second.1 == best.1 && !child.0.is_nan() {
                second = child;
            }
        }
        step = (step * if improved { 1.2 } else { 0.7 }).clamp(STEPS.0, STEPS.1);
    }
    Found { values: best.1, cost: best.0, cost_at_start, tried }
}

/// A draw around nothing with a spread of one: the sum of twelve even ones.
fn bell(random: &mut Random) -> f64 {
    (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
}
