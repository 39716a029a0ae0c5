//! Orders that hold at some hours, and how hours and days are spelled.

use super::{Order, PolicyError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const MINUTES_OF_DAY: u32 = 24 * 60;

/// An order that holds at some hours of some days, in local time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TimeRule {
    /// When it begins to hold.
    pub from: DayTime,
    /// When it no longer holds; before `from` means over midnight. A whole day is from 00:00 until
    /// 24:00.
    pub until: DayTime,
    /// Days on which it begins; empty means every day.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub days: BTreeSet<Weekday>,
    /// The order then.
    pub order: Order,
}

impl TimeRule {
    pub(super) fn check(&self, field: &str) -> Result<(), PolicyError> {
        // From 00:00 until 24:00 is a whole day; from 24:00 until 00:00 is nothing.
        let ends_as_it_begins = self.from.0 == MINUTES_OF_DAY && self.until.0 == 0;
        if self.from == self.until || ends_as_it_begins {
            return Err(PolicyError::Contradiction {
                one: format!("{field}.from"),
                other: format!("{field}.until"),
                why:
                    "they are the same minute, so the rule never holds; a whole day is from 00:00 \
                      until 24:00"
                        .into(),
            });
        }
        self.order.check(&format!("{field}.order"))
    }
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
