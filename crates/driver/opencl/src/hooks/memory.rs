//! Everything that takes device memory.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::devices::{fail, largest};
use super::queued::filling;
use crate::gate::at_once;
use crate::paged::Stay;
use crate::vendor::Vendor;
use crate::{image, own, vendor, view};
use polder_driver::memory::Charge;
use polder_driver::{inside, state};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::{c_uint, c_void};
use std::ptr::null_mut;

/// What an object will cost.
#[derive(Debug, Clone, Copy)]
enum Cost {
    /// Nothing: it is a view of another object.
    View,
    /// Exactly these bytes.
    Bytes(usize),
    /// At least these bytes; the driver says how many when it has made the object.
    About(u64),
}

/// Most devices of one context, sub-devices among them: a context of more can hold no memory.
const CONTEXT_DEVICES_MAX: usize = 4096;

/// Devices of a context; the driver's error when it does not name them.
fn devices_in(vendor: &Vendor, context: cl_context) -> Result<Vec<cl_device_id>, cl_int> {
    let get = vendor.original.clGetContextInfo.ok_or(CL_INVALID_CONTEXT)?;
    let ask = |size: usize, at: *mut c_void, had: *mut usize| {
        // SAFETY: the context is the caller's; the answer fits or is refused.
        match unsafe { get(context, CL_CONTEXT_DEVICES, size, at, had) } {
            CL_SUCCESS => Ok(()),
            error => Err(error),
        }
    };
    let mut bytes = 0;
    ask(0, null_mut(), &raw mut bytes)?;
    let count = bytes / size_of::<cl_device_id>();
    if count > CONTEXT_DEVICES_MAX {
        return Err(CL_OUT_OF_RESOURCES);
    }
    let mut devices: Vec<cl_device_id> = vec![null_mut(); count];
    ask(size_of_val(devices.as_slice()), devices.as_mut_ptr().cast(), null_mut())?;
    Ok(devices)
}

/// Devices of the lease in a context, each once; the driver's error when it does not name them.
fn devices_of(vendor: &Vendor, context: cl_context) -> Result<Vec<usize>, cl_int> {
    let devices = devices_in(vendor, context)?;
    let mut indices: Vec<usize> =
        devices.iter().filter_map(|device| view::lease_device(*device)).collect();
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

/// The API's error for a buffer of so many bytes that was not made for `error`. A size that no device of
/// the context takes in one buffer is a wrong size and no want of memory, whatever is free.
fn refusal(vendor: &Vendor, context: cl_context, bytes: u64, error: cl_int) -> cl_int {
    if error != CL_MEM_OBJECT_ALLOCATION_FAILURE {
        return error;
    }
    let devices = devices_in(vendor, context).unwrap_or_default();
    let mut most = devices.iter().map(|device| largest(*device).unwrap_or(u64::MAX));
    if !devices.is_empty() && most.all(|most| bytes > most) {
        CL_INVALID_BUFFER_SIZE
    } else {
        error
    }
}

/// What the program wants to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    cost: Cost,
    /// The driver fills it from the program's memory before it returns: work for the device that
    /// no queue sees.
    filled: bool,
}

impl Ask {
    fn new(cost: Cost, flags: cl_mem_flags, host_ptr: *mut c_void) -> Self {
        let filled = flags & CL_MEM_COPY_HOST_PTR != 0 && !host_ptr.is_null();
        Self { cost, filled }
    }

    /// A buffer of `size` bytes. One over shared virtual memory of its context is a view of that.
    pub(super) fn buffer(
        context: cl_context,
        flags: cl_mem_flags,
        size: usize,
        host_ptr: *mut c_void,
    ) -> Self {
        let view = flags & CL_MEM_USE_HOST_PTR != 0
            && own::get().svm.holds(context.addr(), host_ptr.addr(), size);
        Self::new(if view { Cost::View } else { Cost::Bytes(size) }, flags, host_ptr)
    }
}

/// Makes a memory object that the lease has room for.
pub(super) fn allocate(
    context: cl_context,
    ask: Ask,
    errcode_ret: *mut cl_int,
    real: impl FnOnce(&'static Vendor, *mut cl_int) -> Option<cl_mem>,
) -> cl_mem {
    let mut error = CL_OUT_OF_HOST_MEMORY;
    let made = inside::guard(null_mut(), || {
        let Some(vendor) = vendor::of(context) else {
            error = CL_INVALID_CONTEXT;
            return null_mut();
        };
        match charged(vendor, context, ask, real) {
            Ok(memory) => {
                error = CL_SUCCESS;
                memory
            }
            Err(why) => {
                error = why;
                null_mut()
            }
        }
    });
    // SAFETY: the caller's pointer.
    unsafe { fail(errcode_ret, error) };
    made
}

/// Makes a memory object and ties its charge to it; the API's error when there is none.
fn charged(
    vendor: &'static Vendor,
    context: cl_context,
    ask: Ask,
    real: impl FnOnce(&'static Vendor, *mut cl_int) -> Option<cl_mem>,
) -> Result<cl_mem, cl_int> {
    let call = || {
        let mut error = CL_SUCCESS;
        let made = inside::accounted(|| real(vendor, &raw mut error));
        let memory = made.ok_or(CL_INVALID_OPERATION)?;
        match error {
            _ if !memory.is_null() => Ok(memory),
            CL_SUCCESS => Err(CL_OUT_OF_RESOURCES),
            error => Err(error),
        }
    };
    let bytes = match ask.cost {
        // A size of nothing is an error, and the driver's to name.
        Cost::View | Cost::Bytes(0) => return call(),
        _ if inside::is_accounted() => return call(),
        Cost::Bytes(bytes) => u64::try_from(bytes).unwrap_or(u64::MAX),
        Cost::About(bytes) => bytes,
    };
    let devices = devices_of(vendor, context)?;
    let charge = match devices.as_slice() {
        [device] => own::get().pages.reserve(*device, bytes, Stay::Fixed),
        devices => Charge::reserve(state::get(), devices, bytes),
    };
    let full = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    let mut charge = charge.ok_or_else(|| match ask.cost {
        Cost::Bytes(_) => refusal(vendor, context, bytes, full),
        // Of an image or a pipe the API limits what it is made of, and not its bytes.
        Cost::About(_) | Cost::View => full,
    })?;
    let memory = match devices.first() {
        Some(device) if ask.filled => at_once(*device, filling(bytes), call)?,
        _ => call()?,
    };
    if matches!(ask.cost, Cost::About(_))
        && real_size(vendor, memory).is_some_and(|real| !charge.settle(real))
    {
        release(vendor, memory);
        return Err(full);
    }
    hold(vendor, memory, charge);
    Ok(memory)
}

/// Bytes that the driver says an object has.
fn real_size(vendor: &Vendor, memory: cl_mem) -> Option<u64> {
    let get = vendor.original.clGetMemObjectInfo?;
    let mut bytes = 0_usize;
    let at = (&raw mut bytes).cast();
    // SAFETY: the object has just been made; the answer fits.
    let known = unsafe { get(memory, CL_MEM_SIZE, size_of::<usize>(), at, null_mut()) };
    (known == CL_SUCCESS).then(|| u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn release(vendor: &Vendor, memory: cl_mem) {
    if let Some(release) = vendor.original.clReleaseMemObject {
        // SAFETY: the object has just been made and nobody else knows it.
        inside::accounted(|| unsafe { release(memory) });
    }
}

/// Ties a charge to the end of its object. Ours is the first destructor callback of the object, so
/// it is called last.
pub(super) fn hold(vendor: &'static Vendor, memory: cl_mem, charge: Charge) {
    let data = Box::into_raw(Box::new(charge)).cast::<c_void>();
    // When the driver has no such callback the charge stays until the process ends: rather too
    // much is held than too little.
    if let Some(set) = vendor.original.clSetMemObjectDestructorCallback {
        // SAFETY: the object has just been made; `gone` takes the charge back.
        unsafe { set(memory, Some(gone), data) };
    }
}

unsafe extern "C" fn gone(_memory: cl_mem, data: *mut c_void) {
    // SAFETY: `hold` passed this charge to exactly one callback.
    inside::guard((), || drop(unsafe { Box::from_raw(data.cast::<Charge>()) }));
}

/// Makes a buffer that may move, where the lease has host memory behind the device; none when it is to
/// be made as ever.
pub(super) fn paged(
    context: cl_context,
    size: (cl_mem_flags, usize),
    ask: Ask,
    real: impl Fn(&Vendor, *mut cl_int) -> Option<cl_mem>,
) -> Option<Result<cl_mem, cl_int>> {
    inside::guard(None, || {
        let vendor = vendor::of(context)?;
        let create = |error: &mut cl_int| real(vendor, error);
        let made = own::get().pages.make((vendor, context), size, ask.filled, create)?;
        let bytes = u64::try_from(size.1).unwrap_or(u64::MAX);
        Some(made.map_err(|error| refusal(vendor, context, bytes, error)))
    })
}

/// What an image costs.
///
/// # Safety
/// The pointers are null or valid.
unsafe fn image_cost(format: *const cl_image_format, description: *const cl_image_desc) -> Cost {
    if format.is_null() || description.is_null() {
        // The driver will refuse it.
        return Cost::View;
    }
    // SAFETY: the caller's promise.
    let (format, description) = unsafe { (format.read(), description.read()) };
    // Of other kinds no image is a view: there a driver refuses the object, or overlooks it.
    let may_view = [CL_MEM_OBJECT_IMAGE1D_BUFFER, CL_MEM_OBJECT_IMAGE2D];
    if !description.mem_object.is_null() && may_view.contains(&description.image_type) {
        return Cost::View;
    }
    Cost::About(image::bytes(format, &description))
}

pub(crate) unsafe extern "C" fn clCreateImage(
    context: cl_context,
    flags: cl_mem_flags,
    image_format: *const cl_image_format,
    image_desc: *const cl_image_desc,
    host_ptr: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_mem {
    // SAFETY: the caller's pointers.
    let (cost, own) = unsafe { (image_cost(image_format, image_desc), over_buffer(image_desc)) };
    let image_desc = own.as_ref().map_or(image_desc, std::ptr::from_ref);
    let ask = Ask::new(cost, flags, host_ptr);
    allocate(context, ask, errcode_ret, |vendor, error| {
        let create = vendor.original.clCreateImage?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe { create(context, flags, image_format, image_desc, host_ptr, error) })
    })
}

pub(crate) unsafe extern "C" fn clCreateImageWithProperties(
    context: cl_context,
    properties: *const cl_mem_properties,
    flags: cl_mem_flags,
    image_format: *const cl_image_format,
    image_desc: *const cl_image_desc,
    host_ptr: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_mem {
    // SAFETY: the caller's pointers.
    let (cost, own) = unsafe { (image_cost(image_format, image_desc), over_buffer(image_desc)) };
    let image_desc = own.as_ref().map_or(image_desc, std::ptr::from_ref);
    let ask = Ask::new(cost, flags, host_ptr);
    allocate(context, ask, errcode_ret, |vendor, error| {
        let create = vendor.original.clCreateImageWithProperties?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe {
            create(context, properties, flags, image_format, image_desc, host_ptr, error)
        })
    })
}

/// The description of an image over a buffer that may move, with the vendor's own object: from now on
/// the buffer stays on the device. None when there is nothing to change.
///
/// # Safety
/// The pointer is null or valid.
unsafe fn over_buffer(description: *const cl_image_desc) -> Option<cl_image_desc> {
    // SAFETY: the caller's promise.
    let mut description = unsafe { description.as_ref().copied() }?;
    description.mem_object = super::buffers::stay(description.mem_object).ok()??;
    Some(description)
}

/// The description of an image made by one of the old functions.
fn old_image(kind: cl_mem_object_type, width: usize, height: usize, depth: usize) -> cl_image_desc {
    cl_image_desc {
        image_type: kind,
        image_width: width,
        image_height: height,
        image_depth: depth,
        image_array_size: 0,
        image_row_pitch: 0,
        image_slice_pitch: 0,
        num_mip_levels: 0,
        num_samples: 0,
        mem_object: null_mut(),
    }
}

pub(crate) unsafe extern "C" fn clCreateImage2D(
    context: cl_context,
    flags: cl_mem_flags,
    image_format: *const cl_image_format,
    image_width: usize,
    image_height: usize,
    image_row_pitch: usize,
    host_ptr: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_mem {
    let description = old_image(CL_MEM_OBJECT_IMAGE2D, image_width, image_height, 1);
    // SAFETY: the caller's format and our description.
    let cost = unsafe { image_cost(image_format, &raw const description) };
    let ask = Ask::new(cost, flags, host_ptr);
    allocate(context, ask, errcode_ret, |vendor, error| {
        let create = vendor.original.clCreateImage2D?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe {
            create(
                context,
                flags,
                image_format,
                image_width,
                image_height,
                image_row_pitch,
                host_ptr,
                error,
            )
        })
    })
}

pub(crate) unsafe extern "C" fn clCreateImage3D(
    context: cl_context,
    flags: cl_mem_flags,
    image_format: *const cl_image_format,
    image_width: usize,
    image_height: usize,
    image_depth: usize,
    image_row_pitch: usize,
    image_slice_pitch: usize,
    host_ptr: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_mem {
    let description = old_image(CL_MEM_OBJECT_IMAGE3D, image_width, image_height, image_depth);
    // SAFETY: the caller's format and our description.
    let cost = unsafe { image_cost(image_format, &raw const description) };
    let ask = Ask::new(cost, flags, host_ptr);
    allocate(context, ask, errcode_ret, |vendor, error| {
        let create = vendor.original.clCreateImage3D?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe {
            create(
                context,
                flags,
                image_format,
                image_width,
                image_height,
                image_depth,
                image_row_pitch,
                image_slice_pitch,
                host_ptr,
                error,
            )
        })
    })
}

pub(crate) unsafe extern "C" fn clCreatePipe(
    context: cl_context,
    flags: cl_mem_flags,
    pipe_packet_size: cl_uint,
    pipe_max_packets: cl_uint,
    properties: *const cl_pipe_properties,
    errcode_ret: *mut cl_int,
) -> cl_mem {
    let bytes = u64::from(pipe_packet_size) * u64::from(pipe_max_packets);
    let ask = Ask::new(Cost::About(bytes), flags, null_mut());
    allocate(context, ask, errcode_ret, |vendor, error| {
        let create = vendor.original.clCreatePipe?;
        // SAFETY: the caller's arguments, passed on.
        Some(unsafe {
            create(context, flags, pipe_packet_size, pipe_max_packets, properties, error)
        })
    })
}

pub(crate) unsafe extern "C" fn clSVMAlloc(
    context: cl_context,
    flags: cl_svm_mem_flags,
    size: usize,
    alignment: c_uint,
) -> *mut c_void {
    inside::guard(null_mut(), || {
        let Some(vendor) = vendor::of(context) else { return null_mut() };
        let Some(alloc) = vendor.original.clSVMAlloc else { return null_mut() };
        // SAFETY: the caller's arguments, passed on.
        let call = || inside::accounted(|| unsafe { alloc(context, flags, size, alignment) });
        if size == 0 || inside::is_accounted() {
            return call();
        }
        let state = state::get();
        let bytes = u64::try_from(size).unwrap_or(u64::MAX);
        let Ok(devices) = devices_of(vendor, context) else { return null_mut() };
        let charge = match devices.as_slice() {
            [device] => own::get().pages.reserve(*device, bytes, Stay::Fixed),
            devices => Charge::reserve(state, devices, bytes),
        };
        let Some(charge) = charge else { return null_mut() };
        let memory = call();
        if !memory.is_null() {
            own::get().svm.keep(context.addr(), memory.addr(), size, charge);
        }
        memory
    })
}

pub(crate) unsafe extern "C" fn clSVMFree(context: cl_context, svm_pointer: *mut c_void) {
    inside::guard((), || {
        let Some(free) = vendor::of(context).and_then(|vendor| vendor.original.clSVMFree) else {
            return;
        };
        // Taken before the driver frees: afterwards another thread may be given the address.
        let charge = own::get().svm.take(svm_pointer.addr());
        // SAFETY: the caller's arguments, passed on.
        inside::accounted(|| unsafe { free(context, svm_pointer) });
        drop(charge);
    });
}
