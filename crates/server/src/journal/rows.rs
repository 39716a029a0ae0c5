//! What is derived from events, written in the same transactions.

use super::seal::{Cell, JOBS, LEASES, USAGE};
use super::{Digest, signed, unsigned};
use polder_model::{Job, JobId, Lease, LeaseEnd, LeaseSample, Micros, Timestamp, UserName};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

/// One derived row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Row {
    /// A job is over.
    Job(Box<Job>),
    /// A lease is over.
    Lease(Box<EndRow>),
    /// A lease goes on with other slices.
    Term(Box<TermRow>),
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
    /// When its last term began, if it ran.
    pub(crate) since: Option<Timestamp>,
    /// The model of each slice's device, in order.
    pub(crate) models: Vec<String>,
}

/// A term of a lease that is over: until a resize it had these slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TermRow {
    /// What it had.
    pub(crate) lease: Lease,
    /// When the term began.
    pub(crate) since: Timestamp,
    /// When it was over.
    pub(crate) at: Timestamp,
    /// What the lease had used by then, as far as its node had said.
    pub(crate) sample: LeaseSample,
    /// The model of each slice's device, in order.
    pub(crate) models: Vec<String>,
}

/// One term of a lease, for its usage.
struct Term<'a> {
    lease: &'a Lease,
    models: &'a [String],
    since: Option<Timestamp>,
    at: Timestamp,
    /// All that the lease has used so far.
    sample: &'a LeaseSample,
    /// How long the lease has run so far, by its node; by the server's clock while it goes on.
    ran: Option<Micros>,
}

/// Rows of the audit log in one INSERT; each binds five values and SQLite allows 32766.
const AUDIT_ROWS_PER_INSERT: usize = 500;

pub(super) async fn insert(conn: &mut SqliteConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    for row in rows {
        match row {
            Row::Job(job) => insert_job(conn, job).await?,
            Row::Lease(end) => insert_lease(conn, end).await?,
            Row::Term(term) => {
                let TermRow { lease, since, at, sample, models } = &**term;
                let since = Some(*since);
                let term = Term { lease, models, since, at: *at, sample, ran: None };
                insert_usage(conn, &term).await?;
            }
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
    let row = [
        number(job.id.0),
        Cell::Text(job.ask.tenant.as_str()),
        Cell::Text(job.ask.user.as_str()),
        number(job.finished_at.unwrap_or_default().0),
        Cell::Text(&body),
    ];
    JOBS.insert(conn, &row).await
}

async fn insert_lease(conn: &mut SqliteConnection, row: &EndRow) -> Result<(), sqlx::Error> {
    let EndRow { lease, end, at, since, models } = row;
    let body = serde_json::to_string(&(lease, end)).expect("leases have only string keys");
    let row = [
        number(lease.id.0),
        number(lease.job.0),
        Cell::Text(lease.node.as_str()),
        number(at.0),
        Cell::Text(&body),
    ];
    LEASES.insert(conn, &row).await?;
    let (sample, ran) = (&end.sample, Some(end.ran));
    insert_usage(conn, &Term { lease, models, since: *since, at: *at, sample, ran }).await
}

/// A number that is known.
fn number(number: u64) -> Cell<'static> {
    Cell::Number(Some(signed(number)))
}

/// What earlier terms of a slice have had of what its lease has had in all.
#[derive(Default)]
struct Before {
    terms: i64,
    ran: u64,
    device_time: u64,
    contended_time: u64,
    refused: u64,
}

async fn before(
    conn: &mut SqliteConnection,
    lease: &Lease,
    place: i64,
) -> Result<Before, sqlx::Error> {
    let sql = "SELECT count(*), coalesce(sum(ran), 0), coalesce(sum(device_time), 0), \
               coalesce(sum(contended_time), 0), coalesce(sum(refused), 0) FROM usage \
               WHERE lease = ? AND place = ?";
    let query = sqlx::query(sql).bind(signed(lease.id.0)).bind(place);
    let row = query.fetch_one(conn).await?;
    let sum = |column: usize| Ok::<_, sqlx::Error>(unsigned(row.try_get(column)?));
    Ok(Before {
        terms: row.try_get(0)?,
        ran: sum(1)?,
        device_time: sum(2)?,
        contended_time: sum(3)?,
        refused: sum(4)?,
    })
}

/// The rows of one term: of what the lease has had in all, what earlier terms have not.
async fn insert_usage(conn: &mut SqliteConnection, term: &Term<'_>) -> Result<(), sqlx::Error> {
    let Term { lease, models, since, at, sample, ran } = *term;
    for (place, slice) in (0i64..).zip(&lease.slices) {
        // Only of a lease that was resized there can be any.
        let resized = since.is_some_and(|since| lease.started_at.is_some_and(|at| at < since));
        let before = if resized { before(conn, lease, place).await? } else { Before::default() };
        let index = usize::try_from(place).unwrap_or_default();
        let used = sample.devices.iter().find(|used| used.device == slice.device);
        let used = |amount: fn(&polder_model::DeviceSample) -> u64, before: u64| {
            number(used.map_or(0, amount).saturating_sub(before))
        };
        let by_clock = since.map_or(0, |since| at.since(since).0);
        let ran = ran.map_or(by_clock, |ran| ran.0.saturating_sub(before.ran));
        let mechanism = slice.mechanism.to_string();
        let row = [
            number(lease.id.0),
            Cell::Number(Some(place)),
            Cell::Number(Some(before.terms)),
            number(lease.job.0),
            Cell::Text(lease.tenant.as_str()),
            Cell::Text(lease.user.as_str()),
            Cell::Text(lease.node.as_str()),
            Cell::Text(slice.device.as_str()),
            Cell::Text(models.get(index).map_or("", String::as_str)),
            Cell::Text(&mechanism),
            number(slice.compute.0.into()),
            number(slice.memory.0),
            Cell::Number(since.map(|at| signed(at.0))),
            number(at.0),
            number(ran),
            used(|used| used.device_time.0, before.device_time),
            used(|used| used.contended_time.0, before.contended_time),
            used(|used| used.memory_peak.0, 0),
            used(|used| used.refused, before.refused),
        ];
        USAGE.insert(&mut *conn, &row).await?;
    }
    Ok(())
}
