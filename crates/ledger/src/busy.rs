//! The device time that processes count of themselves, so that work which came and went between two looks
//! of the arbiter is charged too, and that of a process which is gone.
//!
//! **Invariant.** A process counts what a command took before it counts the command out: whoever sees
//! nothing in flight sees all that was counted for it. What a slot has counted never falls and is never
//! moved, whoever dies or is reaped when: the sum over all slots, free ones too, is all that was ever
//! counted in the lease.
//!
//! What is counted is the time during which a process has commands in flight on any device of the lease,
//! each moment once. The page is the tenant's: the sum may be anything, and only says what the lease
//! *owes at least*; the arbiter bounds it by the clock. Processes of older versions of layout 1 count
//! nothing.

use crate::layout::{Slot, Usage};
use crate::sync::Ordering;

/// Counts `ns` more nanoseconds of device time. Before the commands are counted out.
#[inline]
pub fn count(slot: &Slot, ns: u64) {
    slot.busy_ns.fetch_add(ns, Ordering::Relaxed);
}

/// All that was ever counted in the lease, nanoseconds, modulo 2^64. After a look at what is in flight.
#[must_use]
pub fn total(usage: &Usage) -> u64 {
    let slots = usage.slots().iter();
    slots.fold(0, |sum, slot| sum.wrapping_add(slot.busy_ns.load(Ordering::Relaxed)))
}
