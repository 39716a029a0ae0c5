//! Other sets than the greedy one: a few are tried where it is small, and the cheapest kept.

use super::chosen::{Chosen, Short};
use super::cost::Value;
use super::node::Unit;
use super::room::Constraint;
use super::select::Front;
use super::trial::Trial;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Sets of at most this many gangs are tried to be improved.
const IMPROVED_GANGS_MAX: usize = 64;
/// Changes of each kind tried to improve one set.
const IMPROVEMENTS_MAX: usize = 16;

impl Front {
    /// Tries a few other sets and keeps the cheapest.
    pub(super) fn improve(
        &mut self,
        trial: &mut Trial<'_>,
        to: &impl Constraint,
        shorts: &[Short],
        chosen: &mut Chosen,
    ) {
        let exact = self.demand.tasks == 1 && shorts.is_empty();
        if exact || chosen.gangs.is_empty() || chosen.gangs.len() > IMPROVED_GANGS_MAX {
            return;
        }
        let mut best = chosen.value(trial, &self.right);
        for gang in self.additions(trial, shorts, chosen) {
            if chosen.gangs.contains_key(&gang) {
                continue;
            }
            let before = chosen.clone();
            chosen.end(trial, Unit::Gang(gang));
            self.drop_needless(trial, to, shorts, chosen);
            self.keep_better(trial, to, chosen, before, &mut best);
        }
        let expensive = chosen.by_value(trial, &self.right);
        for gang in expensive.into_iter().take(IMPROVEMENTS_MAX) {
            let Some(taken) = chosen.gangs.get(&gang).cloned() else { continue };
            let before = chosen.clone();
            chosen.restore(trial, gang, &taken.members);
            self.right.spared.insert(gang);
            trial.touch(gang);
            let limited = self.within_limits(trial, shorts, chosen).is_some();
            let complete = !limited && self.complete(trial, to, chosen);
            self.right.spared.remove(&gang);
            trial.touch(gang);
            if complete {
                self.drop_needless(trial, to, shorts, chosen);
                self.keep_better(trial, to, chosen, before, &mut best);
            } else {
                chosen.become_again(trial, before);
                self.follow(trial, to);
            }
        }
    }

    fn keep_better(
        &mut self,
        trial: &mut Trial<'_>,
        to: &impl Constraint,
        chosen: &mut Chosen,
        before: Chosen,
        best: &mut Value,
    ) {
        let value = chosen.value(trial, &self.right);
        if value < *best {
            *best = value;
        } else {
            chosen.become_again(trial, before);
        }
        self.follow(trial, to);
    }

    /// Gangs beside the chosen whose end might replace several of them: those on more than one node,
    /// and those of tenants at their limit.
    fn additions(&self, trial: &Trial<'_>, shorts: &[Short], chosen: &Chosen) -> Vec<usize> {
        let running = trial.running;
        let limited = shorts.iter().flat_map(|short| self.by_limit(trial, short, chosen));
        let limited: Vec<usize> = limited.map(|(_, gang)| gang).take(IMPROVEMENTS_MAX).collect();
        let mut nodes = BTreeSet::new();
        for member in chosen.gangs.values().flat_map(|taken| &taken.members) {
            nodes.extend(running.member(*member).map(|member| member.facts.node));
        }
        let mut gangs: BTreeMap<usize, u32> = BTreeMap::new();
        for node in nodes {
            let members = running.nodes.get(node).map_or(&[][..], |node| &node.members);
            for member in members.iter().filter(|member| !trial.is_gone(**member)) {
                trial.step(1);
                if let Some(member) = running.member(*member) {
                    *gangs.entry(member.gang).or_default() += 1;
                }
            }
        }
        let yields = |place: &usize| {
            let gang = running.gang(*place);
            gang.is_some_and(|g| g.is_spread && self.right.ground(running, *place, g).is_some())
        };
        let mut gangs: Vec<(Reverse<u32>, usize)> =
            gangs.into_iter().map(|(gang, members)| (Reverse(members), gang)).collect();
        gangs.sort_unstable();
        let gangs = gangs.into_iter().map(|(_, gang)| gang);
        limited.into_iter().chain(gangs.filter(yields).take(IMPROVEMENTS_MAX)).collect()
    }
}
