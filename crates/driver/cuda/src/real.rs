//! The vendor's own library: found once, at the path that the lease's shim names.
#![allow(unsafe_code)] // another library's functions

use crate::exports::TABLE;
use crate::hooks;
use polder_driver::vendor::{LoadError, Vendor};
use polder_driver::{log, state};
use polder_gpuapi::cuda::{COUNT, Function, consts::*, types::*};
use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// The vendor's functions, by their place in the table.
pub(crate) type Real = Vendor<COUNT>;

static REAL: OnceLock<Real> = OnceLock::new();

/// The vendor's functions, once a call has looked for them.
pub(crate) fn known() -> Option<&'static Real> {
    REAL.get()
}

/// The function that the vendor has at `address`.
pub(crate) fn at(address: *const c_void) -> Option<Function> {
    Function::all().nth(known()?.at(address)?)
}

/// The vendor's functions, loading its library first.
fn load() -> Option<&'static Real> {
    if let Some(real) = REAL.get() {
        return Some(real);
    }
    let attached = state::attach().map_err(|error| log::say_unplaced(&error)).ok()?;
    let routes = attached.attachment.as_ref().map_or(&[][..], |attachment| attachment.routes());
    let path = routes.iter().find_map(|route| route.cuda.as_ref()).map(|cuda| &cuda.library);
    let loaded = path
        .ok_or(LoadError::NoDevice { api: "CUDA" })
        .and_then(|path| Real::load(path, Function::all().map(Function::name)));
    match loaded {
        Ok(real) => Some(REAL.get_or_init(|| real)),
        Err(error) => {
            log::say(&error);
            None
        }
    }
}

/// Where the function in `slot` goes: to its hook, to the vendor's, or to a refusal.
pub(crate) fn find(slot: usize) -> *const c_void {
    let Some(function) = Function::all().nth(slot) else { return refuse as *const c_void };
    let Some(real) = load() else {
        // Not kept: the process may be let in later.
        let no_device = matches!(function, Function::cuInit);
        return if no_device { no_device_here as *const c_void } else { refuse as *const c_void };
    };
    let target = match (real.get(function.slot()), hooks::of(function)) {
        (absent, _) if absent.is_null() => unsupported as *const c_void,
        (_, Some(hook)) => hook,
        (address, None) => address,
    };
    TABLE[slot].store(target.cast_mut(), Ordering::Release);
    target
}

/// For a process that no lease lets in, as the vendor says it before `cuInit`.
pub(crate) extern "C" fn refuse() -> CUresult {
    CUDA_ERROR_NOT_INITIALIZED
}

extern "C" fn no_device_here() -> CUresult {
    CUDA_ERROR_NO_DEVICE
}

/// For a function that the vendor's version does not have.
extern "C" fn unsupported() -> CUresult {
    CUDA_ERROR_NOT_SUPPORTED
}

/// Calls the vendor's function: `real!(cuCtxGetDevice(&raw mut device))`. A function that the
/// vendor's version does not have is `CUDA_ERROR_NOT_SUPPORTED`.
macro_rules! real {
    ($name:ident($($arg:expr),* $(,)?)) => {{
        let address = $crate::real::known()
            .map_or(std::ptr::null(), |real| real.get(polder_gpuapi::cuda::Function::$name.slot()));
        if address.is_null() {
            polder_gpuapi::cuda::consts::CUDA_ERROR_NOT_SUPPORTED
        } else {
            // SAFETY: the vendor exports the function under this name, so it has this type; the
            // arguments are the program's under the API's contract, or ours and valid.
            #[allow(clippy::macro_metavars_in_unsafe, reason = "the contract covers the arguments")]
            unsafe {
                let call: polder_gpuapi::cuda::pfn::$name = std::mem::transmute(address);
                call($($arg),*)
            }
        }
    }};
}
pub(crate) use real;
