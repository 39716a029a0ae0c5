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
mod clock;
mod error;
mod faults;
mod node;
mod noted;
mod record;
mod run;
mod series;
mod server;
mod setup;
mod share;
mod users;

pub use error::WorldError;
pub use faults::Faults;
pub use record::{JobRecord, LeaseRecord, Machine, Place, Records, Unit};
pub use series::{BUCKETS_MAX, Levels, Series};
pub use setup::{Advisor, BEGIN, Delays, Setup};
pub use share::{Got, Interference, Sharer, divide};

use crate::workload::{WorkJob, Workload};
use agenda::{Agenda, Happening};
use faults::{Fate, Kind};
use node::{Node, Task};
use polder_engine::{Engine, Report};
use polder_model::{
    Device, Event, Inventory, JobId, LeaseId, Micros, NodeId, TenantPath, Timestamp,
};
use run::Run;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// Jobs that a fault ended and that are about to be submitted again.
    again: VecDeque<Run>,
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
            again: VecDeque::new(),
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
        self.records.machines.push(Machine { node: id.clone(), cpu: inventory.node.cpu });
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
        let none = self.runs.is_empty() && self.again.is_empty();
        !self.dirty && self.next_job.is_none() && none
    }
}
