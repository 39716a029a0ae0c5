//! A tenant's program that comes to a bad end, or looks at what others left behind.
//!
//! ```text
//! ruin crash          dies of a bad address while kernels of its are under way
//! ruin fault          writes far outside its buffer, in a kernel
//! ruin leak           allocates until it is refused, frees nothing, and waits to be killed
//! ruin forks N        forks N times; one fork in a hundred becomes a program that uses the device
//! ruin secret BYTES   fills a buffer with a pattern, and ends
//! ruin peek BYTES     looks for that pattern in a new buffer, and says how often it is there
//! ```

#![allow(unsafe_code)] // `call!` calls the C API, and it does what no program should

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::io::Write;
use std::process::Command;
use std::ptr::{null, null_mut};
use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

const SOURCE: &str = "kernel void spin(global uint *out, uint n, uint reach) {
    uint x = get_global_id(0);
    for (uint i = 0; i < n; i++) x = x * 1664525u + 1013904223u;
    out[(ulong)get_global_id(0) + (ulong)reach * 1048576ul] = x;
}";
/// Iterations of a kernel of a few milliseconds.
const SPIN: u32 = 400_000;
/// What a secret looks like.
const PATTERN: u64 = 0x5ec7_e75e_c7e7_5ec7;
/// However the test fails, the program ends.
const LONGEST: Duration = Duration::from_secs(120);
/// One fork in so many uses the device.
const USES_IN: u32 = 100;

/// A device with a queue on it.
struct Place {
    cl: Cl,
    context: cl_context,
    queue: cl_command_queue,
}

impl Place {
    fn open() -> Result<Self, Failure> {
        let cl = Cl::load();
        let platform = *cl.platforms().first().ok_or("no OpenCL platform is visible")?;
        let device = *cl.devices(platform).first().ok_or("the platform shows no device")?;
        let context = cl.context(&[device]);
        let queue = cl.queue(context, device, 0);
        Ok(Self { cl, context, queue })
    }

    fn buffer(&self, bytes: usize) -> Result<cl_mem, Failure> {
        self.cl.buffer(self.context, bytes).map_err(|error| format!("OpenCL error {error}").into())
    }

    /// Kernels under way that write `reach` MiB and more beyond the beginning of a small buffer.
    fn spin(&self, reach: u32) -> Result<(), Failure> {
        let kernel = self.cl.kernel(self.context, SOURCE, "spin");
        let buffer = self.buffer(4096)?;
        self.cl.arg(kernel, 0, &buffer);
        self.cl.arg(kernel, 1, &SPIN);
        self.cl.arg(kernel, 2, &reach);
        for _ in 0..8 {
            self.cl.launch(self.queue, kernel, 16, &[]);
        }
        check(call!(self.cl, clFlush(self.queue)));
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["crash"] => {
            let place = Place::open()?;
            place.spin(0)?;
            // SAFETY: it is not: that is the point.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
            Ok(())
        }
        ["fault"] => {
            let place = Place::open()?;
            place.spin(u32::MAX)?;
            place.cl.finish(place.queue);
            Ok(())
        }
        ["leak"] => leak(),
        ["forks", count] => forks(count.parse()?),
        ["once"] => Place::open()?.buffer(4096).map(drop),
        ["secret", bytes] => secret(bytes.parse()?),
        ["peek", bytes] => peek(bytes.parse()?),
        _ => Err("see the first lines of its source".into()),
    }
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

fn leak() -> Result<(), Failure> {
    let place = Place::open()?;
    let mut had = 0;
    while place.buffer(1 << 20).is_ok() {
        had += 1;
    }
    say(&format!("leaked {had}"))?;
    std::thread::sleep(LONGEST);
    Ok(())
}

fn forks(count: u32) -> Result<(), Failure> {
    let place = Place::open()?;
    let held = place.buffer(1 << 20)?;
    let exe = std::env::current_exe()?;
    for number in 0..count {
        if number % USES_IN == 0 {
            let once = Command::new(&exe).arg("once").status()?;
            if !once.success() {
                return Err(format!("a fork that became a program: {once}").into());
            }
            continue;
        }
        // SAFETY: the child only ends, and is waited for.
        unsafe {
            match libc::fork() {
                -1 => return Err(std::io::Error::last_os_error().into()),
                0 => libc::_exit(0),
                child => {
                    let mut status = 0;
                    if libc::waitpid(child, &raw mut status, 0) != child || status != 0 {
                        return Err(format!("fork {number} ended with {status}").into());
                    }
                }
            }
        }
    }
    check(call!(place.cl, clReleaseMemObject(held)));
    say(&format!("forked {count}"))
}

fn secret(bytes: usize) -> Result<(), Failure> {
    let place = Place::open()?;
    let buffer = place.buffer(bytes)?;
    let pattern = std::ptr::from_ref(&PATTERN).cast();
    check(call!(
        place.cl,
        clEnqueueFillBuffer(place.queue, buffer, pattern, 8, 0, bytes, 0, null(), null_mut())
    ));
    place.cl.finish(place.queue);
    let first = read(&place, buffer, 8)?;
    if first != PATTERN.to_ne_bytes() {
        return Err("the secret was not written".into());
    }
    say("written")
}

fn peek(bytes: usize) -> Result<(), Failure> {
    let place = Place::open()?;
    let buffer = place.buffer(bytes)?;
    let seen = read(&place, buffer, bytes)?;
    let (words, _) = seen.as_chunks::<8>();
    let found = words.iter().filter(|word| **word == PATTERN.to_ne_bytes()).count();
    let touched = words.iter().filter(|word| **word != [0; 8]).count();
    say(&format!("found {found} of {}, {touched} not zero", words.len()))
}

fn read(place: &Place, buffer: cl_mem, bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut into = vec![0xff_u8; bytes];
    let at = into.as_mut_ptr().cast();
    let error = call!(
        place.cl,
        clEnqueueReadBuffer(place.queue, buffer, CL_TRUE, 0, bytes, at, 0, null(), null_mut())
    );
    if error == CL_SUCCESS { Ok(into) } else { Err(format!("OpenCL error {error}").into()) }
}
