//! Devices that their hardware cuts, and devices that lie together.

use crate::kit::{a30, device, node, task};
use polder_engine::fleet::{Demand, DeviceSpec, Fleet, NodeIx, NodeSpec, Rule, Spot};
use polder_engine::mig::{Table, Wants};
use polder_engine::topology::{Together, Wish};
use polder_model::{Bytes, Permille};

fn part(compute: u32, gib: u64) -> Demand {
    Demand { cut: Some(Wants::share(Permille(compute), Bytes(gib << 30))), ..task(1, 0) }
}

fn cards(number: usize, parts: &'static Table, gib: i64) -> NodeSpec {
    let card = DeviceSpec { memory: gib << 30, parts: Some(parts), ..device() };
    NodeSpec { devices: vec![card; number], ..node(0) }
}

fn show(spots: &[Spot]) -> Vec<String> {
    let devices =
        |spot: &Spot| spot.devices.iter().map(u16::to_string).collect::<Vec<_>>().join("+");
    spots.iter().map(|spot| format!("{}:{}", spot.node.0, devices(spot))).collect()
}

#[test]
fn instances_fill_a_card_that_is_cut_before_the_next() {
    let mut fleet = Fleet::default();
    fleet.set(NodeIx(0), &cards(2, a30(), 24));
    let rule = fleet.rule(Rule::Tightest);
    let placed = fleet.place(&part(200, 5), rule, 5);
    assert_eq!(show(&placed), ["0:0", "0:0", "0:0", "0:0", "0:1"]);
    let cut: Vec<u32> =
        fleet.node(NodeIx(0)).unwrap().devices.iter().map(|d| d.cut.count_ones()).collect();
    assert_eq!(cut, [4, 1]);
    assert_eq!(show(&fleet.place(&part(500, 5), rule, 2)), ["0:1"]);
}

#[test]
fn a_cut_card_is_for_instances_alone_and_a_shared_one_for_none() {
    let mut fleet = Fleet::default();
    fleet.set(NodeIx(0), &cards(2, a30(), 24));
    let rule = fleet.rule(Rule::Tightest);
    fleet.place(&task(1, 100), rule, 1);
    assert_eq!(show(&fleet.place(&part(100, 1), rule, 9)).len(), 4, "the other card");
    assert_eq!(show(&fleet.place(&task(1, 100), rule, 10)).len(), 9, "what is left of the first");
    let whole = Demand { whole: true, ..task(1, 1000) };
    assert!(fleet.place(&whole, rule, 1).is_empty());
}

#[test]
fn a_cut_card_that_is_promised_to_somebody_is_cut_no_further() {
    let mut fleet = Fleet::default();
    fleet.set(NodeIx(0), &cards(1, a30(), 24));
    let rule = fleet.rule(Rule::Tightest);
    fleet.place(&part(200, 5), rule, 1);
    let promise = task(1, 500).take(fleet.node(NodeIx(0)).unwrap(), &[0]);
    assert!(!fleet.node(NodeIx(0)).unwrap().has(&promise), "while it is cut");
    fleet.take(NodeIx(0), &promise);
    assert!(fleet.place(&part(200, 5), rule, 1).is_empty());
}

#[test]
fn a_small_card_is_cut_before_a_large_one() {
    let a100 = Table::of("NVIDIA A100-SXM4-80GB", Bytes(80 << 30)).unwrap();
    let mut fleet = Fleet::default();
    fleet.set(NodeIx(0), &cards(1, a100, 80));
    fleet.set(NodeIx(1), &cards(1, a30(), 24));
    let rule = fleet.rule(Rule::Tightest);
    let placed = show(&fleet.place(&part(100, 5), rule, 11));
    assert_eq!(placed[..4], ["1:0", "1:0", "1:0", "1:0"]);
    assert_eq!((placed.len(), placed[4].as_str()), (11, "0:0"));
}

#[test]
fn what_was_cut_can_be_given_back_and_tried() {
    let mut fleet = Fleet::default();
    fleet.set(NodeIx(0), &cards(1, a30(), 24));
    let rule = fleet.rule(Rule::Tightest);
    let before = fleet.clone();
    let mark = fleet.begin();
    assert_eq!(fleet.place(&part(500, 1), rule, 9).len(), 2);
    fleet.rollback(mark);
    assert_eq!(fleet, before);
    let wants = part(250, 5);
    let take = wants.take(fleet.node(NodeIx(0)).unwrap(), &[0]);
    fleet.take(NodeIx(0), &take);
    assert!(!fleet.node(NodeIx(0)).unwrap().has(&take), "there is one already");
    fleet.give(NodeIx(0), &take);
    assert_eq!(fleet, before);
}

fn islands(of: &[u16]) -> NodeSpec {
    let devices = of.iter().map(|island| DeviceSpec { island: *island, ..device() });
    NodeSpec { devices: devices.collect(), ..node(0) }
}

fn whole(count: u32, island: Together) -> Demand {
    Demand { whole: true, wish: Wish { island, ..Wish::default() }, ..task(count, 1000) }
}

#[test]
fn a_preferred_island_is_sought_on_every_node() {
    let mut fleet = Fleet::default();
    fleet.set(NodeIx(0), &islands(&[0, 1, 2, 3]));
    fleet.set(NodeIx(1), &islands(&[0, 0, 1, 1]));
    let rule = fleet.rule(Rule::Tightest);
    let placed = fleet.place(&whole(2, Together::Preferred), rule, 1);
    assert_eq!(show(&placed), ["1:0+1"]);
    assert_eq!(show(&fleet.place(&whole(2, Together::Preferred), rule, 1)), ["1:2+3"]);
    assert_eq!(show(&fleet.place(&whole(2, Together::Required), rule, 1)).len(), 0);
    assert_eq!(show(&fleet.place(&whole(2, Together::Preferred), rule, 1)), ["0:0+1"]);
}

#[test]
fn a_gang_that_prefers_islands_has_one_for_each_task() {
    let mut fleet = Fleet::default();
    fleet.set(NodeIx(0), &islands(&[0, 1, 0, 1]));
    let rule = fleet.rule(Rule::Tightest);
    let placed = fleet.place(&whole(2, Together::Preferred), rule, 2);
    assert_eq!(show(&placed), ["0:0+2", "0:1+3"]);
}

#[test]
fn one_device_is_taken_from_an_island_that_is_broken() {
    let mut fleet = Fleet::default();
    fleet.set(NodeIx(0), &islands(&[0, 0, 1, 1]));
    let rule = fleet.rule(Rule::Tightest);
    fleet.take(NodeIx(0), &whole(1, Together::Any).take(fleet.node(NodeIx(0)).unwrap(), &[3]));
    assert_eq!(show(&fleet.place(&whole(1, Together::Any), rule, 1)), ["0:2"]);
    assert_eq!(show(&fleet.place(&whole(2, Together::Required), rule, 1)), ["0:0+1"]);
}
