//! What the program sees: the platforms and devices of its lease, with the lease's memory.
#![allow(unsafe_code)] // asking the vendors

use crate::commands_recorded::Functions;
use crate::vendor::{self, PatchError, Vendor};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use polder_driver::attach::Attachment;
use polder_driver::log;
use polder_gpuapi::opencl::{Dispatch, consts::*, pfn, types::*};
use polder_ledger::attach::Route;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;
use thiserror::Error;

/// Most platforms of one vendor library, and most devices of one platform, that are looked at.
const LIST_MAX: cl_uint = 256;
/// Deepest division of a device into sub-devices that is followed.
const PARENTS_MAX: usize = 16;

type GetPlatforms = pfn::clGetPlatformIDs;
type GetExtension = pfn::clGetExtensionFunctionAddress;
type GetForPlatform = unsafe extern "C" fn(cl_platform_id, *const c_char) -> *mut c_void;
type SetDispatchData = unsafe extern "C" fn(cl_platform_id, *mut c_void) -> cl_int;

/// Why a vendor's library shows nothing.
#[derive(Debug, Error)]
enum LoadError {
    #[error("the driver {library} cannot be loaded")]
    Library { library: String, source: libloading::Error },
    #[error("{0} is not an OpenCL driver: it has no clIcdGetPlatformIDsKHR")]
    NotADriver(String),
    #[error("the driver {library} cannot be used")]
    Patch { library: String, source: PatchError },
}

/// A device the program sees: its handle, and its place in the lease.
type Shown = (usize, usize);

/// A platform the program sees.
#[derive(Debug)]
pub(crate) struct Platform {
    handle: usize,
    pub(crate) vendor: &'static Vendor,
    devices: Vec<Shown>,
    /// The library's own look-up functions.
    pub(crate) get_extension: Option<GetExtension>,
    pub(crate) get_for_platform: Option<GetForPlatform>,
    pub(crate) set_dispatch_data: Option<SetDispatchData>,
    command_buffers: OnceLock<Option<Functions>>,
}

impl Platform {
    pub(crate) fn pointer(&self) -> cl_platform_id {
        std::ptr::with_exposed_provenance_mut(self.handle)
    }

    /// The lease's devices here.
    pub(crate) fn devices(&self) -> impl Iterator<Item = cl_device_id> {
        self.devices.iter().map(|(device, _)| std::ptr::with_exposed_provenance_mut(*device))
    }

    /// The vendor's command buffers, where it has them.
    pub(crate) fn command_buffers(&self) -> Option<Functions> {
        *self.command_buffers.get_or_init(|| Functions::of(self))
    }

    /// Whether the platform shows `device`.
    pub(crate) fn shows(&self, device: cl_device_id) -> bool {
        self.devices.iter().any(|(shown, _)| *shown == device.addr())
    }
}

/// Made once: a lease keeps its devices for as long as it lives, and a fork keeps the drivers.
static VIEW: OnceLock<Vec<Platform>> = OnceLock::new();

/// Loads the vendors' drivers that the lease's routes name.
pub(crate) fn load(attachment: &Attachment) -> &'static [Platform] {
    VIEW.get_or_init(|| {
        let mut libraries: BTreeMap<&str, Vec<(usize, &Route)>> = BTreeMap::new();
        for (index, route) in attachment.routes().iter().enumerate() {
            if !route.library.is_empty() {
                libraries.entry(&route.library).or_default().push((index, route));
            }
        }
        let mut view = Vec::new();
        for (library, routes) in libraries {
            match load_library(library, &routes) {
                Ok(platforms) => view.extend(platforms),
                Err(error) => log::say(&error),
            }
        }
        view
    })
}

/// The platforms that [`load`] has found; none before.
pub(crate) fn platforms() -> &'static [Platform] {
    VIEW.get().map_or(&[], Vec::as_slice)
}

/// The platform of a handle.
pub(crate) fn platform(handle: cl_platform_id) -> Option<&'static Platform> {
    platforms().iter().find(|platform| platform.handle == handle.addr())
}

/// The lease's device that `device` is, or is a part of.
pub(crate) fn lease_device(device: cl_device_id) -> Option<usize> {
    let mut device = device;
    for _ in 0..PARENTS_MAX {
        let known = platforms().iter().flat_map(|platform| &platform.devices);
        for (shown, index) in known {
            if *shown == device.addr() {
                return Some(*index);
            }
        }
        let get = vendor::of(device)?.original.clGetDeviceInfo?;
        let mut parent: cl_device_id = null_mut();
        // SAFETY: the device is live, as its child or user is; the answer fits.
        let known = unsafe {
            let at = (&raw mut parent).cast();
            get(device, CL_DEVICE_PARENT_DEVICE, size_of::<cl_device_id>(), at, null_mut())
        };
        if known != CL_SUCCESS || parent.is_null() {
            return None;
        }
        device = parent;
    }
    None
}

fn load_library(name: &str, routes: &[(usize, &Route)]) -> Result<Vec<Platform>, LoadError> {
    // SAFETY: the agent names the driver; loading it is what the program's loader would do.
    let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|source| LoadError::Library { library: name.to_owned(), source })?;
    // SAFETY: symbols of an ICD under the names and types that its extension gives them.
    let get_extension = unsafe { library.get::<GetExtension>("clGetExtensionFunctionAddress") };
    let get_extension = get_extension.ok().map(|symbol| *symbol);
    let find = |symbol: &CStr| {
        // SAFETY: the look-up of the library itself, with a C string; and of its symbols.
        let looked_up = get_extension.map(|get| unsafe { get(symbol.as_ptr()) });
        looked_up.filter(|at| !at.is_null()).or_else(|| {
            // SAFETY: the symbol is only read as an address here.
            let symbol = unsafe { library.get::<*mut c_void>(symbol.to_bytes()) };
            symbol.ok().map(|symbol| *symbol).filter(|at| !at.is_null())
        })
    };
    let get_platforms = find(c"clIcdGetPlatformIDsKHR");
    // SAFETY: the function has this type under this name in every ICD.
    let get_platforms = get_platforms.map(|at| unsafe { as_function::<GetPlatforms>(at) });
    let get_platforms = get_platforms.ok_or_else(|| LoadError::NotADriver(name.to_owned()))?;
    let for_platform = find(c"clIcdGetFunctionAddressForPlatformKHR");
    let set_data = find(c"clIcdSetPlatformDispatchDataKHR");
    let mut found = Vec::new();
    for handle in list(|count, at, had| {
        // SAFETY: the arguments are a list and its length.
        unsafe { get_platforms(count, at, had) }
    }) {
        let adopted = adopt(handle, routes)
            .map_err(|source| LoadError::Patch { library: name.to_owned(), source })?;
        let Some((vendor, devices)) = adopted else { continue };
        found.push(Platform {
            handle: handle.expose_provenance(),
            vendor,
            devices,
            get_extension,
            // SAFETY: these functions have these types under these names.
            get_for_platform: for_platform.map(|at| unsafe { as_function(at) }),
            // SAFETY: as above.
            set_dispatch_data: set_data.map(|at| unsafe { as_function(at) }),
            command_buffers: OnceLock::new(),
        });
    }
    // The drivers stay for as long as the process does: the program holds their objects.
    std::mem::forget(library);
    Ok(found)
}

/// Patches the platform's vendor when the platform has devices of the lease.
fn adopt(
    handle: cl_platform_id,
    routes: &[(usize, &Route)],
) -> Result<Option<(&'static Vendor, Vec<Shown>)>, PatchError> {
    // An adopted vendor's table holds our functions: what stood there before is asked.
    let known = vendor::of(handle);
    let asked = known.map_or_else(|| vendor::read(handle, 10), |vendor| vendor.original);
    let name = text(&asked, handle, CL_PLATFORM_NAME);
    let all = list(|count, at, had| match asked.clGetDeviceIDs {
        // SAFETY: the arguments are a list and its length.
        Some(get) => unsafe { get(handle, CL_DEVICE_TYPE_ALL, count, at, had) },
        None => CL_DEVICE_NOT_FOUND,
    });
    let mut devices = Vec::new();
    for (place, device) in all.into_iter().enumerate() {
        let route = routes
            .iter()
            .find(|(_, route)| route.platform == name && usize::try_from(route.index) == Ok(place));
        if let Some((index, _)) = route {
            devices.push((device.expose_provenance(), *index));
        }
    }
    if devices.is_empty() {
        return Ok(None);
    }
    let version = version(&text(&asked, handle, CL_PLATFORM_VERSION));
    Ok(Some((vendor::adopt(handle, version)?, devices)))
}

/// A list that the API gives out in two calls: first its length, then its members.
fn list<T>(get: impl Fn(cl_uint, *mut *mut T, *mut cl_uint) -> cl_int) -> Vec<*mut T> {
    let mut count = 0;
    if get(0, null_mut(), &raw mut count) != CL_SUCCESS || count == 0 {
        return Vec::new();
    }
    let count = count.min(LIST_MAX);
    let mut members = vec![null_mut(); count as usize];
    if get(count, members.as_mut_ptr(), null_mut()) != CL_SUCCESS {
        return Vec::new();
    }
    members.retain(|member| !member.is_null());
    members
}

fn text(table: &Dispatch, platform: cl_platform_id, what: cl_platform_info) -> String {
    let mut bytes = [0_u8; 512];
    let Some(get) = table.clGetPlatformInfo else { return String::new() };
    // SAFETY: the answer fits the array or is refused.
    unsafe { get(platform, what, bytes.len(), bytes.as_mut_ptr().cast(), null_mut()) };
    let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

/// `OpenCL 3.0 ...` as 30; 10 for what cannot be read, which is the least any driver has.
fn version(text: &str) -> u8 {
    let number = text.strip_prefix("OpenCL ").unwrap_or("");
    let number = number.split(' ').next().unwrap_or("").split_once('.');
    number
        .and_then(|(major, minor)| Some((major.parse::<u8>().ok()?, minor.parse::<u8>().ok()?)))
        .and_then(|(major, minor)| major.checked_mul(10)?.checked_add(minor))
        .filter(|version| *version >= 10)
        .unwrap_or(10)
}

/// # Safety
/// `at` is a function of type `F`.
unsafe fn as_function<F: Copy>(at: *mut c_void) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the caller's promise; a function pointer is as wide as an address here.
    unsafe { std::mem::transmute_copy::<*mut c_void, F>(&at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_platforms_say() {
        let cases =
            [("OpenCL 3.0 PoCL 3.1", 30), ("OpenCL 1.2 ", 12), ("OpenCL 2.1", 21), ("", 10)];
        for (text, expect) in cases.into_iter().chain([("OpenCL 99.9 x", 10), ("OpenCL x", 10)]) {
            assert_eq!(version(text), expect, "{text:?}");
        }
    }
}
