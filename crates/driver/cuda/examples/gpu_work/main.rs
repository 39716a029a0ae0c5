//! A tenant's program for a real card, and for the stand-in: `gpu_work WHAT ...`. It loads
//! `libcuda.so.1` as any program does and needs no CUDA toolkit: its kernels are PTX, which the driver
//! compiles. What it measured it prints as one line of JSON, the last. Used by `cargo xtask gpu`.
//!
//! * `check`: goes once through memory, copies, kernels whose results are looked at, events, streams
//!   and a graph, and says what it found.
//! * `info`: the card as the driver tells it.
//! * `calibrate MICROSECONDS`: rounds of the kernel's loop that take so long.
//! * `load MICROSECONDS ROUNDS SECONDS AT_NS`: kernels of that length as fast as they are taken, from
//!   that time of the monotonic clock (0: at once) for so many seconds.
//! * `latency MICROSECONDS ROUNDS REQUESTS PERIOD_MS`: a kernel every so often, and how long each took.
//! * `memory`: takes 64 MiB at a time until it is refused.
//! * `context`: takes 256 MiB, waits until its context should be counted too, and says what of its slice
//!   is used; stays for as long again.
//! * `behind MIB`: takes so much in pieces, writes all of it, and says how much came back as written.
//! * `mark` and `seek`: one leaves a pattern in a GiB; the other takes a GiB and says how much of the pattern
//!   is in it.
//! * `rates MICROSECONDS ROUNDS SECONDS TOGETHER`: waits for so many of them at a time, and says how many ended in
//!   each tenth of a second.
//! * `away SECONDS`: fills a GiB, works, and has another process move it off the card for so long, and back
//!   (`move PID SECONDS`); says for how long it worked and was away, and how much came back as it was.
//! * `stay SECONDS`: says when it is on the card, and stays there.
//! * `vendor`: which file the library came from.
//! * `launches COUNT ROUNDS`: what a launch costs the caller, of kernels as short as can be and of such a length,
//!   through the library that programs find and, in a lease, through the vendor's behind it in turn.
//! * `fault`: writes where no memory is.
//!
//! `GPU_WORK_MULTIPROCESSORS` says how many the whole card has, for programs that see a part of it.
//!
//! A kernel's work is a fixed number of rounds, never a time to pass: one that is kept from the device
//! takes longer. The stand-in computes nothing and takes a kernel's length from its name.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]
#![allow(unsafe_code)] // it calls a C library

use libloading::Library;
use polder_gpuapi::cuda::consts::{CUDA_ERROR_OUT_OF_MEMORY, CUDA_SUCCESS};
use polder_gpuapi::cuda::pfn;
use polder_gpuapi::cuda::types::*;
use std::ffi::{CString, c_void};
use std::process::ExitCode;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// What is taken at a time by `memory`.
const CHUNK_BYTES: usize = 64 << 20;
/// What `context` takes, and how long it waits.
const BESIDE_CONTEXT_BYTES: usize = 256 << 20;
const CONTEXT_WAIT: Duration = Duration::from_secs(3);
/// Most chunks: more than any card has.
const CHUNKS_MAX: usize = 1 << 14;
/// What `mark` writes, and how much of it.
const PATTERN: u32 = 0x706f_6c64;
const MARKED_BYTES: usize = 1 << 30;
const TENTH_NS: u64 = 100_000_000;
/// Rounds with which a kernel is measured for the first time.
const ROUNDS_FIRST: u64 = 20_000;
/// Words that `check` has a kernel write.
const WORDS: usize = 1 << 16;
/// Threads of a block, and blocks for each multiprocessor.
const THREADS: u32 = 256;
const BLOCKS_EACH: u32 = 8;
/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT`.
const MULTIPROCESSORS: u32 = 16;

/// A function of the library under its own name and type.
macro_rules! function {
    ($library:expr, $name:ident) => {{
        // SAFETY: the export of this name has this type.
        let found = unsafe { $library.get::<pfn::$name>(stringify!($name).as_bytes()) };
        *found.expect(stringify!($name))
    }};
}

/// Calls it and returns its result.
macro_rules! code {
    ($library:expr, $name:ident($($arg:expr),*)) => {{
        let function = function!($library, $name);
        // SAFETY: arguments as the API wants them.
        unsafe { function($($arg),*) }
    }};
}

/// Calls it and expects success.
macro_rules! call {
    ($library:expr, $name:ident($($arg:expr),*)) => {{
        let code = code!($library, $name($($arg),*));
        assert_eq!(code, CUDA_SUCCESS, "{} failed", stringify!($name));
    }};
}

mod away;

/// All kernels; the name of the one that works says how long it takes, to the stand-in.
fn ptx(length_us: u64) -> String {
    let round = "  fma.rn.f32 %x, %x, %y, %y;\n".repeat(16);
    format!(
        ".version 6.0\n.target sm_50\n.address_size 64\n\
         .visible .entry work_{length_us}us(.param .u64 rounds, .param .u64 out)\n{{\n\
         .reg .u64 %n, %o;\n.reg .f32 %x, %y;\n.reg .pred %p;\n\
         ld.param.u64 %n, [rounds];\nld.param.u64 %o, [out];\ncvta.to.global.u64 %o, %o;\n\
         mov.f32 %x, 0f3F800000;\nmov.f32 %y, 0f3F000000;\n\
         LOOP:\n{round}sub.u64 %n, %n, 1;\nsetp.ne.u64 %p, %n, 0;\n@%p bra LOOP;\n\
         st.global.f32 [%o], %x;\nret;\n}}\n\
         .visible .entry index_10us(.param .u64 out)\n{{\n\
         .reg .u64 %o, %a;\n.reg .u32 %t, %b, %d, %i;\n\
         ld.param.u64 %o, [out];\ncvta.to.global.u64 %o, %o;\n\
         mov.u32 %t, %tid.x;\nmov.u32 %b, %ctaid.x;\nmov.u32 %d, %ntid.x;\n\
         mad.lo.u32 %i, %b, %d, %t;\nmul.wide.u32 %a, %i, 4;\nadd.u64 %a, %o, %a;\n\
         st.global.u32 [%a], %i;\nret;\n}}\n\
         .visible .entry fault_10us()\n{{\n.reg .u64 %a;\n.reg .u32 %v;\n\
         mov.u64 %a, 64;\nmov.u32 %v, 1;\nst.global.u32 [%a], %v;\nret;\n}}\n"
    )
}

/// A context on the first device that is seen, with the kernels loaded.
struct Card {
    library: Library,
    module: CUmodule,
    /// Multiprocessors that the driver tells of here.
    seen: u32,
    blocks: u32,
    out: CUdeviceptr,
}

impl Card {
    fn open(length_us: u64) -> Self {
        // SAFETY: the vendor's library, or one in its place.
        let library = unsafe { Library::new("libcuda.so.1") }.expect("libcuda.so.1 opens");
        let mut context = null_mut();
        call!(library, cuInit(0));
        call!(library, cuDevicePrimaryCtxRetain(&raw mut context, 0));
        call!(library, cuCtxSetCurrent(context));
        let mut number = 0;
        call!(library, cuDeviceGetAttribute(&raw mut number, MULTIPROCESSORS, 0));
        let text = CString::new(ptx(length_us)).expect("no zero in it");
        let (mut module, mut out) = (null_mut(), 0);
        call!(library, cuModuleLoadData(&raw mut module, text.as_ptr().cast()));
        call!(library, cuMemAlloc_v2(&raw mut out, WORDS * 4));
        // As many threads as the whole card holds, whatever part of it is seen here: so a part of its
        // multiprocessors is a part of the speed.
        let seen = u32::try_from(number).unwrap_or(1).max(1);
        let told = std::env::var("GPU_WORK_MULTIPROCESSORS").ok();
        let multiprocessors = told.and_then(|told| told.parse().ok()).unwrap_or(seen);
        let blocks = BLOCKS_EACH * multiprocessors;
        Self { library, module, seen, blocks, out }
    }

    fn kernel(&self, name: &str) -> CUfunction {
        let name = CString::new(name).expect("no zero in it");
        let mut function = null_mut();
        call!(self.library, cuModuleGetFunction(&raw mut function, self.module, name.as_ptr()));
        function
    }

    fn work(&self, length_us: u64) -> CUfunction {
        self.kernel(&format!("work_{length_us}us"))
    }

    fn launch(&self, function: CUfunction, rounds: u64, stream: CUstream) {
        let (mut rounds, mut out) = (rounds.max(1), self.out);
        let mut values: [*mut c_void; 2] = [(&raw mut rounds).cast(), (&raw mut out).cast()];
        let (blocks, values) = (self.blocks, values.as_mut_ptr());
        call!(
            self.library,
            cuLaunchKernel(function, blocks, 1, 1, THREADS, 1, 1, 0, stream, values, null_mut())
        );
    }

    fn synchronize(&self) {
        call!(self.library, cuCtxSynchronize());
    }

    /// Milliseconds between two events around `count` kernels.
    fn timed(&self, function: CUfunction, rounds: u64, count: u32) -> f64 {
        let (mut start, mut end, mut took) = (null_mut(), null_mut(), 0.0);
        call!(self.library, cuEventCreate(&raw mut start, 0));
        call!(self.library, cuEventCreate(&raw mut end, 0));
        call!(self.library, cuEventRecord(start, null_mut()));
        (0..count).for_each(|_| self.launch(function, rounds, null_mut()));
        call!(self.library, cuEventRecord(end, null_mut()));
        call!(self.library, cuEventSynchronize(end));
        call!(self.library, cuEventElapsedTime(&raw mut took, start, end));
        f64::from(took)
    }
}

fn info() {
    let card = Card::open(10);
    let library = &card.library;
    let (mut count, mut version, mut total, mut free, mut all) = (0, 0, 0, 0, 0);
    call!(library, cuDeviceGetCount(&raw mut count));
    call!(library, cuDriverGetVersion(&raw mut version));
    call!(library, cuDeviceTotalMem_v2(&raw mut total, 0));
    call!(library, cuMemGetInfo_v2(&raw mut free, &raw mut all));
    let mut text = [0; 96];
    call!(library, cuDeviceGetName(text.as_mut_ptr(), 95, 0));
    // SAFETY: the call has put an end to it.
    let name = unsafe { std::ffi::CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned();
    println!(
        "{{\"devices\": {count}, \"name\": {name:?}, \"version\": {version}, \"total\": {total}, \
         \"free\": {free}, \"total_of_context\": {all}, \"multiprocessors\": {}}}",
        card.seen
    );
}

fn calibrate(length_us: u64) {
    let card = Card::open(length_us);
    let function = card.work(length_us);
    card.timed(function, ROUNDS_FIRST, 3);
    let mut rounds = ROUNDS_FIRST;
    // The second step begins near the length that is wanted, where the clock is what it will be.
    for _ in 0..2 {
        let each_us = card.timed(function, rounds, 20) * 1000.0 / 20.0;
        rounds = scaled(rounds, length_us as f64 / each_us.max(0.001));
    }
    let took_us = card.timed(function, rounds, 20) * 1000.0 / 20.0;
    let seen = card.seen;
    println!("{{\"rounds\": {rounds}, \"took_us\": {took_us:.1}, \"multiprocessors\": {seen}}}");
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held to a range")]
fn scaled(rounds: u64, by: f64) -> u64 {
    (rounds as f64 * by).clamp(1.0, 1e12) as u64
}

/// The monotonic clock, nanoseconds.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let whole = u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000;
    whole + u64::try_from(now.tv_nsec).unwrap_or(0)
}

fn load(length_us: u64, rounds: u64, seconds: u64, at_ns: u64) {
    let card = Card::open(length_us);
    let function = card.work(length_us);
    card.launch(function, rounds, null_mut());
    card.synchronize();
    let ready = now_ns();
    let from = if at_ns == 0 { ready } else { at_ns };
    std::thread::sleep(Duration::from_nanos(from.saturating_sub(ready)));
    let until = from + seconds * 1_000_000_000;
    // Twenty milliseconds of work between two looks at the result.
    let batch = (20_000 / length_us.max(1)).clamp(1, 400);
    let mut kernels = 0;
    while now_ns() < until {
        (0..batch).for_each(|_| card.launch(function, rounds, null_mut()));
        card.synchronize();
        kernels += batch;
    }
    let wall = now_ns().saturating_sub(from) as f64 / 1e9;
    let on_time = ready <= from;
    println!("{{\"kernels\": {kernels}, \"seconds\": {wall:.3}, \"on_time\": {on_time}}}");
}

fn latency(length_us: u64, rounds: u64, requests: u64, period: Duration) {
    let card = Card::open(length_us);
    let function = card.work(length_us);
    card.launch(function, rounds, null_mut());
    card.synchronize();
    let mut took: Vec<f64> = Vec::new();
    let from = Instant::now();
    for request in 0..requests {
        let due = from + period * u32::try_from(request).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let begun = Instant::now();
        card.launch(function, rounds, null_mut());
        card.synchronize();
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: usize| took.get((took.len() * part / 100).min(took.len() - 1)).copied();
    let (middle, high) = (at(50).unwrap_or(0.0), at(99).unwrap_or(0.0));
    println!("{{\"requests\": {}, \"p50_ms\": {middle:.3}, \"p99_ms\": {high:.3}}}", took.len());
}

fn memory() {
    let card = Card::open(10);
    let mut held = Vec::new();
    let mut last = CUDA_SUCCESS;
    while held.len() < CHUNKS_MAX {
        let mut at = 0;
        last = code!(card.library, cuMemAlloc_v2(&raw mut at, CHUNK_BYTES));
        if last != CUDA_SUCCESS {
            break;
        }
        held.push(at);
    }
    let bytes = held.len() * CHUNK_BYTES;
    // What is given back can be had again.
    let given = held.pop().is_some_and(|at| {
        let mut again = 0;
        call!(card.library, cuMemFree_v2(at));
        code!(card.library, cuMemAlloc_v2(&raw mut again, CHUNK_BYTES)) == CUDA_SUCCESS
    });
    println!(
        "{{\"bytes\": {bytes}, \"refused\": {}, \"out_of_memory\": {}, \"given_back\": {given}}}",
        last,
        last == CUDA_ERROR_OUT_OF_MEMORY
    );
}

fn context() {
    let card = Card::open(1);
    let (mut at, mut free, mut total) = (0, 0, 0);
    call!(card.library, cuMemAlloc_v2(&raw mut at, BESIDE_CONTEXT_BYTES));
    std::thread::sleep(CONTEXT_WAIT);
    call!(card.library, cuMemGetInfo_v2(&raw mut free, &raw mut total));
    std::thread::sleep(CONTEXT_WAIT);
    let pid = std::process::id();
    println!(
        "{{\"pid\": {pid}, \"allocated\": {BESIDE_CONTEXT_BYTES}, \"used\": {}}}",
        total - free
    );
}

/// Not kept back until the end.
fn at_once(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads");
}

fn stay(length: Duration) {
    let card = Card::open(10);
    card.launch(card.work(10), 1, null_mut());
    card.synchronize();
    at_once(&format!("{{\"on_card_ns\": {}}}", now_ns()));
    std::thread::sleep(length);
}

fn rates(length_us: u64, rounds: u64, seconds: u64, together: u64) {
    let card = Card::open(length_us);
    let function = card.work(length_us);
    card.launch(function, rounds, null_mut());
    card.synchronize();
    let from = now_ns();
    let mut ended = vec![0_u64; usize::try_from(seconds * 10).unwrap_or(1)];
    let at = || usize::try_from((now_ns() - from) / TENTH_NS).unwrap_or(usize::MAX);
    while at() < ended.len() {
        (0..together).for_each(|_| card.launch(function, rounds, null_mut()));
        card.synchronize();
        if let Some(count) = ended.get_mut(at()) {
            *count += together;
        }
    }
    println!("{{\"from_ns\": {from}, \"ended\": {ended:?}}}");
}

/// Device memory of this size in pieces, or what was refused.
fn pieces(card: &Card, bytes: usize) -> Result<Vec<CUdeviceptr>, CUresult> {
    let one = |_| {
        let mut at = 0;
        let code = code!(card.library, cuMemAlloc_v2(&raw mut at, CHUNK_BYTES));
        if code == CUDA_SUCCESS { Ok(at) } else { Err(code) }
    };
    (0..bytes / CHUNK_BYTES).map(one).collect()
}

fn behind(bytes: usize) {
    let card = Card::open(10);
    let held = match pieces(&card, bytes) {
        Ok(held) => held,
        Err(refused) => return println!("{{\"refused\": {refused}, \"right\": 0}}"),
    };
    let (mut right, mut back) = (0, vec![0_u32; CHUNK_BYTES / 4]);
    for (word, at) in (PATTERN..).zip(&held) {
        call!(card.library, cuMemsetD32_v2(*at, word, CHUNK_BYTES / 4));
    }
    for (word, at) in (PATTERN..).zip(&held) {
        call!(card.library, cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), *at, CHUNK_BYTES));
        right += if back.iter().all(|found| *found == word) { CHUNK_BYTES } else { 0 };
    }
    println!("{{\"refused\": 0, \"right\": {right}}}");
}

fn mark() {
    let card = Card::open(10);
    let held = pieces(&card, MARKED_BYTES).expect("there is a GiB");
    for at in &held {
        call!(card.library, cuMemsetD32_v2(*at, PATTERN, CHUNK_BYTES / 4));
    }
    card.synchronize();
    println!("{{\"marked\": {}}}", held.len() * CHUNK_BYTES);
}

fn seek() {
    let card = Card::open(10);
    let held = pieces(&card, MARKED_BYTES).expect("there is a GiB");
    let (mut found, mut other) = (0_usize, 0_usize);
    let mut back = vec![0_u32; CHUNK_BYTES / 4];
    for at in &held {
        call!(card.library, cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), *at, CHUNK_BYTES));
        found += back.iter().filter(|word| **word == PATTERN).count() * 4;
        other += back.iter().filter(|word| **word != PATTERN && **word != 0).count() * 4;
    }
    println!("{{\"found\": {found}, \"not_zero\": {other}}}");
}

fn vendor() {
    let _card = Card::open(10);
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux tells");
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let found = path.into_iter().find(|path| path.contains("/libcuda.so")).expect("it is loaded");
    println!("{found}");
}

/// The vendor's own function behind the library that programs find, where that is another's.
fn behind_it(library: &Library) -> Option<pfn::cuLaunchKernel> {
    let found = function!(library, cuLaunchKernel);
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let mut paths: Vec<&str> = paths.filter(|path| path.contains("/libcuda.so")).collect();
    paths.dedup();
    paths.into_iter().find_map(|path| {
        // SAFETY: it is loaded already.
        let other = unsafe { Library::new(path) }.ok()?;
        // SAFETY: the export of this name has this type.
        let other = *unsafe { other.get::<pfn::cuLaunchKernel>(b"cuLaunchKernel") }.ok()?;
        // The vendor's stays loaded: ours has it.
        (other as usize != found as usize).then_some(other)
    })
}

fn launches(count: u64, rounds: u64) {
    let card = Card::open(1);
    let function = card.work(1);
    let all = [Some(function!(card.library, cuLaunchKernel)), behind_it(&card.library)];
    // So few that the driver's queue never fills: then the caller would wait for the card.
    for (name, batch, rounds) in [("short", 200_u32, 1), ("long", 400, rounds)] {
        let (mut rounds, mut out) = (rounds.max(1), card.out);
        let mut values: [*mut c_void; 2] = [(&raw mut rounds).cast(), (&raw mut out).cast()];
        let values = values.as_mut_ptr();
        let burst = |call: pfn::cuLaunchKernel| {
            let from = Instant::now();
            for _ in 0..batch {
                // SAFETY: arguments as the API wants them.
                let code =
                    unsafe { call(function, 1, 1, 1, 32, 1, 1, 0, null_mut(), values, null_mut()) };
                assert_eq!(code, CUDA_SUCCESS);
            }
            let spent = from.elapsed();
            card.synchronize();
            spent.as_secs_f64() * 1e9 / f64::from(batch)
        };
        let mut took = [Vec::new(), Vec::new()];
        for round in 0..count.div_ceil(batch.into()) + 2 {
            for (call, took) in all.iter().zip(&mut took) {
                let each = call.map(burst);
                // The first ones have the kernel's first launch in them.
                took.extend(each.filter(|_| round >= 2));
            }
        }
        let [ours, vendor] = took.map(|mut took| {
            took.sort_by(f64::total_cmp);
            let mean = took.iter().sum::<f64>() / took.len().max(1) as f64;
            (took.get(took.len() / 2).copied(), mean)
        });
        let number = |of: Option<f64>| of.map_or("null".to_owned(), |of| format!("{of:.1}"));
        println!(
            "{{\"launches\": {count}, \"of\": {name:?}, \"ns\": {}, \"mean_ns\": {:.1}, \
             \"vendor_ns\": {}, \"vendor_mean_ns\": {:.1}}}",
            number(ours.0),
            ours.1,
            number(vendor.0),
            vendor.1
        );
    }
}

fn fault() {
    let card = Card::open(10);
    let function = card.kernel("fault_10us");
    let (values, extra) = (null_mut(), null_mut());
    let launched = code!(
        card.library,
        cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, null_mut(), values, extra)
    );
    let ended = code!(card.library, cuCtxSynchronize());
    println!("{{\"launched\": {launched}, \"ended\": {ended}}}");
}

fn check() {
    let card = Card::open(2_000);
    let library = &card.library;
    let (out, mut back) = ([7u8; 4096], [0u8; 4096]);
    let mut at = 0;
    call!(library, cuMemAlloc_v2(&raw mut at, 1 << 20));
    call!(library, cuMemcpyHtoD_v2(at + 100, out.as_ptr().cast(), out.len()));
    call!(library, cuMemsetD8_v2(at + 100, 9, 1));
    call!(library, cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), at + 100, back.len()));
    println!("copies: {}", back[0] == 9 && back[1..] == out[1..]);
    call!(library, cuMemFree_v2(at));

    let index = card.kernel("index_10us");
    let (mut pointer, mut words) = (card.out, vec![u32::MAX; WORDS]);
    let mut values: [*mut c_void; 1] = [(&raw mut pointer).cast()];
    let blocks = u32::try_from(WORDS).expect("it fits") / THREADS;
    let values = values.as_mut_ptr();
    call!(
        library,
        cuLaunchKernel(index, blocks, 1, 1, THREADS, 1, 1, 0, null_mut(), values, null_mut())
    );
    call!(library, cuMemcpyDtoH_v2(words.as_mut_ptr().cast(), card.out, WORDS * 4));
    let right = words.iter().zip(0..).all(|(word, at): (&u32, u32)| *word == at);
    println!("computed: {right}");

    let function = card.work(2_000);
    let mut stream = null_mut();
    call!(library, cuStreamCreate(&raw mut stream, 1));
    let took = card.timed(function, ROUNDS_FIRST, 5);
    println!("events: {}", took > 0.0);
    call!(library, cuStreamBeginCapture_v2(stream, 0));
    (0..10).for_each(|_| card.launch(function, 10, stream));
    let (mut graph, mut exec) = (null_mut(), null_mut());
    call!(library, cuStreamEndCapture(stream, &raw mut graph));
    call!(library, cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
    call!(library, cuGraphLaunch(exec, stream));
    call!(library, cuStreamSynchronize(stream));
    println!("graph: true");
    call!(library, cuStreamDestroy_v2(stream));
    let (mut managed, mut more, mut total, mut free) = (0, 0, 0, 0);
    println!("managed: {:?}", code!(library, cuMemAllocManaged(&raw mut managed, 1 << 20, 1)));
    call!(library, cuMemGetInfo_v2(&raw mut free, &raw mut total));
    println!("more than there is: {:?}", code!(library, cuMemAlloc_v2(&raw mut more, total + 1)));
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(1);
    let start = words.get(4).and_then(|word| word.parse().ok()).unwrap_or(0);
    match words.first().map(String::as_str) {
        Some("check") => check(),
        Some("info") => info(),
        Some("calibrate") => calibrate(number(1)),
        Some("load") => load(number(1), number(2), number(3), start),
        Some("latency") => {
            latency(number(1), number(2), number(3), Duration::from_millis(number(4)));
        }
        Some("memory") => memory(),
        Some("context") => context(),
        Some("behind") => behind(usize::try_from(number(1)).unwrap_or(0) << 20),
        Some("mark") => mark(),
        Some("seek") => seek(),
        Some("rates") => rates(number(1), number(2), number(3), number(4)),
        Some("away") => away::away(number(1)),
        Some("move") => away::move_off(number(1), number(2)),
        Some("stay") => stay(Duration::from_secs(number(1))),
        Some("vendor") => vendor(),
        Some("launches") => launches(number(1), number(2)),
        Some("fault") => fault(),
        Some("ptx") => print!("{}", ptx(1000)),
        other => {
            println!("nothing to do for {other:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
