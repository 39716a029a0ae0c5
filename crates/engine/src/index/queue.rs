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
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// What jobs of one bucket have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BucketKey {
    /// Compared first: it has a digest.
    pub(crate) need: Need,
    pub(crate) tenant: TenantPath,
    /// Where a tenant limits each of its users: one user's wait is not another's.
    pub(crate) user: Option<UserName>,
    /// Where work yields: whether it is spot, and its priority, since those differ in what they
    /// may make others do.
    pub(crate) rights: Option<(bool, i32)>,
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

/// A bucket's place; it may be used again when nobody is in the bucket any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BucketIx(u32);

/// Jobs of one bucket, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) key: Arc<BucketKey>,
    ranks: BTreeSet<Rank>,
}

/// The jobs that wait, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// Every job, and its bucket.
    order: BTreeMap<Rank, BucketIx>,
    /// By place; one without jobs is among the unused.
    buckets: Vec<Bucket>,
    unused: Vec<BucketIx>,
    by_key: BTreeMap<Arc<BucketKey>, BucketIx>,
    /// The first of each bucket.
    heads: BTreeMap<Rank, BucketIx>,
    /// Those of them that need no device.
    plain: BTreeMap<Rank, BucketIx>,
    /// Jobs whose rank changes by itself, by when it does.
    changing: BTreeSet<(Timestamp, JobId)>,
}

/// Places of buckets depend on the order in which jobs came, so they do not count.
impl PartialEq for Queue {
    fn eq(&self, other: &Self) -> bool {
        let named = |queue: &Self, ranks: &BTreeMap<Rank, BucketIx>| -> Vec<_> {
            let of = |(rank, ix): (&Rank, &BucketIx)| {
                (*rank, queue.bucket(*ix).map(|bucket| Arc::clone(&bucket.key)))
            };
            ranks.iter().map(of).collect()
        };
        let buckets = |queue: &Self| -> Vec<_> {
            queue.by_key.values().map(|ix| queue.bucket(*ix).cloned()).collect()
        };
        self.changing == other.changing
            && named(self, &self.order) == named(other, &other.order)
            && named(self, &self.heads) == named(other, &other.heads)
            && named(self, &self.plain) == named(other, &other.plain)
            && buckets(self) == buckets(other)
    }
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
        let ix = self.place(bucket_key(facts, job, now));
        let Some(bucket) = self.buckets.get_mut(place(ix)) else { return };
        let first = bucket.ranks.first().copied();
        bucket.ranks.insert(rank);
        let is_plain = bucket.key.need.count == 0;
        if first.is_none_or(|first| rank < first) {
            first.map(|first| self.unlink_head(first));
            self.link_head(rank, ix, is_plain);
        }
        self.order.insert(rank, ix);
        if let Some(change) = next_change(&facts.policy, job, now) {
            self.changing.insert((change, id));
        }
    }

    pub(crate) fn remove(&mut self, facts: &Facts, id: JobId, job: &JobFacts, now: Timestamp) {
        let rank = rank(&facts.policy, id, job, now);
        let bucket = self.order.remove(&rank);
        if let Some(ix) = bucket
            && let Some(bucket) = self.buckets.get_mut(place(ix))
        {
            bucket.ranks.remove(&rank);
            let (first, is_plain) = (bucket.ranks.first().copied(), bucket.key.need.count == 0);
            if first.is_none() {
                self.by_key.remove(&bucket.key);
                self.unused.push(ix);
            }
            if self.unlink_head(rank).is_some()
                && let Some(first) = first
            {
                self.link_head(first, ix, is_plain);
            }
        }
        if let Some(change) = next_change(&facts.policy, job, now) {
            self.changing.remove(&(change, id));
        }
    }

    /// The bucket with this key; made if there is none.
    fn place(&mut self, key: BucketKey) -> BucketIx {
        if let Some(ix) = self.by_key.get(&key) {
            return *ix;
        }
        let bucket = Bucket { key: Arc::new(key), ranks: BTreeSet::new() };
        let key = Arc::clone(&bucket.key);
        let ix = match self.unused.pop() {
            Some(ix) => {
                if let Some(slot) = self.buckets.get_mut(place(ix)) {
                    *slot = bucket;
                }
                ix
            }
            None => {
                self.buckets.push(bucket);
                BucketIx(u32::try_from(self.buckets.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.by_key.insert(key, ix);
        ix
    }

    fn bucket(&self, ix: BucketIx) -> Option<&Bucket> {
        self.buckets.get(place(ix))
    }

    fn link_head(&mut self, rank: Rank, ix: BucketIx, is_plain: bool) {
        if is_plain {
            self.plain.insert(rank, ix);
        }
        self.heads.insert(rank, ix);
    }

    fn unlink_head(&mut self, rank: Rank) -> Option<BucketIx> {
        let head = self.heads.remove(&rank)?;
        self.plain.remove(&rank);
        Some(head)
    }

    /// What a job of this rank needs, if it waits: what is known of its bucket.
    pub(crate) fn need(&self, rank: &Rank) -> Option<&Need> {
        Some(&self.bucket(*self.order.get(rank)?)?.key.need)
    }

    /// Moves the jobs whose rank changes between `now` and `at`.
    pub(crate) fn pass_time(&mut self, facts: &Facts, now: Timestamp, at: Timestamp) {
        if hours::order(&facts.policy, now) != hours::order(&facts.policy, at) {
            // Another order holds: everybody stands elsewhere. It does so a few times a day.
            let waiting = std::mem::take(self).order;
            for id in waiting.keys().map(|rank| rank.job) {
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
    pub(crate) fn ranks(&self) -> impl Iterator<Item = &Rank> {
        self.order.keys()
    }

    /// How many jobs stand at or before a rank.
    pub(crate) fn up_to(&self, rank: Rank) -> usize {
        self.order.range(..=rank).count()
    }

    /// Nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The first of each bucket, in order.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (Rank, &Bucket)> {
        self.heads.iter().filter_map(|(rank, ix)| Some((*rank, self.bucket(*ix)?)))
    }

    /// The first of each bucket whose jobs need no device, in order, after a rank.
    pub(crate) fn plain_heads(&self, after: Rank) -> impl Iterator<Item = (Rank, &Bucket)> {
        let plain = self.plain.range((Excluded(after), Unbounded));
        plain.filter_map(|(rank, ix)| Some((*rank, self.bucket(*ix)?)))
    }
}

impl Bucket {
    /// The job after `rank`.
    pub(crate) fn after(&self, rank: Rank) -> Option<Rank> {
        self.ranks.range((Excluded(rank), Unbounded)).next().copied()
    }
}

fn place(ix: BucketIx) -> usize {
    usize::try_from(ix.0).unwrap_or(usize::MAX)
}
