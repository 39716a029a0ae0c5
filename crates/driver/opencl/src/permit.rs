//! Leave to begin, for a command that stood behind an event of the program's when it was queued.
//!
//! Such a command is with the driver before the lease has had a turn for it. So it stands behind an event of
//! ours too, which is set once it has passed the gate ([`crate::graph`]).
//!
//! **Invariant.** A command with such an event is counted as in flight before the event is set, and the event is set
//! whatever becomes of the command: nothing that the driver has waits for ever for us.
#![allow(unsafe_code)] // the vendor's events

use crate::queues::Queue;
use crate::vendor::Vendor;
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_gpuapi::opencl::{consts::*, types::*};
use std::sync::Mutex;

/// An event of ours in front of a command.
#[derive(Debug)]
struct Event {
    vendor: &'static Vendor,
    handle: usize,
}

impl Event {
    fn new(queue: &Queue) -> Option<Self> {
        let create = queue.vendor.original.clCreateUserEvent?;
        let (context, mut code) = (queue.context()?, CL_SUCCESS);
        // SAFETY: the queue's own context, which it keeps.
        let event = inside::accounted(|| unsafe { create(context, &raw mut code) });
        let made = code == CL_SUCCESS && !event.is_null();
        made.then(|| Self { vendor: queue.vendor, handle: event.expose_provenance() })
    }

    fn pointer(&self) -> cl_event {
        std::ptr::with_exposed_provenance_mut(self.handle)
    }

    fn set(&self) {
        if let Some(set) = self.vendor.original.clSetUserEventStatus {
            // SAFETY: our reference keeps it.
            inside::accounted(|| unsafe { set(self.pointer(), CL_COMPLETE) });
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Some(release) = self.vendor.original.clReleaseEvent {
            // SAFETY: the reference that its making gave.
            inside::accounted(|| unsafe { release(self.pointer()) });
        }
    }
}

#[derive(Debug)]
enum State {
    /// Nothing of ours stands in front of the command.
    Without,
    Waits(Event),
    Given,
}

/// A command's leave to begin.
#[derive(Debug)]
pub(crate) struct Permit(Mutex<State>);

impl Default for Permit {
    fn default() -> Self {
        Self(Mutex::new(State::Without))
    }
}

impl Permit {
    /// Puts an event of ours in front of the command, unless it has its leave by now; none too when the
    /// driver makes none.
    pub(crate) fn ask(&self, queue: &Queue) -> Option<cl_event> {
        let event = Event::new(queue)?;
        let mut state = lock(&self.0);
        match *state {
            State::Without => {
                let pointer = event.pointer();
                *state = State::Waits(event);
                Some(pointer)
            }
            State::Waits(_) | State::Given => None,
        }
    }

    /// Lets the command begin.
    pub(crate) fn give(&self) {
        let before = std::mem::replace(&mut *lock(&self.0), State::Given);
        if let State::Waits(event) = before {
            event.set();
        }
    }
}
