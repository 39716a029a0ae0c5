//! The figures of a run: a table for people, one JSON object a line for programs.

use crate::say;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: String,
    baseline: Option<f64>,
    ratio: Option<f64>,
    target: Option<String>,
    met: Option<bool>,
}

/// What a figure should reach.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Within so much of the baseline.
    Within(f64),
    /// At least.
    AtLeast(f64),
    /// At most.
    AtMost(f64),
    /// Shown, not judged.
    Shown,
}

/// The figures of one run.
pub(crate) struct Figures {
    rows: Vec<Figure>,
    quick: bool,
}

impl Figures {
    /// No figures yet.
    pub(crate) fn new(quick: bool) -> Self {
        Self { rows: Vec::new(), quick }
    }

    /// Adds a figure. `baseline` is what it is compared with, measured (or asked for) in this run.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: impl Into<String>,
        baseline: Option<f64>,
        target: Target,
    ) {
        let (text, met) = match (target, baseline) {
            (Target::Within(limit), Some(base)) => {
                (Some(format!("within {limit} of baseline")), Some((value - base).abs() <= limit))
            }
            (Target::AtLeast(limit), _) => {
                (Some(format!("at least {limit}")), Some(value >= limit))
            }
            (Target::AtMost(limit), _) => (Some(format!("at most {limit}")), Some(value <= limit)),
            (Target::Within(_), None) | (Target::Shown, _) => (None, None),
        };
        let figure = Figure {
            name: name.into(),
            value,
            unit: unit.into(),
            baseline,
            ratio: baseline.filter(|base| *base != 0.0).map(|base| value / base),
            target: text,
            met,
        };
        say::line(format!("  {}", figure.one_line()));
        self.rows.push(figure);
    }

    /// The table.
    pub(crate) fn print(&self) {
        say::heading("figures");
        let heading = ["figure", "value", "baseline", "ratio", "target", ""];
        let rows: Vec<Vec<String>> = self.rows.iter().map(Figure::cells).collect();
        say::table(&heading, &rows);
        let judged = self.rows.iter().filter_map(|row| row.met);
        let (met, all) = (judged.clone().filter(|met| *met).count(), judged.count());
        say::line(format!("\n{met} of {all} targets met"));
        if self.quick {
            say::note("a smoke run: its figures are not to be quoted");
        }
    }

    /// One JSON object a line.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = String::new();
        for row in &self.rows {
            text += &serde_json::to_string(row)?;
            text.push('\n');
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Figure {
    fn cells(&self) -> Vec<String> {
        let number = |value: f64| match value.abs() {
            v if v >= 100.0 => format!("{value:.0}"),
            v if v >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.3}"),
        };
        vec![
            self.name.clone(),
            format!("{} {}", number(self.value), self.unit),
            self.baseline.map(number).unwrap_or_default(),
            self.ratio.map(number).unwrap_or_default(),
            self.target.clone().unwrap_or_default(),
            match self.met {
                Some(true) => "met".into(),
                Some(false) => "MISSED".into(),
                None => String::new(),
            },
        ]
    }

    fn one_line(&self) -> String {
        let cells = self.cells();
        format!("{}: {} {}", cells[0], cells[1], cells[5])
    }
}
