//! A program on cudarc, a library that nobody here wrote: memory, launches on streams of several threads,
//! and an allocation that is too large. It finds `libcuda.so` as any program does.
#![allow(unsafe_code)] // launches
#![allow(clippy::unwrap_used, clippy::print_stdout)] // it ends where it fails, and talks

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg as _};
use cudarc::nvrtc::Ptx;

const THREADS: usize = 4;
const LAUNCHES: usize = 200;
const FLOATS: usize = 1 << 16;

fn main() {
    let context = CudaContext::new(0).unwrap();
    let module = context.load_module(Ptx::from_src(".version 8.0")).unwrap();
    let kernel = module.load_function("scale_20us").unwrap();
    let there: Vec<f32> = (0_u16..=u16::MAX).map(f32::from).collect();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (context, kernel, there) = (context.clone(), kernel.clone(), there.clone());
            std::thread::spawn(move || {
                context.bind_to_thread().unwrap();
                let stream = context.new_stream().unwrap();
                let mut onto = stream.clone_htod(&there).unwrap();
                for _ in 0..LAUNCHES {
                    let mut launch = stream.launch_builder(&kernel);
                    launch.arg(&mut onto);
                    // SAFETY: the stand-in runs nothing.
                    unsafe { launch.launch(LaunchConfig::for_num_elems(1024)) }.unwrap();
                }
                // The stand-in computes nothing, so that what comes back is what went there.
                assert_eq!(stream.clone_dtoh(&onto).unwrap(), there);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let (free, total) = cudarc::driver::result::mem_get_info().unwrap();
    assert!(free <= total);
    let refused = context.default_stream().alloc_zeros::<u8>(total + 1).is_err();
    context.synchronize().unwrap();
    println!("cudarc: {FLOATS} floats in {THREADS} threads, {} MiB, {refused}", total >> 20);
}
