//! Who is next.

use super::PolicyError;
use super::error::{length, range};
use crate::Micros;
use crate::ask::WorkClass;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most terms of one order.
pub const ORDER_TERMS_MAX: usize = 4;
/// Most terms of one blend.
pub const BLEND_TERMS_MAX: usize = 8;
/// Largest weight of a term in a blend, and of a device model, in thousandths.
pub const WEIGHT_MAX: i64 = 1_000_000;

/// Who is next: the first term that tells two jobs apart decides; then who came first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// Terms, the most important first.
    pub by: Vec<Term>,
    /// Waiting this long counts as much as one point of priority; absent means it counts nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ageing: Option<Micros>,
    /// A job that has waited this long goes before all that have not, whatever the terms say, and
    /// nothing overtakes it: the bound on starvation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_max: Option<Micros>,
    /// Classes in the order in which the term `class` serves them; the others come after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<WorkClass>,
}

impl Default for Order {
    fn default() -> Self {
        Self { by: vec![Term::Priority], ageing: None, wait_max: None, classes: Vec::new() }
    }
}

/// One thing that an order goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Term {
    /// Higher priority first, with ageing.
    Priority,
    /// The tenant that has had least of what it deserves first, level by level of the tree.
    FairShare,
    /// Who came first.
    Arrival,
    /// The shortest predicted run time first; a user's estimate or time limit where nothing is
    /// known.
    Shortest,
    /// The least predicted run time times devices first.
    SmallestArea,
    /// The earliest deadline first; those without one after them.
    Deadline,
    /// Who has been served least first, in device-time, over all its tries.
    LeastService,
    /// Who most likely ends soonest for the device-time it takes, from the history of such jobs.
    Gittins,
    /// By class, as `classes` lists them.
    Class,
    /// A weighted sum of terms, each in seconds (a point of priority counts as 3600): the smallest
    /// first. Weights are thousandths.
    Blend(BTreeMap<BlendTerm, i64>),
}

/// What a blend may weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BlendTerm {
    /// When it came: a positive weight serves the older first.
    Arrival,
    /// Predicted run time.
    Shortest,
    /// Predicted run time times devices (or CPUs, where it asks for no device).
    SmallestArea,
    /// Devices, each counted as an hour.
    Width,
    /// Priority: a positive weight serves the higher first.
    Priority,
    /// The deadline.
    Deadline,
    /// Device-time had so far.
    LeastService,
}

impl BlendTerm {
    /// Its name in a policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Shortest => "shortest",
            Self::SmallestArea => "smallest_area",
            Self::Width => "width",
            Self::Priority => "priority",
            Self::Deadline => "deadline",
            Self::LeastService => "least_service",
        }
    }
}

impl Order {
    /// Whether it tells jobs of one tenant and one priority apart, other than by who came first.
    pub(super) fn ranks_jobs(&self) -> bool {
        let ranks = |term: &Term| !matches!(term, Term::Priority | Term::FairShare);
        self.wait_max.is_some() || self.ageing.is_some() || self.by.iter().any(ranks)
    }

    pub(super) fn check(&self, field: &str) -> Result<(), PolicyError> {
        let (number, max) = (self.by.len(), ORDER_TERMS_MAX);
        if !(1..=max).contains(&number) {
            return Err(PolicyError::Entries { field: format!("{field}.by"), number, min: 1, max });
        }
        for (place, term) in self.by.iter().enumerate() {
            let before = self.by.get(..place).unwrap_or_default();
            let (field, name) = (format!("{field}.by"), term.name().to_owned());
            if before.contains(term) {
                return Err(PolicyError::Twice { field, term: name });
            }
            if before.contains(&Term::Arrival) {
                return Err(PolicyError::Unreachable { field, term: name });
            }
            if let Term::Blend(weights) = term {
                let (number, max) = (weights.len(), BLEND_TERMS_MAX);
                if !(1..=max).contains(&number) {
                    let field = format!("{field}.blend");
                    return Err(PolicyError::Entries { field, number, min: 1, max });
                }
                for (term, weight) in weights {
                    let (field, weight) = (format!("{field}.blend.{}", term.name()), *weight);
                    range(field, weight.into(), (-WEIGHT_MAX).into(), WEIGHT_MAX.into())?;
                }
            }
        }
        let needs = |setting: &str, needs: &str| {
            let (setting, needs) = (format!("{field}.{setting}"), needs.to_owned());
            Err(PolicyError::NoEffect { setting, needs })
        };
        if self.ageing.is_some() && !self.by.contains(&Term::Priority) {
            return needs("ageing", "the term priority");
        }
        if self.by.contains(&Term::Class) && self.classes.is_empty() {
            return needs("by = class", "classes, which says in which order");
        }
        if !self.classes.is_empty() && !self.by.contains(&Term::Class) {
            return needs("classes", "the term class");
        }
        if let Some(ageing) = self.ageing {
            length(format!("{field}.ageing"), ageing, Micros::from_secs(1))?;
        }
        if let Some(wait) = self.wait_max {
            length(format!("{field}.wait_max"), wait, Micros::from_secs(1))?;
        }
        Ok(())
    }
}

impl Term {
    /// Its name in a policy file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::FairShare => "fair_share",
            Self::Arrival => "arrival",
            Self::Shortest => "shortest",
            Self::SmallestArea => "smallest_area",
            Self::Deadline => "deadline",
            Self::LeastService => "least_service",
            Self::Gittins => "gittins",
            Self::Class => "class",
            Self::Blend(_) => "blend",
        }
    }
}
