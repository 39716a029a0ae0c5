//! How a job ends, and how it yields to others.

use crate::Micros;
use serde::{Deserialize, Serialize};

/// How it ends and yields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Yields {
    /// Time between SIGTERM and SIGKILL.
    pub grace: Micros,
    /// How often a failed job is tried again.
    #[serde(default)]
    pub retries: u32,
    /// Whether it may be ended to make room and queued again. Spot always may.
    #[serde(default, skip_serializing_if = "is_false")]
    pub preemptible: bool,
    /// How long it runs before it may be preempted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runtime_min: Micros,
    /// How often it saves its work by itself; absent means that what was done is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_interval: Option<Micros>,
    /// What a restart costs it beside the work lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_cost: Micros,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &Micros) -> bool {
    value.0 == 0
}

impl Default for Yields {
    fn default() -> Self {
        Self {
            grace: Micros::from_secs(10),
            retries: 0,
            preemptible: false,
            runtime_min: Micros(0),
            checkpoint_interval: None,
            restart_cost: Micros(0),
        }
    }
}
