//! The page: tiles, charts, devices and tenants. It loads nothing.

use super::chart::{Across, Chart, Line, bar, escape, short, spread, time};
use super::gantt;
use super::summary::{Summary, cost, seconds};
use crate::num::{len, place};
use crate::world::{JobRecord, LeaseRecord, Levels, Records, Unit};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Colours that tenants have of their own; the others share the last.
const COLOURS: usize = 8;
/// Tenants with a row of their own in the page's table.
const TENANTS_MAX: usize = 40;

pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("script.js");

pub(super) fn page(summary: &Summary, records: &Records) -> String {
    let colours = colours(summary);
    let colour_of = |tenant: &str| colours.get(tenant).copied().unwrap_or(COLOURS);
    let about = &summary.about;
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{} under {}</title><style>{STYLE}</style></head><body>\
         <header><div><h1>{} <span>under</span> {}</h1><p>{} nodes, {} devices, seed {}, {}</p>\
         </div><button id=\"theme\" type=\"button\" aria-label=\"light or dark\">◐</button></header>\
         <main>",
        escape(&about.workload),
        escape(&about.policy),
        escape(&about.workload),
        escape(&about.policy),
        about.nodes,
        summary.devices,
        about.seed,
        time(summary.span_seconds),
    );
    tiles(summary, &mut out);
    out.push_str("<section class=\"charts\">");
    let on_devices = summary.measured == Unit::Devices;
    let mut charts = vec![
        if on_devices { use_chart(records) } else { cpu_chart(records) },
        queue_chart(records),
        spread_chart("Wait", "part of jobs that started within", records, 3, JobRecord::wait),
        spread_chart("Completion", "part of jobs over within", records, 5, JobRecord::completion),
    ];
    charts.extend(on_devices.then(|| fragment_chart(records)));
    charts.push(cost_chart(summary, records));
    charts.iter().for_each(|chart| out.push_str(&chart.html()));
    out.push_str("</section>");
    tenants(summary, &colour_of, &mut out);
    // One tenant alone has nobody to be told from: then jobs are.
    let alone = summary.tenants.len() == 1;
    let by_job = |lease: &LeaseRecord| place(lease.job.0 % (len(COLOURS) - 1)) + 1;
    out.push_str(&gantt::html(records, |lease| {
        if alone { by_job(lease) } else { colour_of(lease.tenant.as_str()) }
    }));
    notes(summary, &mut out);
    let _ =
        write!(out, "</main><div id=\"tip\" hidden></div><script>{SCRIPT}</script></body></html>");
    out
}

/// The tenants that held most, each with a colour.
fn colours(summary: &Summary) -> BTreeMap<&str, usize> {
    let mut tenants: Vec<_> = summary.tenants.iter().collect();
    tenants.sort_by(|a, b| b.held_hours.total_cmp(&a.held_hours));
    tenants.iter().zip(1..COLOURS).map(|(t, colour)| (t.tenant.as_str(), colour)).collect()
}

fn tiles(summary: &Summary, out: &mut String) {
    let state = |name: &str| summary.states.get(name).copied().unwrap_or(0);
    let percent = |part: f64| format!("{:.1}%", part * 100.0);
    let wait = summary.wait_seconds;
    let (of, busy) = match summary.measured {
        Unit::Devices => ("of the pool's device time", "programs at work"),
        Unit::Cpus => ("of the pool's CPU time", "of it, given to programs that ran"),
    };
    let hours = |value| hours(summary, value);
    out.push_str("<section class=\"tiles\">");
    for (name, value, note) in [
        ("Jobs", summary.jobs.to_string(), format!("{} succeeded", state("succeeded"))),
        ("Held", percent(summary.held), of.to_owned()),
        ("Busy", percent(summary.busy), busy.to_owned()),
        ("Wait", time(wait.mean), format!("p95 {}, p99 {}", time(wait.p95), time(wait.p99))),
        (
            "Completion",
            time(summary.completion_seconds.mean),
            format!("p99 {}", time(summary.completion_seconds.p99)),
        ),
        (
            "Fairness",
            format!("{:.3}", summary.jain_slowdown),
            format!("Jain, slowdown by tenant; held of asked {:.3}", summary.jain),
        ),
        ("Cost", money(summary.cost), format!("{} work carried", hours(summary.carried_hours))),
        ("Lost", hours(summary.lost_hours), format!("{} restarts", summary.restarts)),
    ] {
        let _ = write!(
            out,
            "<div class=\"card tile\"><h3>{name}</h3><b>{value}</b><p>{note}</p></div>"
        );
    }
    out.push_str("</section>");
}

fn hours(summary: &Summary, hours: f64) -> String {
    let unit = if summary.measured == Unit::Cpus { "CPU h" } else { "h" };
    format!("{} {unit}", short(hours))
}

fn money(micros: u64) -> String {
    short(micros as f64 / 1e6)
}

/// A line of one level over time.
pub(super) fn level(
    records: &Records,
    name: &str,
    colour: usize,
    of: impl Fn(&Levels) -> f64,
) -> Line {
    let rows: Vec<_> = records.series.rows().collect();
    let at = |at: polder_model::Timestamp| seconds(at.since(records.begin));
    let mut points: Vec<_> = rows.iter().map(|(from, levels)| (at(*from), of(levels))).collect();
    if let Some((_, last)) = points.last().copied() {
        points.push((seconds(records.series.span()), last));
    }
    Line { name: name.to_owned(), colour, points, area: true, steps: true }
}

fn use_chart(records: &Records) -> Chart {
    let part = |of: fn(&Levels) -> f64| {
        move |levels: &Levels| if levels.devices > 0.0 { of(levels) / levels.devices } else { 0.0 }
    };
    Chart {
        title: "Use".to_owned(),
        note: "of the devices in reach: held by leases, and kept busy by programs".to_owned(),
        across: Across::Time,
        unit: "%",
        lines: vec![
            level(records, "held", 1, part(|levels| levels.held)),
            level(records, "busy", 2, part(|levels| levels.busy)),
        ],
        top: Some(1.0),
    }
}

fn cpu_chart(records: &Records) -> Chart {
    let part = |levels: &Levels| {
        if levels.cpus > 0.0 { levels.cpus_held / levels.cpus } else { 0.0 }
    };
    Chart {
        title: "Use".to_owned(),
        note: "of the CPUs in reach: held by leases; no job asks for a device".to_owned(),
        across: Across::Time,
        unit: "%",
        lines: vec![level(records, "held", 1, part)],
        top: Some(1.0),
    }
}

fn queue_chart(records: &Records) -> Chart {
    let plain = |line: Line| Line { area: false, ..line };
    Chart {
        title: "Queue".to_owned(),
        note: "jobs that wait, and jobs that run".to_owned(),
        across: Across::Time,
        unit: "jobs",
        lines: vec![
            level(records, "waiting", 3, |levels| levels.queued),
            plain(level(records, "running", 1, |levels| levels.running)),
        ],
        top: None,
    }
}

fn spread_chart(
    title: &str,
    note: &str,
    records: &Records,
    colour: usize,
    of: impl Fn(&JobRecord) -> Option<polder_model::Micros>,
) -> Chart {
    let values: Vec<f64> = records.jobs.iter().filter_map(of).map(seconds).collect();
    let line = |name: &str, colour, values| Line {
        name: name.to_owned(),
        colour,
        points: spread(values),
        area: false,
        steps: true,
    };
    let mut lines = vec![line("all", colour, values)];
    if title == "Completion" {
        let alone = records.jobs.iter().filter(|job| job.completion().is_some());
        lines.push(line("run time alone", 8, alone.map(|job| seconds(job.alone)).collect()));
    }
    Chart {
        title: title.to_owned(),
        note: note.to_owned(),
        across: Across::Decades,
        unit: "%",
        lines,
        top: Some(1.0),
    }
}

fn fragment_chart(records: &Records) -> Chart {
    Chart {
        title: "Fragmentation".to_owned(),
        note:
            "devices' worth of compute that is free: on idle devices, and on devices in part held"
                .to_owned(),
        across: Across::Time,
        unit: "devices",
        lines: vec![
            level(records, "all free", 8, |levels| (levels.devices - levels.held).max(0.0)),
            level(records, "in pieces", 4, |levels| levels.fragmented.max(0.0)),
        ],
        top: None,
    }
}

/// What leases cost from the beginning on.
fn cost_chart(summary: &Summary, records: &Records) -> Chart {
    let mut ends: Vec<(f64, f64)> = records
        .leases
        .iter()
        .map(|lease| {
            let end = lease.ended.unwrap_or(records.end).since(records.begin);
            let cost = cost(lease, records.end, summary.measured, summary.about.price_hour);
            (seconds(end), cost as f64 / 1e6)
        })
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let every = ends.len().div_ceil(400).max(1);
    let mut sum = 0.0;
    let mut points = vec![(0.0, 0.0)];
    for (at, (end, cost)) in ends.iter().enumerate() {
        sum += cost;
        if at % every == 0 || at + 1 == ends.len() {
            points.push((*end, sum));
        }
    }
    let line = Line { name: "all leases".into(), colour: 6, points, area: true, steps: true };
    Chart {
        title: "Cost".to_owned(),
        note: format!(
            "of leases that ended, at {} a {} and hour",
            money(summary.about.price_hour),
            if summary.measured == Unit::Cpus { "CPU" } else { "device" }
        ),
        across: Across::Time,
        unit: "",
        lines: vec![line],
        top: None,
    }
}

fn tenants(summary: &Summary, colour_of: &impl Fn(&str) -> usize, out: &mut String) {
    out.push_str(
        "<figure class=\"card wide\"><figcaption><h2>Tenants</h2><p>what each held of all that was \
         held; the mark is its part by weight</p></figcaption><div class=\"scroll\"><table><thead>\
         <tr><th>tenant<th class=\"n\">jobs<th class=\"n\">asked<th class=\"n\">held\
         <th>share<th class=\"n\"><th class=\"n\">mean wait<th class=\"n\">slowdown\
         <th class=\"n\">cost</tr></thead><tbody>",
    );
    let mut tenants: Vec<_> = summary.tenants.iter().collect();
    tenants.sort_by(|a, b| b.held_hours.total_cmp(&a.held_hours));
    for tenant in tenants.iter().take(TENANTS_MAX) {
        let name = tenant.tenant.as_str();
        let _ = write!(
            out,
            "<tr><td><i class=\"c{}\"></i>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
             <td>{}<td class=\"n\">{:.1}%<td class=\"n\">{}<td class=\"n\">{}\
             <td class=\"n\">{}</tr>",
            colour_of(name),
            escape(name),
            tenant.jobs,
            hours(summary, tenant.asked_hours),
            hours(summary, tenant.held_hours),
            bar(tenant.share, tenant.deserved, colour_of(name)),
            tenant.share * 100.0,
            time(tenant.wait_seconds_mean),
            short(tenant.slowdown_mean),
            money(tenant.cost),
        );
    }
    out.push_str("</tbody></table></div>");
    if tenants.len() > TENANTS_MAX {
        let more = tenants.len() - TENANTS_MAX;
        let _ = write!(out, "<p class=\"note\">and {more} more, in summary.json</p>");
    }
    out.push_str("</figure>");
}

fn notes(summary: &Summary, out: &mut String) {
    let states = summary.states.iter().map(|(state, jobs)| format!("{jobs} {state}"));
    let states = states.collect::<Vec<_>>().join(", ");
    let _ = write!(
        out,
        "<footer class=\"card wide\"><h2>Notes</h2><ul><li>Jobs: {}.</li><li>Decided by Polder's \
         engine in {} plans over {} events.</li>",
        escape(&states),
        summary.plans,
        summary.events
    );
    for note in &summary.about.notes {
        let _ = write!(out, "<li>{}</li>", escape(note));
    }
    out.push_str("</ul></footer>");
}
