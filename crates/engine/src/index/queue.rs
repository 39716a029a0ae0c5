//! Those who wait, in order.
//!
//! Jobs of one tenant with equal needs, and equal rights where work yields, share a bucket: when
//! its first must wait, so must all of it. A pass looks at the first of each bucket only.

use crate::facts::{Facts, JobFacts};
use crate::need::Need;
use crate::order::{self, Rank, hours, next_change, rank};
use crate::reclaim::live;
use crate::{ahead, decided};
use polder_model::{
    Ask, Ground, JobId, Market, NodeId, PlaceAsk, Policy, TenantPath, Timestamp, UserName,
    WorkClass,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What jobs of one bucket have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BucketKey {
    pub(crate) tenant: TenantPath,
    /// Where a tenant limits each of its users: one user's wait is not another's.
    pub(crate) user: Option<UserName>,
    /// Where work yields: whether it is spot, and its priority, since those differ in what they
    /// may make others do.
    pub(crate) rights: Option<(bool, i32)>,
    pub(crate) need: Need,
    /// Where the policy looks ahead: how long it is believed to run, up to an eighth of an octave.
    /// A shorter job may start where an equal but longer one must wait.
    pub(crate) span: u64,
    /// Where nodes are reserved: the same of its time limit.
    limit: u64,
    /// Where classes have partitions: its class, and whether it may give back what it borrows.
    class: Option<(WorkClass, bool)>,
    /// Nodes it names or avoids, and the word by which its tasks are apart.
    place: Option<Box<Choice>>,
}

/// What of an ask chooses among nodes that are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Choice {
    nodes: BTreeSet<NodeId>,
    avoided: BTreeSet<NodeId>,
    apart: Option<String>,
}

/// The jobs that wait, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Queue {
    order: BTreeSet<Rank>,
    buckets: BTreeMap<Arc<BucketKey>, BTreeSet<Rank>>,
    /// The first of each bucket.
    heads: BTreeMap<Rank, Arc<BucketKey>>,
    /// Those of them that need no device.
    plain: BTreeMap<Rank, Arc<BucketKey>>,
    /// Jobs whose rank changes by itself, by when it does.
    changing: BTreeSet<(Timestamp, JobId)>,
}

/// A number's place among the eighths of octaves.
fn eighths(value: u64) -> u64 {
    match value.checked_ilog2() {
        Some(octave @ 3..) => u64::from(octave) * 8 + ((value >> (octave - 3)) & 7),
        _ => value,
    }
}

fn bucket_key(facts: &Facts, job: &JobFacts, now: Timestamp) -> BucketKey {
    let Ask { tenant, user, .. } = &job.ask;
    let user = facts.limits_users(tenant).then(|| user.clone());
    let rights = live::is_on(facts)
        .then(|| (job.ask.when.market == Market::Spot, order::priority(job, now)));
    let looks_ahead = facts.policy.backfill.reserved > 0;
    let span = if looks_ahead { eighths(ahead::span(facts, job).expected.0) } else { 0 };
    let is_reserved = !facts.reservations.is_empty();
    let limit = if is_reserved { eighths(ahead::span(facts, job).latest.0) } else { 0 };
    let PlaceAsk { nodes, nodes_avoided, apart, .. } = &job.ask.place;
    let is_choosy = !nodes.is_empty() || !nodes_avoided.is_empty() || apart.is_some();
    let place = is_choosy.then(|| {
        Box::new(Choice {
            nodes: nodes.clone(),
            avoided: nodes_avoided.clone(),
            apart: apart.clone(),
        })
    });
    let (tenant, need) = (tenant.clone(), Need::of(&job.ask));
    let class = (!facts.policy.classes.is_empty())
        .then(|| (job.ask.when.class, decided::may_yield(&job.ask, Ground::Quota)));
    BucketKey { tenant, user, rights, need, span, limit, class, place }
}

impl Queue {
    pub(crate) fn insert(&mut self, facts: &Facts, id: JobId, job: &JobFacts, now: Timestamp) {
        let rank = rank(&facts.policy, id, job, now);
        let key = Arc::new(bucket_key(facts, job, now));
        let bucket = self.buckets.entry(Arc::clone(&key)).or_default();
        let first = bucket.first().copied();
        bucket.insert(rank);
        if first.is_none_or(|first| rank < first) {
            first.map(|first| self.unlink_head(first));
            self.link_head(rank, key);
        }
        self.order.insert(rank);
        if let Some(change) = next_change(&facts.policy, job, now) {
            self.changing.insert((change, id));
        }
    }

    pub(crate) fn remove(&mut self, facts: &Facts, id: JobId, job: &JobFacts, now: Timestamp) {
        let rank = rank(&facts.policy, id, job, now);
        let key = bucket_key(facts, job, now);
        if let Some(bucket) = self.buckets.get_mut(&key) {
            bucket.remove(&rank);
            let first = bucket.first().copied();
            if first.is_none() {
                self.buckets.remove(&key);
            }
            if let Some(shared) = self.unlink_head(rank)
                && let Some(first) = first
            {
                self.link_head(first, shared);
            }
        }
        self.order.remove(&rank);
        if let Some(change) = next_change(&facts.policy, job, now) {
            self.changing.remove(&(change, id));
        }
    }

    fn link_head(&mut self, rank: Rank, key: Arc<BucketKey>) {
        if key.need.count == 0 {
            self.plain.insert(rank, Arc::clone(&key));
        }
        self.heads.insert(rank, key);
    }

    fn unlink_head(&mut self, rank: Rank) -> Option<Arc<BucketKey>> {
        self.plain.remove(&rank);
        self.heads.remove(&rank)
    }

    /// Moves the jobs whose rank changes between `now` and `at`.
    pub(crate) fn pass_time(&mut self, facts: &Facts, now: Timestamp, at: Timestamp) {
        if hours::order(&facts.policy, now) != hours::order(&facts.policy, at) {
            // Another order holds: everybody stands elsewhere. It does so a few times a day.
            let waiting = std::mem::take(self).order;
            for id in waiting.iter().map(|rank| rank.job) {
                if let Some(job) = facts.jobs.get(&id) {
                    self.insert(facts, id, job, at);
                }
            }
            return;
        }
        let due: Vec<JobId> = self.due(at).collect();
        for id in due {
            if let Some(job) = facts.jobs.get(&id) {
                self.remove(facts, id, job, now);
                self.insert(facts, id, job, at);
            }
        }
    }

    /// Whether the order at `at` differs from that at `now`, to which this was brought.
    pub(crate) fn is_stale(&self, policy: &Policy, now: Timestamp, at: Timestamp) -> bool {
        self.due(at).next().is_some() || hours::order(policy, now) != hours::order(policy, at)
    }

    /// Jobs whose rank has changed by `at` but which still stand by the old one.
    fn due(&self, at: Timestamp) -> impl Iterator<Item = JobId> + '_ {
        self.changing.range(..=(at, JobId(u64::MAX))).map(|(_, id)| *id)
    }

    /// The first moment after `after` at which a job's rank changes by itself.
    pub(crate) fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let later = Timestamp(after.0.saturating_add(1));
        self.changing.range((later, JobId(0))..).next().map(|(change, _)| *change)
    }

    /// Every job, in order.
    pub(crate) fn order(&self) -> &BTreeSet<Rank> {
        &self.order
    }

    /// The first of each bucket, in order.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (Rank, &BucketKey)> {
        self.heads.iter().map(|(rank, key)| (*rank, &**key))
    }

    /// The first of each bucket whose jobs need no device, in order, after a rank.
    pub(crate) fn plain_heads(&self, after: Rank) -> impl Iterator<Item = (Rank, &BucketKey)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.plain.range((Excluded(after), Unbounded)).map(|(rank, key)| (*rank, &**key))
    }

    /// The job after `rank` in its bucket.
    pub(crate) fn after(&self, key: &BucketKey, rank: Rank) -> Option<Rank> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.buckets.get(key)?.range((Excluded(rank), Unbounded)).next().copied()
    }
}
