//! clpeak as a tenant: what its kernels would have taken alone, of what they took.
//!
//! It says a line for each width of vector when it has run so many kernels of it, always as many. So the
//! truth is when its lines arrive here, as with other programs, and nothing that it or the ledger
//! says of speed. Of each group of lines the first is left out: buffers are made and filled in it, on the
//! host. Two tenants begin together, and what counts is the time in which both were at work.

use super::figures::{Figures, Target};
use super::programs::{Files, Running, SPLIT, leased};
use super::tenants::Bench;
use anyhow::{Context, Result};

const NAME: &str = "clpeak";
/// What it runs, one after the other, in a smoke run too: when the faster tenant is at its end, the slower one
/// must have come through a group.
const GROUPS: [&str; 3] = ["--global-bandwidth", "--compute-sp", "--compute-integer"];

/// A line of clpeak's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// A group of lines begins.
    Group,
    /// Kernels of one width are over.
    Width,
}

/// When which line was heard, nanoseconds of `CLOCK_MONOTONIC`.
type Heard = [(u64, Line)];

fn read(line: &str) -> Option<Line> {
    let line = line.trim();
    if line.ends_with("PS)") {
        return Some(Line::Group);
    }
    let (name, speed) = line.split_once(':')?;
    let width = name.trim().trim_end_matches(|digit: char| digit.is_ascii_digit());
    let said = matches!(width, "float" | "int") && speed.trim().parse::<f64>().is_ok();
    said.then_some(Line::Width)
}

/// Of the lines between `from` and `until`, what they took alone of what they took; none when there are
/// none. The same program says the same lines.
fn part(alone: &Heard, own: &Heard, from: u64, until: u64) -> Option<f64> {
    let took = |heard: &Heard, at: usize| heard[at].0.saturating_sub(heard[at - 1].0) as f64;
    let counts = |at: &usize| {
        let (before, this) = (own[at - 1], own[*at]);
        let widths = before.1 == Line::Width && this.1 == Line::Width;
        widths && before.0 >= from && this.0 <= until
    };
    let all: Vec<usize> = (1..own.len().min(alone.len())).filter(counts).collect();
    let sum = |heard: &Heard| all.iter().map(|at| took(heard, *at)).sum::<f64>();
    (!all.is_empty()).then(|| sum(alone) / sum(own))
}

/// Alone, and in two tenants with unequal shares.
pub(super) fn run(bench: &Bench, files: &Files, figures: &mut Figures) -> Result<()> {
    let words: Vec<String> = [NAME].iter().chain(&GROUPS).map(|word| (*word).to_owned()).collect();
    let start = |compute: u32, tenant: &str| -> Result<Running<Line>> {
        let command = leased(bench, files, (compute, &["--tenant", tenant]), &words)?;
        Running::start(command, read)
    };
    bench.step(&format!("{NAME}: alone"));
    // Once to compile, and once to be measured.
    start(100, "a")?.finish(NAME, 2)?;
    let alone = start(100, "a")?.finish(NAME, 2)?;
    bench.step(&format!("{NAME}: two tenants"));
    bench.settle()?;
    let mut running = Vec::new();
    for ((share, _), tenant) in SPLIT.iter().zip(["a", "b"]) {
        running.push(start(*share, tenant)?);
    }
    let both: Vec<_> = running.into_iter().map(|it| it.finish(NAME, 2)).collect::<Result<_>>()?;
    let from = both.iter().filter_map(|heard| heard.first()).map(|line| line.0).max();
    let until = both.iter().filter_map(|heard| heard.last()).map(|line| line.0).min();
    let (from, until) = from.zip(until).context("clpeak said nothing")?;
    let parts: Vec<f64> = both
        .iter()
        .map(|own| part(&alone, own, from, until))
        .collect::<Option<_>>()
        .context("no kernels of clpeak's ended while both tenants were at work")?;
    let sum: f64 = parts.iter().sum();
    for ((share, error), part) in SPLIT.iter().zip(&parts) {
        let asked = Some(f64::from(*share));
        let label = format!("{NAME}, {share} beside {}", 100 - share);
        let name = format!("{label}: of what both did");
        figures.add(name, part / sum * 100.0, "%", asked, Target::Within(*error));
        let name = format!("{label}: of its rate alone");
        figures.add(name, part * 100.0, "%", asked, Target::Shown);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_clpeak_are_read() {
        assert_eq!(read("    Global memory bandwidth (GBPS)"), Some(Line::Group));
        assert_eq!(read("    Integer compute (GIOPS)"), Some(Line::Group));
        assert_eq!(read("      float   : 3.48"), Some(Line::Width));
        assert_eq!(read("      int16 : 20.97"), Some(Line::Width));
        assert_eq!(
            (read("    Compute units   : 2"), read("      float : -"), read("")),
            (None, None, None)
        );
    }

    #[test]
    fn what_counts_is_what_ran_between_two_lines_while_both_were_at_work() {
        use Line::{Group, Width};
        let alone = [(0, Group), (9, Width), (13, Width), (15, Width), (20, Group), (29, Width)];
        // Half as fast; after 60 alone.
        let own = [(0, Group), (17, Width), (25, Width), (29, Width), (39, Group), (61, Width)];
        assert_eq!(part(&alone, &own, 0, 60), Some(0.5));
        assert_eq!(part(&alone, &own, 0, 28), Some(0.5));
        assert_eq!(part(&alone, &own, 26, 60), None);
    }
}
