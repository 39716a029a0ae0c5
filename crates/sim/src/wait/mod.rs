//! How long jobs wait: a Standard Workload Format trace through a flat pool, under one rule after
//! another. Every rule but the strict queue is carried out by the engine's look ahead in time and
//! its predictions; nothing of them is copied here.

mod accuracy;
mod learned;
mod metrics;
mod rules;
mod swf;
#[cfg(test)]
mod tests;
mod world;

pub use accuracy::{Accuracy, DemandError, Oracle, accuracy, demand};
pub use learned::{daily_waits, learned, parameters};
pub use metrics::{Counted, SLOWDOWN_FLOOR_SECONDS, Summary};
pub use rules::{Expect, Order, Rules, Weights};
pub use swf::{
    COLUMNS, PROCESSORS_MAX, REFUSED_MAX, ROWS_MAX, RowError, SECONDS_MAX, SwfError, SwfJob, Trace,
    read, read_file,
};
pub use world::{Outcome, Replay, replay};
