//! The lease's devices and no others. A card of somebody else's is not found, whatever it is called by.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::{answer, put};
use crate::real::{checked, real};
use crate::{busy, slice};
use polder_gpuapi::nvml::{consts::*, types::*};
use std::ffi::{c_char, c_uint, c_void};
use std::ptr::null_mut;

/// Most cards of the vendor's lists that are looked at.
const CARDS_MAX: usize = 256;

fn begin(code: nvmlReturn_t) -> nvmlReturn_t {
    if code == NVML_SUCCESS {
        busy::begin();
    }
    code
}

pub(super) unsafe extern "C" fn nvmlInit() -> nvmlReturn_t {
    answer(|| checked(begin(real!(nvmlInit()))))
}

pub(super) unsafe extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    answer(|| checked(begin(real!(nvmlInit_v2()))))
}

pub(super) unsafe extern "C" fn nvmlInitWithFlags(flags: c_uint) -> nvmlReturn_t {
    answer(|| checked(begin(real!(nvmlInitWithFlags(flags)))))
}

/// The count, where the vendor has one to give.
fn count(of: impl Fn(*mut c_uint) -> nvmlReturn_t, at: *mut c_uint) -> nvmlReturn_t {
    answer(|| {
        let mut machine = 0;
        checked(of(&raw mut machine))?;
        put(at, c_uint::try_from(slice::count()?).unwrap_or(c_uint::MAX))
    })
}

pub(super) unsafe extern "C" fn nvmlDeviceGetCount(at: *mut c_uint) -> nvmlReturn_t {
    count(|machine| real!(nvmlDeviceGetCount(machine)), at)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetCount_v2(at: *mut c_uint) -> nvmlReturn_t {
    count(|machine| real!(nvmlDeviceGetCount_v2(machine)), at)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetHandleByIndex(
    index: c_uint,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    answer(|| put(device, slice::at(index as usize)?))
}

pub(super) unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    answer(|| put(device, slice::at(index as usize)?))
}

/// The card that the vendor finds, if the lease has it.
fn found(
    look: impl FnOnce(*mut nvmlDevice_t) -> nvmlReturn_t,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    answer(|| {
        let mut handle = null_mut();
        // The vendor is to judge a place that is none.
        checked(look(if device.is_null() { device } else { &raw mut handle }))?;
        slice::find(handle)?.ok_or(NVML_ERROR_NOT_FOUND)?;
        put(device, handle)
    })
}

pub(super) unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId(
    bus: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    found(|at| real!(nvmlDeviceGetHandleByPciBusId(bus, at)), device)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    bus: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    found(|at| real!(nvmlDeviceGetHandleByPciBusId_v2(bus, at)), device)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetHandleBySerial(
    serial: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    found(|at| real!(nvmlDeviceGetHandleBySerial(serial, at)), device)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    found(|at| real!(nvmlDeviceGetHandleByUUID(uuid, at)), device)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetHandleByUUIDV(
    uuid: *const c_void,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    found(|at| real!(nvmlDeviceGetHandleByUUIDV(uuid, at)), device)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
    instance: nvmlDevice_t,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    found(|at| real!(nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance, at)), device)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetIndex(
    device: nvmlDevice_t,
    index: *mut c_uint,
) -> nvmlReturn_t {
    answer(|| {
        let (at, _) = slice::find(device)?.ok_or(NVML_ERROR_INVALID_ARGUMENT)?;
        put(index, c_uint::try_from(at).unwrap_or(c_uint::MAX))
    })
}

/// Writes what of the vendor's set is the lease's; a count of zero asks only how many there are.
fn set(
    look: impl FnOnce(*mut c_uint, *mut nvmlDevice_t) -> nvmlReturn_t,
    count: *mut c_uint,
    devices: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    answer(|| {
        // SAFETY: the program's count, if it is there.
        let room = unsafe { count.as_ref() }.copied().ok_or(NVML_ERROR_INVALID_ARGUMENT)?;
        let mut all: [nvmlDevice_t; CARDS_MAX] = [null_mut(); CARDS_MAX];
        let mut said = c_uint::try_from(CARDS_MAX).expect("a small number");
        checked(look(&raw mut said, all.as_mut_ptr()))?;
        let near = all.iter().take(said as usize).copied();
        let own: Vec<nvmlDevice_t> =
            near.filter(|device| matches!(slice::find(*device), Ok(Some(_)))).collect();
        let fits = if room == 0 { own.len() } else { own.len().min(room as usize) };
        put(count, c_uint::try_from(fits).expect("at most CARDS_MAX"))?;
        if room == 0 || fits == 0 {
            return Ok(());
        }
        if devices.is_null() {
            return Err(NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: there is room for `room` of them, as the program says, and these are no more.
        unsafe { std::ptr::copy_nonoverlapping(own.as_ptr(), devices, fits) };
        Ok(())
    })
}

pub(super) unsafe extern "C" fn nvmlDeviceGetTopologyNearestGpus(
    device: nvmlDevice_t,
    level: c_uint,
    count: *mut c_uint,
    devices: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let look = |said, all| real!(nvmlDeviceGetTopologyNearestGpus(device, level, said, all));
    set(look, count, devices)
}

pub(super) unsafe extern "C" fn nvmlSystemGetTopologyGpuSet(
    cpu: c_uint,
    count: *mut c_uint,
    devices: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    set(|said, all| real!(nvmlSystemGetTopologyGpuSet(cpu, said, all)), count, devices)
}
