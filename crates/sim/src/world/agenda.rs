//! What is still to happen in a world, in order.

use polder_model::{JobId, LeaseId, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens by itself when its time comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// The next job of the workload comes.
    Arrive,
    /// A node has prepared a lease.
    Prepared(LeaseId),
    /// A lease's program runs.
    Started(LeaseId),
    /// A node has a lease's lower memory in force.
    Shrunk(LeaseId),
    /// A lease that was told to end is over.
    Gone(LeaseId),
    /// A job's work is done, unless its speed changed since (the number tells).
    Over(JobId, u64),
    /// A job's user cancels it, if it is not over.
    Leave(JobId),
    /// A job that a fault ended is submitted again: the one that has waited longest for it.
    Again,
    /// The engine asked to be asked again.
    Wake,
    /// A node crashes.
    Crash(usize),
    /// A node that crashed is back.
    Return(usize),
    /// A node is cut off.
    Cut(usize),
    /// A node that was cut off is in reach.
    Reach(usize),
    /// The server notices that a node does not call, if it is still the same outage.
    Missed(usize, u64),
    /// A node has been cut off for as long as its leases bear, if it still is.
    Forlorn(usize, u64),
    /// A device goes away.
    Lose(usize, usize),
    /// A device is back.
    Heal(usize, usize),
}

/// What is still to happen; of what happens at one moment, what was noted first goes first.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Timestamp, u64, Happening)>>,
    noted: u64,
    /// Entries that are not the beginning of a fault.
    live: u64,
}

impl Happening {
    /// The beginning of a fault: a run does not go on for its sake.
    fn is_fault(self) -> bool {
        matches!(self, Self::Crash(_) | Self::Cut(_) | Self::Lose(..))
    }
}

impl Agenda {
    pub(super) fn at(&mut self, at: Timestamp, happening: Happening) {
        self.noted += 1;
        self.live += u64::from(!happening.is_fault());
        self.heap.push(Reverse((at, self.noted, happening)));
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Whether anything but new faults is to come.
    pub(super) fn is_live(&self) -> bool {
        self.live > 0
    }

    /// What happens next, if it does by `until`.
    pub(super) fn pop(&mut self, until: Timestamp) -> Option<Happening> {
        if self.next()? > until {
            return None;
        }
        let Reverse((_, _, happening)) = self.heap.pop()?;
        self.live -= u64::from(!happening.is_fault());
        Some(happening)
    }
}
