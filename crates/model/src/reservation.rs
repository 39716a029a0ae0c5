//! Nodes kept for somebody, or for nobody, at times known ahead.

use crate::{NodeId, TenantPath, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most nodes of one reservation.
pub const RESERVATION_NODES_MAX: usize = 4096;
/// Longest text of a reservation's `why`, in bytes.
const WHY_BYTES_MAX: usize = 512;

/// Nodes kept for one tenant, or out of use, from one moment to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// A name for people, unique in the pool.
    pub name: String,
    /// Whose jobs, and whose alone, may run there then; absent means nobody's: maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantPath>,
    /// Which nodes.
    pub nodes: Vec<NodeId>,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Why a reservation makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReservationError {
    /// No or too long a name.
    #[error("a reservation's name has 1 to 64 bytes, this has {0}")]
    Name(usize),
    /// No nodes, or too many.
    #[error("reservation {name} has {nodes} nodes: it may have 1 to {RESERVATION_NODES_MAX}")]
    Nodes {
        /// Which.
        name: String,
        /// How many.
        nodes: usize,
    },
    /// It would be over before it begins.
    #[error("reservation {name} ends before it begins: give a later `until`")]
    Backwards {
        /// Which.
        name: String,
    },
    /// Too long a text.
    #[error("reservation {name} says why in {bytes} bytes: at most {WHY_BYTES_MAX} are kept")]
    Why {
        /// Which.
        name: String,
        /// How long.
        bytes: usize,
    },
}

impl Reservation {
    /// Refuses what could never make sense.
    ///
    /// # Errors
    /// The first contradiction found, naming the reservation.
    pub fn check(&self) -> Result<(), ReservationError> {
        if !(1..=64).contains(&self.name.len()) {
            return Err(ReservationError::Name(self.name.len()));
        }
        let name = self.name.clone();
        if !(1..=RESERVATION_NODES_MAX).contains(&self.nodes.len()) {
            return Err(ReservationError::Nodes { name, nodes: self.nodes.len() });
        }
        if self.until <= self.from {
            return Err(ReservationError::Backwards { name });
        }
        if self.why.len() > WHY_BYTES_MAX {
            return Err(ReservationError::Why { name, bytes: self.why.len() });
        }
        Ok(())
    }
}
