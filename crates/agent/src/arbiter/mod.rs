//! Grants device time in turns, so that each lease of a shared device gets its share of it.
//!
//! One arbiter per node, one thread per arbiter. [`core`] decides and knows no clock, thread or
//! page; `thread` listens to doorbells and timers, tells the core what it sees, and writes
//! what the core decides into the leases' `Limits` pages. [`ArbiterHandle`] is how the rest of the
//! agent speaks with it.
//!
//! A *grant* gives a lease all its devices on the node together. It is charged from grant to
//! release, whatever the lease does with it: kernel times are what programs say of themselves,
//! never the clock of fairness. Leases that own whole devices are not in here at all.

pub mod core;
mod handle;
mod hidden;
mod page;
mod priority;
mod thread;

pub use handle::{ArbiterError, ArbiterHandle};
pub use page::{Before, Carried, Owner, Share, Terms};
