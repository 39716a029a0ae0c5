//! What is lacking where devices must lie together or be cut by their hardware.

use crate::fleet::{Device, NONE, cut};
use crate::index::space::CellKey;
use crate::mig::{Card, Layouts, Profile, Table, Wants};
use crate::need::{Need, WHOLE};
use crate::place::Overlay;
use crate::shape::Lie;
use crate::topology::{Together, Wish};
use polder_model::{Bytes, DeviceId, Help, NodeId, Permille, Reason};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A device as an explanation sees it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) node: &'a NodeId,
    pub(crate) device: &'a DeviceId,
    pub(crate) free: Device,
    pub(crate) lie: Lie,
}

/// Why a need of that kind is not served, if it is of that kind and these devices are why.
pub(crate) fn reason(space: &Overlay<'_>, need: &Need, cells: &[CellKey]) -> Option<Reason> {
    let seen = space.seen(cells);
    if need.wants().is_some() {
        return instance(&seen, need);
    }
    let required = |wish| wish == Together::Required;
    let Wish { island, numa, rails } = need.wish;
    if !required(island) && !required(numa) && !required(rails) {
        return None;
    }
    let (closest, lack) = together(&seen, need)?;
    Some(Reason::NotTogether {
        count: need.count,
        compute: Permille(need.compute),
        memory: Bytes(need.memory),
        island: required(island),
        numa: required(numa),
        rail: required(rails),
        node: closest.node.clone(),
        device: closest.device.clone(),
        compute_lacking: Permille(lack.compute),
        memory_lacking: Bytes(lack.memory),
    })
    .filter(|_| lack.compute > 0 || lack.memory > 0)
}

/// What a device lacks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Lack {
    /// Sum of both in thousandths of what is needed.
    weight: u128,
    compute: u32,
    memory: u64,
}

impl Lack {
    fn of(need: &Need, free: &Device) -> Self {
        let has = |amount: i64| u64::try_from(amount).unwrap_or(0);
        let compute = need.compute.saturating_sub(u32::try_from(free.compute).unwrap_or(0));
        // A device that its hardware has cut serves nothing else.
        let compute = if free.is_uncut() { compute } else { need.compute.min(WHOLE) };
        let memory = need.memory.saturating_sub(has(free.memory));
        let part = |lacking: u128, of: u128| (lacking * 1000).checked_div(of).unwrap_or(0);
        let weight =
            part(compute.into(), need.compute.into()) + part(memory.into(), need.memory.into());
        Self { weight, compute, memory }
    }
}

/// A place where devices lie together: a node, an island and a NUMA node, where they matter.
type Place<'a> = (&'a NodeId, u16, u16);

/// Of the places where enough devices lie as required, the one where the last of them lacks least.
fn together<'a>(seen: &[Seen<'a>], need: &Need) -> Option<(Seen<'a>, Lack)> {
    let name = |wish, name: u16| if wish == Together::Required { name } else { 0 };
    let mut places: BTreeMap<Place<'a>, Vec<(Lack, Seen<'a>)>> = BTreeMap::new();
    for seen in seen {
        let (island, numa) = (seen.lie.island, seen.lie.numa);
        let place = (seen.node, name(need.wish.island, island), name(need.wish.numa, numa));
        if place.1 != NONE && place.2 != NONE {
            places.entry(place).or_default().push((Lack::of(need, &seen.free), *seen));
        }
    }
    let last = |mut devices: Vec<(Lack, Seen<'a>)>| {
        devices.sort_by_key(|(lack, seen)| (*lack, seen.device));
        if need.wish.rails == Together::Required {
            // Of the devices of one rail the one that lacks least stands for all.
            let mut rails = BTreeSet::new();
            devices.retain(|(_, seen)| seen.lie.rail != NONE && rails.insert(seen.lie.rail));
        }
        devices.into_iter().nth(usize::try_from(need.count).ok()?.checked_sub(1)?)
    };
    let lasts = places.into_values().filter_map(last);
    let least = lasts.min_by_key(|(lack, seen)| (*lack, seen.node, seen.device));
    least.map(|(lack, seen)| (seen, lack))
}

/// What a card can be cut into, and what it is; nothing where it is shared in another way.
fn card(seen: &Seen<'_>) -> Option<(&'static Layouts, Option<Card>)> {
    let layouts = seen.free.spec.parts.map(Table::layouts)?;
    Some((layouts, cut::card(&seen.free).map(|(_, card)| card)))
}

/// Of the instances for which a card has room now, on a node that is open, the one that has most of
/// what is needed: what to ask for so as to get it.
pub(crate) fn smaller(
    space: &Overlay<'_>,
    need: &Need,
    cells: &[CellKey],
    is_open: impl Fn(&NodeId) -> bool,
) -> Option<Help> {
    let wants = need.wants()?;
    let of_card = |seen: &Seen<'_>| {
        let (layouts, card) = card(seen)?;
        let (table, card) = (layouts.table(), card?);
        let less = table.profiles.iter().enumerate().filter_map(move |(at, profile)| {
            let compute = table.compute(profile).min(wants.compute);
            let memory = profile.memory.min(wants.memory);
            let less = Wants { compute, memory, ..wants };
            let fits = layouts.room(card, at) > 0 && less.carried_by(table, profile);
            fits.then_some((less, profile))
        });
        Some(less)
    };
    let part = |has: u64, wanted: u64| u128::from(has) * 1000 / u128::from(wanted.max(1));
    let seen = space.seen(cells);
    let all = seen.iter().filter(|seen| is_open(seen.node)).filter_map(of_card).flatten();
    let most = all.max_by_key(|(less, profile)| {
        let compute = part(less.compute.0.into(), wants.compute.0.into());
        let has = compute + part(less.memory.0, wants.memory.0);
        // Of equal ones the smallest, then the first by name.
        (has, Reverse((profile.slots, profile.extra, profile.name)))
    });
    most.map(|(less, profile)| Help::SmallerInstance {
        profile: profile.name.to_owned(),
        compute: less.compute,
        memory: less.memory,
    })
}

/// The card that has room for the largest instance, and the smallest that would do there.
fn instance(seen: &[Seen<'_>], need: &Need) -> Option<Reason> {
    let wants = need.wants()?;
    let size = |profile: &Profile| (profile.memory, profile.compute_slices());
    let room = |seen: &Seen<'_>| -> Option<&'static Profile> {
        let (layouts, card) = card(seen)?;
        let card = card?;
        let fits = |(at, _): &(usize, &Profile)| layouts.room(card, *at) > 0;
        let profiles = layouts.table().profiles.iter().enumerate().filter(fits);
        profiles
            .map(|(_, profile)| profile)
            .max_by_key(|profile| (size(profile), Reverse(profile.extra)))
    };
    let closest =
        seen.iter().min_by_key(|seen| (Reverse(room(seen).map(size)), seen.node, seen.device))?;
    let table = closest.free.spec.parts?;
    let profile = table.profiles.get(*table.sufficient(&wants).first()?)?;
    let (layouts, card) = card(closest)?;
    let fits = card.is_some_and(|card| layouts.place_wants(card, &wants).is_some());
    (!fits).then(|| Reason::NoInstance {
        profile: profile.name.to_owned(),
        node: closest.node.clone(),
        device: closest.device.clone(),
        room: room(closest).map(|profile| profile.name.to_owned()),
    })
}
