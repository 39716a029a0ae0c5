//! The device, and what the environment says of how the stand-in behaves: `STANDIN_SOCKET` (or, where
//! only usual variables pass, `standin-device` in the folder `TMPDIR`) and `STANDIN_LOG` as in the
//! stand-in CUDA driver, and `STANDIN_NVML_FAIL` (`NAME:CODE`, several
//! divided by commas).

use polder_gpuapi::nvml::consts::*;
use polder_gpuapi::nvml::types::nvmlReturn_t;
use polder_standin::{Fault, MODELS, Model};
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
    let beside = || Some(PathBuf::from(std::env::var_os("TMPDIR")?).join("standin-device"));
    let path = std::env::var_os("STANDIN_SOCKET").map(PathBuf::from).or_else(beside);
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

/// What the device says of itself now.
pub(crate) struct State {
    pub(crate) memory_total: u64,
    pub(crate) memory_used: u64,
    /// Per cent of the last second.
    pub(crate) busy: u32,
    /// Faults so far.
    pub(crate) xids: u64,
    /// Why it runs slower than it could.
    pub(crate) reasons: u64,
}

/// Asks for all of it.
pub(crate) fn state() -> Result<State, nvmlReturn_t> {
    let [memory_total, memory_used, busy, xids, reasons, ..] = ask(Ask::State)?;
    let busy = u32::try_from(busy).unwrap_or(100);
    Ok(State { memory_total, memory_used, busy, xids, reasons })
}

/// The fault at this place among all so far, if there is one.
pub(crate) fn xid(index: u64) -> Result<Option<u64>, nvmlReturn_t> {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let [xid, ..] = ask(Ask::Xid { index })?;
    Ok((xid != 0).then_some(xid))
}

/// Whether it has fallen off the bus.
pub(crate) fn is_lost() -> Result<bool, nvmlReturn_t> {
    let fallen = u64::from(Fault::FellOff.xid());
    for index in 0..state()?.xids {
        if xid(index)? == Some(fallen) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The model of the device.
pub(crate) fn model() -> Result<&'static Model, nvmlReturn_t> {
    Ok(MODELS.get(client()?.info().model).copied().unwrap_or(MODELS[0]))
}
