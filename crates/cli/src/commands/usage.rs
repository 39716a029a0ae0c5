//! `polder usage`: what was leased and what was used.

use super::{Context, Done};
use crate::client::Query;
use crate::output::Table;
use crate::show;
use clap::{Args, ValueEnum};
use polder_model::{Micros, TenantPath, Timestamp};
use polder_server::api::{DemandAhead, UsageReport};

/// Flags of `polder usage`.
#[derive(Debug, Args)]
#[command(
    after_help = "More can be used than leased: time that others leave idle is lent and charged, but \
                        never more than went by on each device."
)]
pub(crate) struct Usage {
    /// Only this tenant and all below it.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantPath>,
    /// Only leases still running then or later: `2h` for two hours ago, or a time such as
    /// `2026-11-22T15:00:00Z`.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// How to sum.
    #[arg(long, value_name = "WHAT", default_value = "tenant")]
    by: By,
    /// Instead, what jobs will probably ask for in each of so many hours ahead, at most 336.
    #[arg(long, value_name = "HOURS", allow_hyphen_values = true,
          conflicts_with_all = ["tenant", "since", "by"])]
    ahead: Option<u32>,
}

/// How to sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// One row for each tenant.
    Tenant,
    /// One row for each tenant and user.
    User,
    /// One row for each job.
    Job,
}

impl Usage {
    pub(super) async fn execute(self, context: &Context) -> Done {
        if let Some(hours) = self.ahead {
            return ahead(context, hours).await;
        }
        let by = match self.by {
            By::Tenant => "tenant",
            By::User => "user",
            By::Job => "job",
        };
        let path = Query::new(&["usage"])
            .with("by", by)
            .with_some("tenant", self.tenant.as_ref())
            .with_some("since", self.since.map(|since| since.0));
        let report: UsageReport = context.client()?.get(path).await?;
        if context.out.json_wanted() {
            context.out.json(&report)?;
            return Ok(0);
        }
        let mut table = Table::new(
            &[
                "TENANT",
                "USER",
                ">JOB",
                ">LEASES",
                ">RUNNING",
                ">DEVICE-S-LEASED",
                ">DEVICE-S-USED",
                ">GIB-H",
            ],
            "nothing was leased yet",
        );
        for row in &report.rows {
            table.row([
                row.tenant.to_string(),
                row.user.as_ref().map_or_else(String::new, ToString::to_string),
                row.job.map_or_else(String::new, |job| job.to_string()),
                row.leases.to_string(),
                row.running.to_string(),
                seconds(row.leased),
                seconds(row.device_time),
                gib_hours(row.memory_mib_seconds),
            ]);
        }
        context.out.table(&table)?;
        Ok(0)
    }
}

/// What the hours ahead will probably bring.
async fn ahead(context: &Context, hours: u32) -> Done {
    let path = Query::new(&["demand"]).with("hours", hours);
    let ahead: DemandAhead = context.client()?.get(path).await?;
    if context.out.json_wanted() {
        context.out.json(&ahead)?;
        return Ok(0);
    }
    if ahead.hours.iter().all(|hour| hour.mean.is_none()) {
        context.out.note("not enough history: no hour like those ahead has passed yet");
        return Ok(0);
    }
    let columns = ["HOUR", ">DEVICES-ASKED", ">HALF", ">9-OF-10", ">99-OF-100"];
    let mut table = Table::new(&columns, "nothing is known of the hours ahead");
    for hour in &ahead.hours {
        let part = |amount: Option<u64>| amount.map_or_else(String::new, devices);
        table.row([
            show::moment(hour.from),
            part(hour.mean),
            part(hour.p50),
            part(hour.p90),
            part(hour.p99),
        ]);
    }
    context.out.table(&table)?;
    context.out.note(&format!("the pool has {} healthy devices that answer", ahead.devices));
    Ok(0)
}

/// Devices with two places, of thousandths.
fn devices(thousandths: u64) -> String {
    format!("{}.{:02}", thousandths / 1000, thousandths % 1000 / 10)
}

/// Device-seconds with two places, exactly.
fn seconds(length: Micros) -> String {
    format!("{}.{:02}", length.0 / 1_000_000, length.0 % 1_000_000 / 10_000)
}

/// GiB-hours with three places.
fn gib_hours(mib_seconds: u64) -> String {
    const MIB_SECONDS: u64 = 1024 * 3600;
    let thousandths = u128::from(mib_seconds) * 1000 / u128::from(MIB_SECONDS);
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = text.parse::<Micros>() {
        return Ok(Timestamp(show::now().0.saturating_sub(ago.0)));
    }
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|_| "write how long ago (2h, 30m, 7d), or a time (2026-11-22T15:00:00Z)")?;
    u64::try_from(at.as_microsecond())
        .map(Timestamp)
        .map_err(|_| "a time after 1970 is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_rounded_down() {
        assert_eq!(seconds(Micros(1_239_999)), "1.23");
        assert_eq!(gib_hours(1024 * 3600 + 1024 * 36), "1.010");
    }

    #[test]
    fn moments_come_as_lengths_or_times() {
        assert_eq!(since("2023-11-14T22:13:20Z"), Ok(Timestamp(1_700_000_000_000_000)));
        let hour_ago = since("1h").unwrap();
        assert!(show::now().since(hour_ago) >= Micros::from_secs(3600));
        assert!(since("yesterday").is_err());
        assert!(since("1950-01-01T00:00:00Z").is_err());
    }
}
