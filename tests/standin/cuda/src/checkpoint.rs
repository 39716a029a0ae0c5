//! A process, of this program or another's, is moved off the device and back.

use crate::api::put;
use crate::state::{ask, connected, init};
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::*;
use polder_standin_host::{Ask, Step};
use std::ffi::{c_int, c_uint, c_void};

/// Takes the step; its state after it.
fn step(pid: c_int, step: Step, most_ms: c_uint) -> Result<u64, CUresult> {
    // Whoever does this to others needs no context, nor `cuInit`.
    init()?;
    let pid = u32::try_from(pid).map_err(|_| CUDA_ERROR_INVALID_VALUE)?;
    let answer = ask(connected()?, Ask::Checkpoint { pid, step, most_ms })?;
    match u32::try_from(answer[0]).unwrap_or(CUDA_ERROR_UNKNOWN) {
        CUDA_SUCCESS => Ok(answer[1]),
        code => Err(code),
    }
}

api! { |own|
    fn cuCheckpointProcessLock(pid: c_int, args: *mut CUcheckpointLockArgs) {
        // SAFETY: null, or the caller's.
        let most_ms = unsafe { args.as_ref() }.map_or(0, |args| args.timeoutMs);
        step(pid, Step::Lock, most_ms).map(drop)
    }

    fn cuCheckpointProcessCheckpoint(pid: c_int, _args: *mut c_void) {
        step(pid, Step::Checkpoint, 0).map(drop)
    }

    fn cuCheckpointProcessRestore(pid: c_int, _args: *mut c_void) {
        step(pid, Step::Restore, 0).map(drop)
    }

    fn cuCheckpointProcessUnlock(pid: c_int, _args: *mut c_void) {
        step(pid, Step::Unlock, 0).map(drop)
    }

    fn cuCheckpointProcessGetState(pid: c_int, state: *mut c_uint) {
        let now = step(pid, Step::Look, 0)?;
        put(state, c_uint::try_from(now).unwrap_or(c_uint::MAX))
    }
}
