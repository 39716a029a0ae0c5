//! Which nodes a job may be placed on, beside what its devices must be: the nodes it names or
//! avoids, reservations and maintenance, and tasks that want to be apart.
//!
//! A node that is reserved is closed to others from when they could still run there at its first
//! moment: a job without a time limit could run for ever, so it never goes where a reservation is
//! to come.

use crate::facts::{Facts, JobFacts};
use crate::index::Index;
use polder_model::{Ask, NodeFacts, NodeId, PlaceAsk, Reservation, TenantPath, Timestamp};
use std::collections::BTreeSet;

/// Most sieves that the kernel knows at once; beyond, they are made anew.
pub(crate) const SIEVES_MAX: usize = 512;

/// Which nodes are open to a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sieve {
    /// Only these; empty means any.
    pub(crate) only: BTreeSet<NodeId>,
    /// None of these.
    pub(crate) avoid: BTreeSet<NodeId>,
}

impl Sieve {
    /// The sieve of a job that would start at `at`.
    pub(crate) fn of(facts: &Facts, index: &Index, job: &JobFacts, at: Timestamp) -> Self {
        let place = &job.ask.place;
        let mut sieve = Self { only: place.nodes.clone(), avoid: place.nodes_avoided.clone() };
        if job.ask.devices.count == 0 && (place.partition.is_some() || !place.labels.is_empty()) {
            // Machines without devices are not told apart by shape.
            let strange =
                facts.nodes.iter().filter(|(_, node)| !is_inside(place, &node.inventory.node));
            sieve.avoid.extend(strange.map(|(id, _)| id.clone()));
        }
        for reservation in facts.reservations.values() {
            if is_closed(reservation, &job.ask, at) {
                sieve.avoid.extend(reservation.nodes.iter().cloned());
            }
        }
        if let Some(word) = &place.apart {
            let key = (job.ask.tenant.clone(), word.clone());
            sieve.avoid.extend(index.apart.get(&key).into_iter().flat_map(|on| on.keys().cloned()));
        }
        sieve
    }

    /// Every node is open.
    pub(crate) fn is_open(&self) -> bool {
        self.only.is_empty() && self.avoid.is_empty()
    }

    /// Whether a node is open.
    pub(crate) fn lets(&self, node: &NodeId) -> bool {
        (self.only.is_empty() || self.only.contains(node)) && !self.avoid.contains(node)
    }
}

/// Whether a node belongs where an ask must be. Placement tells nodes apart by that itself.
pub(crate) fn is_inside(place: &PlaceAsk, node: &NodeFacts) -> bool {
    let partition = place.partition.as_ref();
    partition.is_none_or(|partition| node.partitions.contains(partition))
        && place.labels.is_subset(&node.labels)
}

/// Whether a reservation closes its nodes to a job that would start at `at`.
pub(crate) fn is_closed(reservation: &Reservation, ask: &Ask, at: Timestamp) -> bool {
    let own = |tenant: &TenantPath| ask.tenant.lineage().any(|above| above == *tenant);
    if reservation.until <= at || reservation.tenant.as_ref().is_some_and(own) {
        return false;
    }
    let limit = ask.when.time_limit.map(|limit| at.after(limit).after(ask.yields.grace));
    limit.is_none_or(|over| over > reservation.from)
}

/// The reservations that close nodes to a job now.
pub(crate) fn closing<'a>(
    facts: &'a Facts,
    ask: &'a Ask,
    at: Timestamp,
) -> impl Iterator<Item = &'a Reservation> {
    facts.reservations.values().filter(move |reservation| is_closed(reservation, ask, at))
}

/// The first moment after `after` at which a reservation opens or closes nodes.
pub(crate) fn next_edge(facts: &Facts, after: Timestamp) -> Option<Timestamp> {
    let edges = facts.reservations.values().flat_map(|one| [one.from, one.until]);
    edges.filter(|edge| *edge > after).min()
}
