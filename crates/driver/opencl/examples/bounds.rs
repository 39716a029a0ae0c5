//! A tenant's program that is bound by one thing, and tells what its own events say of it.
//!
//! ```text
//! bounds device|transfer|memory|cpu|sleep|fork|leave ROUNDS
//! ```
//!
//! The last line on standard output is a JSON object: how many kernels and copies, the sum of their
//! lengths as their events tell it, the bytes that its transfers moved, and the CPU time that it burned
//! between its calls, in nanoseconds. With `fork` a child does the same as its parent, and each says so. With
//! `leave` it ends after a kernel that it waited for, with others that nothing ever starts.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]
#![allow(unsafe_code)] // `call!` calls the C API

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::{consts::*, types::*};
use rustix::time::{ClockId, clock_gettime};
use std::ptr::{null, null_mut};
use std::time::Duration;

const SOURCE: &str = "kernel void grind(global uint *out, uint n) {
    uint x = out[get_global_id(0)];
    for (uint i = 0; i < n; i++) x = x * 1664525u + 1013904223u;
    out[get_global_id(0)] = x;
}";
const ITEMS: usize = 16;
/// Bytes of a transfer.
const BYTES: usize = 32 << 20;
/// Iterations of a kernel of several milliseconds, and of a short one.
const LONG: u32 = 2_000_000;
const SHORT: u32 = 1000;
/// What is burned or slept between two calls.
const BETWEEN: Duration = Duration::from_millis(10);

struct Program {
    cl: Cl,
    context: cl_context,
    queue: cl_command_queue,
    kernel: cl_kernel,
    buffers: [cl_mem; 2],
    host: Vec<u8>,
    events: Vec<(bool, cl_event)>,
    burned_ns: u64,
    bytes: usize,
}

impl Program {
    fn new() -> Self {
        let cl = Cl::load();
        let platform = *cl.platforms().first().expect("no OpenCL platform is visible");
        let device = *cl.devices(platform).first().expect("the platform shows no device");
        let context = cl.context(&[device]);
        let queue = cl.queue(context, device, CL_QUEUE_PROFILING_ENABLE);
        let buffers = [BYTES; 2].map(|bytes| cl.buffer(context, bytes).expect("a buffer"));
        let kernel = cl.kernel(context, SOURCE, "grind");
        cl.arg(kernel, 0, &buffers[0]);
        let (host, events) = (vec![7; BYTES], Vec::new());
        Self { cl, context, queue, kernel, buffers, host, events, burned_ns: 0, bytes: 0 }
    }

    fn launch(&mut self, iterations: u32) {
        self.cl.arg(self.kernel, 1, &iterations);
        self.events.push((true, self.cl.launch(self.queue, self.kernel, ITEMS, &[])));
    }

    fn transfer(&mut self) {
        let (mut there, mut back) = (null_mut(), null_mut());
        let (queue, buffer, at) = (self.queue, self.buffers[0], self.host.as_mut_ptr().cast());
        check(call!(
            self.cl,
            clEnqueueWriteBuffer(queue, buffer, 1, 0, BYTES, at, 0, null(), &mut there)
        ));
        check(call!(
            self.cl,
            clEnqueueReadBuffer(queue, buffer, 1, 0, BYTES, at, 0, null(), &mut back)
        ));
        self.events.extend([(false, there), (false, back)]);
        self.bytes += 2 * BYTES;
    }

    fn copy(&mut self) {
        let mut event = null_mut();
        let [from, to] = self.buffers;
        check(call!(
            self.cl,
            clEnqueueCopyBuffer(self.queue, from, to, 0, 0, BYTES, 0, null(), &mut event)
        ));
        self.events.push((false, event));
    }

    fn burn(&mut self) {
        let cpu = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("a time")
        };
        let from = cpu();
        let mut x = 1_u64;
        while u128::from(cpu() - from) < BETWEEN.as_nanos() {
            (0..10_000).for_each(|_| x = std::hint::black_box(x.wrapping_mul(25).wrapping_add(1)));
        }
        self.burned_ns += cpu() - from;
    }

    fn work(&mut self, what: &str, rounds: u32) {
        for _ in 0..rounds {
            match what {
                "device" | "fork" => self.launch(LONG),
                "transfer" => self.transfer(),
                "memory" => self.copy(),
                "cpu" => {
                    self.burn();
                    self.launch(SHORT);
                    self.cl.finish(self.queue);
                }
                "sleep" => {
                    std::thread::sleep(BETWEEN);
                    self.launch(SHORT);
                    self.cl.finish(self.queue);
                }
                _ => panic!("{what} is unknown"),
            }
        }
        self.cl.finish(self.queue);
    }

    /// Queues kernels behind an event that nobody signals.
    fn leave(&mut self, kernels: u32) {
        self.launch(SHORT);
        self.cl.finish(self.queue);
        let mut error = CL_SUCCESS;
        let never = call!(self.cl, clCreateUserEvent(self.context, &mut error));
        check(error);
        for _ in 0..kernels {
            self.cl.launch(self.queue, self.kernel, ITEMS, &[never]);
        }
    }

    fn tell(&self) {
        let sum = |kernels: bool| {
            let events = self.events.iter().filter(|(kernel, _)| *kernel == kernels);
            let length = |(_, event): &(bool, cl_event)| {
                self.cl.stamp(*event, CL_PROFILING_COMMAND_END)
                    - self.cl.stamp(*event, CL_PROFILING_COMMAND_START)
            };
            let lengths: Vec<u64> = events.map(length).collect();
            (lengths.len(), lengths.iter().sum::<u64>())
        };
        let ((kernels, kernel_ns), (copies, copy_ns)) = (sum(true), sum(false));
        println!(
            "{{\"kernels\":{kernels},\"kernel_ns\":{kernel_ns},\"copies\":{copies},\
             \"copy_ns\":{copy_ns},\"bytes\":{},\"burned_ns\":{}}}",
            self.bytes, self.burned_ns
        );
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (what, rounds) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rounds = rounds.parse().expect("bounds WHAT ROUNDS");
    // The child begins before anything of OpenCL is there, as most programs that fork do.
    // SAFETY: there is one thread.
    let child = if what == "fork" { unsafe { libc::fork() } } else { -1 };
    let mut program = Program::new();
    if what == "leave" {
        return program.leave(rounds);
    }
    program.work(&what, rounds);
    program.tell();
    if child > 0 {
        // SAFETY: the child is this process's own.
        let waited = unsafe { libc::waitpid(child, null_mut(), 0) };
        assert!(waited == child, "the child is there");
    }
}
