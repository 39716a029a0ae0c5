//! Why a world ends before its time.

use polder_model::Event;
use thiserror::Error;

/// Why a world ended. Each is a defect of the engine or of the simulator, never of its input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorldError {
    /// The engine refused what it had decided, or what it must accept.
    #[error("seed {seed}, event {events}: {why}: {event}")]
    Refused {
        /// The seed of the run.
        seed: u64,
        /// Events applied before.
        events: u64,
        /// What it said.
        why: String,
        /// The event.
        event: String,
    },
    /// A promise was broken.
    #[error(
        "seed {seed}, event {events}: a promise is broken: {violation}; the last event: {event}"
    )]
    Broken {
        /// The seed of the run.
        seed: u64,
        /// Events applied.
        events: u64,
        /// The promise.
        violation: String,
        /// The last event.
        event: String,
    },
    /// Planning did not end.
    #[error("seed {seed}, event {events}: the engine decides for ever at one moment")]
    Endless {
        /// The seed of the run.
        seed: u64,
        /// Events applied.
        events: u64,
    },
    /// Nothing is called so.
    #[error("there is no {what} {name:?}")]
    Unknown {
        /// What sort of thing.
        what: &'static str,
        /// What was named.
        name: String,
    },
}

/// An event in few words, for reports of defects.
pub(super) fn brief(event: &Event) -> String {
    const LENGTH_MAX: usize = 600;
    format!("{event:?}").chars().take(LENGTH_MAX).collect()
}
