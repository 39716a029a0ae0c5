//! What a loader looks for in an ICD.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::commands_recorded;
use crate::extensions;
use crate::hooks;
use crate::paged;
use crate::vendor;
use crate::view::{self, Platform};
use polder_driver::inside::guard;
use polder_driver::log;
use polder_driver::state;
use polder_gpuapi::opencl::{Class, EXTENSIONS_PASSED, FUNCTIONS, consts::*, slot_of, types::*};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

macro_rules! export {
    ($($(#[$doc:meta])* $name:ident = $real:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As the API's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: the caller's arguments, under the same contract.
            unsafe { $real($($arg),*) }
        }
    )*};
}

// Nothing in this library calls an exported function or takes its address: the name may belong to
// the program's loader, which would call us again.
export! {
    /// The lease's platforms. None when the process has no place in a lease; why is said on
    /// standard error when `POLDER_LOG` is set.
    clIcdGetPlatformIDsKHR = platform_ids(num_entries: cl_uint, platforms: *mut cl_platform_id,
        num_platforms: *mut cl_uint) -> cl_int;
    /// What the vendor says of its platform, without extensions whose functions are not there.
    clGetPlatformInfo = platform_info(platform: cl_platform_id, param_name: cl_platform_info,
        param_value_size: usize, param_value: *mut c_void,
        param_value_size_ret: *mut usize) -> cl_int;
    /// The functions of this ICD, of the dispatch table, and the extension functions that are
    /// known to be harmless; nothing else.
    clGetExtensionFunctionAddress = function(func_name: *const c_char) -> *mut c_void;
    /// The functions of a platform, for a loader that keeps the dispatch table itself.
    clIcdGetFunctionAddressForPlatformKHR = function_of(platform: cl_platform_id,
        func_name: *const c_char) -> *mut c_void;
    /// Passes the loader's own data on to the vendor, whose objects carry it.
    clIcdSetPlatformDispatchDataKHR = set_dispatch_data(platform: cl_platform_id,
        dispatch_data: *mut c_void) -> cl_int;
}

pub(crate) unsafe extern "C" fn platform_ids(
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
                log::say_unplaced(&error);
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

pub(crate) unsafe extern "C" fn platform_info(
    platform: cl_platform_id,
    param_name: cl_platform_info,
    param_value_size: usize,
    param_value: *mut c_void,
    param_value_size_ret: *mut usize,
) -> cl_int {
    guard(CL_INVALID_PLATFORM, || {
        let get = vendor::of(platform).and_then(|vendor| vendor.original.clGetPlatformInfo);
        let Some(get) = get else { return CL_INVALID_PLATFORM };
        let Some(list) = extensions::of_platform(param_name) else {
            // SAFETY: the caller's arguments, passed on.
            return unsafe {
                get(platform, param_name, param_value_size, param_value, param_value_size_ret)
            };
        };
        // SAFETY: asks for the size or into a room of that size.
        let ask =
            |size, at: *mut u8, had| unsafe { get(platform, param_name, size, at.cast(), had) };
        let answer = list.answer(ask);
        // SAFETY: the caller's room.
        unsafe { answer_bytes(answer, param_value_size, param_value, param_value_size_ret) }
    })
}

/// Answers one of the API's questions.
///
/// # Safety
/// `room` is null or has `size` bytes; `had` is null or valid.
pub(crate) unsafe fn answer_bytes(
    answer: Result<Vec<u8>, cl_int>,
    size: usize,
    room: *mut c_void,
    had: *mut usize,
) -> cl_int {
    let bytes = match answer {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    if !room.is_null() && size < bytes.len() {
        return CL_INVALID_VALUE;
    }
    // SAFETY: the caller's promise, and the room is large enough.
    unsafe {
        if !room.is_null() {
            room.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        if !had.is_null() {
            had.write(bytes.len());
        }
    }
    CL_SUCCESS
}

pub(crate) unsafe extern "C" fn function(func_name: *const c_char) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: the caller's promise.
        let Some(name) = (unsafe { name(func_name) }) else { return null_mut() };
        own(name).unwrap_or_else(|| {
            let mut platforms = view::platforms().iter().map(|platform| resolve(platform, name));
            platforms.find(|at| !at.is_null()).unwrap_or(null_mut())
        })
    })
}

unsafe extern "C" fn function_of(
    platform: cl_platform_id,
    func_name: *const c_char,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    guard(null_mut(), || match (view::platform(platform), unsafe { name(func_name) }) {
        (Some(platform), Some(name)) => resolve(platform, name),
        _ => null_mut(),
    })
}

unsafe extern "C" fn set_dispatch_data(
    platform: cl_platform_id,
    dispatch_data: *mut c_void,
) -> cl_int {
    guard(CL_INVALID_PLATFORM, || {
        let set = view::platform(platform).and_then(|platform| platform.set_dispatch_data);
        // SAFETY: the caller's arguments, passed on.
        set.map_or(CL_INVALID_PLATFORM, |set| unsafe { set(platform, dispatch_data) })
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
        "clIcdGetPlatformIDsKHR" => platform_ids as *mut c_void,
        "clGetPlatformInfo" => platform_info as *mut c_void,
        "clGetExtensionFunctionAddress" => function as *mut c_void,
        "clIcdGetFunctionAddressForPlatformKHR" => function_of as *mut c_void,
        "clIcdSetPlatformDispatchDataKHR" => set_dispatch_data as *mut c_void,
        _ => return None,
    })
}

/// What becomes of a function that somebody asks for by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is ours, where the vendor has it.
    Hooked(*const c_void),
    /// The vendor's.
    Passed,
    /// Nothing: the call would take memory, start work or show devices past the hooks, or nobody knows whether.
    Absent,
}

/// What becomes of `name`, whichever vendor is asked.
pub(crate) fn fate(name: &str) -> Fate {
    if let Some(hook) = commands_recorded::hook(name) {
        return Fate::Hooked(hook);
    }
    match slot_of(name) {
        Some(slot) if !hooks::table()[slot].is_null() => Fate::Hooked(hooks::table()[slot]),
        Some(slot) if FUNCTIONS[slot].class != Class::Interop => Fate::Passed,
        None if EXTENSIONS_PASSED.contains(&name) => Fate::Passed,
        _ => Fate::Absent,
    }
}

/// What `name` means on `platform`: our function where there is one, the vendor's where the call is
/// known to need none, and otherwise nothing.
pub(crate) fn resolve(platform: &Platform, name: &str) -> *mut c_void {
    let slot = slot_of(name);
    match fate(name) {
        // A function that the vendor lacks stays absent.
        Fate::Hooked(hook) => {
            let there = match slot {
                Some(slot) => has(platform, slot),
                None => !paged::is_on() && platform.command_buffers().is_some(),
            };
            return if there { hook.cast_mut() } else { null_mut() };
        }
        Fate::Absent => return null_mut(),
        Fate::Passed => {}
    }
    let table = slot.map(|slot| slots(platform)[slot].cast_mut()).filter(|at| !at.is_null());
    table.unwrap_or_else(|| match std::ffi::CString::new(name) {
        Ok(symbol) => ask_vendor(platform, &symbol),
        Err(_) => null_mut(),
    })
}

/// What the vendor itself answers to a name; null when it knows none such.
pub(crate) fn ask_vendor(platform: &Platform, symbol: &CStr) -> *mut c_void {
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
    asked.into_iter().flatten().find(|at| !at.is_null()).unwrap_or(null_mut())
}

fn has(platform: &Platform, slot: usize) -> bool {
    !slots(platform)[slot].is_null()
}

fn slots(platform: &Platform) -> &[*const c_void; FUNCTIONS.len()] {
    let table: *const _ = &raw const platform.vendor.original;
    // SAFETY: a dispatch table is as many nullable function pointers, and nothing else.
    unsafe { &*table.cast() }
}
