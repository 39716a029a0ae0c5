//! Addresses of functions: a program that asks for one gets ours.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::real::{self, real};
use polder_driver::inside;
use polder_gpuapi::cuda::{Resolution, consts::*, resolve, types::*};
use std::ffi::{CStr, c_char, c_int, c_void};

/// Puts our function where the vendor's address stands. The vendor decides what its version has and
/// what the flags mean; which of its functions that is, is known by the address, or, where it has a
/// name for itself that is not exported, by the table.
fn replace(symbol: *const c_char, at: *mut *mut c_void, version: c_int, flags: u64) {
    if at.is_null() || symbol.is_null() {
        return;
    }
    // SAFETY: the vendor's function has just written there, and has read the symbol.
    let (address, name) = unsafe { (at.read(), CStr::from_ptr(symbol)) };
    if address.is_null() {
        return;
    }
    let known = real::at(address).or_else(|| {
        let version = u32::try_from(version).unwrap_or_default();
        match resolve(name.to_str().ok()?, version, flags) {
            Resolution::Found(function) => Some(function),
            Resolution::TooOld | Resolution::Unknown => None,
        }
    });
    if let Some(hook) = known.and_then(super::of) {
        // SAFETY: as above.
        unsafe { at.write(hook.cast_mut()) };
    }
}

pub(super) unsafe extern "C" fn cuGetProcAddress(
    symbol: *const c_char,
    pfn: *mut *mut c_void,
    driver_version: c_int,
    flags: u64,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = real!(cuGetProcAddress(symbol, pfn, driver_version, flags));
        if result == CUDA_SUCCESS {
            replace(symbol, pfn, driver_version, flags);
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuGetProcAddress_v2(
    symbol: *const c_char,
    pfn: *mut *mut c_void,
    driver_version: c_int,
    flags: u64,
    symbol_status: *mut u32,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = real!(cuGetProcAddress_v2(symbol, pfn, driver_version, flags, symbol_status));
        if result == CUDA_SUCCESS {
            replace(symbol, pfn, driver_version, flags);
        }
        result
    })
}
