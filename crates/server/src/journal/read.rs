//! Reads and proves a journal without changing it.

use super::chain::{self, Digest};
use super::error::JournalError;
use super::{APPLICATION_ID, LAYOUT, Storage, seal};
use polder_model::{EVENT_VERSION, Envelope, PoolId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection as Connection};
use std::path::{Path, PathBuf};

/// Events read in one go.
const PAGE: i64 = 1000;

/// The engine as it was after an event.
pub(crate) struct Snapshot {
    /// The last event it holds.
    pub(crate) seq: u64,
    /// The engine, as JSON.
    pub(crate) body: String,
    digest: Digest,
}

/// Where the journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
    pub(crate) at: Timestamp,
    pub(super) digest: Digest,
}

/// Reads one journal from a snapshot, or its beginning, to its end.
pub(crate) struct Reader {
    path: PathBuf,
    conn: SqliteConnection,
    pool: PoolId,
    /// Epoch and seq that the header names: the end.
    end: (u64, u64),
    head: Head,
    layout: i64,
}

impl Reader {
    /// Opens the journal read-only; `None` when the file is absent or was never written to.
    pub(crate) async fn open(path: &Path, storage: &Storage) -> Result<Option<Self>, JournalError> {
        if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            Self::open_existing(path, storage).await
        } else {
            Ok(None)
        }
    }

    async fn open_existing(path: &Path, storage: &Storage) -> Result<Option<Self>, JournalError> {
        let fail = |error| JournalError::from_sqlite(path, 0, error);
        finish_creation(path, storage).await.map_err(fail)?;
        let options = storage.options(path).read_only(true).create_if_missing(false);
        let mut conn = options.connect().await.map_err(fail)?;
        // One view for all that is read: a server that writes meanwhile is not seen.
        sqlx::query("BEGIN").execute(&mut conn).await.map_err(fail)?;
        let found = identify(&mut conn).await.map_err(fail)?;
        match found {
            (0, 0, 0) => return Ok(None),
            (APPLICATION_ID, 1..=LAYOUT, _) => {}
            (APPLICATION_ID, found, _) if found > LAYOUT => {
                let path = path.to_owned();
                return Err(JournalError::NewerLayout { path, found, known: LAYOUT });
            }
            _ => return Err(JournalError::NotAJournal { path: path.to_owned() }),
        }
        let header = "SELECT pool, epoch, seq FROM header WHERE seq > 0";
        let row = sqlx::query(header).fetch_optional(&mut conn).await.map_err(fail)?;
        let Some(row) = row else { return Ok(None) };
        let corrupt = |error: &dyn std::error::Error| JournalError::Corrupt {
            path: path.to_owned(),
            seq: 0,
            what: error.to_string(),
        };
        let pool: String = row.try_get(0).map_err(|error| corrupt(&error))?;
        let pool = PoolId::try_from(pool).map_err(|error| corrupt(&error))?;
        let head = Head { seq: 0, epoch: 0, at: Timestamp(0), digest: chain::genesis(&pool) };
        let number = |column: usize| row.try_get(column).map(unsigned);
        let end = number(1).and_then(|epoch| Ok((epoch, number(2)?)));
        let end = end.map_err(|error| corrupt(&error))?;
        let layout = found.1;
        Ok(Some(Self { path: path.to_owned(), conn, pool, end, head, layout }))
    }

    pub(crate) fn pool(&self) -> &PoolId {
        &self.pool
    }

    /// The newest snapshot that this engine wrote and that is whole. Events are the truth: a
    /// snapshot that is not as it was written is passed over.
    pub(crate) async fn snapshot(&mut self, engine: u32) -> Result<Option<Snapshot>, JournalError> {
        let rows = sqlx::query(
            "SELECT seq, digest, body_digest, body FROM snapshots \
             WHERE engine = ? AND seq <= ? ORDER BY seq DESC",
        )
        .bind(engine)
        .bind(super::signed(self.end.1))
        .fetch_all(&mut self.conn)
        .await
        .map_err(|error| JournalError::from_sqlite(&self.path, 0, error))?;
        for row in rows {
            match whole_snapshot(&row) {
                Some(snapshot) => return Ok(Some(snapshot)),
                None => tracing::warn!("a snapshot is damaged; replaying more events instead"),
            }
        }
        Ok(None)
    }

    /// Goes on behind a snapshot: proves everything before it, and that it was taken there.
    pub(crate) async fn skip_to(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        while self.head.seq < snapshot.seq {
            let rows = self.rows(snapshot.seq - self.head.seq).await?;
            if rows.is_empty() {
                return Err(self.corrupt(self.head.seq + 1, "it is missing"));
            }
            for row in &rows {
                self.head = self.next(row)?;
            }
        }
        if self.head.digest != snapshot.digest {
            return Err(self.corrupt(snapshot.seq, "it is not the one its snapshot was taken at"));
        }
        Ok(())
    }

    /// The next events, each proved; empty at the end.
    pub(crate) async fn page(&mut self) -> Result<Vec<Envelope>, JournalError> {
        let rows = self.rows(u64::MAX).await?;
        rows.iter().map(|row| self.prove(row)).collect()
    }

    /// The next rows, at most so many and at most a page.
    async fn rows(&mut self, most: u64) -> Result<Vec<SqliteRow>, JournalError> {
        let from = self.head.seq;
        sqlx::query(
            "SELECT seq, epoch, at, version, body, digest FROM events \
             WHERE seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(super::signed(from))
        .bind(PAGE.min(super::signed(most)))
        .fetch_all(&mut self.conn)
        .await
        .map_err(|error| JournalError::from_sqlite(&self.path, from + 1, error))
    }

    /// Where the chain is behind this row, if the row is the next of it.
    fn next(&self, row: &SqliteRow) -> Result<Head, JournalError> {
        let wanted = self.head.seq + 1;
        let number = |column| self.column(row, column).map(unsigned);
        let (seq, epoch, at) = (number(0)?, number(1)?, number(2)?);
        if seq != wanted {
            return Err(self.corrupt(wanted, "it is missing"));
        }
        let body: &str = self.column(row, 4)?;
        let digest = chain::next(&self.head.digest, seq, epoch, at, self.version(row)?, body);
        if self.column::<Vec<u8>>(row, 5)? != digest {
            return Err(self.corrupt(seq, "its digest does not match what it holds"));
        }
        Ok(Head { seq, epoch, at: Timestamp(at), digest })
    }

    /// What a column of the next event holds: a damaged one may hold what is not even of its type.
    fn column<'r, T>(&self, row: &'r SqliteRow, column: usize) -> Result<T, JournalError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        row.try_get(column).map_err(|error| {
            self.corrupt(self.head.seq + 1, &format!("it cannot be read: {error}"))
        })
    }

    fn version(&self, row: &SqliteRow) -> Result<u32, JournalError> {
        let (seq, found) = (unsigned(self.column(row, 0)?), self.column::<i64>(row, 3)?);
        match u32::try_from(found) {
            Ok(version) if (1..=EVENT_VERSION).contains(&version) => Ok(version),
            _ if found > i64::from(EVENT_VERSION) => {
                let (path, known) = (self.path.clone(), EVENT_VERSION);
                Err(JournalError::NewerEvent { path, seq, found, known })
            }
            _ => Err(self.corrupt(seq, &format!("no event has version {found}"))),
        }
    }

    fn prove(&mut self, row: &SqliteRow) -> Result<Envelope, JournalError> {
        let head = self.next(row)?;
        let Head { seq, epoch, at, .. } = head;
        let event = serde_json::from_str(self.column(row, 4)?)
            .map_err(|error| self.corrupt(seq, &format!("it cannot be read: {error}")))?;
        let version = self.version(row)?;
        self.head = head;
        Ok(Envelope { seq, epoch, at, version, event })
    }

    /// Proves the rows of what is over. Those that an older program wrote have nothing to prove them by.
    pub(crate) async fn rows_of_what_is_over(&mut self) -> Result<(), JournalError> {
        seal::prove(&mut self.conn, &self.path, self.layout).await
    }

    /// Where it ends, once every page is read. Says so when the last events are missing.
    pub(crate) async fn end(self) -> Result<Head, JournalError> {
        if (self.head.epoch, self.head.seq) != self.end {
            let (seq, newest) = (self.head.seq + 1, self.end.1);
            return Err(self.corrupt(seq, &format!("it is missing; the newest was {newest}")));
        }
        let path = self.path;
        let closed = self.conn.close().await;
        closed.map_err(|error| JournalError::from_sqlite(&path, self.head.seq, error))?;
        Ok(self.head)
    }

    fn corrupt(&self, seq: u64, what: &str) -> JournalError {
        JournalError::Corrupt { path: self.path.clone(), seq, what: what.to_owned() }
    }

    /// The error for an event that the engine refuses.
    pub(crate) fn refused(&self, seq: u64, why: &impl ToString) -> JournalError {
        JournalError::Replay { path: self.path.clone(), seq, why: why.to_string() }
    }
}

/// Rolls back a creation that was cut short: only then is there a rollback journal beside the
/// file, and a read-only connection cannot clear it away.
async fn finish_creation(path: &Path, storage: &Storage) -> Result<(), sqlx::Error> {
    let mut rollback = path.as_os_str().to_owned();
    rollback.push("-journal");
    if !Path::new(&rollback).exists() {
        return Ok(());
    }
    let mut conn = storage.options(path).create_if_missing(false).connect().await?;
    identify(&mut conn).await?;
    conn.close().await
}

/// Whose file it is, in which layout, with how many tables.
async fn identify(conn: &mut Connection) -> Result<(i64, i64, i64), sqlx::Error> {
    let application = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *conn).await?;
    let layout = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *conn).await?;
    let tables = "SELECT count(*) FROM sqlite_schema";
    Ok((application, layout, sqlx::query_scalar(tables).fetch_one(conn).await?))
}

/// A row of a snapshot, if it is as it was written.
fn whole_snapshot(row: &SqliteRow) -> Option<Snapshot> {
    let body: String = row.try_get(3).ok()?;
    if row.try_get::<Vec<u8>, _>(2).ok()? != chain::of(&[body.as_bytes()]) {
        return None;
    }
    let digest = Digest::try_from(row.try_get::<Vec<u8>, _>(1).ok()?).ok()?;
    Some(Snapshot { seq: unsigned(row.try_get(0).ok()?), body, digest })
}

/// What SQLite keeps as signed; negative numbers, which nobody writes, read as zero.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
