//! The settings that decisions depend on: who is next, where, who yields. One file, one value.
//!
//! A policy is part of the journal ([`crate::Event::PolicySet`]) and of every snapshot, so that a
//! replay decides alike. Everything has a default; the default policy is first come, first served
//! within priorities, tightest fit, and nobody yields.

use crate::Micros;
use crate::ask::WorkClass;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// Most terms of one order.
pub const ORDER_TERMS_MAX: usize = 4;
/// Most terms of one blend.
pub const BLEND_TERMS_MAX: usize = 8;
/// Most rules by time of day.
pub const TIME_RULES_MAX: usize = 16;
/// Most jobs that backfill may reserve room for.
pub const RESERVED_JOBS_MAX: u32 = 1024;
/// Largest weight of a term in a blend, and of a device model, in thousandths.
pub const WEIGHT_MAX: i64 = 1_000_000;
const MINUTES_OF_DAY: u32 = 24 * 60;

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
            classes: BTreeMap::new(),
        }
    }
}

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

/// An order that holds at some hours of some days, in local time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TimeRule {
    /// When it begins to hold.
    pub from: DayTime,
    /// When it no longer holds; before `from` means over midnight.
    pub until: DayTime,
    /// Days on which it begins; empty means every day.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub days: BTreeSet<Weekday>,
    /// The order then.
    pub order: Order,
}

/// A minute of the day, 0 to 1440, where 1440 is midnight at its end. Spelled `08:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String))]
#[serde(try_from = "String", into = "String")]
pub struct DayTime(u32);

impl DayTime {
    /// The minute of the day, at most 1440.
    #[must_use]
    pub const fn minute(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for DayTime {
    type Error = PolicyError;

    fn try_from(text: String) -> Result<Self, PolicyError> {
        let minute = || {
            let (hour, minute) = text.split_once(':')?;
            let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            let known = digits(hour) && digits(minute);
            let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
            let at = hour * 60 + minute;
            (known && minute < 60 && at <= MINUTES_OF_DAY).then_some(Self(at))
        };
        minute().ok_or(PolicyError::DayTime { text: text.chars().take(40).collect() })
    }
}

impl From<DayTime> for String {
    fn from(time: DayTime) -> Self {
        format!("{:02}:{:02}", time.0 / 60, time.0 % 60)
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

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

/// Where a task goes among the places that fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// By what a place is judged.
    pub rule: PlaceRule,
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
    /// Everybody may run this long first, whatever their own minimum.
    pub runtime_min: Micros,
    /// Most jobs moved to make room for one; 0 moves none.
    pub moves_max: u32,
}

impl Default for Reclaim {
    fn default() -> Self {
        Self { priority: false, quota: false, spot: false, runtime_min: Micros(0), moves_max: 0 }
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

/// Why a policy contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// A list that is too long, or empty where it may not be.
    #[error("{field} has {number} entries: it may have {min} to {max}")]
    Entries {
        /// Which list.
        field: String,
        /// How many it has.
        number: usize,
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
    },
    /// A number outside its range.
    #[error("{field} is {value}: it must lie between {min} and {max}")]
    Range {
        /// Which number.
        field: String,
        /// What was given.
        value: i128,
        /// Smallest.
        min: i128,
        /// Largest.
        max: i128,
    },
    /// The same term twice: the second could never decide anything.
    #[error("{field} names {term} twice: the second can never decide")]
    Twice {
        /// Which order.
        field: String,
        /// The term.
        term: String,
    },
    /// A term after one that tells all jobs apart.
    #[error("{field} names {term} after arrival, which leaves nothing to decide: put it before")]
    Unreachable {
        /// Which order.
        field: String,
        /// The term.
        term: String,
    },
    /// Not a time of day.
    #[error("{text:?} is not a time of day: write 08:30, from 00:00 to 24:00")]
    DayTime {
        /// What was given.
        text: String,
    },
    /// A setting that has no effect without another.
    #[error("{setting} has no effect without {needs}: add it, or leave {setting} out")]
    NoEffect {
        /// What was set.
        setting: String,
        /// What it needs.
        needs: String,
    },
    /// Two settings that exclude each other.
    #[error("{one} and {other} contradict each other: {why}")]
    Contradiction {
        /// One.
        one: String,
        /// The other.
        other: String,
        /// Why.
        why: String,
    },
}

fn range(field: impl Into<String>, value: i128, min: i128, max: i128) -> Result<(), PolicyError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(PolicyError::Range { field: field.into(), value, min, max })
}

impl Policy {
    /// Refuses a policy that contradicts itself.
    ///
    /// # Errors
    /// The first contradiction found, naming the field.
    pub fn check(&self) -> Result<(), PolicyError> {
        let year = i128::from(Micros::from_secs(366 * 86_400).0);
        range("prepare_limit", self.prepare_limit.0.into(), 1_000, year)?;
        range("contact_limit", self.contact_limit.0.into(), 1_000, year)?;
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
        range("reclaim.runtime_min", self.reclaim.runtime_min.0.into(), 0, year)?;
        range("reclaim.moves_max", self.reclaim.moves_max.into(), 0, 64)?;
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

impl Order {
    fn check(&self, field: &str) -> Result<(), PolicyError> {
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
                    return Err(PolicyError::Entries { field, number, min: 1, max });
                }
                for weight in weights.values() {
                    range(&field, (*weight).into(), (-WEIGHT_MAX).into(), WEIGHT_MAX.into())?;
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
        let year = i128::from(Micros::from_secs(366 * 86_400).0);
        if let Some(ageing) = self.ageing {
            range(format!("{field}.ageing"), ageing.0.into(), 1_000_000, year)?;
        }
        if let Some(wait) = self.wait_max {
            range(format!("{field}.wait_max"), wait.0.into(), 1_000_000, year)?;
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

impl TimeRule {
    fn check(&self, field: &str) -> Result<(), PolicyError> {
        if self.from.0 % MINUTES_OF_DAY == self.until.0 % MINUTES_OF_DAY {
            return Err(PolicyError::Contradiction {
                one: format!("{field}.from"),
                other: format!("{field}.until"),
                why: "they are the same minute, so the rule never holds".into(),
            });
        }
        self.order.check(&format!("{field}.order"))
    }
}

impl FairShare {
    fn check(&self, used: bool) -> Result<(), PolicyError> {
        let year = i128::from(Micros::from_secs(366 * 86_400).0);
        if let Some(half_life) = self.half_life {
            range("fair_share.half_life", half_life.0.into(), 1_000_000, year)?;
        }
        for weight in self.model_weights.values() {
            range("fair_share.model_weights", (*weight).into(), 1, WEIGHT_MAX.into())?;
        }
        if *self != Self::default() && !used {
            let (setting, needs) = ("fair_share".into(), "the term fair_share in an order".into());
            return Err(PolicyError::NoEffect { setting, needs });
        }
        Ok(())
    }
}

impl ClassPool {
    fn check(&self, class: WorkClass) -> Result<(), PolicyError> {
        if self.borrow && self.partition.is_none() {
            let (setting, needs) = (format!("classes.{class}.borrow"), "a partition".into());
            return Err(PolicyError::NoEffect { setting, needs });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Policy), expect: &str) {
        let mut policy = Policy::default();
        change(&mut policy);
        let got = policy.check().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(got.contains(expect) && got.is_empty() == expect.is_empty(), "{got:?}");
    }

    #[test]
    fn contradictions_are_named() {
        check(|_| (), "");
        check(|p| p.order.by.clear(), "order.by has 0 entries: it may have 1 to 4");
        check(|p| p.order.by = vec![Term::Priority, Term::Priority], "priority twice");
        check(|p| p.order.by = vec![Term::Arrival, Term::Shortest], "shortest after arrival");
        check(|p| p.order.by = vec![Term::Class], "no effect without classes");
        check(|p| p.order.by = vec![Term::Blend(BTreeMap::new())], "has 0 entries");
        check(
            |p| {
                p.order.by = vec![Term::Arrival];
                p.order.ageing = Some(Micros::from_secs(3600));
            },
            "order.ageing has no effect without the term priority",
        );
        check(
            |p| p.fair_share.half_life = Some(Micros::from_secs(9)),
            "without the term fair_share",
        );
        check(|p| p.backfill.reserved = 5000, "backfill.reserved is 5000");
        check(|p| p.utc_offset_minutes = 9999, "utc_offset_minutes is 9999");
        let at = |text: &str| DayTime::try_from(text.to_owned()).unwrap();
        let rule = |from, until| TimeRule {
            from: at(from),
            until: at(until),
            days: BTreeSet::new(),
            order: Order::default(),
        };
        check(|p| p.times = vec![rule("01:00", "01:00")], "the rule never holds");
        check(|p| p.times = vec![rule("00:00", "24:00")], "the rule never holds");
        check(
            |p| {
                let pool = ClassPool { borrow: true, ..ClassPool::default() };
                p.classes.insert(WorkClass::Training, pool);
            },
            "classes.training.borrow has no effect without a partition",
        );
    }

    #[test]
    fn people_can_write_one() {
        let text = r#"{
            "order": {"by": ["priority", "fair_share", {"blend": {"shortest": 700}}],
                      "ageing": "1h", "wait_max": "2d"},
            "times": [{"from": "08:00", "until": "20:00", "days": ["monday"],
                       "order": {"by": ["class", "arrival"], "classes": ["interactive"]}}],
            "fair_share": {"half_life": "7d", "model_weights": {"T4": 250}},
            "place": {"rule": "layered"},
            "backfill": {"reserved": 1, "believe": "predicted"},
            "reclaim": {"priority": true, "runtime_min": "5m"},
            "classes": {"training": {"partition": "train", "borrow": true}}
        }"#;
        let policy: Policy = serde_json::from_str(text).unwrap();
        policy.check().unwrap();
        assert_eq!(policy.order.ageing, Some(Micros::from_secs(3600)));
        let again = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&again).unwrap(), policy);
        for bad in ["8:00", "25:00", "24:01", "08:60", "noon", "+8:00", "é0:00"] {
            assert!(DayTime::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_old_policy_reads_as_the_default_and_unknown_keys_are_named() {
        let old = r#"{"prepare_limit":30000000,"contact_limit":600000000,"returns_max":20}"#;
        assert_eq!(serde_json::from_str::<Policy>(old).unwrap(), Policy::default());
        let error = serde_json::from_str::<Policy>(r#"{"fairness":1}"#).unwrap_err().to_string();
        assert!(error.contains("fairness"), "{error}");
    }
}
