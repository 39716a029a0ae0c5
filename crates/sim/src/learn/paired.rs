//! Two ways compared block by block.

use serde::{Deserialize, Serialize};

/// Two-sided 95 % points of Student's distribution for 1 to 30 degrees of freedom.
const STUDENT_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// The same for more.
const NORMAL_95: f64 = 2.042;

/// The mean of paired differences and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Pairs.
    pub pairs: usize,
    /// Mean of the first less the second.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Paired {
    /// The first less the second, pair by pair. None without at least two pairs of numbers: from
    /// fewer nothing can be said of chance.
    #[must_use]
    pub fn of(first: &[f64], second: &[f64]) -> Option<Self> {
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let pairs = differences.len();
        if pairs < 2 || first.len() != second.len() || differences.iter().any(|d| !d.is_finite()) {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "pairs are few")]
        let number = pairs as f64;
        let mean = differences.iter().sum::<f64>() / number;
        let squares = differences.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>();
        let error = (squares / (number - 1.0) / number).sqrt();
        let point = STUDENT_95.get(pairs - 2).copied().unwrap_or(NORMAL_95);
        Some(Self { pairs, mean, low: mean - point * error, high: mean + point * error })
    }

    /// The first is lower, and chance alone would hardly do that.
    #[must_use]
    pub fn is_lower(&self) -> bool {
        self.high < 0.0
    }
}
