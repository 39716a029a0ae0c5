//! Reads of what is over: finished jobs, ended leases, usage, audit. On their own connections,
//! so that no list waits behind an append.

use super::{Digest, Storage, signed, unsigned};
use crate::api::{AuditRow, UsageBy};
use polder_model::{Bytes, Job, JobId, Lease, LeaseEnd, LeaseId, TenantPath, Timestamp, UserName};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};
use std::collections::BTreeMap;
use std::path::Path;

/// Connections for reading.
const READERS: u32 = 2;
/// Most ended leases shown of one job: every try of a full gang would be too many.
const LEASES_OF_JOB_MAX: i64 = 5000;
/// Leases named in one query; SQLite allows 32766 values.
const LEASES_PER_QUERY: usize = 1000;

/// Reads of what is over.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pool: SqlitePool,
}

/// A lease that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedLease {
    pub(crate) lease: Lease,
    pub(crate) end: LeaseEnd,
    pub(crate) at: Timestamp,
}

/// Sums over ended leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsageSum {
    pub(crate) tenant: TenantPath,
    pub(crate) user: Option<UserName>,
    pub(crate) job: Option<JobId>,
    pub(crate) leases: u64,
    pub(crate) leased_micros: u64,
    pub(crate) device_micros: u64,
    pub(crate) memory_mib_seconds: u64,
}

/// What of a lease that goes on is among the sums over terms that are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedTerms {
    /// Device time of all of them, microseconds.
    pub(crate) device_micros: u64,
    /// Whether the lease was counted for one of them.
    pub(crate) counted: bool,
}

/// Which finished jobs.
pub(crate) struct JobFilter<'a> {
    pub(crate) before: Option<JobId>,
    pub(crate) tenants: Option<&'a [TenantPath]>,
    pub(crate) tenant: Option<&'a TenantPath>,
    pub(crate) user: Option<&'a UserName>,
    pub(crate) limit: u32,
}

impl Archive {
    /// Connects to a journal that its writer has already opened.
    pub(crate) fn new(path: &Path, storage: &Storage) -> Self {
        let options = storage.options(path).read_only(true).create_if_missing(false);
        let pool = SqlitePoolOptions::new().max_connections(READERS).min_connections(0);
        Self { pool: pool.connect_lazy_with(options) }
    }

    /// Lets go of the file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn job(&self, id: JobId) -> Result<Option<Job>, sqlx::Error> {
        let query = sqlx::query("SELECT body FROM jobs WHERE id = ?").bind(signed(id.0));
        query.fetch_optional(&self.pool).await?.map(|row| parse(&row, 0)).transpose()
    }

    /// Finished jobs, newest first.
    pub(crate) async fn jobs(&self, filter: &JobFilter<'_>) -> Result<Vec<Job>, sqlx::Error> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT body FROM jobs WHERE id < ");
        query.push_bind(signed(filter.before.map_or(u64::MAX, |id| id.0)));
        if let Some(tenants) = filter.tenants {
            within(&mut query, tenants);
        }
        if let Some(tenant) = filter.tenant {
            within(&mut query, std::slice::from_ref(tenant));
        }
        if let Some(user) = filter.user {
            query.push(" AND user = ").push_bind(user.as_str());
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(filter.limit);
        query.build().fetch_all(&self.pool).await?.iter().map(|row| parse(row, 0)).collect()
    }

    /// The ended leases of a job, oldest first.
    pub(crate) async fn leases_of(&self, job: JobId) -> Result<Vec<EndedLease>, sqlx::Error> {
        let sql = "SELECT body, ended_at FROM leases WHERE job = ? ORDER BY id LIMIT ?";
        let query = sqlx::query(sql).bind(signed(job.0)).bind(LEASES_OF_JOB_MAX);
        let rows = query.fetch_all(&self.pool).await?;
        let read = |row: &SqliteRow| {
            let (lease, end) = parse(row, 0)?;
            Ok(EndedLease { lease, end, at: Timestamp(unsigned(row.try_get(1)?)) })
        };
        rows.iter().map(read).collect()
    }

    /// Whether this lease has ended, on which node.
    pub(crate) async fn ended_on(&self, lease: LeaseId) -> Result<Option<String>, sqlx::Error> {
        let query = sqlx::query_scalar("SELECT node FROM leases WHERE id = ?");
        query.bind(signed(lease.0)).fetch_optional(&self.pool).await
    }

    /// The job a user's key stands for, and the digest of what was asked.
    pub(crate) async fn key(
        &self,
        user: &UserName,
        key: &str,
    ) -> Result<Option<(JobId, Digest)>, sqlx::Error> {
        let query = sqlx::query("SELECT job, digest FROM keys WHERE user = ? AND key = ?");
        let row = query.bind(user.as_str()).bind(key).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let digest = Digest::try_from(row.try_get::<Vec<u8>, _>(1)?).ok();
        let job = JobId(unsigned(row.try_get(0)?));
        Ok(digest.map(|digest| (job, digest)))
    }

    /// Sums over ended leases.
    pub(crate) async fn usage(
        &self,
        tenants: Option<&[TenantPath]>,
        since: Option<Timestamp>,
        by: UsageBy,
        limit: u32,
    ) -> Result<Vec<UsageSum>, sqlx::Error> {
        let group = match by {
            UsageBy::Tenant => "tenant, NULL, NULL",
            UsageBy::User => "tenant, user, NULL",
            UsageBy::Job => "tenant, user, job",
        };
        // Products are summed as floating point: they pass 2^63, and sums are for people.
        let mut query = QueryBuilder::<Sqlite>::new(format!(
            "SELECT {group}, count(DISTINCT lease), sum(compute * 1.0 * ran) / 1000, \
             sum(device_time), sum(memory * 1.0 * ran) / 1048576e6 FROM usage WHERE ended_at >= "
        ));
        query.push_bind(signed(since.unwrap_or_default().0));
        if let Some(tenants) = tenants {
            within(&mut query, tenants);
        }
        let group = group.replace(", NULL", "");
        query.push(format!(" GROUP BY {group} ORDER BY {group} LIMIT ")).push_bind(limit);
        query.build().fetch_all(&self.pool).await?.iter().map(sum).collect()
    }

    /// What of these leases, which go on, is among the sums over terms that ended since then.
    pub(crate) async fn ended_terms(
        &self,
        leases: &[LeaseId],
        since: Option<Timestamp>,
    ) -> Result<BTreeMap<LeaseId, EndedTerms>, sqlx::Error> {
        let mut found = BTreeMap::new();
        for chunk in leases.chunks(LEASES_PER_QUERY) {
            let mut query = QueryBuilder::<Sqlite>::new("SELECT lease, sum(device_time), ");
            query.push("max(ended_at) >= ").push_bind(signed(since.unwrap_or_default().0));
            query.push(" FROM usage WHERE lease IN (");
            let mut list = query.separated(", ");
            for lease in chunk {
                list.push_bind(signed(lease.0));
            }
            query.push(") GROUP BY lease");
            for row in query.build().fetch_all(&self.pool).await? {
                let device_micros = unsigned(row.try_get(1)?);
                let terms = EndedTerms { device_micros, counted: row.try_get(2)? };
                found.insert(LeaseId(unsigned(row.try_get(0)?)), terms);
            }
        }
        Ok(found)
    }

    /// The audit log, newest first.
    pub(crate) async fn audit(
        &self,
        user: Option<&UserName>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, sqlx::Error> {
        let sql = "SELECT id, at, user, action, subject, result FROM audit WHERE id < ";
        let mut query = QueryBuilder::<Sqlite>::new(sql);
        query.push_bind(signed(before.unwrap_or(u64::MAX)));
        if let Some(user) = user {
            query.push(" AND user = ").push_bind(user.as_str());
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        let read = |row: &SqliteRow| {
            Ok(AuditRow {
                id: unsigned(row.try_get(0)?),
                at: Timestamp(unsigned(row.try_get(1)?)),
                user: name(row.try_get(2)?)?,
                action: row.try_get(3)?,
                subject: row.try_get(4)?,
                result: row.try_get(5)?,
            })
        };
        query.build().fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// Copies the journal as it is now, whole, to a file that does not exist yet.
    pub(crate) async fn copy_to(&self, path: &str) -> Result<(Bytes, u64), sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        sqlx::query("VACUUM INTO ?").bind(path).execute(&mut *conn).await?;
        let written = std::fs::File::open(path).and_then(|file| {
            file.sync_all()?;
            file.metadata()
        });
        let bytes = Bytes(written.map_err(sqlx::Error::Io)?.len());
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).immutable(true);
        let copy = SqlitePoolOptions::new().connect_with(options).await?;
        let seq: i64 = sqlx::query_scalar("SELECT seq FROM header").fetch_one(&copy).await?;
        copy.close().await;
        Ok((bytes, unsigned(seq)))
    }
}

/// Restricts a query to these tenants and all below them.
fn within(query: &mut QueryBuilder<Sqlite>, tenants: &[TenantPath]) {
    query.push(" AND (0");
    for tenant in tenants {
        // '0' follows '/' in ASCII, so the range holds exactly what is below.
        query.push(" OR tenant = ").push_bind(tenant.as_str().to_owned());
        query.push(" OR (tenant > ").push_bind(format!("{tenant}/"));
        query.push(" AND tenant < ").push_bind(format!("{tenant}0")).push(")");
    }
    query.push(")");
}

fn parse<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: usize) -> Result<T, sqlx::Error> {
    serde_json::from_str(row.try_get(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn name<T: TryFrom<String, Error = polder_model::IdError>>(text: String) -> Result<T, sqlx::Error> {
    T::try_from(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn sum(row: &SqliteRow) -> Result<UsageSum, sqlx::Error> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let whole = |column: usize| Ok::<_, sqlx::Error>(row.try_get::<f64, _>(column)? as u64);
    Ok(UsageSum {
        tenant: name(row.try_get(0)?)?,
        user: row.try_get::<Option<String>, _>(1)?.map(name).transpose()?,
        job: row.try_get::<Option<i64>, _>(2)?.map(|job| JobId(unsigned(job))),
        leases: unsigned(row.try_get(3)?),
        leased_micros: whole(4)?,
        device_micros: unsigned(row.try_get(5)?),
        memory_mib_seconds: whole(6)?,
    })
}
