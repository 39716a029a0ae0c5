//! Polder's order on the Muri traces: the engine's index of service, with nothing told of the
//! future. Everything that is learned is learned in the run itself, from what has happened in it.

use super::published;
use super::replay::{Group, Live, Rule};
use super::share::{InLine, Sharing};
use super::trace::{Job, Seen};
use crate::num;
use polder_engine::service::{SERVICE_HOLD, ServiceClass, ServiceHistory, lot};
use polder_model::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// After the moment at which an index changes, so that rounding cannot make it the moment before.
const AFTER: f64 = 0.001;

/// Where devices are shared, the rule wakes itself no sooner than this after an event, in seconds:
/// every event costs all jobs that run together the starts of all of them.
pub const SHARED_REST: f64 = 14_400.0;

/// The rule: the engine's index, a running job holding its place, and whatever fits beside.
#[derive(Debug, Clone)]
pub struct Polder {
    history: ServiceHistory,
    /// Whether it learns; the mark that is told the distribution does not.
    learns: bool,
    /// By place in the trace: the job's class, and its service as far as the history knows it.
    jobs: Vec<Option<(usize, u64)>>,
    classes: BTreeMap<ServiceClass, usize>,
    /// By number of the class.
    ladders: Vec<Ladder>,
    wake: Option<f64>,
    sharing: Sharing,
    shares: bool,
    /// Decisions so far.
    decisions: u64,
}

/// A class and what its index was last found to be, by the octave's end.
#[derive(Debug, Clone)]
struct Ladder {
    class: ServiceClass,
    /// The history's stamp at that time, and the decision in which it was last compared.
    stamp: u64,
    checked: u64,
    rungs: BTreeMap<u64, u64>,
}

impl Default for Polder {
    fn default() -> Self {
        Self {
            history: ServiceHistory::default(),
            learns: true,
            jobs: Vec::new(),
            classes: BTreeMap::new(),
            ladders: Vec::new(),
            wake: None,
            sharing: Sharing::default(),
            shares: false,
            decisions: 0,
        }
    }
}

impl Polder {
    /// Polder's order with up to four jobs on the same devices, where the profiled stages say that
    /// it pays.
    #[must_use]
    pub fn sharing() -> Self {
        Self { shares: true, sharing: Sharing::on(), ..Self::default() }
    }

    /// The mark beside it: the same index, told at the start how long jobs of each width will take
    /// (but not which job), and learning nothing after. Not a policy: nobody is told that.
    #[must_use]
    pub fn told_lengths(jobs: &[Job]) -> Self {
        let mut told = Self { learns: false, ..Self::default() };
        for job in jobs {
            let seconds = job.iterations * published::alone(&job.seen);
            let class = told.class(&job.seen);
            told.history.observe(&class, 0, service(seconds, &job.seen), true);
        }
        told
    }

    fn class(&self, job: &Seen) -> ServiceClass {
        if !self.learns {
            return ServiceClass { devices: job.devices, kind: 0, submitted_at: Timestamp(0) };
        }
        // FNV-1a of the model's name and the batch: any digest will do.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let bytes = job.model.bytes().chain(job.batch.to_le_bytes());
        let kind = bytes.fold(0xcbf2_9ce4_8422_2325, mix);
        let submitted_at = Timestamp(num::count(job.submitted * 1e6));
        ServiceClass { devices: job.devices, kind, submitted_at }
    }

    /// Learns how far a job has come and returns its service and the number of its class.
    fn meet(&mut self, job: &Live<'_>, is_over: bool) -> (usize, u64) {
        // Shared devices serve slower: the profile says how much of the time was service.
        let seconds = if self.shares { job.worked } else { job.attained };
        let now = service(seconds, job.seen);
        if self.jobs.len() <= job.index {
            self.jobs.resize(job.index + 1, None);
        }
        let (number, told) = self.jobs[job.index].unwrap_or_else(|| (self.number(job.seen), 0));
        if self.learns {
            self.history.observe(&self.ladders[number].class, told, now, is_over);
        }
        self.jobs[job.index] = Some((number, now));
        (number, now)
    }

    /// What part of its index counts for a job that runs. Who shares need not hold a place: others
    /// join.
    fn hold(&self) -> u64 {
        if self.shares { 1 } else { SERVICE_HOLD }
    }

    fn number(&mut self, job: &Seen) -> usize {
        let class = self.class(job);
        // Jobs of one epoch are one class, whatever their second.
        let epoch = class.submitted_at.0 / polder_engine::service::SERVICE_EPOCH_MICROS;
        let key = ServiceClass { submitted_at: Timestamp(epoch), ..class };
        *self.classes.entry(key).or_insert_with(|| {
            self.ladders.push(Ladder {
                class,
                stamp: u64::MAX,
                checked: 0,
                rungs: BTreeMap::new(),
            });
            self.ladders.len() - 1
        })
    }

    /// The engine's index, asked once for each octave as long as the history has not changed.
    fn index(&mut self, number: usize, attained: u64) -> u64 {
        let ladder = &mut self.ladders[number];
        if ladder.checked != self.decisions {
            let stamp = self.history.stamp(&ladder.class);
            if ladder.stamp != stamp {
                (ladder.stamp, ladder.rungs) = (stamp, BTreeMap::new());
            }
            ladder.checked = self.decisions;
        }
        let ask = || self.history.index(&ladder.class, attained);
        *ladder.rungs.entry(ServiceHistory::next_change(attained)).or_insert_with(ask)
    }

    /// When the first of the running jobs falls behind one that waits, if any does in its octave:
    /// then it is worth deciding anew.
    fn next_wake(
        &mut self,
        now: f64,
        waits: u64,
        groups: &[Vec<InLine>],
        live: &[Live<'_>],
        met: &[(usize, u64)],
    ) -> Option<f64> {
        let mut wake: Option<f64> = None;
        for group in groups {
            let seen: Vec<&Seen> = group.iter().map(|&(_, at)| live[at].seen).collect();
            // What is served alone counts by the clock; what is shared, by the work done, and none
            // is done while the sharers start.
            let lost: f64 = seen.iter().map(|job| published::overhead(job)).sum();
            let common = if self.shares { published::together(&seen) } else { 0.0 };
            for &(_, at) in group {
                let ((number, attained), job) = (met[at], live[at].seen);
                let next = ServiceHistory::next_change(attained);
                if next < u64::MAX && self.index(number, next) / self.hold() > waits {
                    let left = (next - attained) as f64 / 1e6 / f64::from(job.devices);
                    let shared = lost + left * common / published::alone(job);
                    let left = if self.shares { shared } else { left };
                    wake = Some(wake.unwrap_or(f64::INFINITY).min(now + left + AFTER));
                }
            }
        }
        wake
    }
}

/// Device microseconds of so many seconds.
fn service(seconds: f64, job: &Seen) -> u64 {
    num::count(seconds * f64::from(job.devices) * 1e6)
}

impl Rule for Polder {
    fn over(&mut self, job: &Live<'_>) {
        self.meet(job, true);
    }

    fn decide(&mut self, now: f64, live: &[Live<'_>]) -> Vec<Group> {
        let met: Vec<(usize, u64)> = live.iter().map(|job| self.meet(job, false)).collect();
        self.decisions += 1;
        let line = live.iter().zip(&met).enumerate().map(|(at, (job, &(number, attained)))| {
            let index = self.index(number, attained);
            let held = if job.running { index / self.hold() } else { index };
            let submitted = num::count(job.seen.submitted * 1e6);
            Reverse((held, submitted, lot(job.seen.id), at))
        });
        let mut line: BinaryHeap<_> = line.collect::<Vec<_>>().into();
        let line = std::iter::from_fn(|| line.pop()).map(|Reverse((index, _, _, at))| (index, at));
        let (groups, waiting) = self.sharing.groups(live, line);
        self.wake = waiting.and_then(|(index, _)| self.next_wake(now, index, &groups, live, &met));
        if self.shares {
            self.wake = self.wake.map(|wake| wake.max(now + SHARED_REST));
        }
        let indexed = |group: &Vec<InLine>| group.iter().map(|&(_, at)| live[at].index).collect();
        groups.iter().map(indexed).collect()
    }

    fn wake(&self) -> Option<f64> {
        self.wake
    }
}
