//! The lease's devices and no others, with the lease's memory.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::view::{self, Platform};
use crate::{callbacks, exports, extensions, vendor};
use polder_driver::{inside, state};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

/// Most properties of a context that are read before the list's end is taken for missing.
const PROPERTIES_MAX: usize = 64;

/// Writes a list as the API wants it: at most `room` members, and how many there are.
///
/// # Safety
/// `at` is null or has room for `room` members; `count` is null or valid.
unsafe fn answer<T>(members: &[*mut T], room: cl_uint, at: *mut *mut T, count: *mut cl_uint) {
    // SAFETY: the caller's promise.
    unsafe {
        if !at.is_null() {
            for (index, member) in members.iter().take(room as usize).enumerate() {
                at.add(index).write(*member);
            }
        }
        if !count.is_null() {
            count.write(cl_uint::try_from(members.len()).unwrap_or(cl_uint::MAX));
        }
    }
}

pub(crate) use exports::{
    function as clGetExtensionFunctionAddress, platform_ids as clGetPlatformIDs,
    platform_info as clGetPlatformInfo,
};

/// The lease's devices of a type; the vendor judges whether it is one.
fn devices_of(platform: &Platform, kind: cl_device_type) -> Result<Vec<cl_device_id>, cl_int> {
    let get = platform.vendor.original.clGetDeviceIDs.ok_or(CL_INVALID_PLATFORM)?;
    let handle = platform.pointer();
    let mut count = 0;
    // SAFETY: asks only for the number.
    match unsafe { get(handle, kind, 0, null_mut(), &raw mut count) } {
        CL_SUCCESS => {}
        error => return Err(error),
    }
    let mut devices = vec![null_mut(); count as usize];
    // SAFETY: the list has room for as many.
    match unsafe { get(handle, kind, count, devices.as_mut_ptr(), null_mut()) } {
        CL_SUCCESS => devices.retain(|device| platform.shows(*device)),
        error => return Err(error),
    }
    // The vendor's default may be somebody else's device; the lease has a first one too.
    if devices.is_empty() && kind == CL_DEVICE_TYPE_DEFAULT {
        devices.extend(platform.devices().next());
    }
    if devices.is_empty() { Err(CL_DEVICE_NOT_FOUND) } else { Ok(devices) }
}

pub(crate) unsafe extern "C" fn clGetDeviceIDs(
    platform: cl_platform_id,
    device_type: cl_device_type,
    num_entries: cl_uint,
    devices: *mut cl_device_id,
    num_devices: *mut cl_uint,
) -> cl_int {
    inside::guard(CL_OUT_OF_HOST_MEMORY, || {
        if (num_entries == 0) != devices.is_null() || (devices.is_null() && num_devices.is_null()) {
            return CL_INVALID_VALUE;
        }
        // A platform of the vendor that the lease does not name has nothing to show.
        let Some(platform) = view::platform(platform) else { return CL_DEVICE_NOT_FOUND };
        match devices_of(platform, device_type) {
            Ok(shown) => {
                // SAFETY: the caller's list, checked above.
                unsafe { answer(&shown, num_entries, devices, num_devices) };
                CL_SUCCESS
            }
            Err(error) => {
                // SAFETY: as above.
                unsafe { answer::<Device>(&[], 0, devices, num_devices) };
                error
            }
        }
    })
}

pub(crate) unsafe extern "C" fn clGetDeviceInfo(
    device: cl_device_id,
    param_name: cl_device_info,
    param_value_size: usize,
    param_value: *mut c_void,
    param_value_size_ret: *mut usize,
) -> cl_int {
    inside::guard(CL_INVALID_DEVICE, || {
        let get = vendor::of(device).and_then(|vendor| vendor.original.clGetDeviceInfo);
        let Some(get) = get else { return CL_INVALID_DEVICE };
        if let Some(list) = extensions::of_device(param_name) {
            // SAFETY: asks for the size or into a room of that size.
            let ask =
                |size, at: *mut u8, had| unsafe { get(device, param_name, size, at.cast(), had) };
            let answer = list.answer(ask);
            // SAFETY: the caller's room.
            return unsafe {
                exports::answer_bytes(answer, param_value_size, param_value, param_value_size_ret)
            };
        }
        let mut had = 0;
        // SAFETY: the caller's question and room.
        let result =
            unsafe { get(device, param_name, param_value_size, param_value, &raw mut had) };
        if result != CL_SUCCESS {
            return result;
        }
        if !param_value_size_ret.is_null() {
            // SAFETY: the caller's pointer.
            unsafe { param_value_size_ret.write(had) };
        }
        let question = Memory::of(param_name);
        if let (Some(question), false) = (question, param_value.is_null()) {
            let words = had.min(param_value_size) / size_of::<u64>();
            // SAFETY: the vendor has just written these bytes.
            unsafe { answer_memory(device, question, param_value.cast(), words) };
        }
        CL_SUCCESS
    })
}

/// What a program asks about a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Bytes there are.
    All,
    /// Bytes that one buffer may have.
    Largest,
    /// Kibibytes that nobody has.
    Free,
}

impl Memory {
    fn of(question: cl_device_info) -> Option<Self> {
        match question {
            CL_DEVICE_GLOBAL_MEM_SIZE => Some(Self::All),
            CL_DEVICE_MAX_MEM_ALLOC_SIZE => Some(Self::Largest),
            CL_DEVICE_GLOBAL_FREE_MEMORY_AMD => Some(Self::Free),
            _ => None,
        }
    }

    /// The answer inside a slice of `slice` bytes of which `held` are taken: the vendor's is an
    /// upper bound.
    fn inside(self, vendors: u64, slice: u64, held: u64) -> u64 {
        match self {
            Self::All | Self::Largest => vendors.min(slice),
            Self::Free => vendors.min(slice.saturating_sub(held) / 1024),
        }
    }
}

/// Bytes of the largest buffer that the program is told a device takes; none when the driver does not say.
pub(super) fn largest(device: cl_device_id) -> Option<u64> {
    let mut bytes: cl_ulong = 0;
    let (question, at) = (CL_DEVICE_MAX_MEM_ALLOC_SIZE, (&raw mut bytes).cast());
    // SAFETY: the answer fits.
    let said = unsafe { clGetDeviceInfo(device, question, size_of_val(&bytes), at, null_mut()) };
    (said == CL_SUCCESS).then_some(bytes)
}

/// Puts the slice's truth in place of the device's.
///
/// # Safety
/// `at` has as many `words`, which the vendor has written.
unsafe fn answer_memory(device: cl_device_id, question: Memory, at: *mut cl_ulong, words: usize) {
    let Some(attachment) = &state::get().attachment else { return };
    let Some(index) = view::lease_device(device) else { return };
    let limits = attachment.limits();
    let held = |row| polder_ledger::memory::held(attachment.usage(), row);
    let slice = match question {
        Memory::All => limits.memory(index),
        Memory::Largest | Memory::Free => limits.device[index].memory_max.load(Ordering::Relaxed),
    };
    // What is behind the device comes on top, but no one buffer is larger than the device's part.
    let behind = limits.backing_row(index).map_or(0, |row| {
        let most = limits.device[row].memory_max.load(Ordering::Relaxed);
        match question {
            Memory::All => most,
            Memory::Largest => 0,
            Memory::Free => most.saturating_sub(held(row)) / 1024,
        }
    });
    let held = match question {
        Memory::All | Memory::Largest => 0,
        Memory::Free => held(index),
    };
    for word in 0..words {
        // SAFETY: the caller's promise.
        unsafe {
            let at = at.add(word);
            let shown = question.inside(at.read_unaligned(), slice, held);
            at.write_unaligned(shown.saturating_add(behind));
        }
    }
}

pub(crate) unsafe extern "C" fn clCreateContext(
    properties: *const cl_context_properties,
    num_devices: cl_uint,
    devices: *const cl_device_id,
    pfn_notify: ContextNotify,
    user_data: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_context {
    inside::guard(null_mut(), || {
        let first = if devices.is_null() || num_devices == 0 {
            view::platforms().first().and_then(|platform| platform.devices().next())
        } else {
            // SAFETY: the caller says that at least one stands there.
            Some(unsafe { devices.read() })
        };
        let create = first.and_then(vendor::of).and_then(|vendor| vendor.original.clCreateContext);
        let Some(create) = create else {
            // SAFETY: the caller's pointer.
            unsafe { fail(errcode_ret, CL_INVALID_DEVICE) };
            return null_mut();
        };
        let (notify, data) = callbacks::context(pfn_notify, user_data);
        // SAFETY: the caller's arguments, passed on with its notification wrapped.
        inside::accounted(|| unsafe {
            create(properties, num_devices, devices, notify, data, errcode_ret)
        })
    })
}

pub(crate) unsafe extern "C" fn clCreateContextFromType(
    properties: *const cl_context_properties,
    device_type: cl_device_type,
    pfn_notify: ContextNotify,
    user_data: *mut c_void,
    errcode_ret: *mut cl_int,
) -> cl_context {
    inside::guard(null_mut(), || {
        // SAFETY: the caller's list.
        let named = unsafe { platform_of(properties) };
        let platform = match named {
            Some(handle) => view::platform(handle),
            None => view::platforms().first(),
        };
        let devices = platform.ok_or(CL_INVALID_PLATFORM);
        match devices.and_then(|platform| devices_of(platform, device_type)) {
            Ok(devices) => {
                let count = cl_uint::try_from(devices.len()).unwrap_or(0);
                let list = devices.as_ptr();
                // SAFETY: the caller's arguments with a list of live devices.
                unsafe {
                    clCreateContext(properties, count, list, pfn_notify, user_data, errcode_ret)
                }
            }
            Err(error) => {
                // SAFETY: the caller's pointer.
                unsafe { fail(errcode_ret, error) };
                null_mut()
            }
        }
    })
}

/// The platform that a context's properties name.
///
/// # Safety
/// `properties` is null or a list that ends with zero.
unsafe fn platform_of(properties: *const cl_context_properties) -> Option<cl_platform_id> {
    if properties.is_null() {
        return None;
    }
    for pair in 0..PROPERTIES_MAX {
        // SAFETY: the list has not ended yet, so a name and, unless it is zero, a value follow.
        let (name, value) = unsafe {
            let name = properties.add(pair * 2).read();
            if name == 0 {
                return None;
            }
            (name, properties.add(pair * 2 + 1).read())
        };
        if name == CL_CONTEXT_PLATFORM {
            return Some(std::ptr::with_exposed_provenance_mut(value.cast_unsigned()));
        }
    }
    None
}

/// Says why there is no result.
///
/// # Safety
/// `errcode_ret` is null or valid.
pub(super) unsafe fn fail(errcode_ret: *mut cl_int, error: cl_int) {
    if !errcode_ret.is_null() {
        // SAFETY: the caller's promise.
        unsafe { errcode_ret.write(error) };
    }
}

pub(crate) unsafe extern "C" fn clGetExtensionFunctionAddressForPlatform(
    platform: cl_platform_id,
    func_name: *const c_char,
) -> *mut c_void {
    inside::guard(null_mut(), || {
        if func_name.is_null() {
            return null_mut();
        }
        // SAFETY: the caller's string.
        let name = unsafe { CStr::from_ptr(func_name) }.to_str();
        match (view::platform(platform), name) {
            (Some(platform), Ok(name)) => {
                exports::own(name).unwrap_or_else(|| exports::resolve(platform, name))
            }
            _ => null_mut(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_slices_and_never_more_than_the_vendors() {
        assert_eq!(Memory::of(CL_DEVICE_GLOBAL_MEM_SIZE), Some(Memory::All));
        assert_eq!(Memory::of(CL_DEVICE_MAX_MEM_ALLOC_SIZE), Some(Memory::Largest));
        assert_eq!(Memory::of(CL_DEVICE_NAME), None);
        for (question, vendors, slice, held, expect) in [
            (Memory::All, 1 << 30, 1 << 20, 1 << 19, 1 << 20),
            (Memory::All, 1 << 10, 1 << 20, 0, 1 << 10),
            (Memory::Free, 1 << 20, 1 << 20, 1 << 18, 768),
            (Memory::Free, 100, 1 << 20, 0, 100),
            // Shrunk below what is held.
            (Memory::Free, 1 << 20, 1 << 10, 1 << 20, 0),
        ] {
            assert_eq!(question.inside(vendors, slice, held), expect);
        }
    }
}
