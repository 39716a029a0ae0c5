//! The hooks of a profiled program: each writes down what passes and calls the plain one. Launches
//! and copies have theirs in [`super::work`], made from the table like the plain ones.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::{contexts, streams, work};
use crate::real::real;
use crate::spans;
use polder_driver::inside;
use polder_gpuapi::cuda::{Function, consts::*, pfn, types::*};
use std::ffi::{CStr, c_char, c_void};

macro_rules! profiled {
    ($($name:ident)*) => {
        /// Our function for a profiled process, if there is another than the plain one.
        pub(super) fn of(function: Function) -> Option<*const c_void> {
            match function {
                $(Function::$name => {
                    let hook: pfn::$name = $name;
                    Some(hook as *const c_void)
                })*
                other => work::profiled_of(other),
            }
        }
    };
}
profiled! {
    cuCtxSynchronize cuCtxSynchronize_v2 cuStreamSynchronize cuStreamSynchronize_ptsz
    cuEventSynchronize
    cuCtxDestroy cuCtxDestroy_v2 cuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease_v2
    cuDevicePrimaryCtxReset cuDevicePrimaryCtxReset_v2
    cuModuleGetFunction cuLibraryGetKernel cuKernelGetFunction
}

/// Waits that are written down.
macro_rules! waits {
    ($($name:ident($($arg:ident: $ty:ty),*) $plain:path;)*) => {$(
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            inside::guard(CUDA_ERROR_UNKNOWN, || {
                // SAFETY: the caller's arguments, passed on.
                spans::wait(stringify!($name), || unsafe { $plain($($arg),*) })
            })
        }
    )*};
}
waits! {
    cuCtxSynchronize() streams::cuCtxSynchronize;
    cuCtxSynchronize_v2(context: CUcontext) streams::cuCtxSynchronize_v2;
    cuStreamSynchronize(stream: CUstream) streams::cuStreamSynchronize;
    cuStreamSynchronize_ptsz(stream: CUstream) streams::cuStreamSynchronize_ptsz;
    cuEventSynchronize(event: CUevent) streams::cuEventSynchronize;
}

/// A context may go: its events must not be asked any more.
macro_rules! ends {
    ($($name:ident($($arg:ident: $ty:ty),*) $plain:path;)*) => {$(
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            inside::guard(CUDA_ERROR_UNKNOWN, || {
                spans::forget();
                // SAFETY: the caller's arguments, passed on.
                unsafe { $plain($($arg),*) }
            })
        }
    )*};
}
ends! {
    cuCtxDestroy(context: CUcontext) contexts::cuCtxDestroy;
    cuCtxDestroy_v2(context: CUcontext) contexts::cuCtxDestroy_v2;
    cuDevicePrimaryCtxRelease(device: CUdevice) contexts::cuDevicePrimaryCtxRelease;
    cuDevicePrimaryCtxRelease_v2(device: CUdevice) contexts::cuDevicePrimaryCtxRelease_v2;
    cuDevicePrimaryCtxReset(device: CUdevice) contexts::cuDevicePrimaryCtxReset;
    cuDevicePrimaryCtxReset_v2(device: CUdevice) contexts::cuDevicePrimaryCtxReset_v2;
}

/// Remembers what the kernel is called that the driver has put at `at`.
///
/// # Safety
/// After success, `at` is valid and `name` a C string.
unsafe fn remember<T>(result: CUresult, at: *mut *mut T, name: *const c_char) {
    if result == CUDA_SUCCESS && !at.is_null() && !name.is_null() {
        // SAFETY: the caller's promise.
        unsafe { spans::kernel(at.read().addr(), CStr::from_ptr(name)) };
    }
}

unsafe extern "C" fn cuModuleGetFunction(
    function: *mut CUfunction,
    module: CUmodule,
    name: *const c_char,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = inside::accounted(|| real!(cuModuleGetFunction(function, module, name)));
        // SAFETY: the caller's arguments, which the driver has taken.
        unsafe { remember(result, function, name) };
        result
    })
}

unsafe extern "C" fn cuLibraryGetKernel(
    kernel: *mut CUkernel,
    library: CUlibrary,
    name: *const c_char,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = inside::accounted(|| real!(cuLibraryGetKernel(kernel, library, name)));
        // SAFETY: the caller's arguments, which the driver has taken.
        unsafe { remember(result, kernel, name) };
        result
    })
}

unsafe extern "C" fn cuKernelGetFunction(function: *mut CUfunction, kernel: CUkernel) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = inside::accounted(|| real!(cuKernelGetFunction(function, kernel)));
        if result == CUDA_SUCCESS && !function.is_null() {
            // SAFETY: the driver has put it there.
            spans::same_kernel(unsafe { function.read() }.addr(), kernel.addr());
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_launch_and_copy_is_written_down() {
        for function in Function::all() {
            let plain = work::of(function).is_some();
            assert_eq!(plain, work::profiled_of(function).is_some(), "{}", function.name());
        }
    }
}
