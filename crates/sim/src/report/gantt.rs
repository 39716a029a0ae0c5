//! Which lease held which device when: a row for each device, as high in a row as its share. Where no
//! job asks for a device, a row is a node, and a share one of its CPUs.

use super::chart::{escape, time, time_step};
use crate::num::len;
use crate::workload::counted;
use crate::world::{LeaseRecord, Place, Records, Unit};
use polder_model::Permille;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Most rows shown.
const ROWS_MAX: usize = 64;
/// Most leases shown: a browser draws so many with ease.
const BARS_MAX: usize = 8_000;
const WIDTH: f64 = 1480.0;
const LEFT: f64 = 150.0;
const ROW: f64 = 20.0;
const GAP: f64 = 4.0;
const TOP: f64 = 22.0;

/// The figure. `colour_of` gives the colour of a lease.
pub(super) fn html(records: &Records, colour_of: impl Fn(&LeaseRecord) -> usize) -> String {
    let unit = records.unit();
    let (what, names) = lanes(records, unit);
    let mut of: BTreeMap<usize, Vec<Bar<'_>>> = BTreeMap::new();
    for lease in &records.leases {
        for (lane, share) in
            shares(records, unit, lease).into_iter().filter(|(at, _)| *at < ROWS_MAX)
        {
            of.entry(lane).or_default().push((lease, share));
        }
    }
    let mut rows = 0;
    let mut bars = 0;
    for lane in 0..names.len().min(ROWS_MAX) {
        bars += of.get(&lane).map_or(0, Vec::len);
        if bars > BARS_MAX && rows > 0 {
            break;
        }
        rows = lane + 1;
    }
    let all = names.len();
    let mut note = if rows < all {
        format!("the first {rows} of {all} {what}s are shown; leases.csv has every lease")
    } else {
        let all = counted(len(all), what);
        format!("{all}; a share is as high as its part of the {what}")
    };
    // One row may have more than all that are shown.
    if let Some(first) = of.get_mut(&0).filter(|first| first.len() > BARS_MAX) {
        first.truncate(BARS_MAX);
        note += &format!("; the first {BARS_MAX} leases are drawn");
    }
    let title = if what == "node" { "Nodes" } else { "Devices" };
    let span = records.series.span().0 as f64 / 1e6;
    let height = TOP + ROW * rows as f64 + GAP;
    let mut out = String::new();
    let _ = write!(
        out,
        "<figure class=\"card wide\"><figcaption><h2>{title}</h2><p>{note}</p></figcaption>\
         <div class=\"scroll\"><svg class=\"gantt\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"which lease held which {what} when\">"
    );
    let step = time_step(span);
    for mark in (0..32u32).map(|n| f64::from(n) * step).take_while(|mark| *mark <= span) {
        let x = LEFT + mark / span.max(1e-6) * (WIDTH - LEFT - 30.0);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{height}\"/>\
             <text class=\"mark\" x=\"{x:.1}\" y=\"14\" text-anchor=\"middle\">{}</text>",
            time(mark)
        );
    }
    for (lane, name) in names.iter().take(rows).enumerate() {
        let y = TOP + ROW * lane as f64;
        let name = escape(name);
        let _ = write!(
            out,
            "<text class=\"mark\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"lane\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{}\" height=\"{}\"/>",
            LEFT - 8.0,
            y + 13.0,
            WIDTH - LEFT - 30.0,
            ROW - GAP
        );
        row(records, of.get(&lane).map_or(&[][..], Vec::as_slice), y, span, &colour_of, &mut out);
    }
    out.push_str("</svg></div></figure>");
    out
}

/// A lease in one row, and how much of the row it holds, in thousandths.
type Bar<'r> = (&'r LeaseRecord, Permille);

/// What a row stands for, and the name of each.
fn lanes(records: &Records, unit: Unit) -> (&'static str, Vec<String>) {
    match unit {
        Unit::Devices => {
            let name = |place: &Place| format!("{}/{}", place.node, place.device);
            ("device", records.places.iter().map(name).collect())
        }
        Unit::Cpus => ("node", records.machines.iter().map(|of| of.node.to_string()).collect()),
    }
}

/// The rows of a lease, and what it holds of each.
fn shares(records: &Records, unit: Unit, lease: &LeaseRecord) -> Vec<(usize, Permille)> {
    if unit == Unit::Devices {
        return lease.devices.iter().map(|device| (*device, lease.compute)).collect();
    }
    let all = records.machines.get(lease.node).map_or(1, |of| u64::from(of.cpu.0).max(1));
    let share = u64::from(lease.cpu.0) * 1000 / all;
    vec![(lease.node, Permille(u32::try_from(share.min(1000)).unwrap_or(1000)))]
}

/// The leases of one row.
fn row(
    records: &Records,
    leases: &[Bar<'_>],
    y: f64,
    span: f64,
    colour_of: &impl Fn(&LeaseRecord) -> usize,
    out: &mut String,
) {
    // Parts of the height in use, and until when.
    let mut used: Vec<(u32, u32, u64)> = Vec::new();
    for (lease, share) in leases {
        let end = lease.ended.unwrap_or(records.end);
        used.retain(|(_, _, until)| *until > lease.granted.0);
        let compute = share.0.clamp(1, 1000);
        let offset = gap(&used, compute);
        used.push((offset, compute, end.0));
        let seconds = |at: polder_model::Timestamp| at.since(records.begin).0 as f64 / 1e6;
        let scale = (WIDTH - LEFT - 30.0) / span.max(1e-6);
        let (from, to) = (seconds(lease.granted), seconds(end));
        let part = |permille: u32| f64::from(permille) / 1000.0 * (ROW - GAP);
        let _ = write!(
            out,
            "<rect class=\"c{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>job {}, {}, {}: {} to {}, {}</title></rect>",
            colour_of(lease),
            LEFT + from * scale,
            y + (ROW - GAP) - part(offset + compute).min(ROW - GAP),
            ((to - from) * scale).max(0.4),
            part(compute).max(0.8),
            lease.job,
            escape(lease.tenant.as_str()),
            share,
            time(from),
            time(to),
            escape(&lease.state),
        );
    }
}

/// The lowest place where a share fits beside those that are there.
fn gap(used: &[(u32, u32, u64)], compute: u32) -> u32 {
    let mut parts: Vec<(u32, u32)> = used.iter().map(|(at, size, _)| (*at, *size)).collect();
    parts.sort_unstable();
    let mut offset = 0;
    for (at, size) in parts {
        if offset + compute <= at {
            break;
        }
        offset = offset.max(at + size);
    }
    // What is left may lie in pieces: then it is drawn over another.
    if offset + compute > 1000 { 1000 - compute.min(1000) } else { offset }
}
