//! Which nodes are a job's own: the partition of its class.

use crate::decided::may_yield;
use crate::index::space::CellKey;
use polder_model::{Ask, Ground, Policy};
use std::borrow::Cow;

/// The cells that a job may go to.
#[derive(Clone, Debug)]
pub(crate) struct Reach<'c> {
    /// Its own: these first, and these it holds while it waits.
    pub(crate) own: Cow<'c, [CellKey]>,
    /// What it borrows from while there is no room in its own.
    pub(crate) lent: Vec<CellKey>,
}

impl Reach<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.lent.is_empty()
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<CellKey> {
        let mut all = [&*self.own, self.lent.as_slice()].concat();
        all.sort_unstable();
        all
    }
}

/// The partition that a job's class has to itself; absent for a job that goes anywhere, that names
/// its partition itself or that needs no device.
pub(crate) fn of<'p>(policy: &'p Policy, ask: &Ask) -> Option<&'p str> {
    if ask.place.partition.is_some() || ask.devices.count == 0 {
        return None;
    }
    policy.classes.get(&ask.when.class)?.partition.as_deref()
}

/// Whether a job goes elsewhere while its own partition is full: what could not be told to leave
/// does not, because nobody could get the room back.
pub(crate) fn borrows(policy: &Policy, ask: &Ask) -> bool {
    let may = policy.classes.get(&ask.when.class).is_some_and(|pool| pool.borrow);
    may && may_yield(ask, Ground::Class)
}
