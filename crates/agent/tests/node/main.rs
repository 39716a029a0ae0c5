//! The agent as a process of its own, with real shims and real programs, against a scripted server
//! on a real socket. The server decides nothing: it plays back what each test tells it to want.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod cards;
mod clients;
mod contact;
mod entry;
mod kit;
mod life;
mod obey;
mod restart;
mod server;
mod units;
