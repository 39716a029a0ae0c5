//! Whose turn it is among tenants: who has had least of what they deserve, level by level.
//!
//! What a tenant has is the larger of its parts of the pool's compute and memory (its dominant
//! resource), held now, and held before as far as that still counts. Below what it deserves it
//! stands before all that are above theirs; above it, what it has more counts divided by its
//! weight. Tenants of one parent are compared with each other, and only then those below them.

use super::Rank;
use crate::facts::Facts;
use crate::index::Index;
use crate::quota::{Holder, More};
use polder_model::{Resource, TenantPath};

/// Standing at exactly what is deserved.
const DESERVED: u128 = 1_000_000;

/// What the pool has, for parts of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    /// Thousandths of a device.
    compute: u64,
    memory: u64,
}

/// How much of theirs a tenant and each above it has had, from the root down; less is sooner.
pub(crate) type Standing = Vec<u128>;

/// A rank with the tenant's standing in its place among the terms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FairRank {
    before: (bool, Vec<i64>),
    standing: Standing,
    after: (Vec<i64>, polder_model::JobId),
}

impl FairRank {
    pub(crate) fn new(rank: &Rank, place: usize, standing: Standing) -> Self {
        let (before, after) = rank.terms.split_at(place.min(rank.terms.len()));
        let before = (rank.patient, before.to_vec());
        Self { before, standing, after: (after.to_vec(), rank.job) }
    }
}

impl Pool {
    pub(crate) fn of(index: &Index) -> Self {
        let mut pool = Self { compute: 0, memory: 0 };
        for (shape, hosts) in &index.known {
            for (class, number) in &shape.classes {
                let devices = u64::from(*number).saturating_mul(hosts.nodes());
                pool.compute = pool.compute.saturating_add(devices.saturating_mul(1000));
                let memory = class.memory.0.saturating_mul(devices);
                pool.memory = pool.memory.saturating_add(memory);
            }
        }
        pool
    }
}

/// A tenant's standing, given what a pass granted `more` to whom.
pub(crate) fn standing(
    facts: &Facts,
    index: &Index,
    pool: Pool,
    more: &More,
    tenant: &TenantPath,
) -> Standing {
    let mut levels: Standing = tenant
        .lineage()
        .map(|path| {
            let share = facts.tenants.get(&path).map(|facts| facts.tenant.share);
            let share = share.unwrap_or_default();
            let has = u128::from(has(facts, index, pool, more, &path));
            let deserved = u128::from(share.deserved);
            if has < deserved {
                return has * DESERVED / deserved;
            }
            // Journals of earlier versions hold weights of 0, which count as 1.
            let over = (has - deserved) * 1000 / u128::from(share.weight.max(1));
            DESERVED + over
        })
        .collect();
    levels.reverse();
    levels
}

/// What a tenant has, in thousandths of a device.
pub(crate) fn has(
    facts: &Facts,
    index: &Index,
    pool: Pool,
    more: &More,
    tenant: &TenantPath,
) -> u64 {
    let holder = Holder { tenant: tenant.clone(), user: None };
    let held = |resource: Resource| {
        let held = index.held.get(tenant).map_or(0, |held| held.of(resource));
        held.saturating_add(more.of(&holder).of(resource))
    };
    let added = more.of(&holder).compute;
    let weighted = index.weighted.get(tenant).copied().unwrap_or(0).saturating_add(added);
    // Memory as the compute that is the same part of the pool.
    let memory = u128::from(held(Resource::Memory)) * u128::from(pool.compute);
    let memory = memory.checked_div(u128::from(pool.memory)).unwrap_or(0);
    let now = weighted.max(u64::try_from(memory).unwrap_or(u64::MAX));
    let past = facts.policy.fair_share.half_life.and_then(|half_life| {
        let used = facts.tenants.get(tenant)?.used;
        let rate = index.weighted.get(tenant).copied().unwrap_or(0);
        Some(used.at(facts.now, rate, half_life).mean(half_life))
    });
    // What was had before counts as much as what is held now: who holds nothing but had much
    // stands behind who had nothing.
    now.saturating_add(past.unwrap_or(0))
}
