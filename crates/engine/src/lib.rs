//! Decides: admission, order, placement, gangs, quota, explanation. Pure.
//!
//! [`Engine`] is a state machine. [`Engine::apply`] takes facts in; [`Engine::plan`] says what
//! should happen and why the rest does not; a decision takes effect only when it is applied as
//! an event in its turn. There is no clock, thread, file, network or randomness here (see
//! `clippy.toml`), so the same events give the same state and the same decisions, bit for bit.
//!
//! Where things are: `facts` is what is true and is the snapshot; `index` is what is derived from
//! it; `admit` and `decided` say which events are possible, `apply` carries them out; `shape` and
//! `need` say what fits what, `place` where, `pass` who is next, `step` what follows for a job
//! that was granted something; `explain` says why a job waits; `check` recomputes every promise.
//! [`backfill`] looks ahead in time, [`predict`] learns from what ended.

#![deny(clippy::disallowed_types, reason = "what is banned in clippy.toml would break replays")]

mod admit;
mod ahead;
mod apply;
pub mod backfill;
mod check;
mod closest;
mod decided;
mod desired;
mod engine;
mod error;
mod explain;
mod facts;
pub mod fleet;
mod grow;
mod history;
mod home;
mod index;
mod line;
mod members;
pub mod mig;
mod near;
mod nearest;
mod need;
mod order;
mod pass;
mod place;
mod plan;
mod policies;
pub mod predict;
mod quota;
mod reclaim;
mod report;
mod resize;
mod scratch;
mod shape;
mod sieve;
mod step;
pub mod topology;
mod what_if;

pub use admit::{JOBS_MAX, NODE_DEVICES_MAX, NODES_MAX, RESERVATIONS_MAX, TENANTS_MAX, USERS_MAX};
pub use check::Violation;
pub use engine::{Engine, JobView, NodeView};
pub use error::{ApplyError, DecisionError, Refusal};
pub use order::service;
pub use pass::{PASS_GRANTS_MAX, PASS_LEASES_MAX, REPORT_WAITING_MAX};
pub use polder_model::Policy;
pub use policies::{PAST_POLICIES_MAX, Shadow};
pub use report::{Held, Report, Waiting, WaitingOn};
pub use what_if::{Outlook, WHAT_IF_PLANS_MAX};

/// The version whose replay gives the same decisions. It grows with every change of behaviour.
pub const ENGINE_VERSION: u32 = 2;
