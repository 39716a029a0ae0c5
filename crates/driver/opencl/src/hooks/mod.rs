//! Our functions, by the slot of the dispatch table they stand in.

mod buffers;
mod commands;
mod devices;
mod events;
mod memory;
mod profile;
mod queued;
mod queues;
mod returning;

pub(crate) use queued::filling;
pub(crate) use queues::{
    clReleaseCommandQueue as release_queue, clRetainCommandQueue as retain_queue,
};

use polder_driver::record;
use polder_gpuapi::opencl::{Function, SLOTS, pfn};
use std::ffi::c_void;
use std::ptr::null;

/// A place in the dispatch table for each of our functions, checked against the table's types.
macro_rules! hooks {
    ($($module:ident: $($name:ident)*;)*) => {
        /// The hooks of a process that is not profiled.
        const PLAIN: [*const c_void; SLOTS] = {
            let mut slots = [null::<c_void>(); SLOTS];
            $($({
                let hook: pfn::$name = $module::$name;
                slots[Function::$name.slot()] = hook as *const c_void;
            })*)*
            slots
        };
    };
}

/// What replaces the vendor's functions; null where the vendor's stays. Chosen once for a process, so
/// that one that is not profiled pays nothing for what could be.
pub(crate) fn table() -> &'static Table {
    static TABLE: Table = Table(PLAIN);
    if record::wanted() { profile::table() } else { &TABLE }
}

hooks! {
    devices: clGetPlatformIDs clGetPlatformInfo clGetDeviceIDs clGetDeviceInfo clCreateContext
        clCreateContextFromType clGetExtensionFunctionAddress
        clGetExtensionFunctionAddressForPlatform;
    returning: clCreateBuffer clCreateBufferWithProperties clEnqueueMapBuffer clEnqueueMapImage;
    memory: clCreateImage clCreateImageWithProperties
        clCreateImage2D clCreateImage3D clCreatePipe clSVMAlloc clSVMFree;
    buffers: clRetainMemObject clReleaseMemObject clGetMemObjectInfo clGetImageInfo clGetPipeInfo
        clCreateSubBuffer clSetKernelArg clCloneKernel clReleaseKernel;
    queues: clCreateCommandQueue clCreateCommandQueueWithProperties clRetainCommandQueue
        clReleaseCommandQueue clSetCommandQueueProperty;
    queued: clEnqueueNDRangeKernel clEnqueueTask
        clEnqueueReadBuffer clEnqueueWriteBuffer clEnqueueCopyBuffer
        clEnqueueReadImage clEnqueueWriteImage clEnqueueCopyImage
        clEnqueueCopyImageToBuffer clEnqueueCopyBufferToImage
        clEnqueueReadBufferRect clEnqueueWriteBufferRect clEnqueueCopyBufferRect
        clEnqueueFillBuffer clEnqueueFillImage
        clEnqueueSVMMemcpy clEnqueueSVMMemFill clEnqueueSVMMap clEnqueueSVMUnmap
        clEnqueueSVMMigrateMem;
    commands: clEnqueueNativeKernel clEnqueueUnmapMemObject
        clEnqueueMigrateMemObjects clEnqueueSVMFree
        clEnqueueMarker clEnqueueMarkerWithWaitList clEnqueueWaitForEvents
        clEnqueueBarrier clEnqueueBarrierWithWaitList;
    events: clCreateUserEvent clRetainEvent clReleaseEvent clSetUserEventStatus clSetEventCallback
        clSetMemObjectDestructorCallback clBuildProgram clCompileProgram clLinkProgram
        clSetProgramReleaseCallback clSetContextDestructorCallback;
}

/// Function pointers, which may be shared between threads.
pub(crate) struct Table([*const c_void; SLOTS]);

#[expect(unsafe_code, reason = "raw pointers in a static")]
// SAFETY: the pointers are addresses of functions and never written through.
unsafe impl Sync for Table {}

impl std::ops::Deref for Table {
    type Target = [*const c_void; SLOTS];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::table;
    use polder_gpuapi::opencl::{Class, FUNCTIONS};

    /// Classes whose functions must pass through a hook.
    const HOOKED: &[Class] = &[
        Class::Allocates,
        Class::Frees,
        Class::Launches,
        Class::Copies,
        Class::Orders,
        Class::Queues,
        Class::Events,
        Class::CallsBack,
        Class::DeviceView,
    ];
    /// Functions of other classes that take or keep memory objects: the program's handle of a buffer
    /// that may move is not the vendor's.
    const TRANSLATED: &[&str] = &[
        "clRetainMemObject",
        "clGetMemObjectInfo",
        "clGetImageInfo",
        "clGetPipeInfo",
        "clCreateSubBuffer",
        "clSetKernelArg",
        "clCloneKernel",
        "clReleaseKernel",
    ];
    /// Left to the vendor: sharing with a graphics system takes no new device memory, and what is
    /// queued for it only hands objects over.
    const UNCOVERED: &str = include_str!("uncovered.txt");

    #[test]
    fn whatever_allocates_enqueues_or_shows_devices_is_hooked() {
        for (entry, hook) in FUNCTIONS.iter().zip(table().iter()) {
            let must = HOOKED.contains(&entry.class) || TRANSLATED.contains(&entry.name);
            assert_eq!(must, !hook.is_null(), "{entry:?}");
        }
    }

    #[test]
    fn what_is_not_covered_is_listed_and_only_interop() {
        let uncovered = FUNCTIONS.iter().filter(|entry| entry.class == Class::Interop);
        let uncovered: Vec<_> = uncovered.map(|entry| entry.name).collect();
        assert_eq!(uncovered, UNCOVERED.lines().collect::<Vec<_>>());
        for name in uncovered {
            let other = ["GL", "D3D", "DX9", "EGL"].iter().any(|system| name.contains(system));
            assert!(other, "{name} is no interop");
        }
    }
}
