//! Whose jobs yield in a replay, and what that costs them.

use crate::failure::Failure;
use clap::Args;
use polder_model::{Market, Micros, Policy, TenantPath};
use polder_sim::workload::WorkJob;

/// Longest checkpoint interval and restart, as for any ask: a year.
const LENGTH_MAX: Micros = Micros::from_secs(366 * 86_400);

/// Whose jobs yield in a replay, and what that costs them.
#[derive(Debug, Args)]
pub(crate) struct Yielding {
    /// Jobs of this tenant, and of those below it, may be ended to make room and queued again; give
    /// it again for another.
    #[arg(long, value_name = "TENANT")]
    yielding: Vec<TenantPath>,
    /// How often jobs that yield save their work; without it what was done is lost.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    checkpoint: Option<Micros>,
    /// What starting again costs a job that yields, beside the work lost.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    restart: Option<Micros>,
}

fn yields(job: &WorkJob) -> bool {
    job.ask.yields.preemptible || job.ask.when.market == Market::Spot
}

impl Yielding {
    /// Lets them yield.
    pub(super) fn apply(&self, jobs: &mut [WorkJob]) -> Result<(), Failure> {
        let lengths = [("--checkpoint", self.checkpoint, 1), ("--restart", self.restart, 0)];
        for (flag, length, min) in lengths {
            if let Some(length) = length
                && !(min..=LENGTH_MAX.0).contains(&length.0)
            {
                let least = if min > 0 { "more than 0s" } else { "0s" };
                let message = format!("{flag} is {length}: give {least}, and a year at most");
                return Err(Failure::usage(message));
            }
        }
        for tenant in &self.yielding {
            let mut of =
                jobs.iter_mut().filter(|job| job.ask.tenant.lineage().any(|t| t == *tenant));
            let mut any = false;
            of.by_ref().for_each(|job| (job.ask.yields.preemptible, any) = (true, true));
            drop(of);
            if !any {
                return Err(nobody(tenant, jobs));
            }
        }
        for job in jobs.iter_mut().filter(|job| yields(job)) {
            let how = &mut job.ask.yields;
            how.checkpoint_interval = self.checkpoint.or(how.checkpoint_interval);
            how.restart_cost = self.restart.unwrap_or(how.restart_cost);
        }
        Ok(())
    }
}

/// Most tenants that an error lists.
const LISTED_MAX: usize = 12;

fn nobody(tenant: &TenantPath, jobs: &[WorkJob]) -> Failure {
    let tenants: std::collections::BTreeSet<&str> =
        jobs.iter().map(|job| job.ask.tenant.as_str()).collect();
    let listed: Vec<&str> = tenants.into_iter().take(LISTED_MAX).collect();
    let message = format!("--yielding: no job is of {tenant}");
    Failure::usage(message).help(format!("there are jobs of {}", listed.join(", ")))
}

/// Rules of a policy about who yields that can change nothing here, and why.
pub(super) fn without_effect(policy: &Policy, jobs: &[WorkJob]) -> Vec<String> {
    let rules = &policy.reclaim;
    let on = [
        ("reclaim.priority", rules.priority),
        ("reclaim.quota", rules.quota),
        ("reclaim.spot", rules.spot),
        ("reclaim.order", rules.order),
        ("reclaim.class", rules.class),
    ];
    let on: Vec<&str> = on.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
    if on.is_empty() {
        return Vec::new();
    }
    if !jobs.iter().any(yields) {
        let names = on.join(", ");
        return vec![format!(
            "no job yields, so {names} can do nothing: --yielding TENANT lets some"
        )];
    }
    let mut notes = Vec::new();
    let mut priorities = jobs.iter().map(|job| job.ask.when.priority);
    let first = priorities.next();
    if rules.priority && priorities.all(|priority| Some(priority) == first) {
        notes.push("all jobs have the same priority: reclaim.priority can do nothing".to_owned());
    }
    if rules.spot && !jobs.iter().any(|job| job.ask.when.market == Market::Spot) {
        notes.push("no job is spot: reclaim.spot can do nothing".to_owned());
    }
    notes
}
