//! Brute force beside the engine: small pools in which every arrangement can be tried, and what the
//! engine decides held against what trying finds.
//!
//! Each oracle is one function that draws a case, lets the real engine decide it through its events
//! and plans, and says what was wrong with the decision. They share no code with the engine: they
//! know leases and inventories, and search.

pub mod mig;
pub mod place;
pub mod share;
pub mod yields;

use crate::random::Random;
use polder_engine::{Engine, Policy};
use polder_model::{
    Ask, Decision, Event, Inventory, Isolation, JobId, Lease, LeaseEnd, LeaseSample, LeaseState,
    Micros, NodeId, Outcome, Tenant, Timestamp,
};

/// An oracle: its name, what it holds the engine to, and one case of it.
#[derive(Clone, Copy)]
pub struct Oracle {
    /// Its name.
    pub name: &'static str,
    /// One case: draws it, decides it, judges it.
    ///
    /// # Errors
    /// What the engine decided and what it should have.
    pub case: fn(&mut Random) -> Result<(), String>,
}

/// Every oracle.
pub const ORACLES: &[Oracle] = &[
    Oracle { name: "fit: a task is placed exactly when a device has room", case: place::fit },
    Oracle { name: "gang: placed exactly when an arrangement exists", case: place::gang },
    Oracle {
        name: "preemption: found when a set exists, and none of it in vain",
        case: yields::minimal,
    },
    Oracle { name: "MIG: refused only when no layout holds it", case: mig::refusal },
    Oracle { name: "fair share: what is deserved, then by weight", case: share::guarantee },
    Oracle { name: "DRF: progressive filling, grant by grant", case: share::dominant },
];

/// A pool to decide a case in.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    at: Timestamp,
}

type Done<T = ()> = Result<T, String>;

impl Bench {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { engine: Engine::new(policy), at: Timestamp(1_000_000) }
    }

    pub(crate) fn apply(&mut self, event: Event) -> Done {
        self.at = self.at.after(Micros(1));
        self.engine.apply(self.at, &event).map_err(|error| format!("{event:?}: {error}"))
    }

    pub(crate) fn tenant(&mut self, tenant: Tenant) -> Done {
        self.apply(Event::TenantSet { tenant })
    }

    pub(crate) fn node(&mut self, node: NodeId, inventory: Inventory) -> Done {
        self.apply(Event::NodeReported { node, incarnation: 1, inventory })
    }

    /// The job, unless it could never be served.
    pub(crate) fn submit(&mut self, ask: Ask) -> Done<Option<JobId>> {
        let job = self.engine.next_job_id();
        let event = Event::JobSubmitted { job, ask, key: None };
        if self.engine.admit(self.at, &event).is_err() {
            return Ok(None);
        }
        self.apply(event)?;
        Ok(Some(job))
    }

    /// Plans once, applies what was decided and gives it.
    pub(crate) fn pass(&mut self) -> Done<Vec<Decision>> {
        let (decisions, _) = self.engine.plan(self.at);
        for decision in &decisions {
            self.apply(Event::Decided { decision: decision.clone() })?;
        }
        Ok(decisions)
    }

    /// Plans and applies until there is nothing to decide; everything that was.
    pub(crate) fn settle(&mut self) -> Done<Vec<Decision>> {
        let mut all = Vec::new();
        loop {
            let decisions = self.pass()?;
            if decisions.is_empty() {
                return Ok(all);
            }
            all.extend(decisions);
        }
    }

    /// Everything that was granted runs.
    pub(crate) fn run(&mut self) -> Done {
        self.settle()?;
        for lease in self.leases(LeaseState::Granted) {
            let isolation = Isolation::None;
            let not_enforced = Vec::new();
            let (lease, master_port) = (lease.id, Some(4000));
            self.apply(Event::LeasePrepared { lease, isolation, master_port, not_enforced })?;
        }
        self.settle()?;
        for lease in self.leases(LeaseState::Prepared) {
            self.apply(Event::LeaseStarted { lease: lease.id })?;
        }
        Ok(())
    }

    fn leases(&self, state: LeaseState) -> Vec<Lease> {
        self.engine.leases().filter(|lease| lease.state == state).cloned().collect()
    }

    pub(crate) fn leases_of(&self, job: JobId) -> Vec<Lease> {
        self.engine.leases().filter(|lease| lease.job == job).cloned().collect()
    }

    /// Ends all leases of a job, and the job with them.
    pub(crate) fn end(&mut self, job: JobId) -> Done {
        for lease in self.leases_of(job) {
            let outcome = Outcome::Failed { code: 1 };
            let end = LeaseEnd { outcome, ran: Micros(1), sample: LeaseSample::default() };
            self.apply(Event::LeaseEnded { lease: lease.id, end })?;
        }
        self.settle().map(drop)
    }

    pub(crate) fn cancel(&mut self, job: JobId) -> Done {
        let by = "ada".parse().map_err(|error| format!("{error}"))?;
        self.apply(Event::JobCancelled { job, by })?;
        self.settle().map(drop)
    }

    /// Nothing may be broken at the end of a case either.
    pub(crate) fn check(&self) -> Done {
        match self.engine.check().first() {
            None => Ok(()),
            Some(violation) => Err(violation.what.clone()),
        }
    }
}

/// A number from the first up to and including the second.
fn between(random: &mut Random, from: u32, to: u32) -> u32 {
    from + u32::try_from(random.below(u64::from(to - from) + 1)).unwrap_or(0)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
