//! Everything that takes device memory.

use super::common::{Cl, call, check};
use super::say;
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ptr::{null, null_mut};

struct Place {
    cl: Cl,
    context: cl_context,
    device: cl_device_id,
}

impl Place {
    fn new() -> Self {
        let cl = Cl::load();
        let platform = cl.platforms()[0];
        let device = cl.devices(platform)[0];
        let context = cl.context(&[device]);
        Self { cl, context, device }
    }

    fn release(&self, memory: cl_mem) {
        check(call!(self.cl, clReleaseMemObject(memory)));
    }
}

/// Fills the lease to the byte with buffers, and passes it by one.
pub(crate) fn cap(bytes: usize) {
    let at = Place::new();
    let part = bytes / 4;
    let mut held: Vec<_> = (0..3).map(|_| at.cl.buffer(at.context, part).expect("fits")).collect();
    held.push(at.cl.buffer(at.context, bytes - 3 * part).expect("the last byte fits"));
    say(&format_args!("past {}", at.cl.buffer(at.context, 1).expect_err("one too many")));
    at.release(held.remove(0));
    say(&format_args!(
        "past again {}",
        at.cl.buffer(at.context, part + 1).expect_err("one too many")
    ));
    held.push(at.cl.buffer(at.context, part).expect("what was freed fits"));
    for memory in held.drain(1..) {
        at.release(memory);
    }
}

/// Allocations that the driver refuses for reasons of its own.
pub(crate) fn failing() {
    let at = Place::new();
    let largest = at.cl.device_u64(at.device, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    let too_large = usize::try_from(largest).expect("64 bit") + 1;
    say(&format_args!("too large {}", at.cl.buffer(at.context, too_large).expect_err("too large")));
    say(&format_args!("nothing {}", at.cl.buffer(at.context, 0).expect_err("nothing")));
    let mut error = 0;
    let flags = CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR;
    call!(at.cl, clCreateBuffer(at.context, flags, 64, null_mut(), &mut error));
    say(&format_args!("no host memory {error}"));
}

/// Sizes beyond the largest buffer, free or not, and others for which there is no room.
pub(crate) fn oversized() {
    let at = Place::new();
    let most = at.cl.device_u64(at.device, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    let most = usize::try_from(most).expect("64 bit");
    let wrong = [most + 1, usize::MAX, 1 << 63, 0_usize.wrapping_sub(4096), 1 << 40];
    let answers = || wrong.map(|bytes| at.cl.buffer(at.context, bytes).expect_err("too large"));
    say(&format_args!("wrong sizes {:?}", answers()));
    let one = at.cl.buffer(at.context, 4096).expect("there is room");
    say(&format_args!("no room {}", at.cl.buffer(at.context, most).expect_err("one is held")));
    say(&format_args!("wrong sizes {:?}", answers()));
    at.release(one);
    let whole = at.cl.buffer(at.context, most).expect("there is room again");
    at.release(whole);
    if at.cl.device_u64(at.device, CL_DEVICE_SVM_CAPABILITIES) != 0 {
        for bytes in wrong {
            let shared = call!(at.cl, clSVMAlloc(at.context, CL_MEM_READ_WRITE, bytes, 0));
            assert!(shared.is_null(), "{bytes} bytes");
        }
    }
}

/// A sub-buffer costs nothing; a buffer over host memory costs its size; a buffer that something
/// still uses costs until that is over.
pub(crate) fn views() {
    let at = Place::new();
    let mut host = vec![0_u8; 8192];
    let mut error = 0;
    let flags = CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR;
    let buffer =
        call!(at.cl, clCreateBuffer(at.context, flags, 8192, host.as_mut_ptr().cast(), &mut error));
    check(error);
    let region = [0_usize, 4096];
    let part = call!(
        at.cl,
        clCreateSubBuffer(
            buffer,
            0,
            CL_BUFFER_CREATE_TYPE_REGION,
            region.as_ptr().cast(),
            &mut error
        )
    );
    check(error);
    at.release(buffer);
    say(&"the part holds it");
    super::hear();
    at.release(part);
    let properties: [cl_mem_properties; 1] = [0];
    let other = call!(
        at.cl,
        clCreateBufferWithProperties(
            at.context,
            properties.as_ptr(),
            CL_MEM_READ_WRITE,
            512,
            null_mut(),
            &mut error
        )
    );
    check(error);
    say(&"another");
    super::hear();
    at.release(other);
}

fn image(at: &Place, kind: u32, size: [usize; 3], layers: usize) -> Result<cl_mem, cl_int> {
    let format =
        cl_image_format { image_channel_order: CL_RGBA, image_channel_data_type: CL_UNORM_INT8 };
    let description = cl_image_desc {
        image_type: kind,
        image_width: size[0],
        image_height: size[1],
        image_depth: size[2],
        image_array_size: layers,
        image_row_pitch: 0,
        image_slice_pitch: 0,
        num_mip_levels: 0,
        num_samples: 0,
        mem_object: null_mut(),
    };
    let mut error = 0;
    let image = call!(
        at.cl,
        clCreateImage(at.context, CL_MEM_READ_WRITE, &format, &description, null_mut(), &mut error)
    );
    if error == CL_SUCCESS { Ok(image) } else { Err(error) }
}

/// Images of every kind, one after another, and one that does not fit.
pub(crate) fn images(bytes: usize) {
    let at = Place::new();
    let kinds = [
        ("1d", CL_MEM_OBJECT_IMAGE1D, [256, 0, 0], 0),
        ("1d array", CL_MEM_OBJECT_IMAGE1D_ARRAY, [256, 0, 0], 4),
        ("2d", CL_MEM_OBJECT_IMAGE2D, [64, 32, 0], 0),
        ("2d array", CL_MEM_OBJECT_IMAGE2D_ARRAY, [64, 32, 0], 3),
        ("3d", CL_MEM_OBJECT_IMAGE3D, [16, 16, 8], 0),
    ];
    for (name, kind, size, layers) in kinds {
        match image(&at, kind, size, layers) {
            Ok(memory) => {
                let mut real = 0_usize;
                let to = (&raw mut real).cast();
                check(call!(at.cl, clGetMemObjectInfo(memory, CL_MEM_SIZE, 8, to, null_mut())));
                say(&format_args!("{name} {real}"));
                super::hear();
                at.release(memory);
            }
            Err(error) => say(&format_args!("{name} error {error}")),
        }
    }
    let rows = bytes / (1024 * 4) + 1;
    let past = image(&at, CL_MEM_OBJECT_IMAGE2D, [1024, rows, 0], 0);
    say(&format_args!("past {}", past.expect_err("too large for the lease")));
}

/// Shared virtual memory to the cap, freed at once and by a queue's command.
pub(crate) fn svm(bytes: usize) {
    let at = Place::new();
    if at.cl.device_u64(at.device, CL_DEVICE_SVM_CAPABILITIES) == 0 {
        return say(&"unsupported");
    }
    let alloc = |bytes| call!(at.cl, clSVMAlloc(at.context, CL_MEM_READ_WRITE, bytes, 0));
    let (first, second) = (alloc(bytes / 2), alloc(bytes - bytes / 2));
    assert!(!first.is_null() && !second.is_null() && alloc(1).is_null(), "the cap holds");
    call!(at.cl, clSVMFree(at.context, first));
    let again = alloc(bytes / 2);
    assert!(!again.is_null(), "what was freed fits");
    let queue = at.cl.queue(at.context, at.device, 0);
    let mut pointers = [second, again];
    let (list, none) = (pointers.as_mut_ptr(), null());
    check(call!(at.cl, clEnqueueSVMFree(queue, 2, list, None, null_mut(), 0, none, null_mut())));
    at.cl.finish(queue);
    say(&"freed");
}

/// Buffers over shared virtual memory that fills the lease: they are the same memory.
pub(crate) fn svm_views(bytes: usize) {
    let at = Place::new();
    if at.cl.device_u64(at.device, CL_DEVICE_SVM_CAPABILITIES) == 0 {
        return say(&"unsupported");
    }
    let shared = call!(at.cl, clSVMAlloc(at.context, CL_MEM_READ_WRITE, bytes, 0));
    assert!(!shared.is_null(), "the lease's memory");
    let over = |offset: usize, size| {
        let (mut error, flags) = (0, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR);
        let from = shared.wrapping_byte_add(offset);
        let buffer = call!(at.cl, clCreateBuffer(at.context, flags, size, from, &mut error));
        if error == CL_SUCCESS { Ok(buffer) } else { Err(error) }
    };
    let whole = over(0, bytes).expect("no new memory");
    let half = over(bytes / 2, bytes / 2).expect("no new memory");
    say(&format_args!("beyond {}", over(bytes / 2, bytes).expect_err("more than there is")));
    say(&"over it");
    super::hear();
    at.release(whole);
    at.release(half);
    call!(at.cl, clSVMFree(at.context, shared));
    say(&"freed");
}

static FREED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

unsafe extern "C" fn free_them(
    _queue: cl_command_queue,
    count: cl_uint,
    pointers: *mut *mut std::ffi::c_void,
    place: *mut std::ffi::c_void,
) {
    // SAFETY: the argument is the place below, which outlives the command.
    let place = unsafe { &*place.cast::<Place>() };
    for index in 0..count as usize {
        // SAFETY: the driver hands over as many pointers as it was given.
        let pointer = unsafe { pointers.add(index).read() };
        call!(place.cl, clSVMFree(place.context, pointer));
    }
    FREED.fetch_add(count, std::sync::atomic::Ordering::AcqRel);
}

/// Shared virtual memory that the program's own function frees at a queue's command.
pub(crate) fn svm_own(bytes: usize) {
    let at = Place::new();
    if at.cl.device_u64(at.device, CL_DEVICE_SVM_CAPABILITIES) == 0 {
        return say(&"unsupported");
    }
    let alloc = || call!(at.cl, clSVMAlloc(at.context, CL_MEM_READ_WRITE, bytes, 0));
    let mut pointers = [alloc()];
    assert!(!pointers[0].is_null() && alloc().is_null(), "the cap holds");
    let queue = at.cl.queue(at.context, at.device, 0);
    let (list, data) = (pointers.as_mut_ptr(), (&raw const at).cast_mut().cast());
    let free: SvmFree = Some(free_them);
    let mut event = null_mut();
    check(call!(at.cl, clEnqueueSVMFree(queue, 1, list, free, data, 0, null(), &mut event)));
    at.cl.wait(event);
    assert_eq!(FREED.load(std::sync::atomic::Ordering::Acquire), 1);
    assert!(!alloc().is_null(), "what was freed fits");
    say(&"freed");
}

/// Buffers made from the program's memory while its turn is over.
pub(crate) fn filled() {
    let at = Place::new();
    let mut host = vec![5_u8; 4096];
    let mut make = |flags| {
        let (mut error, from) = (0, host.as_mut_ptr().cast());
        let buffer = call!(at.cl, clCreateBuffer(at.context, flags, 4096, from, &mut error));
        check(error);
        buffer
    };
    say(&"ready");
    super::hear();
    let used = make(CL_MEM_USE_HOST_PTR);
    say(&"used");
    let copied = make(CL_MEM_COPY_HOST_PTR);
    say(&"copied");
    at.release(used);
    at.release(copied);
}

/// An image of a kind that is never a view but names a buffer.
pub(crate) fn false_view() {
    let at = Place::new();
    let buffer = at.cl.buffer(at.context, 64).expect("it fits");
    let format =
        cl_image_format { image_channel_order: CL_RGBA, image_channel_data_type: CL_UNORM_INT8 };
    let description = cl_image_desc {
        image_type: CL_MEM_OBJECT_IMAGE3D,
        image_width: 16,
        image_height: 16,
        image_depth: 16,
        image_array_size: 0,
        image_row_pitch: 0,
        image_slice_pitch: 0,
        num_mip_levels: 0,
        num_samples: 0,
        mem_object: buffer,
    };
    let (mut error, flags) = (0, CL_MEM_READ_WRITE);
    let image = call!(
        at.cl,
        clCreateImage(at.context, flags, &format, &description, null_mut(), &mut error)
    );
    if error != CL_SUCCESS {
        return say(&format_args!("refused {error}"));
    }
    let mut real = 0_usize;
    let to = (&raw mut real).cast();
    check(call!(at.cl, clGetMemObjectInfo(image, CL_MEM_SIZE, 8, to, null_mut())));
    say(&format_args!("made {}", real + 64));
    super::hear();
}

/// A pipe, where the driver has them.
pub(crate) fn pipes() {
    let at = Place::new();
    let mut error = 0;
    let pipe =
        call!(at.cl, clCreatePipe(at.context, CL_MEM_READ_WRITE, 16, 64, null(), &mut error));
    if error != CL_SUCCESS {
        return say(&format_args!("unsupported {error}"));
    }
    say(&"made");
    super::hear();
    at.release(pipe);
}

/// Allocates on whatever the first device of every platform is.
pub(crate) fn everywhere(bytes: usize) {
    let cl = Cl::load();
    for platform in cl.platforms() {
        for device in cl.devices(platform) {
            let context = cl.context(&[device]);
            let result = cl.buffer(context, bytes).map(|_| ());
            say(&format_args!("{} {result:?}", cl.platform_name(platform)));
        }
    }
}

/// One buffer in a context of all devices of the first platform.
pub(crate) fn shared(bytes: usize) {
    let cl = Cl::load();
    let context = cl.context(&cl.devices(cl.platforms()[0]));
    let buffer = cl.buffer(context, bytes);
    say(&format_args!("{:?}", buffer.map(|_| ())));
}
