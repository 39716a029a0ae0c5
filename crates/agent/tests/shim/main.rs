//! The shim with real processes.

mod control;
mod door;
mod ends;
mod entry;
mod ground;
mod kit;
mod stdio;
