//! Journal, engine loop, REST API, metering and users.

pub mod api;
