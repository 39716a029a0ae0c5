//! Whether a tenant, and each above it, may hold more.

use crate::Held;
use crate::facts::Facts;
use crate::index::Index;
use polder_model::{Resource, Tenant, TenantPath};
use std::collections::BTreeMap;

/// What a quota counts, in the order in which the first one passed is named.
const RESOURCES: [Resource; 3] = [Resource::Devices, Resource::Compute, Resource::Memory];

/// A quota that leaves too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) tenant: TenantPath,
    pub(crate) resource: Resource,
    pub(crate) limit: u64,
    pub(crate) used: u64,
}

/// The most a tenant may hold of a resource.
pub(crate) fn limit(tenant: &Tenant, resource: Resource) -> Option<u64> {
    let quota = &tenant.quota;
    match resource {
        Resource::Devices => quota.devices.map(u64::from),
        Resource::Compute => quota.compute,
        Resource::Memory => quota.memory.map(|memory| memory.0),
    }
}

/// The limits of a tenant and of each above it, nearest first.
pub(crate) fn limits<'a>(
    facts: &'a Facts,
    tenant: &'a TenantPath,
) -> impl Iterator<Item = (TenantPath, Resource, u64)> + 'a {
    tenant.lineage().flat_map(move |path| {
        let tenant = facts.tenants.get(&path).map(|facts| &facts.tenant);
        let of = move |resource| Some((resource, limit(tenant?, resource)?));
        RESOURCES
            .into_iter()
            .filter_map(of)
            .map(move |(resource, limit)| (path.clone(), resource, limit))
    })
}

/// Tasks of `each` that a tenant may still start, given what a pass granted `more` to whom; and
/// the quota that leaves the fewest, if any counts.
pub(crate) fn room(
    facts: &Facts,
    index: &Index,
    more: &BTreeMap<TenantPath, Held>,
    tenant: &TenantPath,
    each: Held,
) -> (u64, Option<Shortage>) {
    let mut fewest = (u64::MAX, None);
    for (tenant, resource, limit) in limits(facts, tenant) {
        let amount = |held: Option<&Held>| held.map_or(0, |held| held.of(resource));
        let used = amount(index.held.get(&tenant)).saturating_add(amount(more.get(&tenant)));
        let left = limit.saturating_sub(used).checked_div(each.of(resource));
        if let Some(tasks) = left.filter(|tasks| *tasks < fewest.0) {
            fewest = (tasks, Some(Shortage { tenant, resource, limit, used }));
        }
    }
    fewest
}

/// The first quota that a gang would pass even if its tenants held nothing.
pub(crate) fn never(facts: &Facts, tenant: &TenantPath, gang: Held) -> Option<Shortage> {
    let passed = |(_, resource, limit): &(TenantPath, Resource, u64)| gang.of(*resource) > *limit;
    let (tenant, resource, limit) = limits(facts, tenant).find(passed)?;
    Some(Shortage { tenant, resource, limit, used: 0 })
}
