//! What a profiled program puts into its streams, written down with the device's own times.
//!
//! An event of ours that keeps times stands before each command and one behind it, in the program's
//! own stream, between the gate and the driver's call: what the thread waits for its turn is not
//! taken for work. Times are asked for when the program has waited for something, and of the oldest
//! commands whenever another is handed over. While any stream is being captured nothing is put into
//! streams and nothing is asked: such commands have no times.
#![allow(unsafe_code)] // calls to the vendor

use crate::flight::{self, Lane};
use crate::real::real;
use crate::{own, view};
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_driver::record::{Call, Place, Recorder, What};
use polder_driver::state::{self, PerProcess, State};
use polder_gpuapi::cuda::{consts::*, types::*};
use polder_ledger::monotonic_ns;
use polder_ledger::record::{Span, SpanKind};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CStr;
use std::sync::Mutex;

/// Most commands whose times are still to be asked for; those beyond it have none.
const PENDING_MAX: usize = 16_384;
/// Most kernels whose names are remembered.
const KERNELS_MAX: usize = 65_536;
/// A context's clock is read anew after so long: times are told as single floats of milliseconds.
const CLOCK_NS_MAX: u64 = 10_000_000_000;
/// Nanoseconds of a millisecond, in which the driver tells times.
const MS: f64 = 1e6;

#[derive(Debug)]
struct Pending {
    context: usize,
    /// Events before and behind it.
    events: [usize; 2],
    clock: Clock,
    place: Place,
    span: Span,
}

/// When a context's event was reached, on the host's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    event: usize,
    host_ns: u64,
}

#[derive(Debug, Default)]
struct Spans {
    pending: Mutex<VecDeque<Pending>>,
    /// By context, events that nobody waits for.
    events: Mutex<BTreeMap<usize, Vec<usize>>>,
    clocks: Mutex<BTreeMap<usize, Clock>>,
    /// By handle, what kernels are called.
    kernels: Mutex<BTreeMap<usize, String>>,
}

static SPANS: PerProcess<Spans> = PerProcess::new();

/// What a hook knows of its command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) kind: SpanKind,
    /// The kernel that is launched, or the function that copies.
    pub(crate) name: Name,
    pub(crate) bytes: u64,
    pub(crate) lane: Lane,
    /// Whether the function returns only when the command is over.
    pub(crate) blocking: bool,
}

/// What a command is called by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name {
    /// The kernel of this handle.
    Kernel(usize),
    /// These words.
    Words(&'static str),
}

fn recorder() -> Option<(&'static State, &'static Recorder)> {
    let state = (!inside::is_accounted()).then(state::get)?;
    state.recorder.as_ref().map(|recorder| (state, recorder))
}

/// Hands a command over and writes down what becomes of it. `call` passes the gate and runs what it
/// is given around the driver's function.
pub(crate) fn command(
    tell: impl FnOnce() -> Told,
    call: impl FnOnce(&dyn Fn(&dyn Fn() -> CUresult) -> CUresult) -> CUresult,
) -> CUresult {
    let plain = |real: &dyn Fn() -> CUresult| real();
    let known = recorder().zip(view::current());
    let Some(((state, recorder), device)) = known else { return call(&plain) };
    let told = tell();
    let flights = &own::get().flights;
    if flights.is_captured(told.lane) {
        return call(&plain);
    }
    let timed = !flights.captures_any();
    sweep(recorder, false);
    let name = match told.name {
        Name::Kernel(handle) => recorder.name(&kernel_name(handle)),
        Name::Words(words) => recorder.name(words),
    };
    let context = view::context();
    let clock = timed.then(|| inside::accounted(|| clock(context))).flatten();
    let events = Cell::new(None);
    let begun = Call::begin();
    let result = call(&|real: &dyn Fn() -> CUresult| {
        let before = clock.and_then(|_| mark(context, told.lane));
        let result = real();
        let behind = before.and_then(|_| mark(context, told.lane));
        events.set(before.zip(behind));
        result
    });
    if result != CUDA_SUCCESS {
        return result;
    }
    let lane = told.lane.number();
    let what = What { kind: told.kind, device, name, lane, bytes: told.bytes };
    let (span, place) = (begun.end(state, what), recorder.place());
    match (clock, events.get()) {
        (Some(clock), Some((before, behind))) => {
            let pending = Pending { context, events: [before, behind], clock, place, span };
            let mut waiting = lock(&SPANS.get().pending);
            if waiting.len() < PENDING_MAX {
                waiting.push_back(pending);
            } else {
                drop(waiting);
                recorder.write(place, &span);
                give_back(context, [before, behind]);
            }
        }
        _ => recorder.write(place, &span),
    }
    if told.blocking {
        sweep(recorder, true);
    }
    result
}

/// Waits for the device; then the times of what is over are asked for.
pub(crate) fn wait(name: &str, call: impl FnOnce() -> CUresult) -> CUresult {
    let known = recorder().zip(view::current());
    let Some(((state, recorder), device)) = known else { return call() };
    let name = recorder.name(name);
    let begun = Call::begin();
    let result = call();
    let what = What { kind: SpanKind::Wait, device, name, lane: 0, bytes: 0 };
    recorder.write(recorder.place(), &begun.end(state, what));
    sweep(recorder, true);
    result
}

/// A program has a kernel by its name.
pub(crate) fn kernel(handle: usize, name: &CStr) {
    let mut kernels = lock(&SPANS.get().kernels);
    if kernels.len() < KERNELS_MAX {
        kernels.insert(handle, name.to_string_lossy().into_owned());
    }
}

/// One handle's kernel is another's.
pub(crate) fn same_kernel(handle: usize, other: usize) {
    let mut kernels = lock(&SPANS.get().kernels);
    if let Some(name) = kernels.get(&other).cloned() {
        kernels.insert(handle, name);
    }
}

fn kernel_name(handle: usize) -> String {
    let known = lock(&SPANS.get().kernels).get(&handle).cloned();
    known.unwrap_or_else(|| "(kernel without a name)".to_owned())
}

/// A context is about to go: what of it is over is written down, and the rest has no times.
pub(crate) fn forget() {
    let Some((_, recorder)) = recorder() else { return };
    sweep(recorder, true);
    let left: Vec<Pending> = lock(&SPANS.get().pending).drain(..).collect();
    left.iter().for_each(|pending| recorder.write(pending.place, &pending.span));
    // Events of a context go with it; those of others are not many and are made anew.
    lock(&SPANS.get().events).clear();
    lock(&SPANS.get().clocks).clear();
}

/// An event in the lane; none where there is none to be had.
fn mark(context: usize, lane: Lane) -> Option<usize> {
    let kept = lock(&SPANS.get().events).entry(context).or_default().pop();
    let event = kept.or_else(make)?;
    if real!(cuEventRecord(pointer(event), lane.stream())) == CUDA_SUCCESS {
        return Some(event);
    }
    lock(&SPANS.get().events).entry(context).or_default().push(event);
    None
}

fn make() -> Option<usize> {
    let mut event: CUevent = std::ptr::null_mut();
    let made = real!(cuEventCreate(&raw mut event, 0));
    (made == CUDA_SUCCESS).then(|| event.expose_provenance())
}

fn pointer(event: usize) -> CUevent {
    std::ptr::with_exposed_provenance_mut(event)
}

fn give_back(context: usize, events: [usize; 2]) {
    lock(&SPANS.get().events).entry(context).or_default().extend(events);
}

/// The context's clock, read anew when it is old. The event before it stays for commands that count
/// from it: one in [`CLOCK_NS_MAX`].
fn clock(context: usize) -> Option<Clock> {
    let now = monotonic_ns();
    let known = lock(&SPANS.get().clocks).get(&context).copied();
    if let Some(clock) = known.filter(|clock| now.saturating_sub(clock.host_ns) < CLOCK_NS_MAX) {
        return Some(clock);
    }
    let event = make()?;
    // A stream of our own that nothing else waits in.
    let stream = flight::make_stream()?;
    let stream: CUstream = std::ptr::with_exposed_provenance_mut(stream);
    let from = monotonic_ns();
    let reached = real!(cuEventRecord(pointer(event), stream)) == CUDA_SUCCESS
        && real!(cuEventSynchronize(pointer(event))) == CUDA_SUCCESS;
    let host_ns = from + (monotonic_ns() - from) / 2;
    real!(cuStreamDestroy_v2(stream));
    let clock = reached.then_some(Clock { event, host_ns })?;
    lock(&SPANS.get().clocks).insert(context, clock);
    Some(clock)
}

/// Writes down what is over: of the oldest commands, or `all`.
fn sweep(recorder: &Recorder, all: bool) {
    if own::get().flights.captures_any() {
        return;
    }
    let mut over = Vec::new();
    let mut pending = lock(&SPANS.get().pending);
    inside::accounted(|| {
        while pending.front().is_some_and(Pending::is_over) {
            over.extend(pending.pop_front());
        }
        if all {
            let (done, still): (Vec<_>, Vec<_>) = pending.drain(..).partition(Pending::is_over);
            pending.extend(still);
            over.extend(done);
        }
    });
    drop(pending);
    for one in over {
        inside::accounted(|| one.finish(recorder));
    }
}

impl Pending {
    /// Also when its end cannot be known.
    fn is_over(&self) -> bool {
        real!(cuEventQuery(pointer(self.events[1]))) != CUDA_ERROR_NOT_READY
    }

    fn finish(self, recorder: &Recorder) {
        let [before, behind] = self.events;
        let start = elapsed(self.clock.event, before);
        let span = match start.zip(elapsed(before, behind)) {
            Some((start, length)) => {
                let start_ns = self.clock.host_ns.saturating_add_signed(start).max(1);
                let end_ns = start_ns.saturating_add_signed(length.max(0));
                Span { queued_ns: self.span.called_ns, start_ns, end_ns, ..self.span }
            }
            None => self.span,
        };
        recorder.write(self.place, &span);
        give_back(self.context, self.events);
    }
}

/// Nanoseconds from one event to another.
fn elapsed(from: usize, to: usize) -> Option<i64> {
    let mut ms: f32 = 0.0;
    let known = real!(cuEventElapsedTime(&raw mut ms, pointer(from), pointer(to)));
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and a run is shorter")]
    let ns = (f64::from(ms) * MS) as i64;
    (known == CUDA_SUCCESS && ms.is_finite()).then_some(ns)
}
