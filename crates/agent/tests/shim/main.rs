//! The shim with real processes.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test fails where it unwraps, and says what it skips

mod control;
mod door;
mod ends;
mod entry;
mod ground;
mod kit;
mod stdio;
