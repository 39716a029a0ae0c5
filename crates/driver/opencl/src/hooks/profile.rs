//! The hooks of a profiled program: each writes down what passes and calls the plain one.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::queued::{product, profiled as queued, wide};
use super::returning::profiled as returning;
use super::{PLAIN, Table, commands, queues};
use crate::spans::{self, Told};
use crate::vendor::{self, Vendor};
use polder_driver::inside;
use polder_driver::record::Recorder;
use polder_gpuapi::opencl::{Function, SLOTS, consts::*, pfn, types::*};
use polder_ledger::record::SpanKind::{self, Kernel, ToDevice};
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

/// Most properties of a queue that are read before the list's end is taken for missing.
const PROPERTIES_MAX: usize = 64;
/// Longest name of a kernel that is asked for, bytes.
const NAME_ROOM: usize = 1024;

macro_rules! profiled {
    ($($module:ident: $($name:ident)*;)*) => {
        const TABLE_OF_PROFILED: [*const c_void; SLOTS] = {
            let mut slots = PLAIN;
            $($({
                let hook: pfn::$name = $module::$name;
                slots[Function::$name.slot()] = hook as *const c_void;
            })*)*
            slots
        };
    };
}
profiled! {
    self: clCreateCommandQueue clCreateCommandQueueWithProperties
    clEnqueueNativeKernel clEnqueueUnmapMemObject
    clFinish clWaitForEvents;
    returning: clCreateBuffer clCreateBufferWithProperties clEnqueueMapBuffer clEnqueueMapImage;
    queued: clEnqueueNDRangeKernel clEnqueueTask
    clEnqueueReadBuffer clEnqueueWriteBuffer clEnqueueCopyBuffer
    clEnqueueReadBufferRect clEnqueueWriteBufferRect clEnqueueCopyBufferRect clEnqueueFillBuffer
    clEnqueueReadImage clEnqueueWriteImage clEnqueueCopyImage clEnqueueFillImage
    clEnqueueCopyImageToBuffer clEnqueueCopyBufferToImage
    clEnqueueSVMMemcpy clEnqueueSVMMemFill;
}

/// What replaces the vendor's functions in a profiled process.
pub(super) fn table() -> &'static Table {
    static TABLE: Table = Table(TABLE_OF_PROFILED);
    &TABLE
}

pub(super) fn named(kernel: cl_kernel) -> impl FnOnce(&'static Vendor, &Recorder) -> Told {
    move |vendor, recorder| {
        let mut text = [0_u8; NAME_ROOM];
        let told = vendor.original.clGetKernelInfo.is_some_and(|get| {
            let (what, at) = (CL_KERNEL_FUNCTION_NAME, text.as_mut_ptr().cast());
            // SAFETY: the caller's kernel, which the driver judges; room as it is said.
            unsafe { get(kernel, what, NAME_ROOM, at, null_mut()) == CL_SUCCESS }
        });
        let name = CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy();
        let name = if told && !name.is_empty() { &*name } else { "kernel" };
        (Kernel, recorder.name(name), 0)
    }
}

pub(super) fn moved(
    kind: SpanKind,
    name: &'static str,
    bytes: u64,
) -> impl FnOnce(&'static Vendor, &Recorder) -> Told {
    move |_, recorder| (kind, recorder.name(name), bytes)
}

/// Bytes of a region of pixels.
///
/// # Safety
/// `region` is null or has three members.
pub(super) unsafe fn image_bytes(image: cl_mem, region: *const usize) -> u64 {
    let mut element: usize = 0;
    if let Some(get) = vendor::of(image).and_then(|vendor| vendor.original.clGetImageInfo) {
        let at = (&raw mut element).cast();
        // SAFETY: the caller's image, which the driver judges; the answer fits.
        unsafe { get(image, CL_IMAGE_ELEMENT_SIZE, size_of::<usize>(), at, null_mut()) };
    }
    // SAFETY: the caller's promise.
    unsafe { product(region, 3) }.saturating_mul(wide(element))
}

unsafe extern "C" fn clEnqueueNativeKernel(
    queue: cl_command_queue,
    function: NativeKernel,
    args: *mut c_void,
    size: usize,
    count: cl_uint,
    objects: *const cl_mem,
    places: *mut *const c_void,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        spans::command(queue, event, moved(Kernel, "(native kernel)", 0), |event| {
            // SAFETY: the caller's arguments, passed on.
            unsafe {
                commands::clEnqueueNativeKernel(
                    queue, function, args, size, count, objects, places, events, list, event,
                )
            }
        })
    })
}

unsafe extern "C" fn clEnqueueUnmapMemObject(
    queue: cl_command_queue,
    memory: cl_mem,
    at: *mut c_void,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let told = moved(ToDevice, "clEnqueueUnmapMemObject", spans::unmapped(at.addr()));
        spans::command(queue, event, told, |event| {
            // SAFETY: the caller's arguments, passed on.
            unsafe { commands::clEnqueueUnmapMemObject(queue, memory, at, events, list, event) }
        })
    })
}

/// Makes a queue that keeps times, or, where the driver refuses that, one as it was asked for.
fn keeping_times(
    with: impl FnOnce() -> cl_command_queue,
    without: impl FnOnce() -> cl_command_queue,
) -> cl_command_queue {
    let queue = with();
    if queue.is_null() { without() } else { queue }
}

unsafe extern "C" fn clCreateCommandQueue(
    context: cl_context,
    device: cl_device_id,
    properties: cl_command_queue_properties,
    errcode_ret: *mut cl_int,
) -> cl_command_queue {
    let create = |properties| {
        // SAFETY: the caller's arguments, passed on.
        unsafe { queues::clCreateCommandQueue(context, device, properties, errcode_ret) }
    };
    keeping_times(|| create(properties | CL_QUEUE_PROFILING_ENABLE), || create(properties))
}

unsafe extern "C" fn clCreateCommandQueueWithProperties(
    context: cl_context,
    device: cl_device_id,
    properties: *const cl_queue_properties,
    errcode_ret: *mut cl_int,
) -> cl_command_queue {
    let create = |properties| {
        // SAFETY: the caller's arguments, passed on.
        unsafe {
            queues::clCreateCommandQueueWithProperties(context, device, properties, errcode_ret)
        }
    };
    // SAFETY: the caller's list.
    match unsafe { with_times(properties) } {
        Some(list) => keeping_times(|| create(list.as_ptr()), || create(properties)),
        None => create(properties),
    }
}

/// The list with times kept; none when it is too long to be one, or of a queue on the device.
///
/// # Safety
/// `properties` is null or a list of pairs that ends with 0.
unsafe fn with_times(properties: *const cl_queue_properties) -> Option<Vec<cl_queue_properties>> {
    let mut list = Vec::new();
    let mut told = false;
    while !properties.is_null() {
        // SAFETY: the list's end has not been read yet.
        let key = unsafe { properties.add(list.len()).read() };
        if key == 0 {
            break;
        }
        // SAFETY: a key is followed by its value.
        let mut value = unsafe { properties.add(list.len() + 1).read() };
        if key == cl_queue_properties::from(CL_QUEUE_PROPERTIES) {
            if value & CL_QUEUE_ON_DEVICE != 0 {
                return None;
            }
            value |= CL_QUEUE_PROFILING_ENABLE;
            told = true;
        }
        list.extend([key, value]);
        if list.len() >= 2 * PROPERTIES_MAX {
            return None;
        }
    }
    if !told {
        list.extend([CL_QUEUE_PROPERTIES.into(), CL_QUEUE_PROFILING_ENABLE]);
    }
    list.push(0);
    Some(list)
}

unsafe extern "C" fn clFinish(queue: cl_command_queue) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let finish = vendor::of(queue).and_then(|vendor| vendor.original.clFinish);
        let Some(finish) = finish else { return CL_INVALID_COMMAND_QUEUE };
        // SAFETY: the caller's queue.
        spans::wait("clFinish", queue.addr(), || unsafe { finish(queue) })
    })
}

unsafe extern "C" fn clWaitForEvents(count: cl_uint, list: *const cl_event) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        if count == 0 || list.is_null() {
            return CL_INVALID_VALUE;
        }
        // SAFETY: the caller says that so many stand there.
        let first = unsafe { list.read() };
        let wait = vendor::of(first).and_then(|vendor| vendor.original.clWaitForEvents);
        let Some(wait) = wait else { return CL_INVALID_EVENT };
        // SAFETY: the caller's arguments, passed on.
        spans::wait("clWaitForEvents", 0, || unsafe { wait(count, list) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn listed(list: &[cl_queue_properties], expect: Option<&[cl_queue_properties]>) {
        let at = if list.is_empty() { std::ptr::null() } else { list.as_ptr() };
        // SAFETY: null, or a list with its end.
        assert_eq!(unsafe { with_times(at) }.as_deref(), expect);
    }

    #[test]
    fn a_queue_keeps_times_whatever_else_is_asked_of_it() {
        let key = cl_queue_properties::from(CL_QUEUE_PROPERTIES);
        listed(&[], Some(&[key, CL_QUEUE_PROFILING_ENABLE, 0]));
        listed(&[key, 1, 0], Some(&[key, 1 | CL_QUEUE_PROFILING_ENABLE, 0]));
        listed(&[7, 8, 0], Some(&[7, 8, key, CL_QUEUE_PROFILING_ENABLE, 0]));
        listed(&[key, CL_QUEUE_ON_DEVICE, 0], None);
        listed(&[7; 2 * PROPERTIES_MAX + 1], None);
    }

    #[test]
    fn what_is_written_down_is_hooked_anyway_or_a_wait() {
        for (slot, (plain, profiled)) in PLAIN.iter().zip(TABLE_OF_PROFILED).enumerate() {
            let name = polder_gpuapi::opencl::FUNCTIONS[slot].name;
            let wait = ["clFinish", "clWaitForEvents"].contains(&name);
            assert_eq!(plain.is_null() && !profiled.is_null(), wait, "{name}");
        }
    }
}
