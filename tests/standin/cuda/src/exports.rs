//! What is exported but has no code, and how functions are found by name.

use crate::api::{put, put_if};
use crate::script::hides;
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::*;
use polder_gpuapi::cuda::{Resolution, resolve};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// Where a function lies.
pub(crate) struct Address(*const ());

// SAFETY: a function's address, which is the same for every thread.
unsafe impl Sync for Address {}

/// The generated half.
#[allow(non_snake_case, reason = "the API's own names")]
mod generated {
    use super::Address;
    include!(concat!(env!("OUT_DIR"), "/exports.rs"));
}

fn find(symbol: *const c_char, version: c_int, flags: u64) -> Result<*const (), c_uint> {
    if symbol.is_null() {
        return Err(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    }
    // SAFETY: the caller's text.
    let symbol = unsafe { CStr::from_ptr(symbol) }.to_string_lossy();
    let version = u32::try_from(version).unwrap_or(0);
    if hides(&symbol) {
        return Err(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    }
    match resolve(&symbol, version, flags) {
        Resolution::Found(function) if !hides(function.name()) => {
            let all = generated::ADDRESSES.iter();
            let found = all.copied_of(function.name());
            found.ok_or(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND)
        }
        Resolution::TooOld => Err(CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT),
        Resolution::Found(_) | Resolution::Unknown => Err(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND),
    }
}

trait CopiedOf {
    fn copied_of(self, name: &str) -> Option<*const ()>;
}

impl<'a, I: Iterator<Item = &'a (&'static str, Address)>> CopiedOf for I {
    fn copied_of(mut self, name: &str) -> Option<*const ()> {
        self.find(|(it, _)| *it == name).map(|(_, address)| address.0)
    }
}

/// An error's name and what it means.
fn words(error: c_uint) -> Option<(&'static CStr, &'static CStr)> {
    Some(match error {
        CUDA_SUCCESS => (c"CUDA_SUCCESS", c"no error"),
        CUDA_ERROR_INVALID_VALUE => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
        CUDA_ERROR_OUT_OF_MEMORY => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        CUDA_ERROR_NOT_INITIALIZED => (c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
        CUDA_ERROR_NO_DEVICE => (c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
        CUDA_ERROR_INVALID_CONTEXT => (c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
        CUDA_ERROR_INVALID_HANDLE => (c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
        CUDA_ERROR_NOT_FOUND => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        CUDA_ERROR_NOT_READY => (c"CUDA_ERROR_NOT_READY", c"device not ready"),
        CUDA_ERROR_ILLEGAL_ADDRESS => {
            (c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered")
        }
        CUDA_ERROR_LAUNCH_FAILED => (c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
        CUDA_ERROR_NOT_SUPPORTED => (c"CUDA_ERROR_NOT_SUPPORTED", c"operation not supported"),
        CUDA_ERROR_UNKNOWN => (c"CUDA_ERROR_UNKNOWN", c"unknown error"),
        _ => return None,
    })
}

api! { |own|
    fn cuGetProcAddress(symbol: *const c_char, pfn: *mut *mut c_void, version: c_int, flags: u64) {
        match find(symbol, version, flags) {
            Ok(address) => put(pfn, address.cast_mut().cast()),
            Err(_) => {
                put_if(pfn, std::ptr::null_mut());
                Err(CUDA_ERROR_NOT_FOUND)
            }
        }
    }

    fn cuGetProcAddress_v2(symbol: *const c_char, pfn: *mut *mut c_void, version: c_int, flags: u64, status: *mut c_uint) {
        let found = find(symbol, version, flags);
        put_if(status, found.err().unwrap_or(CU_GET_PROC_ADDRESS_SUCCESS));
        match found {
            Ok(address) => put(pfn, address.cast_mut().cast()),
            Err(_) => {
                put_if(pfn, std::ptr::null_mut());
                Err(CUDA_ERROR_NOT_FOUND)
            }
        }
    }

    fn cuGetErrorName(error: c_uint, text: *mut *const c_char) {
        let (name, _) = words(error).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        put(text, name.as_ptr())
    }

    fn cuGetErrorString(error: c_uint, text: *mut *const c_char) {
        let (_, meaning) = words(error).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        put(text, meaning.as_ptr())
    }
}
