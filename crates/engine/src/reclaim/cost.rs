//! What ending a piece of work costs, and how sets of victims compare.

use std::ops::{Add, AddAssign};

/// What a set of victims comes to; smaller is better, compared field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value {
    /// Work lost since the start or the last checkpoint, plus the restart, times the share of
    /// devices that did it: thousandths of a device times microseconds.
    pub(crate) cost: u128,
    /// Members that end.
    pub(crate) members: u32,
    /// Microseconds that they ran, together: of equal sets the youngest yields.
    pub(crate) ran: u128,
}

impl Value {
    /// No victim.
    pub(crate) const NOTHING: Self = Self { cost: 0, members: 0, ran: 0 };

    /// One member that did `lost` microseconds of work on `weight` thousandths of a device.
    pub(crate) fn of(lost: u64, restart: u64, weight: u64, ran: u64) -> Self {
        let each = u128::from(lost) + u128::from(restart);
        Self { cost: each * u128::from(weight.max(1)), members: 1, ran: ran.into() }
    }
}

impl Add for Value {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cost: self.cost.saturating_add(other.cost),
            members: self.members.saturating_add(other.members),
            ran: self.ran.saturating_add(other.ran),
        }
    }
}

impl AddAssign for Value {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
