//! OpenCL devices, each read from its vendor's own ICD library.
//!
//! The system's loader is not asked: it hides which library a device comes from, and a program's
//! share is held by standing between that library and the loader. What is listed here is visible
//! through any loader that reads the same folder of `.icd` files.
//!
//! A CPU device is the whole host processor, and so is every further one: they may be shared out
//! like any device, but two of them compete for the same cores and the same memory.

mod facts;
mod icd;
mod runtime;

pub use icd::{IcdError, OWN_LIBRARY, VENDOR_FOLDER};
pub(crate) use icd::{icd_libraries, vendor_folder};

use crate::{ProbeOutcome, Prober, Problem, Source, sysfs::Sysfs};
use facts::Place;
use runtime::Platform;

/// One ICD library.
pub(crate) struct Icd {
    /// As its `.icd` file spells it.
    pub(crate) library: String,
}

impl Prober for Icd {
    fn probe(&self, sysfs: &Sysfs) -> ProbeOutcome {
        let source = Source::Opencl { library: self.library.clone() };
        let loaded = match runtime::load(&self.library) {
            Ok(loaded) => loaded,
            Err(error) => return ProbeOutcome::failed(Problem::new(source, error)),
        };
        if icd::is_own(&loaded.path) {
            return ProbeOutcome::default();
        }
        let mut outcome = ProbeOutcome::default();
        let mut platforms: Vec<(String, &Platform)> =
            loaded.platforms.iter().map(|platform| (platform.name(), platform)).collect();
        platforms.sort_by(|(left, _), (right, _)| left.cmp(right));
        for (name, platform) in platforms {
            match platform.devices() {
                Ok(devices) => {
                    outcome.devices.extend(devices.iter().zip(0..).map(|(device, index)| {
                        let place = Place { library: &loaded.path, platform: &name, index };
                        facts::found(device, &place, sysfs)
                    }))
                }
                Err(error) => outcome.problems.push(Problem::new(
                    &source,
                    format_args!("platform {name:?} does not list its devices: {error}"),
                )),
            }
        }
        outcome
    }
}
