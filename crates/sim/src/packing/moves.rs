//! The same replay with moves: a pod that fits nowhere may have a few others moved out of its way.
//!
//! Nothing is evicted: each pod that makes room has its new place before it leaves the old one, and
//! the room is taken in the same step. A pod that fits on arrival is placed as without moves, and
//! nothing is moved for it.
//!
//! Moves are made for compute: what is given out and what the nodes promise to carry yet (see
//! [`Outlook`]) must together grow by what [`Limits`] asks for each move, or none is made.

use super::replay::{Outcome, Placed, Workload};
use polder_engine::fleet::{Demand, Fleet, Node, NodeIx, Outlook, Rule, RuleIx, Spot, Take};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most devices of a node that a plan is made for.
const DEVICES_MAX: usize = 64;
/// Most plans tried for one pod.
const TRIES_MAX: usize = 256;
/// Most pods of one node that are thought of as movable.
const MOVABLE_MAX: usize = 48;

/// How much may be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most pods moved for one.
    pub pods: usize,
    /// Most compute moved for one, in thousandths of what it asks for.
    pub compute_permille: i64,
    /// What a move must gain, in thousandths of a device.
    pub gain_milli: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pods: 3, compute_permille: 2000, gain_milli: 1 }
    }
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Moves.
    pub moves: u64,
    /// Compute moved, in thousandths of a device.
    pub milli: i64,
    /// Pods placed by help of moves.
    pub helped: u64,
}

/// One thing that happened. Moves come right before the pod that they were made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A pod was placed.
    Placed(Placed),
    /// A pod went elsewhere.
    Moved {
        /// Its place among those that were placed.
        at: usize,
        /// Where it is now.
        to: Spot,
    },
    /// A pod was dropped: its row.
    Dropped(usize),
}

/// What became of the arrivals, with moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// What was placed, where it is in the end, and what was dropped.
    pub outcome: Outcome,
    /// What was moved, in sum.
    pub moved: Moved,
    /// All that happened, in order.
    pub acts: Vec<Act>,
}

/// A running pod that could go elsewhere.
#[derive(Clone, Copy)]
struct Movable {
    /// Its place among those that were placed.
    at: usize,
    milli: i64,
}

/// Pods to move out of a node.
struct Plan {
    moved: Vec<Movable>,
    cost: (i64, i64),
}

struct World<'a> {
    workload: &'a Workload,
    limits: Limits,
    fleet: Fleet,
    outlook: Arc<Outlook>,
    rule: RuleIx,
    outcome: Outcome,
    moved: Moved,
    acts: Vec<Act>,
    /// By node, places among those that were placed.
    residents: Vec<Vec<usize>>,
    /// By row, the number of its demand.
    kinds: Vec<usize>,
    /// One row of each kind.
    samples: Vec<usize>,
}

/// Lets pods arrive in an order, and moves others for those that fit nowhere.
#[must_use]
pub fn replay(
    workload: &Workload,
    order: &[usize],
    outlook: Arc<Outlook>,
    seed: u64,
    limits: Limits,
) -> Replayed {
    let mut fleet = workload.fleet(seed);
    let rule = fleet.rule(Rule::Outlook(Arc::clone(&outlook)));
    let (kinds, samples) = kinds(workload);
    let residents = vec![Vec::new(); fleet.nodes().count()];
    let Replayed { outcome, moved, acts } = Replayed::default();
    let mut world = World {
        workload,
        limits,
        fleet,
        outlook,
        rule,
        outcome,
        moved,
        acts,
        residents,
        kinds,
        samples,
    };
    for row in order.iter().copied() {
        let Some(demand) = workload.demand(row) else { continue };
        if let Some(spot) = world.fleet.place(demand, world.rule, 1).pop() {
            world.placed(row, spot);
        } else if !world.make_room(row, demand) {
            world.acts.push(Act::Dropped(row));
            world.outcome.dropped.push(row);
        }
    }
    Replayed { outcome: world.outcome, moved: world.moved, acts: world.acts }
}

/// Rows that need the same are of one kind.
fn kinds(workload: &Workload) -> (Vec<usize>, Vec<usize>) {
    let mut known: BTreeMap<&Demand, usize> = BTreeMap::new();
    let (mut kinds, mut samples) = (Vec::new(), Vec::new());
    for (row, demand) in (0..).map_while(|row| workload.demand(row).map(|demand| (row, demand))) {
        let next = known.len();
        let kind = *known.entry(demand).or_insert(next);
        if kind == next {
            samples.push(row);
        }
        kinds.push(kind);
    }
    (kinds, samples)
}

impl World<'_> {
    /// Notes that a pod was placed.
    fn placed(&mut self, row: usize, spot: Spot) {
        let node = spot.node;
        let placed = Placed { row, spot };
        self.acts.push(Act::Placed(placed.clone()));
        self.outcome.milli += self.milli(row);
        self.outcome.placed.push(placed);
        self.settle(node, self.outcome.placed.len() - 1);
    }

    fn settle(&mut self, node: NodeIx, at: usize) {
        if let Some(residents) = self.residents.get_mut(slot(node)) {
            residents.push(at);
        }
    }

    fn milli(&self, row: usize) -> i64 {
        self.workload.pods.get(row).map_or(0, super::openb::Pod::milli_all)
    }

    /// Moves others so that a pod which fits nowhere fits, and places it; the cheapest way found.
    fn make_room(&mut self, row: usize, demand: &Demand) -> bool {
        let gain = self.milli(row);
        if gain == 0 {
            return false;
        }
        let goes: Vec<bool> =
            (0..self.samples.len()).map(|kind| self.goes_elsewhere(kind)).collect();
        for count in 1..=self.limits.pods {
            let mut plans = self.plans(demand, gain, count, &goes);
            plans.sort_by_key(|plan| plan.cost);
            for plan in plans.iter().take(TRIES_MAX) {
                if self.carry_out(row, demand, plan) {
                    return true;
                }
            }
        }
        false
    }

    /// Whether a pod of a kind, of at most one device, has a place to go to now.
    fn goes_elsewhere(&mut self, kind: usize) -> bool {
        let demand = self.samples.get(kind).and_then(|row| self.workload.demand(*row));
        demand
            .is_some_and(|demand| demand.count <= 1 && self.fleet.best(demand, self.rule).is_some())
    }

    /// Every way to make room on some node by moving `count` pods out of it.
    fn plans(&self, demand: &Demand, gain: i64, count: usize, goes: &[bool]) -> Vec<Plan> {
        let most = gain * self.limits.compute_permille / 1000;
        let mut plans = Vec::new();
        for ((_, node), residents) in self.fleet.nodes().zip(&self.residents) {
            let served = node.devices.iter().filter(|d| demand.is_served_by(d.spec.cell.0)).count();
            if served < usize::try_from(demand.count).unwrap_or(usize::MAX)
                || node.devices.len() > DEVICES_MAX
                || node.cpu_all < demand.cpu
            {
                continue;
            }
            let movable: Vec<Movable> = residents
                .iter()
                .filter_map(|at| {
                    let row = self.outcome.placed.get(*at)?.row;
                    let goes = *goes.get(*self.kinds.get(row)?)?;
                    goes.then(|| Movable { at: *at, milli: self.milli(row) })
                })
                .take(MOVABLE_MAX)
                .collect();
            self.choose(node, demand, &movable, count, most, &mut Vec::new(), &mut plans);
        }
        plans
    }

    /// Adds to `plans` each set of `count` more of `movable` that makes room with those chosen.
    #[allow(clippy::too_many_arguments, reason = "one search, its state written out")]
    fn choose(
        &self,
        node: &Node,
        demand: &Demand,
        movable: &[Movable],
        count: usize,
        most: i64,
        chosen: &mut Vec<Movable>,
        plans: &mut Vec<Plan>,
    ) {
        if count == 0 {
            if self.makes_room(node, demand, chosen) {
                let milli = chosen.iter().map(|movable| movable.milli).sum();
                let cpu = chosen.iter().map(|movable| self.take(movable.at).cpu).sum();
                plans.push(Plan { moved: chosen.clone(), cost: (milli, cpu) });
            }
            return;
        }
        for (place, next) in movable.iter().enumerate() {
            if next.milli > most {
                continue;
            }
            chosen.push(*next);
            let rest = movable.get(place + 1..).unwrap_or_default();
            self.choose(node, demand, rest, count - 1, most - next.milli, chosen, plans);
            chosen.pop();
        }
    }

    /// Whether a task fits on a node once some pods are gone.
    fn makes_room(&self, node: &Node, demand: &Demand, gone: &[Movable]) -> bool {
        let mut free = [0i32; DEVICES_MAX];
        for (free, device) in free.iter_mut().zip(&node.devices) {
            *free = device.compute;
        }
        let (mut cpu, mut memory) = (node.cpu, node.memory);
        for movable in gone {
            let Some((pod, spot)) = self.pod(movable.at) else { return false };
            cpu += pod.cpu;
            memory += pod.memory;
            for device in spot {
                if let Some(free) = free.get_mut(usize::from(*device)) {
                    *free += pod.compute;
                }
            }
        }
        let fits = free.iter().zip(&node.devices).filter(|(free, device)| {
            **free >= demand.compute && demand.is_served_by(device.spec.cell.0)
        });
        cpu >= demand.cpu
            && memory >= demand.memory
            && fits.count() >= usize::try_from(demand.count).unwrap_or(usize::MAX)
    }

    fn pod(&self, at: usize) -> Option<(&Demand, &[u16])> {
        let placed = self.outcome.placed.get(at)?;
        Some((self.workload.demand(placed.row)?, &placed.spot.devices))
    }

    /// What a running pod holds.
    fn take(&self, at: usize) -> Take {
        self.pod(at).map_or_else(Take::default, |(pod, devices)| Take {
            cpu: pod.cpu,
            memory: pod.memory,
            devices: devices.iter().map(|device| (*device, pod.compute, 0)).collect(),
            ..Take::default()
        })
    }

    /// Does what a plan says if all who leave find a place and it pays; else nothing.
    fn carry_out(&mut self, row: usize, demand: &Demand, plan: &Plan) -> bool {
        let mark = self.fleet.begin();
        let mut nodes = Nodes::default();
        let spots = self.attempt(demand, plan, &mut nodes);
        let moves = i64::try_from(plan.moved.len()).unwrap_or(i64::MAX);
        let least = self.limits.gain_milli * moves;
        let pays = self.milli(row) * 1000 + self.gained(&nodes) >= least * 1000;
        let Some((own, theirs)) = spots.filter(|_| pays) else {
            self.fleet.rollback(mark);
            return false;
        };
        self.fleet.keep(mark);
        self.moved.helped += 1;
        for (movable, spot) in plan.moved.iter().zip(theirs) {
            self.moved(movable.at, spot);
        }
        self.placed(row, own);
        true
    }

    /// Notes that a pod is elsewhere now.
    fn moved(&mut self, at: usize, spot: Spot) {
        let to = spot.node;
        self.acts.push(Act::Moved { at, to: spot.clone() });
        if let Some(placed) = self.outcome.placed.get_mut(at) {
            let row = placed.row;
            let from = std::mem::replace(&mut placed.spot, spot).node;
            if let Some(residents) = self.residents.get_mut(slot(from)) {
                residents.retain(|resident| *resident != at);
            }
            self.moved.moves += 1;
            self.moved.milli += self.milli(row);
            self.settle(to, at);
        }
    }

    /// Takes the new pod's place, then one for each that leaves.
    fn attempt(
        &mut self,
        demand: &Demand,
        plan: &Plan,
        nodes: &mut Nodes,
    ) -> Option<(Spot, Vec<Spot>)> {
        for movable in &plan.moved {
            let node = self.outcome.placed.get(movable.at)?.spot.node;
            let take = self.take(movable.at);
            nodes.note(self, node);
            self.fleet.give(node, &take);
        }
        let own = self.put(demand, nodes)?;
        let mut theirs = Vec::new();
        for movable in &plan.moved {
            let row = self.outcome.placed.get(movable.at)?.row;
            theirs.push(self.put(self.workload.demand(row)?, nodes)?);
        }
        Some((own, theirs))
    }

    /// Puts a task where it fits best.
    fn put(&mut self, demand: &Demand, nodes: &mut Nodes) -> Option<Spot> {
        let spot = self.fleet.best(demand, self.rule)?;
        nodes.note(self, spot.node);
        let take = demand.take(self.fleet.node(spot.node)?, &spot.devices);
        self.fleet.take(spot.node, &take);
        Some(spot)
    }

    /// By how much these nodes promise more than when they were noted, in millionths of a device.
    fn gained(&self, nodes: &Nodes) -> i64 {
        let now: i64 = nodes.seen.iter().map(|node| self.promise(*node)).sum();
        now - nodes.promised
    }

    fn promise(&self, node: NodeIx) -> i64 {
        self.fleet.node(node).map_or(0, |node| self.outlook.promise_of(node))
    }
}

/// Nodes that a trial touches, and what they promised together before.
#[derive(Default)]
struct Nodes {
    seen: BTreeSet<NodeIx>,
    promised: i64,
}

impl Nodes {
    fn note(&mut self, world: &World, node: NodeIx) {
        if self.seen.insert(node) {
            self.promised += world.promise(node);
        }
    }
}

fn slot(node: NodeIx) -> usize {
    usize::try_from(node.0).unwrap_or(usize::MAX)
}
