//! A STAND-IN for the OpenCL driver of AMD's ROCm, for tests on machines without such a card.
//!
//! It is an ICD with one platform and one device, which says what a card of that vendor says and no more:
//! name, vendor, memory, place on the bus. It makes no context, so nothing can compute on it.

#![allow(unsafe_code)] // a C library

use std::ffi::c_void;
use std::ptr;

const CL_SUCCESS: i32 = 0;
const CL_INVALID_VALUE: i32 = -30;

type Handle = *const Object;
type GetInfo = unsafe extern "C" fn(Handle, u32, usize, *mut c_void, *mut usize) -> i32;
type GetDevices = unsafe extern "C" fn(Handle, u64, u32, *mut Handle, *mut u32) -> i32;

/// The first slots of `cl_icd_dispatch`; nobody asks this driver for more.
#[repr(C)]
struct Dispatch {
    get_platforms: Option<unsafe extern "C" fn(u32, *mut Handle, *mut u32) -> i32>,
    get_platform_info: Option<GetInfo>,
    get_devices: Option<GetDevices>,
    get_device_info: Option<GetInfo>,
}

/// A platform or a device: it begins with its driver's table.
#[repr(C)]
pub struct Object {
    table: &'static Dispatch,
}

static TABLE: Dispatch = Dispatch {
    get_platforms: Some(clIcdGetPlatformIDsKHR),
    get_platform_info: Some(platform_info),
    get_devices: Some(devices),
    get_device_info: Some(device_info),
};
static PLATFORM: Object = Object { table: &TABLE };
static DEVICE: Object = Object { table: &TABLE };

/// Answers with one handle.
///
/// # Safety
/// The pointers are null or valid for `count` handles and one number.
unsafe fn one(of: Handle, count: u32, list: *mut Handle, total: *mut u32) -> i32 {
    if !total.is_null() {
        // SAFETY: valid for one number, as the caller promises.
        unsafe { total.write(1) };
    }
    if count > 0 && !list.is_null() {
        // SAFETY: valid for `count` handles, as the caller promises.
        unsafe { list.write(of) };
    }
    CL_SUCCESS
}

/// Answers with these bytes.
///
/// # Safety
/// The pointers are null or valid for `size` bytes and one number.
unsafe fn say(bytes: &[u8], size: usize, value: *mut c_void, needs: *mut usize) -> i32 {
    if !needs.is_null() {
        // SAFETY: valid for one number, as the caller promises.
        unsafe { needs.write(bytes.len()) };
    }
    if value.is_null() {
        return CL_SUCCESS;
    }
    if size < bytes.len() {
        return CL_INVALID_VALUE;
    }
    // SAFETY: the buffer has at least that many bytes, and is the caller's.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), value.cast(), bytes.len()) };
    CL_SUCCESS
}

/// The one platform.
///
/// # Safety
/// As OpenCL has it.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the API's own name")]
pub unsafe extern "C" fn clIcdGetPlatformIDsKHR(
    count: u32,
    list: *mut Handle,
    total: *mut u32,
) -> i32 {
    // SAFETY: as OpenCL has it.
    unsafe { one(&raw const PLATFORM, count, list, total) }
}

unsafe extern "C" fn devices(
    _: Handle,
    _kind: u64,
    count: u32,
    list: *mut Handle,
    total: *mut u32,
) -> i32 {
    // SAFETY: as OpenCL has it.
    unsafe { one(&raw const DEVICE, count, list, total) }
}

unsafe extern "C" fn platform_info(
    _: Handle,
    parameter: u32,
    size: usize,
    value: *mut c_void,
    needs: *mut usize,
) -> i32 {
    let text = match parameter {
        0x0902 => "AMD Accelerated Parallel Processing\0",
        _ => return CL_INVALID_VALUE,
    };
    // SAFETY: as OpenCL has it.
    unsafe { say(text.as_bytes(), size, value, needs) }
}

unsafe extern "C" fn device_info(
    _: Handle,
    parameter: u32,
    size: usize,
    value: *mut c_void,
    needs: *mut usize,
) -> i32 {
    let Some(bytes) = fact(parameter) else { return CL_INVALID_VALUE };
    // SAFETY: as OpenCL has it.
    unsafe { say(&bytes, size, value, needs) }
}

/// What the card says of itself, by the number of the question in `cl.h` and in AMD's own header.
fn fact(parameter: u32) -> Option<Vec<u8>> {
    let text = |text: &str| [text.as_bytes(), b"\0"].concat();
    // Kind, then 17 bytes of nothing, bus, device and function: 0000:03:00.0.
    let place = || [&1_u32.to_ne_bytes()[..], &[0; 17], &[3, 0, 0]].concat();
    Some(match parameter {
        0x1000 => (1_u64 << 2).to_ne_bytes().to_vec(),
        // Of gfx10 and newer the vendor counts pairs here.
        0x1002 => 30_u32.to_ne_bytes().to_vec(),
        0x101F => (16_u64 << 30).to_ne_bytes().to_vec(),
        0x1027 => 1_u32.to_ne_bytes().to_vec(),
        0x102B => text("gfx1101"),
        0x102C => text("Advanced Micro Devices, Inc."),
        0x102D => text("3635.0 (HSA1.1,LC)"),
        0x102F => text("OpenCL 2.0 "),
        0x1030 => text("cl_khr_fp64 cl_amd_device_attribute_query"),
        0x4037 => place(),
        0x4038 => text("Stand-in for a Radeon"),
        _ => return None,
    })
}
