//! Orders that hold at some hours, and how hours and days are spelled.

use super::{Order, PolicyError};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::collections::BTreeSet;

const MINUTES_OF_DAY: u32 = 24 * 60;

/// The days of a week, in order.
const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

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
    #[serde(default, deserialize_with = "days", skip_serializing_if = "BTreeSet::is_empty")]
    pub days: BTreeSet<Weekday>,
    /// The order then.
    pub order: Order,
}

/// Days as written: an empty list would say that it never begins, but means that it always does.
fn days<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<Weekday>, D::Error> {
    let listed = Vec::<Weekday>::deserialize(from)?;
    if listed.is_empty() {
        return Err(de::Error::custom("days is empty: leave it out for every day"));
    }
    let mut days = BTreeSet::new();
    match listed.iter().find(|day| !days.insert(**day)) {
        Some(day) => Err(de::Error::custom(format_args!("days names {day:?} twice"))),
        None => Ok(days),
    }
}

impl TimeRule {
    /// The minutes of a week at which it holds, from midnight before Monday on, local time.
    pub(super) fn minutes_of_week(&self) -> impl Iterator<Item = usize> {
        let minute = |time: DayTime| usize::try_from(time.0).unwrap_or(0);
        let (day, from, until) =
            (minute(DayTime(MINUTES_OF_DAY)), minute(self.from), minute(self.until));
        let length = if from < until { until - from } else { until + day - from };
        let begins = WEEK.iter().enumerate();
        let begins = begins.filter(|(_, day)| self.days.is_empty() || self.days.contains(day));
        begins.flat_map(move |(place, _)| {
            let begin = place * day + from;
            (begin..begin + length).map(move |minute| minute % (WEEK.len() * day))
        })
    }

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

    /// Whether it is midnight at the end of a day.
    pub(super) const fn ends_day(self) -> bool {
        self.0 == MINUTES_OF_DAY
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
            let at = hour.saturating_mul(60).saturating_add(minute);
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
