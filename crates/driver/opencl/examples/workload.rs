//! A tenant's program for tests and benchmarks: kernels of a wanted length, one after another, with
//! a line of event stamps for each.
//!
//! ```text
//! workload --kernel-us 1000 --seconds 5 [--async 4] [--gap-us 0] [--memory BYTES]
//!          [--iterations N | --calibrate-only] [--start-at MONOTONIC_NS] [--stamps FILE] [--stamp-first]
//!          [--commands N] [--phase-ms WORK,SLEEP] [--requests EVERY_MS,KERNELS]
//! ```
//!
//! `--async N` keeps N commands in the queue (1: launch and wait). With a gap the program waits for
//! all of them, sleeps, and launches the next N. With a phase it works and sleeps by turns, and says
//! when it came back (`returns_ns`). With requests it sleeps until the next comes, at any moment of the
//! first half of each such time, launches its kernels, waits for all of them, and says how long each
//! request took from its coming (`latencies_ns`). `--commands` ends it after so many. A line of the stamps file is `QUEUED START END` of
//! one command in nanoseconds of `CLOCK_MONOTONIC`, so that files of several processes share one
//! time axis; with `--stamp-first` the first is of the one that shows which clock the device has. The last line on standard output is a JSON object.

#![allow(unsafe_code)] // `call!` calls the C API

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::{consts::*, types::*};
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::io::{BufWriter, Write as _};
use std::time::Duration;

const SOURCE: &str = "kernel void work(global float *out, uint n) {
    float x = out[get_global_id(0)];
    for (uint i = 0; i < n; i++) x = x * 0.999f + 0.5f;
    out[get_global_id(0)] = x;
}";
/// Groups per compute unit: enough for the device to balance, few enough for short kernels.
const GROUPS_PER_UNIT: u64 = 4;
const CALIBRATION_ROUNDS: u32 = 16;
const CALIBRATION_KERNELS: u32 = 9;
const CL_DEVICE_MAX_COMPUTE_UNITS: cl_device_info = 0x1002;

#[derive(Debug, Clone, Default)]
struct Options {
    kernel_us: f64,
    seconds: f64,
    gap_us: u64,
    in_queue: usize,
    memory: usize,
    iterations: Option<u32>,
    calibrate_only: bool,
    stamp_first: bool,
    start_at: Option<u64>,
    stamps: Option<String>,
    commands: Option<usize>,
    phase_ms: Option<(u64, u64)>,
    requests: Option<(u64, u64)>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { kernel_us: 1000.0, seconds: 1.0, in_queue: 1, ..Self::default() };
        while let Some(word) = words.next() {
            if word == "--calibrate-only" {
                options.calibrate_only = true;
                continue;
            }
            if word == "--stamp-first" {
                options.stamp_first = true;
                continue;
            }
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let bad = |_| format!("{word} {value:?} is not a number");
            match word.as_str() {
                "--kernel-us" => options.kernel_us = value.parse().map_err(|_| bad(()))?,
                "--seconds" => options.seconds = value.parse().map_err(|_| bad(()))?,
                "--gap-us" => options.gap_us = value.parse().map_err(|_| bad(()))?,
                "--async" => options.in_queue = value.parse().map_err(|_| bad(()))?,
                "--memory" => options.memory = value.parse().map_err(|_| bad(()))?,
                "--iterations" => {
                    options.iterations = Some(value.parse().map_err(|_| bad(()))?);
                }
                "--start-at" => options.start_at = Some(value.parse().map_err(|_| bad(()))?),
                "--stamps" => options.stamps = Some(value),
                "--commands" => options.commands = Some(value.parse().map_err(|_| bad(()))?),
                "--phase-ms" | "--requests" => {
                    let two = || format!("{word} {value:?} is not two numbers");
                    let (first, second) = value.split_once(',').ok_or_else(two)?;
                    let parse = |text: &str| text.parse().map_err(|_| two());
                    let pair = Some((parse(first)?, parse(second)?));
                    if word == "--requests" {
                        options.requests = pair;
                    } else {
                        options.phase_ms = pair;
                    }
                }
                _ => return Err(format!("{word} is unknown")),
            }
        }
        options.in_queue = options.in_queue.max(1);
        Ok(options)
    }
}

/// The device's clock against `CLOCK_MONOTONIC`, nanoseconds to add, at one moment.
#[derive(Debug, Clone, Copy)]
struct Offset {
    device_ns: u64,
    add_ns: i128,
}

/// Which clock the device's stamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StampClock {
    Monotonic,
    MonotonicRaw,
    /// Its own: the offset is the least seen between a command's end and the host hearing of it.
    Device,
}

fn now(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).expect("uptime") * 1_000_000_000
        + u64::try_from(time.tv_nsec).expect("nanoseconds")
}

struct Program {
    cl: Cl,
    queue: cl_command_queue,
    kernel: cl_kernel,
    groups: usize,
}

impl Program {
    fn new(memory: usize) -> Result<Self, String> {
        let cl = Cl::load();
        let platform = *cl.platforms().first().expect("no OpenCL platform is visible");
        let device = *cl.devices(platform).first().expect("the platform shows no device");
        let context = cl.context(&[device]);
        let queue = cl.queue(context, device, CL_QUEUE_PROFILING_ENABLE);
        let units = cl.device_u64(device, CL_DEVICE_MAX_COMPUTE_UNITS) & u64::from(u32::MAX);
        let groups = usize::try_from(units * GROUPS_PER_UNIT).expect("few groups");
        if memory > 0 {
            cl.buffer(context, memory)
                .map_err(|error| format!("--memory {memory}: OpenCL error {error}"))?;
        }
        let out = cl.buffer(context, groups * size_of::<f32>()).expect("a buffer of a few bytes");
        let kernel = cl.kernel(context, SOURCE, "work");
        cl.arg(kernel, 0, &out);
        Ok(Self { cl, queue, kernel, groups })
    }

    fn launch(&self) -> cl_event {
        let event = self.cl.launch(self.queue, self.kernel, self.groups, &[]);
        check(call!(self.cl, clFlush(self.queue)));
        event
    }

    fn stamps(&self, event: cl_event) -> [u64; 3] {
        [CL_PROFILING_COMMAND_QUEUED, CL_PROFILING_COMMAND_START, CL_PROFILING_COMMAND_END]
            .map(|what| self.cl.stamp(event, what))
    }

    /// The median length of a few kernels of `iterations` in a full queue, nanoseconds. In a full
    /// queue, because a device that has gone to sleep starts its first kernel on fewer units.
    fn length_ns(&self, iterations: u32) -> u64 {
        self.cl.arg(self.kernel, 1, &iterations);
        let events: Vec<_> = (0..CALIBRATION_KERNELS).map(|_| self.launch()).collect();
        let mut lengths: Vec<u64> = events
            .into_iter()
            .map(|event| {
                self.cl.wait(event);
                let [_, start, end] = self.stamps(event);
                self.cl.release(event);
                end.saturating_sub(start).max(1)
            })
            .collect();
        lengths.sort_unstable();
        lengths[lengths.len() / 2]
    }

    /// Iterations that make a kernel of `wanted_ns`.
    fn calibrate(&self, wanted_ns: f64) -> u32 {
        let mut iterations = 1000_u32;
        self.length_ns(iterations);
        for _ in 0..CALIBRATION_ROUNDS {
            #[allow(clippy::cast_precision_loss)] // a length, not an identity
            let ratio = wanted_ns / self.length_ns(iterations) as f64;
            if (0.97..1.03).contains(&ratio) {
                break;
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
            let next = (f64::from(iterations) * ratio.clamp(0.1, 20.0)).clamp(1.0, 4e9) as u32;
            iterations = next;
        }
        iterations
    }

    /// The clock, and the stamps of the command that shows it.
    fn stamp_clock(&self) -> (StampClock, [u64; 3]) {
        let event = self.launch();
        self.cl.wait(event);
        let stamps = self.stamps(event);
        self.cl.release(event);
        let near = |clock| now(clock).abs_diff(stamps[2]) < 20_000_000;
        let clock = match (near(ClockId::Monotonic), near(ClockId::MonotonicRaw)) {
            (true, false) => StampClock::Monotonic,
            (false, true) => StampClock::MonotonicRaw,
            // Both near: just booted, or not corrected since; they differ by next to nothing.
            (true, true) => StampClock::MonotonicRaw,
            (false, false) => StampClock::Device,
        };
        (clock, stamps)
    }

    fn offset(&self, clock: StampClock) -> Offset {
        let host = || i128::from(now(ClockId::Monotonic));
        match clock {
            StampClock::Monotonic => Offset { device_ns: now(ClockId::Monotonic), add_ns: 0 },
            StampClock::MonotonicRaw => {
                let (before, raw, after) = (host(), now(ClockId::MonotonicRaw), host());
                Offset { device_ns: raw, add_ns: (before + after) / 2 - i128::from(raw) }
            }
            StampClock::Device => (0..20)
                .map(|_| {
                    let event = self.launch();
                    self.cl.wait(event);
                    let heard = host();
                    let end = self.stamps(event)[2];
                    self.cl.release(event);
                    Offset { device_ns: end, add_ns: heard - i128::from(end) }
                })
                .min_by_key(|offset| offset.add_ns)
                .expect("twenty were taken"),
        }
    }

    /// Serves requests until `until_ns`, one after the other; those that come meanwhile wait.
    fn serve(&self, every_ms: u64, kernels: u64, until_ns: u64) -> Done {
        let mut done = Done::default();
        let every_ns = every_ms.max(1) * 1_000_000;
        let begin = now(ClockId::Monotonic);
        let mut random = 1_u64;
        for request in 0.. {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let comes_ns = begin + request * every_ns + (random >> 33) % (every_ns / 2);
            if comes_ns >= until_ns {
                break;
            }
            let wait_ns = comes_ns.saturating_sub(now(ClockId::Monotonic));
            std::thread::sleep(Duration::from_nanos(wait_ns));
            let events: Vec<_> = (0..kernels).map(|_| self.launch()).collect();
            for event in events {
                self.cl.wait(event);
                done.stamps.push(self.stamps(event));
                self.cl.release(event);
            }
            done.latencies.push(now(ClockId::Monotonic) - comes_ns);
        }
        done
    }

    /// Launches until `until_ns`.
    fn run(&self, options: &Options, until_ns: u64) -> Done {
        if let Some((every_ms, kernels)) = options.requests {
            return self.serve(every_ms, kernels, until_ns);
        }
        let mut queued = VecDeque::with_capacity(options.in_queue);
        let mut all = Vec::new();
        let mut returns = Vec::new();
        let mut left = options.commands.unwrap_or(usize::MAX);
        let begin = now(ClockId::Monotonic);
        let mut take = |event| {
            self.cl.wait(event);
            all.push(self.stamps(event));
            self.cl.release(event);
        };
        while now(ClockId::Monotonic) < until_ns && left > 0 {
            if let Some((work, sleep)) = options.phase_ms {
                let into = (now(ClockId::Monotonic) - begin) / 1_000_000 % (work + sleep).max(1);
                if into >= work {
                    queued.drain(..).for_each(&mut take);
                    std::thread::sleep(Duration::from_millis(work + sleep - into));
                    returns.push(now(ClockId::Monotonic));
                    continue;
                }
            }
            while queued.len() < options.in_queue && left > 0 {
                queued.push_back(self.launch());
                left -= 1;
            }
            if options.gap_us == 0 {
                take(queued.pop_front().expect("at least one is queued"));
            } else {
                queued.drain(..).for_each(&mut take);
                std::thread::sleep(Duration::from_micros(options.gap_us));
            }
        }
        queued.drain(..).for_each(&mut take);
        Done { stamps: all, returns, latencies: Vec::new() }
    }
}

/// What a program did.
#[derive(Debug, Default)]
struct Done {
    /// Queued, start and end of each command.
    stamps: Vec<[u64; 3]>,
    /// When it came back from each sleep of its phases.
    returns: Vec<u64>,
    /// How long each request took.
    latencies: Vec<u64>,
}

/// `stamp` on the host's axis, between two looks at the offset.
fn to_host(stamp: u64, first: Offset, last: Offset) -> u64 {
    let span = i128::from(last.device_ns.saturating_sub(first.device_ns)).max(1);
    let into = i128::from(stamp) - i128::from(first.device_ns);
    let add = first.add_ns + (last.add_ns - first.add_ns) * into / span;
    u64::try_from(i128::from(stamp) + add).unwrap_or(0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut out = std::io::stdout();
    let program = Program::new(options.memory)?;
    let iterations =
        options.iterations.unwrap_or_else(|| program.calibrate(options.kernel_us * 1000.0));
    if options.calibrate_only {
        writeln!(out, "{iterations}")?;
        return Ok(());
    }
    program.cl.arg(program.kernel, 1, &iterations);
    let (clock, of_clock) = program.stamp_clock();
    let first = program.offset(clock);
    if let Some(start_at) = options.start_at {
        let wait = start_at.saturating_sub(now(ClockId::Monotonic));
        std::thread::sleep(Duration::from_nanos(wait));
    }
    let begin = now(ClockId::Monotonic);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // seconds of a test
    let until = begin + (options.seconds.max(0.0) * 1e9) as u64;
    let Done { mut stamps, returns, latencies } = program.run(&options, until);
    let end = now(ClockId::Monotonic);
    let last = program.offset(clock);
    if options.stamp_first {
        stamps.insert(0, of_clock);
    }
    for row in &mut stamps {
        *row = row.map(|stamp| to_host(stamp, first, last));
    }
    if let Some(path) = &options.stamps {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        for [queued, start, end] in &stamps {
            writeln!(file, "{queued} {start} {end}")?;
        }
        file.flush()?;
    }
    let busy: u64 = stamps.iter().map(|[_, start, end]| end.saturating_sub(*start)).sum();
    #[allow(clippy::cast_precision_loss)] // for people
    let seconds = |ns: u64| ns as f64 / 1e9;
    writeln!(
        out,
        "{{\"kernels\":{},\"seconds\":{:.6},\"busy_seconds\":{:.6},\"iterations\":{iterations},\
         \"returns_ns\":{returns:?},\"latencies_ns\":{latencies:?},\"begin_ns\":{begin},\"end_ns\":{end},\"clock\":\"{clock:?}\",\"clock_offset_ns\":{}}}",
        stamps.len(),
        seconds(end - begin),
        seconds(busy),
        last.add_ns,
    )?;
    Ok(())
}
