//! Events that the program signals itself, and functions that the driver calls back.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::devices::fail;
use crate::vendor::Vendor;
use crate::{callbacks, own, vendor};
use polder_driver::inside;
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

pub(crate) unsafe extern "C" fn clCreateUserEvent(
    context: cl_context,
    errcode_ret: *mut cl_int,
) -> cl_event {
    inside::guard(null_mut(), || {
        let vendor = vendor::of(context);
        let Some(create) = vendor.and_then(|vendor| vendor.original.clCreateUserEvent) else {
            // SAFETY: the caller's pointer.
            unsafe { fail(errcode_ret, CL_INVALID_CONTEXT) };
            return null_mut();
        };
        // SAFETY: the caller's arguments, passed on.
        let event = unsafe { create(context, errcode_ret) };
        if !event.is_null() {
            own::get().graph.user_event(event.addr());
        }
        event
    })
}

pub(crate) unsafe extern "C" fn clRetainEvent(event: cl_event) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let retain = vendor::of(event).and_then(|vendor| vendor.original.clRetainEvent);
        let Some(retain) = retain else { return CL_INVALID_EVENT };
        // SAFETY: the caller's event.
        let result = unsafe { retain(event) };
        let graph = &own::get().graph;
        if result == CL_SUCCESS && !graph.is_idle() {
            graph.retained(event.addr());
        }
        result
    })
}

pub(crate) unsafe extern "C" fn clReleaseEvent(event: cl_event) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let release = vendor::of(event).and_then(|vendor| vendor.original.clReleaseEvent);
        let Some(release) = release else { return CL_INVALID_EVENT };
        // Before the driver frees it: afterwards another event may have its address.
        let graph = &own::get().graph;
        if !graph.is_idle() {
            graph.releasing(event.addr());
        }
        // SAFETY: the caller's event and its reference.
        unsafe { release(event) }
    })
}

pub(crate) unsafe extern "C" fn clSetUserEventStatus(event: cl_event, status: cl_int) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let set = vendor::of(event).and_then(|vendor| vendor.original.clSetUserEventStatus);
        let Some(set) = set else { return CL_INVALID_EVENT };
        // SAFETY: the caller's arguments, passed on.
        let result = unsafe { set(event, status) };
        // The driver refuses any other status and leaves the event as it is.
        if status <= CL_COMPLETE {
            own::get().graph.signal(event.addr(), status < CL_COMPLETE);
        }
        result
    })
}

pub(crate) unsafe extern "C" fn clSetEventCallback(
    event: cl_event,
    kind: cl_int,
    pfn_notify: EventNotify,
    user_data: *mut c_void,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let set = vendor::of(event).and_then(|vendor| vendor.original.clSetEventCallback);
        let Some(set) = set else { return CL_INVALID_EVENT };
        own::get().flying.begin();
        let set = |notify, data| {
            // SAFETY: the caller's arguments with its function wrapped.
            unsafe { set(event, kind, notify, data) }
        };
        if kind == CL_COMPLETE {
            callbacks::event(pfn_notify, user_data, set)
        } else {
            callbacks::event_midway(pfn_notify, user_data, set)
        }
    })
}

pub(crate) unsafe extern "C" fn clSetMemObjectDestructorCallback(
    memobj: cl_mem,
    pfn_notify: MemNotify,
    user_data: *mut c_void,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        if let Some(buffer) = own::get().pages.get(memobj) {
            if pfn_notify.is_none() {
                return CL_INVALID_VALUE;
            }
            buffer.at_end(pfn_notify, user_data);
            return CL_SUCCESS;
        }
        let vendor = vendor::of(memobj);
        let set = vendor.and_then(|vendor| vendor.original.clSetMemObjectDestructorCallback);
        let Some(set) = set else { return CL_INVALID_MEM_OBJECT };
        callbacks::memory(pfn_notify, user_data, |notify, data| {
            // SAFETY: the caller's arguments with its function wrapped.
            unsafe { set(memobj, notify, data) }
        })
    })
}

pub(crate) unsafe extern "C" fn clSetContextDestructorCallback(
    context: cl_context,
    pfn_notify: ContextDestroyed,
    user_data: *mut c_void,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let vendor = vendor::of(context);
        let set = vendor.and_then(|vendor| vendor.original.clSetContextDestructorCallback);
        let Some(set) = set else { return CL_INVALID_CONTEXT };
        callbacks::context_end(pfn_notify, user_data, |notify, data| {
            // SAFETY: the caller's arguments with its function wrapped.
            unsafe { set(context, notify, data) }
        })
    })
}

/// Calls a function of the program's vendor with its notification wrapped.
fn with_program(
    program: cl_program,
    notify: ProgramNotify,
    data: *mut c_void,
    call: impl FnOnce(&'static Vendor, ProgramNotify, *mut c_void) -> Option<cl_int>,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(vendor) = vendor::of(program) else { return CL_INVALID_PROGRAM };
        callbacks::program(notify, data, |notify, data| {
            call(vendor, notify, data).unwrap_or(CL_INVALID_OPERATION)
        })
    })
}

pub(crate) unsafe extern "C" fn clSetProgramReleaseCallback(
    program: cl_program,
    pfn_notify: ProgramNotify,
    user_data: *mut c_void,
) -> cl_int {
    with_program(program, pfn_notify, user_data, |vendor, notify, data| {
        let set = vendor.original.clSetProgramReleaseCallback?;
        // SAFETY: the caller's arguments with its function wrapped.
        Some(unsafe { set(program, notify, data) })
    })
}

pub(crate) unsafe extern "C" fn clBuildProgram(
    program: cl_program,
    num_devices: cl_uint,
    device_list: *const cl_device_id,
    options: *const c_char,
    pfn_notify: ProgramNotify,
    user_data: *mut c_void,
) -> cl_int {
    with_program(program, pfn_notify, user_data, |vendor, notify, data| {
        let build = vendor.original.clBuildProgram?;
        // SAFETY: the caller's arguments with its function wrapped.
        Some(unsafe { build(program, num_devices, device_list, options, notify, data) })
    })
}

pub(crate) unsafe extern "C" fn clCompileProgram(
    program: cl_program,
    num_devices: cl_uint,
    device_list: *const cl_device_id,
    options: *const c_char,
    num_input_headers: cl_uint,
    input_headers: *const cl_program,
    header_include_names: *mut *const c_char,
    pfn_notify: ProgramNotify,
    user_data: *mut c_void,
) -> cl_int {
    with_program(program, pfn_notify, user_data, |vendor, notify, data| {
        let compile = vendor.original.clCompileProgram?;
        // SAFETY: the caller's arguments with its function wrapped.
        Some(unsafe {
            compile(
                program,
                num_devices,
                device_list,
                options,
                num_input_headers,
                input_headers,
                header_include_names,
                notify,
                data,
            )
        })
    })
}

pub(crate) unsafe extern "C" fn clLinkProgram(
    context: cl_context,
    num_devices: cl_uint,
    device_list: *const cl_device_id,
    options: *const c_char,
    num_input_programs: cl_uint,
    input_programs: *const cl_program,
    pfn_notify: ProgramNotify,
    user_data: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_program {
    inside::guard(null_mut(), || {
        let link = vendor::of(context).and_then(|vendor| vendor.original.clLinkProgram);
        let Some(link) = link else {
            // SAFETY: the caller's pointer.
            unsafe { fail(errcode_ret, CL_INVALID_CONTEXT) };
            return null_mut();
        };
        callbacks::link(pfn_notify, user_data, |notify, data| {
            // SAFETY: the caller's arguments with its function wrapped.
            unsafe {
                link(
                    context,
                    num_devices,
                    device_list,
                    options,
                    num_input_programs,
                    input_programs,
                    notify,
                    data,
                    errcode_ret,
                )
            }
        })
    })
}
