//! The lease's devices among those that the vendor's driver counts, known by their UUIDs: an ordinal
//! depends on the process's environment, and a tenant may set that as it likes.
#![allow(unsafe_code)] // asking the vendor

use crate::real::real;
use polder_driver::state::{self, PerProcess};
use polder_gpuapi::cuda::{consts::*, types::*};
use polder_ledger::memory::held;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// Most devices of the driver that are looked at.
const DEVICES_LOOKED_AT: i32 = 256;

/// A device that the program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// What the driver calls it.
    pub(crate) handle: CUdevice,
    /// Its place in the lease.
    pub(crate) lease: usize,
}

static VIEW: PerProcess<OnceLock<Vec<Shown>>> = PerProcess::new();

/// The lease's devices, in the order in which the driver counts them; none before `cuInit`.
pub(crate) fn devices() -> &'static [Shown] {
    let view = VIEW.get();
    if let Some(shown) = view.get() {
        return shown;
    }
    match look() {
        Some(shown) => view.get_or_init(|| shown),
        None => &[],
    }
}

fn look() -> Option<Vec<Shown>> {
    let attachment = state::get().attachment.as_ref()?;
    let mut count = 0;
    if real!(cuDeviceGetCount(&raw mut count)) != CUDA_SUCCESS {
        return None;
    }
    let mut shown = Vec::new();
    for ordinal in 0..count.min(DEVICES_LOOKED_AT) {
        let (mut handle, mut uuid) = (0, CUuuid { bytes: [0; 16] });
        if real!(cuDeviceGet(&raw mut handle, ordinal)) != CUDA_SUCCESS
            || real!(cuDeviceGetUuid(&raw mut uuid, handle)) != CUDA_SUCCESS
        {
            continue;
        }
        let of_lease = attachment
            .routes()
            .iter()
            .position(|route| route.cuda.as_ref().is_some_and(|cuda| cuda.uuid == uuid.bytes));
        shown.extend(of_lease.map(|lease| Shown { handle, lease }));
    }
    Some(shown)
}

/// The place in the lease of what the driver calls `handle`; none for somebody else's device.
pub(crate) fn lease_device(handle: CUdevice) -> Option<usize> {
    devices().iter().find(|shown| shown.handle == handle).map(|shown| shown.lease)
}

/// The device of the thread's current context.
pub(crate) fn current() -> Option<usize> {
    let mut handle = 0;
    let known = real!(cuCtxGetDevice(&raw mut handle));
    (known == CUDA_SUCCESS).then(|| lease_device(handle)).flatten()
}

/// The thread's current context; null when there is none.
pub(crate) fn context() -> usize {
    let mut context: CUcontext = std::ptr::null_mut();
    real!(cuCtxGetCurrent(&raw mut context));
    context.expose_provenance()
}

/// The lease's memory on its device, and what is free of that, in bytes.
pub(crate) fn slice(device: usize) -> (u64, u64) {
    let Some(attachment) = &state::get().attachment else { return (0, 0) };
    (attachment.limits().memory(device), room(device))
}

/// What the lease may still allocate of a row of its limits, in bytes.
fn room(row: usize) -> u64 {
    let Some(attachment) = &state::get().attachment else { return 0 };
    let limit = attachment.limits().device[row].memory_max.load(Ordering::Relaxed);
    limit.saturating_sub(held(attachment.usage(), row))
}

/// What the lease may hold of the host memory behind its device, and what is free of that, bytes.
pub(crate) fn behind(device: usize) -> (u64, u64) {
    let Some(attachment) = &state::get().attachment else { return (0, 0) };
    let limits = attachment.limits();
    let Some(row) = limits.backing_row(device) else { return (0, 0) };
    (limits.device[row].memory_max.load(Ordering::Relaxed), room(row))
}
