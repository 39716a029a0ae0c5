//! The line that a walk goes along: the first of each bucket of the queue, the soonest first.

use crate::index::queue::{Bucket, Queue};
use crate::order::Rank;
use crate::order::fair::{FairRank, Standing};
use polder_model::TenantPath;
use std::collections::BTreeMap;
use std::iter::Peekable;

/// Heads of buckets, the soonest first.
pub(crate) enum Line<'q> {
    /// By rank alone: the queue's own order, of which a walk reads as far as it comes.
    Ranked(Ranked<'q>),
    /// With tenants' fair shares compared in the place of one term. They change with each grant,
    /// always for the worse, so a head is compared anew when its turn seems to have come.
    Fair { place: usize, heads: BTreeMap<FairRank, (Rank, &'q Bucket)> },
}

/// Heads by rank.
pub(crate) struct Ranked<'q> {
    heads: Peekable<Box<dyn Iterator<Item = (Rank, &'q Bucket)> + 'q>>,
    /// Heads that came up when those before them were granted.
    again: BTreeMap<Rank, &'q Bucket>,
}

impl<'q> Line<'q> {
    /// `fair` is the place among the terms where fair shares are compared, if they are.
    pub(crate) fn new(
        queue: &'q Queue,
        fair: Option<usize>,
        standing: impl Fn(&TenantPath) -> Standing,
    ) -> Self {
        let Some(place) = fair else {
            let heads: Box<dyn Iterator<Item = _> + 'q> = Box::new(queue.heads());
            return Self::Ranked(Ranked { heads: heads.peekable(), again: BTreeMap::new() });
        };
        let mut known: BTreeMap<&TenantPath, Standing> = BTreeMap::new();
        let heads = queue.heads().map(|(rank, bucket)| {
            let tenant = &bucket.key.tenant;
            let of = known.entry(tenant).or_insert_with(|| standing(tenant));
            (FairRank::new(&rank, place, of.clone()), (rank, bucket))
        });
        Self::Fair { place, heads: heads.collect() }
    }

    /// The next head.
    pub(crate) fn next(
        &mut self,
        standing: impl Fn(&TenantPath) -> Standing,
    ) -> Option<(Rank, &'q Bucket)> {
        match self {
            Self::Ranked(ranked) => ranked.next(),
            Self::Fair { place, heads } => loop {
                let (was, (rank, bucket)) = heads.pop_first()?;
                let is = FairRank::new(&rank, *place, standing(&bucket.key.tenant));
                let overtaken = heads.first_key_value().is_some_and(|(next, _)| *next < is);
                if is <= was || !overtaken {
                    return Some((rank, bucket));
                }
                heads.insert(is, (rank, bucket));
            },
        }
    }

    /// Puts the next of a bucket whose head was granted in line.
    pub(crate) fn push(
        &mut self,
        rank: Rank,
        bucket: &'q Bucket,
        standing: impl Fn(&TenantPath) -> Standing,
    ) {
        match self {
            Self::Ranked(ranked) => drop(ranked.again.insert(rank, bucket)),
            Self::Fair { place, heads } => {
                let tenant = &bucket.key.tenant;
                heads.insert(FairRank::new(&rank, *place, standing(tenant)), (rank, bucket));
            }
        }
    }

    /// From here on only jobs that need no device; `rank` is that of the last head.
    pub(crate) fn narrow(&mut self, queue: &'q Queue, rank: Rank) {
        match self {
            Self::Ranked(ranked) => {
                let heads: Box<dyn Iterator<Item = _> + 'q> = Box::new(queue.plain_heads(rank));
                ranked.heads = heads.peekable();
                ranked.again.retain(|_, bucket| bucket.key.need.count == 0);
            }
            Self::Fair { heads, .. } => heads.retain(|_, (_, bucket)| bucket.key.need.count == 0),
        }
    }

    /// Whether one job comes before another now.
    pub(crate) fn is_before(
        &self,
        (one, its): (&Rank, &TenantPath),
        (other, theirs): (&Rank, &TenantPath),
        standing: impl Fn(&TenantPath) -> Standing,
    ) -> bool {
        match self {
            Self::Ranked(_) => one < other,
            Self::Fair { place, .. } => {
                let fair = |rank, of: &TenantPath| FairRank::new(rank, *place, standing(of));
                fair(one, its) < fair(other, theirs)
            }
        }
    }
}

impl<'q> Ranked<'q> {
    fn next(&mut self) -> Option<(Rank, &'q Bucket)> {
        let head = self.heads.peek().map(|(rank, _)| *rank);
        let next = self.again.first_key_value().map(|(rank, _)| *rank);
        let from_heads = head.is_some_and(|head| next.is_none_or(|next| head < next));
        if from_heads { self.heads.next() } else { self.again.pop_first() }
    }
}
