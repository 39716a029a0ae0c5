//! The policies that were in force before, and one that is only looked at.
//!
//! Nothing is decided by either. The newest that was in force can be had back; what stands in the
//! shadow is kept with the moment since when, so that what would have differed can be worked out
//! from the journal.

use crate::{Engine, Policy};
use polder_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Most policies that can be had back; the oldest go first.
pub const PAST_POLICIES_MAX: usize = 16;

/// A policy that is only looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// The policy.
    pub policy: Policy,
    /// Since when.
    pub since: Timestamp,
}

/// Policies beside the one in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Policies {
    /// Those that were in force before, the newest last.
    past: Vec<Policy>,
    /// The one that is only looked at.
    pub(crate) shadow: Option<Shadow>,
}

impl Policies {
    /// A policy is no longer in force: another is.
    pub(crate) fn replaced(&mut self, before: Policy) {
        if self.past.len() >= PAST_POLICIES_MAX {
            self.past.remove(0);
        }
        self.past.push(before);
    }

    /// Nothing was in force before, as far as is known.
    pub(crate) fn is_first(&self) -> bool {
        self.past.is_empty()
    }

    /// The newest that was in force before, which then is not among them any more.
    pub(crate) fn take_back(&mut self) -> Option<Policy> {
        self.past.pop()
    }
}

impl Engine {
    /// The policy that was in force before this one.
    #[must_use]
    pub fn policy_before(&self) -> Option<&Policy> {
        self.facts.policies.past.last()
    }

    /// The policy that is only looked at.
    #[must_use]
    pub fn shadow(&self) -> Option<&Shadow> {
        self.facts.policies.shadow.as_ref()
    }
}
