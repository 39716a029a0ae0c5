//! What the program sees.

use super::common::{Cl, call};
use super::say;
use polder_gpuapi::opencl::consts::*;
use std::ptr::{null, null_mut};

/// Every platform and device: name, devices by each way of asking, and memory.
pub(crate) fn list() {
    let cl = Cl::load();
    for platform in cl.platforms() {
        let all = cl.devices(platform);
        let count = |kind| cl.devices_of(platform, kind).map_or(0, |devices| devices.len());
        let properties = [CL_CONTEXT_PLATFORM, platform.expose_provenance().cast_signed(), 0];
        let mut error = 0;
        let context = call!(
            cl,
            clCreateContextFromType(
                properties.as_ptr(),
                CL_DEVICE_TYPE_ALL,
                None,
                null_mut(),
                &mut error
            )
        );
        let mut in_context = 0_u32;
        if error == CL_SUCCESS {
            let at = (&raw mut in_context).cast();
            call!(cl, clGetContextInfo(context, CL_CONTEXT_NUM_DEVICES, 4, at, null_mut()));
        }
        say(&format_args!(
            "{}: {} devices, {} default, {} of another type, {in_context} in a context",
            cl.platform_name(platform),
            all.len(),
            count(CL_DEVICE_TYPE_DEFAULT),
            count(1 << 3),
        ));
        for device in all {
            say(&format_args!(
                "memory {} largest {}",
                cl.device_u64(device, CL_DEVICE_GLOBAL_MEM_SIZE),
                cl.device_u64(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE),
            ));
        }
    }
}

/// Which functions a platform names.
pub(crate) fn functions() {
    let cl = Cl::load();
    let platform = cl.platforms()[0];
    for name in [
        c"clEnqueueNDRangeKernel",
        c"clGetEventInfo",
        c"clIcdGetPlatformIDsKHR",
        c"clEnqueueAcquireGLObjects",
        c"clHostMemAllocINTEL",
        c"clSetContentSizeBufferPoCL",
    ] {
        let at = call!(cl, clGetExtensionFunctionAddressForPlatform(platform, name.as_ptr()));
        let known = if at.is_null() { "absent" } else { "there" };
        say(&format_args!("{} {known}", name.to_str().expect("ASCII")));
    }
    let nothing = call!(cl, clGetExtensionFunctionAddressForPlatform(platform, null()));
    assert!(nothing.is_null());
}
