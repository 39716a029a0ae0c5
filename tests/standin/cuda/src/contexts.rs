//! Contexts. All contexts of a process are one on the stand-in device.

use crate::api::{put, put_if};
use crate::state::{ask, client, device, lock, tell};
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::*;
use polder_standin_host::Ask;
use std::cell::RefCell;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Mutex;

/// Handles given out and not destroyed; the primary context is the first.
static LIVE: Mutex<(u32, usize)> = Mutex::new((0, PRIMARY));
const PRIMARY: usize = 0x1000;

thread_local! {
    static STACK: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn opened() -> Result<(), CUresult> {
    let code = ask(client()?, Ask::Open)?[0];
    match code {
        0 => Ok(()),
        1 => Err(CUDA_ERROR_OUT_OF_MEMORY),
        _ => Err(CUDA_ERROR_LAUNCH_FAILED),
    }
}

fn handle(value: usize) -> CUcontext {
    std::ptr::without_provenance_mut(value)
}

fn push(context: usize) {
    STACK.with_borrow_mut(|stack| stack.push(context));
}

fn created(pctx: *mut CUcontext) -> Result<(), CUresult> {
    opened()?;
    let mut live = lock(&LIVE);
    live.1 += 16;
    let new = live.1;
    push(new);
    put(pctx, handle(new))
}

/// Something is current, so that work may be given.
pub(crate) fn current() -> Result<usize, CUresult> {
    STACK
        .with_borrow(|stack| stack.last().copied())
        .filter(|it| *it != 0)
        .ok_or(CUDA_ERROR_INVALID_CONTEXT)
}

api! { |own|
    fn cuCtxCreate_v2(pctx: *mut CUcontext, _flags: c_uint, _dev: CUdevice) {
        created(pctx)
    }

    fn cuCtxCreate_v4(pctx: *mut CUcontext, _params: *mut c_void, _flags: c_uint, _dev: CUdevice) {
        created(pctx)
    }

    fn cuCtxDestroy_v2(ctx: CUcontext) {
        client()?;
        STACK.with_borrow_mut(|stack| stack.retain(|it| *it != ctx.addr()));
        Ok(())
    }

    fn cuDevicePrimaryCtxRetain(pctx: *mut CUcontext, _dev: CUdevice) {
        opened()?;
        lock(&LIVE).0 += 1;
        put(pctx, handle(PRIMARY))
    }

    fn cuDevicePrimaryCtxRelease_v2(_dev: CUdevice) {
        let mut live = lock(&LIVE);
        live.0 = live.0.checked_sub(1).ok_or(CUDA_ERROR_INVALID_CONTEXT)?;
        Ok(())
    }

    fn cuDevicePrimaryCtxReset_v2(_dev: CUdevice) {
        lock(&LIVE).0 = 0;
        tell(client()?, Ask::Close)
    }

    fn cuDevicePrimaryCtxGetState(_dev: CUdevice, flags: *mut c_uint, active: *mut c_int) {
        client()?;
        put_if(flags, 0);
        put(active, (lock(&LIVE).0 > 0).into())
    }

    fn cuCtxGetCurrent(pctx: *mut CUcontext) {
        client()?;
        put(pctx, handle(STACK.with_borrow(|stack| stack.last().copied().unwrap_or(0))))
    }

    fn cuCtxSetCurrent(ctx: CUcontext) {
        client()?;
        STACK.with_borrow_mut(|stack| {
            stack.pop();
            stack.push(ctx.addr());
        });
        Ok(())
    }

    fn cuCtxPushCurrent_v2(ctx: CUcontext) {
        client()?;
        push(ctx.addr());
        Ok(())
    }

    fn cuCtxPopCurrent_v2(pctx: *mut CUcontext) {
        let top = STACK.with_borrow_mut(Vec::pop).ok_or(CUDA_ERROR_INVALID_CONTEXT)?;
        put_if(pctx, handle(top));
        Ok(())
    }

    fn cuCtxGetDevice(device: *mut CUdevice) {
        current()?;
        put(device, 0)
    }

    fn cuCtxGetApiVersion(_ctx: CUcontext, version: *mut c_uint) {
        put(version, 3020)
    }

    fn cuCtxGetLimit(pvalue: *mut usize, _limit: c_uint) {
        current()?;
        put(pvalue, 1 << 20)
    }

    fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) {
        put_if(least, 0);
        put_if(greatest, 0);
        Ok(())
    }

    fn cuCtxSynchronize() {
        current()?;
        crate::streams::wait_for_all(device()?)?;
        device().map(|_| ())
    }

    fn cuCtxSynchronize_v2(_ctx: CUcontext) {
        crate::streams::wait_for_all(device()?)?;
        device().map(|_| ())
    }
}
