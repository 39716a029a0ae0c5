//! Contexts: only on the lease's devices, and what lived in one ends with it.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::real::real;
use crate::{own, own_runs, view};
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_driver::state::PerProcess;
use polder_gpuapi::cuda::{consts::*, types::*};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Mutex;

/// The devices' primary contexts that the program has asked for.
static PRIMARY: PerProcess<Mutex<BTreeMap<CUdevice, usize>>> = PerProcess::new();

/// Calls the driver for a device of the lease.
fn on(device: CUdevice, call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let shown = view::devices();
        if !shown.is_empty() && view::lease_device(device).is_none() {
            return CUDA_ERROR_INVALID_DEVICE;
        }
        let result = inside::accounted(call);
        own_runs::context_is(view::context());
        result
    })
}

/// Calls the driver for something that may make another context current.
fn switch(call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = inside::accounted(call);
        own_runs::context_is(view::context());
        result
    })
}

fn forget(context: usize) {
    own::get().flights.forget_context(context);
    own::get().memory.forget_context(context);
}

fn destroy(context: CUcontext, call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = inside::accounted(call);
        if result == CUDA_SUCCESS {
            forget(context.addr());
        }
        own_runs::context_is(view::context());
        result
    })
}

/// Calls the driver for something that may end a device's primary context.
fn primary(device: CUdevice, call: impl FnOnce() -> CUresult) -> CUresult {
    on(device, || {
        let result = call();
        let (mut flags, mut active) = (0, 0);
        let known = real!(cuDevicePrimaryCtxGetState(device, &raw mut flags, &raw mut active));
        if result == CUDA_SUCCESS && known == CUDA_SUCCESS && active == 0 {
            let gone = lock(PRIMARY.get()).remove(&device);
            gone.into_iter().for_each(forget);
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuDevicePrimaryCtxRetain(
    context: *mut CUcontext,
    device: CUdevice,
) -> CUresult {
    on(device, || {
        let result = real!(cuDevicePrimaryCtxRetain(context, device));
        if result == CUDA_SUCCESS && !context.is_null() {
            // SAFETY: the driver has just written there.
            let context = unsafe { context.read() };
            lock(PRIMARY.get()).insert(device, context.addr());
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuCtxSetCurrent(context: CUcontext) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = inside::accounted(|| real!(cuCtxSetCurrent(context)));
        let now = if result == CUDA_SUCCESS { context.addr() } else { view::context() };
        own_runs::context_is(now);
        result
    })
}

macro_rules! switches {
    ($($name:ident($arg:ident: $ty:ty);)*) => {$(
        pub(super) unsafe extern "C" fn $name($arg: $ty) -> CUresult {
            switch(|| real!($name($arg)))
        }
    )*};
}
switches! {
    cuCtxPushCurrent(context: CUcontext);
    cuCtxPushCurrent_v2(context: CUcontext);
    cuCtxPopCurrent(context: *mut CUcontext);
    cuCtxPopCurrent_v2(context: *mut CUcontext);
    cuCtxDetach(context: CUcontext);
}

pub(super) unsafe extern "C" fn cuCtxAttach(context: *mut CUcontext, flags: c_uint) -> CUresult {
    switch(|| real!(cuCtxAttach(context, flags)))
}

macro_rules! hooks {
    ($($name:ident($($arg:ident: $ty:ty),*) by $way:ident($subject:ident);)*) => {$(
        pub(super) unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            $way($subject, || real!($name($($arg),*)))
        }
    )*};
}
hooks! {
    cuCtxCreate(context: *mut CUcontext, flags: c_uint, device: CUdevice) by on(device);
    cuCtxCreate_v2(context: *mut CUcontext, flags: c_uint, device: CUdevice) by on(device);
    cuCtxCreate_v3(context: *mut CUcontext, affinity: *mut c_void, count: c_int, flags: c_uint,
        device: CUdevice) by on(device);
    cuCtxCreate_v4(context: *mut CUcontext, wishes: *mut c_void, flags: c_uint, device: CUdevice)
        by on(device);
    cuGreenCtxCreate(context: *mut CUgreenCtx, resources: CUdevResourceDesc, device: CUdevice,
        flags: c_uint) by on(device);
    cuCtxDestroy(context: CUcontext) by destroy(context);
    cuCtxDestroy_v2(context: CUcontext) by destroy(context);
    cuDevicePrimaryCtxRelease(device: CUdevice) by primary(device);
    cuDevicePrimaryCtxRelease_v2(device: CUdevice) by primary(device);
    cuDevicePrimaryCtxReset(device: CUdevice) by primary(device);
    cuDevicePrimaryCtxReset_v2(device: CUdevice) by primary(device);
}
