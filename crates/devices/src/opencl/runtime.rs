//! The foreign boundary: opens an ICD library and asks its platforms and devices for facts.
//!
//! Every OpenCL object begins with a pointer to its driver's dispatch table, whose order the
//! `cl_khr_icd` extension fixes; the three queries used here stand at its head in every version.
//! A driver of the extension's second version puts a tag where `clGetPlatformIDs` was, which is
//! never called here, and keeps the rest.
#![allow(unsafe_code)] // A driver can only be called through its C interface.

use super::facts::Info;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::{
    ffi::{CStr, c_char, c_void},
    fs, mem, ptr,
};
use thiserror::Error;

/// No driver has more platforms.
const PLATFORMS_MAX: u32 = 16;
/// No driver has more devices on a platform.
const DEVICES_MAX: u32 = 256;
/// Longest answer read; lists of extensions are the longest.
const INFO_BYTES_MAX: usize = 64 << 10;

const CL_SUCCESS: i32 = 0;
const CL_DEVICE_NOT_FOUND: i32 = -1;
const CL_PLATFORM_NOT_FOUND_KHR: i32 = -1001;
const CL_DEVICE_TYPE_ALL: u64 = 0xFFFF_FFFF;
const CL_PLATFORM_NAME: u32 = 0x0902;

type Handle = *mut c_void;
type GetFunction = unsafe extern "C" fn(*const c_char) -> *mut c_void;
type GetPlatforms = unsafe extern "C" fn(u32, *mut Handle, *mut u32) -> i32;
type GetInfo = unsafe extern "C" fn(Handle, u32, usize, *mut c_void, *mut usize) -> i32;
type GetDevices = unsafe extern "C" fn(Handle, u64, u32, *mut Handle, *mut u32) -> i32;

/// The first slots of `cl_icd_dispatch`.
#[repr(C)]
struct DispatchHead {
    get_platforms: *const c_void,
    get_platform_info: Option<GetInfo>,
    get_devices: Option<GetDevices>,
    get_device_info: Option<GetInfo>,
}

/// Why a driver's devices could not be listed.
#[derive(Debug, Error)]
pub(crate) enum OpenclError {
    /// The dynamic linker refused.
    #[error("cannot be loaded: {0}; reinstall the driver, or remove its .icd file")]
    Load(#[from] libloading::Error),
    /// The library is no ICD.
    #[error("is no OpenCL driver: it has no clIcdGetPlatformIDsKHR")]
    NotAnIcd,
    /// The driver answered with an error.
    #[error("{call} answered error {code}")]
    Call {
        /// The call.
        call: &'static str,
        /// OpenCL's error code.
        code: i32,
    },
    /// The driver left out a call that every driver has.
    #[error("its dispatch table lacks {0}")]
    Missing(&'static str),
}

/// An open driver.
pub(crate) struct Loaded {
    /// The file the dynamic linker found.
    pub(crate) path: String,
    pub(crate) platforms: Vec<Platform>,
}

/// A platform of an open driver.
pub(crate) struct Platform {
    object: Object,
    get_devices: GetDevices,
    get_device_info: GetInfo,
}

/// A platform or device, and how to ask it.
pub(crate) struct Object {
    handle: Handle,
    get_info: GetInfo,
}

/// Opens `library` and lists its platforms. It stays open until the process ends: few drivers
/// survive being unloaded.
pub(crate) fn load(library: &str) -> Result<Loaded, OpenclError> {
    // SAFETY: running a driver's initialisers is what this process was started for; RTLD_LOCAL
    // keeps its symbols from being taken for anyone else's.
    let opened = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }?;
    let opened = mem::ManuallyDrop::new(opened);
    let get_platforms = platform_entry(&opened).ok_or(OpenclError::NotAnIcd)?;
    // SAFETY: the signature is the extension's, the pointers are null or valid for the count.
    let handles = handles("clIcdGetPlatformIDsKHR", PLATFORMS_MAX, |count, list, total| unsafe {
        get_platforms(count, list, total)
    })?;
    let platforms: Result<Vec<_>, _> = handles.into_iter().map(platform).collect();
    let path = mapped_file(get_platforms as usize).unwrap_or_else(|| library.to_owned());
    Ok(Loaded { path, platforms: platforms? })
}

/// The driver's list of platforms, found as loaders find it, or exported by name.
fn platform_entry(library: &Library) -> Option<GetPlatforms> {
    const NAME: &CStr = c"clIcdGetPlatformIDsKHR";
    // SAFETY: the extension fixes the signature of this exported function.
    let look_up = unsafe { library.get::<GetFunction>(c"clGetExtensionFunctionAddress") };
    // SAFETY: it takes a C string and returns the address of the function so named, or null.
    let address = look_up.map_or(ptr::null_mut(), |look_up| unsafe { look_up(NAME.as_ptr()) });
    if !address.is_null() {
        // SAFETY: the driver says that a function of this name, whose type is fixed, is there.
        return Some(unsafe { mem::transmute::<*mut c_void, GetPlatforms>(address) });
    }
    // SAFETY: the extension fixes the signature of this exported function.
    unsafe { library.get::<GetPlatforms>(NAME) }.ok().map(|symbol| *symbol)
}

/// The file that is mapped at `address`: what the dynamic linker chose for a bare name.
fn mapped_file(address: usize) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (start, rest) = line.split_once('-')?;
        let (end, _) = rest.split_once(' ')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let path = &line[line.find('/')?..];
        ((start..end).contains(&address) && !path.ends_with(" (deleted)")).then(|| path.to_owned())
    })
}

/// A list of handles: how many there are, then that many.
fn handles(
    call: &'static str,
    count_max: u32,
    ask: impl Fn(u32, *mut Handle, *mut u32) -> i32,
) -> Result<Vec<Handle>, OpenclError> {
    let mut count = 0;
    match ask(0, ptr::null_mut(), &raw mut count) {
        CL_SUCCESS => {}
        CL_DEVICE_NOT_FOUND | CL_PLATFORM_NOT_FOUND_KHR => return Ok(Vec::new()),
        code => return Err(OpenclError::Call { call, code }),
    }
    let count = count.min(count_max);
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut list = vec![ptr::null_mut(); count as usize];
    match ask(count, list.as_mut_ptr(), ptr::null_mut()) {
        CL_SUCCESS => {}
        code => return Err(OpenclError::Call { call, code }),
    }
    list.retain(|handle| !handle.is_null());
    Ok(list)
}

/// Reads the platform's dispatch table.
fn platform(handle: Handle) -> Result<Platform, OpenclError> {
    // SAFETY: the driver gave this handle, it is not null, and every object of a driver with
    // cl_khr_icd begins with a pointer to its table.
    let table = unsafe { *handle.cast::<*const DispatchHead>() };
    // SAFETY: the table is the driver's and has at least these slots; a null table is `None`.
    let table = unsafe { table.as_ref() }.ok_or(OpenclError::Missing("itself"))?;
    let get_info = table.get_platform_info.ok_or(OpenclError::Missing("clGetPlatformInfo"))?;
    Ok(Platform {
        object: Object { handle, get_info },
        get_devices: table.get_devices.ok_or(OpenclError::Missing("clGetDeviceIDs"))?,
        get_device_info: table.get_device_info.ok_or(OpenclError::Missing("clGetDeviceInfo"))?,
    })
}

impl Platform {
    /// `CL_PLATFORM_NAME`.
    pub(crate) fn name(&self) -> String {
        self.object.text(CL_PLATFORM_NAME).unwrap_or_default()
    }

    /// All devices, in the driver's order.
    pub(crate) fn devices(&self) -> Result<Vec<Object>, OpenclError> {
        // SAFETY: the handle is this platform's, the pointers are null or valid for the count.
        let list = handles("clGetDeviceIDs", DEVICES_MAX, |count, list, total| unsafe {
            (self.get_devices)(self.object.handle, CL_DEVICE_TYPE_ALL, count, list, total)
        })?;
        let get_info = self.get_device_info;
        Ok(list.into_iter().map(|handle| Object { handle, get_info }).collect())
    }
}

impl Info for Object {
    fn bytes(&self, parameter: u32) -> Option<Vec<u8>> {
        let mut size = 0;
        // SAFETY: asks only for the size of the answer.
        let code =
            unsafe { (self.get_info)(self.handle, parameter, 0, ptr::null_mut(), &raw mut size) };
        if code != CL_SUCCESS || size == 0 || size > INFO_BYTES_MAX {
            return None;
        }
        let mut value = vec![0_u8; size];
        // SAFETY: the buffer has the size that the driver is told.
        let code = unsafe {
            (self.get_info)(
                self.handle,
                parameter,
                size,
                value.as_mut_ptr().cast(),
                ptr::null_mut(),
            )
        };
        (code == CL_SUCCESS).then_some(value)
    }
}
