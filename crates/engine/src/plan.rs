//! What should happen now.

use crate::explain::ranked;
use crate::index::queue::Queue;
use crate::order::{self, hours};
use crate::pass::Pass;
use crate::step::step;
use crate::{Engine, Report, ahead, reclaim, sieve};
use polder_model::{Decision, JobId, ReturnReason, Timestamp};
use std::borrow::Cow;

impl Engine {
    /// What should happen now, and why the rest does not. Leaves no state behind. Apply the
    /// decisions as [`polder_model::Event::Decided`] and plan again, until there are none.
    #[must_use]
    pub fn plan(&self, at: Timestamp) -> (Vec<Decision>, Report) {
        let at = at.max(self.facts.now);
        let mut decisions: Vec<Decision> = self.steps(at).collect();
        let backfills = self.facts.policy.backfill.reserved > 0;
        let waits = backfills && !self.index.queue.order().is_empty();
        let ends = waits.then(|| ahead::ends(&self.facts, &self.index, at));
        let mut pass = Pass::new(&self.facts, &self.index, at).looking(ends.as_ref());
        pass.keep_promises();
        let queue = self.queue_at(at);
        pass.walk(&queue, None);
        decisions.append(&mut pass.decisions);
        // Who could start without anybody ending does so first.
        if decisions.is_empty() && !pass.report.more {
            decisions = reclaim::decide::decide(&mut pass, &queue);
        }
        (decisions, pass.report)
    }

    /// What follows for jobs that have, or had, leases.
    fn steps(&self, at: Timestamp) -> impl Iterator<Item = Decision> + '_ {
        let policy = &self.facts.policy;
        let of = |id: JobId| self.facts.jobs.get(&id);
        let due = self.index.due.iter().filter_map(move |id| step(policy, *id, of(*id)?));
        let late = self.index.deadlines.range(..=(at, JobId(u64::MAX)));
        let returns = late.filter(|(_, id)| !self.index.due.contains(id)).map(|(_, id)| {
            let reason = ReturnReason::PrepareTimeout { limit: policy.prepare_limit };
            Decision::Return { job: *id, reason }
        });
        due.chain(returns)
    }

    /// The queue as it stands at a moment: priorities may have ended since the last event.
    pub(crate) fn queue_at(&self, at: Timestamp) -> Cow<'_, Queue> {
        let queue = &self.index.queue;
        if !queue.is_stale(&self.facts.policy, self.facts.now, at) {
            return Cow::Borrowed(queue);
        }
        let mut moved = queue.clone();
        moved.pass_time(&self.facts, self.facts.now, at);
        Cow::Owned(moved)
    }

    /// The first moment later than `after` at which `plan` could say something new although no
    /// event came.
    #[must_use]
    pub fn next_wake(&self, after: Timestamp) -> Option<Timestamp> {
        let later = Timestamp(after.0.saturating_add(1));
        let deadline = self.index.deadlines.range((later, JobId(0))..).next().map(|(at, _)| *at);
        let change = self.index.queue.next_change(after);
        let waits = !self.index.queue.order().is_empty();
        let switch = hours::next_switch(&self.facts.policy, after).filter(|_| waits);
        let ripe = self.index.live.next_ripe(after).filter(|_| waits);
        let edge = sieve::next_edge(&self.facts, after).filter(|_| waits);
        deadline.into_iter().chain(change).chain(switch).chain(edge).chain(ripe).min()
    }

    /// The jobs that wait for their turn, in order.
    pub fn queue(&self, at: Timestamp) -> impl Iterator<Item = JobId> + '_ {
        // The order may be one of its own, so it cannot be lent out entry by entry.
        let queue = self.queue_at(at);
        let order: Vec<JobId> = match order::fair_place(&self.facts.policy, at) {
            None => queue.order().iter().map(|rank| rank.job).collect(),
            Some(place) => {
                let mut jobs: Vec<_> = ranked(&self.facts, &self.index, &queue, place).collect();
                jobs.sort_by(|(_, one), (_, other)| one.cmp(other));
                jobs.into_iter().map(|(job, _)| job).collect()
            }
        };
        order.into_iter()
    }
}
