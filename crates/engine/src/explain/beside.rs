//! Whether a job for which there is room is kept from it by starts that were promised to others, and by
//! whose. Says nothing where the policy promises none.

use super::EXPLAIN_RESERVATIONS_MAX;
use crate::need::Need;
use crate::order::Rank;
use crate::pass::Pass;
use crate::{Engine, ahead};
use polder_model::{Believe, Fit, Help, Micros, Reason, Timestamp};
use std::collections::BTreeSet;

impl Engine {
    /// What keeps a job from room that there is now, were it the first, and what would help: what the next
    /// pass promises before it comes to this job. `None` where nothing is promised that keeps it.
    pub(super) fn beside(
        &self,
        at: Timestamp,
        (rank, need): (Rank, &Need),
        fit: &Fit,
    ) -> Option<(Reason, Option<Help>)> {
        let facts = &self.facts;
        let job = facts.jobs.get(&rank.job).filter(|job| job.is_queued())?;
        if facts.policy.backfill.reserved == 0 {
            return None;
        }
        let runs = self.index.runs.at(at);
        let mut pass = Pass::new(facts, &self.index, at).looking(Some(&runs.ends));
        pass.keep_promises();
        pass.replace();
        pass.walk(&self.queue_at(at), Some((rank, &job.ask.tenant)));
        if pass.promises().is_empty() {
            return None;
        }
        if pass.fits_beside(job, need) {
            return Some((Reason::Next, None));
        }
        let there = |ix: &_| pass.space.name(*ix) == Some(&fit.node);
        let promises = pass.promises().iter();
        let first = promises.filter(|one| one.nodes.iter().any(there)).min_by_key(|one| one.at)?;
        let (job_promised, starts_in) = (first.job, first.at.since(at));
        let reason = Reason::Delays { job: job_promised, starts_in, fit: fit.clone() };
        if facts.policy.backfill.believe != Believe::Limit || !ahead::minds(job) {
            return Some((reason, None));
        }
        let begins: BTreeSet<Timestamp> = pass.promises().iter().map(|one| one.at).collect();
        let limits = begins.into_iter().rev().take(EXPLAIN_RESERVATIONS_MAX);
        let limits =
            limits.filter_map(|begin| begin.since(at).0.checked_sub(job.ask.yields.grace.0));
        let starts = |limit: &Micros| {
            let mut shorter = job.clone();
            shorter.ask.when.time_limit = Some(*limit);
            pass.fits_beside(&shorter, need)
        };
        let below = limits.filter(|limit| *limit > 0).map(Micros).find(starts);
        Some((reason, below.map(|below| Help::ShorterLimit { below })))
    }
}
