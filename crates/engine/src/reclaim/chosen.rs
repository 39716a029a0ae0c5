//! A set of victims in the making, and the limits it has to make room under.

use super::cost::Value;
use super::node::{Unit, members_of};
use super::right::{Claimant, Right};
use super::select::Victim;
use super::trial::Trial;
use crate::Held;
use polder_model::Resource;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What ends of a gang.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    pub(super) members: Vec<usize>,
    pub(super) whole: bool,
}

/// A set of victims in the making: all of it has ended in the trial.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    pub(super) gangs: BTreeMap<usize, Taken>,
    /// What ends, by tenant and all above it.
    pub(super) freed: BTreeMap<usize, Held>,
}

/// Room that a tenant's limit lacks.
pub(super) struct Short {
    pub(super) tenant: usize,
    pub(super) resource: Resource,
    pub(super) amount: u64,
}

impl Short {
    pub(super) fn is_met(&self, chosen: &Chosen) -> bool {
        let freed = chosen.freed.get(&self.tenant);
        freed.is_some_and(|freed| freed.of(self.resource) >= self.amount)
    }
}

/// Room that the limits of a claimant's tenants lack, nearest first.
pub(super) fn shorts(trial: &Trial<'_>, claimant: &Claimant) -> Vec<Short> {
    let mut shorts = Vec::new();
    for tenant in trial.running.lineage(claimant.tenant) {
        let Some(facts) = trial.running.tenants.get(tenant) else { continue };
        let held = trial.held(tenant);
        for (resource, limit) in facts.limit.amounts() {
            let after = held.of(resource).saturating_add(claimant.held.of(resource));
            let amount = after.saturating_sub(limit);
            if amount > 0 {
                shorts.push(Short { tenant, resource, amount });
            }
        }
    }
    shorts
}

/// What ending members of a gang comes to.
pub(super) fn value(trial: &Trial<'_>, right: &Right, gang: usize, members: &[usize]) -> Value {
    let Some(gang) = trial.running.gang(gang) else { return Value::NOTHING };
    let facts = members.iter().filter_map(|member| trial.running.member(*member));
    facts.fold(Value::NOTHING, |sum, member| sum + gang.facts.value(&member.facts, right.now))
}

impl Chosen {
    pub(super) fn end(&mut self, trial: &mut Trial<'_>, unit: Unit) {
        let members = members_of(trial, unit);
        let gang = match unit {
            Unit::Gang(gang) => gang,
            Unit::Member(member) => {
                let Some(member) = trial.running.member(member) else { return };
                member.gang
            }
        };
        self.end_members(trial, gang, &members);
        if let Some(taken) = self.gangs.get_mut(&gang) {
            taken.whole |= matches!(unit, Unit::Gang(_));
        }
        if matches!(unit, Unit::Member(_)) {
            trial.touch(gang);
        }
    }

    pub(super) fn end_members(&mut self, trial: &mut Trial<'_>, gang: usize, members: &[usize]) {
        let running = trial.running;
        let Some(facts) = running.gang(gang) else { return };
        let taken = self.gangs.entry(gang).or_default();
        for place in members {
            let Some(member) = running.member(*place) else { continue };
            trial.end(*place);
            taken.members.push(*place);
            for tenant in running.lineage(facts.facts.tenant) {
                self.freed.entry(tenant).or_default().add(member.facts.held());
            }
        }
        if members.len() < taken.members.len() {
            taken.members.sort_by_key(|place| running.member(*place).map(|member| member.rank));
        }
    }

    pub(super) fn restore(&mut self, trial: &mut Trial<'_>, gang: usize, members: &[usize]) {
        let running = trial.running;
        let Some(facts) = running.gang(gang) else { return };
        for place in members {
            let Some(member) = running.member(*place) else { continue };
            trial.restore(*place);
            for tenant in running.lineage(facts.facts.tenant) {
                if let Some(freed) = self.freed.get_mut(&tenant) {
                    freed.subtract(member.facts.held());
                }
            }
        }
        if let Some(taken) = self.gangs.get_mut(&gang) {
            if taken.members.len() == members.len() {
                self.gangs.remove(&gang);
            } else {
                taken.members.retain(|place| !members.contains(place));
            }
        }
    }

    pub(super) fn restore_all(&self, trial: &mut Trial<'_>) {
        let members = self.gangs.values().flat_map(|taken| &taken.members);
        members.for_each(|member| trial.restore(*member));
    }

    /// Becomes what it was, and so does the trial.
    pub(super) fn become_again(&mut self, trial: &mut Trial<'_>, before: Self) {
        self.restore_all(trial);
        let members = before.gangs.values().flat_map(|taken| &taken.members);
        members.for_each(|member| trial.end(*member));
        *self = before;
    }

    pub(super) fn value(&self, trial: &Trial<'_>, right: &Right) -> Value {
        let of = |(gang, taken): (&usize, &Taken)| value(trial, right, *gang, &taken.members);
        self.gangs.iter().map(of).fold(Value::NOTHING, |sum, value| sum + value)
    }

    /// Gangs, the most expensive first.
    pub(super) fn by_value(&self, trial: &Trial<'_>, right: &Right) -> Vec<usize> {
        let of = |(gang, taken): (&usize, &Taken)| {
            (Reverse(value(trial, right, *gang, &taken.members)), *gang)
        };
        let mut gangs: Vec<_> = self.gangs.iter().map(of).collect();
        gangs.sort_unstable();
        gangs.into_iter().map(|(_, gang)| gang).collect()
    }

    pub(super) fn victims(&self, trial: &Trial<'_>, right: &Right) -> Vec<Victim> {
        let victim = |(place, taken): (&usize, &Taken)| {
            let gang = trial.running.gang(*place)?;
            Some(Victim {
                gang: *place,
                job: gang.facts.job,
                ground: right.ground(trial.running, *place, gang)?,
                members: taken.members.clone(),
                whole: taken.whole,
            })
        };
        let mut victims: Vec<Victim> = self.gangs.iter().filter_map(victim).collect();
        victims.sort_by_key(|victim| victim.job);
        victims
    }
}
