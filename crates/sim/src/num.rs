//! Between counts and fractions.

/// The nearest count of a number; negative ones and NaN count as 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates at both ends, and NaN becomes 0: all as wanted here"
)]
pub(crate) fn count(value: f64) -> u64 {
    value.round() as u64
}

/// A length as a count of list entries.
pub(crate) fn len(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A place in a list, from 0.
pub(crate) fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A weight in thousandths, of a number that may be negative; NaN counts as 0.
#[allow(
    clippy::cast_possible_truncation,
    reason = "`as` saturates at both ends, and the bounds are those of a policy"
)]
pub(crate) fn weight(value: f64) -> i64 {
    ((value * 1000.0).round() as i64).clamp(-polder_model::WEIGHT_MAX, polder_model::WEIGHT_MAX)
}
