//! What a tenant keeps: the shortest prefix of its gangs, in order of standing, that covers what it
//! deserves.
//!
//! Kept up to date in steps proportional to what enters or leaves the prefix. Ending gangs outside
//! the prefix never brings the tenant below what it deserves, whichever and however many.

use super::Standing;
use crate::Held;
use polder_model::Resource;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// An amount of each resource; absent means that the resource does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) devices: Option<u64>,
    pub(crate) compute: Option<u64>,
    pub(crate) memory: Option<u64>,
}

impl Share {
    /// The resources that count.
    pub(crate) fn amounts(&self) -> impl Iterator<Item = (Resource, u64)> + use<> {
        let amounts = [
            (Resource::Devices, self.devices),
            (Resource::Compute, self.compute),
            (Resource::Memory, self.memory),
        ];
        amounts.into_iter().filter_map(|(resource, amount)| Some((resource, amount?)))
    }

    /// Whether any resource counts.
    pub(crate) fn is_set(&self) -> bool {
        self.amounts().next().is_some()
    }

    /// Whether `held` reaches it in every resource that counts.
    pub(crate) fn is_met_by(&self, held: &Held) -> bool {
        self.amounts().all(|(resource, amount)| held.of(resource) >= amount)
    }

    /// Whether `held` passes it in no resource that counts.
    pub(crate) fn holds(&self, held: &Held) -> bool {
        self.amounts().all(|(resource, amount)| held.of(resource) <= amount)
    }
}

/// What a tenant deserves and keeps. Spot work is not in here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cover {
    deserved: Share,
    order: BTreeMap<Standing, Held>,
    /// What all of `order` holds.
    total: Held,
    /// What the kept prefix holds.
    kept: Held,
    /// The last gang of the kept prefix.
    last: Option<Standing>,
}

impl Cover {
    pub(crate) fn deserved(&self) -> &Share {
        &self.deserved
    }

    /// What the tenant holds without spot.
    pub(crate) fn total(&self) -> &Held {
        &self.total
    }

    /// The last gang that is kept.
    pub(crate) fn last(&self) -> Option<Standing> {
        self.last
    }

    pub(crate) fn set_deserved(&mut self, deserved: Share) {
        self.deserved = deserved;
        (self.kept, self.last) = (Held::default(), None);
        self.extend();
    }

    /// Adds a gang that is not in here.
    pub(crate) fn insert(&mut self, standing: Standing, held: Held) {
        self.order.insert(standing, held);
        self.total.add(held);
        if self.last.is_some_and(|last| standing < last) {
            self.kept.add(held);
            self.retreat();
        } else {
            self.extend();
        }
    }

    pub(crate) fn remove(&mut self, standing: Standing) {
        let Some(held) = self.order.remove(&standing) else { return };
        self.total.subtract(held);
        if self.last.is_some_and(|last| standing <= last) {
            self.kept.subtract(held);
            if self.last == Some(standing) {
                self.last = self.order.range(..standing).next_back().map(|(before, _)| *before);
            }
            self.extend();
        }
    }

    /// Keeps more until what is deserved is covered.
    fn extend(&mut self) {
        while !self.deserved.is_met_by(&self.kept) {
            let after = self.last.map_or(Unbounded, Excluded);
            let Some((next, held)) = self.order.range((after, Unbounded)).next() else { break };
            self.kept.add(*held);
            self.last = Some(*next);
        }
    }

    /// Keeps less while what is deserved is covered without the last.
    fn retreat(&mut self) {
        while let Some(last) = self.last
            && let Some(held) = self.order.get(&last)
        {
            let mut without = self.kept;
            without.subtract(*held);
            if !self.deserved.is_met_by(&without) {
                break;
            }
            self.kept = without;
            self.last = self.order.range(..last).next_back().map(|(before, _)| *before);
        }
    }
}
