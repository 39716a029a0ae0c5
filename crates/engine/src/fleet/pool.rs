//! The pool as numbers, and the questions to it.

use super::demand::Demand;
use super::log::Log;
use super::node::{Node, NodeIx, NodeSpec, Take};
use super::pick::{Scratch, Sight, evaluate, fill};
use super::score::{Memo, Rule};
use super::tree::Tree;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most trees kept at once: of more demands than this in use, some are looked up afresh.
pub const TREES_MAX: usize = 4096;
/// Most bytes of all trees together.
pub const TREES_BYTES_MAX: usize = 256 << 20;

/// How far ahead in a parked trial one looks for what is taken for good.
const CONFIRM_LOOK_MAX: usize = 64;

/// A rule's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleIx(usize);

/// A moment in a trial to go back to.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a trial is ended by `rollback` or `keep`"]
pub struct Mark(usize);

/// Where a task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The node.
    pub node: NodeIx,
    /// Places of its devices in the node, ascending.
    pub devices: Vec<u16>,
    /// How good it was found.
    pub score: u64,
    /// What it takes there, once it is placed.
    pub take: Take,
}

/// What is free in the pool. Trees and memos are not part of its value.
#[derive(Debug, Default)]
pub struct Fleet {
    nodes: Vec<Node>,
    log: Log,
    /// What trials took (`1`) and gave (`-1`), in order.
    undo: Vec<(NodeIx, Take, i8)>,
    trials: u32,
    /// What is in `undo` from here on was taken in a trial that is over and waits to be taken for
    /// good, or back.
    parked: Option<usize>,
    rules: Vec<RuleSlot>,
    trees: Vec<Slot>,
    /// Counts questions, to know which tree was used longest ago.
    asked: u64,
    scratch: Scratch,
    steps: u64,
    /// Whether each node is just as the one before it, as of change `alike_seen`.
    alike: Vec<bool>,
    alike_seen: u64,
}

#[derive(Debug)]
struct RuleSlot {
    rule: Rule,
    memo: Memo,
    /// The place of each demand's tree.
    trees: BTreeMap<Arc<Demand>, usize>,
}

/// A tree for one demand and rule.
#[derive(Debug)]
struct Slot {
    demand: Arc<Demand>,
    rule: usize,
    tree: Tree,
    /// Changes before this one are in the tree.
    seen: u64,
    used: u64,
}

impl Clone for Fleet {
    fn clone(&self) -> Self {
        let (nodes, undo) = (self.nodes.clone(), self.undo.clone());
        let (trials, parked) = (self.trials, self.parked);
        let mut clone = Self { nodes, undo, trials, parked, ..Self::default() };
        clone.settle();
        for slot in &self.rules {
            clone.rule(slot.rule.clone());
        }
        for ix in (0u32..).take(clone.nodes.len()) {
            clone.log.note(ix);
        }
        clone
    }
}

impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        match (self.parked, other.parked) {
            (None, None) => self.nodes == other.nodes,
            _ => self.clone().nodes == other.clone().nodes,
        }
    }
}

fn at(ix: NodeIx) -> usize {
    usize::try_from(ix.0).unwrap_or(usize::MAX)
}

impl Fleet {
    /// A node, unless the slot was never used. Not while a trial is parked.
    #[must_use]
    pub fn node(&self, ix: NodeIx) -> Option<&Node> {
        debug_assert!(self.parked.is_none(), "settle what is parked first");
        self.nodes.get(at(ix))
    }

    /// A node as a value, without what is parked.
    #[must_use]
    pub fn settled(&self, ix: NodeIx) -> Option<Node> {
        let mut node = self.nodes.get(at(ix))?.clone();
        let parked = self.parked.and_then(|from| self.undo.get(from..)).unwrap_or_default();
        for (_, take, sign) in parked.iter().filter(|(other, ..)| *other == ix) {
            node.change(take, -sign);
        }
        Some(node)
    }

    /// Every slot ever used, with its node. Not while a trial is parked.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIx, &Node)> {
        (0u32..).map(NodeIx).zip(&self.nodes)
    }

    /// Work done: nodes judged, and entries of logs and trees looked at.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Puts a node into a slot, with everything free.
    pub fn set(&mut self, ix: NodeIx, spec: &NodeSpec) {
        self.settle();
        if self.nodes.len() <= at(ix) {
            for new in self.nodes.len()..=at(ix) {
                self.log.note(u32::try_from(new).unwrap_or(u32::MAX));
            }
            self.nodes.resize_with(at(ix) + 1, Node::default);
        }
        self.alter(ix, |node| *node = Node::idle(spec));
    }

    /// Empties a slot.
    pub fn clear(&mut self, ix: NodeIx) {
        self.settle();
        self.alter(ix, |node| *node = Node::default());
    }

    /// Whether a node may take work.
    pub fn set_present(&mut self, ix: NodeIx, present: bool) {
        self.settle();
        self.alter(ix, |node| node.present = present);
    }

    /// Whether work may be placed on a device.
    pub fn set_healthy(&mut self, ix: NodeIx, device: u16, healthy: bool) {
        self.settle();
        self.alter(ix, |node| {
            if let Some(device) = node.devices.get_mut(usize::from(device)) {
                device.spec.healthy = healthy;
            }
        });
    }

    /// Takes from a node. What is not free goes below zero.
    pub fn take(&mut self, ix: NodeIx, take: &Take) {
        if !self.confirm(ix, take) {
            self.change(ix, take, 1);
        }
    }

    /// Whether just this was taken in the trial that is parked; then it is taken for good.
    fn confirm(&mut self, ix: NodeIx, take: &Take) -> bool {
        let Some(from) = self.parked else { return false };
        let parked = self.undo.iter().skip(from).take(CONFIRM_LOOK_MAX);
        let found = parked.enumerate().find(|(_, (node, other, _))| *node == ix && other == take);
        let Some((ahead, _)) = found else { return false };
        // What is parked can be taken back in any order.
        self.undo.swap(from, from + ahead);
        self.parked = Some(from + 1);
        if from + 1 == self.undo.len() {
            self.settle();
        }
        true
    }

    /// Gives back to a node.
    pub fn give(&mut self, ix: NodeIx, take: &Take) {
        self.change(ix, take, -1);
    }

    fn change(&mut self, ix: NodeIx, take: &Take, sign: i8) {
        self.settle();
        if self.trials > 0 {
            self.undo.push((ix, take.clone(), sign));
        }
        self.alter(ix, |node| node.change(take, sign));
    }

    /// Whether a node has a trait.
    pub fn set_trait(&mut self, ix: NodeIx, number: u32, has: bool) {
        if self.node(ix).is_some_and(|node| node.traits.has(number) != has) {
            self.alter(ix, |node| {
                if has { node.traits.insert(number) } else { node.traits.remove(number) }
            });
        }
    }

    fn alter(&mut self, ix: NodeIx, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(at(ix)) {
            change(node);
            self.log.note(ix.0);
        }
    }

    /// Lets a node stand as if this were free on it. No trial takes that back: who does so puts back
    /// what was there.
    pub fn set_free(&mut self, ix: NodeIx, like: &Node) {
        self.settle();
        if self.node(ix).is_some_and(|node| !node.is_as_free(like)) {
            self.alter(ix, |node| node.be_as_free(like));
        }
    }

    /// Begins a trial: what is taken and given from here on can be taken back. Trials nest. Nodes
    /// are not set or cleared in a trial.
    pub fn begin(&mut self) -> Mark {
        self.settle();
        self.trials += 1;
        Mark(self.undo.len())
    }

    /// Whether a trial is open.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.trials > 0
    }

    /// Ends a trial: every amount is again what it was.
    pub fn rollback(&mut self, mark: Mark) {
        while self.undo.len() > mark.0
            && let Some((ix, take, sign)) = self.undo.pop()
        {
            self.alter(ix, |node| node.change(&take, -sign));
        }
        self.trials = self.trials.saturating_sub(1);
    }

    /// Ends a trial, but leaves it to be seen whether what it took is now taken for good: if so,
    /// in whatever order, nothing changes and nothing need be looked at again; before anything
    /// else happens, what was not is taken back. Nobody can tell this from [`Fleet::rollback`].
    pub fn park(&mut self, mark: Mark) {
        let gave = self.undo.iter().any(|(_, _, sign)| *sign < 0);
        if self.trials > 1 || gave {
            return self.rollback(mark);
        }
        self.trials = 0;
        self.parked = Some(mark.0).filter(|from| *from < self.undo.len());
    }

    /// Takes back what is parked.
    pub fn settle(&mut self) {
        let Some(from) = self.parked.take() else { return };
        while self.undo.len() > from
            && let Some((ix, take, sign)) = self.undo.pop()
        {
            self.alter(ix, |node| node.change(&take, -sign));
        }
        self.undo.clear();
    }

    /// Ends a trial and keeps what it did, as part of the trial around it if there is one.
    pub fn keep(&mut self, _mark: Mark) {
        self.trials = self.trials.saturating_sub(1);
        if self.trials == 0 {
            self.undo.clear();
        }
    }

    /// The number of a rule; equal rules have one.
    pub fn rule(&mut self, rule: Rule) -> RuleIx {
        let known = self.rules.iter().position(|slot| slot.rule == rule);
        RuleIx(known.unwrap_or_else(|| {
            self.rules.push(RuleSlot { rule, memo: Memo::default(), trees: BTreeMap::new() });
            self.rules.len() - 1
        }))
    }

    /// Puts another rule in a rule's place: what was known by the old one is forgotten.
    pub fn change_rule(&mut self, ix: RuleIx, rule: Rule) {
        let Some(slot) = self.rules.get_mut(ix.0) else { return };
        if slot.rule != rule {
            slot.rule = rule;
            slot.memo = Memo::default();
            for place in slot.trees.values() {
                if let Some(slot) = self.trees.get_mut(*place) {
                    // An empty tree is filled when it is asked; until then it is the first to go.
                    slot.tree = Tree::default();
                    slot.used = 0;
                }
            }
        }
    }

    /// The best place for one task, if there is any.
    pub fn best(&mut self, demand: &Demand, rule: RuleIx) -> Option<Spot> {
        self.settle();
        let slot = self.tree(demand, rule)?;
        self.refresh(slot);
        let (node, score) = self.trees.get(slot)?.tree.best()?;
        self.steps += 1;
        let ix = NodeIx(u32::try_from(node).ok()?);
        let RuleSlot { rule, memo, .. } = self.rules.get_mut(rule.0)?;
        let sight = Sight { ix, node: self.nodes.get(node)?, version: self.log.last(node) };
        evaluate(sight, demand, rule, memo, &mut self.scratch);
        let devices = self.scratch.best.clone();
        Some(Spot { node: ix, devices, score, take: Take::default() })
    }

    /// Places up to `want` equal tasks one by one, and takes what they need. They are fewer only if
    /// no arrangement of `want` of them exists, and then as many as there can be.
    pub fn place(&mut self, demand: &Demand, rule: RuleIx, want: u32) -> Vec<Spot> {
        let want = usize::try_from(want).unwrap_or(usize::MAX);
        let mut spots: Vec<Spot> = Vec::new();
        while spots.len() < want
            && let Some(spot) = self.best(demand, rule)
        {
            let left = want - spots.len();
            // Of several devices for each of several tasks the tightest may leave no room for the
            // next task where another choice would.
            let ahead = if demand.count > 1 && left > 1 {
                let node = self.nodes.get(at(spot.node));
                node.map_or(Vec::new(), |node| {
                    let tasks = usize::try_from(demand.tasks_in(node)).unwrap_or(usize::MAX);
                    let ahead = if tasks < left { tasks } else { left - 1 };
                    fill(node, demand, u64::try_from(ahead).unwrap_or(u64::MAX))
                })
            } else {
                Vec::new()
            };
            if ahead.is_empty() {
                self.put(demand, spot, &mut spots);
                continue;
            }
            for devices in ahead {
                self.put(demand, Spot { devices, ..spot.clone() }, &mut spots);
            }
        }
        spots
    }

    /// Places up to `want` equal tasks on one node, as many as fit, and takes what they need.
    pub fn place_on(&mut self, ix: NodeIx, demand: &Demand, want: u32) -> Vec<Spot> {
        self.settle();
        let Some(node) = self.nodes.get(at(ix)) else { return Vec::new() };
        let tasks = demand.tasks_in(node).min(want.into());
        let filled = if demand.count == 0 {
            vec![Vec::new(); usize::try_from(tasks).unwrap_or(0)]
        } else {
            fill(node, demand, tasks)
        };
        filled.into_iter().filter_map(|devices| self.put_on(ix, demand, devices)).collect()
    }

    /// Places one task on these devices of a node, if all of what it takes is free.
    pub fn put_on(&mut self, ix: NodeIx, demand: &Demand, devices: Vec<u16>) -> Option<Spot> {
        self.settle();
        let node = self.nodes.get(at(ix))?;
        let take = demand.take(node, &devices);
        if !node.present || !node.has(&take) {
            return None;
        }
        self.change(ix, &take, 1);
        Some(Spot { node: ix, devices, score: 0, take })
    }

    fn put(&mut self, demand: &Demand, mut spot: Spot, spots: &mut Vec<Spot>) {
        if let Some(node) = self.nodes.get(at(spot.node)) {
            spot.take = demand.take(node, &spot.devices);
            self.change(spot.node, &spot.take, 1);
            spots.push(spot);
        }
    }

    /// The best place for one task, found by looking at every node: what [`Fleet::best`] must say.
    #[must_use]
    pub fn scan(&self, demand: &Demand, rule: RuleIx) -> Option<Spot> {
        if self.parked.is_some() {
            return self.clone().scan(demand, rule);
        }
        let rule = &self.rules.get(rule.0)?.rule;
        let (mut memo, mut scratch) = (Memo::default(), Scratch::default());
        let mut best: Option<Spot> = None;
        for (ix, node) in self.nodes() {
            let sight = Sight { ix, node, version: self.log.last(at(ix)) };
            let score = evaluate(sight, demand, rule, &mut memo, &mut scratch);
            if score > best.as_ref().map_or(0, |best| best.score) {
                let devices = scratch.best.clone();
                best = Some(Spot { node: ix, devices, score, take: Take::default() });
            }
        }
        best
    }

    /// The place of the tree for a demand and rule; made if it is not there.
    fn tree(&mut self, demand: &Demand, rule: RuleIx) -> Option<usize> {
        self.asked += 1;
        if let Some(place) = self.rules.get(rule.0)?.trees.get(demand) {
            return Some(*place);
        }
        let demand = Arc::new(demand.clone());
        let tree = Tree::default();
        let slot = Slot { demand: Arc::clone(&demand), rule: rule.0, tree, seen: 0, used: 0 };
        let each = Tree::bytes(self.nodes.len().next_power_of_two());
        let most = (TREES_BYTES_MAX / each.max(1)).clamp(1, TREES_MAX);
        let place = if self.trees.len() < most {
            self.trees.push(slot);
            self.trees.len() - 1
        } else {
            let oldest = self.trees.iter().enumerate().min_by_key(|(_, slot)| slot.used)?.0;
            let gone = std::mem::replace(self.trees.get_mut(oldest)?, slot);
            self.rules.get_mut(gone.rule)?.trees.remove(&gone.demand);
            oldest
        };
        self.rules.get_mut(rule.0)?.trees.insert(demand, place);
        Some(place)
    }

    /// Which nodes are as the ones before them: a pool begins idle, and its neighbours alike.
    fn compare(&mut self) {
        let Self { nodes, log, alike, alike_seen, .. } = self;
        let is_alike = |place: usize| {
            let before = place.checked_sub(1).and_then(|before| nodes.get(before));
            before.is_some_and(|before| nodes.get(place) == Some(before))
        };
        if alike.len() == nodes.len() {
            log.since(*alike_seen, |node| {
                let place = usize::try_from(node).unwrap_or(usize::MAX);
                for place in [place, place.saturating_add(1)] {
                    if let Some(alike) = alike.get_mut(place) {
                        *alike = is_alike(place);
                    }
                }
            });
        } else {
            *alike = (0..nodes.len()).map(is_alike).collect();
        }
        *alike_seen = log.next();
    }

    /// Brings a tree up to date with the nodes that changed since it was.
    fn refresh(&mut self, slot: usize) {
        if self.trees.get(slot).is_some_and(|slot| slot.tree.len() < self.nodes.len()) {
            self.compare();
        }
        let Self { nodes, log, rules, trees, scratch, steps, alike, .. } = self;
        let Some(Slot { demand, rule, tree, seen, used }) = trees.get_mut(slot) else { return };
        let Some(RuleSlot { rule, memo, .. }) = rules.get_mut(*rule) else { return };
        *used = self.asked;
        let mut judge = |place: usize| {
            *steps += 1;
            let Some(node) = nodes.get(place) else { return 0 };
            let ix = NodeIx(u32::try_from(place).unwrap_or(u32::MAX));
            let sight = Sight { ix, node, version: log.last(place) };
            evaluate(sight, demand, rule, memo, scratch)
        };
        if tree.len() < nodes.len() {
            // With room for nodes to come, so that one that joins is a change like any other.
            let mut scores = Vec::with_capacity(nodes.len().next_power_of_two());
            for (place, alike) in alike.iter().enumerate() {
                let known = scores.last().copied().filter(|_| *alike);
                scores.push(known.unwrap_or_else(|| judge(place)));
            }
            scores.resize(nodes.len().next_power_of_two(), 0);
            *tree = Tree::new(scores);
        } else {
            let mut looked = 0;
            looked += log.since(*seen, |node| {
                let place = usize::try_from(node).unwrap_or(usize::MAX);
                let score = judge(place);
                looked += tree.set(place, score);
            });
            *steps += looked;
        }
        *seen = log.next();
    }
}
