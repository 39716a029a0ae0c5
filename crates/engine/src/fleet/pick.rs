//! In one node: which devices the next task gets, and how good that is.

use super::demand::{Demand, groups, most_tasks};
use super::node::{Device, Node};
use super::score::{Memo, Placement, Rule};
use super::{NONE, NodeIx, RANKS_MAX, WHOLE, cut};
use crate::topology::{Links, Spots, Together, Wish, choose};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Room to work in, kept so that a look at a node allocates nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// Devices that fit.
    fitting: Vec<u16>,
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
    let Scratch { fitting, best } = scratch;
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
            let mut met = 0;
            if demand.wish == Wish::default() {
                order(node, demand, rule, fitting);
                best.extend(fitting.iter().take(count));
            } else if let Some(choice) = choose_devices(node, demand, rule, fitting, count) {
                met = choice.1;
                best.extend(choice.0);
            } else {
                return 0;
            }
            let score = judge(&Placement { sight, demand, picks: best }, rule, memo);
            best.sort_unstable();
            score | met << MET_SHIFT
        }
    }
}

/// Wishes that are met count before everything else, in the two highest bits: there are three.
const MET_SHIFT: u32 = 62;
/// Then how well the devices suit, in the four bits below.
const SUIT_SHIFT: u32 = 58;
const _: () = assert!(RANKS_MAX <= 1 << (MET_SHIFT - SUIT_SHIFT));
/// The greatest score of a place where nothing else counts.
const SCORE_MAX: u64 = (1 << SUIT_SHIFT) - 1;

/// Devices of a node that lie as a task wishes, and how many of its wishes are met.
fn choose_devices(
    node: &Node,
    demand: &Demand,
    rule: &Rule,
    fitting: &[u16],
    count: usize,
) -> Option<(Vec<u16>, u64)> {
    let of = |name: fn(&Device) -> u16| node.devices.iter().map(name).collect::<Vec<u16>>();
    let left = |(place, device): (u16, &Device)| {
        let tight = if rule.prefers_free() { WHOLE - device.compute } else { device.compute };
        let tight = || cost(device, demand).unwrap_or(u64::try_from(tight).unwrap_or(0));
        fitting.binary_search(&place).ok().map(|_| tight())
    };
    // Devices of which nothing is known are not together: each has a name of its own.
    let apart = |names: Vec<u16>| -> Vec<u16> {
        let own = |(place, name): (u16, u16)| if name == NONE { NONE - place } else { name };
        (0u16..).zip(names).map(own).collect()
    };
    let (numa, rails) = (apart(of(|device| device.spec.numa)), of(|device| device.spec.rail));
    let spots = Spots {
        links: &Links::of_islands(&apart(of(|device| device.spec.island)), INSIDE, ACROSS),
        numa: &numa,
        rails: &rails,
        left: &(0u16..).zip(&node.devices).map(left).collect::<Vec<_>>(),
        idle: &node.devices.iter().map(Device::is_idle).collect::<Vec<_>>(),
    };
    let choice = choose(&spots, count, &demand.wish)?;
    let places = choice.devices.iter().filter_map(|place| u16::try_from(*place).ok());
    let places: Vec<u16> = places.collect();
    let rail = |place: &u16| rails.get(usize::from(*place)).filter(|rail| **rail != NONE);
    let own_rails = different(places.iter().filter_map(rail));
    let wish = &demand.wish;
    let met = [
        wish.island == Together::Preferred && choice.islands == 1,
        wish.numa == Together::Preferred && choice.numas == 1,
        wish.rails == Together::Preferred && own_rails == count,
    ];
    Some((places, met.into_iter().map(u64::from).sum()))
}

/// Bandwidth inside an island and across, to compare: the one is much the greater.
const INSIDE: u32 = 16;
const ACROSS: u32 = 1;

fn different<'a>(names: impl Iterator<Item = &'a u16>) -> usize {
    names.collect::<BTreeSet<_>>().len()
}

/// What an instance on a device costs, for a task that has its devices cut.
fn cost(device: &Device, demand: &Demand) -> Option<u64> {
    Some(cut::next(device, demand.cut.as_ref()?)?.cost)
}

/// The score of devices. Where hardware cuts them, the least they lose by it is best, whatever
/// the rule: it is about what else still fits.
fn judge(at: &Placement<'_>, rule: &Rule, memo: &mut Memo) -> u64 {
    let devices = || at.picks.iter().filter_map(|place| of(at.sight.node, *place));
    if at.demand.cut.is_some() {
        let costs = devices().filter_map(|device| cost(device, at.demand));
        return SCORE_MAX - costs.fold(0, u64::saturating_add).min(SCORE_MAX - 1);
    }
    let score = rule.score(at, memo).min(SCORE_MAX);
    if at.demand.suits.is_none() {
        return score;
    }
    let rank = devices().map(|device| at.demand.rank(device)).max().unwrap_or(0);
    let better_than = RANKS_MAX.saturating_sub(1 + rank);
    score | u64::try_from(better_than).unwrap_or(0) << SUIT_SHIFT
}

/// Idle devices on the island of a device: one that is broken already is broken further first.
fn crowd(node: &Node, device: &Device) -> usize {
    let island = device.spec.island;
    if island == NONE {
        return 0;
    }
    node.devices.iter().filter(|other| other.spec.island == island && other.is_idle()).count()
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
        let state = |d: &Device| (d.compute, d.memory, (d.cut, d.kept), d.spec.cell, d.spec.island);
        let same = |other: &Device| state(other) == state(device) && demand.fits_on(other);
        if devices.iter().take(usize::from(place)).any(same) {
            continue;
        }
        let this = judge(&Placement { sight, demand, picks: &[place] }, rule, memo);
        let better = || {
            let key = |device: &Device| {
                let free = if rule.prefers_free() { device.compute } else { 0 };
                (free, Reverse(crowd(sight.node, device)))
            };
            taken.is_none_or(|(_, taken)| key(device) > key(taken))
        };
        if this > score || (this == score && better()) {
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
fn order(node: &Node, demand: &Demand, rule: &Rule, places: &mut [u16]) {
    let free = |place: u16| of(node, place).map(|device| (device.compute, device.memory));
    let island = |device: &Device| device.spec.island;
    let first = node.devices.first().map(island);
    let one_island = node.devices.iter().all(|device| Some(island(device)) == first);
    match (demand.cut, rule.prefers_free()) {
        (None, true) if one_island => {
            places.sort_unstable_by_key(|place| (Reverse(free(*place)), *place));
        }
        (None, false) if one_island => places.sort_unstable_by_key(|place| (free(*place), *place)),
        (cut, prefers_free) => places.sort_by_cached_key(|place| {
            let device = of(node, *place)?;
            let cost = cut.and_then(|wants| cut::next(device, &wants)).map(|part| part.cost);
            let (freest, tightest) = if prefers_free {
                (Some(Reverse(free(*place))), None)
            } else {
                (None, Some(free(*place)))
            };
            Some((cost, freest, tightest, crowd(node, device), *place))
        }),
    }
    if demand.suits.is_some() {
        // Of those that suit alike the order stays.
        places.sort_by_key(|place| of(node, *place).map(|device| demand.rank(device)));
    }
}

/// The same with all that is preferred required.
fn strict(demand: &Demand) -> Demand {
    let must = |wish: Together| if wish == Together::Preferred { Together::Required } else { wish };
    let Wish { island, numa, rails } = demand.wish;
    let wish = Wish { island: must(island), numa: must(numa), rails: must(rails) };
    Demand { wish, ..demand.clone() }
}

/// Devices for `tasks` equal tasks of several devices each, as many as fit.
pub(super) fn fill(node: &Node, demand: &Demand, tasks: u64) -> Vec<Vec<u16>> {
    let mut left = tasks.min(demand.tasks_beside(node));
    let strict = strict(demand);
    let demand = if strict.tasks_in(node) >= left { &strict } else { demand };
    let count = usize::try_from(demand.count).unwrap_or(usize::MAX);
    let mut filled = Vec::new();
    for mut group in groups(demand, node) {
        for _ in 0..most_tasks(&group.rooms(), demand.count).min(left) {
            filled.push(group.next(count));
            left -= 1;
        }
    }
    filled
}
