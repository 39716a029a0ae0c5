//! A tenant's program for benchmarks: works on buffers one after the other, round by round, and says how
//! long it took and whether every word is what it must be.
//!
//! ```text
//! spread --buffers N --mib SIZE --rounds N --work N [--ready FILE --go FILE]
//! ```
//!
//! Each round changes every word of every buffer `--work` times. With `--ready` it makes that file when
//! its buffers are filled, and begins when the file of `--go` is there. The last line on standard output
//! is a JSON object.

#![allow(unsafe_code)] // `call!` calls the C API

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

const SOURCE: &str = "kernel void turn(global uint *words, uint work) {
    for (uint at = get_global_id(0) * 256; at < get_global_id(0) * 256 + 256; at++) {
        uint word = words[at];
        for (uint i = 0; i < work; i++) word = word * 3u + 1u;
        words[at] = word;
    }
}";
/// Words that one work item changes.
const STRIDE: usize = 256;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let flags: BTreeMap<&str, &str> =
        words.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let number = |flag: &str| -> usize {
        flags.get(flag).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {flag} N"))
    };
    let (buffers, length) = (number("--buffers"), number("--mib") << 18);
    let (rounds, work) = (number("--rounds"), u32::try_from(number("--work")).expect("32 bits"));
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    let queue = cl.queue(context, device, 0);
    let kernel = cl.kernel(context, SOURCE, "turn");
    let first = |buffer: usize, at: usize| {
        u32::try_from((buffer * 7919 + at) & 0xffff_ffff).expect("32 bits")
    };
    let data = |buffer: usize| -> Vec<u32> { (0..length).map(|at| first(buffer, at)).collect() };
    let flags_of = CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR;
    let made: Vec<cl_mem> = (0..buffers)
        .map(|buffer| {
            let (mut error, data) = (0, data(buffer));
            let at = data.as_ptr().cast_mut().cast();
            let made = call!(cl, clCreateBuffer(context, flags_of, length * 4, at, &mut error));
            check(error);
            made
        })
        .collect();
    // Compiled before the clock runs.
    cl.arg(kernel, 1, &0_u32);
    cl.arg(kernel, 0, &made[0]);
    let event = cl.launch(queue, kernel, length / STRIDE, &[]);
    cl.release(event);
    cl.finish(queue);
    if let (Some(ready), Some(go)) = (flags.get("--ready"), flags.get("--go")) {
        std::fs::write(ready, "").expect("the bench's folder");
        while !std::path::Path::new(go).exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let began = Instant::now();
    cl.arg(kernel, 1, &work);
    for _ in 0..rounds {
        for buffer in &made {
            cl.arg(kernel, 0, buffer);
            let event = cl.launch(queue, kernel, length / STRIDE, &[]);
            cl.release(event);
        }
        cl.finish(queue);
    }
    let seconds = began.elapsed().as_secs_f64();
    // What so many steps make of a word, as one multiplication and one sum.
    let steps = work as usize * rounds;
    let (times, plus) = (0..steps).fold((1_u32, 0_u32), |(times, plus), _| {
        (times.wrapping_mul(3), plus.wrapping_mul(3).wrapping_add(1))
    });
    let right = made.iter().enumerate().all(|(number, buffer)| {
        let mut back = vec![0_u32; length];
        let at = back.as_mut_ptr().cast();
        check(call!(
            cl,
            clEnqueueReadBuffer(queue, *buffer, CL_TRUE, 0, length * 4, at, 0, null(), null_mut())
        ));
        let expect = |at: usize| first(number, at).wrapping_mul(times).wrapping_add(plus);
        back.iter().enumerate().all(|(at, word)| *word == expect(at))
    });
    writeln!(std::io::stdout(), "{{\"seconds\":{seconds},\"right\":{right}}}").expect("it is read");
}
