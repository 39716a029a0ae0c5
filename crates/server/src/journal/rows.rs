//! What is derived from events, written in the same transactions.

use super::{Digest, signed};
use polder_model::{Job, JobId, Lease, LeaseEnd, Timestamp, UserName};
use sqlx::sqlite::SqliteConnection;

/// One derived row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Row {
    /// A job is over.
    Job(Box<Job>),
    /// A lease is over.
    Lease(Box<EndRow>),
    /// Somebody wrote, or was refused.
    Audit { at: Timestamp, user: UserName, action: &'static str, subject: String, result: String },
    /// A user's key stands for a job.
    Key { user: UserName, key: String, job: JobId, digest: Digest },
}

/// A lease that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndRow {
    /// What was granted.
    pub(crate) lease: Lease,
    /// How it ended.
    pub(crate) end: LeaseEnd,
    /// When.
    pub(crate) at: Timestamp,
    /// The model of each slice's device, in order.
    pub(crate) models: Vec<String>,
}

/// Rows of the audit log in one INSERT; each binds five values and SQLite allows 32766.
const AUDIT_ROWS_PER_INSERT: usize = 500;

pub(super) async fn insert(conn: &mut SqliteConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    for row in rows {
        match row {
            Row::Job(job) => insert_job(conn, job).await?,
            Row::Lease(end) => insert_lease(conn, end).await?,
            Row::Key { user, key, job, digest } => {
                let sql = "INSERT INTO keys (user, key, job, digest) VALUES (?, ?, ?, ?)";
                let query = sqlx::query(sql).bind(user.as_str()).bind(key);
                query.bind(signed(job.0)).bind(&digest[..]).execute(&mut *conn).await?;
            }
            Row::Audit { .. } => {}
        }
    }
    // Every write has one of these: together they cost little more than one.
    let audit: Vec<&Row> = rows.iter().filter(|row| matches!(row, Row::Audit { .. })).collect();
    for chunk in audit.chunks(AUDIT_ROWS_PER_INSERT) {
        insert_audit(conn, chunk).await?;
    }
    Ok(())
}

async fn insert_audit(conn: &mut SqliteConnection, rows: &[&Row]) -> Result<(), sqlx::Error> {
    let start = "INSERT INTO audit (at, user, action, subject, result) ";
    let mut insert = sqlx::QueryBuilder::<sqlx::Sqlite>::new(start);
    insert.push_values(rows, |mut values, row| {
        if let Row::Audit { at, user, action, subject, result } = row {
            values.push_bind(signed(at.0)).push_bind(user.as_str()).push_bind(*action);
            values.push_bind(subject.as_str()).push_bind(result.as_str());
        }
    });
    insert.build().execute(conn).await.map(drop)
}

async fn insert_job(conn: &mut SqliteConnection, job: &Job) -> Result<(), sqlx::Error> {
    let body = serde_json::to_string(job).expect("jobs have only string keys");
    sqlx::query("INSERT INTO jobs (id, tenant, user, finished_at, body) VALUES (?, ?, ?, ?, ?)")
        .bind(signed(job.id.0))
        .bind(job.ask.tenant.as_str())
        .bind(job.ask.user.as_str())
        .bind(signed(job.finished_at.unwrap_or_default().0))
        .bind(body)
        .execute(conn)
        .await
        .map(drop)
}

async fn insert_lease(conn: &mut SqliteConnection, row: &EndRow) -> Result<(), sqlx::Error> {
    let EndRow { lease, end, at, models } = row;
    let body = serde_json::to_string(&(lease, end)).expect("leases have only string keys");
    sqlx::query("INSERT INTO leases (id, job, node, ended_at, body) VALUES (?, ?, ?, ?, ?)")
        .bind(signed(lease.id.0))
        .bind(signed(lease.job.0))
        .bind(lease.node.as_str())
        .bind(signed(at.0))
        .bind(body)
        .execute(&mut *conn)
        .await?;
    for (place, slice) in (0i64..).zip(&lease.slices) {
        let index = usize::try_from(place).unwrap_or_default();
        let used = end.sample.devices.iter().find(|used| used.device == slice.device);
        let used = |amount: fn(&polder_model::DeviceSample) -> u64| signed(used.map_or(0, amount));
        sqlx::query(
            "INSERT INTO usage (lease, place, job, tenant, user, node, device, model, mechanism, \
             compute, memory, started_at, ended_at, ran, device_time, contended_time, \
             memory_peak, refused) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(signed(lease.id.0))
        .bind(place)
        .bind(signed(lease.job.0))
        .bind(lease.tenant.as_str())
        .bind(lease.user.as_str())
        .bind(lease.node.as_str())
        .bind(slice.device.as_str())
        .bind(models.get(index).map_or("", String::as_str))
        .bind(slice.mechanism.to_string())
        .bind(slice.compute.0)
        .bind(signed(slice.memory.0))
        .bind(lease.started_at.map(|at| signed(at.0)))
        .bind(signed(at.0))
        .bind(signed(end.ran.0))
        .bind(used(|used| used.device_time.0))
        .bind(used(|used| used.contended_time.0))
        .bind(used(|used| used.memory_peak.0))
        .bind(used(|used| used.refused))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
