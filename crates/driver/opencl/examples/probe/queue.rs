//! Everything that is put into a queue.

use super::common::{Cl, call, check};
use super::{hear, say};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SOURCE: &str = "
kernel void add(global uint *out, uint more) { out[get_global_id(0)] += more; }
kernel void spin(global uint *out, uint n) {
    uint x = out[get_global_id(0)];
    for (uint i = 0; i < n; i++) x = x * 1664525u + 1013904223u;
    out[get_global_id(0)] = x;
}
kernel void meet(volatile global uint *flags, uint mine, uint other) {
    atomic_xchg(flags + mine, 1u);
    while (atomic_add(flags + other, 0u) == 0u) {}
    atomic_xchg(flags + 2 + mine, 1u);
}";
pub(crate) const ITEMS: usize = 64;

pub(crate) struct Program {
    pub(crate) cl: Cl,
    pub(crate) context: cl_context,
    pub(crate) device: cl_device_id,
    pub(crate) queue: cl_command_queue,
    pub(crate) out: cl_mem,
}

impl Program {
    pub(crate) fn new() -> Self {
        Self::with(0)
    }

    fn with(properties: cl_command_queue_properties) -> Self {
        Self::on(0, properties)
    }

    /// The first device of a platform.
    fn on(platform: usize, properties: cl_command_queue_properties) -> Self {
        let cl = Cl::load();
        let device = cl.devices(cl.platforms()[platform])[0];
        let context = cl.context(&[device]);
        let queue = cl.queue(context, device, properties);
        let out = cl.buffer(context, ITEMS * 4).expect("a buffer of a few bytes");
        let program = Self { cl, context, device, queue, out };
        let zero = 0_u32;
        let pattern = (&raw const zero).cast();
        check(call!(
            program.cl,
            clEnqueueFillBuffer(queue, out, pattern, 4, 0, ITEMS * 4, 0, null(), null_mut())
        ));
        program.cl.finish(queue);
        program
    }

    pub(crate) fn kernel(&self, name: &str, number: u32) -> cl_kernel {
        let kernel = self.cl.kernel(self.context, SOURCE, name);
        self.cl.arg(kernel, 0, &self.out);
        self.cl.arg(kernel, 1, &number);
        kernel
    }

    fn launch(&self, kernel: cl_kernel, wait: &[cl_event]) -> cl_event {
        self.cl.launch(self.queue, kernel, ITEMS, wait)
    }

    /// Iterations of `spin` that take `wanted`, and the kernel set to them.
    fn spin(&self, wanted: Duration) -> cl_kernel {
        let mut iterations = 10_000_u32;
        let kernel = self.kernel("spin", iterations);
        for _ in 0..8 {
            let begin = Instant::now();
            self.cl.wait(self.launch(kernel, &[]));
            let ratio = wanted.as_secs_f64() / begin.elapsed().as_secs_f64();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
            let next = (f64::from(iterations) * ratio.clamp(0.1, 10.0)).clamp(100.0, 3e9) as u32;
            iterations = next;
            self.cl.arg(kernel, 1, &iterations);
        }
        kernel
    }

    fn read(&self) -> Vec<u32> {
        let mut out = vec![0_u32; ITEMS];
        let at = out.as_mut_ptr().cast();
        check(call!(
            self.cl,
            clEnqueueReadBuffer(
                self.queue,
                self.out,
                CL_TRUE,
                0,
                ITEMS * 4,
                at,
                0,
                null(),
                null_mut()
            )
        ));
        out
    }

    fn user_event(&self) -> cl_event {
        let mut error = 0;
        let event = call!(self.cl, clCreateUserEvent(self.context, &mut error));
        check(error);
        event
    }
}

/// Launches one after another, saying so after each; the test opens and closes the gate.
pub(crate) fn launches(count: usize) {
    let program = Program::new();
    let kernel = program.kernel("add", 1);
    say(&"ready");
    hear();
    for index in 0..count {
        program.cl.wait(program.launch(kernel, &[]));
        say(&index);
    }
    assert_eq!(program.read(), [u32::try_from(count).expect("few"); ITEMS]);
    say(&"done");
}

/// Kernels and a marker behind an event that this thread signals only
/// after the gate has closed.
pub(crate) fn user_event() {
    let program = Program::new();
    let kernel = program.kernel("add", 1);
    program.cl.wait(program.launch(kernel, &[]));
    let event = program.user_event();
    let behind: Vec<_> = (0..5).map(|_| program.launch(kernel, &[event])).collect();
    let after = program.launch(kernel, &[]);
    let mut marker = null_mut();
    let count = u32::try_from(behind.len()).expect("few");
    check(call!(
        program.cl,
        clEnqueueMarkerWithWaitList(program.queue, count, behind.as_ptr(), &mut marker)
    ));
    let other = program.cl.queue(program.context, program.device, 0);
    let across = program.cl.launch(other, kernel, ITEMS, &[marker, after]);
    say(&"queued");
    hear();
    check(call!(program.cl, clSetUserEventStatus(event, CL_COMPLETE)));
    program.cl.wait(across);
    say(&"complete");
    hear();
    assert_eq!(program.read(), [8; ITEMS]);
    say(&"done");
}

/// A blocking read behind an event that another thread signals.
pub(crate) fn blocking_read() {
    let program = Program::new();
    let event = program.user_event();
    let number = event.expose_provenance();
    let set = program.cl.table.clSetUserEventStatus.expect("it is there");
    let signal = std::thread::spawn(move || {
        say(&"reading");
        hear();
        let event = std::ptr::with_exposed_provenance_mut(number);
        // SAFETY: the event lives until the program ends.
        check(unsafe { set(event, CL_COMPLETE) });
    });
    let mut out = vec![1_u32; ITEMS];
    let at = out.as_mut_ptr().cast();
    check(call!(
        program.cl,
        clEnqueueReadBuffer(
            program.queue,
            program.out,
            CL_TRUE,
            0,
            ITEMS * 4,
            at,
            1,
            &event,
            null_mut()
        )
    ));
    signal.join().expect("it signals");
    assert_eq!(out, [0; ITEMS]);
    say(&"done");
}

/// Threads with a queue and a buffer each, launching as fast as they can.
pub(crate) fn threads(count: usize) {
    let run = move || {
        let program = Program::new();
        let kernel = program.kernel("add", 1);
        for _ in 0..count {
            program.cl.release(program.launch(kernel, &[]));
        }
        assert_eq!(program.read(), [u32::try_from(count).expect("few"); ITEMS]);
        check(call!(program.cl, clReleaseMemObject(program.out)));
        check(call!(program.cl, clReleaseCommandQueue(program.queue)));
    };
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(run)).collect();
    for thread in threads {
        thread.join().expect("it computes");
    }
    say(&"done");
    // A driver lets go of buffers a moment after it has said that their last command is over.
    hear();
}

/// Kernels behind an event that ends in an error.
pub(crate) fn failed_event() {
    let program = Program::with(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    let kernel = program.kernel("add", 1);
    let event = program.user_event();
    let behind = program.launch(kernel, &[event]);
    assert_ne!(call!(program.cl, clSetUserEventStatus(event, 1)), CL_SUCCESS);
    check(call!(program.cl, clSetUserEventStatus(event, -5)));
    assert_ne!(call!(program.cl, clWaitForEvents(1, &behind)), CL_SUCCESS);
    say(&"failed as it should");
}

static PROGRAM: AtomicPtr<(Program, cl_kernel)> = AtomicPtr::new(null_mut());
static DONE: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn launch_more(_event: cl_event, _status: cl_int, _data: *mut c_void) {
    // SAFETY: stored before the callback was set, and never freed.
    let (program, kernel) = unsafe { &*PROGRAM.load(Ordering::Acquire) };
    let event = program.launch(*kernel, &[]);
    check(call!(program.cl, clSetEventCallback(event, CL_COMPLETE, Some(count_done), null_mut())));
    check(call!(program.cl, clFlush(program.queue)));
}

unsafe extern "C" fn count_done(_event: cl_event, _status: cl_int, _data: *mut c_void) {
    DONE.fetch_add(1, Ordering::AcqRel);
}

/// A callback that launches while the gate is closed.
pub(crate) fn callback() {
    let program = Program::new();
    let slow = program.spin(Duration::from_millis(300));
    let kernel = program.kernel("add", 0);
    program.cl.wait(program.launch(kernel, &[]));
    let pair = Box::into_raw(Box::new((program, kernel)));
    PROGRAM.store(pair, Ordering::Release);
    // SAFETY: just made, never freed.
    let (program, _) = unsafe { &*pair };
    let event = program.launch(slow, &[]);
    let set = clSetEventCallbackOf(program);
    check(set(event));
    check(call!(program.cl, clFlush(program.queue)));
    say(&"running");
    while DONE.load(Ordering::Acquire) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    say(&"launched from the callback");
    hear();
    program.cl.finish(program.queue);
    say(&"done");
}

/// The same with commands in two queues that stand behind the one whose callback launches, while the main
/// thread waits for both.
pub(crate) fn callback_behind() {
    let program = Program::new();
    let other = program.cl.queue(program.context, program.device, 0);
    // What is over already calls back at once, on the thread that asks for it.
    let slow = program.spin(Duration::from_millis(200));
    let kernel = program.kernel("add", 0);
    let pair = Box::into_raw(Box::new((program, kernel)));
    PROGRAM.store(pair, Ordering::Release);
    // SAFETY: just made, never freed.
    let (program, _) = unsafe { &*pair };
    // One whose end is heard of first: from then on the program is one that is called back.
    for function in [count_done, launch_when_told] {
        let event = program.launch(slow, &[]);
        let set =
            call!(program.cl, clSetEventCallback(event, CL_COMPLETE, Some(function), null_mut()));
        check(set);
        for queue in [program.queue, program.queue, other] {
            program.cl.launch(queue, kernel, ITEMS, &[event]);
            check(call!(program.cl, clFlush(queue)));
        }
    }
    say(&"running");
    hear();
    TOLD.store(true, Ordering::Release);
    program.cl.finish(program.queue);
    program.cl.finish(other);
    while DONE.load(Ordering::Acquire) < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    say(&"done");
}

static TOLD: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn launch_when_told(event: cl_event, status: cl_int, data: *mut c_void) {
    while !TOLD.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: as this was called.
    unsafe { launch_more(event, status, data) };
}

#[allow(non_snake_case)] // after the function it calls
fn clSetEventCallbackOf(program: &Program) -> impl Fn(cl_event) -> cl_int + '_ {
    move |event| {
        call!(program.cl, clSetEventCallback(event, CL_COMPLETE, Some(launch_more), null_mut()))
    }
}

#[repr(C)]
struct NativeArguments {
    before: u64,
    memory: *mut u32,
    after: u64,
}

unsafe extern "C" fn native_function(arguments: *mut c_void) {
    // SAFETY: the driver hands over its copy of the block below.
    let arguments = unsafe { arguments.cast::<NativeArguments>().read_unaligned() };
    assert_eq!((arguments.before, arguments.after), (1, 2));
    // SAFETY: the driver has put the buffer's address there.
    unsafe { arguments.memory.write(77) };
}

/// A host function in a queue, with a buffer among its arguments.
pub(crate) fn native() {
    let program = Program::new();
    let can = program.cl.device_u64(program.device, CL_DEVICE_EXECUTION_CAPABILITIES);
    if can & CL_EXEC_NATIVE_KERNEL == 0 {
        return say(&"unsupported");
    }
    let mut arguments = NativeArguments { before: 1, memory: null_mut(), after: 2 };
    let mut place = (&raw const arguments.memory).cast::<c_void>();
    let at = (&raw mut arguments).cast();
    let size = size_of::<NativeArguments>();
    check(call!(
        program.cl,
        clEnqueueNativeKernel(
            program.queue,
            Some(native_function),
            at,
            size,
            1,
            &program.out,
            &mut place,
            0,
            null(),
            null_mut()
        )
    ));
    assert_eq!(program.read()[0], 77);
    say(&"done");
}

/// As many launches as it is told, as fast as they are taken.
pub(crate) fn burst(count: usize) {
    let program = Program::new();
    let kernel = program.spin(Duration::from_micros(200));
    let add = program.kernel("add", 1);
    program.cl.finish(program.queue);
    say(&"ready");
    hear();
    for _ in 0..count {
        program.cl.release(program.launch(kernel, &[]));
    }
    program.cl.release(program.launch(add, &[]));
    program.cl.finish(program.queue);
    say(&"done");
}

/// Two out-of-order queues whose commands wait for each other's.
pub(crate) fn cross() {
    let program = Program::with(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    let properties = CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE;
    let other = program.cl.queue(program.context, program.device, properties);
    let kernel = program.kernel("add", 1);
    let mut last: Option<cl_event> = None;
    for step in 0..400 {
        let queue = if step % 2 == 0 { program.queue } else { other };
        let event = program.cl.launch(queue, kernel, ITEMS, last.as_slice());
        check(call!(program.cl, clFlush(queue)));
        if let Some(before) = last.replace(event) {
            program.cl.release(before);
        }
    }
    program.cl.wait(last.expect("many were launched"));
    assert_eq!(program.read(), [400; ITEMS]);
    say(&"done");
}

/// Two devices whose kernels wait for each other.
pub(crate) fn collective() {
    let cl = Cl::load();
    let devices = cl.devices(cl.platforms()[0]);
    if devices.len() < 2 {
        return say(&"unsupported");
    }
    let context = cl.context(&devices[..2]);
    let queues: Vec<_> = devices[..2].iter().map(|device| cl.queue(context, *device, 0)).collect();
    let mut flags = vec![0_u32; 1024];
    let mut error = 0;
    let shared = CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR;
    let at = flags.as_mut_ptr().cast();
    let memory = call!(cl, clCreateBuffer(context, shared, 4096, at, &mut error));
    check(error);
    let kernels: Vec<_> = (0..2_u32)
        .map(|mine| {
            let kernel = cl.kernel(context, SOURCE, "meet");
            cl.arg(kernel, 0, &memory);
            cl.arg(kernel, 1, &mine);
            cl.arg(kernel, 2, &(1 - mine));
            kernel
        })
        .collect();
    say(&"ready");
    hear();
    for _ in 0..20 {
        let zero = 0_u32;
        let pattern = (&raw const zero).cast();
        let (list, none) = (null(), null_mut());
        check(call!(
            cl,
            clEnqueueFillBuffer(queues[0], memory, pattern, 4, 0, 4096, 0, list, none)
        ));
        cl.finish(queues[0]);
        let events: Vec<_> = queues
            .iter()
            .zip(&kernels)
            .map(|(queue, kernel)| {
                let event = cl.launch(*queue, *kernel, 1, &[]);
                check(call!(cl, clFlush(*queue)));
                event
            })
            .collect();
        for event in events {
            cl.wait(event);
        }
    }
    say(&"done");
}

/// Kernels on every platform at once.
pub(crate) fn platforms() {
    let count = Cl::load().platforms().len();
    let programs: Vec<_> = (0..count).map(|platform| Program::on(platform, 0)).collect();
    let kernels: Vec<_> = programs.iter().map(|program| program.kernel("add", 1)).collect();
    for _ in 0..5 {
        for (program, kernel) in programs.iter().zip(&kernels) {
            program.cl.release(program.launch(*kernel, &[]));
        }
    }
    for program in &programs {
        assert_eq!(program.read(), [5; ITEMS]);
    }
    say(&count);
}

/// A number that depends on every result.
pub(crate) fn checksum() {
    let program = Program::new();
    let (spin, add) = (program.kernel("spin", 1000), program.kernel("add", 3));
    for _ in 0..50 {
        program.cl.release(program.launch(spin, &[]));
        program.cl.release(program.launch(add, &[]));
    }
    let sum = program.read().into_iter().fold(0_u64, |sum, x| sum * 31 % 1_000_003 + u64::from(x));
    say(&sum);
}

/// What one launch costs the program, and one launch with its execution: best of several rounds.
pub(crate) fn overhead(count: usize) {
    const ROUNDS: u32 = 200;
    let program = Program::new();
    let kernel = program.kernel("add", 1);
    let (local, global) = (1_usize, 1_usize);
    let mut best = [f64::MAX; 2];
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for _ in 0..count {
            check(call!(
                program.cl,
                clEnqueueNDRangeKernel(
                    program.queue,
                    kernel,
                    1,
                    null(),
                    &global,
                    &local,
                    0,
                    null(),
                    null_mut()
                )
            ));
        }
        let queued = begin.elapsed();
        program.cl.finish(program.queue);
        for (best, time) in best.iter_mut().zip([queued, begin.elapsed()]) {
            #[allow(clippy::cast_precision_loss)] // a few thousand
            let each = time.as_secs_f64() * 1e6 / count as f64;
            *best = best.min(each);
        }
    }
    say(&format_args!("{:.3} us a launch, {:.3} us until it is over", best[0], best[1]));
}
