//! Host memory that is pinned for a device's copies: counted apart from the device's, and given back with the
//! call that frees it or with its context. No limit holds it; how much it is, the lease's sample tells.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::memory::{free, wide};
use crate::memory::Name;
use crate::real::real;
use crate::{own, view};
use polder_driver::memory::Charge;
use polder_driver::{inside, state};
use polder_gpuapi::cuda::{consts::*, types::*};
use std::ffi::{c_uint, c_void};

/// Pins with `call`, and counts `bytes` at the address that `at` tells once it has succeeded.
fn pin(
    bytes: u64,
    call: impl FnOnce() -> CUresult,
    at: impl FnOnce() -> Option<*mut c_void>,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        if inside::is_accounted() {
            return call();
        }
        let result = inside::accounted(call);
        if let (CUDA_SUCCESS, Some(at)) = (result, at())
            && let Some(charge) = Charge::pinned(state::get(), bytes)
        {
            own::get().memory.keep(Name::Host(at.addr()), charge, view::context());
        }
        result
    })
}

/// What the driver has put at `at`.
fn made(at: *mut *mut c_void) -> Option<*mut c_void> {
    // SAFETY: null, or the driver has just written there.
    (!at.is_null()).then(|| unsafe { at.read() })
}

pub(super) unsafe extern "C" fn cuMemAllocHost(at: *mut *mut c_void, bytes: c_uint) -> CUresult {
    pin(bytes.into(), || real!(cuMemAllocHost(at, bytes)), || made(at))
}

pub(super) unsafe extern "C" fn cuMemAllocHost_v2(at: *mut *mut c_void, bytes: usize) -> CUresult {
    pin(wide(bytes), || real!(cuMemAllocHost_v2(at, bytes)), || made(at))
}

pub(super) unsafe extern "C" fn cuMemHostAlloc(
    at: *mut *mut c_void,
    bytes: usize,
    flags: c_uint,
) -> CUresult {
    pin(wide(bytes), || real!(cuMemHostAlloc(at, bytes, flags)), || made(at))
}

pub(super) unsafe extern "C" fn cuMemHostRegister(
    address: *mut c_void,
    bytes: usize,
    flags: c_uint,
) -> CUresult {
    pin(wide(bytes), || real!(cuMemHostRegister(address, bytes, flags)), || Some(address))
}

pub(super) unsafe extern "C" fn cuMemHostRegister_v2(
    address: *mut c_void,
    bytes: usize,
    flags: c_uint,
) -> CUresult {
    pin(wide(bytes), || real!(cuMemHostRegister_v2(address, bytes, flags)), || Some(address))
}

pub(super) unsafe extern "C" fn cuMemFreeHost(address: *mut c_void) -> CUresult {
    free(Name::Host(address.addr()), || real!(cuMemFreeHost(address)))
}

pub(super) unsafe extern "C" fn cuMemHostUnregister(address: *mut c_void) -> CUresult {
    free(Name::Host(address.addr()), || real!(cuMemHostUnregister(address)))
}
