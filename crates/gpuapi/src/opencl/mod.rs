//! OpenCL: the dispatch table of 149 slots that every object of the API points to.

#[macro_use]
mod table;
pub mod consts;
pub mod types;

/// What a call means to Polder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Takes device memory.
    Allocates,
    /// Gives device memory back.
    Frees,
    /// Starts a kernel, or a host function in a queue.
    Launches,
    /// Moves or fills memory in a queue.
    Copies,
    /// Orders commands of a queue without work of its own.
    Orders,
    /// Makes, keeps or drops a queue.
    Queues,
    /// Waits for a queue or events, or hands a queue's commands over.
    Synchronises,
    /// Makes, keeps, drops or resolves an event, which may be one that the program signals itself.
    Events,
    /// Takes a function that the driver calls back on a thread of its own.
    CallsBack,
    /// Says which devices and functions there are, and what they have.
    DeviceView,
    /// Answers a question about an object.
    Queries,
    /// Shares memory or events with a graphics system.
    Interop,
    /// Anything else.
    Pass,
}

/// One slot of the dispatch table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Name of the function.
    pub name: &'static str,
    /// What it means.
    pub class: Class,
    /// The OpenCL version that brought the slot, times ten.
    pub since: u8,
}

macro_rules! class {
    (allocates) => {
        Class::Allocates
    };
    (frees) => {
        Class::Frees
    };
    (launches) => {
        Class::Launches
    };
    (copies) => {
        Class::Copies
    };
    (orders) => {
        Class::Orders
    };
    (queues) => {
        Class::Queues
    };
    (synchronises) => {
        Class::Synchronises
    };
    (events) => {
        Class::Events
    };
    (calls_back) => {
        Class::CallsBack
    };
    (device_view) => {
        Class::DeviceView
    };
    (queries) => {
        Class::Queries
    };
    (interop) => {
        Class::Interop
    };
    (pass) => {
        Class::Pass
    };
}

macro_rules! expand {
    ($($class:ident $since:literal fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        /// The functions by name; the value is the slot.
        #[allow(non_camel_case_types, missing_docs)] // the API's own names
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Function {
            $($name,)*
        }

        /// All slots in order.
        pub const FUNCTIONS: &[Entry] =
            &[$(Entry { name: stringify!($name), class: class!($class), since: $since },)*];

        /// The type of each function, under its name.
        pub mod pfn {
            #![allow(non_camel_case_types, missing_docs, unused_parens)] // the API's own names
            use super::types::*;
            use std::ffi::{c_char, c_void};
            $(pub type $name = unsafe extern "C" fn($($arg: $ty),*) -> $ret;)*
        }

        /// A dispatch table. A slot that a vendor leaves out is `None`.
        #[allow(non_snake_case, missing_docs)] // the API's own names
        #[derive(Debug, Clone, Copy, Default)]
        #[repr(C)]
        pub struct Dispatch {
            $(pub $name: Option<pfn::$name>,)*
        }
    };
}
opencl_table!(expand);

/// The type of each function of `cl_khr_command_buffer` that Polder calls, under its name. They have no slot
/// in the table: a driver is asked for them by name.
pub mod command_buffer {
    #![allow(non_camel_case_types, missing_docs)] // the API's own names
    use super::types::*;

    pub type clCreateCommandBufferKHR = unsafe extern "C" fn(
        cl_uint,
        *const cl_command_queue,
        *const cl_properties,
        *mut cl_int,
    ) -> cl_command_buffer_khr;
    pub type clRetainCommandBufferKHR = unsafe extern "C" fn(cl_command_buffer_khr) -> cl_int;
    pub type clReleaseCommandBufferKHR = unsafe extern "C" fn(cl_command_buffer_khr) -> cl_int;
    pub type clEnqueueCommandBufferKHR = unsafe extern "C" fn(
        cl_uint,
        *mut cl_command_queue,
        cl_command_buffer_khr,
        cl_uint,
        *const cl_event,
        *mut cl_event,
    ) -> cl_int;
}

/// Slots of the dispatch table.
pub const SLOTS: usize = FUNCTIONS.len();
const _: () = assert!(size_of::<Dispatch>() == SLOTS * size_of::<usize>());

impl Function {
    /// Place in the dispatch table.
    #[must_use]
    pub const fn slot(self) -> usize {
        self as usize
    }

    /// What the table says of it.
    #[must_use]
    pub const fn entry(self) -> &'static Entry {
        &FUNCTIONS[self.slot()]
    }
}

/// The slot of the function `name`.
#[must_use]
pub fn slot_of(name: &str) -> Option<usize> {
    FUNCTIONS.iter().position(|entry| entry.name == name)
}

/// Functions outside the dispatch table that a program may have: none of them takes device memory,
/// starts work or shows another device. Everything else that is not in the table resolves to
/// nothing, so that no way past the hooks stays open when a vendor adds an extension.
pub const EXTENSIONS_PASSED: &[&str] = &[
    "clCommandBarrierWithWaitListKHR",
    "clCommandCopyBufferKHR",
    "clCommandCopyBufferRectKHR",
    "clCommandCopyBufferToImageKHR",
    "clCommandCopyImageKHR",
    "clCommandCopyImageToBufferKHR",
    "clCommandFillBufferKHR",
    "clCommandFillImageKHR",
    "clCommandNDRangeKernelKHR",
    "clCreateProgramWithILKHR",
    "clFinalizeCommandBufferKHR",
    "clGetCommandBufferInfoKHR",
    "clGetImageRequirementsInfoEXT",
    "clGetKernelSuggestedLocalWorkSizeINTEL",
    "clGetKernelSuggestedLocalWorkSizeKHR",
    "clGetMemAllocInfoINTEL",
    "clSetContentSizeBufferPoCL",
    "clTerminateContextKHR",
];

/// Beginnings of the names of extensions whose functions resolve to nothing: a program that reads
/// such a name would call them.
pub const EXTENSIONS_HIDDEN: &[&str] = &[
    "cl_amd_assembly_program",
    "cl_amd_bus_addressable_memory",
    "cl_amd_copy_buffer_p2p",
    "cl_amd_d3d",
    "cl_amd_liquid_flash",
    "cl_amd_planar_yuv",
    "cl_amd_svm",
    "cl_arm_import_memory",
    "cl_arm_shared_virtual_memory",
    "cl_ext_buffer_device_address",
    "cl_ext_migrate_memobject",
    "cl_img_",
    "cl_intel_accelerator",
    "cl_intel_create_buffer_with_properties",
    "cl_intel_d3d",
    "cl_intel_dx9",
    "cl_intel_program_scope_host_pipe",
    "cl_intel_sharing_format_query",
    "cl_intel_unified_shared_memory",
    "cl_intel_va_api",
    "cl_khr_command_buffer_",
    "cl_khr_create_command_queue",
    "cl_khr_d3d",
    "cl_khr_dx9",
    "cl_khr_egl_",
    "cl_khr_external_",
    "cl_khr_gl_",
    "cl_khr_semaphore",
    "cl_khr_unified_svm",
    "cl_nv_create_buffer",
    "cl_nv_d3d",
    "cl_qcom_",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const HEADER: &str = "/usr/include/CL/cl_icd.h";

    /// The functions of the header's `_cl_icd_dispatch`, in order.
    fn header_slots(header: &str) -> Vec<&str> {
        let (_, table) = header.split_once("typedef struct _cl_icd_dispatch {").expect("a table");
        let (table, _) = table.split_once("} cl_icd_dispatch;").expect("its end");
        let mut words = table.split_whitespace();
        let mut slots = Vec::new();
        while let Some(word) = words.next() {
            if word.starts_with("cl_api_") {
                slots.push(words.next().expect("a name after its type").trim_end_matches(';'));
            }
        }
        slots
    }

    #[test]
    fn slots_are_those_of_the_installed_header() {
        let Ok(header) = std::fs::read_to_string(HEADER) else {
            eprintln!("SKIPPED: {HEADER} is absent (package opencl-c-headers)");
            return;
        };
        let ours: Vec<_> = FUNCTIONS.iter().map(|entry| entry.name).collect();
        assert_eq!(ours, header_slots(&header));
    }

    #[test]
    fn names_are_unique_and_versions_never_fall() {
        assert_eq!(SLOTS, 149);
        let names: BTreeSet<_> = FUNCTIONS.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), SLOTS);
        assert!(FUNCTIONS.is_sorted_by_key(|entry| entry.since));
        assert_eq!(slot_of("clSVMAlloc"), Some(Function::clSVMAlloc.slot()));
        assert_eq!(Function::clCreateBufferWithProperties.entry().since, 30);
    }

    /// Whoever adds a function must say what it means: a name that enqueues is never `Pass`.
    #[test]
    fn whatever_enqueues_is_classified_as_work() {
        for entry in FUNCTIONS.iter().filter(|entry| entry.name.starts_with("clEnqueue")) {
            let work = [Class::Launches, Class::Copies, Class::Orders, Class::Frees];
            assert!(work.contains(&entry.class) || entry.class == Class::Interop, "{entry:?}");
        }
    }
}
