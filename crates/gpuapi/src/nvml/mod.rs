//! NVML: every function that `libnvidia-ml.so.1` has had up to CUDA 13.5.

#[macro_use]
mod table;
pub mod consts;
pub mod types;

/// What a call means to Polder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Says which devices there are.
    DeviceView,
    /// Says how much memory a device has, and how much is used.
    Memory,
    /// Says who uses a device.
    Processes,
    /// Says how busy a device is, and with whose work.
    Utilisation,
    /// Answers any other question.
    Queries,
    /// Waits for what happens to a device.
    Events,
    /// For hosts of virtual machines.
    Vgpu,
    /// Changes a device for everybody who uses it.
    Controls,
    /// The vendor's private tables.
    Tools,
}

/// One function, each variant counted as its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The exported symbol.
    pub name: &'static str,
    /// What it means.
    pub class: Class,
    /// The CUDA release in whose lists it was first seen: 12020 is 12.2.
    pub seen: u32,
    /// Whether [`pfn`] has its type.
    pub typed: bool,
}

macro_rules! class {
    (device_view) => {
        Class::DeviceView
    };
    (memory) => {
        Class::Memory
    };
    (processes) => {
        Class::Processes
    };
    (utilisation) => {
        Class::Utilisation
    };
    (queries) => {
        Class::Queries
    };
    (events) => {
        Class::Events
    };
    (vgpu) => {
        Class::Vgpu
    };
    (controls) => {
        Class::Controls
    };
    (tools) => {
        Class::Tools
    };
}

macro_rules! expand {
    ($($table:tt)*) => {
        api! { nvmlReturn_t seen: $($table)* }
    };
}
nvml_table!(expand);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Where the names come from is said in the file.
    const NAMES: &str = include_str!("../../names/nvml.txt");

    #[test]
    fn the_table_has_every_published_name_and_no_other() {
        let lines = NAMES.lines().filter(|line| !line.starts_with('#'));
        let published: BTreeSet<_> =
            lines.map(|line| line.split(' ').next().expect("a name")).collect();
        let ours: BTreeSet<_> = FUNCTIONS.iter().map(|entry| entry.name).collect();
        assert_eq!(ours.len(), COUNT, "a name stands twice");
        assert_eq!(ours, published);
    }

    /// A tenant shares its device: whatever changes one is known to.
    #[test]
    fn whatever_sets_or_resets_is_classified_as_a_control() {
        for entry in FUNCTIONS {
            let changes = ["nvmlDeviceSet", "nvmlDeviceReset", "nvmlDeviceClear", "nvmlSystemSet"];
            if changes.iter().any(|beginning| entry.name.starts_with(beginning)) {
                assert!(matches!(entry.class, Class::Controls | Class::Vgpu), "{entry:?}");
            }
        }
        assert_eq!(Function::nvmlInit_v2.name(), "nvmlInit_v2");
    }
}
