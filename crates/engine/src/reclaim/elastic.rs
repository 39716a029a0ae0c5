//! Elastic gangs: who gets a further member when room appears, and who gives one back.
//!
//! Growth never ends anybody, and what grew is the first to go: it cannot start a loop.

use super::Standing;
use std::cmp::Ordering;

/// A gang that runs with a number of members between its fewest and its most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elastic {
    pub(crate) standing: Standing,
    pub(crate) members: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Elastic {
    /// Class first, then how far beyond its fewest it is, relative to them, then number: so that
    /// gangs of one class grow and shrink together.
    fn order(&self, other: &Self) -> Ordering {
        let class = |gang: &Self| (gang.standing.spot, gang.standing.priority);
        // `members / min` compared without division.
        let cross = |a: &Self, b: &Self| u64::from(a.members) * u64::from(b.min.max(1));
        class(self)
            .cmp(&class(other))
            .then_with(|| cross(self, other).cmp(&cross(other, self)))
            .then_with(|| self.standing.cmp(&other.standing))
    }
}

/// Who of these gets the next member.
pub(crate) fn next_to_grow(gangs: &[Elastic]) -> Option<usize> {
    let open = (0..).zip(gangs).filter(|(_, gang)| gang.members < gang.max);
    open.min_by(|(_, a), (_, b)| a.order(b)).map(|(place, _)| place)
}

/// Who of these gives the next member back; of its members the last goes.
pub(crate) fn next_to_shrink(gangs: &[Elastic]) -> Option<usize> {
    let open = (0..).zip(gangs).filter(|(_, gang)| gang.members > gang.min);
    let before = |gang: &Elastic| Elastic { members: gang.members - 1, ..*gang };
    open.max_by(|(_, a), (_, b)| before(a).order(&before(b))).map(|(place, _)| place)
}
