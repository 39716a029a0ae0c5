//! Replays traces and a pool's own history through the engine: what would have happened.
//!
//! Nothing is decided here: every row called Polder's is decided by `polder-engine`, the same code
//! that runs in the server. What stands beside it (published rules, reference models) is a baseline
//! and is named as one.

pub mod figure;
pub mod jct;
pub mod learn;
mod num;
pub mod oracle;
pub mod packing;
pub mod pool;
pub mod random;
pub mod report;
pub mod storm;
pub mod traces;
pub mod wait;
pub mod workload;
pub mod world;
