//! What came of a replay, as numbers.

use super::{SwfJob, Trace, world::Outcome};
use serde::Serialize;

/// A job shorter than this counts as this long in the bounded slowdown, as the literature does.
pub const SLOWDOWN_FLOOR_SECONDS: u64 = 10;

pub(super) const DAY_SECONDS: u64 = 86_400;
const WEEK_DAYS: usize = 7;

/// Sums over some jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Counted {
    /// How many.
    pub jobs: u64,
    /// Sum of waits, in seconds.
    pub wait_seconds: f64,
    /// Sum of bounded slowdowns.
    pub slowdown: f64,
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// All jobs.
    pub all: Counted,
    /// By queue number: interactive, default, best effort.
    pub queues: [Counted; 3],
    /// By day of submission, from the first.
    pub days: Vec<Counted>,
    /// 99th percentile of the waits, in seconds.
    pub wait_p99_seconds: u64,
    /// Processor time that did work that lasted, of what was there from the first submission to
    /// the last end.
    pub utilisation: f64,
    /// Processor seconds that were lost to preemption.
    pub lost_processor_seconds: u64,
    /// How often a job was preempted.
    pub preemptions: u64,
}

impl Counted {
    fn add(&mut self, wait_seconds: u64, slowdown: f64) {
        self.jobs += 1;
        self.wait_seconds += float(wait_seconds);
        self.slowdown += slowdown;
    }

    /// Mean wait, in seconds.
    #[must_use]
    pub fn wait_mean_seconds(&self) -> f64 {
        self.wait_seconds / float(self.jobs.max(1))
    }

    /// Mean bounded slowdown.
    #[must_use]
    pub fn slowdown_mean(&self) -> f64 {
        self.slowdown / float(self.jobs.max(1))
    }
}

/// Time not spent on the run that lasted, and the bounded slowdown that follows.
fn wait_of(job: &SwfJob, ended: u64) -> (u64, f64) {
    let wait = ended.saturating_sub(job.submitted).saturating_sub(job.run);
    let slowdown = float(wait + job.run) / float(job.run.max(SLOWDOWN_FLOOR_SECONDS));
    (wait, slowdown.max(1.0))
}

impl Summary {
    pub(super) fn of(trace: &Trace, outcome: &Outcome) -> Self {
        let first = trace.jobs.first().map_or(0, |job| job.submitted);
        let mut summary = Self {
            all: Counted::default(),
            queues: [Counted::default(); 3],
            days: Vec::new(),
            wait_p99_seconds: 0,
            utilisation: 0.0,
            lost_processor_seconds: outcome.lost_processor_seconds,
            preemptions: outcome.preemptions,
        };
        let mut waits = Vec::with_capacity(trace.jobs.len());
        let (mut work, mut last) = (0u64, first);
        for (job, ended) in trace.jobs.iter().zip(&outcome.ended) {
            let Some(ended) = *ended else { continue };
            let (wait, slowdown) = wait_of(job, ended);
            waits.push(wait);
            last = last.max(ended);
            work += job.run * u64::from(job.processors);
            summary.all.add(wait, slowdown);
            let queue = job.queue.and_then(|queue| usize::try_from(queue).ok()).unwrap_or(1);
            if let Some(counted) = summary.queues.get_mut(queue) {
                counted.add(wait, slowdown);
            }
            let day = usize::try_from((job.submitted - first) / DAY_SECONDS).unwrap_or(0);
            if summary.days.len() <= day {
                summary.days.resize(day + 1, Counted::default());
            }
            if let Some(counted) = summary.days.get_mut(day) {
                counted.add(wait, slowdown);
            }
        }
        waits.sort_unstable();
        summary.wait_p99_seconds = waits.get(waits.len() * 99 / 100).copied().unwrap_or(0);
        let there = float(last - first) * f64::from(trace.processors);
        summary.utilisation = if there > 0.0 { float(work) / there } else { 0.0 };
        summary
    }
}

impl Summary {
    /// By week of submission, from the first; the last may not be whole.
    #[must_use]
    pub fn weeks(&self) -> Vec<Counted> {
        let sum = |days: &[Counted]| {
            days.iter().fold(Counted::default(), |sum, day| Counted {
                jobs: sum.jobs + day.jobs,
                wait_seconds: sum.wait_seconds + day.wait_seconds,
                slowdown: sum.slowdown + day.slowdown,
            })
        };
        self.days.chunks(WEEK_DAYS).map(sum).collect()
    }
}

/// Seconds and counts of a trace, far below 2^52.
#[allow(clippy::cast_precision_loss, reason = "sums of a trace are far below 2^52")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
