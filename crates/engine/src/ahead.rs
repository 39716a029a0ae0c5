//! Backfill in the pool: who may start beside jobs that were promised a start.
//!
//! The algorithm is [`crate::backfill`]'s; this is what it needs to know of the pool: what is free at
//! moments to come ([`room`]), when what runs is believed to end ([`runs`]), and for how long a job
//! would hold what it gets. Promises are made anew by each pass and leave nothing behind. Instances
//! that hardware cuts and tasks that are to be apart are not looked ahead for: they keep off nodes
//! where somebody was promised a start.

mod room;
mod runs;

pub(crate) use room::Room;
pub(crate) use runs::Runs;

use crate::backfill::{Ends as AllEnds, Lookahead, Span};
use crate::facts::{Facts, JobFacts};
use crate::fleet::{Demand, Fleet, NodeIx, RuleIx, Spot};
use crate::history;
use crate::index::Index;
use crate::index::take_of;
use crate::scratch::Scratch;
use polder_model::{Believe, GangKind, JobId, Lease, LeaseId, Mechanism, Micros, Timestamp};
use room::Base;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most buckets of the queue that a pass looks at once the first job must wait.
pub(crate) const BACKFILL_LOOKS_MAX: u32 = 4096;

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

/// A start that a pass promised.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    /// Whose.
    pub(crate) job: JobId,
    /// When, if everything ends as believed.
    pub(crate) at: Timestamp,
    /// Where.
    pub(crate) nodes: BTreeSet<NodeIx>,
}

/// What runs, by when it is believed to end.
pub(crate) type Ends = AllEnds<Arc<[Laid]>, LeaseId>;

/// The future as a pass sees it, once a job must wait.
pub(crate) struct Ahead<'a> {
    base: Arc<Base<'a>>,
    look: Lookahead<'a, Room<'a>, LeaseId>,
    /// Jobs for which a start was sought.
    reserved: u32,
    /// The starts that were found, in order.
    promises: Vec<Promise>,
    looks: u32,
}

/// For how long a job is believed to hold what it gets, and at most. A service runs until it is
/// cancelled, whatever its user or history says of it.
pub(crate) fn span(facts: &Facts, job: &JobFacts) -> Span {
    if job.ask.gang.kind == GangKind::Service {
        return Span::exactly(Span::FOREVER);
    }
    let when = &job.ask.when;
    let latest = when
        .time_limit
        .map_or(Span::FOREVER, |limit| Micros(limit.0.saturating_add(job.ask.yields.grace.0)));
    let believed = match facts.policy.backfill.believe {
        Believe::Limit => None,
        Believe::Estimate => when.estimate,
        Believe::Predicted => history::run_time(job).or(when.estimate),
    };
    Span::new(believed.unwrap_or(latest), latest)
}

/// Where a lease is, and what it takes there.
pub(crate) fn laid(index: &Index, lease: &Lease, job: &JobFacts) -> Option<Laid> {
    let (node, take) = index.space.amounts(&lease.node, &take_of(lease, &job.ask))?;
    Some(Laid { spot: Spot { node, devices: Vec::new(), score: 0, take } })
}

/// Whether a job can be looked ahead for. One that cannot keeps off the nodes of who was promised a
/// start before it could be over ([`Ahead::promised`]).
pub(crate) fn minds(job: &JobFacts) -> bool {
    job.ask.devices.mechanism() != Mechanism::Mig && job.ask.place.apart.is_none()
}

impl<'a> Ahead<'a> {
    /// The future when what is free in `fleet` is what is free now.
    pub(crate) fn new(
        fleet: &'a Scratch<Fleet>,
        rule: RuleIx,
        ends: &'a Ends,
        at: Timestamp,
    ) -> Self {
        let base = Arc::new(Base::new(fleet, rule));
        let look = Lookahead::new(at, Room::new(&base), ends, &[]);
        Self { base, look, reserved: 0, promises: Vec::new(), looks: 0 }
    }

    /// Room for a gang that touches nothing promised to others. Once the pool has taken it, the
    /// future is to be told ([`Ahead::taken`]).
    pub(crate) fn find(&mut self, gang: &Gang, span: Span) -> Option<Arc<[Laid]>> {
        self.looks += 1;
        let spots = self.look.find_now(gang, span);
        self.base.go_home();
        spots
    }

    /// Takes in what the pool has just taken for a job that starts.
    pub(crate) fn taken(&mut self, spots: &Arc<[Laid]>, span: Span) {
        for (ix, before) in self.base.before(spots) {
            self.look.each_space(|room| room.keep(ix, &before));
        }
        self.look.start(spots, span);
    }

    /// Promises a gang its earliest start, while fewer than `most` have been promised one.
    pub(crate) fn reserve(&mut self, job: JobId, gang: &Gang, span: Span, most: u32) {
        if self.reserved < most {
            self.reserved += 1;
            let promised = self.look.reserve(gang, span);
            self.promises.extend(promised.map(|(at, spots)| {
                let nodes = spots.iter().map(|laid| laid.spot.node).collect();
                Promise { job, at, nodes }
            }));
            self.base.go_home();
        }
    }

    /// The starts that were promised, in order of the queue.
    pub(crate) fn promises(&self) -> &[Promise] {
        &self.promises
    }

    /// Nodes where a job that starts now and lasts so long could meet one that was promised a start.
    pub(crate) fn promised(&self, span: Span) -> BTreeSet<NodeIx> {
        let spots = self.look.touched(span);
        spots.flat_map(|spots| spots.iter()).map(|laid| laid.spot.node).collect()
    }

    /// No further job is looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.looks >= BACKFILL_LOOKS_MAX
    }
}
