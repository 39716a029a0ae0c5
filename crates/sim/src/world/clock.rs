//! How time passes: what happens next, and what it sets off.

use super::agenda::Happening;
use super::faults::Kind;
use super::record::Records;
use super::{World, WorldError};
use polder_model::Timestamp;

impl World {
    /// Lets all happen that happens up to a moment, and moves to it.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn run_until(&mut self, until: Timestamp) -> Result<(), WorldError> {
        while self.next().is_some_and(|at| at <= until) {
            if !self.step()? {
                break;
            }
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
        self.cut_off(until);
        self.into_records()
    }

    /// Moves to the moment at which a run is cut off, unless everything is over before: what still
    /// runs or waits then counts up to that moment.
    pub fn cut_off(&mut self, until: Option<Timestamp>) {
        if let Some(until) = until
            && !self.is_done()
        {
            self.pass_time(until);
        }
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
            Happening::Shrunk(lease) => self.task_shrunk(lease),
            Happening::Started(lease) => self.task_started(lease),
            Happening::Gone(lease) => self.task_gone(lease),
            Happening::Over(job, token) => self.run_over(job, token),
            Happening::Leave(job) => self.leave(job),
            Happening::Again => self.submit_again(),
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

    pub(super) fn draw_fault(&mut self, kind: Kind, node: usize, device: usize) {
        let Some(at) = self.fate.begins(kind, self.now) else { return };
        let happening = match kind {
            Kind::Crash => Happening::Crash(node),
            Kind::Cut => Happening::Cut(node),
            Kind::Device => Happening::Lose(node, device),
        };
        self.agenda.at(at, happening);
    }
}
