//! What the program sees.

use super::common::{Cl, call, check};
use super::{hear, say};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::{c_char, c_void};
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

/// What a loader inside the program does: it follows the objects' own table.
pub(crate) fn direct(bytes: usize) {
    type ForPlatform = unsafe extern "C" fn(cl_platform_id, *const c_char) -> *mut c_void;
    let path = std::env::var_os("DRIVER").expect("DRIVER names the library");
    let (cl, library, platform) = Cl::direct(&path);
    let context = cl.context(&cl.devices(platform)[..1]);
    cl.buffer(context, bytes).expect("it fits");
    say(&format_args!("past {}", cl.buffer(context, 1).expect_err("one too many")));
    // SAFETY: the library's own function, with its platform and C strings.
    let find = |name: &std::ffi::CStr| unsafe {
        let find = library.get::<ForPlatform>("clIcdGetFunctionAddressForPlatformKHR");
        find.expect("it is exported")(platform, name.as_ptr())
    };
    let create = cl.table.clCreateBuffer.expect("it is there") as *mut c_void;
    assert_eq!(find(c"clCreateBuffer"), create, "the look-up gives what the table has");
    let info = cl.table.clGetEventInfo.expect("it is there") as *mut c_void;
    assert_eq!(find(c"clGetEventInfo"), info);
    assert!(find(c"clEnqueueSomethingNew").is_null());
}

/// A device's parts of one compute unit each.
fn divide(cl: &Cl, device: cl_device_id) -> Result<Vec<cl_device_id>, cl_int> {
    const CL_DEVICE_PARTITION_EQUALLY: isize = 0x1086;
    let list = [CL_DEVICE_PARTITION_EQUALLY, 1, 0];
    let mut count = 0;
    match call!(cl, clCreateSubDevices(device, list.as_ptr(), 0, null_mut(), &mut count)) {
        CL_SUCCESS => {}
        error => return Err(error),
    }
    let mut parts = vec![null_mut(); count as usize];
    let at = parts.as_mut_ptr();
    check(call!(cl, clCreateSubDevices(device, list.as_ptr(), count, at, null_mut())));
    Ok(parts)
}

/// A context on parts of the device: their memory, and work on one of them.
pub(crate) fn parts(bytes: usize) {
    const SOURCE: &str = "kernel void one(global uint *out) { out[get_global_id(0)] = 1; }";
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let parts = match divide(&cl, device) {
        Ok(parts) => parts,
        Err(error) => return say(&format_args!("unsupported {error}")),
    };
    for part in &parts {
        check(call!(cl, clRetainDevice(*part)));
        check(call!(cl, clReleaseDevice(*part)));
    }
    let sizes = parts.iter().map(|part| cl.device_u64(*part, CL_DEVICE_GLOBAL_MEM_SIZE));
    say(&format_args!("memory {:?}", sizes.collect::<std::collections::BTreeSet<_>>()));
    let context = cl.context(&parts);
    let buffer = cl.buffer(context, bytes).expect("it fits");
    say(&format_args!("past {}", cl.buffer(context, 1).expect_err("one too many")));
    let queue = cl.queue(context, parts[0], 0);
    let kernel = cl.kernel(context, SOURCE, "one");
    cl.arg(kernel, 0, &buffer);
    hear();
    cl.wait(cl.launch(queue, kernel, 8, &[]));
    // Only now: a driver that does not keep them for its contexts would have lost them.
    for part in &parts {
        check(call!(cl, clReleaseDevice(*part)));
    }
    say(&"done");
}

/// The device's memory and what fits, before and after the lease is changed.
pub(crate) fn resized() {
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    loop {
        let all = cl.device_u64(device, CL_DEVICE_GLOBAL_MEM_SIZE);
        let largest = cl.device_u64(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
        let fits = |bytes: u64| {
            let buffer = cl.buffer(context, usize::try_from(bytes).expect("64 bit"));
            buffer.is_ok_and(|buffer| call!(cl, clReleaseMemObject(buffer)) == CL_SUCCESS)
        };
        say(&format_args!("{all} {largest} {} {}", fits(all), fits(all + 1)));
        if hear() == 0 {
            return;
        }
    }
}
