//! Inputs that nobody would write, for everything that reads what comes from outside.
//!
//! `cargo xtask fuzz` builds this with the compiler's coverage counters, which stable Rust has, and
//! lets [`hunt`] change inputs for as long as it is told: an input that reaches code that none before
//! it reached is kept and changed further. What once broke something lies in `corpus/`, and every test
//! run reads all of it. It needs no other program and no crate that the workspace lacks.
//!
//! What it deliberately does not do: it runs no target as a process, so what reads from sockets and
//! files is called at the place where the bytes have arrived.

pub mod coverage;
pub mod hunt;
mod mutate;
pub mod targets;
