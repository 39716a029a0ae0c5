//! A program of a tenant that does much at once through the library: `cuda_many WHAT`, and says what came
//! of it. The library is named by `CUDA_LIBRARY`.
#![allow(unsafe_code)] // calls to C
#![allow(clippy::unwrap_used, clippy::print_stdout)] // it ends where it fails, and talks

use polder_gpuapi::cuda::{consts::*, pfn, types::*};
use std::ffi::{CString, c_void};
use std::io::BufRead as _;
use std::ptr::null_mut;

const THREADS: usize = 16;
const STEPS: usize = 3000;
const KIB: usize = 1 << 10;

fn library() -> *mut c_void {
    let path = CString::new(std::env::var("CUDA_LIBRARY").unwrap()).unwrap();
    // SAFETY: a C string; the library stays open.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null());
    library
}

macro_rules! cu {
    ($name:ident($($arg:expr),* $(,)?)) => {{
        // Looked up once for each place in the text.
        static FOUND: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
        let found = *FOUND.get_or_init(|| {
            let name = CString::new(stringify!($name)).unwrap();
            // SAFETY: a library and a C string.
            let found = unsafe { libc::dlsym(library(), name.as_ptr()) };
            assert!(!found.is_null(), "{name:?}");
            found.expose_provenance()
        });
        let found: *mut c_void = std::ptr::with_exposed_provenance_mut(found);
        // SAFETY: the function has this type under this name, and the arguments fit it.
        #[allow(clippy::macro_metavars_in_unsafe, reason = "this program's own arguments")]
        unsafe {
            let call: pfn::$name = std::mem::transmute(found);
            call($($arg),*)
        }
    }};
}

fn good(result: CUresult) {
    assert_eq!(result, CUDA_SUCCESS);
}

fn devices() -> Vec<CUdevice> {
    good(cu!(cuInit(0)));
    let mut count = 0;
    good(cu!(cuDeviceGetCount(&raw mut count)));
    let device = |ordinal| {
        let mut device = 0;
        good(cu!(cuDeviceGet(&raw mut device, ordinal)));
        device
    };
    (0..count).map(device).collect()
}

fn context(device: CUdevice) -> CUcontext {
    let mut context = null_mut();
    good(cu!(cuCtxCreate_v2(&raw mut context, 0, device)));
    context
}

fn kernel(number: usize, blocks: u32, stream: CUstream, own: bool) {
    let function: CUfunction = std::ptr::without_provenance_mut(0x1000 + number * 64);
    let nobody = null_mut();
    good(if own {
        cu!(cuLaunchKernel_ptsz(function, blocks, 1, 1, 64, 1, 1, 0, stream, nobody, null_mut()))
    } else {
        cu!(cuLaunchKernel(function, blocks, 1, 1, 64, 1, 1, 0, stream, nobody, null_mut()))
    });
}

/// One of many: contexts of its own on two devices, streams of each, and everything in turn. How much it
/// has launched.
fn one_of_many(number: usize, devices: &[CUdevice]) -> u64 {
    let mut dice = 12345 + number * 7919;
    let mut roll = |below: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    let contexts = [0, 1].map(|other| context(devices[(number + other) % devices.len()]));
    let streams = contexts.map(|context| {
        good(cu!(cuCtxSetCurrent(context)));
        [0, 1, 2].map(|_| {
            let mut stream = null_mut();
            good(cu!(cuStreamCreate(&raw mut stream, 1)));
            stream
        })
    });
    let mut event = null_mut();
    good(cu!(cuEventCreate(&raw mut event, 0)));
    let (mut at, mut launched) = (0, 0);
    good(cu!(cuCtxSetCurrent(contexts[at])));
    let mut held: Vec<CUdeviceptr> = Vec::new();
    for _ in 0..STEPS {
        match roll(100) {
            0..70 => {
                let stream = match roll(5) {
                    3 => null_mut(),
                    4 => std::ptr::without_provenance_mut(CU_STREAM_PER_THREAD),
                    named => streams[at][named],
                };
                // Most often the same kernel many times.
                let kind = if roll(4) == 0 { roll(50) } else { 0 };
                for _ in 0..=roll(20) {
                    kernel(kind, 1 << roll(3), stream, number.is_multiple_of(2));
                    launched += 1;
                }
            }
            70..80 => {
                let mut address = 0;
                good(cu!(cuMemAlloc_v2(&raw mut address, (1 + roll(64)) * KIB)));
                held.push(address);
            }
            80..90 => {
                if let Some(address) = held.pop() {
                    good(cu!(cuMemFree_v2(address)));
                }
            }
            90..93 => good(cu!(cuStreamSynchronize(streams[at][roll(3)]))),
            93..95 => {
                good(cu!(cuEventRecord(event, streams[at][roll(3)])));
                good(cu!(cuEventSynchronize(event)));
            }
            95..97 => {
                at = 1 - at;
                good(cu!(cuCtxSetCurrent(contexts[at])));
            }
            97..99 => {
                let mut popped = null_mut();
                good(cu!(cuCtxPushCurrent_v2(contexts[1 - at])));
                kernel(0, 1, null_mut(), false);
                launched += 1;
                good(cu!(cuCtxPopCurrent_v2(&raw mut popped)));
                assert_eq!(popped, contexts[1 - at]);
            }
            _ => good(cu!(cuCtxSynchronize())),
        }
    }
    for (place, context) in contexts.into_iter().enumerate() {
        good(cu!(cuCtxSetCurrent(context)));
        good(cu!(cuStreamSynchronize_ptsz(null_mut())));
        good(cu!(cuCtxSynchronize()));
        good(cu!(cuStreamDestroy_v2(streams[place][0])));
        // The other streams, and what is still held, end with the context.
        good(cu!(cuCtxDestroy_v2(context)));
    }
    launched
}

fn many() {
    let devices = devices();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let devices = devices.clone();
            std::thread::spawn(move || one_of_many(number, &devices))
        })
        .collect();
    let launched: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("launched {launched} on {}", devices.len());
    pause();
}

fn pause() {
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// A device's primary context is kept and let go many times: what is in it ends with the last.
fn primary() {
    let device = devices()[0];
    let retain = || {
        let mut context = null_mut();
        good(cu!(cuDevicePrimaryCtxRetain(&raw mut context, device)));
        good(cu!(cuCtxSetCurrent(context)));
    };
    for round in 0..50 {
        (0..20).for_each(|_| retain());
        let mut address = 0;
        good(cu!(cuMemAlloc_v2(&raw mut address, (1 + round) * KIB)));
        kernel(0, 1, null_mut(), false);
        for _ in 0..19 {
            good(cu!(cuDevicePrimaryCtxRelease_v2(device)));
        }
        if round == 0 {
            pause();
        }
        good(cu!(cuDevicePrimaryCtxRelease_v2(device)));
    }
    pause();
}

/// Memory that another process opens.
fn share() {
    context(devices()[0]);
    let (mut address, mut handle) = (0, CUipcMemHandle { reserved: [0; 64] });
    good(cu!(cuMemAlloc_v2(&raw mut address, 100 * KIB)));
    good(cu!(cuIpcGetMemHandle(&raw mut handle, address)));
    println!("address {address}");
    pause();
    good(cu!(cuMemFree_v2(address)));
    pause();
}

fn open(address: u64) {
    context(devices()[0]);
    let (mut opened, mut handle) = (0, CUipcMemHandle { reserved: [0; 64] });
    handle.reserved[..8].copy_from_slice(&address.to_le_bytes());
    good(cu!(cuIpcOpenMemHandle_v2(&raw mut opened, handle, 1)));
    println!("opened {}", opened == address);
    pause();
    good(cu!(cuIpcCloseMemHandle(opened)));
    pause();
}

/// What of the process somebody else could have made: its mask for new files, threads, signals that are
/// caught, mappings.
fn cost() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let wanted =
        |line: &&str| ["Umask:", "Threads:", "SigCgt:"].iter().any(|name| line.starts_with(name));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().any(|line| line.contains("cuda.so") || line.contains("polder_"));
    let mut all: Vec<String> = status.lines().filter(wanted).map(str::to_owned).collect();
    all.push(format!("mapped {mapped}"));
    all
}

fn idle(loaded: bool) {
    let before = cost();
    if loaded {
        library();
    }
    let after = cost();
    println!("same mask, threads and handlers {}", before[..3] == after[..3]);
    println!("{}", after[3]);
}

/// The same after it has worked.
fn worked() {
    let before = cost();
    context(devices()[0]);
    let mut address = 0;
    good(cu!(cuMemAlloc_v2(&raw mut address, KIB)));
    kernel(0, 1, null_mut(), false);
    good(cu!(cuCtxSynchronize()));
    good(cu!(cuMemFree_v2(address)));
    println!("same mask, threads and handlers {}", before[..3] == cost()[..3]);
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words[1].as_str() {
        "many" => many(),
        "primary" => primary(),
        "share" => share(),
        "open" => open(words[2].parse().unwrap()),
        "without" => idle(false),
        "loaded" => idle(true),
        "worked" => worked(),
        other => panic!("{other}"),
    }
}
