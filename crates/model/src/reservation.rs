//! Nodes kept for somebody, or for nobody, at times known ahead.

use crate::{NodeId, TenantPath, Timestamp, misleads};
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
    /// A text with a character that breaks a line, moves the cursor or turns the order of others.
    #[error("a reservation's {field} has no control characters: {text:?}")]
    Misleads {
        /// Which of its texts.
        field: &'static str,
        /// It.
        text: String,
    },
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
        let misleading = |field, text: &String| {
            let found = text.chars().any(misleads);
            found.then(|| ReservationError::Misleads { field, text: text.clone() })
        };
        if let Some(error) = misleading("name", &self.name) {
            return Err(error);
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
        misleading("why", &self.why).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_reasons_that_would_move_the_cursor_are_refused() {
        let check = |name: &str, why: &str| {
            let nodes = vec!["one".parse().expect("a node's name")];
            let (name, why) = (name.to_owned(), why.to_owned());
            let (from, until) = (Timestamp(0), Timestamp(1));
            Reservation { name, tenant: None, nodes, from, until, why }.check()
        };
        assert_eq!(check("racks of May", "new fans, Müller"), Ok(()));
        for text in ["a\u{1b}[2J", "a\nb", "\u{7}", "a\u{202e}b"] {
            let said = check(text, "").unwrap_err().to_string();
            assert_eq!(said, format!("a reservation's name has no control characters: {text:?}"));
            let said = check("kept", text).unwrap_err().to_string();
            assert_eq!(said, format!("a reservation's why has no control characters: {text:?}"));
        }
    }
}
