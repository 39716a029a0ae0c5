//! Modules, libraries, kernels. An image is never looked into: every name is found, and says how long
//! the kernel takes: `anything_250us` takes 250 us, and one without a length 10 us.

use crate::api::put;
use crate::state::{client, model};
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::*;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// How long a kernel takes whose name does not say.
const LENGTH_NS: u64 = 10_000;
/// Handles of modules and libraries: nothing is behind them.
const MODULE: usize = 0x3000;

/// What a name says of a kernel's length.
fn length_ns(name: &str) -> u64 {
    let word = name.rsplit('_').next().unwrap_or_default();
    let end = word.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(word.len());
    let unit = match &word[end..] {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        _ => return LENGTH_NS,
    };
    word[..end].parse().map_or(LENGTH_NS, |count: u64| count.saturating_mul(unit))
}

/// A kernel's handle: its length in nanoseconds, above what could be a null page.
fn function(name: *const c_char) -> Result<usize, CUresult> {
    if name.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: the caller's text.
    let name = unsafe { CStr::from_ptr(name) };
    let ns = length_ns(&name.to_string_lossy()).min(1 << 60);
    Ok(HANDLE | usize::try_from(ns).unwrap_or(0))
}

const HANDLE: usize = 1 << 62;

/// How long the kernel of this handle takes, nanoseconds.
pub(crate) fn length_of(function: CUfunction) -> Result<u64, CUresult> {
    let value = function.addr();
    if value & HANDLE == 0 { Err(CUDA_ERROR_INVALID_HANDLE) } else { Ok((value & !HANDLE) as u64) }
}

fn loaded<T>(out: *mut *mut T, image: *const c_void) -> Result<(), CUresult> {
    crate::contexts::current()?;
    if image.is_null() {
        return Err(CUDA_ERROR_INVALID_IMAGE);
    }
    put(out, std::ptr::without_provenance_mut(MODULE))
}

fn attribute(attrib: c_uint) -> c_int {
    match attrib {
        0 => 1024,
        4 => 32,
        5 | 6 => 90,
        _ => 0,
    }
}

api! { |own|
    fn cuModuleLoad(module: *mut CUmodule, fname: *const c_char) {
        loaded(module, fname.cast())
    }

    fn cuModuleLoadData(module: *mut CUmodule, image: *const c_void) {
        loaded(module, image)
    }

    fn cuModuleLoadDataEx(module: *mut CUmodule, image: *const c_void, _count: c_uint, _options: *mut c_uint, _values: *mut *mut c_void) {
        loaded(module, image)
    }

    fn cuModuleUnload(_module: CUmodule) {
        Ok(())
    }

    fn cuModuleGetFunction(out: *mut CUfunction, _module: CUmodule, name: *const c_char) {
        put(out, std::ptr::without_provenance_mut(function(name)?))
    }

    fn cuModuleGetLoadingMode(mode: *mut c_uint) {
        put(mode, 2)
    }

    fn cuLibraryLoadData(library: *mut CUlibrary, code: *const c_void, _jit: *mut c_uint, _jit_values: *mut *mut c_void, _jit_count: c_uint, _options: *mut c_uint, _values: *mut *mut c_void, _count: c_uint) {
        loaded(library, code)
    }

    fn cuLibraryUnload(_library: CUlibrary) {
        Ok(())
    }

    fn cuLibraryGetKernel(out: *mut CUkernel, _library: CUlibrary, name: *const c_char) {
        put(out, std::ptr::without_provenance_mut(function(name)?))
    }

    fn cuKernelGetFunction(out: *mut CUfunction, kernel: CUkernel) {
        put(out, kernel.cast())
    }

    fn cuFuncGetAttribute(pi: *mut c_int, attrib: c_uint, _function: CUfunction) {
        put(pi, attribute(attrib))
    }

    fn cuFuncSetAttribute(_function: CUfunction, _attrib: c_uint, _value: c_int) {
        Ok(())
    }

    fn cuKernelGetAttribute(pi: *mut c_int, attrib: c_uint, _kernel: CUkernel, _dev: CUdevice) {
        put(pi, attribute(attrib))
    }

    fn cuKernelSetAttribute(_attrib: c_uint, _value: c_int, _kernel: CUkernel, _dev: CUdevice) {
        Ok(())
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: *mut c_int, _function: CUfunction, block_size: c_int, _memory: usize) {
        put(blocks, resident(block_size)?)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks: *mut c_int, _function: CUfunction, block_size: c_int, _memory: usize, _flags: c_uint) {
        put(blocks, resident(block_size)?)
    }
}

fn resident(block_size: c_int) -> Result<c_int, CUresult> {
    let threads = u32::try_from(block_size).map_err(|_| CUDA_ERROR_INVALID_VALUE)?;
    let model = model(client()?);
    let blocks = model.resident(threads) / u64::from(model.sms);
    c_int::try_from(blocks).map_err(|_| CUDA_ERROR_INVALID_VALUE)
}
