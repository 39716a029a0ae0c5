//! Memory: the host's own, counted on the device; copies and fills are done at once and then take
//! their time in their stream.

use crate::api::put;
use crate::contexts::current;
use crate::state::{ask, device, lock, tell};
use crate::streams;
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::*;
use polder_standin_host::Ask;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::collections::BTreeMap;
use std::ffi::{c_uint, c_void};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

/// What is rounded to: a driver's blocks.
const GRANULARITY: usize = 2 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Device,
    Managed,
    Host,
    Reserved,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    bytes: usize,
    kind: Kind,
    /// Of managed memory: whether it lies on the device now.
    resident: bool,
    /// Of managed memory: where it was said to belong.
    preferred: CUdevice,
}

static BLOCKS: Mutex<BTreeMap<u64, Block>> = Mutex::new(BTreeMap::new());
/// Physical memory and arrays without addresses: what each takes, and its file.
static HANDLES: Mutex<BTreeMap<u64, (usize, Option<OwnedFd>)>> = Mutex::new(BTreeMap::new());

fn charge(bytes: usize) -> Result<(), CUresult> {
    if bytes == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    match ask(device()?, Ask::Allocate { bytes: bytes as u64 })?[0] {
        0 => Ok(()),
        _ => Err(CUDA_ERROR_OUT_OF_MEMORY),
    }
}

fn credit(bytes: usize) -> Result<(), CUresult> {
    tell(crate::state::client()?, Ask::Free { bytes: bytes as u64 })
}

fn map(bytes: usize, kind: Kind) -> Result<u64, CUresult> {
    let bytes = bytes.checked_next_multiple_of(GRANULARITY).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
    let protection = match kind {
        Kind::Reserved => ProtFlags::empty(),
        _ => ProtFlags::READ | ProtFlags::WRITE,
    };
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping, wherever the kernel likes.
    let at = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) };
    let at = at.map_err(|_| CUDA_ERROR_OUT_OF_MEMORY)?.expose_provenance() as u64;
    let (resident, preferred) = (kind == Kind::Device, CU_DEVICE_INVALID);
    lock(&BLOCKS).insert(at, Block { bytes, kind, resident, preferred });
    Ok(at)
}

fn allocate(dptr: *mut CUdeviceptr, bytes: usize, kind: Kind) -> Result<(), CUresult> {
    current()?;
    if dptr.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    if kind == Kind::Device {
        charge(bytes)?;
    } else if bytes == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    match map(bytes, kind) {
        Ok(at) => put(dptr, at),
        Err(error) => {
            if kind == Kind::Device {
                credit(bytes)?;
            }
            Err(error)
        }
    }
}

fn free(at: u64, kinds: &[Kind]) -> Result<(), CUresult> {
    if at == 0 {
        return Ok(());
    }
    let mut blocks = lock(&BLOCKS);
    let block =
        *blocks.get(&at).filter(|it| kinds.contains(&it.kind)).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    blocks.remove(&at);
    drop(blocks);
    // SAFETY: mapped by `map` with this size, and no longer in the list: nobody unmaps it twice.
    let gone = unsafe { munmap(pointer(at), block.bytes) };
    gone.map_err(|_| CUDA_ERROR_INVALID_VALUE)?;
    if block.resident { credit(block.bytes) } else { Ok(()) }
}

fn pointer(at: u64) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(usize::try_from(at).unwrap_or(0))
}

/// The block in which an address lies.
fn block_of(at: u64) -> Option<(u64, Block)> {
    let blocks = lock(&BLOCKS);
    let (&base, &block) = blocks.range(..=at).next_back()?;
    (at - base < block.bytes as u64).then_some((base, block))
}

/// Managed memory is made on the host. It moves as a whole: to the device when the device uses it or
/// is said to be about to, unless it was said to belong to the host, and if there is room; back when
/// it is said to belong there, or to be about to be used there. Nothing of another's moves for it,
/// as a real driver would have it.
fn settle(at: u64, device: bool) -> Result<(), CUresult> {
    let mut blocks = lock(&BLOCKS);
    let Some((base, block)) = blocks.range_mut(..=at).next_back() else { return Ok(()) };
    let inside = at - base < block.bytes as u64;
    if !inside || block.kind != Kind::Managed || block.resident == device {
        return Ok(());
    }
    if !device {
        credit(block.bytes)?;
        block.resident = false;
    } else if block.preferred != CU_DEVICE_CPU && charge(block.bytes).is_ok() {
        block.resident = true;
    }
    Ok(())
}

/// Where managed memory was said to belong, in whole blocks.
fn advise(at: u64, bytes: usize, advice: c_uint, place: CUdevice) -> Result<(), CUresult> {
    check(at, bytes)?;
    let preferred = match advice {
        CU_MEM_ADVISE_SET_PREFERRED_LOCATION => place,
        CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION => CU_DEVICE_INVALID,
        1..=6 => return Ok(()),
        _ => return Err(CUDA_ERROR_INVALID_VALUE),
    };
    let (base, block) = block_of(at).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    if block.kind != Kind::Managed {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    if let Some(block) = lock(&BLOCKS).get_mut(&base) {
        block.preferred = preferred;
    }
    if preferred == CU_DEVICE_CPU { settle(at, false) } else { Ok(()) }
}

/// An address that is said to be the device's must be, with all its bytes.
fn check(at: u64, bytes: usize) -> Result<(), CUresult> {
    let inside = block_of(at).is_some_and(|(base, block)| {
        (at - base).checked_add(bytes as u64).is_some_and(|end| end <= block.bytes as u64)
    });
    if inside { Ok(()) } else { Err(CUDA_ERROR_INVALID_VALUE) }
}

fn copy(to: u64, from: u64, bytes: usize) {
    // SAFETY: each side is within a live block of ours, or the caller says that so many bytes lie
    // there; the two may overlap.
    unsafe { std::ptr::copy(pointer(from).cast::<u8>(), pointer(to).cast::<u8>(), bytes) };
}

/// What the copy takes of the device, in a stream; waited for unless it is asynchronous.
fn take(
    stream: CUstream,
    own: bool,
    bytes: usize,
    direction: u32,
    wait: bool,
) -> Result<(), CUresult> {
    let stream = streams::number(stream, own)?;
    if streams::captured(stream, bytes) {
        return Ok(());
    }
    let client = device()?;
    tell(client, Ask::Copy { stream, bytes: bytes as u64, direction })?;
    if wait {
        streams::wait_for(client, stream)?;
    }
    device().map(|_| ())
}

/// Which way a copy between any two addresses goes.
fn direction(to: u64, from: u64) -> u32 {
    let on_device = |at| block_of(at).is_some_and(|(_, it)| it.kind != Kind::Host);
    match (on_device(to), on_device(from)) {
        (true, false) => 0,
        (false, true) => 1,
        _ => 2,
    }
}

/// The host's page: whole ones need not be written to become zeroes.
const PAGE: usize = 4096;

fn fill<T: Copy + Default + PartialEq>(at: u64, value: T, count: usize) -> Result<usize, CUresult> {
    let bytes = count.checked_mul(size_of::<T>()).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    check(at, bytes)?;
    settle(at, true)?;
    let place = pointer(at).cast::<T>();
    if !place.is_aligned() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let zeroed = if value == T::default() { drop_pages(at, bytes)? } else { 0 };
    let rest = zeroed / size_of::<T>()..count;
    // SAFETY: so many values lie within a live block, aligned.
    rest.for_each(|index| unsafe { place.add(index).write(value) });
    Ok(bytes)
}

/// Makes zeroes of the whole pages from `at` on without writing them, so that a card may have more memory
/// than the host. Returns how many bytes that were.
fn drop_pages(at: u64, bytes: usize) -> Result<usize, CUresult> {
    let is_private = |(_, block): (u64, Block)| matches!(block.kind, Kind::Device | Kind::Managed);
    if !at.is_multiple_of(PAGE as u64) || !block_of(at).is_some_and(is_private) {
        return Ok(0);
    }
    let whole = bytes / PAGE * PAGE;
    // SAFETY: pages of a live private mapping of ours, which are zeroes when next read.
    let dropped = unsafe { madvise(pointer(at), whole, Advice::LinuxDontNeed) };
    dropped.map(|()| whole).map_err(|_| CUDA_ERROR_INVALID_VALUE)
}

const DEFAULT: CUstream = std::ptr::null_mut();

fn handle(bytes: usize, file: Option<OwnedFd>) -> u64 {
    let mut handles = lock(&HANDLES);
    let new = handles.keys().next_back().map_or(0x10, |last| last + 0x10);
    handles.insert(new, (bytes, file));
    new
}

fn release(handle: u64) -> Result<(), CUresult> {
    let (bytes, _) = lock(&HANDLES).remove(&handle).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    credit(bytes)
}

api! { |own|
    fn cuMemAlloc_v2(dptr: *mut CUdeviceptr, bytes: usize) {
        allocate(dptr, bytes, Kind::Device)
    }

    fn cuMemAllocManaged(dptr: *mut CUdeviceptr, bytes: usize, _flags: c_uint) {
        allocate(dptr, bytes, Kind::Managed)
    }

    fn cuMemAllocAsync / cuMemAllocAsync_ptsz(dptr: *mut CUdeviceptr, bytes: usize, stream: CUstream) {
        streams::number(stream, own)?;
        allocate(dptr, bytes, Kind::Device)
    }

    fn cuMemAllocPitch_v2(dptr: *mut CUdeviceptr, pitch: *mut usize, width: usize, height: usize, _element: c_uint) {
        let line = width.checked_next_multiple_of(512).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        allocate(dptr, line.checked_mul(height).ok_or(CUDA_ERROR_INVALID_VALUE)?, Kind::Device)?;
        put(pitch, line)
    }

    fn cuMemFree_v2(dptr: CUdeviceptr) {
        free(dptr, &[Kind::Device, Kind::Managed])
    }

    fn cuMemFreeAsync / cuMemFreeAsync_ptsz(dptr: CUdeviceptr, stream: CUstream) {
        streams::number(stream, own)?;
        free(dptr, &[Kind::Device])
    }

    fn cuMemAdvise(dev_ptr: CUdeviceptr, count: usize, advice: c_uint, device: CUdevice) {
        advise(dev_ptr, count, advice, device)
    }

    fn cuMemPrefetchAsync / cuMemPrefetchAsync_ptsz(dev_ptr: CUdeviceptr, count: usize, dst_device: CUdevice, stream: CUstream) {
        check(dev_ptr, count)?;
        settle(dev_ptr, dst_device != CU_DEVICE_CPU)?;
        take(stream, own, count, 0, false)
    }

    fn cuMemRangeGetAttribute(data: *mut c_void, data_size: usize, attribute: c_uint, dev_ptr: CUdeviceptr, count: usize) {
        check(dev_ptr, count)?;
        let (_, block) = block_of(dev_ptr).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        if attribute != CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION || data_size != 4 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        put(data.cast::<CUdevice>(), block.preferred)
    }

    fn cuMemAllocHost_v2(pp: *mut *mut c_void, bytes: usize) {
        put(pp, pointer(map(bytes, Kind::Host)?))
    }

    fn cuMemHostAlloc(pp: *mut *mut c_void, bytes: usize, _flags: c_uint) {
        put(pp, pointer(map(bytes, Kind::Host)?))
    }

    fn cuMemFreeHost(p: *mut c_void) {
        free(p.expose_provenance() as u64, &[Kind::Host])
    }

    fn cuMemHostGetDevicePointer_v2(pdptr: *mut CUdeviceptr, p: *mut c_void, _flags: c_uint) {
        put(pdptr, p.expose_provenance() as u64)
    }

    fn cuMemGetAddressRange_v2(pbase: *mut CUdeviceptr, psize: *mut usize, dptr: CUdeviceptr) {
        let (base, block) = block_of(dptr).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        crate::api::put_if(pbase, base);
        crate::api::put_if(psize, block.bytes);
        Ok(())
    }

    fn cuPointerGetAttribute(data: *mut c_void, attribute: c_uint, ptr: CUdeviceptr) {
        let (base, block) = block_of(ptr).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        match attribute {
            2 => put(data.cast::<c_uint>(), if block.kind == Kind::Host { 1 } else { 2 }),
            3 | 4 => put(data.cast::<u64>(), ptr),
            8 => put(data.cast::<c_uint>(), (block.kind == Kind::Managed).into()),
            9 => put(data.cast::<c_uint>(), 0),
            11 => put(data.cast::<u64>(), base),
            12 => put(data.cast::<usize>(), block.bytes),
            _ => Err(CUDA_ERROR_INVALID_VALUE),
        }
    }

    fn cuMemcpyHtoD_v2 / cuMemcpyHtoD_v2_ptds(dst: CUdeviceptr, src: *const c_void, bytes: usize) {
        check(dst, bytes)?;
        settle(dst, true)?;
        copy(dst, src.expose_provenance() as u64, bytes);
        take(DEFAULT, own, bytes, 0, true)
    }

    fn cuMemcpyDtoH_v2 / cuMemcpyDtoH_v2_ptds(dst: *mut c_void, src: CUdeviceptr, bytes: usize) {
        check(src, bytes)?;
        // What was put into the stream before comes first.
        take(DEFAULT, own, bytes, 1, true)?;
        copy(dst.expose_provenance() as u64, src, bytes);
        Ok(())
    }

    fn cuMemcpyDtoD_v2 / cuMemcpyDtoD_v2_ptds(dst: CUdeviceptr, src: CUdeviceptr, bytes: usize) {
        check(dst, bytes)?;
        check(src, bytes)?;
        settle(dst, true)?;
        settle(src, true)?;
        copy(dst, src, bytes);
        take(DEFAULT, own, bytes, 2, true)
    }

    fn cuMemcpyHtoDAsync_v2 / cuMemcpyHtoDAsync_v2_ptsz(dst: CUdeviceptr, src: *const c_void, bytes: usize, stream: CUstream) {
        check(dst, bytes)?;
        settle(dst, true)?;
        copy(dst, src.expose_provenance() as u64, bytes);
        take(stream, own, bytes, 0, false)
    }

    fn cuMemcpyDtoHAsync_v2 / cuMemcpyDtoHAsync_v2_ptsz(dst: *mut c_void, src: CUdeviceptr, bytes: usize, stream: CUstream) {
        check(src, bytes)?;
        copy(dst.expose_provenance() as u64, src, bytes);
        take(stream, own, bytes, 1, false)
    }

    fn cuMemcpyDtoDAsync_v2 / cuMemcpyDtoDAsync_v2_ptsz(dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, stream: CUstream) {
        check(dst, bytes)?;
        check(src, bytes)?;
        copy(dst, src, bytes);
        take(stream, own, bytes, 2, false)
    }

    fn cuMemcpy / cuMemcpy_ptds(dst: CUdeviceptr, src: CUdeviceptr, bytes: usize) {
        copy(dst, src, bytes);
        take(DEFAULT, own, bytes, direction(dst, src), true)
    }

    fn cuMemcpyAsync / cuMemcpyAsync_ptsz(dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, stream: CUstream) {
        copy(dst, src, bytes);
        take(stream, own, bytes, direction(dst, src), false)
    }

    fn cuMemsetD8_v2 / cuMemsetD8_v2_ptds(dst: CUdeviceptr, value: u8, n: usize) {
        take(DEFAULT, own, fill(dst, value, n)?, 2, false)
    }

    fn cuMemsetD32_v2 / cuMemsetD32_v2_ptds(dst: CUdeviceptr, value: c_uint, n: usize) {
        take(DEFAULT, own, fill(dst, value, n)?, 2, false)
    }

    fn cuMemsetD8Async / cuMemsetD8Async_ptsz(dst: CUdeviceptr, value: u8, n: usize, stream: CUstream) {
        take(stream, own, fill(dst, value, n)?, 2, false)
    }

    fn cuMemsetD32Async / cuMemsetD32Async_ptsz(dst: CUdeviceptr, value: c_uint, n: usize, stream: CUstream) {
        take(stream, own, fill(dst, value, n)?, 2, false)
    }

    fn cuMemGetAllocationGranularity(granularity: *mut usize, _prop: *const CUmemAllocationProp, _option: c_uint) {
        put(granularity, GRANULARITY)
    }

    fn cuMemCreate(out: *mut CUmemGenericAllocationHandle, size: usize, _prop: *const CUmemAllocationProp, _flags: u64) {
        if !size.is_multiple_of(GRANULARITY) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        charge(size)?;
        let file = rustix::fs::memfd_create(c"standin-memory", rustix::fs::MemfdFlags::CLOEXEC);
        let file = file.and_then(|file| rustix::fs::ftruncate(&file, size as u64).map(|()| file));
        put(out, handle(size, Some(file.map_err(|_| CUDA_ERROR_OUT_OF_MEMORY)?)))
    }

    fn cuMemRelease(handle: CUmemGenericAllocationHandle) {
        release(handle)
    }

    fn cuMemAddressReserve(ptr: *mut CUdeviceptr, size: usize, _alignment: usize, _addr: CUdeviceptr, _flags: u64) {
        put(ptr, map(size, Kind::Reserved)?)
    }

    fn cuMemAddressFree(ptr: CUdeviceptr, _size: usize) {
        free(ptr, &[Kind::Reserved])
    }

    fn cuMemMap(ptr: CUdeviceptr, size: usize, offset: usize, handle: CUmemGenericAllocationHandle, _flags: u64) {
        check(ptr, size)?;
        let handles = lock(&HANDLES);
        let file = handles.get(&handle).and_then(|it| it.1.as_ref()).ok_or(CUDA_ERROR_INVALID_HANDLE)?;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        // SAFETY: the range lies within a reservation of ours.
        let mapped = unsafe { mmap(pointer(ptr), size, protection, flags, file, offset as u64) };
        mapped.map(|_| ()).map_err(|_| CUDA_ERROR_INVALID_VALUE)
    }

    fn cuMemSetAccess(ptr: CUdeviceptr, size: usize, _desc: *const c_void, _count: usize) {
        check(ptr, size)
    }

    fn cuMemUnmap(ptr: CUdeviceptr, size: usize) {
        check(ptr, size)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the range lies within a reservation of ours.
        let unmapped = unsafe { mmap_anonymous(pointer(ptr), size, ProtFlags::empty(), flags) };
        unmapped.map(|_| ()).map_err(|_| CUDA_ERROR_INVALID_VALUE)
    }

    fn cuArrayCreate_v2(out: *mut CUarray, descriptor: *const CUDA_ARRAY_DESCRIPTOR) {
        // SAFETY: the caller's descriptor, if it is one.
        let wanted = unsafe { descriptor.as_ref() }.ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let element: usize = match wanted.Format {
            CU_AD_FORMAT_UNSIGNED_INT8 | CU_AD_FORMAT_SIGNED_INT8 => 1,
            CU_AD_FORMAT_UNSIGNED_INT16 | CU_AD_FORMAT_SIGNED_INT16 | CU_AD_FORMAT_HALF => 2,
            _ => 4,
        };
        let parts = [wanted.Height.max(1), wanted.NumChannels as usize, element];
        let bytes = parts.iter().try_fold(wanted.Width, |sum, part| sum.checked_mul(*part));
        let bytes = bytes.ok_or(CUDA_ERROR_INVALID_VALUE)?;
        charge(bytes)?;
        let new = usize::try_from(handle(bytes, None)).unwrap_or(0);
        put(out, std::ptr::without_provenance_mut(new))
    }

    fn cuArrayDestroy(array: CUarray) {
        release(array.addr() as u64)
    }
}
