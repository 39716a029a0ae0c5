//! What follows for one job from what is known, whatever the time.

use crate::Policy;
use crate::facts::{Hold, JobFacts};
use polder_model::{Decision, GangKind, JobId, Outcome, ReturnReason, StopReason};

/// The next step of a job, if one is due.
pub(crate) fn step(policy: &Policy, id: JobId, job: &JobFacts) -> Option<Decision> {
    let Some(hold) = &job.hold else {
        let cancelled = job.cancelled_by.is_some();
        return cancelled.then_some(Decision::Finish { job: id, outcome: Outcome::Cancelled });
    };
    if hold.live == 0 {
        // Of a service that goes on, whoever is missing is replaced.
        let is_service = job.ask.gang.kind == GangKind::Service;
        if is_service && hold.goes_on() && job.cancelled_by.is_none() {
            return None;
        }
        return Some(conclude(policy, id, job, hold));
    }
    if hold.is_stopping() || job.cancelled_by.is_some() {
        return None;
    }
    if let Some((lease, _)) = hold.failed {
        return Some(Decision::Stop { job: id, reason: StopReason::GangMemberEnded { lease } });
    }
    match &hold.away {
        Some(away) if hold.start => {
            let reason = StopReason::DeviceLost { why: away.why.clone() };
            Some(Decision::Stop { job: id, reason })
        }
        Some(away) => {
            let reason = ReturnReason::NodeSilent { node: away.node.clone() };
            Some(Decision::Return { job: id, reason })
        }
        None if !hold.start && hold.is_prepared() => Some(Decision::Start { job: id }),
        None => None,
    }
}

/// What becomes of a job all of whose leases have ended.
fn conclude(policy: &Policy, id: JobId, job: &JobFacts, hold: &Hold) -> Decision {
    let outcome = outcome(policy, job, hold);
    let tries_left = job.attempt <= job.ask.yields.retries;
    if outcome.may_retry() && tries_left && job.cancelled_by.is_none() {
        return Decision::Retry { job: id, attempt: job.attempt + 1 };
    }
    Decision::Finish { job: id, outcome }
}

/// How a try whose leases have all ended went.
fn outcome(policy: &Policy, job: &JobFacts, hold: &Hold) -> Outcome {
    if hold.all_succeeded {
        return Outcome::Succeeded;
    }
    if job.cancelled_by.is_some() {
        return Outcome::Cancelled;
    }
    if let Some((_, outcome)) = &hold.failed {
        return outcome.clone();
    }
    if hold.returned.is_some() {
        let limit = policy.prepare_limit;
        let why = format!(
            "its nodes went away or were not ready within {limit}, {} times: see their agents' logs",
            job.returns.saturating_add(1)
        );
        return Outcome::NotStarted { why };
    }
    match (&hold.away, &hold.stop) {
        (Some(away), _) => Outcome::Lost { why: away.why.clone() },
        (None, Some(StopReason::DeviceLost { why })) => Outcome::Lost { why: why.clone() },
        // Only when it was cancelled while it yielded: else it is queued again at once.
        (None, Some(StopReason::Preempted { .. })) => Outcome::Cancelled,
        (None, Some(StopReason::Cancelled { .. })) => Outcome::Cancelled,
        (None, _) => Outcome::Lost { why: "it was ended for no known reason".to_owned() },
    }
}
