//! Devices that are not there, from a file, and only when asked for.
//!
//! Every one of them says `simulated` wherever it goes. The file is TOML, one `[[device]]` table
//! for each model; `examples/rack.toml` beside this crate shows every key, and `docs/simulate.md`
//! explains them.

use polder_model::{Device, DevicesWritten, NodeWords};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Devices of one file; more than any node holds.
pub const SIMULATED_DEVICES_MAX: u32 = polder_model::DEVICES_WRITTEN_MAX;
/// What the id of a device begins with that is not there, and of no other.
pub const SIMULATED_ID_PREFIX: &str = "sim-";
/// Longest file read.
pub const SIMULATE_FILE_BYTES_MAX: u64 = 1 << 20;

/// What is said of a file without any.
const NO_DEVICE: &str = "it names no device: write a [[device]] for each model, with model, vendor, \
                         memory and compute_units";

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
    #[serde(default, deserialize_with = "NodeWords::read_partitions")]
    partitions: Vec<String>,
    #[serde(default, deserialize_with = "NodeWords::read_labels")]
    labels: Vec<String>,
    #[serde(default)]
    device: Vec<DevicesWritten>,
}

/// What a file says of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// Its devices.
    pub devices: Vec<Device>,
    /// Its partitions and labels.
    pub words: NodeWords,
}

/// What the file at `path` describes.
///
/// # Errors
/// It cannot be read, or is none: with the line.
pub fn read_simulated(path: &Path) -> Result<Simulated, SimulateError> {
    let failed = |source| SimulateError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(SIMULATE_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SIMULATE_FILE_BYTES_MAX {
        return Err(SimulateError::TooLong { path: path.to_owned() });
    }
    parse_simulated(path, &text)
}

/// What `text` describes; `path` is named in errors.
///
/// # Errors
/// The text is no such file: with the line.
pub fn parse_simulated(path: &Path, text: &str) -> Result<Simulated, SimulateError> {
    let together = |what| SimulateError::Together { path: path.to_owned(), what };
    let rack: Rack = toml::from_str(text)
        .map_err(|source| SimulateError::Parse { path: path.to_owned(), source: source.into() })?;
    let mut devices: Vec<Device> = Vec::new();
    let mut addresses = BTreeSet::new();
    let mut next = 0_u32;
    for table in rack.device {
        let after = next.saturating_add(table.count());
        if after > SIMULATED_DEVICES_MAX {
            return Err(together(format!(
                "its counts add up to more than {SIMULATED_DEVICES_MAX} devices"
            )));
        }
        if let Some(address) = table.pci_address()
            && !addresses.insert(address.to_owned())
        {
            return Err(together(format!("two devices have the pci_address {address}")));
        }
        devices.extend(table.devices(SIMULATED_ID_PREFIX, next));
        next = after;
    }
    if devices.is_empty() {
        return Err(together(NO_DEVICE.to_owned()));
    }
    let words = NodeWords::new(&rack.partitions, &rack.labels);
    Ok(Simulated { devices, words: words.map_err(|error| together(error.to_string()))? })
}

#[cfg(test)]
#[path = "simulate_tests.rs"]
mod tests;
