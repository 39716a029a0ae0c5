//! Completion times on the Muri traces: the published simulator's model, published rules as
//! baselines, and Polder's order for jobs whose length nobody knows.

pub mod baseline;
pub mod published;
pub mod replay;
pub mod trace;
