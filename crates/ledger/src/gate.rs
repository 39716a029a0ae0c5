//! Turns: when a process may launch, and how the arbiter knows that a lease has drained.
//!
//! **Invariant.** When the arbiter has closed a lease's gate and then seen no command in flight in
//! any slot, no process of the lease launches until the gate opens again.
//!
//! It is Dekker's handshake: a process counts itself in, fences, and looks at the gate; the arbiter
//! closes the gate, fences, and looks at the counts. One of them sees the other. The same holds on
//! the way out: a process counts itself out, fences, and looks whether somebody waits to hear it.
//!
//! The gate is one futex word: eight bits of flags below a turn that changes with every write, so
//! that a waiter never sleeps through a change.

use crate::busy;
use crate::layout::{Limits, Slot, Usage};
use crate::sync::{Ordering, fence, fence_behind_change};

/// The lease's turn: ready commands may be launched.
pub const OPEN: u32 = 1;
/// Another lease wants a device: keep to the deadline.
pub const CONTENDED: u32 = 2;
/// Ring when nothing is in flight any more, though the gate is open: the arbiter watches for idling.
pub const WATCH: u32 = 4;
/// Enforcement is off: nothing waits.
pub const UNGATED: u32 = 8;
/// Somebody waits for the work of a lease that shares a device: one command of this lease in flight,
/// whichever of its processes it is of ([`crate::single`]), and beside it as many short ones as fit
/// into [`Limits::quantum_ns`], divided among the processes that have any ([`at_work`]).
pub const ONE: u32 = 16;
const FLAGS: u32 = 0xff;

/// A look at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate(pub u32);

impl Gate {
    /// Whether launches may go.
    #[must_use]
    pub const fn open(self) -> bool {
        self.0 & (OPEN | UNGATED) != 0
    }

    /// Whether `flag` is set.
    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// The next word: `flags` under a new turn.
    #[must_use]
    pub const fn next(self, flags: u32) -> Self {
        Self((self.0 & !FLAGS).wrapping_add(FLAGS + 1) | (flags & FLAGS))
    }
}

/// The gate as it is now.
#[must_use]
#[inline]
pub fn look(limits: &Limits) -> Gate {
    Gate(limits.gate.load(Ordering::Acquire))
}

/// What a process must do after counting itself out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Bell {
    /// Nobody waits to hear it.
    Quiet,
    /// Ring the doorbell: the arbiter waits for this lease to drain or go idle.
    Ring,
}

/// Counts one command in. `Err` when it is not the lease's turn: the command was counted out
/// again, ring if told so, wait for the gate to differ from what is returned, and try again.
///
/// # Errors
/// The gate that was found closed, and whether to ring.
pub fn enter(limits: &Limits, slot: &Slot) -> Result<Gate, (Gate, Bell)> {
    slot.inflight.fetch_add(1, Ordering::AcqRel);
    fence_behind_change();
    let gate = look(limits);
    if gate.open() {
        slot.launched.fetch_add(1, Ordering::Relaxed);
        return Ok(gate);
    }
    let bell = count_out(limits, slot);
    Err((gate, bell))
}

/// Counts one command in whatever the gate says: it is charged as overlap. For launches that cannot
/// wait any longer (see `driver::gate`).
pub fn enter_late(slot: &Slot) {
    slot.inflight.fetch_add(1, Ordering::AcqRel);
    fence_behind_change();
    slot.launched.fetch_add(1, Ordering::Relaxed);
}

/// Counts a command out that was counted in and has not begun, because what it stands behind waits for
/// the gate itself: it is counted in again with [`resume`] before or when it begins. Until then it was
/// never launched, so that what was is what has completed and what is in flight.
pub fn pause(limits: &Limits, slot: &Slot) -> Bell {
    slot.launched.fetch_sub(1, Ordering::Relaxed);
    count_out(limits, slot)
}

/// Counts in again what [`pause`] has counted out, whatever the gate says.
pub fn resume(slot: &Slot) {
    enter_late(slot);
}

/// Counts one command in if the gate still is what was `seen` open, without any statistics: for launches
/// that are over when [`pass_end`] says so, whatever the device does. When the gate has changed the
/// command must not be launched, and was counted out again.
///
/// # Errors
/// Whether to ring.
#[inline]
pub fn pass(limits: &Limits, slot: &Slot, seen: Gate) -> Result<(), Bell> {
    slot.inflight.fetch_add(1, Ordering::AcqRel);
    fence_behind_change();
    if look(limits) == seen { Ok(()) } else { Err(count_out(limits, slot)) }
}

/// Counts out what [`pass`] has counted in.
#[inline]
pub fn pass_end(limits: &Limits, slot: &Slot) -> Bell {
    count_out(limits, slot)
}

/// Counts a block of launches in as one command, while the caller has another in flight: between the two
/// nobody can have seen nothing in flight. What is launched under it need not look at the gate again.
pub fn hold(slot: &Slot) {
    slot.inflight.fetch_add(1, Ordering::AcqRel);
}

/// Counts a block of launches out.
pub fn release(limits: &Limits, slot: &Slot) -> Bell {
    count_out(limits, slot)
}

/// Adds commands that were counted in and out by [`pass`] or in a block.
pub fn tally(slot: &Slot, commands: u64) {
    slot.launched.fetch_add(commands, Ordering::Relaxed);
    slot.completed.fetch_add(commands, Ordering::Relaxed);
}

/// Counts a completed command out.
pub fn leave(limits: &Limits, slot: &Slot) -> Bell {
    slot.completed.fetch_add(1, Ordering::Relaxed);
    count_out(limits, slot)
}

#[inline]
fn count_out(limits: &Limits, slot: &Slot) -> Bell {
    let before = slot.inflight.fetch_sub(1, Ordering::AcqRel);
    fence_behind_change();
    let gate = look(limits);
    if before <= 1 && (!gate.open() || gate.has(WATCH)) { Bell::Ring } else { Bell::Quiet }
}

/// Announces that a thread waits for the gate. Ring afterwards unless the gate has opened.
pub fn wait_begin(slot: &Slot) {
    slot.waiting.fetch_add(1, Ordering::AcqRel);
    fence_behind_change();
}

/// The thread no longer waits.
pub fn wait_end(slot: &Slot) {
    slot.waiting.fetch_sub(1, Ordering::AcqRel);
}

/// Arbiter: writes `flags` under a new turn. The caller wakes the futex afterwards.
pub fn set(limits: &Limits, flags: u32) -> Gate {
    let next = look(limits).next(flags);
    limits.gate.store(next.0, Ordering::Release);
    fence(Ordering::SeqCst);
    next
}

/// Arbiter: commands in flight and threads waiting, over all processes of the lease. Counts that
/// a hostile process made absurd are cut to [`COUNT_MAX`] a slot.
#[must_use]
pub fn census(usage: &Usage) -> Census {
    census_but(usage, |_| false)
}

/// The same, but for what processes have under way that are `away` from the devices, by their ids: their
/// calls stand still in the driver, and nothing of them runs.
#[must_use]
pub fn census_but(usage: &Usage, away: impl Fn(u32) -> bool) -> Census {
    let mut census = Census::default();
    for slot in usage.slots() {
        let pid = slot.pid.load(Ordering::Acquire);
        if pid == 0 {
            continue;
        }
        census.processes += 1;
        if !away(pid) {
            census.inflight += u64::from(slot.inflight.load(Ordering::Acquire).min(COUNT_MAX));
            census.waiting += u64::from(slot.waiting.load(Ordering::Acquire).min(COUNT_MAX));
        }
        census.completed = census.completed.wrapping_add(slot.completed.load(Ordering::Relaxed));
        census.longest_ns = census.longest_ns.max(slot.longest_ns.load(Ordering::Relaxed));
    }
    // Behind the counts of what is in flight: what is no longer in flight is then counted here.
    census.busy_ns = busy::total(usage);
    census
}

/// Processes of the lease that have commands in flight, counting the one in slot `me` in any case.
#[must_use]
pub fn at_work(usage: &Usage, me: usize) -> u64 {
    let works = |(index, slot): &(usize, &Slot)| {
        *index != me
            && slot.pid.load(Ordering::Relaxed) != 0
            && slot.inflight.load(Ordering::Relaxed) > 0
    };
    1 + usage.slots().iter().enumerate().filter(works).count() as u64
}

/// The most commands or threads one process is believed to have.
pub const COUNT_MAX: u32 = 1 << 20;

/// What a lease's processes say of themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Processes attached.
    pub processes: u32,
    /// Ready commands launched and not complete.
    pub inflight: u64,
    /// Threads that wait for their turn.
    pub waiting: u64,
    /// Commands completed by the processes attached now.
    pub completed: u64,
    /// The longest command seen lately, nanoseconds.
    pub longest_ns: u64,
    /// Device time counted by all processes that there ever were, nanoseconds, modulo 2^64.
    pub busy_ns: u64,
}

impl Census {
    /// Whether the lease's processes had any command between an earlier look and this one.
    #[must_use]
    pub const fn moved_since(&self, before: &Self) -> bool {
        let counts = self.completed != before.completed || self.busy_ns != before.busy_ns;
        self.inflight > 0 || counts
    }
}
