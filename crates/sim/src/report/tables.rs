//! The tables of a run, as CSV. Times are seconds since the run began.

use super::summary::cost;
use crate::world::Records;
use polder_model::{Micros, Timestamp};
use std::io;

type Bytes = io::Result<Vec<u8>>;

fn table<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Bytes {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(heading)?;
    for row in rows {
        writer.write_record(row)?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

/// Seconds to the millisecond.
fn seconds(length: Micros) -> String {
    format!("{}.{:03}", length.0 / 1_000_000, length.0 / 1000 % 1000)
}

pub(super) fn jobs(records: &Records) -> Bytes {
    let since = |at: Timestamp| seconds(at.since(records.begin));
    let maybe = |length: Option<Micros>| length.map(seconds).unwrap_or_default();
    let heading = [
        "row",
        "job",
        "name",
        "tenant",
        "user",
        "tasks",
        "devices",
        "compute_permille",
        "cpu_millis",
        "submitted",
        "started",
        "ended",
        "wait",
        "completion",
        "alone",
        "lost",
        "runs",
        "state",
    ];
    let rows = records.jobs.iter().map(|job| {
        [
            job.row.to_string(),
            job.job.map(|id| id.to_string()).unwrap_or_default(),
            job.name.clone().unwrap_or_default(),
            job.tenant.to_string(),
            job.user.to_string(),
            job.tasks.to_string(),
            job.devices.to_string(),
            job.compute.0.to_string(),
            job.cpu.0.to_string(),
            since(job.submitted),
            job.started.map(since).unwrap_or_default(),
            job.ended.map(since).unwrap_or_default(),
            maybe(job.wait()),
            maybe(job.completion()),
            seconds(job.alone),
            seconds(job.lost),
            job.runs.to_string(),
            job.state.clone(),
        ]
    });
    table(heading, rows)
}

pub(super) fn leases(records: &Records, price_hour: u64) -> Bytes {
    let since = |at: Timestamp| seconds(at.since(records.begin));
    let heading = [
        "lease",
        "job",
        "tenant",
        "node",
        "devices",
        "compute_permille",
        "memory_bytes",
        "cpu_millis",
        "granted",
        "started",
        "ended",
        "cost_micros",
        "state",
    ];
    let unit = records.unit();
    let rows = records.leases.iter().map(|lease| {
        let places = || lease.devices.iter().filter_map(|at| records.places.get(*at));
        let devices: Vec<&str> = places().map(|place| place.device.as_str()).collect();
        [
            lease.lease.to_string(),
            lease.job.to_string(),
            lease.tenant.to_string(),
            records.machines.get(lease.node).map(|of| of.node.to_string()).unwrap_or_default(),
            devices.join("+"),
            lease.compute.0.to_string(),
            lease.memory.0.to_string(),
            lease.cpu.0.to_string(),
            since(lease.granted),
            lease.started.map(since).unwrap_or_default(),
            lease.ended.map(since).unwrap_or_default(),
            cost(lease, records.end, unit, price_hour).to_string(),
            lease.state.clone(),
        ]
    });
    table(heading, rows)
}

pub(super) fn series(records: &Records) -> Bytes {
    let heading = [
        "at",
        "width",
        "devices",
        "held",
        "touched",
        "busy",
        "fragmented",
        "queued",
        "running",
        "cpus",
        "cpus_held",
    ];
    let width = records.series.width();
    let rows = records.series.rows().map(|(at, levels)| {
        let number = |value: f64| format!("{:.4}", value.max(0.0));
        [
            seconds(at.since(records.begin)),
            // The last stretch ends with the run.
            seconds(width.min(records.end.since(at))),
            number(levels.devices),
            number(levels.held),
            number(levels.touched),
            number(levels.busy),
            number(levels.fragmented),
            number(levels.queued),
            number(levels.running),
            number(levels.cpus),
            number(levels.cpus_held),
        ]
    });
    table(heading, rows)
}
