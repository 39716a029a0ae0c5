//! One catalogue from what all sources found. Pure.
//!
//! A card that several interfaces show is one device: granted twice it would be sold twice. Cards
//! are matched by their own id or, failing that, their bus address; CPU devices have neither and
//! stay apart.

use crate::{Found, ProbeOutcome, Problem, Source};
use polder_model::{Address, Api, Device, Health};

/// What one source answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which source.
    pub source: Source,
    /// What it found, or nothing but problems.
    pub outcome: ProbeOutcome,
}

/// Numbers the OpenCL devices, joins what shows the same card, and gathers the problems.
///
/// `answers` holds one answer for every source there is, in a stable order, so that a device's
/// number depends on which drivers are installed and never on which of them answered today.
#[must_use]
pub fn catalogue(answers: Vec<Answer>) -> (Vec<Device>, Vec<Problem>) {
    let mut cards: Vec<Found> = Vec::new();
    let mut opencl: Vec<Found> = Vec::new();
    let mut problems = Vec::new();
    let mut platform = 0;
    for answer in answers {
        problems.extend(answer.outcome.problems);
        match answer.source {
            Source::Nvidia { .. } => cards.extend(answer.outcome.devices),
            Source::Opencl { .. } => {
                let mut found = answer.outcome.devices;
                platform = number(&mut found, platform);
                opencl.extend(found);
            }
        }
    }
    for found in opencl {
        match cards.iter_mut().find(|card| same_hardware(card, &found)) {
            None => cards.push(found),
            Some(card) if card.device.api == Api::Nvml => join(&mut card.device, found.device),
            Some(card) => problems.push(shown_twice(&card.device, &found.device)),
        }
    }
    let mut devices: Vec<Device> = cards.into_iter().map(|card| card.device).collect();
    devices.sort_by(|left, right| left.id.cmp(&right.id));
    (devices, problems)
}

/// Gives one library's devices their ids, its first platform being number `first`; returns the
/// number of the next library's first. A library without an answer holds one number.
fn number(devices: &mut [Found], first: u32) -> u32 {
    let mut platform = first;
    let mut before: Option<(String, u32)> = None;
    for found in devices {
        let Address::Opencl { platform: name, index, .. } = &found.device.address else { continue };
        // Two platforms of one library may even bear the same name; then the count starts anew.
        if before.is_some_and(|(before, last)| before != *name || last >= *index) {
            platform += 1;
        }
        before = Some((name.clone(), *index));
        found.device.id = format!("opencl-{platform}-{index}")
            .parse()
            .expect("digits and dashes of this length are a name");
    }
    platform + 1
}

/// Two libraries name one card by different ids but at the same bus address; one library names the
/// parts of one card, at the same bus address, by different ids.
fn same_hardware(left: &Found, right: &Found) -> bool {
    let place = |found: &Found| found.device.pci_address.clone();
    let same_place = place(left).is_some() && place(left) == place(right);
    if same_place && libraries_differ(&left.device, &right.device) {
        return true;
    }
    match (&left.uuid, &right.uuid) {
        (Some(left), Some(right)) => left == right,
        _ => same_place,
    }
}

/// Whether two different OpenCL libraries show these devices.
fn libraries_differ(left: &Device, right: &Device) -> bool {
    match (&left.address, &right.address) {
        (Address::Opencl { library: left, .. }, Address::Opencl { library: right, .. }) => {
            left != right
        }
        _ => false,
    }
}

/// Keeps what NVML knows of the card, and lets programs reach it as OpenCL does.
fn join(card: &mut Device, opencl: Device) {
    card.api = Api::Opencl;
    card.address = opencl.address;
    card.mechanisms = opencl.mechanisms;
    card.allocation_max = opencl.allocation_max;
    card.features.extend(opencl.features);
    // A lease can have no more than the interface that its program uses will give.
    if opencl.memory.0 > 0 {
        card.memory = card.memory.min(opencl.memory);
    }
    if card.health == Health::Healthy {
        card.health = opencl.health;
    }
}

fn shown_twice(first: &Device, second: &Device) -> Problem {
    let name = |device: &Device| match &device.address {
        Address::Opencl { library, platform, .. } => format!("{platform} ({library})"),
        Address::Nvml { .. } => "NVML".to_owned(),
        Address::Simulated => "a simulation".to_owned(),
    };
    let what = format!(
        "is {} again, already listed through {}; remove one of the two .icd files to choose",
        first.id,
        name(first)
    );
    Problem::new(format_args!("{} through {}", second.model, name(second)), what)
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
