//! What is free at some moment of the future: what is free now, but for the nodes that differ.
//!
//! A state costs what the nodes cost in which it differs from the pool as it is. A question to it is
//! put to the pool's own kernel, whose trees know everything else: the nodes that differ are made to
//! stand as they then will ([`Fleet::set_free`]), and whoever asks next only moves what differs from
//! there.
//!
//! What must hold: when nobody asks any more the pool stands as it did ([`Base::go_home`]), and a
//! state's answers are those of a pool in which just that is free.

use super::{Gang, Laid};
use crate::backfill;
use crate::fleet::{Fleet, Node, NodeIx, RuleIx, Take};
use crate::scratch::Scratch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The pool as it is, and how it stands for the sake of a question.
#[derive(Debug)]
pub(crate) struct Base<'a> {
    fleet: &'a Scratch<Fleet>,
    rule: RuleIx,
    stand: Scratch<Stand>,
}

/// How the pool stands.
#[derive(Clone, Debug, Default)]
struct Stand {
    /// The last number given to a state.
    last: u64,
    /// The number of the state that it stands as, and how many changes of it were followed.
    as_of: Option<(u64, usize)>,
    /// What nodes that stand otherwise really are.
    away: BTreeMap<NodeIx, Node>,
}

/// What is free at some moment.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    base: Arc<Base<'a>>,
    number: u64,
    /// Nodes that differ, or may.
    nodes: BTreeMap<NodeIx, Arc<Node>>,
    /// Nodes that were changed, in order.
    changed: Vec<NodeIx>,
}

impl<'a> Base<'a> {
    pub(crate) fn new(fleet: &'a Scratch<Fleet>, rule: RuleIx) -> Self {
        Self { fleet, rule, stand: Scratch::default() }
    }

    /// Every node stands as it is.
    pub(crate) fn go_home(&self) {
        let (mut stand, mut fleet) = (self.stand.borrow_mut(), self.fleet.borrow_mut());
        stand.as_of = None;
        for (ix, node) in std::mem::take(&mut stand.away) {
            fleet.set_free(ix, &node);
        }
    }

    /// What a node really is.
    fn node(&self, ix: NodeIx) -> Option<Node> {
        let away = self.stand.borrow().away.get(&ix).cloned();
        away.or_else(|| self.fleet.borrow().node(ix).cloned())
    }

    /// The nodes of these spots as they were before the spots were taken.
    pub(crate) fn before(&self, spots: &[Laid]) -> BTreeMap<NodeIx, Arc<Node>> {
        let mut nodes = BTreeMap::new();
        for Laid { spot } in spots {
            let known = nodes.remove(&spot.node);
            if let Some(mut node) = known.or_else(|| self.node(spot.node)) {
                node.give(&spot.take);
                nodes.insert(spot.node, node);
            }
        }
        nodes.into_iter().map(|(ix, node)| (ix, Arc::new(node))).collect()
    }

    fn number(&self) -> u64 {
        let mut stand = self.stand.borrow_mut();
        stand.last += 1;
        stand.last
    }
}

impl Stand {
    /// Lets a node stand like this, or as it is.
    fn put(&mut self, fleet: &mut Fleet, ix: NodeIx, like: Option<&Node>) {
        match like {
            Some(like) => {
                if let Some(node) = fleet.node(ix).filter(|_| !self.away.contains_key(&ix)) {
                    self.away.insert(ix, node.clone());
                }
                fleet.set_free(ix, like);
            }
            None => {
                if let Some(node) = self.away.remove(&ix) {
                    fleet.set_free(ix, &node);
                }
            }
        }
    }
}

impl Clone for Room<'_> {
    fn clone(&self) -> Self {
        let (base, nodes) = (Arc::clone(&self.base), self.nodes.clone());
        Self { number: base.number(), base, nodes, changed: Vec::new() }
    }
}

impl<'a> Room<'a> {
    /// What is free now.
    pub(crate) fn new(base: &Arc<Base<'a>>) -> Self {
        let base = Arc::clone(base);
        Self { number: base.number(), base, nodes: BTreeMap::new(), changed: Vec::new() }
    }

    /// The pool is about to differ there: this state, unless it does already, stays as before.
    pub(crate) fn keep(&mut self, ix: NodeIx, before: &Arc<Node>) {
        self.nodes.entry(ix).or_insert_with(|| {
            self.changed.push(ix);
            Arc::clone(before)
        });
    }

    fn alter(&mut self, ix: NodeIx, change: impl FnOnce(&mut Node)) {
        let base = &self.base;
        if !self.nodes.contains_key(&ix)
            && let Some(node) = base.node(ix)
        {
            self.nodes.insert(ix, Arc::new(node));
        }
        if let Some(node) = self.nodes.get_mut(&ix) {
            change(Arc::make_mut(node));
            self.changed.push(ix);
        }
    }

    fn each(&mut self, spots: &[Laid], change: impl Fn(&mut Node, &Take)) {
        for Laid { spot } in spots {
            self.alter(spot.node, |node| change(node, &spot.take));
        }
    }

    /// Lets the pool stand as this state.
    fn stand(&self) {
        let mut stand = self.base.stand.borrow_mut();
        let mut fleet = self.base.fleet.borrow_mut();
        let known = stand.as_of.filter(|(number, _)| *number == self.number);
        let moved: Vec<NodeIx> = match known {
            Some((_, followed)) => self.changed.get(followed..).unwrap_or_default().to_vec(),
            None => stand.away.keys().chain(self.nodes.keys()).copied().collect(),
        };
        for ix in moved {
            stand.put(&mut fleet, ix, self.nodes.get(&ix).map(|node| &**node));
        }
        stand.as_of = Some((self.number, self.changed.len()));
    }
}

impl backfill::Space for Room<'_> {
    type Need = Gang;
    type Spots = Arc<[Laid]>;

    fn find(&self, gang: &Gang) -> Option<Arc<[Laid]>> {
        self.stand();
        let mut fleet = self.base.fleet.borrow_mut();
        let mark = fleet.begin();
        let found = fleet.place(&gang.demand, self.base.rule, gang.want);
        fleet.rollback(mark);
        if u32::try_from(found.len()).unwrap_or(u32::MAX) < gang.min {
            return None;
        }
        Some(found.into_iter().map(|spot| Laid { spot }).collect())
    }

    fn take(&mut self, spots: &Arc<[Laid]>) {
        self.each(spots, Node::take);
    }

    fn give(&mut self, spots: &Arc<[Laid]>) {
        self.each(spots, Node::give);
    }

    fn copy(&mut self, other: &Self, spots: &Arc<[Laid]>) {
        for ix in spots.iter().map(|laid| laid.spot.node) {
            match other.nodes.get(&ix) {
                Some(node) => drop(self.nodes.insert(ix, Arc::clone(node))),
                None => drop(self.nodes.remove(&ix)),
            }
            self.changed.push(ix);
        }
    }

    fn meet(&mut self, other: &Self, spots: &Arc<[Laid]>) {
        for ix in spots.iter().map(|laid| laid.spot.node) {
            let theirs = other.nodes.get(&ix).map(Arc::clone);
            let theirs = theirs.or_else(|| other.base.node(ix).map(Arc::new));
            if let Some(theirs) = theirs {
                self.alter(ix, |node| node.be_no_freer(&theirs));
            }
        }
    }
}
