//! Journal, engine loop, REST API, metering and users.

pub mod api;
mod auth;
mod clock;
mod journal;
mod pool;
mod state;
mod writer;

pub use clock::{Clock, system_clock};
pub use journal::{AppendError, JournalError, Storage};
pub use pool::{FIRST_TENANT, JOURNAL_FILE, OpenError, OpenOptions, Pool, open};
pub use state::StateError;
pub use writer::WriterError;
