//! What a world is made of.

use super::{Faults, Interference};
use crate::pool::Pool;
use polder_engine::Policy;
use polder_model::{Ask, LeaseEnd, Micros, Tenant, Timestamp};

/// When a run begins unless told otherwise: 2024-01-01T00:00Z, a Monday.
pub const BEGIN: Timestamp = Timestamp(1_704_067_200_000_000);

/// How long the steps of a lease's life take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// From the grant until its node has prepared a lease.
    pub prepare: Micros,
    /// From the order to start until the program runs.
    pub start: Micros,
    /// From the order to end until the program is gone, if its grace is not shorter.
    pub stop: Micros,
    /// How long the server waits for a node's call before it counts as silent.
    pub silent_after: Micros,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            prepare: Micros::from_millis(500),
            start: Micros::from_millis(100),
            stop: Micros::from_secs(1),
            silent_after: Micros::from_secs(15),
        }
    }
}

impl Delays {
    /// Everything at once, as tests of decisions want it.
    #[must_use]
    pub fn none() -> Self {
        let none = Micros(0);
        Self { prepare: none, start: none, stop: none, silent_after: none }
    }
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its nodes.
    pub pool: Pool,
    /// Tenants with their quotas; those that jobs name are added without one.
    pub tenants: Vec<Tenant>,
    /// What the engine decides by.
    pub policy: Policy,
    /// What chance is drawn from.
    pub seed: u64,
    /// How long steps take.
    pub delays: Delays,
    /// What goes wrong.
    pub faults: Faults,
    /// How often a user submits a job again that a fault ended. A job that ends by itself, however it
    /// ends, is not submitted again; a service replaces what it lost without that.
    pub submits_again: u32,
    /// How tasks on one device slow each other down.
    pub interference: Interference,
    /// After how many events the engine's promises are recomputed; 0 means never.
    pub check_every: u64,
    /// When it begins.
    pub begin: Timestamp,
    /// Whether every event is kept (see [`super::World::take_journal`]).
    pub journal: bool,
}

impl Setup {
    /// A pool with the usual delays, no faults and every event checked.
    #[must_use]
    pub fn new(pool: Pool, policy: Policy) -> Self {
        Self {
            pool,
            tenants: Vec::new(),
            policy,
            seed: 0,
            delays: Delays::default(),
            faults: Faults::default(),
            submits_again: 0,
            interference: Interference::default(),
            check_every: 1,
            begin: BEGIN,
            journal: false,
        }
    }
}

/// Changes asks before they are submitted, and learns from what was metered: what a user would do
/// who looks at the history of their jobs.
pub trait Advisor {
    /// Changes an ask that is about to be submitted.
    fn advise(&mut self, ask: &mut Ask);
    /// A lease has ended of a job whose ask was this before it was changed.
    fn learn(&mut self, ask: &Ask, end: &LeaseEnd);
}
