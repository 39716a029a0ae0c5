//! Functions that queue one command and end with a wait list and an event: what each is, and what is
//! written of it where the program is profiled. Each is named with its arguments once.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::profile::{image_bytes, moved, named};
use crate::gate::{Work, launch};
use crate::paged::{Argument, Needs};
use crate::{spans, vendor};
use polder_driver::inside;
use polder_driver::meter::Kind;
use polder_gpuapi::opencl::{Function, consts::*, types::*};
use polder_ledger::record::SpanKind::{ToDevice, ToHost, Within};
use std::ffi::c_void;

/// Bytes that a copy never seen is taken to move in a nanosecond.
const COPY_BYTES_PER_NS: u64 = 4;
/// Bytes of a pixel whose format is not looked up.
const PIXEL_BYTES: u64 = 4;

fn bits(amount: u64) -> u8 {
    u8::try_from(u64::BITS - amount.leading_zeros()).unwrap_or(u8::MAX)
}

/// A kernel over `items` work items.
fn kernel(kernel: cl_kernel, items: u64) -> Kind {
    Kind { what: kernel.addr(), size: bits(items), guess_ns: 0 }
}

/// A copy or fill of `bytes`.
pub(super) fn copy(function: Function, bytes: u64) -> Kind {
    let guess_ns = (bytes / COPY_BYTES_PER_NS).max(1);
    Kind { what: function.slot(), size: bits(bytes), guess_ns }
}

/// What the driver does to fill a new object of `bytes` from the program's memory.
pub(crate) fn filling(bytes: u64) -> Kind {
    copy(Function::clCreateBuffer, bytes)
}

pub(super) fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// The product of up to three extents; 1 when there are none.
///
/// # Safety
/// `extents` is null or has `count` members.
pub(super) unsafe fn product(extents: *const usize, count: cl_uint) -> u64 {
    if extents.is_null() {
        return 1;
    }
    (0..count.min(3) as usize).fold(1, |product, index| {
        // SAFETY: the caller's promise.
        product.saturating_mul(wide(unsafe { extents.add(index).read() }))
    })
}

/// Bytes of a region of pixels.
///
/// # Safety
/// `region` is null or has three members.
pub(super) unsafe fn pixels(region: *const usize) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { product(region, 3) }.saturating_mul(PIXEL_BYTES)
}

/// Hooks of functions that queue one command and end with a wait list and an event. Each says what
/// kind of command it is, and whether it returns only when the command is over.
macro_rules! plain {
    ($($name:ident($($arg:ident: $ty:ty),*) $kind:expr, $blocking:expr;)*) => {$(
        pub(crate) unsafe extern "C" fn $name(
            queue: cl_command_queue,
            $($arg: $ty,)*
            events: cl_uint,
            list: *const cl_event,
            event: *mut cl_event,
        ) -> cl_int {
            inside::guard(CL_OUT_OF_HOST_MEMORY, || {
                let Some(vendor) = vendor::of(queue) else { return CL_INVALID_COMMAND_QUEUE };
                let Some(real) = vendor.original.$name else { return CL_INVALID_OPERATION };
                #[allow(unused_unsafe, reason = "some of the kinds are told without it")]
                // SAFETY: the caller's arguments, under the API's contract.
                let kind = unsafe { $kind };
                let work = Work { queue, kind, events, list, event, blocking: $blocking };
                let mut needs = Needs::default();
                $(Argument::needs($arg, &mut needs);)*
                let pins = match needs.meet() {
                    Ok(pins) => pins,
                    Err(error) => return error,
                };
                $(let $arg = Argument::real($arg);)*
                launch(vendor, work, pins, |(events, list), event| {
                    // SAFETY: the caller's arguments, passed on.
                    unsafe { real(queue, $($arg,)* events, list, event) }
                })
            })
        }
    )*};
}

/// The same, and what is written of them in a profiled process.
macro_rules! queued {
    ($($name:ident($($arg:ident: $ty:ty),*) $kind:expr, $blocking:expr, $told:expr;)*) => {
        plain! { $($name($($arg: $ty),*) $kind, $blocking;)* }

        /// The hooks of a profiled process: each writes down what passes and calls the plain one.
        pub(super) mod profiled {
            use super::*;

            $(pub(crate) unsafe extern "C" fn $name(
                queue: cl_command_queue,
                $($arg: $ty,)*
                events: cl_uint,
                list: *const cl_event,
                event: *mut cl_event,
            ) -> cl_int {
                inside::guard(CL_OUT_OF_HOST_MEMORY, || {
                    #[allow(unused_unsafe, reason = "some are told without it")]
                    // SAFETY: the caller's arguments, under the API's contract.
                    let told = unsafe { $told };
                    spans::command(queue, event, told, |event| {
                        // SAFETY: the caller's arguments, passed on.
                        unsafe { super::$name(queue, $($arg,)* events, list, event) }
                    })
                })
            })*
        }
    };
}

queued! {
    clEnqueueNDRangeKernel(what: cl_kernel, dimensions: cl_uint, offset: *const usize,
        global: *const usize, local: *const usize)
        kernel(what, product(global, dimensions)), false,
        named(what);
    clEnqueueTask(what: cl_kernel)
        kernel(what, 1), false,
        named(what);
    clEnqueueReadBuffer(buffer: cl_mem, blocking: cl_bool, offset: usize, size: usize,
        at: *mut c_void)
        copy(Function::clEnqueueReadBuffer, wide(size)), blocking != 0,
        moved(ToHost, "clEnqueueReadBuffer", wide(size));
    clEnqueueWriteBuffer(buffer: cl_mem, blocking: cl_bool, offset: usize, size: usize,
        at: *const c_void)
        copy(Function::clEnqueueWriteBuffer, wide(size)), blocking != 0,
        moved(ToDevice, "clEnqueueWriteBuffer", wide(size));
    clEnqueueCopyBuffer(from: cl_mem, to: cl_mem, from_offset: usize, to_offset: usize,
        size: usize)
        copy(Function::clEnqueueCopyBuffer, wide(size)), false,
        moved(Within, "clEnqueueCopyBuffer", wide(size));
    clEnqueueReadBufferRect(buffer: cl_mem, blocking: cl_bool, origin: *const usize,
        host_origin: *const usize, region: *const usize, row: usize, slice: usize,
        host_row: usize, host_slice: usize, at: *mut c_void)
        copy(Function::clEnqueueReadBufferRect, product(region, 3)), blocking != 0,
        moved(ToHost, "clEnqueueReadBufferRect", product(region, 3));
    clEnqueueWriteBufferRect(buffer: cl_mem, blocking: cl_bool, origin: *const usize,
        host_origin: *const usize, region: *const usize, row: usize, slice: usize,
        host_row: usize, host_slice: usize, at: *const c_void)
        copy(Function::clEnqueueWriteBufferRect, product(region, 3)), blocking != 0,
        moved(ToDevice, "clEnqueueWriteBufferRect", product(region, 3));
    clEnqueueCopyBufferRect(from: cl_mem, to: cl_mem, from_origin: *const usize,
        to_origin: *const usize, region: *const usize, from_row: usize, from_slice: usize,
        to_row: usize, to_slice: usize)
        copy(Function::clEnqueueCopyBufferRect, product(region, 3)), false,
        moved(Within, "clEnqueueCopyBufferRect", product(region, 3));
    clEnqueueFillBuffer(buffer: cl_mem, pattern: *const c_void, pattern_size: usize,
        offset: usize, size: usize)
        copy(Function::clEnqueueFillBuffer, wide(size)), false,
        moved(Within, "clEnqueueFillBuffer", wide(size));
    clEnqueueReadImage(image: cl_mem, blocking: cl_bool, origin: *const usize,
        region: *const usize, row: usize, slice: usize, at: *mut c_void)
        copy(Function::clEnqueueReadImage, pixels(region)), blocking != 0,
        moved(ToHost, "clEnqueueReadImage", image_bytes(image, region));
    clEnqueueWriteImage(image: cl_mem, blocking: cl_bool, origin: *const usize,
        region: *const usize, row: usize, slice: usize, at: *const c_void)
        copy(Function::clEnqueueWriteImage, pixels(region)), blocking != 0,
        moved(ToDevice, "clEnqueueWriteImage", image_bytes(image, region));
    clEnqueueCopyImage(from: cl_mem, to: cl_mem, from_origin: *const usize,
        to_origin: *const usize, region: *const usize)
        copy(Function::clEnqueueCopyImage, pixels(region)), false,
        moved(Within, "clEnqueueCopyImage", image_bytes(from, region));
    clEnqueueCopyImageToBuffer(from: cl_mem, to: cl_mem, origin: *const usize,
        region: *const usize, offset: usize)
        copy(Function::clEnqueueCopyImageToBuffer, pixels(region)), false,
        moved(Within, "clEnqueueCopyImageToBuffer", image_bytes(from, region));
    clEnqueueCopyBufferToImage(from: cl_mem, to: cl_mem, offset: usize, origin: *const usize,
        region: *const usize)
        copy(Function::clEnqueueCopyBufferToImage, pixels(region)), false,
        moved(Within, "clEnqueueCopyBufferToImage", image_bytes(to, region));
    clEnqueueFillImage(image: cl_mem, color: *const c_void, origin: *const usize,
        region: *const usize)
        copy(Function::clEnqueueFillImage, pixels(region)), false,
        moved(Within, "clEnqueueFillImage", image_bytes(image, region));
    clEnqueueSVMMemcpy(blocking: cl_bool, to: *mut c_void, from: *const c_void, size: usize)
        copy(Function::clEnqueueSVMMemcpy, wide(size)), blocking != 0,
        moved(Within, "clEnqueueSVMMemcpy", wide(size));
    clEnqueueSVMMemFill(at: *mut c_void, pattern: *const c_void, pattern_size: usize,
        size: usize)
        copy(Function::clEnqueueSVMMemFill, wide(size)), false,
        moved(Within, "clEnqueueSVMMemFill", wide(size));
}

plain! {
    clEnqueueSVMMap(blocking: cl_bool, flags: cl_map_flags, at: *mut c_void, size: usize)
        copy(Function::clEnqueueSVMMap, wide(size)), blocking != 0;
    clEnqueueSVMUnmap(at: *mut c_void)
        copy(Function::clEnqueueSVMUnmap, 0), false;
    clEnqueueSVMMigrateMem(count: cl_uint, pointers: *mut *const c_void, sizes: *const usize,
        flags: cl_mem_migration_flags)
        copy(Function::clEnqueueSVMMigrateMem, 0), false;
}
