//! Runs: launches of one thread that follow one another on a stream while nobody else wants the device.
//! They take room together, and each only looks whether the gate is still what it was.
//!
//! **Invariant.** When the arbiter has closed the gate and seen nothing in flight, no launch of a run is
//! under way and none begins. A run of *dust*, so short that the device need not be asked when it is
//! over, counts each launch in and out by itself ([`polder_ledger::gate::pass`]). Every other run is
//! counted as one command from before its first launch until somebody ends it, which nobody can while
//! one of its launches is under way ([`polder_ledger::block`]).
//!
//! Who ends runs, and when their work is over, is each API's own affair.

use crate::gate::{self, Ahead};
use crate::locks::lock;
use crate::meter::{Kind, Member, Room};
use crate::state::State;
use polder_ledger::block::Block;
use polder_ledger::gate::{Gate, look, pass, pass_end, tally};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Kinds of command that a run can tell apart; a power of two.
const KINDS: usize = 64;
/// Places at which a kind may stand: a step of training has dozens of kernels, and whichever finds none
/// ends the run.
const WAYS: usize = 8;

/// Launches of one kind. Only the run's thread writes.
#[derive(Debug, Default)]
struct Tally {
    what: AtomicUsize,
    size: AtomicU8,
    /// What each is taken for, nanoseconds; 0 while the place is free.
    estimate_ns: AtomicU64,
    count: AtomicU32,
}

impl Tally {
    #[inline]
    fn is(&self, kind: Kind) -> bool {
        self.what.load(Ordering::Relaxed) == kind.what
            && self.size.load(Ordering::Relaxed) == kind.size
    }

    fn kind(&self) -> Kind {
        let (what, size) = (self.what.load(Ordering::Relaxed), self.size.load(Ordering::Relaxed));
        Kind { what, size, guess_ns: 0 }
    }
}

/// A thread's run of launches.
#[derive(Debug)]
pub struct Run {
    block: Block,
    /// The block is closed and whoever holds the run's batch may end it.
    over: AtomicBool,
    state: &'static State,
    gate: Gate,
    /// When the launch before it was handed over, nanoseconds of the monotonic clock.
    launched_ns: u64,
    /// None in a run of dust.
    ahead: Mutex<Option<Ahead>>,
    dust: bool,
    /// What may still be launched. Only the run's thread writes.
    left: AtomicU32,
    left_ns: AtomicU64,
    tallies: [Tally; KINDS],
    /// Launches that the lease's statistics know of.
    told: AtomicU32,
}

/// A launch of a run that is under way.
#[derive(Debug)]
#[must_use]
pub struct Launch {
    place: usize,
    estimate_ns: u64,
}

/// Where a kind may stand, in order. A place is taken for good, so a kind that is known stands before
/// the first that is free.
#[inline]
fn places(kind: Kind) -> impl Iterator<Item = usize> {
    let first = (kind.what >> 4) ^ (kind.what >> 9) ^ usize::from(kind.size);
    (0..WAYS).map(move |way| first.wrapping_add(way) % KINDS)
}

impl Run {
    /// A run under the gate that was `seen`, behind a launch at `launched_ns`, of the room that was taken
    /// `ahead`; without, it is one of dust, of at most `dust`.
    pub fn new(
        state: &'static State,
        seen: Gate,
        launched_ns: u64,
        ahead: Option<Ahead>,
        dust: Room,
    ) -> Self {
        let room = ahead.as_ref().map_or(dust, Ahead::room);
        Self {
            block: Block::new(),
            over: AtomicBool::new(false),
            state,
            gate: seen,
            launched_ns,
            dust: ahead.is_none(),
            ahead: Mutex::new(ahead),
            left: AtomicU32::new(room.commands),
            left_ns: AtomicU64::new(room.estimate_ns),
            tallies: std::array::from_fn(|_| Tally::default()),
            told: AtomicU32::new(0),
        }
    }

    /// From now on launches of `kind` are taken for so many nanoseconds; false when the run has no place
    /// for the kind. For the run's thread.
    pub fn know(&self, kind: Kind, estimate_ns: u64) -> bool {
        for tally in places(kind).filter_map(|at| self.tallies.get(at)) {
            let free = tally.estimate_ns.load(Ordering::Relaxed) == 0;
            if free || tally.is(kind) {
                if tally.count.load(Ordering::Relaxed) == 0 {
                    tally.what.store(kind.what, Ordering::Relaxed);
                    tally.size.store(kind.size, Ordering::Relaxed);
                    tally.estimate_ns.store(estimate_ns.max(1), Ordering::Relaxed);
                }
                return true;
            }
        }
        false
    }

    /// Where a kind stands that is known, and what it is taken for.
    #[inline(always)]
    fn find(&self, kind: Kind) -> Option<(usize, u64)> {
        for place in places(kind) {
            let tally = self.tallies.get(place)?;
            let estimate_ns = tally.estimate_ns.load(Ordering::Relaxed);
            if estimate_ns == 0 {
                return None;
            }
            if tally.is(kind) {
                return Some((place, estimate_ns));
            }
        }
        None
    }

    /// The kinds it has launched.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let used = |tally: &&Tally| tally.count.load(Ordering::Relaxed) > 0;
        self.tallies.iter().filter(used).map(Tally::kind)
    }

    /// Whether it has room for so much more. For its thread.
    #[inline]
    pub fn has_room(&self, estimate_ns: u64) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        left > 0 && self.left_ns.load(Ordering::Relaxed) >= estimate_ns
    }

    /// Whether launches may still follow, as far as can be seen. For its thread.
    pub fn goes_on(&self) -> bool {
        let same = |attachment: &crate::attach::Attachment| look(attachment.limits()) == self.gate;
        !self.over.load(Ordering::Acquire)
            && !self.block.is_closed()
            && self.state.is_current()
            && self.state.attachment.as_ref().is_some_and(same)
    }

    /// Begins a launch of `kind`; none when it has to ask. For the run's thread, which must then launch
    /// and [`end`](Self::end).
    #[inline(always)]
    pub fn begin(&self, kind: Kind) -> Option<Launch> {
        let (place, estimate_ns) = self.find(kind)?;
        if !self.has_room(estimate_ns) || !self.state.is_current() {
            return None;
        }
        let attachment = self.state.attachment.as_ref()?;
        if self.dust {
            if self.block.is_closed() {
                return None;
            }
            if let Err(bell) = pass(attachment.limits(), attachment.slot(), self.gate) {
                gate::answer(attachment, bell);
                return None;
            }
        } else if look(attachment.limits()) != self.gate || !self.block.begin() {
            return None;
        }
        Some(Launch { place, estimate_ns })
    }

    /// The launch has been handed over if it was `made`. True when the run was closed meanwhile and is
    /// this thread's to end.
    #[inline(always)]
    #[must_use]
    pub fn end(&self, launch: Launch, made: bool) -> bool {
        if let Some(tally) = self.tallies.get(launch.place).filter(|_| made) {
            let count = tally.count.load(Ordering::Relaxed);
            tally.count.store(count.wrapping_add(1), Ordering::Relaxed);
            // `begin` has found both to be enough.
            let left = self.left.load(Ordering::Relaxed).wrapping_sub(1);
            self.left.store(left, Ordering::Relaxed);
            let left_ns = self.left_ns.load(Ordering::Relaxed).wrapping_sub(launch.estimate_ns);
            self.left_ns.store(left_ns, Ordering::Relaxed);
        }
        if !self.dust {
            let mine = self.block.end();
            if mine {
                self.over.store(true, Ordering::Release);
            }
            return mine;
        }
        if let Some(attachment) = &self.state.attachment {
            gate::answer(attachment, pass_end(attachment.limits(), attachment.slot()));
        }
        if self.block.is_closed() {
            // Who closed it may have counted without this one.
            self.tell();
        }
        false
    }

    /// Closes it: no launch begins any more. True when it may be ended, by whoever holds the lock of its
    /// API's work; otherwise its thread will, for one of its launches is under way.
    #[must_use]
    pub fn close(&self) -> bool {
        if self.over.load(Ordering::Acquire) {
            return true;
        }
        let mine = self.block.close();
        if mine {
            self.over.store(true, Ordering::Release);
        }
        mine
    }

    fn used(&self) -> Room {
        self.tallies.iter().fold(Room::default(), |sum, tally| {
            let count = tally.count.load(Ordering::Relaxed);
            let each = tally.estimate_ns.load(Ordering::Relaxed);
            Room {
                commands: sum.commands.saturating_add(count),
                estimate_ns: sum.estimate_ns.saturating_add(each.saturating_mul(count.into())),
            }
        })
    }

    /// Gives back what was not used. Once it is closed.
    pub fn trim(&self) {
        if let Some(ahead) = lock(&self.ahead).as_mut() {
            ahead.trim(self.used());
        }
    }

    /// What it has launched. Once it is closed.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        let used = |tally: &&Tally| tally.count.load(Ordering::Relaxed) > 0;
        self.tallies.iter().filter(used).map(|tally| Member {
            kind: tally.kind(),
            count: tally.count.load(Ordering::Relaxed),
            launched_ns: self.launched_ns,
            estimate_ns: tally.estimate_ns.load(Ordering::Relaxed),
            counted: !self.dust,
            paid: false,
        })
    }

    /// Adds to the lease's statistics what was launched and not added yet. A run of dust may be closed in
    /// the middle of a launch: of its thread and of who closed it, each fenced, one sees the other.
    #[cold]
    fn tell(&self) {
        fence(Ordering::SeqCst);
        let all = self.used().commands;
        let before = self.told.fetch_max(all, Ordering::AcqRel);
        if let (Some(attachment), Some(more)) = (&self.state.attachment, all.checked_sub(before)) {
            tally(attachment.slot(), more.into());
        }
    }

    /// Counts it out. `told` when its [`members`](Self::members) were told to the meter.
    pub fn leave(&self, told: bool) {
        if !self.state.is_current() {
            return;
        }
        self.tell();
        if let Some(ahead) = lock(&self.ahead).take() {
            ahead.leave(told);
        }
    }
}
