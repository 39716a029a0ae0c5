//! What the API answers, also to nonsense: the same with Polder and without it.
//!
//! Every line is a question and its answer; the test compares the lines of both runs. What a lease
//! changes on purpose (sizes of memory, names of extensions) is not asked here.

use super::common::{Cl, call, check};
use super::say;
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const SOURCE: &str = "kernel void one(global uint *out) { out[get_global_id(0)] = 1; }";
const RELEASED_EVENTS: usize = 100;
const CL_MEM_READ_ONLY: cl_bitfield = 1 << 2;
const CL_MEM_WRITE_ONLY: cl_bitfield = 1 << 1;
const CL_MEM_FLAGS: cl_uint = 0x1101;
const CL_MEM_TYPE: cl_uint = 0x1100;
const CL_MEM_HOST_PTR: cl_uint = 0x1103;
const CL_MEM_MAP_COUNT: cl_uint = 0x1104;
const CL_MEM_REFERENCE_COUNT: cl_uint = 0x1105;
const CL_MEM_ASSOCIATED_MEMOBJECT: cl_uint = 0x1107;
const CL_MEM_OFFSET: cl_uint = 0x1108;
const CL_MEM_USES_SVM_POINTER: cl_uint = 0x1109;
const CL_QUEUE_REFERENCE_COUNT: cl_uint = 0x1092;
const CL_CONTEXT_REFERENCE_COUNT: cl_uint = 0x1080;
const CL_EVENT_COMMAND_TYPE: cl_uint = 0x11D1;
const CL_DEVICE_REFERENCE_COUNT: cl_uint = 0x1047;
const CL_DEVICE_PARTITION_MAX_SUB_DEVICES: cl_uint = 0x1043;
const CL_DEVICE_PARTITION_EQUALLY: isize = 0x1086;

struct Ask {
    cl: Cl,
    device: cl_device_id,
    context: cl_context,
    queue: cl_command_queue,
    buffer: cl_mem,
}

/// Asks everything.
pub(crate) fn all() {
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    let queue = cl.queue(context, device, CL_QUEUE_PROFILING_ENABLE);
    let buffer = cl.buffer(context, 4096).expect("it fits");
    let ask = Ask { cl, device, context, queue, buffer };
    ask.devices();
    ask.contexts_and_queues();
    ask.buffers();
    ask.parts();
    ask.images_and_others();
    ask.shared_memory();
    ask.commands();
    ask.native();
    ask.events();
    ask.kernels();
    ask.destructors();
}

fn told(what: &str, error: cl_int) {
    say(&format_args!("{what}: {error}"));
}

impl Ask {
    fn memory(&self, memory: cl_mem, what: cl_uint) -> u64 {
        let mut value = 0_u64;
        let at = (&raw mut value).cast();
        check(call!(self.cl, clGetMemObjectInfo(memory, what, 8, at, null_mut())));
        value
    }

    fn event(&self, event: cl_event, what: cl_uint) -> u32 {
        let mut value = 0_u32;
        let at = (&raw mut value).cast();
        check(call!(self.cl, clGetEventInfo(event, what, 4, at, null_mut())));
        value
    }

    fn devices(&self) {
        let cl = &self.cl;
        let platform = cl.platforms()[0];
        let mut device = null_mut();
        for (what, kind, room) in [("no type", 0, 1), ("no room", CL_DEVICE_TYPE_ALL, 0)] {
            let at = &raw mut device;
            told(what, call!(cl, clGetDeviceIDs(platform, kind, room, at, null_mut())));
        }
        let mut word = 0_u64;
        let at = (&raw mut word).cast();
        for (what, question, room) in
            [("unknown question", 0xFFFF, 8), ("little room", CL_DEVICE_GLOBAL_MEM_SIZE, 4)]
        {
            told(what, call!(cl, clGetDeviceInfo(self.device, question, room, at, null_mut())));
        }
        for question in [CL_DEVICE_REFERENCE_COUNT, CL_DEVICE_PARTITION_MAX_SUB_DEVICES] {
            say(&format_args!("{question:#x}: {}", cl.device_u64(self.device, question)));
        }
        let mut size = 0;
        let question = CL_DEVICE_GLOBAL_MEM_SIZE;
        told("size", call!(cl, clGetDeviceInfo(self.device, question, 0, null_mut(), &mut size)));
        say(&size);
        let mut count = 0;
        for (what, parts) in [("too many parts", 1 << 20), ("parts of one", 1)] {
            let list = [CL_DEVICE_PARTITION_EQUALLY, parts, 0];
            let error = call!(
                cl,
                clCreateSubDevices(self.device, list.as_ptr(), 0, null_mut(), &mut count)
            );
            say(&format_args!("{what}: {error} {count}"));
        }
    }

    fn contexts_and_queues(&self) {
        let cl = &self.cl;
        let mut error = 0;
        let create = |properties: &[isize], count: u32, devices: *const cl_device_id| {
            let mut error = 0;
            let list = properties.as_ptr();
            call!(cl, clCreateContext(list, count, devices, None, null_mut(), &mut error));
            error
        };
        told("no devices", create(&[0], 0, null()));
        told("no list", create(&[0], 1, null()));
        told("unknown property", create(&[0x7777, 1, 0], 1, &self.device));
        for (what, kind) in [("no such type", 1 << 3), ("no type", 0)] {
            call!(cl, clCreateContextFromType(null(), kind, None, null_mut(), &mut error));
            told(what, error);
        }
        let mut count = 0_u32;
        let at = (&raw mut count).cast();
        let question = CL_CONTEXT_REFERENCE_COUNT;
        told("context", call!(cl, clGetContextInfo(self.context, question, 4, at, null_mut())));
        say(&count);
        call!(cl, clCreateCommandQueue(self.context, self.device, 1 << 40, &mut error));
        told("unknown queue property", error);
        let properties = [u64::from(CL_QUEUE_PROPERTIES), CL_QUEUE_PROFILING_ENABLE, 0];
        let list = properties.as_ptr();
        let queue = call!(
            cl,
            clCreateCommandQueueWithProperties(self.context, self.device, list, &mut error)
        );
        told("queue", error);
        check(call!(cl, clRetainCommandQueue(queue)));
        let mut word = 0_u64;
        let at = (&raw mut word).cast();
        for question in [CL_QUEUE_REFERENCE_COUNT, CL_QUEUE_PROPERTIES, 0x1094, 0x1095] {
            word = 0;
            let error = call!(cl, clGetCommandQueueInfo(queue, question, 8, at, null_mut()));
            say(&format_args!("queue {question:#x}: {error} {word}"));
        }
        for _ in 0..2 {
            told("release", call!(cl, clReleaseCommandQueue(queue)));
        }
        told("no queue", call!(cl, clReleaseCommandQueue(null_mut())));
    }

    fn buffers(&self) {
        let cl = &self.cl;
        let mut host = vec![7_u8; 4096];
        let at: *mut c_void = host.as_mut_ptr().cast();
        let (copy, used, own) = (CL_MEM_COPY_HOST_PTR, CL_MEM_USE_HOST_PTR, CL_MEM_ALLOC_HOST_PTR);
        for (what, flags, size, at) in [
            ("read only and write only", CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY, 64, null_mut()),
            ("used and copied", copy | used, 64, at),
            ("used and own", own | used, 64, at),
            ("copy of nothing", copy, 64, null_mut()),
            ("pointer without flag", 0, 64, at),
            ("no size", copy, 0, at),
            ("unknown flag", 1 << 50, 64, null_mut()),
            ("copied", copy, 4096, at),
            ("own and copied", own | copy, 4096, at),
            ("used", used, 4096, at),
            ("own", own, 4096, null_mut()),
        ] {
            let mut error = 0;
            let buffer = call!(cl, clCreateBuffer(self.context, flags, size, at, &mut error));
            told(what, error);
            if error != CL_SUCCESS {
                assert!(buffer.is_null());
                continue;
            }
            let host = self.memory(buffer, CL_MEM_HOST_PTR);
            say(&format_args!("its pointer is the program's: {}", host == at.addr() as u64));
            for question in [
                CL_MEM_TYPE,
                CL_MEM_FLAGS,
                CL_MEM_SIZE,
                CL_MEM_MAP_COUNT,
                CL_MEM_REFERENCE_COUNT,
                CL_MEM_ASSOCIATED_MEMOBJECT,
                CL_MEM_OFFSET,
                CL_MEM_USES_SVM_POINTER,
            ] {
                say(&format_args!("{question:#x}: {}", self.memory(buffer, question)));
            }
            check(call!(cl, clReleaseMemObject(buffer)));
        }
        // Without a place for the error, and without an object.
        assert!(call!(cl, clCreateBuffer(self.context, 0, 0, null_mut(), null_mut())).is_null());
        told("no object", call!(cl, clReleaseMemObject(null_mut())));
    }

    fn parts(&self) {
        let cl = &self.cl;
        let create = |whole: cl_mem, region: *const [usize; 2]| {
            let mut error = 0;
            let kind = CL_BUFFER_CREATE_TYPE_REGION;
            let part = call!(cl, clCreateSubBuffer(whole, 0, kind, region.cast(), &mut error));
            (part, error)
        };
        for region in [[0, 0], [0, 4097], [1, 8], [4096, 1]] {
            told("bad part", create(self.buffer, &region).1);
        }
        told("no part", create(self.buffer, null()).1);
        let (part, error) = create(self.buffer, &[1024, 512]);
        told("part", error);
        told("part of a part", create(part, &[0, 128]).1);
        let whole = self.memory(part, CL_MEM_ASSOCIATED_MEMOBJECT) == self.buffer.addr() as u64;
        let (offset, size) = (self.memory(part, CL_MEM_OFFSET), self.memory(part, CL_MEM_SIZE));
        say(&format_args!("{whole} {offset} {size}"));
        let users = self.memory(self.buffer, CL_MEM_REFERENCE_COUNT);
        say(&format_args!("users of the whole: {users}"));
        check(call!(cl, clReleaseMemObject(part)));
    }

    fn images_and_others(&self) {
        let cl = &self.cl;
        let format = cl_image_format {
            image_channel_order: CL_RGBA,
            image_channel_data_type: CL_UNORM_INT8,
        };
        let create = |format: *const cl_image_format, kind, size: [usize; 3], buffer| {
            let description = cl_image_desc {
                image_type: kind,
                image_width: size[0],
                image_height: size[1],
                image_depth: size[2],
                image_array_size: 1,
                image_row_pitch: 0,
                image_slice_pitch: 0,
                num_mip_levels: 0,
                num_samples: 0,
                mem_object: buffer,
            };
            let (mut error, at) = (0, &raw const description);
            let image =
                call!(cl, clCreateImage(self.context, 0, format, at, null_mut(), &mut error));
            (image, error)
        };
        let (flat, deep) = (CL_MEM_OBJECT_IMAGE2D, CL_MEM_OBJECT_IMAGE3D);
        told("no format", create(null(), flat, [8, 8, 0], null_mut()).1);
        told("no width", create(&format, flat, [0, 8, 0], null_mut()).1);
        told("no kind", create(&format, 0, [8, 8, 0], null_mut()).1);
        let (image, error) = create(&format, deep, [8, 8, 8], null_mut());
        told("image", error);
        say(&self.memory(image, CL_MEM_SIZE));
        check(call!(cl, clReleaseMemObject(image)));
        let kind = CL_MEM_OBJECT_IMAGE1D_BUFFER;
        told("row without buffer", create(&format, kind, [8, 0, 0], null_mut()).1);
        told("row of a buffer", create(&format, kind, [64, 0, 0], self.buffer).1);
        let mut error = 0;
        for (packet, count) in [(0, 1), (16, 0), (16, 16)] {
            call!(cl, clCreatePipe(self.context, 0, packet, count, null(), &mut error));
            told("pipe", error);
        }
    }

    fn shared_memory(&self) {
        let cl = &self.cl;
        for (flags, size, alignment) in [(0, 0, 0), (0, 64, 3), (1 << 50, 64, 0), (0, 64, 64)] {
            let at = call!(cl, clSVMAlloc(self.context, flags, size, alignment));
            say(&format_args!("shared memory: {}", !at.is_null()));
            if !at.is_null() {
                let flags = CL_MEM_USE_HOST_PTR;
                let mut error = 0;
                let over = call!(cl, clCreateBuffer(self.context, flags, size, at, &mut error));
                told("buffer over it", error);
                say(&self.memory(over, CL_MEM_USES_SVM_POINTER));
                check(call!(cl, clReleaseMemObject(over)));
                call!(cl, clSVMFree(self.context, at));
            }
        }
        call!(cl, clSVMFree(self.context, null_mut()));
        let (list, none) = (null_mut(), null());
        for count in [0, 1] {
            let error = call!(
                cl,
                clEnqueueSVMFree(self.queue, count, list, None, null_mut(), 0, none, null_mut())
            );
            told("free of nothing", error);
        }
    }

    fn commands(&self) {
        let (cl, queue, buffer) = (&self.cl, self.queue, self.buffer);
        let mut host = [0_u8; 64];
        let at: *mut c_void = host.as_mut_ptr().cast();
        let read = |offset, size, at, count, list: *const cl_event| {
            let (wait, event) = (CL_TRUE, null_mut());
            call!(
                cl,
                clEnqueueReadBuffer(queue, buffer, wait, offset, size, at, count, list, event)
            )
        };
        told("past the end", read(4096, 64, at, 0, null()));
        told("nowhere", read(0, 64, null_mut(), 0, null()));
        told("events without list", read(0, 64, at, 1, null()));
        told("list without events", read(0, 64, at, 0, &self.user_event()));
        told("no event", read(0, 64, at, 1, &null_mut()));
        told("read", read(0, 64, at, 0, null()));
        let (pattern, none) = ([0_u8; 8].as_ptr().cast(), null());
        for (size, offset, bytes) in [(3, 0, 6), (4, 2, 8), (4, 0, 8), (0, 0, 8)] {
            let error = call!(
                cl,
                clEnqueueFillBuffer(
                    queue,
                    buffer,
                    pattern,
                    size,
                    offset,
                    bytes,
                    0,
                    none,
                    null_mut()
                )
            );
            told("fill", error);
        }
        let copy = |from, to, size| {
            call!(
                cl,
                clEnqueueCopyBuffer(queue, buffer, buffer, from, to, size, 0, none, null_mut())
            )
        };
        told("copy onto itself", copy(0, 8, 64));
        told("copy", copy(0, 64, 64));
        for (count, list, flags) in [(0, null(), 0), (1, null(), 0), (1, &raw const buffer, 1)] {
            let error = call!(
                cl,
                clEnqueueMigrateMemObjects(queue, count, list, flags, 0, none, null_mut())
            );
            told("migrate", error);
        }
        let map = |size, flags| {
            let (mut error, wait) = (0, CL_TRUE);
            let at = call!(
                cl,
                clEnqueueMapBuffer(
                    queue,
                    buffer,
                    wait,
                    flags,
                    0,
                    size,
                    0,
                    none,
                    null_mut(),
                    &mut error
                )
            );
            (at, error)
        };
        told("map past the end", map(5000, CL_MAP_READ).1);
        let (mapped, error) = map(64, CL_MAP_READ | CL_MAP_WRITE);
        told("map", error);
        say(&format_args!("mapped {}", self.memory(buffer, CL_MEM_MAP_COUNT)));
        for at in [null_mut(), mapped] {
            let error = call!(cl, clEnqueueUnmapMemObject(queue, buffer, at, 0, none, null_mut()));
            told("unmap", error);
        }
        cl.finish(queue);
        // PoCL takes the mapping out of its count after it has told that the command is over.
        let until = Instant::now() + Duration::from_secs(5);
        while self.memory(buffer, CL_MEM_MAP_COUNT) != 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        say(&format_args!("mapped {}", self.memory(buffer, CL_MEM_MAP_COUNT)));
        told("marker", call!(cl, clEnqueueMarkerWithWaitList(queue, 1, none, null_mut())));
        told("barrier", call!(cl, clEnqueueBarrierWithWaitList(queue, 1, none, null_mut())));
        told("no queue", call!(cl, clFinish(null_mut())));
    }

    fn native(&self) {
        unsafe extern "C" fn nothing(_arguments: *mut c_void) {}
        let cl = &self.cl;
        let mut block = [0_u64; 2];
        let at: *mut c_void = block.as_mut_ptr().cast();
        let mut place: *const c_void = at;
        let (list, places) = (&raw const self.buffer, &raw mut place);
        let (none, nowhere) = (null(), null_mut());
        for (what, function, at, size, count, list, places) in [
            ("no function", false, at, 16, 0, none, nowhere),
            ("no block", true, null_mut(), 16, 0, none, nowhere),
            ("no size", true, at, 0, 0, none, nowhere),
            ("places in no block", true, null_mut(), 0, 1, list, places),
            ("no objects", true, at, 16, 1, none, places),
            ("no places", true, at, 16, 1, list, nowhere),
            ("objects uncounted", true, at, 16, 0, list, places),
            ("nothing at all", true, null_mut(), 0, 0, none, nowhere),
            ("all", true, at, 16, 1, list, places),
        ] {
            let function: NativeKernel = if function { Some(nothing) } else { None };
            let error = call!(
                cl,
                clEnqueueNativeKernel(
                    self.queue,
                    function,
                    at,
                    size,
                    count,
                    list,
                    places,
                    0,
                    null(),
                    null_mut()
                )
            );
            told(what, error);
        }
        cl.finish(self.queue);
    }

    fn user_event(&self) -> cl_event {
        let mut error = 0;
        let event = call!(self.cl, clCreateUserEvent(self.context, &mut error));
        check(error);
        event
    }

    fn events(&self) {
        let cl = &self.cl;
        let count = |event| self.event(event, CL_EVENT_REFERENCE_COUNT);
        // Many that are never signalled, and one that is used as it should be.
        for _ in 0..RELEASED_EVENTS {
            cl.release(self.user_event());
        }
        let event = self.user_event();
        say(&format_args!("references: {}", count(event)));
        check(call!(cl, clRetainEvent(event)));
        say(&format_args!("references: {}", count(event)));
        told("set to running", call!(cl, clSetUserEventStatus(event, 1)));
        told("set", call!(cl, clSetUserEventStatus(event, CL_COMPLETE)));
        told("set again", call!(cl, clSetUserEventStatus(event, CL_COMPLETE)));
        say(&format_args!("references: {}", count(event)));
        cl.release(event);
        cl.release(event);
        let kernel = cl.kernel(self.context, SOURCE, "one");
        cl.arg(kernel, 0, &self.buffer);
        let event = cl.launch(self.queue, kernel, 8, &[]);
        cl.wait(event);
        let state = self.event(event, CL_EVENT_COMMAND_EXECUTION_STATUS);
        say(&format_args!("{} {state}", self.event(event, CL_EVENT_COMMAND_TYPE)));
        told("no function", call!(cl, clSetEventCallback(event, 0, None, null_mut())));
        told("not the program's", call!(cl, clSetUserEventStatus(event, CL_COMPLETE)));
        told("wait for none", call!(cl, clWaitForEvents(0, null())));
        told("no event", call!(cl, clReleaseEvent(null_mut())));
        cl.release(event);
    }

    fn kernels(&self) {
        let cl = &self.cl;
        let kernel = cl.kernel(self.context, SOURCE, "one");
        let (none, size) = (null(), [8_usize, 1, 1, 1]);
        let launch = |kernel, dimensions| {
            let at = size.as_ptr();
            call!(
                cl,
                clEnqueueNDRangeKernel(
                    self.queue,
                    kernel,
                    dimensions,
                    null(),
                    at,
                    null(),
                    0,
                    none,
                    null_mut()
                )
            )
        };
        told("without arguments", launch(kernel, 1));
        cl.arg(kernel, 0, &self.buffer);
        told("four dimensions", launch(kernel, 4));
        told("no dimension", launch(kernel, 0));
        let mut error = 0;
        let twin = call!(cl, clCloneKernel(kernel, &mut error));
        told("clone", error);
        if error == CL_SUCCESS {
            told("its twin", launch(twin, 1));
            check(call!(cl, clReleaseKernel(twin)));
        }
        told("launch", launch(kernel, 1));
        let mut out = [0_u32; 8];
        let (at, wait) = (out.as_mut_ptr().cast(), CL_TRUE);
        check(call!(
            cl,
            clEnqueueReadBuffer(self.queue, self.buffer, wait, 0, 32, at, 0, none, null_mut())
        ));
        say(&format_args!("{out:?}"));
    }

    fn destructors(&self) {
        let cl = &self.cl;
        told("none", call!(cl, clSetMemObjectDestructorCallback(self.buffer, None, null_mut())));
        let buffer = cl.buffer(self.context, 64).expect("it fits");
        for number in 1..=3 {
            let data = std::ptr::without_provenance_mut(number);
            check(call!(cl, clSetMemObjectDestructorCallback(buffer, Some(ended), data)));
        }
        check(call!(cl, clReleaseMemObject(buffer)));
        say(&format_args!("ends in the order {:?}", *ENDS.lock().expect("no panic")));
    }
}

static ENDS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

unsafe extern "C" fn ended(_memory: cl_mem, data: *mut c_void) {
    ENDS.lock().expect("no panic").push(data.addr());
}
