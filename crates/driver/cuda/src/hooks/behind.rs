//! Memory that the lease has no room for on its device and that lives in the host memory behind it.
//!
//! It is managed memory whose place is said to be the host and which the device reaches over its bus:
//! the vendor's driver then maps it there and moves none of it. So an address is good for everything
//! that one on the device is good for but to be shared with another process, and what is charged to
//! the host is in the host. A program that asks for it to be moved is heard and not obeyed: where
//! memory lies is advice in this API, and no call's result depends on it.
//!
//! **Invariant.** A block is here in whole or not at all; it is charged to the host memory behind the
//! device before the driver makes it, and until the driver has freed it.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::memory::{Made, made};
use super::work;
use crate::memory::Name;
use crate::own;
use crate::real::real;
use polder_driver::{inside, log};
use polder_gpuapi::cuda::{Function, consts::*, pfn, types::*};
use std::ffi::{c_int, c_uint};
use std::sync::Once;
use thiserror::Error;

/// What the pitch of a block in host memory is rounded to: what every device takes.
pub(super) const PITCH_BYTES: usize = 512;
/// Most addresses of one call that are looked at; a longer list is passed on.
const LIST_MAX: usize = 4096;

/// Why no memory is made behind a device.
#[derive(Debug, Error)]
#[error(
    "the memory of this device cannot have host memory behind it: its driver moves managed memory as \
     a whole (it has no concurrent managed access)"
)]
struct Unfit;

/// Whether managed memory of the current device can stay where it is while kernels use it.
fn is_fit(device: CUdevice) -> bool {
    let mut concurrent: c_int = 0;
    let asked = CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS;
    let known = real!(cuDeviceGetAttribute(&raw mut concurrent, asked, device));
    let fit = known == CUDA_SUCCESS && concurrent == 1;
    static SAID: Once = Once::new();
    if !fit {
        SAID.call_once(|| log::say(&Unfit));
    }
    fit
}

/// Makes `bytes` in host memory, for the current device to use there. `flags` are those of managed
/// memory.
pub(super) fn make(at: *mut CUdeviceptr, bytes: usize, flags: c_uint) -> Made {
    let mut device: CUdevice = 0;
    let known = real!(cuCtxGetDevice(&raw mut device));
    if known != CUDA_SUCCESS {
        return Err(known);
    }
    if !is_fit(device) {
        return Err(CUDA_ERROR_OUT_OF_MEMORY);
    }
    let (name, size) = made(real!(cuMemAllocManaged(at, bytes, flags)), at, Name::Pointer)?;
    let Name::Pointer(address) = name else { return Err(CUDA_ERROR_UNKNOWN) };
    let advised = [
        (CU_MEM_ADVISE_SET_PREFERRED_LOCATION, CU_DEVICE_CPU),
        (CU_MEM_ADVISE_SET_ACCESSED_BY, device),
    ];
    let stays = advised
        .into_iter()
        .all(|(advice, of)| real!(cuMemAdvise(address, bytes, advice, of)) == CUDA_SUCCESS);
    if !stays {
        // A driver that does not hear it may move the block onto the device, which has no room.
        real!(cuMemFree_v2(address));
        return Err(CUDA_ERROR_OUT_OF_MEMORY);
    }
    Ok((name, size))
}

/// The same as memory of rows: where to put their pitch, and the bytes.
pub(super) fn make_pitched(
    at: *mut CUdeviceptr,
    pitch: *mut usize,
    width: usize,
    height: usize,
) -> Made {
    let row = width.checked_next_multiple_of(PITCH_BYTES).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let bytes = row.checked_mul(height).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    if pitch.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let (name, _) = make(at, bytes, CU_MEM_ATTACH_GLOBAL)?;
    // SAFETY: not null; the caller says that a number may be written there.
    unsafe { pitch.write(row) };
    Ok((name, Some(super::memory::wide(bytes))))
}

/// Whether any of `count` addresses is of such a block.
///
/// # Safety
/// `list` is null or has `count` members.
unsafe fn any_behind(list: *const CUdeviceptr, count: usize) -> bool {
    if list.is_null() || count > LIST_MAX {
        return false;
    }
    // SAFETY: the caller's promise.
    let list = unsafe { std::slice::from_raw_parts(list, count) };
    list.iter().any(|address| own::get().memory.is_behind(*address))
}

/// Leaves what is asked undone for memory behind a device, and passes on the rest.
fn unless(behind: bool, call: impl FnOnce() -> CUresult) -> CUresult {
    if behind { CUDA_SUCCESS } else { call() }
}

macro_rules! advice {
    ($($name:ident($place:ident: $ty:ty);)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            address: CUdeviceptr,
            bytes: usize,
            advice: c_uint,
            $place: $ty,
        ) -> CUresult {
            inside::guard(CUDA_ERROR_UNKNOWN, || {
                let behind = own::get().memory.is_behind(address);
                unless(behind, || real!($name(address, bytes, advice, $place)))
            })
        }
    )*};
}
advice! {
    cuMemAdvise(device: CUdevice);
    cuMemAdvise_v2(location: CUmemLocation);
}

/// What passes work through the gate, for a function of the table.
macro_rules! gated {
    ($name:ident($($arg:expr),*)) => {{
        match work::of(Function::$name) {
            None => CUDA_ERROR_NOT_SUPPORTED,
            Some(hook) => {
                // SAFETY: the hook has the function's type, and the arguments are the program's.
                unsafe {
                    let call: pfn::$name = std::mem::transmute(hook);
                    call($($arg),*)
                }
            }
        }
    }};
}

macro_rules! moves {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            address: CUdeviceptr,
            bytes: usize,
            $($arg: $ty,)*
            stream: CUstream,
        ) -> CUresult {
            inside::guard(CUDA_ERROR_UNKNOWN, || {
                let behind = own::get().memory.is_behind(address);
                unless(behind, || gated!($name(address, bytes, $($arg,)* stream)))
            })
        }
    )*};
}
moves! {
    cuMemPrefetchAsync(device: CUdevice);
    cuMemPrefetchAsync_ptsz(device: CUdevice);
    cuMemPrefetchAsync_v2(location: CUmemLocation, flags: c_uint);
    cuMemPrefetchAsync_v2_ptsz(location: CUmemLocation, flags: c_uint);
}

macro_rules! move_lists {
    ($($name:ident;)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            addresses: *mut CUdeviceptr,
            sizes: *mut usize,
            count: usize,
            locations: *mut CUmemLocation,
            indices: *mut usize,
            location_count: usize,
            flags: u64,
            stream: CUstream,
        ) -> CUresult {
            inside::guard(CUDA_ERROR_UNKNOWN, || {
                // SAFETY: the program says that so many addresses stand there.
                let behind = unsafe { any_behind(addresses, count) };
                unless(behind, || {
                    gated!($name(
                        addresses, sizes, count, locations, indices, location_count, flags, stream
                    ))
                })
            })
        }
    )*};
}
move_lists! {
    cuMemPrefetchBatchAsync;
    cuMemPrefetchBatchAsync_ptsz;
    cuMemDiscardAndPrefetchBatchAsync;
    cuMemDiscardAndPrefetchBatchAsync_ptsz;
}
