//! The device, and what the environment says of how the stand-in behaves: `STANDIN_SOCKET` and
//! `STANDIN_LOG` as in the stand-in CUDA driver, and `STANDIN_NVML_FAIL` (`NAME:CODE`, several
//! divided by commas).

use polder_gpuapi::nvml::consts::*;
use polder_gpuapi::nvml::types::nvmlReturn_t;
use polder_standin::{MODELS, Model};
use polder_standin_host::{Ask, Client};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

static CLIENT: Mutex<Option<(u32, &'static Client)>> = Mutex::new(None);

/// A call begins: it is logged, and told to fail where the script says so.
pub(crate) fn begins(name: &str) -> Option<nvmlReturn_t> {
    if let Some(path) = std::env::var_os("STANDIN_LOG") {
        let log = std::fs::File::options().append(true).create(true).open(path);
        if let Ok(mut log) = log {
            // One write, so that lines of several processes do not mix; a full disk fails no call.
            let _ = log.write_all(format!("{name}\n").as_bytes());
        }
    }
    static FAILS: OnceLock<String> = OnceLock::new();
    let fails = FAILS.get_or_init(|| std::env::var("STANDIN_NVML_FAIL").unwrap_or_default());
    let codes = fails.split(',').filter_map(|word| word.split_once(':'));
    codes.filter(|(of, _)| *of == name).find_map(|(_, code)| code.parse().ok())
}

/// A call that the stand-in has no code for.
pub(crate) fn lacking(name: &str) -> nvmlReturn_t {
    begins(name).unwrap_or(NVML_ERROR_NOT_SUPPORTED)
}

/// Connects to the device.
pub(crate) fn init() -> Result<(), nvmlReturn_t> {
    let pid = std::process::id();
    let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
    if client.is_some_and(|(of, _)| of == pid) {
        return Ok(());
    }
    let path = std::env::var_os("STANDIN_SOCKET").map(PathBuf::from);
    let path = path.ok_or(NVML_ERROR_DRIVER_NOT_LOADED)?;
    let new = Client::connect(&path, pid).map_err(|_| NVML_ERROR_DRIVER_NOT_LOADED)?;
    // For the life of the process: programs begin and end NVML many times.
    *client = Some((pid, Box::leak(Box::new(new))));
    Ok(())
}

/// The device, after the library was initialised.
pub(crate) fn client() -> Result<&'static Client, nvmlReturn_t> {
    let client = *CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
    match client {
        Some((pid, client)) if pid == std::process::id() => Ok(client),
        _ => Err(NVML_ERROR_UNINITIALIZED),
    }
}

/// Asks the host; one that is gone is a device that is gone.
pub(crate) fn ask(what: Ask) -> Result<[u64; 9], nvmlReturn_t> {
    client()?.ask(what).map_err(|_| NVML_ERROR_GPU_IS_LOST)
}

/// The model of the device.
pub(crate) fn model() -> Result<&'static Model, nvmlReturn_t> {
    Ok(MODELS.get(client()?.info().model).copied().unwrap_or(MODELS[0]))
}
