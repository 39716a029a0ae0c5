//! Functions that return what they make, and their error beside it: buffers, and mappings. What each
//! does, and what is written of it where the program is profiled. Each is named with its arguments once.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::devices::fail;
use super::memory::{Ask, allocate, paged};
use super::profile::{image_bytes, moved};
use super::queued::{copy, pixels, wide};
use crate::gate::{List, Work, launch};
use crate::paged::{Argument, Needs, real as real_object};
use crate::spans;
use crate::vendor::{self, Vendor};
use polder_driver::inside;
use polder_gpuapi::opencl::{Function, consts::*, types::*};
use polder_ledger::record::SpanKind::{ToDevice, ToHost};
use std::ffi::c_void;
use std::ptr::null_mut;

/// Queues a mapping, which returns an address and its error beside it.
fn map(
    work: Work,
    object: cl_mem,
    errcode_ret: *mut cl_int,
    real: impl FnOnce(&Vendor, List, *mut cl_event, *mut cl_int) -> Option<*mut c_void>,
) -> *mut c_void {
    let mut mapped = null_mut();
    let error = inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(vendor) = vendor::of(work.queue) else { return CL_INVALID_COMMAND_QUEUE };
        let mut needs = Needs::default();
        object.needs(&mut needs);
        let pins = match needs.meet() {
            Ok(pins) => pins,
            Err(error) => return error,
        };
        let kept = pins.first().and_then(|pin| pin.buffer().pin_again());
        let result = launch(vendor, work, pins, |list, event| {
            let mut error = CL_INVALID_OPERATION;
            if let Some(at) = real(vendor, list, event, &raw mut error) {
                mapped = at;
            }
            error
        });
        if let Some(pin) = kept.filter(|_| result == CL_SUCCESS) {
            pin.keep_mapped();
        }
        result
    });
    // SAFETY: the caller's pointer.
    unsafe { fail(errcode_ret, error) };
    mapped
}

/// Queues a mapping of so many bytes and writes it down: what the program will read comes to the host now,
/// what it may write goes back when the mapping is undone.
fn written(
    queue: cl_command_queue,
    (name, flags): (&'static str, cl_map_flags),
    bytes: impl FnOnce() -> u64,
    event: *mut cl_event,
    errcode_ret: *mut cl_int,
    call: impl FnOnce(*mut cl_event, *mut cl_int) -> *mut c_void,
) -> *mut c_void {
    let mut at = null_mut();
    let error = inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let bytes = bytes();
        let read = if flags & CL_MAP_WRITE_INVALIDATE_REGION == 0 { bytes } else { 0 };
        let error = spans::command(queue, event, moved(ToHost, name, read), |event| {
            let mut error = CL_SUCCESS;
            at = call(event, &raw mut error);
            error
        });
        if error == CL_SUCCESS && flags & (CL_MAP_WRITE | CL_MAP_WRITE_INVALIDATE_REGION) != 0 {
            spans::mapped(at.addr(), bytes);
        }
        error
    });
    // SAFETY: the caller's pointer.
    unsafe { fail(errcode_ret, error) };
    at
}

/// Makes a buffer, one that may move where `may_move` and the lease has host memory behind the device.
fn make(
    (context, flags, size): (cl_context, cl_mem_flags, usize),
    host_ptr: *mut c_void,
    errcode_ret: *mut cl_int,
    may_move: bool,
    real: impl Fn(&Vendor, *mut cl_int) -> Option<cl_mem>,
) -> cl_mem {
    let ask = Ask::buffer(context, flags, size, host_ptr);
    let made = if may_move { paged(context, (flags, size), ask, &real) } else { None };
    if let Some(made) = made {
        // SAFETY: the caller's pointer.
        unsafe { fail(errcode_ret, made.err().unwrap_or(CL_SUCCESS)) };
        return made.unwrap_or(null_mut());
    }
    allocate(context, ask, errcode_ret, real)
}

/// Filling a new buffer from the program's memory is a copy to the device.
fn filled(flags: cl_mem_flags, size: usize, call: impl FnOnce() -> cl_mem) -> cl_mem {
    if flags & CL_MEM_COPY_HOST_PTR == 0 {
        return call();
    }
    spans::at_once(ToDevice, "clCreateBuffer", wide(size), call)
}

/// Hooks of functions that map an object: what kind of command each is, and how many bytes it maps.
macro_rules! maps {
    ($($name:ident($object:ident; $($arg:ident: $ty:ty),*) $kind:expr, $bytes:expr;)*) => {
        $(pub(crate) unsafe extern "C" fn $name(
            queue: cl_command_queue,
            $object: cl_mem,
            blocking: cl_bool,
            flags: cl_map_flags,
            $($arg: $ty,)*
            events: cl_uint,
            list: *const cl_event,
            event: *mut cl_event,
            errcode_ret: *mut cl_int,
        ) -> *mut c_void {
            #[allow(unused_unsafe, reason = "one of the kinds is told without it")]
            // SAFETY: the caller's arguments, under the API's contract.
            let kind = unsafe { $kind };
            let work = Work { queue, kind, events, list, event, blocking: blocking != 0 };
            map(work, $object, errcode_ret, |vendor, (events, list), event, error| {
                let real = vendor.original.$name?;
                let object = real_object($object);
                // SAFETY: the caller's arguments, passed on.
                Some(unsafe {
                    real(queue, object, blocking, flags, $($arg,)* events, list, event, error)
                })
            })
        })*

        mod mapping {
            use super::*;

            $(pub(crate) unsafe extern "C" fn $name(
                queue: cl_command_queue,
                $object: cl_mem,
                blocking: cl_bool,
                flags: cl_map_flags,
                $($arg: $ty,)*
                events: cl_uint,
                list: *const cl_event,
                event: *mut cl_event,
                errcode_ret: *mut cl_int,
            ) -> *mut c_void {
                let what = (stringify!($name), flags);
                #[allow(unused_unsafe, reason = "one of them is told without it")]
                // SAFETY: the caller's arguments, under the API's contract.
                let bytes = || unsafe { $bytes };
                written(queue, what, bytes, event, errcode_ret, |event, error| {
                    // SAFETY: the caller's arguments, passed on.
                    unsafe {
                        super::$name(
                            queue, $object, blocking, flags, $($arg,)* events, list, event, error,
                        )
                    }
                })
            })*
        }
    };
}

/// Hooks of functions that make a buffer: whether it may be one that moves.
macro_rules! makes {
    ($($name:ident($($arg:ident: $ty:ty),*) $may_move:expr;)*) => {
        $(pub(crate) unsafe extern "C" fn $name(
            context: cl_context,
            $($arg: $ty,)*
            flags: cl_mem_flags,
            size: usize,
            host_ptr: *mut c_void,
            errcode_ret: *mut cl_int,
        ) -> cl_mem {
            let real = |vendor: &Vendor, error| {
                let create = vendor.original.$name?;
                // SAFETY: the caller's arguments, passed on.
                Some(unsafe { create(context, $($arg,)* flags, size, host_ptr, error) })
            };
            make((context, flags, size), host_ptr, errcode_ret, $may_move, real)
        })*

        mod making {
            use super::*;

            $(pub(crate) unsafe extern "C" fn $name(
                context: cl_context,
                $($arg: $ty,)*
                flags: cl_mem_flags,
                size: usize,
                host_ptr: *mut c_void,
                errcode_ret: *mut cl_int,
            ) -> cl_mem {
                filled(flags, size, || {
                    // SAFETY: the caller's arguments, passed on.
                    unsafe {
                        super::$name(context, $($arg,)* flags, size, host_ptr, errcode_ret)
                    }
                })
            })*
        }
    };
}

maps! {
    clEnqueueMapBuffer(buffer; offset: usize, size: usize)
        copy(Function::clEnqueueMapBuffer, wide(size)), wide(size);
    clEnqueueMapImage(image; origin: *const usize, region: *const usize, row: *mut usize,
        slice: *mut usize)
        copy(Function::clEnqueueMapImage, pixels(region)), image_bytes(image, region);
}

makes! {
    clCreateBuffer() true;
    // With properties a buffer is more than its bytes.
    clCreateBufferWithProperties(properties: *const cl_mem_properties) properties.is_null();
}

/// The hooks of a profiled process: each writes down what passes and calls the plain one.
pub(super) mod profiled {
    pub(crate) use super::making::*;
    pub(crate) use super::mapping::*;
}
