//! What events mean for the records of a world and for its nodes.

use super::World;
use super::agenda::Happening;
use super::record::cpus;
use super::run::Run;
use polder_model::{Decision, Event, JobId, Lease, LeaseId, MilliCpu, Outcome};

impl World {
    /// Notes what an event means for the records, before the engine forgets what it ends.
    pub(super) fn derive(&mut self, event: &Event) {
        match event {
            Event::LeasePrepared { lease, .. } => {
                // Who joins a gang that runs is told to start at once.
                if let Some(record) = self.records.lease(*lease) {
                    self.touched.insert(record.node);
                }
            }
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
            Event::JobScaled { job, .. } | Event::JobResized { job, .. } => self.touch(*job),
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
        self.levels.cpus_held -= cpus(record.cpu);
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
            Decision::Grow { job, leases } => {
                self.granted(leases);
                if let Some(run) = self.runs.get_mut(job) {
                    run.leases.extend(leases.iter().map(|lease| lease.id));
                }
            }
            Decision::Grant { job, leases } => {
                self.dequeue(*job);
                self.granted(leases);
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
                if let Some(run) = self.runs.remove(job) {
                    self.finished(run, outcome);
                }
            }
            Decision::Preempt { job, victims, shrinks, .. } => {
                self.touch(*job);
                victims.iter().for_each(|victim| self.touch(*victim));
                shrinks.iter().for_each(|shrink| self.touch(shrink.job));
            }
            Decision::Start { job }
            | Decision::Release { job }
            | Decision::Return { job, .. }
            | Decision::Stop { job, .. }
            | Decision::Shrink { job, .. } => self.touch(*job),
        }
    }

    /// The engine is done with a job: it is over, unless its user submits it again.
    fn finished(&mut self, run: Run, outcome: &Outcome) {
        let record = self.records.jobs.get_mut(run.record);
        if run.is_worth_another(outcome, self.setup.submits_again) {
            if let Some(record) = record {
                "queued".clone_into(&mut record.state);
            }
            self.again.push_back(run);
            self.agenda.at(self.now, Happening::Again);
            return;
        }
        self.progress.1 += 1;
        if let Some(record) = record {
            record.ended = Some(self.now);
            record.state = outcome.to_string();
            record.lost = run.lost();
        }
    }

    fn granted(&mut self, leases: &[Lease]) {
        for lease in leases {
            let Some(at) = self.node_of.get(&lease.node).copied() else { continue };
            self.touched.insert(at);
            let slices = lease.slices.iter();
            let places = slices.filter_map(|slice| self.nodes[at].place(&slice.device));
            let places: Vec<usize> = places.collect();
            let compute = lease.slices.first().map_or(0, |slice| slice.compute.0);
            for place in &places {
                self.hold(*place, |held| held.saturating_add(compute));
            }
            let cpu = self.runs.get(&lease.job).map_or(MilliCpu(0), Run::cpu);
            self.levels.cpus_held += cpus(cpu);
            self.records.granted(lease, at, places, cpu);
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
    pub(super) fn touch(&mut self, job: JobId) {
        let Some(run) = self.runs.get(&job) else { return };
        for lease in &run.leases {
            if let Ok(at) = self.records.leases.binary_search_by_key(lease, |record| record.lease) {
                self.touched.insert(self.records.leases[at].node);
            }
        }
    }
}
