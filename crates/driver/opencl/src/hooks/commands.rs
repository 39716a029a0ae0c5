//! Everything that is put into a queue.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::queued::copy;
use crate::gate::{Work, launch};
use crate::graph::{Dependence, Order};
use crate::paged::{Argument, Needs, Pin, real as real_object};
use crate::{callbacks, own, vendor};
use polder_driver::inside;
use polder_driver::meter::Kind;
use polder_gpuapi::opencl::{Function, consts::*, types::*};
use std::ffi::c_void;
use std::ptr::{null, null_mut};

pub(crate) unsafe extern "C" fn clEnqueueUnmapMemObject(
    queue: cl_command_queue,
    memory: cl_mem,
    at: *mut c_void,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(vendor) = vendor::of(queue) else { return CL_INVALID_COMMAND_QUEUE };
        let Some(real) = vendor.original.clEnqueueUnmapMemObject else {
            return CL_INVALID_OPERATION;
        };
        let kind = copy(Function::clEnqueueUnmapMemObject, 0);
        let work = Work { queue, kind, events, list, event, blocking: false };
        // What is mapped is on the device, and stays there until this command has ended.
        let buffer = own::get().pages.get(memory);
        let pins: Vec<Pin> = buffer.iter().filter_map(Pin::of_map).collect();
        let object = real_object(memory);
        launch(vendor, work, pins, |(events, list), event| {
            // SAFETY: the caller's arguments, passed on.
            let result = unsafe { real(queue, object, at, events, list, event) };
            if result != CL_SUCCESS
                && let Some(pin) = buffer.as_ref().and_then(|buffer| buffer.pin_again())
            {
                pin.keep_mapped();
            }
            result
        })
    })
}

/// The vendor's objects of a list, held on the device.
///
/// # Safety
/// `objects` is null or has `count` members.
unsafe fn real_objects(
    objects: *const cl_mem,
    count: cl_uint,
) -> Result<(Vec<Pin>, Option<Vec<cl_mem>>), cl_int> {
    if objects.is_null() || own::get().pages.is_idle() {
        return Ok((Vec::new(), None));
    }
    // SAFETY: the caller's promise.
    let list = unsafe { std::slice::from_raw_parts(objects, count as usize) };
    let mut needs = Needs::default();
    list.iter().for_each(|object| object.needs(&mut needs));
    let pins = needs.meet()?;
    Ok((pins, Some(list.iter().map(|object| real_object(*object)).collect())))
}

pub(crate) unsafe extern "C" fn clEnqueueMigrateMemObjects(
    queue: cl_command_queue,
    count: cl_uint,
    objects: *const cl_mem,
    flags: cl_mem_migration_flags,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(vendor) = vendor::of(queue) else { return CL_INVALID_COMMAND_QUEUE };
        let Some(real) = vendor.original.clEnqueueMigrateMemObjects else {
            return CL_INVALID_OPERATION;
        };
        let kind = copy(Function::clEnqueueMigrateMemObjects, 0);
        let work = Work { queue, kind, events, list, event, blocking: false };
        // SAFETY: the caller's list.
        let (pins, own) = match unsafe { real_objects(objects, count) } {
            Ok(found) => found,
            Err(error) => return error,
        };
        let at = own.as_ref().map_or(objects, |own| own.as_ptr());
        launch(vendor, work, pins, |(events, list), event| {
            // SAFETY: the caller's arguments, with the vendor's objects.
            unsafe { real(queue, count, at, flags, events, list, event) }
        })
    })
}

pub(crate) unsafe extern "C" fn clEnqueueNativeKernel(
    queue: cl_command_queue,
    user_func: NativeKernel,
    args: *mut c_void,
    cb_args: usize,
    num_mem_objects: cl_uint,
    mem_list: *const cl_mem,
    args_mem_loc: *mut *const c_void,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(vendor) = vendor::of(queue) else { return CL_INVALID_COMMAND_QUEUE };
        let Some(real) = vendor.original.clEnqueueNativeKernel else { return CL_INVALID_OPERATION };
        let kind = Kind { what: user_func.map_or(0, |at| at as usize), size: 0, guess_ns: 0 };
        let work = Work { queue, kind, events, list, event, blocking: false };
        // What the driver will refuse it must see as it is, and no place in no block is looked for.
        let fits = args.is_null() == (cb_args == 0)
            && (num_mem_objects == 0) == mem_list.is_null()
            && mem_list.is_null() == args_mem_loc.is_null()
            && (mem_list.is_null() || !args.is_null());
        let Some(function) = user_func.filter(|_| fits) else {
            return launch(vendor, work, Vec::new(), |(events, list), event| {
                // SAFETY: the caller's arguments, passed on.
                unsafe {
                    real(
                        queue,
                        user_func,
                        args,
                        cb_args,
                        num_mem_objects,
                        mem_list,
                        args_mem_loc,
                        events,
                        list,
                        event,
                    )
                }
            });
        };
        let bytes = match cb_args {
            0 => &[][..],
            // SAFETY: the caller says that as many bytes stand there.
            _ => unsafe { std::slice::from_raw_parts(args.cast::<u8>(), cb_args) },
        };
        let (run, mut block) = callbacks::native(function, bytes);
        let at = block.as_mut_ptr().cast::<c_void>();
        let places = places_in(args, args_mem_loc, num_mem_objects, at);
        let places_at = if places.is_empty() { null_mut() } else { places.as_ptr().cast_mut() };
        // SAFETY: the caller's list.
        let (pins, objects) = match unsafe { real_objects(mem_list, num_mem_objects) } {
            Ok(found) => found,
            Err(error) => return error,
        };
        let mem_list = objects.as_ref().map_or(mem_list, |objects| objects.as_ptr());
        launch(vendor, work, pins, |(events, list), event| {
            let size = callbacks::NATIVE_HEAD + cb_args;
            // SAFETY: the caller's arguments, with a block that carries its function in front.
            unsafe {
                real(
                    queue,
                    run,
                    at,
                    size,
                    num_mem_objects,
                    mem_list,
                    places_at,
                    events,
                    list,
                    event,
                )
            }
        })
    })
}

/// Where the program's argument block names memory objects, in our copy of the block.
fn places_in(
    args: *mut c_void,
    args_mem_loc: *mut *const c_void,
    count: cl_uint,
    block: *mut c_void,
) -> Vec<*const c_void> {
    if args_mem_loc.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller says that as many places stand there.
    let places = unsafe { std::slice::from_raw_parts(args_mem_loc, count as usize) };
    let into = |place: &*const c_void| {
        let offset = place.addr().wrapping_sub(args.addr());
        block.cast_const().wrapping_byte_add(callbacks::NATIVE_HEAD).wrapping_byte_add(offset)
    };
    places.iter().map(into).collect()
}

pub(crate) unsafe extern "C" fn clEnqueueSVMFree(
    queue: cl_command_queue,
    count: cl_uint,
    pointers: *mut *mut c_void,
    function: SvmFree,
    data: *mut c_void,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(vendor) = vendor::of(queue) else { return CL_INVALID_COMMAND_QUEUE };
        let Some(real) = vendor.original.clEnqueueSVMFree else { return CL_INVALID_OPERATION };
        // The driver frees by itself where the program gives no function to do it: then ours does,
        // through the hook that gives the charges back.
        let own: SvmFree = Some(free_all);
        let (free, data) = match function {
            Some(_) => (function, data),
            None => (own, context_of(vendor, queue)),
        };
        let kind = copy(Function::clEnqueueSVMFree, 0);
        let work = Work { queue, kind, events, list, event, blocking: false };
        callbacks::svm_free(free, data, |free, data| {
            launch(vendor, work, Vec::new(), |(events, list), event| {
                // SAFETY: the caller's arguments with the freeing function wrapped.
                unsafe { real(queue, count, pointers, free, data, events, list, event) }
            })
        })
    })
}

fn context_of(vendor: &vendor::Vendor, queue: cl_command_queue) -> *mut c_void {
    let mut context: cl_context = null_mut();
    if let Some(get) = vendor.original.clGetCommandQueueInfo {
        let at = (&raw mut context).cast();
        // SAFETY: the caller's queue; the answer fits. It stays null when the driver refuses.
        unsafe { get(queue, CL_QUEUE_CONTEXT, size_of::<cl_context>(), at, null_mut()) };
    }
    context.cast()
}

unsafe extern "C" fn free_all(
    _queue: cl_command_queue,
    count: cl_uint,
    pointers: *mut *mut c_void,
    context: *mut c_void,
) {
    if pointers.is_null() {
        return;
    }
    for index in 0..count as usize {
        // SAFETY: the driver hands over the list it was given; the queue keeps its context alive.
        unsafe { super::memory::clSVMFree(context.cast(), pointers.add(index).read()) };
    }
}

/// Queues a command without work: only what stands behind an unsignalled event matters.
fn order(
    queue: cl_command_queue,
    events: (cl_uint, *const cl_event),
    order: Order,
    event: *mut cl_event,
    real: impl FnOnce(&vendor::Vendor) -> Option<cl_int>,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(vendor) = vendor::of(queue) else { return CL_INVALID_COMMAND_QUEUE };
        let call = || inside::accounted(|| real(vendor)).unwrap_or(CL_INVALID_OPERATION);
        let known = (!inside::is_accounted()).then(|| own::get().queues.get(queue)).flatten();
        let Some(known) = known else { return call() };
        known.mark();
        if own::get().graph.is_idle() {
            return call();
        }
        let (count, list) = events;
        let kind = copy(Function::clEnqueueMarker, 0);
        let work = Work { queue, kind, events: count, list, event, blocking: false };
        let order = if known.in_order() { Order::InLine } else { order };
        let events = work.wait_handles();
        let on = Dependence { queue: known.key(), events: &events, order };
        let pending = own::get().graph.add(on, None);
        let result = call();
        match pending {
            Ok(id) if result != CL_SUCCESS => own::get().graph.remove(id),
            // SAFETY: the driver has put the command's event there.
            Ok(id) if !event.is_null() => own::get().graph.name(id, unsafe { event.read() }.addr()),
            _ => {}
        }
        result
    })
}

pub(crate) unsafe extern "C" fn clEnqueueMarker(
    queue: cl_command_queue,
    event: *mut cl_event,
) -> cl_int {
    order(queue, (0, null()), Order::After, event, |vendor| {
        // SAFETY: the caller's arguments, passed on.
        vendor.original.clEnqueueMarker.map(|real| unsafe { real(queue, event) })
    })
}

pub(crate) unsafe extern "C" fn clEnqueueMarkerWithWaitList(
    queue: cl_command_queue,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    let after = if events == 0 { Order::After } else { Order::Neither };
    order(queue, (events, list), after, event, |vendor| {
        let real = vendor.original.clEnqueueMarkerWithWaitList?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe { real(queue, events, list, event) })
    })
}

pub(crate) unsafe extern "C" fn clEnqueueWaitForEvents(
    queue: cl_command_queue,
    events: cl_uint,
    list: *const cl_event,
) -> cl_int {
    order(queue, (events, list), Order::Both, null_mut(), |vendor| {
        // SAFETY: the caller's arguments, passed on.
        vendor.original.clEnqueueWaitForEvents.map(|real| unsafe { real(queue, events, list) })
    })
}

pub(crate) unsafe extern "C" fn clEnqueueBarrier(queue: cl_command_queue) -> cl_int {
    order(queue, (0, null()), Order::Both, null_mut(), |vendor| {
        // SAFETY: the caller's argument, passed on.
        vendor.original.clEnqueueBarrier.map(|real| unsafe { real(queue) })
    })
}

pub(crate) unsafe extern "C" fn clEnqueueBarrierWithWaitList(
    queue: cl_command_queue,
    events: cl_uint,
    list: *const cl_event,
    event: *mut cl_event,
) -> cl_int {
    order(queue, (events, list), Order::Both, event, |vendor| {
        let real = vendor.original.clEnqueueBarrierWithWaitList?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe { real(queue, events, list, event) })
    })
}
