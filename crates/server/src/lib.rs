//! The server: one writer, one journal, one API.
//!
//! [`open`] takes a state folder for this process, proves its journal, replays it and begins a
//! new epoch; [`serve()`] answers callers from then on. Every write goes through one task that
//! appends events to the journal and answers only when they are on disk; decisions are events
//! too, so that a restart replays them and decides nothing again.
//!
//! The crate decides nothing (that is `polder-engine`), runs nothing (that is the agent) and
//! prints nothing. What the REST API says and hears is in [`api`].

pub mod api;
mod auth;
mod clock;
mod http;
mod journal;
mod pool;
mod serve;
mod state;
mod stop;
mod writer;

pub use auth::is_nobody_here;
pub use clock::{Clock, system_clock};
pub use http::{LogChunks, LogOutput, LogRequest, Logs, LogsError, NoLogs, openapi_json};
pub use journal::{AppendError, JournalError, Storage, read_journal};
pub use pool::{FIRST_TENANT, JOURNAL_FILE, OpenError, OpenOptions, Pool, open};
pub use serve::{
    Loopback, SILENT_AFTER, SOCKET_FILE, ServeError, ServeOptions, Server, ServerHandle,
    SyncFailure, TOKEN_FILE, serve,
};
pub use state::{StateError, holder};
pub use writer::WriterError;
