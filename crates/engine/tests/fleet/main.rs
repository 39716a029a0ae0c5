//! The kernel of free space from outside: against a scan of every node, against brute force, and
//! its work counted.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cuts;
mod gangs;
mod history;
mod kit;
mod rules;
mod work;
