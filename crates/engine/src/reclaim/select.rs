//! The work to end so that a whole gang fits.
//!
//! Greedy by node: whichever node carries one more task for the least gives way next, until all
//! tasks fit. Then whatever is not needed stays, the most expensive first; ending more only makes
//! more room, so one such round leaves no victim that could stay. For one task the set is exactly
//! the cheapest. For more, a few changes of the set are tried where it is small, and the cheaper
//! kept; `tests` state how far from the cheapest that ends.

use super::chosen::{Chosen, Short, shorts, value};
use super::cost::Value;
use super::node::{Unit, cheapest};
use super::right::{Claimant, Manner, Right, keepers};
use super::room::{Constraint, Demand, Piece};
use super::running::MemberFacts;
use super::trial::Trial;
use polder_model::{Ground, Resource};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// Where one task goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) node: usize,
    /// What it takes of which devices.
    pub(crate) pieces: Vec<Piece>,
}

/// A gang that yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Victim {
    pub(crate) gang: usize,
    pub(crate) job: u64,
    pub(crate) ground: Ground,
    /// Members that end, by index.
    pub(crate) members: Vec<usize>,
    /// Whether that is all of them.
    pub(crate) whole: bool,
}

/// Who yields, and where the gang then goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// By job.
    pub(crate) victims: Vec<Victim>,
    /// By rank.
    pub(crate) places: Vec<Place>,
    pub(crate) value: Value,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The gang fits, with nobody ending if `victims` is empty.
    Fits(Ending),
    /// Not even if everybody who may end did.
    NoRoom,
    /// A tenant's limit stands against it.
    PastLimit { tenant: usize, resource: Resource },
}

/// What a class of claimants knows of all nodes; it follows a trial by its log.
pub(crate) struct Front {
    pub(crate) right: Right,
    pub(super) demand: Demand,
    /// Tasks that each node carries, and all of them.
    carries: Vec<u32>,
    have: u64,
    /// What one more task costs, by node, with the stamp it had then.
    heap: BinaryHeap<Reverse<(Value, usize, u32)>>,
    stamps: Vec<u32>,
    /// Whether `heap` is filled.
    is_priced: bool,
    /// How much of the trial's log was read.
    read: usize,
}

impl Front {
    pub(crate) fn new(
        trial: &Trial<'_>,
        right: Right,
        demand: Demand,
        to: &impl Constraint,
    ) -> Self {
        let nodes = trial.running.nodes.len();
        let mut front = Self {
            right,
            demand,
            carries: vec![0; nodes],
            have: 0,
            heap: BinaryHeap::new(),
            stamps: vec![0; nodes],
            is_priced: false,
            read: trial.log_end(),
        };
        (0..nodes).for_each(|node| front.count(trial, to, node));
        front
    }

    /// Whether it serves another claimant as it is; then it is that one's from now on.
    pub(crate) fn renew(&mut self, trial: &Trial<'_>, claimant: Claimant) -> bool {
        let mut right = Right::new(trial, claimant, self.right.manner, self.right.now);
        right.spared.clone_from(&self.right.spared);
        let serves = right.is_like(&self.right) && claimant.held == self.right.claimant.held;
        if serves {
            self.right = right;
        }
        serves
    }

    /// Counts anew what a node carries.
    fn count(&mut self, trial: &Trial<'_>, to: &impl Constraint, node: usize) {
        let carries = if to.takes(node) { trial.most(node, &self.demand, to) } else { 0 };
        if let Some(counted) = self.carries.get_mut(node) {
            self.have = self.have + u64::from(carries) - u64::from(*counted);
            *counted = carries;
        }
    }

    /// Prices anew what one more task on a node costs.
    fn price(&mut self, trial: &Trial<'_>, to: &impl Constraint, node: usize) {
        let Some(tasks) = self.next_task(node).filter(|_| to.takes(node)) else { return };
        let price = cheapest(trial, &self.right, &self.demand, to, node, tasks);
        let stamp = self.stamps.get(node).copied().unwrap_or(0);
        if let Some((value, _)) = price {
            self.heap.push(Reverse((value, node, stamp)));
        }
    }

    /// One more than what a node carries, if more can be wanted.
    fn next_task(&self, node: usize) -> Option<u32> {
        let carries = self.carries.get(node).copied()?;
        (carries < self.demand.tasks).then_some(carries + 1)
    }

    /// Reads what changed.
    pub(super) fn follow(&mut self, trial: &Trial<'_>, to: &impl Constraint) {
        let (changed, end) = trial.changed_since(self.read);
        self.read = end;
        for node in changed {
            self.count(trial, to, node);
            if let Some(stamp) = self.stamps.get_mut(node) {
                *stamp += 1;
            }
            if self.is_priced {
                self.price(trial, to, node);
            }
        }
    }

    /// Finds who ends so that the claimant's gang fits. Leaves the trial as it was.
    pub(crate) fn find(&mut self, trial: &mut Trial<'_>, to: &impl Constraint) -> Found {
        self.follow(trial, to);
        let shorts = shorts(trial, &self.right.claimant);
        let mut chosen = Chosen::default();
        if let Some(short) = self.within_limits(trial, &shorts, &mut chosen) {
            chosen.restore_all(trial);
            return Found::PastLimit { tenant: short.tenant, resource: short.resource };
        }
        if !self.complete(trial, to, &mut chosen) {
            chosen.restore_all(trial);
            return Found::NoRoom;
        }
        self.drop_needless(trial, to, &shorts, &mut chosen);
        self.improve(trial, to, &shorts, &mut chosen);
        let places = self.places(trial, to, &chosen);
        let ending = Ending {
            value: chosen.value(trial, &self.right),
            victims: chosen.victims(trial, &self.right),
            places,
        };
        chosen.restore_all(trial);
        Found::Fits(ending)
    }

    /// Ends work of tenants whose limit lacks room, the cheapest first; the limit that still lacks,
    /// if one does.
    pub(super) fn within_limits<'s>(
        &self,
        trial: &mut Trial<'_>,
        shorts: &'s [Short],
        chosen: &mut Chosen,
    ) -> Option<&'s Short> {
        for short in shorts {
            let mut gangs = self.by_limit(trial, short, chosen).into_iter();
            while !short.is_met(chosen) {
                let Some((_, gang)) = gangs.next() else { return Some(short) };
                chosen.end(trial, Unit::Gang(gang));
            }
        }
        None
    }

    /// Gangs of a tenant that lacks room under its limit, beside the chosen, the cheapest first.
    pub(super) fn by_limit(
        &self,
        trial: &Trial<'_>,
        short: &Short,
        chosen: &Chosen,
    ) -> Vec<(Value, usize)> {
        let running = trial.running;
        let gangs = running.tenants.get(short.tenant).map(|tenant| &tenant.gangs);
        let priced = |place: &usize| {
            trial.step(1);
            let gang = running.gang(*place)?;
            self.right.ground(running, *place, gang)?;
            let open = trial.lost(*place) == 0 && !chosen.gangs.contains_key(place);
            open.then(|| (value(trial, &self.right, *place, &gang.members), *place))
        };
        let mut gangs: Vec<(Value, usize)> =
            gangs.into_iter().flat_map(|gangs| gangs.values()).filter_map(priced).collect();
        gangs.sort_unstable();
        gangs
    }

    /// Ends the cheapest, node by node, until the whole gang fits.
    pub(super) fn complete(
        &mut self,
        trial: &mut Trial<'_>,
        to: &impl Constraint,
        chosen: &mut Chosen,
    ) -> bool {
        self.follow(trial, to);
        let wanted = u64::from(self.demand.tasks);
        if self.have < wanted && !self.is_priced {
            self.is_priced = true;
            (0..self.carries.len()).for_each(|node| self.price(trial, to, node));
        }
        while self.have < wanted {
            let Some(Reverse((value, node, stamp))) = self.heap.pop() else { return false };
            if self.stamps.get(node) != Some(&stamp) {
                continue;
            }
            let Some(tasks) = self.next_task(node) else { continue };
            let now = cheapest(trial, &self.right, &self.demand, to, node, tasks);
            let Some((now, units)) = now else { continue };
            if now > value {
                self.heap.push(Reverse((now, node, stamp)));
                continue;
            }
            units.into_iter().for_each(|unit| chosen.end(trial, unit));
            self.follow(trial, to);
        }
        true
    }

    /// Restores what is not needed, the most expensive first.
    pub(super) fn drop_needless(
        &mut self,
        trial: &mut Trial<'_>,
        to: &impl Constraint,
        shorts: &[Short],
        chosen: &mut Chosen,
    ) {
        self.follow(trial, to);
        let mut order: Vec<(Reverse<Value>, usize, Option<usize>)> = Vec::new();
        for (gang, taken) in &chosen.gangs {
            let value = |members: &[usize]| value(trial, &self.right, *gang, members);
            if taken.whole {
                order.push((Reverse(value(&taken.members)), *gang, None));
            } else {
                let each = taken.members.iter().map(|m| (Reverse(value(&[*m])), *gang, Some(*m)));
                order.extend(each);
            }
        }
        order.sort_unstable();
        for (_, gang, member) in order {
            match member {
                Some(member) => {
                    self.spare(trial, to, shorts, chosen, gang, &[member]);
                }
                None => {
                    let members = chosen.gangs.get(&gang).map(|taken| taken.members.clone());
                    let members = members.unwrap_or_default();
                    if !self.spare(trial, to, shorts, chosen, gang, &members) {
                        self.shrink_instead(trial, to, shorts, chosen, gang);
                    }
                }
            }
        }
    }

    /// Restores members if all still fits without their end.
    fn spare(
        &mut self,
        trial: &mut Trial<'_>,
        to: &impl Constraint,
        shorts: &[Short],
        chosen: &mut Chosen,
        gang: usize,
        members: &[usize],
    ) -> bool {
        let whole = chosen.gangs.get(&gang).is_some_and(|taken| taken.whole);
        chosen.restore(trial, gang, members);
        let running = trial.running;
        let facts = members.iter().filter_map(|member| running.member(*member));
        let nodes: BTreeSet<usize> = facts.map(|member| member.facts.node).collect();
        let before: Vec<(usize, u32)> = nodes
            .iter()
            .map(|node| (*node, self.carries.get(*node).copied().unwrap_or(0)))
            .collect();
        let have = self.have;
        nodes.iter().for_each(|node| self.count(trial, to, *node));
        let fits = self.have >= u64::from(self.demand.tasks);
        if fits && shorts.iter().all(|short| short.is_met(chosen)) {
            return true;
        }
        chosen.end_members(trial, gang, members);
        if let Some(taken) = chosen.gangs.get_mut(&gang) {
            taken.whole = whole;
        }
        for (node, carries) in before {
            if let Some(counted) = self.carries.get_mut(node) {
                *counted = carries;
            }
        }
        self.have = have;
        false
    }

    /// Lets an elastic gang shrink where it would have ended, if enough of it can stay.
    fn shrink_instead(
        &mut self,
        trial: &mut Trial<'_>,
        to: &impl Constraint,
        shorts: &[Short],
        chosen: &mut Chosen,
        gang: usize,
    ) {
        let running = trial.running;
        let Some(facts) = running.gang(gang) else { return };
        let members: Vec<usize> =
            chosen.gangs.get(&gang).map(|taken| taken.members.clone()).unwrap_or_default();
        let min = usize::try_from(facts.facts.min).unwrap_or(usize::MAX);
        let moves = self.right.manner == Manner::Move;
        if min >= members.len() || moves || members.first() != facts.members.first() {
            return;
        }
        let mut kept = Vec::new();
        for member in members {
            if self.spare(trial, to, shorts, chosen, gang, &[member]) {
                kept.push(member);
            } else if kept.is_empty() {
                return;
            }
        }
        if kept.len() < min {
            chosen.end_members(trial, gang, &kept);
            self.follow(trial, to);
        } else if let Some(taken) = chosen.gangs.get_mut(&gang) {
            taken.whole = false;
        }
    }

    /// Where the gang goes: first where somebody ends, then where little is free.
    fn places(&self, trial: &Trial<'_>, to: &impl Constraint, chosen: &Chosen) -> Vec<Place> {
        let running = trial.running;
        let mut places: Vec<Place> = Vec::new();
        let ended = chosen.gangs.values().flat_map(|taken| &taken.members);
        let touched: BTreeSet<usize> =
            ended.filter_map(|m| running.member(*m)).map(|m| m.facts.node).collect();
        let mut fill = |node: usize| {
            let want = self.demand.tasks - u32::try_from(places.len()).unwrap_or(u32::MAX);
            if want > 0 && self.carries.get(node).is_some_and(|carries| *carries > 0) {
                let filled = self.demand.fill(&trial.free(node), |d| to.lie(node, d), want);
                places.extend(filled.into_iter().map(|pieces| Place { node, pieces }));
            }
            want > 0
        };
        if touched.iter().all(|node| fill(*node)) {
            let mut others: Vec<(u32, usize)> =
                self.carries.iter().copied().zip(0..).filter(|(carries, _)| *carries > 0).collect();
            others.retain(|(_, node)| !touched.contains(node));
            others.sort_unstable();
            let _ = others.iter().all(|(_, node)| fill(*node));
        }
        places
    }
}

/// Makes what was found so: victims end, the gang has its places.
pub(crate) fn commit(trial: &mut Trial<'_>, right: &Right, demand: &Demand, ending: &Ending) {
    let running = trial.running;
    for victim in &ending.victims {
        let Some(gang) = running.gang(victim.gang) else { continue };
        // Whoever held more only through others' loss of what they kept must not lose by it.
        let kept: Vec<usize> = keepers(running, gang).collect();
        trial.barred.extend(kept);
        let is_loose = gang.facts.standing().is_loose();
        for member in &victim.members {
            if let Some(facts) = running.member(*member) {
                trial.end(*member);
                trial.holds_less(gang.facts.tenant, facts.facts.held(), is_loose);
            }
        }
        if !victim.whole {
            trial.touch(victim.gang);
        }
    }
    ending.places.iter().for_each(|place| trial.take(&place.member(demand)));
    let claimant = &right.claimant;
    trial.holds_more(claimant.tenant, claimant.held, claimant.spot);
}

impl Place {
    /// What the task holds there. Of a whole device, its memory is its own and not counted.
    pub(crate) fn member(&self, demand: &Demand) -> MemberFacts {
        MemberFacts {
            node: self.node,
            slices: self.pieces.clone(),
            cpu: demand.cpu,
            host_memory: demand.host_memory,
            nic: demand.nic,
            backing: demand.backing,
        }
    }
}
