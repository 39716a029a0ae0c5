//! What the pool has seen of jobs, and what it therefore expects of those to come.
//!
//! It is a fact: it depends on everything that ended, so it is part of every snapshot. A job is
//! told what is expected of it when it is submitted, and that stays what was expected of it.

use crate::facts::JobFacts;
use crate::order::service::{ServiceClass, ServiceHistory};
use crate::predict::{Demand, Expected as Demanded, Outlook, Outturn, Predictor, Traits};
use polder_model::{Ask, Bytes, Expected, GangKind, Help, LeaseEnd, Micros, Outcome, Timestamp};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Where this part of what was seen, in thousandths, was cut short, a user's word is worth more.
pub(crate) const UNTOLD_MUCH: u32 = 900;

/// Fewest runs seen before less memory is proposed.
const RIGHTSIZE_RUNS_MIN: u32 = 5;

/// Most kinds of ask that are counted.
const USUAL_KINDS_MAX: usize = 4096;
/// Asks after which all counts are halved.
const USUAL_TOTAL_MAX: u32 = 1 << 20;
/// Most kinds that places are judged by.
const USUAL_SHOWN_MAX: usize = 256;
/// The part of asks that those must stand for, in per cent.
const USUAL_PERCENT: u64 = 95;

/// What the pool has seen of jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    runs: Predictor,
    service: ServiceHistory,
    /// Thousandths of a device asked for, by the hour.
    demand: Demand,
    usual: UsualAsks,
}

impl Default for History {
    fn default() -> Self {
        Self {
            runs: Predictor::default(),
            service: ServiceHistory::default(),
            usual: UsualAsks::default(),
            demand: Demand::new(Micros(0)),
        }
    }
}

/// The kinds of ask that are usual, as far as places are judged by them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct UsualAsks {
    /// How often each came; halved when it becomes much, so that old habits fade.
    #[serde(with = "pairs")]
    counts: BTreeMap<Usual, u32>,
    total: u32,
    /// What placement goes by, and how many asks it was made of.
    shown: Vec<(Usual, u32)>,
    shown_of: u32,
}

/// What placement sees of an ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Usual {
    pub(crate) count: u32,
    pub(crate) compute: u32,
    pub(crate) whole: bool,
    pub(crate) cpu: u64,
    /// In lower case.
    pub(crate) models: BTreeSet<String>,
}

impl UsualAsks {
    /// Notes an ask; true when what placement goes by has changed.
    fn note(&mut self, ask: &Ask) -> bool {
        let devices = &ask.devices;
        let usual = Usual {
            count: devices.count,
            compute: devices.compute.0,
            whole: devices.whole,
            cpu: ask.host.cpu.map_or(0, |cpu| cpu.0.into()),
            models: devices.models.iter().map(|model| model.to_lowercase()).collect(),
        };
        let tasks = ask.gang.min;
        if self.counts.len() >= USUAL_KINDS_MAX && !self.counts.contains_key(&usual) {
            self.halve();
        }
        let count = self.counts.entry(usual).or_default();
        *count = count.saturating_add(tasks);
        self.total = self.total.saturating_add(tasks);
        if self.total >= USUAL_TOTAL_MAX {
            self.halve();
        }
        // A quarter more is worth a new look; so is what is left after halving.
        let grown = self.total >= self.shown_of.saturating_add(self.shown_of / 4).max(1);
        let due = grown || self.total < self.shown_of / 2;
        if due {
            self.show();
        }
        due
    }

    fn halve(&mut self) {
        self.counts.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
        self.total = self.counts.values().fold(0, |sum: u32, count| sum.saturating_add(*count));
    }

    /// The kinds that make up most of what comes, the most frequent first.
    fn show(&mut self) {
        let mut kinds: Vec<(Usual, u32)> =
            self.counts.iter().map(|(usual, count)| (usual.clone(), *count)).collect();
        kinds.sort_by(|one, other| (Reverse(one.1), &one.0).cmp(&(Reverse(other.1), &other.0)));
        let mut covered = 0u64;
        let enough = u64::from(self.total) * USUAL_PERCENT / 100;
        let few = kinds.into_iter().take(USUAL_SHOWN_MAX).take_while(|(_, count)| {
            let taken = covered < enough;
            covered += u64::from(*count);
            taken
        });
        self.shown = few.collect();
        self.shown_of = self.total;
    }
}

/// A map as a list of pairs: JSON has only texts for keys.
mod pairs {
    use super::{BTreeMap, Deserialize, Serialize, Usual};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        counts: &BTreeMap<Usual, u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        counts.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Usual, u32>, D::Error> {
        Ok(Vec::<(Usual, u32)>::deserialize(deserializer)?.into_iter().collect())
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

    /// The index of a job of a class that has had this much device-time.
    pub(crate) fn index(&self, class: &ServiceClass, served: u64) -> u64 {
        self.service.index(class, served)
    }

    /// What indexes of service are made of.
    pub(crate) fn service(&self) -> &ServiceHistory {
        &self.service
    }

    /// A job that is not over had device-time from `from` to `to` in all.
    pub(crate) fn served(&mut self, job: &JobFacts, from: u64, to: u64) {
        self.service.observe(&service_class(&job.ask, job.submitted_at), from, to, false);
    }

    /// The usual asks, the most frequent first, and how many of each came.
    pub(crate) fn usual(&self) -> &[(Usual, u32)] {
        &self.usual.shown
    }

    /// A job that came; true when the usual asks are others now.
    pub(crate) fn came(&mut self, at: Timestamp, ask: &Ask) -> bool {
        let each = u64::from(ask.devices.count).saturating_mul(ask.devices.compute.0.into());
        self.demand.arrived(at, each.saturating_mul(ask.gang.min.into()));
        self.usual.note(ask)
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
    pub(crate) fn ahead(&self, at: Timestamp, hours: usize) -> Vec<Demanded> {
        let mut demand = self.demand.clone();
        demand.advance(at);
        demand.expected(at, hours)
    }
}

/// What tells the service of jobs apart before they run.
pub(crate) fn service_class(ask: &Ask, submitted_at: Timestamp) -> ServiceClass {
    let class = ServiceClass {
        devices: ask.devices.count.saturating_mul(ask.gang.max),
        kind: Traits::of(ask).kind(),
        submitted_at,
    };
    class.of_epoch()
}

/// What history says of a job, for people; `ran` is how long it has run, if it does. Nothing of a
/// service, which runs until it is cancelled.
pub(crate) fn expected(history: &History, job: &JobFacts, ran: Option<Micros>) -> Option<Expected> {
    if job.ask.gang.kind == GangKind::Service {
        return None;
    }
    let subject = Traits::of(&job.ask).subject();
    let forecast = history.runs.time(&subject, job.ask.when.time_limit);
    let (nearest, ran_for) = (forecast.nearest()?, ran.map_or(0, |ran| ran.0));
    let memory = job.outlook.map(|outlook| outlook.memory);
    let memory = memory.filter(|memory| memory.level.is_some());
    let reached = |thousandths| forecast.reached(thousandths, ran_for).map(Micros);
    let upper = if ran.is_some() { 900 } else { forecast.upper() };
    Some(Expected {
        ran,
        run_time_p50: reached(500),
        run_time_p90: reached(upper),
        run_time_max: Micros(nearest.largest),
        memory_p90: memory.map(|memory| Bytes(memory.p90)),
        observations: nearest.observations,
        cut_short: nearest.cut_short,
        doubt: forecast.prediction().map_or(1000, |prediction| prediction.doubt),
    })
}

/// What is believed of a job's run time from what such jobs did; nothing where so few of those came
/// to their end by themselves that what its user said is worth more.
pub(crate) fn run_time(job: &JobFacts) -> Option<Micros> {
    let time = job.outlook?.time;
    let vague = time.untold >= UNTOLD_MUCH && job.ask.when.estimate.is_some();
    (!vague).then_some(Micros(time.p50))
}

/// Less memory that would do, when history is sure enough of it.
pub(crate) fn rightsize(job: &JobFacts) -> Option<Help> {
    let memory = job.outlook?.memory;
    let enough = Bytes(memory.p90.saturating_add(memory.p90 / 5));
    let known = memory.level.is_some() && memory.observations >= RIGHTSIZE_RUNS_MIN;
    let less = enough < job.ask.devices.memory && !job.ask.devices.whole;
    (known && less).then_some(Help::Rightsize { memory: enough })
}
