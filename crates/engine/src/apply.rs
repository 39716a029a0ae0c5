//! How each event changes what is true.
//!
//! An event is checked as a whole before anything changes; nothing after that can fail, so an
//! error leaves the state as it was.

use crate::facts::{Away, Claim, Hold, JobFacts, LeaseFacts, NodeState, TenantFacts};
use crate::history::Shown;
use crate::index::Index;
use crate::members::Joining;
use crate::order::decay::Faded;
use crate::order::{hours, turn};
use crate::policies::Shadow;
use crate::shape::Class;
use crate::{ApplyError, ENGINE_VERSION, Engine, admit, decided};
use polder_model::{
    Ask, Decision, Device, Event, GangKind, Ground, Inventory, Isolation, JobId, Lease, LeaseEnd,
    LeaseId, LeaseState, Micros, Move, NodeFacts, NodeId, NotEnforced, Outcome, Policy, Shrink, Slice, Spot,
    StopReason, Tenant, TenantPath, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Whether a machine has less of anything beside its devices than it had.
fn is_less(now: &NodeFacts, before: &NodeFacts) -> bool {
    now.cpu < before.cpu || now.memory < before.memory || now.nic < before.nic
}

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
                    served: 0,
                    outlook: self.facts.history.expect(ask),
                    index: 0,
                    served_before: 0,
                    claim: None,
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
            Event::NodeReported { node, incarnation, inventory } => {
                self.node_reported(node, *incarnation, inventory);
            }
            Event::NodeSilent { node } => self.node_silent(node),
            Event::NodeBack { node } => self.change_node(node, |state| state.silent = false),
            Event::LeasePrepared { lease, isolation, master_port, not_enforced } => {
                self.lease_prepared(*lease, *isolation, *master_port, not_enforced);
            }
            Event::LeaseStarted { lease } => self.lease_started(at, *lease),
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

    /// Room on a node that is no longer there is promised to nobody.
    fn break_promises(&mut self, id: &NodeId) {
        for job in self.index.promises.on(id) {
            let node = self.index.space.node(id);
            let has = |spot: &Spot| {
                spot.devices
                    .iter()
                    .all(|device| node.as_ref().is_some_and(|node| node.room(device).is_some()))
            };
            let claim = self.facts.jobs.get(&job).and_then(|job| job.claim.as_ref());
            let spots = claim.map_or(&[][..], |claim| &claim.spots);
            if node.is_none() || !spots.iter().filter(|spot| spot.node == *id).all(has) {
                self.change_job(job, |job| job.claim = None);
            }
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

    fn node_reported(&mut self, id: &NodeId, incarnation: u64, inventory: &Inventory) {
        if self.facts.nodes.contains_key(id) {
            let serves = self.leases_of_node(id).next().is_some();
            self.change_node(id, |state| {
                let less = is_less(&inventory.node, &state.inventory.node);
                state.shrank = serves && (state.shrank || less);
                state.incarnation = incarnation;
                state.inventory = inventory.clone();
                state.silent = false;
            });
        } else {
            let state = NodeState {
                incarnation,
                inventory: inventory.clone(),
                silent: false,
                desired_version: 1,
                shrank: false,
                slot: u32::try_from(self.facts.nodes.len()).unwrap_or(u32::MAX),
            };
            self.index.link_node(&self.facts, id, &state);
            self.facts.nodes.insert(id.clone(), state);
        }
        self.break_promises(id);
        if self.facts.policy.reclaim.class {
            // Whose partition a node is in says who is a guest there.
            let leases = self.index.leases_of.get(id).into_iter().flatten();
            let jobs = leases.filter_map(|lease| Some(self.facts.leases.get(lease)?.lease.job));
            let mut jobs: Vec<JobId> = jobs.chain(self.index.promises.on(id)).collect();
            jobs.dedup();
            jobs.into_iter().for_each(|job| self.relink_live(job));
        }
        for ((job, lease), why) in self.lost_on(id, inventory) {
            self.lost_device(id, job, lease, why);
        }
    }

    /// A device under a lease went away. A replica, or who has not joined yet, goes alone.
    fn lost_device(&mut self, node: &NodeId, job: JobId, lease: LeaseId, why: String) {
        let now = self.facts.now;
        let kind = self.facts.jobs.get(&job).map(|job| job.ask.gang.kind);
        let mut goes_alone = false;
        self.change_hold(job, |hold| {
            if hold.leaving.contains_key(&lease) {
                return;
            }
            goes_alone = kind == Some(GangKind::Service) || hold.joining.contains_key(&lease);
            if goes_alone {
                hold.leave(lease, StopReason::DeviceLost { why }, now);
            } else {
                hold.away.get_or_insert(Away { node: node.clone(), why });
            }
        });
        if goes_alone {
            self.bump(node);
        }
    }

    /// Leases whose slices a node no longer has, by job, and why.
    fn lost_on(&self, id: &NodeId, inventory: &Inventory) -> BTreeMap<(JobId, LeaseId), String> {
        let devices: BTreeMap<_, _> =
            inventory.devices.iter().map(|device| (&device.id, device)).collect();
        let leases = || self.leases_of_node(id);
        let mut held: BTreeMap<_, u64> = BTreeMap::new();
        for slice in leases().flat_map(|lease| &lease.slices) {
            let sum = held.entry(&slice.device).or_default();
            *sum = sum.saturating_add(slice.memory.0);
        }
        let mut lost = BTreeMap::new();
        for lease in leases() {
            for slice in &lease.slices {
                let why = match devices.get(&slice.device) {
                    None => "is gone",
                    Some(now) if held.get(&slice.device) > Some(&now.memory.0) => "lost memory",
                    Some(now) if !can_have(now, slice) => "is no longer cut so",
                    Some(_) => continue,
                };
                let why = || format!("device {} of node {id} {why}", slice.device);
                lost.entry((lease.job, lease.id)).or_insert_with(why);
            }
        }
        lost
    }

    fn node_silent(&mut self, id: &NodeId) {
        self.change_node(id, |state| state.silent = true);
        self.break_promises(id);
        let jobs: BTreeSet<JobId> = self.leases_of_node(id).map(|lease| lease.job).collect();
        for job in jobs {
            let away = Away { node: id.clone(), why: format!("node {id} does not answer") };
            self.change_hold(job, |hold| {
                // A gang that was told to start may run there: only its node can say.
                if !hold.start {
                    hold.away.get_or_insert(away);
                }
            });
        }
    }

    fn lease_prepared(
        &mut self,
        id: LeaseId,
        isolation: Isolation,
        master_port: Option<u16>,
        not_enforced: &[NotEnforced],
    ) {
        let Some(facts) = self.facts.leases.get_mut(&id) else { return };
        let first = facts.lease.state == LeaseState::Granted;
        let node = facts.lease.node.clone();
        facts.lease.state = LeaseState::Prepared;
        facts.lease.isolation = Some(isolation);
        facts.lease.not_enforced = not_enforced.to_vec();
        facts.master_port = master_port;
        let job = facts.lease.job;
        if first {
            let mut joins = false;
            self.change_hold(job, |hold| {
                let joining = hold.joining.get_mut(&id);
                joins = joining.map(|joining| joining.is_prepared = true).is_some();
                // Who leaves counts no longer.
                hold.prepared += u32::from(joins || !hold.leaving.contains_key(&id));
            });
            if joins {
                // It need wait for nobody.
                self.bump(&node);
            }
        }
    }

    fn lease_started(&mut self, at: Timestamp, id: LeaseId) {
        let Some(facts) = self.facts.leases.get_mut(&id) else { return };
        facts.lease.state = LeaseState::Started;
        facts.lease.started_at = Some(at);
        let job = facts.lease.job;
        if let Some(lease) = self.facts.leases.get(&id) {
            self.index.link_run(&self.facts, id, lease);
        }
        self.change_hold(job, |hold| {
            hold.joining.remove(&id);
            hold.started_at.get_or_insert(at);
        });
    }

    fn lease_ended(&mut self, at: Timestamp, id: LeaseId, end: &LeaseEnd) {
        let Some(ended) = self.facts.leases.remove(&id) else { return };
        self.note_use(at, &ended.lease.tenant);
        self.index.unlink_lease(&self.facts, id, &ended);
        let lease = ended.lease;
        let returns_max = self.facts.policy.returns_max;
        let devices = u64::try_from(lease.slices.len()).unwrap_or(u64::MAX).max(1);
        let ran = lease.started_at.map_or(Micros(0), |start| at.since(start));
        let served = ran.0.saturating_mul(devices);
        self.change_job(lease.job, |job| {
            job.served = job.served.saturating_add(served);
            let cancelled = job.cancelled_by.is_some();
            let Some(hold) = &mut job.hold else { return };
            hold.live = hold.live.saturating_sub(1);
            hold.shown.see(end);
            let outcome = meaning(hold, &end.outcome);
            let kind = job.ask.gang.kind;
            let is_told = hold.lost_member((id, kind), (at, ran), &end.outcome);
            if !is_told && outcome != Outcome::Succeeded {
                hold.all_succeeded = false;
                let its_own = !cancelled && !hold.is_stopping() && hold.away.is_none();
                // A program that is not there will not be there next time either.
                let hopeless = hold.returned.is_some() && is_not_started(&outcome);
                if hold.failed.is_none() && (its_own || hopeless) {
                    hold.failed = Some((id, outcome));
                }
            }
            if hold.live == 0 && hold.yielded() && !cancelled {
                job.preempted = job.preempted.saturating_add(1);
                job.hold = None;
                return;
            }
            let again = hold.live == 0 && hold.returned.is_some() && hold.failed.is_none();
            if again && !cancelled && job.returns < returns_max {
                job.returns += 1;
                job.hold = None;
            }
        });
        self.requeued(lease.job);
        self.bump(&lease.node);
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

    fn decided(&mut self, decision: &Decision) {
        match decision {
            Decision::Grant { job, leases } => self.granted(*job, leases),
            Decision::Start { job } => {
                let (master, now) = (self.master_of(*job), self.facts.now);
                self.change_hold(*job, |hold| {
                    hold.start = true;
                    hold.master = master;
                    hold.changed_at = now;
                });
                self.bump_job(*job);
            }
            Decision::Return { job, reason } => {
                self.change_hold(*job, |hold| hold.returned = Some(reason.clone()));
                self.bump_job(*job);
            }
            Decision::Stop { job, reason } => {
                self.change_hold(*job, |hold| hold.stop = Some(reason.clone()));
                self.bump_job(*job);
            }
            Decision::Grow { job, leases } => self.grown(*job, leases),
            Decision::Shrink { job, leases, reason } => self.shrunk(*job, leases, reason),
            Decision::Preempt { job, victims, ground, spots, moves, shrinks } => {
                self.preempted(*job, victims, *ground, moves);
                for Shrink { job: of, leases } in shrinks {
                    self.shrunk(*of, leases, &StopReason::Shrunk { job: Some(*job) });
                }
                let who = victims.iter().chain(shrinks.iter().map(|shrink| &shrink.job));
                let victims = who.copied().collect();
                let claim = Claim { victims, ground: *ground, spots: spots.clone() };
                self.change_job(*job, |job| job.claim = Some(claim));
            }
            Decision::Release { job } => self.change_job(*job, |job| job.claim = None),
            Decision::Retry { job, attempt } => {
                self.change_job(*job, |job| {
                    job.attempt = *attempt;
                    job.hold = None;
                });
                self.requeued(*job);
            }
            Decision::Finish { job, outcome } => {
                if let Some(facts) = self.facts.jobs.remove(job) {
                    self.facts.history.ended(&facts, outcome);
                    self.index.unlink_job(&self.facts, *job, &facts);
                    self.index.discount_job(&facts);
                    self.index.live.remove_job(*job);
                    self.index.promises.has_left(&self.facts, *job);
                }
            }
        }
    }

    fn preempted(&mut self, id: JobId, victims: &[JobId], ground: Ground, moves: &[Move]) {
        for victim in victims {
            let moved = moves.iter().find(|moved| moved.job == *victim);
            self.change_job(*victim, |job| {
                if let Some(hold) = &mut job.hold {
                    hold.stop = Some(StopReason::Preempted { job: id, ground });
                }
                job.claim = moved.map(|moved| Claim {
                    victims: Vec::new(),
                    ground,
                    spots: moved.spots.clone(),
                });
            });
            self.bump_job(*victim);
        }
    }

    fn granted(&mut self, id: JobId, leases: &[Lease]) {
        let Some(first) = leases.first() else { return };
        let members = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        let kind = self.facts.jobs.get(&id).map(|job| job.ask.gang.kind);
        // Replicas wait for nobody, and no end of one is a success of the service.
        let alone = kind == Some(GangKind::Service);
        let since = self.facts.now;
        let joining = |lease: &Lease| (lease.id, Joining { since, is_prepared: false });
        let hold = Hold {
            leases: leases.iter().map(|lease| lease.id).collect(),
            granted_at: first.granted_at,
            live: members,
            prepared: 0,
            start: alone,
            started_at: None,
            master: None,
            all_succeeded: !alone,
            failed: None,
            away: None,
            stop: None,
            returned: None,
            shown: Shown::default(),
            joining: leases.iter().filter(|_| alone).map(joining).collect(),
            leaving: BTreeMap::new(),
            vacant: BTreeSet::new(),
            troubles: BTreeMap::new(),
            changed_at: since,
        };
        self.change_job(id, |job| {
            job.hold = Some(hold);
            job.claim = None;
        });
        let mut on_node: BTreeMap<&NodeId, u32> = BTreeMap::new();
        for lease in leases {
            *on_node.entry(&lease.node).or_default() += 1;
        }
        self.note_use(self.facts.now, &first.tenant);
        let mut ranks: BTreeMap<&NodeId, u32> = BTreeMap::new();
        for lease in leases {
            let rank = ranks.entry(&lease.node).or_default();
            let facts = LeaseFacts {
                lease: lease.clone(),
                local_rank: *rank,
                local_size: on_node.get(&lease.node).copied().unwrap_or(1),
                master_port: None,
                weighted: self.weighted(lease),
            };
            *rank += 1;
            self.index.link_lease(&self.facts, lease.id, &facts);
            self.facts.leases.insert(lease.id, facts);
            self.facts.next_lease = LeaseId(lease.id.0 + 1);
        }
        self.relink_live(id);
        self.bump_job(id);
    }

    /// Further members come to a gang that goes on.
    fn grown(&mut self, id: JobId, leases: &[Lease]) {
        let Some(first) = leases.first() else { return };
        let now = self.facts.now;
        self.note_use(now, &first.tenant);
        for lease in leases {
            let here = || self.leases_of_node(&lease.node).filter(|other| other.job == id);
            let ranks: BTreeSet<u32> = here()
                .filter_map(|lease| self.facts.leases.get(&lease.id))
                .map(|l| l.local_rank)
                .collect();
            let facts = LeaseFacts {
                lease: lease.clone(),
                local_rank: (0..).find(|rank| !ranks.contains(rank)).unwrap_or(0),
                local_size: u32::try_from(ranks.len()).unwrap_or(u32::MAX).saturating_add(1),
                master_port: None,
                weighted: self.weighted(lease),
            };
            self.index.link_lease(&self.facts, lease.id, &facts);
            self.facts.leases.insert(lease.id, facts);
            self.facts.next_lease = LeaseId(lease.id.0 + 1);
            self.bump(&lease.node);
        }
        self.change_hold(id, |hold| {
            leases.iter().for_each(|lease| hold.join(lease.id, lease.task, now));
        });
    }

    /// Members of a gang are to end while the others go on.
    fn shrunk(&mut self, id: JobId, leases: &[LeaseId], why: &StopReason) {
        let now = self.facts.now;
        self.change_hold(id, |hold| {
            leases.iter().for_each(|lease| hold.leave(*lease, why.clone(), now));
        });
        self.bump_leases(leases);
    }

    /// Brings up to date what a tenant and those above it have had, before what they hold changes.
    fn note_use(&mut self, at: Timestamp, tenant: &TenantPath) {
        let Some(half_life) = self.facts.policy.fair_share.half_life else { return };
        for path in tenant.lineage() {
            let rate = self.index.weighted.get(&path).copied().unwrap_or(0);
            if let Some(tenant) = self.facts.tenants.get_mut(&path) {
                tenant.used = tenant.used.at(at, rate, half_life);
            }
        }
    }

    /// A lease's compute, weighted by the models of its devices.
    fn weighted(&self, lease: &Lease) -> u64 {
        let weights = &self.facts.policy.fair_share.model_weights;
        let node = (!weights.is_empty()).then(|| self.facts.nodes.get(&lease.node)).flatten();
        let model = |slice: &Slice| {
            let devices = &node?.inventory.devices;
            Some(devices.iter().find(|device| device.id == slice.device)?.model.as_str())
        };
        let of = |slice: &Slice| {
            let compute = u64::from(slice.compute.0);
            let Some(model) = model(slice) else { return compute };
            let weight = weights.iter().find(|(part, _)| model.contains(part.as_str()));
            compute.saturating_mul(weight.map_or(1000, |(_, weight)| u64::from(*weight))) / 1000
        };
        lease.slices.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Where a gang meets: the address of rank 0's node and the port it holds there.
    fn master_of(&self, id: JobId) -> Option<String> {
        let first = self.facts.jobs.get(&id)?.hold.as_ref()?.leases.first()?;
        let lease = self.facts.leases.get(first)?;
        let address = &self.facts.nodes.get(&lease.lease.node)?.inventory.node.address;
        Some(format!("{address}:{}", lease.master_port?))
    }
}

fn is_not_started(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::NotStarted { .. })
}

/// Whether a device can have the instance of a slice, if it is one.
fn can_have(device: &Device, slice: &Slice) -> bool {
    let Some(instance) = &slice.instance else { return true };
    let parts = Class::of(device).parts;
    parts.is_some_and(|table| {
        let profile = table.profile(&instance.profile).and_then(|at| table.profiles.get(at));
        profile.is_some_and(|profile| profile.starts.contains(&instance.start))
    })
}

/// What a lease's end says of its job, given what the job was told.
fn meaning(hold: &Hold, outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Returned if hold.returned.is_none() => {
            Outcome::Lost { why: "its node gave it back unasked".to_owned() }
        }
        Outcome::Succeeded if !hold.start => {
            Outcome::Lost { why: "its node ended it before it was told to start".to_owned() }
        }
        other => other.clone(),
    }
}
