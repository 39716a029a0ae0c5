//! When a job runs, how long, and how urgent it is.

use crate::{Micros, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// When, how long and how urgent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Wall time after which it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<Micros>,
    /// Higher goes first; 0 is usual. Between -1000 and 1000.
    #[serde(default)]
    pub priority: i32,
    /// Until when the priority holds; after it, it counts as 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_expiry: Option<Timestamp>,
    /// How long its user thinks it runs. Nothing is ended by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Micros>,
    /// By when it should be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What kind of work it is.
    #[serde(default, skip_serializing_if = "WorkClass::is_default")]
    pub class: WorkClass,
    /// On which terms it runs.
    #[serde(default, skip_serializing_if = "Market::is_default")]
    pub market: Market,
}

/// What kind of work a job is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkClass {
    /// Runs to its end with nobody waiting for it.
    #[default]
    Batch,
    /// Trains a model: long, and can often go on from a checkpoint.
    Training,
    /// Serves requests: runs until it is cancelled.
    Inference,
    /// Somebody sits before it.
    Interactive,
}

impl WorkClass {
    /// Whether somebody waits for each piece of such work: its turns come at once, for as long as it
    /// keeps to its share.
    #[must_use]
    pub const fn is_latency(self) -> bool {
        matches!(self, Self::Inference | Self::Interactive)
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for WorkClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Batch => "batch",
            Self::Training => "training",
            Self::Inference => "inference",
            Self::Interactive => "interactive",
        })
    }
}

/// On which terms a job runs.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// Keeps what it got.
    #[default]
    OnDemand,
    /// Within what was reserved.
    Reserved,
    /// Yields to whatever is not spot.
    Spot,
}

impl Market {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
