//! Queues come and go.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::devices::fail;
use crate::{own, vendor};
use polder_driver::inside;
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ptr::null_mut;

/// Makes a queue and remembers it.
fn create(
    context: cl_context,
    errcode_ret: *mut cl_int,
    real: impl FnOnce(&'static vendor::Vendor) -> Option<cl_command_queue>,
) -> cl_command_queue {
    inside::guard(null_mut(), || {
        let made = vendor::of(context).and_then(|vendor| inside::accounted(|| real(vendor)));
        let Some(queue) = made else {
            // SAFETY: the caller's pointer.
            unsafe { fail(errcode_ret, CL_INVALID_CONTEXT) };
            return null_mut();
        };
        if !queue.is_null() {
            own::get().queues.insert(queue);
        }
        queue
    })
}

pub(crate) unsafe extern "C" fn clCreateCommandQueue(
    context: cl_context,
    device: cl_device_id,
    properties: cl_command_queue_properties,
    errcode_ret: *mut cl_int,
) -> cl_command_queue {
    create(context, errcode_ret, |vendor| {
        let create = vendor.original.clCreateCommandQueue?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe { create(context, device, properties, errcode_ret) })
    })
}

pub(crate) unsafe extern "C" fn clCreateCommandQueueWithProperties(
    context: cl_context,
    device: cl_device_id,
    properties: *const cl_queue_properties,
    errcode_ret: *mut cl_int,
) -> cl_command_queue {
    create(context, errcode_ret, |vendor| {
        let create = vendor.original.clCreateCommandQueueWithProperties?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe { create(context, device, properties, errcode_ret) })
    })
}

pub(crate) unsafe extern "C" fn clRetainCommandQueue(queue: cl_command_queue) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let retain = vendor::of(queue).and_then(|vendor| vendor.original.clRetainCommandQueue);
        let Some(retain) = retain else { return CL_INVALID_COMMAND_QUEUE };
        // SAFETY: the caller's queue.
        let result = unsafe { retain(queue) };
        if result == CL_SUCCESS && !inside::is_accounted() {
            own::get().queues.retained(queue);
        }
        result
    })
}

pub(crate) unsafe extern "C" fn clReleaseCommandQueue(queue: cl_command_queue) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let release = vendor::of(queue).and_then(|vendor| vendor.original.clReleaseCommandQueue);
        let Some(release) = release else { return CL_INVALID_COMMAND_QUEUE };
        // Before the driver frees it: afterwards another queue may have its address.
        if !inside::is_accounted() && own::get().queues.releasing(queue) {
            own::get().graph.forget_queue(queue.addr());
        }
        // SAFETY: the caller's queue and its reference.
        inside::accounted(|| unsafe { release(queue) })
    })
}

pub(crate) unsafe extern "C" fn clSetCommandQueueProperty(
    queue: cl_command_queue,
    properties: cl_command_queue_properties,
    enable: cl_bool,
    old_properties: *mut cl_command_queue_properties,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let set = vendor::of(queue).and_then(|vendor| vendor.original.clSetCommandQueueProperty);
        let Some(set) = set else { return CL_INVALID_OPERATION };
        // SAFETY: the caller's arguments, passed on.
        let result = unsafe { set(queue, properties, enable, old_properties) };
        own::get().queues.changed(queue);
        result
    })
}
