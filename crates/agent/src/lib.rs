//! The node: keeps the leases it was told to have, as processes under shims, and reports what it
//! sees.
//!
//! [`run_agent`] is the one entry point of the agent itself. It calls one endpoint of the server
//! again and again, and everything it does follows from the answers: no answer, an empty answer or
//! an old answer ends nothing, and no lease is started twice, whoever dies when.
//!
//! What the crate deliberately does not do: it decides nothing about who gets what (the server's
//! engine does), supplies no [`polder_model::Timestamp`] (lengths come from the boot clock), and
//! carries no vendor's runtime (devices are probed in short-lived children).

mod abandoned;
pub mod arbiter;
mod backing;
mod cards;
pub mod client;
mod clients;
mod contact;
mod earlier;
mod folder;
mod inherited;
mod inventory;
mod known;
mod leases;
mod library;
mod memory;
mod node;
mod options;
mod pace;
mod paths;
mod prepare;
mod reconcile;
pub mod runner;
mod sample;
pub mod shim;
pub mod spatial;
mod sync;
mod watched;
mod watchman;

pub use inherited::{
    DESCRIPTOR_NUMBER_MAX, DESCRIPTORS_MAX, Inherited, check_numbers, ignored_signals,
};
pub use inventory::{InventoryError, check_backing};
pub use library::{LibraryError, NoLibrary};
pub use memory::MemoryError;
pub use options::{AgentError, AgentOptions, DriverFolderError, OwnLibraryError, run_agent};
pub use paths::{StatePaths, live_shims};
pub use runner::{Containers, ContainersError};
