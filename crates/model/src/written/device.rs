//! One `[[device]]` table: alike devices of one model.

use crate::device::parse_pci_address;
use crate::{Address, Api, Bytes, Device, DeviceId, DeviceKind, Health, Mechanism};
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeSet;

/// Most devices that one table makes; more than any node holds.
pub const DEVICES_WRITTEN_MAX: u32 = 1024;
/// Longest name of a model, vendor, driver or feature.
const TEXT_BYTES_MAX: usize = 200;
/// Largest memory or bandwidth; beyond it sums over a pool could overflow.
const SIZE_BYTES_MAX: u64 = 1 << 50;
/// More compute units than any device has.
const COMPUTE_UNITS_MAX: u32 = 1 << 20;
/// Compute units of a device of which none are said.
const COMPUTE_UNITS_USUAL: u32 = 100;

/// One table as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(deserialize_with = "name")]
    model: String,
    #[serde(default = "simulated", deserialize_with = "name")]
    vendor: String,
    #[serde(default = "simulated", deserialize_with = "name")]
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
    #[serde(default = "usual_units", deserialize_with = "units")]
    compute_units: u32,
    #[serde(default = "one", deserialize_with = "count")]
    count: u32,
    #[serde(default, deserialize_with = "features")]
    features: BTreeSet<String>,
    numa_node: Option<u32>,
    /// Of the first device; with `island_size` the others go on from it.
    island: Option<u32>,
    /// How many devices of the table are on one island, one after the other.
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

/// Alike devices of one model, as a file writes them; they hold together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct DevicesWritten(Table);

impl TryFrom<Table> for DevicesWritten {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        if table.pci_address.is_some() && table.count > 1 {
            return Err(format!(
                "{} devices cannot share one pci_address: write one table for each",
                table.count
            ));
        }
        if table.allocation_max.is_some_and(|max| max > table.memory) {
            return Err("allocation_max is more than memory".to_owned());
        }
        if table.granularity.is_some_and(|granularity| granularity > table.memory) {
            return Err("granularity is more than memory".to_owned());
        }
        if table.island_size.is_some() && table.island.is_none() {
            return Err("island_size says nothing without island: write island = 0".to_owned());
        }
        if table.mechanisms.is_empty() {
            return Err("mechanisms is empty: write [\"time_slice\", \"whole\"]".to_owned());
        }
        Ok(Self(table))
    }
}

impl DevicesWritten {
    /// How many: 1 to [`DEVICES_WRITTEN_MAX`].
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.0.count
    }

    /// Where the only one of them is on the bus, as the kernel spells it.
    #[must_use]
    pub fn pci_address(&self) -> Option<&str> {
        self.0.pci_address.as_deref()
    }

    /// The devices, simulated each, called `prefix` and a number from `first` on. `prefix` is of
    /// letters, digits and dashes.
    pub fn devices(&self, prefix: &str, first: u32) -> impl Iterator<Item = Device> {
        let table = &self.0;
        let granularity = table.granularity.unwrap_or(table.kind.granularity());
        (0..table.count).map(move |place| Device {
            id: id(prefix, first.saturating_add(place)),
            api: Api::Simulated,
            kind: table.kind,
            vendor: table.vendor.clone(),
            model: table.model.clone(),
            driver: table.driver.clone(),
            memory: table.memory,
            allocation_max: table.allocation_max,
            granularity: granularity.min(table.memory),
            memory_bandwidth: table.memory_bandwidth,
            compute_units: table.compute_units,
            features: table.features.clone(),
            health: table.faulty.clone().map_or(Health::Healthy, Health::Faulty),
            pci_address: table.pci_address.clone(),
            numa_node: table.numa_node,
            island: table.island.map(|island| {
                let size = table.island_size.unwrap_or(table.count);
                island.saturating_add(place.checked_div(size).unwrap_or(0))
            }),
            rail: table.rail.map(|rail| rail.saturating_add(place)),
            address: Address::Simulated,
            mechanisms: table.mechanisms.clone(),
            simulated: true,
        })
    }
}

fn id(prefix: &str, number: u32) -> DeviceId {
    format!("{prefix}{number}").parse().expect("letters, digits and dashes are a name")
}

fn simulated() -> String {
    "simulated".to_owned()
}

fn gpu() -> DeviceKind {
    DeviceKind::Gpu
}

fn usual_units() -> u32 {
    COMPUTE_UNITS_USUAL
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
    within(from, "count", DEVICES_WRITTEN_MAX)
}

fn island_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    within(from, "island_size", DEVICES_WRITTEN_MAX).map(Some)
}

fn features<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
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
