//! Whatever may happen, in any order: random events against the real engine, to find a promise that
//! it breaks.
//!
//! A storm draws asks of every kind, nodes that join, fall silent, lose devices and come back,
//! leases that are prepared, start, end and fail, people who cancel, resize and change quotas, policies and
//! reservations, clocks that jump, and facts that make no sense. What the engine decides is applied
//! as the server would. Every so many events it holds the engine against three things:
//! * its own independent checker;
//! * a shadow that was told the same events in the form in which a journal is written, and nothing
//!   else (not what was refused): state and decisions must be equal, bit for bit;
//! * a snapshot: now and then the shadow is written down, read again and goes on from there.
//!
//! It judges nothing else: whether a decision is a good one is for scenarios and oracles to say.

mod draw;
mod facts;

use crate::random::Random;
use polder_engine::{Engine, Policy, Report};
use polder_model::{
    Decision, Event, Inventory, JobState, LeaseId, LeaseState, Micros, NodeId, Tenant, Timestamp,
};
use std::collections::BTreeMap;
use thiserror::Error;

/// Jobs that are not over beyond which none is submitted: a storm is about events, not crowds.
const JOBS_MAX: usize = 90;
/// Of so many plans, one is compared with the shadow's.
const PLANS_COMPARED: u64 = 8;
/// After so many comparisons of the whole state the shadow goes on from a snapshot of itself.
const SNAPSHOTS: u64 = 16;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("seed {seed}, after event {event}: {what}")]
pub struct Broken {
    /// The storm's seed: the same seed breaks it again.
    pub seed: u64,
    /// Events applied before it was seen.
    pub event: u64,
    /// What was found.
    pub what: String,
}

/// What a storm did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Events that were applied.
    pub applied: u64,
    /// Events that were refused, as they should be.
    pub refused: u64,
    /// Plans that were made.
    pub plans: u64,
    /// Plans that were compared with those of the shadow.
    pub plans_compared: u64,
    /// Times that all promises were checked and the whole state was compared with the shadow's.
    pub checks: u64,
    /// Times that the shadow went on from a snapshot.
    pub snapshots: u64,
    /// Jobs that were explained.
    pub explained: u64,
    /// How many events of each kind were applied; decisions each by their own kind.
    pub kinds: BTreeMap<String, u64>,
}

/// Random events, one after the other.
#[derive(Debug)]
pub struct Storm {
    seed: u64,
    random: Random,
    engine: Engine,
    shadow: Engine,
    at: Timestamp,
    /// What each node has when it has all.
    inventories: BTreeMap<NodeId, Inventory>,
    incarnations: BTreeMap<NodeId, u64>,
    /// Promises are checked after every so many events.
    every: u64,
    told: Told,
}

type Step = Result<(), Broken>;

impl Told {
    /// Counts another storm in.
    pub fn add(&mut self, other: &Self) {
        self.applied += other.applied;
        self.refused += other.refused;
        self.plans += other.plans;
        self.plans_compared += other.plans_compared;
        self.checks += other.checks;
        self.snapshots += other.snapshots;
        self.explained += other.explained;
        for (kind, number) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += number;
        }
    }
}

impl Storm {
    /// A storm that checks all promises after every so many events.
    #[must_use]
    pub fn new(seed: u64, every: u64) -> Self {
        Self {
            seed,
            random: Random::stream(seed, "storm"),
            engine: Engine::new(Policy::default()),
            shadow: Engine::new(Policy::default()),
            at: Timestamp(1_000_000),
            inventories: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            every: every.max(1),
            told: Told::default(),
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Goes on until so many events were applied, and checks once more at the end.
    ///
    /// # Errors
    /// The first promise that was found broken.
    pub fn run(&mut self, events: u64) -> Result<(), Broken> {
        if self.told.applied == 0 {
            self.begin()?;
        }
        while self.told.applied < events {
            self.step()?;
        }
        self.check()
    }

    fn begin(&mut self) -> Step {
        for path in draw::TENANTS {
            let tenant = Tenant::new(draw::name(path));
            self.apply(Event::TenantSet { tenant })?;
        }
        (0..6).try_for_each(|number| self.join(number))
    }

    /// One thing that happens.
    fn step(&mut self) -> Step {
        let crowded = self.engine.jobs().count() >= JOBS_MAX;
        match self.random.below(100) {
            0..22 if crowded => self.end_one(),
            0..22 => self.submit(),
            22..44 => self.decide(),
            44..78 => self.advance_one(),
            78..83 => self.end_one(),
            83..85 => self.cancel(),
            85 => self.resize(),
            86..91 => self.node(),
            91..94 => self.time(),
            94 => self.tenant(),
            95 => self.policy(),
            96 => self.reservation(),
            97 => self.people(),
            98 => self.nonsense(),
            _ => self.explain(),
        }
    }

    /// Applies an event to the engine, and its written form to the shadow. False when it was
    /// refused.
    fn try_apply(&mut self, event: &Event) -> Result<bool, Broken> {
        self.at = self.at.after(Micros(1));
        if self.engine.apply(self.at, event).is_err() {
            self.told.refused += 1;
            return Ok(false);
        }
        let text = self.written(event)?;
        let read: Event = serde_json::from_str(&text).map_err(|error| self.broken(&error))?;
        if read != *event {
            return Err(self.broken(&format!("{text} is read as another event")));
        }
        if let Err(error) = self.shadow.apply(self.at, &read) {
            return Err(self.broken(&format!("the shadow refuses {text}: {error}")));
        }
        self.told.applied += 1;
        *self.told.kinds.entry(kind(&text)).or_default() += 1;
        if self.told.applied.is_multiple_of(self.every) {
            self.check()?;
        }
        Ok(true)
    }

    /// The same for one that must not be refused.
    fn apply(&mut self, event: Event) -> Step {
        if self.try_apply(&event)? {
            return Ok(());
        }
        let why = self.engine.apply(self.at, &event).err().map(|error| error.to_string());
        Err(self.broken(&format!("{event:?} is refused: {}", why.unwrap_or_default())))
    }

    /// Plans, and applies the first of what is decided or all of it.
    fn decide(&mut self) -> Step {
        let (decisions, report) = self.engine.plan(self.at);
        self.told.plans += 1;
        if self.told.plans.is_multiple_of(PLANS_COMPARED) {
            self.told.plans_compared += 1;
            let (theirs, reported) = self.shadow.plan(self.at);
            // What was looked up before need not be looked up again.
            let same = theirs == decisions && Report { steps: report.steps, ..reported } == report;
            if !same {
                return Err(self.broken(&format!("it decides {decisions:?}, a replay {theirs:?}")));
            }
        }
        let few = self.random.below(4) == 0;
        let most = if few { 1 + self.random.below(4) } else { u64::MAX };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        for decision in decisions.into_iter().take(most) {
            self.apply(Event::Decided { decision })?;
        }
        Ok(())
    }

    /// All promises, and that a replay leads to the same.
    fn check(&mut self) -> Step {
        self.told.checks += 1;
        if let Some(violation) = self.engine.check().first() {
            return Err(self.broken(&violation.what));
        }
        if self.shadow != self.engine {
            return Err(self.broken(&"a replay of the journal leads to another state"));
        }
        let bytes = self.written(&self.shadow)?;
        if bytes != self.written(&self.engine)? {
            return Err(self.broken(&"a replay of the journal leads to another snapshot"));
        }
        if self.told.checks.is_multiple_of(SNAPSHOTS) {
            self.told.snapshots += 1;
            self.shadow = serde_json::from_str(&bytes).map_err(|error| self.broken(&error))?;
        }
        Ok(())
    }

    /// Everybody who waits is told why.
    fn explain(&mut self) -> Step {
        let Some(job) = self.any_job() else { return Ok(()) };
        let Some(explanation) = self.engine.explain(self.at, job) else {
            return Err(self.broken(&format!("job {job} is not over and yet not explained")));
        };
        self.told.explained += 1;
        let waits = matches!(explanation.state, JobState::Queued);
        if waits && explanation.reasons.is_empty() {
            return Err(self.broken(&format!("job {job} waits and nobody says why")));
        }
        Ok(())
    }

    /// A lease goes on to its next step, as agents report it.
    fn advance_one(&mut self) -> Step {
        let Some((lease, state)) = self.any_lease() else { return self.decide() };
        // A node may confirm a resize at any time, or never; most do soon.
        let leaving: Vec<LeaseId> = {
            let leaves = |lease: &&polder_model::Lease| !lease.leaving.is_zero();
            self.engine.leases().filter(leaves).map(|lease| lease.id).collect()
        };
        if let Some(lease) = draw::pick(&mut self.random, &leaving)
            && self.random.below(4) == 0
        {
            return self.apply(Event::LeaseShrunk { lease });
        }
        match state {
            LeaseState::Granted => self.prepare(lease),
            LeaseState::Prepared => self.try_apply(&Event::LeaseStarted { lease }).map(drop),
            // Most of what runs goes on.
            LeaseState::Started | LeaseState::Ended if self.random.below(3) > 0 => Ok(()),
            LeaseState::Started | LeaseState::Ended => self.end(lease),
        }
    }

    fn any_lease(&mut self) -> Option<(LeaseId, LeaseState)> {
        let leases: Vec<_> = self.engine.leases().map(|lease| (lease.id, lease.state)).collect();
        draw::pick(&mut self.random, &leases)
    }

    fn any_job(&mut self) -> Option<polder_model::JobId> {
        let jobs: Vec<_> = self.engine.jobs().map(|job| job.id).collect();
        draw::pick(&mut self.random, &jobs)
    }

    fn written<T: serde::Serialize>(&self, value: &T) -> Result<String, Broken> {
        serde_json::to_string(value).map_err(|error| self.broken(&error))
    }

    fn broken(&self, what: &dyn ToString) -> Broken {
        Broken { seed: self.seed, event: self.told.applied, what: what.to_string() }
    }

    /// Facts and decisions about what may not be there, as a journal of another pool would have
    /// them. Most are refused, and a refusal changes nothing: the shadow is not told of it.
    fn nonsense(&mut self) -> Step {
        let job = polder_model::JobId(self.random.below(self.engine.next_job_id().0 + 5));
        let lease = LeaseId(self.random.below(1 + 2 * job.0));
        let mut events = vec![
            Event::LeaseStarted { lease: LeaseId(lease.0 + 1_000_000_000) },
            Event::LeaseShrunk { lease },
            Event::PoolOpened { pool: draw::name("pool"), engine: 1 },
            Event::NodeSilent { node: draw::name("n99") },
        ];
        let decisions = [
            Decision::Start { job },
            Decision::Retry { job, attempt: 2 },
            Decision::Grant { job, leases: Vec::new() },
            Decision::Release { job },
        ];
        events.extend(decisions.map(|decision| Event::Decided { decision }));
        if let Some(mut held) = self.engine.leases().next().cloned() {
            // A grant of what somebody holds already.
            (held.job, held.id) = (job, LeaseId(1_000_000_000));
            let decision = Decision::Grant { job, leases: vec![held] };
            events.push(Event::Decided { decision });
        }
        let event = draw::pick(&mut self.random, &events);
        if let Some(event) = event {
            self.try_apply(&event)?;
        }
        let back = Timestamp(self.at.0 - 1);
        let event = Event::NodeSilent { node: draw::name("n99") };
        match self.engine.apply(back, &event) {
            Err(_) => Ok(()),
            Ok(()) => Err(self.broken(&"an event from before the last is taken in")),
        }
    }
}

/// The kind of an event by its written form: its tag, and that of a decision.
fn kind(text: &str) -> String {
    let mut words = text.split('"');
    let event = words.nth(3).unwrap_or_default();
    match event {
        "decided" => format!("decided: {}", words.nth(5).unwrap_or_default()),
        _ => event.to_owned(),
    }
}
