//! Weights of an order, tuned on earlier days of a trace and judged on later ones.

use super::metrics::DAY_SECONDS;
use super::{Rules, Trace, Weights, replay};
use crate::learn::{Parameter, Record, Search, Split, learn};
use std::ops::Range;

/// What is tuned, from what is in force: shortest predicted first.
#[must_use]
pub fn parameters() -> Vec<Parameter> {
    let parameter = |name: &str, low: f64, high: f64, start: f64| Parameter {
        name: name.to_owned(),
        low,
        high,
        start,
    };
    vec![
        parameter("for each hour waited", 0.0, 2.0, 0.0),
        parameter("for the wait as a multiple of the expected run", 0.0, 2.0, 0.0),
        parameter("against each doubling of the expected run, by day", -1.0, 2.0, 1.0),
        parameter("against each doubling of the expected run, by night", -1.0, 2.0, 1.0),
        parameter("against each doubling of the processors", -1.0, 2.0, 0.0),
        parameter("for an interactive job", 0.0, 20.0, 0.0),
    ]
}

fn weights(values: &[f64]) -> Weights {
    let value = |place: usize| values.get(place).copied().unwrap_or(0.0);
    Weights {
        waited: value(0),
        stretch: value(1),
        length: value(2),
        length_by_night: value(3),
        width: value(4),
        interactive: value(5),
    }
}

/// The mean wait, in seconds, of the jobs submitted on each of these days. The replay begins with
/// the trace, so that no day starts in an empty pool, and ends with the last of them.
#[must_use]
pub fn daily_waits(trace: &Trace, rules: &Rules, days: Range<u32>) -> Vec<f64> {
    let until = trace.first(u64::from(days.end) * DAY_SECONDS);
    let counted = replay(&until, rules).summary.days;
    let of = |day: u32| counted.get(usize::try_from(day).unwrap_or(usize::MAX));
    days.map(|day| of(day).map_or(0.0, super::Counted::wait_mean_seconds)).collect()
}

/// Tunes the weights, judges them, and gives the rules that follow from them.
#[must_use]
pub fn learned(trace: &Trace, search: Search, split: &Split) -> (Record, Rules) {
    let plain = Rules::table().into_iter().filter(|rules| !rules.name.starts_with("mark"));
    let days = split.held_out.start..split.shadow.end;
    let held = split.held_out.len();
    let plain: Vec<(String, Vec<f64>)> = plain
        .map(|rules| {
            let mut waits = daily_waits(trace, &rules, days.clone());
            waits.truncate(held);
            (rules.name, waits)
        })
        .collect();
    let record = learn(&parameters(), &[], search, split, &plain, " s", |values, days| {
        daily_waits(trace, &Rules::learned(weights(values)), days)
    });
    let rules = Rules::learned(weights(&record.found.values));
    (record, rules)
}
