//! Why a policy contradicts itself.

use crate::Micros;
use thiserror::Error;

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
    /// A length of time outside its range.
    #[error("{field} is {value}: it must lie between {min} and {max}")]
    Length {
        /// Which.
        field: String,
        /// What was given.
        value: Micros,
        /// Shortest.
        min: Micros,
        /// Longest.
        max: Micros,
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
    /// Something that could never matter.
    #[error("{field} {why}")]
    Useless {
        /// What was set.
        field: String,
        /// Why it does not matter, and what to write.
        why: String,
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

/// Longest length of time in a policy: a leap year.
const LENGTH_MAX: Micros = Micros::from_secs(366 * 86_400);

/// Refuses a length of time that is shorter than `min`, or longer than a year.
pub(super) fn length(
    field: impl Into<String>,
    value: Micros,
    min: Micros,
) -> Result<(), PolicyError> {
    if (min..=LENGTH_MAX).contains(&value) {
        return Ok(());
    }
    Err(PolicyError::Length { field: field.into(), value, min, max: LENGTH_MAX })
}

/// Refuses a number outside its range.
pub(super) fn range(
    field: impl Into<String>,
    value: i128,
    min: i128,
    max: i128,
) -> Result<(), PolicyError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(PolicyError::Range { field: field.into(), value, min, max })
}
