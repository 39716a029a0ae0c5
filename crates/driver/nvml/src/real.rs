//! The vendor's own library: found once, at the path that the lease's shim names; and what is answered
//! where it is not asked.
#![allow(unsafe_code)] // another library's functions

use crate::exports::TABLE;
use crate::hooks::{self, Answer};
use polder_driver::vendor::{LoadError, Vendor};
use polder_driver::{log, state};
use polder_gpuapi::nvml::{COUNT, Function, consts::*, types::*};
use std::ffi::{c_char, c_void};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// The vendor's functions, by their place in the table.
pub(crate) type Real = Vendor<COUNT>;

static REAL: OnceLock<Real> = OnceLock::new();

/// The vendor's functions, once a call has looked for them.
pub(crate) fn known() -> Option<&'static Real> {
    REAL.get()
}

/// The vendor's functions, loading its library first; or what the API calls the reason why not.
fn load() -> Result<&'static Real, nvmlReturn_t> {
    if let Some(real) = REAL.get() {
        return Ok(real);
    }
    let attached = state::attach().map_err(|error| {
        log::say_unplaced(&error);
        NVML_ERROR_NO_PERMISSION
    })?;
    let routes = attached.attachment.as_ref().map_or(&[][..], |attachment| attachment.routes());
    let paths = routes.iter().filter_map(|route| route.cuda.as_ref()).map(|cuda| &cuda.nvml);
    let path = paths.into_iter().find(|path| !path.is_empty());
    let loaded = path
        .ok_or(LoadError::NoDevice { api: "NVML" })
        .and_then(|path| Real::load(path, Function::all().map(Function::name)));
    match loaded {
        Ok(real) => Ok(REAL.get_or_init(|| real)),
        Err(error) => {
            log::say(&error);
            Err(NVML_ERROR_LIBRARY_NOT_FOUND)
        }
    }
}

/// Where the function in `slot` goes: to its hook, to the vendor's, or to a refusal.
pub(crate) fn find(slot: usize) -> *const c_void {
    let Some(function) = Function::all().nth(slot) else { return uninitialised as *const c_void };
    let begins = matches!(
        function,
        Function::nvmlInit | Function::nvmlInit_v2 | Function::nvmlInitWithFlags
    );
    let real = match load() {
        Ok(real) => real,
        // None of these is kept: the process may be let in later.
        Err(_) if function == Function::nvmlErrorString => return error_string as *const c_void,
        Err(NVML_ERROR_NO_PERMISSION) if begins => return not_permitted as *const c_void,
        Err(_) if begins => return no_library as *const c_void,
        Err(_) => return uninitialised as *const c_void,
    };
    let target = match (real.get(slot), hooks::of(function)) {
        (_, Some(Answer::Denied)) => not_permitted as *const c_void,
        (absent, _) if absent.is_null() && function == Function::nvmlErrorString => {
            error_string as *const c_void
        }
        (absent, _) if absent.is_null() => lacking as *const c_void,
        (_, Some(Answer::Withheld)) => withheld as *const c_void,
        (_, Some(Answer::Hook(hook))) => hook,
        (address, None) => address,
    };
    TABLE[slot].store(target.cast_mut(), Ordering::Release);
    target
}

/// For a process that has not begun, or that no lease lets in.
pub(crate) extern "C" fn uninitialised() -> nvmlReturn_t {
    NVML_ERROR_UNINITIALIZED
}

/// For what changes a card, and for who may not use any.
extern "C" fn not_permitted() -> nvmlReturn_t {
    NVML_ERROR_NO_PERMISSION
}

/// For what tells of a card's other users.
extern "C" fn withheld() -> nvmlReturn_t {
    NVML_ERROR_NOT_SUPPORTED
}

/// For a vendor's library that is not there or does not load.
extern "C" fn no_library() -> nvmlReturn_t {
    NVML_ERROR_LIBRARY_NOT_FOUND
}

/// For a function that the vendor's version does not have.
extern "C" fn lacking() -> nvmlReturn_t {
    NVML_ERROR_FUNCTION_NOT_FOUND
}

/// Programs print what this gives them: without the vendor's library it is still a text.
extern "C" fn error_string(result: nvmlReturn_t) -> *const c_char {
    let text = match result {
        NVML_SUCCESS => c"success",
        NVML_ERROR_UNINITIALIZED => c"NVML was not initialised",
        NVML_ERROR_NO_PERMISSION => {
            c"no lease lets this process in: start it with polder run (POLDER_LOG=1 says more)"
        }
        NVML_ERROR_LIBRARY_NOT_FOUND => {
            c"the vendor's libnvidia-ml.so.1 cannot be loaded (POLDER_LOG=1 says more)"
        }
        NVML_ERROR_FUNCTION_NOT_FOUND => c"the vendor's library does not have this function",
        _ => c"an error that NVML has a number for, and no text here",
    };
    text.as_ptr()
}

/// Calls the vendor's function: `real!(nvmlDeviceGetIndex(device, index))`. A function that the vendor's
/// version does not have is `NVML_ERROR_FUNCTION_NOT_FOUND`.
macro_rules! real {
    ($name:ident($($arg:expr),* $(,)?)) => {{
        let address = $crate::real::known().map_or(std::ptr::null(), |real| {
            real.get(polder_gpuapi::nvml::Function::$name.slot())
        });
        if address.is_null() {
            polder_gpuapi::nvml::consts::NVML_ERROR_FUNCTION_NOT_FOUND
        } else {
            // SAFETY: the vendor exports the function under this name, so it has this type; the
            // arguments are the program's under the API's contract, or ours and valid.
            #[allow(clippy::macro_metavars_in_unsafe, reason = "the contract covers the arguments")]
            unsafe {
                let call: polder_gpuapi::nvml::pfn::$name = std::mem::transmute(address);
                call($($arg),*)
            }
        }
    }};
}
pub(crate) use real;

/// The vendor's verdict as a result.
pub(crate) fn checked(code: nvmlReturn_t) -> Result<(), nvmlReturn_t> {
    if code == NVML_SUCCESS { Ok(()) } else { Err(code) }
}
