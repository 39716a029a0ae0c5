//! One measured figure, as benchmarks print it: one JSON object a line.

use serde::{Deserialize, Serialize};

/// What a figure should reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Within so much of the baseline.
    Within(f64),
    /// At least.
    AtLeast(f64),
    /// At most.
    AtMost(f64),
    /// Shown, not judged.
    Shown,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// What it came to.
    pub value: f64,
    /// In what.
    pub unit: String,
    /// What it is compared with.
    pub baseline: Option<f64>,
    /// What it should reach.
    pub target: Target,
}

impl Figure {
    /// A figure that is shown beside others and not judged.
    #[must_use]
    pub fn shown(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self { name: name.into(), value, unit: unit.into(), baseline: None, target: Target::Shown }
    }

    /// The same, compared with a baseline.
    #[must_use]
    pub fn against(self, baseline: f64) -> Self {
        Self { baseline: Some(baseline), ..self }
    }

    /// The same, with a target.
    #[must_use]
    pub fn target(self, target: Target) -> Self {
        Self { target, ..self }
    }
}
