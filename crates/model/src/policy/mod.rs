//! The settings that decisions depend on: who is next, where, who yields. One file, one value.
//!
//! A policy is part of the journal ([`crate::Event::PolicySet`]) and of every snapshot, so that a
//! replay decides alike. Everything has a default; the default policy is first come, first served
//! within priorities, tightest fit, and nobody yields.

mod error;
mod order;
mod rules;
#[cfg(test)]
mod tests;
mod times;
mod written;

pub use error::PolicyError;
pub use order::{BLEND_TERMS_MAX, BlendTerm, ORDER_TERMS_MAX, Order, Term, WEIGHT_MAX};
pub use rules::{Backfill, Believe, ClassPool, Elastic, FairShare, PlaceRule, Placement, Reclaim};
pub use times::{DayTime, TimeRule, Weekday};

use crate::Micros;
use crate::ask::WorkClass;
use error::{length, range};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most rules by time of day.
pub const TIME_RULES_MAX: usize = 16;
/// Most jobs that backfill may reserve room for.
pub const RESERVED_JOBS_MAX: u32 = 1024;

/// The settings that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// How long the nodes of a gang have to prepare it before it is given back.
    pub prepare_limit: Micros,
    /// How long a node keeps a lease running without contact.
    pub contact_limit: Micros,
    /// How often one job is given back before it is said to be unable to start.
    pub returns_max: u32,
    /// Who is next.
    pub order: Order,
    /// Orders that hold at some hours instead; the first that covers the moment counts.
    pub times: Vec<TimeRule>,
    /// Minutes that local time is ahead of UTC, for `times`.
    pub utc_offset_minutes: i32,
    /// What a tenant's usage means for its turn.
    pub fair_share: FairShare,
    /// Where.
    pub place: Placement,
    /// Who may start before a job that waits for room.
    pub backfill: Backfill,
    /// Who yields to whom.
    pub reclaim: Reclaim,
    /// How gangs that may change their size do so.
    pub elastic: Elastic,
    /// Where each class of work goes; a class without an entry goes anywhere.
    pub classes: BTreeMap<WorkClass, ClassPool>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            prepare_limit: Micros::from_secs(30),
            contact_limit: Micros::from_secs(600),
            returns_max: 20,
            order: Order::default(),
            times: Vec::new(),
            utc_offset_minutes: 0,
            fair_share: FairShare::default(),
            place: Placement::default(),
            backfill: Backfill::default(),
            reclaim: Reclaim::default(),
            elastic: Elastic::default(),
            classes: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// Refuses a policy that contradicts itself.
    ///
    /// # Errors
    /// The first contradiction found, naming the field.
    pub fn check(&self) -> Result<(), PolicyError> {
        length("prepare_limit", self.prepare_limit, Micros::from_millis(1))?;
        length("contact_limit", self.contact_limit, Micros::from_millis(1))?;
        range("returns_max", self.returns_max.into(), 0, 1_000_000)?;
        range("utc_offset_minutes", self.utc_offset_minutes.into(), -14 * 60, 14 * 60)?;
        self.order.check("order")?;
        if self.times.len() > TIME_RULES_MAX {
            let (number, max) = (self.times.len(), TIME_RULES_MAX);
            return Err(PolicyError::Entries { field: "times".into(), number, min: 0, max });
        }
        for (place, rule) in self.times.iter().enumerate() {
            rule.check(&format!("times[{place}]"))?;
        }
        self.fair_share.check(self.orders().any(|order| order.by.contains(&Term::FairShare)))?;
        range("backfill.reserved", self.backfill.reserved.into(), 0, RESERVED_JOBS_MAX.into())?;
        if self.backfill.reserved == 0 && self.backfill.believe == Believe::Estimate {
            let (setting, needs) = ("backfill.believe".into(), "backfill.reserved".into());
            return Err(PolicyError::NoEffect { setting, needs });
        }
        if self.reclaim.order && !self.orders().any(Order::ranks_jobs) {
            let setting = "reclaim.order".to_owned();
            let needs = "a term beside priority and fair_share in the order".to_owned();
            return Err(PolicyError::NoEffect { setting, needs });
        }
        length("reclaim.runtime_min", self.reclaim.runtime_min, Micros(0))?;
        range("reclaim.moves_max", self.reclaim.moves_max.into(), 0, 64)?;
        length("elastic.pause", self.elastic.pause, Micros(0))?;
        let owned = self.classes.values().any(|pool| pool.partition.is_some());
        if self.reclaim.class && !owned {
            let (setting, needs) = ("reclaim.class".into(), "a class with a partition".into());
            return Err(PolicyError::NoEffect { setting, needs });
        }
        for (class, pool) in &self.classes {
            pool.check(*class)?;
        }
        Ok(())
    }

    /// Every order it names.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        std::iter::once(&self.order).chain(self.times.iter().map(|rule| &rule.order))
    }
}
