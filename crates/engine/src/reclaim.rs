//! Who yields: the work that ends, or moves, so that a gang that is entitled to room gets it.
//!
//! Reasons, strongest first (see [`right`]):
//! * **spot**: work of the spot market yields to anything that is not spot;
//! * **class**: work that went to another class's partition yields to that class;
//! * **priority**: work of strictly lower priority yields, if its tenants do not keep it;
//! * **order**: where the policy says so, work that the order puts behind a gang yields to it, if
//!   its priority is no higher and its tenants do not keep it;
//! * **quota**: a gang that stays within what its tenants deserve takes back what other tenants
//!   hold beyond theirs;
//! * **move**: work that provably fits elsewhere at once restarts there ([`moves`]), or at another place
//!   of the card that its hardware cut it from ([`repack`]).
//!
//! Promises, each with its property test:
//! * nothing is ended unless the whole gang then fits: quota, devices and what they are cut into, machine
//!   and topology are one check, on one trial ([`trial`]) that leaves no trace when it fails;
//! * a rigid gang ends as a whole; an elastic one may lose members down to its minimum;
//! * no victim can be left out with the gang still fitting; for a gang of one task no cheaper set
//!   exists ([`node`]), for others see [`select`];
//! * a gang that fits without is never a reason to end anything, and room that is about to be free
//!   counts as free: work that is being ended is not in [`running`] any more, room that is promised
//!   is;
//! * **nothing is taken back**: sequences of reclaims and placements end.
//!
//! # Why nothing is taken back
//! Gangs have a fixed total order, [`Standing`]: not spot before spot, then at home before in room
//! that another class lends, then by priority, then by turn where the policy lets work yield by its
//! order, then by number. For a tenant that deserves something, call *kept* the shortest prefix of
//! its subtree's gangs, in that order, without spot and without those in lent room, that covers what
//! it deserves ([`cover`]). A gang outside
//! the kept prefix of a tenant can be taken from that tenant, and taking it changes no prefix. Let
//! the lowest common tenant of evictor and victim have depth `c`. Every reason but spot and class asks
//! that the victim is kept by none of its tenants deeper than `c`; spot and lent room are never kept.
//! Whoever makes others yield does so for room at home, so it never stands in lent room itself.
//!
//! Compare sets of gangs by the strongest one in which they differ. The potential is the tuple
//! `(kept at the deepest level, ..., kept at the top level, all that runs)`, compared left to right.
//! * Quota: at levels deeper than `c` victims were not kept, and the evictor is added to the kept of
//!   at least one tenant, none of which then holds more than it deserves: the tuple grows there.
//! * Priority, order, spot and class: in every tenant that holds evictor and victim, all that changes ranks at or
//!   after the evictor. If it is kept, kept grows; if not, its victims were not kept either and kept
//!   stays. All that runs grows, because the evictor outranks its victims.
//! * A placement or a move without victims adds a gang: the same argument.
//!
//! So each step makes the tuple grow, and over finitely many gangs it has finitely many values. A
//! priority that expires changes the order once per gang; priorities that grow with waiting order
//! the queue and never count here. A turn changes when a gang's device-time passes an octave, when
//! it has waited too long, when the history of such jobs has grown by a part, and at the hours at
//! which another order holds: nothing that yielding does can bring about but the first, and there
//! are [`crate::service::SERVICE_LEVELS`] octaves for a job, however often it yields. Work that runs
//! keeps its place until it is later by [`crate::service::SERVICE_HOLD`], so two jobs do not change
//! places at every octave of either.

mod chosen;
pub(crate) mod cost;
pub(crate) mod cover;
pub(crate) mod decide;
pub(crate) mod elastic;
mod improve;
pub(crate) mod kinds;
pub(crate) mod live;
pub(crate) mod moves;
pub(crate) mod node;
pub(crate) mod promise;
mod repack;
pub(crate) mod right;
pub(crate) mod room;
pub(crate) mod running;
pub(crate) mod select;
pub(crate) mod shrink;
pub(crate) mod spared;
pub(crate) mod trial;

#[cfg(test)]
mod tests;

use crate::order::turn::Turn;
use std::cmp::Reverse;

/// A gang's place in the order in which work is kept; the smallest is kept longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    /// Of the spot market.
    pub(crate) spot: bool,
    /// In room that another class lends.
    pub(crate) borrows: bool,
    /// Priority while it holds.
    pub(crate) priority: Reverse<i32>,
    /// Where the order puts it, if work yields by it.
    pub(crate) turn: Turn,
    /// Number of its job.
    pub(crate) job: u64,
}

impl Standing {
    /// No tenant keeps it, and what it holds is no part of what one deserves.
    pub(crate) fn is_loose(&self) -> bool {
        self.spot || self.borrows
    }
}
