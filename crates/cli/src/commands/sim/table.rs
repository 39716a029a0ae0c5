//! The tables of `polder sim`.

use super::run::{Ran, scaled};
use crate::commands::{Context, Done};
use crate::output::Table;
use polder_model::Micros;
use polder_sim::report::{Compared, Summary};
use polder_sim::world::Unit;

pub(super) fn show(context: &Context, runs: &[Ran]) -> Done {
    let summaries: Vec<&Summary> = runs.iter().map(|ran| &ran.summary).collect();
    match summaries.as_slice() {
        [a, b] if context.out.json_wanted() => context.out.json(&Compared { a, b })?,
        [one, ..] if context.out.json_wanted() => context.out.json(one)?,
        [a, b] => {
            let mut table = Table::new(&["FIGURE", ">A", ">B", ">B TO A"], "nothing happened");
            compared(a, b).into_iter().for_each(|row| table.row(row));
            context.out.table(&table)?;
        }
        [one, ..] => context.out.table(&table(one))?,
        [] => {}
    }
    let mut said: Vec<&String> = Vec::new();
    for note in summaries.iter().flat_map(|summary| &summary.about.notes) {
        if !said.contains(&note) {
            context.out.note(note);
            said.push(note);
        }
    }
    Ok(0)
}

/// One line of the table: a name, a value, and how it is written.
type Row = (String, f64, Written);
/// How a value is written.
type Written = fn(f64) -> String;

fn rows(summary: &Summary) -> Vec<Row> {
    let percent: Written = |part| format!("{:.1}%", part * 100.0);
    let time: Written = |seconds| scaled(Micros(1_000_000), seconds.max(0.0)).to_string();
    let number: Written = |value| format!("{value:.0}");
    let on_cpus = summary.measured == Unit::Cpus;
    let hours: Written =
        if on_cpus { |value| format!("{value:.1} CPU h") } else { |value| format!("{value:.1} h") };
    let fine: Written = |value| format!("{value:.3}");
    let whole = |value: u64| value as f64;
    let row = |name: &str, value, written| (name.to_owned(), value, written);
    let mut rows = vec![row("jobs", whole(summary.jobs), number)];
    rows.extend(
        summary.states.iter().map(|(state, jobs)| (format!("  {state}"), whole(*jobs), number)),
    );
    let (wait, completion) = (summary.wait_seconds, summary.completion_seconds);
    rows.extend([
        row("span", summary.span_seconds, time),
        row(if on_cpus { "held, of CPUs" } else { "held" }, summary.held, percent),
        row(if on_cpus { "held and running" } else { "busy" }, summary.busy, percent),
    ]);
    rows.extend((!on_cpus).then(|| row("fragmentation", summary.fragmentation, percent)));
    rows.extend([
        row("wait, mean", wait.mean, time),
        row("wait, p95", wait.p95, time),
        row("wait, p99", wait.p99, time),
        row("completion, mean", completion.mean, time),
        row("completion, p99", completion.p99, time),
        row("slowdown, mean", summary.slowdown_mean, fine),
        row("queue, mean", summary.queue_mean, fine),
        row("fairness (Jain): held of asked", summary.jain, fine),
        row("fairness (Jain): slowdown, tenants", summary.jain_slowdown, fine),
        row("fairness (Jain): slowdown, users", summary.jain_slowdown_users, fine),
        row("work carried", summary.carried_hours, hours),
        row("work lost", summary.lost_hours, hours),
        row("restarts", whole(summary.restarts), number),
        row("cost", whole(summary.cost) / 1e6, fine),
    ]);
    rows
}

fn table(summary: &Summary) -> Table {
    let mut table = Table::new(&["FIGURE", ">VALUE"], "nothing happened");
    for (name, value, written) in rows(summary) {
        table.row([name, written(value)]);
    }
    table
}

/// The figures of two runs side by side: a name, each run's, and the change.
pub(super) fn compared(a: &Summary, b: &Summary) -> Vec<[String; 4]> {
    let policy = |summary: &Summary| summary.about.policy.clone();
    let mut table = vec![["policy".into(), policy(a), policy(b), String::new()]];
    let (of_a, of_b) = (rows(a), rows(b));
    let find = |rows: &[Row], name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1);
    let mut names: Vec<(&String, Written)> = of_a.iter().map(|row| (&row.0, row.2)).collect();
    // A state that only one run has stands with the others.
    for row in &of_b {
        if find(&of_a, &row.0).is_none() {
            names.insert(1, (&row.0, row.2));
        }
    }
    for (name, written) in names {
        let (a, b) = (find(&of_a, name).unwrap_or(0.0), find(&of_b, name).unwrap_or(0.0));
        let change = match b / a {
            ratio if ratio.is_finite() => format!("{:+.1}%", (ratio - 1.0) * 100.0),
            _ => String::new(),
        };
        table.push([name.clone(), written(a), written(b), change]);
    }
    table
}
