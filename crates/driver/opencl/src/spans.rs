//! What a profiled program puts into its queues, written down with the device's own times.
//!
//! Each command keeps a reference to its event until its times are written: they are asked for when
//! the program has waited for something, and of the oldest commands whenever another is queued. No
//! callback is set, so no thread of the driver does anything for us. What the program never waits for
//! and leaves behind when it ends is not heard of; the reader sees its empty places.
#![allow(unsafe_code)] // asking the vendor about events

use crate::own;
use crate::vendor::{self, Vendor};
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_driver::record::{Call, Place, Recorder, What};
use polder_driver::state::{self, PerProcess, State};
use polder_gpuapi::opencl::{consts::*, types::*};
use polder_ledger::record::{Span, SpanKind};
use std::collections::{BTreeMap, VecDeque};
use std::ptr::null_mut;
use std::sync::Mutex;

/// Most commands whose times are still to be asked for; those beyond it are only counted.
const PENDING_MAX: usize = 65_536;
/// Most mappings whose size is remembered until they are undone.
const MAPPED_MAX: usize = 65_536;

/// What a hook knows of a command: its kind, its name, and the bytes it moves.
pub(crate) type Told = (SpanKind, u32, u64);

#[derive(Debug)]
struct Pending {
    vendor: &'static Vendor,
    /// The event, whose reference is ours.
    event: usize,
    place: Place,
    span: Span,
}

#[derive(Debug, Default)]
struct Spans {
    pending: Mutex<VecDeque<Pending>>,
    /// By address, bytes that are written back when a mapping is undone.
    mapped: Mutex<BTreeMap<usize, u64>>,
}

static SPANS: PerProcess<Spans> = PerProcess::new();

/// The process's recorder, unless the call is part of one that is written down already.
pub(crate) fn recorder() -> Option<(&'static State, &'static Recorder)> {
    let state = (!inside::is_accounted()).then(state::get)?;
    state.recorder.as_ref().map(|recorder| (state, recorder))
}

/// Queues a command and writes down what becomes of it.
pub(crate) fn command(
    queue: cl_command_queue,
    wanted: *mut cl_event,
    tell: impl FnOnce(&'static Vendor, &Recorder) -> Told,
    call: impl FnOnce(*mut cl_event) -> cl_int,
) -> cl_int {
    let known = recorder().zip(own::get().queues.get(queue)).zip(vendor::of(queue));
    let Some((((state, recorder), queue), vendor)) = known else { return call(wanted) };
    let (kind, name, bytes) = tell(vendor, recorder);
    let begun = Call::begin();
    let mut own: cl_event = null_mut();
    let at = if wanted.is_null() { &raw mut own } else { wanted };
    let result = call(at);
    if result != CL_SUCCESS {
        return result;
    }
    let lane = queue.key().try_into().unwrap_or_default();
    let span = begun.end(state, What { kind, device: queue.device, name, lane, bytes });
    // SAFETY: the driver has put the command's event there.
    let event = unsafe { at.read() };
    if !wanted.is_null()
        && let Some(retain) = vendor.original.clRetainEvent
    {
        // SAFETY: the program's event, which lives until it gives its own reference back.
        unsafe { retain(event) };
    }
    let pending =
        Pending { vendor, event: event.expose_provenance(), place: recorder.place(), span };
    let mut waiting = lock(&SPANS.get().pending);
    if waiting.len() < PENDING_MAX {
        waiting.push_back(pending);
    } else {
        drop(waiting);
        pending.finish(recorder);
        return result;
    }
    drop(waiting);
    // A call that blocked has waited, for itself and for what was before it: it may be the last.
    sweep(recorder, false);
    result
}

/// Does what is over when it returns and moves bytes without a queue.
pub(crate) fn at_once<T>(kind: SpanKind, name: &str, bytes: u64, call: impl FnOnce() -> T) -> T {
    let Some((state, recorder)) = recorder() else { return call() };
    let name = recorder.name(name);
    let begun = Call::begin();
    let result = call();
    let span = begun.end(state, What { kind, device: 0, name, lane: 0, bytes });
    let start_ns = span.called_ns.saturating_add(span.waited_ns).min(span.returned_ns);
    let span = Span { queued_ns: span.called_ns, start_ns, end_ns: span.returned_ns, ..span };
    recorder.write(recorder.place(), &span);
    result
}

/// Waits for the device; then the times of what is over are asked for.
pub(crate) fn wait(name: &str, lane: usize, call: impl FnOnce() -> cl_int) -> cl_int {
    let Some((state, recorder)) = recorder() else { return call() };
    let name = recorder.name(name);
    let begun = Call::begin();
    let result = call();
    let lane = lane.try_into().unwrap_or_default();
    let span = begun.end(state, What { kind: SpanKind::Wait, device: 0, name, lane, bytes: 0 });
    recorder.write(recorder.place(), &span);
    sweep(recorder, true);
    result
}

/// A mapping begins; so many bytes are written back when it is undone.
pub(crate) fn mapped(at: usize, bytes: u64) {
    let mut mapped = lock(&SPANS.get().mapped);
    if bytes > 0 && mapped.len() < MAPPED_MAX {
        mapped.insert(at, bytes);
    }
}

/// A mapping is undone: the bytes that are written back.
pub(crate) fn unmapped(at: usize) -> u64 {
    lock(&SPANS.get().mapped).remove(&at).unwrap_or(0)
}

/// Writes down what is over: of the oldest commands, or `all`.
pub(crate) fn sweep(recorder: &Recorder, all: bool) {
    let mut over = Vec::new();
    let mut pending = lock(&SPANS.get().pending);
    while pending.front().is_some_and(Pending::is_over) {
        over.extend(pending.pop_front());
    }
    if all {
        let (done, still): (Vec<_>, Vec<_>) = pending.drain(..).partition(Pending::is_over);
        pending.extend(still);
        over.extend(done);
    }
    // The driver may free things when an event goes, and is not called with the lock held.
    drop(pending);
    over.into_iter().for_each(|one| one.finish(recorder));
}

impl Pending {
    fn event(&self) -> cl_event {
        std::ptr::with_exposed_provenance_mut(self.event)
    }

    fn status(&self) -> cl_int {
        let mut status: cl_int = CL_COMPLETE;
        if let Some(get) = self.vendor.original.clGetEventInfo {
            let (what, at) = (CL_EVENT_COMMAND_EXECUTION_STATUS, (&raw mut status).cast());
            // SAFETY: the event is ours; the answer fits.
            unsafe { get(self.event(), what, size_of::<cl_int>(), at, null_mut()) };
        }
        status
    }

    fn is_over(&self) -> bool {
        self.status() <= CL_COMPLETE
    }

    /// A time of the device; 0 where it is not known.
    fn time(&self, what: cl_uint) -> u64 {
        let mut time: u64 = 0;
        if let Some(get) = self.vendor.original.clGetEventProfilingInfo {
            let at = (&raw mut time).cast();
            // SAFETY: the event is ours; the answer fits.
            let told = unsafe { get(self.event(), what, size_of::<u64>(), at, null_mut()) };
            time = if told == CL_SUCCESS { time } else { 0 };
        }
        time
    }

    /// Writes the span and lets go of the event.
    fn finish(self, recorder: &Recorder) {
        let status = self.status();
        let mut span = Span { failed: status < CL_COMPLETE, ..self.span };
        if status == CL_COMPLETE {
            let [queued_ns, start_ns, end_ns] =
                [CL_PROFILING_COMMAND_QUEUED, CL_PROFILING_COMMAND_START, CL_PROFILING_COMMAND_END]
                    .map(|what| self.time(what));
            if start_ns != 0 && start_ns <= end_ns {
                span = Span { device_clock: true, queued_ns, start_ns, end_ns, ..span };
            }
        }
        recorder.write(self.place, &span);
        if let Some(release) = self.vendor.original.clReleaseEvent {
            // SAFETY: the reference is ours and goes with `self`.
            unsafe { release(self.event()) };
        }
    }
}
