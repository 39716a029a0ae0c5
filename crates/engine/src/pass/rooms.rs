//! Where a job fits now, and beside those that were promised a start. Who is looked at next, and
//! whether the quotas allow it, is not decided here.

use super::{Pass, Wanted};
use crate::ahead::{self, Ahead, Ends, Gang, Laid};
use crate::facts::JobFacts;
use crate::home::{self, Reach};
use crate::index::space::CellKey;
use crate::index::take_of;
use crate::need::Need;
use crate::place::Spot;
use crate::sieve::Sieve;
use std::borrow::Cow;

impl<'a> Pass<'a> {
    /// Room for a gang on what nobody who waits before it holds, and away from what was promised.
    pub(super) fn on_open(&mut self, wanted: &Wanted<'_>) -> Option<Vec<Spot>> {
        let Wanted { id, job, reach, sieve, .. } = *wanted;
        let clear = self.clear_of_promises(job, sieve);
        let open = |cells: &[CellKey]| -> Vec<CellKey> {
            cells.iter().filter(|cell| !self.held.contains_key(cell)).copied().collect()
        };
        let (mut cells, lent) = (open(&reach.own), open(&reach.lent));
        let mut found = self.seek(wanted, &cells, &clear);
        if found.is_none() && !lent.is_empty() {
            cells.extend(lent);
            cells.sort_unstable();
            found = self.seek(wanted, &cells, &clear);
        }
        if found.is_none() {
            // Who may go to some nodes only keeps nobody from the others.
            for cell in reach.own.iter().filter(|_| sieve.is_open()) {
                self.held.entry(*cell).or_insert(id);
            }
        }
        found
    }

    /// Room for a gang in these cells; it is taken.
    fn seek(&mut self, wanted: &Wanted<'_>, cells: &[CellKey], sieve: &Sieve) -> Option<Vec<Spot>> {
        let Wanted { job, need, answer, want, .. } = *wanted;
        if job.ask.place.apart.is_none() {
            return self.space.place_by((need, answer), cells, sieve, need.min, want);
        }
        let spots = self.each_apart(need, cells, sieve.clone(), want);
        if u32::try_from(spots.len()).unwrap_or(u32::MAX) >= need.min {
            return Some(spots);
        }
        self.give_back(job, &spots);
        None
    }

    /// A job that is not looked ahead for keeps off the nodes where it could still run when somebody
    /// was promised a start.
    fn clear_of_promises<'s>(&self, job: &JobFacts, sieve: &'s Sieve) -> Cow<'s, Sieve> {
        let Some(ahead) = &self.ahead else { return Cow::Borrowed(sieve) };
        let mut clear = sieve.clone();
        let promised = ahead.promised(ahead::span(self.facts, job));
        clear.avoid.extend(promised.into_iter().filter_map(|ix| self.space.name(ix)).cloned());
        Cow::Owned(clear)
    }

    /// Of the cells that would do, those that a job's class goes to first and those it may borrow
    /// from.
    pub(crate) fn reach<'c>(&self, job: &JobFacts, cells: &'c [CellKey]) -> Reach<'c> {
        let (ask, policy) = (&job.ask, &self.facts.policy);
        let Some(partition) = home::of(policy, ask) else {
            return Reach { own: Cow::Borrowed(cells), lent: Vec::new() };
        };
        let is_own = |cell: &CellKey| self.index.space.is_in(*cell, partition);
        let (own, others) = cells.iter().copied().partition(is_own);
        let lent = if home::borrows(policy, ask) { others } else { Vec::new() };
        Reach { own: Cow::Owned(own), lent }
    }

    /// Room for a gang now, if that delays nobody who was promised a start; else promises it one.
    pub(super) fn beside(&mut self, ends: &'a Ends, wanted: &Wanted<'_>) -> Option<Vec<Spot>> {
        let Wanted { id, job, need, reach, sieve, want, .. } = *wanted;
        let span = ahead::span(self.facts, job);
        let all = (!reach.lent.is_empty()).then(|| reach.all());
        if self.ahead.is_none() {
            let mut place = |cells| self.space.place(need, cells, sieve, need.min, want);
            let found = place(&reach.own).or_else(|| place(all.as_deref()?));
            if found.is_some() {
                return found;
            }
            let (fleet, rule) = self.space.fleet();
            self.ahead = Some(Ahead::new(fleet, rule, ends, self.at));
        }
        let gang = |cells: &[CellKey]| Gang {
            demand: self.space.demand(need, cells, sieve),
            min: need.min,
            want,
        };
        let (own, all) = (gang(&reach.own), all.as_deref().map(gang));
        let ahead = self.ahead.as_mut()?;
        let found = ahead.find(&own, span).or_else(|| ahead.find(all.as_ref()?, span));
        let Some(laid) = found else {
            // What it borrows now nobody promises it for later, unless it has nothing of its own.
            let promised = all.as_ref().filter(|_| reach.own.is_empty()).unwrap_or(&own);
            ahead.reserve(id, promised, span, self.facts.policy.backfill.reserved);
            return None;
        };
        let named = |laid: &Laid| self.space.named(&laid.spot);
        let mut spots: Vec<Spot> = laid.iter().filter_map(named).collect();
        spots.sort();
        for lease in self.leases(id, job, &spots) {
            self.space.take(&lease.node, &take_of(&lease, &job.ask));
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.taken(&laid, span);
        }
        Some(spots)
    }

    /// Whether a job could start beside those that were promised a start. Nothing is taken or promised.
    pub(crate) fn fits_beside(&mut self, job: &JobFacts, need: &Need) -> bool {
        let answer = self.space.answer(need);
        let cells = self.reach(job, &answer.cells).all();
        let sieve = self.sieve(job);
        let is_enough = |tasks: usize| u32::try_from(tasks).unwrap_or(u32::MAX) >= need.min;
        if job.ask.place.apart.is_some() {
            let clear = self.clear_of_promises(job, &sieve).into_owned();
            let spots = self.each_apart(need, &cells, clear, need.min);
            self.give_back(job, &spots);
            return is_enough(spots.len());
        }
        if ahead::minds(job) && self.ahead.is_some() {
            let demand = self.space.demand(need, &cells, &sieve);
            let (gang, span) =
                (Gang { demand, min: need.min, want: need.min }, ahead::span(self.facts, job));
            return self.ahead.as_mut().is_some_and(|ahead| ahead.find(&gang, span).is_some());
        }
        let clear = self.clear_of_promises(job, &sieve);
        is_enough(self.space.find(need, &cells, &clear, need.min).len())
    }

    /// Which nodes are open to a job, given where this pass put others of its kind.
    pub(crate) fn sieve(&self, job: &JobFacts) -> Sieve {
        let mut sieve = Sieve::of(self.facts, self.index, job, self.at);
        if let Some(word) = &job.ask.place.apart {
            let key = (job.ask.tenant.clone(), word.clone());
            sieve.avoid.extend(self.apart.get(&key).into_iter().flatten().cloned());
        }
        sieve
    }

    /// Room for up to `want` tasks that share no node, one after the other; it is taken.
    pub(crate) fn each_apart(
        &mut self,
        need: &Need,
        cells: &[CellKey],
        mut sieve: Sieve,
        want: u32,
    ) -> Vec<Spot> {
        let mut spots: Vec<Spot> = Vec::new();
        for _ in 0..want {
            let Some(found) = self.space.place(need, cells, &sieve, 1, 1) else { break };
            sieve.avoid.extend(found.iter().map(|spot| spot.node.clone()));
            spots.extend(found);
        }
        spots.sort();
        spots
    }
}
