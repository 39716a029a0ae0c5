//! Nodes: an agent that does what the server tells it, on a machine that may fail.

mod outages;

use super::agenda::Happening;
use super::record::cpus;
use super::run::Run;
use super::{World, WorldError};
use polder_model::{
    DeviceId, Event, Inventory, Isolation, JobId, LeaseEnd, LeaseId, LeaseSample, LeaseState,
    Mechanism, Micros, NodeId, Outcome, StopReason, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// A machine of the pool.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    /// The place of its first device among all of the pool.
    pub(super) first: usize,
    all: Inventory,
    /// Devices that are away, by place within the node.
    away: BTreeSet<usize>,
    place_of: BTreeMap<DeviceId, usize>,
    incarnation: u64,
    up: bool,
    cut: bool,
    /// Leases granted here are never prepared.
    stuck: bool,
    /// Whether the server has noticed its silence.
    silent: bool,
    /// Counts outages, so that what was planned for one does not meet the next.
    outage: u64,
    /// What could not be reported while it was cut off.
    unsaid: Vec<Event>,
    pub(super) tasks: BTreeSet<LeaseId>,
    /// Devices and CPUs of it that count as usable now.
    counted: (f64, f64),
}

/// How far a task has come on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Preparing,
    Prepared,
    Starting,
    Running,
}

/// One lease as its node holds it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: JobId,
    pub(super) node: usize,
    /// Places of its devices among all of the pool.
    pub(super) devices: Vec<usize>,
    pub(super) device_ids: Vec<DeviceId>,
    pub(super) weight: f64,
    pub(super) cap: f64,
    /// What it gets of each device while its job runs.
    pub(super) speeds: Vec<f64>,
    pub(super) times: Vec<f64>,
    rank: u32,
    gang: u32,
    phase: Phase,
    started: Option<Timestamp>,
    stop: Option<StopReason>,
    whole: bool,
    /// A replica of a service, which knows nothing of the others.
    pub(super) alone: bool,
}

impl Node {
    pub(super) fn new(id: NodeId, all: Inventory, first: usize) -> Self {
        let ids = all.devices.iter().enumerate();
        let place_of = ids.map(|(at, device)| (device.id.clone(), first + at)).collect();
        Self {
            id,
            first,
            all,
            away: BTreeSet::new(),
            place_of,
            incarnation: 1,
            up: true,
            cut: false,
            stuck: false,
            silent: false,
            outage: 0,
            unsaid: Vec::new(),
            tasks: BTreeSet::new(),
            counted: (0.0, 0.0),
        }
    }

    pub(super) fn devices(&self) -> usize {
        self.all.devices.len()
    }

    /// The place of a device among all of the pool.
    pub(super) fn place(&self, device: &DeviceId) -> Option<usize> {
        self.place_of.get(device).copied()
    }

    fn inventory(&self) -> Inventory {
        let mut inventory = self.all.clone();
        let mut at = 0;
        inventory.devices.retain(|_| {
            at += 1;
            !self.away.contains(&(at - 1))
        });
        inventory
    }

    fn report(&self) -> Event {
        Event::NodeReported {
            node: self.id.clone(),
            incarnation: self.incarnation,
            inventory: self.inventory(),
        }
    }

    /// Devices and CPUs that can be used.
    fn usable(&self) -> (f64, f64) {
        if !self.up || self.cut {
            return (0.0, 0.0);
        }
        ((self.devices() - self.away.len()) as f64, cpus(self.all.node.cpu))
    }
}

impl World {
    // Agents.

    /// Lets a node learn what it should hold, and act on it.
    pub(super) fn sync(&mut self, at: usize) {
        let node = &self.nodes[at];
        if !node.up || node.cut {
            return;
        }
        let stuck = node.stuck;
        let (orders, tombstones) = self.engine.desired(&node.id);
        for order in orders {
            let id = order.lease.id;
            if !self.tasks.contains_key(&id) {
                // One that is not new was lost in a crash; its end has been said.
                if order.lease.state != LeaseState::Granted {
                    continue;
                }
                let slices = &order.lease.slices;
                let node = &self.nodes[at];
                let first = slices.first();
                let part = |p: Option<u32>| f64::from(p.unwrap_or(0)) / 1000.0;
                let task = Task {
                    job: order.lease.job,
                    node: at,
                    devices: slices.iter().filter_map(|s| node.place(&s.device)).collect(),
                    device_ids: slices.iter().map(|s| s.device.clone()).collect(),
                    weight: part(first.map(|s| s.compute.0)),
                    cap: part(first.map(|s| s.compute_max.0)),
                    speeds: Vec::new(),
                    times: Vec::new(),
                    rank: order.gang.rank,
                    gang: order.gang.size,
                    phase: Phase::Preparing,
                    started: None,
                    stop: None,
                    whole: first.is_some_and(|s| s.mechanism == Mechanism::Whole),
                    alone: self.is_service(order.lease.job),
                };
                self.tasks.insert(id, task);
                self.nodes[at].tasks.insert(id);
                if !stuck {
                    let ready = self.now.after(self.setup.delays.prepare);
                    self.agenda.at(ready, Happening::Prepared(id));
                }
            }
            if !order.lease.leaving.is_zero() {
                self.agenda.at(self.now, Happening::Shrunk(id));
            }
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            if order.start && task.phase == Phase::Prepared {
                task.phase = Phase::Starting;
                let runs = self.now.after(self.setup.delays.start);
                self.agenda.at(runs, Happening::Started(id));
            }
        }
        for tombstone in tombstones {
            self.bury(at, tombstone.lease, tombstone.why, tombstone.grace);
        }
    }

    fn is_service(&self, job: JobId) -> bool {
        self.runs.get(&job).is_some_and(Run::is_service)
    }

    /// A lease is to end.
    fn bury(&mut self, at: usize, id: LeaseId, why: StopReason, grace: Micros) {
        let Some(task) = self.tasks.get_mut(&id) else {
            // Granted and given back before the node heard of it.
            let Some(lease) = self.engine.lease(id) else { return };
            let task = Task {
                job: lease.job,
                node: at,
                devices: Vec::new(),
                device_ids: Vec::new(),
                weight: 0.0,
                cap: 0.0,
                speeds: Vec::new(),
                times: Vec::new(),
                rank: lease.task,
                gang: 0,
                phase: Phase::Preparing,
                started: None,
                stop: Some(why),
                whole: false,
                alone: false,
            };
            self.tasks.insert(id, task);
            self.nodes[at].tasks.insert(id);
            self.agenda.at(self.now, Happening::Gone(id));
            return;
        };
        if task.stop.is_some() {
            return;
        }
        let runs = matches!(task.phase, Phase::Running | Phase::Starting);
        let (job, wait) = (task.job, self.setup.delays.stop.min(grace));
        let goes_on = matches!(why, StopReason::Shrunk { .. }) || task.alone;
        task.stop = Some(why);
        let gone = if runs { self.now.after(wait) } else { self.now };
        self.agenda.at(gone, Happening::Gone(id));
        if goes_on {
            self.regroup(job);
        } else {
            self.pause(job);
        }
    }

    pub(super) fn task_prepared(&mut self, id: LeaseId) -> Result<(), WorldError> {
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        if task.phase != Phase::Preparing || task.stop.is_some() {
            return Ok(());
        }
        task.phase = Phase::Prepared;
        let isolation = if task.whole { Isolation::None } else { Isolation::Soft };
        let master_port = (task.rank == 0).then_some(4000);
        let node = task.node;
        self.say(
            node,
            Event::LeasePrepared { lease: id, isolation, master_port, not_enforced: Vec::new() },
        )
    }

    /// A lower memory holds as soon as a node has heard of it.
    pub(super) fn task_shrunk(&mut self, id: LeaseId) -> Result<(), WorldError> {
        // A node that is away says nothing of it: there may be other terms by the time it is back.
        let reached = |node: &usize| self.nodes[*node].up && !self.nodes[*node].cut;
        match self.tasks.get(&id).map(|task| task.node).filter(reached) {
            Some(node) => self.say(node, Event::LeaseShrunk { lease: id }),
            None => Ok(()),
        }
    }

    pub(super) fn task_started(&mut self, id: LeaseId) -> Result<(), WorldError> {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        if task.phase != Phase::Starting || task.stop.is_some() {
            return Ok(());
        }
        task.phase = Phase::Running;
        task.started = Some(now);
        let (node, job, gang) = (task.node, task.job, task.gang);
        self.say(node, Event::LeaseStarted { lease: id })?;
        let all = self.runs.get(&job).map_or(0, |run| self.running(&run.leases).count());
        if self.runs.get(&job).is_some_and(Run::goes) {
            // It joins a gang that runs.
            self.regroup(job);
        } else if u32::try_from(all) == Ok(gang) {
            self.resume(job);
        }
        Ok(())
    }

    /// Those of these leases whose programs run and are not being ended.
    pub(super) fn running<'l>(
        &'l self,
        leases: &'l [LeaseId],
    ) -> impl Iterator<Item = LeaseId> + 'l {
        let runs = |task: &Task| task.phase == Phase::Running && task.stop.is_none();
        leases.iter().copied().filter(move |lease| self.tasks.get(lease).is_some_and(runs))
    }

    pub(super) fn task_gone(&mut self, id: LeaseId) -> Result<(), WorldError> {
        let Some(task) = self.tasks.get(&id) else { return Ok(()) };
        let outcome = match &task.stop {
            Some(StopReason::Cancelled { .. } | StopReason::GangMemberEnded { .. }) | None => {
                Outcome::Cancelled
            }
            Some(
                StopReason::Returned | StopReason::Preempted { .. } | StopReason::Shrunk { .. },
            ) => Outcome::Returned,
            Some(StopReason::DeviceLost { why }) => Outcome::Lost { why: why.clone() },
            Some(StopReason::Unknown) => Outcome::Lost { why: "unknown lease".to_owned() },
        };
        self.end_task(id, outcome)
    }

    /// A task is over and its node says so.
    pub(super) fn end_task(&mut self, id: LeaseId, outcome: Outcome) -> Result<(), WorldError> {
        let Some(task) = self.tasks.remove(&id) else { return Ok(()) };
        self.nodes[task.node].tasks.remove(&id);
        let ran = task.started.map_or(Micros(0), |started| self.now.since(started));
        let sample = self.sample_of(&task, ran);
        let end = LeaseEnd { outcome, ran, sample };
        let asked = self.runs.get(&task.job).and_then(|run| run.asked.as_ref());
        if let (Some(advisor), Some(asked)) = (&mut self.advisor, asked) {
            advisor.learn(asked, &end);
        }
        self.say(task.node, Event::LeaseEnded { lease: id, end })
    }

    /// What the agent metered of a task.
    fn sample_of(&self, task: &Task, ran: Micros) -> LeaseSample {
        let Some(run) = self.runs.get(&task.job).filter(|_| ran.0 > 0) else {
            return LeaseSample::default();
        };
        run.sample(task, ran)
    }

    /// A node reports something, or keeps it until it is in reach again.
    fn say(&mut self, at: usize, event: Event) -> Result<(), WorldError> {
        if !self.nodes[at].up {
            return Ok(());
        }
        if self.nodes[at].cut {
            self.nodes[at].unsaid.push(event);
            return Ok(());
        }
        // What came too late is refused and forgotten, as the server does.
        let job = self.job_of(&event);
        self.record(event)?.ok();
        self.requeue(job);
        Ok(())
    }

    fn job_of(&self, event: &Event) -> Option<JobId> {
        let Event::LeaseEnded { lease, .. } = event else { return None };
        self.engine.lease(*lease).map(|lease| lease.job)
    }

    /// A job whose last lease was given back waits again without a word from the engine.
    fn requeue(&mut self, job: Option<JobId>) {
        let Some(id) = job else { return };
        if !self.runs.get(&id).is_some_and(|run| run.may_wait) || self.queued.contains(&id) {
            return;
        }
        let waits =
            self.engine.job(id).is_some_and(|job| job.state == polder_model::JobState::Queued);
        if waits && self.queued.insert(id) {
            self.levels.queued += 1.0;
        }
    }

    pub(super) fn node_reports(&mut self, at: usize) -> Result<(), WorldError> {
        let node = &mut self.nodes[at];
        node.silent = false;
        let event = node.report();
        self.apply(event)?;
        self.count_usable(at);
        self.touched.insert(at);
        Ok(())
    }

    fn count_usable(&mut self, at: usize) {
        let usable = self.nodes[at].usable();
        let counted = self.nodes[at].counted;
        self.levels.devices += usable.0 - counted.0;
        self.levels.cpus += usable.1 - counted.1;
        self.nodes[at].counted = usable;
    }
}
