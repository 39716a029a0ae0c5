//! Devices that their hardware cuts: where the next instance goes, and what that costs.

use super::WHOLE;
use super::node::Device;
use crate::mig::{Card, Layouts, Wants};

/// One instance for one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Compute of the instance in thousandths of the device.
    pub(super) compute: i32,
    /// Its memory in bytes.
    pub(super) memory: i64,
    /// Its bit in the mask of places.
    pub(super) mask: u32,
    /// What the device is worth less for later asks, times the device's memory in GiB, in parts
    /// of 2^20 of an idle device.
    pub(super) cost: u64,
}

/// A cost above that of any instance: no device has a PiB.
pub(super) const COST_MAX: u64 = 1 << 40;

/// What a device can be cut into yet, if its hardware cuts it and nobody is on it otherwise.
pub(crate) fn card(device: &Device) -> Option<(&'static Layouts, Card)> {
    let layouts = device.spec.parts?.layouts();
    // What is not held by instances is held otherwise, or promised to somebody.
    let held = i64::from(WHOLE - device.compute);
    let cut = layouts.compute_of(device.cut) + layouts.compute_of(device.kept);
    let usable = device.is_idle() || (!device.is_uncut() && held == cut);
    // Where somebody is leaving the very place that is promised, nothing else comes between.
    let apart = device.cut & device.kept == 0;
    let card = || layouts.card_of(device.cut | device.kept);
    (usable && apart).then(card).flatten().map(|card| (layouts, card))
}

/// Instances for equal asks that fit a device.
pub(super) fn room(device: &Device, wants: &Wants) -> u32 {
    let room = card(device).and_then(|(layouts, card)| layouts.room_for(card, wants));
    room.map_or(0, |(_, room)| room)
}

/// The next instance on a device.
pub(super) fn next(device: &Device, wants: &Wants) -> Option<Part> {
    let (layouts, card) = card(device)?;
    let (instance, after) = layouts.place_wants(card, wants)?;
    let profile = layouts.table().profiles.get(instance.profile)?;
    let loss = layouts.worth(card).saturating_sub(layouts.worth(after));
    let all = layouts.worth(layouts.empty()).max(1);
    let gib = u64::try_from(device.spec.memory >> 30).unwrap_or(0).max(1);
    let parts = (u128::from(loss) << 20) / u128::from(all) * u128::from(gib);
    Some(Part {
        compute: i32::try_from(layouts.table().compute(profile).0).unwrap_or(i32::MAX),
        memory: i64::try_from(profile.memory.0).unwrap_or(i64::MAX),
        mask: layouts.bit(instance),
        cost: u64::try_from(parts).unwrap_or(COST_MAX).min(COST_MAX - 1),
    })
}
