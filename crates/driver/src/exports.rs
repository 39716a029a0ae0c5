//! What a loader looks for in an ICD.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::hooks;
use crate::inside::guard;
use crate::log;
use crate::state;
use crate::view::{self, Platform};
use polder_gpuapi::opencl::{Class, EXTENSIONS_PASSED, FUNCTIONS, consts::*, slot_of, types::*};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

/// The lease's platforms. None when the process has no place in a lease; why is said on standard
/// error when `POLDER_LOG` is set.
///
/// # Safety
/// As the API's `clGetPlatformIDs`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clIcdGetPlatformIDsKHR(
    num_entries: cl_uint,
    platforms: *mut cl_platform_id,
    num_platforms: *mut cl_uint,
) -> cl_int {
    guard(CL_PLATFORM_NOT_FOUND_KHR, || {
        if (num_entries == 0) != platforms.is_null()
            || (platforms.is_null() && num_platforms.is_null())
        {
            return CL_INVALID_VALUE;
        }
        let shown = match state::attach() {
            Ok(state) => state.attachment.as_ref().map_or(&[][..], view::load),
            Err(error) => {
                log::say(&error);
                &[]
            }
        };
        // SAFETY: the caller's pointers, checked above; at most `num_entries` are written.
        unsafe {
            if !num_platforms.is_null() {
                num_platforms.write(cl_uint::try_from(shown.len()).unwrap_or(cl_uint::MAX));
            }
            for (index, platform) in shown.iter().take(num_entries as usize).enumerate() {
                platforms.add(index).write(platform.pointer());
            }
        }
        if shown.is_empty() { CL_PLATFORM_NOT_FOUND_KHR } else { CL_SUCCESS }
    })
}

/// What the vendor says of its platform.
///
/// # Safety
/// As the API's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clGetPlatformInfo(
    platform: cl_platform_id,
    param_name: cl_platform_info,
    param_value_size: usize,
    param_value: *mut c_void,
    param_value_size_ret: *mut usize,
) -> cl_int {
    guard(CL_INVALID_PLATFORM, || {
        let known = view::platform(platform);
        match known.and_then(|known| known.vendor.original.clGetPlatformInfo) {
            // SAFETY: the caller's arguments, passed on.
            Some(get) => unsafe {
                get(platform, param_name, param_value_size, param_value, param_value_size_ret)
            },
            None => CL_INVALID_PLATFORM,
        }
    })
}

/// The functions of this ICD, of the dispatch table, and the extension functions that are known to
/// be harmless; nothing else.
///
/// # Safety
/// `func_name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clGetExtensionFunctionAddress(func_name: *const c_char) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: the caller's promise.
        let Some(name) = (unsafe { name(func_name) }) else { return null_mut() };
        own(name).unwrap_or_else(|| {
            let platforms = view::platforms().iter();
            let found = platforms.map(|platform| resolve(platform, name));
            found.into_iter().find(|at| !at.is_null()).unwrap_or(null_mut())
        })
    })
}

/// The functions of a platform, for a loader that keeps the dispatch table itself.
///
/// # Safety
/// `platform` comes from this ICD, `func_name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clIcdGetFunctionAddressForPlatformKHR(
    platform: cl_platform_id,
    func_name: *const c_char,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    guard(null_mut(), || match (view::platform(platform), unsafe { name(func_name) }) {
        (Some(platform), Some(name)) => resolve(platform, name),
        _ => null_mut(),
    })
}

/// Passes the loader's own data on to the vendor, whose objects carry it.
///
/// # Safety
/// As the extension's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clIcdSetPlatformDispatchDataKHR(
    platform: cl_platform_id,
    dispatch_data: *mut c_void,
) -> cl_int {
    guard(CL_INVALID_PLATFORM, || {
        match view::platform(platform).and_then(|platform| platform.set_dispatch_data) {
            // SAFETY: the caller's arguments, passed on.
            Some(set) => unsafe { set(platform, dispatch_data) },
            None => CL_INVALID_PLATFORM,
        }
    })
}

/// # Safety
/// `text` is null or a C string that outlives the call.
unsafe fn name<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

/// The ICD's own entry points.
pub(crate) fn own(name: &str) -> Option<*mut c_void> {
    Some(match name {
        "clIcdGetPlatformIDsKHR" => clIcdGetPlatformIDsKHR as *mut c_void,
        "clGetPlatformInfo" => clGetPlatformInfo as *mut c_void,
        "clGetExtensionFunctionAddress" => clGetExtensionFunctionAddress as *mut c_void,
        "clIcdGetFunctionAddressForPlatformKHR" => {
            clIcdGetFunctionAddressForPlatformKHR as *mut c_void
        }
        "clIcdSetPlatformDispatchDataKHR" => clIcdSetPlatformDispatchDataKHR as *mut c_void,
        _ => return None,
    })
}

/// What `name` means on `platform`: our function where there is one, the vendor's where the call is
/// known to need none, and otherwise nothing.
pub(crate) fn resolve(platform: &Platform, name: &str) -> *mut c_void {
    let slot = slot_of(name);
    if let Some(hook) = slot.and_then(|slot| {
        let hook = hooks::table()[slot];
        // A function that the vendor lacks stays absent.
        (!hook.is_null() && has(platform, slot)).then_some(hook)
    }) {
        return hook.cast_mut();
    }
    let passed = match slot {
        Some(slot) => hooks::table()[slot].is_null() && FUNCTIONS[slot].class != Class::Interop,
        None => EXTENSIONS_PASSED.contains(&name),
    };
    let Ok(symbol) = std::ffi::CString::new(name) else { return null_mut() };
    if !passed {
        return null_mut();
    }
    let original = &platform.vendor.original;
    let handle = platform.pointer();
    let asked = [
        // SAFETY: the vendor's own look-ups, with its own platform and a C string.
        platform.get_for_platform.map(|get| unsafe { get(handle, symbol.as_ptr()) }),
        original
            .clGetExtensionFunctionAddressForPlatform
            // SAFETY: as above.
            .map(|get| unsafe { get(handle, symbol.as_ptr()) }),
        // SAFETY: as above.
        platform.get_extension.map(|get| unsafe { get(symbol.as_ptr()) }),
    ];
    let table = slot.map(|slot| slots(platform)[slot].cast_mut());
    table
        .into_iter()
        .chain(asked.into_iter().flatten())
        .find(|at| !at.is_null())
        .unwrap_or(null_mut())
}

fn has(platform: &Platform, slot: usize) -> bool {
    !slots(platform)[slot].is_null()
}

fn slots(platform: &Platform) -> &[*const c_void; FUNCTIONS.len()] {
    let table: *const _ = &raw const platform.vendor.original;
    // SAFETY: a dispatch table is as many nullable function pointers, and nothing else.
    unsafe { &*table.cast() }
}
