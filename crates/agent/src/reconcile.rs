//! From the leases a node holds and an answer of the server to what must be done. Pure.
//!
//! **Invariants.** A lease is ended only by a tombstone. A lease is started at most once. An
//! answer that repeats itself asks for nothing new. A lease that goes on has the terms of the newest
//! answer, and only what differs is changed.

use polder_model::{Lease, LeaseId, LeaseOrder, LeaseState, SyncResponse, Tombstone};
use std::collections::{BTreeMap, BTreeSet};

/// How far the agent has taken a lease, as far as answers matter to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Whether it was told to start.
    pub(crate) start: bool,
    /// Whether it was told to end.
    pub(crate) stop: bool,
    /// Whether it is over.
    pub(crate) ended: bool,
}

impl Held {
    /// Just ordered.
    pub(crate) const NEW: Self = Self { start: false, stop: false, ended: false };
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    /// Take it and prepare it.
    Prepare(&'a LeaseOrder),
    /// All members are prepared: start it.
    Start(&'a LeaseOrder),
    /// It has other slices of its devices from now on, or is more or less urgent.
    Resize(&'a LeaseOrder),
    /// End it.
    Stop(&'a Tombstone),
    /// It is to end and was never here: report its end.
    Bury(&'a Tombstone),
    /// The server believes that it was prepared or started here, and it is not here (the state
    /// folder was lost): report it as lost rather than perhaps run it twice.
    Missing(&'a LeaseOrder),
    /// Its end is journaled.
    Forget(LeaseId),
}

impl Action<'_> {
    /// Whose.
    #[cfg(test)]
    fn lease(&self) -> LeaseId {
        match self {
            Self::Prepare(order)
            | Self::Start(order)
            | Self::Resize(order)
            | Self::Missing(order) => order.lease.id,
            Self::Stop(tombstone) | Self::Bury(tombstone) => tombstone.lease,
            Self::Forget(lease) => *lease,
        }
    }
}

/// What `answer` asks of a node that holds `held`; `differs` says whether what is held has other
/// terms than the answer's. The answer has been judged new enough.
pub(crate) fn reconcile<'a>(
    held: &BTreeMap<LeaseId, Held>,
    differs: impl Fn(&Lease) -> bool,
    answer: &'a SyncResponse,
) -> Vec<Action<'a>> {
    let mut actions = Vec::new();
    let acknowledged: BTreeSet<LeaseId> = answer.acknowledged.iter().copied().collect();
    for lease in &acknowledged {
        if held.get(lease).is_some_and(|held| held.ended) {
            actions.push(Action::Forget(*lease));
        }
    }
    let mut dying = BTreeSet::new();
    for tombstone in &answer.tombstones {
        if !dying.insert(tombstone.lease) || acknowledged.contains(&tombstone.lease) {
            continue;
        }
        match held.get(&tombstone.lease) {
            None => actions.push(Action::Bury(tombstone)),
            Some(held) if !held.stop && !held.ended => actions.push(Action::Stop(tombstone)),
            Some(_) => {}
        }
    }
    let mut ordered = BTreeSet::new();
    for order in &answer.leases {
        let lease = order.lease.id;
        let over = dying.contains(&lease) || acknowledged.contains(&lease);
        if over || !ordered.insert(lease) {
            continue;
        }
        match held.get(&lease) {
            None if order.lease.state > LeaseState::Granted => {
                actions.push(Action::Missing(order));
            }
            None => {
                actions.push(Action::Prepare(order));
                if order.start {
                    actions.push(Action::Start(order));
                }
            }
            Some(held) if held.stop || held.ended => {}
            Some(held) => {
                if differs(&order.lease) {
                    actions.push(Action::Resize(order));
                }
                if order.start && !held.start {
                    actions.push(Action::Start(order));
                }
            }
        }
    }
    actions
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
