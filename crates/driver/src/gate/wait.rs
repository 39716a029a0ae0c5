//! One thread's wait at the gate: for the gate, for room, for the right to be the lease's single command.

use super::give_back;
use crate::attach::Attachment;
use crate::patience::{POLITE_NS, Patience, Right};
use crate::record;
use polder_ledger::gate::{self, Gate};
use polder_ledger::single::{Held, Single};
use polder_ledger::{Limits, monotonic_ns, wait_for_gate};
use std::sync::atomic::Ordering;

/// Longest sleep at a closed gate before looking whether the agent has been replaced.
pub(super) const GATE_WAIT_NS: u64 = 100_000_000;
/// Longest sleep at an open gate whose turn is too short for the command: the turn may be made
/// longer without a word.
pub(super) const TURN_WAIT_NS: u64 = 2_000_000;
/// How long a command waits for room before it goes anyway.
pub(super) const ROOM_WAIT_NS: u64 = 250_000_000;
/// How long a thread that the driver called back waits at a gate behind which something of its process
/// stays in flight, before it keeps to the share by itself: as long as the arbiter lets it drain at most.
pub(super) const STUCK_NS: u64 = 250_000_000;
/// How often such a thread asks what has become of the commands in flight.
pub(super) const LOOK_NS: u64 = 1_000_000;

/// The right to be the lease's single command, given back when it is not kept.
pub(super) struct Lent<'a> {
    attachment: &'a Attachment,
    right: Right,
}

impl Lent<'_> {
    /// What to give back when the command is over; none when it goes because it has waited so long.
    pub(super) fn keep(mut self) -> Option<Single> {
        match std::mem::replace(&mut self.right, Right::Waited) {
            Right::Own(single) => Some(single),
            Right::Waited => None,
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Right::Own(single) = self.right {
            give_back(self.attachment, single);
        }
    }
}

/// What a thread may hold up while it waits, on which the driver has called the program back.
pub trait HeldUp {
    /// Asks what has become of the process's commands in flight, and counts out what is over or has not
    /// begun.
    fn look(&self);
}

/// One thread's wait for its turn.
pub(super) struct Wait<'a> {
    attachment: &'a Attachment,
    flush: &'a dyn Fn(),
    held: Option<&'a dyn HeldUp>,
    /// Since when something has been in flight all the time, if this thread may hold it up.
    stuck_since_ns: Option<u64>,
    /// How long the gate has stood still under this thread's eyes.
    still_ns: u64,
    /// Since when the thread is announced as waiting.
    announced_ns: Option<u64>,
    pub(super) flushed: bool,
    /// How long it has waited for room.
    pub(super) room_ns: u64,
    /// How long it does before it is impatient.
    pub(super) room_most_ns: u64,
    room_since_ns: Option<u64>,
    /// How long it lets other commands of the lease go before it.
    pub(super) patience: Patience,
}

impl<'a> Wait<'a> {
    pub(super) fn new(
        attachment: &'a Attachment,
        flush: &'a dyn Fn(),
        held: Option<&'a dyn HeldUp>,
    ) -> Self {
        Self {
            attachment,
            flush,
            held,
            stuck_since_ns: None,
            still_ns: 0,
            announced_ns: None,
            flushed: false,
            room_ns: 0,
            room_most_ns: ROOM_WAIT_NS,
            room_since_ns: None,
            patience: Patience::default(),
        }
    }

    /// Whether the gate may stay closed because of what this thread holds up.
    pub(super) fn is_stuck(&self, now_ns: u64) -> bool {
        self.stuck_since_ns.is_some_and(|since| now_ns.saturating_sub(since) >= STUCK_NS)
    }

    /// Hands over what is queued: it must be able to end while this thread waits.
    pub(super) fn flush(&mut self) {
        if !self.flushed {
            (self.flush)();
            self.flushed = true;
        }
    }

    pub(super) fn for_room(&mut self, now_ns: u64) {
        self.flush();
        let since = *self.room_since_ns.get_or_insert(now_ns);
        self.room_ns = now_ns.saturating_sub(since);
    }

    /// Asks for the right to be the lease's single command, and waits a while when it cannot be had.
    pub(super) fn for_right(
        &mut self,
        limits: &Limits,
        seen: Gate,
        now_ns: u64,
        turn: Option<u64>,
    ) -> Option<Lent<'a>> {
        let (attachment, me) = (self.attachment, self.attachment.index());
        match self.patience.ask(attachment.usage(), me, now_ns, turn) {
            Ok(right) => return Some(Lent { attachment, right }),
            Err(held) => {
                if turn.is_none() {
                    self.for_room(now_ns);
                }
                if self.announced_ns.is_none() {
                    // Whoever gives it back wakes those who are seen to wait: ask again as one.
                    self.announce();
                    return None;
                }
                let most_ns = if held == Held::Line { POLITE_NS } else { TURN_WAIT_NS };
                self.at_gate(limits, seen, most_ns);
            }
        }
        None
    }

    /// Tells the arbiter that a thread waits.
    pub(super) fn announce(&mut self) {
        self.flush();
        if self.announced_ns.is_none() {
            gate::wait_begin(self.attachment.slot());
            self.announced_ns = Some(monotonic_ns());
            self.attachment.ring();
        }
    }

    pub(super) fn at_gate(&mut self, limits: &Limits, seen: Gate, mut timeout_ns: u64) {
        self.announce();
        let before = monotonic_ns();
        if let Some(held) = self.held {
            held.look();
            let flies = self.attachment.slot().inflight.load(Ordering::Acquire) > 0;
            self.stuck_since_ns = flies.then(|| self.stuck_since_ns.unwrap_or(before));
            timeout_ns = timeout_ns.min(LOOK_NS);
        }
        wait_for_gate(limits, seen, timeout_ns);
        if gate::look(limits) != seen {
            self.still_ns = 0;
            return;
        }
        self.still_ns += monotonic_ns().saturating_sub(before);
        if self.still_ns >= GATE_WAIT_NS {
            self.still_ns = 0;
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
            let waited_ns = monotonic_ns().saturating_sub(since);
            slot.waited_ns.fetch_add(waited_ns, Ordering::Relaxed);
            record::waited(waited_ns);
        }
    }
}
