//! One small process per task, which outlives the agent.
//!
//! The agent makes a folder for the lease, writes its [`Plan`] there ([`write_plan`]) and calls
//! [`spawn_shim`]. From then on it talks through a [`ShimClient`]; after a restart it connects
//! again. When nobody answers, [`read_status`] tells the end.

mod client;
mod protocol;
mod spawn;
mod status;
mod wire;

pub use client::{Greeting, Pages, REPLY_WAIT, START_WAIT, ShimClient, ShimError, ShimWatch};
pub use protocol::{
    Attached, CONTROL_SOCKET, DRIVER_SOCKET, ICD_FOLDER, PACKET_BYTES_MAX, PACKET_FDS_MAX,
    PLAN_FILE, Plan, Reply, Request, SHIM_PROTOCOL, STATUS_FILE, ShimPhase, ShimState,
};
pub use spawn::{SPAWN_WAIT, SpawnError, spawn_shim};
pub use status::{boot_id, boot_micros, read_plan, read_status, write_plan};
