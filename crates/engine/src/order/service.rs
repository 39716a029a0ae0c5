//! Who is next among jobs whose length nobody knows: the index of least expected cost.
//!
//! What a job has been given so far, in device time, says how long it will still last: most work
//! is short, and what has run for a day will run for another. [`ServiceHistory`] counts, octave by
//! octave of service, how many jobs ended there and how many went on, for all jobs and for ever
//! finer classes of them. From that it gives Gittins' index: over all places to stop, the least
//! device time that is spent for each job that ends. Who is cheapest goes first. Without a history
//! the index only grows with what a job was given, and the order is least attained service; with
//! one it knows where jobs of a class end and lets those through that are near.
//!
//! Invariants: the index hangs on nothing but what was observed (a snapshot restores it bit for
//! bit), is never 0, and does not change within an octave until evidence has grown by a sixteenth.
//! The history is bounded in tables and in counts. It decides nothing.

use polder_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Classes that are told apart; the one observed longest ago is forgotten first.
pub const SERVICE_TABLES_MAX: usize = 4_096;
/// Ends that a class remembers: then all its counts are halved, so that old ones fade.
pub const SERVICE_ENDS_MAX: u32 = 4_096;
/// A running job keeps its place until one that waits has an index of less than a part of its own.
pub const SERVICE_HOLD: u64 = 2;
/// Jobs of one width that were submitted on the same day are taken for parts of one undertaking.
pub const SERVICE_EPOCH_MICROS: u64 = 86_400 * 1_000_000;

/// Octaves of service, and so how often the index of a job changes as it is served.
pub const SERVICE_LEVELS: usize = LEVELS;

/// Octaves of service. The first holds everything below [`FIRST`], the last everything above.
const LEVELS: usize = 38;
/// The end of the first octave, in device microseconds: about a minute.
const FIRST: u64 = 1 << 26;
/// Octaves ahead in which a place to stop is sought; the device time doubles with each.
const AHEAD: usize = 8;
/// The part of jobs that end in an octave, before anything was observed: lengths that are spread
/// evenly over ten octaves.
const PRIOR: f64 = 0.1;
/// How many observations the coarser class counts for in a finer one.
const TRUST: f64 = 3.0;
/// No octave is believed to end more than this part of jobs.
const CERTAIN: f64 = 0.9;

/// What is known of a job when it is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceClass {
    /// Devices of the whole gang.
    pub devices: u32,
    /// A digest of what it is: its name, script or model; 0 where nothing is known.
    pub kind: u64,
    /// When it was submitted.
    pub submitted_at: Timestamp,
}

/// How much service jobs of each class took, as far as it was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHistory {
    /// By digest of the class.
    tables: BTreeMap<u64, Table>,
    /// Observations so far.
    observed: u64,
}

/// Ends and passages by octave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    now: Vec<Count>,
    /// What indexes are made of: `now` as it was when last a sixteenth had come on top.
    shown: Vec<Count>,
    /// Observations in `now` and in `shown`.
    size: u32,
    shown_size: u32,
    /// Ends in `now`.
    ends: u32,
    /// The number of its last observation, and of the one that `shown` is as of.
    touched: u64,
    shown_at: u64,
}

/// Jobs that ended in an octave, and that went on beyond it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count(u32, u32);

impl ServiceClass {
    /// The same for all jobs of one epoch that are alike otherwise.
    #[must_use]
    pub fn of_epoch(self) -> Self {
        let epoch = self.submitted_at.0 / SERVICE_EPOCH_MICROS;
        Self { submitted_at: Timestamp(epoch * SERVICE_EPOCH_MICROS), ..self }
    }

    /// From coarse to fine. Each finer one leans on the coarser as long as it has seen little.
    fn keys(&self) -> [u64; 4] {
        let devices = u64::from(self.devices);
        let key = |form: u64, part: u64| mixed(mixed(mixed(form) ^ devices) ^ part);
        let epoch = self.submitted_at.0 / SERVICE_EPOCH_MICROS;
        [0, key(1, 0), key(2, self.kind), key(3, epoch)]
    }
}

impl ServiceHistory {
    /// Notes that a job's service has grown from `from` to `to` device microseconds, and whether it
    /// is over there. Growth may be told in parts; what is not told is not known.
    pub fn observe(&mut self, class: &ServiceClass, from: u64, to: u64, is_over: bool) {
        let (from, to) = (level(from), level(to));
        if from >= to && !is_over {
            return;
        }
        self.observed = self.observed.saturating_add(1);
        for key in class.keys() {
            if !self.tables.contains_key(&key) && self.tables.len() >= SERVICE_TABLES_MAX {
                let oldest = self.tables.iter().min_by_key(|(key, table)| (table.touched, **key));
                if let Some(oldest) = oldest.map(|(key, _)| *key) {
                    self.tables.remove(&oldest);
                }
            }
            self.tables.entry(key).or_default().note(from, to, is_over, self.observed);
        }
    }

    /// The device microseconds that are spent for each job that ends, if jobs of this class that
    /// have been given `attained` run on to the best place to stop. The smallest goes first.
    #[must_use]
    pub fn index(&self, class: &ServiceClass, attained: u64) -> u64 {
        let first = level(attained);
        let last = (first + AHEAD).min(LEVELS - 1);
        let tables = class.keys().map(|key| self.tables.get(&key));
        let (mut alive, mut spent, mut least) = (1.0, 0.0, f64::MAX);
        let mut width = width(first);
        for octave in first..=last {
            let ending =
                tables.iter().flatten().fold(PRIOR, |coarser, table| table.ending(octave, coarser));
            let ending = ending.min(CERTAIN);
            // Those that end in an octave end, on average, in its middle.
            spent += alive * width * (1.0 - ending / 2.0);
            alive *= 1.0 - ending;
            least = f64::min(least, spent / (1.0 - alive));
            width *= if octave == 0 { 1.0 } else { 2.0 };
        }
        whole(least).max(1)
    }

    /// How often anything was observed.
    #[must_use]
    pub fn observed(&self) -> u64 {
        self.observed
    }

    /// The attained service, in device microseconds, at which the index is next another one.
    #[must_use]
    pub fn next_change(attained: u64) -> u64 {
        end(level(attained)).unwrap_or(u64::MAX)
    }

    /// Changes when an index of the class may have changed at the same attained service.
    #[must_use]
    pub fn stamp(&self, class: &ServiceClass) -> u64 {
        let tables =
            class.keys().map(|key| self.tables.get(&key).map_or(0, |table| table.shown_at));
        tables.into_iter().max().unwrap_or(0)
    }
}

/// A lot drawn by a job: among jobs that are alike and came at the same moment the smallest goes
/// first. One after another in the order of their numbers, a burst of a thousand like jobs would
/// be run through before its neighbour is tried at all; lots sample them.
#[must_use]
pub fn lot(job: u64) -> u64 {
    mixed(job)
}

impl Table {
    fn note(&mut self, from: usize, to: usize, is_over: bool, observation: u64) {
        self.now.resize(LEVELS, Count::default());
        for count in self.now.iter_mut().take(to).skip(from) {
            count.1 = count.1.saturating_add(1);
        }
        if is_over {
            if let Some(count) = self.now.get_mut(to) {
                count.0 = count.0.saturating_add(1);
            }
            self.ends += 1;
        }
        self.size = self.size.saturating_add(1);
        self.touched = observation;
        if self.ends > SERVICE_ENDS_MAX {
            self.fade();
        }
        if self.size > self.shown_size.saturating_add(self.shown_size / 16) {
            (self.shown, self.shown_size) = (self.now.clone(), self.size);
            self.shown_at = observation;
        }
    }

    fn fade(&mut self) {
        self.now.iter_mut().for_each(|count| *count = Count(count.0 / 2, count.1 / 2));
        self.ends /= 2;
        (self.size, self.shown_size) = (self.size / 2, self.shown_size / 2);
    }

    /// The part of jobs that end in an octave of those that reach it, seen together with its
    /// neighbours: where ends lie is known no better than that.
    fn ending(&self, octave: usize, coarser: f64) -> f64 {
        let near = octave.saturating_sub(1)..(octave + 2).min(self.shown.len());
        let near = self.shown.get(near).unwrap_or_default();
        let ends: f64 = near.iter().map(|count| f64::from(count.0)).sum();
        let passed: f64 = near.iter().map(|count| f64::from(count.1)).sum();
        (ends + TRUST * coarser) / (ends + passed + TRUST)
    }
}

/// The octave of a service.
fn level(attained: u64) -> usize {
    let octaves = (attained / FIRST).checked_ilog2().map_or(0, |octave| octave + 1);
    usize::try_from(octaves).unwrap_or(LEVELS).min(LEVELS - 1)
}

/// Where an octave ends, in device microseconds; the last does not.
fn end(level: usize) -> Option<u64> {
    let factor = u32::try_from(level).ok().and_then(|level| 1_u64.checked_shl(level))?;
    FIRST.checked_mul(factor).filter(|_| level + 1 < LEVELS)
}

/// How long an octave is, in device microseconds.
fn width(level: usize) -> f64 {
    let doubling = |factor: f64, _| factor * 2.0;
    let octaves = 1..level.max(1);
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    octaves.fold(FIRST as f64, doubling)
}

/// A number of device microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, as wanted; it is never negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// Mixes bits so that neighbours fall far apart (the finaliser of splitmix64, public domain).
fn mixed(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
