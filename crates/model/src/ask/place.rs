//! On which nodes a job runs and how its devices lie; what helps to predict it.

use super::AskError;
use super::check::name;
use super::yields::is_false;
use crate::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most nodes or labels that one ask names.
pub(super) const PLACE_ENTRIES_MAX: usize = 256;

/// On which nodes, and how devices must lie to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PlaceAsk {
    /// Only in this partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Only on these nodes; empty means any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes: BTreeSet<NodeId>,
    /// Never on these nodes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes_avoided: BTreeSet<NodeId>,
    /// Labels that the node must have, each `key=value`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// No two tasks of this tenant's jobs that name the same word share a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apart: Option<String>,
    /// The tasks of a gang near each other: on few nodes, in one rack and one block where one has room
    /// (the node labels `rack` and `block` say which), and on the same NIC rails of each. Without such
    /// room it is placed all the same.
    #[serde(skip_serializing_if = "is_false")]
    pub near: bool,
    /// The devices of a task on one island of fast links (NVLink).
    #[serde(skip_serializing_if = "Wish::is_default")]
    pub island: Wish,
    /// The devices of a task on one NUMA node.
    #[serde(skip_serializing_if = "Wish::is_default")]
    pub numa: Wish,
    /// The devices of a task each on a NIC rail of its own.
    #[serde(skip_serializing_if = "Wish::is_default")]
    pub rail: Wish,
}

impl PlaceAsk {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), AskError> {
        for (field, text) in [("place.partition", &self.partition), ("place.apart", &self.apart)] {
            text.as_ref().map_or(Ok(()), |text| name(field, text))?;
        }
        self.labels.iter().try_for_each(|label| name("place.labels", label))?;
        for (field, number) in [
            ("place.labels", self.labels.len()),
            ("place.nodes", self.nodes.len()),
            ("place.nodes_avoided", self.nodes_avoided.len()),
        ] {
            if number > PLACE_ENTRIES_MAX {
                return Err(AskError::Entries { field, number });
            }
        }
        Ok(())
    }
}

/// How much a placement matters.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// It does not.
    #[default]
    Any,
    /// Better so, but otherwise will do.
    Prefer,
    /// Only so.
    Require,
}

impl Wish {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What helps to predict a job's run time and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Hints {
    /// A digest of the script it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Parameters of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_parameters: Option<u64>,
    /// The data set's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_set: Option<String>,
}

impl Hints {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), AskError> {
        for (field, text) in [("hints.script", &self.script), ("hints.data_set", &self.data_set)] {
            text.as_ref().map_or(Ok(()), |text| name(field, text))?;
        }
        Ok(())
    }
}
