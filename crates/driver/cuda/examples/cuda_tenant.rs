//! A program of a tenant: loads `libcuda.so.1` as any would, does what its argument says, and says
//! what came of it.
#![allow(unsafe_code)] // calls to C
#![allow(clippy::unwrap_used, clippy::print_stdout)] // it ends where it fails, and talks

use polder_gpuapi::cuda::{Function, consts::*, pfn, types::*};
use std::ffi::{CString, c_void};
use std::io::BufRead as _;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};

/// The address of an exported function.
fn address(name: &str) -> *mut c_void {
    let library = CString::new(std::env::var("CUDA_LIBRARY").unwrap()).unwrap();
    let name = CString::new(name).unwrap();
    // SAFETY: C strings; the library stays open.
    let found =
        unsafe { libc::dlsym(libc::dlopen(library.as_ptr(), libc::RTLD_NOW), name.as_ptr()) };
    assert!(!found.is_null(), "{name:?} is not exported");
    found
}

macro_rules! cu {
    ($name:ident($($arg:expr),* $(,)?)) => {{
        // SAFETY: the function has the type that the table says, and the arguments fit it.
        unsafe {
            let call: pfn::$name = std::mem::transmute(address(stringify!($name)));
            call($($arg),*)
        }
    }};
}

fn stub(name: &str) -> u32 {
    let path = CString::new(std::env::var("STUB").unwrap()).unwrap();
    let name = CString::new(name).unwrap();
    // SAFETY: the stand-in is loaded already; the function takes nothing and returns a number.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        let call: extern "C" fn() -> u32 = std::mem::transmute(libc::dlsym(library, name.as_ptr()));
        call()
    }
}

fn step(name: &str, result: CUresult) {
    println!("{name} {result}");
}

fn pause() {
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

fn context(ordinal: i32) -> CUcontext {
    let (mut device, mut context) = (0, null_mut());
    assert_eq!(cu!(cuInit(0)), CUDA_SUCCESS);
    assert_eq!(cu!(cuDeviceGet(&raw mut device, ordinal)), CUDA_SUCCESS);
    assert_eq!(cu!(cuCtxCreate_v2(&raw mut context, 0, device)), CUDA_SUCCESS);
    context
}

fn kernel(function: usize, micros: u32, stream: CUstream) -> CUresult {
    let function: CUfunction = std::ptr::without_provenance_mut(function);
    cu!(cuLaunchKernel(function, micros, 1, 1, 1, 1, 1, 0, stream, null_mut(), null_mut()))
}

fn devices() {
    step("init", cu!(cuInit(0)));
    let mut count = -1;
    step("count", cu!(cuDeviceGetCount(&raw mut count)));
    println!("devices {count}");
    for ordinal in 0..count.max(1) {
        let mut device = -1;
        step("get", cu!(cuDeviceGet(&raw mut device, ordinal)));
        println!("handle {device}");
        let mut total = 0;
        cu!(cuDeviceTotalMem_v2(&raw mut total, device));
        println!("total {}", total >> 20);
    }
    let mut device = -1;
    step("beyond", cu!(cuDeviceGet(&raw mut device, count)));
    let id = CString::new("0").unwrap();
    step("by id", cu!(cuDeviceGetByPCIBusId(&raw mut device, id.as_ptr())));
    let mut context: CUcontext = null_mut();
    step("context on another's", cu!(cuCtxCreate_v2(&raw mut context, 0, 0)));
    step("primary of another's", cu!(cuDevicePrimaryCtxRetain(&raw mut context, 0)));
}

fn memory() {
    let first = context(0);
    let mib = 1 << 20;
    let info = || {
        let (mut free, mut total) = (0, 0);
        cu!(cuMemGetInfo_v2(&raw mut free, &raw mut total));
        println!("free {} of {}", free >> 20, total >> 20);
    };
    info();
    let (mut a, mut b) = (0, 0);
    step("alloc 40", cu!(cuMemAlloc_v2(&raw mut a, 40 * mib)));
    step("alloc 30", cu!(cuMemAlloc_v2(&raw mut b, 30 * mib)));
    info();
    step("free", cu!(cuMemFree_v2(a)));
    step("free again", cu!(cuMemFree_v2(a)));
    info();
    let mut pitch = 0;
    step("pitch", cu!(cuMemAllocPitch_v2(&raw mut a, &raw mut pitch, 10, 16384, 4)));
    info();
    step("free", cu!(cuMemFree_v2(a)));
    let mut managed = 0;
    step("managed", cu!(cuMemAllocManaged(&raw mut managed, 65 * mib, 1)));
    step("nothing", cu!(cuMemAlloc_v2(&raw mut a, 0)));
    let mut host = null_mut();
    step("host", cu!(cuMemHostAlloc(&raw mut host, 500 * mib, 0)));
    info();
    let wishes = CUDA_ARRAY_DESCRIPTOR {
        Width: 1024,
        Height: 1024,
        Format: CU_AD_FORMAT_FLOAT,
        NumChannels: 4,
    };
    let mut array: CUarray = null_mut();
    step("array", cu!(cuArrayCreate_v2(&raw mut array, &raw const wishes)));
    info();
    step("managed gone", cu!(cuMemFree_v2(managed)));
    step("array", cu!(cuArrayCreate_v2(&raw mut array, &raw const wishes)));
    info();
    step("array gone", cu!(cuArrayDestroy(array)));
    let wishes = physical(CU_MEM_LOCATION_TYPE_DEVICE, 1);
    let mut handle = 0;
    step("physical", cu!(cuMemCreate(&raw mut handle, 32 * mib, &raw const wishes, 0)));
    step("map", cu!(cuMemMap(0x9000_0000, 32 * mib, 0, handle, 0)));
    step("release", cu!(cuMemRelease(handle)));
    info();
    step("unmap", cu!(cuMemUnmap(0x9000_0000, 32 * mib)));
    info();
    step("async", cu!(cuMemAllocAsync(&raw mut a, 20 * mib, null_mut())));
    step("async freed", cu!(cuMemFreeAsync(a, null_mut())));
    info();
    let mut pool = null_mut();
    cu!(cuDeviceGetMemPool(&raw mut pool, 1));
    step("trim", cu!(cuMemPoolTrimTo(pool, 0)));
    info();
    step("alloc 40", cu!(cuMemAlloc_v2(&raw mut b, 40 * mib)));
    step("context gone", cu!(cuCtxDestroy_v2(first)));
    let _second = context(0);
    info();
}

/// Wishes for physical memory in a place of this kind.
fn physical(kind: u32, id: i32) -> CUmemAllocationProp {
    CUmemAllocationProp {
        kind: 1,
        requestedHandleTypes: 0,
        location: CUmemLocation { kind, id },
        win32HandleMetaData: null_mut(),
        compressionType: 0,
        gpuDirectRDMACapable: 0,
        usage: 0,
        reserved: [0; 4],
    }
}

/// Pins host memory in every way there is, and gives it back.
fn pinned() {
    let first = context(0);
    let mib = 1 << 20;
    let info = || {
        let (mut free, mut total) = (0, 0);
        cu!(cuMemGetInfo_v2(&raw mut free, &raw mut total));
        println!("free {} of {}", free >> 20, total >> 20);
        pause();
    };
    let mut at = [null_mut::<c_void>(); 3];
    let [a, b, c] = &mut at;
    step("first", cu!(cuMemHostAlloc(&raw mut *a, 500 * mib, 0)));
    step("second", cu!(cuMemAllocHost_v2(&raw mut *b, 30 * mib)));
    step("third", cu!(cuMemAllocHost(&raw mut *c, 2 << 20)));
    step("nothing", cu!(cuMemHostAlloc(&raw mut *a, 0, 0)));
    let place = |at: usize| std::ptr::without_provenance_mut::<c_void>(at);
    step("registered", cu!(cuMemHostRegister_v2(place(0x7000_0000), 7 * mib, 0)));
    step("registered", cu!(cuMemHostRegister(place(0x8000_0000), mib, 0)));
    step("nothing", cu!(cuMemHostRegister_v2(place(0x9000_0000), 0, 0)));
    info();
    step("freed", cu!(cuMemFreeHost(*b)));
    step("freed nothing", cu!(cuMemFreeHost(null_mut())));
    step("unregistered", cu!(cuMemHostUnregister(place(0x8000_0000))));
    step("never was", cu!(cuMemHostUnregister(place(0x7000_0001))));
    info();
    let wishes = physical(CU_MEM_LOCATION_TYPE_HOST, 0);
    let mut handle = 0;
    step("physical", cu!(cuMemCreate(&raw mut handle, 16 * mib, &raw const wishes, 0)));
    info();
    step("released", cu!(cuMemRelease(handle)));
    step("context gone", cu!(cuCtxDestroy_v2(first)));
    let _second = context(0);
    info();
    step("again", cu!(cuMemHostAlloc(&raw mut *a, 5 * mib, 0)));
    info();
}

/// Launches kernels of so many microseconds and waits for all.
fn launch(micros: u32, count: u32) {
    context(0);
    pause();
    for _ in 0..count {
        assert_eq!(kernel(7, micros, null_mut()), CUDA_SUCCESS);
    }
    println!("launched {}", stub("stub_launches"));
    pause();
    step("synchronised", cu!(cuCtxSynchronize()));
    pause();
}

static TRIED: AtomicI32 = AtomicI32::new(-1);

unsafe extern "C" fn launches(_data: *mut c_void) {
    TRIED.store(kernel(7, 1, null_mut()).cast_signed(), Ordering::Release);
}

/// A host function that launches, which the API does not permit.
fn from_host() {
    context(0);
    let before = stub("stub_launches");
    pause();
    let called = cu!(cuLaunchHostFunc(null_mut(), Some(launches), null_mut()));
    assert_eq!(called, CUDA_SUCCESS);
    while TRIED.load(Ordering::Acquire) < 0 {
        std::thread::yield_now();
    }
    println!("from a host function {}", TRIED.load(Ordering::Acquire));
    println!("launched {}", stub("stub_launches") - before);
}

fn kinds() {
    context(0);
    let config = CUlaunchConfig {
        gridDimX: 50,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 1,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: null_mut(),
        attrs: null_mut(),
        numAttrs: 0,
    };
    let nobody = null_mut();
    step("ex", cu!(cuLaunchKernelEx(&raw const config, null_mut(), nobody, nobody)));
    let graph: CUgraphExec = std::ptr::without_provenance_mut(50);
    step("graph", cu!(cuGraphLaunch(graph, null_mut())));
    let per_thread: pfn::cuLaunchKernel_ptsz =
        // SAFETY: the function has this type.
        unsafe { std::mem::transmute(address("cuLaunchKernel_ptsz")) };
    // SAFETY: the arguments fit it.
    let result =
        unsafe { per_thread(null_mut(), 50, 1, 1, 1, 1, 1, 0, null_mut(), nobody, nobody) };
    step("per thread", result);
    println!("per thread {}", stub("stub_per_thread"));
    step("fill", cu!(cuMemsetD8_v2(0, 0, 1000)));
    step("copy", cu!(cuMemcpyDtoH_v2(null_mut(), 0, 1000)));
    pause();
}

fn capture() {
    context(0);
    let (mut stream, mut graph) = (null_mut(), null_mut());
    step("stream", cu!(cuStreamCreate(&raw mut stream, 1)));
    step("begin", cu!(cuStreamBeginCapture_v2(stream, 0)));
    pause();
    for _ in 0..100 {
        assert_eq!(kernel(7, 5000, stream), CUDA_SUCCESS);
    }
    let mut address = 0;
    step("alloc", cu!(cuMemAllocAsync(&raw mut address, 1 << 40, stream)));
    step("end", cu!(cuStreamEndCapture(stream, &raw mut graph)));
    println!("nodes {} events {}", graph.addr(), stub("stub_into_capture"));
    pause();
}

fn free_mib() -> usize {
    let (mut free, mut total) = (0, 0);
    assert_eq!(cu!(cuMemGetInfo_v2(&raw mut free, &raw mut total)), CUDA_SUCCESS);
    free >> 20
}

/// A graph that allocates, made executable as often as there is room.
fn graph() {
    context(0);
    let (mut stream, mut graph, mut address) = (null_mut(), null_mut(), 0);
    assert_eq!(cu!(cuStreamCreate(&raw mut stream, 1)), CUDA_SUCCESS);
    assert_eq!(cu!(cuStreamBeginCapture_v2(stream, 0)), CUDA_SUCCESS);
    step("node", cu!(cuMemAllocAsync(&raw mut address, 40 << 20, stream)));
    step("end", cu!(cuStreamEndCapture(stream, &raw mut graph)));
    println!("free {}", free_mib());
    let mut made = [null_mut(); 3];
    for at in &mut made {
        step("executable", cu!(cuGraphInstantiateWithFlags(at, graph, 0)));
    }
    println!("free {}", free_mib());
    step("destroyed", cu!(cuGraphExecDestroy(made[0])));
    println!("free {}", free_mib());
}

/// What `cuGetProcAddress` says: ours where the function is hooked.
fn addresses() {
    assert_eq!(cu!(cuInit(0)), CUDA_SUCCESS);
    let path = CString::new(std::env::var("STUB").unwrap()).unwrap();
    // SAFETY: the stand-in is loaded already, and told its own path.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        let name = c"stub_path";
        let tell: extern "C" fn(*const std::ffi::c_char) =
            std::mem::transmute(libc::dlsym(library, name.as_ptr()));
        tell(path.as_ptr());
    }
    let owner = |address: *mut c_void| {
        let mut info: libc::Dl_info =
            // SAFETY: all zero is a value of it.
            unsafe { std::mem::zeroed() };
        // SAFETY: an address, and room for the answer.
        if unsafe { libc::dladdr(address, &raw mut info) } == 0 || info.dli_fname.is_null() {
            return "nobody";
        }
        // SAFETY: the loader's own string.
        let name = unsafe { std::ffi::CStr::from_ptr(info.dli_fname) }.to_string_lossy();
        if name.contains("polder") { "ours" } else { "theirs" }
    };
    for (name, version, flags) in [
        ("cuMemAlloc", 12000, 0),
        ("cuLaunchKernel", 12000, 0),
        ("cuLaunchKernel", 12000, 2),
        ("cuStreamCreate", 12000, 0),
        ("cuGetProcAddress", 12000, 0),
        ("cuMemAllocAsync", 11000, 0),
        ("cuNoSuchThing", 12000, 0),
    ] {
        let (mut found, mut status) = (null_mut(), 99);
        let symbol = CString::new(name).unwrap();
        let at = &raw mut found;
        let result = cu!(cuGetProcAddress_v2(symbol.as_ptr(), at, version, flags, &raw mut status));
        println!("{name} {version} {flags}: {result} {status} {}", owner(found));
    }
    let mut table: *const c_void = null();
    step("private", cu!(cuGetExportTable(&raw mut table, null())));
    println!("table {:x}", table.addr());
    step("absent", cu!(cuMemAllocAsync_ptsz(null_mut(), 1, null_mut())));
}

fn fork() {
    context(0);
    let mut address = 0;
    step("parent", cu!(cuMemAlloc_v2(&raw mut address, 10 << 20)));
    // SAFETY: the child calls only what a child may, and ends without running anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut other = 0;
        let result = cu!(cuMemAlloc_v2(&raw mut other, 95 << 20));
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::try_from(result).unwrap()) };
    }
    let mut status = 0;
    // SAFETY: waits for the child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    println!("child {}", libc::WEXITSTATUS(status));
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize| arguments[at].parse().unwrap();
    match arguments[1].as_str() {
        "devices" => devices(),
        "memory" => memory(),
        "pinned" => pinned(),
        "launch" => launch(number(2), number(3)),
        "from-host" => from_host(),
        "kinds" => kinds(),
        "capture" => capture(),
        "graph" => graph(),
        "addresses" => addresses(),
        "fork" => fork(),
        "exports" => {
            Function::all().map(Function::name).for_each(|name| assert!(!address(name).is_null()));
            println!("exports {}", Function::all().len());
        }
        "init" => step("init", cu!(cuInit(0))),
        other => panic!("{other}"),
    }
}
