//! What an agent, or a client of `polder run`, and a shim say to each other.
//!
//! One JSON value per packet on `shim.sock` (`SOCK_SEQPACKET`), with descriptors beside it. A
//! connection begins with [`Request::Hello`]; every request gets one [`Reply`], in order. After
//! [`Request::Watch`] the shim pushes a state whenever it changed, and the connection takes no
//! further request. Who the peer is decides what it may ask: the shim's own user and root may ask
//! everything, the lease's user may watch and signal, nobody else is answered.

use polder_model::{
    Address, Isolation, LeaseEnd, LeaseId, LeaseOrder, Micros, NotEnforced, Outcome,
    Phase as NodePhase,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The protocol this program speaks. A shim serves agents of its own version and newer ones; an
/// agent serves shims of its own version and the one before.
pub const SHIM_PROTOCOL: u32 = 1;
/// Longest packet. Below the kernel's default socket buffer, so that one always fits.
pub const PACKET_BYTES_MAX: usize = 128 * 1024;
/// Most descriptors beside a packet: the kernel takes no more.
pub const PACKET_FDS_MAX: usize = 253;

/// The plan of a lease, written by the agent before it starts the shim.
pub const PLAN_FILE: &str = "plan.json";
/// The last state, written by the shim; it tells the end also when the shim is gone.
pub const STATUS_FILE: &str = "status.json";
/// Where the shim listens for the agent.
pub const CONTROL_SOCKET: &str = "shim.sock";
/// Where the shim listens for the lease's processes; [`polder_ledger::attach`] is spoken there.
pub const DRIVER_SOCKET: &str = polder_ledger::attach::SOCKET_FILE;
/// The folder that holds Polder's ICD file and nothing else.
pub const ICD_FOLDER: &str = "icd";
/// The folder in which programs find Polder's `libcuda.so.1` and `libnvidia-ml.so.1`.
pub const CUDA_FOLDER: &str = "cuda";

/// All that a shim is told. Kept as [`PLAN_FILE`] in the lease's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What the server ordered.
    pub order: LeaseOrder,
    /// How programs reach each device, in the order of `order.lease.slices`.
    pub addresses: Vec<Address>,
    /// Polder's OpenCL driver library, at a path that the lease's user can read. Needed by leases
    /// that share a device through OpenCL; absent means such a lease runs without interception,
    /// and says so.
    #[serde(default)]
    pub driver: Option<PathBuf>,
    /// The libraries of leases that share a device through CUDA; absent means such a lease's CUDA
    /// programs run without interception, and it says so.
    #[serde(default)]
    pub cuda: Option<CudaLibraries>,
    /// Where a lease that has a spatial part of a card finds MPS's control daemon.
    #[serde(default)]
    pub mps: Option<crate::spatial::words::Place>,
    /// The compute units of a lease that shares one of AMD's cards.
    #[serde(default)]
    pub units: Option<crate::spatial::units::Mask>,
    /// What starts the containers of this node.
    #[serde(default)]
    pub containers: crate::Containers,
    /// The nodes of its devices, for its container; absent where those of one are not known.
    #[serde(default)]
    pub nodes: Option<Vec<PathBuf>>,
}

/// Two libraries that are called `libcuda.so.1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaLibraries {
    /// Polder's, at a path that the lease's user can read.
    pub ours: PathBuf,
    /// The vendor's, by its own path without links: what is bound over it is found by every name.
    pub vendor: PathBuf,
    /// Those of NVML; absent means that such a lease's monitors see the machine, and it says so.
    #[serde(default)]
    pub nvml: Option<NvmlLibraries>,
}

/// Two libraries that are called `libnvidia-ml.so.1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmlLibraries {
    /// Polder's, as of [`CudaLibraries`].
    pub ours: PathBuf,
    /// The vendor's likewise.
    pub vendor: PathBuf,
}

/// What a shim is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// The first request of a connection. To the shim's own user and root the answer carries two
    /// descriptors: the usage page and the doorbell (an eventfd).
    Hello {
        /// [`SHIM_PROTOCOL`] of the caller.
        protocol: u32,
    },
    /// A new limits page, as the one descriptor beside it. Every attached process is told.
    Limits {
        /// The page's epoch; one that is not above the last is refused.
        epoch: u64,
    },
    /// What the task inherits besides its three descriptors. Counts for a start on the same
    /// connection; a further one adds to it.
    Lend {
        /// Signals that it ignores from its start; bit N-1 stands for signal N.
        ignored: u64,
        /// The numbers under which it finds the descriptors that come beside.
        numbers: Vec<i32>,
    },
    /// Start the task. With `Stdio::Client` three descriptors come beside it: input, output and
    /// error. Answered when the program runs, or when it is clear that it cannot.
    Start {
        /// `address:port` of rank 0; absent for a gang of one.
        master: Option<String>,
        /// The descriptors are a terminal, to become the task's controlling terminal.
        terminal: bool,
    },
    /// End the task: SIGTERM to all of it, SIGKILL after the grace. A second one may only shorten
    /// the grace.
    Stop {
        /// Time between the two.
        grace: Micros,
        /// How the lease will have ended.
        outcome: Outcome,
    },
    /// A signal to the task's command; what a terminal sends, to its whole process group. A SIGSTOP
    /// holds no longer than the connection over which it came.
    Signal {
        /// Its number.
        number: i32,
    },
    /// Push the state now and whenever it changes.
    Watch,
    /// The end is journaled: the shim exits. Refused before the end.
    Forget,
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// The request was carried out; this is how things stand now.
    State {
        /// The state.
        state: Box<ShimState>,
    },
    /// It was not, and why.
    Refused {
        /// What is wrong and what to do.
        why: String,
    },
}

/// How things stand with one lease, as its shim sees it. Also the content of [`STATUS_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimState {
    /// [`SHIM_PROTOCOL`] of the shim.
    pub protocol: u32,
    /// [`polder_ledger::LAYOUT`] of its usage page, and of the limits page that it can hand out.
    #[serde(default = "first_layout")]
    pub layout: u32,
    /// Whose shim it is.
    pub lease: LeaseId,
    /// The kernel's boot id: under another one, nothing of the lease can be alive.
    pub boot: String,
    /// The shim's process id.
    pub shim: u32,
    /// How far the lease has come.
    pub phase: ShimPhase,
    /// Processes that use its devices now. Pushed, but not written to the file, when it changes.
    pub attached: Vec<Attached>,
    /// The epoch of the limits page it hands out.
    pub limits_epoch: Option<u64>,
    /// Output bytes that could not be kept, because the disk was full or faulty.
    pub log_bytes_lost: u64,
    /// Limits on CPU, memory and processes that were asked for and could not be set here.
    #[serde(default)]
    pub not_enforced: Vec<NotEnforced>,
    /// What else was asked and could not be done here, for people.
    pub notes: Vec<String>,
    /// The lease's cgroups, for whoever cleans up after a shim that was killed.
    pub cgroups: Vec<PathBuf>,
}

/// What a shim speaks that does not say.
const fn first_layout() -> u32 {
    1
}

impl ShimState {
    /// The phase as the server is told of it.
    #[must_use]
    pub fn node_phase(&self) -> NodePhase {
        match &self.phase {
            ShimPhase::Prepared { isolation, master_port } => NodePhase::Prepared {
                isolation: *isolation,
                master_port: *master_port,
                not_enforced: self.not_enforced.clone(),
            },
            ShimPhase::Started { .. } => NodePhase::Started,
            ShimPhase::Stopping { .. } => NodePhase::Stopping,
            ShimPhase::Ended { end } => NodePhase::Ended { end: end.clone() },
        }
    }
}

/// How far a lease has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum ShimPhase {
    /// Ready to start.
    Prepared {
        /// What is guaranteed.
        isolation: Isolation,
        /// On rank 0: a free port for the gang to meet on, kept free until the start.
        master_port: Option<u16>,
    },
    /// The program runs.
    Started {
        /// Its main process.
        pid: u32,
        /// When it started, on the boot clock, microseconds.
        boot_micros: u64,
    },
    /// Being ended, or its main process is over and the rest is being ended.
    Stopping {
        /// Its main process.
        pid: u32,
        /// When it started, on the boot clock, microseconds.
        boot_micros: u64,
    },
    /// Over; no process of it is left.
    Ended {
        /// How, and what it used as far as the pages told.
        end: LeaseEnd,
    },
}

/// One process that uses the lease's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Its slot in the usage page.
    pub slot: u32,
    /// Which process of that slot it is.
    pub generation: u32,
    /// Its process id.
    pub pid: u32,
}

#[cfg(test)]
#[path = "../../tests/support/order.rs"]
mod test_order;

/// A plan for tests: lease L7 of root, one time slice, the command as given.
#[cfg(test)]
pub(crate) fn test_plan(command: &[&str]) -> Plan {
    Plan {
        order: test_order::order("root", command, 500_000),
        addresses: vec![Address::Simulated],
        driver: None,
        cuda: None,
        mps: None,
        units: None,
        containers: crate::Containers::Auto,
        nodes: Some(Vec::new()),
    }
}
