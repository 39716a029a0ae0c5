//! `polder admin tenant`: organisations, teams and projects.

use super::quota::amount;
use super::{Context, Done};
use crate::client::{Client, Query};
use crate::failure::{Exit, Failure};
use crate::output::Table;
use clap::Subcommand;
use hyper::Method;
use polder_model::{Permille, Quota, Resource, Tenant, TenantPath};
use polder_server::api::{DeviceList, Removed, TenantChange, TenantList, TenantView};
use serde_json::json;

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// List them, with what they hold
    List,
    /// Add a tenant, or change it; its quota stays
    Set {
        /// Its path: `lab`, `lab/vision`.
        tenant: TenantPath,
        /// Share of jobs that name none.
        #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
        default_compute: Option<Permille>,
        /// Compute it is due before anybody gets more than theirs: `250%` or `2.5`, or `none`.
        #[arg(long, value_name = "SHARE", allow_hyphen_values = true, value_parser = amount)]
        deserved: Option<u64>,
        /// Its part of what is left, relative to its siblings': 1 or more [default: 1].
        #[arg(long, value_name = "N", allow_hyphen_values = true)]
        weight: Option<u32>,
    },
    /// Remove a tenant that has no jobs and no tenants below it
    Remove {
        /// Its path.
        tenant: TenantPath,
    },
}

impl TenantCommand {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        match self {
            Self::List => list(context, &client).await?,
            Self::Set { tenant, default_compute, deserved, weight } => {
                let mut change = current(&client, &tenant).await?.unwrap_or_default();
                change.default_compute = default_compute.or(change.default_compute);
                change.share.deserved = deserved.unwrap_or(change.share.deserved);
                change.share.weight = weight.unwrap_or(change.share.weight);
                let set = put(&client, &tenant, &change).await?;
                told(context, &set, &format!("tenant {tenant} is set"))?;
                if set.tenant.share.deserved > 0 {
                    let all: TenantList = client.get("tenants").await?;
                    let devices: DeviceList = client.get("devices").await?;
                    let pool = u64::try_from(devices.devices.len()).unwrap_or(u64::MAX);
                    contradictions(&set.tenant, &all.tenants, pool.saturating_mul(1000))
                        .iter()
                        .for_each(|text| context.out.warn(text));
                }
            }
            Self::Remove { tenant } => {
                let path = Query::new(&["tenants", tenant.as_str()]);
                let removed: Removed = client.send(Method::DELETE, path, &json!({})).await?;
                told(context, &removed, &format!("tenant {} is removed", removed.removed))?;
            }
        }
        Ok(0)
    }
}

/// The value for programs, or one line for people.
pub(super) fn told(
    context: &Context,
    value: &impl serde::Serialize,
    line: &str,
) -> Result<(), Failure> {
    if context.out.json_wanted() {
        return context.out.json(value);
    }
    context.out.note(line);
    Ok(())
}

/// What is set of a tenant now; `None` when there is no such tenant.
pub(super) async fn current(
    client: &Client,
    tenant: &TenantPath,
) -> Result<Option<TenantChange>, Failure> {
    match client.get::<TenantView>(Query::new(&["tenants", tenant.as_str()])).await {
        Ok(TenantView { tenant, .. }) => {
            let Tenant { quota, default_compute, share, user_quota, .. } = tenant;
            Ok(Some(TenantChange { quota, default_compute, share, user_quota }))
        }
        Err(failure) if failure.exit == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(super) async fn put(
    client: &Client,
    tenant: &TenantPath,
    change: &TenantChange,
) -> Result<TenantView, Failure> {
    client.send(Method::PUT, Query::new(&["tenants", tenant.as_str()]), change).await
}

async fn list(context: &Context, client: &Client) -> Result<(), Failure> {
    let list: TenantList = client.get("tenants").await?;
    if context.out.json_wanted() {
        return context.out.json(&list);
    }
    let mut table = Table::new(
        &[
            "TENANT",
            ">SLICES",
            ">OF",
            ">COMPUTE",
            ">OF",
            ">MEMORY",
            ">OF",
            ">DEFAULT-SHARE",
            ">DESERVED",
            ">WEIGHT",
            "EACH-USER",
        ],
        "no tenants: add one with `polder admin tenant set NAME`",
    );
    for view in &list.tenants {
        let quota = &view.tenant.quota;
        let limit = |resource: Resource, limit: Option<u64>| {
            limit.map_or_else(String::new, |limit| resource.show(limit))
        };
        table.row([
            view.tenant.path.to_string(),
            view.devices_held.to_string(),
            quota.devices.map_or_else(String::new, |most| most.to_string()),
            Resource::Compute.show(view.compute_held),
            limit(Resource::Compute, quota.compute),
            view.memory_held.to_string(),
            limit(Resource::Memory, quota.memory.map(|memory| memory.0)),
            view.tenant.default_compute.map_or_else(String::new, |share| share.to_string()),
            match view.tenant.share.deserved {
                0 => String::new(),
                deserved => Resource::Compute.show(deserved),
            },
            view.tenant.share.weight.to_string(),
            each_user(&view.tenant.user_quota),
        ]);
    }
    context.out.table(&table)
}

/// What a tenant allows each of its users, in one word.
fn each_user(quota: &Quota) -> String {
    let said = [
        quota.devices.map(|devices| format!("devices={devices}")),
        quota.compute.map(|compute| {
            let compute = u32::try_from(compute).unwrap_or(u32::MAX);
            format!("compute={}", Permille(compute))
        }),
        quota.memory.map(|memory| format!("memory={memory}")),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(",").replace(' ', "")
}

/// What a tenant deserves that cannot all be had: more than the one above it, or than the pool.
fn contradictions(set: &Tenant, all: &[TenantView], pool: u64) -> Vec<String> {
    let mut found = Vec::new();
    let deserves = Resource::Compute.show(set.share.deserved);
    let path = &set.path;
    if set.share.deserved > pool {
        let has = Resource::Compute.show(pool);
        found.push(format!("tenant {path} deserves {deserves}, and the pool has {has} now"));
    }
    let above = path.parent().and_then(|above| all.iter().find(|view| view.tenant.path == above));
    if let Some(above) = above.filter(|above| above.tenant.share.deserved < set.share.deserved) {
        let (above, has) = (&above.tenant.path, above.tenant.share.deserved);
        let has = Resource::Compute.show(has);
        found.push(format!("tenant {path} deserves {deserves}, and {above} above it only {has}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::{Bytes, Share};

    fn tenant(path: &str, deserved: u64) -> Tenant {
        let share = Share { deserved, ..Share::default() };
        Tenant { share, ..Tenant::new(path.parse().unwrap()) }
    }

    #[test]
    fn what_cannot_all_be_had_is_told() {
        let above = TenantView {
            tenant: tenant("lab", 1500),
            devices_held: 0,
            compute_held: 0,
            memory_held: Bytes(0),
        };
        let all = std::slice::from_ref(&above);
        let found = |deserved| contradictions(&tenant("lab/a", deserved), all, 2000);
        assert_eq!(found(1500), [] as [&str; 0]);
        let more = "tenant lab/a deserves 2.000 devices, and lab above it only 1.500 devices";
        assert_eq!(found(2000), [more]);
        assert_eq!(found(2001).len(), 2);
        assert!(found(2001)[0].ends_with("and the pool has 2.000 devices now"));
    }

    #[test]
    fn what_each_user_may_hold_is_one_word() {
        let quota = Quota { devices: Some(2), compute: Some(1500), memory: Some(Bytes(8 << 30)) };
        assert_eq!(each_user(&quota), "devices=2,compute=150%,memory=8GiB");
        assert_eq!(each_user(&Quota::default()), "");
    }
}
