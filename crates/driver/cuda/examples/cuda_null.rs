//! A stand-in for the vendor's `libcuda.so.1` that does nothing, for measuring what is put on top of it:
//! a call costs as little as a call can. It computes nothing and times no device. Work is over at once,
//! and a host function is called before `cuLaunchHostFunc` returns; with `NULL_BUSY=1` in the environment
//! by a thread of the driver, and then work gathers behind it as on a device that has some.
//! What Polder asks of a driver to learn when work is over is counted, and asked for with
//! `null_timing_calls` and `null_timing_ns`.
#![allow(clippy::undocumented_unsafe_blocks)] // the API's contract covers each
#![allow(unsafe_code, unused_unsafe, non_snake_case, missing_docs, clippy::missing_safety_doc)] // C's side

use polder_gpuapi::cuda::{consts::*, types::*};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, LazyLock, Mutex};
use std::time::Instant;

/// Cards; a lease names them by what `cuDeviceGetUuid` says.
const CARDS: i32 = 4;
const CARD_BYTES: usize = 1 << 40;
/// Handles are made in steps of this; a context's card is in its low bits.
const STEP: usize = 0x100;

/// Place of the primary contexts among the handles.
const PRIMARY: usize = 1 << 32;

static RETAINED: [AtomicI64; 4] = [const { AtomicI64::new(0) }; 4];
static LAST: AtomicUsize = AtomicUsize::new(STEP);
static ADDRESS: AtomicU64 = AtomicU64::new(1 << 40);

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    static PUSHED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static LAUNCHES: Cell<u64> = const { Cell::new(0) };
    static TIMING_CALLS: Cell<u64> = const { Cell::new(0) };
    static TIMING_NS: Cell<u64> = const { Cell::new(0) };
}

unsafe fn put<T>(at: *mut T, value: T) -> CUresult {
    unsafe { at.write(value) };
    CUDA_SUCCESS
}

fn handle<T>(number: usize) -> *mut T {
    std::ptr::without_provenance_mut(number)
}

fn next() -> usize {
    LAST.fetch_add(STEP, Ordering::Relaxed)
}

fn timing() -> CUresult {
    TIMING_CALLS.set(TIMING_CALLS.get() + 1);
    CUDA_SUCCESS
}

/// Host functions that the driver's thread has not come to, with their arguments, and how many it has
/// not finished.
static WAITING: Mutex<(VecDeque<(CUhostFn, usize)>, usize)> = Mutex::new((VecDeque::new(), 0));
static MORE: Condvar = Condvar::new();
static DONE: Condvar = Condvar::new();
/// Whether a thread of the driver calls back; the first look starts it.
static BUSY: LazyLock<bool> = LazyLock::new(|| {
    let busy = std::env::var("NULL_BUSY").is_ok_and(|number| number == "1");
    if busy {
        std::thread::spawn(call_back);
    }
    busy
});

fn waiting() -> std::sync::MutexGuard<'static, (VecDeque<(CUhostFn, usize)>, usize)> {
    WAITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn call_back() {
    loop {
        let mut queue = waiting();
        while queue.0.is_empty() {
            queue = MORE.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let all = std::mem::take(&mut queue.0);
        drop(queue);
        let count = all.len();
        for (function, data) in all {
            if let Some(function) = function {
                unsafe { function(std::ptr::with_exposed_provenance_mut(data)) };
            }
        }
        waiting().1 -= count;
        DONE.notify_all();
    }
}

fn host_function(function: CUhostFn, data: *mut c_void) {
    if *BUSY {
        let before = Instant::now();
        let mut queue = waiting();
        queue.0.push_back((function, data.expose_provenance()));
        queue.1 += 1;
        drop(queue);
        MORE.notify_one();
        let took = u64::try_from(before.elapsed().as_nanos()).unwrap_or_default();
        TIMING_NS.set(TIMING_NS.get() + took);
    } else if let Some(function) = function {
        unsafe { function(data) };
    }
}

fn wait() -> CUresult {
    let mut queue = waiting();
    while queue.1 > 0 {
        queue = DONE.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    CUDA_SUCCESS
}

fn launched() -> CUresult {
    LAUNCHES.set(LAUNCHES.get() + 1);
    CUDA_SUCCESS
}

macro_rules! exports {
    ($($name:ident($($arg:ident: $ty:ty),*) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult { unsafe { $body } }
    )*};
}

exports! {
    cuInit(_flags: c_uint) { CUDA_SUCCESS }
    cuDriverGetVersion(at: *mut c_int) { put(at, 12080) }
    cuDeviceGetCount(at: *mut c_int) { put(at, CARDS) }
    cuDeviceGet(at: *mut CUdevice, ordinal: c_int) {
        if (0..CARDS).contains(&ordinal) { put(at, ordinal) } else { CUDA_ERROR_INVALID_DEVICE }
    }
    cuDeviceGetUuid(at: *mut CUuuid, device: CUdevice) {
        put(at, CUuuid { bytes: [u8::try_from(device + 1).unwrap_or_default(); 16] })
    }
    cuDeviceTotalMem_v2(at: *mut usize, _device: CUdevice) { put(at, CARD_BYTES) }
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        put(free, CARD_BYTES);
        put(total, CARD_BYTES)
    }
    cuCtxCreate_v2(at: *mut CUcontext, _flags: c_uint, device: CUdevice) {
        let made = next() + usize::try_from(device).unwrap_or_default();
        CURRENT.set(made);
        put(at, handle(made))
    }
    cuCtxPushCurrent_v2(context: CUcontext) {
        PUSHED.with_borrow_mut(|pushed| pushed.push(CURRENT.replace(context.addr())));
        CUDA_SUCCESS
    }
    cuCtxPopCurrent_v2(at: *mut CUcontext) {
        let below = PUSHED.with_borrow_mut(Vec::pop).unwrap_or_default();
        put(at, handle(CURRENT.replace(below)))
    }
    cuCtxDestroy_v2(context: CUcontext) {
        wait();
        if CURRENT.get() == context.addr() { CURRENT.set(0); }
        CUDA_SUCCESS
    }
    cuCtxSetCurrent(context: CUcontext) { CURRENT.set(context.addr()); CUDA_SUCCESS }
    cuCtxGetCurrent(at: *mut CUcontext) { put(at, handle(CURRENT.get())) }
    cuCtxGetDevice(at: *mut CUdevice) {
        match CURRENT.get() {
            0 => CUDA_ERROR_INVALID_CONTEXT,
            context => put(at, CUdevice::try_from(context % STEP).unwrap_or_default()),
        }
    }
    cuDevicePrimaryCtxRetain(at: *mut CUcontext, device: CUdevice) {
        let card = usize::try_from(device).unwrap_or_default();
        RETAINED[card % RETAINED.len()].fetch_add(1, Ordering::Relaxed);
        put(at, handle(STEP * PRIMARY + card))
    }
    cuDevicePrimaryCtxRelease_v2(device: CUdevice) {
        let card = usize::try_from(device).unwrap_or_default();
        RETAINED[card % RETAINED.len()].fetch_sub(1, Ordering::Relaxed);
        CUDA_SUCCESS
    }
    cuDevicePrimaryCtxGetState(device: CUdevice, flags: *mut c_uint, active: *mut c_int) {
        let card = usize::try_from(device).unwrap_or_default();
        let retained = RETAINED[card % RETAINED.len()].load(Ordering::Relaxed);
        put(flags, 0);
        put(active, c_int::from(retained > 0))
    }
    cuIpcGetMemHandle(at: *mut CUipcMemHandle, address: CUdeviceptr) {
        let mut reserved = [0; 64];
        reserved[..8].copy_from_slice(&address.to_le_bytes());
        put(at, CUipcMemHandle { reserved })
    }
    cuIpcOpenMemHandle_v2(at: *mut CUdeviceptr, handle: CUipcMemHandle, _flags: c_uint) {
        let mut address = [0; 8];
        address.copy_from_slice(&handle.reserved[..8]);
        put(at, u64::from_le_bytes(address))
    }
    cuIpcCloseMemHandle(_address: CUdeviceptr) { CUDA_SUCCESS }
    cuCtxSynchronize() { wait() }
    cuStreamSynchronize(_stream: CUstream) { wait() }
    cuMemAlloc_v2(at: *mut CUdeviceptr, bytes: usize) {
        put(at, ADDRESS.fetch_add(bytes as u64, Ordering::Relaxed))
    }
    cuMemFree_v2(_address: CUdeviceptr) { CUDA_SUCCESS }
    cuStreamCreate(at: *mut CUstream, _flags: c_uint) { put(at, handle(next())) }
    cuStreamSynchronize_ptsz(_stream: CUstream) { wait() }
    cuStreamDestroy_v2(_stream: CUstream) { CUDA_SUCCESS }
    cuStreamIsCapturing(_stream: CUstream, at: *mut c_uint) { put(at, 0) }
    cuEventCreate(at: *mut CUevent, _flags: c_uint) { put(at, handle(next())) }
    cuEventDestroy_v2(_event: CUevent) { CUDA_SUCCESS }
    cuEventRecord(_event: CUevent, _stream: CUstream) { timing() }
    cuEventQuery(_event: CUevent) { timing() }
    cuEventSynchronize(_event: CUevent) { timing() }
    cuEventElapsedTime(at: *mut f32, _start: CUevent, _end: CUevent) {
        put(at, 0.0);
        timing()
    }
    cuStreamWaitEvent(_stream: CUstream, _event: CUevent, _flags: c_uint) { timing() }
    cuLaunchHostFunc(_stream: CUstream, function: CUhostFn, data: *mut c_void) {
        host_function(function, data);
        timing()
    }
    cuLaunchKernel(_f: CUfunction, _x: c_uint, _y: c_uint, _z: c_uint, _bx: c_uint, _by: c_uint,
        _bz: c_uint, _shared: c_uint, _stream: CUstream, _parameters: *mut *mut c_void,
        _extra: *mut *mut c_void)
    { launched() }
    cuLaunchKernel_ptsz(_f: CUfunction, _x: c_uint, _y: c_uint, _z: c_uint, _bx: c_uint,
        _by: c_uint, _bz: c_uint, _shared: c_uint, _stream: CUstream,
        _parameters: *mut *mut c_void, _extra: *mut *mut c_void)
    { launched() }
}

/// Launches of the calling thread.
#[unsafe(no_mangle)]
pub extern "C" fn null_launches() -> u64 {
    LAUNCHES.get()
}

/// Calls of the calling thread that serve to learn when work is over.
#[unsafe(no_mangle)]
pub extern "C" fn null_timing_calls() -> u64 {
    TIMING_CALLS.get()
}

/// Nanoseconds that the calling thread spent handing functions to the driver's thread.
#[unsafe(no_mangle)]
pub extern "C" fn null_timing_ns() -> u64 {
    TIMING_NS.get()
}
