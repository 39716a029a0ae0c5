//! When batches ended that were heard of late: by the device's own clock.
//!
//! A batch is heard of on a thread of the driver, where no function of the driver may be called, and
//! on a busy machine milliseconds after its end. So it is counted out there, kept here, and learned
//! from when a thread of the program next launches or waits in the same context: the event behind it
//! says how long after the one before it was reached. Nothing is learned that the device does not say;
//! where it says nothing, what was heard counts.
#![allow(unsafe_code)] // calls to the vendor

use crate::real::real;
use polder_driver::ends::{End, Ends};
use polder_driver::gate::Told;
use polder_driver::locks::lock;
use polder_gpuapi::cuda::{consts::*, types::*};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Most batches kept; one more is learned from as it was heard of.
const KEPT_MAX: usize = 1024;

/// A batch that was counted out.
#[derive(Debug)]
struct Kept {
    context: usize,
    event: usize,
    told: Told,
}

/// A context's clock.
#[derive(Debug, Default)]
struct Clock {
    ends: Ends,
    /// The last event looked at, and when it was reached, nanoseconds after the first one.
    last: Option<(usize, u64)>,
}

/// Batches that were counted out and not yet learned from.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// How many there are, so that a launch need not look.
    count: AtomicUsize,
    kept: Mutex<Vec<Kept>>,
    /// Held while the driver is asked; no thread of the driver ever takes it.
    clocks: Mutex<BTreeMap<usize, Clock>>,
}

impl Late {
    /// Keeps a batch that was heard of and counted out. Its event comes back from
    /// [`Late::look_up`], or at once when there is no room for it.
    pub(crate) fn keep(&self, context: usize, event: usize, told: Told) -> Option<usize> {
        let mut kept = lock(&self.kept);
        if kept.len() < KEPT_MAX {
            kept.push(Kept { context, event, told });
            self.count.store(kept.len(), Ordering::Release);
            return None;
        }
        // The program has not called us for a thousand batches.
        drop(kept);
        told.learn(End::heard(told.heard_ns()));
        Some(event)
    }

    /// Learns from the batches of the current context. Returns events that nobody needs any more.
    pub(crate) fn look_up(&self, context: usize) -> Vec<usize> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        // Another thread is at it.
        let Ok(mut clocks) = self.clocks.try_lock() else { return Vec::new() };
        let mut kept = lock(&self.kept);
        let due: Vec<_> = kept.extract_if(.., |one| one.context == context).collect();
        self.count.store(kept.len(), Ordering::Release);
        drop(kept);
        if due.is_empty() {
            return Vec::new();
        }
        let clock = clocks.entry(context).or_default();
        due.into_iter().filter_map(|one| clock.learn(one)).collect()
    }

    /// A context is gone with its events.
    pub(crate) fn forget(&self, context: usize) {
        let mut kept = lock(&self.kept);
        kept.retain(|one| one.context != context);
        self.count.store(kept.len(), Ordering::Release);
        drop(kept);
        lock(&self.clocks).remove(&context);
    }
}

impl Clock {
    /// Learns from one; returns the event before it.
    fn learn(&mut self, one: Kept) -> Option<usize> {
        let reached_ns = match self.last {
            None => Some(0),
            Some((event, at_ns)) => elapsed(event, one.event).map(|ns| at_ns.wrapping_add(ns)),
        };
        let end = match reached_ns {
            Some(ns) => self.ends.end(ns, one.told.heard_ns(), one.told.launched_ns()),
            None => {
                self.ends = Ends::default();
                End::heard(one.told.heard_ns())
            }
        };
        one.told.learn(end);
        self.last.replace((one.event, reached_ns.unwrap_or(0))).map(|(event, _)| event)
    }
}

/// From one event to another, nanoseconds; wraps round below zero.
fn elapsed(from: usize, to: usize) -> Option<u64> {
    let event = |event: usize| -> CUevent { std::ptr::with_exposed_provenance_mut(event) };
    let mut milliseconds = 0.0_f32;
    let known = real!(cuEventElapsedTime(&raw mut milliseconds, event(from), event(to)));
    if known != CUDA_SUCCESS {
        return None;
    }
    let ns = |ms: f32| {
        let whole = Duration::try_from_secs_f64(f64::from(ms) / 1000.0).ok()?;
        u64::try_from(whole.as_nanos()).ok()
    };
    match ns(milliseconds.abs()) {
        Some(ns) if milliseconds < 0.0 => Some(0_u64.wrapping_sub(ns)),
        other => other,
    }
}
