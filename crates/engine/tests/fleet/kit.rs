//! Small pools and demands, told briefly or drawn at random.

use polder_engine::fleet::{
    Bits, CellIx, Demand, DeviceSpec, Fleet, Knobs, NodeIx, NodeSpec, Outlook, Part, Rule, Suits,
    Supply, Typical, TypicalTask,
};
use polder_engine::mig::{Table, Wants};
use polder_engine::topology::{Together, Wish};
use polder_model::{Bytes, Permille};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

/// A device of cell 0 with 8 bytes of memory in island 0.
pub(crate) fn device() -> DeviceSpec {
    DeviceSpec { memory: 8, healthy: true, ..DeviceSpec::default() }
}

/// A node of 16 cores and 64 bytes with so many devices.
pub(crate) fn node(devices: usize) -> NodeSpec {
    let devices = vec![device(); devices];
    NodeSpec { cpu: 16_000, memory: 64, nic: 8, backing: 8, traits: Bits::default(), devices }
}

/// A pool of so many equal nodes.
pub(crate) fn pool(nodes: u32, devices: usize) -> Fleet {
    let mut fleet = Fleet::default();
    for ix in 0..nodes {
        fleet.set(NodeIx(ix), &node(devices));
    }
    fleet
}

/// A task of `count` devices with so much compute of each.
pub(crate) fn task(count: u32, compute: i32) -> Demand {
    Demand { count, compute, ..Demand::default() }
}

/// What the smallest card that its hardware cuts is cut into.
pub(crate) fn a30() -> &'static Table {
    Table::of("NVIDIA A30", Bytes(24 << 30)).unwrap()
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let together = || {
        prop_oneof![
            3 => Just(Together::Any),
            1 => Just(Together::Preferred),
            2 => Just(Together::Required),
        ]
    };
    (together(), together(), together()).prop_map(|(island, numa, rails)| Wish {
        island,
        numa,
        rails,
    })
}

pub(crate) fn any_node() -> impl Strategy<Value = NodeSpec> {
    let lies = (0u16..2, 0u16..2, 0u16..3);
    let (healthy, parts) = (prop::bool::weighted(0.9), prop::bool::weighted(0.3));
    let device = (0u32..3, 1i64..=8, lies, healthy, parts).prop_map(
        |(cell, memory, (island, numa, rail), healthy, parts)| DeviceSpec {
            cell: CellIx(cell),
            memory: if parts { 24 << 30 } else { memory },
            island,
            numa,
            rail,
            parts: parts.then(a30),
            healthy,
        },
    );
    let devices = prop::collection::vec(device, 0..5);
    let traits = prop::collection::vec(0u32..3, 0..3);
    let beside = (1i64..=16, 1i64..=16, 0i64..=8);
    (beside, traits, devices).prop_map(|((cpu, memory, nic), traits, devices)| NodeSpec {
        cpu: cpu * 1000,
        memory,
        nic,
        backing: (memory + nic) % 9,
        traits: traits.into_iter().collect(),
        devices,
    })
}

pub(crate) fn any_demand() -> impl Strategy<Value = Demand> {
    let devices = (0u32..4, 1i32..=10, 0i64..=4, prop::bool::weighted(0.3), any_wish());
    let part = (1u32..=1000, 1u64..=24, prop::bool::weighted(0.2));
    let part = part.prop_map(|(compute, gib, media)| Wants {
        media,
        ..Wants::share(Permille(compute), Bytes(gib << 30))
    });
    let nic = prop_oneof![2 => Just(0i64), 1 => 1i64..=4];
    let host = (0i64..=6, 0i64..=4, nic, prop::option::weighted(0.3, part));
    let sets = (
        prop::option::of(prop::collection::vec(0u32..3, 1..3)),
        prop::collection::vec(0u32..3, 0..2),
        prop::option::weighted(0.2, 0u32..3),
        prop::option::weighted(0.4, prop::collection::vec(0usize..3, 3)),
    );
    (devices, host, sets).prop_map(
        |(
            (count, tenths, device_memory, whole, wish),
            (cpu, memory, nic, cut),
            (cells, must, never, ranks),
        )| {
            let whole = whole && cut.is_none();
            Demand {
                count,
                compute: if whole { 1000 } else { tenths * 100 },
                device_memory: if whole { 0 } else { device_memory },
                whole,
                wish,
                cut,
                cpu: cpu * 1000,
                memory,
                nic,
                backing: nic % 3,
                cells: cells.map(|cells| cells.into_iter().collect()),
                must: must.into_iter().collect(),
                never: never.into_iter().collect(),
                suits: ranks
                    .and_then(|ranks| Suits::of((0u32..).map(CellIx).zip(ranks)))
                    .map(Arc::new),
            }
        },
    )
}

/// Tasks that stand for a pool's work.
pub(crate) fn typical() -> Arc<Typical> {
    let of = |weight, count, compute, cpu, cells: Option<Vec<u32>>| TypicalTask {
        weight,
        demand: Demand {
            cpu,
            cells: cells.map(|cells| cells.into_iter().collect()),
            ..task(count, compute)
        },
    };
    Arc::new(Typical::new(vec![
        of(5, 1, 1000, 4000, None),
        of(3, 1, 400, 1000, None),
        of(2, 2, 1000, 8000, Some(vec![0, 1])),
        of(1, 0, 0, 6000, None),
        of(2, 1, 700, 2000, Some(vec![2])),
    ]))
}

/// The outlook on a pool that has so much CPU for each device.
pub(crate) fn outlook(cpu: i64) -> Rule {
    let supply = Supply { cpu, compute: 1000 };
    Rule::Outlook(Arc::new(Outlook::new(&typical(), supply, Knobs::default())))
}

/// One outlook for all draws: its tables take a while.
static OUTLOOK: LazyLock<Rule> = LazyLock::new(|| outlook(20_000));

/// Every kind of rule.
pub(crate) fn every_rule() -> Vec<Rule> {
    let best_fit = Part::BestFit { cpu: 16_000, compute: 4000 };
    vec![
        Rule::Tightest,
        Rule::Sum(vec![(1, best_fit.clone())]),
        Rule::Sum(vec![(1, Part::Spread)]),
        Rule::Sum(vec![(1, Part::LoadBalance)]),
        Rule::Sum(vec![(1, Part::Fgd(typical()))]),
        Rule::Sum(vec![(3, Part::Fgd(typical())), (2, best_fit), (1, Part::Spread)]),
        OUTLOOK.clone(),
    ]
}
