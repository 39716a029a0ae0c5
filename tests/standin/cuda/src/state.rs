//! What the process knows of its device.

use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::CUresult;
use polder_standin::{MODELS, Model};
use polder_standin_host::{Ask, Client};
use std::sync::{Mutex, MutexGuard, PoisonError};

static CLIENT: Mutex<Option<(u32, &'static Client)>> = Mutex::new(None);

/// A lock whose poison is ignored.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects to the device. A child has to begin anew.
pub(crate) fn init() -> Result<(), CUresult> {
    let pid = std::process::id();
    let mut client = lock(&CLIENT);
    if client.is_some_and(|(of, _)| of == pid) {
        return Ok(());
    }
    let path = crate::script::socket().ok_or(CUDA_ERROR_NO_DEVICE)?;
    let new = Client::connect(&path, pid).map_err(|_| CUDA_ERROR_NO_DEVICE)?;
    // For the life of the process, as the driver's own connection.
    *client = Some((pid, Box::leak(Box::new(new))));
    Ok(())
}

/// The device, after `cuInit`. While the process is locked, calls wait here.
pub(crate) fn client() -> Result<&'static Client, CUresult> {
    let client = connected()?;
    client.wait_unlocked();
    Ok(client)
}

/// The way to the device, locked or not.
pub(crate) fn connected() -> Result<&'static Client, CUresult> {
    let client = *lock(&CLIENT);
    match client {
        Some((pid, client)) if pid == std::process::id() => Ok(client),
        _ => Err(CUDA_ERROR_NOT_INITIALIZED),
    }
}

/// The device while the context is well.
pub(crate) fn device() -> Result<&'static Client, CUresult> {
    let client = client()?;
    match client.fault() {
        0 => Ok(client),
        31 => Err(CUDA_ERROR_ILLEGAL_ADDRESS),
        48 => Err(CUDA_ERROR_ECC_UNCORRECTABLE),
        _ => Err(CUDA_ERROR_LAUNCH_FAILED),
    }
}

/// Asks the host; one that is gone is a device that is gone.
pub(crate) fn ask(client: &Client, what: Ask) -> Result<[u64; 9], CUresult> {
    client.ask(what).map_err(|_| CUDA_ERROR_UNKNOWN)
}

/// Tells the host.
pub(crate) fn tell(client: &Client, what: Ask) -> Result<(), CUresult> {
    client.tell(what).map_err(|_| CUDA_ERROR_UNKNOWN)
}

/// The model of the device.
pub(crate) fn model(client: &Client) -> &'static Model {
    MODELS.get(client.info().model).copied().unwrap_or(MODELS[0])
}
