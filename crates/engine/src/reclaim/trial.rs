//! What would be if some work ended and some started: laid over [`Running`], which stays as it is.

use super::room::{Constraint, Demand, Rooms};
use super::running::{MemberFacts, Running};
use crate::Held;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// What would be. One serves all claimants of one pass, so that none counts on another's room.
pub(crate) struct Trial<'a> {
    pub(crate) running: &'a Running,
    /// For each node, one more than the place in `over`; 0 where nothing changed.
    slots: Vec<u32>,
    over: Vec<Rooms>,
    /// Members that ended, by index.
    gone: Vec<bool>,
    /// How many members of a gang ended.
    lost: BTreeMap<usize, u32>,
    /// Every change of a node, in order: who remembers something of a node reads on from where it
    /// was.
    log: Vec<usize>,
    /// What claimants added and victims gave back, by tenant and all above it.
    tenants: BTreeMap<usize, Delta>,
    /// Tenants that lost work they kept: nothing more is taken from them for others.
    pub(crate) barred: BTreeSet<usize>,
    /// Nodes and members looked at: the work done, counted instead of timed.
    steps: Cell<u64>,
}

/// How what a tenant holds changed.
#[derive(Clone, Copy, Debug, Default)]
struct Delta {
    more: Held,
    less: Held,
    /// The same without what is loose.
    more_kept: Held,
    less_kept: Held,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(running: &'a Running) -> Self {
        Self {
            running,
            slots: vec![0; running.nodes.len()],
            over: Vec::new(),
            gone: vec![false; running.members_bound()],
            lost: BTreeMap::new(),
            log: Vec::new(),
            tenants: BTreeMap::new(),
            barred: BTreeSet::new(),
            steps: Cell::new(0),
        }
    }

    pub(crate) fn step(&self, steps: u64) {
        self.steps.set(self.steps.get() + steps);
    }

    /// Nodes and members looked at so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// What is free on a node.
    pub(crate) fn free(&self, node: usize) -> Rooms {
        match self.slots.get(node).and_then(|slot| slot.checked_sub(1)) {
            Some(slot) => self.over.get(slot as usize).cloned().unwrap_or_default(),
            None => self.running.nodes.get(node).map(|node| node.free()).unwrap_or_default(),
        }
    }

    /// Tasks that what is free on a node carries.
    pub(crate) fn most(&self, node: usize, demand: &Demand, to: &impl Constraint) -> u32 {
        self.step(1);
        let lie = |device| to.lie(node, device);
        match self.slots.get(node).and_then(|slot| slot.checked_sub(1)) {
            Some(slot) => self.over.get(slot as usize).map_or(0, |rooms| demand.most(rooms, lie)),
            None => {
                let free = self.running.nodes.get(node).map(|node| node.free());
                free.map_or(0, |rooms| demand.most(&rooms, lie))
            }
        }
    }

    fn change(&mut self, node: usize, change: impl FnOnce(&mut Rooms)) {
        let Some(slot) = self.slots.get_mut(node) else { return };
        if *slot == 0 {
            let free = self.running.nodes.get(node).map(|node| node.free());
            self.over.push(free.unwrap_or_default());
            *slot = u32::try_from(self.over.len()).unwrap_or(0);
        }
        if let Some(rooms) = self.over.get_mut((*slot as usize).wrapping_sub(1)) {
            change(rooms);
        }
        self.log.push(node);
    }

    pub(crate) fn is_gone(&self, member: usize) -> bool {
        self.gone.get(member).copied().unwrap_or(true)
    }

    /// Members of a gang that ended.
    pub(crate) fn lost(&self, gang: usize) -> u32 {
        self.lost.get(&gang).copied().unwrap_or(0)
    }

    /// Ends a member.
    pub(crate) fn end(&mut self, place: usize) {
        let running = self.running;
        let Some(member) = running.member(place) else { return };
        if let Some(gone) = self.gone.get_mut(place).filter(|gone| !**gone) {
            *gone = true;
            *self.lost.entry(member.gang).or_default() += 1;
            self.change(member.facts.node, |rooms| rooms.give(&member.facts));
        }
    }

    /// Takes an end back.
    pub(crate) fn restore(&mut self, place: usize) {
        let running = self.running;
        let Some(member) = running.member(place) else { return };
        if let Some(gone) = self.gone.get_mut(place).filter(|gone| **gone) {
            *gone = false;
            if let Some(lost) = self.lost.get_mut(&member.gang) {
                *lost -= 1;
            }
            self.change(member.facts.node, |rooms| rooms.take(&member.facts));
        }
    }

    /// What ending a gang's members comes to has changed on all nodes that it is on.
    pub(crate) fn touch(&mut self, gang: usize) {
        let running = self.running;
        let members = running.gang(gang).map_or(&[][..], |gang| &gang.members);
        let nodes = members.iter().filter_map(|member| running.member(*member));
        self.log.extend(nodes.map(|member| member.facts.node));
    }

    /// Gives room to somebody.
    pub(crate) fn take(&mut self, member: &MemberFacts) {
        self.change(member.node, |rooms| rooms.take(member));
    }

    /// Takes that back.
    pub(crate) fn give(&mut self, member: &MemberFacts) {
        self.change(member.node, |rooms| rooms.give(member));
    }

    /// Where the log ends now.
    pub(crate) fn log_end(&self) -> usize {
        self.log.len()
    }

    /// Nodes that changed since a place in the log, each once, and the end of the log.
    pub(crate) fn changed_since(&self, place: usize) -> (BTreeSet<usize>, usize) {
        let since = self.log.get(place..).unwrap_or_default();
        (since.iter().copied().collect(), self.log.len())
    }

    /// Counts what a tenant holds more.
    pub(crate) fn holds_more(&mut self, tenant: usize, held: Held, is_loose: bool) {
        let running = self.running;
        for tenant in running.lineage(tenant) {
            let delta = self.tenants.entry(tenant).or_default();
            delta.more.add(held);
            if !is_loose {
                delta.more_kept.add(held);
            }
        }
    }

    /// Counts what a tenant holds less.
    pub(crate) fn holds_less(&mut self, tenant: usize, held: Held, is_loose: bool) {
        let running = self.running;
        for tenant in running.lineage(tenant) {
            let delta = self.tenants.entry(tenant).or_default();
            delta.less.add(held);
            if !is_loose {
                delta.less_kept.add(held);
            }
        }
    }

    /// What a tenant and all below it hold.
    pub(crate) fn held(&self, tenant: usize) -> Held {
        let delta = self.tenants.get(&tenant).copied().unwrap_or_default();
        let held = self.running.tenants.get(tenant).map(|tenant| tenant.held);
        let mut held = held.unwrap_or_default();
        held.add(delta.more);
        held.subtract(delta.less);
        held
    }

    /// The same without what is loose.
    pub(crate) fn held_kept(&self, tenant: usize) -> Held {
        let delta = self.tenants.get(&tenant).copied().unwrap_or_default();
        let held = self.running.tenants.get(tenant).map(|tenant| *tenant.cover.total());
        let mut held = held.unwrap_or_default();
        held.add(delta.more_kept);
        held.subtract(delta.less_kept);
        held
    }
}
