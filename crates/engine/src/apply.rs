//! How each event changes what is true.
//!
//! An event is checked as a whole before anything changes; nothing after that can fail, so an
//! error leaves the state as it was.

mod decisions;
mod leases;
mod nodes;
mod resize;

use crate::facts::{Hold, JobFacts, NodeState, TenantFacts};
use crate::index::Index;
use crate::order::decay::Faded;
use crate::order::{hours, turn};
use crate::policies::Shadow;
use crate::{ApplyError, ENGINE_VERSION, Engine, admit, decided};
use polder_model::{Ask, Event, JobId, LeaseId, NodeId, Policy, StopReason, Tenant, Timestamp};

impl Engine {
    /// Takes one event in.
    ///
    /// # Errors
    /// The event cannot be true after those before it; the state is left as it was.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), ApplyError> {
        let now = self.facts.now;
        if at < now {
            return Err(ApplyError::BackInTime { at, now });
        }
        match event {
            Event::PoolOpened { engine, .. } | Event::Fenced { engine, .. }
                if *engine > ENGINE_VERSION =>
            {
                return Err(ApplyError::NewerEngine { version: *engine, this: ENGINE_VERSION });
            }
            Event::PoolOpened { .. } if self.facts.pool.is_some() => {
                return Err(ApplyError::OpenedTwice);
            }
            Event::Decided { decision } => {
                let job = decided::subject(decision);
                decided::possible(&self.facts, &self.index, at, decision)
                    .map_err(|why| ApplyError::Decision { job, why })?;
            }
            _ => admit::possible(&self.facts, &self.index, event)?,
        }
        let observed = self.facts.history.service().observed();
        self.index.queue.pass_time(&self.facts, now, at);
        self.facts.now = at;
        self.pass_time(now, at);
        self.commit(at, event);
        if self.facts.history.service().observed() > observed {
            let moved = self.index.alike.moved(&self.facts, observed);
            self.set_indexes(moved);
        }
        Ok(())
    }

    /// Brings up to `at` where work that runs stands: priorities that ended, device-time that
    /// passed an octave, another order that holds.
    fn pass_time(&mut self, before: Timestamp, at: Timestamp) {
        let policy = &self.facts.policy;
        if policy.reclaim.order && hours::order(policy, before) != hours::order(policy, at) {
            for id in self.index.live.jobs().collect::<Vec<_>>() {
                self.relink_live(id);
            }
        }
        for id in self.index.live.changed(at) {
            self.look_at_service(id, at);
            self.relink_live(id);
        }
    }

    /// Takes in the device-time of work that runs, if it has passed an octave.
    fn look_at_service(&mut self, id: JobId, at: Timestamp) {
        let Some(job) = self.facts.jobs.get(&id) else { return };
        let Some(to) = turn::passed(&self.facts, job, at) else { return };
        let index = self.index.alike.index(&self.facts, job, to);
        self.facts.history.served(job, job.served_before, to);
        self.change_job(id, |job| (job.served_before, job.index) = (to, index));
    }

    fn set_indexes(&mut self, moved: Vec<(Vec<JobId>, u64)>) {
        for (jobs, index) in moved {
            jobs.into_iter().for_each(|id| self.change_job(id, |job| job.index = index));
        }
    }

    fn commit(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::PoolOpened { pool, .. } => self.facts.pool = Some(pool.clone()),
            Event::Fenced { .. } => self.fenced(at),
            Event::ClockStepped { .. } => {}
            Event::TenantSet { tenant } => self.tenant_set(at, tenant),
            Event::TenantRemoved { tenant } => {
                self.facts.tenants.remove(tenant);
                self.index.live.unlink_tenant(tenant);
            }
            Event::PolicySet { policy } => {
                let before = self.facts.policy.clone();
                self.facts.policies.replaced(before);
                self.policy_set(at, policy);
            }
            Event::PolicyRolledBack => {
                if let Some(policy) = self.facts.policies.take_back() {
                    self.policy_set(at, &policy);
                }
            }
            Event::PolicyShadowed { policy } => {
                let shadow = |policy: &Policy| Shadow { policy: policy.clone(), since: at };
                self.facts.policies.shadow = policy.as_deref().map(shadow);
            }
            Event::ReservationSet { reservation } => {
                let name = reservation.name.clone();
                self.facts.reservations.insert(name, reservation.clone());
                // Where jobs stand in line is derived from whether anything is reserved.
                self.index = Index::build(&self.facts);
            }
            Event::ReservationRemoved { name } => {
                self.facts.reservations.remove(name);
                self.index = Index::build(&self.facts);
            }
            Event::UserSet { user } => {
                self.facts.users.insert(user.name.clone(), user.clone());
            }
            Event::UserRemoved { user } => drop(self.facts.users.remove(user)),
            Event::JobSubmitted { job, ask, .. } => {
                let mut facts = JobFacts {
                    ask: self.shared(ask),
                    submitted_at: at,
                    attempt: 1,
                    returns: 0,
                    cancelled_by: None,
                    preempted: 0,
                    evicted: None,
                    served: 0,
                    outlook: self.facts.history.expect(ask),
                    index: 0,
                    served_before: 0,
                    claim: None,
                    resizes: Vec::new(),
                    hold: None,
                };
                facts.index = self.index.alike.index(&self.facts, &facts, 0);
                if self.facts.history.came(at, ask) {
                    self.index.judge(&self.facts);
                }
                self.facts.next_job = JobId(job.0 + 1);
                self.index.count_job(&facts);
                self.index.link_job(&self.facts, *job, &facts);
                self.facts.jobs.insert(*job, Box::new(facts));
            }
            Event::JobCancelled { job, by } => {
                self.change_job(*job, |job| {
                    job.cancelled_by = Some(by.clone());
                    job.claim = None;
                });
                self.bump_job(*job);
            }
            Event::JobScaled { job, min, max, .. } => self.scaled(*job, *min, *max),
            Event::JobResized { job, to, by, until_shrunk } => {
                self.resized(*job, (to, by), *until_shrunk);
            }
            Event::NodeReported { node, incarnation, inventory } => {
                self.node_reported(node, *incarnation, inventory);
            }
            Event::NodeSilent { node } => self.node_silent(node),
            Event::NodeBack { node } => self.change_node(node, |state| state.silent = false),
            Event::LeasePrepared { lease, isolation, master_port, not_enforced } => {
                self.lease_prepared(*lease, *isolation, *master_port, not_enforced);
            }
            Event::LeaseStarted { lease } => self.lease_started(at, *lease),
            Event::LeaseShrunk { lease } => self.lease_shrunk(*lease),
            Event::LeaseFound { lease, finding } => self.lease_found(*lease, finding),
            Event::LeaseEnded { lease, end } => self.lease_ended(at, *lease, end),
            Event::Decided { decision } => self.decided(decision),
        }
    }

    /// An ask with the names that are known already: a million asks of one tenant name it once.
    fn shared(&self, ask: &Ask) -> Ask {
        let mut ask = ask.clone();
        if let Some((tenant, _)) = self.facts.tenants.get_key_value(&ask.tenant) {
            ask.tenant = tenant.clone();
        }
        if let Some((user, _)) = self.facts.users.get_key_value(&ask.user) {
            ask.user = user.clone();
        }
        ask
    }

    fn fenced(&mut self, at: Timestamp) {
        let starting: Vec<JobId> = self.index.deadlines.iter().map(|(_, id)| *id).collect();
        for id in &starting {
            if let Some(job) = self.facts.jobs.get(id) {
                self.index.unlink_job(&self.facts, *id, job);
            }
        }
        self.facts.since = at;
        for id in &starting {
            if let Some(job) = self.facts.jobs.get(id) {
                self.index.link_job(&self.facts, *id, job);
            }
        }
    }

    /// Everything derived may depend on the settings, so it is derived anew.
    fn policy_set(&mut self, at: Timestamp, policy: &Policy) {
        let half_life = self.facts.policy.fair_share.half_life;
        for (path, tenant) in &mut self.facts.tenants {
            let rate = self.index.weighted.get(path).copied().unwrap_or(0);
            let used = half_life.map_or(tenant.used, |half| tenant.used.at(at, rate, half));
            tenant.used = used.from(at);
        }
        self.facts.policy = policy.clone();
        self.index = Index::build(&self.facts);
        let indexes = self.index.alike.all(&self.facts);
        self.set_indexes(indexes);
    }

    fn tenant_set(&mut self, at: Timestamp, tenant: &Tenant) {
        let limited = self.facts.limits_users_itself(&tenant.path);
        let before = self.facts.tenants.get(&tenant.path);
        let facts = TenantFacts {
            tenant: tenant.clone(),
            since: self.facts.next_lease,
            used: before.map_or(Faded::default().from(at), |before| before.used),
        };
        self.facts.tenants.insert(tenant.path.clone(), facts);
        self.index.live.link_tenant(&self.facts, tenant);
        // What was promised was within other quotas.
        let inside = |id: &JobId| {
            let job = self.facts.jobs.get(id);
            job.is_some_and(|job| job.ask.tenant.lineage().any(|above| above == tenant.path))
        };
        let promised: Vec<JobId> =
            self.index.promises.jobs().iter().copied().filter(inside).collect();
        for id in promised {
            self.change_job(id, |job| job.claim = None);
        }
        if limited != self.facts.limits_users_itself(&tenant.path) {
            // Whether users stand in line each for themselves is derived from it.
            self.index = Index::build(&self.facts);
        }
    }

    /// A service has other fewest and most replicas from now on; those beyond the most go.
    fn scaled(&mut self, id: JobId, min: u32, max: u32) {
        let now = self.facts.now;
        let goes = |hold: &Hold| {
            let beyond = hold.members().saturating_sub(max);
            let last = hold.by_rank_from_last().map(|(_, lease)| lease);
            last.take(usize::try_from(beyond).unwrap_or(usize::MAX)).collect()
        };
        let mut gone: Vec<LeaseId> = Vec::new();
        self.change_job(id, |job| {
            (job.ask.gang.min, job.ask.gang.max) = (min, max);
            // What was kept for it may be more than it now takes.
            job.claim = None;
            if let Some(hold) = job.hold.as_mut().filter(|hold| hold.goes_on()) {
                gone = goes(hold);
                let why = StopReason::Shrunk { job: None };
                gone.iter().for_each(|lease| hold.leave(*lease, why.clone(), now));
            }
        });
        self.bump_leases(&gone);
    }

    /// What the nodes of these leases should hold has changed.
    fn bump_leases(&mut self, leases: &[LeaseId]) {
        for lease in leases {
            if let Some(node) = self.facts.leases.get(lease).map(|lease| lease.lease.node.clone()) {
                self.bump(&node);
            }
        }
    }

    /// Takes in anew how a job could yield.
    fn relink_live(&mut self, id: JobId) {
        if let Some(job) = self.facts.jobs.get(&id) {
            self.index.live.link_job(&self.facts, id, job, self.facts.now);
        }
    }

    /// Changes a job, and what is derived from it.
    fn change_job(&mut self, id: JobId, change: impl FnOnce(&mut JobFacts)) {
        let Some(job) = self.facts.jobs.get(&id) else { return };
        self.index.unlink_job(&self.facts, id, job);
        if let Some(job) = self.facts.jobs.get_mut(&id) {
            change(job);
        }
        if let Some(job) = self.facts.jobs.get(&id) {
            self.index.link_job(&self.facts, id, job);
        }
    }

    fn change_hold(&mut self, id: JobId, change: impl FnOnce(&mut Hold)) {
        self.change_job(id, |job| {
            if let Some(hold) = &mut job.hold {
                change(hold);
            }
        });
    }

    /// Changes a node, and what is derived from it.
    fn change_node(&mut self, id: &NodeId, change: impl FnOnce(&mut NodeState)) {
        let Some(node) = self.facts.nodes.get_mut(id) else { return };
        self.index.unlink_node(id, node);
        change(node);
        if let Some(node) = self.facts.nodes.get(id) {
            self.index.link_node(&self.facts, id, node);
        }
    }

    fn bump(&mut self, node: &NodeId) {
        if let Some(state) = self.facts.nodes.get_mut(node) {
            state.desired_version += 1;
        }
    }

    /// What the nodes of a job's leases should hold has changed.
    fn bump_job(&mut self, id: JobId) {
        let Self { facts, .. } = self;
        let hold = facts.jobs.get(&id).and_then(|job| job.hold.as_ref());
        let leases = hold.map_or(&[][..], |hold| &hold.leases).iter();
        let live = leases.filter_map(|lease| facts.leases.get(lease));
        let mut nodes: Vec<&NodeId> = live.map(|lease| &lease.lease.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            if let Some(state) = facts.nodes.get_mut(node) {
                state.desired_version += 1;
            }
        }
    }

    /// A job that waits again stands where its device-time so far puts it.
    fn requeued(&mut self, id: JobId) {
        let Some(job) = self.facts.jobs.get(&id).filter(|job| job.is_queued()) else { return };
        let (from, to) = (job.served_before, job.served);
        if from == to {
            return;
        }
        let index = self.index.alike.index(&self.facts, job, to);
        self.facts.history.served(job, from, to);
        self.change_job(id, |job| {
            job.index = index;
            job.served_before = to;
        });
    }
}
