//! The settings that decisions depend on.

use polder_model::Micros;
use serde::{Deserialize, Serialize};

/// The settings that decisions depend on. Part of every snapshot, so that a replay decides alike.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Policy {
    /// How long the nodes of a gang have to prepare it before it is given back.
    pub prepare_limit: Micros,
    /// How long a node keeps a lease running without contact.
    pub contact_limit: Micros,
    /// How often one job is given back before it is said to be unable to start.
    pub returns_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            prepare_limit: Micros::from_secs(30),
            contact_limit: Micros::from_secs(600),
            returns_max: 20,
        }
    }
}
