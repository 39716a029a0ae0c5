//! A stand-in for the vendor's `libcuda.so.1`, for the tests of this package alone: three cards of
//! 1 GiB that compute nothing. A kernel takes as many microseconds as its grid is wide; memory is
//! only counted. What it has seen is asked for with `stub_*`.
#![allow(clippy::undocumented_unsafe_blocks)] // the API's contract covers each
#![allow(unsafe_code, unused_unsafe, non_snake_case, missing_docs, clippy::missing_safety_doc)] // C's side
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a test

use polder_gpuapi::cuda::{consts::*, types::*};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

const CARDS: i32 = 3;
const CARD_BYTES: u64 = 1 << 30;
const PITCH: usize = 512;

#[derive(Default)]
struct World {
    /// Contexts to their cards; card `n`'s primary context is `n + 1`.
    contexts: BTreeMap<usize, i32>,
    blocks: BTreeMap<u64, (usize, u64)>,
    /// When each stream of each context is done.
    until: BTreeMap<(usize, usize), Instant>,
    events: BTreeMap<usize, Instant>,
    capturing: BTreeMap<usize, u64>,
    /// What was allocated into captures: each graph has one node of so many bytes.
    graph_bytes: u64,
    physical: BTreeMap<u64, u64>,
    pool_reserved: u64,
    last: u64,
}

static WORLD: LazyLock<Mutex<World>> = LazyLock::new(Mutex::default);
static LAUNCHES: AtomicU64 = AtomicU64::new(0);
static PER_THREAD: AtomicU64 = AtomicU64::new(0);
static INTO_CAPTURE: AtomicU64 = AtomicU64::new(0);
thread_local!(static CURRENT: Cell<usize> = const { Cell::new(0) });

impl World {
    fn next(&mut self) -> u64 {
        self.last += 1;
        0x1000_0000 + self.last * 0x10_0000
    }
    fn used(&self) -> u64 {
        let blocks: u64 = self.blocks.values().map(|(_, bytes)| bytes).sum();
        blocks + self.physical.values().sum::<u64>() + self.pool_reserved
    }
}

fn world() -> std::sync::MutexGuard<'static, World> {
    WORLD.lock().unwrap()
}

unsafe fn put<T>(at: *mut T, value: T) -> CUresult {
    unsafe { at.write(value) };
    CUDA_SUCCESS
}

fn handle<T>(number: u64) -> *mut T {
    std::ptr::without_provenance_mut(number as usize)
}

macro_rules! exports {
    ($($name:ident($($arg:ident: $ty:ty),*) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult { unsafe { $body } }
    )*};
}

fn enqueue(stream: CUstream, duration: Duration) -> CUresult {
    let mut world = world();
    if let Some(nodes) = world.capturing.get_mut(&stream.addr()) {
        *nodes += 1;
        return CUDA_SUCCESS;
    }
    let now = Instant::now();
    let until = world.until.entry((CURRENT.get(), stream.addr())).or_insert(now);
    *until = (*until).max(now) + duration;
    CUDA_SUCCESS
}

fn launch(stream: CUstream, micros: c_uint) -> CUresult {
    LAUNCHES.fetch_add(1, Ordering::Relaxed);
    enqueue(stream, Duration::from_micros(u64::from(micros)))
}

fn wait(until: Option<Instant>) -> CUresult {
    if let Some(until) = until {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
    CUDA_SUCCESS
}

exports! {
    cuInit(_flags: c_uint) { CUDA_SUCCESS }
    cuDriverGetVersion(at: *mut c_int) { put(at, 12040) }
    cuDeviceGetCount(at: *mut c_int) { put(at, CARDS) }
    cuDeviceGet(at: *mut CUdevice, ordinal: c_int) {
        if (0..CARDS).contains(&ordinal) { put(at, ordinal) } else { CUDA_ERROR_INVALID_DEVICE }
    }
    cuDeviceGetUuid(at: *mut CUuuid, device: CUdevice) {
        put(at, CUuuid { bytes: [device as u8 + 1; 16] })
    }
    cuDeviceGetByPCIBusId(at: *mut CUdevice, text: *const c_char) {
        put(at, CStr::from_ptr(text).to_str().unwrap().parse().unwrap())
    }
    cuDeviceTotalMem_v2(at: *mut usize, _device: CUdevice) { put(at, CARD_BYTES as usize) }
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        put(free, (CARD_BYTES - world().used()) as usize);
        put(total, CARD_BYTES as usize)
    }
    cuCtxCreate_v2(at: *mut CUcontext, _flags: c_uint, device: CUdevice) {
        let mut world = world();
        let made = world.next();
        world.contexts.insert(made as usize, device);
        CURRENT.set(made as usize);
        put(at, handle(made))
    }
    cuCtxDestroy_v2(context: CUcontext) {
        let mut world = world();
        world.blocks.retain(|_, (own, _)| *own != context.addr());
        world.contexts.remove(&context.addr());
        CURRENT.set(0);
        CUDA_SUCCESS
    }
    cuDevicePrimaryCtxRetain(at: *mut CUcontext, device: CUdevice) {
        world().contexts.insert(device as usize + 1, device);
        put(at, handle(device as u64 + 1))
    }
    cuDevicePrimaryCtxReset_v2(device: CUdevice) {
        world().blocks.retain(|_, (own, _)| *own != device as usize + 1);
        world().contexts.remove(&(device as usize + 1));
        CUDA_SUCCESS
    }
    cuDevicePrimaryCtxGetState(device: CUdevice, flags: *mut c_uint, active: *mut c_int) {
        put(flags, 0);
        put(active, c_int::from(world().contexts.contains_key(&(device as usize + 1))))
    }
    cuCtxSetCurrent(context: CUcontext) { CURRENT.set(context.addr()); CUDA_SUCCESS }
    cuCtxGetCurrent(at: *mut CUcontext) { put(at, handle(CURRENT.get() as u64)) }
    cuCtxGetDevice(at: *mut CUdevice) {
        match world().contexts.get(&CURRENT.get()) {
            Some(device) => put(at, *device),
            None => CUDA_ERROR_INVALID_CONTEXT,
        }
    }
    cuMemAlloc_v2(at: *mut CUdeviceptr, bytes: usize) {
        let mut world = world();
        if bytes == 0 || !world.contexts.contains_key(&CURRENT.get()) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        let made = world.next();
        world.blocks.insert(made, (CURRENT.get(), bytes as u64));
        put(at, made)
    }
    cuMemAllocPitch_v2(at: *mut CUdeviceptr, pitch: *mut usize, width: usize, height: usize,
        _element: c_uint)
    {
        put(pitch, width.next_multiple_of(PITCH));
        cuMemAlloc_v2(at, width.next_multiple_of(PITCH) * height)
    }
    cuMemAllocManaged(at: *mut CUdeviceptr, bytes: usize, _flags: c_uint) {
        cuMemAlloc_v2(at, bytes)
    }
    cuMemHostAlloc(at: *mut *mut c_void, bytes: usize, _flags: c_uint) {
        if bytes == 0 { CUDA_ERROR_INVALID_VALUE } else { put(at, handle(world().next())) }
    }
    cuMemAllocHost_v2(at: *mut *mut c_void, bytes: usize) { cuMemHostAlloc(at, bytes, 0) }
    cuMemAllocHost(at: *mut *mut c_void, bytes: c_uint) { cuMemHostAlloc(at, bytes as usize, 0) }
    cuMemFreeHost(at: *mut c_void) {
        if at.is_null() { CUDA_ERROR_INVALID_VALUE } else { CUDA_SUCCESS }
    }
    cuMemHostRegister_v2(_at: *mut c_void, bytes: usize, _flags: c_uint) {
        if bytes == 0 { CUDA_ERROR_INVALID_VALUE } else { CUDA_SUCCESS }
    }
    cuMemHostRegister(at: *mut c_void, bytes: usize, flags: c_uint) {
        cuMemHostRegister_v2(at, bytes, flags)
    }
    // What is not aligned was never registered.
    cuMemHostUnregister(at: *mut c_void) {
        if at.addr().is_multiple_of(4096) { CUDA_SUCCESS } else { CUDA_ERROR_INVALID_VALUE }
    }
    cuMemFree_v2(address: CUdeviceptr) {
        if world().blocks.remove(&address).is_some() {
            CUDA_SUCCESS
        } else {
            CUDA_ERROR_INVALID_VALUE
        }
    }
    cuArrayCreate_v2(at: *mut CUarray, _wishes: *const CUDA_ARRAY_DESCRIPTOR) {
        put(at, handle(world().next()))
    }
    cuArrayDestroy(_array: CUarray) { CUDA_SUCCESS }
    cuMemCreate(at: *mut u64, bytes: usize, _wishes: *const CUmemAllocationProp, _flags: u64) {
        let mut world = world();
        let made = world.next();
        world.physical.insert(made, bytes as u64);
        put(at, made)
    }
    cuMemMap(_address: CUdeviceptr, _bytes: usize, _offset: usize, _handle: u64, _flags: u64) {
        CUDA_SUCCESS
    }
    cuMemUnmap(_address: CUdeviceptr, _bytes: usize) { CUDA_SUCCESS }
    cuMemRelease(handle: u64) { world().physical.remove(&handle); CUDA_SUCCESS }
    cuDeviceGetMemPool(at: *mut CUmemoryPool, _device: CUdevice) { put(at, handle(0x77)) }
    cuMemPoolGetAttribute(_pool: CUmemoryPool, _attribute: c_uint, at: *mut c_void) {
        put(at.cast::<u64>(), world().pool_reserved)
    }
    cuMemPoolTrimTo(_pool: CUmemoryPool, keep: usize) {
        world().pool_reserved = keep as u64;
        CUDA_SUCCESS
    }
    cuMemAllocAsync(at: *mut CUdeviceptr, bytes: usize, stream: CUstream) {
        let mut world = world();
        if world.capturing.contains_key(&stream.addr()) {
            world.graph_bytes = bytes as u64;
        } else {
            world.pool_reserved += bytes as u64;
        }
        let made = world.next();
        put(at, made)
    }
    // The pool keeps what comes back, as after a release threshold was set.
    cuMemFreeAsync(_address: CUdeviceptr, _stream: CUstream) { CUDA_SUCCESS }
    cuStreamCreate(at: *mut CUstream, _flags: c_uint) { put(at, handle(world().next())) }
    cuStreamSynchronize(stream: CUstream) {
        let until = world().until.get(&(CURRENT.get(), stream.addr())).copied();
        wait(until)
    }
    cuCtxSynchronize() {
        let mine = |((context, _), until): (&(usize, usize), &Instant)| {
            (*context == CURRENT.get()).then_some(*until)
        };
        let until = world().until.iter().filter_map(mine).max();
        wait(until)
    }
    cuEventCreate(at: *mut CUevent, _flags: c_uint) { put(at, handle(world().next())) }
    cuEventRecord(event: CUevent, stream: CUstream) {
        let mut world = world();
        if world.capturing.contains_key(&stream.addr()) {
            INTO_CAPTURE.fetch_add(1, Ordering::Relaxed);
        }
        let stream = if stream.addr() == CU_STREAM_LEGACY { 0 } else { stream.addr() };
        let until = world.until.get(&(CURRENT.get(), stream)).copied();
        world.events.insert(event.addr(), until.unwrap_or_else(Instant::now));
        CUDA_SUCCESS
    }
    cuStreamWaitEvent(stream: CUstream, event: CUevent, _flags: c_uint) {
        let mut world = world();
        let event = world.events.get(&event.addr()).copied().unwrap();
        let until = world.until.entry((CURRENT.get(), stream.addr())).or_insert(event);
        *until = (*until).max(event);
        CUDA_SUCCESS
    }
    cuLaunchHostFunc(stream: CUstream, function: CUhostFn, data: *mut c_void) {
        let until = world().until.get(&(CURRENT.get(), stream.addr())).copied();
        let (function, data) = (function.unwrap(), data.addr());
        std::thread::spawn(move || {
            wait(until);
            function(std::ptr::with_exposed_provenance_mut(data));
        });
        CUDA_SUCCESS
    }
    cuLaunchKernel(_f: CUfunction, x: c_uint, _y: c_uint, _z: c_uint, _bx: c_uint, _by: c_uint,
        _bz: c_uint, _shared: c_uint, stream: CUstream, _parameters: *mut *mut c_void,
        _extra: *mut *mut c_void)
    { launch(stream, x) }
    cuLaunchKernel_ptsz(_f: CUfunction, x: c_uint, _y: c_uint, _z: c_uint, _bx: c_uint,
        _by: c_uint, _bz: c_uint, _shared: c_uint, stream: CUstream,
        _parameters: *mut *mut c_void, _extra: *mut *mut c_void)
    {
        PER_THREAD.fetch_add(1, Ordering::Relaxed);
        launch(if stream.is_null() { handle(2) } else { stream }, x)
    }
    cuLaunchKernelEx(config: *const CUlaunchConfig, _f: CUfunction,
        _parameters: *mut *mut c_void, _extra: *mut *mut c_void)
    { launch((*config).hStream, (*config).gridDimX) }
    cuGraphLaunch(graph: CUgraphExec, stream: CUstream) { launch(stream, graph.addr() as c_uint) }
    cuMemcpyDtoH_v2(_to: *mut c_void, _from: CUdeviceptr, bytes: usize) {
        enqueue(handle(0), Duration::from_nanos(bytes as u64));
        let until = world().until.get(&(CURRENT.get(), 0)).copied();
        wait(until)
    }
    cuMemsetD8_v2(_at: CUdeviceptr, _value: u8, count: usize) {
        enqueue(handle(0), Duration::from_nanos(count as u64))
    }
    cuStreamBeginCapture_v2(stream: CUstream, _mode: c_uint) {
        world().capturing.insert(stream.addr(), 0);
        CUDA_SUCCESS
    }
    cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph) {
        let nodes = world().capturing.remove(&stream.addr()).unwrap_or_default();
        put(graph, handle(nodes))
    }
    cuGraphGetNodes(_graph: CUgraph, nodes: *mut CUgraphNode, count: *mut usize) {
        if !nodes.is_null() { put(nodes, handle(1)); }
        put(count, 1)
    }
    cuGraphNodeGetType(_node: CUgraphNode, kind: *mut c_uint) {
        put(kind, CU_GRAPH_NODE_TYPE_MEM_ALLOC)
    }
    cuGraphMemAllocNodeGetParams(_node: CUgraphNode, at: *mut CUDA_MEM_ALLOC_NODE_PARAMS) {
        (*at).bytesize = world().graph_bytes as usize;
        CUDA_SUCCESS
    }
    cuGraphInstantiateWithFlags(at: *mut CUgraphExec, _graph: CUgraph, _flags: u64) {
        put(at, handle(world().next()))
    }
    cuGraphExecDestroy(_graph: CUgraphExec) { CUDA_SUCCESS }
    cuStreamIsCapturing(stream: CUstream, at: *mut c_uint) {
        put(at, c_uint::from(world().capturing.contains_key(&stream.addr())))
    }
    cuThreadExchangeStreamCaptureMode(_mode: *mut c_uint) { CUDA_SUCCESS }
    cuGetExportTable(at: *mut *const c_void, _id: *const CUuuid) { put(at, 0x5afe as *const _) }
    cuGetProcAddress_v2(symbol: *const c_char, at: *mut *mut c_void, version: c_int, flags: u64,
        status: *mut c_uint)
    {
        use polder_gpuapi::cuda::Resolution;
        let name = CStr::from_ptr(symbol).to_str().unwrap();
        let (found, said) = match polder_gpuapi::cuda::resolve(name, version as u32, flags) {
            Resolution::Found(function) => {
                let name = std::ffi::CString::new(function.name()).unwrap();
                // Its own symbols: this library is open already.
                let own = libc::dlopen(OWN.with(Cell::get), libc::RTLD_NOW | libc::RTLD_NOLOAD);
                (libc::dlsym(own, name.as_ptr()), CU_GET_PROC_ADDRESS_SUCCESS)
            }
            Resolution::TooOld => (handle(0), CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT),
            Resolution::Unknown => (handle(0), CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND),
        };
        put(at, found);
        if !status.is_null() { put(status, said); }
        if found.is_null() { CUDA_ERROR_NOT_FOUND } else { CUDA_SUCCESS }
    }
    stub_path(path: *const c_char) { OWN.with(|own| own.set(path)); CUDA_SUCCESS }
    stub_launches() { LAUNCHES.load(Ordering::Relaxed) as u32 }
    stub_per_thread() { PER_THREAD.load(Ordering::Relaxed) as u32 }
    stub_into_capture() { INTO_CAPTURE.load(Ordering::Relaxed) as u32 }
}
thread_local!(static OWN: Cell<*const c_char> = const { Cell::new(std::ptr::null()) });
