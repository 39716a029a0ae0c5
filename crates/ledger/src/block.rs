//! A thread's own block of launches: it launches many commands that are counted in flight as one, and
//! other threads may end the block at any moment.
//!
//! **Invariant.** Whoever ends the block has it to itself: no launch of the block is under way then, and
//! none begins later. Exactly one thread ends it.
//!
//! The owner says in one word that it is about to launch, and looks whether the block is closed; who
//! closes it says so in the same word, and looks whether the owner is launching. One of them sees the
//! other: a closer that finds the owner launching leaves the end to the owner, who finds the block closed
//! when its launch is over. Nobody waits.

use crate::sync::{AtomicU32, Ordering};

const CLOSED: u32 = 1;
const LAUNCHING: u32 = 2;

/// The state of a block. Only its owner launches; everybody may close it.
#[derive(Debug)]
pub struct Block(AtomicU32);

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

impl Block {
    /// An open block.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The owner is about to launch; false when the block is closed, and then it must not.
    #[must_use]
    #[inline]
    pub fn begin(&self) -> bool {
        let open = self.0.fetch_add(LAUNCHING, Ordering::AcqRel) & CLOSED == 0;
        if !open {
            // It belongs to somebody else, who has seen nobody launching.
            self.0.fetch_sub(LAUNCHING, Ordering::AcqRel);
        }
        open
    }

    /// The owner's launch is over; true when the block was closed meanwhile, and is the owner's to end.
    #[must_use]
    #[inline]
    pub fn end(&self) -> bool {
        self.0.fetch_sub(LAUNCHING, Ordering::AcqRel) & CLOSED != 0
    }

    /// Whether it was closed, as far as can be seen.
    #[must_use]
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closes the block; true when it is the caller's to end. Otherwise somebody else does, or has.
    #[must_use]
    pub fn close(&self) -> bool {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            if now & CLOSED != 0 {
                return false;
            }
            match self.0.compare_exchange(now, now | CLOSED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return now & LAUNCHING == 0,
                Err(seen) => now = seen,
            }
        }
    }
}
