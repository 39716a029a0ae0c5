//! The API's types, under its own names.
#![allow(non_camel_case_types, non_snake_case, missing_docs)] // the API's own names

use std::ffi::{c_char, c_uint};

/// Result of every call; the numbers are in [`consts`](super::consts).
pub type nvmlReturn_t = c_uint;

macro_rules! handles {
    ($($object:ident $handle:ident;)*) => {$(
        #[derive(Debug)]
        #[repr(C)]
        pub struct $object {
            _private: [u8; 0],
        }
        pub type $handle = *mut $object;
    )*};
}
handles! {
    Device nvmlDevice_t;
    Unit nvmlUnit_t;
    EventSet nvmlEventSet_t;
    GpuInstance nvmlGpuInstance_t;
    ComputeInstance nvmlComputeInstance_t;
    GpmSample nvmlGpmSample_t;
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct nvmlMemory_t {
    pub total: u64,
    pub free: u64,
    pub used: u64,
}

/// Bytes; `version` is set by the asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct nvmlMemory_v2_t {
    pub version: c_uint,
    pub total: u64,
    pub reserved: u64,
    pub free: u64,
    pub used: u64,
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct nvmlBAR1Memory_t {
    pub bar1Total: u64,
    pub bar1Free: u64,
    pub bar1Used: u64,
}

/// Per cent of the last sample period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct nvmlUtilization_t {
    pub gpu: c_uint,
    pub memory: c_uint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct nvmlProcessInfo_v1_t {
    pub pid: c_uint,
    pub usedGpuMemory: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct nvmlProcessInfo_v2_t {
    pub pid: c_uint,
    pub usedGpuMemory: u64,
    pub gpuInstanceId: c_uint,
    pub computeInstanceId: c_uint,
}
pub type nvmlProcessInfo_t = nvmlProcessInfo_v2_t;

/// Per cent; `timeStamp` in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct nvmlProcessUtilizationSample_t {
    pub pid: c_uint,
    pub timeStamp: u64,
    pub smUtil: c_uint,
    pub memUtil: c_uint,
    pub encUtil: c_uint,
    pub decUtil: c_uint,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct nvmlPciInfo_t {
    pub busIdLegacy: [c_char; 16],
    pub domain: c_uint,
    pub bus: c_uint,
    pub device: c_uint,
    pub pciDeviceId: c_uint,
    pub pciSubSystemId: c_uint,
    pub busId: [c_char; 32],
}

const _: () = {
    assert!(size_of::<nvmlMemory_v2_t>() == 40 && size_of::<nvmlPciInfo_t>() == 68);
    assert!(size_of::<nvmlProcessInfo_v2_t>() == 24);
    assert!(size_of::<nvmlProcessUtilizationSample_t>() == 32);
};
