//! What every library that stands in for a vendor's driver has in common. Nothing here knows an API.
//!
//! * [`attach`]: the process's place in its lease, from the lease's shim; [`place`]: where that is asked.
//! * [`state`]: what the process knows of itself, and what a fork does to it.
//! * [`gate`], [`meter`] and [`patience`]: work waits for the lease's turn and for room.
//! * [`run`]: launches that follow one another without asking one by one.
//! * [`ends`]: when work really ended that is heard of late.
//! * [`memory`]: bytes reserved in the lease's ledger.
//! * [`record`]: what the process does is written down, when it is profiled.
//! * [`inside`]: where the current thread is; a fault fails the call, not the program.
//! * [`vendor`] and the macros of `trampolines`: the vendor's own functions, and ours under their names.
//!
//! No thread is started, no signal handler installed and the process never ended. What is called when a
//! process forks, or when one that is profiled ends, is called by the C library on the thread that does so.

pub mod attach;
pub mod ends;
pub mod gate;
pub mod inside;
pub mod locks;
pub mod log;
pub mod memory;
pub mod meter;
pub mod patience;
mod place;
pub mod record;
pub mod run;
pub mod state;
mod trampolines;
pub mod vendor;
