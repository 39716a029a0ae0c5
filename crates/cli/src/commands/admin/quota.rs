//! `polder admin quota`: what tenants may hold at once.

use super::tenant::{current, put, told};
use super::{Context, Done};
use crate::failure::{Exit, Failure};
use clap::{ArgGroup, Args, Subcommand};
use polder_model::{Bytes, Quota, TenantPath};

/// What to do with quotas.
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaCommand {
    /// Change some limits of a tenant and keep the others
    Set(QuotaSet),
}

/// New limits.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("limit").required(true).multiple(true)
    .args(["devices", "compute", "memory"]))]
pub(crate) struct QuotaSet {
    /// Whose.
    tenant: TenantPath,
    /// Most slices held at once, or `none` for no limit: each device that a task has, or has a share
    /// of, counts as one, also where two shares lie on one device.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = devices)]
    devices: Option<Limit<u32>>,
    /// Most guaranteed compute at once: `250%` or `2.5` for two and a half devices, or `none`.
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true, value_parser = compute)]
    compute: Option<Limit<u64>>,
    /// Most device memory at once: `40GiB`, or `none`.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = memory)]
    memory: Option<Limit<Bytes>>,
    /// What each user of the tenant may hold, instead of what all of it may.
    #[arg(long)]
    per_user: bool,
}

/// A limit that is set, or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit<T>(Option<T>);

impl QuotaCommand {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let Self::Set(set) = self;
        let client = context.client()?;
        let Some(mut change) = current(&client, &set.tenant).await? else {
            return Err(Failure::new(Exit::NotFound, format!("no tenant {}", set.tenant))
                .help(format!("add it with `polder admin tenant set {}`", set.tenant)));
        };
        let quota = if set.per_user { &mut change.user_quota } else { &mut change.quota };
        *quota = set.over(quota.clone());
        let tenant = put(&client, &set.tenant, &change).await?;
        told(context, &tenant, &format!("quota of {} is set", set.tenant))?;
        Ok(0)
    }
}

impl QuotaSet {
    fn over(&self, now: Quota) -> Quota {
        Quota {
            devices: self.devices.map_or(now.devices, |limit| limit.0),
            compute: self.compute.map_or(now.compute, |limit| limit.0),
            memory: self.memory.map_or(now.memory, |limit| limit.0),
        }
    }
}

fn limit<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Limit<T>, String> {
    if text == "none" { Ok(Limit(None)) } else { read(text).map(|value| Limit(Some(value))) }
}

fn devices(text: &str) -> Result<Limit<u32>, String> {
    limit(text, |text| text.parse().map_err(|_| "write a number of slices, or none".to_owned()))
}

fn memory(text: &str) -> Result<Limit<Bytes>, String> {
    limit(text, |text| Bytes::of_any_memory(text).map_err(|error| error.to_string()))
}

/// Compute over several devices that somebody is due, in thousandths of one; `none` is nothing.
pub(super) fn amount(text: &str) -> Result<u64, String> {
    Ok(compute(text)?.0.unwrap_or(0))
}

/// The same, or no limit.
fn compute(text: &str) -> Result<Limit<u64>, String> {
    const DEVICES_MAX: u64 = 1_000_000;
    limit(text, |text| {
        let wrong = || format!("{text:?} is not an amount of compute: write 250%, 2.5 or none");
        let (number, places) = match text.strip_suffix('%') {
            Some(number) => (number, 1),
            None => (text, 3),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > places {
            return Err(wrong());
        }
        let value: u64 = format!("{whole}{fraction:0<places$}").parse().map_err(|_| wrong())?;
        if value > DEVICES_MAX * 1000 {
            return Err(format!("{text:?} is more than {DEVICES_MAX} devices"));
        }
        Ok(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compute_may_be_more_than_one_device() {
        let check = |text: &str, expect: Option<Option<u64>>| {
            assert_eq!(compute(text).ok().map(|limit| limit.0), expect, "{text}");
        };
        check("250%", Some(Some(2500)));
        check("2.5", Some(Some(2500)));
        check("3", Some(Some(3000)));
        check("0%", Some(Some(0)));
        check("12.5%", Some(Some(125)));
        check("none", Some(None));
        check("-5%", None);
        check("12.55%", None);
        check("99999999999999999999", None);
        check("%", None);
        check("", None);
        check("2000000", None);
    }

    #[test]
    fn what_is_due_can_be_taken_away() {
        assert_eq!(amount("none"), Ok(0));
        assert_eq!(amount("250%"), Ok(2500));
        assert_eq!(
            amount("-1"),
            Err("\"-1\" is not an amount of compute: write 250%, 2.5 or none".to_owned())
        );
    }

    #[test]
    fn limits_that_were_not_named_stay() {
        let set = QuotaSet {
            tenant: "lab".parse().unwrap(),
            devices: Some(Limit(None)),
            compute: None,
            memory: Some(Limit(Some(Bytes(7)))),
            per_user: false,
        };
        let now = Quota { devices: Some(1), compute: Some(2), memory: None };
        assert_eq!(
            set.over(now),
            Quota { devices: None, compute: Some(2), memory: Some(Bytes(7)) }
        );
    }
}
