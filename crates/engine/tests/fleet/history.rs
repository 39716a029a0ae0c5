//! Any history: the trees say what a scan says, and a trial leaves nothing behind.

use crate::kit::{any_demand, any_node, every_rule};
use polder_engine::fleet::{Demand, Fleet, Mark, NodeIx, NodeSpec, RuleIx, Spot, Take};
use proptest::prelude::*;

const NODES: u32 = 12;

/// One thing that happens; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Join(u32, NodeSpec),
    Leave(u32),
    Silent(u32, bool),
    Faulty(u32, u16, bool),
    Place(usize, usize, u32),
    Free(usize),
    Ask(usize, usize),
    Begin,
    Rollback,
    Keep,
    /// Ends all trials, parks the outermost and takes so many of what it took for good.
    Park(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..NODES, any_node()).prop_map(|(ix, node)| Op::Join(ix, node)),
        1 => (0..NODES).prop_map(Op::Leave),
        1 => (0..NODES, any::<bool>()).prop_map(|(ix, present)| Op::Silent(ix, present)),
        1 => (0..NODES, 0u16..5, any::<bool>()).prop_map(|(ix, d, ok)| Op::Faulty(ix, d, ok)),
        8 => (any::<usize>(), any::<usize>(), 1u32..4).prop_map(|(d, r, n)| Op::Place(d, r, n)),
        4 => any::<usize>().prop_map(Op::Free),
        6 => (any::<usize>(), any::<usize>()).prop_map(|(d, r)| Op::Ask(d, r)),
        2 => Just(Op::Begin),
        2 => Just(Op::Rollback),
        1 => Just(Op::Keep),
        2 => (0usize..4).prop_map(Op::Park),
    ]
}

/// What was placed.
type Placed = Vec<(NodeIx, Take)>;

/// A pool, what was placed in it, and the trials that are open.
struct World {
    fleet: Fleet,
    rules: Vec<RuleIx>,
    demands: Vec<Demand>,
    placed: Placed,
    trials: Vec<(Mark, Fleet, Placed)>,
}

impl World {
    fn new(demands: Vec<Demand>) -> Self {
        let mut fleet = Fleet::default();
        let rules = every_rule().into_iter().map(|rule| fleet.rule(rule)).collect();
        Self { fleet, rules, demands, placed: vec![], trials: vec![] }
    }

    fn chosen(&self, demand: usize, rule: usize) -> (Demand, RuleIx) {
        let demand = self.demands[demand % self.demands.len()].clone();
        (demand, self.rules[rule % self.rules.len()])
    }

    fn ask(&mut self, demand: &Demand, rule: RuleIx) -> Option<Spot> {
        let scanned = self.fleet.scan(demand, rule);
        let best = self.fleet.best(demand, rule);
        assert_eq!(best, scanned, "{demand:?} {rule:?}");
        best
    }

    fn place(&mut self, demand: &Demand, rule: RuleIx, want: u32) {
        let before = self.fleet.clone();
        let spots = self.fleet.place(demand, rule, want);
        let mut replayed = before;
        for spot in spots {
            let node = replayed.node(spot.node).unwrap();
            let take = demand.take(node, &spot.devices);
            assert!(node.has(&take), "{take:?} is not free on {node:?}");
            assert!(demand.fits_beside(node));
            let devices = spot.devices.iter().map(|place| &node.devices[usize::from(*place)]);
            assert!(devices.clone().all(|device| demand.fits_on(device)), "{demand:?} {spot:?}");
            assert_eq!(devices.count(), usize::try_from(demand.count).unwrap());
            assert!(spot.devices.is_sorted_by(|a, b| a < b));
            replayed.take(spot.node, &take);
            self.placed.push((spot.node, take));
        }
        assert_eq!(replayed, self.fleet);
    }

    /// A trial that is parked is not there, and what is then taken for good is as if taken anew.
    fn park(&mut self, again: usize) {
        while self.trials.len() > 1 {
            self.run(&Op::Keep);
        }
        let Some((mark, before, placed)) = self.trials.pop() else { return };
        self.fleet.park(mark);
        assert_eq!(self.fleet, before);
        assert_eq!(self.fleet.clone(), before);
        let new = self.placed.split_off(placed.len().min(self.placed.len()));
        self.placed = placed;
        let mut plain = before;
        // The last first: what a trial took may be taken for good in any order.
        for (node, take) in new.into_iter().rev().take(again) {
            self.fleet.take(node, &take);
            plain.take(node, &take);
            assert_eq!(self.fleet.settled(node).as_ref(), plain.node(node));
            self.placed.push((node, take));
        }
        assert_eq!(self.fleet, plain);
    }

    /// Whether nodes may be set and cleared.
    fn is_calm(&self) -> bool {
        self.trials.is_empty()
    }

    fn forget(&mut self, ix: NodeIx) {
        self.placed.retain(|(node, _)| *node != ix);
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Join(ix, node) if self.is_calm() => {
                self.fleet.set(NodeIx(*ix), node);
                self.forget(NodeIx(*ix));
            }
            Op::Leave(ix) if self.is_calm() => {
                self.fleet.clear(NodeIx(*ix));
                self.forget(NodeIx(*ix));
            }
            Op::Silent(ix, present) if self.is_calm() => {
                self.fleet.set_present(NodeIx(*ix), *present);
            }
            Op::Faulty(ix, device, healthy) if self.is_calm() => {
                self.fleet.set_healthy(NodeIx(*ix), *device, *healthy);
            }
            Op::Join(..) | Op::Leave(_) | Op::Silent(..) | Op::Faulty(..) => {}
            Op::Place(demand, rule, want) => {
                let (demand, rule) = self.chosen(*demand, *rule);
                self.place(&demand, rule, *want);
            }
            Op::Free(place) => {
                if !self.placed.is_empty() {
                    let place = place % self.placed.len();
                    let (node, take) = self.placed.remove(place);
                    self.fleet.give(node, &take);
                }
            }
            Op::Ask(demand, rule) => {
                let (demand, rule) = self.chosen(*demand, *rule);
                self.ask(&demand, rule);
            }
            Op::Begin => {
                let before = self.fleet.clone();
                self.trials.push((self.fleet.begin(), before, self.placed.clone()));
            }
            Op::Rollback => {
                if let Some((mark, before, placed)) = self.trials.pop() {
                    self.fleet.rollback(mark);
                    assert_eq!(self.fleet, before);
                    self.placed = placed;
                }
            }
            Op::Park(again) => self.park(*again),
            Op::Keep => {
                if let Some((mark, _, _)) = self.trials.pop() {
                    self.fleet.keep(mark);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn trees_say_what_a_scan_says(
        demands in prop::collection::vec(any_demand(), 1..8),
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut world = World::new(demands);
        for op in &ops {
            world.run(op);
        }
        while let Some((mark, before, _)) = world.trials.pop() {
            world.fleet.rollback(mark);
            prop_assert_eq!(&world.fleet, &before);
        }
        for demand in world.demands.clone() {
            for rule in world.rules.clone() {
                world.ask(&demand, rule);
            }
        }
    }

    #[test]
    fn what_was_asked_before_changes_no_answer(
        demands in prop::collection::vec(any_demand(), 2..8),
        ops in prop::collection::vec(op(), 1..100),
    ) {
        let mut world = World::new(demands);
        for op in ops.iter().filter(|op| !matches!(op, Op::Begin | Op::Rollback | Op::Keep | Op::Park(_))) {
            world.run(op);
        }
        let mut fresh = world.fleet.clone();
        for demand in &world.demands {
            for rule in &world.rules {
                prop_assert_eq!(world.fleet.best(demand, *rule), fresh.best(demand, *rule));
            }
        }
    }
}
