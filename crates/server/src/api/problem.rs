//! Errors as RFC 9457 problems.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every problem's `type` begins with.
pub const PROBLEM_TYPE_PREFIX: &str = "urn:polder:problem:";

/// Why a request was refused (`application/problem+json`, RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which problem, stable across releases: `urn:polder:problem:quota`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, with names and numbers.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    /// The part of `type` after [`PROBLEM_TYPE_PREFIX`]: `quota`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.kind.strip_prefix(PROBLEM_TYPE_PREFIX).unwrap_or(&self.kind)
    }
}
