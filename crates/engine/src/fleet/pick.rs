//! In one node: which devices the next task gets, and how good that is.

use super::NodeIx;
use super::demand::{Demand, most_tasks};
use super::node::{Device, Node};
use super::score::{Memo, Placement, Rule};
use std::cmp::Reverse;

/// Room to work in, kept so that a look at a node allocates nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// Devices that fit.
    fitting: Vec<u16>,
    /// The devices looked at now.
    picks: Vec<u16>,
    /// The best devices so far; what the look came to.
    pub(super) best: Vec<u16>,
}

/// A node in one of its states.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) ix: NodeIx,
    pub(super) node: &'a Node,
    /// Tells this state of the node from every other.
    pub(super) version: u64,
}

/// The score of a node for one task, 0 if it does not fit; its devices are left in `scratch.best`.
pub(super) fn evaluate(
    sight: Sight<'_>,
    demand: &Demand,
    rule: &Rule,
    memo: &mut Memo,
    scratch: &mut Scratch,
) -> u64 {
    scratch.best.clear();
    let node = sight.node;
    if !demand.fits_beside(node) {
        return 0;
    }
    let Scratch { fitting, picks, best } = scratch;
    match demand.count {
        0 => rule.score(&Placement { sight, demand, picks: &[] }, memo),
        1 => one(sight, demand, rule, memo, best),
        count => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            fitting.clear();
            let devices = (0u16..).zip(&node.devices);
            fitting.extend(devices.filter(|(_, d)| demand.fits_on(d)).map(|(place, _)| place));
            if fitting.len() < count {
                return 0;
            }
            order(node, rule, fitting);
            let mut score = 0;
            let mut consider = |picks: &[u16], memo: &mut Memo| {
                let this = rule.score(&Placement { sight, demand, picks }, memo);
                if this > score {
                    score = this;
                    best.clear();
                    best.extend_from_slice(picks);
                }
            };
            if !demand.together {
                consider(fitting.get(..count).unwrap_or_default(), memo);
            } else {
                let island = |place: &u16| of(node, *place).map(|device| device.spec.island);
                let mut last = None;
                while let Some(next) =
                    fitting.iter().filter_map(island).filter(|i| Some(*i) > last).min()
                {
                    last = Some(next);
                    picks.clear();
                    let inside = fitting.iter().filter(|place| island(place) == last);
                    picks.extend(inside.take(count));
                    if picks.len() == count {
                        consider(picks, memo);
                    }
                }
            }
            best.sort_unstable();
            score
        }
    }
}

/// For a task of one device every device that fits is tried; equal ones once.
fn one(
    sight: Sight<'_>,
    demand: &Demand,
    rule: &Rule,
    memo: &mut Memo,
    best: &mut Vec<u16>,
) -> u64 {
    let (mut score, mut taken): (u64, Option<(u16, &Device)>) = (0, None);
    let devices = &sight.node.devices;
    for (place, device) in (0u16..).zip(devices) {
        if !demand.fits_on(device) {
            continue;
        }
        let same = |other: &Device| {
            (other.compute, other.memory, other.spec.cell)
                == (device.compute, device.memory, device.spec.cell)
                && demand.fits_on(other)
        };
        if devices.iter().take(usize::from(place)).any(same) {
            continue;
        }
        let this = rule.score(&Placement { sight, demand, picks: &[place] }, memo);
        let freer = || taken.is_none_or(|(_, taken)| device.compute > taken.compute);
        if this > score || (this == score && rule.prefers_free() && freer()) {
            score = this;
            taken = Some((place, device));
        }
    }
    best.extend(taken.map(|(place, _)| place));
    score
}

fn of(node: &Node, place: u16) -> Option<&Device> {
    node.devices.get(usize::from(place))
}

/// Devices in the order in which a task of several takes them.
fn order(node: &Node, rule: &Rule, places: &mut [u16]) {
    let free = |place: &u16| of(node, *place).map(|device| (device.compute, device.memory));
    if rule.prefers_free() {
        places.sort_unstable_by_key(|place| (Reverse(free(place)), *place));
    } else {
        places.sort_unstable_by_key(|place| (free(place), *place));
    }
}

/// Devices for `tasks` equal tasks of several devices each, as many as fit.
///
/// Each takes the devices that could carry the most further tasks: this misses no arrangement
/// that exists.
pub(super) fn fill(node: &Node, demand: &Demand, tasks: u64) -> Vec<Vec<u16>> {
    let mut left = tasks.min(demand.tasks_beside(node));
    let mut open: Vec<(u64, u16)> = (0u16..)
        .zip(&node.devices)
        .map(|(place, device)| (demand.tasks_on(device), place))
        .filter(|(tasks, _)| *tasks > 0)
        .collect();
    let island = |place: u16| of(node, place).map_or(0, |device| device.spec.island);
    let mut islands: Vec<Option<u16>> = vec![None];
    if demand.together {
        islands = open.iter().map(|(_, place)| Some(island(*place))).collect();
        islands.sort_unstable();
        islands.dedup();
    }
    let count = usize::try_from(demand.count).unwrap_or(usize::MAX);
    let mut filled = Vec::new();
    for here in islands {
        let inside = |place: u16| here.is_none_or(|here| island(place) == here);
        let rooms: Vec<u64> =
            open.iter().filter(|(_, place)| inside(*place)).map(|(tasks, _)| *tasks).collect();
        for _ in 0..most_tasks(&rooms, demand.count).min(left) {
            open.sort_unstable_by_key(|(tasks, place)| (Reverse(*tasks), *place));
            let mut devices = Vec::with_capacity(count);
            for (tasks, place) in open.iter_mut().filter(|(_, place)| inside(*place)).take(count) {
                *tasks -= 1;
                devices.push(*place);
            }
            devices.sort_unstable();
            filled.push(devices);
            left -= 1;
        }
    }
    filled
}
