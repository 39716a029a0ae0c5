//! Devices that are not there, from a file, and only when asked for.
//!
//! Every one of them says `simulated` wherever it goes. The file is TOML, one `[[device]]` table
//! for each model; `examples/rack.toml` beside this crate shows every key, and `docs/simulate.md`
//! explains them.

use crate::identity::{DEVICE_GRANULARITY, HOST_GRANULARITY, parse_pci_address};
use polder_model::{Address, Api, Bytes, Device, DeviceKind, Health, Mechanism};
use serde::{Deserialize, Deserializer, de};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Devices of one file; more than any node holds.
pub const SIMULATED_DEVICES_MAX: u32 = 1024;
/// What the id of a device begins with that is not there, and of no other.
pub const SIMULATED_ID_PREFIX: &str = "sim-";
/// Longest file read.
pub const SIMULATE_FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest name of a model, vendor, driver or feature.
const TEXT_BYTES_MAX: usize = 200;
/// Largest memory or bandwidth; beyond it sums over a pool could overflow.
const SIZE_BYTES_MAX: u64 = 1 << 50;
/// More compute units than any device has.
const COMPUTE_UNITS_MAX: u32 = 1 << 20;

/// Why a `--simulate` file was refused. Each names the file and, where there is one, the line.
#[derive(Debug, Error)]
pub enum SimulateError {
    /// The file could not be read.
    #[error("cannot read the simulated devices in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than any list of devices.
    #[error(
        "{} is longer than {SIMULATE_FILE_BYTES_MAX} bytes: is it a list of simulated devices?",
        path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The text is not a list of devices.
    #[error("{} is no list of simulated devices: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: Box<toml::de::Error>,
    },
    /// The devices are right one by one but not together.
    #[error("{} is no list of simulated devices: {what}", path.display())]
    Together {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rack {
    device: Vec<Entry>,
}

/// One `[[device]]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    #[serde(deserialize_with = "name")]
    model: String,
    #[serde(deserialize_with = "name")]
    vendor: String,
    #[serde(default = "simulator", deserialize_with = "name")]
    driver: String,
    #[serde(default = "gpu")]
    kind: DeviceKind,
    #[serde(deserialize_with = "size")]
    memory: Bytes,
    #[serde(default, deserialize_with = "some_size")]
    memory_bandwidth: Option<Bytes>,
    #[serde(default, deserialize_with = "some_size")]
    allocation_max: Option<Bytes>,
    #[serde(default, deserialize_with = "some_size")]
    granularity: Option<Bytes>,
    #[serde(deserialize_with = "units")]
    compute_units: u32,
    #[serde(default = "one", deserialize_with = "count")]
    count: u32,
    #[serde(default, deserialize_with = "words")]
    features: BTreeSet<String>,
    numa_node: Option<u32>,
    /// Of the first device; with `island_size` the others go on from it.
    island: Option<u32>,
    /// How many devices of the entry are on one island, one after the other.
    #[serde(default, deserialize_with = "island_size")]
    island_size: Option<u32>,
    /// Of the first device; each further one is on the next.
    rail: Option<u32>,
    #[serde(default, deserialize_with = "bus_address")]
    pci_address: Option<String>,
    #[serde(default = "shareable")]
    mechanisms: Vec<Mechanism>,
    #[serde(default, deserialize_with = "some_name")]
    faulty: Option<String>,
}

/// One `[[device]]` that holds together.
#[derive(Deserialize)]
#[serde(try_from = "RawEntry")]
struct Entry(RawEntry);

impl TryFrom<RawEntry> for Entry {
    type Error = String;

    fn try_from(raw: RawEntry) -> Result<Self, String> {
        if raw.pci_address.is_some() && raw.count > 1 {
            return Err(format!(
                "{} devices cannot share one pci_address: write one [[device]] for each",
                raw.count
            ));
        }
        if raw.allocation_max.is_some_and(|max| max > raw.memory) {
            return Err("allocation_max is more than memory".to_owned());
        }
        if raw.granularity.is_some_and(|granularity| granularity > raw.memory) {
            return Err("granularity is more than memory".to_owned());
        }
        if raw.island_size.is_some() && raw.island.is_none() {
            return Err("island_size says nothing without island: write island = 0".to_owned());
        }
        if raw.mechanisms.is_empty() {
            return Err("mechanisms is empty: write [\"time_slice\", \"whole\"]".to_owned());
        }
        Ok(Self(raw))
    }
}

impl Entry {
    /// This entry's devices, the first of them number `first` of the file.
    fn devices(self, first: u32) -> impl Iterator<Item = Device> {
        let Self(raw) = self;
        let granularity = raw.granularity.unwrap_or(match raw.kind {
            DeviceKind::Cpu => HOST_GRANULARITY,
            DeviceKind::Gpu | DeviceKind::Accelerator => DEVICE_GRANULARITY,
        });
        (first..first + raw.count).map(move |number| Device {
            id: format!("{SIMULATED_ID_PREFIX}{number}")
                .parse()
                .expect("digits and dashes are a name"),
            api: Api::Simulated,
            kind: raw.kind,
            vendor: raw.vendor.clone(),
            model: raw.model.clone(),
            driver: raw.driver.clone(),
            memory: raw.memory,
            allocation_max: raw.allocation_max,
            granularity: granularity.min(raw.memory),
            memory_bandwidth: raw.memory_bandwidth,
            compute_units: raw.compute_units,
            features: raw.features.clone(),
            health: raw.faulty.clone().map_or(Health::Healthy, Health::Faulty),
            pci_address: raw.pci_address.clone(),
            numa_node: raw.numa_node,
            island: raw.island.map(|island| {
                let size = raw.island_size.unwrap_or(raw.count);
                island.saturating_add((number - first).checked_div(size).unwrap_or(0))
            }),
            rail: raw.rail.map(|rail| rail.saturating_add(number - first)),
            address: Address::Simulated,
            mechanisms: raw.mechanisms.clone(),
            simulated: true,
        })
    }
}

/// The devices that the file at `path` describes.
pub fn read_simulated(path: &Path) -> Result<Vec<Device>, SimulateError> {
    let failed = |source| SimulateError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(SIMULATE_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SIMULATE_FILE_BYTES_MAX {
        return Err(SimulateError::TooLong { path: path.to_owned() });
    }
    parse_simulated(path, &text)
}

/// The devices that `text` describes; `path` is named in errors.
pub fn parse_simulated(path: &Path, text: &str) -> Result<Vec<Device>, SimulateError> {
    let together = |what| SimulateError::Together { path: path.to_owned(), what };
    let rack: Rack = toml::from_str(text)
        .map_err(|source| SimulateError::Parse { path: path.to_owned(), source: source.into() })?;
    let mut devices: Vec<Device> = Vec::new();
    let mut addresses = BTreeSet::new();
    let mut next = 0_u32;
    for entry in rack.device {
        let after = next.saturating_add(entry.0.count);
        if after > SIMULATED_DEVICES_MAX {
            return Err(together(format!(
                "its counts add up to more than {SIMULATED_DEVICES_MAX} devices"
            )));
        }
        if let Some(address) = &entry.0.pci_address
            && !addresses.insert(address.clone())
        {
            return Err(together(format!("two devices have the pci_address {address}")));
        }
        devices.extend(entry.devices(next));
        next = after;
    }
    if devices.is_empty() {
        return Err(together("it has no [[device]]".to_owned()));
    }
    Ok(devices)
}

fn simulator() -> String {
    "simulated".to_owned()
}

fn gpu() -> DeviceKind {
    DeviceKind::Gpu
}

fn one() -> u32 {
    1
}

fn shareable() -> Vec<Mechanism> {
    vec![Mechanism::TimeSlice, Mechanism::Whole]
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let fits = (1..=TEXT_BYTES_MAX).contains(&text.trim().len());
    if !fits || text.chars().any(char::is_control) {
        return Err(de::Error::custom(format_args!(
            "write a name of 1 to {TEXT_BYTES_MAX} bytes on one line"
        )));
    }
    Ok(text.trim().to_owned())
}

fn some_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    name(from).map(Some)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(from)?;
    let size: Bytes = text.parse().map_err(de::Error::custom)?;
    if (1..=SIZE_BYTES_MAX).contains(&size.0) {
        return Ok(size);
    }
    Err(de::Error::custom(format_args!(
        "{text:?} is out of range: a device's sizes lie between 1 B and {}",
        Bytes(SIZE_BYTES_MAX)
    )))
}

fn some_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bytes>, D::Error> {
    size(from).map(Some)
}

fn within<'de, D: Deserializer<'de>>(from: D, what: &str, max: u32) -> Result<u32, D::Error> {
    let number = i64::deserialize(from)?;
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| de::Error::custom(format_args!("{what} is {number}: write 1 to {max}")))
}

fn units<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    within(from, "compute_units", COMPUTE_UNITS_MAX)
}

fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    within(from, "count", SIMULATED_DEVICES_MAX)
}

fn island_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    within(from, "island_size", SIMULATED_DEVICES_MAX).map(Some)
}

fn words<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let words = BTreeSet::<String>::deserialize(from)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    match words.iter().find(|word| word.is_empty() || !word.chars().all(plain)) {
        None => Ok(words),
        Some(bad) => Err(de::Error::custom(format_args!(
            "{bad:?} is no feature: use a-z, 0-9, '_', '.' and '-'"
        ))),
    }
}

fn bus_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    parse_pci_address(&text).map(Some).ok_or_else(|| {
        de::Error::custom(format_args!("{text:?} is no PCI address: write 0000:3b:00.0"))
    })
}

#[cfg(test)]
#[path = "simulate_tests.rs"]
mod tests;
