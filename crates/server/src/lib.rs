//! Journal, engine loop, REST API, metering, users
