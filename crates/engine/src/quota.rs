//! Whether a tenant, each above it, and the user within them, may hold more.

use crate::Held;
use crate::facts::Facts;
use crate::index::Index;
use polder_model::{Quota, Resource, TenantPath, UserName};
use std::collections::BTreeMap;

/// What a quota counts, in the order in which the first one passed is named.
const RESOURCES: [Resource; 3] = [Resource::Devices, Resource::Compute, Resource::Memory];

/// Whose quota it is: a tenant's, or what a tenant allows each of its users.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) tenant: TenantPath,
    pub(crate) user: Option<UserName>,
}

/// A quota that leaves too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) holder: Holder,
    pub(crate) resource: Resource,
    pub(crate) limit: u64,
    pub(crate) used: u64,
}

/// What was promised, or a pass granted so far, by whose quota it counts against.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct More(BTreeMap<Holder, Held>);

impl More {
    /// Adds what a lease of this tenant's user holds.
    pub(crate) fn add(&mut self, tenant: &TenantPath, user: &UserName, held: Held) {
        // Nothing leaves no entry, so that adding and removing are opposites.
        if held == Held::default() {
            return;
        }
        for tenant in tenant.lineage() {
            let user = Some(user.clone());
            self.0.entry(Holder { tenant: tenant.clone(), user }).or_default().add(held);
            self.0.entry(Holder { tenant, user: None }).or_default().add(held);
        }
    }

    /// The reverse of [`More::add`].
    pub(crate) fn remove(&mut self, tenant: &TenantPath, user: &UserName, held: Held) {
        for tenant in tenant.lineage() {
            let of_user = Holder { tenant: tenant.clone(), user: Some(user.clone()) };
            for holder in [of_user, Holder { tenant, user: None }] {
                if let Some(sum) = self.0.get_mut(&holder) {
                    sum.subtract(held);
                    if *sum == Held::default() {
                        self.0.remove(&holder);
                    }
                }
            }
        }
    }

    pub(crate) fn of(&self, holder: &Holder) -> Held {
        self.0.get(holder).copied().unwrap_or_default()
    }
}

/// The most that a quota allows of a resource.
pub(crate) fn limit(quota: &Quota, resource: Resource) -> Option<u64> {
    match resource {
        Resource::Devices => quota.devices.map(u64::from),
        Resource::Compute => quota.compute,
        Resource::Memory => quota.memory.map(|memory| memory.0),
    }
}

/// The limits on a user of a tenant: the tenant's, what it allows each user, and the same for
/// each tenant above it, nearest first.
fn limits<'a>(
    facts: &'a Facts,
    tenant: &'a TenantPath,
    user: &'a UserName,
) -> impl Iterator<Item = (Holder, Resource, u64)> + 'a {
    tenant.lineage().flat_map(move |path| {
        let facts = facts.tenants.get(&path).map(|facts| &facts.tenant);
        let quotas = facts.map(|tenant| [(&tenant.quota, None), (&tenant.user_quota, Some(user))]);
        quotas.into_iter().flatten().flat_map(move |(quota, user)| {
            let path = path.clone();
            let of = move |resource| {
                let limit = limit(quota, resource)?;
                let holder = Holder { tenant: path.clone(), user: user.cloned() };
                Some((holder, resource, limit))
            };
            RESOURCES.into_iter().filter_map(of)
        })
    })
}

fn held(index: &Index, holder: &Holder) -> Held {
    let Holder { tenant, user } = holder;
    let held = match user {
        None => index.held.get(tenant),
        Some(user) => index.user_held.get(&(tenant.clone(), user.clone())),
    };
    held.copied().unwrap_or_default()
}

/// Tasks of `each` that a tenant's user may still start, given what a pass granted `more` to
/// whom; and the quota that leaves the fewest, if any counts.
pub(crate) fn room(
    facts: &Facts,
    index: &Index,
    more: &More,
    whose: (&TenantPath, &UserName),
    each: Held,
) -> (u64, Option<Shortage>) {
    room_after(facts, index, (more, &More::default()), whose, each)
}

/// The same when besides some hold `less`.
pub(crate) fn room_after(
    facts: &Facts,
    index: &Index,
    (more, less): (&More, &More),
    (tenant, user): (&TenantPath, &UserName),
    each: Held,
) -> (u64, Option<Shortage>) {
    let mut fewest = (u64::MAX, None);
    for (holder, resource, limit) in limits(facts, tenant, user) {
        let used = held(index, &holder).of(resource);
        let used = used.saturating_add(more.of(&holder).of(resource));
        let used = used.saturating_sub(less.of(&holder).of(resource));
        let left = limit.saturating_sub(used).checked_div(each.of(resource));
        if let Some(tasks) = left.filter(|tasks| *tasks < fewest.0) {
            fewest = (tasks, Some(Shortage { holder, resource, limit, used }));
        }
    }
    fewest
}

/// The first quota that a gang would pass even if its tenants held nothing.
pub(crate) fn never(
    facts: &Facts,
    (tenant, user): (&TenantPath, &UserName),
    gang: Held,
) -> Option<Shortage> {
    let passed = |(_, resource, limit): &(Holder, Resource, u64)| gang.of(*resource) > *limit;
    let (holder, resource, limit) = limits(facts, tenant, user).find(passed)?;
    Some(Shortage { holder, resource, limit, used: 0 })
}
