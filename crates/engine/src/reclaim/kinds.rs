//! Which devices a job may use, by number: what [`Need`] says of devices and [`Sieve`] of nodes.

use super::live::Live;
use super::room::{Constraint, Lie};
use crate::facts::{Facts, JobFacts};
use crate::home;
use crate::index::Index;
use crate::mig::Wants;
use crate::need::Need;
use crate::sieve::{Sieve, is_inside};
use crate::topology::{Together, Wish};
use polder_model::{JobId, NodeFacts, NodeId, Timestamp};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Which devices a job may use, and where work may move to.
pub(crate) struct Kinds<'a> {
    facts: &'a Facts,
    index: &'a Index,
    live: &'a Live,
    at: Timestamp,
    may: May,
    /// The same of jobs that may have to move.
    others: RefCell<BTreeMap<u64, May>>,
}

/// What one job may use.
#[derive(Debug, Default)]
struct May {
    /// By number of class.
    classes: Vec<bool>,
    /// By number of node; absent when all are open.
    nodes: Option<Vec<bool>>,
    /// How the devices of a task must lie.
    wish: Wish,
    /// What an instance must have, where hardware cuts devices.
    wants: Option<Wants>,
    /// No two tasks on one node.
    apart: bool,
}

impl<'a> Kinds<'a> {
    /// What a job may use, with its sieve.
    pub(crate) fn new(
        facts: &'a Facts,
        (index, live): (&'a Index, &'a Live),
        at: Timestamp,
        job: &JobFacts,
        sieve: &Sieve,
    ) -> Self {
        let may = May::of(facts, live, job, sieve);
        Self { facts, index, live, at, may, others: RefCell::default() }
    }

    fn of_job<T>(&self, job: u64, ask: impl FnOnce(&May) -> T) -> T {
        let mut others = self.others.borrow_mut();
        let may = others.entry(job).or_insert_with(|| match self.facts.jobs.get(&JobId(job)) {
            Some(facts) => {
                let sieve = Sieve::of(self.facts, self.index, facts, self.at);
                May::of(self.facts, self.live, facts, &sieve)
            }
            None => May { nodes: Some(Vec::new()), ..May::default() },
        });
        ask(may)
    }
}

impl Constraint for Kinds<'_> {
    fn lie(&self, node: usize, device: usize) -> Option<Lie> {
        self.may.lie(self.live, node, device)
    }

    fn takes(&self, node: usize) -> bool {
        self.live.is_open(node) && self.may.is_open(node)
    }

    fn takes_of_job(&self, job: u64, node: usize) -> bool {
        self.live.is_open(node) && self.of_job(job, |may| may.is_open(node))
    }

    fn lie_of_job(&self, job: u64, node: usize, device: usize) -> Option<Lie> {
        self.of_job(job, |may| may.lie(self.live, node, device))
    }

    fn wants_of_job(&self, job: u64) -> (Option<Wants>, bool) {
        self.of_job(job, |may| (may.wants, may.apart))
    }
}

impl May {
    fn of(facts: &Facts, live: &Live, job: &JobFacts, sieve: &Sieve) -> Self {
        let need = Need::of(&job.ask);
        let place = &job.ask.place;
        // Others yield for room at home only.
        let home = home::of(&facts.policy, &job.ask);
        let anywhere = place.partition.is_none() && home.is_none();
        let everywhere = sieve.is_open() && anywhere && place.labels.is_empty();
        let may_go = |id: &NodeId| {
            let node = facts.nodes.get(id).map(|state| &state.inventory.node);
            let is_home = |node: &NodeFacts| home.is_none_or(|home| node.partitions.contains(home));
            sieve.lets(id) && node.is_some_and(|node| is_inside(place, node) && is_home(node))
        };
        let nodes = 0..live.running.nodes.len();
        let open = || nodes.map(|n| live.node_name(n).is_some_and(may_go)).collect();
        Self {
            classes: live.classes.iter().map(|class| need.misses(class).is_empty()).collect(),
            nodes: (!everywhere).then(open),
            wish: need.wish,
            wants: need.wants(),
            apart: place.apart.is_some(),
        }
    }

    fn is_open(&self, node: usize) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.get(node) == Some(&true))
    }

    fn lie(&self, live: &Live, node: usize, device: usize) -> Option<Lie> {
        let class = live.class(node, device)?;
        if !self.is_open(node) || self.classes.get(class) != Some(&true) {
            return None;
        }
        if self.wish == Wish::default() {
            return Some(Lie::default());
        }
        let (island, numa, rail) = live.lies(node, device);
        // A device of which nothing is known lies together with no other: its name is its own.
        let own = (1 << 32) + u64::try_from(device).unwrap_or(0);
        let name = |together, name: Option<u32>| match together {
            Together::Required => name.map_or(own, u64::from),
            Together::Any | Together::Preferred => 0,
        };
        let own_rail = self.wish.rails == Together::Required;
        if own_rail && rail.is_none() {
            return None;
        }
        Some(Lie {
            island: (name(self.wish.island, island), name(self.wish.numa, numa)),
            rail: rail.filter(|_| own_rail).map(u64::from),
        })
    }
}
