//! The digests of rows of what is over: jobs, leases, usage.
//!
//! What must hold: each such row carries the digest of what it held when it was written, and every start
//! looks at all of them, so that no damaged row is shown, summed or billed. How many were ever written is
//! counted beside them, so that one that is gone is missed; which one it was, the chain of events says.

use super::chain::{self, Digest};
use super::error::JournalError;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, query::Query, sqlite::SqliteArguments};
use std::path::Path;

/// The layout from which on rows have digests.
pub(super) const SEALED_LAYOUT: i64 = 3;
/// The layout from which on rows are counted.
pub(super) const COUNTED_LAYOUT: i64 = 4;

/// What one column of a row holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    /// A number, or none.
    Number(Option<i64>),
    /// A text.
    Text(&'a str),
}

/// What kind of thing a column holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Number,
    Text,
}
use Kind::{Number, Text};

/// A table whose rows have digests. The first `keys` columns, all numbers, tell its rows apart.
pub(super) struct Table {
    name: &'static str,
    keys: usize,
    columns: &'static [(&'static str, Kind)],
}

/// Jobs that are over.
pub(super) const JOBS: Table = Table {
    name: "jobs",
    keys: 1,
    columns: &[
        ("id", Number),
        ("tenant", Text),
        ("user", Text),
        ("finished_at", Number),
        ("body", Text),
    ],
};

/// Leases that are over.
pub(super) const LEASES: Table = Table {
    name: "leases",
    keys: 1,
    columns: &[
        ("id", Number),
        ("job", Number),
        ("node", Text),
        ("ended_at", Number),
        ("body", Text),
    ],
};

/// What terms of leases leased and used.
pub(super) const USAGE: Table = Table {
    name: "usage",
    keys: 3,
    columns: &[
        ("lease", Number),
        ("place", Number),
        ("term", Number),
        ("job", Number),
        ("tenant", Text),
        ("user", Text),
        ("node", Text),
        ("device", Text),
        ("model", Text),
        ("mechanism", Text),
        ("compute", Number),
        ("memory", Number),
        ("started_at", Number),
        ("ended_at", Number),
        ("ran", Number),
        ("device_time", Number),
        ("contended_time", Number),
        ("memory_peak", Number),
        ("refused", Number),
    ],
};

const ALL: [&Table; 3] = [&JOBS, &LEASES, &USAGE];

impl Table {
    /// Writes one row, of all columns in order, with its digest.
    pub(super) async fn insert(
        &self,
        conn: &mut SqliteConnection,
        cells: &[Cell<'_>],
    ) -> Result<(), sqlx::Error> {
        debug_assert_eq!(
            cells.len(),
            self.columns.len(),
            "a row of {} has all its columns",
            self.name
        );
        let marks = vec!["?"; self.columns.len() + 1].join(", ");
        let sql = format!("INSERT INTO {} ({}, digest) VALUES ({marks})", self.name, self.names());
        let query =
            cells.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, cell| bind(query, *cell));
        let digest = self.digest(cells);
        query.bind(&digest[..]).execute(conn).await.map(drop)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// The digest of a row. Each cell says what it is and how long, so no two rows run together.
    fn digest(&self, cells: &[Cell<'_>]) -> Digest {
        let mut bytes = Vec::with_capacity(64);
        for cell in cells {
            match cell {
                Cell::Number(None) => bytes.push(0),
                Cell::Number(Some(number)) => {
                    bytes.push(1);
                    bytes.extend(number.to_be_bytes());
                }
                Cell::Text(text) => {
                    bytes.push(2);
                    bytes.extend((text.len() as u64).to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        chain::of(&[b"polder row ", self.name.as_bytes(), &[0], &bytes])
    }

    /// What a row holds; a damaged one may hold what is not even of its type.
    fn cells<'r>(&self, row: &'r SqliteRow) -> Result<Vec<Cell<'r>>, sqlx::Error> {
        let cell = |(at, (_, kind)): (usize, &(&str, Kind))| {
            Ok(match kind {
                Number => Cell::Number(row.try_get(at)?),
                Text => Cell::Text(row.try_get(at)?),
            })
        };
        self.columns.iter().enumerate().map(cell).collect()
    }

    /// The numbers that tell a row from the others, as far as they can be read.
    fn key(&self, row: &SqliteRow) -> Vec<i64> {
        (0..self.keys).map(|at| row.try_get(at).unwrap_or_default()).collect()
    }

    /// How many rows there are, and how many were written as far as that can be read.
    async fn counted(&self, conn: &mut SqliteConnection) -> Result<(i64, i64), sqlx::Error> {
        let sql = format!("SELECT count(*) FROM {}", self.name);
        let found = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *conn).await?;
        let sql = "SELECT written FROM tally WHERE name = ?";
        let written = sqlx::query_scalar(sql).bind(self.name).fetch_optional(conn).await?;
        Ok((found, written.unwrap_or_default()))
    }

    /// The first row that is not as it was written.
    async fn damaged(&self, conn: &mut SqliteConnection) -> Result<Option<Vec<i64>>, sqlx::Error> {
        let sql = format!("SELECT {}, digest FROM {}", self.names(), self.name);
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(conn);
        while let Some(row) = rows.try_next().await? {
            let written = row.try_get::<&[u8], _>(self.columns.len());
            let whole = self
                .cells(&row)
                .is_ok_and(|cells| written.is_ok_and(|written| written == self.digest(&cells)));
            if !whole {
                return Ok(Some(self.key(&row)));
            }
        }
        Ok(None)
    }

    /// Gives rows of an older program their digests.
    async fn seal(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let sql = format!("SELECT {} FROM {}", self.names(), self.name);
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *conn);
        let mut digests = Vec::new();
        while let Some(row) = rows.try_next().await? {
            digests.push((self.key(&row), self.digest(&self.cells(&row)?)));
        }
        drop(rows);
        let keys = self.columns.iter().take(self.keys).map(|(name, _)| format!("{name} = ?"));
        let found = keys.collect::<Vec<_>>().join(" AND ");
        let sql = format!("UPDATE {} SET digest = ? WHERE {found}", self.name);
        for (key, digest) in digests {
            let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(&digest[..]);
            let query = key.iter().fold(query, |query, number| query.bind(*number));
            query.execute(&mut *conn).await?;
        }
        Ok(())
    }
}

fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    cell: Cell<'q>,
) -> Query<'q, Sqlite, SqliteArguments> {
    match cell {
        Cell::Number(number) => query.bind(number),
        Cell::Text(text) => query.bind(text),
    }
}

/// Gives the rows that an older program wrote their digests.
pub(super) async fn seal(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for table in ALL {
        table.seal(conn).await?;
    }
    Ok(())
}

/// Looks at every row of a journal of this layout.
///
/// # Errors
/// One is not as it was written, and is named; or some are gone.
pub(super) async fn prove(
    conn: &mut SqliteConnection,
    path: &Path,
    layout: i64,
) -> Result<(), JournalError> {
    if layout < SEALED_LAYOUT {
        return Ok(());
    }
    for table in ALL {
        let damaged = table.damaged(conn).await;
        let damaged = damaged.map_err(|error| JournalError::from_sqlite(path, 0, error))?;
        if let Some(key) = damaged {
            let key: Vec<String> = key.iter().map(ToString::to_string).collect();
            let (path, table) = (path.to_owned(), table.name);
            return Err(JournalError::DamagedRow { path, table, row: key.join("/") });
        }
        if layout < COUNTED_LAYOUT {
            continue;
        }
        let counted = table.counted(conn).await;
        let (found, written) =
            counted.map_err(|error| JournalError::from_sqlite(path, 0, error))?;
        if found != written {
            let (path, table) = (path.to_owned(), table.name);
            return Err(JournalError::LostRows { path, table, found, written });
        }
    }
    Ok(())
}
