//! Everything that takes device memory, and gives it back.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::behind;
use crate::flight::Lane;
use crate::memory::Name;
use crate::real::real;
use crate::{own, view};
use polder_driver::inside;
use polder_driver::memory::{Charge, Home};
use polder_driver::state;
use polder_gpuapi::cuda::{consts::*, types::*};
use std::ffi::{c_uint, c_void};

pub(super) fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What was allocated: its name, and its size where only the driver knows it.
pub(super) type Made = Result<(Name, Option<u64>), CUresult>;

/// Reserves `bytes` on the current device, allocates with `make`, and remembers what was made.
/// What the driver made larger than there is room for is undone with `undo`.
fn allocate(
    bytes: u64,
    make: impl FnOnce() -> Made,
    undo: impl FnOnce(Name) -> CUresult,
) -> CUresult {
    allocate_or_behind(bytes, make, undo, None::<fn() -> Made>)
}

/// The same; what has no room on the device is made with `behind`, in the host memory behind it,
/// where the lease has any.
fn allocate_or_behind(
    bytes: u64,
    make: impl FnOnce() -> Made,
    undo: impl FnOnce(Name) -> CUresult,
    behind: Option<impl FnOnce() -> Made>,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let answer = |made: Made| made.map_or_else(|error| error, |_| CUDA_SUCCESS);
        // Sizes of nothing and calls without a context are errors, and the driver's to name.
        let device = view::current().filter(|_| bytes > 0 && !inside::is_accounted());
        let Some(device) = device else { return answer(make()) };
        let reserved = match &behind {
            None => Charge::reserve(state::get(), &[device], bytes).map(|it| (it, Home::Device)),
            Some(_) => Charge::reserve_or_behind(state::get(), &[device], bytes),
        };
        let Some((mut charge, home)) = reserved else { return CUDA_ERROR_OUT_OF_MEMORY };
        let made = match (home, behind) {
            (Home::Host, Some(behind)) => inside::accounted(behind),
            _ => inside::accounted(make),
        };
        match made {
            Ok((name, real)) => {
                if real.is_some_and(|real| !charge.settle(real)) {
                    inside::accounted(|| undo(name));
                    return CUDA_ERROR_OUT_OF_MEMORY;
                }
                let (memory, context) = (&own::get().memory, view::context());
                match home {
                    Home::Device => memory.keep(name, charge, context),
                    Home::Host => memory.keep_behind(name, charge, context, real.unwrap_or(bytes)),
                }
                CUDA_SUCCESS
            }
            Err(error) => error,
        }
    })
}

/// What `result` means for what the driver has put at `at`.
pub(super) fn made<T: Copy>(result: CUresult, at: *mut T, name: impl FnOnce(T) -> Name) -> Made {
    match result {
        // SAFETY: the driver has just written there.
        CUDA_SUCCESS if !at.is_null() => Ok((name(unsafe { at.read() }), None)),
        CUDA_SUCCESS => Err(CUDA_ERROR_INVALID_VALUE),
        error => Err(error),
    }
}

fn nothing(_: Name) -> CUresult {
    CUDA_SUCCESS
}

pub(super) unsafe extern "C" fn cuMemAlloc_v2(at: *mut CUdeviceptr, bytes: usize) -> CUresult {
    let make = || made(real!(cuMemAlloc_v2(at, bytes)), at, Name::Pointer);
    let behind = || behind::make(at, bytes, CU_MEM_ATTACH_GLOBAL);
    allocate_or_behind(wide(bytes), make, nothing, Some(behind))
}

pub(super) unsafe extern "C" fn cuMemAlloc(at: *mut CUdeviceptr_v1, bytes: c_uint) -> CUresult {
    let name = |address| Name::Pointer(u64::from(address));
    allocate(u64::from(bytes), || made(real!(cuMemAlloc(at, bytes)), at, name), nothing)
}

pub(super) unsafe extern "C" fn cuMemAllocManaged(
    at: *mut CUdeviceptr,
    bytes: usize,
    flags: c_uint,
) -> CUresult {
    // It may move to the device whole.
    let make = || made(real!(cuMemAllocManaged(at, bytes, flags)), at, Name::Pointer);
    let behind = || behind::make(at, bytes, flags);
    allocate_or_behind(wide(bytes), make, nothing, Some(behind))
}

pub(super) unsafe extern "C" fn cuMemAllocPitch_v2(
    at: *mut CUdeviceptr,
    pitch: *mut usize,
    width: usize,
    height: usize,
    element: c_uint,
) -> CUresult {
    let make = || {
        let result = real!(cuMemAllocPitch_v2(at, pitch, width, height, element));
        let (name, _) = made(result, at, Name::Pointer)?;
        // SAFETY: the driver has just written there.
        let row = if pitch.is_null() { width } else { unsafe { pitch.read() } };
        Ok((name, Some(wide(row).saturating_mul(wide(height)))))
    };
    let undo = |name| match name {
        Name::Pointer(address) => real!(cuMemFree_v2(address)),
        _ => CUDA_SUCCESS,
    };
    let behind = || behind::make_pitched(at, pitch, width, height);
    let bytes = wide(width).saturating_mul(wide(height));
    allocate_or_behind(bytes, make, undo, Some(behind))
}

pub(super) unsafe extern "C" fn cuMemAllocPitch(
    at: *mut CUdeviceptr_v1,
    pitch: *mut c_uint,
    width: c_uint,
    height: c_uint,
    element: c_uint,
) -> CUresult {
    let make = || {
        let result = real!(cuMemAllocPitch(at, pitch, width, height, element));
        let (name, _) = made(result, at, |address| Name::Pointer(u64::from(address)))?;
        // SAFETY: the driver has just written there.
        let row = if pitch.is_null() { width } else { unsafe { pitch.read() } };
        Ok((name, Some(u64::from(row) * u64::from(height))))
    };
    let undo = |name| match name {
        Name::Pointer(address) => real!(cuMemFree_v2(address)),
        _ => CUDA_SUCCESS,
    };
    allocate(u64::from(width) * u64::from(height), make, undo)
}

/// Gives a block back.
pub(super) fn free(name: Name, call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        if inside::is_accounted() {
            return call();
        }
        let memory = &own::get().memory;
        let taken = memory.take(name);
        let result = inside::accounted(call);
        match (taken, result) {
            (Some(taken), CUDA_SUCCESS) => {
                if let Some(pool) = memory.freed(taken) {
                    settle_pool(pool);
                }
            }
            (Some(taken), _) => memory.put_back(name, taken),
            (None, _) => {}
        }
        result
    })
}

/// Charges a pool for what the driver says it has reserved.
pub(super) fn settle_pool(pool: usize) {
    let mut reserved = 0_u64;
    let at: *mut c_void = (&raw mut reserved).cast();
    let handle: CUmemoryPool = std::ptr::with_exposed_provenance_mut(pool);
    let known = inside::accounted(|| {
        real!(cuMemPoolGetAttribute(handle, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, at))
    });
    // A driver that does not say keeps nothing that we know of.
    own::get().memory.settle_pool(pool, if known == CUDA_SUCCESS { reserved } else { 0 });
}

pub(super) unsafe extern "C" fn cuMemFree_v2(address: CUdeviceptr) -> CUresult {
    free(Name::Pointer(address), || real!(cuMemFree_v2(address)))
}

pub(super) unsafe extern "C" fn cuMemFree(address: CUdeviceptr_v1) -> CUresult {
    free(Name::Pointer(u64::from(address)), || real!(cuMemFree(address)))
}

/// Frees in a stream. In one that is captured nothing is freed now: that is a node of a graph.
fn free_in(
    address: CUdeviceptr,
    (stream, per_thread): (CUstream, bool),
    call: impl FnOnce() -> CUresult,
) -> CUresult {
    let lane = Lane::of(stream.expose_provenance(), per_thread);
    if own::get().flights.is_captured(lane) {
        return inside::accounted(call);
    }
    if own::get().memory.is_behind(address) {
        // It is of no pool, and nothing can be put into a stream that would free it there.
        return free(Name::Pointer(address), || {
            let waited = if per_thread {
                real!(cuStreamSynchronize_ptsz(stream))
            } else {
                real!(cuStreamSynchronize(stream))
            };
            if waited == CUDA_SUCCESS { real!(cuMemFree_v2(address)) } else { waited }
        });
    }
    free(Name::Pointer(address), call)
}

pub(super) unsafe extern "C" fn cuMemFreeAsync(address: CUdeviceptr, stream: CUstream) -> CUresult {
    free_in(address, (stream, false), || real!(cuMemFreeAsync(address, stream)))
}

pub(super) unsafe extern "C" fn cuMemFreeAsync_ptsz(
    address: CUdeviceptr,
    stream: CUstream,
) -> CUresult {
    free_in(address, (stream, true), || real!(cuMemFreeAsync_ptsz(address, stream)))
}

/// Allocates from a pool: the device's own when none is named.
fn allocate_pooled(
    at: *mut CUdeviceptr,
    bytes: usize,
    pool: Option<CUmemoryPool>,
    (stream, per_thread): (CUstream, bool),
    call: impl FnOnce() -> CUresult,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let own = own::get();
        let device = view::current().filter(|_| bytes > 0 && !inside::is_accounted());
        let Some(device) = device else { return call() };
        let lane = Lane::of(stream.expose_provenance(), per_thread);
        if own.flights.is_captured(lane) {
            // A node of a graph, which is charged when the graph becomes executable.
            return inside::accounted(call);
        }
        let pool = pool.unwrap_or_else(current_pool).expose_provenance();
        let bytes = wide(bytes);
        if !own.memory.reserve_pooled(state::get(), device, pool, bytes) {
            return allocate_behind(at, device, bytes);
        }
        match made(inside::accounted(call), at, Name::Pointer) {
            Ok((name, _)) => {
                own.memory.keep_pooled(name, pool, bytes);
                settle_pool(pool);
                CUDA_SUCCESS
            }
            Err(error) => {
                own.memory.cancel_pooled(pool, bytes);
                settle_pool(pool);
                error
            }
        }
    })
}

/// Allocates behind the device what its pool has no room for. It is there at once, which is before
/// any work in the stream that was to have it.
fn allocate_behind(at: *mut CUdeviceptr, device: usize, bytes: u64) -> CUresult {
    let state = state::get();
    let Ok(size) = usize::try_from(bytes) else { return CUDA_ERROR_OUT_OF_MEMORY };
    let Some(charge) = Charge::reserve_behind(state, &[device], bytes) else {
        return CUDA_ERROR_OUT_OF_MEMORY;
    };
    match inside::accounted(|| behind::make(at, size, CU_MEM_ATTACH_GLOBAL)) {
        Ok((name, _)) => {
            Charge::was_met(state);
            own::get().memory.keep_behind(name, charge, view::context(), bytes);
            CUDA_SUCCESS
        }
        Err(error) => error,
    }
}

/// The pool that the current device allocates from.
fn current_pool() -> CUmemoryPool {
    let (mut device, mut pool): (CUdevice, CUmemoryPool) = (0, std::ptr::null_mut());
    if real!(cuCtxGetDevice(&raw mut device)) == CUDA_SUCCESS {
        real!(cuDeviceGetMemPool(&raw mut pool, device));
    }
    pool
}

macro_rules! pooled {
    ($($name:ident($($pool:ident)?) $per_thread:literal;)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            at: *mut CUdeviceptr,
            bytes: usize,
            $($pool: CUmemoryPool,)?
            stream: CUstream,
        ) -> CUresult {
            let pool: Option<CUmemoryPool> = None $(.or(Some($pool)))?;
            let call = || real!($name(at, bytes, $($pool,)? stream));
            allocate_pooled(at, bytes, pool, (stream, $per_thread), call)
        }
    )*};
}
pooled! {
    cuMemAllocAsync() false;
    cuMemAllocAsync_ptsz() true;
    cuMemAllocFromPoolAsync(pool) false;
    cuMemAllocFromPoolAsync_ptsz(pool) true;
}

pub(super) unsafe extern "C" fn cuMemPoolTrimTo(pool: CUmemoryPool, keep: usize) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = real!(cuMemPoolTrimTo(pool, keep));
        settle_pool(pool.expose_provenance());
        result
    })
}

pub(super) unsafe extern "C" fn cuMemPoolDestroy(pool: CUmemoryPool) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = real!(cuMemPoolDestroy(pool));
        if result == CUDA_SUCCESS {
            own::get().memory.forget_pool(pool.addr());
        }
        result
    })
}

/// Bytes of an array's elements, at least; formats that are not known count as the largest.
fn array_bytes(extents: [u64; 3], format: c_uint, channels: c_uint, flags: c_uint) -> u64 {
    if flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING) != 0 {
        return 0;
    }
    let element: u64 = match format {
        CU_AD_FORMAT_UNSIGNED_INT8 | CU_AD_FORMAT_SIGNED_INT8 => 1,
        CU_AD_FORMAT_UNSIGNED_INT16 | CU_AD_FORMAT_SIGNED_INT16 | CU_AD_FORMAT_HALF => 2,
        _ => 4,
    };
    let texels = extents.into_iter().map(|extent| extent.max(1)).fold(1, u64::saturating_mul);
    texels.saturating_mul(element * u64::from(channels.max(1)))
}

/// Bytes of a pyramid of `levels`.
fn mipmap_bytes(
    extents: [u64; 3],
    levels: c_uint,
    format: c_uint,
    channels: c_uint,
    flags: c_uint,
) -> u64 {
    let mut bytes = 0_u64;
    let mut extents = extents;
    for _ in 0..levels.clamp(1, 32) {
        bytes = bytes.saturating_add(array_bytes(extents, format, channels, flags));
        // Layers do not shrink.
        let kept = if flags & CUDA_ARRAY3D_LAYERED != 0 { extents[2] } else { extents[2] / 2 };
        extents = [extents[0] / 2, extents[1] / 2, kept];
    }
    bytes
}

/// Reads what the program describes; the driver refuses null itself.
fn described<T: Copy>(description: *const T, bytes: impl FnOnce(T) -> u64) -> u64 {
    // SAFETY: null, or the program's description, which the driver reads too.
    unsafe { description.as_ref() }.map_or(0, |description| bytes(*description))
}

fn array_name(array: CUarray) -> Name {
    Name::Array(array.addr())
}

pub(super) unsafe extern "C" fn cuArrayCreate_v2(
    at: *mut CUarray,
    description: *const CUDA_ARRAY_DESCRIPTOR,
) -> CUresult {
    let bytes = described(description, |d| {
        array_bytes([wide(d.Width), wide(d.Height), 1], d.Format, d.NumChannels, 0)
    });
    allocate(bytes, || made(real!(cuArrayCreate_v2(at, description)), at, array_name), nothing)
}

pub(super) unsafe extern "C" fn cuArrayCreate(
    at: *mut CUarray,
    description: *const CUDA_ARRAY_DESCRIPTOR_v1,
) -> CUresult {
    let bytes = described(description, |d| {
        array_bytes([d.Width.into(), d.Height.into(), 1], d.Format, d.NumChannels, 0)
    });
    allocate(bytes, || made(real!(cuArrayCreate(at, description)), at, array_name), nothing)
}

pub(super) unsafe extern "C" fn cuArray3DCreate_v2(
    at: *mut CUarray,
    description: *const CUDA_ARRAY3D_DESCRIPTOR,
) -> CUresult {
    let bytes = described(description, |d| {
        let extents = [wide(d.Width), wide(d.Height), wide(d.Depth)];
        array_bytes(extents, d.Format, d.NumChannels, d.Flags)
    });
    allocate(bytes, || made(real!(cuArray3DCreate_v2(at, description)), at, array_name), nothing)
}

pub(super) unsafe extern "C" fn cuArray3DCreate(
    at: *mut CUarray,
    description: *const CUDA_ARRAY3D_DESCRIPTOR_v1,
) -> CUresult {
    let bytes = described(description, |d| {
        let extents = [d.Width.into(), d.Height.into(), d.Depth.into()];
        array_bytes(extents, d.Format, d.NumChannels, d.Flags)
    });
    allocate(bytes, || made(real!(cuArray3DCreate(at, description)), at, array_name), nothing)
}

pub(super) unsafe extern "C" fn cuMipmappedArrayCreate(
    at: *mut CUmipmappedArray,
    description: *const CUDA_ARRAY3D_DESCRIPTOR,
    levels: c_uint,
) -> CUresult {
    let bytes = described(description, |d| {
        let extents = [wide(d.Width), wide(d.Height), wide(d.Depth)];
        mipmap_bytes(extents, levels, d.Format, d.NumChannels, d.Flags)
    });
    let name = |array: CUmipmappedArray| Name::Array(array.addr());
    let make = || made(real!(cuMipmappedArrayCreate(at, description, levels)), at, name);
    allocate(bytes, make, nothing)
}

pub(super) unsafe extern "C" fn cuArrayDestroy(array: CUarray) -> CUresult {
    free(array_name(array), || real!(cuArrayDestroy(array)))
}

pub(super) unsafe extern "C" fn cuMipmappedArrayDestroy(array: CUmipmappedArray) -> CUresult {
    free(Name::Array(array.addr()), || real!(cuMipmappedArrayDestroy(array)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_cost_what_their_elements_take() {
        let float = CU_AD_FORMAT_FLOAT;
        assert_eq!(array_bytes([10, 0, 0], float, 1, 0), 40);
        assert_eq!(array_bytes([10, 20, 3], CU_AD_FORMAT_HALF, 4, 0), 4800);
        assert_eq!(array_bytes([10, 20, 0], 0x99, 2, 0), 1600);
        assert_eq!(array_bytes([10, 20, 3], float, 4, CUDA_ARRAY3D_SPARSE), 0);
        assert_eq!(array_bytes([u64::MAX, u64::MAX, 2], float, 4, 0), u64::MAX);
    }

    #[test]
    fn levels_halve_and_layers_do_not() {
        let bytes = CU_AD_FORMAT_UNSIGNED_INT8;
        assert_eq!(mipmap_bytes([4, 4, 0], 3, bytes, 1, 0), 16 + 4 + 1);
        assert_eq!(mipmap_bytes([4, 4, 2], 2, bytes, 1, 0), 32 + 4);
        assert_eq!(mipmap_bytes([4, 4, 2], 2, bytes, 1, CUDA_ARRAY3D_LAYERED), 32 + 8);
        assert_eq!(mipmap_bytes([1, 1, 1], u32::MAX, bytes, 1, 0), 32);
    }
}
