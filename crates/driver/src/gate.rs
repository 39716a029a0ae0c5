//! The one way work reaches a device: wait for the lease's turn and for room, hand the command
//! over, and count it out when it completes.
#![allow(unsafe_code)] // events and their callbacks

use crate::attach::Attachment;
use crate::graph::{Dependence, Order};
use crate::inside;
use crate::meter::{Kind, Moment, Verdict};
use crate::queues::Queue;
use crate::state::{self, State};
use crate::vendor::Vendor;
use polder_gpuapi::opencl::{consts::*, types::*};
use polder_ledger::gate::{self, Bell, CONTENDED, Gate, UNGATED};
use polder_ledger::{Limits, monotonic_ns, wait_for_gate};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Longest sleep at a closed gate before looking whether the agent has been replaced.
const GATE_WAIT_NS: u64 = 100_000_000;
/// Longest sleep at an open gate whose turn is too short for the command: the turn may be made
/// longer without a word.
const TURN_WAIT_NS: u64 = 2_000_000;
/// How long a command waits for room before it goes anyway.
const ROOM_WAIT_NS: u64 = 250_000_000;
/// An arbiter that has not looked for this long is gone.
const HEARTBEAT_NS_MAX: u64 = 1_000_000_000;
/// The quantum when the page names none.
const QUANTUM_NS: u64 = 10_000_000;
/// Longest sleep of a process that keeps to its share by itself.
const SHARE_WAIT_NS: u64 = 20_000_000;

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Command {
    state: &'static State,
    device: usize,
    kind: Kind,
    estimate_ns: AtomicU64,
    launched_ns: AtomicU64,
    /// Counted as in flight.
    entered: AtomicBool,
    /// Its estimate was taken from the process's own credit.
    paid: AtomicBool,
    /// What it is called in the graph, when it was not ready.
    pending: AtomicU64,
}

impl Command {
    fn new(state: &'static State, device: usize, kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            state,
            device,
            kind,
            estimate_ns: AtomicU64::new(0),
            launched_ns: AtomicU64::new(0),
            entered: AtomicBool::new(false),
            paid: AtomicBool::new(false),
            pending: AtomicU64::new(0),
        })
    }

    fn entered(&self, estimate_ns: u64, now_ns: u64) {
        self.estimate_ns.store(estimate_ns, Ordering::Relaxed);
        self.launched_ns.store(now_ns, Ordering::Relaxed);
        self.entered.store(true, Ordering::Release);
    }

    /// Counts the command in whatever the gate says.
    pub(crate) fn enter_late(&self) {
        let Some(attachment) = &self.state.attachment else { return };
        gate::enter_late(attachment.slot());
        let now_ns = monotonic_ns();
        let quantum_ns = quantum(attachment.limits());
        let estimate = self.state.meters[self.device].launch(now_ns, self.kind, quantum_ns);
        self.entered(estimate, now_ns);
    }

    /// Waits until the command may go, and counts it in.
    fn enter(&self, attachment: &Attachment) {
        if inside::is_callback() {
            return self.enter_late();
        }
        let mut wait = Wait::new(self.state, attachment);
        loop {
            let now_ns = monotonic_ns();
            let limits = attachment.limits();
            let moment = Moment {
                now_ns,
                deadline_ns: None,
                quantum_ns: quantum(limits),
                impatient: wait.room_ns >= ROOM_WAIT_NS,
            };
            let seen = gate::look(limits);
            if seen.has(UNGATED) {
                return self.enter_late();
            }
            if now_ns.saturating_sub(limits.heartbeat_ns.load(Ordering::Acquire)) > HEARTBEAT_NS_MAX
            {
                if self.enter_alone(attachment, moment, &mut wait) {
                    return;
                }
                continue;
            }
            if !seen.open() {
                wait.at_gate(limits, seen, GATE_WAIT_NS);
                continue;
            }
            let deadline_ns =
                seen.has(CONTENDED).then(|| limits.deadline_ns.load(Ordering::Acquire));
            let meter = &self.state.meters[self.device];
            match meter.admit(Moment { deadline_ns, ..moment }, self.kind, wait.flushed) {
                Verdict::Go { estimate_ns } => match gate::enter(limits, attachment.slot()) {
                    Ok(_) => return self.entered(estimate_ns, now_ns),
                    Err((_, bell)) => {
                        meter.cancel(estimate_ns);
                        answer(attachment, bell);
                    }
                },
                Verdict::Room(_) => wait.for_room(now_ns),
                Verdict::Turn => {
                    wait.announce();
                    let left = deadline_ns.unwrap_or(0).saturating_sub(now_ns);
                    if left == 0 || meter.wait_for_end(left.min(TURN_WAIT_NS)) {
                        wait.at_gate(limits, seen, TURN_WAIT_NS);
                    }
                }
            }
        }
    }

    /// Without an arbiter: keeps to the lease's share, divided among its processes. False when the
    /// caller should look again.
    fn enter_alone(&self, attachment: &Attachment, moment: Moment, wait: &mut Wait<'_>) -> bool {
        let before = attachment.limits();
        attachment.refresh();
        if !std::ptr::eq(before, attachment.limits()) {
            return false;
        }
        wait.flush();
        let live = attachment.usage().slots().iter();
        let live = live.filter(|slot| slot.pid.load(Ordering::Relaxed) != 0).count().max(1);
        let compute = before.device[self.device].compute.load(Ordering::Relaxed);
        let share = (u64::from(compute.min(1000)) / live as u64).max(1);
        match self.state.meters[self.device].pay(moment, self.kind, share) {
            Ok(estimate_ns) => {
                gate::enter_late(attachment.slot());
                self.paid.store(true, Ordering::Relaxed);
                self.entered(estimate_ns, moment.now_ns);
                true
            }
            Err(pause) => {
                std::thread::sleep(pause.min(std::time::Duration::from_nanos(SHARE_WAIT_NS)));
                wait.room_ns += monotonic_ns().saturating_sub(moment.now_ns);
                false
            }
        }
    }

    /// Counts the command out. `completed` when it ran, so that its length can be learned.
    fn leave(&self, completed: bool) {
        if !self.state.is_current() {
            return;
        }
        let Some(attachment) = &self.state.attachment else { return };
        let pending = self.pending.load(Ordering::Acquire);
        if pending != 0 {
            self.state.graph.remove(pending);
        }
        if !self.entered.swap(false, Ordering::AcqRel) {
            return;
        }
        let meter = &self.state.meters[self.device];
        let estimate = self.estimate_ns.load(Ordering::Relaxed);
        if completed {
            let launched = self.launched_ns.load(Ordering::Relaxed);
            let paid = self.paid.load(Ordering::Relaxed);
            let longest = meter.complete(monotonic_ns(), launched, estimate, self.kind, paid);
            attachment.slot().longest_ns.store(longest, Ordering::Relaxed);
        } else {
            meter.cancel(estimate);
        }
        answer(attachment, gate::leave(attachment.limits(), attachment.slot()));
    }
}

fn quantum(limits: &Limits) -> u64 {
    match limits.quantum_ns.load(Ordering::Relaxed) {
        0 => QUANTUM_NS,
        quantum => quantum,
    }
}

fn answer(attachment: &Attachment, bell: Bell) {
    if bell == Bell::Ring {
        attachment.ring();
    }
}

/// One thread's wait for its turn.
struct Wait<'a> {
    state: &'static State,
    attachment: &'a Attachment,
    /// Since when the thread is announced as waiting.
    announced_ns: Option<u64>,
    flushed: bool,
    /// How long it has waited for room.
    room_ns: u64,
    room_since_ns: Option<u64>,
}

impl<'a> Wait<'a> {
    fn new(state: &'static State, attachment: &'a Attachment) -> Self {
        Self {
            state,
            attachment,
            announced_ns: None,
            flushed: false,
            room_ns: 0,
            room_since_ns: None,
        }
    }

    /// Hands over what is queued: it must be able to end while this thread waits.
    fn flush(&mut self) {
        if !self.flushed {
            self.state.queues.flush();
            self.flushed = true;
        }
    }

    fn for_room(&mut self, now_ns: u64) {
        self.flush();
        let since = *self.room_since_ns.get_or_insert(now_ns);
        self.room_ns = now_ns.saturating_sub(since);
    }

    /// Tells the arbiter that a thread waits.
    fn announce(&mut self) {
        self.flush();
        if self.announced_ns.is_none() {
            gate::wait_begin(self.attachment.slot());
            self.announced_ns = Some(monotonic_ns());
            self.attachment.ring();
        }
    }

    fn at_gate(&mut self, limits: &Limits, seen: Gate, timeout_ns: u64) {
        self.announce();
        let before = monotonic_ns();
        wait_for_gate(limits, seen, timeout_ns);
        if gate::look(limits) == seen && monotonic_ns().saturating_sub(before) >= GATE_WAIT_NS {
            self.attachment.refresh();
            // In case the first was not heard.
            self.attachment.ring();
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.announced_ns {
            let slot = self.attachment.slot();
            gate::wait_end(slot);
            slot.waited_ns.fetch_add(monotonic_ns().saturating_sub(since), Ordering::Relaxed);
        }
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
    /// Handles of the wait list.
    pub(crate) fn wait_list(&self) -> Vec<usize> {
        if self.list.is_null() {
            return Vec::new();
        }
        // SAFETY: the program says that this many events stand there, and the driver will read
        // them too.
        let list = unsafe { std::slice::from_raw_parts(self.list, self.events as usize) };
        list.iter().map(|event| event.addr()).collect()
    }
}

/// Queues a command: `real` calls the vendor's function and says what it returned, given where to
/// put the command's event.
pub(crate) fn launch(
    vendor: &'static Vendor,
    work: Work,
    real: impl FnOnce(*mut cl_event) -> cl_int,
) -> cl_int {
    if inside::is_accounted() {
        return real(work.event);
    }
    let state = state::get();
    let Some(attachment) = &state.attachment else { return CL_OUT_OF_RESOURCES };
    let Some(queue) = state.queues.get(work.queue) else {
        // Not a queue, or not a device of the lease: the driver knows what to answer.
        return inside::accounted(|| real(work.event));
    };
    let command = Command::new(state, queue.device, work.kind);
    let pending = (!state.graph.is_idle())
        .then(|| {
            let order = if queue.in_order() { Order::InLine } else { Order::Neither };
            let events = work.wait_list();
            let on = Dependence { queue: queue.key(), events: &events, order };
            state.graph.add(on, Some(Arc::clone(&command))).ok()
        })
        .flatten();
    match pending {
        Some(id) => command.pending.store(id, Ordering::Release),
        None => command.enter(attachment),
    }
    hand_over(vendor, &queue, &command, work, real)
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
        command.state.graph.name(pending, event.addr());
    }
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
        // Nobody will say when it ends: it is not counted rather than counted for ever.
        command.leave(false);
    }
}

unsafe extern "C" fn completed(_event: cl_event, status: cl_int, data: *mut c_void) {
    // SAFETY: `watch` passed this reference to exactly one callback.
    let command = unsafe { Arc::from_raw(data.cast_const().cast::<Command>()) };
    inside::guard((), || command.leave(status >= CL_COMPLETE));
}
