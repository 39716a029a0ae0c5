//! Tenants, users, backups, the audit log and the end of the server.

use polder_model::{
    Bytes, Permille, Quota, Role, Share, Tenant, TenantPath, Timestamp, User, UserName,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The tenants, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantList {
    /// The tenants.
    pub tenants: Vec<TenantView>,
}

/// A tenant and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantView {
    /// The tenant.
    pub tenant: Tenant,
    /// Slices it and all below it hold, one for each device of a lease.
    pub devices_held: u64,
    /// Guaranteed compute it and all below it hold, in thousandths of a device.
    pub compute_held: u64,
    /// Device memory it and all below it hold.
    pub memory_held: Bytes,
}

/// Body of `PUT /api/v1/tenants/{path}`: the whole of what can be set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantChange {
    /// Its limits; absent ones do not hold.
    #[serde(default)]
    pub quota: Quota,
    /// Share used when an ask names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_compute: Option<Permille>,
    /// What it is due, and how it shares what others leave.
    #[serde(default)]
    pub share: Share,
    /// The most each of its users may hold at once.
    #[serde(default)]
    pub user_quota: Quota,
}

/// The users, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// The users.
    pub users: Vec<User>,
}

/// Body of `PUT /api/v1/users/{name}`: the whole of what can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// What it may do.
    pub role: Role,
    /// Tenants it may ask for, and all below them; the first is used when an ask names none.
    pub tenants: Vec<TenantPath>,
}

/// Answer to a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// The name of what is gone.
    pub removed: String,
}

/// Where a backup goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Absolute path of a file that does not exist yet, on the server's machine.
    pub path: String,
}

/// A backup that is complete and readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupDone {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub bytes: Bytes,
    /// The last event it holds.
    pub seq: u64,
}

/// How the server should stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Cancels every job and waits for their ends first. Without it, tasks run on under their
    /// shims and the next server adopts them.
    #[serde(default)]
    pub end_tasks: bool,
}

/// The server's last answer; it stops right after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShutdownAnswer {
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Leases still running.
    pub leases_left: u64,
}

/// Which rows of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Only writes of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// At most this many; 100 when absent, never more than 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One page of the audit log, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// The rows.
    pub rows: Vec<AuditRow>,
    /// Ask again with this for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One write: who, what, when and how it came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// Its number.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub user: UserName,
    /// What: `job.submit`, `job.cancel`, `tenant.set`, ...
    pub action: String,
    /// To which job, tenant, user or file.
    pub subject: String,
    /// `ok`, or why it was refused.
    pub result: String,
}
