//! What each rule prefers, told by small cases and by definitions written out.

use crate::kit::{any_demand, any_node, device, every_rule, node, outlook, pool, task, typical};
use polder_engine::fleet::{
    CellIx, Demand, Device, Fleet, NodeIx, NodeSpec, Part, Rule, Take, Typical,
};
use polder_engine::topology::{Together, Wish};
use proptest::prelude::*;

/// Where a task goes, as `node:device+device`.
fn spot(fleet: &mut Fleet, rule: Rule, demand: &Demand) -> String {
    let rule = fleet.rule(rule);
    fleet.best(demand, rule).map_or("none".to_owned(), |spot| {
        let devices: Vec<String> = spot.devices.iter().map(u16::to_string).collect();
        format!("{}:{}", spot.node.0, devices.join("+"))
    })
}

/// Holds so much of a device.
fn hold(fleet: &mut Fleet, node: u32, device: u16, compute: i32) {
    let take =
        Take { cpu: 1000, memory: 0, devices: vec![(device, compute, 0)], ..Take::default() };
    fleet.take(NodeIx(node), &take);
}

#[test]
fn the_tightest_device_is_taken_and_ties_go_to_the_first() {
    let mut fleet = pool(3, 2);
    hold(&mut fleet, 2, 1, 400);
    hold(&mut fleet, 1, 0, 400);
    assert_eq!(spot(&mut fleet, Rule::Tightest, &task(1, 500)), "1:0");
    assert_eq!(spot(&mut fleet, Rule::Tightest, &task(1, 700)), "0:0");
    assert_eq!(spot(&mut fleet, Rule::Tightest, &task(2, 500)), "0:0+1");
    assert_eq!(spot(&mut fleet, Rule::Tightest, &task(3, 100)), "none");
}

#[test]
fn spread_takes_the_freest_device_of_the_freest_node() {
    let mut fleet = pool(3, 2);
    hold(&mut fleet, 0, 0, 100);
    hold(&mut fleet, 1, 0, 300);
    hold(&mut fleet, 2, 0, 400);
    let rule = || Rule::Sum(vec![(1, Part::Spread)]);
    assert_eq!(spot(&mut fleet, rule(), &task(1, 300)), "0:1");
    hold(&mut fleet, 0, 1, 600);
    assert_eq!(spot(&mut fleet, rule(), &task(1, 300)), "1:1");
}

#[test]
fn load_balance_looks_at_whatever_is_busiest() {
    let mut fleet = pool(2, 2);
    fleet.take(NodeIx(0), &Take { cpu: 12_000, ..Take::default() });
    hold(&mut fleet, 1, 0, 1000);
    let rule = || Rule::Sum(vec![(1, Part::LoadBalance)]);
    assert_eq!(spot(&mut fleet, rule(), &task(1, 300)), "1:1");
    fleet.take(NodeIx(1), &Take { cpu: 14_500, ..Take::default() });
    assert_eq!(spot(&mut fleet, rule(), &task(1, 300)), "0:0");
}

#[test]
fn a_fragmentation_gradient_keeps_whole_devices_whole() {
    let mut fleet = pool(3, 2);
    hold(&mut fleet, 1, 1, 500);
    let rule = || Rule::Sum(vec![(1, Part::Fgd(typical()))]);
    assert_eq!(spot(&mut fleet, rule(), &task(1, 500)), "1:1");
}

#[test]
fn an_outlook_fills_holes_before_it_breaks_whole_devices() {
    let mut fleet = pool(3, 2);
    hold(&mut fleet, 1, 0, 600);
    assert_eq!(spot(&mut fleet, outlook(4000), &task(1, 400)), "1:0");
    assert_eq!(spot(&mut fleet, outlook(4000), &task(1, 300)), "1:0");
    assert_eq!(spot(&mut fleet, outlook(4000), &task(1, 500)), "0:0");
}

#[test]
fn an_outlook_spends_cpu_where_no_device_misses_it() {
    let mut fleet = pool(3, 2);
    let plenty = NodeSpec { cpu: 64_000, ..node(2) };
    fleet.set(NodeIx(2), &plenty);
    let alone = |cpu| Demand { cpu, ..Demand::default() };
    assert_eq!(spot(&mut fleet, outlook(4000), &alone(8000)), "2:");
    let beside = |cpu| Demand { cpu, ..task(1, 1000) };
    assert_eq!(spot(&mut fleet, outlook(4000), &beside(12_000)), "2:0");
    assert_eq!(spot(&mut fleet, outlook(4000), &beside(1000)), "0:0");
}

#[test]
fn an_outlook_gives_a_node_without_devices_what_needs_none() {
    let mut fleet = pool(2, 2);
    fleet.set(NodeIx(1), &node(0));
    let alone = Demand { cpu: 8000, ..Demand::default() };
    assert_eq!(spot(&mut fleet, outlook(2000), &alone), "1:");
}

#[test]
fn a_rule_in_anothers_place_is_followed_at_once() {
    let mut fleet = pool(2, 1);
    hold(&mut fleet, 0, 0, 100);
    let rule = fleet.rule(Rule::Tightest);
    assert_eq!(fleet.best(&task(1, 300), rule).unwrap().node, NodeIx(0));
    fleet.change_rule(rule, Rule::Sum(vec![(1, Part::Spread)]));
    assert_eq!(fleet.best(&task(1, 300), rule).unwrap().node, NodeIx(1));
}

#[test]
fn tasks_without_devices_go_where_the_least_cpu_is_left() {
    let mut fleet = pool(2, 1);
    fleet.take(NodeIx(1), &Take { cpu: 8000, ..Take::default() });
    let demand = |cpu| Demand { cpu, ..Demand::default() };
    assert_eq!(spot(&mut fleet, Rule::Tightest, &demand(4000)), "1:");
    assert_eq!(spot(&mut fleet, Rule::Tightest, &demand(12_000)), "0:");
    assert_eq!(spot(&mut fleet, Rule::Tightest, &demand(17_000)), "none");
}

#[test]
fn cells_traits_and_islands_filter() {
    let mut fleet = Fleet::default();
    let other = |cell| NodeSpec {
        traits: [cell].into_iter().collect(),
        devices: vec![polder_engine::fleet::DeviceSpec { cell: CellIx(cell), ..device() }; 2],
        ..node(0)
    };
    fleet.set(NodeIx(0), &other(0));
    fleet.set(NodeIx(1), &other(7));
    let mut two = node(4);
    (two.devices[1].island, two.devices[3].island) = (1, 1);
    fleet.set(NodeIx(2), &two);
    let only = Demand { cells: Some([7].into_iter().collect()), ..task(1, 10) };
    assert_eq!(spot(&mut fleet, Rule::Tightest, &only), "1:0");
    let must = Demand { must: [7].into_iter().collect(), ..task(1, 10) };
    assert_eq!(spot(&mut fleet, Rule::Tightest, &must), "1:0");
    let never = Demand { never: [0].into_iter().collect(), ..task(1, 10) };
    assert_eq!(spot(&mut fleet, Rule::Tightest, &never), "1:0");
    hold(&mut fleet, 2, 1, 900);
    let wish = Wish { island: Together::Required, ..Wish::default() };
    let together = Demand { wish, never: [0, 7].into_iter().collect(), ..task(2, 200) };
    assert_eq!(spot(&mut fleet, Rule::Tightest, &together), "2:0+2");
}

/// The tightest device that fits, by the definition.
fn tightest(fleet: &Fleet, demand: &Demand) -> Option<(u32, u16)> {
    let all = fleet.nodes().filter(|(_, node)| demand.fits_beside(node)).flat_map(|(ix, node)| {
        let fits = |(_, device): &(u16, &Device)| demand.fits_on(device);
        let devices = (0u16..).zip(&node.devices).filter(fits);
        devices.map(move |(place, device)| {
            let idle = |other: &&Device| other.spec.island == device.spec.island && other.is_idle();
            let crowd = node.devices.iter().filter(idle).count();
            (device.compute, device.memory, ix.0, crowd, place)
        })
    });
    all.min().map(|(_, _, node, _, place)| (node, place))
}

/// `int(100 * sigmoid((before - after) / 1000))` with the fragmentation of the paper, in floats.
fn gradient(typical: &Typical, node: &polder_engine::fleet::Node, take: &Take) -> i64 {
    let frag = |free: &[f64], cpu: f64| -> f64 {
        let idle: f64 = free.iter().sum();
        let of = |task: &polder_engine::fleet::TypicalTask| {
            let demand = &task.demand;
            let fits = |(free, device): (&f64, &Device)| {
                *free >= f64::from(demand.compute) && demand.is_served_by(device.spec.cell.0)
            };
            let usable: Vec<f64> = free
                .iter()
                .zip(node.devices.iter().filter(|device| device.spec.healthy))
                .map(|(free, device)| if fits((free, device)) { *free } else { -1.0 })
                .collect();
            let number = usable.iter().filter(|free| **free >= 0.0).count();
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let runs = demand.count > 0
                && number >= usize::try_from(demand.count).unwrap()
                && cpu >= demand.cpu as f64;
            let good: f64 = usable.iter().filter(|free| **free >= 0.0).sum();
            let share = f64::from(task.weight)
                / typical.tasks().iter().map(|task| f64::from(task.weight)).sum::<f64>();
            share * if runs { idle - good } else { idle }
        };
        typical.tasks().iter().map(of).sum()
    };
    let healthy = || (0u16..).zip(&node.devices).filter(|(_, device)| device.spec.healthy);
    let before: Vec<f64> = healthy().map(|(_, device)| f64::from(device.compute)).collect();
    let after: Vec<f64> = healthy()
        .map(|(place, device)| {
            let taken = take.devices.iter().find(|(other, _, _)| *other == place);
            f64::from(device.compute - taken.map_or(0, |(_, compute, _)| *compute))
        })
        .collect();
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let (cpu, left) = (node.cpu as f64, (node.cpu - take.cpu) as f64);
    let gain = frag(&before, cpu) - frag(&after, left);
    #[allow(clippy::cast_possible_truncation, reason = "the rule rounds towards zero")]
    let level = (100.0 / (1.0 + (-(gain + 1e-7) / 1000.0).exp())) as i64;
    level
}

proptest! {
    #[test]
    fn the_tightest_is_the_tightest_of_all(
        specs in prop::collection::vec(any_node(), 1..8),
        held in prop::collection::vec(any_demand(), 0..12),
        demand in any_demand(),
    ) {
        let mut fleet = Fleet::default();
        for (ix, spec) in (0u32..).zip(&specs) {
            fleet.set(NodeIx(ix), spec);
        }
        let rule = fleet.rule(Rule::Tightest);
        for demand in held {
            fleet.place(&demand, rule, 1);
        }
        let demand = Demand { count: 1, cut: None, suits: None, ..demand };
        let best = fleet.best(&demand, rule).map(|spot| (spot.node.0, spot.devices[0]));
        prop_assert_eq!(best, tightest(&fleet, &demand));
    }

    #[test]
    fn the_gradient_is_the_published_one(
        spec in any_node(),
        held in prop::collection::vec(any_demand(), 0..6),
        demand in any_demand(),
    ) {
        let mut fleet = Fleet::default();
        fleet.set(NodeIx(0), &spec);
        let tightest = fleet.rule(Rule::Tightest);
        for demand in held {
            fleet.place(&demand, tightest, 1);
        }
        let demand = Demand { cut: None, wish: Wish::default(), suits: None, ..demand };
        let typical = typical();
        let rule = fleet.rule(Rule::Sum(vec![(1, Part::Fgd(std::sync::Arc::clone(&typical)))]));
        if let Some(spot) = fleet.best(&demand, rule) {
            let node = fleet.node(NodeIx(0)).unwrap();
            let level = gradient(&typical, node, &demand.take(node, &spot.devices));
            prop_assert_eq!(spot.score, u64::try_from(level).unwrap() + 1);
            if demand.count == 1 {
                let places = (0u16..).zip(&node.devices).filter(|(_, d)| demand.fits_on(d));
                let best = places.map(|(p, _)| gradient(&typical, node, &demand.take(node, &[p])));
                prop_assert_eq!(Some(level), best.max());
            }
        }
    }

    #[test]
    fn every_rule_places_whatever_fits(
        spec in any_node(),
        demand in any_demand(),
        rule in 0usize..6,
    ) {
        let mut fleet = Fleet::default();
        fleet.set(NodeIx(0), &spec);
        let rule = fleet.rule(every_rule().swap_remove(rule));
        let fits = demand.tasks_in(fleet.node(NodeIx(0)).unwrap()) > 0;
        prop_assert_eq!(fleet.best(&demand, rule).is_some(), fits);
    }
}
