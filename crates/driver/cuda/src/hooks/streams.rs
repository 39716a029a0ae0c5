//! Waiting for work, recording it into graphs, and functions that the driver calls back.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::memory::settle_pool;
use crate::flight::{Lane, Waited};
use crate::real::real;
use crate::{own, view};
use polder_driver::inside;
use polder_gpuapi::cuda::{consts::*, types::*};
use std::ffi::{c_uint, c_void};

/// What a pool keeps may be given back by the driver at a synchronisation.
fn settle_pools() {
    own::get().memory.slack_pools().into_iter().for_each(settle_pool);
}

fn wait_for(what: impl FnOnce() -> Waited, call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = own::get().flights.wait_for(what(), call);
        if result == CUDA_SUCCESS {
            settle_pools();
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuCtxSynchronize() -> CUresult {
    wait_for(|| Waited::Context(view::context()), || real!(cuCtxSynchronize()))
}

pub(super) unsafe extern "C" fn cuCtxSynchronize_v2(context: CUcontext) -> CUresult {
    let named = || if context.is_null() { view::context() } else { context.addr() };
    wait_for(|| Waited::Context(named()), || real!(cuCtxSynchronize_v2(context)))
}

fn lane((stream, per_thread): (CUstream, bool)) -> Lane {
    Lane::of(stream.expose_provenance(), per_thread)
}

pub(super) unsafe extern "C" fn cuStreamSynchronize(stream: CUstream) -> CUresult {
    wait_for(|| Waited::Lane(lane((stream, false))), || real!(cuStreamSynchronize(stream)))
}

pub(super) unsafe extern "C" fn cuStreamSynchronize_ptsz(stream: CUstream) -> CUresult {
    wait_for(|| Waited::Lane(lane((stream, true))), || real!(cuStreamSynchronize_ptsz(stream)))
}

/// Asks whether a stream is done.
fn ask_stream(stream: (CUstream, bool), call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let lane = lane(stream);
        let flights = &own::get().flights;
        let result = inside::accounted(call);
        if result == CUDA_SUCCESS && !flights.is_captured(lane) {
            flights.over(|other| other == lane);
            settle_pools();
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuStreamQuery(stream: CUstream) -> CUresult {
    ask_stream((stream, false), || real!(cuStreamQuery(stream)))
}

pub(super) unsafe extern "C" fn cuStreamQuery_ptsz(stream: CUstream) -> CUresult {
    ask_stream((stream, true), || real!(cuStreamQuery_ptsz(stream)))
}

/// An event does not say what is over when it is: that is to be heard of.
fn wait_for_event(call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        if !inside::is_accounted() {
            own::get().flights.close_all();
        }
        inside::accounted(call)
    })
}

pub(super) unsafe extern "C" fn cuEventSynchronize(event: CUevent) -> CUresult {
    wait_for_event(|| real!(cuEventSynchronize(event)))
}

pub(super) unsafe extern "C" fn cuEventQuery(event: CUevent) -> CUresult {
    wait_for_event(|| real!(cuEventQuery(event)))
}

/// What is in a stream goes on when the stream is gone, but nothing can be put behind it any more.
fn destroy(stream: CUstream, call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        if !inside::is_accounted() {
            own::get().flights.close_lane(Lane::of(stream.expose_provenance(), false));
        }
        inside::accounted(call)
    })
}

pub(super) unsafe extern "C" fn cuStreamDestroy(stream: CUstream) -> CUresult {
    destroy(stream, || real!(cuStreamDestroy(stream)))
}

pub(super) unsafe extern "C" fn cuStreamDestroy_v2(stream: CUstream) -> CUresult {
    destroy(stream, || real!(cuStreamDestroy_v2(stream)))
}

fn begin(call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let flights = &own::get().flights;
        // What is open must not be closed inside the capture.
        flights.close_all();
        flights.capture_began();
        let result = inside::accounted(call);
        if result != CUDA_SUCCESS {
            flights.capture_ended();
        }
        result
    })
}

fn end(call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let result = inside::accounted(call);
        // An invalid capture is over too; one of another stream or thread is not.
        if matches!(result, CUDA_SUCCESS | CUDA_ERROR_STREAM_CAPTURE_INVALIDATED) {
            own::get().flights.capture_ended();
        }
        result
    })
}

macro_rules! captures {
    ($($way:ident $name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        pub(super) unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            $way(|| real!($name($($arg),*)))
        }
    )*};
}
captures! {
    begin cuStreamBeginCapture(stream: CUstream);
    begin cuStreamBeginCapture_ptsz(stream: CUstream);
    begin cuStreamBeginCapture_v2(stream: CUstream, mode: c_uint);
    begin cuStreamBeginCapture_v2_ptsz(stream: CUstream, mode: c_uint);
    begin cuStreamBeginCaptureToGraph(stream: CUstream, graph: CUgraph, after: *const CUgraphNode,
        edges: *const c_void, count: usize, mode: c_uint);
    begin cuStreamBeginCaptureToGraph_ptsz(stream: CUstream, graph: CUgraph,
        after: *const CUgraphNode, edges: *const c_void, count: usize, mode: c_uint);
    begin cuStreamBeginCaptureToCig(stream: CUstream, wishes: *mut c_void);
    begin cuStreamBeginCaptureToCig_ptsz(stream: CUstream, wishes: *mut c_void);
    begin cuStreamBeginRecaptureToGraph(stream: CUstream, mode: c_uint, graph: CUgraph,
        callback: *const c_void, data: *mut c_void);
    begin cuStreamBeginRecaptureToGraph_ptsz(stream: CUstream, mode: c_uint, graph: CUgraph,
        callback: *const c_void, data: *mut c_void);
    end cuStreamEndCaptureToCig(stream: CUstream);
    end cuStreamEndCaptureToCig_ptsz(stream: CUstream);
    end cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph);
    end cuStreamEndCapture_ptsz(stream: CUstream, graph: *mut CUgraph);
}

/// A function of the program with its argument: it runs on a thread of the driver, where whatever
/// it calls must not wait.
struct Wrapped<F> {
    function: F,
    data: *mut c_void,
    /// It may run any number of times, from a graph, and stays for good.
    again: bool,
}

/// Hands a wrapped function to the driver.
fn wrap<F>(
    function: F,
    data: *mut c_void,
    (stream, per_thread): (CUstream, bool),
    call: impl FnOnce(*mut c_void) -> CUresult,
) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let lane = Lane::of(stream.expose_provenance(), per_thread);
        let again = own::get().flights.is_captured(lane);
        let wrapped = Box::into_raw(Box::new(Wrapped { function, data, again }));
        let result = inside::accounted(|| call(wrapped.cast()));
        if result != CUDA_SUCCESS {
            // SAFETY: the driver refused, so nobody else has the pointer.
            drop(unsafe { Box::from_raw(wrapped) });
        }
        result
    })
}

/// What was wrapped, for one run.
///
/// # Safety
/// `data` comes from [`wrap`] with the same `F`, and the driver calls back as often as it was told.
unsafe fn unwrap<F: Copy>(data: *mut c_void) -> (F, *mut c_void) {
    let wrapped = data.cast::<Wrapped<F>>();
    // SAFETY: the caller's promise.
    let (function, data, again) =
        unsafe { ((*wrapped).function, (*wrapped).data, (*wrapped).again) };
    if !again {
        // SAFETY: this was the only run.
        drop(unsafe { Box::from_raw(wrapped) });
    }
    (function, data)
}

type HostFunction = unsafe extern "C" fn(*mut c_void);
type Callback = unsafe extern "C" fn(CUstream, CUresult, *mut c_void);

unsafe extern "C" fn run_host(data: *mut c_void) {
    // SAFETY: made by `wrap` for this function.
    let (function, data) = unsafe { unwrap::<HostFunction>(data) };
    // SAFETY: the program's own function with the argument it gave.
    inside::callback(|| unsafe { function(data) });
}

unsafe extern "C" fn run_callback(stream: CUstream, status: CUresult, data: *mut c_void) {
    // SAFETY: made by `wrap` for this function.
    let (function, data) = unsafe { unwrap::<Callback>(data) };
    // SAFETY: the program's own function with the argument it gave.
    inside::callback(|| unsafe { function(stream, status, data) });
}

macro_rules! callbacks {
    ($($name:ident($run:ident, $function:ty $(, $flags:ident)?) $per_thread:literal;)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            stream: CUstream,
            function: $function,
            data: *mut c_void,
            $($flags: c_uint,)?
        ) -> CUresult {
            match function {
                Some(function) => wrap(function, data, (stream, $per_thread), |data| {
                    real!($name(stream, Some($run), data $(, $flags)?))
                }),
                None => real!($name(stream, None, data $(, $flags)?)),
            }
        }
    )*};
}
callbacks! {
    cuLaunchHostFunc(run_host, CUhostFn) false;
    cuLaunchHostFunc_ptsz(run_host, CUhostFn) true;
    cuLaunchHostFunc_v2(run_host, CUhostFn, flags) false;
    cuLaunchHostFunc_v2_ptsz(run_host, CUhostFn, flags) true;
    cuStreamAddCallback(run_callback, CUstreamCallback, flags) false;
    cuStreamAddCallback_ptsz(run_callback, CUstreamCallback, flags) true;
}
