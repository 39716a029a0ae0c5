//! `reader LIBRARY`: reads any `libnvidia-ml.so.1` with bindings that nobody here wrote.

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use std::process::ExitCode;

fn read(library: &str) -> Result<(), NvmlError> {
    let nvml = Nvml::builder().lib_path(library.as_ref()).init()?;
    println!("driver {} count {}", nvml.sys_driver_version()?, nvml.device_count()?);
    let device = nvml.device_by_index(0)?;
    let (memory, pci) = (device.memory_info()?, device.pci_info()?);
    println!("{} {} {}", device.name()?, device.uuid()?, pci.bus_id);
    println!("memory {} {}", memory.total >> 20, memory.used >> 20);
    println!("busy {}", device.utilization_rates()?.gpu);
    for process in device.running_compute_processes()? {
        let UsedGpuMemory::Used(bytes) = process.used_gpu_memory else { continue };
        println!("process {} {}", process.pid, bytes >> 20);
    }
    for sample in device.process_utilization_stats(0)? {
        println!("sample {} {}", sample.pid, sample.sm_util);
    }
    let lacking = device.fan_speed(0);
    println!("no code for it: {}", matches!(lacking, Err(NvmlError::NotSupported)));
    Ok(())
}

fn main() -> ExitCode {
    let library = std::env::args().nth(1).unwrap_or_default();
    match read(&library) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
