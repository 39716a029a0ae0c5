//! What usage means, where a task goes, who may start before others, who yields.

use super::PolicyError;
use super::error::{length, range};
use super::order::WEIGHT_MAX;
use crate::Micros;
use crate::ask::WorkClass;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a tenant's usage means for its turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct FairShare {
    /// After this long, past use counts half; absent means only what is held now counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life: Option<Micros>,
    /// What an hour on a device counts, in thousandths, by a part of its model's name: the first
    /// that matches, in the order of names; 1000 where none does.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_weights: BTreeMap<String, u32>,
}

impl FairShare {
    pub(super) fn check(&self, used: bool) -> Result<(), PolicyError> {
        if let Some(half_life) = self.half_life {
            length("fair_share.half_life", half_life, Micros::from_secs(1))?;
        }
        for (model, weight) in &self.model_weights {
            let field = format!("fair_share.model_weights.{model:?}");
            range(field, (*weight).into(), 1, WEIGHT_MAX.into())?;
        }
        if *self != Self::default() && !used {
            let (setting, needs) = ("fair_share".into(), "the term fair_share in an order".into());
            return Err(PolicyError::NoEffect { setting, needs });
        }
        Ok(())
    }
}

/// Where a task goes among the places that fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// By what a place is judged.
    pub rule: PlaceRule,
    /// Whether, of several kinds of device that would do, the one that suits is taken first: the
    /// one of which least is wasted.
    pub suit: bool,
}

impl Default for Placement {
    fn default() -> Self {
        Self { rule: PlaceRule::default(), suit: true }
    }
}

/// By what a place is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlaceRule {
    /// The device with the least free compute, then memory.
    #[default]
    Tightest,
    /// The node that is fullest afterwards, CPU and devices alike.
    BestFit,
    /// The node that is emptiest.
    Spread,
    /// The node whose CPU and devices are then used most alike.
    Balance,
    /// Where the least of what is free becomes useless to the usual asks.
    Fragmentation,
    /// Polder's own: fragmentation, balance and perfect fits together.
    Layered,
}

/// Who may start before a job that waits for room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Backfill {
    /// Jobs for which room is reserved: 0 is no backfill, 1 is EASY, many is conservative.
    pub reserved: u32,
    /// What is believed of a run time.
    pub believe: Believe,
}

impl Default for Backfill {
    fn default() -> Self {
        Self { reserved: 0, believe: Believe::Limit }
    }
}

/// What is believed of a run time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Believe {
    /// The time limit: what it can be at most.
    #[default]
    Limit,
    /// The user's estimate, else the limit.
    Estimate,
    /// What history says, never more than the limit.
    Predicted,
}

/// Who yields to whom. Only jobs that said they may be preempted ever do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Reclaim {
    /// Lower priority yields to higher.
    pub priority: bool,
    /// Who holds more than deserved yields to who holds less.
    pub quota: bool,
    /// Spot yields to whatever is not.
    pub spot: bool,
    /// Work that runs yields to a job that the order puts before it, among those of no higher
    /// priority. Device-time counts in octaves, half of it for work that runs.
    pub order: bool,
    /// Who went to another class's partition yields to that class.
    pub class: bool,
    /// Everybody may run this long first, whatever their own minimum.
    pub runtime_min: Micros,
    /// Most jobs moved to make room for one; 0 moves none.
    pub moves_max: u32,
}

impl Default for Reclaim {
    fn default() -> Self {
        Self {
            priority: false,
            quota: false,
            spot: false,
            order: false,
            class: false,
            runtime_min: Micros(0),
            moves_max: 0,
        }
    }
}

/// How gangs that may change their size do so. Others never do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Elastic {
    /// They gain members while nobody who waits can use the room.
    pub grow: bool,
    /// Members beyond a gang's fewest yield to jobs that wait, unless those rank below the gang.
    pub shrink: bool,
    /// How long a gang keeps its size before it grows: each change costs its program a new start.
    pub pause: Micros,
}

impl Default for Elastic {
    fn default() -> Self {
        Self { grow: true, shrink: true, pause: Micros::from_secs(30) }
    }
}

/// Where a class of work goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ClassPool {
    /// The partition that is its own; absent means all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Whether work that may be preempted goes to other nodes while the partition is full. What
    /// may not does not borrow: nobody could get the room back.
    pub borrow: bool,
}

impl ClassPool {
    pub(super) fn check(&self, class: WorkClass) -> Result<(), PolicyError> {
        if self.borrow && self.partition.is_none() {
            let (setting, needs) = (format!("classes.{class}.borrow"), "a partition".into());
            return Err(PolicyError::NoEffect { setting, needs });
        }
        Ok(())
    }
}
