//! Physical memory without an address, and where it is mapped.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::memory::wide;
use crate::real::real;
use crate::{own, view};
use polder_driver::inside;
use polder_driver::memory::Charge;
use polder_driver::state;
use polder_gpuapi::cuda::{consts::*, types::*};
use std::ffi::c_void;

pub(super) unsafe extern "C" fn cuMemCreate(
    at: *mut CUmemGenericAllocationHandle,
    bytes: usize,
    wishes: *const CUmemAllocationProp,
    flags: u64,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let call = || real!(cuMemCreate(at, bytes, wishes, flags));
        // SAFETY: null, or the program's wishes, which the driver reads too.
        let place = unsafe { wishes.as_ref() }.map(|wishes| wishes.location);
        let Some(place) = place.filter(|_| bytes > 0 && !inside::is_accounted()) else {
            return call();
        };
        let charge = if place.kind == CU_MEM_LOCATION_TYPE_DEVICE {
            let device = view::lease_device(place.id);
            let Some(device) = device else { return CUDA_ERROR_INVALID_DEVICE };
            let charge = Charge::reserve(state::get(), &[device], wide(bytes));
            let Some(charge) = charge else { return CUDA_ERROR_OUT_OF_MEMORY };
            Some(charge)
        } else {
            // Everywhere else is host memory, which never leaves its place.
            Charge::pinned(state::get(), wide(bytes))
        };
        let result = inside::accounted(call);
        if let Some(charge) = charge.filter(|_| result == CUDA_SUCCESS && !at.is_null()) {
            // SAFETY: the driver has just written there.
            own::get().memory.keep_physical(unsafe { at.read() }, charge);
        }
        result
    })
}

/// Calls the driver, and tells the memory when it has succeeded.
fn then(call: impl FnOnce() -> CUresult, tell: impl FnOnce(&crate::memory::Memory)) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = inside::accounted(call);
        if result == CUDA_SUCCESS && !inside::is_accounted() {
            tell(&own::get().memory);
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuMemRelease(handle: CUmemGenericAllocationHandle) -> CUresult {
    then(|| real!(cuMemRelease(handle)), |memory| memory.released(handle))
}

pub(super) unsafe extern "C" fn cuMemRetainAllocationHandle(
    at: *mut CUmemGenericAllocationHandle,
    address: *mut c_void,
) -> CUresult {
    let call = || real!(cuMemRetainAllocationHandle(at, address));
    // SAFETY: read only when the driver has written there.
    then(call, |memory| memory.retained(unsafe { at.read() }))
}

pub(super) unsafe extern "C" fn cuMemMap(
    address: CUdeviceptr,
    bytes: usize,
    offset: usize,
    handle: CUmemGenericAllocationHandle,
    flags: u64,
) -> CUresult {
    let call = || real!(cuMemMap(address, bytes, offset, handle, flags));
    then(call, |memory| memory.mapped(address, wide(bytes), handle))
}

pub(super) unsafe extern "C" fn cuMemUnmap(address: CUdeviceptr, bytes: usize) -> CUresult {
    then(|| real!(cuMemUnmap(address, bytes)), |memory| memory.unmapped(address, wide(bytes)))
}
