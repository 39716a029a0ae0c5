//! The policy, reservations, and questions of what would happen.

use polder_model::{Ask, Explanation, Ground, JobId, NodeId, Policy, Reservation, Spot, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The reservations, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReservationList {
    /// The reservations.
    pub reservations: Vec<Reservation>,
}

/// Body of `PUT /api/v1/reservations/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReservationChange {
    /// Whose jobs, and whose alone, may run there then; absent means nobody's: maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<polder_model::TenantPath>,
    /// Which nodes.
    pub nodes: Vec<NodeId>,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// What it is for.
    #[serde(default)]
    pub why: String,
}

/// A policy that nothing is decided by, looked at beside the one in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyShadow {
    /// The policy.
    pub policy: Policy,
    /// Since when.
    pub since: Timestamp,
}

/// A question to the live state: what would happen if. Nothing is changed by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WhatIf {
    /// If this were asked; the user is always the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
    /// If this were the policy. For admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// If these nodes did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes_silent: Vec<NodeId>,
}

/// A job that would start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WouldStart {
    /// Which.
    pub job: JobId,
    /// Whether it is the one asked about.
    pub asked: bool,
    /// Where each of its tasks would go.
    pub spots: Vec<Spot>,
}

/// A job that would yield.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WouldYield {
    /// Which.
    pub job: JobId,
    /// For whom.
    pub to: JobId,
    /// On what ground.
    pub ground: Ground,
}

/// A job with tasks that run on a node that would not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WouldCutOff {
    /// Which.
    pub job: JobId,
    /// The node.
    pub node: NodeId,
    /// How many of its tasks run there.
    pub tasks: u32,
}

/// What would happen at once. Jobs that the caller may not see are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfAnswer {
    /// Jobs that would start, in order.
    pub starts: Vec<WouldStart>,
    /// Jobs that would yield.
    pub yields: Vec<WouldYield>,
    /// Jobs that run on nodes that would not answer. They are lost if those stay away for longer
    /// than the policy's `contact_limit`.
    #[serde(default)]
    pub cut_off: Vec<WouldCutOff>,
    /// How what was asked would stand, if it had to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Explanation>,
    /// More would follow than was looked at.
    pub more: bool,
}
