//! What can be wrong with a journal, and what to do about it.

use std::path::{Path, PathBuf};
use thiserror::Error;

const NOTHING_CHANGED: &str = "nothing was changed; put a backup in its place (without the files \
    that end in -wal, -shm and -mark), or start in another folder with --state; running tasks go on";

/// Why a journal could not be opened.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file is something else.
    #[error("{path} is not a Polder journal: {NOTHING_CHANGED}")]
    NotAJournal {
        /// Which file.
        path: PathBuf,
    },
    /// A newer program wrote the tables.
    #[error(
        "{path} was written by a newer Polder (layout {found}, this program knows up to {known}): \
         start that version; nothing was changed"
    )]
    NewerLayout {
        /// Which file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// A newer program wrote an event.
    #[error(
        "event {seq} of {path} was written by a newer Polder (version {found}, this program knows \
         up to {known}): start that version; nothing was changed"
    )]
    NewerEvent {
        /// Which file.
        path: PathBuf,
        /// Which event.
        seq: u64,
        /// Its version.
        found: i64,
        /// The newest this program knows.
        known: u32,
    },
    /// A row is not what was written.
    #[error("{path} is damaged at event {seq}: {what}: {NOTHING_CHANGED}")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// The first event that is not as it was written.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A row of what is over is not what was written.
    #[error("{path} is damaged at row {row} of its table {table}: {NOTHING_CHANGED}")]
    DamagedRow {
        /// Which file.
        path: PathBuf,
        /// Jobs, leases or usage.
        table: &'static str,
        /// Its number, or numbers with `/` between.
        row: String,
    },
    /// Rows of what is over are gone, or more than were written.
    #[error(
        "{path} is damaged: its table {table} has {found} rows, and {written} were written: \
         {NOTHING_CHANGED}"
    )]
    LostRows {
        /// Which file.
        path: PathBuf,
        /// Jobs, leases or usage.
        table: &'static str,
        /// Rows that are there.
        found: i64,
        /// Rows that were counted when they were written.
        written: i64,
    },
    /// It ends before what was acknowledged.
    #[error(
        "{path} ends at event {found}, but everything up to event {newest} was acknowledged: what \
         is between is gone or damaged, in that file or in the one beside it that ends in -wal: \
         {NOTHING_CHANGED}"
    )]
    Lost {
        /// Which file.
        path: PathBuf,
        /// Its last event; 0 when there is none.
        found: u64,
        /// The last event that somebody may have been told of.
        newest: u64,
    },
    /// The engine refuses an event that was journaled.
    #[error("event {seq} of {path} cannot be replayed: {why}: {NOTHING_CHANGED}")]
    Replay {
        /// Which file.
        path: PathBuf,
        /// Which event.
        seq: u64,
        /// What the engine says.
        why: String,
    },
    /// SQLite or the disk failed.
    #[error("{path}: {source}{}", disk_help(.source))]
    Storage {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
}

/// Why events could not be made durable. The process must end: what it decided is not kept.
#[derive(Debug, Error)]
pub enum AppendError {
    /// Another writer has taken over.
    #[error(
        "{path} has another writer: event {seq} of epoch {epoch} is not next: this server stops; \
         running tasks go on under their shims"
    )]
    Fenced {
        /// Which file.
        path: PathBuf,
        /// The event that was to be appended.
        seq: u64,
        /// This writer's epoch.
        epoch: u64,
    },
    /// SQLite or the disk failed.
    #[error(
        "cannot append to {path}: {source}{}: this server stops; nothing it acknowledged is lost \
         and running tasks go on under their shims",
        disk_help(.source)
    )]
    Storage {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
}

/// SQLite's primary result code, if the error is SQLite's.
fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse::<u32>().ok().map(|code| code & 0xff)
}

const SQLITE_IOERR: u32 = 10;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;

fn disk_help(error: &sqlx::Error) -> &'static str {
    match code(error) {
        Some(SQLITE_FULL) => ": the disk is full: free space there and start again",
        Some(SQLITE_IOERR) => ": the disk failed or is full: see the system log, then start again",
        _ => "",
    }
}

impl JournalError {
    /// What an error of SQLite means for the journal at `path`; `seq` is the event being read.
    pub(super) fn from_sqlite(path: &Path, seq: u64, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match code(&source) {
            Some(SQLITE_NOTADB) => Self::NotAJournal { path },
            Some(SQLITE_CORRUPT) => Self::Corrupt { path, seq, what: source.to_string() },
            _ => Self::Storage { path, source },
        }
    }
}
