//! A program that uses a CUDA driver: `client LIBRARY WHAT`, where the library is any `libcuda.so.1`.
//!
//! * `check`: goes once through what most programs use, and says what it found.
//! * `saturate KIND MICROSECONDS SECONDS`: launches work of that length as fast as it is taken; the
//!   kind is `kernel`, `graph` (of 200 nodes) or `cooperative`.
//! * `odd`: calls too early, without a context, and with nothing where something belongs, and says how each ended.
//! * `small`: allocates a byte at a time until there is no more, and says how often.
//! * `behind MIB`: allocates blocks of that size in every way there is until there is no more, says of
//!   each whether it lies on the device, and uses and frees them all.
//! * `room MIB`: allocates a block of that size, waits for a line, and then allocates more of them until
//!   there is no room.
//! * `hold MIB`: fills a block of that size, says who it is, and launches kernels of 2 ms, each waited for, until a line
//!   comes; says then how many, and whether the block is as it was.
//! * `freeze PID STEP`: takes a step of moving another process off the device (`lock`, `checkpoint`) or
//!   back (`restore`, `unlock`), and says what came of it and in which state that process is.
//! * `pin MIB`: pins so much host memory in two blocks, waits for a line, and ends without giving it back.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]
#![allow(unsafe_code)] // it calls a C library

use libloading::Library;
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::pfn;
use polder_gpuapi::cuda::types::*;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A function of the library under its own name and type.
macro_rules! function {
    ($library:expr, $name:ident) => {{
        // SAFETY: the export of this name has this type.
        let found = unsafe { $library.get::<pfn::$name>(stringify!($name).as_bytes()) };
        *found.expect(stringify!($name))
    }};
}

/// Calls it and expects success.
macro_rules! call {
    ($library:expr, $name:ident($($arg:expr),*)) => {{
        let function = function!($library, $name);
        // SAFETY: arguments as the API wants them.
        let code = unsafe { function($($arg),*) };
        assert_eq!(code, CUDA_SUCCESS, "{} failed", stringify!($name));
    }};
}

fn open(library: &Library) -> CUcontext {
    call!(library, cuInit(0));
    let mut context = null_mut();
    call!(library, cuDevicePrimaryCtxRetain(&raw mut context, 0));
    call!(library, cuCtxSetCurrent(context));
    context
}

fn kernel(library: &Library, name: &str) -> CUfunction {
    let name = CString::new(name).expect("no zero in it");
    let (mut module, mut function) = (null_mut(), null_mut());
    call!(library, cuModuleLoadData(&raw mut module, c".version 8.0".as_ptr().cast()));
    call!(library, cuModuleGetFunction(&raw mut function, module, name.as_ptr()));
    function
}

fn launch(library: &Library, function: CUfunction, stream: CUstream) {
    let (params, extra) = (null_mut(), null_mut());
    call!(library, cuLaunchKernel(function, 1024, 1, 1, 256, 1, 1, 0, stream, params, extra));
}

fn memory(library: &Library) {
    let (mut free, mut total) = (0, 0);
    call!(library, cuMemGetInfo_v2(&raw mut free, &raw mut total));
    let mut at = 0;
    call!(library, cuMemAlloc_v2(&raw mut at, 1 << 20));
    let mut after = 0;
    call!(library, cuMemGetInfo_v2(&raw mut after, &raw mut total));
    println!("memory: 1 MiB took {} MiB", (free - after) >> 20);
    let (out, mut back) = ([7u8; 4096], [0u8; 4096]);
    call!(library, cuMemcpyHtoD_v2(at + 100, out.as_ptr().cast(), out.len()));
    call!(library, cuMemsetD8_v2(at + 100, 9, 1));
    call!(library, cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), at + 100, back.len()));
    assert!(back[0] == 9 && back[1..] == out[1..], "a copy came back otherwise");
    let alloc = function!(library, cuMemAlloc_v2);
    let mut more = 0;
    // SAFETY: a place for the address.
    let code = unsafe { alloc(&raw mut more, total + 1) };
    println!("memory: more than there is: {code}");
    call!(library, cuMemFree_v2(at));
}

/// One more block, made in one of four ways by its number; none when there is no room.
fn block(library: &Library, number: usize, bytes: usize) -> Option<CUdeviceptr> {
    let (mut at, mut pitch) = (0, 0);
    let rows = bytes / 4096;
    let plain = function!(library, cuMemAlloc_v2);
    let pooled = function!(library, cuMemAllocAsync);
    let pitched = function!(library, cuMemAllocPitch_v2);
    let managed = function!(library, cuMemAllocManaged);
    // SAFETY: places for the answers; each function has its type.
    let code = unsafe {
        match number % 4 {
            0 => plain(&raw mut at, bytes),
            1 => pooled(&raw mut at, bytes, null_mut()),
            2 => pitched(&raw mut at, &raw mut pitch, 4096, rows, 4),
            _ => managed(&raw mut at, bytes, CU_MEM_ATTACH_GLOBAL),
        }
    };
    assert!(code == CUDA_SUCCESS || code == CUDA_ERROR_OUT_OF_MEMORY, "{code}");
    (code == CUDA_SUCCESS).then_some(at)
}

/// What block `number` is filled with: no two words alike, in any of them.
fn words(number: usize, bytes: usize) -> Vec<u64> {
    let word = |at: usize| (number as u64 + 1) << 48 | (at as u64).wrapping_mul(0x9e37_79b9);
    (0..bytes / 8).map(word).collect()
}

/// Whether memory was said to belong to the host.
fn is_behind(library: &Library, at: CUdeviceptr, bytes: usize) -> bool {
    let mut place: c_int = 0;
    let get = function!(library, cuMemRangeGetAttribute);
    let (put, what) = ((&raw mut place).cast(), CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION);
    // SAFETY: a place for the answer.
    let code = unsafe { get(put, 4, what, at, bytes) };
    code == CUDA_SUCCESS && place == CU_DEVICE_CPU
}

/// Everything at `from`, through the device.
fn read(library: &Library, from: CUdeviceptr, bytes: usize) -> Vec<u64> {
    let mut back = vec![0_u64; bytes / 8];
    call!(library, cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), from, bytes));
    back
}

fn wait() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
}

fn room(library: &Library, bytes: usize) {
    open(library);
    let mut at = 0;
    call!(library, cuMemAlloc_v2(&raw mut at, bytes));
    println!("ready");
    wait();
    let (mut free, mut total) = (0, 0);
    call!(library, cuMemGetInfo_v2(&raw mut free, &raw mut total));
    println!("free {} of {} MiB", free >> 20, total >> 20);
    let alloc = function!(library, cuMemAlloc_v2);
    let mut blocks = 1;
    // SAFETY: a place for the address.
    while unsafe { alloc(&raw mut at, bytes) } == CUDA_SUCCESS {
        blocks += 1;
    }
    println!("blocks {blocks}");
}

fn hold(library: &Library, bytes: usize) {
    open(library);
    let mut at = 0;
    call!(library, cuMemAlloc_v2(&raw mut at, bytes));
    let data = words(0, bytes);
    call!(library, cuMemcpyHtoD_v2(at, data.as_ptr().cast(), bytes));
    let function = kernel(library, "work_2ms");
    println!("pid {}", std::process::id());
    let over = std::thread::spawn(wait);
    let mut kernels = 0;
    while !over.is_finished() {
        launch(library, function, null_mut());
        call!(library, cuCtxSynchronize());
        kernels += 1;
    }
    println!("kernels {kernels}, as it was: {}", read(library, at, bytes) == data);
}

fn freeze(library: &Library, pid: u64, step: &str) {
    let pid = c_int::try_from(pid).expect("a process");
    let lock = function!(library, cuCheckpointProcessLock);
    let other = match step {
        "checkpoint" => function!(library, cuCheckpointProcessCheckpoint),
        "restore" => function!(library, cuCheckpointProcessRestore),
        _ => function!(library, cuCheckpointProcessUnlock),
    };
    let mut most = CUcheckpointLockArgs { timeoutMs: 5000, ..CUcheckpointLockArgs::default() };
    // SAFETY: arguments as the API wants them.
    let code =
        unsafe { if step == "lock" { lock(pid, &raw mut most) } else { other(pid, null_mut()) } };
    let mut state = 9;
    let get = function!(library, cuCheckpointProcessGetState);
    // SAFETY: a place for the state.
    unsafe { get(pid, &raw mut state) };
    println!("{step}: {code}, state {state}");
}

fn pin(library: &Library, bytes: usize) {
    open(library);
    let mut at = null_mut();
    call!(library, cuMemHostAlloc(&raw mut at, bytes / 2, 0));
    call!(library, cuMemAllocHost_v2(&raw mut at, bytes / 2));
    println!("pinned");
    wait();
}

fn behind(library: &Library, bytes: usize) {
    open(library);
    let (mut free, mut total) = (0, 0);
    call!(library, cuMemGetInfo_v2(&raw mut free, &raw mut total));
    println!("free {} of {} MiB", free >> 20, total >> 20);
    wait();
    let mut blocks = Vec::new();
    while let Some(at) = block(library, blocks.len(), bytes) {
        let data = words(blocks.len(), bytes);
        call!(library, cuMemcpyHtoD_v2(at, data.as_ptr().cast(), bytes));
        blocks.push(at);
    }
    let places = blocks.iter().map(|at| if is_behind(library, *at, bytes) { 'h' } else { 'd' });
    println!("blocks {}", places.collect::<String>());
    call!(library, cuMemGetInfo_v2(&raw mut free, &raw mut total));
    println!("free {} MiB", free >> 20);
    for at in blocks.iter().filter(|at| is_behind(library, **at, bytes)) {
        // Asked to be on the device, by all who can ask; used there, all the same.
        call!(library, cuMemAdvise(*at, bytes, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, 0));
        call!(library, cuMemPrefetchAsync(*at, bytes, 0, null_mut()));
        call!(library, cuMemsetD8_v2(at + 8, 0x5a, 8));
    }
    println!("used");
    wait();
    for (number, at) in blocks.iter().enumerate() {
        let mut expect = words(number, bytes);
        if is_behind(library, *at, bytes) {
            expect[1] = 0x5a5a_5a5a_5a5a_5a5a;
        }
        assert!(read(library, *at, bytes) == expect, "block {number} came back otherwise");
    }
    println!("contents are as they were");
    for (number, at) in blocks.iter().enumerate() {
        if number % 2 == 0 {
            call!(library, cuMemFree_v2(*at));
        } else {
            let pooled = function!(library, cuMemFreeAsync);
            // SAFETY: a block of ours; the driver refuses what is of no pool.
            if unsafe { pooled(*at, null_mut()) } != CUDA_SUCCESS {
                call!(library, cuMemFree_v2(*at));
            }
        }
    }
    let again = block(library, 0, bytes).expect("there is room again");
    println!("again {}", if is_behind(library, again, bytes) { 'h' } else { 'd' });
    call!(library, cuMemFree_v2(again));
}

fn small(library: &Library) {
    open(library);
    println!("ready");
    wait();
    let alloc = function!(library, cuMemAlloc_v2);
    let mut at = 0;
    // SAFETY: a place for the address; all of it ends with the process.
    let one = || unsafe { alloc(&raw mut at, 1) } == CUDA_SUCCESS;
    println!("blocks {}", std::iter::repeat_with(one).take_while(|made| *made).count());
    wait();
}

fn events(library: &Library) {
    let function = kernel(library, "work_2ms");
    let (mut stream, mut start, mut end) = (null_mut(), null_mut(), null_mut());
    call!(library, cuStreamCreate(&raw mut stream, 1));
    call!(library, cuEventCreate(&raw mut start, 0));
    call!(library, cuEventCreate(&raw mut end, 0));
    call!(library, cuEventRecord(start, stream));
    (0..5).for_each(|_| launch(library, function, stream));
    call!(library, cuEventRecord(end, stream));
    let query = function!(library, cuEventQuery);
    // SAFETY: an event of ours.
    let early = unsafe { query(end) };
    call!(library, cuEventSynchronize(end));
    let mut took = 0.0;
    call!(library, cuEventElapsedTime_v2(&raw mut took, start, end));
    println!("events: early {early}, five kernels of 2 ms took at least 10 ms: {}", took > 9.9);
    let mut back = 0.0;
    call!(library, cuEventElapsedTime_v2(&raw mut back, end, start));
    let mut untimed = null_mut();
    call!(library, cuEventCreate(&raw mut untimed, CU_EVENT_DISABLE_TIMING));
    call!(library, cuEventRecord(untimed, stream));
    call!(library, cuEventSynchronize(untimed));
    let elapsed = function!(library, cuEventElapsedTime_v2);
    // SAFETY: events of ours, and a place for the time.
    let code = unsafe { elapsed(&raw mut took, start, untimed) };
    println!("events: backwards below zero: {}, of one without time: {code}", back < -9.9);
    call!(library, cuStreamBeginCapture_v2(stream, 0));
    (0..10).for_each(|_| launch(library, function, stream));
    let (mut graph, mut exec) = (null_mut(), null_mut());
    call!(library, cuStreamEndCapture(stream, &raw mut graph));
    call!(library, cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
    let from = Instant::now();
    call!(library, cuGraphLaunch(exec, stream));
    call!(library, cuStreamSynchronize(stream));
    println!("graph: ten nodes took at least 20 ms: {}", from.elapsed().as_millis() >= 20);
    call!(library, cuStreamDestroy_v2(stream));
}

static CALLED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn called(_data: *mut c_void) {
    CALLED.fetch_add(1, Ordering::Release);
}

/// One stream waits for another's event; a function is called when it has come so far.
fn streams(library: &Library) {
    let function = kernel(library, "work_30ms");
    let (mut first, mut second, mut event) = (null_mut(), null_mut(), null_mut());
    call!(library, cuStreamCreate(&raw mut first, 1));
    call!(library, cuStreamCreate(&raw mut second, 1));
    call!(library, cuEventCreate(&raw mut event, 2));
    launch(library, function, first);
    call!(library, cuEventRecord(event, first));
    let from = Instant::now();
    call!(library, cuStreamWaitEvent(second, event, 0));
    call!(library, cuLaunchHostFunc(second, Some(called), null_mut()));
    let early = CALLED.load(Ordering::Acquire);
    call!(library, cuStreamSynchronize(second));
    println!("streams: early {early}, waited {}", from.elapsed().as_millis() >= 25);
    while CALLED.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
}

fn names(library: &Library) {
    let resolve = function!(library, cuGetProcAddress_v2);
    for (name, version) in [(c"cuMemAlloc", 12_000), (c"cuMemAllocAsync", 9_000), (c"cuNo", 13_000)]
    {
        let (mut address, mut status): (*mut c_void, u32) = (null_mut(), 9);
        // SAFETY: places for both answers.
        let code = unsafe { resolve(name.as_ptr(), &raw mut address, version, 0, &raw mut status) };
        println!("name {}: {code} {status} {}", name.to_string_lossy(), !address.is_null());
    }
    let mut text = [0; 64];
    call!(library, cuDeviceGetName(text.as_mut_ptr(), 64, 0));
    // SAFETY: the call has put an end to it.
    println!("device: {}", unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy());
}

fn check(library: &Library) {
    open(library);
    names(library);
    memory(library);
    events(library);
    streams(library);
}

/// Calls and says how it ended.
macro_rules! told {
    ($library:expr, $name:ident($($arg:expr),*)) => {{
        let function = function!($library, $name);
        // SAFETY: what is there is of the API's types; the driver refuses what is not.
        let code = unsafe { function($($arg),*) };
        println!("{}: {code}", stringify!($name));
    }};
}

/// What most programs use, in whatever state the process is.
fn whatever(library: &Library) {
    let (mut count, mut free, mut total, mut at) = (0, 0, 0, 0);
    let (mut context, mut stream, mut pool) = (null_mut(), null_mut(), null_mut());
    let (mut module, params) = (null_mut(), null_mut());
    told!(library, cuDeviceGetCount(&raw mut count));
    told!(library, cuDeviceTotalMem_v2(&raw mut total, 0));
    told!(library, cuCtxGetCurrent(&raw mut context));
    told!(library, cuMemGetInfo_v2(&raw mut free, &raw mut total));
    told!(library, cuMemAlloc_v2(&raw mut at, 1 << 20));
    told!(library, cuMemAllocManaged(&raw mut at, 1 << 20, CU_MEM_ATTACH_GLOBAL));
    told!(library, cuMemAllocAsync(&raw mut at, 1 << 20, null_mut()));
    told!(library, cuMemCreate(&raw mut at, 2 << 20, null(), 0));
    told!(library, cuDeviceGetMemPool(&raw mut pool, 0));
    told!(library, cuStreamCreate(&raw mut stream, 1));
    told!(library, cuModuleLoadData(&raw mut module, c".version 8.0".as_ptr().cast()));
    told!(library, cuLaunchKernel(null_mut(), 1, 1, 1, 1, 1, 1, 0, null_mut(), params, null_mut()));
    told!(library, cuCtxSynchronize());
}

/// Calls with nothing where something belongs.
fn nothing(library: &Library) {
    told!(library, cuDeviceGetCount(null_mut()));
    told!(library, cuDeviceTotalMem_v2(null_mut(), 0));
    told!(library, cuMemAlloc_v2(null_mut(), 1 << 20));
    told!(library, cuMemAllocPitch_v2(null_mut(), null_mut(), 512, 1, 4));
    told!(library, cuMemAllocAsync(null_mut(), 1 << 20, null_mut()));
    told!(library, cuMemFree_v2(0));
    told!(library, cuMemFree_v2(0xdead_0000));
    told!(library, cuArrayCreate_v2(null_mut(), null()));
    told!(library, cuMemRelease(0xdead));
    told!(library, cuGraphLaunch(null_mut(), null_mut()));
    told!(library, cuGraphExecDestroy(null_mut()));
    told!(library, cuStreamEndCapture(null_mut(), null_mut()));
    told!(library, cuEventSynchronize(null_mut()));
    told!(library, cuDevicePrimaryCtxRetain(null_mut(), 0));
    told!(library, cuGetProcAddress_v2(c"cuInit".as_ptr(), null_mut(), 12_000, 0, null_mut()));
}

fn odd(library: &Library) {
    whatever(library);
    call!(library, cuInit(0));
    whatever(library);
    open(library);
    nothing(library);
    // Drivers differ in what they say of this one.
    let info = function!(library, cuMemGetInfo_v2);
    // SAFETY: nothing is to be written.
    let code = unsafe { info(null_mut(), null_mut()) };
    assert!([CUDA_SUCCESS, CUDA_ERROR_INVALID_VALUE].contains(&code), "{code}");
    check(library);
}

/// Nodes of the graph that saturates.
const NODES: u64 = 200;

/// A graph of equal nodes that takes so long.
fn graph(library: &Library, length_us: u64) -> CUgraphExec {
    let node = kernel(library, &format!("node_{}ns", length_us * 1000 / NODES));
    let (mut stream, mut graph, mut exec) = (null_mut(), null_mut(), null_mut());
    call!(library, cuStreamCreate(&raw mut stream, 1));
    call!(library, cuStreamBeginCapture_v2(stream, 0));
    (0..NODES).for_each(|_| launch(library, node, stream));
    call!(library, cuStreamEndCapture(stream, &raw mut graph));
    call!(library, cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
    exec
}

fn saturate(library: &Library, kind: &str, length_us: u64, seconds: u64) {
    open(library);
    let function = kernel(library, &format!("work_{length_us}us"));
    let exec = if kind == "graph" { graph(library, length_us) } else { null_mut() };
    // Twenty milliseconds of work between two looks at the result.
    let batch = (20_000 / length_us).clamp(1, 400);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut launched = 0;
    while Instant::now() < until {
        for _ in 0..batch {
            let (stream, params) = (null_mut(), null_mut());
            match kind {
                "graph" => call!(library, cuGraphLaunch(exec, stream)),
                "cooperative" => call!(
                    library,
                    cuLaunchCooperativeKernel(function, 40, 1, 1, 512, 1, 1, 0, stream, params)
                ),
                _ => launch(library, function, stream),
            }
        }
        launched += batch;
        call!(library, cuCtxSynchronize());
    }
    println!("launched {launched}");
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // SAFETY: whoever calls this says that it is such a library.
    let library = unsafe { Library::new(&words[0]) }.expect("the library opens");
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok()).expect("a number");
    match words.get(1).map(String::as_str) {
        Some("check") => check(&library),
        Some("odd") => odd(&library),
        Some("small") => small(&library),
        Some("behind") => {
            let mib = usize::try_from(number(2)).expect("a size");
            behind(&library, mib << 20);
        }
        Some("room") => room(&library, usize::try_from(number(2)).expect("a size") << 20),
        Some("hold") => hold(&library, usize::try_from(number(2)).expect("a size") << 20),
        Some("freeze") => freeze(&library, number(2), &words[3]),
        Some("pin") => pin(&library, usize::try_from(number(2)).expect("a size") << 20),
        Some("saturate") => saturate(&library, &words[2], number(3), number(4)),
        other => println!("nothing to do for {other:?}"),
    }
}
