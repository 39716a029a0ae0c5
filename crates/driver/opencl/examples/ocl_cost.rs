//! A program that does one thing many times over, through whichever driver the loader finds:
//!
//! `ocl_cost WHAT COUNT`, WHAT being `enqueue` (a kernel that does nothing) or `buffer` (a buffer and
//! its release).
//!
//! It says nothing: who counts its instructions runs it with two COUNTs and takes the difference.

#![allow(unsafe_code)] // `call!` calls the C API

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::types::*;
use std::ptr::{null, null_mut};

const SOURCE: &str = "kernel void nothing(void) {}";
/// Commands between two waits for the queue.
const IN_QUEUE: u64 = 32;
const BYTES: usize = 4096;

fn enqueue(cl: &Cl, queue: cl_command_queue, kernel: cl_kernel) {
    let (global, local) = (1_usize, 1_usize);
    check(call!(
        cl,
        clEnqueueNDRangeKernel(queue, kernel, 1, null(), &global, &local, 0, null(), null_mut())
    ));
}

fn main() {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let count: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let cl = Cl::load();
    let platform = *cl.platforms().first().expect("a platform");
    let device = *cl.devices(platform).first().expect("a device");
    let context = cl.context(&[device]);
    let queue = cl.queue(context, device, 0);
    let kernel = cl.kernel(context, SOURCE, "nothing");
    match what.as_str() {
        "enqueue" => {
            for launched in 1..=count {
                enqueue(&cl, queue, kernel);
                if launched % IN_QUEUE == 0 {
                    cl.finish(queue);
                }
            }
            cl.finish(queue);
        }
        "buffer" => {
            for _ in 0..count {
                let buffer = cl.buffer(context, BYTES).expect("room for one");
                check(call!(cl, clReleaseMemObject(buffer)));
            }
        }
        other => panic!("enqueue or buffer, not {other:?}"),
    }
}
