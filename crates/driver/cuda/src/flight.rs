//! Work on its way: waiting for the lease's turn, and hearing that it is over once per batch.
//!
//! The driver tells nobody when a launch has ended unless it is asked to. So launches of a stream
//! are gathered in a batch, of at most [`BATCH_NS_MAX`] of expected work; then an event is recorded
//! behind them, a stream of our own waits for that event, and a host function there counts the batch
//! out; what it took is learned a little later ([`crate::late`]). The program's streams never wait for
//! us. What a synchronisation of the program shows to be over is counted out without any of that.
//!
//! **Invariant.** While anything of a device is counted as in flight, a batch of it is with the
//! driver, or a thread is in a launch: so somebody will hear of its end. A launch that finds no
//! batch with the driver closes its own, or, when it is shorter than [`DUST_NS_MAX`], is counted out
//! at once, until what went so is [`DUST_NS_MAX`] in sum, or [`CALM_DUST_NS_MAX`] while nobody else wants
//! the device; when the last batch comes back, what has gathered meanwhile is counted out too, at most
//! [`BATCH_NS_MAX`] early, unless a thread waits for it, which will then tell. Nothing is recorded in a
//! stream that is being captured.
//!
//! That takes a lock and asks the driver for the context. While nobody else wants the device, a thread
//! therefore gets a [`Run`] with a launch: those that follow in the same stream, context and thread
//! neither lock nor ask ([`crate::own_runs`]). A run belongs to the stream's batch and ends with it. One
//! whose thread is in a launch just then stays, and that thread ends it.
#![allow(unsafe_code)] // calls to the vendor, and one back

mod batches;
mod lane;

pub(crate) use lane::{Lane, Waited};

use crate::late::Late;
use crate::own_runs::{self, Key};
use crate::real::real;
use crate::{own, view};
use batches::{Away, Batch, Batches, Over};
use lane::thread;
use polder_driver::gate::{Passage, calm};
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_driver::meter::{Kind, Room};
use polder_driver::run::Run;
use polder_driver::state;
use polder_gpuapi::cuda::{consts::*, types::*};
use polder_ledger::DEVICES_MAX;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Most expected work of a batch, nanoseconds.
pub(crate) const BATCH_NS_MAX: u64 = 2_000_000;
/// Most launches of a batch.
const BATCH_MAX: usize = 64;
/// Most launches of a run.
const RUN_MAX: u32 = 256;
/// Most expected work, nanoseconds, that is not heard of by itself while nothing else is; a command that
/// is taken for longer is always heard of.
const DUST_NS_MAX: u64 = 200_000;
/// The same in sum while nobody else wants the device: to be heard of takes the program tens of
/// microseconds, and what is short on a device that is mostly idle would pay that every few launches.
const CALM_DUST_NS_MAX: u64 = BATCH_NS_MAX;
/// Streams of our own per context. A batch is heard of behind those before it on the same one.
const SIDES: usize = 4;
/// Batches with the driver at once; beyond it a launch is not counted rather than remembered.
const AWAY_MAX: usize = 65_536;

/// All work of the process.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    inner: Mutex<Batches>,
    /// What was heard of and not learned from yet.
    late: Late,
    /// Captures that have begun and not ended.
    captures: AtomicU32,
}

/// Hands work over: waits for the lease's turn, calls the driver, and sees to it that the end is
/// heard of. `blocking` when the driver's function returns only when the work is over.
#[inline(always)]
pub(crate) fn work(
    (stream, per_thread): (usize, bool),
    kind: Kind,
    blocking: bool,
    call: impl FnOnce() -> CUresult,
) -> CUresult {
    let key = Key { stream, per_thread };
    if !blocking && let Some((run, launch)) = own_runs::begin(key, kind) {
        let result = inside::accounted(call);
        own_runs::end(run, launch, result == CUDA_SUCCESS);
        return result;
    }
    ask(key, kind, blocking, call)
}

/// Hands over work that follows no other: the gate, the driver and the lock are asked.
#[cold]
#[inline(never)]
fn ask(key: Key, kind: Kind, blocking: bool, call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || asked(key, kind, blocking, call))
}

fn asked(key: Key, kind: Kind, blocking: bool, call: impl FnOnce() -> CUresult) -> CUresult {
    let Key { stream, per_thread } = key;
    if inside::is_accounted() {
        return call();
    }
    if inside::is_callback() {
        // As the API has it. Nothing may wait here for a turn, and nothing goes without one.
        return CUDA_ERROR_NOT_PERMITTED;
    }
    let (state, own) = (state::get(), own::get());
    if state.attachment.is_none() {
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    // Without a context the driver knows what to answer; while a stream is captured nothing runs.
    let Some(device) = view::current() else { return inside::accounted(call) };
    let lane = Lane::of(stream, per_thread);
    if own.flights.is_captured(lane) {
        return inside::accounted(call);
    }
    own.flights.look_up(lane.context);
    let passage = Passage::new(state, device, kind);
    // What a run holds that cannot go on is room for this.
    if let Some(run) = own_runs::find(key, lane.context).filter(|run| !run.goes_on()) {
        own.flights.retire(&run);
    }
    passage.enter(&|| own.flights.make_room());
    let result = inside::accounted(call);
    if result != CUDA_SUCCESS {
        passage.leave(false);
    } else if blocking {
        // It waited for what was before it in the stream, too.
        own.flights.over(|other| other == lane);
        passage.leave(true);
    } else {
        own.flights.launched(key, lane, device, passage);
    }
    result
}

impl Flights {
    pub(crate) fn capture_began(&self) {
        self.captures.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn capture_ended(&self) {
        let less = |count: u32| count.checked_sub(1);
        let _ = self.captures.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Whether the lane's stream is being captured.
    pub(crate) fn is_captured(&self, lane: Lane) -> bool {
        if self.captures.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut status = CU_STREAM_CAPTURE_STATUS_NONE;
        let known = real!(cuStreamIsCapturing(lane.stream(), &raw mut status));
        // The default stream cannot be asked while another is captured in a way that forbids it;
        // the driver will refuse the launch too.
        known == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE
    }

    /// Whether some stream is being captured.
    #[inline]
    pub(crate) fn captures_any(&self) -> bool {
        self.captures.load(Ordering::Acquire) != 0
    }

    fn launched(&self, key: Key, lane: Lane, device: usize, passage: Passage) {
        let state = passage.state();
        let (estimate_ns, kind) = (passage.estimate_ns(), passage.kind());
        let launched_ns = passage.launched_ns();
        let before = own_runs::find(key, lane.context);
        let mut inner = lock(&self.inner);
        let alone = inner.outstanding[device] == 0;
        let is_calm = calm(state);
        let dust_max = if is_calm.is_some() { CALM_DUST_NS_MAX } else { DUST_NS_MAX };
        let left_ns = dust_max.saturating_sub(inner.dust_ns[device]);
        let dust = alone && estimate_ns <= DUST_NS_MAX.min(left_ns);
        let goes_on = before.as_ref().is_some_and(|run| run.goes_on());
        let spent = before.as_ref().is_some_and(|run| {
            goes_on && !(run.has_room(estimate_ns) && run.know(kind, estimate_ns))
        });
        // A thread that the driver calls back has work of its own to do, not a run.
        let seen = is_calm.filter(|_| !goes_on || spent);
        let seen = seen.filter(|_| own_runs::comes_again(key) && !inside::is_callback());
        let ahead = seen
            .filter(|_| !dust)
            .and_then(|_| passage.ahead(Room { commands: RUN_MAX, estimate_ns: BATCH_NS_MAX }));
        if dust {
            inner.dust_ns[device] += estimate_ns;
            passage.leave_early();
        }
        let batch = inner.open.entry(lane).or_insert_with(|| Batch::new(state, device));
        batch.launches.push(passage);
        batch.estimate_ns = batch.estimate_ns.saturating_add(estimate_ns);
        let full = batch.estimate_ns >= BATCH_NS_MAX || batch.launches.len() >= BATCH_MAX;
        if full || spent || (alone && !dust) {
            self.close(inner, lane);
            inner = lock(&self.inner);
        }
        let Some(seen) = seen else { return };
        // What was taken may only stay counted while somebody will hear of it.
        let heard_of = inner.outstanding[device] > 0;
        let (ahead, early) = if heard_of { (ahead, None) } else { (None, ahead) };
        let left_ns = dust_max.saturating_sub(inner.dust_ns[device]) / 2;
        if ahead.is_some() || (!heard_of && left_ns >= estimate_ns) {
            if ahead.is_none() {
                inner.dust_ns[device] += left_ns;
            }
            let dust = Room { commands: RUN_MAX, estimate_ns: left_ns };
            let run = Arc::new(Run::new(state, seen, launched_ns, ahead, dust));
            run.know(kind, estimate_ns);
            if let Some(before) = &before {
                state.meters[device].estimates(before.kinds(), |kind, ns| {
                    run.know(kind, ns);
                });
            }
            let batch = inner.open.entry(lane).or_insert_with(|| Batch::new(state, device));
            batch.runs.push(Arc::clone(&run));
            drop(inner);
            own_runs::keep(key, lane, run);
        } else {
            drop(inner);
        }
        if let Some(early) = early {
            early.leave(false);
        }
    }

    /// The thread has done with a run: what it did not use is there for others.
    pub(crate) fn retire(&self, run: &Run) {
        let _inner = lock(&self.inner);
        if run.close() {
            run.trim();
        }
    }

    /// Has the driver tell of what is open, and nothing more is launched without asking: the thread is
    /// about to wait for room, and what runs have not used is there for all.
    fn make_room(&self) {
        self.close_all();
        let inner = lock(&self.inner);
        for run in inner.open.values().flat_map(|batch| &batch.runs) {
            if run.close() {
                run.trim();
            }
        }
    }

    /// Has the driver tell when the lane's batch is over.
    pub(crate) fn close_lane(&self, lane: Lane) {
        self.close(lock(&self.inner), lane);
    }

    fn close(&self, mut inner: std::sync::MutexGuard<'_, Batches>, lane: Lane) {
        let Some(batch) = inner.take(lane) else { return };
        if inner.away.len() >= AWAY_MAX {
            drop(inner);
            return batch.drop();
        }
        inner.dust_ns[batch.device] = 0;
        inner.outstanding[batch.device] += 1;
        inner.last += 1;
        let number = inner.last;
        let side = inner.sides.entry(lane.context).or_default();
        let event = side.events.pop();
        let stream = side.streams.get(side.next % SIDES).copied();
        side.next = (side.next + 1) % SIDES;
        let away = Away { batch, lane, event: event.unwrap_or_default() };
        inner.away.insert(number, away);
        // The driver is never called with the lock held: it may call back before it returns.
        drop(inner);
        if !self.hand_over(number, lane, event, stream) {
            self.done(number, false);
        }
    }

    fn hand_over(
        &self,
        number: u64,
        lane: Lane,
        event: Option<usize>,
        stream: Option<usize>,
    ) -> bool {
        inside::accounted(|| {
            let _relaxed = Relaxed::new(self.captures.load(Ordering::Acquire) > 0);
            let Some(event) = event.or_else(make_event) else { return false };
            if let Some(away) = lock(&self.inner).away.get_mut(&number) {
                away.event = event;
            }
            let stream = stream.or_else(|| {
                let made = make_stream()?;
                lock(&self.inner).sides.entry(lane.context).or_default().streams.push(made);
                Some(made)
            });
            let Some(stream) = stream else { return false };
            let event: CUevent = std::ptr::with_exposed_provenance_mut(event);
            let stream: CUstream = std::ptr::with_exposed_provenance_mut(stream);
            let data = std::ptr::without_provenance_mut(usize::try_from(number).unwrap_or(0));
            real!(cuEventRecord(event, lane.stream())) == CUDA_SUCCESS
                && real!(cuStreamWaitEvent(stream, event, 0)) == CUDA_SUCCESS
                && real!(cuLaunchHostFunc(stream, Some(completed), data)) == CUDA_SUCCESS
        })
    }

    /// A batch is over. `ran` when its time may be learned from.
    fn done(&self, number: u64, ran: bool) {
        let over = lock(&self.inner).take_away(|known, _| known == number);
        over.into_iter().for_each(|over| self.count_out(over, ran));
    }

    fn count_out(&self, over: Over, ran: bool) {
        match over {
            Over::Away(Away { batch, lane, event }) if ran && event != 0 => {
                let told = batch.heard();
                let free =
                    told.map_or(Some(event), |told| self.late.keep(lane.context, event, told));
                self.recycle(lane.context, free);
            }
            Over::Away(Away { batch, lane, event }) => {
                self.recycle(lane.context, (event != 0).then_some(event));
                batch.drop();
            }
            Over::Tail(batch) => batch.drop(),
        }
    }

    /// Events that nobody waits for or asks about any more.
    fn recycle(&self, context: usize, events: impl IntoIterator<Item = usize>) {
        let mut events = events.into_iter().peekable();
        if events.peek().is_none() {
            return;
        }
        let mut inner = lock(&self.inner);
        if let Some(side) = inner.sides.get_mut(&context) {
            side.events.extend(events);
        }
    }

    /// Learns from what was heard of in the current context.
    fn look_up(&self, context: usize) {
        self.recycle(context, self.late.look_up(context));
    }

    /// Lets a thread wait: `call` returns when all that it waits for is over, which is counted out then
    /// and not before.
    pub(crate) fn wait_for(&self, what: Waited, call: impl FnOnce() -> CUresult) -> CUresult {
        lock(&self.inner).waited.push(what);
        let result = inside::accounted(call);
        let mut inner = lock(&self.inner);
        if let Some(at) = inner.waited.iter().position(|waited| *waited == what) {
            inner.waited.swap_remove(at);
        }
        if result == CUDA_SUCCESS {
            drop(inner);
            self.over(|lane| what.covers(lane));
        } else {
            let unheard: Vec<Batch> =
                (0..DEVICES_MAX).flat_map(|device| inner.take_unheard(device)).collect();
            drop(inner);
            unheard.iter().for_each(Batch::drop);
        }
        result
    }

    /// Everything in the lanes that `which` names is over: a thread of the program has waited for it.
    pub(crate) fn over(&self, which: impl Fn(Lane) -> bool) {
        let mut inner = lock(&self.inner);
        // Before what is with the driver, whose last would take them for a tail.
        let open = inner.take_all(|lane, _| which(lane));
        let away = inner.take_away(|_, away| which(away.lane));
        inner.forget_dust();
        drop(inner);
        if !away.is_empty() {
            away.into_iter().for_each(|over| self.count_out(over, true));
            self.look_up(view::context());
        }
        open.iter().for_each(Batch::ran);
    }

    /// Has the driver tell of everything that is open in the current context: the thread is about to
    /// wait for it. Another thread's own default stream is that thread's to close.
    pub(crate) fn close_all(&self) {
        let (context, thread) = (view::context(), thread());
        let mine =
            |lane: &&Lane| lane.context == context && (lane.thread == 0 || lane.thread == thread);
        let lanes: Vec<Lane> = lock(&self.inner).open.keys().filter(mine).copied().collect();
        lanes.into_iter().for_each(|lane| self.close_lane(lane));
    }

    /// A context is gone with everything in it.
    pub(crate) fn forget_context(&self, context: usize) {
        let mut inner = lock(&self.inner);
        inner.sides.remove(&context);
        let away = inner.take_away(|_, away| away.lane.context == context);
        drop(inner);
        away.into_iter().for_each(|over| self.count_out(over, false));
        self.late.forget(context);
        self.over(|lane| lane.context == context);
    }
}

unsafe extern "C" fn completed(data: *mut c_void) {
    let number = u64::try_from(data.addr()).unwrap_or_default();
    inside::guard((), || inside::callback(|| own::get().flights.done(number, true)));
}

fn make_event() -> Option<usize> {
    let mut event: CUevent = null_mut();
    // With its time: see `late`.
    let made = real!(cuEventCreate(&raw mut event, CU_EVENT_DEFAULT));
    (made == CUDA_SUCCESS).then(|| event.expose_provenance())
}

pub(crate) fn make_stream() -> Option<usize> {
    let mut stream: CUstream = null_mut();
    let made = real!(cuStreamCreate(&raw mut stream, CU_STREAM_NON_BLOCKING));
    (made == CUDA_SUCCESS).then(|| stream.expose_provenance())
}

/// While it lives, what this thread does cannot spoil a capture of the program.
struct Relaxed(Option<u32>);

impl Relaxed {
    fn new(capturing: bool) -> Self {
        const RELAXED: u32 = 2;
        let mut mode = RELAXED;
        let swapped =
            capturing && real!(cuThreadExchangeStreamCaptureMode(&raw mut mode)) == CUDA_SUCCESS;
        Self(swapped.then_some(mode))
    }
}

impl Drop for Relaxed {
    fn drop(&mut self) {
        if let Some(mut mode) = self.0 {
            real!(cuThreadExchangeStreamCaptureMode(&raw mut mode));
        }
    }
}
