//! Limiters of compute in virtual time: processes of one lease on a stand-in device, a limiter
//! between them and it, and the device's own log to judge it by.
//!
//! [`Polder`] is the arbiter's production core and the driver's production meter; the peers are
//! ports of published algorithms in our own words and code, as far as they have been described. A
//! figure from here says how an algorithm holds a share on a modelled device, not how fast any
//! product is on a card.

mod limiter;
mod matrix;
mod peers;
mod polder;
mod program;
#[cfg(test)]
mod tests;
mod world;

pub use limiter::{Answer, Limiter};
pub use matrix::{
    Cell, Held, LATE_BUSY_NS, LATE_NS, PROCESSES, SHARES, cells, polder, polder_batches,
    polder_batches_late, run,
};
pub use peers::{Make, PEERS, Published, published};
pub use polder::{Hearing, Polder};
pub use program::{Program, SHAPES, Shape};
pub use world::{Run, World};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const SEC: u64 = 1_000_000_000;
