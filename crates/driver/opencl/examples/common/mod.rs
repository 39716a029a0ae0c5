//! The program's side of OpenCL: the installed loader, whichever drivers it finds.
#![allow(unsafe_code)] // calling a C API is what this module is for
#![allow(dead_code)] // each program uses a part

use polder_gpuapi::opencl::{Dispatch, FUNCTIONS, SLOTS, consts::*, pfn, types::*};
use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};

/// Calls a function of the loader by name.
macro_rules! call {
    ($cl:expr, $name:ident($($arg:expr),* $(,)?)) => {{
        let function = $cl.table.$name.expect(concat!("the loader lacks ", stringify!($name)));
        // SAFETY: the function comes from the loader under its own name and type; the arguments
        // are live for the call.
        unsafe { function($($arg),*) }
    }};
}
pub(crate) use call;

/// The installed loader.
pub(crate) struct Cl {
    pub(crate) table: Dispatch,
    _library: libloading::Library,
}

impl Cl {
    pub(crate) fn load() -> Self {
        // SAFETY: loading the system's OpenCL loader runs only its own initialisers.
        let library = unsafe { libloading::Library::new("libOpenCL.so.1") }
            .expect("libOpenCL.so.1: install ocl-icd-libopencl1");
        let mut slots = [null::<c_void>(); SLOTS];
        for (slot, entry) in slots.iter_mut().zip(FUNCTIONS) {
            // SAFETY: the symbol is only stored; it is called under its own type.
            if let Ok(symbol) = unsafe { library.get::<*const c_void>(entry.name) } {
                *slot = *symbol;
            }
        }
        // SAFETY: a dispatch table is an array of as many nullable function pointers, and each
        // stands where its name does.
        let table = unsafe { std::mem::transmute::<[*const c_void; SLOTS], Dispatch>(slots) };
        Self { table, _library: library }
    }

    /// No loader: the functions that stand in the table of a driver's first platform, as a loader
    /// linked into the program would call them. `path` names the driver.
    pub(crate) fn direct(path: &std::ffi::OsStr) -> (Self, libloading::Library, cl_platform_id) {
        type Get = pfn::clGetExtensionFunctionAddress;
        // SAFETY: the test names the driver; its symbols have these types under these names.
        unsafe {
            let library = libloading::Library::new(path).expect("the driver");
            let get = *library.get::<Get>("clGetExtensionFunctionAddress").expect("an ICD");
            let platforms = get(c"clIcdGetPlatformIDsKHR".as_ptr());
            let platforms: pfn::clGetPlatformIDs = std::mem::transmute(platforms);
            let mut platform = null_mut();
            check(platforms(1, &raw mut platform, null_mut()));
            let table = platform.cast::<*const Dispatch>().read().read();
            let kept = libloading::Library::new(path).expect("the driver");
            (Self { table, _library: kept }, library, platform)
        }
    }

    /// All platforms; none when the loader finds none.
    pub(crate) fn platforms(&self) -> Vec<cl_platform_id> {
        let mut count = 0;
        if call!(self, clGetPlatformIDs(0, null_mut(), &mut count)) != CL_SUCCESS {
            return Vec::new();
        }
        let mut platforms = vec![null_mut(); count as usize];
        check(call!(self, clGetPlatformIDs(count, platforms.as_mut_ptr(), null_mut())));
        platforms
    }

    /// The platform's devices.
    pub(crate) fn devices(&self, platform: cl_platform_id) -> Vec<cl_device_id> {
        self.devices_of(platform, CL_DEVICE_TYPE_ALL).unwrap_or_default()
    }

    /// The platform's devices of one type, or the API's error.
    pub(crate) fn devices_of(
        &self,
        platform: cl_platform_id,
        kind: cl_device_type,
    ) -> Result<Vec<cl_device_id>, cl_int> {
        let mut count = 0;
        match call!(self, clGetDeviceIDs(platform, kind, 0, null_mut(), &mut count)) {
            CL_SUCCESS => {}
            error => return Err(error),
        }
        let mut devices = vec![null_mut(); count as usize];
        let at = devices.as_mut_ptr();
        check(call!(self, clGetDeviceIDs(platform, kind, count, at, null_mut())));
        Ok(devices)
    }

    /// A number that a device answers.
    pub(crate) fn device_u64(&self, device: cl_device_id, what: cl_device_info) -> u64 {
        let mut value = 0_u64;
        let at = (&raw mut value).cast();
        check(call!(self, clGetDeviceInfo(device, what, 8, at, null_mut())));
        value
    }

    /// The extensions that a device names.
    pub(crate) fn extensions(&self, device: cl_device_id) -> String {
        let mut text = vec![0_u8; 1 << 16];
        let (room, at) = (text.len(), text.as_mut_ptr().cast());
        let what = CL_DEVICE_EXTENSIONS;
        check(call!(self, clGetDeviceInfo(device, what, room, at, null_mut())));
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(room);
        String::from_utf8_lossy(&text[..end]).into_owned()
    }

    /// The platform's name.
    pub(crate) fn platform_name(&self, platform: cl_platform_id) -> String {
        let mut text = [0_u8; 256];
        let at = text.as_mut_ptr().cast();
        check(call!(self, clGetPlatformInfo(platform, CL_PLATFORM_NAME, 256, at, null_mut())));
        String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned()
    }

    pub(crate) fn context(&self, devices: &[cl_device_id]) -> cl_context {
        let mut error = 0;
        let count = u32::try_from(devices.len()).expect("few devices");
        let context = call!(
            self,
            clCreateContext(null(), count, devices.as_ptr(), None, null_mut(), &mut error)
        );
        check(error);
        context
    }

    pub(crate) fn queue(
        &self,
        context: cl_context,
        device: cl_device_id,
        properties: cl_command_queue_properties,
    ) -> cl_command_queue {
        let mut error = 0;
        let queue = call!(self, clCreateCommandQueue(context, device, properties, &mut error));
        check(error);
        queue
    }

    /// A buffer, or the API's error.
    pub(crate) fn buffer(&self, context: cl_context, bytes: usize) -> Result<cl_mem, cl_int> {
        let mut error = 0;
        let buffer =
            call!(self, clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, null_mut(), &mut error));
        if error == CL_SUCCESS { Ok(buffer) } else { Err(error) }
    }

    /// A kernel built from source.
    pub(crate) fn kernel(&self, context: cl_context, source: &str, name: &str) -> cl_kernel {
        let mut error = 0;
        let mut text = source.as_ptr().cast();
        let length = source.len();
        let program =
            call!(self, clCreateProgramWithSource(context, 1, &mut text, &length, &mut error));
        check(error);
        check(call!(self, clBuildProgram(program, 0, null(), null(), None, null_mut())));
        let name = CString::new(name).expect("a kernel's name has no NUL");
        let kernel = call!(self, clCreateKernel(program, name.as_ptr(), &mut error));
        check(error);
        kernel
    }

    pub(crate) fn arg<T>(&self, kernel: cl_kernel, index: u32, value: &T) {
        let at = std::ptr::from_ref(value).cast();
        check(call!(self, clSetKernelArg(kernel, index, size_of::<T>(), at)));
    }

    /// Launches over one dimension and returns the command's event.
    pub(crate) fn launch(
        &self,
        queue: cl_command_queue,
        kernel: cl_kernel,
        global: usize,
        wait: &[cl_event],
    ) -> cl_event {
        let (mut event, local) = (null_mut(), 1_usize);
        let count = u32::try_from(wait.len()).expect("few events");
        let list = if wait.is_empty() { null() } else { wait.as_ptr() };
        check(call!(
            self,
            clEnqueueNDRangeKernel(
                queue,
                kernel,
                1,
                null(),
                &global,
                &local,
                count,
                list,
                &mut event
            )
        ));
        event
    }

    pub(crate) fn wait(&self, event: cl_event) {
        check(call!(self, clWaitForEvents(1, &event)));
    }

    pub(crate) fn release(&self, event: cl_event) {
        check(call!(self, clReleaseEvent(event)));
    }

    pub(crate) fn finish(&self, queue: cl_command_queue) {
        check(call!(self, clFinish(queue)));
    }

    /// One of an event's profiling stamps, in the device's clock.
    pub(crate) fn stamp(&self, event: cl_event, what: cl_profiling_info) -> u64 {
        let mut value = 0_u64;
        let at = (&raw mut value).cast();
        check(call!(self, clGetEventProfilingInfo(event, what, 8, at, null_mut())));
        value
    }
}

/// Ends the program when a call that must work did not.
#[track_caller]
pub(crate) fn check(error: cl_int) {
    assert!(error == CL_SUCCESS, "OpenCL error {error}");
}
