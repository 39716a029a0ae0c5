//! A command buffer: recorded once, handed over many times.

use super::common::{call, check};
use super::queue::{ITEMS, Program};
use super::{hear, say};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

type Create = unsafe extern "C" fn(
    cl_uint,
    *const cl_command_queue,
    *const cl_properties,
    *mut cl_int,
) -> cl_command_buffer_khr;
type One = unsafe extern "C" fn(cl_command_buffer_khr) -> cl_int;
type Kernel = unsafe extern "C" fn(
    cl_command_buffer_khr,
    cl_command_queue,
    *const cl_properties,
    cl_kernel,
    cl_uint,
    *const usize,
    *const usize,
    *const usize,
    cl_uint,
    *const cl_uint,
    *mut cl_uint,
    *mut *mut c_void,
) -> cl_int;
type Enqueue = unsafe extern "C" fn(
    cl_uint,
    *mut cl_command_queue,
    cl_command_buffer_khr,
    cl_uint,
    *const cl_event,
    *mut cl_event,
) -> cl_int;

fn find(program: &Program, name: &CStr) -> Option<*mut c_void> {
    let platform = program.cl.platforms()[0];
    let at = call!(program.cl, clGetExtensionFunctionAddressForPlatform(platform, name.as_ptr()));
    Some(at).filter(|at| !at.is_null())
}

/// Adds one to every number so many times, twice each time, and says what they are.
pub(crate) fn run(times: usize) {
    let program = Program::new();
    let extensions = program.cl.extensions(program.device);
    if !extensions.split(' ').any(|name| name == "cl_khr_command_buffer") {
        say(&"no command buffers");
        return;
    }
    let function = |name| find(&program, name).expect("the extension is named");
    // SAFETY: the extension's functions under their own names and types.
    let (create, kernel_in, finalize, enqueue, release) = unsafe {
        (
            std::mem::transmute::<*mut c_void, Create>(function(c"clCreateCommandBufferKHR")),
            std::mem::transmute::<*mut c_void, Kernel>(function(c"clCommandNDRangeKernelKHR")),
            std::mem::transmute::<*mut c_void, One>(function(c"clFinalizeCommandBufferKHR")),
            std::mem::transmute::<*mut c_void, Enqueue>(function(c"clEnqueueCommandBufferKHR")),
            std::mem::transmute::<*mut c_void, One>(function(c"clReleaseCommandBufferKHR")),
        )
    };
    let kernel = program.kernel("add", 1);
    let queue = program.cl.queue(program.context, program.device, 0);
    let mut error = 0;
    // SAFETY: the arguments live through the calls.
    let buffer = unsafe { create(1, &queue, null(), &mut error) };
    check(error);
    let (items, group) = (ITEMS, 1_usize);
    let mut before = 0;
    for wait in 0..2 {
        let after = before;
        let list = if wait == 0 { null() } else { &raw const after };
        // SAFETY: as above; the second kernel waits for the first.
        check(unsafe {
            kernel_in(
                buffer,
                null_mut(),
                null(),
                kernel,
                1,
                null(),
                &items,
                &group,
                wait,
                list,
                &mut before,
                null_mut(),
            )
        });
    }
    // SAFETY: as above.
    check(unsafe { finalize(buffer) });
    // SAFETY: what is refused: two queues, a queue that is not there, no buffer at all.
    unsafe {
        let mut two = [queue; 2];
        let nothing = (0, null(), null_mut());
        let refused = [
            enqueue(2, two.as_mut_ptr(), buffer, nothing.0, nothing.1, nothing.2),
            enqueue(1, null_mut(), buffer, nothing.0, nothing.1, nothing.2),
            enqueue(0, null_mut(), null_mut(), nothing.0, nothing.1, nothing.2),
        ];
        let expect = [CL_INVALID_VALUE, CL_INVALID_VALUE, CL_INVALID_COMMAND_BUFFER_KHR];
        assert_eq!(refused, expect);
    }
    // The buffer keeps its queue for itself.
    check(call!(program.cl, clReleaseCommandQueue(queue)));
    say(&"ready");
    hear();
    for _ in 0..times {
        let mut event = null_mut();
        // SAFETY: as above.
        check(unsafe { enqueue(0, null_mut(), buffer, 0, null(), &mut event) });
        program.cl.wait(event);
        program.cl.release(event);
    }
    let mut numbers = [0_u32; ITEMS];
    let (queue, out, at) = (program.queue, program.out, numbers.as_mut_ptr().cast());
    let read = ITEMS * 4;
    check(call!(
        program.cl,
        clEnqueueReadBuffer(queue, out, CL_TRUE, 0, read, at, 0, null(), null_mut())
    ));
    let first = numbers[0];
    assert!(numbers.iter().all(|number| *number == first), "{numbers:?}");
    say(&first);
    // SAFETY: its last use.
    check(unsafe { release(buffer) });
}
