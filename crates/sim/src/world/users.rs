//! Users and administrators of a world: what they may ask of its server.

use super::agenda::Happening;
use super::record::JobRecord;
use super::run::Run;
use super::{World, WorldError};
use crate::workload::WorkJob;
use polder_engine::{Policy, Refusal};
use polder_model::{
    DeviceId, Event, JobId, Micros, Reservation, Size, Tenant, TenantPath, Timestamp, UserName,
};

impl World {
    /// A job comes; one that is refused is recorded as such.
    pub(super) fn arrive(&mut self, mut job: WorkJob) -> Result<(), WorldError> {
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
            cpu: ask.host.cpu.unwrap_or_default(),
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
        if let Some(leaves) = job.leaves {
            self.agenda.at(self.now.after(leaves), Happening::Leave(id));
        }
        self.runs.insert(id, Run::new(job, self.records.jobs.len()));
        self.records.jobs.push(record);
        self.queued.insert(id);
        self.levels.queued += 1.0;
        Ok(Ok(id))
    }

    /// Changes the size of a job, as the server does.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn resize(
        &mut self,
        job: JobId,
        to: Size,
        by: UserName,
    ) -> Result<Result<(), Refusal>, WorldError> {
        self.record(Event::JobResized { job, to, by, until_shrunk: true })
    }

    /// Changes how many replicas a service has.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn scale(
        &mut self,
        job: JobId,
        (min, max): (u32, u32),
        by: UserName,
    ) -> Result<Result<(), Refusal>, WorldError> {
        self.record(Event::JobScaled { job, min, max, by })
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
