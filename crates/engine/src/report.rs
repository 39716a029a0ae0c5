//! What a pass looked at, and why the rest waits.

use polder_model::{Bytes, JobId, Resource, TenantPath};
use serde::{Deserialize, Serialize};

/// What a pass looked at, and why what it did not grant waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Index entries and jobs looked at: the work done, counted instead of timed. What was looked
    /// up before need not be looked up again, so it differs between engines that decide alike.
    pub steps: u64,
    /// Leases granted.
    pub leases: u32,
    /// The pass ended at its bound: apply its decisions and plan again.
    pub more: bool,
    /// Jobs that were looked at and wait; of jobs with equal asks, the first.
    pub waiting: Vec<Waiting>,
}

/// One job that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Which.
    pub job: JobId,
    /// On what; [`crate::Engine::explain`] has the numbers.
    pub on: WaitingOn,
}

/// What a job waits on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "on")]
pub enum WaitingOn {
    /// Room in a tenant's quota.
    Quota {
        /// Whose.
        tenant: TenantPath,
        /// Of what.
        resource: Resource,
    },
    /// Devices that would do are in use, or held for a job ahead.
    Room,
    /// No device in reach would do.
    Devices,
}

/// What leases hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Devices, counted once per slice.
    pub devices: u64,
    /// Guaranteed compute in thousandths of a device.
    pub compute: u64,
    /// Device memory.
    pub memory: Bytes,
    /// Leases.
    pub leases: u64,
}

impl Held {
    pub(crate) fn add(&mut self, more: Self) {
        self.devices = self.devices.saturating_add(more.devices);
        self.compute = self.compute.saturating_add(more.compute);
        self.memory = Bytes(self.memory.0.saturating_add(more.memory.0));
        self.leases = self.leases.saturating_add(more.leases);
    }

    pub(crate) fn subtract(&mut self, less: Self) {
        self.devices = self.devices.saturating_sub(less.devices);
        self.compute = self.compute.saturating_sub(less.compute);
        self.memory = Bytes(self.memory.0.saturating_sub(less.memory.0));
        self.leases = self.leases.saturating_sub(less.leases);
    }

    /// `tasks` times this.
    pub(crate) fn times(self, tasks: u64) -> Self {
        Self {
            devices: self.devices.saturating_mul(tasks),
            compute: self.compute.saturating_mul(tasks),
            memory: Bytes(self.memory.0.saturating_mul(tasks)),
            leases: self.leases.saturating_mul(tasks),
        }
    }

    /// How much of one resource.
    #[must_use]
    pub fn of(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Devices => self.devices,
            Resource::Compute => self.compute,
            Resource::Memory => self.memory.0,
        }
    }
}
