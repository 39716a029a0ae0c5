//! What a pass looked at, and why the rest waits.

use polder_model::{Bytes, JobId, Resource, TenantPath};
use serde::{Deserialize, Serialize};

/// What a pass looked at, and why what it did not grant waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Index entries and jobs looked at: the work done, counted instead of timed.
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
