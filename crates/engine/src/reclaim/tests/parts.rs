//! The parts alone: what a tenant keeps, how many tasks fit, who grows.

use super::super::Standing;
use super::super::cover::{Cover, Share};
use super::super::elastic::{Elastic, next_to_grow, next_to_shrink};
use super::super::room::{Demand, Lie, Room, Rooms};
use super::{Lies, naive};
use crate::Held;
use crate::order::turn::Turn;
use polder_model::Bytes;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

fn standing(priority: i32, job: u64) -> Standing {
    let turn = Turn::default();
    Standing { spot: false, borrows: false, priority: Reverse(priority), turn, job }
}

fn held(devices: u64, memory: u64) -> Held {
    Held { devices, compute: devices * 1000, memory: Bytes(memory), leases: 1 }
}

proptest! {
    #[test]
    fn what_is_kept_is_the_shortest_prefix(
        steps in prop::collection::vec((any::<bool>(), 0i32..3, 0u64..8, 0u64..4, 0u64..9), 0..60),
        deserved in (prop::option::of(0u64..8), prop::option::of(0u64..20)),
        changed in (prop::option::of(0u64..8), prop::option::of(0u64..20)),
    ) {
        let share = |(devices, memory)| Share { devices, compute: None, memory };
        let mut cover = Cover::default();
        cover.set_deserved(share(deserved));
        let mut gangs: BTreeMap<Standing, Held> = BTreeMap::new();
        let mut deserved = share(deserved);
        let half = steps.len() / 2;
        for (place, (add, priority, job, devices, memory)) in steps.into_iter().enumerate() {
            let standing = standing(priority, job);
            if add && !gangs.contains_key(&standing) {
                gangs.insert(standing, held(devices, memory));
                cover.insert(standing, held(devices, memory));
            } else {
                gangs.remove(&standing);
                cover.remove(standing);
            }
            if place == half {
                deserved = share(changed);
                cover.set_deserved(deserved);
            }
            let (mut sum, mut last) = (Held::default(), None);
            for (standing, held) in &gangs {
                if deserved.is_met_by(&sum) {
                    break;
                }
                sum.add(*held);
                last = Some(*standing);
            }
            prop_assert_eq!(cover.last(), last);
        }
    }

    #[test]
    fn as_many_tasks_fit_as_are_found_by_trying(
        demand in super::demand(),
        devices in prop::collection::vec((0u32..=10, 0u64..=16, 0u32..2), 1..4),
        cpu in 0u64..9,
        memory in 0u64..9,
    ) {
        let room = |(compute, memory, _): &(u32, u64, u32)| Room {
            compute: compute * 100,
            ..Room::idle(*memory, Some(super::table()))
        };
        let rooms = Rooms { devices: devices.iter().map(room).collect(), cpu, memory, nic: super::NIC, backing: 0 };
        let demand = Demand { tasks: 4, ..demand };
        let alike = |_| Some(Lie::default());
        let most = demand.most(&rooms, alike);
        let fits = |tasks: &u32| {
            let free = std::slice::from_ref(&rooms);
            naive::all_fit(&demand, (Lies::default(), None), free, *tasks, &BTreeSet::new())
        };
        let tried = (0..=4).rev().find(fits);
        prop_assert_eq!(Some(most), tried);
        prop_assert_eq!(demand.fill(&rooms, alike, 4).len(), most as usize);

        // In islands: as many as in each alone, the machine shared.
        let island = |device: usize| {
            let island = devices.get(device).map(|(.., island)| u64::from(*island))?;
            Some(Lie { island: (island, 0), rail: None })
        };
        let most = demand.most(&rooms, island);
        let filled = demand.fill(&rooms, island, 4);
        prop_assert_eq!(filled.len(), most as usize);
        for task in &filled {
            prop_assert!(task.iter().all(|piece| island(piece.device) == island(task[0].device)));
        }
        if demand.devices > 0 {
            let alone = |name: u64| {
                demand.most(&rooms, |d| island(d).filter(|lie| lie.island.0 == name))
            };
            let beside = demand.beside(&rooms).min(4);
            prop_assert_eq!(most, (alone(0) + alone(1)).min(beside));

            // On rails: as trying says.
            let lies = Lies { island: true, rail: true };
            let most = demand.most(&rooms, |device| Some(lies.of(device)));
            let fits = |tasks: &u32| {
                let free = std::slice::from_ref(&rooms);
                naive::all_fit(&demand, (lies, None), free, *tasks, &BTreeSet::new())
            };
            prop_assert_eq!(Some(most), (0..=4).rev().find(fits));
            let filled = demand.fill(&rooms, |device| Some(lies.of(device)), 4);
            prop_assert_eq!(filled.len(), most as usize);
        }
    }

    #[test]
    fn elastic_gangs_stay_between_fewest_and_most(
        gangs in prop::collection::vec((0i32..2, 1u32..4, 0u32..4), 1..6),
        steps in prop::collection::vec(any::<bool>(), 0..40),
    ) {
        let mut gangs: Vec<Elastic> = gangs
            .into_iter()
            .zip(1..)
            .map(|((priority, min, more), job)| Elastic {
                standing: standing(priority, job),
                members: min,
                min,
                max: min + more,
            })
            .collect();
        for grow in steps {
            if grow {
                if let Some(place) = next_to_grow(&gangs) {
                    gangs[place].members += 1;
                    let grown = gangs.iter().filter(|gang| gang.members > gang.min);
                    let weakest = grown.map(|gang| gang.standing.priority).max();
                    let next = next_to_shrink(&gangs).map(|place| gangs[place].standing.priority);
                    prop_assert_eq!(next, weakest);
                }
            } else if let Some(place) = next_to_shrink(&gangs) {
                gangs[place].members -= 1;
                prop_assert!(next_to_grow(&gangs).is_some());
            }
            for gang in &gangs {
                prop_assert!((gang.min..=gang.max).contains(&gang.members));
            }
            // Higher priority is full before lower grows.
            let open = |priority| gangs.iter().any(|g| {
                g.standing.priority == Reverse(priority) && g.members < g.max
            });
            if let Some(next) = next_to_grow(&gangs) {
                prop_assert!(gangs[next].standing.priority == Reverse(1) || !open(1));
            }
        }
    }
}

/// What grew last is given back first.
#[test]
fn growth_and_shrinkage_are_each_others_reverse() {
    let gang = |job, min, max| Elastic { standing: standing(0, job), members: min, min, max };
    let start = vec![gang(1, 1, 4), gang(2, 2, 6), gang(3, 1, 2)];
    let mut gangs = start.clone();
    let mut grew = Vec::new();
    while let Some(place) = next_to_grow(&gangs) {
        gangs[place].members += 1;
        grew.push(place);
    }
    assert_eq!(grew, [0, 1, 2, 1, 0, 1, 1, 0]);
    while let Some(place) = next_to_shrink(&gangs) {
        gangs[place].members -= 1;
        assert_eq!(Some(place), grew.pop());
    }
    assert_eq!(gangs, start);
}
