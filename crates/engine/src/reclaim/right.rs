//! Who may end whom. The rules are those that [`super`] proves to end.

use super::Standing;
use super::running::{Gang, Running};
use super::trial::Trial;
use crate::Held;
use crate::order::turn::{ByTurn, Turn};
use polder_model::Ground;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// A gang that wants room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) job: u64,
    pub(crate) tenant: usize,
    /// While it holds; waiting adds nothing to it.
    pub(crate) priority: i32,
    pub(crate) spot: bool,
    /// Where the order puts it, if work yields by it.
    pub(crate) turn: Turn,
    /// The partition of its class, if it may take that back.
    pub(crate) home: Option<usize>,
    /// What its whole gang will hold.
    pub(crate) held: Held,
}

/// The grounds that count. Any of them alone, and all together, end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grounds {
    pub(crate) spot: bool,
    pub(crate) class: bool,
    pub(crate) priority: bool,
    pub(crate) quota: bool,
    /// How turns compare, where work yields by the order.
    pub(crate) order: Option<ByTurn>,
}

/// What a claimant may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// What these grounds let it end.
    End(Grounds),
    /// Whatever can restart: it will run elsewhere at once.
    Move,
}

/// Why a gang does not yield to a claimant that it ranks behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spared {
    /// It never yields.
    Firm,
    /// It has not run as long as it may at least.
    Young {
        /// Microseconds since 1970.
        until: u64,
    },
    /// A tenant keeps it: it is part of what that deserves.
    Kept {
        /// Which tenant.
        by: usize,
    },
}

/// How far a claimant reaches into a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    /// The last gang that a tenant between the two keeps.
    kept: Option<Standing>,
    /// Whether the claimant's tenants stay within what they deserve.
    entitled: bool,
    /// Nothing more of it may be taken for others.
    barred: bool,
}

/// Who yields to one claimant, or to one like it, at one moment.
#[derive(Debug)]
pub(crate) struct Right {
    pub(crate) claimant: Claimant,
    pub(crate) manner: Manner,
    /// Microseconds since 1970.
    pub(crate) now: u64,
    /// By tenant of the claimant's lineage, nearest first: whether all below it on the way to the
    /// claimant stay within what they deserve, and one deserves something.
    entitled: Vec<(usize, bool)>,
    barred: BTreeSet<usize>,
    /// Gangs that must not be touched, whatever the reason.
    pub(crate) spared: BTreeSet<usize>,
    reach: RefCell<BTreeMap<usize, Reach>>,
}

impl Right {
    pub(crate) fn new(trial: &Trial<'_>, claimant: Claimant, manner: Manner, now: u64) -> Self {
        Self {
            entitled: entitled(trial, &claimant),
            claimant,
            manner,
            now,
            barred: trial.barred.clone(),
            spared: BTreeSet::new(),
            reach: RefCell::new(BTreeMap::new()),
        }
    }

    /// Whether whoever yields to one yields to the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let of = |right: &Self| {
            let claimant = &right.claimant;
            let Claimant { tenant, priority, spot, turn, home, .. } = claimant;
            (*tenant, *priority, *spot, *turn, *home, right.manner, right.now)
        };
        of(self) == of(other)
            && self.entitled == other.entitled
            && self.barred == other.barred
            && self.spared == other.spared
    }

    /// Whether there may be anybody over whom it has a right: a look at tenants instead of nodes,
    /// which never says no wrongly.
    pub(crate) fn could(&self, running: &Running) -> bool {
        let Manner::End(grounds) = self.manner else { return !running.tiers.is_empty() };
        let Claimant { spot, priority, turn, home, .. } = self.claimant;
        if grounds.spot && !spot && running.latest().any(|(theirs, ..)| theirs) {
            return true;
        }
        let behind = |by: ByTurn, (theirs, of, latest): (bool, i32, Turn)| {
            (theirs || !spot) && of <= priority && by.yields(&latest, &turn, true)
        };
        if grounds.order.is_some_and(|by| running.latest().any(|tier| behind(by, tier))) {
            return true;
        }
        let lends = |home| running.lent.get(&home).is_some_and(|gangs| *gangs > 0);
        if grounds.class && home.is_some_and(lends) {
            return true;
        }
        let is_entitled = grounds.quota && self.entitled.iter().any(|(_, entitled)| *entitled);
        let lower = |(theirs, of, _): (bool, i32, Turn)| (theirs || !spot) && of < priority;
        let outranks = grounds.priority && running.latest().any(lower);
        if !is_entitled && !outranks {
            return false;
        }
        // Whoever is kept last by a tenant is the first to yield: if it does not, none does.
        (0..).zip(&running.tenants).filter(|(_, tenant)| tenant.own > 0).any(|(place, tenant)| {
            let Some((last, _)) = tenant.gangs.last_key_value() else { return false };
            let reach = self.reach(running, place);
            let is_kept = !last.is_loose() && reach.kept.is_some_and(|kept| *last <= kept);
            let reaches = grounds.priority && last.priority.0 < priority
                || grounds.quota && reach.entitled && !spot;
            !is_kept && !reach.barred && (last.is_loose() || reaches)
        })
    }

    /// Why a gang yields, if it does.
    pub(crate) fn ground(&self, running: &Running, place: usize, gang: &Gang) -> Option<Ground> {
        let facts = &gang.facts;
        let yields = facts.yields?;
        let ran = self.now.saturating_sub(facts.started_at);
        if ran < yields.runtime_min
            || facts.job == self.claimant.job
            || self.spared.contains(&place)
        {
            return None;
        }
        let Manner::End(grounds) = self.manner else {
            return facts.is_complete.then_some(Ground::Move);
        };
        if grounds.spot && facts.spot && !self.claimant.spot {
            return Some(Ground::Spot);
        }
        if self.claimant.spot && !facts.spot {
            return None;
        }
        let takes_back = |home| facts.lenders.contains(&home);
        if grounds.class && self.claimant.home.is_some_and(takes_back) {
            return Some(Ground::Class);
        }
        let reach = self.reach(running, facts.tenant);
        let standing = facts.standing();
        let is_kept = !standing.is_loose() && reach.kept.is_some_and(|kept| standing <= kept);
        if is_kept || reach.barred {
            return None;
        }
        if grounds.priority && facts.priority < self.claimant.priority {
            return Some(Ground::Priority);
        }
        let one_tenant = facts.tenant == self.claimant.tenant;
        let behind = |by: ByTurn| by.yields(&facts.turn, &self.claimant.turn, one_tenant);
        if facts.priority <= self.claimant.priority && grounds.order.is_some_and(behind) {
            return Some(Ground::Order);
        }
        let entitled = grounds.quota && reach.entitled && !self.claimant.spot;
        entitled.then_some(Ground::Quota)
    }

    /// What keeps a gang from yielding that ranks behind the claimant: by market, priority or, where
    /// work yields by it, the order. `None` where nothing does, or it does not rank behind.
    pub(crate) fn spared(&self, running: &Running, gang: &Gang) -> Option<Spared> {
        let Manner::End(grounds) = self.manner else { return None };
        let (facts, claimant) = (&gang.facts, &self.claimant);
        if facts.job == claimant.job || (claimant.spot && !facts.spot) {
            return None;
        }
        let one_tenant = facts.tenant == claimant.tenant;
        let behind = |by: ByTurn| by.yields(&facts.turn, &claimant.turn, one_tenant);
        let by_market = grounds.spot && facts.spot && !claimant.spot;
        let by_priority = grounds.priority && facts.priority < claimant.priority;
        let by_order = facts.priority <= claimant.priority && grounds.order.is_some_and(behind);
        if !by_market && !by_priority && !by_order {
            return None;
        }
        let Some(yields) = facts.yields else { return Some(Spared::Firm) };
        let until = facts.started_at.saturating_add(yields.runtime_min);
        if until > self.now {
            return Some(Spared::Young { until });
        }
        let is_common = |tenant: &usize| self.entitled.iter().any(|(common, _)| common == tenant);
        let mut keepers = keepers(running, gang).filter(|tenant| !is_common(tenant));
        keepers.next().filter(|_| !by_market).map(|by| Spared::Kept { by })
    }

    fn reach(&self, running: &Running, tenant: usize) -> Reach {
        if let Some(reach) = self.reach.borrow().get(&tenant) {
            return *reach;
        }
        let mut reach = Reach { kept: None, entitled: false, barred: false };
        for above in running.lineage(tenant) {
            if let Some((_, entitled)) = self.entitled.iter().find(|(common, _)| *common == above) {
                reach.entitled = *entitled;
                break;
            }
            let last = running.tenants.get(above).and_then(|tenant| tenant.cover.last());
            // Standings later in the order are larger, and an absent one is the smallest.
            reach.kept = reach.kept.max(last);
            reach.barred |= self.barred.contains(&above);
            if running.tenants.get(above).is_none_or(|tenant| tenant.parent.is_none()) {
                // Different organisations: the pool itself is what they have in common.
                reach.entitled = self.entitled.last().is_some_and(|(_, entitled)| *entitled);
            }
        }
        self.reach.borrow_mut().insert(tenant, reach);
        reach
    }
}

/// Marks the pool as the tenant above all.
pub(crate) const POOL: usize = usize::MAX;

fn entitled(trial: &Trial<'_>, claimant: &Claimant) -> Vec<(usize, bool)> {
    let mut entitled = Vec::new();
    let (mut within, mut deserves) = (true, false);
    for tenant in trial.running.lineage(claimant.tenant) {
        entitled.push((tenant, within && deserves));
        let Some(facts) = trial.running.tenants.get(tenant) else { continue };
        let deserved = facts.cover.deserved();
        if deserved.is_set() {
            let mut held = trial.held_kept(tenant);
            held.add(claimant.held);
            // What asks for none of what a tenant deserves has no part in it.
            deserves |= deserved.amounts().any(|(resource, _)| claimant.held.of(resource) > 0);
            within &= deserved.holds(&held);
        }
    }
    entitled.push((POOL, within && deserves));
    entitled
}

/// Tenants that keep a gang, among those that it is in.
pub(crate) fn keepers<'r>(
    running: &'r Running,
    gang: &'r Gang,
) -> impl Iterator<Item = usize> + 'r {
    let standing = gang.facts.standing();
    running.lineage(gang.facts.tenant).filter(move |tenant| {
        let last = running.tenants.get(*tenant).and_then(|tenant| tenant.cover.last());
        !standing.is_loose() && last.is_some_and(|last| standing <= last)
    })
}
