//! One walk through a queue over the future.

use super::{Lookahead, Space, Span};
use polder_model::Timestamp;

/// Most jobs that are promised a start at once: conservative backfill is as deep as this.
pub const RESERVATIONS_MAX: usize = 256;
/// Most jobs looked at by one walk.
pub const SCAN_MAX: usize = 1 << 16;

/// A job that waits.
#[derive(Debug)]
pub struct Wanted<'q, K, N> {
    /// Which.
    pub key: K,
    /// What it asks for.
    pub need: &'q N,
    /// For how long.
    pub span: Span,
}

/// A job that starts now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start<K, P> {
    /// Which.
    pub key: K,
    /// Where.
    pub spots: P,
    /// For how long.
    pub span: Span,
}

/// A job that was promised a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved<K, P> {
    /// Which.
    pub key: K,
    /// When, if everything ends as expected.
    pub at: Timestamp,
    /// Where.
    pub spots: P,
}

/// What came of the walks through a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned<K, P> {
    /// What starts now, in the order in which it was found.
    pub starts: Vec<Start<K, P>>,
    /// What was promised a start, in order of the queue.
    pub reserved: Vec<Reserved<K, P>>,
    /// Jobs looked at.
    pub looked: usize,
}

impl<K, P> Default for Planned<K, P> {
    fn default() -> Self {
        Self { starts: Vec::new(), reserved: Vec::new(), looked: 0 }
    }
}

impl<K: Ord + Copy, P: Clone> Planned<K, P> {
    /// Starts what can start, in order, and promises a start to what cannot, until `depth` jobs
    /// have been promised one (at most [`RESERVATIONS_MAX`]). With a depth of nothing it stops at
    /// the first job that cannot start: first come, first served. The rest of the queue is left in
    /// `queue`. Whoever can never start, as far as the future is known, is passed over.
    pub fn walk<'q, S: Space<Spots = P>>(
        &mut self,
        look: &mut Lookahead<'_, S, K>,
        queue: &mut impl Iterator<Item = Wanted<'q, K, S::Need>>,
        depth: usize,
    ) where
        S::Need: 'q,
    {
        let depth = depth.min(RESERVATIONS_MAX);
        while self.looked < SCAN_MAX && (depth == 0 || self.reserved.len() < depth) {
            let Some(wanted) = queue.next() else { break };
            self.looked += 1;
            if self.start(look, &wanted) {
                continue;
            }
            if depth == 0 {
                break;
            }
            if let Some((at, spots)) = look.reserve(wanted.need, wanted.span) {
                self.reserved.push(Reserved { key: wanted.key, at, spots });
            }
        }
    }

    /// Starts whatever can start without touching a promise, in the order given.
    pub fn fill<'q, S: Space<Spots = P>>(
        &mut self,
        look: &mut Lookahead<'_, S, K>,
        rest: impl Iterator<Item = Wanted<'q, K, S::Need>>,
    ) where
        S::Need: 'q,
    {
        for wanted in rest {
            if self.looked >= SCAN_MAX || look.space().is_full() {
                break;
            }
            self.looked += 1;
            self.start(look, &wanted);
        }
    }

    fn start<S: Space<Spots = P>>(
        &mut self,
        look: &mut Lookahead<'_, S, K>,
        wanted: &Wanted<'_, K, S::Need>,
    ) -> bool {
        let Some(spots) = look.find_now(wanted.need, wanted.span) else { return false };
        look.start(&spots, wanted.span);
        self.starts.push(Start { key: wanted.key, spots, span: wanted.span });
        true
    }
}
