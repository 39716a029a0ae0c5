//! What was learned, on one page that needs nothing else, and as files.

use super::chart::{Across, Chart, Line, escape, short};
use super::html::{SCRIPT, STYLE};
use super::{WriteError, wrong};
use crate::learn::{Goal, Learned, Paired, Verdict};
use std::fmt::Write;
use std::io;
use std::path::Path;

/// Writes `learned.json`, `learned.html` and the candidate, given as TOML: `policy.toml` if it was
/// admitted, else `refused.toml`. The folder is made if it is not there.
///
/// # Errors
/// Names the file that could not be written.
pub fn write_learned(folder: &Path, learned: &Learned, policy: &str) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(wrong(folder))?;
    let json = serde_json::to_vec_pretty(learned).map_err(io::Error::other);
    let (name, other) = if learned.is_admitted() {
        ("policy.toml", "refused.toml")
    } else {
        ("refused.toml", "policy.toml")
    };
    // What an earlier search left must not be taken for this one's.
    match std::fs::remove_file(folder.join(other)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(wrong(&folder.join(other))(error));
        }
        _ => {}
    }
    for (name, bytes) in [
        ("learned.json", json),
        ("learned.html", Ok(page(learned).into_bytes())),
        (name, Ok(policy.as_bytes().to_vec())),
    ] {
        let path = folder.join(name);
        bytes.and_then(|bytes| std::fs::write(&path, bytes)).map_err(wrong(&path))?;
    }
    Ok(())
}

fn page(learned: &Learned) -> String {
    let verdict = match &learned.record.verdict {
        Verdict::Admitted => "admitted".to_owned(),
        Verdict::Refused { why } => format!("refused: {why}"),
        Verdict::RolledBack { why } => format!("rolled back: {why}"),
    };
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Learned from {0}</title><style>{STYLE}</style></head><body>\
         <header><div><h1>Learned <span>from</span> {0}</h1><p>{1}</p></div>\
         <button id=\"theme\" type=\"button\" aria-label=\"light or dark\">◐</button></header>\
         <main><section class=\"charts\">{2}</section>",
        escape(&learned.history),
        escape(&verdict),
        chart(learned).html(),
    );
    differences(learned, &mut out);
    weights(learned, &mut out);
    let _ =
        write!(out, "</main><div id=\"tip\" hidden></div><script>{SCRIPT}</script></body></html>");
    out
}

fn chart(learned: &Learned) -> Chart {
    let line = |name: &str, colour, of: fn(&crate::learn::Row) -> f64| Line {
        name: name.to_owned(),
        colour,
        points: learned.rows.iter().map(|row| (row.from_seconds, of(row))).collect(),
        area: false,
        steps: false,
    };
    let (title, unit) = match learned.goal {
        Goal::Wait => ("Mean wait", "s"),
        Goal::Slowdown => ("Mean slowdown", ""),
        Goal::Completion => ("Mean completion", "s"),
    };
    let split = &learned.record.split;
    Chart {
        title: title.to_owned(),
        note: format!(
            "by block; searched on the first {}, judged on the next {}, shadow-run on the last {}",
            split.train.len(),
            split.held_out.len(),
            split.shadow.len()
        ),
        across: Across::Time,
        unit,
        lines: vec![
            line("in force", 3, |row| row.before),
            line("candidate", 1, |row| row.candidate),
        ],
        top: None,
    }
}

/// The candidate against what is in force and against plain policies.
fn differences(learned: &Learned, out: &mut String) {
    let record = &learned.record;
    out.push_str(
        "<figure class=\"card wide\"><figcaption><h2>Differences</h2><p>the candidate less the \
         other, block by block, with the 95 % interval of the mean: below 0 it wins</p>\
         </figcaption><div class=\"scroll\"><table><thead><tr><th>against<th class=\"n\">blocks\
         <th class=\"n\">mean<th class=\"n\">from<th class=\"n\">to</tr></thead><tbody>",
    );
    let mut row = |name: &str, paired: Option<&Paired>| {
        let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
        let _ = write!(
            out,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            escape(name),
            paired.map_or(0, |paired| paired.pairs),
            cell(paired.map(|paired| paired.mean)),
            cell(paired.map(|paired| paired.low)),
            cell(paired.map(|paired| paired.high)),
        );
    };
    row("what is in force, judged", record.held_out.as_ref());
    row("what is in force, shadow run", record.shadow.as_ref());
    for beside in &record.beside {
        row(&format!("{}, judged", beside.name), beside.difference.as_ref());
    }
    out.push_str("</tbody></table></div></figure>");
}

fn weights(learned: &Learned, out: &mut String) {
    let record = &learned.record;
    let _ = write!(
        out,
        "<figure class=\"card wide\"><figcaption><h2>Parameters</h2><p>{} policies tried; the \
         policy itself is in learned.json and beside it</p></figcaption><div class=\"scroll\">\
         <table><thead><tr><th>parameter<th class=\"n\">in force<th class=\"n\">candidate\
         <th class=\"n\">from<th class=\"n\">to</tr></thead><tbody>",
        record.found.tried
    );
    for (parameter, value) in record.parameters.iter().zip(&record.found.values) {
        let _ = write!(
            out,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            escape(&parameter.name),
            short(parameter.start),
            short(*value),
            short(parameter.low),
            short(parameter.high),
        );
    }
    out.push_str("</tbody></table></div></figure>");
}
