//! A stand-in for a GPU that nobody here has: contexts of several processes, streams, kernels,
//! graphs, copies, memory and faults, in time that the caller passes in.
//!
//! It models *when* work runs and whose it is, nothing of what it computes: one context at a time
//! has the compute engine, contexts that compete for it take turns of a fixed length, and each
//! change costs time. [`Device::truth`] and [`Device::spans`] are its own log of what ran when, by
//! process: whoever claims to hold a share is judged by that log and not by what it measured itself.
//!
//! It has no clock, no thread and does no I/O. Everything it says of itself names it a stand-in: no
//! figure from it is a figure of the card whose numbers it borrows.

mod device;
mod fault;
mod log;
mod memory;
mod model;
mod sample;
#[cfg(test)]
mod tests;
mod work;

pub use device::{ContextId, Device, Done, Outcome, SubmitError, Ticket};
pub use fault::{Fault, Throttle};
pub use log::{Span, Truth};
pub use memory::MemoryError;
pub use model::{A100, BLACKWELL188, H100, H200, MODELS, Model, RTX3080, T4, V100};
pub use work::{Copy, Direction, Kernel, Length, Work};
