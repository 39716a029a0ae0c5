//! A tenant's program whose every result is checked, and which says when each of them came.
//!
//! ```text
//! steady --beats FILE [--until FILE] [--commands N] [--iterations N] [--in-queue N]
//! ```
//!
//! It keeps N commands in its queue until so many were launched or the other file appears. The first
//! line of its beats is its process id and when it began, each further line is when a command was
//! seen to be over, all in nanoseconds of `CLOCK_MONOTONIC`. In the end it compares what the device
//! holds with what that many kernels must have made of it: one that was lost, repeated or cut short
//! makes it fail.

#![allow(unsafe_code)] // `call!` calls the C API

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::{consts::*, types::*};
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

const SOURCE: &str = "kernel void advance(global uint *out, uint n) {
    uint x = out[get_global_id(0)];
    for (uint i = 0; i < n; i++) x = x * 1664525u + 1013904223u;
    out[get_global_id(0)] = x;
}";
/// What one iteration of the kernel does: `x * FACTOR + TERM`.
const STEP: Affine = Affine { factor: 1_664_525, term: 1_013_904_223 };
const ITEMS: usize = 16;
/// However the test fails, the program ends.
const LONGEST: Duration = Duration::from_secs(120);

/// `x -> x * factor + term`, of which any number in a row is another such function.
#[derive(Clone, Copy)]
struct Affine {
    factor: u32,
    term: u32,
}

impl Affine {
    fn apply(self, x: u32) -> u32 {
        x.wrapping_mul(self.factor).wrapping_add(self.term)
    }

    /// This, then `next`.
    fn then(self, next: Self) -> Self {
        Self { factor: self.factor.wrapping_mul(next.factor), term: next.apply(self.term) }
    }

    /// This, so many times in a row.
    fn repeated(mut self, mut times: u64) -> Self {
        let mut all = Self { factor: 1, term: 0 };
        while times > 0 {
            if times & 1 == 1 {
                all = all.then(self);
            }
            self = self.then(self);
            times >>= 1;
        }
        all
    }
}

struct Options {
    beats: String,
    until: Option<String>,
    commands: u64,
    iterations: u32,
    in_queue: usize,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            beats: String::new(),
            until: None,
            commands: u64::MAX,
            iterations: 1000,
            in_queue: 1,
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            match word.as_str() {
                "--beats" => options.beats = value,
                "--until" => options.until = Some(value),
                "--commands" => options.commands = value.parse()?,
                "--iterations" => options.iterations = value.parse()?,
                "--in-queue" => options.in_queue = value.parse::<usize>()?.max(1),
                _ => return Err(format!("{word} is unknown").into()),
            }
        }
        if options.beats.is_empty() {
            return Err("--beats is missing".into());
        }
        Ok(options)
    }
}

fn now() -> i128 {
    let time = clock_gettime(ClockId::Monotonic);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// The device's numbers, each its own index at first.
fn numbers(cl: &Cl, context: cl_context) -> cl_mem {
    let mut first: Vec<u32> = (0..).take(ITEMS).collect();
    let (mut error, flags) = (0, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR);
    let at = first.as_mut_ptr().cast();
    let buffer = call!(cl, clCreateBuffer(context, flags, ITEMS * 4, at, &mut error));
    check(error);
    buffer
}

fn read(cl: &Cl, queue: cl_command_queue, buffer: cl_mem) -> Vec<u32> {
    let mut all = vec![0_u32; ITEMS];
    let (at, size) = (all.as_mut_ptr().cast(), ITEMS * 4);
    check(call!(
        cl,
        clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, size, at, 0, null(), null_mut())
    ));
    all
}

fn main() -> Result<(), Failure> {
    let options = Options::parse(std::env::args().skip(1))?;
    let cl = Cl::load();
    let platform = *cl.platforms().first().ok_or("no OpenCL platform is visible")?;
    let device = *cl.devices(platform).first().ok_or("the platform shows no device")?;
    let context = cl.context(&[device]);
    let queue = cl.queue(context, device, 0);
    let out = numbers(&cl, context);
    let kernel = cl.kernel(context, SOURCE, "advance");
    cl.arg(kernel, 0, &out);
    cl.arg(kernel, 1, &options.iterations);

    let mut beats = std::fs::File::create(&options.beats)?;
    writeln!(beats, "{} {}", std::process::id(), now())?;
    let begin = Instant::now();
    let (mut queued, mut launched) = (VecDeque::with_capacity(options.in_queue), 0_u64);
    loop {
        let told = options.until.as_ref().is_some_and(|path| Path::new(path).exists());
        let over = told || begin.elapsed() > LONGEST || launched >= options.commands;
        while !over && queued.len() < options.in_queue && launched < options.commands {
            queued.push_back(cl.launch(queue, kernel, ITEMS, &[]));
            launched += 1;
        }
        check(call!(cl, clFlush(queue)));
        let Some(event) = queued.pop_front() else { break };
        cl.wait(event);
        cl.release(event);
        writeln!(beats, "{}", now())?;
    }
    let whole = STEP.repeated(launched * u64::from(options.iterations));
    for (x, found) in (0..).zip(read(&cl, queue, out)) {
        if whole.apply(x) != found {
            return Err(format!("{found} is not what {launched} kernels make of {x}").into());
        }
    }
    writeln!(std::io::stdout(), "right after {launched} kernels")?;
    Ok(())
}
