//! What is answered.

use crate::script::{State, ask, client, init, is_lost, model, state, xid};
use polder_gpuapi::nvml::consts::*;
use polder_gpuapi::nvml::types::*;
use polder_standin_host::Ask;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    (fn $a:ident / $b:ident $args:tt $body:block $($rest:tt)*) => {
        api!(fn $a $args $body fn $b $args $body $($rest)*);
    };
    (fn $a:ident / $b:ident / $c:ident $args:tt $body:block $($rest:tt)*) => {
        api!(fn $a $args $body fn $b $args $body fn $c $args $body $($rest)*);
    };
    (fn $a:ident / $b:ident / $c:ident / $d:ident $args:tt $body:block $($rest:tt)*) => {
        api!(fn $a / $b $args $body fn $c / $d $args $body $($rest)*);
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

/// A device that has fallen off answers nothing.
fn check_there(device: nvmlDevice_t) -> Result<(), nvmlReturn_t> {
    check(device)?;
    if is_lost()? { Err(NVML_ERROR_GPU_IS_LOST) } else { Ok(()) }
}

/// What a waiting program is told: the layout is the API's.
#[repr(C)]
struct EventData {
    device: nvmlDevice_t,
    kind: u64,
    data: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

/// Events that a program waits for: faults of the device from the moment on at which it was put in.
struct Events {
    /// The place of the next, once the device is in the set.
    next: Mutex<Option<u64>>,
}

/// The bit of faults among kinds of events.
const XID_EVENTS: u64 = 8;
/// Between two looks at the device while a program waits.
const EVENT_LOOK: Duration = Duration::from_millis(5);

/// The set of a handle; sets are never freed, so a handle of this process is one for good.
fn events(set: nvmlEventSet_t) -> Result<&'static Events, nvmlReturn_t> {
    // SAFETY: null, or what `nvmlEventSetCreate` gave.
    unsafe { set.cast::<Events>().as_ref() }.ok_or(NVML_ERROR_INVALID_ARGUMENT)
}

/// A number that no model has: the same for all.
fn made_up(device: nvmlDevice_t, at: *mut c_uint, value: c_uint) -> Result<(), nvmlReturn_t> {
    check(device)?;
    put(at, value)
}

fn memory() -> Result<nvmlMemory_t, nvmlReturn_t> {
    let State { memory_total: total, memory_used: used, .. } = state()?;
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
    fn nvmlDeviceGetPciInfo / nvmlDeviceGetPciInfo_v2 / nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, info: *mut nvmlPciInfo_t) {
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
    fn nvmlDeviceGetNumGpuCores(device: nvmlDevice_t, cores: *mut c_uint) {
        check(device)?;
        let model = model()?;
        // Of the models there are; others of those generations have as many.
        let each = if matches!(model.capability, (7, _) | (8, 0)) { 64 } else { 128 };
        put(cores, model.sms * each)
    }

    fn nvmlDeviceGetMemoryInfo(device: nvmlDevice_t, info: *mut nvmlMemory_t) {
        check_there(device)?;
        put(info, memory()?)
    }
    fn nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, info: *mut nvmlMemory_v2_t) {
        check_there(device)?;
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
        check_there(device)?;
        put(rates, nvmlUtilization_t { gpu: state()?.busy, memory: 0 })
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
        check_there(device)?;
        let info = |&(pid, bytes, _): &(u32, u64, u32)| nvmlProcessInfo_t {
            pid,
            usedGpuMemory: bytes,
            gpuInstanceId: c_uint::MAX,
            computeInstanceId: c_uint::MAX,
        };
        put_list(&processes()?.iter().map(info).collect::<Vec<_>>(), count, infos)
    }
    fn nvmlDeviceGetGraphicsRunningProcesses_v3 / nvmlDeviceGetMPSComputeRunningProcesses_v3(device: nvmlDevice_t, count: *mut c_uint, infos: *mut nvmlProcessInfo_t) {
        check(device)?;
        put_list(&[], count, infos)
    }

    fn nvmlDeviceGetCurrentClocksEventReasons / nvmlDeviceGetCurrentClocksThrottleReasons(device: nvmlDevice_t, reasons: *mut u64) {
        check_there(device)?;
        put(reasons, state()?.reasons)
    }
    fn nvmlDeviceGetTemperature(device: nvmlDevice_t, _sensor: c_uint, degrees: *mut c_uint) {
        made_up(device, degrees, 40)
    }
    fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, milliwatts: *mut c_uint) {
        made_up(device, milliwatts, 100_000)
    }
    fn nvmlDeviceGetEnforcedPowerLimit / nvmlDeviceGetPowerManagementLimit(device: nvmlDevice_t, milliwatts: *mut c_uint) {
        made_up(device, milliwatts, 500_000)
    }
    fn nvmlDeviceGetPowerManagementMode / nvmlDeviceGetPersistenceMode(device: nvmlDevice_t, mode: *mut c_uint) {
        made_up(device, mode, 1)
    }
    fn nvmlDeviceGetPerformanceState / nvmlDeviceGetComputeMode / nvmlDeviceGetDisplayActive / nvmlDeviceGetDisplayMode(device: nvmlDevice_t, value: *mut c_uint) {
        made_up(device, value, 0)
    }
    fn nvmlDeviceGetClockInfo / nvmlDeviceGetMaxClockInfo(device: nvmlDevice_t, _kind: c_uint, megahertz: *mut c_uint) {
        made_up(device, megahertz, 1_500)
    }
    fn nvmlDeviceGetEccMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
        made_up(device, current, 1)?;
        put(pending, 1)
    }
    fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) {
        client()?;
        let events = Box::leak(Box::new(Events { next: Mutex::new(None) }));
        put(set, std::ptr::from_mut(events).cast())
    }
    fn nvmlEventSetFree(set: nvmlEventSet_t) { events(set).map(|_| ()) }
    fn nvmlDeviceRegisterEvents(device: nvmlDevice_t, kinds: u64, set: nvmlEventSet_t) {
        check(device)?;
        if kinds & !XID_EVENTS != 0 {
            return Err(NVML_ERROR_NOT_SUPPORTED);
        }
        let mut next = events(set)?.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(state()?.xids);
        Ok(())
    }
    fn nvmlEventSetWait / nvmlEventSetWait_v2(set: nvmlEventSet_t, data: *mut c_void, milliseconds: c_uint) {
        let until = Instant::now() + Duration::from_millis(milliseconds.into());
        let mut next = events(set)?.next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(index) = *next && let Some(number) = xid(index)? {
                *next = Some(index + 1);
                let (device, none) = (handle(), c_uint::MAX);
                let event = EventData {
                    device,
                    kind: XID_EVENTS,
                    data: number,
                    gpu_instance: none,
                    compute_instance: none,
                };
                return put(data.cast(), event);
            }
            if Instant::now() >= until {
                return Err(NVML_ERROR_TIMEOUT);
            }
            std::thread::sleep(EVENT_LOOK);
        }
    }
    fn nvmlDeviceGetTotalEccErrors(device: nvmlDevice_t, kind: c_uint, _counter: c_uint, count: *mut u64) {
        check(device)?;
        let xids = state()?.xids;
        // Of those that cannot be corrected.
        put(count, if kind == 1 { xids } else { 0 })
    }
}
