//! The child's side: one source, one answer.

use crate::nvidia::{Nvidia, clear, watch};
use crate::{bandwidth, node, opencl::Icd, sysfs::Sysfs};
use polder_model::{Device, DeviceKind};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// Longest request a child reads; a library's path is all that varies in it.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;

/// Where devices are looked for. One child is started for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An OpenCL ICD library, as its `.icd` file spells it.
    Opencl {
        /// A path, or a name for the dynamic linker to find.
        library: String,
    },
    /// NVIDIA's management library.
    Nvidia {
        /// Another library than the system's `libnvidia-ml.so.1`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        library: Option<PathBuf>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opencl { library } => write!(f, "OpenCL library {library}"),
            Self::Nvidia { library: None } => f.write_str("NVIDIA management library"),
            Self::Nvidia { library: Some(path) } => {
                write!(f, "NVIDIA management library {}", path.display())
            }
        }
    }
}

/// What the parent asks of one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// Where to look.
    pub source: Source,
    /// Whether to measure the host's memory bandwidth for CPU devices (about 0.1 s of all CPUs).
    pub measure_bandwidth: bool,
}

/// A device as its source shows it, before the catalogue is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The device; an OpenCL device's id is provisional until [`crate::catalogue()`] numbers it.
    pub device: Device,
    /// The hardware's own 16-byte id as `8-4-4-4-12` hexadecimal digits, where the source tells
    /// it. Two sources that tell the same one show the same card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// Something that kept devices from being seen, or seen whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which library, file or device.
    pub source: String,
    /// What happened and what to do.
    pub what: String,
}

impl Problem {
    /// A problem of `source`.
    pub fn new(source: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self { source: source.to_string(), what: what.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.what)
    }
}

/// One source's answer, as it travels from child to parent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// The devices, in the source's own order.
    pub devices: Vec<Found>,
    /// What went wrong.
    pub problems: Vec<Problem>,
}

impl ProbeOutcome {
    /// No device, one problem.
    #[must_use]
    pub fn failed(problem: Problem) -> Self {
        Self { devices: Vec::new(), problems: vec![problem] }
    }
}

/// A vendor's way of seeing its devices. Called only in a probe child: it may load the vendor's
/// runtime, and may crash or hang with it.
pub trait Prober {
    /// Every device of this source. Hardware or a driver that is not there is no problem.
    fn probe(&self, sysfs: &Sysfs) -> ProbeOutcome;
}

impl Source {
    fn prober(&self) -> Box<dyn Prober> {
        match self {
            Self::Opencl { library } => Box::new(Icd { library: library.clone() }),
            Self::Nvidia { library } => Box::new(Nvidia { library: library.clone() }),
        }
    }
}

/// What the hidden subcommand `probe-devices REQUEST` runs. The child prints the answer to standard
/// output as one line of JSON and ends. One that is asked to watch ([`crate::WatchRequest`]) prints a
/// line for each look before, and one that is asked to clear a card a line that says what came of it.
///
/// Call it only in a process of its own: it ties that process's life to its parent's.
#[must_use]
pub fn probe_main(request: &str) -> ProbeOutcome {
    prepare_child();
    if request.len() > REQUEST_BYTES_MAX {
        let what = format!("longer than {REQUEST_BYTES_MAX} bytes");
        return ProbeOutcome::failed(Problem::new("probe request", what));
    }
    if let Ok(request) = serde_json::from_str(request) {
        watch::watch(&request);
        return ProbeOutcome::default();
    }
    if let Ok(request) = serde_json::from_str(request) {
        clear::tell(&clear::clear(&request));
        return ProbeOutcome::default();
    }
    match serde_json::from_str::<ProbeRequest>(request) {
        Ok(request) => probe(&request, &Sysfs::system()),
        Err(error) => ProbeOutcome::failed(Problem::new("probe request", error)),
    }
}

/// A vendor's crash must leave no core file, and a probe must not outlive who asked. Both are
/// courtesies: where the kernel refuses them the probe works all the same.
fn prepare_child() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

fn probe(request: &ProbeRequest, sysfs: &Sysfs) -> ProbeOutcome {
    let mut outcome = request.source.prober().probe(sysfs);
    let unmeasured =
        |device: &Device| device.kind == DeviceKind::Cpu && device.memory_bandwidth.is_none();
    if request.measure_bandwidth && outcome.devices.iter().any(|found| unmeasured(&found.device)) {
        let measured = bandwidth::measure(node::memory(sysfs));
        for found in outcome.devices.iter_mut().filter(|found| unmeasured(&found.device)) {
            found.device.memory_bandwidth = measured;
        }
    }
    outcome
}
