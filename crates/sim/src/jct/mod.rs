//! Completion times on the Muri traces: the published simulator's model, published rules as
//! baselines, and Polder's order for jobs whose length nobody knows.

pub mod baseline;
pub mod engine;
pub mod polder;
pub mod published;
pub mod replay;
pub mod share;
pub mod trace;
