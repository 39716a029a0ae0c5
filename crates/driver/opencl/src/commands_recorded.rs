//! Command buffers (`cl_khr_command_buffer`): recorded once, handed over as often as the program
//! likes. Recording is the vendor's affair and starts nothing; each handing over is one command that
//! passes the gate.
//!
//! A buffer feeds one queue. The extensions that let it feed several, or change what was recorded,
//! stay hidden.
#![allow(unsafe_code)] // functions called from C

use crate::exports;
use crate::gate::{Work, launch};
use crate::hooks::{release_queue, retain_queue};
use crate::view::{self, Platform};
use crate::{own, paged, vendor};
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_driver::meter::Kind;
use polder_gpuapi::opencl::{command_buffer as api, consts::*, types::*};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Mutex;

/// The functions of the extension that have hooks: the vendor's, which stand behind them, or ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Functions {
    create: api::clCreateCommandBufferKHR,
    retain: api::clRetainCommandBufferKHR,
    release: api::clReleaseCommandBufferKHR,
    enqueue: api::clEnqueueCommandBufferKHR,
}

impl Functions {
    /// What the platform has of the extension; none where a part is missing.
    pub(crate) fn of(platform: &Platform) -> Option<Self> {
        let find = |name| Some(exports::ask_vendor(platform, name)).filter(|at| !at.is_null());
        let create = find(c"clCreateCommandBufferKHR")?;
        let (retain, release) =
            (find(c"clRetainCommandBufferKHR")?, find(c"clReleaseCommandBufferKHR")?);
        let enqueue = find(c"clEnqueueCommandBufferKHR")?;
        // SAFETY: the vendor's functions under these names have these types.
        unsafe {
            Some(Self {
                create: std::mem::transmute::<*mut c_void, api::clCreateCommandBufferKHR>(create),
                retain: std::mem::transmute::<*mut c_void, api::clRetainCommandBufferKHR>(retain),
                release: std::mem::transmute::<*mut c_void, api::clReleaseCommandBufferKHR>(
                    release,
                ),
                enqueue: std::mem::transmute::<*mut c_void, api::clEnqueueCommandBufferKHR>(
                    enqueue,
                ),
            })
        }
    }

    fn behind<T>(object: *mut T) -> Option<Self> {
        let vendor = vendor::of(object)?;
        let platform = view::platforms().iter().find(|it| std::ptr::eq(it.vendor, vendor));
        platform.and_then(Platform::command_buffers)
    }
}

/// Our functions, by name.
pub(crate) fn hooks() -> [(&'static str, *mut c_void); 4] {
    const OURS: Functions = Functions { create, retain, release, enqueue };
    [
        ("clCreateCommandBufferKHR", OURS.create as *mut c_void),
        ("clRetainCommandBufferKHR", OURS.retain as *mut c_void),
        ("clReleaseCommandBufferKHR", OURS.release as *mut c_void),
        ("clEnqueueCommandBufferKHR", OURS.enqueue as *mut c_void),
    ]
}

/// Whether `name` is one of our functions, and which.
pub(crate) fn hook(name: &str) -> Option<*mut c_void> {
    hooks().into_iter().find(|(own, _)| *own == name).map(|(_, at)| at)
}

/// The program's command buffers by handle. Not what the vendor answers when asked: PoCL 3.1 names
/// a queue that is none.
#[derive(Debug, Default)]
pub(crate) struct CommandBuffers {
    map: Mutex<BTreeMap<usize, Recorded>>,
}

#[derive(Debug)]
struct Recorded {
    /// Of the queue it feeds, to which it holds a reference.
    queue: usize,
    /// References that the program holds.
    held: u32,
}

impl CommandBuffers {
    fn insert(&self, buffer: cl_command_buffer_khr, queue: cl_command_queue) {
        let recorded = Recorded { queue: queue.expose_provenance(), held: 1 };
        lock(&self.map).insert(buffer.addr(), recorded);
    }

    fn queue(&self, buffer: cl_command_buffer_khr) -> Option<cl_command_queue> {
        let map = lock(&self.map);
        map.get(&buffer.addr()).map(|it| std::ptr::with_exposed_provenance_mut(it.queue))
    }

    fn retained(&self, buffer: cl_command_buffer_khr) {
        if let Some(recorded) = lock(&self.map).get_mut(&buffer.addr()) {
            recorded.held = recorded.held.saturating_add(1);
        }
    }

    /// The program is about to drop a reference. The queue when it was the last.
    fn releasing(&self, buffer: cl_command_buffer_khr) -> Option<cl_command_queue> {
        let mut map = lock(&self.map);
        let recorded = map.get_mut(&buffer.addr())?;
        recorded.held = recorded.held.saturating_sub(1);
        if recorded.held > 0 {
            return None;
        }
        let recorded = map.remove(&buffer.addr())?;
        Some(std::ptr::with_exposed_provenance_mut(recorded.queue))
    }
}

unsafe extern "C" fn create(
    count: cl_uint,
    queues: *const cl_command_queue,
    properties: *const cl_properties,
    errcode_ret: *mut cl_int,
) -> cl_command_buffer_khr {
    let mut made = null_mut();
    let error = inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        if count != 1 || queues.is_null() {
            return CL_INVALID_VALUE;
        }
        // SAFETY: the program says that one queue stands there.
        let queue = unsafe { queues.read() };
        let Some(real) = Functions::behind(queue) else { return CL_INVALID_COMMAND_QUEUE };
        if paged::is_on() {
            // What is recorded names the vendor's objects, which would come and go.
            return CL_OUT_OF_RESOURCES;
        }
        let mut error = CL_SUCCESS;
        // SAFETY: the caller's arguments, passed on.
        made =
            inside::accounted(|| unsafe { (real.create)(1, queues, properties, &raw mut error) });
        if error == CL_SUCCESS && !made.is_null() {
            // So that its handle means the same for as long as the buffer may be handed over.
            // SAFETY: the driver has just taken the queue for one.
            error = unsafe { retain_queue(queue) };
            own::get().command_buffers.insert(made, queue);
        }
        error
    });
    if !errcode_ret.is_null() {
        // SAFETY: the caller's pointer.
        unsafe { errcode_ret.write(error) };
    }
    made
}

unsafe extern "C" fn retain(buffer: cl_command_buffer_khr) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(real) = Functions::behind(buffer) else { return CL_INVALID_COMMAND_BUFFER_KHR };
        // SAFETY: the caller's argument, passed on.
        let result = inside::accounted(|| unsafe { (real.retain)(buffer) });
        if result == CL_SUCCESS {
            own::get().command_buffers.retained(buffer);
        }
        result
    })
}

unsafe extern "C" fn release(buffer: cl_command_buffer_khr) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(real) = Functions::behind(buffer) else { return CL_INVALID_COMMAND_BUFFER_KHR };
        // Before the driver frees it: afterwards another buffer may have its address.
        let queue = own::get().command_buffers.releasing(buffer);
        // SAFETY: the caller's argument, passed on.
        let result = inside::accounted(|| unsafe { (real.release)(buffer) });
        if let Some(queue) = queue {
            // SAFETY: the reference that `create` took.
            unsafe { release_queue(queue) };
        }
        result
    })
}

/// Hands a command buffer over, in the lease's turn.
unsafe extern "C" fn enqueue(
    count: cl_uint,
    queues: *mut cl_command_queue,
    buffer: cl_command_buffer_khr,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let (Some(vendor), Some(real)) = (vendor::of(buffer), Functions::behind(buffer)) else {
            return CL_INVALID_COMMAND_BUFFER_KHR;
        };
        let Some(recorded_for) = own::get().command_buffers.queue(buffer) else {
            return CL_INVALID_COMMAND_BUFFER_KHR;
        };
        if count > 1 || (count == 0) != queues.is_null() {
            return CL_INVALID_VALUE;
        }
        // SAFETY: the program says that one queue stands there.
        let queue = if count == 1 { unsafe { queues.read() } } else { recorded_for };
        let kind = Kind { what: buffer.addr(), size: 0, guess_ns: 0 };
        let work = Work { queue, kind, events, list, event, blocking: false };
        launch(vendor, work, Vec::new(), |(events, list), event| {
            // SAFETY: the caller's arguments, passed on.
            unsafe { (real.enqueue)(count, queues, buffer, events, list, event) }
        })
    })
}
