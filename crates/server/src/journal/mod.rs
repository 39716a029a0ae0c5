//! The journal: what was, in order, provably whole, on disk before anybody is told.
//!
//! `events` is the truth. Everything else in the file is derived from it in the transactions that
//! append to it. [`Reader`] proves a journal and never changes it; [`Journal`] is its one writer.

mod chain;
mod error;
mod export;
pub(crate) mod mark;
mod query;
mod read;
mod rows;
mod seal;
#[cfg(test)]
mod tests;

pub(crate) use chain::{Digest, of as digest_of};
pub use error::{AppendError, JournalError};
pub use export::read_journal;
pub(crate) use query::{Archive, EndedLease, EndedTerms, JobFilter, UsageSum};
pub(crate) use read::{Head, Reader, unsigned};
pub(crate) use rows::{EndRow, Row, TermRow};

use polder_model::{Envelope, Event, PoolId, Timestamp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `PLDR`: marks the file as a journal of Polder.
const APPLICATION_ID: i64 = 0x504c_4452;
/// The numbered migrations; a file's `user_version` says how many it has seen.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001_journal.sql"),
    include_str!("../../migrations/0002_terms.sql"),
    include_str!("../../migrations/0003_digests.sql"),
    include_str!("../../migrations/0004_tally.sql"),
];
/// The layout this program writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful of migrations")]
const LAYOUT: i64 = MIGRATIONS.len() as i64;
/// Snapshots kept: the newest, and one more in case that is damaged.
const SNAPSHOTS_KEPT: i64 = 2;
/// How long a statement waits for a reader that is in its way.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Rows in one INSERT; each binds six values and SQLite allows 32766.
const ROWS_PER_INSERT: usize = 500;

/// How the journal's file is reached.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    /// A SQLite VFS registered under this name, instead of the system's files.
    pub vfs: Option<String>,
    /// Leaves out every sync. Loses what was acknowledged when the power fails: it exists so that
    /// the power-cut test can show that it would notice.
    pub unsynced: bool,
}

impl Storage {
    fn options(&self, path: &Path) -> SqliteConnectOptions {
        let synchronous =
            if self.unsynced { SqliteSynchronous::Off } else { SqliteSynchronous::Full };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .synchronous(synchronous)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        match &self.vfs {
            Some(name) => options.vfs(name.clone()),
            None => options,
        }
    }
}

/// Events of one transaction and the rows derived from them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What happened, each with its time.
    pub(crate) events: Vec<(Timestamp, Event)>,
    /// What is derived.
    pub(crate) rows: Vec<Row>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.rows.is_empty()
    }
}

/// The one writer of a journal.
pub(crate) struct Journal {
    path: PathBuf,
    conn: SqliteConnection,
    head: Head,
    mark: mark::Mark,
}

impl Journal {
    /// Makes a new journal for a new pool, or replaces nothing: the file must hold no tables.
    pub(crate) async fn create(
        path: &Path,
        storage: &Storage,
        pool: &PoolId,
        engine: u32,
    ) -> Result<Self, JournalError> {
        let head = Head { seq: 0, epoch: 0, at: Timestamp(0), digest: chain::genesis(pool) };
        let mut journal = Self::resume(path, storage, head).await?;
        let header = sqlx::query(
            "INSERT OR REPLACE INTO header (one, pool, engine, epoch, seq) VALUES (1, ?, ?, 0, 0)",
        );
        let made = header.bind(pool.as_str()).bind(engine).execute(&mut journal.conn).await;
        made.map_err(|error| JournalError::from_sqlite(path, 0, error))?;
        Ok(journal)
    }

    /// Goes on with a journal that [`Reader`] has proved up to `head`.
    pub(crate) async fn resume(
        path: &Path,
        storage: &Storage,
        head: Head,
    ) -> Result<Self, JournalError> {
        let fail = |error| JournalError::from_sqlite(path, 0, error);
        // Environments of jobs are in it.
        crate::state::make_private(path).map_err(|error| fail(sqlx::Error::Io(error)))?;
        let mark = mark::Mark::open(path).map_err(|error| fail(sqlx::Error::Io(error)))?;
        let options = storage
            .options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("journal_size_limit", "67108864");
        let mut conn = options.connect().await.map_err(fail)?;
        migrate(&mut conn).await.map_err(fail)?;
        Ok(Self { path: path.to_owned(), conn, head, mark })
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a batch durable, or nothing of it. Its events get the next places in the journal.
    pub(crate) async fn append(&mut self, batch: &Batch) -> Result<Vec<Envelope>, AppendError> {
        let (envelopes, bodies) = self.seal(batch);
        let mut head = self.head.clone();
        let Self { path, conn, .. } = self;
        let fail = |source| AppendError::Storage { path: path.clone(), source };
        let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
        if let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) {
            // Moves the header from exactly where this writer left it, or not at all.
            let moved =
                sqlx::query("UPDATE header SET epoch = ?, seq = ? WHERE epoch = ? AND seq = ?")
                    .bind(signed(last.epoch))
                    .bind(signed(last.seq))
                    .bind(signed(head.epoch))
                    .bind(signed(head.seq))
                    .execute(&mut *transaction)
                    .await
                    .map_err(fail)?;
            if moved.rows_affected() != 1 {
                let (path, seq, epoch) = (path.clone(), first.seq, first.epoch);
                return Err(AppendError::Fenced { path, seq, epoch });
            }
            let rows: Vec<_> = envelopes.iter().zip(&bodies).collect();
            for chunk in rows.chunks(ROWS_PER_INSERT) {
                insert_events(&mut transaction, chunk).await.map_err(fail)?;
            }
            let digest = bodies.last().map_or(head.digest, |(_, digest)| *digest);
            head = Head { seq: last.seq, epoch: last.epoch, at: last.at, digest };
        }
        rows::insert(&mut transaction, &batch.rows).await.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        self.mark.set(head.seq);
        self.head = head;
        Ok(envelopes)
    }

    /// Numbers the events and chains their digests. A fence begins the next epoch.
    fn seal(&self, batch: &Batch) -> (Vec<Envelope>, Vec<(String, Digest)>) {
        let mut head = self.head.clone();
        let mut envelopes = Vec::with_capacity(batch.events.len());
        let mut bodies = Vec::with_capacity(batch.events.len());
        for (at, event) in &batch.events {
            let seq = head.seq + 1;
            let epoch = head.epoch + u64::from(matches!(event, Event::Fenced { .. }));
            let version = polder_model::EVENT_VERSION;
            let body = serde_json::to_string(event).expect("events have only string keys");
            let digest = chain::next(&head.digest, seq, epoch, at.0, version, &body);
            head = Head { seq, epoch, at: *at, digest };
            envelopes.push(Envelope { seq, epoch, at: *at, version, event: event.clone() });
            bodies.push((body, digest));
        }
        (envelopes, bodies)
    }

    /// Keeps the engine as it is after the newest event, and forgets all but the newest snapshots.
    pub(crate) async fn snapshot(&mut self, engine: u32, body: &str) -> Result<(), AppendError> {
        let Self { path, conn, head, .. } = self;
        let fail = |source| AppendError::Storage { path: path.clone(), source };
        let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
        sqlx::query(
            "INSERT OR REPLACE INTO snapshots (seq, engine, at, digest, body_digest, body) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(signed(head.seq))
        .bind(engine)
        .bind(signed(head.at.0))
        .bind(&head.digest[..])
        .bind(&digest_of(&[body.as_bytes()])[..])
        .bind(body)
        .execute(&mut *transaction)
        .await
        .map_err(fail)?;
        sqlx::query(
            "DELETE FROM snapshots WHERE seq NOT IN \
             (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?)",
        )
        .bind(SNAPSHOTS_KEPT)
        .execute(&mut *transaction)
        .await
        .map_err(fail)?;
        transaction.commit().await.map_err(fail)
    }

    /// Lets go of the file; what is in its log moves into it.
    pub(crate) async fn close(self) {
        if let Err(error) = self.conn.close().await {
            tracing::warn!(%error, "closing the journal; nothing is lost by it");
        }
    }

    #[cfg(test)]
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }
}

/// Brings the tables to this program's layout, all or nothing.
async fn migrate(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let seen = usize::try_from(found).unwrap_or(0);
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(seen) {
        sqlx::raw_sql(*sql).execute(&mut *transaction).await?;
        if i64::try_from(number + 1) == Ok(seal::SEALED_LAYOUT) {
            seal::seal(&mut transaction).await?;
        }
        let mark = format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}",
            number + 1
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

async fn insert_events(
    conn: &mut SqliteConnection,
    rows: &[(&Envelope, &(String, Digest))],
) -> Result<(), sqlx::Error> {
    let start = "INSERT INTO events (seq, epoch, at, version, body, digest) ";
    let mut insert = sqlx::QueryBuilder::<sqlx::Sqlite>::new(start);
    insert.push_values(rows, |mut values, (envelope, (body, digest))| {
        values
            .push_bind(signed(envelope.seq))
            .push_bind(signed(envelope.epoch))
            .push_bind(signed(envelope.at.0))
            .push_bind(envelope.version)
            .push_bind(body.as_str())
            .push_bind(&digest[..]);
    });
    insert.build().execute(conn).await.map(drop)
}

/// As SQLite keeps numbers. None of ours reaches 2^63: times are microseconds since 1970.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
