//! The commands in flight of a program that the driver calls back, by their events: a callback that
//! waits at the gate asks what has become of them.
//!
//! A driver may call back on the thread that begins what is next (PoCL does), or on the one that tells of
//! every end. While a callback waits there, what stands behind it neither begins nor is heard of, and the
//! lease would never be seen drained. So the waiting thread asks: what is over is counted out at once, and
//! what has not begun is paused, which counts it out until it begins or the wait ends.
//!
//! **Invariant.** A command is counted in while its driver says that it is under way, but for one look
//! ([`polder_driver::gate`]), and when it ends it is counted out once, whoever hears of it first.
//!
//! A program that asks for no callback pays a load for each command.
#![allow(unsafe_code)] // the vendor's events

use crate::gate::Command;
use crate::own;
use crate::queues::Queue;
use crate::vendor::Vendor;
use polder_driver::gate::HeldUp;
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_gpuapi::opencl::{consts::*, types::*};
use polder_ledger::monotonic_ns;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Commands in flight that can be asked about.
#[derive(Debug, Default)]
pub(crate) struct Flying {
    /// The program has asked to be called back.
    on: AtomicBool,
    /// By the address of the command.
    commands: Mutex<BTreeMap<usize, Flier>>,
    pulse: Mutex<Pulse>,
}

/// How long a process's CPU time is watched before it is said to stand still.
const PULSE_NS: u64 = 10_000_000;
/// It does when less than this part of the time is used.
const PULSE_PARTS: u64 = 4;

/// Whether the process computes anything: on a CPU device a command that runs does. PoCL calls one running
/// whose work is still to be taken up by threads that are all in callbacks.
#[derive(Debug, Default)]
struct Pulse {
    seen_ns: u64,
    cpu_ns: u64,
    still: bool,
}

impl Pulse {
    fn look(&mut self, now_ns: u64, cpu_ns: u64) -> bool {
        let passed_ns = now_ns.saturating_sub(self.seen_ns);
        if passed_ns >= PULSE_NS {
            let used_ns = cpu_ns.saturating_sub(self.cpu_ns);
            // After a longer time nobody has watched.
            let watched = passed_ns < 2 * PULSE_NS;
            let still = watched && used_ns < passed_ns / PULSE_PARTS;
            *self = Self { seen_ns: now_ns, cpu_ns, still };
        }
        self.still
    }
}

/// CPU time of the process, nanoseconds.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanoseconds = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanoseconds).unwrap_or(0)
}

#[derive(Debug)]
struct Flier {
    command: Arc<Command>,
    event: Arc<Event>,
    /// Paused; at that time it had not begun.
    paused_ns: Option<u64>,
}

/// A reference to a command's event.
#[derive(Debug)]
struct Event {
    vendor: &'static Vendor,
    handle: usize,
    /// On a CPU device what is not running has not begun.
    cpu: bool,
}

/// What a driver says of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ahead,
    UnderWay,
    Over { completed: bool },
}

impl Event {
    fn of(vendor: &'static Vendor, event: cl_event, cpu: bool) -> Option<Self> {
        let retain = vendor.original.clRetainEvent?;
        // SAFETY: the caller's event is live.
        let kept = unsafe { retain(event) } == CL_SUCCESS;
        kept.then(|| Self { vendor, handle: event.expose_provenance(), cpu })
    }

    fn stage(&self, still: bool) -> Stage {
        let event = std::ptr::with_exposed_provenance_mut(self.handle);
        let mut status: cl_int = CL_SUBMITTED;
        if let Some(get) = self.vendor.original.clGetEventInfo {
            let (what, size) = (CL_EVENT_COMMAND_EXECUTION_STATUS, size_of::<cl_int>());
            // SAFETY: our reference keeps the event; the answer fits. When the driver refuses, it
            // stays with what is counted as under way.
            inside::accounted(|| unsafe {
                get(event, what, size, (&raw mut status).cast(), null_mut())
            });
        }
        Stage::of(status, self.cpu, still)
    }
}

impl Stage {
    /// Of a device that is the host's CPU, and whose process stands `still`.
    const fn of(status: cl_int, cpu: bool, still: bool) -> Self {
        match status {
            CL_QUEUED => Self::Ahead,
            // What a GPU has been given it may have begun.
            CL_SUBMITTED if cpu => Self::Ahead,
            CL_RUNNING if cpu && still => Self::Ahead,
            CL_SUBMITTED | CL_RUNNING => Self::UnderWay,
            _ => Self::Over { completed: status >= CL_COMPLETE },
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Some(release) = self.vendor.original.clReleaseEvent {
            // SAFETY: the reference taken in `of`.
            unsafe { release(std::ptr::with_exposed_provenance_mut(self.handle)) };
        }
    }
}

impl Flying {
    /// The program wants to be called back: what it queues from now on is kept in mind.
    pub(crate) fn begin(&self) {
        self.on.store(true, Ordering::Release);
    }

    /// A command was queued; before anybody can have heard of its end.
    pub(crate) fn add(&self, command: &Arc<Command>, queue: &Queue, event: cl_event) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let Some(event) = Event::of(queue.vendor, event, queue.is_cpu()) else { return };
        let flier = Flier { command: Arc::clone(command), event: Arc::new(event), paused_ns: None };
        lock(&self.commands).insert(Arc::as_ptr(command).addr(), flier);
    }

    /// A command is over, and about to be counted out.
    pub(crate) fn remove(&self, command: &Command) {
        if self.on.load(Ordering::Acquire) {
            drop(self.take(std::ptr::from_ref(command).addr(), None));
        }
    }

    /// Counted in, as it is to be counted out; none when it is not that of `event`.
    fn take(&self, key: usize, event: Option<&Arc<Event>>) -> Option<Flier> {
        let mut commands = lock(&self.commands);
        // Another command may have its address by now, but not its event.
        let other = |flier: &Flier| event.is_some_and(|event| !Arc::ptr_eq(event, &flier.event));
        if other(commands.get(&key)?) {
            return None;
        }
        let flier = commands.remove(&key)?;
        if let Some(paused_ns) = flier.paused_ns {
            flier.command.resume(paused_ns);
        }
        Some(flier)
    }

    /// Asks about every command. The driver is asked without our lock: it may call back meanwhile.
    fn look(&self) {
        let asked: Vec<(usize, Arc<Event>)> = {
            let commands = lock(&self.commands);
            commands.iter().map(|(key, flier)| (*key, Arc::clone(&flier.event))).collect()
        };
        let still = lock(&self.pulse).look(monotonic_ns(), cpu_ns());
        for (key, event) in asked {
            // Before the driver is asked: it had not begun then if it has not afterwards.
            let now_ns = monotonic_ns();
            let stage = event.stage(still);
            if let Stage::Over { completed } = stage {
                if let Some(flier) = self.take(key, Some(&event)) {
                    flier.command.leave(completed);
                }
                continue;
            }
            let mut commands = lock(&self.commands);
            let same = commands.get_mut(&key).filter(|flier| Arc::ptr_eq(&flier.event, &event));
            let Some(flier) = same else { continue };
            match (stage, flier.paused_ns) {
                (Stage::Ahead, None) => {
                    flier.paused_ns = flier.command.pause().then_some(now_ns);
                }
                (Stage::Ahead, Some(_)) => flier.paused_ns = Some(now_ns),
                (Stage::UnderWay, Some(paused_ns)) => {
                    flier.paused_ns = None;
                    flier.command.resume(paused_ns);
                }
                _ => {}
            }
        }
    }

    /// Whatever is paused may begin now.
    fn resume(&self) {
        for flier in lock(&self.commands).values_mut() {
            if let Some(paused_ns) = flier.paused_ns.take() {
                flier.command.resume(paused_ns);
            }
        }
    }
}

/// A callback's stay at the gate: when it goes, what stands behind it may begin.
#[derive(Debug)]
pub(crate) struct Stay<'a> {
    flying: &'a Flying,
    looked: Cell<bool>,
}

impl Stay<'_> {
    /// Of the thread that asks.
    pub(crate) fn here() -> Stay<'static> {
        Stay { flying: &own::get().flying, looked: Cell::new(false) }
    }
}

impl HeldUp for Stay<'_> {
    fn look(&self) {
        if !inside::is_midway() {
            self.looked.set(true);
            self.flying.look();
        }
    }
}

impl Stay<'_> {
    /// Whether the thread has waited.
    pub(crate) fn waited(&self) -> bool {
        self.looked.get() || inside::is_midway()
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        if self.looked.get() {
            self.flying.resume();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_says_of_a_command_is_taken_for_what_it_means() {
        let over = |completed| [Stage::Over { completed }; 3];
        for (status, stages) in [
            (CL_QUEUED, [Stage::Ahead; 3]),
            (CL_SUBMITTED, [Stage::UnderWay, Stage::Ahead, Stage::Ahead]),
            (CL_RUNNING, [Stage::UnderWay, Stage::UnderWay, Stage::Ahead]),
            (CL_COMPLETE, over(true)),
            (-5, over(false)),
        ] {
            let places = [(false, true), (true, false), (true, true)];
            let found = places.map(|(cpu, still)| Stage::of(status, cpu, still));
            assert_eq!(found, stages, "{status}");
        }
    }

    #[test]
    fn a_process_stands_still_when_it_was_watched_and_used_no_time() {
        let mut pulse = Pulse::default();
        let at = |ms: u64| ms * 1_000_000;
        assert!(!pulse.look(at(1000), at(500)), "not watched");
        assert!(!pulse.look(at(1005), at(500)), "not for long enough");
        assert!(pulse.look(at(1010), at(501)) && pulse.look(at(1015), at(506)));
        assert!(!pulse.look(at(1021), at(511)), "it computes");
        assert!(!pulse.look(at(1100), at(511)), "nobody has watched");
    }
}
