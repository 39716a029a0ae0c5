//! What runs, by when it is expected to end and by when it must have.

use polder_model::{Micros, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// For how long something holds what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Expected: a prediction, or the limit where there is none.
    pub expected: Micros,
    /// At most: the time limit. [`Span::FOREVER`] without one.
    pub latest: Micros,
}

/// Something that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running<P> {
    /// When it is expected to end: never after `latest`.
    pub expected: Timestamp,
    /// When it is ended if it has not.
    pub latest: Timestamp,
    /// What it holds.
    pub spots: P,
}

/// Everything that runs, in the order in which it ends. Kept from pass to pass.
#[derive(Clone, Debug)]
pub struct Ends<P, K> {
    running: BTreeMap<K, Running<P>>,
    by_expected: BTreeSet<(Timestamp, K)>,
    by_latest: BTreeSet<(Timestamp, K)>,
}

impl Span {
    /// Longer than anything.
    pub const FOREVER: Micros = Micros(u64::MAX);

    /// A prediction under a limit: never past it.
    #[must_use]
    pub fn new(expected: Micros, latest: Micros) -> Self {
        Self { expected: expected.min(latest), latest }
    }

    /// Exactly so long.
    #[must_use]
    pub fn exactly(length: Micros) -> Self {
        Self { expected: length, latest: length }
    }

    /// What started at a moment and lasts so long.
    pub(super) fn from<P>(self, at: Timestamp, spots: P) -> Running<P> {
        Running { expected: at.after(self.expected), latest: at.after(self.latest), spots }
    }
}

impl<P, K: Ord + Copy> Default for Ends<P, K> {
    fn default() -> Self {
        Self { running: BTreeMap::new(), by_expected: BTreeSet::new(), by_latest: BTreeSet::new() }
    }
}

impl<P, K: Ord + Copy> Ends<P, K> {
    /// Something started. An older entry of the same key is replaced.
    pub fn started(&mut self, key: K, at: Timestamp, span: Span, spots: P) {
        self.insert(key, span.from(at, spots));
    }

    /// It ended: gives back what it held.
    pub fn ended(&mut self, key: K) -> Option<Running<P>> {
        let running = self.running.remove(&key)?;
        self.by_expected.remove(&(running.expected, key));
        self.by_latest.remove(&(running.latest, key));
        Some(running)
    }

    /// It is now expected to end then, but never after its limit.
    pub fn expect(&mut self, key: K, expected: Timestamp) {
        if let Some(running) = self.ended(key) {
            let expected = expected.min(running.latest);
            self.insert(key, Running { expected, ..running });
        }
    }

    /// What has outlived what was expected of it, the earliest first: to be predicted
    /// anew (see [`crate::predict::Predictor::longer`]). What has reached its limit is being ended and is not here.
    pub fn overdue(&self, now: Timestamp) -> impl Iterator<Item = (K, &Running<P>)> + '_ {
        let due = self.by_expected.iter().take_while(move |(expected, _)| *expected <= now);
        due.filter_map(|(_, key)| Some((*key, self.running.get(key)?)))
            .filter(move |(_, running)| running.latest > now)
    }

    /// When the first of what runs is expected to end.
    #[must_use]
    pub fn first_expected(&self) -> Option<Timestamp> {
        self.by_expected.first().map(|(expected, _)| *expected)
    }

    /// What runs under this key.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&Running<P>> {
        self.running.get(&key)
    }

    /// How many run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Nothing runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn expected(&self) -> impl Iterator<Item = (Timestamp, &P)> + Clone + '_ {
        let ends = self.by_expected.iter();
        ends.filter_map(|(at, key)| Some((*at, &self.running.get(key)?.spots)))
    }

    pub(super) fn latest(&self) -> impl Iterator<Item = (Timestamp, &P)> + Clone + '_ {
        let ends = self.by_latest.iter();
        ends.filter_map(|(at, key)| Some((*at, &self.running.get(key)?.spots)))
    }

    fn insert(&mut self, key: K, running: Running<P>) {
        self.ended(key);
        self.by_expected.insert((running.expected, key));
        self.by_latest.insert((running.latest, key));
        self.running.insert(key, running);
    }
}
