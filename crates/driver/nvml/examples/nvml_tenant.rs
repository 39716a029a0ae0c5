//! `nvml_tenant LIBRARY`: a tenant's monitor, with bindings that nobody here wrote (`nvml-wrapper`); what
//! they do not wrap is called by its C name.
#![allow(unsafe_code)] // a C library
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use polder_gpuapi::nvml::{pfn, types::*};
use std::ffi::{CStr, c_char};
use std::process::ExitCode;
use std::ptr::null_mut;

fn read(library: &str) -> Result<(), NvmlError> {
    let nvml = Nvml::builder().lib_path(library.as_ref()).init()?;
    println!("count {}", nvml.device_count()?);
    let device = nvml.device_by_index(0)?;
    let (uuid, bus) = (device.uuid()?, device.pci_info()?.bus_id);
    println!("{} {uuid} index {}", device.name()?, device.index()?);
    println!("by uuid {}", nvml.device_by_uuid(uuid.as_str())?.index()?);
    println!("by bus {}", nvml.device_by_pci_bus_id(bus.as_str())?.index()?);
    println!("beyond {:?}", nvml.device_by_index(1).err());
    println!("another's {:?}", nvml.device_by_uuid("GPU-0").err());
    let memory = device.memory_info()?;
    println!("memory {} {} {}", memory.total >> 20, memory.used >> 20, memory.free >> 20);
    for process in device.running_compute_processes()? {
        let UsedGpuMemory::Used(bytes) = process.used_gpu_memory else { continue };
        println!("process {} {}", process.pid, bytes >> 20);
    }
    println!("graphics {}", device.running_graphics_processes()?.len());
    println!("busy {}", device.utilization_rates()?.gpu);
    match device.process_utilization_stats(0) {
        Ok(samples) => {
            samples.iter().for_each(|one| println!("sample {} {}", one.pid, one.sm_util))
        }
        Err(error) => println!("samples {error:?}"),
    }
    println!("encoder {:?}", device.encoder_utilization().err());
    let mut device = nvml.device_by_index(0)?;
    println!("limit {:?}", device.set_power_management_limit(100_000).err());
    println!("clocks {:?}", device.reset_gpu_locked_clocks().err());
    println!("celsius {}", device.temperature(TemperatureSensor::Gpu)?);
    Ok(())
}

/// The oldest variants, which the bindings no longer call.
fn oldest(library: &str) -> Result<(), libloading::Error> {
    // SAFETY: the library under test; each function is called as the table says.
    unsafe {
        let nvml = libloading::Library::new(library)?;
        let init = nvml.get::<pfn::nvmlInit>(c"nvmlInit")?;
        let count = nvml.get::<pfn::nvmlDeviceGetCount>(c"nvmlDeviceGetCount")?;
        let by_index =
            nvml.get::<pfn::nvmlDeviceGetHandleByIndex>(c"nvmlDeviceGetHandleByIndex")?;
        let memory = nvml.get::<pfn::nvmlDeviceGetMemoryInfo>(c"nvmlDeviceGetMemoryInfo")?;
        let processes = c"nvmlDeviceGetComputeRunningProcesses";
        let processes = nvml.get::<pfn::nvmlDeviceGetComputeRunningProcesses>(processes)?;
        let text = nvml.get::<unsafe extern "C" fn(u32) -> *const c_char>(c"nvmlErrorString")?;
        println!("too early {}", count(null_mut()));
        let code = init();
        println!("init {code}: {}", CStr::from_ptr(text(code)).to_string_lossy());
        let (mut devices, mut device) = (0, null_mut());
        println!("count {} {devices}", count(&raw mut devices));
        println!("handle {}", by_index(0, &raw mut device));
        let mut info = nvmlMemory_t { total: 0, free: 0, used: 0 };
        println!("memory {} {}", memory(device, &raw mut info), info.total >> 20);
        let (mut room, mut one) = (0, nvmlProcessInfo_v1_t { pid: 0, usedGpuMemory: 0 });
        let code = processes(device, &raw mut room, null_mut());
        println!("processes {code} {room}");
        room = 1;
        let code = processes(device, &raw mut room, &raw mut one);
        println!("process {code} {} {}", one.pid, one.usedGpuMemory >> 20);
        println!("nowhere to write {}", count(null_mut()));
        println!("no handle {}", memory(null_mut(), &raw mut info));
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let library = arguments.next().unwrap_or_default();
    if arguments.next().as_deref() == Some("oldest") {
        return oldest(&library).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    match read(&library) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}
