//! What goes wrong on a node, and what its server and its agent make of it.

use super::Phase;
use crate::world::agenda::Happening;
use crate::world::{World, WorldError};
use polder_model::{Event, JobId, LeaseEnd, LeaseId, LeaseSample, Micros, Outcome};
use std::collections::BTreeSet;

impl World {
    /// A node crashes: its programs are gone, and nobody hears of it.
    pub fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.up {
            return;
        }
        node.up = false;
        node.outage += 1;
        let missed = Happening::Missed(at, node.outage);
        self.agenda.at(self.now.after(self.setup.delays.silent_after), missed);
        for job in self.jobs_on(at) {
            self.pause(job);
        }
        self.count_usable(at);
    }

    /// A node that crashed comes back, without its programs.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn restore(&mut self, at: usize) -> Result<(), WorldError> {
        if self.nodes[at].up {
            return Ok(());
        }
        let node = &mut self.nodes[at];
        (node.up, node.outage, node.incarnation) = (true, node.outage + 1, node.incarnation + 1);
        node.unsaid.clear();
        if node.cut {
            self.count_usable(at);
            return Ok(());
        }
        self.comes_back(at)
    }

    /// The first call of a new incarnation: what it has, and that nothing of its leases is left.
    fn comes_back(&mut self, at: usize) -> Result<(), WorldError> {
        self.node_reports(at)?;
        let lost: Vec<LeaseId> =
            self.engine.leases_of_node(&self.nodes[at].id).map(|l| l.id).collect();
        for lease in lost {
            let outcome = Outcome::Lost { why: "its node restarted".to_owned() };
            if self.tasks.contains_key(&lease) {
                self.end_task(lease, outcome)?;
            } else {
                let end = LeaseEnd { outcome, ran: Micros(0), sample: LeaseSample::default() };
                self.say(at, Event::LeaseEnded { lease, end })?;
            }
        }
        Ok(())
    }

    /// A node is cut off: its programs go on, but neither side hears the other.
    pub fn cut(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.cut {
            return;
        }
        node.cut = true;
        node.outage += 1;
        let outage = node.outage;
        let missed = self.now.after(self.setup.delays.silent_after);
        self.agenda.at(missed, Happening::Missed(at, outage));
        let limit = self.setup.policy.contact_limit;
        self.agenda.at(self.now.after(limit), Happening::Forlorn(at, outage));
        self.count_usable(at);
    }

    /// A node that was cut off is in reach again, and says what it could not.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn reach(&mut self, at: usize) -> Result<(), WorldError> {
        let node = &mut self.nodes[at];
        if !node.cut {
            return Ok(());
        }
        (node.cut, node.outage) = (false, node.outage + 1);
        let (unsaid, silent) = (std::mem::take(&mut node.unsaid), node.silent);
        let known = self.engine.node(&node.id).map(|view| view.incarnation);
        if !node.up {
            self.count_usable(at);
            return Ok(());
        }
        if known != Some(node.incarnation) {
            return self.comes_back(at);
        }
        if silent {
            node.silent = false;
            let event = Event::NodeBack { node: node.id.clone() };
            self.apply(event)?;
        }
        for event in unsaid {
            self.say(at, event)?;
        }
        self.count_usable(at);
        self.touched.insert(at);
        Ok(())
    }

    /// The server has waited long enough for a node's call.
    pub(in crate::world) fn missed(&mut self, at: usize, outage: u64) -> Result<(), WorldError> {
        let node = &mut self.nodes[at];
        if node.outage != outage || node.silent || (node.up && !node.cut) {
            return Ok(());
        }
        node.silent = true;
        let event = Event::NodeSilent { node: node.id.clone() };
        for job in self.jobs_on(at) {
            self.touch(job);
        }
        self.apply(event)
    }

    /// A node has been cut off for as long as its leases bear, and ends them.
    pub(in crate::world) fn forlorn(&mut self, at: usize, outage: u64) -> Result<(), WorldError> {
        let node = &self.nodes[at];
        if node.outage != outage || !node.up || !node.cut {
            return Ok(());
        }
        let started: Vec<LeaseId> = node.tasks.iter().copied().collect();
        for id in started {
            let Some(task) = self.tasks.get(&id) else { continue };
            if task.phase == Phase::Running {
                self.pause(task.job);
                let why = "its node was cut off for too long".to_owned();
                self.end_task(id, Outcome::Lost { why })?;
            }
        }
        Ok(())
    }

    /// A device goes away.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn lose(&mut self, at: usize, device: usize) -> Result<(), WorldError> {
        if !self.nodes[at].away.insert(device) {
            return Ok(());
        }
        let place = self.nodes[at].first + device;
        let hit = |id: &LeaseId| {
            let task = self.tasks.get(id)?;
            task.devices.contains(&place).then_some(task.job)
        };
        let jobs: BTreeSet<JobId> = self.nodes[at].tasks.iter().filter_map(hit).collect();
        for job in jobs {
            self.pause(job);
            self.touch(job);
        }
        self.inventory_changed(at)
    }

    /// A device is back.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn heal(&mut self, at: usize, device: usize) -> Result<(), WorldError> {
        if !self.nodes[at].away.remove(&device) {
            return Ok(());
        }
        self.inventory_changed(at)
    }

    fn inventory_changed(&mut self, at: usize) -> Result<(), WorldError> {
        let node = &self.nodes[at];
        if !node.up {
            return Ok(());
        }
        let event = node.report();
        self.count_usable(at);
        self.touched.insert(at);
        self.say(at, event)
    }

    /// From now on a node prepares nothing, or does again.
    pub fn stick(&mut self, at: usize, stuck: bool) {
        self.nodes[at].stuck = stuck;
        if stuck {
            return;
        }
        for id in self.nodes[at].tasks.clone() {
            self.agenda.at(self.now.after(self.setup.delays.prepare), Happening::Prepared(id));
        }
    }

    fn jobs_on(&self, at: usize) -> BTreeSet<JobId> {
        let tasks = self.nodes[at].tasks.iter();
        tasks.filter_map(|id| Some(self.tasks.get(id)?.job)).collect()
    }
}
