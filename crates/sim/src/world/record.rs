//! What a run leaves: each job, each lease, and the pool over time.

use super::series::{Levels, Series};
use polder_model::{
    Bytes, DeviceId, JobId, Lease, LeaseId, Micros, MilliCpu, NodeId, Permille, TenantPath,
    Timestamp, UserName,
};
use serde::Serialize;

/// What the figures of a run count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Devices: some job asked for one.
    #[default]
    Devices,
    /// CPUs: no job asked for a device.
    Cpus,
}

/// What became of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Its place among all that came, from 1.
    pub row: u64,
    /// Its number; absent when it was refused.
    pub job: Option<JobId>,
    /// What it was called.
    pub name: Option<String>,
    /// Who pays.
    pub tenant: TenantPath,
    /// Who asked.
    pub user: UserName,
    /// Most tasks it wanted.
    pub tasks: u32,
    /// Devices of each task.
    pub devices: u32,
    /// Compute of each of them.
    pub compute: Permille,
    /// CPU of each task.
    pub cpu: MilliCpu,
    /// When it came.
    pub submitted: Timestamp,
    /// When its gang first ran.
    pub started: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// How it ended, or where it stands, in words.
    pub state: String,
    /// Tries begun, leases given back before they ran not counted.
    pub runs: u32,
    /// How long it needs alone.
    pub alone: Micros,
    /// Work done and lost again, in time alone.
    pub lost: Micros,
}

impl JobRecord {
    /// From its arrival to its first start.
    #[must_use]
    pub fn wait(&self) -> Option<Micros> {
        Some(self.started?.since(self.submitted))
    }

    /// From its arrival to its end, for one that ran.
    #[must_use]
    pub fn completion(&self) -> Option<Micros> {
        self.started?;
        Some(self.ended?.since(self.submitted))
    }

    /// Devices of all its tasks.
    #[must_use]
    pub fn width(&self) -> f64 {
        f64::from(self.tasks) * f64::from(self.devices)
    }

    /// Devices, or CPUs, of all its tasks.
    #[must_use]
    pub fn breadth(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Devices => self.width(),
            Unit::Cpus => f64::from(self.tasks) * cpus(self.cpu),
        }
    }

    /// The same, a share of a device counted as such.
    #[must_use]
    pub fn size(&self, unit: Unit) -> f64 {
        let part = if unit == Unit::Devices { f64::from(self.compute.0) / 1000.0 } else { 1.0 };
        self.breadth(unit) * part
    }
}

/// What became of one lease.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseRecord {
    /// Its number.
    pub lease: LeaseId,
    /// Whose.
    pub job: JobId,
    /// Who pays.
    pub tenant: TenantPath,
    /// Where: the place of the node in the pool.
    pub node: usize,
    /// Places of its devices among all of the pool.
    pub devices: Vec<usize>,
    /// Compute of each.
    pub compute: Permille,
    /// Memory of each.
    pub memory: Bytes,
    /// CPU beside them.
    pub cpu: MilliCpu,
    /// When it was granted.
    pub granted: Timestamp,
    /// When its program started.
    pub started: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// How.
    pub state: String,
}

impl LeaseRecord {
    /// Time it held, from the grant until its end or `now`, in devices or CPUs x microseconds.
    #[must_use]
    pub fn held(&self, now: Timestamp, unit: Unit) -> f64 {
        self.area(self.granted, now, unit)
    }

    /// Time it is billed for: from its start.
    #[must_use]
    pub fn billed(&self, now: Timestamp, unit: Unit) -> f64 {
        self.started.map_or(0.0, |started| self.area(started, now, unit))
    }

    fn area(&self, from: Timestamp, now: Timestamp, unit: Unit) -> f64 {
        let time = self.ended.unwrap_or(now).since(from).0 as f64;
        time * match unit {
            Unit::Devices => self.devices.len() as f64 * f64::from(self.compute.0) / 1000.0,
            Unit::Cpus => cpus(self.cpu),
        }
    }
}

/// One device of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its node.
    pub node: NodeId,
    /// The device.
    pub device: DeviceId,
    /// What it is.
    pub model: String,
}

/// One node of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub node: NodeId,
    /// Its CPUs.
    pub cpu: MilliCpu,
}

/// So many CPUs.
pub(super) fn cpus(cpu: MilliCpu) -> f64 {
    f64::from(cpu.0) / 1000.0
}

/// All that a run leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// When the run began.
    pub begin: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Every job that came, in order.
    pub jobs: Vec<JobRecord>,
    /// Every lease, in order of its grant.
    pub leases: Vec<LeaseRecord>,
    /// The devices that leases name by place.
    pub places: Vec<Place>,
    /// The nodes that leases name by place.
    pub machines: Vec<Machine>,
    /// The pool over time.
    pub series: Series,
    /// Events applied.
    pub events: u64,
    /// How often the engine was asked what should happen.
    pub plans: u64,
    /// What it looked at, all told.
    pub steps: u64,
}

impl Records {
    pub(super) fn new(begin: Timestamp) -> Self {
        Self {
            begin,
            end: begin,
            jobs: Vec::new(),
            leases: Vec::new(),
            places: Vec::new(),
            machines: Vec::new(),
            series: Series::new(begin),
            events: 0,
            plans: 0,
            steps: 0,
        }
    }

    /// What its figures count.
    #[must_use]
    pub fn unit(&self) -> Unit {
        let without = !self.jobs.is_empty() && self.jobs.iter().all(|job| job.devices == 0);
        if without { Unit::Cpus } else { Unit::Devices }
    }

    pub(super) fn granted(
        &mut self,
        lease: &Lease,
        node: usize,
        devices: Vec<usize>,
        cpu: MilliCpu,
    ) {
        let slice = lease.slices.first();
        self.leases.push(LeaseRecord {
            lease: lease.id,
            job: lease.job,
            tenant: lease.tenant.clone(),
            node,
            devices,
            compute: slice.map_or(Permille(0), |slice| slice.compute),
            memory: slice.map_or(Bytes(0), |slice| slice.memory),
            cpu,
            granted: lease.granted_at,
            started: None,
            ended: None,
            state: "held".to_owned(),
        });
    }

    /// The record of a lease: they are kept in order of their numbers.
    pub(super) fn lease(&mut self, id: LeaseId) -> Option<&mut LeaseRecord> {
        let at = self.leases.binary_search_by_key(&id, |record| record.lease).ok()?;
        self.leases.get_mut(at)
    }

    pub(super) fn advance(&mut self, to: Timestamp, levels: Levels) {
        self.series.extend(to, levels);
        self.end = self.end.max(to);
    }
}
