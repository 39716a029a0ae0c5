//! A stand-in device in wall time, shared by several processes: one process holds the model and
//! moves it with its clock ([`serve()`]), the others speak with it through a socket ([`Client`]), so
//! that contexts of different processes really compete.
//!
//! Work is sent without waiting for an answer; how far a stream has come stands in a page that the
//! host shares with each client, so that asking costs no call. It is for tests: clients and host
//! trust each other.

#![allow(unsafe_code)] // a page shared between processes

mod checkpoint;
mod client;
mod hosted;
mod page;
mod serve;
mod wire;

pub use client::{Client, ClientError, Mark};
pub use hosted::Hosted;
pub use page::{MARKS_MAX, STREAMS_MAX};
pub use serve::{Script, serve};
pub use wire::{Ask, Info, Step};

/// The host's clock, nanoseconds.
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}
