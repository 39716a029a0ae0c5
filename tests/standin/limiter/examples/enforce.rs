//! Figures of enforcement on the stand-in device: `enforce PART [--quick]` prints one JSON object a
//! figure. `cargo xtask bench enforce` runs every part and prints the table. Time is virtual: the
//! figures do not depend on the machine or the build.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use polder_standin_limiter::{
    Held, Make, PEERS, Program, SHAPES, World, cells, polder, polder_batches, polder_batches_late,
    published, run,
};
use serde_json::{Value, json};
use std::process::ExitCode;

/// A part's name and what measures it. `quick` asks for a smoke run.
type Part = (&'static str, fn(quick: bool));

const PARTS: &[Part] =
    &[("reproduce", reproduce), ("limiter", limiter), ("batches", batches), ("peers", peers)];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let quick = words.any(|word| word == "--quick");
    if name == "--list" {
        PARTS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let Some((_, run)) = PARTS.iter().find(|(part, _)| *part == name) else {
        let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        eprintln!("no part {name:?}: the parts are {}", known.join(", "));
        return ExitCode::FAILURE;
    };
    run(quick);
    ExitCode::SUCCESS
}

fn figure(name: &str, value: f64, unit: &str, baseline: Option<f64>, target: &Value) {
    let figure = json!({
        "name": name, "value": value, "unit": unit, "baseline": baseline, "target": target,
    });
    println!("{figure}");
}

fn shown() -> Value {
    json!("shown")
}

/// The port of HAMi-core's bucket beside what was published of it.
fn reproduce(quick: bool) {
    let (_, make) = PEERS[0];
    let step = if quick { 9 } else { 1 };
    let mut worst = 0.0_f64;
    for cell in published().into_iter().step_by(step) {
        let program =
            Program { work: cell.work(), host_ns: 3_000, sync_every: u32::MAX, gap_ns: 0 };
        let mut limiter = make(&cell.model, cell.limit, 1);
        let run = World::new(cell.model, program, 1, limiter.as_mut()).run(30);
        worst = worst.max((run.readings.0 - cell.reading).abs());
        let (blocks, ns) = cell.kernel;
        let name = format!(
            "reproduce: HAMi-core's bucket, {}, {blocks} blocks of {} us at {} %",
            cell.model.name,
            ns / 1000,
            cell.limit
        );
        figure(&name, run.readings.0, "%", Some(cell.reading), &json!({ "within": 3.0 }));
    }
    figure("reproduce: furthest from published", worst, "points", None, &json!({"at_most": 3.0}));
}

/// Mean and worst error, and the part of judged windows that are near.
struct Sum {
    mean: f64,
    worst: f64,
    near: f64,
}

fn sum<'a>(all: impl Iterator<Item = &'a Held>) -> Sum {
    let (mut cells, mut total, mut worst, mut windows, mut near) = (0.0, 0.0, 0.0_f64, 0, 0);
    for held in all {
        cells += 1.0;
        total += held.error();
        worst = worst.max(held.error());
        if held.cell.shape.windows_judged() {
            let (of, within) = held.near();
            windows += of;
            near += within;
        }
    }
    let near = near as f64 * 100.0 / windows.max(1) as f64;
    Sum { mean: total / f64::max(cells, 1.0), worst, near }
}

fn matrix(quick: bool, make: Make) -> Vec<Held> {
    run(&cells(quick), if quick { 5 } else { 30 }, make)
}

/// Polder over the whole matrix, with HAMi-core's bucket as the baseline.
fn limiter(quick: bool) {
    let (ours, theirs) = (matrix(quick, polder()), matrix(quick, PEERS[0].1));
    for (held, other) in ours.iter().zip(&theirs) {
        let cell = &held.cell;
        let name = format!(
            "limiter: {}, {}, {} %, {} process{}",
            cell.model.name,
            cell.shape.name,
            cell.share,
            cell.processes,
            if cell.processes == 1 { "" } else { "es" }
        );
        figure(&name, held.run.share(), "%", Some(other.run.share()), &shown());
    }
    for shape in &SHAPES {
        let of = |all: &[Held]| sum(all.iter().filter(|it| it.cell.shape.name == shape.name));
        both(&format!("limiter, {}", shape.name), &of(&ours), &of(&theirs), shape.windows_judged());
    }
    both("limiter, all", &sum(ours.iter()), &sum(theirs.iter()), true);
    let switched = ours.iter().map(|it| it.run.switched).fold(0.0, f64::max);
    figure("limiter: most lost to changes between its own", switched, "points", None, &shown());
}

fn both(name: &str, ours: &Sum, theirs: &Sum, windows: bool) {
    let at_most = |limit: f64| json!({ "at_most": limit });
    figure(&format!("{name}: mean error"), ours.mean, "points", Some(theirs.mean), &at_most(0.5));
    figure(&format!("{name}: worst cell"), ours.worst, "points", Some(theirs.worst), &at_most(2.0));
    if windows {
        let target = json!({ "at_least": 95.0 });
        let name = format!("{name}: seconds within 8 points");
        figure(&name, ours.near, "%", Some(theirs.near), &target);
    }
}

/// Polder as its CUDA driver hears of ends: in batches, and late. Beside it what it does when it
/// hears of each at once.
fn batches(quick: bool) {
    let each = matrix(quick, polder());
    let hearings = [("batches", polder_batches()), ("batches, busy host", polder_batches_late())];
    for (name, make) in hearings {
        let ours = matrix(quick, make);
        for shape in &SHAPES {
            let of = |all: &[Held]| sum(all.iter().filter(|it| it.cell.shape.name == shape.name));
            let name = format!("{name}, {}", shape.name);
            both(&name, &of(&ours), &of(&each), shape.windows_judged());
        }
        both(&format!("{name}, all"), &sum(ours.iter()), &sum(each.iter()), true);
    }
}

/// Every peer over the whole matrix.
fn peers(quick: bool) {
    for (peer, make) in PEERS {
        let all = matrix(quick, make);
        for shape in &SHAPES {
            let of = sum(all.iter().filter(|it| it.cell.shape.name == shape.name));
            figure(
                &format!("peers: {peer}, {}: mean error", shape.name),
                of.mean,
                "points",
                None,
                &shown(),
            );
        }
        let of = sum(all.iter());
        figure(&format!("peers: {peer}: mean error"), of.mean, "points", None, &shown());
        figure(&format!("peers: {peer}: worst cell"), of.worst, "points", None, &shown());
        figure(&format!("peers: {peer}: seconds within 8 points"), of.near, "%", None, &shown());
    }
}
