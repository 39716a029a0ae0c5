//! A run in numbers.

use crate::num::{count, len, place};
use crate::world::{JobRecord, LeaseRecord, Records, Unit};
use polder_model::{Micros, TenantPath, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// Run time below which a slowdown is not counted as such: ten seconds, as in the literature.
const SLOWDOWN_SECONDS_MIN: f64 = 10.0;
const HOUR: f64 = 3_600_000_000.0;

/// What was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// The workload.
    pub workload: String,
    /// The policy.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// Nodes of the pool.
    pub nodes: u64,
    /// What was left out of the workload, and other remarks.
    pub notes: Vec<String>,
    /// What one device costs an hour, or one CPU where those are counted, in millionths of the
    /// currency.
    pub price_hour: u64,
    /// Weights of tenants, where they are not 1.
    pub weights: BTreeMap<TenantPath, u32>,
}

/// A run in numbers. Times are seconds, device time is hours of one device; where no job asks for a
/// device, CPUs stand for devices in all that is held, busy, asked, carried, lost or paid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// What was run.
    #[serde(flatten)]
    pub about: About,
    /// What is counted.
    pub measured: Unit,
    /// Devices of the pool.
    pub devices: u64,
    /// Jobs by how they ended or where they stand.
    pub states: BTreeMap<String, u64>,
    /// Jobs that came.
    pub jobs: u64,
    /// From the first arrival to the end of the run.
    pub span_seconds: f64,
    /// From arrival to the first start, of jobs that started.
    pub wait_seconds: Spread,
    /// From arrival to the end, of jobs that ended after a start.
    pub completion_seconds: Spread,
    /// Completion over run time alone, at least ten seconds; mean.
    pub slowdown_mean: f64,
    /// Part of the pool's device time that leases held.
    pub held: f64,
    /// Part of it during which programs kept devices busy; of CPUs, during which programs ran that had
    /// been given them: what they made of them no trace says.
    pub busy: f64,
    /// Part of the free compute that lay on devices in part held; 0 where CPUs are counted.
    pub fragmentation: f64,
    /// Jobs that waited: mean over time.
    pub queue_mean: f64,
    /// Work carried: device time alone of jobs that succeeded.
    pub carried_hours: f64,
    /// Work done and lost again.
    pub lost_hours: f64,
    /// Tries begun after the first.
    pub restarts: u64,
    /// What all leases cost, in millionths of the currency.
    pub cost: u64,
    /// Jain's index of what tenants held of what they asked for: 1 is alike, 1/n is all for one.
    pub jain: f64,
    /// Jain's index of the mean slowdowns of tenants, jobs that are not over counted up to the end of
    /// the run: what tells orders apart when all work is done in the end.
    pub jain_slowdown: f64,
    /// The same of users, each within a tenant.
    pub jain_slowdown_users: f64,
    /// By tenant.
    pub tenants: Vec<TenantSummary>,
    /// Events the engine took in.
    pub events: u64,
    /// How often it was asked what should happen.
    pub plans: u64,
}

/// Numbers of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TenantSummary {
    /// Which.
    pub tenant: TenantPath,
    /// Its jobs.
    pub jobs: u64,
    /// Device time alone that its jobs asked for.
    pub asked_hours: f64,
    /// Device time that its leases held.
    pub held_hours: f64,
    /// Its part of all that was held.
    pub share: f64,
    /// Its part by weight among the tenants that had jobs.
    pub deserved: f64,
    /// Mean wait of its jobs that started.
    pub wait_seconds_mean: f64,
    /// Mean slowdown of its jobs, those that are not over counted up to the end of the run.
    pub slowdown_mean: f64,
    /// What its leases cost, in millionths of the currency.
    pub cost: u64,
}

/// How a quantity is spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many.
    pub number: u64,
    /// Their mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Of a hundred, ninety-five are at most so.
    pub p95: f64,
    /// Of a hundred, ninety-nine are.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these, in any order.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let Some(max) = values.last().copied() else { return Self::default() };
        let number = values.len() as f64;
        // The smallest value that at least so large a part of them does not exceed.
        let at = |part: f64| {
            let rank = count((number * part - 1e-9).ceil()).max(1) - 1;
            values.get(place(rank)).copied().unwrap_or(max)
        };
        Self {
            number: len(values.len()),
            mean: values.iter().sum::<f64>() / number,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max,
        }
    }
}

/// Seconds of a length.
pub(super) fn seconds(length: Micros) -> f64 {
    length.0 as f64 / 1e6
}

/// What one lease costs so far, in millionths of the currency.
pub(super) fn cost(lease: &LeaseRecord, end: Timestamp, unit: Unit, price_hour: u64) -> u64 {
    count(lease.billed(end, unit) / HOUR * price_hour as f64)
}

/// Device time alone that a job asks for, in hours.
fn asked(job: &JobRecord, unit: Unit) -> f64 {
    job.size(unit) * job.alone.0 as f64 / HOUR
}

impl Summary {
    /// Of what a run left.
    #[must_use]
    pub fn new(about: About, records: &Records) -> Self {
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for job in &records.jobs {
            let state = job.state.split([':', '(']).next().unwrap_or("").trim().to_owned();
            *states.entry(state).or_default() += 1;
        }
        let jobs = || records.jobs.iter();
        let ended = |job: &&JobRecord| job.completion().is_some();
        let slowdowns: Vec<f64> =
            jobs().filter(ended).filter_map(|job| slowdown(job, records.end)).collect();
        let users = means(records, |job| (&job.tenant, &job.user));
        let unit = records.unit();
        let mean = records.series.mean();
        let busy = || records.leases.iter().map(|lease| lease.billed(records.end, unit));
        let span = records.series.span().0 as f64;
        let (held, busy, all) = match unit {
            Unit::Devices => (mean.held, mean.busy, mean.devices),
            Unit::Cpus => (mean.cpus_held, busy().sum::<f64>() / span.max(1.0), mean.cpus),
        };
        let free = mean.devices - mean.held;
        let tenants = tenants(&about, records);
        let parts: Vec<f64> = tenants
            .iter()
            .filter(|tenant| tenant.asked_hours > 0.0)
            .map(|tenant| tenant.held_hours / tenant.asked_hours)
            .collect();
        let part = |of: f64, all: f64| if all > 0.0 { of / all } else { 0.0 };
        Self {
            measured: unit,
            devices: len(records.places.len()),
            states,
            jobs: len(records.jobs.len()),
            span_seconds: seconds(records.series.span()),
            wait_seconds: Spread::of(jobs().filter_map(|j| j.wait()).map(seconds).collect()),
            completion_seconds: Spread::of(
                jobs().filter_map(|j| j.completion()).map(seconds).collect(),
            ),
            slowdown_mean: Spread::of(slowdowns).mean,
            held: part(held, all),
            busy: part(busy, all),
            fragmentation: part(mean.fragmented, free).clamp(0.0, 1.0),
            queue_mean: mean.queued,
            // The sum of nothing is a negative zero, which nobody wants to read.
            carried_hours: jobs()
                .filter(|job| job.state == "succeeded")
                .map(|job| asked(job, unit))
                .sum::<f64>()
                + 0.0,
            lost_hours: jobs().map(|job| job.breadth(unit) * job.lost.0 as f64 / HOUR).sum::<f64>()
                + 0.0,
            restarts: jobs().map(|job| u64::from(job.runs.saturating_sub(1))).sum(),
            cost: tenants.iter().map(|tenant| tenant.cost).sum(),
            jain: jain(&parts),
            jain_slowdown: jain(&means(records, |job| &job.tenant)),
            jain_slowdown_users: jain(&users),
            tenants,
            events: records.events,
            plans: records.plans,
            about,
        }
    }
}

/// Time in the pool over time that the work needs alone, at least 1; nothing for a job that was
/// refused. One that is not over is counted up to the end of the run.
fn slowdown(job: &JobRecord, end: Timestamp) -> Option<f64> {
    job.job?;
    let took = seconds(job.ended.unwrap_or(end).since(job.submitted));
    Some((took / seconds(job.alone).max(SLOWDOWN_SECONDS_MIN)).max(1.0))
}

/// The mean slowdown of each group of jobs.
fn means<'r, K: Ord>(records: &'r Records, group: impl Fn(&'r JobRecord) -> K) -> Vec<f64> {
    let mut groups: BTreeMap<K, Vec<f64>> = BTreeMap::new();
    for job in &records.jobs {
        if let Some(slowdown) = slowdown(job, records.end) {
            groups.entry(group(job)).or_default().push(slowdown);
        }
    }
    groups.into_values().map(|slowdowns| Spread::of(slowdowns).mean).collect()
}

fn tenants(about: &About, records: &Records) -> Vec<TenantSummary> {
    #[derive(Default)]
    struct Sums {
        jobs: u64,
        asked: f64,
        held: f64,
        cost: u64,
        waits: Vec<f64>,
        slowdowns: Vec<f64>,
    }
    let unit = records.unit();
    let mut sums: BTreeMap<&TenantPath, Sums> = BTreeMap::new();
    for job in &records.jobs {
        let of = sums.entry(&job.tenant).or_default();
        of.jobs += 1;
        if job.job.is_some() {
            of.asked += asked(job, unit);
        }
        of.waits.extend(job.wait().map(seconds));
        of.slowdowns.extend(slowdown(job, records.end));
    }
    for lease in &records.leases {
        let of = sums.entry(&lease.tenant).or_default();
        of.held += lease.held(records.end, unit) / HOUR;
        of.cost += cost(lease, records.end, unit, about.price_hour);
    }
    let weight = |tenant: &TenantPath| f64::from(about.weights.get(tenant).copied().unwrap_or(1));
    let all: f64 = sums.values().map(|of| of.held).sum();
    let weights: f64 = sums.keys().map(|tenant| weight(tenant)).sum();
    let part = |of: f64, all: f64| if all > 0.0 { of / all } else { 0.0 };
    let tenant = |(tenant, of): (&TenantPath, Sums)| TenantSummary {
        tenant: tenant.clone(),
        jobs: of.jobs,
        asked_hours: of.asked,
        held_hours: of.held,
        share: part(of.held, all),
        deserved: part(weight(tenant), weights),
        wait_seconds_mean: Spread::of(of.waits).mean,
        slowdown_mean: Spread::of(of.slowdowns).mean,
        cost: of.cost,
    };
    sums.into_iter().map(tenant).collect()
}

/// Jain's index of fairness; 1 for nothing.
fn jain(parts: &[f64]) -> f64 {
    let (sum, squares) =
        parts.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares > 0.0 { sum * sum / (parts.len() as f64 * squares) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let spread = Spread::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((spread.p50, spread.p95, spread.p99, spread.max), (50.0, 95.0, 99.0, 100.0));
        assert_eq!(Spread::of(vec![]), Spread::default());
        assert_eq!(Spread::of(vec![3.0]).p99, 3.0);
    }

    #[test]
    fn jains_index_lies_between_all_for_one_and_alike() {
        assert_eq!(jain(&[1.0, 1.0, 1.0, 1.0]), 1.0);
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain(&[]), 1.0);
    }
}
