//! Programs: how far a job has come, how fast it goes, and when it is over.

use super::agenda::Happening;
use super::node::Task;
use super::share::{Sharer, divide};
use super::{World, WorldError};
use crate::num::count;
use crate::workload::WorkJob;
use polder_model::{
    Ask, Bytes, DeviceSample, Event, GangKind, JobId, LeaseId, LeaseSample, Micros, MilliCpu,
    Outcome, TaskIndex, Timestamp,
};
use std::collections::BTreeSet;

/// A job that is not over.
#[derive(Debug)]
pub(super) struct Run {
    job: WorkJob,
    /// Its place among the records.
    pub(super) record: usize,
    /// What it asked for before an advisor changed it.
    pub(super) asked: Option<Ask>,
    /// Leases of its present try that have not ended.
    pub(super) leases: Vec<LeaseId>,
    /// It holds nothing: the engine may have queued it again.
    pub(super) may_wait: bool,
    /// Work that an interruption leaves, in microseconds alone.
    kept: f64,
    /// Work done again or for nothing.
    lost: f64,
    now: Option<Going>,
    token: u64,
    /// How often its user has submitted it again.
    again: u32,
}

/// A job whose whole gang runs.
#[derive(Debug)]
struct Going {
    began: Timestamp,
    since: Timestamp,
    /// Work done by `since`.
    done: f64,
    /// Work to do in all.
    all: f64,
    speed: f64,
}

impl Run {
    pub(super) fn new(job: WorkJob, record: usize) -> Self {
        Self {
            job,
            record,
            asked: None,
            leases: Vec::new(),
            may_wait: false,
            kept: 0.0,
            lost: 0.0,
            now: None,
            token: 0,
            again: 0,
        }
    }

    /// Whether its user submits it again after this end: a fault ended it, not itself.
    pub(super) fn is_worth_another(&self, outcome: &Outcome, again_max: u32) -> bool {
        let by_fault = matches!(outcome, Outcome::Lost { .. } | Outcome::NotStarted { .. });
        by_fault && *outcome != self.job.outcome && self.again < again_max
    }

    pub(super) fn lost(&self) -> Micros {
        Micros(count(self.lost))
    }

    /// CPU of each of its tasks.
    pub(super) fn cpu(&self) -> MilliCpu {
        self.job.ask.host.cpu.unwrap_or_default()
    }

    /// Its gang runs.
    pub(super) fn goes(&self) -> bool {
        self.now.is_some()
    }

    /// Its tasks know nothing of each other.
    pub(super) fn is_service(&self) -> bool {
        self.job.ask.gang.kind == GangKind::Service
    }

    /// What an agent would have metered of a task that ran so long.
    pub(super) fn sample(&self, task: &Task, ran: Micros) -> LeaseSample {
        let uses = u64::from(self.job.uses.0);
        let device_time = Micros(ran.0 / 1000 * uses);
        let memory_peak = self.job.memory_peak.unwrap_or(self.job.ask.devices.memory);
        let device = |device: &polder_model::DeviceId| DeviceSample {
            device: device.clone(),
            device_time,
            contended_time: Micros(0),
            memory: Bytes(0),
            memory_peak,
            refused: 0,
            backing: Bytes(0),
            throttle: Vec::new(),
            owed: Micros(0),
        };
        let devices = task.device_ids.iter().map(device).collect();
        LeaseSample { devices, ..LeaseSample::default() }
    }
}

impl World {
    /// A gang runs as a whole from now on.
    pub(super) fn resume(&mut self, id: JobId) {
        self.resume_since(id, self.now);
    }

    /// The same for one whose time counts from `began`.
    fn resume_since(&mut self, id: JobId, began: Timestamp) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.now.is_some() {
            return;
        }
        let before = self.records.jobs.get(run.record).is_some_and(|record| record.runs > 0);
        // Replicas come and go without the others starting again.
        let (again, first) = (before && !run.is_service(), !before);
        let extra = if again { run.job.ask.yields.restart_cost.0 as f64 } else { 0.0 };
        run.lost += extra;
        let all = run.job.runs.0 as f64 + extra;
        let (now, done) = (self.now, run.kept);
        run.now = Some(Going { began, since: now, done, all, speed: 0.0 });
        if let Some(record) = self.records.jobs.get_mut(run.record) {
            record.started.get_or_insert(now);
            record.runs += u32::from(again || first);
        }
        self.levels.running += 1.0;
        let leases = run.leases.clone();
        let leases: Vec<LeaseId> = self.running(&leases).collect();
        let mut devices = BTreeSet::new();
        for lease in leases {
            for device in self.tasks.get(&lease).into_iter().flat_map(|task| &task.devices) {
                self.sharers[*device].push(lease);
                devices.insert(*device);
            }
        }
        self.share_out(&devices, Some(id));
    }

    /// A job's program stops; what it saved is left.
    pub(super) fn pause(&mut self, id: JobId) {
        let Some(done) = self.halt(id) else { return };
        let Some(run) = self.runs.get_mut(&id) else { return };
        let every = run.job.ask.yields.checkpoint_interval.map_or(0.0, |every| every.0 as f64);
        let saved = if every > 0.0 { (done / every).floor() * every } else { 0.0 };
        run.lost += done - saved.max(run.kept).min(done);
        run.kept = saved.max(run.kept).min(done);
    }

    /// Members of a gang came or went: the others meet anew, with the work they have, which costs
    /// what a restart costs.
    pub(super) fn regroup(&mut self, id: JobId) {
        let going = self.runs.get(&id).and_then(|run| run.now.as_ref());
        let Some(began) = going.map(|going| going.began) else { return };
        let done = self.halt(id);
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.kept = done.unwrap_or(run.kept);
        let leases = run.leases.clone();
        if self.running(&leases).next().is_some() {
            self.resume_since(id, began);
        }
    }

    /// A job's program stops; gives the work it had done.
    fn halt(&mut self, id: JobId) -> Option<f64> {
        let now = self.now;
        let run = self.runs.get_mut(&id)?;
        let going = run.now.take()?;
        run.token += 1;
        self.levels.running -= 1.0;
        let leases = run.leases.clone();
        let mut devices = BTreeSet::new();
        for lease in leases {
            let Some(task) = self.tasks.get_mut(&lease) else { continue };
            self.levels.busy -= task.times.iter().sum::<f64>();
            task.times.clear();
            task.speeds.clear();
            for device in task.devices.clone() {
                self.sharers[device].retain(|sharer| *sharer != lease);
                devices.insert(device);
            }
        }
        self.share_out(&devices, None);
        Some(going.done + now.since(going.since).0 as f64 * going.speed)
    }

    /// Works out anew what tasks get of these devices, and how fast their jobs go.
    fn share_out(&mut self, devices: &BTreeSet<usize>, new: Option<JobId>) {
        let mut jobs: BTreeSet<JobId> = new.into_iter().collect();
        for device in devices {
            let leases = self.sharers[*device].clone();
            let sharer = |lease: &LeaseId| {
                let task = self.tasks.get(lease)?;
                let uses = f64::from(self.runs.get(&task.job)?.job.uses.0) / 1000.0;
                Some(Sharer { weight: task.weight, cap: task.cap, uses })
            };
            let sharers: Vec<Sharer> = leases.iter().filter_map(sharer).collect();
            let got = divide(&sharers, self.setup.interference);
            for (lease, got) in leases.iter().zip(got) {
                let Some(task) = self.tasks.get_mut(lease) else { continue };
                let width = task.devices.len();
                task.speeds.resize(width, 0.0);
                let busy: f64 = task.times.iter().sum();
                task.times.resize(width, 0.0);
                for (at, _) in task.devices.iter().enumerate().filter(|(_, d)| *d == device) {
                    task.speeds[at] = got.speed;
                    task.times[at] = got.time;
                }
                self.levels.busy += task.times.iter().sum::<f64>() - busy;
                jobs.insert(task.job);
            }
        }
        for job in jobs {
            self.set_speed(job);
        }
    }

    /// A gang goes as fast as the slowest of its devices, and in proportion to its members.
    fn set_speed(&mut self, id: JobId) {
        let now = self.now;
        let Some(run) = self.runs.get(&id) else { return };
        let tasks = run.leases.iter().filter_map(|lease| self.tasks.get(lease));
        let slowest = tasks.flat_map(|task| &task.speeds).copied().fold(1.0, f64::min);
        let members = self.running(&run.leases).count() as f64;
        let Some(run) = self.runs.get_mut(&id) else { return };
        let members = members / f64::from(run.job.ask.gang.max.max(1));
        let is_service = run.is_service();
        let Some(going) = &mut run.now else { return };
        let speed = slowest * members;
        going.done += now.since(going.since).0 as f64 * going.speed;
        going.since = now;
        if going.speed.to_bits() == speed.to_bits() {
            return;
        }
        going.speed = speed;
        run.token += 1;
        if is_service {
            // It has no end of its own: its user cancels it.
            return;
        }
        let token = run.token;
        let left = (going.all - going.done).max(0.0);
        let mut over =
            if speed > 0.0 { now.0.saturating_add(count((left / speed).ceil())) } else { u64::MAX };
        if let Some(limit) = run.job.ask.when.time_limit {
            over = over.min(going.began.0.saturating_add(limit.0).max(now.0));
        }
        self.agenda.at(Timestamp(over), Happening::Over(id, token));
    }

    /// A job's user has had enough of it.
    pub(super) fn leave(&mut self, id: JobId) -> Result<(), WorldError> {
        let Some(run) = self.runs.get(&id) else { return Ok(()) };
        let by = run.job.ask.user.clone();
        self.cancel(id, by)?.ok();
        Ok(())
    }

    /// A job that a fault ended comes again, with what it saved; its record goes on.
    pub(super) fn submit_again(&mut self) -> Result<(), WorldError> {
        let Some(before) = self.again.pop_front() else { return Ok(()) };
        let id = self.engine.next_job_id();
        let event = Event::JobSubmitted { job: id, ask: before.job.ask.clone(), key: None };
        let refused = self.record(event)?.err();
        let (lost, record) = (before.lost(), self.records.jobs.get_mut(before.record));
        if let Some(refusal) = refused {
            self.progress.1 += 1;
            if let Some(record) = record {
                (record.state, record.ended) = (format!("refused: {refusal}"), Some(self.now));
                record.lost = lost;
            }
            return Ok(());
        }
        if let Some(record) = record {
            record.job = Some(id);
        }
        let again = before.again + 1;
        let (leases, may_wait, now) = (Vec::new(), false, None);
        self.runs.insert(id, Run { leases, may_wait, now, again, ..before });
        self.queued.insert(id);
        self.levels.queued += 1.0;
        Ok(())
    }

    /// A job's work is done, or its time is up.
    pub(super) fn run_over(&mut self, id: JobId, token: u64) -> Result<(), WorldError> {
        let now = self.now;
        let Some(run) = self.runs.get(&id).filter(|run| run.token == token) else { return Ok(()) };
        let Some(going) = &run.now else { return Ok(()) };
        let limit = run.job.ask.when.time_limit;
        let done = going.done + now.since(going.since).0 as f64 * going.speed;
        let late = limit.is_some_and(|limit| now.since(going.began) >= limit);
        let outcome = if late && done + 1.0 < going.all {
            Outcome::TimedOut
        } else {
            run.job.outcome.clone()
        };
        self.end_job(id, &outcome)
    }

    /// Every task of a job that runs is over, by itself.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn end_job(&mut self, id: JobId, outcome: &Outcome) -> Result<(), WorldError> {
        let done = self.halt(id);
        let Some(run) = self.runs.get_mut(&id) else { return Ok(()) };
        if *outcome != Outcome::Succeeded {
            run.lost += done.unwrap_or(0.0) - run.kept;
        }
        for lease in run.leases.clone() {
            self.end_task(lease, outcome.clone())?;
        }
        Ok(())
    }

    /// One task of a gang is over, by itself; what the others do is left to them.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn end_member(
        &mut self,
        id: JobId,
        rank: TaskIndex,
        outcome: Outcome,
    ) -> Result<(), WorldError> {
        let leases = self.runs.get(&id).map_or(&[][..], |run| &run.leases);
        let found = leases
            .iter()
            .find(|lease| self.engine.lease(**lease).is_some_and(|lease| lease.task == rank));
        let Some(lease) = found.copied() else { return Ok(()) };
        if self.runs.get(&id).is_some_and(Run::is_service) {
            self.end_task(lease, outcome)?;
            self.regroup(id);
            return Ok(());
        }
        if outcome != Outcome::Succeeded {
            self.pause(id);
        }
        self.end_task(lease, outcome)
    }
}
