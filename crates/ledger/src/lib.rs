//! The shared-memory pages between the agent and a tenant's process.
//!
//! A lease has two sealed memfds. The agent alone writes [`Limits`]: what the lease may do, and
//! whether it is its turn. The tenant's processes write [`Usage`]: what they hold and what they
//! have in flight. Nobody trusts `Usage` further than the lease it belongs to: a tenant that writes
//! nonsense there harms only itself.
//!
//! Six protocols live here, each written down as an invariant beside its code and checked with
//! loom (`RUSTFLAGS="--cfg loom" cargo test -p polder-ledger --release`):
//! * [`memory`]: the sum of bytes held never passes the lease's memory, whoever dies when;
//! * [`gate`]: nothing is in flight for a lease that the arbiter believes drained;
//! * [`block`]: launches that are counted as one while others may end them;
//! * [`single`]: one command of a lease at a time where only one may be;
//! * [`busy`]: device time that processes count of themselves, none lost when they go;
//! * [`attach`]: how a process gets its slot and descriptors, and how a restarted agent hands out
//!   a new `Limits` page.
//!
//! Beside them, [`record`]: what a profiled process writes down.
//!
//! The crate knows no vendor, no scheduler and no other crate of Polder.

pub mod attach;
pub mod block;
pub mod busy;
pub mod gate;
mod layout;
pub mod memory;
#[cfg(not(loom))]
mod page;
pub mod record;
pub mod single;
mod sync;

pub use layout::{
    DEVICES_MAX, DeviceLimits, HEARTBEAT_NS_MAX, LAYOUT, Limits, PageError, SLOTS_MAX, Slot,
    SlotDevice, Usage,
};
#[cfg(not(loom))]
pub use page::{
    LimitsWriter, Mapped, adopt_usage, create_usage, map_limits, map_usage, monotonic_ns,
    wait_for_gate, wake_waiting,
};
#[cfg(loom)]
pub use sync::die_after;
