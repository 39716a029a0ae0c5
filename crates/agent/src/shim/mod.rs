//! One small process per task, which outlives the agent.
//!
//! The agent makes a folder for the lease, writes its [`Plan`] there ([`write_plan`]) and calls
//! [`spawn_shim`]. From then on it talks through a [`ShimClient`]; after a restart it connects
//! again. When nobody answers, [`recover()`] tells the end.
//!
//! A shim ([`shim_main`]) is one thread that waits for events. It holds what must outlive the
//! agent: the task's pages and who has a slot in them, its log pipes, its time limit and its exit
//! status. It decides nothing about devices and trusts nobody for what they say, only for who they
//! are. Its `Vec`s are as large as its lease needs and no larger: hundreds of shims share a node.

mod client;
mod control;
mod daemon;
mod door;
mod held;
mod logs;
mod peer;
mod poller;
mod prepare;
mod protocol;
mod recover;
mod server;
mod signals;
mod spawn;
mod status;
mod task;
mod timer;
pub(crate) mod wire;

pub use client::{Greeting, Pages, REPLY_WAIT, START_WAIT, ShimClient, ShimError, ShimWatch};
pub use daemon::shim_main;
pub use logs::{LOG_FILE_BYTES_MAX, LOG_FILES_MAX, LogPart, Stream, log_lost, log_range, read_log};
pub use protocol::{
    Attached, CONTROL_SOCKET, CUDA_FOLDER, CudaLibraries, DRIVER_SOCKET, ICD_FOLDER, NvmlLibraries,
    PACKET_BYTES_MAX, PACKET_FDS_MAX, PLAN_FILE, Plan, Reply, Request, SHIM_PROTOCOL, STATUS_FILE,
    ShimPhase, ShimState,
};
pub use recover::{RecoverError, recover};
pub use spawn::{SPAWN_WAIT, SpawnError, spawn_shim};
pub use status::{boot_id, boot_micros, read_plan, read_status, write_plan};

#[cfg(test)]
pub(crate) use protocol::test_plan;
