//! Two runs of the same workload on one page, and as one file.

use super::chart::{Across, Chart, Line, escape, spread};
use super::html::{SCRIPT, STYLE, level};
use super::summary::{Summary, seconds};
use super::{WriteError, is_summary, only_ours, wrong};
use crate::world::{JobRecord, Levels, Records, Unit};
use polder_model::Micros;
use serde::Serialize;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// What a comparison leaves; the first tells that one did.
const FILES: [&str; 2] = ["compare.json", "compare.html"];

/// Colours of the first and the second run.
const COLOURS: [usize; 2] = [1, 3];

/// A run and its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its numbers; they name its policy.
    pub summary: &'a Summary,
    /// What happened.
    pub records: &'a Records,
}

/// Two runs, for programs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Compared<'a> {
    /// The first.
    pub a: &'a Summary,
    /// The second.
    pub b: &'a Summary,
}

/// Writes `compare.json` and `compare.html` into a folder, which is made if it is not there. `rows`
/// are the figures: a name, the first run's, the second's, and the change.
///
/// # Errors
/// Names the file that could not be written.
pub fn write_compared(
    folder: &Path,
    sides: [Side<'_>; 2],
    rows: &[[String; 4]],
) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(wrong(folder))?;
    only_comparisons(folder)?;
    let [a, b] = sides.map(|side| side.summary);
    let json = serde_json::to_vec_pretty(&Compared { a, b }).map_err(io::Error::other);
    let html = Ok(page(sides, rows).into_bytes());
    for (name, bytes) in FILES.into_iter().zip([json, html]) {
        let path = folder.join(name);
        bytes.and_then(|bytes| std::fs::write(&path, bytes)).map_err(wrong(&path))?;
    }
    Ok(())
}

/// Refuses a folder that has one of the files without being that of a comparison.
///
/// # Errors
/// Names the file that would be lost.
pub fn only_comparisons(folder: &Path) -> Result<(), WriteError> {
    let is_ours = |json: &serde_json::Value| is_summary(json.get("a")) && is_summary(json.get("b"));
    only_ours(folder, &FILES, is_ours)
}

fn page(sides: [Side<'_>; 2], rows: &[[String; 4]]) -> String {
    let [a, b] = sides.map(|side| escape(&side.summary.about.policy));
    let workload = escape(&sides[0].summary.about.workload);
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{workload}: {a} and {b}</title><style>{STYLE}</style></head><body>\
         <header><div><h1>{workload} <span>under</span> {a} <span>and under</span> {b}</h1>\
         <p>each in full: <a href=\"a/report.html\">{a}</a>, <a href=\"b/report.html\">{b}</a></p>\
         </div><button id=\"theme\" type=\"button\" aria-label=\"light or dark\">◐</button></header>\
         <main><section class=\"charts\">",
    );
    let (what, part): (_, fn(&Levels) -> f64) = match sides[0].summary.measured {
        Unit::Devices => ("of the devices in reach, held by leases", devices_held),
        Unit::Cpus => ("of the CPUs in reach, held by leases", cpus_held),
    };
    for chart in [
        spreads("Wait", "part of jobs that started within", sides, JobRecord::wait),
        spreads("Completion", "part of jobs over within", sides, JobRecord::completion),
        levels("Queue", "jobs that wait", "jobs", sides, |levels| levels.queued),
        levels("Use", what, "%", sides, part),
    ] {
        out.push_str(&chart.html());
    }
    let _ = write!(
        out,
        "</section><figure class=\"card wide\"><figcaption><h2>Figures</h2></figcaption>\
         <div class=\"scroll\"><table><thead><tr><th>figure<th class=\"n\">{a}<th class=\"n\">{b}\
         <th class=\"n\">b to a</tr></thead><tbody>"
    );
    for [name, a, b, change] in rows {
        let _ = write!(
            out,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            escape(name),
            escape(a),
            escape(b),
            escape(change),
        );
    }
    let _ = write!(
        out,
        "</tbody></table></div></figure></main><div id=\"tip\" hidden></div>\
         <script>{SCRIPT}</script></body></html>"
    );
    out
}

fn devices_held(levels: &Levels) -> f64 {
    if levels.devices > 0.0 { levels.held / levels.devices } else { 0.0 }
}

fn cpus_held(levels: &Levels) -> f64 {
    if levels.cpus > 0.0 { levels.cpus_held / levels.cpus } else { 0.0 }
}

/// A line for each run.
fn lines(sides: [Side<'_>; 2], line: impl Fn(&str, usize, &Records) -> Line) -> Vec<Line> {
    let both = sides.iter().zip(COLOURS);
    let of = |(side, colour): (&Side<'_>, usize)| {
        let line = line(&side.summary.about.policy, colour, side.records);
        Line { area: false, ..line }
    };
    both.map(of).collect()
}

fn spreads(
    title: &str,
    note: &str,
    sides: [Side<'_>; 2],
    of: fn(&JobRecord) -> Option<Micros>,
) -> Chart {
    let line = |name: &str, colour, records: &Records| {
        let values = records.jobs.iter().filter_map(of).map(seconds).collect();
        Line { name: name.to_owned(), colour, points: spread(values), area: false, steps: true }
    };
    let lines = lines(sides, line);
    let (title, note) = (title.to_owned(), note.to_owned());
    Chart { title, note, across: Across::Decades, unit: "%", lines, top: Some(1.0) }
}

fn levels(
    title: &str,
    note: &str,
    unit: &'static str,
    sides: [Side<'_>; 2],
    of: fn(&Levels) -> f64,
) -> Chart {
    let lines = lines(sides, |name, colour, records| level(records, name, colour, of));
    let top = (unit == "%").then_some(1.0);
    let (title, note) = (title.to_owned(), note.to_owned());
    Chart { title, note, across: Across::Time, unit, lines, top }
}
