//! The one command that a lease may have on a device beyond what its turn or its neighbours leave
//! room for: longer than what is left of the turn, or beside a lease for whose work somebody waits.
//!
//! **Invariant.** Of the live processes of a lease at most one has such a command in flight, and in
//! one turn at most one of them launches one that passes its end, for as long as what stands in the
//! page is believed. Nothing that stands there holds anybody up for longer than twice [`BELIEVED_NS`],
//! nor for a moment after the process that it names has been reaped.
//!
//! One word of the [`Usage`] page says who had it last: slot, generation of the slot, the turn's
//! deadline, and whether it is still in flight. It changes hands by compare and exchange alone, so
//! there is nothing that two could half have, and a process that dies after any step leaves a word
//! that names it: whoever looks next asks the slot whether it lives. The word is the tenant's to
//! overwrite, and only its own lease reads it.
//!
//! **Line.** Who has just had it finds it free first. So it goes to the next slot after the last
//! one's in which a thread waits; whoever is not that one asks again a little later, no longer
//! polite. Between processes that keep asking it goes round.

use crate::layout::{SLOTS_MAX, Usage};
use crate::sync::Ordering;

/// For so long before and after the moment it names the word is believed, nanoseconds: a command that
/// takes longer has company after it, and what was left there by mistake holds nobody for ever.
pub const BELIEVED_NS: u64 = 1_000_000_000;
/// How often a taker looks again while others move before it lets them.
const LOOKS_MAX: u32 = if cfg!(loom) { 3 } else { 8 };

const FLYING: u64 = 1 << 63;
/// It passes the end of the turn that the moment names.
const LONG: u64 = 1 << 62;
const SLOT_SHIFT: u32 = 32;
const SLOT_MASK: u64 = 0xff;
const GENERATION_SHIFT: u32 = 40;
const GENERATION_MASK: u64 = (1 << 22) - 1;
const MOMENT_MASK: u64 = 0xffff_ffff;

const _: () = assert!(SLOTS_MAX as u64 <= SLOT_MASK + 1, "a slot's number has eight bits");

/// The right to have that command in flight. Given back with [`give_back`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Single(u64);

impl Single {
    /// A number to keep it by; never zero.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// What was kept; none for zero.
    #[must_use]
    pub const fn of_word(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(Self(word)) }
    }
}

/// Why it cannot be had now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A process of the lease has it in flight.
    Flying,
    /// The turn has had its long command.
    Turn,
    /// Another process of the lease is next.
    Line,
}

/// A moment as the word holds it: microseconds, the lower 32 bits of them.
const fn moment(ns: u64) -> u64 {
    (ns / 1000) & MOMENT_MASK
}

/// Whether `word` stands in the way at `now_ns` of a command that passes the end of the turn `turn`,
/// if it passes any.
fn holds(usage: &Usage, word: u64, now_ns: u64, turn: Option<u64>) -> Option<Held> {
    let slot = usage.slot.get(usize::try_from(word >> SLOT_SHIFT & SLOT_MASK).ok()?)?;
    let generation = u64::from(slot.generation.load(Ordering::Acquire)) & GENERATION_MASK;
    let lives = slot.pid.load(Ordering::Acquire) != 0;
    if word == 0 || !lives || generation != word >> GENERATION_SHIFT & GENERATION_MASK {
        return None;
    }
    // How far from now it is, whichever way: the numbers come round after an hour.
    let after = moment(now_ns).wrapping_sub(word) & MOMENT_MASK;
    if after.min(MOMENT_MASK + 1 - after) > BELIEVED_NS / 1000 {
        return None;
    }
    if word & LONG != 0 && turn.is_some_and(|turn| moment(turn) == word & MOMENT_MASK) {
        return Some(Held::Turn);
    }
    (word & FLYING != 0).then_some(Held::Flying)
}

/// What the next word says of the turn: that its long command is this one, or was one before it.
fn turn_of(found: u64, now_ns: u64, turn: Option<u64>) -> u64 {
    let ahead = (found & MOMENT_MASK).wrapping_sub(moment(now_ns)) & MOMENT_MASK;
    match turn {
        Some(deadline_ns) => LONG | moment(deadline_ns),
        None if found & LONG != 0 && ahead <= BELIEVED_NS / 1000 => found & (LONG | MOMENT_MASK),
        None => moment(now_ns),
    }
}

/// The slot that is next after the one that `word` names: the first in which a thread waits.
fn next(usage: &Usage, word: u64) -> Option<usize> {
    let slots = usage.slots();
    let last = usize::try_from(word >> SLOT_SHIFT & SLOT_MASK).unwrap_or_default();
    let waits = |index: &usize| {
        let slot = &slots[*index];
        slot.pid.load(Ordering::Acquire) != 0 && slot.waiting.load(Ordering::Acquire) > 0
    };
    (0..slots.len()).map(|step| (last + 1 + step) % slots.len()).find(waits)
}

/// Takes it for the process in slot `me`. `turn` is the turn's deadline when the command would pass
/// it. One that is not `polite` does not look who is next in line.
///
/// # Errors
/// Why it cannot be had now: ask again later.
pub fn take(
    usage: &Usage,
    me: usize,
    now_ns: u64,
    turn: Option<u64>,
    polite: bool,
) -> Result<Single, Held> {
    let generation = u64::from(usage.slot[me].generation.load(Ordering::Relaxed));
    let slot = u64::try_from(me).unwrap_or_default() & SLOT_MASK;
    let me_flying =
        FLYING | (generation & GENERATION_MASK) << GENERATION_SHIFT | slot << SLOT_SHIFT;
    let mut found = usage.single.load(Ordering::Acquire);
    for _ in 0..LOOKS_MAX {
        if let Some(held) = holds(usage, found, now_ns, turn) {
            return Err(held);
        }
        if polite && next(usage, found).is_some_and(|next| next != me) {
            return Err(Held::Line);
        }
        let mine = me_flying | turn_of(found, now_ns, turn);
        let taken = usage.single.compare_exchange(found, mine, Ordering::AcqRel, Ordering::Acquire);
        match taken {
            Ok(_) => return Ok(Single(mine)),
            Err(seen) => found = seen,
        }
    }
    Err(Held::Flying)
}

/// Its command is over, or was not launched after all. True when a thread of the lease waits and
/// should be woken.
pub fn give_back(usage: &Usage, single: Single) -> bool {
    let landed = single.0 & !FLYING;
    // Whoever has taken it since, when it was no longer believed, keeps it.
    let _ = usage.single.compare_exchange(single.0, landed, Ordering::AcqRel, Ordering::Acquire);
    next(usage, single.0).is_some()
}
