//! Gangs of equal tasks: placed whenever any arrangement exists, and as many as there can be.

use crate::kit::{any_demand, any_node, every_rule};
use polder_engine::fleet::{Demand, Device, Fleet, Node, NodeIx};
use polder_engine::topology::Together;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Most tasks in any arrangement at all, up to `want`.
fn most(nodes: &mut Vec<Node>, demand: &Demand, want: u32) -> u32 {
    let mut best = 0;
    if want == 0 {
        return 0;
    }
    for at in 0..nodes.len() {
        let number = nodes[at].devices.len();
        if !demand.fits_beside(&nodes[at]) {
            continue;
        }
        for set in (0u32..1 << number).filter(|set| set.count_ones() == demand.count) {
            let places = (0u16..).take(number).filter(|place| set >> place & 1 == 1);
            let places: Vec<u16> = places.collect();
            let devices = || places.iter().map(|place| nodes[at].devices[usize::from(*place)]);
            let names = |name: fn(&Device) -> u16| {
                devices().map(|device| name(&device)).collect::<BTreeSet<u16>>().len()
            };
            let wish = &demand.wish;
            if !devices().all(|device| demand.fits_on(&device))
                || (wish.island == Together::Required && names(|d| d.spec.island) > 1)
                || (wish.numa == Together::Required && names(|d| d.spec.numa) > 1)
                || (wish.rails == Together::Required && names(|d| d.spec.rail) < places.len())
            {
                continue;
            }
            let before = nodes[at].clone();
            let take = demand.take(&before, &places);
            nodes[at].cpu -= take.cpu;
            nodes[at].memory -= take.memory;
            nodes[at].nic -= take.nic;
            nodes[at].backing -= take.backing;
            for (place, compute, memory) in &take.devices {
                nodes[at].devices[usize::from(*place)].compute -= compute;
                nodes[at].devices[usize::from(*place)].memory -= memory;
            }
            for (place, mask) in &take.cuts {
                nodes[at].devices[usize::from(*place)].cut |= mask;
            }
            best = best.max(1 + most(nodes, demand, want - 1));
            nodes[at] = before;
            if best == want {
                return best;
            }
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn as_many_tasks_are_placed_as_any_arrangement_holds(
        specs in prop::collection::vec(any_node(), 1..4),
        held in prop::collection::vec(any_demand(), 0..4),
        demand in any_demand(),
        rule in 0usize..6,
        want in 1u32..4,
    ) {
        let mut fleet = Fleet::default();
        for (ix, spec) in (0u32..).zip(&specs) {
            fleet.set(NodeIx(ix), spec);
        }
        let rule = fleet.rule(every_rule().swap_remove(rule));
        for demand in held {
            fleet.place(&demand, rule, 1);
        }
        let mut nodes: Vec<Node> = fleet.nodes().map(|(_, node)| node.clone()).collect();
        let expect = most(&mut nodes, &demand, want);
        let on_each: Vec<u64> = nodes.iter().map(|node| demand.tasks_in(node)).collect();
        for (node, tasks) in nodes.iter().zip(&on_each) {
            let alone = most(&mut vec![node.clone()], &demand, want);
            prop_assert_eq!(u64::from(alone), (*tasks).min(want.into()), "{:?}", node);
        }
        let placed = fleet.place(&demand, rule, want).len();
        prop_assert_eq!(placed, usize::try_from(expect).unwrap(), "{:?}", nodes);
    }
}
