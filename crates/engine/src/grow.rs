//! Further members for gangs that run: successors of replicas, and growth.
//!
//! What must hold:
//! * growth ends nobody, and takes nothing that anybody who waits could use: not a device of a kind
//!   that a job waits for, not room that was promised, not the last of a quota that keeps a job
//!   waiting. So it comes after the walk, and after everything by which somebody could start;
//! * it starts no loop. A gang shrinks only for a job that then starts ([`crate::reclaim::shrink`]),
//!   and grows only when nobody waits for such room; between two events from outside, whoever
//!   started does not wait again, so there are at most as many shrinks as jobs that wait, and
//!   between two of them no more growth than the pool has room for;
//! * a gang keeps its size for `elastic.pause` before it grows again.
//!
//! A service that has fewer replicas than its fewest comes before those who wait: it has had its
//! turn, and what it lost is given back to it first.

use crate::ahead::{self, Gang};
use crate::facts::{Facts, Hold, JobFacts};
use crate::index::Index;
use crate::index::space::CellKey;
use crate::members::resizable;
use crate::need::Need;
use crate::order::priority;
use crate::order::turn::Turn;
use crate::pass::Pass;
use crate::reclaim::Standing;
use crate::reclaim::elastic::{Elastic, next_to_grow};
use crate::sieve::Sieve;
use polder_model::{Decision, GangKind, JobId, Lease, LeaseId, Market, TaskIndex, Timestamp};
use std::cmp::Reverse;

/// Most gangs that one pass lets grow; the next goes on.
pub(crate) const GROWERS_MAX: usize = 4096;

/// A gang that may get further members.
struct Grower<'a> {
    id: JobId,
    job: &'a JobFacts,
    need: Need,
    cells: Vec<CellKey>,
    /// Ranks that are free, the last one first.
    ranks: Vec<TaskIndex>,
    leases: Vec<Lease>,
}

/// A gang in the order in which gangs grow and shrink.
pub(crate) fn elastic(id: JobId, job: &JobFacts, hold: &Hold, at: Timestamp) -> Elastic {
    let spot = job.ask.when.market == Market::Spot;
    Elastic {
        // Of one class, gangs grow together, whoever is before whom in the order.
        standing: Standing {
            spot,
            // Who grows does so at home.
            borrows: false,
            priority: Reverse(priority(job, at)),
            turn: Turn::default(),
            job: id.0,
        },
        members: hold.members(),
        min: job.ask.gang.min,
        max: job.ask.gang.max,
    }
}

/// Whether a gang is ready for further members at `at`, as far as it is concerned.
fn is_ready(facts: &Facts, job: &JobFacts, hold: &Hold, at: Timestamp) -> bool {
    let settled = hold.late(facts, at).is_empty() && hold.is_complete();
    let alone = hold.joining.is_empty() && hold.leaving.is_empty();
    let time_left =
        job.ask.when.time_limit.is_none_or(|limit| {
            hold.started_at.is_some_and(|started_at| at < started_at.after(limit))
        });
    let replica = job.ask.gang.kind == GangKind::Service;
    let rested = hold.changed_at.after(facts.policy.elastic.pause) <= at;
    rested && settled && (replica || alone && hold.started_at.is_some() && time_left)
}

/// The first moment after `after` at which a gang could get a further member that could not before.
pub(crate) fn next_wake(facts: &Facts, index: &Index, after: Timestamp) -> Option<Timestamp> {
    let policy = &facts.policy.elastic;
    let moments = index.elastic.iter().filter_map(|id| {
        let job = facts.jobs.get(id)?;
        let hold = resizable(job)?;
        let rested = hold.changed_at.after(policy.pause);
        let open = || hold.free_ranks(job.ask.gang, rested);
        let grows = policy.grow && rested > after && hold.members() < job.ask.gang.max;
        let grows = grows && !open().is_empty();
        grows.then_some(rested).into_iter().chain(hold.next_successor(after)).min()
    });
    moments.min()
}

/// Numbers leases anew in the order in which gangs are given them.
fn in_order(growers: &mut [Grower<'_>]) {
    let leases = || growers.iter().flat_map(|grower| &grower.leases);
    let Some(first) = leases().map(|lease| lease.id.0).min() else { return };
    let leases = growers.iter_mut().flat_map(|grower| &mut grower.leases);
    for (number, lease) in (first..).zip(leases) {
        lease.id = LeaseId(number);
    }
}

impl<'a> Pass<'a> {
    /// Successors for services that have fewer replicas than their fewest.
    pub(crate) fn replace(&mut self) {
        for id in &self.index.elastic {
            let Some(job) = self.facts.jobs.get(id) else { continue };
            let Some(hold) = resizable(job) else { continue };
            let missing = job.ask.gang.min.saturating_sub(hold.members());
            // Who is given up first leaves ranks that are not known yet.
            let settled = missing > 0 && hold.late(self.facts, self.at).is_empty();
            if job.ask.gang.kind != GangKind::Service || !settled {
                continue;
            }
            let mut leases = Vec::new();
            let missing = usize::try_from(missing).unwrap_or(usize::MAX);
            for rank in hold.free_ranks(job.ask.gang, self.at).into_iter().take(missing) {
                self.report.steps += 1;
                if self.is_full() {
                    self.report.more = true;
                    break;
                }
                let need = Need::of(&job.ask).alone();
                let cells = self.space.answer(&need).cells.clone();
                let Some(lease) = self.further(*id, job, &need, &cells, rank) else {
                    self.hold_for(*id, job, &need, cells);
                    break;
                };
                leases.push(lease);
            }
            if !leases.is_empty() {
                self.decisions.push(Decision::Grow { job: *id, leases });
            }
        }
    }

    /// Keeps what a replica could use for it.
    fn hold_for(&mut self, id: JobId, job: &JobFacts, need: &Need, cells: Vec<CellKey>) {
        if self.quota_room(&job.ask, need).is_err() {
            return;
        }
        let sieve = Sieve::of(self.facts, self.index, job, self.at);
        if self.looks_ahead() && ahead::minds(job) {
            let demand = self.space.demand(need, &cells, &sieve);
            let gang = Gang { demand, min: 1, want: 1 };
            self.reserve(id, &gang, ahead::span(self.facts, job));
        } else if sieve.is_open() {
            for cell in cells {
                self.held.entry(cell).or_insert(id);
            }
        }
    }

    /// Further members for gangs that may grow, one after the other, as long as there is room that
    /// nobody waits for.
    pub(crate) fn grow(&mut self) -> Vec<Decision> {
        if !self.facts.policy.elastic.grow || self.has_looked_enough() {
            return Vec::new();
        }
        let (mut gangs, mut growers) = (Vec::new(), Vec::new());
        for id in self.index.elastic.iter().take(GROWERS_MAX) {
            self.report.steps += 1;
            if let Some((gang, grower)) = self.grower(*id) {
                gangs.push(gang);
                growers.push(grower);
            }
        }
        while !self.is_full()
            && let Some(next) = next_to_grow(&gangs)
            && let (Some(gang), Some(grower)) = (gangs.get_mut(next), growers.get_mut(next))
        {
            self.report.steps += 1;
            let rank = grower.ranks.last().copied();
            let Grower { id, job, ref need, ref cells, .. } = *grower;
            match rank.and_then(|rank| self.further(id, job, need, cells, rank)) {
                Some(lease) => {
                    grower.ranks.pop();
                    grower.leases.push(lease);
                    gang.members += 1;
                }
                None => gang.max = gang.members,
            }
        }
        growers.retain(|grower| !grower.leases.is_empty());
        in_order(&mut growers);
        let grown = growers.into_iter();
        grown.map(|grower| Decision::Grow { job: grower.id, leases: grower.leases }).collect()
    }

    fn grower(&self, id: JobId) -> Option<(Elastic, Grower<'a>)> {
        let job: &JobFacts = self.facts.jobs.get(&id)?;
        let hold = resizable(job)?;
        if !is_ready(self.facts, job, hold, self.at) || self.keeps_waiting(job) {
            return None;
        }
        let need = Need::of(&job.ask).alone();
        let mut ranks = hold.free_ranks(job.ask.gang, self.at);
        ranks.reverse();
        // What a class borrows of others it was lent to start with.
        let answer = self.space.answer(&need);
        let own = self.reach(job, &answer.cells).own;
        let is_free = |cell: &&CellKey| !self.is_wanted(**cell);
        let cells: Vec<CellKey> = own.iter().filter(is_free).copied().collect();
        if ranks.is_empty() || cells.is_empty() {
            return None;
        }
        let gang = elastic(id, job, hold, self.at);
        Some((gang, Grower { id, job, need, cells, ranks, leases: Vec::new() }))
    }

    /// One further member of a gang, on what is free in these cells.
    fn further(
        &mut self,
        id: JobId,
        job: &JobFacts,
        need: &Need,
        cells: &[CellKey],
        rank: TaskIndex,
    ) -> Option<Lease> {
        self.quota_room(&job.ask, need).ok()?;
        let sieve = self.sieve(job);
        let spots = self.space.place(need, cells, &sieve, 1, 1)?;
        let lease = self.grant_unlooked(id, job, need, &spots).ok()?.pop()?;
        self.report.leases += 1;
        Some(Lease { task: rank, ..lease })
    }
}
