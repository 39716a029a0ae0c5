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
    use crate::commands_recorded;
    use crate::exports::{Fate, fate};
    use polder_gpuapi::opencl::{
        Class, EXTENSIONS_HIDDEN, EXTENSIONS_PASSED, Entry, FUNCTIONS, SLOTS,
    };
    use std::fmt::Write as _;

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

    const COVERAGE: &str = include_str!("../../../../../docs/coverage-opencl.md");

    fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    fn coverage() -> String {
        let fate_of = |entry: &Entry| fate(entry.name);
        let hooked = FUNCTIONS.iter().filter(|entry| matches!(fate_of(entry), Fate::Hooked(_)));
        let mut text = format!(
            "# What Polder does with each function of OpenCL\n\n\
             Made from the table in `crates/gpuapi/src/opencl` by the tests of `crates/driver/opencl`; \
             `UPDATE=1 cargo test -p polder-driver-opencl coverage` writes it anew. {} of the {SLOTS} functions of \
             the dispatch table are *hooked*: a program's call comes to Polder's, through any loader. \
             *passed on* ones are the vendor's, untouched. What is *not given by name* resolves to `NULL` for who asks \
             `clGetExtensionFunctionAddress` and its like.\n",
            hooked.count()
        );
        let mut classes: Vec<Class> = FUNCTIONS.iter().map(|entry| entry.class).collect();
        classes.sort_unstable();
        classes.dedup();
        for class in classes {
            let members = || FUNCTIONS.iter().filter(move |entry| entry.class == class);
            let _ = write!(text, "\n## {class:?}: {} functions\n\n", members().count());
            let title = |entry: &Entry| match fate_of(entry) {
                Fate::Hooked(_) => "hooked",
                Fate::Passed => "passed on",
                Fate::Absent => "passed on in the table, not given by name",
            };
            for wanted in ["hooked", "passed on", "passed on in the table, not given by name"] {
                let names = members().filter(|entry| title(entry) == wanted);
                let names = listed(names.map(|entry| entry.name));
                if !names.is_empty() {
                    let _ = writeln!(text, "* {wanted}: {names}");
                }
            }
        }
        let _ = write!(
            text,
            "\n## Functions of extensions, outside the table\n\n\
             * hooked, where the vendor has them and no host memory lies behind the lease's device: {}\n\
             * passed on: {}\n\
             * not given by name: every other, known to Polder or not\n\n\
             ## Extensions that are not shown\n\n\
             A program that reads their names would call functions that are not given. Names that begin with \
             {}; and with host memory behind the lease's device `cl_khr_command_buffer`.\n",
            listed(commands_recorded::hooks().into_iter().map(|(name, _)| name)),
            listed(EXTENSIONS_PASSED.iter().copied()),
            listed(EXTENSIONS_HIDDEN.iter().copied()),
        );
        text
    }

    #[test]
    fn the_coverage_document_is_fresh() {
        let fresh = coverage();
        if std::env::var_os("UPDATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/coverage-opencl.md");
            std::fs::write(path, fresh).expect("the document can be written");
        } else {
            assert!(fresh == COVERAGE, "docs/coverage-opencl.md is stale: run with UPDATE=1");
        }
    }

    /// What a program gets by name is what the document says, extensions that nobody knows included.
    #[test]
    fn no_function_has_two_fates_and_unknown_ones_are_not_given() {
        let hooked = commands_recorded::hooks().map(|(name, _)| name);
        for name in hooked {
            assert!(matches!(fate(name), Fate::Hooked(at) if !at.is_null()), "{name}");
        }
        for name in hooked.iter().chain(EXTENSIONS_PASSED) {
            assert!(FUNCTIONS.iter().all(|entry| entry.name != *name), "{name} is in the table");
        }
        for name in EXTENSIONS_PASSED {
            assert_eq!(fate(name), Fate::Passed, "{name}");
        }
        for name in ["clImportMemoryARM", "clEnqueueAnythingNEW", "", "clUpdateMutableCommandsKHR"]
        {
            assert_eq!(fate(name), Fate::Absent, "{name}");
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
