//! What a node has: one catalogue that every vendor's module fills.

use crate::{BitRate, Bytes, DeviceId, Enforcement, MilliCpu};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// How a device is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// The whole device for one lease; no interception.
    Whole,
    /// Device time granted in turns by the node's arbiter, memory counted by the ledger.
    TimeSlice,
    /// A part of the device cut by its hardware (NVIDIA's multi-instance GPU).
    Mig,
    /// A part of the device beside the parts of others, which its vendor's driver keeps to (NVIDIA's
    /// multi-process service).
    Spatial,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Whole => "whole",
            Self::TimeSlice => "time_slice",
            Self::Mig => "mig",
            Self::Spatial => "spatial",
        })
    }
}

/// What a mechanism guarantees against a program that does not cooperate, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A program that clears its environment is not held.
    None,
    /// Held inside the program's own process.
    Soft,
    /// Calls run in Polder's executor.
    Brokered,
    /// The vendor's driver holds it.
    Driver,
    /// The hardware holds it.
    Hardware,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Soft => "soft",
            Self::Brokered => "brokered",
            Self::Driver => "driver",
            Self::Hardware => "hardware",
        })
    }
}

/// The programming interface through which a device was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Found through an OpenCL ICD.
    Opencl,
    /// Found through NVIDIA's management library.
    Nvml,
    /// Read from a `--simulate` file: no such hardware is here.
    Simulated,
}

/// What sort of processor it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A graphics processor.
    Gpu,
    /// The host's own processor behind a device API.
    Cpu,
    /// Any other accelerator.
    Accelerator,
}

/// What allocations on a discrete device are rounded up to: the smallest page with which
/// NVIDIA's and AMD's drivers map device memory. Their larger blocks (2 MiB) are shared between
/// small buffers, so charging a block for each would bill memory that is not used; what the
/// driver holds beyond the sum is reconciled from its own figures.
const DEVICE_GRANULARITY: Bytes = Bytes(64 << 10);

/// What allocations on a CPU device are rounded up to: the host's page.
const HOST_GRANULARITY: Bytes = Bytes(4 << 10);

impl DeviceKind {
    /// What allocations on such a device are usually rounded up to.
    #[must_use]
    pub const fn granularity(self) -> Bytes {
        match self {
            Self::Cpu => HOST_GRANULARITY,
            Self::Gpu | Self::Accelerator => DEVICE_GRANULARITY,
        }
    }
}

/// A place on a bus, as the kernel spells it: `0000:3b:00.0`.
#[must_use]
pub fn pci_address(domain: u32, bus: u32, device: u32, function: u32) -> String {
    format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
}

/// Any spelling of a PCI address (`00000000:3B:00.0`, `3b:00.0`) as the kernel spells it.
#[must_use]
pub fn parse_pci_address(text: &str) -> Option<String> {
    let hex = |part: &str, length_max: usize| {
        let fits = (1..=length_max).contains(&part.len())
            && part.chars().all(|digit| digit.is_ascii_hexdigit());
        fits.then(|| u32::from_str_radix(part, 16).ok()).flatten()
    };
    let (rest, function) = text.trim().rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    let (device, function) = (hex(device, 2)?, hex(function, 1)?);
    (device < 32 && function < 8).then_some(())?;
    Some(pci_address(hex(domain, 8)?, hex(bus, 2)?, device, function))
}

/// Whether work may be placed on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum Health {
    /// Answers and reports no fault.
    Healthy,
    /// Present but not to be used, and why.
    Faulty(String),
    /// It failed under whatever ran on it: nothing there goes on. Why, and what to do.
    Failed(String),
}

/// How a tenant's program reaches the device through its API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "api")]
pub enum Address {
    /// The vendor's ICD library, its platform's name, and the device's place in that platform.
    Opencl {
        /// The shared object that an `.icd` file names.
        library: String,
        /// `CL_PLATFORM_NAME`.
        platform: String,
        /// Place in `clGetDeviceIDs(CL_DEVICE_TYPE_ALL)`, from 0.
        index: u32,
    },
    /// `nvmlDeviceGetIndex` and UUID.
    Nvml {
        /// Place in NVML's order, from 0.
        index: u32,
        /// `GPU-...`.
        uuid: String,
    },
    /// No hardware.
    Simulated,
}

/// One physical accelerator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Device {
    /// Stable within the node.
    pub id: DeviceId,
    /// Where it was found.
    pub api: Api,
    /// What it is.
    pub kind: DeviceKind,
    /// Who made it, as it says itself.
    pub vendor: String,
    /// Its model, as it says itself.
    pub model: String,
    /// Driver and version, as it says itself.
    pub driver: String,
    /// Memory that leases may share.
    pub memory: Bytes,
    /// Largest single allocation, if the API limits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_max: Option<Bytes>,
    /// The driver's allocation granularity; charges are rounded up to it.
    pub granularity: Bytes,
    /// Peak memory bandwidth in bytes a second, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth: Option<Bytes>,
    /// Compute units (SMs, CUs, cores).
    pub compute_units: u32,
    /// Lower-case words an ask may require: `fp64`, `fp16`, `images`, `svm`, `ecc`, ...
    pub features: BTreeSet<String>,
    /// Whether it may be used.
    pub health: Health,
    /// `0000:3b:00.0`, for a device on a bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_address: Option<String>,
    /// Nearest NUMA node, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// The island of fast links (NVLink) it belongs to within its node, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub island: Option<u32>,
    /// The NIC rail it is nearest to, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rail: Option<u32>,
    /// How programs reach it.
    pub address: Address,
    /// How it can be cut, best isolation first.
    pub mechanisms: Vec<Mechanism>,
    /// True for a device that exists only in a `--simulate` file. Shown on every screen.
    #[serde(default)]
    pub simulated: bool,
}

/// Facts of the machine beside its devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodeFacts {
    /// Address other nodes reach it by; rank 0's is the gang's master address.
    pub address: String,
    /// CPUs that leases may share.
    pub cpu: MilliCpu,
    /// Host memory that leases may share.
    pub memory: Bytes,
    /// Bits a second of all its network cards together, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<BitRate>,
    /// Host memory kept apart for leases to have behind the memory of their devices; not a part of
    /// `memory`.
    #[serde(default, skip_serializing_if = "Bytes::is_zero")]
    pub backing: Bytes,
    /// Agent's version.
    pub agent: String,
    /// Partitions it belongs to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub partitions: BTreeSet<String>,
    /// Words that asks may select it by, each `key=value`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// What happens there to a process that uses a shared device without a slot.
    #[serde(default)]
    pub enforcement: Enforcement,
}

/// What a node has, as of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Inventory {
    /// The machine.
    pub node: NodeFacts,
    /// Its devices, by id.
    pub devices: Vec<Device>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_becomes_the_kernels() {
        for text in ["00000000:3B:00.0", "0000:3b:00.0", "3b:00.0", " 3B:00.0\n"] {
            assert_eq!(parse_pci_address(text).as_deref(), Some("0000:3b:00.0"), "{text:?}");
        }
        assert_eq!(parse_pci_address("00010000:01:1f.7").as_deref(), Some("10000:01:1f.7"));
        for text in ["", "3b", "3b:00", "3b:20.0", "3b:00.8", "x:00.0", "+1:00.0", "3b:00.0.0"] {
            assert_eq!(parse_pci_address(text), None, "{text:?}");
        }
    }
}
