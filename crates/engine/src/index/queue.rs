//! The order of those who wait: priority while it holds, then who came first.
//!
//! Jobs of one tenant with equal needs share a bucket: when its first must wait, so must all of
//! it. A pass looks at the first of each bucket only.

use crate::facts::{Facts, JobFacts};
use crate::need::Need;
use polder_model::{JobId, TenantPath, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A job's place in the order; the smallest comes first.
pub(crate) type Rank = (Reverse<i32>, JobId);

/// What jobs of one bucket have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BucketKey {
    pub(crate) tenant: TenantPath,
    pub(crate) need: Need,
}

/// The jobs that wait, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Queue {
    order: BTreeSet<Rank>,
    buckets: BTreeMap<Arc<BucketKey>, BTreeSet<Rank>>,
    /// The first of each bucket.
    heads: BTreeMap<Rank, Arc<BucketKey>>,
    /// Jobs whose priority still holds, by when it ends.
    expiring: BTreeSet<(Timestamp, JobId)>,
}

fn bucket_key(job: &JobFacts) -> BucketKey {
    BucketKey { tenant: job.ask.tenant.clone(), need: Need::of(&job.ask) }
}

/// Where a job stands at `now`: its priority counts as 0 from its expiry on.
pub(crate) fn rank(id: JobId, job: &JobFacts, now: Timestamp) -> Rank {
    let when = &job.ask.when;
    let expired = when.priority_expiry.is_some_and(|expiry| expiry <= now);
    (Reverse(if expired { 0 } else { when.priority }), id)
}

/// When a job's rank changes by itself.
fn expiry(job: &JobFacts, now: Timestamp) -> Option<Timestamp> {
    let when = &job.ask.when;
    when.priority_expiry.filter(|expiry| when.priority != 0 && *expiry > now)
}

impl Queue {
    pub(crate) fn insert(&mut self, id: JobId, job: &JobFacts, now: Timestamp) {
        let rank = rank(id, job, now);
        let key = Arc::new(bucket_key(job));
        let bucket = self.buckets.entry(Arc::clone(&key)).or_default();
        let first = bucket.first().copied();
        bucket.insert(rank);
        if first.is_none_or(|first| rank < first) {
            first.map(|first| self.heads.remove(&first));
            self.heads.insert(rank, key);
        }
        self.order.insert(rank);
        if let Some(expiry) = expiry(job, now) {
            self.expiring.insert((expiry, id));
        }
    }

    pub(crate) fn remove(&mut self, id: JobId, job: &JobFacts, now: Timestamp) {
        let rank = rank(id, job, now);
        let key = bucket_key(job);
        if let Some(bucket) = self.buckets.get_mut(&key) {
            bucket.remove(&rank);
            let first = bucket.first().copied();
            if let Some(shared) = self.heads.remove(&rank)
                && let Some(first) = first
            {
                self.heads.insert(first, shared);
            }
            if first.is_none() {
                self.buckets.remove(&key);
            }
        }
        self.order.remove(&rank);
        if let Some(expiry) = expiry(job, now) {
            self.expiring.remove(&(expiry, id));
        }
    }

    /// Moves the jobs whose priority ends between `now` and `at`.
    pub(crate) fn expire(&mut self, facts: &Facts, now: Timestamp, at: Timestamp) {
        let due: Vec<JobId> = self.due(at).collect();
        for id in due {
            if let Some(job) = facts.jobs.get(&id) {
                self.remove(id, job, now);
                self.insert(id, job, at);
            }
        }
    }

    /// Jobs whose priority has ended by `at` but which still stand by it.
    pub(crate) fn due(&self, at: Timestamp) -> impl Iterator<Item = JobId> + '_ {
        self.expiring.range(..=(at, JobId(u64::MAX))).map(|(_, id)| *id)
    }

    /// The first moment after `after` at which the order changes by itself.
    pub(crate) fn next_expiry(&self, after: Timestamp) -> Option<Timestamp> {
        let later = Timestamp(after.0.saturating_add(1));
        self.expiring.range((later, JobId(0))..).next().map(|(expiry, _)| *expiry)
    }

    /// Every job, in order.
    pub(crate) fn order(&self) -> &BTreeSet<Rank> {
        &self.order
    }

    /// The first of each bucket, in order.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (Rank, &BucketKey)> {
        self.heads.iter().map(|(rank, key)| (*rank, &**key))
    }

    /// The job after `rank` in its bucket.
    pub(crate) fn after(&self, key: &BucketKey, rank: Rank) -> Option<Rank> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.buckets.get(key)?.range((Excluded(rank), Unbounded)).next().copied()
    }
}
