//! A pool that is not there, around the engine that is.
//!
//! [`World`] plays everything but the decisions: the server's clock and its loop of plan and apply,
//! nodes with their agents, programs that run for their true time, users who come, and faults.
//! Every decision is made by [`polder_engine::Engine`], fed the same events in the same steps as by
//! the server. Nodes act on nothing but what [`Engine::desired`] tells them, and only while they
//! are in reach. Nothing is random but what the seed says: the same setup gives the same run, byte
//! for byte. What it leaves out: time that the server and the network need, which is a constant
//! delay for each step of a lease here ([`Delays`]).

mod agenda;
mod faults;
mod node;
mod record;
mod run;
mod series;
mod share;

pub use faults::Faults;
pub use record::{JobRecord, LeaseRecord, Place, Records};
pub use series::{BUCKETS_MAX, Levels, Series};
pub use share::{Got, Interference, Sharer, divide};

use crate::pool::Pool;
use crate::workload::{WorkJob, Workload};
use agenda::{Agenda, Happening};
use faults::{Fate, Kind};
use node::{Node, Task};
use polder_engine::{Engine, Policy, Refusal, Report};
use polder_model::{
    Ask, Decision, Device, DeviceId, Event, Inventory, JobId, LeaseEnd, LeaseId, Micros, NodeId,
    Reservation, Tenant, TenantPath, Timestamp, UserName,
};
use run::Run;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// When a run begins unless told otherwise: 2024-01-01T00:00Z, a Monday.
pub const BEGIN: Timestamp = Timestamp(1_704_067_200_000_000);
/// Rounds of planning at one moment; an engine that goes on for longer never ends.
const PLAN_ROUNDS_MAX: u32 = 1_000_000;

/// How long the steps of a lease's life take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// From the grant until its node has prepared a lease.
    pub prepare: Micros,
    /// From the order to start until the program runs.
    pub start: Micros,
    /// From the order to end until the program is gone, if its grace is not shorter.
    pub stop: Micros,
    /// How long the server waits for a node's call before it counts as silent.
    pub silent_after: Micros,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            prepare: Micros::from_millis(500),
            start: Micros::from_millis(100),
            stop: Micros::from_secs(1),
            silent_after: Micros::from_secs(15),
        }
    }
}

impl Delays {
    /// Everything at once, as tests of decisions want it.
    #[must_use]
    pub fn none() -> Self {
        let none = Micros(0);
        Self { prepare: none, start: none, stop: none, silent_after: none }
    }
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its nodes.
    pub pool: Pool,
    /// Tenants with their quotas; those that jobs name are added without one.
    pub tenants: Vec<Tenant>,
    /// What the engine decides by.
    pub policy: Policy,
    /// What chance is drawn from.
    pub seed: u64,
    /// How long steps take.
    pub delays: Delays,
    /// What goes wrong.
    pub faults: Faults,
    /// How tasks on one device slow each other down.
    pub interference: Interference,
    /// After how many events the engine's promises are recomputed; 0 means never.
    pub check_every: u64,
    /// When it begins.
    pub begin: Timestamp,
    /// Whether every event is kept (see [`World::take_journal`]).
    pub journal: bool,
}

impl Setup {
    /// A pool with the usual delays, no faults and every event checked.
    #[must_use]
    pub fn new(pool: Pool, policy: Policy) -> Self {
        Self {
            pool,
            tenants: Vec::new(),
            policy,
            seed: 0,
            delays: Delays::default(),
            faults: Faults::default(),
            interference: Interference::default(),
            check_every: 1,
            begin: BEGIN,
            journal: false,
        }
    }
}

/// Changes asks before they are submitted, and learns from what was metered: what a user would do
/// who looks at the history of their jobs.
pub trait Advisor {
    /// Changes an ask that is about to be submitted.
    fn advise(&mut self, ask: &mut Ask);
    /// A lease has ended of a job whose ask was this before it was changed.
    fn learn(&mut self, ask: &Ask, end: &LeaseEnd);
}

/// Why a world ended. Each is a defect of the engine or of the simulator, never of its input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorldError {
    /// The engine refused what it had decided, or what it must accept.
    #[error("seed {seed}, event {events}: {why}: {event}")]
    Refused {
        /// The seed of the run.
        seed: u64,
        /// Events applied before.
        events: u64,
        /// What it said.
        why: String,
        /// The event.
        event: String,
    },
    /// A promise was broken.
    #[error(
        "seed {seed}, event {events}: a promise is broken: {violation}; the last event: {event}"
    )]
    Broken {
        /// The seed of the run.
        seed: u64,
        /// Events applied.
        events: u64,
        /// The promise.
        violation: String,
        /// The last event.
        event: String,
    },
    /// Planning did not end.
    #[error("seed {seed}, event {events}: the engine decides for ever at one moment")]
    Endless {
        /// The seed of the run.
        seed: u64,
        /// Events applied.
        events: u64,
    },
    /// Nothing is called so.
    #[error("there is no {what} {name:?}")]
    Unknown {
        /// What sort of thing.
        what: &'static str,
        /// What was named.
        name: String,
    },
}

/// A pool, its users and its server, in simulated time.
pub struct World {
    engine: Engine,
    /// True time.
    now: Timestamp,
    /// How far the server's clock is behind true time.
    behind: Micros,
    /// `at` of the last event.
    last: Timestamp,
    agenda: Agenda,
    setup: Setup,
    fate: Fate,
    nodes: Vec<Node>,
    node_of: BTreeMap<NodeId, usize>,
    /// By place of a device: the leases whose programs run there.
    sharers: Vec<Vec<LeaseId>>,
    /// By place of a device: compute that leases hold.
    held: Vec<u32>,
    tasks: BTreeMap<LeaseId, Task>,
    runs: BTreeMap<JobId, Run>,
    /// Jobs that wait for their turn.
    queued: BTreeSet<JobId>,
    known_tenants: BTreeSet<TenantPath>,
    /// Nodes whose desired state may have changed.
    touched: BTreeSet<usize>,
    workload: std::vec::IntoIter<WorkJob>,
    next_job: Option<WorkJob>,
    /// Jobs that the workload brings, and jobs that are over.
    progress: (usize, usize),
    levels: Levels,
    records: Records,
    advisor: Option<Box<dyn Advisor>>,
    report: Report,
    journal: Vec<(Timestamp, Event)>,
    wake: Option<Timestamp>,
    planned_at: Timestamp,
    dirty: bool,
}

impl World {
    /// A world in which every node has just reported.
    ///
    /// # Errors
    /// The engine does not accept its nodes or tenants.
    pub fn new(setup: Setup) -> Result<Self, WorldError> {
        let mut world = Self {
            engine: Engine::new(setup.policy.clone()),
            now: setup.begin,
            behind: Micros(0),
            last: Timestamp(setup.begin.0.saturating_sub(1)),
            agenda: Agenda::default(),
            fate: Fate::new(setup.faults, setup.seed),
            nodes: Vec::new(),
            node_of: BTreeMap::new(),
            sharers: Vec::new(),
            held: Vec::new(),
            tasks: BTreeMap::new(),
            runs: BTreeMap::new(),
            queued: BTreeSet::new(),
            known_tenants: BTreeSet::new(),
            touched: BTreeSet::new(),
            workload: Vec::new().into_iter(),
            next_job: None,
            progress: (0, 0),
            levels: Levels::default(),
            records: Records::new(setup.begin),
            advisor: None,
            report: Report::default(),
            journal: Vec::new(),
            wake: None,
            planned_at: setup.begin,
            dirty: true,
            setup,
        };
        for tenant in std::mem::take(&mut world.setup.tenants) {
            world.set_tenant(tenant)?;
        }
        for (id, inventory) in std::mem::take(&mut world.setup.pool) {
            world.join(id, inventory)?;
        }
        Ok(world)
    }

    /// A node reports for the first time.
    ///
    /// # Errors
    /// The engine does not accept it.
    pub fn join(&mut self, id: NodeId, inventory: Inventory) -> Result<(), WorldError> {
        let (at, first) = (self.nodes.len(), self.records.places.len());
        let place = |device: &Device| Place {
            node: id.clone(),
            device: device.id.clone(),
            model: device.model.clone(),
        };
        self.records.places.extend(inventory.devices.iter().map(place));
        self.sharers.resize(self.records.places.len(), Vec::new());
        self.held.resize(self.records.places.len(), 0);
        self.node_of.insert(id.clone(), at);
        let devices = inventory.devices.len();
        self.nodes.push(Node::new(id, inventory, first));
        self.node_reports(at)?;
        self.draw_fault(Kind::Crash, at, 0);
        self.draw_fault(Kind::Cut, at, 0);
        (0..devices).for_each(|device| self.draw_fault(Kind::Device, at, device));
        Ok(())
    }

    /// Lets every job of the workload be shaped before it is submitted.
    pub fn advise_by(&mut self, advisor: Box<dyn Advisor>) {
        self.advisor = Some(advisor);
    }

    /// Lets the jobs of a workload come, each at its time from now on.
    pub fn load(&mut self, workload: Workload) {
        let mut jobs = workload.jobs;
        let now = self.now.since(self.setup.begin);
        jobs.iter_mut().for_each(|job| job.arrives = Micros(job.arrives.0.saturating_add(now.0)));
        self.progress.0 += jobs.len();
        self.workload = jobs.into_iter();
        self.next_arrival();
    }

    fn next_arrival(&mut self) {
        self.next_job = self.workload.next();
        if let Some(job) = &self.next_job {
            let at = self.setup.begin.after(job.arrives).max(self.now);
            self.agenda.at(at, Happening::Arrive);
        }
    }

    /// True time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When it began.
    #[must_use]
    pub fn begin(&self) -> Timestamp {
        self.setup.begin
    }

    /// The engine as it stands.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the last plan said.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// How many jobs are over, and how many the workload brings.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.progress.1, self.progress.0)
    }

    /// What has been recorded so far.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Events since they were last taken, if they are kept.
    pub fn take_journal(&mut self) -> Vec<(Timestamp, Event)> {
        std::mem::take(&mut self.journal)
    }

    /// When something next happens by itself.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        if self.dirty { Some(self.now) } else { self.agenda.next() }
    }

    /// Whether anything but new faults can still happen.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.dirty || self.agenda.is_live()
    }

    /// Whether every job that comes has come and is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !self.dirty && self.next_job.is_none() && self.runs.is_empty()
    }

    /// Lets all happen that happens up to a moment, and moves to it.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn run_until(&mut self, until: Timestamp) -> Result<(), WorldError> {
        while self.next().is_some_and(|at| at <= until) {
            self.step()?;
        }
        self.pass_time(until);
        Ok(())
    }

    /// Lets the next moment happen; false when nothing but new faults is to come.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn step(&mut self) -> Result<bool, WorldError> {
        if !self.dirty {
            if !self.agenda.is_live() {
                return Ok(false);
            }
            let Some(at) = self.agenda.next() else { return Ok(false) };
            self.pass_time(at);
            while let Some(happening) = self.agenda.pop(self.now) {
                self.happen(happening)?;
            }
        }
        self.settle()?;
        Ok(true)
    }

    /// Lets everything happen, up to a moment at the latest, and gives what was recorded.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn finish(mut self, until: Option<Timestamp>) -> Result<Records, WorldError> {
        while self.next().is_some_and(|at| until.is_none_or(|until| at <= until)) {
            if self.is_done() || !self.step()? {
                break;
            }
        }
        self.into_records()
    }

    /// What was recorded; jobs that are not over are noted as they stand.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn into_records(mut self) -> Result<Records, WorldError> {
        if self.setup.check_every > 0 {
            self.check("the end")?;
        }
        for (id, run) in &self.runs {
            let state = self.engine.job(*id).map_or("gone".to_owned(), |job| job.state.to_string());
            if let Some(record) = self.records.jobs.get_mut(run.record) {
                (record.state, record.lost) = (state, run.lost());
            }
        }
        Ok(self.records)
    }

    fn pass_time(&mut self, to: Timestamp) {
        if to > self.now {
            self.records.advance(to, self.levels);
            self.now = to;
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), WorldError> {
        match happening {
            Happening::Arrive => {
                if let Some(job) = self.next_job.take() {
                    self.arrive(job)?;
                }
                self.next_arrival();
                Ok(())
            }
            Happening::Wake => {
                self.wake = None;
                self.dirty = true;
                Ok(())
            }
            Happening::Prepared(lease) => self.task_prepared(lease),
            Happening::Started(lease) => self.task_started(lease),
            Happening::Gone(lease) => self.task_gone(lease),
            Happening::Over(job, token) => self.run_over(job, token),
            Happening::Crash(node) => {
                let back = self.fate.ends(Kind::Crash, self.now);
                self.agenda.at(back, Happening::Return(node));
                self.crash(node);
                Ok(())
            }
            Happening::Return(node) => {
                self.draw_fault(Kind::Crash, node, 0);
                self.restore(node)
            }
            Happening::Cut(node) => {
                let back = self.fate.ends(Kind::Cut, self.now);
                self.agenda.at(back, Happening::Reach(node));
                self.cut(node);
                Ok(())
            }
            Happening::Reach(node) => {
                self.draw_fault(Kind::Cut, node, 0);
                self.reach(node)
            }
            Happening::Missed(node, outage) => self.missed(node, outage),
            Happening::Forlorn(node, outage) => self.forlorn(node, outage),
            Happening::Lose(node, device) => {
                let back = self.fate.ends(Kind::Device, self.now);
                self.agenda.at(back, Happening::Heal(node, device));
                self.lose(node, device)
            }
            Happening::Heal(node, device) => {
                self.draw_fault(Kind::Device, node, device);
                self.heal(node, device)
            }
        }
    }

    fn draw_fault(&mut self, kind: Kind, node: usize, device: usize) {
        let Some(at) = self.fate.begins(kind, self.now) else { return };
        let happening = match kind {
            Kind::Crash => Happening::Crash(node),
            Kind::Cut => Happening::Cut(node),
            Kind::Device => Happening::Lose(node, device),
        };
        self.agenda.at(at, happening);
    }

    // The server.

    /// The server's time of the next event: never back, whatever its clock says.
    #[must_use]
    pub fn server_time(&self) -> Timestamp {
        let clock = self.now.0.saturating_sub(self.behind.0);
        Timestamp(clock.max(self.last.0.saturating_add(1)))
    }

    /// Takes in an event that the engine may refuse.
    fn record(&mut self, event: Event) -> Result<Result<(), Refusal>, WorldError> {
        if let Err(refusal) = self.engine.admit(self.server_time(), &event) {
            return Ok(Err(refusal));
        }
        self.apply(event).map(Ok)
    }

    /// Takes in an event that the engine must accept.
    fn apply(&mut self, event: Event) -> Result<(), WorldError> {
        let at = self.server_time();
        self.derive(&event);
        self.engine.apply(at, &event).map_err(|error| WorldError::Refused {
            seed: self.setup.seed,
            events: self.records.events,
            why: error.to_string(),
            event: brief(&event),
        })?;
        self.last = at;
        self.records.events += 1;
        self.dirty = true;
        if self.setup.check_every > 0 && self.records.events.is_multiple_of(self.setup.check_every)
        {
            self.check(&brief(&event))?;
        }
        if self.setup.journal {
            self.journal.push((at, event));
        }
        Ok(())
    }

    fn check(&self, event: &str) -> Result<(), WorldError> {
        let Some(violation) = self.engine.check().into_iter().next() else { return Ok(()) };
        Err(WorldError::Broken {
            seed: self.setup.seed,
            events: self.records.events,
            violation: format!("{violation:?}"),
            event: event.to_owned(),
        })
    }

    /// Takes in what the engine decides until it decides nothing more, and lets nodes act on it.
    fn settle(&mut self) -> Result<(), WorldError> {
        self.dirty = false;
        for round in 0.. {
            self.planned_at = self.server_time();
            let (decisions, report) = self.engine.plan(self.planned_at);
            self.records.plans += 1;
            self.records.steps += report.steps;
            self.report = report;
            if decisions.is_empty() {
                break;
            }
            if round == PLAN_ROUNDS_MAX {
                let (seed, events) = (self.setup.seed, self.records.events);
                return Err(WorldError::Endless { seed, events });
            }
            for decision in decisions {
                self.apply(Event::Decided { decision })?;
            }
        }
        self.dirty = false;
        for node in std::mem::take(&mut self.touched) {
            self.sync(node);
        }
        if let Some(wake) = self.engine.next_wake(self.planned_at) {
            let wake = wake.after(self.behind).max(Timestamp(self.now.0 + 1));
            if self.wake.is_none_or(|planned| wake < planned) {
                self.wake = Some(wake);
                self.agenda.at(wake, Happening::Wake);
            }
        }
        Ok(())
    }

    /// Notes what an event means for the records, before the engine forgets what it ends.
    fn derive(&mut self, event: &Event) {
        match event {
            Event::LeaseStarted { lease } => {
                let now = self.now;
                if let Some(record) = self.records.lease(*lease) {
                    record.started = Some(now);
                }
            }
            Event::LeaseEnded { lease, end } => self.lease_ended(*lease, &end.outcome.to_string()),
            Event::JobCancelled { job, .. } => {
                self.touch(*job);
                self.dequeue(*job);
            }
            Event::Decided { decision } => self.decided(decision),
            _ => {}
        }
    }

    fn lease_ended(&mut self, id: LeaseId, state: &str) {
        let now = self.now;
        let Some(record) = self.records.lease(id) else { return };
        (record.ended, record.state) = (Some(now), state.to_owned());
        let (node, job) = (record.node, record.job);
        let (devices, compute) = (record.devices.clone(), record.compute.0);
        self.touched.insert(node);
        self.touch(job);
        for device in devices {
            self.hold(device, |held| held.saturating_sub(compute));
        }
        // A gang that was given back waits again once its last lease has ended.
        if let Some(run) = self.runs.get_mut(&job) {
            run.leases.retain(|lease| *lease != id);
            if run.leases.is_empty() {
                run.may_wait = true;
            }
        }
    }

    fn decided(&mut self, decision: &Decision) {
        match decision {
            Decision::Grant { job, leases } => {
                self.dequeue(*job);
                for lease in leases {
                    let Some(at) = self.node_of.get(&lease.node).copied() else { continue };
                    self.touched.insert(at);
                    let places: Vec<usize> = lease
                        .slices
                        .iter()
                        .filter_map(|slice| self.nodes[at].place(&slice.device))
                        .collect();
                    let compute = lease.slices.first().map_or(0, |slice| slice.compute.0);
                    for place in &places {
                        self.hold(*place, |held| held.saturating_add(compute));
                    }
                    self.records.granted(lease, at, places);
                }
                if let Some(run) = self.runs.get_mut(job) {
                    run.leases = leases.iter().map(|lease| lease.id).collect();
                    run.may_wait = false;
                }
            }
            Decision::Retry { job, .. } => {
                if self.queued.insert(*job) {
                    self.levels.queued += 1.0;
                }
            }
            Decision::Finish { job, outcome } => {
                self.dequeue(*job);
                self.touch(*job);
                self.progress.1 += 1;
                if let Some(run) = self.runs.remove(job)
                    && let Some(record) = self.records.jobs.get_mut(run.record)
                {
                    record.ended = Some(self.now);
                    record.state = outcome.to_string();
                    record.lost = run.lost();
                }
            }
            Decision::Preempt { job, victims, .. } => {
                self.touch(*job);
                victims.iter().for_each(|victim| self.touch(*victim));
            }
            Decision::Start { job }
            | Decision::Release { job }
            | Decision::Return { job, .. }
            | Decision::Stop { job, .. } => self.touch(*job),
        }
    }

    fn dequeue(&mut self, job: JobId) {
        if self.queued.remove(&job) {
            self.levels.queued -= 1.0;
        }
    }

    /// Changes what is held of a device.
    fn hold(&mut self, device: usize, change: impl FnOnce(u32) -> u32) {
        let before = self.held[device];
        let after = change(before);
        self.held[device] = after;
        let free = |held: u32| {
            let free = 1000u32.saturating_sub(held);
            f64::from(if held > 0 { free } else { 0 }) / 1000.0
        };
        let touched = |held: u32| f64::from(u8::from(held > 0));
        self.levels.held += (f64::from(after) - f64::from(before)) / 1000.0;
        self.levels.fragmented += free(after) - free(before);
        self.levels.touched += touched(after) - touched(before);
    }

    /// What the nodes of a job's leases should hold may have changed.
    fn touch(&mut self, job: JobId) {
        let Some(run) = self.runs.get(&job) else { return };
        for lease in &run.leases {
            if let Ok(at) = self.records.leases.binary_search_by_key(lease, |record| record.lease) {
                self.touched.insert(self.records.leases[at].node);
            }
        }
    }

    // Users and administrators.

    /// A job comes; one that is refused is recorded as such.
    fn arrive(&mut self, mut job: WorkJob) -> Result<(), WorldError> {
        let asked = self.advisor.is_some().then(|| job.ask.clone());
        if let Some(advisor) = &mut self.advisor {
            advisor.advise(&mut job.ask);
        }
        self.welcome(&job.ask.tenant)?;
        if let Ok(id) = self.submit(job)?
            && let Some(run) = self.runs.get_mut(&id)
        {
            run.asked = asked;
        }
        Ok(())
    }

    /// Adds a tenant, and those above it, unless they are known.
    ///
    /// # Errors
    /// The engine does not accept it.
    pub fn welcome(&mut self, tenant: &TenantPath) -> Result<(), WorldError> {
        let lineage: Vec<TenantPath> = tenant.lineage().collect();
        for path in lineage.into_iter().rev() {
            if !self.known_tenants.contains(&path) {
                self.set_tenant(Tenant::new(path))?;
            }
        }
        Ok(())
    }

    /// Submits a job as the server does. A refusal is recorded and said.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn submit(&mut self, job: WorkJob) -> Result<Result<JobId, Refusal>, WorldError> {
        let ask = &job.ask;
        let mut record = JobRecord {
            row: crate::num::len(self.records.jobs.len()) + 1,
            job: None,
            name: ask.name.clone(),
            tenant: ask.tenant.clone(),
            user: ask.user.clone(),
            tasks: ask.gang.max,
            devices: ask.devices.count,
            compute: ask.devices.compute,
            submitted: self.now,
            started: None,
            ended: None,
            state: String::new(),
            runs: 0,
            alone: job.runs,
            lost: Micros(0),
        };
        let id = self.engine.next_job_id();
        let event = Event::JobSubmitted { job: id, ask: ask.clone(), key: None };
        if let Err(refusal) = self.record(event)? {
            (record.state, record.ended) = (format!("refused: {refusal}"), Some(self.now));
            self.records.jobs.push(record);
            self.progress.1 += 1;
            return Ok(Err(refusal));
        }
        (record.job, record.state) = (Some(id), "queued".to_owned());
        self.runs.insert(id, Run::new(job, self.records.jobs.len()));
        self.records.jobs.push(record);
        self.queued.insert(id);
        self.levels.queued += 1.0;
        Ok(Ok(id))
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn cancel(&mut self, job: JobId, by: UserName) -> Result<Result<(), Refusal>, WorldError> {
        self.record(Event::JobCancelled { job, by })
    }

    /// Adds or changes a tenant.
    ///
    /// # Errors
    /// The engine does not accept it.
    pub fn set_tenant(&mut self, tenant: Tenant) -> Result<(), WorldError> {
        let path = tenant.path.clone();
        self.apply(Event::TenantSet { tenant })?;
        self.known_tenants.insert(path);
        Ok(())
    }

    /// The settings change.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn set_policy(&mut self, policy: Policy) -> Result<Result<(), Refusal>, WorldError> {
        self.record(Event::PolicySet { policy: Box::new(policy) })
    }

    /// Nodes are reserved.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn reserve(&mut self, what: Reservation) -> Result<Result<(), Refusal>, WorldError> {
        self.record(Event::ReservationSet { reservation: what })
    }

    /// A reservation is removed.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn unreserve(&mut self, name: String) -> Result<Result<(), Refusal>, WorldError> {
        self.record(Event::ReservationRemoved { name })
    }

    /// The server's clock goes back.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn clock_back(&mut self, by: Micros) -> Result<(), WorldError> {
        self.behind = Micros(self.behind.0.saturating_add(by.0));
        let clock = Timestamp(self.now.0.saturating_sub(self.behind.0));
        self.apply(Event::ClockStepped { clock, behind: self.last.since(clock) })
    }

    /// The place of a node.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn node_named(&self, name: &str) -> Result<usize, WorldError> {
        let at = self.nodes.iter().position(|node| node.id.as_str() == name);
        at.ok_or_else(|| WorldError::Unknown { what: "node", name: name.to_owned() })
    }

    /// The place of a device within its node.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn device_named(&self, node: usize, name: &str) -> Result<usize, WorldError> {
        let unknown = || WorldError::Unknown { what: "device", name: name.to_owned() };
        let id: DeviceId = name.parse().map_err(|_| unknown())?;
        let node = self.nodes.get(node).ok_or_else(unknown)?;
        node.place(&id).map(|place| place - node.first).ok_or_else(unknown)
    }
}

/// An event in few words, for reports of defects.
fn brief(event: &Event) -> String {
    const LENGTH_MAX: usize = 600;
    format!("{event:?}").chars().take(LENGTH_MAX).collect()
}
