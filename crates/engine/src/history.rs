//! What the pool has seen of jobs, and what it therefore expects of those to come.
//!
//! It is a fact: it depends on everything that ended, so it is part of every snapshot. A job is
//! told what is expected of it when it is submitted, and that stays what was expected of it.

use crate::facts::JobFacts;
use crate::order::service::{ServiceClass, ServiceHistory};
use crate::predict::{Demand, Outlook, Outturn, Predictor, Traits};
use polder_model::{Ask, Bytes, Expected, Help, LeaseEnd, Micros, Outcome, Timestamp};
use serde::{Deserialize, Serialize};

/// Fewest runs seen before less memory is proposed.
const RIGHTSIZE_RUNS_MIN: u32 = 5;

/// What the pool has seen of jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    runs: Predictor,
    service: ServiceHistory,
    /// Thousandths of a device asked for, by the hour.
    demand: Demand,
}

impl Default for History {
    fn default() -> Self {
        Self {
            runs: Predictor::default(),
            service: ServiceHistory::default(),
            demand: Demand::new(Micros(0)),
        }
    }
}

/// What a try has shown so far of how long its job runs and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shown {
    ran: Micros,
    peak: Option<Bytes>,
}

impl Shown {
    /// Takes in a member that ended.
    pub(crate) fn see(&mut self, end: &LeaseEnd) {
        self.ran = self.ran.max(end.ran);
        // What holds no page has no peak: a whole device is not looked into.
        let peaks = end.sample.devices.iter().map(|device| device.memory_peak);
        self.peak = self.peak.max(peaks.max().filter(|peak| peak.0 > 0));
    }
}

impl History {
    /// What is expected of a job; nothing while nothing like it was seen.
    pub(crate) fn expect(&self, ask: &Ask) -> Option<Outlook> {
        let subject = Traits::of(ask).subject();
        let outlook = self.runs.outlook(&subject, ask.when.time_limit, ask.devices.memory)?;
        outlook.time.level.map(|_| outlook)
    }

    /// The index of a job that waits, having had this much device-time.
    pub(crate) fn index(&self, ask: &Ask, submitted_at: Timestamp, served: u64) -> u64 {
        self.service.index(&service_class(ask, submitted_at), served)
    }

    /// A job that goes on waiting had device-time from `from` to `to` in all.
    pub(crate) fn served(&mut self, job: &JobFacts, from: u64, to: u64) {
        self.service.observe(&service_class(&job.ask, job.submitted_at), from, to, false);
    }

    /// A job that came.
    pub(crate) fn came(&mut self, at: Timestamp, ask: &Ask) {
        let each = u64::from(ask.devices.count).saturating_mul(ask.devices.compute.0.into());
        self.demand.arrived(at, each.saturating_mul(ask.gang.min.into()));
    }

    /// A job that is over, as it was. What never ran teaches nothing.
    pub(crate) fn ended(&mut self, job: &JobFacts, outcome: &Outcome) {
        let Some(shown) = job.hold.as_ref().map(|hold| hold.shown).filter(|s| s.ran.0 > 0) else {
            return;
        };
        let was_cut = match outcome {
            Outcome::Succeeded | Outcome::Failed { .. } | Outcome::Signalled { .. } => false,
            Outcome::Cancelled | Outcome::TimedOut | Outcome::Lost { .. } => true,
            Outcome::NotStarted { .. } | Outcome::Returned => return,
        };
        let class = service_class(&job.ask, job.submitted_at);
        self.service.observe(&class, job.served_before, job.served, !was_cut);
        let outturn =
            Outturn { ran: shown.ran, was_cut, memory_peak: shown.peak, was_starved: false };
        let subject = Traits::of(&job.ask).subject();
        self.runs.observe(&subject, job.outlook.as_ref(), outturn);
    }

    /// Thousandths of a device that each of the next hours will probably bring.
    pub(crate) fn ahead(&self, at: Timestamp, hours: usize) -> Vec<u64> {
        let mut demand = self.demand.clone();
        demand.advance(at);
        demand.ahead(at, hours)
    }
}

/// What tells the service of jobs apart before they run.
fn service_class(ask: &Ask, submitted_at: Timestamp) -> ServiceClass {
    ServiceClass {
        devices: ask.devices.count.saturating_mul(ask.gang.max),
        kind: Traits::of(ask).kind(),
        submitted_at,
    }
}

/// What history said of a job, for people.
pub(crate) fn expected(job: &JobFacts) -> Option<Expected> {
    let Outlook { time, memory } = job.outlook?;
    Some(Expected {
        run_time_p50: Micros(time.p50),
        run_time_p90: Micros(time.p90),
        memory_p90: memory.level.map(|_| Bytes(memory.p90)),
        observations: time.observations,
        doubt: time.doubt,
    })
}

/// Less memory that would do, when history is sure enough of it.
pub(crate) fn rightsize(job: &JobFacts) -> Option<Help> {
    let memory = job.outlook?.memory;
    let enough = Bytes(memory.p90.saturating_add(memory.p90 / 5));
    let known = memory.level.is_some() && memory.observations >= RIGHTSIZE_RUNS_MIN;
    let less = enough < job.ask.devices.memory && !job.ask.devices.whole;
    (known && less).then_some(Help::Rightsize { memory: enough })
}
