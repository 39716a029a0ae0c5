//! Who may use how much.

use crate::{Bytes, Permille, TenantPath, Timestamp, UserName};
use serde::{Deserialize, Serialize};

/// The most a tenant and all below it may hold at once; absent means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Devices held at once; each slice counts as one, also where two lie on the same device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<u32>,
    /// Sum of guaranteed compute in thousandths of a device; 2500 is two and a half devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<u64>,
    /// Sum of device memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

/// A node in the tree organisation / team / project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tenant {
    /// Its path.
    pub path: TenantPath,
    /// Its limits.
    #[serde(default)]
    pub quota: Quota,
    /// Share used when an ask names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_compute: Option<Permille>,
    /// What it is due, and how it shares what others leave.
    #[serde(default, skip_serializing_if = "Share::is_default")]
    pub share: Share,
    /// The most each of its users may hold at once, of this tenant and all below it.
    #[serde(default, skip_serializing_if = "Quota::is_default")]
    pub user_quota: Quota,
}

impl Tenant {
    /// A tenant without limits, due nothing.
    #[must_use]
    pub fn new(path: TenantPath) -> Self {
        Self {
            path,
            quota: Quota::default(),
            default_compute: None,
            share: Share::default(),
            user_quota: Quota::default(),
        }
    }
}

/// What a tenant is due, and how it shares what others leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Share {
    /// Compute it is due before anybody gets more than theirs, in thousandths of a device.
    pub deserved: u64,
    /// Its part of what is left, relative to its siblings': at least 1.
    pub weight: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { deserved: 0, weight: 1 }
    }
}

impl Share {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Quota {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees.
    Viewer,
    /// Sees, and asks for their tenants.
    User,
    /// Changes users and quotas within their tenants.
    TenantAdmin,
    /// Acts on every job and node.
    Operator,
    /// Everything.
    Admin,
}

/// A person or program known to the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct User {
    /// Its name; on one machine, the operating system's.
    pub name: UserName,
    /// What it may do.
    pub role: Role,
    /// Tenants it may ask for, and all below them; the first is used when an ask names none.
    pub tenants: Vec<TenantPath>,
    /// When it was added.
    pub added_at: Timestamp,
}
