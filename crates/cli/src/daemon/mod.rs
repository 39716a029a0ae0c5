//! The daemon: server and agent in one process.

mod listen;
mod logs;
mod ready;
mod run;

pub(crate) use listen::Listen;
pub(crate) use run::{Daemon, run};
