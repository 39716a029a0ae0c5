//! What a run showed: lines for people, JSON for programs, a page for `docs/measurements`.

use super::Ended;
use super::card::Card;
use crate::say;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// What is said beside everything that ran on the stand-in.
const STAND_IN: &str = "STAND-IN: no card was here; nothing of this says anything about one";

/// What a figure should reach.
#[derive(Debug, Clone, Copy)]
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

/// One figure of a step.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    baseline: Option<f64>,
    target: Target,
}

impl Figure {
    pub(crate) fn new(
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        baseline: Option<f64>,
        target: Target,
    ) -> Self {
        Self { name: name.into(), value, unit, baseline, target }
    }

    fn met(&self) -> Option<bool> {
        match (self.target, self.baseline) {
            (Target::Within(limit), Some(base)) => Some((self.value - base).abs() <= limit),
            (Target::AtLeast(limit), _) => Some(self.value >= limit),
            (Target::AtMost(limit), _) => Some(self.value <= limit),
            (Target::Within(_), None) | (Target::Shown, _) => None,
        }
    }

    fn target(&self) -> String {
        match self.target {
            Target::Within(limit) => format!("within {limit} of baseline"),
            Target::AtLeast(limit) => format!("at least {limit:.3}"),
            Target::AtMost(limit) => format!("at most {limit:.3}"),
            Target::Shown => String::new(),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }

    fn cells(&self) -> [String; 5] {
        let number = |value: f64| match value.abs() {
            v if v >= 100.0 => format!("{value:.0}"),
            v if v >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.3}"),
        };
        [
            self.name.clone(),
            format!("{} {}", number(self.value), self.unit),
            self.baseline.map(number).unwrap_or_default(),
            self.target(),
            self.verdict().to_owned(),
        ]
    }
}

/// One step.
struct Row {
    name: &'static str,
    about: &'static str,
    seconds: f64,
    status: &'static str,
    why: String,
    figures: Vec<Figure>,
}

/// All of a run.
pub(crate) struct Report {
    card: Card,
    stand_in: bool,
    quick: bool,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(card: &Card, stand_in: bool, quick: bool) -> Self {
        Self { card: card.clone(), stand_in, quick, rows: Vec::new() }
    }

    /// What stands before each line of a run on the stand-in.
    fn mark(&self) -> &'static str {
        if self.stand_in { "[stand-in] " } else { "" }
    }

    pub(crate) fn begin(&self) {
        if self.stand_in {
            say::heading(STAND_IN);
        }
        let Card { model, uuid, driver, .. } = &self.card;
        say::line(format!("{}{model} ({uuid}), {driver}", self.mark()));
    }

    /// Takes a step in, and says how it ended.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        about: &'static str,
        took: Duration,
        ended: &Result<Ended>,
        figures: Vec<Figure>,
    ) {
        let missed: Vec<&str> = figures
            .iter()
            .filter(|figure| figure.met() == Some(false))
            .map(|figure| figure.name.as_str())
            .collect();
        let (status, why) = match ended {
            Ok(Ended::Passed) if missed.is_empty() => ("passed", String::new()),
            Ok(Ended::Passed) => ("FAILED", format!("missed: {}", missed.join("; "))),
            Ok(Ended::Skipped(why)) => ("SKIPPED", why.clone()),
            Err(error) => ("FAILED", format!("{error:#}")),
        };
        for figure in &figures {
            let [name, value, base, target, verdict] = figure.cells();
            let base = if base.is_empty() { base } else { format!(" (baseline {base})") };
            say::line(format!("  {}{name}: {value}{base} {target} {verdict}", self.mark()));
        }
        let colon = if why.is_empty() { "" } else { ": " };
        say::line(format!("{}{status} {name}{colon}{why}", self.mark()));
        self.rows.push(Row { name, about, seconds: took.as_secs_f64(), status, why, figures });
    }

    fn count(&self, status: &str) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }

    /// Whether no step failed, and one at least passed.
    pub(crate) fn passed(&self) -> bool {
        self.count("FAILED") == 0 && self.count("passed") > 0
    }

    fn summary(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.count("passed"),
            self.count("FAILED"),
            self.count("SKIPPED")
        )
    }

    pub(crate) fn print(&self) {
        say::heading("steps");
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| vec![row.name.into(), row.status.into(), format!("{:.1} s", row.seconds)])
            .collect();
        say::table(&["step", "", "took"], &rows);
        say::line(format!("\n{}{}", self.mark(), self.summary()));
        if self.quick {
            say::note("a smoke run: its figures are not to be quoted");
        }
        if self.stand_in {
            say::line(STAND_IN);
        }
    }

    /// Writes the files that are wanted.
    pub(crate) fn write(&self, json: Option<&Path>, table: Option<&Path>) -> Result<()> {
        for (path, text) in [(json, self.json()), (table, self.page())] {
            if let Some(path) = path {
                std::fs::write(path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// One object a line: the run, each step, each figure.
    fn json(&self) -> String {
        let Card { model, uuid, driver, memory } = &self.card;
        let (stand_in, quick) = (self.stand_in, self.quick);
        let mut lines = vec![json!({
            "run": "gpu", "stand_in": stand_in, "quick": quick, "model": model, "uuid": uuid,
            "driver": driver, "memory": memory, "summary": self.summary(),
        })];
        for row in &self.rows {
            lines.push(json!({
                "step": row.name, "about": row.about, "status": row.status.to_lowercase(),
                "why": row.why, "seconds": row.seconds, "stand_in": stand_in,
            }));
            lines.extend(row.figures.iter().map(|figure| {
                json!({
                    "step": row.name, "name": figure.name, "value": figure.value,
                    "unit": figure.unit, "baseline": figure.baseline,
                    "ratio": figure.baseline.filter(|base| *base != 0.0).map(|base| figure.value / base),
                    "target": figure.target(), "met": figure.met(), "stand_in": stand_in,
                })
            }));
        }
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        lines.join("\n") + "\n"
    }

    /// The page.
    fn page(&self) -> String {
        let Card { model, uuid, driver, memory } = &self.card;
        let mut page = String::from("# On a card: `cargo xtask gpu`\n\n");
        if self.stand_in {
            let _ = writeln!(page, "**{STAND_IN}.**\n");
        }
        if self.quick {
            page += "A smoke run: its figures are not to be quoted.\n\n";
        }
        let gib = memory >> 30;
        let _ = writeln!(page, "{model} ({gib} GiB, {uuid}), {driver}: {}.\n", self.summary());
        page += "| step | what it shows | | took |\n| --- | --- | --- | --- |\n";
        for Row { name, about, seconds, status, why, .. } in &self.rows {
            let colon = if why.is_empty() { "" } else { ": " };
            let why = why.replace(['|', '\n'], " ");
            let _ = writeln!(page, "| {name} | {about} | {status}{colon}{why} | {seconds:.1} s |");
        }
        page += "\n| step | figure | value | baseline | target | |\n| --- | --- | --- | --- | --- | --- |\n";
        for row in &self.rows {
            for figure in &row.figures {
                let _ = writeln!(page, "| {} | {} |", row.name, figure.cells().join(" | "));
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(stand_in: bool) -> Report {
        let card = Card {
            uuid: "GPU-1".into(),
            model: "H200".into(),
            driver: "NVIDIA 570".into(),
            memory: 141 << 30,
        };
        Report::new(&card, stand_in, false)
    }

    fn share(value: f64) -> Vec<Figure> {
        vec![Figure::new("share", value, "%", Some(30.0), Target::Within(2.0))]
    }

    #[test]
    fn a_missed_target_fails_its_step_and_the_run() {
        let mut all = report(false);
        let took = Duration::from_secs(1);
        all.step("good", "", took, &Ok(Ended::Passed), share(31.0));
        assert!(all.passed());
        all.step("cannot", "", took, &Ok(Ended::Skipped("no network".into())), vec![]);
        assert!(all.passed());
        all.step("bad", "", took, &Ok(Ended::Passed), share(33.0));
        assert!(!all.passed());
        assert_eq!(all.summary(), "1 passed, 1 failed, 1 skipped");
        let page = all.page();
        assert!(page.contains("| bad |  | FAILED: missed: share |"), "{page}");
        assert!(page.contains("| bad | share | 33.0 % | 30.0 | within 2 of baseline | MISSED |"));
    }

    #[test]
    fn a_run_in_which_nothing_passed_has_not_passed() {
        let mut all = report(false);
        assert!(!all.passed());
        let skipped = Ok(Ended::Skipped("no program".into()));
        all.step("cannot", "", Duration::ZERO, &skipped, vec![]);
        assert!(!all.passed());
    }

    #[test]
    fn the_stand_in_is_named_wherever_something_is_written() {
        let mut all = report(true);
        all.step("good", "", Duration::ZERO, &Ok(Ended::Passed), share(30.0));
        assert!(all.page().contains("STAND-IN"));
        for line in all.json().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["stand_in"], true, "{line}");
        }
        assert_eq!(all.mark(), "[stand-in] ");
        assert!(!report(false).page().contains("STAND-IN"));
    }
}
