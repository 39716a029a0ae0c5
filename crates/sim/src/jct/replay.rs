//! The published model's clock: submissions, ends and a rule's own wakes, one after another.
//!
//! At every event all running jobs are stopped, each has lost its start overhead since the event
//! before, and the rule says anew which jobs run. What a rule is told of the future is decided
//! here, in one place: a blind rule is never handed a job's remaining work.

use super::published::{self, Nodes};
use super::trace::{Job, Seen};

/// A run handles at most so many events for each job; a rule that wakes itself more often is
/// stopped with an error.
pub const EVENTS_PER_JOB_MAX: usize = 1_000;

/// A job that is submitted and not over, as a rule sees it.
#[derive(Debug, Clone)]
pub struct Live<'a> {
    /// Its place in the trace.
    pub index: usize,
    /// What was known at its submission.
    pub seen: &'a Seen,
    /// Seconds that it has held its devices so far, start overheads included.
    pub attained: f64,
    /// The part of them that its work would have taken alone, in seconds: the profiled iteration
    /// says so.
    pub worked: f64,
    /// Whether it held devices until this event.
    pub running: bool,
    /// Seconds of work left; `None` unless the rule is clairvoyant.
    pub remaining: Option<f64>,
}

/// Jobs that share the same devices; most groups are one job.
pub type Group = Vec<usize>;

/// Decides which jobs run.
pub trait Rule {
    /// Whether it is told the future. Only a baseline may be.
    fn clairvoyant(&self) -> bool {
        false
    }

    /// A job is over: now its length is known.
    fn over(&mut self, _job: &Live<'_>) {}

    /// The jobs that run from now on, in groups that share devices. `live` is in the order of
    /// submission.
    fn decide(&mut self, now: f64, live: &[Live<'_>]) -> Vec<Group>;

    /// When it wants to decide again if nothing else happens before, in seconds.
    fn wake(&self) -> Option<f64> {
        None
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// From submission to end, in seconds, in the order of the trace.
    pub completion: Vec<f64>,
    /// When the last job ended, in seconds.
    pub makespan: f64,
    /// Events handled.
    pub events: usize,
}

impl Outcome {
    /// The mean completion time in seconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let jobs: f64 = self.completion.iter().map(|_| 1.0).sum();
        self.completion.iter().sum::<f64>() / jobs
    }

    /// The 99th percentile of completion times, in seconds, as the published figures take it: the
    /// value at the rounded-down place.
    #[must_use]
    pub fn p99(&self) -> f64 {
        let mut sorted = self.completion.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * 99 / 100).min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().unwrap_or(0.0)
    }
}

/// What a rule got wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// A job that is not there, or there twice.
    #[error("the rule runs job {0}, which is not waiting or is named twice")]
    Unknown(usize),
    /// A group that cannot share.
    #[error("the rule groups job {0} with jobs that cannot share its devices")]
    Group(usize),
    /// More than there is.
    #[error("the rule runs job {0} on devices that are not free")]
    Full(usize),
    /// Nothing runs and nothing will.
    #[error("the rule leaves {0} jobs waiting for ever")]
    Stuck(usize),
    /// Too many wakes.
    #[error("the rule made {0} events: it wakes itself without end")]
    Restless(usize),
}

/// The work and state of one job.
struct Run<'a> {
    job: &'a Job,
    left: f64,
    attained: f64,
    worked: f64,
    /// Seconds of an iteration now and seconds lost at the next event; `None` while it waits.
    pace: Option<(f64, f64)>,
}

/// Runs a trace under a rule.
///
/// # Errors
/// Says what the rule got wrong.
pub fn run(jobs: &[Job], rule: &mut dyn Rule) -> Result<Outcome, RuleError> {
    let mut world = World { jobs, live: Vec::new(), next: 0, now: 0.0 };
    let mut outcome = Outcome { completion: vec![0.0; jobs.len()], makespan: 0.0, events: 0 };
    // With nobody there, there is nothing to decide and so nothing to wake for.
    while let Some(event) = world.next_event(rule.wake().filter(|_| !world.live.is_empty())) {
        outcome.events += 1;
        if outcome.events > jobs.len() * EVENTS_PER_JOB_MAX {
            return Err(RuleError::Restless(outcome.events));
        }
        for (index, ended) in world.advance(event, rule.clairvoyant()) {
            rule.over(&ended);
            outcome.completion[index] = event.at - jobs[index].seen.submitted;
            outcome.makespan = event.at;
        }
        let live = world.view(rule.clairvoyant());
        if !live.is_empty() {
            let groups = rule.decide(event.at, &live);
            world.start(&groups)?;
        }
    }
    match world.live.len() {
        0 => Ok(outcome),
        stuck => Err(RuleError::Stuck(stuck)),
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
struct Event {
    at: f64,
    ends: bool,
    submits: bool,
}

struct World<'a> {
    jobs: &'a [Job],
    /// By place in the trace, ascending.
    live: Vec<(usize, Run<'a>)>,
    /// The next to be submitted.
    next: usize,
    now: f64,
}

impl<'a> World<'a> {
    fn end_of(&self, run: &Run<'a>) -> f64 {
        run.pace.map_or(f64::INFINITY, |(iteration, _)| self.now + run.left * iteration)
    }

    fn next_event(&self, wake: Option<f64>) -> Option<Event> {
        let submit = self.jobs.get(self.next).map_or(f64::INFINITY, |job| job.seen.submitted);
        let end = self.live.iter().map(|(_, run)| self.end_of(run)).fold(f64::INFINITY, f64::min);
        let at = submit.min(end);
        match wake.map(|wake| wake.max(self.now)).filter(|&wake| wake < at) {
            Some(at) => Some(Event { at, ends: false, submits: false }),
            None if at.is_finite() => Some(Event { at, ends: end == at, submits: submit == at }),
            None => None,
        }
    }

    /// Takes every job to the event and returns those that are over there, with their places.
    fn advance(&mut self, event: Event, clairvoyant: bool) -> Vec<(usize, Live<'a>)> {
        let passed = event.at - self.now;
        let over: Vec<bool> =
            self.live.iter().map(|(_, run)| event.ends && self.end_of(run) == event.at).collect();
        for ((_, run), over) in self.live.iter_mut().zip(&over) {
            let Some((iteration, overhead)) = run.pace else { continue };
            // A job that ends pays nothing for the event that it makes.
            let worked = if *over { passed } else { (passed - overhead).max(0.0) };
            run.left -= worked / iteration;
            run.worked += worked / iteration * published::alone(&run.job.seen);
            // In the published order of operations: the queues of Tiresias hang on the last bit.
            run.attained = run.attained + event.at - self.now;
        }
        self.now = event.at;
        let ended = self.live.iter().zip(&over).filter(|(_, over)| **over);
        let ended =
            ended.map(|((index, run), _)| (*index, run.view(*index, clairvoyant))).collect();
        let mut kept = over.iter().map(|over| !over);
        self.live.retain(|_| kept.next().unwrap_or(true));
        while event.submits
            && self.jobs.get(self.next).is_some_and(|job| job.seen.submitted == event.at)
        {
            let job = &self.jobs[self.next];
            let run = Run { job, left: job.iterations, attained: 0.0, worked: 0.0, pace: None };
            self.live.push((self.next, run));
            self.next += 1;
        }
        ended
    }

    fn view(&self, clairvoyant: bool) -> Vec<Live<'a>> {
        self.live.iter().map(|(index, run)| run.view(*index, clairvoyant)).collect()
    }

    /// Stops everything and starts what the rule says, largest gangs first.
    fn start(&mut self, groups: &[Group]) -> Result<(), RuleError> {
        self.live.iter_mut().for_each(|(_, run)| run.pace = None);
        let mut placed: Vec<(u32, usize)> = Vec::new();
        for group in groups {
            let first = *group.first().ok_or(RuleError::Group(usize::MAX))?;
            let at: Result<Vec<usize>, _> = group.iter().map(|&job| self.at(job)).collect();
            let at = at?;
            let seen: Vec<&Seen> = at.iter().map(|&at| &self.live[at].1.job.seen).collect();
            let devices = seen[0].devices;
            if group.len() > published::SHARERS_MAX || seen.iter().any(|job| job.devices != devices)
            {
                return Err(RuleError::Group(first));
            }
            let pace =
                (published::together(&seen), seen.iter().map(|job| published::overhead(job)).sum());
            for at in at {
                let run = &mut self.live[at].1;
                if run.pace.replace(pace).is_some() {
                    return Err(RuleError::Unknown(first));
                }
            }
            placed.push((devices, first));
        }
        placed.sort_by_key(|&(devices, first)| (std::cmp::Reverse(devices), first));
        let mut nodes = Nodes::free();
        let full = placed.into_iter().find(|&(devices, _)| !nodes.take(devices));
        full.map_or(Ok(()), |(_, first)| Err(RuleError::Full(first)))
    }

    fn at(&self, job: usize) -> Result<usize, RuleError> {
        self.live
            .binary_search_by_key(&job, |(index, _)| *index)
            .map_err(|_| RuleError::Unknown(job))
    }
}

impl<'a> Run<'a> {
    fn view(&self, index: usize, clairvoyant: bool) -> Live<'a> {
        Live {
            index,
            seen: &self.job.seen,
            attained: self.attained,
            worked: self.worked,
            running: self.pace.is_some(),
            remaining: clairvoyant.then(|| self.left * published::alone(&self.job.seen)),
        }
    }
}
