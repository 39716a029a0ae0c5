//! A tenant's program whose kernels are launched by the driver's own callbacks, or begin when it signals an
//! event, and which says how much of the device it had.
//!
//! ```text
//! chains [--plain|--signalled] [--seconds N] [--iterations N] [--chains N] [--burst N] [--queues N] [--stage S]
//!        [--until FILE]
//! ```
//!
//! Each chain begins with one kernel; when one of a burst is `complete` (or as `--stage` says `running`)
//! its callback launches the next burst. The main thread sleeps meanwhile. With `--plain` the main thread
//! launches instead, and keeps as many in its queue as there would be chains; with `--signalled` it queues as many
//! behind an event of its own, signals it and waits for them, again and again. It ends
//! sooner when there is a FILE. In the end it prints `{"used_ns": U, "wall_ns": W, "kernels": N}`,
//! U by the driver's own profiling of each kernel. Where callbacks come while it runs, or kernels of several
//! queues run beside each other, U is the shortest for each: what callbacks wait for is no work.

#![allow(unsafe_code)] // `call!` calls the C API; callbacks
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOURCE: &str = "kernel void advance(global uint *out, uint n) {
    uint x = out[get_global_id(0)];
    for (uint i = 0; i < n; i++) x = x * 1664525u + 1013904223u;
    out[get_global_id(0)] = x;
}";
const ITEMS: usize = 16;

struct Program {
    cl: Cl,
    queues: Vec<cl_command_queue>,
    kernel: cl_kernel,
    burst: usize,
    stage: cl_int,
    until: Instant,
    until_file: Option<PathBuf>,
    next_queue: AtomicUsize,
    flying: AtomicU64,
    kernels: AtomicU64,
    used_ns: AtomicU64,
    shortest_ns: AtomicU64,
}

impl Program {
    fn goes_on(&self) -> bool {
        let over = self.until_file.as_ref().is_some_and(|file| file.exists());
        !over && Instant::now() < self.until
    }

    fn launch(&'static self, queue: usize, goes_on: bool) {
        self.flying.fetch_add(1, Ordering::AcqRel);
        let event = self.cl.launch(self.queues[queue], self.kernel, ITEMS, &[]);
        let data = std::ptr::from_ref(self).cast_mut().cast();
        let set = |stage, function| {
            check(call!(self.cl, clSetEventCallback(event, stage, Some(function), data)));
        };
        if goes_on && self.stage != CL_COMPLETE {
            set(self.stage, begun);
        }
        let function = if goes_on && self.stage == CL_COMPLETE { over_and_on } else { over };
        set(CL_COMPLETE, function);
    }

    fn launch_burst(&'static self) {
        if !self.goes_on() {
            return;
        }
        let queue = self.next_queue.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        for index in 1..=self.burst {
            self.launch(queue, index == self.burst);
        }
        check(call!(self.cl, clFlush(self.queues[queue])));
    }

    /// Queues so many behind an event of its own, and signals it.
    fn signalled(&'static self, context: cl_context, together: usize) {
        while self.goes_on() {
            let mut error = CL_SUCCESS;
            let gate = call!(self.cl, clCreateUserEvent(context, &raw mut error));
            check(error);
            let one = |_| self.cl.launch(self.queues[0], self.kernel, ITEMS, &[gate]);
            let queued: Vec<cl_event> = (0..together).map(one).collect();
            check(call!(self.cl, clSetUserEventStatus(gate, CL_COMPLETE)));
            self.cl.finish(self.queues[0]);
            queued.into_iter().for_each(|event| self.count(event));
            check(call!(self.cl, clReleaseEvent(gate)));
        }
    }

    fn count(&self, event: cl_event) {
        let time = |what| self.cl.stamp(event, what);
        let used = time(CL_PROFILING_COMMAND_END) - time(CL_PROFILING_COMMAND_START);
        self.used_ns.fetch_add(used, Ordering::Relaxed);
        self.shortest_ns.fetch_min(used, Ordering::Relaxed);
        self.kernels.fetch_add(1, Ordering::Relaxed);
        check(call!(self.cl, clReleaseEvent(event)));
    }

    /// Keeps so many in the queue.
    fn plain(&'static self, in_queue: usize) {
        let mut queued = VecDeque::new();
        while self.goes_on() {
            queued.push_back(self.cl.launch(self.queues[0], self.kernel, ITEMS, &[]));
            check(call!(self.cl, clFlush(self.queues[0])));
            if queued.len() >= in_queue
                && let Some(event) = queued.pop_front()
            {
                check(call!(self.cl, clWaitForEvents(1, &event)));
                self.count(event);
            }
        }
        self.cl.finish(self.queues[0]);
        queued.into_iter().for_each(|event| self.count(event));
    }
}

unsafe extern "C" fn over(event: cl_event, _status: cl_int, data: *mut c_void) {
    // SAFETY: the program lives for ever.
    let program: &'static Program = unsafe { &*data.cast() };
    program.count(event);
    program.flying.fetch_sub(1, Ordering::AcqRel);
}

unsafe extern "C" fn over_and_on(event: cl_event, status: cl_int, data: *mut c_void) {
    // SAFETY: the program lives for ever.
    let program: &'static Program = unsafe { &*data.cast() };
    program.launch_burst();
    // SAFETY: as this was called.
    unsafe { over(event, status, data) };
}

unsafe extern "C" fn begun(_event: cl_event, _status: cl_int, data: *mut c_void) {
    // SAFETY: the program lives for ever.
    let program: &'static Program = unsafe { &*data.cast() };
    program.launch_burst();
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)
    };
    let number = |name, usual| word(name).map_or(usual, |word| word.parse().expect("a number"));
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    let queue = |_| cl.queue(context, device, CL_QUEUE_PROFILING_ENABLE);
    let queues = (0..number("--queues", 1)).map(queue).collect();
    let kernel = cl.kernel(context, SOURCE, "advance");
    let out = cl.buffer(context, ITEMS * 4).expect("a buffer of a few bytes");
    cl.arg(kernel, 0, &out);
    let iterations = u32::try_from(number("--iterations", 200_000)).expect("a kernel's length");
    cl.arg(kernel, 1, &iterations);
    let began = Instant::now();
    let program: &'static Program = Box::leak(Box::new(Program {
        cl,
        queues,
        kernel,
        burst: number("--burst", 1),
        stage: if word("--stage").is_some_and(|stage| stage == "running") {
            CL_RUNNING
        } else {
            CL_COMPLETE
        },
        until: began + Duration::from_secs(number("--seconds", 5) as u64),
        until_file: word("--until").map(PathBuf::from),
        next_queue: AtomicUsize::new(0),
        flying: AtomicU64::new(0),
        kernels: AtomicU64::new(0),
        used_ns: AtomicU64::new(0),
        shortest_ns: AtomicU64::new(u64::MAX),
    }));
    if words.iter().any(|word| word == "--plain") {
        program.plain(number("--chains", 1));
    } else if words.iter().any(|word| word == "--signalled") {
        program.signalled(context, number("--chains", 1));
    } else {
        (0..number("--chains", 1)).for_each(|chain| {
            program.launch(chain % program.queues.len(), true);
        });
        for queue in &program.queues {
            check(call!(program.cl, clFlush(*queue)));
        }
        while program.goes_on() || program.flying.load(Ordering::Acquire) > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (mut used, kernels) = (count(&program.used_ns), count(&program.kernels));
    if program.stage != CL_COMPLETE || program.queues.len() > 1 {
        used = kernels * count(&program.shortest_ns);
    }
    let wall = began.elapsed().as_nanos();
    println!("{{\"used_ns\": {used}, \"wall_ns\": {wall}, \"kernels\": {kernels}}}");
}
