//! Sees accelerators: one module per vendor behind one trait, one catalogue for all of them.
//!
//! A vendor's runtime never enters the agent. [`probe_in_child`] starts one short-lived child per
//! source (each OpenCL ICD library, and NVIDIA's NVML), so a library that crashes, hangs or prints
//! nonsense loses its own devices and nobody else's; it becomes a [`Problem`] that names it. The
//! child calls [`probe_main`]. What the children found is put together by [`catalogue()`], which is
//! pure: it numbers the devices and sees to it that a card which several interfaces show is listed
//! once.
//!
//! Devices that are not there come only from [`read_simulated`], and only when asked for.
//!
//! NVIDIA's cards are watched, while leases run, by a child that lives as long as the agent
//! ([`watch_in_child`]): faults, reasons to run slower, processes.
//!
//! A card on which no lease is left is cleared by a child as well ([`clear_in_child`]).
//!
//! What this crate does not do: it grants, cuts and resets nothing, keeps no state, and does not
//! go through the system's OpenCL loader (a tenant's program must be told the vendor's own
//! library, which a loader hides).
//!
//! To add a vendor: a module with a [`Prober`], and a [`Source`] that names it.

mod amd;
mod bandwidth;
mod catalogue;
mod child;
mod identity;
mod node;
mod nvidia;
mod opencl;
mod probe;
mod simulate;
mod supervise;
mod sysfs;

pub use amd::{ComputeUnits, amd_compute_units};
pub use catalogue::{Answer, catalogue};
pub use child::{
    CLEAR_LIMIT, Catalogue, ClearError, ENVIRONMENT_KEPT, PROBE_LIMIT, PROBE_SUBCOMMAND,
    ProbeError, ProbeOptions, clear_in_child, probe_in_child, watch_in_child,
};
pub use node::node_facts;
pub use nvidia::watch::{CARDS_LINE_BYTES_MAX, CardNow, CardsNow, WatchRequest};
pub use nvidia::xid::{XidClass, xid_class, xid_words};
pub use opencl::{IcdError, OWN_LIBRARY, VENDOR_FOLDER};
pub use probe::{
    Found, ProbeOutcome, ProbeRequest, Prober, Problem, REQUEST_BYTES_MAX, Source, probe_main,
};
pub use simulate::{
    SIMULATE_FILE_BYTES_MAX, SIMULATED_DEVICES_MAX, SIMULATED_ID_PREFIX, SimulateError, Simulated,
    parse_simulated, read_simulated,
};
