//! Journal, engine loop, REST API, metering and users.

pub mod api;
mod clock;
mod journal;
mod state;
