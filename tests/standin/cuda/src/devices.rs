//! One device, and what it says of itself.

use crate::api::{put, put_text};
use crate::state::{ask, client, init, model};
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::*;
use polder_standin_host::Ask;
use std::ffi::{c_char, c_int, c_uint};

/// The version of the API that is spoken: 13.0.
pub(crate) const VERSION: i32 = 13_000;

fn check(dev: CUdevice) -> Result<(), CUresult> {
    client()?;
    if dev == 0 { Ok(()) } else { Err(CUDA_ERROR_INVALID_DEVICE) }
}

fn number(value: u64) -> c_int {
    c_int::try_from(value).unwrap_or(c_int::MAX)
}

/// What an attribute is, by its number in the API.
fn attribute(attrib: c_uint) -> Result<c_int, CUresult> {
    let model = model(client()?);
    let threads_per_block = 1024;
    Ok(match attrib {
        1..=3 => threads_per_block,
        4 => 64,
        5 => c_int::MAX,
        6 | 7 => 65_535,
        8 => 48 << 10,
        9 => 64 << 10,
        10 => 32,
        12 => 64 << 10,
        13 => 1_500_000,
        // Concurrent kernels, one asynchronous engine at least, unified addressing.
        15 | 31 | 41 => 1,
        16 => number(model.sms.into()),
        36 => 2_000_000,
        37 => 5_120,
        38 => 50 << 20,
        39 => number(model.threads_per_sm.into()),
        40 => 2,
        75 => number(model.capability.0.into()),
        76 => number(model.capability.1.into()),
        81 => 100 << 10,
        82 => 64 << 10,
        // Managed memory, cooperative launches.
        83 | 95 => 1,
        // Managed memory stays where it is while the device uses it.
        89 => 1,
        97 => 99 << 10,
        106 => number(model.blocks_per_sm.into()),
        // Memory pools.
        115 => 1,
        _ => 0,
    })
}

api! { |own|
    fn cuInit(flags: c_uint) {
        if flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        init()
    }

    fn cuDriverGetVersion(driver_version: *mut c_int) {
        put(driver_version, VERSION)
    }

    fn cuDeviceGetCount(count: *mut c_int) {
        client()?;
        put(count, 1)
    }

    fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int) {
        check(ordinal)?;
        put(device, 0)
    }

    fn cuDeviceGetName(name: *mut c_char, len: c_int, dev: CUdevice) {
        check(dev)?;
        put_text(name, len, model(client()?).name)
    }

    fn cuDeviceGetUuid / cuDeviceGetUuid_v2(uuid: *mut CUuuid, dev: CUdevice) {
        check(dev)?;
        put(uuid, CUuuid { bytes: *b"stand-in device0" })
    }

    fn cuDeviceGetPCIBusId(pci_bus_id: *mut c_char, len: c_int, dev: CUdevice) {
        check(dev)?;
        put_text(pci_bus_id, len, "0000:01:00.0")
    }

    fn cuDeviceTotalMem_v2(bytes: *mut usize, dev: CUdevice) {
        check(dev)?;
        let total = model(client()?).memory_bytes;
        put(bytes, usize::try_from(total).unwrap_or(usize::MAX))
    }

    fn cuDeviceComputeCapability(major: *mut c_int, minor: *mut c_int, dev: CUdevice) {
        check(dev)?;
        put(major, attribute(75)?)?;
        put(minor, attribute(76)?)
    }

    fn cuDeviceGetAttribute(pi: *mut c_int, attrib: c_uint, dev: CUdevice) {
        check(dev)?;
        put(pi, attribute(attrib)?)
    }

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let state = ask(crate::state::device()?, Ask::State)?;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        put(free, size(state[0].saturating_sub(state[1])))?;
        put(total, size(state[0]))
    }
}
