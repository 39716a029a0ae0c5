//! Devices of a task, and what of the machine goes beside them.

use super::AskError;
use super::check::{range, size};
use crate::{BitRate, Bytes, Isolation, Mechanism, MilliCpu, Permille};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most devices for one task.
const DEVICES_MAX: u32 = 16;
/// Most devices for one task whose memory has host memory behind it: its pages have a row for each
/// device and one for what is behind it.
const BACKED_DEVICES_MAX: u32 = DEVICES_MAX / 2;

/// Devices for each task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceAsk {
    /// How many devices; 0 for a task that needs none, and then compute and memory are 0 too.
    pub count: u32,
    /// Whole devices: nobody else on them, no interception. Excludes `compute` and `memory`.
    #[serde(default)]
    pub whole: bool,
    /// Guaranteed share of each device's compute.
    pub compute: Permille,
    /// Most it may reach when others are idle; absent means all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_max: Option<Permille>,
    /// Memory guaranteed, and the most it may hold, on each device.
    pub memory: Bytes,
    /// Host memory behind each device's: what does not fit into `memory` lives there, up to so many
    /// bytes. Absent means none: the lease holds no more than `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<Bytes>,
    /// Models that will do, as the device says them or a part of it; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Features that each device must have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
    /// Weakest isolation that will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The mechanism, for a user who insists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
    /// Memory bandwidth that each device must have at least, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bytes>,
}

impl DeviceAsk {
    pub(super) fn check(&self) -> Result<(), AskError> {
        range("devices.count", self.count.into(), 0, DEVICES_MAX.into())?;
        if self.count == 0 {
            let asked = self.whole || self.compute_max.is_some() || self.isolation.is_some();
            let selects = !self.models.is_empty() || !self.features.is_empty();
            let bandwidth = self.bandwidth.is_some() || self.mechanism.is_some();
            if asked
                || selects
                || bandwidth
                || self.backing.is_some()
                || self.compute.0 != 0
                || self.memory.0 != 0
            {
                return Err(AskError::NoDevice { field: "devices.count" });
            }
            return Ok(());
        }
        range("devices.compute (thousandths)", self.compute.0.into(), 1, 1000)?;
        if self.whole {
            if self.compute != Permille::WHOLE || self.compute_max.is_some() {
                return Err(AskError::WholeAndShare { field: "devices.compute" });
            }
            if self.memory != Bytes(0) {
                return Err(AskError::WholeAndShare { field: "devices.memory" });
            }
            if self.backing.is_some() {
                return Err(AskError::BackingAlone { mechanism: Mechanism::Whole });
            }
            return Ok(());
        }
        size("devices.memory", self.memory, Bytes(1))?;
        if let Some(backing) = self.backing {
            size("devices.backing (--host-backed)", backing, Bytes(1))?;
            if self.mechanism() != Mechanism::TimeSlice {
                return Err(AskError::BackingAlone { mechanism: self.mechanism() });
            }
            let count = self.count.into();
            range("devices.count (with --host-backed)", count, 1, BACKED_DEVICES_MAX.into())?;
        }
        if let Some(max) = self.compute_max {
            range("devices.compute_max (thousandths)", max.0.into(), 1, 1000)?;
            if max < self.compute {
                return Err(AskError::CapBelowGuarantee { max, guaranteed: self.compute });
            }
        }
        if self.mechanism == Some(Mechanism::Spatial) {
            if self.count > 1 {
                return Err(AskError::SpatialCount { count: self.count });
            }
            if self.compute_max.is_some_and(|max| max != self.compute) {
                return Err(AskError::SpatialCap { field: "devices.compute_max" });
            }
        }
        Ok(())
    }

    /// Host memory behind all devices of one task together.
    #[must_use]
    pub fn backing_each_task(&self) -> Bytes {
        Bytes(self.backing.map_or(0, |each| each.0.saturating_mul(self.count.into())))
    }

    /// The mechanism that follows from the ask: a share that more than the program itself must
    /// hold is one that hardware cuts, the weakest there is above turns.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        let hard = self.isolation.is_some_and(|isolation| isolation > Isolation::Soft);
        self.mechanism.unwrap_or(match (self.whole, hard) {
            (true, _) => Mechanism::Whole,
            (false, true) => Mechanism::Mig,
            (false, false) => Mechanism::TimeSlice,
        })
    }
}

/// The machine's own resources for each task; absent means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HostAsk {
    /// CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<MilliCpu>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Bits a second of the node's network that are kept for it. Placement counts them; nothing
    /// holds a task to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<BitRate>,
}
