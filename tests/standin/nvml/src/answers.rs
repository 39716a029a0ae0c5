//! What is answered.

use crate::script::{ask, client, init, model};
use polder_gpuapi::nvml::consts::*;
use polder_gpuapi::nvml::types::*;
use polder_standin_host::Ask;
use std::ffi::{CStr, c_char, c_int, c_uint};

/// The one device's handle.
const DEVICE: usize = 0x5000;
const PROCESSES_MAX: u32 = 1024;
/// What the stand-in CUDA driver calls the device too.
const UUID: &str = "GPU-7374616e-642d-696e-2064-657669636530";
const BUS: &str = "00000000:01:00.0";

/// Exports functions whose bodies say `Ok(())` or the error; a panic in one is an unknown error.
macro_rules! api {
    () => {};
    (fn $name:ident $args:tt $body:block $($rest:tt)*) => {
        api!(@one $name $args $body);
        api!($($rest)*);
    };
    (fn $name:ident / $variant:ident $args:tt $body:block $($rest:tt)*) => {
        api!(@one $name $args $body);
        api!(@one $variant $args $body);
        api!($($rest)*);
    };
    (@one $name:ident ($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the API's own")]
        pub(crate) unsafe extern "C" fn $name($($arg: $ty),*) -> nvmlReturn_t {
            const { let _: polder_gpuapi::nvml::pfn::$name = $name; }
            if let Some(code) = crate::script::begins(stringify!($name)) {
                return code;
            }
            let call = std::panic::AssertUnwindSafe(move || -> Result<(), nvmlReturn_t> { $body });
            match std::panic::catch_unwind(call) {
                Ok(Ok(())) => NVML_SUCCESS,
                Ok(Err(code)) => code,
                Err(_) => NVML_ERROR_UNKNOWN,
            }
        }
    };
}

fn put<T>(at: *mut T, value: T) -> Result<(), nvmlReturn_t> {
    if at.is_null() {
        return Err(NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: not null, and the caller says that a `T` may be written there.
    unsafe { at.write(value) };
    Ok(())
}

fn put_text(at: *mut c_char, room: c_uint, text: &str) -> Result<(), nvmlReturn_t> {
    if at.is_null() {
        return Err(NVML_ERROR_INVALID_ARGUMENT);
    }
    if text.len() >= room as usize {
        return Err(NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: the caller says that `room` bytes may be written there, and this is fewer.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), at, text.len());
        at.add(text.len()).write(0);
    }
    Ok(())
}

fn text_of(at: *const c_char) -> Result<String, nvmlReturn_t> {
    if at.is_null() {
        return Err(NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: the caller's text.
    Ok(unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned())
}

fn handle() -> nvmlDevice_t {
    std::ptr::without_provenance_mut(DEVICE)
}

fn check(device: nvmlDevice_t) -> Result<(), nvmlReturn_t> {
    client()?;
    if device.addr() == DEVICE { Ok(()) } else { Err(NVML_ERROR_INVALID_ARGUMENT) }
}

/// A number that no model has: the same for all.
fn made_up(device: nvmlDevice_t, at: *mut c_uint, value: c_uint) -> Result<(), nvmlReturn_t> {
    check(device)?;
    put(at, value)
}

fn memory() -> Result<nvmlMemory_t, nvmlReturn_t> {
    let [total, used, ..] = ask(Ask::State)?;
    Ok(nvmlMemory_t { total, free: total.saturating_sub(used), used })
}

/// Every process with a context: pid, bytes, percent.
fn processes() -> Result<Vec<(u32, u64, u32)>, nvmlReturn_t> {
    let mut all = Vec::new();
    for index in 0..PROCESSES_MAX {
        let [pid, bytes, busy, ..] = ask(Ask::Process { index })?;
        if pid == 0 {
            break;
        }
        all.push((u32::try_from(pid).unwrap_or(0), bytes, u32::try_from(busy).unwrap_or(0)));
    }
    Ok(all)
}

/// Writes a list whose room the caller has put into `count`.
fn put_list<T>(all: &[T], count: *mut c_uint, at: *mut T) -> Result<(), nvmlReturn_t>
where
    T: Copy,
{
    // SAFETY: the caller's count, if it is there.
    let room = unsafe { count.as_ref() }.copied().ok_or(NVML_ERROR_INVALID_ARGUMENT)?;
    put(count, c_uint::try_from(all.len()).unwrap_or(c_uint::MAX))?;
    if all.len() > room as usize {
        return Err(NVML_ERROR_INSUFFICIENT_SIZE);
    }
    if all.is_empty() {
        return Ok(());
    }
    if at.is_null() {
        return Err(NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: there is room for them, as the caller says.
    unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), at, all.len()) };
    Ok(())
}

fn pci() -> nvmlPciInfo_t {
    let mut info = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: 0,
        bus: 1,
        device: 0,
        // The vendor's number; no product has the other half.
        pciDeviceId: 0x0000_10de,
        pciSubSystemId: 0,
        busId: [0; 32],
    };
    let write = |to: &mut [c_char], text: &str| {
        for (to, byte) in to.iter_mut().zip(text.bytes()) {
            *to = byte.cast_signed();
        }
    };
    write(&mut info.busId, BUS);
    write(&mut info.busIdLegacy, &BUS[4..]);
    info
}

fn process_name(pid: u32) -> Result<String, nvmlReturn_t> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).map_err(|_| NVML_ERROR_NOT_FOUND)?;
    Ok(path.to_string_lossy().into_owned())
}

/// Seconds since 1970 in microseconds: for time stamps of samples.
fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// What an error's number means.
///
/// # Safety
/// None is needed: the text is static.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the API's own")]
pub(crate) extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    let text = match result {
        NVML_SUCCESS => c"Success",
        NVML_ERROR_UNINITIALIZED => c"Uninitialized",
        NVML_ERROR_INVALID_ARGUMENT => c"Invalid Argument",
        NVML_ERROR_NOT_SUPPORTED => c"Not Supported",
        NVML_ERROR_NO_PERMISSION => c"Insufficient Permissions",
        NVML_ERROR_NOT_FOUND => c"Not Found",
        NVML_ERROR_INSUFFICIENT_SIZE => c"Insufficient Size",
        NVML_ERROR_DRIVER_NOT_LOADED => c"Driver Not Loaded",
        NVML_ERROR_GPU_IS_LOST => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

api! {
    fn nvmlInit / nvmlInit_v2() { init() }
    fn nvmlInitWithFlags(_flags: c_uint) { init() }
    fn nvmlShutdown() { client().map(|_| ()) }

    fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) {
        put_text(version, length, "535.261.03")
    }
    fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) {
        put_text(version, length, "12.535.261.03")
    }
    fn nvmlSystemGetCudaDriverVersion / nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) {
        put(version, 12_020)
    }
    fn nvmlSystemGetProcessName(pid: c_uint, name: *mut c_char, length: c_uint) {
        put_text(name, length, &process_name(pid)?)
    }

    fn nvmlDeviceGetCount / nvmlDeviceGetCount_v2(count: *mut c_uint) {
        client()?;
        put(count, 1)
    }
    fn nvmlDeviceGetHandleByIndex / nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) {
        client()?;
        if index == 0 { put(device, handle()) } else { Err(NVML_ERROR_INVALID_ARGUMENT) }
    }
    fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t) {
        client()?;
        if text_of(uuid)? == UUID { put(device, handle()) } else { Err(NVML_ERROR_NOT_FOUND) }
    }
    fn nvmlDeviceGetHandleByPciBusId / nvmlDeviceGetHandleByPciBusId_v2(bus: *const c_char, device: *mut nvmlDevice_t) {
        client()?;
        let wanted = text_of(bus)?;
        let ours = BUS == wanted || BUS[4..] == wanted;
        if ours { put(device, handle()) } else { Err(NVML_ERROR_NOT_FOUND) }
    }
    fn nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) { made_up(device, index, 0) }
    fn nvmlDeviceGetMinorNumber(device: nvmlDevice_t, minor: *mut c_uint) {
        made_up(device, minor, 0)
    }
    fn nvmlDeviceGetName(device: nvmlDevice_t, name: *mut c_char, length: c_uint) {
        check(device)?;
        put_text(name, length, model()?.name)
    }
    fn nvmlDeviceGetUUID(device: nvmlDevice_t, uuid: *mut c_char, length: c_uint) {
        check(device)?;
        put_text(uuid, length, UUID)
    }
    fn nvmlDeviceGetPciInfo / nvmlDeviceGetPciInfo_v2(device: nvmlDevice_t, info: *mut nvmlPciInfo_t) {
        check(device)?;
        put(info, pci())
    }
    fn nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, info: *mut nvmlPciInfo_t) {
        check(device)?;
        put(info, pci())
    }
    fn nvmlDeviceGetBrand(device: nvmlDevice_t, kind: *mut c_uint) { made_up(device, kind, 0) }
    fn nvmlDeviceGetCudaComputeCapability(device: nvmlDevice_t, major: *mut c_int, minor: *mut c_int) {
        check(device)?;
        let (of, and) = model()?.capability;
        put(major, c_int::try_from(of).unwrap_or(0))?;
        put(minor, c_int::try_from(and).unwrap_or(0))
    }

    fn nvmlDeviceGetMemoryInfo(device: nvmlDevice_t, info: *mut nvmlMemory_t) {
        check(device)?;
        put(info, memory()?)
    }
    fn nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, info: *mut nvmlMemory_v2_t) {
        check(device)?;
        // SAFETY: the caller's own, in which it has put the version.
        let version = unsafe { info.as_ref() }.ok_or(NVML_ERROR_INVALID_ARGUMENT)?.version;
        let nvmlMemory_t { total, free, used } = memory()?;
        put(info, nvmlMemory_v2_t { version, total, reserved: 0, free, used })
    }
    fn nvmlDeviceGetBAR1MemoryInfo(device: nvmlDevice_t, info: *mut nvmlBAR1Memory_t) {
        check(device)?;
        let total = model()?.memory_bytes.next_power_of_two();
        put(info, nvmlBAR1Memory_t { bar1Total: total, bar1Free: total, bar1Used: 0 })
    }
    fn nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, rates: *mut nvmlUtilization_t) {
        check(device)?;
        let gpu = c_uint::try_from(ask(Ask::State)?[2]).unwrap_or(100);
        put(rates, nvmlUtilization_t { gpu, memory: 0 })
    }
    fn nvmlDeviceGetProcessUtilization(device: nvmlDevice_t, samples: *mut nvmlProcessUtilizationSample_t, count: *mut c_uint, _since: u64) {
        check(device)?;
        let sample = |&(pid, _, busy): &(u32, u64, u32)| nvmlProcessUtilizationSample_t {
            pid,
            timeStamp: now_us(),
            smUtil: busy,
            memUtil: 0,
            encUtil: 0,
            decUtil: 0,
        };
        let all: Vec<_> = processes()?.iter().map(sample).collect();
        if all.is_empty() {
            return Err(NVML_ERROR_NOT_FOUND);
        }
        put_list(&all, count, samples)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v3(device: nvmlDevice_t, count: *mut c_uint, infos: *mut nvmlProcessInfo_t) {
        check(device)?;
        let info = |&(pid, bytes, _): &(u32, u64, u32)| nvmlProcessInfo_t {
            pid,
            usedGpuMemory: bytes,
            gpuInstanceId: c_uint::MAX,
            computeInstanceId: c_uint::MAX,
        };
        put_list(&processes()?.iter().map(info).collect::<Vec<_>>(), count, infos)
    }
    fn nvmlDeviceGetGraphicsRunningProcesses_v3(device: nvmlDevice_t, count: *mut c_uint, infos: *mut nvmlProcessInfo_t) {
        check(device)?;
        put_list(&[], count, infos)
    }
    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(device: nvmlDevice_t, count: *mut c_uint, infos: *mut nvmlProcessInfo_t) {
        check(device)?;
        put_list(&[], count, infos)
    }

    fn nvmlDeviceGetCurrentClocksEventReasons / nvmlDeviceGetCurrentClocksThrottleReasons(device: nvmlDevice_t, reasons: *mut u64) {
        check(device)?;
        put(reasons, ask(Ask::State)?[4])
    }
    fn nvmlDeviceGetTemperature(device: nvmlDevice_t, _sensor: c_uint, degrees: *mut c_uint) {
        made_up(device, degrees, 40)
    }
    fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, milliwatts: *mut c_uint) {
        made_up(device, milliwatts, 100_000)
    }
    fn nvmlDeviceGetEnforcedPowerLimit(device: nvmlDevice_t, milliwatts: *mut c_uint) {
        made_up(device, milliwatts, 500_000)
    }
    fn nvmlDeviceGetPowerManagementLimit(device: nvmlDevice_t, milliwatts: *mut c_uint) {
        made_up(device, milliwatts, 500_000)
    }
    fn nvmlDeviceGetPowerManagementMode(device: nvmlDevice_t, mode: *mut c_uint) {
        made_up(device, mode, 1)
    }
    fn nvmlDeviceGetPerformanceState(device: nvmlDevice_t, state: *mut c_uint) {
        made_up(device, state, 0)
    }
    fn nvmlDeviceGetPersistenceMode(device: nvmlDevice_t, mode: *mut c_uint) {
        made_up(device, mode, 1)
    }
    fn nvmlDeviceGetComputeMode(device: nvmlDevice_t, mode: *mut c_uint) {
        made_up(device, mode, 0)
    }
    fn nvmlDeviceGetDisplayActive(device: nvmlDevice_t, active: *mut c_uint) {
        made_up(device, active, 0)
    }
    fn nvmlDeviceGetDisplayMode(device: nvmlDevice_t, mode: *mut c_uint) {
        made_up(device, mode, 0)
    }
    fn nvmlDeviceGetClockInfo(device: nvmlDevice_t, _kind: c_uint, megahertz: *mut c_uint) {
        made_up(device, megahertz, 1_500)
    }
    fn nvmlDeviceGetMaxClockInfo(device: nvmlDevice_t, _kind: c_uint, megahertz: *mut c_uint) {
        made_up(device, megahertz, 1_500)
    }
    fn nvmlDeviceGetEccMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
        made_up(device, current, 1)?;
        put(pending, 1)
    }
    fn nvmlDeviceGetTotalEccErrors(device: nvmlDevice_t, kind: c_uint, _counter: c_uint, count: *mut u64) {
        check(device)?;
        let xids = ask(Ask::State)?[3];
        // Of those that cannot be corrected.
        put(count, if kind == 1 { xids } else { 0 })
    }
}
