//! The lease's devices and no others, with the lease's memory.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::real::real;
use crate::view;
use polder_driver::inside;
use polder_gpuapi::cuda::{consts::*, types::*};
use std::ffi::{c_char, c_int, c_uint};

pub(super) unsafe extern "C" fn cuInit(flags: c_uint) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || match real!(cuInit(flags)) {
        CUDA_SUCCESS if view::devices().is_empty() => CUDA_ERROR_NO_DEVICE,
        result => result,
    })
}

pub(super) unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = real!(cuDeviceGetCount(count));
        if result == CUDA_SUCCESS && !count.is_null() {
            let shown = c_int::try_from(view::devices().len()).unwrap_or(c_int::MAX);
            // SAFETY: the driver has just written there.
            unsafe { count.write(shown) };
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let shown = usize::try_from(ordinal).ok().and_then(|at| view::devices().get(at));
        match shown {
            Some(shown) if !device.is_null() => {
                // SAFETY: the caller's pointer.
                unsafe { device.write(shown.handle) };
                CUDA_SUCCESS
            }
            Some(_) => CUDA_ERROR_INVALID_VALUE,
            None if view::devices().is_empty() => real!(cuDeviceGet(device, c_int::MAX)),
            None => CUDA_ERROR_INVALID_DEVICE,
        }
    })
}

pub(super) unsafe extern "C" fn cuDeviceGetByPCIBusId(
    device: *mut CUdevice,
    bus_id: *const c_char,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let mut found: CUdevice = 0;
        let at = if device.is_null() { device } else { &raw mut found };
        match real!(cuDeviceGetByPCIBusId(at, bus_id)) {
            CUDA_SUCCESS if view::lease_device(found).is_none() => CUDA_ERROR_INVALID_DEVICE,
            CUDA_SUCCESS => {
                // SAFETY: not null, or the driver would have refused it.
                unsafe { device.write(found) };
                CUDA_SUCCESS
            }
            error => error,
        }
    })
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What a device of the lease has in all, with the host memory behind it, bytes; `real` is what the card has.
fn total(device: CUdevice, real: u64) -> u64 {
    let shown = |lease| real.min(view::slice(lease).0).saturating_add(view::behind(lease).0);
    view::lease_device(device).map_or(real, shown)
}

pub(super) unsafe extern "C" fn cuDeviceTotalMem_v2(
    bytes: *mut usize,
    device: CUdevice,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = real!(cuDeviceTotalMem_v2(bytes, device));
        if result == CUDA_SUCCESS && !bytes.is_null() {
            // SAFETY: the driver has just written there.
            unsafe {
                bytes.write(total(device, wide(bytes.read())).try_into().unwrap_or(usize::MAX))
            };
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuDeviceTotalMem(bytes: *mut c_uint, device: CUdevice) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = real!(cuDeviceTotalMem(bytes, device));
        if result == CUDA_SUCCESS && !bytes.is_null() {
            // SAFETY: the driver has just written there.
            let real = u64::from(unsafe { bytes.read() });
            let shown = c_uint::try_from(total(device, real)).unwrap_or(c_uint::MAX);
            // SAFETY: as above.
            unsafe { bytes.write(shown) };
        }
        result
    })
}

/// Free and total bytes of the slice, and of the host memory behind it, of a card that has `free` and `total`.
fn slice(free: u64, total: u64) -> (u64, u64) {
    let Some(device) = view::current() else { return (free, total) };
    let (limit, left) = view::slice(device);
    let (behind, left_behind) = view::behind(device);
    let free = free.min(left).saturating_add(left_behind);
    (free, total.min(limit).saturating_add(behind))
}

pub(super) unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        // Some programs ask for one of the two, and pass null for the other.
        let (mut real_free, mut real_total) = (0, 0);
        let result = real!(cuMemGetInfo_v2(&raw mut real_free, &raw mut real_total));
        if result == CUDA_SUCCESS {
            let (shown_free, shown_total) = slice(wide(real_free), wide(real_total));
            for (at, bytes) in [(free, shown_free), (total, shown_total)] {
                if !at.is_null() {
                    // SAFETY: the caller's pointer.
                    unsafe { at.write(bytes.try_into().unwrap_or(usize::MAX)) };
                }
            }
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuMemGetInfo(free: *mut c_uint, total: *mut c_uint) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let (mut real_free, mut real_total) = (0, 0);
        let result = real!(cuMemGetInfo(&raw mut real_free, &raw mut real_total));
        if result == CUDA_SUCCESS {
            let (shown_free, shown_total) = slice(u64::from(real_free), u64::from(real_total));
            for (at, bytes) in [(free, shown_free), (total, shown_total)] {
                if !at.is_null() {
                    // SAFETY: the caller's pointer.
                    unsafe { at.write(c_uint::try_from(bytes).unwrap_or(c_uint::MAX)) };
                }
            }
        }
        result
    })
}
