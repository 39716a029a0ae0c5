//! A flat pool in virtual time.
//!
//! Queue 2 is best effort: it takes what the others leave, yields to them at once and then starts
//! again from nothing, the youngest first. Everybody else is never preempted. A job runs as long as
//! it did in the trace, at most its estimate, which is its time limit.

use super::accuracy::outturn;
use super::rules::Look;
use super::{Expect, Rules, Summary, SwfJob, Trace};
use polder_engine::backfill::{Ends, Flat, Lookahead, Planned, Space, Span, Wanted};
use polder_engine::predict::{Outlook, Predictor, Subject, Traits, digest};
use polder_model::{Bytes, Micros, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The queue whose jobs yield.
const BEST_EFFORT: u32 = 2;
/// The queue of interactive jobs.
const INTERACTIVE: u32 = 0;
/// How often, in virtual seconds, an order that changes while jobs wait is computed again.
const RESORT_SECONDS: u64 = 60;

/// What became of each job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When each ended, by place in the trace; none for one that never started.
    pub ended: Vec<Option<u64>>,
    /// When each started for the last time.
    pub started: Vec<Option<u64>>,
    /// Processor seconds lost to preemption.
    pub lost_processor_seconds: u64,
    /// How often a job was preempted.
    pub preemptions: u64,
}

/// A replay and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// In numbers.
    pub summary: Summary,
    /// Job by job.
    pub outcome: Outcome,
}

/// What waits, in order.
#[derive(Default)]
struct Waiting {
    ordered: BTreeSet<((i64, i64), usize)>,
    /// How many wait for so many processors: a look at the smallest saves most walks.
    by_size: BTreeMap<u32, usize>,
}

struct World<'t> {
    trace: &'t Trace,
    rules: &'t Rules,
    subjects: Vec<Subject>,
    outlooks: Vec<Option<Outlook>>,
    /// Expected run of each job that was submitted, in seconds.
    expected: Vec<u64>,
    predictor: Predictor,
    /// What is never preempted, and what is.
    firm: Waiting,
    yielding: Waiting,
    /// The key under which each job waits.
    keys: Vec<(i64, i64)>,
    /// What runs and is never preempted; and everything that runs.
    firm_ends: Ends<u32, usize>,
    ends: Ends<u32, usize>,
    firm_used: u32,
    used: u32,
    /// When what runs really ends.
    ending: BTreeSet<(u64, usize)>,
    /// What can be preempted, by when it started.
    preemptible: BTreeSet<(u64, usize)>,
    /// When the order of those that wait was last computed.
    sorted: u64,
    now: u64,
    outcome: Outcome,
}

/// Replays a trace under these rules.
#[must_use]
pub fn replay(trace: &Trace, rules: &Rules) -> Replay {
    let mut world = World::new(trace, rules);
    world.run();
    Replay { summary: Summary::of(trace, &world.outcome), outcome: world.outcome }
}

/// How long a job runs: never past its limit.
pub(super) fn length(job: &SwfJob) -> u64 {
    job.estimate.map_or(job.run, |limit| job.run.min(limit))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000_000))
}

/// The engine's histories that a job of a trace belongs to.
pub(super) fn subject(job: &SwfJob) -> Subject {
    let user = job.user.map_or_else(String::new, |user| user.to_string());
    // Numbers of programs are codes: written as letters, so that no two are taken for one series.
    let program = job.program.map(|program| {
        program.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>()
    });
    Traits {
        user: &user,
        name: program.as_deref(),
        shape: digest([job.processors.into(), job.queue.map_or(0, u64::from)]),
        limit: job.estimate.map(Micros::from_secs),
        ..Traits::default()
    }
    .subject()
}

impl<'t> World<'t> {
    fn new(trace: &'t Trace, rules: &'t Rules) -> Self {
        let jobs = trace.jobs.len();
        Self {
            trace,
            rules,
            subjects: trace.jobs.iter().map(subject).collect(),
            outlooks: vec![None; jobs],
            expected: vec![0; jobs],
            predictor: Predictor::default(),
            firm: Waiting::default(),
            yielding: Waiting::default(),
            keys: vec![(0, 0); jobs],
            firm_ends: Ends::default(),
            ends: Ends::default(),
            firm_used: 0,
            used: 0,
            ending: BTreeSet::new(),
            preemptible: BTreeSet::new(),
            sorted: 0,
            now: 0,
            outcome: Outcome {
                ended: vec![None; jobs],
                started: vec![None; jobs],
                ..Outcome::default()
            },
        }
    }

    fn run(&mut self) {
        let mut next = 0;
        loop {
            let arrival = self.trace.jobs.get(next).map(|job| job.submitted);
            let ending = self.ending.first().map(|(end, _)| *end);
            let Some(now) = arrival.into_iter().chain(ending).min() else { break };
            self.now = now;
            while let Some((_, place)) = self.ending.first().copied().filter(|(end, _)| *end == now)
            {
                self.end(place);
            }
            while let Some(job) = self.trace.jobs.get(next).filter(|job| job.submitted == now) {
                self.submit(next, job);
                next += 1;
            }
            self.schedule();
        }
    }

    fn job(&self, place: usize) -> &'t SwfJob {
        &self.trace.jobs[place]
    }

    fn yields(&self, place: usize) -> bool {
        self.job(place).queue == Some(BEST_EFFORT)
    }

    fn submit(&mut self, place: usize, job: &SwfJob) {
        let subject = &self.subjects[place];
        let limit = job.estimate.map(Micros::from_secs);
        let expected = match self.rules.expect {
            Expect::Estimate => job.estimate,
            Expect::Truth => Some(length(job)),
            Expect::Predicted => {
                // Nothing is known of memory, so any amount will do.
                self.outlooks[place] = self.predictor.outlook(subject, limit, Bytes(1));
                self.outlooks[place].map(|outlook| outlook.time.p50 / 1_000_000)
            }
        };
        self.expected[place] = expected.unwrap_or(u64::MAX / 2_000_000).max(1);
        self.queue(place);
    }

    fn queue(&mut self, place: usize) {
        let yields = self.yields(place);
        self.keys[place] = self.rules.order.key(&self.look(place));
        let waiting = if yields { &mut self.yielding } else { &mut self.firm };
        waiting.ordered.insert((self.keys[place], place));
        *waiting.by_size.entry(self.trace.jobs[place].processors).or_default() += 1;
    }

    fn look(&self, place: usize) -> Look {
        let job = self.job(place);
        Look {
            waited_seconds: self.now - job.submitted,
            expected_seconds: self.expected[place],
            processors: job.processors,
            is_interactive: job.queue == Some(INTERACTIVE),
            hour: (self.trace.unix_start + self.trace.zone_seconds + self.now) / 3600 % 24,
        }
    }

    fn span(&self, place: usize) -> Span {
        let limit = self.job(place).estimate.map_or(Span::FOREVER, Micros::from_secs);
        Span::new(Micros::from_secs(self.expected[place]), limit.max(Micros::from_secs(1)))
    }

    fn end(&mut self, place: usize) {
        self.leave(place);
        self.outcome.ended[place] = Some(self.now);
        let job = self.job(place);
        if let Expect::Predicted = self.rules.expect {
            let outlook = self.outlooks[place].as_ref();
            self.predictor.observe(&self.subjects[place], outlook, outturn(job));
        }
    }

    /// Gives back what a running job holds.
    fn leave(&mut self, place: usize) {
        let started = self.outcome.started[place].unwrap_or(self.now);
        self.ending.remove(&(started + length(self.job(place)), place));
        self.preemptible.remove(&(started, place));
        self.used -= self.ends.ended(place).map_or(0, |running| running.spots);
        self.firm_used -= self.firm_ends.ended(place).map_or(0, |running| running.spots);
    }

    fn start(&mut self, place: usize) {
        let (now, span, job) = (self.now, self.span(place), self.job(place));
        let yields = self.yields(place);
        let waiting = if yields { &mut self.yielding } else { &mut self.firm };
        waiting.ordered.remove(&(self.keys[place], place));
        if let Some(number) = waiting.by_size.get_mut(&job.processors) {
            *number -= 1;
            if *number == 0 {
                waiting.by_size.remove(&job.processors);
            }
        }
        self.outcome.started[place] = Some(now);
        self.ending.insert((now + length(job), place));
        self.used += job.processors;
        self.ends.started(place, at(now), span, job.processors);
        if yields {
            self.preemptible.insert((now, place));
        } else {
            self.firm_used += job.processors;
            self.firm_ends.started(place, at(now), span, job.processors);
        }
    }

    fn schedule(&mut self) {
        self.predict_anew();
        self.sort_anew();
        let firm = self.plan(self.firm_used, &self.firm_ends, &self.firm);
        firm.into_iter().for_each(|place| self.start(place));
        self.make_room();
        let rest = self.plan(self.used, &self.ends, &self.yielding);
        rest.into_iter().for_each(|place| self.start(place));
    }

    /// What starts now, if so much is used.
    fn plan(&self, used: u32, ends: &Ends<u32, usize>, waiting: &Waiting) -> Vec<usize> {
        let mut free = Flat::new(self.trace.processors);
        free.take(&used);
        let smallest = waiting.by_size.first_key_value().map(|(size, _)| i64::from(*size));
        if smallest.is_none_or(|smallest| smallest > free.free) {
            return Vec::new();
        }
        let wanted = |(_, place): &(_, usize)| Wanted {
            key: *place,
            need: &self.trace.jobs[*place].processors,
            span: self.span(*place),
        };
        let mut look = Lookahead::new(at(self.now), free, ends, &[]);
        let mut planned = Planned::default();
        let mut queue = waiting.ordered.iter();
        planned.walk(&mut look, &mut queue.by_ref().map(wanted), self.rules.depth);
        match self.rules.fill {
            _ if self.rules.depth == 0 => {}
            None => planned.fill(&mut look, queue.map(wanted)),
            Some(order) => {
                let keyed = |(_, place): &(_, usize)| (order.key(&self.look(*place)), *place);
                let rest: BTreeSet<_> = queue.map(keyed).collect();
                planned.fill(&mut look, rest.iter().map(wanted));
            }
        }
        planned.starts.into_iter().map(|start| start.key).collect()
    }

    /// The youngest that yield give way until those that do not have what they were given.
    fn make_room(&mut self) {
        while self.used > self.trace.processors
            && let Some((started, place)) = self.preemptible.last().copied()
        {
            self.leave(place);
            let held = (self.now - started) * u64::from(self.job(place).processors);
            self.outcome.lost_processor_seconds += held;
            self.outcome.preemptions += 1;
            self.queue(place);
        }
    }

    /// Whoever outlives what was expected of it is expected to end later.
    fn predict_anew(&mut self) {
        let overdue: Vec<usize> = self.ends.overdue(at(self.now)).map(|(place, _)| place).collect();
        for place in overdue {
            let started = self.outcome.started[place].unwrap_or(self.now);
            let elapsed = Micros::from_secs(self.now - started);
            let limit = self.job(place).estimate.map(Micros::from_secs);
            let longer = self.predictor.longer(&self.subjects[place], limit, elapsed);
            self.ends.expect(place, at(started).after(longer));
            self.firm_ends.expect(place, at(started).after(longer));
        }
    }

    /// Orders that change while jobs wait are computed again once a minute.
    fn sort_anew(&mut self) {
        if !self.rules.order.moves() || self.now < self.sorted + RESORT_SECONDS {
            return;
        }
        self.sorted = self.now;
        for is_firm in [true, false] {
            let waiting = if is_firm { &mut self.firm } else { &mut self.yielding };
            let mut ordered = BTreeSet::new();
            for (_, place) in std::mem::take(&mut waiting.ordered) {
                self.keys[place] = self.rules.order.key(&self.look(place));
                ordered.insert((self.keys[place], place));
            }
            let waiting = if is_firm { &mut self.firm } else { &mut self.yielding };
            waiting.ordered = ordered;
        }
    }
}
