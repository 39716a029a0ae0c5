//! Handing commands over: each passes the lease's gate, and its event's callback counts it out.
#![allow(unsafe_code)] // events and their callbacks

use crate::flying::Stay;
use crate::graph::{Dependence, Order};
use crate::own;
use crate::paged::Pin;
use crate::permit::Permit;
use crate::queues::Queue;
use crate::vendor::Vendor;
use polder_driver::gate::Passage;
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_driver::meter::Kind;
use polder_driver::state::{self, State};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Command {
    passage: Passage,
    /// What it is called in the graph, when it was not ready.
    pending: AtomicU64,
    /// Buffers that it uses: until it has ended they stay where they are.
    pins: Mutex<Vec<Pin>>,
    permit: Permit,
}

impl Command {
    fn new(state: &'static State, device: usize, kind: Kind, pins: Vec<Pin>) -> Arc<Self> {
        let passage = Passage::new(state, device, kind);
        let (pending, pins) = (AtomicU64::new(0), Mutex::new(pins));
        Arc::new(Self { passage, pending, pins, permit: Permit::default() })
    }

    /// What it stood behind is over: waits for its turn, counts it in and lets it begin.
    pub(crate) fn is_ready(&self) {
        enter(&self.passage);
        self.permit.give();
    }

    /// What it stood behind has failed, and so will it: it is not counted.
    pub(crate) fn has_failed(&self) {
        self.permit.give();
    }

    /// Counts the command out until [`Command::resume`]; false when it is not counted in.
    pub(crate) fn pause(&self) -> bool {
        self.passage.pause()
    }

    /// Counts the command in again.
    pub(crate) fn resume(&self, from_ns: u64) {
        self.passage.resume(from_ns);
    }

    /// Counts the command out. `completed` when it ran, so that its length can be learned.
    pub(crate) fn leave(&self, completed: bool) {
        if !self.passage.state().is_current() {
            return;
        }
        own::get().flying.remove(self);
        drop(std::mem::take(&mut *lock(&self.pins)));
        let pending = self.pending.load(Ordering::Acquire);
        if pending != 0 {
            own::get().graph.remove(pending);
        }
        self.passage.leave(completed);
    }
}

/// What a hook knows of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) queue: cl_command_queue,
    pub(crate) kind: Kind,
    pub(crate) events: cl_uint,
    pub(crate) list: *const cl_event,
    /// Where the program wants the command's event, if anywhere.
    pub(crate) event: *mut cl_event,
    /// Whether the driver's function returns only when the command is over.
    pub(crate) blocking: bool,
}

impl Work {
    /// The events of the wait list.
    pub(crate) fn wait_list(&self) -> Vec<cl_event> {
        if self.list.is_null() {
            return Vec::new();
        }
        // SAFETY: the program says that this many events stand there, and the driver will read
        // them too.
        unsafe { std::slice::from_raw_parts(self.list, self.events as usize) }.to_vec()
    }

    /// Their handles.
    pub(crate) fn wait_handles(&self) -> Vec<usize> {
        self.wait_list().into_iter().map(<*mut _>::addr).collect()
    }
}

/// A wait list as the API passes it.
pub(crate) type List = (cl_uint, *const cl_event);

/// Queues a command: `real` calls the vendor's function and says what it returned, given the wait list and where
/// to put the command's event. `pins` hold the buffers that it uses.
pub(crate) fn launch(
    vendor: &'static Vendor,
    work: Work,
    pins: Vec<Pin>,
    real: impl FnOnce(List, *mut cl_event) -> cl_int,
) -> cl_int {
    let own_list = (work.events, work.list);
    if inside::is_accounted() {
        return real(own_list, work.event);
    }
    let (state, own) = (state::get(), own::get());
    if state.attachment.is_none() {
        return CL_OUT_OF_RESOURCES;
    }
    let Some(queue) = own.queues.get(work.queue) else {
        // Not a queue, or not a device of the lease: the driver knows what to answer.
        // Nobody will say when it has ended: its buffers stay.
        pins.into_iter().for_each(Pin::keep);
        return inside::accounted(|| real(own_list, work.event));
    };
    let command = Command::new(state, queue.device, work.kind, pins);
    let pending = (!own.graph.is_idle())
        .then(|| {
            let order = if queue.in_order() { Order::InLine } else { Order::Neither };
            let events = work.wait_handles();
            let on = Dependence { queue: queue.key(), events: &events, order };
            own.graph.add(on, Some(Arc::clone(&command))).ok()
        })
        .flatten();
    let Some(id) = pending else {
        enter(&command.passage);
        return hand_over(vendor, &queue, &command, work, |event| real(own_list, event));
    };
    command.pending.store(id, Ordering::Release);
    // A list that makes no sense the driver must see as it is.
    let sensible = work.list.is_null() == (work.events == 0);
    let Some(permit) = sensible.then(|| command.permit.ask(&queue)).flatten() else {
        return hand_over(vendor, &queue, &command, work, |event| real(own_list, event));
    };
    let mut list: Vec<cl_event> = work.wait_list();
    list.push(permit);
    let count = work.events.saturating_add(1);
    hand_over(vendor, &queue, &command, work, |event| real((count, list.as_ptr()), event))
}

/// Waits until a command may go, and counts it in.
fn enter(passage: &Passage) {
    let flush = || own::get().queues.flush();
    if inside::is_callback() {
        let stay = Stay::here();
        passage.enter_called_back(&flush, &stay);
        if stay.waited() {
            passage.stood_still();
        }
    } else {
        passage.enter(&flush);
    }
}

/// Runs what moves memory to `device` of the lease and is over when it returns, as a command of its
/// own that no queue sees.
pub(crate) fn at_once<T, E>(
    device: usize,
    kind: Kind,
    body: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let passage = Passage::new(state::get(), device, kind);
    enter(&passage);
    let result = body();
    passage.leave(result.is_ok());
    result
}

fn hand_over(
    vendor: &'static Vendor,
    queue: &Queue,
    command: &Arc<Command>,
    work: Work,
    real: impl FnOnce(*mut cl_event) -> cl_int,
) -> cl_int {
    let mut own: cl_event = null_mut();
    let wanted = !work.event.is_null();
    let at = if wanted || work.blocking { work.event } else { &raw mut own };
    let result = inside::accounted(|| real(at));
    if result != CL_SUCCESS || work.blocking {
        command.leave(result == CL_SUCCESS);
        return result;
    }
    queue.mark();
    // SAFETY: `at` is ours or the program's, and the driver has put the command's event there.
    let event = unsafe { at.read() };
    let pending = command.pending.load(Ordering::Acquire);
    if pending != 0 {
        own::get().graph.name(pending, event.addr());
    }
    own::get().flying.add(command, queue, event);
    watch(vendor, event, command);
    if !wanted && let Some(release) = vendor.original.clReleaseEvent {
        // SAFETY: the event was made for us; the command keeps its own reference.
        unsafe { release(event) };
    }
    result
}

/// Has the command counted out when its event completes.
fn watch(vendor: &Vendor, event: cl_event, command: &Arc<Command>) {
    let told = vendor.original.clSetEventCallback.is_some_and(|set| {
        let data = Arc::into_raw(Arc::clone(command)).cast_mut().cast();
        // SAFETY: the event is live; `completed` takes the reference in `data` back.
        let set = inside::accounted(|| unsafe { set(event, CL_COMPLETE, Some(completed), data) });
        if set != CL_SUCCESS {
            // SAFETY: the driver refused, so nobody else has the reference.
            drop(unsafe { Arc::from_raw(data.cast::<Command>()) });
        }
        set == CL_SUCCESS
    });
    if !told {
        // Nobody will say when it ends: it is not counted rather than counted for ever, and its
        // buffers stay where they are.
        std::mem::take(&mut *lock(&command.pins)).into_iter().for_each(Pin::keep);
        command.leave(false);
    }
}

unsafe extern "C" fn completed(_event: cl_event, status: cl_int, data: *mut c_void) {
    // SAFETY: `watch` passed this reference to exactly one callback.
    let command = unsafe { Arc::from_raw(data.cast_const().cast::<Command>()) };
    inside::guard((), || command.leave(status >= CL_COMPLETE));
}
