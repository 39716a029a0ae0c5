//! The page: verdict, where the time went, what ran, what moved, and when. It loads nothing.

use crate::parts::Part;
use crate::picture::Picture;
use crate::summary::{Moved, Named, Summary, shares};
use polder_model::Bytes;
use std::fmt::Write;

/// Names with a row of their own on the page.
const ROWS_MAX: usize = 40;

/// One look for all of Polder's pages.
const STYLE: &str = include_str!("../../sim/src/report/style.css");

/// The page as text.
#[must_use]
pub fn report(summary: &Summary, picture: &Picture) -> String {
    let mut out = String::new();
    let command = escape(&summary.command.join(" "));
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Profile of {command}</title><style>{STYLE}\
         .stack{{display:flex;height:26px;border-radius:7px;overflow:hidden;background:var(--lane)}}\
         .stack b{{display:block;min-width:1px}}code{{font-size:13.5px;white-space:pre-wrap;\
         overflow-wrap:anywhere}}td.name{{white-space:normal;overflow-wrap:anywhere}}</style></head>\
         <body><header><div><h1>{command} <span>profile</span></h1><p>{}, {} of it between its first \
         call and its last; {}</p></div></header><main>",
        time(summary.length_ns),
        time(summary.active_ns),
        match summary.processes.len() {
            1 => "one process".to_owned(),
            many => format!("{many} processes"),
        },
    );
    verdict(summary, &mut out);
    tiles(summary, &mut out);
    parts(summary, &mut out);
    picture.draw(&mut out);
    names(&summary.names, &mut out);
    moved(summary, &mut out);
    notes(summary, &mut out);
    out.push_str("</main></body></html>");
    out
}

fn verdict(summary: &Summary, out: &mut String) {
    let verdict = &summary.verdict;
    let _ = write!(
        out,
        "<section class=\"card\" id=\"verdict\"><h3>Verdict</h3><h2>{}</h2><p>{}</p>",
        escape(&verdict.line("of the time between its first call and its last")),
        escape(&verdict.detail),
    );
    if let Some(advice) = &summary.advice {
        let _ =
            write!(out, "<p>A slice that would suit it:</p><code>{}</code>", escape(&advice.line));
        out.push_str("<ul>");
        for why in &advice.why {
            let _ = write!(out, "<li>{}</li>", escape(why));
        }
        for at in &advice.at_shares {
            let _ = write!(
                out,
                "<li>with {}% of a device it would take about {} times as long as with all of it</li>",
                at.compute_thousandths / 10,
                f64::from(at.time_thousandths) / 1000.0,
            );
        }
        out.push_str("</ul>");
    }
    out.push_str("</section>");
}

fn tiles(summary: &Summary, out: &mut String) {
    let busy = summary.busy_ns.values().copied().max().unwrap_or(0);
    out.push_str("<section class=\"tiles\">");
    for (name, value, note) in [
        ("Device", percent(summary.thousandths(busy)), format!("at work for {}", time(busy))),
        ("Commands", summary.commands.to_string(), format!("{} failed", summary.failed)),
        (
            "Gaps",
            time(summary.gaps.total_ns),
            format!("{}, the longest {}", summary.gaps.count, time(summary.gaps.longest_ns)),
        ),
        ("Turns", time(summary.waited_ns), "waited for, by all threads".to_owned()),
        ("Waits", summary.waits.to_string(), "of threads for the device".to_owned()),
        ("Memory", Bytes(summary.memory_peak_bytes).to_string(), "held at most".to_owned()),
    ] {
        let _ = write!(
            out,
            "<div class=\"card tile\"><h3>{name}</h3><b>{}</b><p>{}</p></div>",
            escape(&value),
            escape(&note)
        );
    }
    out.push_str("</section>");
}

/// The colour of a part.
pub(crate) fn colour(part: Part) -> usize {
    match part {
        Part::Kernels => 2,
        Part::Within => 1,
        Part::Transfers => 6,
        Part::Turn => 4,
        Part::Calls => 7,
        Part::Cpu => 3,
        Part::Elsewhere => 5,
        Part::Around => 8,
    }
}

fn parts(summary: &Summary, out: &mut String) {
    out.push_str("<section class=\"card\"><h3>Where the time goes</h3><div class=\"stack\">");
    let whole = summary.length_ns.max(1) as f64;
    for (part, ns) in shares(summary) {
        let width = ns as f64 / whole * 100.0;
        let title = format!("{}: {}", part.title(), time(ns));
        let _ = write!(
            out,
            "<b class=\"c{}\" style=\"width:{width:.3}%\" title=\"{title}\"></b>",
            colour(part)
        );
    }
    out.push_str("</div><ul class=\"legend\">");
    for (part, ns) in shares(summary) {
        let share = ns as f64 / whole * 100.0;
        let (colour, title, ns) = (colour(part), part.title(), time(ns));
        let _ = write!(out, "<li><i class=\"c{colour}\"></i>{title}: {ns}, {share:.1}%</li>");
    }
    out.push_str("</ul></section>");
}

fn names(names: &[Named], out: &mut String) {
    out.push_str(
        "<section class=\"card scroll\"><h3>What ran</h3><table><tr><th>Name<th>Kind<th class=\"n\">\
         Calls<th class=\"n\">Time<th class=\"n\">Shortest<th class=\"n\">Mean<th class=\"n\">Longest\
         <th class=\"n\">Bytes</tr>",
    );
    for named in names.iter().take(ROWS_MAX) {
        let _ = write!(
            out,
            "<tr><td class=\"name\">{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
             <td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            escape(&named.name),
            named.kind.replace('_', " "),
            named.count,
            time(named.total_ns),
            time(named.shortest_ns),
            time(named.total_ns / named.count.max(1)),
            time(named.longest_ns),
            if named.bytes > 0 { Bytes(named.bytes).to_string() } else { String::new() },
        );
    }
    out.push_str("</table>");
    if names.len() > ROWS_MAX {
        let _ =
            write!(out, "<p class=\"note\">{} more in profile.json</p>", names.len() - ROWS_MAX);
    }
    out.push_str("</section>");
}

fn moved(summary: &Summary, out: &mut String) {
    if summary.moved.is_empty() {
        return;
    }
    out.push_str(
        "<section class=\"card scroll\"><h3>What moved</h3><table><tr><th>Way<th class=\"n\">Calls\
         <th class=\"n\">Bytes<th class=\"n\">Time<th class=\"n\">Bytes in a second</tr>",
    );
    for (way, Moved { count, bytes: moved, total_ns, bytes_per_second }) in &summary.moved {
        let rate = bytes_per_second.map(|rate| format!("{}/s", Bytes(rate))).unwrap_or_default();
        let _ = write!(
            out,
            "<tr><td>{}<td class=\"n\">{count}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{rate}</tr>",
            way.replace('_', " "),
            Bytes(*moved),
            time(*total_ns),
        );
    }
    out.push_str("</table></section>");
}

fn notes(summary: &Summary, out: &mut String) {
    out.push_str(
        "<footer class=\"card\"><h3>How to read this</h3><ul><li>Each moment counts once: for the \
         device before the host.<li>A kernel's own bound, arithmetic or memory, is not known: that \
         takes counters of the hardware.<li>Bytes are what the calls name; a device that shares its \
         memory with the host may move none.",
    );
    for note in &summary.notes {
        let _ = write!(out, "<li>{}", escape(note));
    }
    out.push_str("<li>trace.json beside this page opens in ui.perfetto.dev and chrome://tracing.</ul></footer>");
}

/// Text that stands for itself in HTML.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// Thousandths as people read them.
#[must_use]
pub fn percent(thousandths: u32) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

/// A length of time in its largest fitting unit, with about three digits.
#[must_use]
pub fn time(ns: u64) -> String {
    let ns = ns as f64;
    let (value, unit) = match ns {
        ns if ns >= 3.6e12 => (ns / 3.6e12, "h"),
        ns if ns >= 6e10 => (ns / 6e10, "min"),
        ns if ns >= 1e9 => (ns / 1e9, "s"),
        ns if ns >= 1e6 => (ns / 1e6, "ms"),
        ns if ns >= 1e3 => (ns / 1e3, "us"),
        ns => (ns, "ns"),
    };
    format!("{} {unit}", short(value))
}

fn short(value: f64) -> String {
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timeline;
    use crate::picture::COLUMNS;
    use crate::summary::summarise;
    use crate::timeline::tests::{run, span};
    use polder_ledger::record::SpanKind;

    #[test]
    fn the_page_loads_nothing_and_shows_names_as_they_are() {
        let mut run =
            run(20, vec![span(SpanKind::Kernel, 1, 2, 10), span(SpanKind::ToHost, 9, 11, 12)]);
        run.command = vec!["<script>".into(), "a & b".into()];
        run.logs[0].names.insert(0, "gemm<float, \"4\">".into());
        let (summary, picture) = summarise(&run, &Timeline::of(&run));
        let page = report(&summary, &picture);
        assert!(!page.contains("<script"), "{page}");
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("gemm&lt;float, &quot;4&quot;&gt;"));
        assert!(page.contains("&lt;script&gt; a &amp; b"));
        assert!(page.contains("bound by the device"));
        assert!(page.contains("polder run --compute 100%"));
        assert!(page.matches("<rect").count() > COLUMNS / 3);
    }

    #[test]
    fn a_run_of_nothing_has_a_page_too() {
        let run = run(0, vec![]);
        let (summary, picture) = summarise(&run, &Timeline::of(&run));
        let page = report(&summary, &picture);
        let (_, verdict) = page.split_once("<h2>").unwrap();
        assert!(verdict.starts_with("it used no device of its lease</h2>"), "{verdict}");
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let times = [0, 999, 1500, 12_345_678, 99_960_000, 61_000_000_000].map(time);
        assert_eq!(times, ["0 ns", "999 ns", "1.5 us", "12.3 ms", "100 ms", "1.02 min"]);
        assert_eq!(percent(5), "0.5%");
    }
}
