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

macro_rules! typed {
    (_) => {
        false
    };
    ($args:tt) => {
        true
    };
}

macro_rules! function_type {
    ($name:ident _) => {};
    ($name:ident ($($arg:ident: $ty:ty),*)) => {
        pub type $name = unsafe extern "C" fn($($arg: $ty),*) -> nvmlReturn_t;
    };
}

macro_rules! expand {
    ($($class:ident $args:tt { $($name:ident $seen:literal),* })*) => {
        /// The functions by name; the value is the place in [`FUNCTIONS`].
        #[allow(non_camel_case_types, missing_docs)] // the API's own names
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Function {
            $($($name,)*)*
        }

        /// All functions, in the order of the table.
        pub const FUNCTIONS: &[Entry] = &[$($(Entry {
            name: stringify!($name),
            class: class!($class),
            seen: $seen,
            typed: typed!($args),
        },)*)*];

        /// The type of each function whose signature the table tells, under its name.
        pub mod pfn {
            #![allow(non_camel_case_types, missing_docs)] // the API's own names
            use super::types::*;
            use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
            $($(function_type!($name $args);)*)*
        }
    };
}
nvml_table!(expand);

/// Functions of the table.
pub const COUNT: usize = FUNCTIONS.len();

impl Function {
    /// Place in the table.
    #[must_use]
    pub const fn slot(self) -> usize {
        self as usize
    }

    /// What the table says of it.
    #[must_use]
    pub const fn entry(self) -> &'static Entry {
        &FUNCTIONS[self.slot()]
    }

    /// The exported symbol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().name
    }
}

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
