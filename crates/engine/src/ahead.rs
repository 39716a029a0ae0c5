//! Backfill in the pool: who may start beside jobs that were promised a start.
//!
//! The algorithm is [`crate::backfill`]'s; this is what it needs to know of the pool: what is free
//! (a copy of the kernel, made when the first job of a pass must wait), when what runs is believed
//! to end, and for how long a job would hold what it gets. Promises are made anew by each pass and
//! leave nothing behind. Instances that hardware cuts are not looked ahead for.

use crate::backfill::{self, Ends as AllEnds, Lookahead, Span};
use crate::facts::{Facts, JobFacts};
use crate::fleet::{Demand, Fleet, NodeIx, RuleIx, Spot, Take as Amounts};
use crate::index::{Index, take_of};
use crate::predict::next_octave;
use crate::scratch::Scratch;
use polder_model::{Believe, Lease, LeaseId, Mechanism, Micros, Timestamp};
use std::sync::Arc;

/// Most buckets of the queue that a pass looks at once the first job must wait.
pub(crate) const BACKFILL_LOOKS_MAX: u32 = 4096;

/// What is free in a copy of the pool.
#[derive(Clone)]
pub(crate) struct Room {
    fleet: Scratch<Fleet>,
    rule: RuleIx,
}

/// A gang as the kernel knows it.
pub(crate) struct Gang {
    pub(crate) demand: Demand,
    /// Fewest and most tasks.
    pub(crate) min: u32,
    pub(crate) want: u32,
}

/// A task's place and what it takes there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Laid {
    pub(crate) spot: Spot,
}

/// What runs, by when it is believed to end.
pub(crate) type Ends = AllEnds<Room, LeaseId>;

/// The future as a pass sees it, once a job must wait.
pub(crate) struct Ahead<'a> {
    look: Lookahead<'a, Room, LeaseId>,
    /// Jobs that were promised a start.
    reserved: u32,
    looks: u32,
}

impl backfill::Space for Room {
    type Need = Gang;
    type Spots = Arc<[Laid]>;

    fn find(&self, gang: &Gang) -> Option<Arc<[Laid]>> {
        let mut fleet = self.fleet.borrow_mut();
        let mark = fleet.begin();
        let found = fleet.place(&gang.demand, self.rule, gang.want);
        fleet.rollback(mark);
        if u32::try_from(found.len()).unwrap_or(u32::MAX) < gang.min {
            return None;
        }
        Some(found.into_iter().map(|spot| Laid { spot }).collect())
    }

    fn take(&mut self, spots: &Arc<[Laid]>) {
        let fleet = self.fleet.get_mut();
        spots.iter().for_each(|laid| fleet.take(laid.spot.node, &laid.spot.take));
    }

    fn give(&mut self, spots: &Arc<[Laid]>) {
        let fleet = self.fleet.get_mut();
        spots.iter().for_each(|laid| fleet.give(laid.spot.node, &laid.spot.take));
    }

    fn copy(&mut self, other: &Self, spots: &Arc<[Laid]>) {
        self.align(other, spots, true);
    }

    fn meet(&mut self, other: &Self, spots: &Arc<[Laid]>) {
        self.align(other, spots, false);
    }
}

impl Room {
    /// At these nodes: takes what is freer here than there and, if they are to be equal, gives what
    /// is less free here.
    fn align(&mut self, other: &Self, spots: &[Laid], equal: bool) {
        let of = |more: i64| if equal { more } else { more.max(0) };
        let other = other.fleet.borrow();
        let fleet = self.fleet.get_mut();
        for node in spots.iter().map(|laid| laid.spot.node) {
            let (Some(here), Some(there)) = (fleet.node(node), other.node(node)) else { continue };
            let pairs = (0u16..).zip(here.devices.iter().zip(&there.devices));
            let devices = pairs.map(|(place, (here, there))| {
                let compute = of(i64::from(here.compute) - i64::from(there.compute));
                let compute = i32::try_from(compute).unwrap_or(i32::MAX);
                (place, compute, of(here.memory - there.memory))
            });
            // Instances that are there and not here, and those that are here alone.
            let cuts = |both: fn((u32, u32)) -> u32| {
                let pairs = here.devices.iter().zip(&there.devices);
                let cut = pairs.map(|(here, there)| both((here.cut, there.cut)));
                (0u16..).zip(cut).filter(|(_, mask)| *mask != 0).collect::<Vec<_>>()
            };
            let more = Amounts {
                cpu: of(here.cpu - there.cpu),
                memory: of(here.memory - there.memory),
                devices: devices.collect(),
                cuts: cuts(|(here, there)| there & !here),
                ..Amounts::default()
            };
            let less = Amounts { cuts: cuts(|(here, there)| here & !there), ..Amounts::default() };
            fleet.take(node, &more);
            if equal {
                fleet.give(node, &less);
            }
        }
    }
}

/// For how long a job is believed to hold what it gets, and at most.
pub(crate) fn span(facts: &Facts, job: &JobFacts) -> Span {
    let when = &job.ask.when;
    let latest = when
        .time_limit
        .map_or(Span::FOREVER, |limit| Micros(limit.0.saturating_add(job.ask.yields.grace.0)));
    let seen = job.outlook.map(|outlook| Micros(outlook.time.p50));
    let believed = match facts.policy.backfill.believe {
        Believe::Limit => None,
        Believe::Estimate => when.estimate,
        Believe::Predicted => seen.or(when.estimate),
    };
    Span::new(believed.unwrap_or(latest), latest)
}

/// When what runs is believed to end. Who has outlived that is believed to end at the next power
/// of two of its time, and never past its limit.
pub(crate) fn ends(facts: &Facts, index: &Index, at: Timestamp) -> Ends {
    let mut ends = Ends::default();
    for (id, lease) in &facts.leases {
        let lease = &lease.lease;
        let Some(job) = facts.jobs.get(&lease.job) else { continue };
        // Who joined later ends with the others.
        let began = job.hold.as_ref().and_then(|hold| hold.started_at);
        let joined = began.filter(|began| *began < lease.granted_at);
        let start = joined.or(lease.started_at).unwrap_or(lease.granted_at);
        let span = span(facts, job);
        let elapsed = at.since(start);
        let outlived = span.expected <= elapsed;
        let span = if outlived { Span::new(next_octave(elapsed), span.latest) } else { span };
        if let Some(laid) = laid(index, lease, job) {
            ends.started(*id, start, span, Arc::new([laid]));
        }
    }
    ends
}

/// Where a lease is, and what it takes there.
pub(crate) fn laid(index: &Index, lease: &Lease, job: &JobFacts) -> Option<Laid> {
    let (node, take): (NodeIx, Amounts) =
        index.space.amounts(&lease.node, &take_of(lease, &job.ask))?;
    Some(Laid { spot: Spot { node, devices: Vec::new(), score: 0, take } })
}

/// Whether a job can be looked ahead for.
pub(crate) fn minds(job: &JobFacts) -> bool {
    job.ask.devices.mechanism() != Mechanism::Mig
}

impl<'a> Ahead<'a> {
    /// The future when `fleet` is what is free now.
    pub(crate) fn new(fleet: Fleet, rule: RuleIx, ends: &'a Ends, at: Timestamp) -> Self {
        let room = Room { fleet: Scratch::new(fleet), rule };
        Self { look: Lookahead::new(at, room, ends, &[]), reserved: 0, looks: 0 }
    }

    /// Room for a gang that touches nothing promised to others, and takes it.
    pub(crate) fn start(&mut self, gang: &Gang, span: Span) -> Option<Arc<[Laid]>> {
        self.looks += 1;
        let spots = self.look.find_now(gang, span)?;
        self.look.start(&spots, span);
        Some(spots)
    }

    /// Takes in what started without being looked ahead for.
    pub(crate) fn started(&mut self, spots: &Arc<[Laid]>, span: Span) {
        self.look.start(spots, span);
    }

    /// Takes in which nodes have a trait: one that was given out after the copy was made.
    pub(crate) fn set_trait(&mut self, number: u32, has: impl Fn(NodeIx) -> bool) {
        self.look.each_space(|room| {
            let fleet = room.fleet.get_mut();
            let nodes = u32::try_from(fleet.nodes().count()).unwrap_or(u32::MAX);
            (0..nodes).map(NodeIx).for_each(|ix| fleet.set_trait(ix, number, has(ix)));
        });
    }

    /// Promises a gang its earliest start, while fewer than `most` have been promised one.
    pub(crate) fn reserve(&mut self, gang: &Gang, span: Span, most: u32) {
        if self.reserved < most {
            self.reserved += 1;
            self.look.reserve(gang, span);
        }
    }

    /// No further job is looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.looks >= BACKFILL_LOOKS_MAX
    }
}
