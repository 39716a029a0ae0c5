//! What should happen now.

use crate::explain::ranked;
use crate::facts::JobFacts;
use crate::index::queue::Queue;
use crate::order::turn::{self, ByTurn, Turn};
use crate::order::{self, hours};
use crate::pass::Pass;
use crate::reclaim::live::Live;
use crate::reclaim::{decide, shrink};
use crate::step::step;
use crate::{Engine, Report, grow, sieve};
use polder_model::{Decision, JobId, ReturnReason, StopReason, Timestamp};
use std::borrow::Cow;

impl Engine {
    /// What should happen now, and why the rest does not. Leaves no state behind. Apply the
    /// decisions as [`polder_model::Event::Decided`] and plan again, until there are none.
    #[must_use]
    pub fn plan(&self, at: Timestamp) -> (Vec<Decision>, Report) {
        let at = at.max(self.facts.now);
        let mut decisions: Vec<Decision> = self.steps(at).collect();
        // Who is tried again stands in line once that is applied: what it let go of is nobody's
        // before.
        if decisions.iter().any(|decision| matches!(decision, Decision::Retry { .. })) {
            return (decisions, Report { more: true, ..Report::default() });
        }
        let backfills = self.facts.policy.backfill.reserved > 0;
        let waits = backfills && !self.index.queue.is_empty();
        let runs = waits.then(|| self.index.runs.at(at));
        let ends = runs.as_deref().map(|kept| &kept.ends);
        let mut pass = Pass::new(&self.facts, &self.index, at).looking(ends);
        pass.keep_promises();
        pass.replace();
        let queue = self.queue_at(at);
        pass.walk(&queue, None);
        decisions.append(&mut pass.decisions);
        // Who could start without anybody ending does so first.
        if decisions.is_empty() && !pass.report.more {
            decisions = shrink::decide(&mut pass, &queue);
        }
        if decisions.is_empty() && !pass.report.more {
            let live = self.live_at(at, &queue);
            decisions = decide::decide(&mut pass, &queue, &live);
        }
        // What nobody who waits can use is for those who run.
        if decisions.is_empty() && !pass.report.more {
            decisions = pass.grow();
        }
        (decisions, pass.report)
    }

    /// What follows for jobs that have, or had, leases.
    fn steps(&self, at: Timestamp) -> impl Iterator<Item = Decision> + '_ {
        let policy = &self.facts.policy;
        let of = |id: JobId| self.facts.jobs.get(&id);
        let due = self.index.due.iter().filter_map(move |id| step(policy, *id, of(*id)?));
        let late = self.index.deadlines.range(..=(at, JobId(u64::MAX)));
        let returns = late.filter(|(_, id)| !self.index.due.contains(id)).map(move |(_, id)| {
            let hold = of(*id).and_then(|job| job.hold.as_ref()).filter(|hold| hold.start);
            if let Some(hold) = hold {
                // The gang goes on without who could not join it.
                let leases = hold.late(&self.facts, at);
                return Decision::Shrink {
                    job: *id,
                    leases,
                    reason: StopReason::Shrunk { job: None },
                };
            }
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

    /// Who could yield as it stands at a moment: since the last event device-time may have passed an
    /// octave, or another order may hold.
    pub(crate) fn live_at(&self, at: Timestamp, queue: &Queue) -> Cow<'_, Live> {
        let (facts, live) = (&self.facts, &self.index.live);
        let policy = &facts.policy;
        let Some(by) = ByTurn::new(policy, at) else { return Cow::Borrowed(live) };
        let switched = hours::order(policy, facts.now) != hours::order(policy, at);
        let stale = if switched { live.jobs().collect() } else { live.changed(at) };
        let as_of = |id: JobId| {
            let mut job = facts.jobs.get(&id)?.clone();
            if let Some(to) = turn::passed(facts, &job, at) {
                (job.index, job.served_before) = (self.index.alike.index(facts, &job, to), to);
            }
            Some((id, job))
        };
        let moved: Vec<(JobId, Box<JobFacts>)> = stale.into_iter().filter_map(as_of).collect();
        let latest = moved.iter().map(|(_, job)| turn::turn(policy, job, at)).max();
        // As long as nobody who waits is before any of them, nobody yields who did not before.
        let before = |latest: Turn| {
            let heads = queue.heads().take(decide::LOOKS_MAX as usize);
            let mut waiting = heads.filter_map(|(rank, _)| facts.jobs.get(&rank.job));
            waiting.any(|job| by.yields(&latest, &turn::turn(policy, job, at), true))
        };
        if !latest.is_some_and(before) {
            return Cow::Borrowed(live);
        }
        let mut live = live.clone();
        moved.iter().for_each(|(id, job)| live.link_job(facts, *id, job, at));
        Cow::Owned(live)
    }

    /// The first moment later than `after` at which `plan` could say something new although no
    /// event came.
    #[must_use]
    pub fn next_wake(&self, after: Timestamp) -> Option<Timestamp> {
        let later = Timestamp(after.0.saturating_add(1));
        let deadline = self.index.deadlines.range((later, JobId(0))..).next().map(|(at, _)| *at);
        let change = self.index.queue.next_change(after);
        let waits = !self.index.queue.is_empty();
        let switch = hours::next_switch(&self.facts.policy, after).filter(|_| waits);
        let ripe = self.index.live.next_ripe(after).filter(|_| waits);
        let turns = self.facts.policy.reclaim.order && waits;
        let turn = turns.then(|| self.next_turn(after)).flatten();
        let edge = sieve::next_edge(&self.facts, after).filter(|_| waits);
        let resize = grow::next_wake(&self.facts, &self.index, after);
        let all = deadline.into_iter().chain(change).chain(switch).chain(edge).chain(ripe);
        all.chain(turn).chain(resize).min()
    }

    /// The first moment after `after` at which the turn of work that runs is another one.
    fn next_turn(&self, after: Timestamp) -> Option<Timestamp> {
        let (facts, live) = (&self.facts, &self.index.live);
        // Those that have changed since the last event will change again.
        let again = live.changed(after).into_iter().filter_map(|id| {
            let job = facts.jobs.get(&id)?;
            let served = turn::passed(facts, job, after).unwrap_or(job.served_before);
            turn::next_change(facts, job, served, after)
        });
        again.chain(live.next_change(after)).min()
    }

    /// The jobs that wait for their turn, in order.
    pub fn queue(&self, at: Timestamp) -> impl Iterator<Item = JobId> + '_ {
        // The order may be one of its own, so it cannot be lent out entry by entry.
        let queue = self.queue_at(at);
        let order: Vec<JobId> = match order::fair_place(&self.facts.policy, at) {
            None => queue.ranks().map(|rank| rank.job).collect(),
            Some(place) => {
                let mut jobs: Vec<_> = ranked(&self.facts, &self.index, &queue, place).collect();
                jobs.sort_by(|(_, one), (_, other)| one.cmp(other));
                jobs.into_iter().map(|(job, _)| job).collect()
            }
        };
        order.into_iter()
    }
}
