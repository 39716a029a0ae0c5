//! Who is next: a job's rank among those that wait, as the policy's order says.
//!
//! A rank is made of what does not change while a job waits, so that the queue can be kept sorted:
//! ageing is a head start in time, and a priority that expires or a wait that has become too long
//! are moments at which a job is ranked anew ([`next_change`]). Only a tenant's fair share changes
//! with every grant; it is compared when heads of the queue are ([`fair`]). Where the order also
//! decides who yields, work that runs has a place in it too ([`turn`]).

pub(crate) mod decay;
pub(crate) mod fair;
pub(crate) mod hours;
pub mod service;
pub(crate) mod turn;

use crate::facts::JobFacts;
use crate::history;
use polder_model::{
    BlendTerm, GangKind, JobId, Micros, ORDER_TERMS_MAX, Order, Policy, Term, Timestamp, WorkClass,
};

/// What one point of priority, or one device of width, counts in a blend.
const HOUR: i64 = 3_600_000_000;
/// Jobs that came within the same stretch of this length, in microseconds, came at once: a burst that
/// one script submits is not run through in the order of its lines.
const LOT_MICROS: i64 = 60_000_000;
/// What no deadline counts in a blend at most, in microseconds: whatever its weight, half of what a
/// sum can hold is left to the other terms, so jobs without a deadline are told apart by those.
const NO_DEADLINE: i64 = i64::MAX / 2;
/// What a run time is taken for when nobody said anything of it.
const RUN_UNKNOWN: Micros = Micros::from_secs(86_400);
/// What the run time of a service is taken for, which runs until it is cancelled: ten times the
/// longest that can be said of a job, and small enough that a blend's other terms still count.
const RUN_FOREVER: Micros = Micros::from_secs(36_600 * 86_400);

/// A job's place in the order; the smallest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// It has not waited too long.
    patient: bool,
    terms: [i64; ORDER_TERMS_MAX],
    /// Who came first.
    pub(crate) job: JobId,
}

/// Where a job stands at `now`.
pub(crate) fn rank(policy: &Policy, id: JobId, job: &JobFacts, now: Timestamp) -> Rank {
    let order = hours::order(policy, now);
    let mut terms = [0; ORDER_TERMS_MAX];
    if is_overdue(order, job, now) {
        // Among those who waited too long, who came first.
        return Rank { patient: false, terms, job: id };
    }
    for (place, term) in terms.iter_mut().zip(&order.by) {
        *place = value(order, term, job, job.served, now);
    }
    // Where device-time counts, jobs that are alike draw lots, as far as there is place for it.
    if turn::held(order).is_some()
        && let Some([arrived, lot, ..]) = terms.get_mut(order.by.len()..)
    {
        (*arrived, *lot) = (arrival(job) / LOT_MICROS, turn::lot(id));
    }
    Rank { patient: true, terms, job: id }
}

/// The place among the terms at which tenants' fair shares are compared, if they are.
pub(crate) fn fair_place(policy: &Policy, now: Timestamp) -> Option<usize> {
    hours::order(policy, now).by.iter().position(|term| *term == Term::FairShare)
}

/// The first moment after `now` at which a job's rank changes by itself, while the order stays.
pub(crate) fn next_change(policy: &Policy, job: &JobFacts, now: Timestamp) -> Option<Timestamp> {
    let when = &job.ask.when;
    let expiry = when.priority_expiry.filter(|_| when.priority != 0);
    let order = hours::order(policy, now);
    let overdue = order.wait_max.map(|wait| job.submitted_at.after(wait));
    expiry.into_iter().chain(overdue).filter(|at| *at > now).min()
}

fn is_overdue(order: &Order, job: &JobFacts, now: Timestamp) -> bool {
    order.wait_max.is_some_and(|wait| job.submitted_at.after(wait) <= now)
}

/// A job's priority at `now`: it counts as 0 from its expiry on.
pub(crate) fn priority(job: &JobFacts, now: Timestamp) -> i32 {
    let when = &job.ask.when;
    let expired = when.priority_expiry.is_some_and(|expiry| expiry <= now);
    if expired { 0 } else { when.priority }
}

/// Smaller is sooner. `served` is the device-time that counts.
fn value(order: &Order, term: &Term, job: &JobFacts, served: u64, now: Timestamp) -> i64 {
    match term {
        Term::Priority => {
            let points = i64::from(priority(job, now));
            match order.ageing {
                // One point is worth as much as having come that much earlier.
                Some(ageing) => {
                    arrival(job).saturating_sub(points.saturating_mul(signed(ageing.0)))
                }
                None => -points,
            }
        }
        // Compared between tenants, see `fair`.
        Term::FairShare => 0,
        Term::Arrival => arrival(job),
        Term::Shortest => run_time(job),
        Term::SmallestArea => area(job),
        Term::Deadline => job.ask.when.deadline.map_or(i64::MAX, |at| signed(at.0)),
        Term::LeastService => signed(served),
        Term::Gittins => signed(job.index),
        Term::Class => class(order, job.ask.when.class),
        Term::Blend(weights) => {
            let weighed = weights.iter().map(|(term, weight)| {
                let part = i128::from(blended(*term, job, served, now)) * i128::from(*weight);
                let most = i128::from(NO_DEADLINE);
                match term {
                    BlendTerm::Deadline => (part / 1000).clamp(-most, most),
                    _ => part / 1000,
                }
            });
            clamped(weighed.sum())
        }
    }
}

fn blended(term: BlendTerm, job: &JobFacts, served: u64, now: Timestamp) -> i64 {
    match term {
        BlendTerm::Arrival => arrival(job),
        BlendTerm::Shortest => run_time(job),
        BlendTerm::SmallestArea => area(job),
        BlendTerm::Width => width(job).saturating_mul(HOUR),
        BlendTerm::Priority => -i64::from(priority(job, now)).saturating_mul(HOUR),
        BlendTerm::Deadline => job.ask.when.deadline.map_or(NO_DEADLINE, |at| signed(at.0)),
        BlendTerm::LeastService => signed(served),
    }
}

fn arrival(job: &JobFacts) -> i64 {
    signed(job.submitted_at.0)
}

/// What is believed of its run time: predicted when it was queued, else what its user said.
fn run_time(job: &JobFacts) -> i64 {
    if job.ask.gang.kind == GangKind::Service {
        return signed(RUN_FOREVER.0);
    }
    let when = &job.ask.when;
    let believed =
        history::run_time(job).or(when.estimate).or(when.time_limit).unwrap_or(RUN_UNKNOWN);
    let most = when.time_limit.unwrap_or(believed);
    signed(believed.min(most).0)
}

/// Devices of the whole gang; CPUs for one that needs none.
fn width(job: &JobFacts) -> i64 {
    let tasks = i64::from(job.ask.gang.max);
    let cpus = || job.ask.host.cpu.map_or(1, |cpu| i64::from(cpu.0.div_ceil(1000)));
    let each = if job.ask.devices.count == 0 { cpus() } else { job.ask.devices.count.into() };
    tasks.saturating_mul(each)
}

fn area(job: &JobFacts) -> i64 {
    run_time(job).saturating_mul(width(job))
}

fn class(order: &Order, class: WorkClass) -> i64 {
    let place = order.classes.iter().position(|other| *other == class);
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(i64::MAX)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn clamped(value: i128) -> i64 {
    let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(value.clamp(least, most)).unwrap_or(0)
}
