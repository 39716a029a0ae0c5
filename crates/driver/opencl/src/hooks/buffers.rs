//! Calls about buffers that may move, and about the kernels that were told of them: the program's
//! handle of such a buffer is ours, and the vendor knows another ([`crate::paged`]).
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::devices::fail;
use crate::paged::{Argument, Buffer, Needs};
use crate::{own, vendor};
use polder_driver::inside;
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

/// The buffer of a handle, if it is one that may move.
fn buffer(handle: cl_mem) -> Option<Arc<Buffer>> {
    own::get().pages.get(handle)
}

/// Brings a buffer to the device, where it then stays for as long as it lives, because something is
/// made of it: the vendor's object, or none when the handle is the vendor's own.
pub(super) fn stay(handle: cl_mem) -> Result<Option<cl_mem>, cl_int> {
    let Some(buffer) = buffer(handle) else { return Ok(None) };
    let mut needs = Needs::default();
    handle.needs(&mut needs);
    for pin in needs.meet()? {
        pin.buffer().hand_over(super::memory::hold);
        pin.keep();
    }
    Ok(Some(buffer.real()))
}

pub(crate) unsafe extern "C" fn clRetainMemObject(memobj: cl_mem) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        if let Some(buffer) = buffer(memobj) {
            buffer.retain();
            return CL_SUCCESS;
        }
        let real = vendor::of(memobj).and_then(|vendor| vendor.original.clRetainMemObject);
        // SAFETY: the caller's argument, passed on.
        real.map_or(CL_INVALID_MEM_OBJECT, |real| unsafe { real(memobj) })
    })
}

pub(crate) unsafe extern "C" fn clReleaseMemObject(memobj: cl_mem) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        if let Some(buffer) = buffer(memobj) {
            if buffer.release() {
                own::get().pages.forget(&buffer);
            }
            return CL_SUCCESS;
        }
        let real = vendor::of(memobj).and_then(|vendor| vendor.original.clReleaseMemObject);
        // SAFETY: the caller's argument, passed on.
        real.map_or(CL_INVALID_MEM_OBJECT, |real| unsafe { real(memobj) })
    })
}

pub(crate) unsafe extern "C" fn clGetMemObjectInfo(
    memobj: cl_mem,
    what: cl_mem_info,
    size: usize,
    at: *mut c_void,
    had: *mut usize,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(buffer) = buffer(memobj) else {
            let real = vendor::of(memobj).and_then(|vendor| vendor.original.clGetMemObjectInfo);
            let Some(real) = real else { return CL_INVALID_MEM_OBJECT };
            // SAFETY: the caller's arguments, passed on.
            let result = unsafe { real(memobj, what, size, at, had) };
            if what == CL_MEM_ASSOCIATED_MEMOBJECT && result == CL_SUCCESS && !at.is_null() {
                let at = at.cast::<cl_mem>();
                // SAFETY: the driver has written an object there, or none.
                let made_of = unsafe { at.read_unaligned() };
                if let Some(handle) = own::get().pages.handle_of(made_of) {
                    // SAFETY: as above.
                    unsafe { at.write_unaligned(handle) };
                }
            }
            return result;
        };
        let Some(answer) = buffer.answer(what) else { return CL_INVALID_VALUE };
        if !at.is_null() {
            if size < answer.len() {
                return CL_INVALID_VALUE;
            }
            // SAFETY: the caller says that so many bytes may be written there.
            unsafe { at.cast::<u8>().copy_from_nonoverlapping(answer.as_ptr(), answer.len()) };
        }
        if !had.is_null() {
            // SAFETY: the caller's pointer.
            unsafe { had.write(answer.len()) };
        }
        CL_SUCCESS
    })
}

/// Questions that only other kinds of objects answer.
macro_rules! no_buffers {
    ($($name:ident;)*) => {$(
        pub(crate) unsafe extern "C" fn $name(
            object: cl_mem,
            what: cl_uint,
            size: usize,
            at: *mut c_void,
            had: *mut usize,
        ) -> cl_int {
            inside::guard(CL_OUT_OF_HOST_MEMORY, || {
                let real = vendor::of(object).and_then(|vendor| vendor.original.$name);
                match real.filter(|_| buffer(object).is_none()) {
                    None => CL_INVALID_MEM_OBJECT,
                    // SAFETY: the caller's arguments, passed on.
                    Some(real) => unsafe { real(object, what, size, at, had) },
                }
            })
        }
    )*};
}
no_buffers! {
    clGetImageInfo;
    clGetPipeInfo;
}

pub(crate) unsafe extern "C" fn clCreateSubBuffer(
    buffer: cl_mem,
    flags: cl_mem_flags,
    kind: cl_buffer_create_type,
    info: *const c_void,
    errcode_ret: *mut cl_int,
) -> cl_mem {
    inside::guard(null_mut(), || {
        let create = vendor::of(buffer).and_then(|vendor| vendor.original.clCreateSubBuffer);
        let real = stay(buffer).map(|real| real.unwrap_or(buffer));
        match (create, real) {
            (Some(create), Ok(real)) => {
                // SAFETY: the caller's arguments, with the vendor's own object.
                inside::accounted(|| unsafe { create(real, flags, kind, info, errcode_ret) })
            }
            (_, error) => {
                // SAFETY: the caller's pointer.
                unsafe { fail(errcode_ret, error.err().unwrap_or(CL_INVALID_MEM_OBJECT)) };
                null_mut()
            }
        }
    })
}

pub(crate) unsafe extern "C" fn clSetKernelArg(
    kernel: cl_kernel,
    index: cl_uint,
    size: usize,
    value: *const c_void,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let real = vendor::of(kernel).and_then(|vendor| vendor.original.clSetKernelArg);
        let Some(real) = real else { return CL_INVALID_KERNEL };
        // SAFETY: the caller's arguments, passed on.
        let call = || unsafe { real(kernel, index, size, value) };
        let pages = &own::get().pages;
        if pages.is_idle() || inside::is_accounted() {
            return call();
        }
        let may_be = size == size_of::<cl_mem>() && !value.is_null();
        // SAFETY: the caller says that so many bytes stand there.
        let handle = may_be.then(|| unsafe { value.cast::<cl_mem>().read_unaligned() });
        let Some(buffer) = handle.and_then(buffer) else {
            return pages.kernels().set(kernel, index, None, call);
        };
        // The driver looks at the object: it must be there, but not stay.
        match pages.hold(std::slice::from_ref(&buffer)) {
            Ok(_pins) => pages.kernels().set(kernel, index, Some(&buffer), call),
            Err(error) => error,
        }
    })
}

pub(crate) unsafe extern "C" fn clCloneKernel(
    source: cl_kernel,
    errcode_ret: *mut cl_int,
) -> cl_kernel {
    inside::guard(null_mut(), || {
        let real = vendor::of(source).and_then(|vendor| vendor.original.clCloneKernel);
        let Some(real) = real else {
            // SAFETY: the caller's pointer.
            unsafe { fail(errcode_ret, CL_INVALID_KERNEL) };
            return null_mut();
        };
        // SAFETY: the caller's arguments, passed on.
        let made = unsafe { real(source, errcode_ret) };
        let pages = &own::get().pages;
        if !made.is_null() && !pages.is_idle() {
            pages.kernels().cloned(source, made);
        }
        made
    })
}

pub(crate) unsafe extern "C" fn clReleaseKernel(kernel: cl_kernel) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        let Some(vendor) = vendor::of(kernel) else { return CL_INVALID_KERNEL };
        let Some(real) = vendor.original.clReleaseKernel else { return CL_INVALID_KERNEL };
        let pages = &own::get().pages;
        if !pages.kernels().is_empty() {
            let mut references: cl_uint = 0;
            let what = CL_KERNEL_REFERENCE_COUNT;
            let known = vendor.original.clGetKernelInfo.map(|get| {
                let at = (&raw mut references).cast();
                // SAFETY: the caller's kernel; the answer fits.
                unsafe { get(kernel, what, size_of::<cl_uint>(), at, null_mut()) }
            });
            if known != Some(CL_SUCCESS) || references <= 1 {
                pages.kernels().forget(kernel);
            }
        }
        // SAFETY: the caller's argument, passed on.
        unsafe { real(kernel) }
    })
}
