//! A program that launches and allocates through two libraries in turn, and says what each took:
//!
//! `cuda_cost WHAT THREADS COUNT ROUNDS [ours|null]`, WHAT being `launch`, `kinds` (of as many kernels in
//! turn as a step of training has) or `memory`.
//!
//! Each round each thread makes COUNT launches, or pairs of an allocation and its free, through one of
//! the libraries and then through the other, or through the named one alone. A line a round and
//! library: its name, nanoseconds from start to end, calls that serve to learn when work is over, and
//! nanoseconds of all threads in those. Libraries are named by `CUDA_LIBRARY` and `NULL_DRIVER`.
#![allow(unsafe_code)] // calls to C
#![allow(clippy::unwrap_used, clippy::print_stdout)] // it ends where it fails, and talks

use polder_gpuapi::cuda::{consts::*, pfn, types::*};
use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// Where kernels' handles are: a driver allocates them, sixteen bytes apart or any multiple of it.
const KERNEL: usize = 0x5581_2a40_0700;
/// Kernels of `kinds`.
const KINDS: usize = 24;

/// A kernel's, as if between them other things had been allocated.
fn handle(number: usize) -> usize {
    KERNEL + (number.wrapping_mul(0x9E37_79B1) % 4096) * 16
}

/// The functions of one library.
#[derive(Clone, Copy)]
struct Cuda {
    name: &'static str,
    init: pfn::cuInit,
    device: pfn::cuDeviceGet,
    create: pfn::cuCtxCreate_v2,
    set: pfn::cuCtxSetCurrent,
    stream: pfn::cuStreamCreate,
    launch: pfn::cuLaunchKernel,
    wait: pfn::cuCtxSynchronize,
    alloc: pfn::cuMemAlloc_v2,
    free: pfn::cuMemFree_v2,
}

fn symbol(variable: &str, name: &str) -> *mut c_void {
    let path = CString::new(std::env::var(variable).unwrap()).unwrap();
    let name = CString::new(name).unwrap();
    // SAFETY: C strings; the library stays open.
    let found = unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        libc::dlsym(library, name.as_ptr())
    };
    assert!(!found.is_null(), "{variable} has no {name:?}");
    found
}

impl Cuda {
    fn open(name: &'static str, variable: &str) -> Self {
        macro_rules! find {
            ($function:ident) => {
                // SAFETY: the function has this type under this name.
                unsafe {
                    std::mem::transmute::<*mut c_void, pfn::$function>(symbol(
                        variable,
                        stringify!($function),
                    ))
                }
            };
        }
        Self {
            name,
            init: find!(cuInit),
            device: find!(cuDeviceGet),
            create: find!(cuCtxCreate_v2),
            set: find!(cuCtxSetCurrent),
            stream: find!(cuStreamCreate),
            launch: find!(cuLaunchKernel),
            wait: find!(cuCtxSynchronize),
            alloc: find!(cuMemAlloc_v2),
            free: find!(cuMemFree_v2),
        }
    }

    /// A context on the lease's device, current on this thread.
    fn context(&self) -> CUcontext {
        let (mut device, mut context) = (0, null_mut());
        // SAFETY: as the API says.
        unsafe {
            assert_eq!((self.init)(0), CUDA_SUCCESS);
            assert_eq!((self.device)(&raw mut device, 0), CUDA_SUCCESS);
            assert_eq!((self.create)(&raw mut context, 0, device), CUDA_SUCCESS);
        }
        context
    }

    fn launches(&self, stream: CUstream, count: u64, kinds: usize) {
        let (nobody, nothing) = (null_mut(), null_mut());
        for kernel in (0..kinds).cycle().zip(0..count).map(|(number, _)| handle(number)) {
            let kernel: CUfunction = std::ptr::without_provenance_mut(kernel);
            // SAFETY: the driver on the other side reads none of it.
            let result =
                unsafe { (self.launch)(kernel, 64, 1, 1, 256, 1, 1, 0, stream, nobody, nothing) };
            assert_eq!(result, CUDA_SUCCESS);
        }
        // SAFETY: as the API says.
        assert_eq!(unsafe { (self.wait)() }, CUDA_SUCCESS);
    }

    fn pairs(&self, count: u64) {
        for _ in 0..count {
            let mut address = 0;
            // SAFETY: as the API says.
            unsafe {
                assert_eq!((self.alloc)(&raw mut address, 4096), CUDA_SUCCESS);
                assert_eq!((self.free)(address), CUDA_SUCCESS);
            }
        }
    }
}

struct Run {
    what: String,
    threads: usize,
    count: u64,
    timing: [extern "C" fn() -> u64; 2],
}

impl Run {
    /// One round through `cuda`: what it took from start to end, calls for timing and time in those.
    fn round(&self, cuda: Cuda, context: usize) -> [u64; 3] {
        // All of them and this one meet before and after.
        let meet = Arc::new(Barrier::new(self.threads + 1));
        let sums = Arc::new([const { AtomicU64::new(0) }; 2]);
        let (count, timing, memory) = (self.count, self.timing, self.what == "memory");
        let kinds = if self.what == "kinds" { KINDS } else { 1 };
        let threads: Vec<_> = (0..self.threads)
            .map(|_| {
                let (meet, sums) = (Arc::clone(&meet), Arc::clone(&sums));
                std::thread::spawn(move || {
                    let mut stream = null_mut();
                    // SAFETY: as the API says.
                    unsafe {
                        let context = std::ptr::with_exposed_provenance_mut(context);
                        assert_eq!((cuda.set)(context), CUDA_SUCCESS);
                        assert_eq!((cuda.stream)(&raw mut stream, 1), CUDA_SUCCESS);
                    }
                    // What the first ones pay for is not paid again.
                    if memory {
                        cuda.pairs(100)
                    } else {
                        cuda.launches(stream, 1000, kinds)
                    }
                    let before = timing.map(|ask| ask());
                    meet.wait();
                    if memory {
                        cuda.pairs(count)
                    } else {
                        cuda.launches(stream, count, kinds)
                    }
                    meet.wait();
                    for (at, sum) in sums.iter().enumerate() {
                        sum.fetch_add(timing[at]() - before[at], Ordering::Relaxed);
                    }
                })
            })
            .collect();
        meet.wait();
        let before = Instant::now();
        meet.wait();
        let wall = u64::try_from(before.elapsed().as_nanos()).unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let [calls, ns] = [0, 1].map(|at: usize| sums[at].load(Ordering::Relaxed));
        [wall, calls, ns]
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize| arguments[at].parse::<u64>().unwrap();
    let mut libraries = vec![Cuda::open("ours", "CUDA_LIBRARY"), Cuda::open("null", "NULL_DRIVER")];
    let context = libraries[0].context().expose_provenance();
    if let Some(only) = arguments.get(5) {
        libraries.retain(|library| library.name == only);
    }
    let timing = ["null_timing_calls", "null_timing_ns"].map(|name| {
        let found = symbol("NULL_DRIVER", name);
        // SAFETY: the function takes nothing and returns a number.
        unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> u64>(found) }
    });
    let run = Run {
        what: arguments[1].clone(),
        threads: usize::try_from(number(2)).unwrap(),
        count: number(3),
        timing,
    };
    for _ in 0..number(4) {
        for library in &libraries {
            let [wall, calls, ns] = run.round(*library, context);
            println!("{} {wall} {calls} {ns}", library.name);
        }
        // The order turns round, so that a drift of the machine cancels.
        libraries.reverse();
    }
}
