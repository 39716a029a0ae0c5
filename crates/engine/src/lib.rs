//! Decides: admission, order, placement, gangs, quota, explanation. Pure.
//!
//! [`Engine`] is a state machine. [`Engine::apply`] takes facts in; [`Engine::plan`] says what
//! should happen and why the rest does not; a decision takes effect only when it is applied as
//! an event in its turn. There is no clock, thread, file, network or randomness here (see
//! `clippy.toml`), so the same events give the same state and the same decisions, bit for bit.

mod engine;
mod error;
mod facts;
mod policy;
mod report;

pub use engine::{Engine, JobView, NodeView, Violation};
pub use error::{ApplyError, DecisionError, Refusal};
pub use policy::Policy;
pub use report::{Held, Report, Waiting, WaitingOn};

/// The version whose replay gives the same decisions. It grows with every change of behaviour.
pub const ENGINE_VERSION: u32 = 1;
