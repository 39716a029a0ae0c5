//! NVIDIA devices, through the management library that every driver brings.
//!
//! The library is opened at run time; a machine without the driver simply has no such devices.
//! Through this interface alone a card can be granted whole; when the same card also shows itself
//! through OpenCL, [`crate::catalogue()`] joins the two and it can be shared in time.

pub(crate) mod clear;
mod facts;
pub(crate) mod watch;
pub(crate) mod xid;

use crate::{ProbeOutcome, Prober, Problem, Source, sysfs::Sysfs};
use facts::CardFacts;
use nvml_wrapper::{
    Device, Nvml, enum_wrappers::device::Clock, enums::device::SampleValue, error::NvmlError,
    structs::device::FieldId, sys_exports::field_id::NVML_FI_DEV_REMAPPED_FAILURE,
};
use std::{ffi::OsStr, path::PathBuf};

/// The names under which drivers install the library; the first is the one of a machine without
/// development packages.
const LIBRARY_NAMES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];
/// No machine has more.
const CARDS_MAX: u32 = 256;

/// NVIDIA's management library.
pub(crate) struct Nvidia {
    /// Another one than the system's.
    pub(crate) library: Option<PathBuf>,
}

impl Prober for Nvidia {
    fn probe(&self, sysfs: &Sysfs) -> ProbeOutcome {
        let source = Source::Nvidia { library: self.library.clone() };
        match self.open() {
            Ok(Some(nvml)) => cards(&nvml, &source, sysfs),
            Ok(None) => ProbeOutcome::default(),
            Err(error) => ProbeOutcome::failed(Problem::new(source, advice(&error))),
        }
    }
}

impl Nvidia {
    /// The open library; `None` where there is no driver.
    fn open(&self) -> Result<Option<Nvml>, NvmlError> {
        let names: Vec<&OsStr> = match &self.library {
            Some(path) => vec![path.as_os_str()],
            None => LIBRARY_NAMES.map(OsStr::new).to_vec(),
        };
        for name in names {
            match Nvml::builder().lib_path(name).init() {
                Ok(nvml) => return Ok(Some(nvml)),
                Err(NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound) => {}
                // The library without the kernel's part: a package was installed, no card is.
                Err(NvmlError::DriverNotLoaded) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// The error and what to do about it.
fn advice(error: &NvmlError) -> String {
    match error {
        NvmlError::LibRmVersionMismatch => format!(
            "{error}; the driver was upgraded while its old kernel module runs: restart the machine"
        ),
        NvmlError::NoPermission => {
            format!("{error}; let this user open /dev/nvidiactl and /dev/nvidia*")
        }
        NvmlError::GpuLost => format!("{error}; reset the card or restart the machine"),
        NvmlError::ResetRequired => format!("{error}; reset it: nvidia-smi --gpu-reset"),
        _ => error.to_string(),
    }
}

fn cards(nvml: &Nvml, source: &Source, sysfs: &Sysfs) -> ProbeOutcome {
    let count = match nvml.device_count() {
        Ok(count) => count.min(CARDS_MAX),
        Err(error) => return ProbeOutcome::failed(Problem::new(source, advice(&error))),
    };
    let driver = nvml.sys_driver_version().unwrap_or_default();
    let mut outcome = ProbeOutcome::default();
    for index in 0..count {
        match nvml.device_by_index(index).and_then(|card| read(&card, index, &driver)) {
            Ok(card) => match card.found(sysfs) {
                Ok(found) => outcome.devices.push(found),
                Err(problem) => outcome.problems.push(problem),
            },
            Err(error) => {
                let card = format_args!("NVIDIA card {index}");
                outcome.problems.push(Problem::new(card, advice(&error)));
            }
        }
    }
    outcome
}

/// Asks one card. Only what names it must be there; older cards and drivers lack other facts.
fn read(card: &Device<'_>, index: u32, driver: &str) -> Result<CardFacts, NvmlError> {
    let memory = card.memory_info();
    let lost = matches!(memory, Err(NvmlError::GpuLost));
    Ok(CardFacts {
        index,
        uuid: card.uuid()?,
        model: card.name()?,
        driver: driver.to_owned(),
        // What the driver keeps for itself no lease can have.
        memory: memory.map_or(0, |memory| memory.total.saturating_sub(memory.reserved)),
        memory_clock_mhz: card.max_clock_info(Clock::Memory).ok(),
        memory_bus_bits: card.memory_bus_width().ok(),
        cores: card.num_cores().ok(),
        capability: card
            .cuda_compute_capability()
            .ok()
            .and_then(|it| Some((u32::try_from(it.major).ok()?, u32::try_from(it.minor).ok()?))),
        pci_bus_id: card.pci_info().ok().map(|pci| pci.bus_id),
        ecc: card.is_ecc_enabled().is_ok_and(|ecc| ecc.currently_enabled),
        nvlink: card.link_wrapper_for(0).is_active().unwrap_or(false),
        mig_capable: card.mig_mode().is_ok(),
        mig_on: card.mig_mode().is_ok_and(|mode| mode.current != 0),
        lost,
        retirement_pending: card.are_pages_pending_retired().unwrap_or(false),
        remapping_failed: remapping_failed(card),
    })
}

/// Whether the card ran out of spare rows to replace a failed one.
fn remapping_failed(card: &Device<'_>) -> bool {
    let values = card.field_values_for(&[FieldId(NVML_FI_DEV_REMAPPED_FAILURE)]);
    let values = values.into_iter().flatten().flatten();
    values.filter_map(|sample| sample.value.ok()).any(|value| match value {
        SampleValue::U32(flag) => flag != 0,
        SampleValue::U64(flag) => flag != 0,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(library: &str, devices: usize, problems: usize) {
        let nvidia = Nvidia { library: Some(library.into()) };
        let outcome = nvidia.probe(&Sysfs::system());
        assert_eq!(outcome.devices.len(), devices);
        assert_eq!(outcome.problems.len(), problems, "{:?}", outcome.problems);
    }

    #[test]
    fn no_driver_is_no_problem() {
        check("/nonexistent/libnvidia-ml.so.1", 0, 0);
    }

    #[test]
    fn the_systems_own_library_answers_or_is_not_there() {
        let outcome = Nvidia { library: None }.probe(&Sysfs::system());
        assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
        if outcome.devices.is_empty() {
            eprintln!("SKIPPED: no NVIDIA driver or card here, so no real card was read");
        }
        for found in outcome.devices {
            assert!(found.device.memory.0 > 1 << 30 && found.device.compute_units > 0);
            assert!(found.device.memory_bandwidth.is_some() && found.uuid.is_some());
        }
    }
}
