//! What runs and when it is believed to end, kept from event to event while the policy looks ahead.
//!
//! Who has outlived what was believed of it is believed to end at the next power of two of its time,
//! and never past its limit. That depends on the moment alone; it is worked out for those who have
//! outlived it since the last moment asked about, and for all when an earlier one is asked about.

use super::{Ends, Laid, laid, span};
use crate::backfill::Span;
use crate::facts::{Facts, LeaseFacts};
use crate::index::Index;
use crate::predict::next_octave;
use crate::scratch::Scratch;
use polder_model::{LeaseId, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, RwLockReadGuard};

/// What runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Scratch<Kept>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) ends: Ends,
    /// Since when each runs, and what was believed of it when it was granted.
    begun: BTreeMap<LeaseId, (Timestamp, Span)>,
    /// The last moment asked about.
    at: Timestamp,
}

/// Equal when the same runs: what is believed of it follows from the moment.
impl PartialEq for Runs {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.0.borrow(), other.0.borrow());
        let spots = |kept: &Kept, id: &LeaseId| kept.ends.get(*id).map(|run| run.spots.clone());
        one.begun == other.begun && one.begun.keys().all(|id| spots(&one, id) == spots(&other, id))
    }
}

impl Runs {
    /// What is believed at a moment.
    pub(crate) fn at(&self, at: Timestamp) -> RwLockReadGuard<'_, Kept> {
        self.0.borrow_mut().bring(at);
        self.0.borrow()
    }

    fn set(&mut self, id: LeaseId, start: Timestamp, span: Span, laid: Laid) {
        let kept = self.0.get_mut();
        kept.begun.insert(id, (start, span));
        kept.ends.started(id, start, span, Arc::new([laid]));
    }

    pub(crate) fn remove(&mut self, id: LeaseId) {
        let kept = self.0.get_mut();
        kept.begun.remove(&id);
        kept.ends.ended(id);
    }
}

impl Kept {
    fn bring(&mut self, at: Timestamp) {
        if at < self.at {
            for (id, (start, span)) in &self.begun {
                self.ends.expect(*id, start.after(span.expected));
            }
        }
        self.at = at;
        let late: Vec<LeaseId> = self.ends.overdue(at).map(|(id, _)| id).collect();
        for id in late {
            if let Some((start, _)) = self.begun.get(&id) {
                self.ends.expect(id, start.after(next_octave(at.since(*start))));
            }
        }
    }
}

impl Index {
    /// Takes in anew what a lease holds and for how long, where the policy looks ahead.
    pub(crate) fn link_run(&mut self, facts: &Facts, id: LeaseId, lease: &LeaseFacts) {
        if facts.policy.backfill.reserved == 0 {
            return;
        }
        let lease = &lease.lease;
        let job = facts.jobs.get(&lease.job);
        let Some((job, laid)) = job.and_then(|job| Some((job, laid(self, lease, job)?))) else {
            return self.runs.remove(id);
        };
        // Who joined later ends with the others.
        let began = job.hold.as_ref().and_then(|hold| hold.started_at);
        let joined = began.filter(|began| *began < lease.granted_at);
        let start = joined.or(lease.started_at).unwrap_or(lease.granted_at);
        self.runs.set(id, start, span(facts, job), laid);
    }
}
