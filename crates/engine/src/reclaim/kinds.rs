//! Which devices a job may use, by number.

use super::live::Live;
use super::room::Constraint;
use crate::facts::Facts;
use crate::need::Need;
use polder_model::{Ask, JobId, Mechanism, NodeId, Wish};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Which devices a job may use, and where work may move to.
pub(crate) struct Kinds<'a> {
    facts: &'a Facts,
    live: &'a Live,
    may: May,
    /// The same of jobs that may have to move.
    others: RefCell<BTreeMap<u64, May>>,
}

/// What one job may use.
#[derive(Debug)]
struct May {
    /// By number of class.
    classes: Vec<bool>,
    /// By number of node; absent when the job names none.
    nodes: Option<Vec<bool>>,
}

/// Whether who yields can be sought for such an ask: ways of lying that only placement knows are
/// not known here, and such a job waits for room instead.
pub(crate) fn is_known(ask: &Ask) -> bool {
    let place = &ask.place;
    let required = [place.island, place.numa, place.rail].contains(&Wish::Require);
    !required && place.apart.is_none() && ask.devices.mechanism() != Mechanism::Mig
}

impl<'a> Kinds<'a> {
    pub(crate) fn new(facts: &'a Facts, live: &'a Live, ask: &Ask) -> Self {
        let may = May::of(facts, live, ask);
        Self { facts, live, may, others: RefCell::default() }
    }

    fn island(&self, may: &May, node: usize, device: usize) -> Option<u32> {
        let class = self.live.class(node, device)?;
        let inside = may.nodes.as_ref().is_none_or(|nodes| nodes.get(node) == Some(&true));
        let fits = inside && may.classes.get(class) == Some(&true);
        (fits && !self.live.is_cut(node, device)).then_some(0)
    }
}

impl Constraint for Kinds<'_> {
    fn island(&self, node: usize, device: usize) -> Option<u32> {
        self.island(&self.may, node, device)
    }

    fn takes(&self, node: usize) -> bool {
        self.live.is_open(node)
            && self.may.nodes.as_ref().is_none_or(|nodes| nodes.get(node) == Some(&true))
    }

    fn island_of_job(&self, job: u64, node: usize, device: usize) -> Option<u32> {
        let mut others = self.others.borrow_mut();
        let may = others.entry(job).or_insert_with(|| {
            let ask =
                self.facts.jobs.get(&JobId(job)).map(|job| &job.ask).filter(|ask| is_known(ask));
            ask.map_or(May { classes: Vec::new(), nodes: Some(Vec::new()) }, |ask| {
                May::of(self.facts, self.live, ask)
            })
        });
        self.island(may, node, device)
    }
}

impl May {
    fn of(facts: &Facts, live: &Live, ask: &Ask) -> Self {
        let need = Need::of(ask);
        let place = &ask.place;
        let names = place.partition.is_some()
            || !place.nodes.is_empty()
            || !place.nodes_avoided.is_empty()
            || !place.labels.is_empty();
        let may_go = |node: &NodeId| {
            let node_facts = facts.nodes.get(node).map(|state| &state.inventory.node);
            node_facts.is_some_and(|node_facts| {
                let partition = place.partition.as_ref();
                partition.is_none_or(|partition| node_facts.partitions.contains(partition))
                    && place.labels.is_subset(&node_facts.labels)
                    && (place.nodes.is_empty() || place.nodes.contains(node))
                    && !place.nodes_avoided.contains(node)
            })
        };
        let nodes = 0..live.running.nodes.len();
        Self {
            classes: live.classes.iter().map(|class| need.misses(class).is_empty()).collect(),
            nodes: names.then(|| nodes.map(|n| live.node_name(n).is_some_and(may_go)).collect()),
        }
    }
}
