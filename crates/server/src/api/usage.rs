//! What was leased and what was used.

use polder_model::{JobId, Micros, TenantPath, Timestamp, UserName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How far ahead to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct DemandQuery {
    /// Hours, from the next whole one on: at most 336.
    pub hours: u32,
}

impl Default for DemandQuery {
    fn default() -> Self {
        Self { hours: 24 }
    }
}

/// What jobs will probably ask for, hour by hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DemandAhead {
    /// The hours ahead, the next first.
    pub hours: Vec<DemandHour>,
    /// Devices that are there, answer and are healthy.
    pub devices: u64,
}

/// One hour ahead, in thousandths of a device that jobs which come in it will ask for. Quantiles are
/// absent until a day's hours were compared with what was expected of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DemandHour {
    /// When it begins.
    pub from: Timestamp,
    /// The mean; absent where no such hour was seen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<u64>,
    /// Half of such hours bring at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<u64>,
    /// Nine of ten bring at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<u64>,
    /// Ninety-nine of a hundred bring at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<u64>,
}

/// How rows are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// One row for each tenant.
    #[default]
    Tenant,
    /// One row for each tenant and user.
    User,
    /// One row for each job.
    Job,
}

/// Which use to sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    /// Only this tenant and all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantPath>,
    /// Only leases that were still running at or after this time (microseconds since 1970); a
    /// lease is counted whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How to sum.
    #[serde(default)]
    pub by: UsageBy,
}

/// The sums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// By tenant, then user, then job; at most 1000.
    pub rows: Vec<UsageRow>,
    /// Up to when running leases are counted.
    pub now: Timestamp,
}

/// What one tenant, user or job leased and used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// Who pays.
    pub tenant: TenantPath,
    /// Who asked, when summed by user or job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Which job, when summed by job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Leases counted.
    pub leases: u64,
    /// Of them, still running.
    pub running: u64,
    /// Device time leased: guaranteed compute times length, summed over devices.
    pub leased: Micros,
    /// Device time used, as the arbiter charged it. Whole devices and instances that hardware cuts,
    /// which nobody meters, count as used from start to end: never more than leased.
    pub device_time: Micros,
    /// Memory leased times length, in MiB-seconds.
    pub memory_mib_seconds: u64,
}
