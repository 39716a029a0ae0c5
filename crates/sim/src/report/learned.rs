//! What was learned, on one page that needs nothing else, and as files.

use super::chart::{Across, Chart, Line, escape, short};
use super::html::{SCRIPT, STYLE};
use super::{WriteError, wrong};
use crate::learn::{Goal, Learned, Paired, Verdict};
use std::fmt::Write;
use std::io;
use std::path::Path;

/// Writes `learned.json`, `learned.html` and, given as TOML, the candidate (`policy.toml` if it was
/// admitted, else `refused.toml`) and the plain policy that is offered (`plain.toml`), if one is. The
/// folder is made if it is not there.
///
/// # Errors
/// Names the file that could not be written.
pub fn write_learned(
    folder: &Path,
    learned: &Learned,
    policy: &str,
    plain: Option<&str>,
) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(wrong(folder))?;
    let json = serde_json::to_vec_pretty(learned).map_err(io::Error::other);
    let admitted = learned.is_admitted();
    let toml = |text: &str| Ok(text.as_bytes().to_vec());
    for (name, bytes) in [
        ("learned.json", Some(json)),
        ("learned.html", Some(Ok(page(learned).into_bytes()))),
        ("policy.toml", admitted.then(|| toml(policy))),
        ("refused.toml", (!admitted).then(|| toml(policy))),
        ("plain.toml", plain.map(toml)),
    ] {
        let path = folder.join(name);
        let done = match bytes {
            Some(bytes) => bytes.and_then(|bytes| std::fs::write(&path, bytes)),
            // What an earlier search left must not be taken for this one's.
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        };
        done.map_err(wrong(&path))?;
    }
    Ok(())
}

fn page(learned: &Learned) -> String {
    let verdict = match &learned.record.verdict {
        Verdict::Admitted => "admitted".to_owned(),
        Verdict::Refused { why } => format!("refused: {why}"),
        Verdict::RolledBack { why } => format!("rolled back: {why}"),
    };
    let verdict = match learned.better() {
        Some(better) => format!("{verdict}; but {better}: it is plain.toml"),
        None => verdict,
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
    let unit = if learned.goal.unit().is_empty() { "" } else { ", in seconds" };
    let _ = write!(
        out,
        "<figure class=\"card wide\"><figcaption><h2>Differences</h2><p>the candidate less the \
         other, block by block{unit}, with the 95 % interval of the mean: below 0 it wins</p>\
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::{Plain, Search, Split, learn};
    use polder_model::Policy;

    /// What a search found whose candidate costs 90 where what is in force costs 100, beside a plain
    /// policy of a cost of its own.
    fn learned(plain_costs: f64) -> Learned {
        let plain = [("shortest predicted".to_owned(), vec![plain_costs; 4])];
        let split = Split { train: 0..3, held_out: 3..5, shadow: 5..7 };
        let search = Search { seed: 1, generations: 0, children: 0 };
        let parameter =
            crate::learn::Parameter { name: "a".into(), low: 0.0, high: 1.0, start: 0.0 };
        let record =
            learn(&[parameter], &[vec![1.0]], search, &split, &plain, " s", |values, blocks| {
                blocks.map(|_| 100.0 - 10.0 * values[0]).collect()
            });
        let better = record.better().map(|better| better.name.clone());
        Learned {
            history: "days".to_owned(),
            goal: Goal::Wait,
            block_seconds: 86_400.0,
            rows: Vec::new(),
            candidate: Policy::default(),
            record,
            plain: better.map(|name| Plain { name, policy: Policy::default() }),
        }
    }

    #[test]
    fn a_plain_policy_that_is_better_is_written_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let there = |name: &str| folder.path().join(name).exists();
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let found = learned(80.0);
        assert!(found.is_admitted(), "{:?}", found.record.verdict);
        write_learned(folder.path(), &found, "a = 1", Some("b = 2")).unwrap();
        assert_eq!((text("policy.toml"), text("plain.toml")), ("a = 1".into(), "b = 2".into()));
        let page = text("learned.html");
        let expect = "one of 1 beside it, is better there than the candidate by 10.000 s";
        assert!(page.contains("admitted; but the plain policy") && page.contains(expect), "{page}");
        let found = learned(95.0);
        assert_eq!((found.plain.clone(), found.better()), (None, None));
        write_learned(folder.path(), &found, "a = 1", None).unwrap();
        assert!(there("policy.toml") && !there("plain.toml") && !there("refused.toml"));
        assert!(!text("learned.html").contains("but the plain policy"));
    }
}
