//! What the REST API says and hears, as types. The CLI and the OpenAPI document share them.
//!
//! Answers may gain members in any release; a client ignores what it does not know. Requests
//! refuse unknown members, so that a misspelt one is never silently dropped.

mod admin;
mod jobs;
mod policy;
mod pool;
mod problem;
mod usage;

pub use admin::{
    AuditList, AuditQuery, AuditRow, BackupDone, BackupRequest, Removed, ShutdownAnswer,
    ShutdownRequest, TenantChange, TenantList, TenantView, UserChange, UserList,
};
pub use jobs::{
    Change, JobDetail, JobList, JobQuery, LOG_DROPPED_HEADER, LOG_LOST_HEADER, LOG_OFFSET_HEADER,
    LeaseEnding, LeaseView, LogsQuery, QueueEntry, QueueView, ResizeRequest, ScaleRequest,
    StateFilter, Stream, WaitAnswer, WaitQuery, WaitUntil,
};
pub use policy::{
    PolicyShadow, ReservationChange, ReservationList, WhatIf, WhatIfAnswer, WouldCutOff,
    WouldStart, WouldYield,
};
pub use pool::{
    DeviceList, DeviceView, LeaseList, LeaseQuery, NodeList, NodeView, Status, VersionInfo, WhoAmI,
};
pub use problem::{PROBLEM_TYPE_PREFIX, Problem};
pub use usage::{DemandAhead, DemandHour, DemandQuery, UsageBy, UsageQuery, UsageReport, UsageRow};

/// The major version of this API; clients name it in [`API_HEADER`].
pub const API_MAJOR: u32 = 1;
/// The header that names the major version a client speaks.
pub const API_HEADER: &str = "polder-api";
/// The header that makes sending a job twice harmless.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Longest idempotency key.
pub const IDEMPOTENCY_KEY_MAX: usize = 200;
/// Largest request body.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Rows of a list when the client names no limit.
pub const LIST_LIMIT_DEFAULT: u32 = 100;
/// Most rows of one page.
pub const LIST_LIMIT_MAX: u32 = 1000;
/// Longest a `wait` call is held; clients call again.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Longest a sync call is held; agents call again.
pub const SYNC_WAIT_MS_MAX: u64 = 60_000;
