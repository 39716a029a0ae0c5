//! Turns commands into events, and events into state and derived rows. No I/O: what it makes is
//! durable only when the loop has appended it.

use super::{Nodes, View, Write, WriteError, WriterError};
use crate::auth::{Action, Caller, Denied, Principal, UnknownUser, decide, principal};
use crate::clock::ServerTime;
use crate::journal::{Batch, Digest, EndRow, Row, TermRow};
use polder_engine::{Engine, Refusal};
use polder_model::{
    Decision, Event, Job, JobId, JobState, Lease, LeaseId, LeaseState, NodeId, Policy, PoolId,
    Role, Size, TenantPath, Timestamp, User, UserName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Rounds of planning in one transaction; the rest follows in the next.
const PLAN_ROUNDS_MAX: u32 = 64;
/// Events in one transaction before planning goes on in the next.
const EVENTS_MAX: usize = 20_000;
/// Bytes of a subject or reason that the audit log keeps.
const AUDIT_TEXT_MAX: usize = 500;

/// What a write has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// The job as it now is; `created` tells a new one from one that the key already stood for.
    Job { job: Box<Job>, created: bool },
    /// The tenant is as asked.
    Tenant,
    /// The user as it now is.
    User(Box<User>),
    /// It is gone.
    Removed,
    /// It is noted and may go on.
    Noted,
    /// So many jobs were cancelled.
    Stopped { cancelled: u64 },
}

/// What a write leads to once its transaction is durable.
pub(super) enum Pending {
    Done(Written),
    /// The job as it will be then.
    Job {
        id: JobId,
        created: bool,
    },
}

/// What a transaction will hold, and who must hear of it afterwards.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) batch: Batch,
    /// Jobs that may have changed.
    pub(super) jobs: BTreeSet<JobId>,
    pub(super) finished: BTreeMap<JobId, Job>,
    pub(super) leases: Vec<(LeaseId, JobId, TenantPath, LeaseState)>,
    pub(super) ended: BTreeMap<LeaseId, NodeId>,
    pub(super) keys: BTreeMap<(UserName, String), (JobId, Digest)>,
}

/// The engine and what surrounds it.
pub(crate) struct Core {
    pub(super) engine: Engine,
    pub(super) time: ServerTime,
    pub(super) pool: PoolId,
    pub(super) nodes: Nodes,
    pub(super) draft: Draft,
    /// When the engine was last asked what should happen.
    pub(super) planned_at: Timestamp,
    /// No new job is taken: every job is being ended.
    pub(super) draining: bool,
    pub(super) positions: OnceLock<BTreeMap<JobId, u64>>,
}

/// What an earlier submission with the same key was: looked up before a write is handled.
pub(super) type KnownKey = Option<(JobId, Digest)>;

impl Core {
    pub(crate) fn new(engine: Engine, time: ServerTime, pool: PoolId) -> Self {
        Self {
            engine,
            time,
            pool,
            nodes: Nodes::default(),
            draft: Draft::default(),
            planned_at: Timestamp(0),
            draining: false,
            positions: OnceLock::new(),
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            engine: &self.engine,
            nodes: &self.nodes,
            pool: &self.pool,
            at: self.time.peek(),
            positions: &self.positions,
        }
    }

    /// Takes in an event if the engine accepts it.
    pub(super) fn record(&mut self, event: Event) -> Result<Result<(), Refusal>, WriterError> {
        let at = self.time.next();
        if let Err(refusal) = self.engine.admit(at, &event) {
            return Ok(Err(refusal));
        }
        self.take(at, event).map(Ok)
    }

    /// Takes in an event that must be acceptable, and derives from it.
    fn take(&mut self, at: Timestamp, event: Event) -> Result<(), WriterError> {
        self.derive(at, &event);
        self.engine.apply(at, &event).map_err(|error| WriterError::Engine {
            what: format!("{error} (event {event:?})").chars().take(2000).collect(),
        })?;
        self.draft.batch.events.push((at, event));
        Ok(())
    }

    /// Notes what the event ends, which the engine forgets with it, and whom it concerns.
    fn derive(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::JobSubmitted { job, .. }
            | Event::JobCancelled { job, .. }
            | Event::JobScaled { job, .. } => {
                self.draft.jobs.insert(*job);
            }
            Event::JobResized { job, to, .. } => {
                self.draft.jobs.insert(*job);
                self.derive_terms(at, *job, to);
            }
            Event::LeasePrepared { lease, .. } => self.note_lease(*lease, LeaseState::Prepared),
            Event::LeaseStarted { lease } => self.note_lease(*lease, LeaseState::Started),
            Event::LeaseShrunk { lease } | Event::LeaseFound { lease, .. } => {
                if let Some(known) = self.engine.lease(*lease) {
                    self.draft.jobs.insert(known.job);
                }
            }
            Event::LeaseEnded { lease, end } => {
                self.note_lease(*lease, LeaseState::Ended);
                if let Some(granted) = self.engine.lease(*lease).cloned() {
                    self.draft.ended.insert(*lease, granted.node.clone());
                    let models = self.models(&granted);
                    let since = self.engine.term_since(*lease);
                    let row = EndRow { lease: granted, end: end.clone(), at, since, models };
                    self.draft.batch.rows.push(Row::Lease(Box::new(row)));
                }
            }
            Event::Decided { decision } => self.derive_decision(at, decision),
            _ => {}
        }
    }

    /// A resize ends one metered term of each member that runs and opens the next.
    fn derive_terms(&mut self, at: Timestamp, id: JobId, to: &Size) {
        let Some(job) = self.engine.job(id) else { return };
        if !to.is_other_part(&Size::of(&job.ask)) {
            return;
        }
        for id in self.engine.resizable(id) {
            let Some(lease) = self.engine.lease(id).cloned() else { continue };
            self.note_lease(id, lease.state);
            let Some(since) = self.engine.term_since(id) else { continue };
            let sample = self.nodes.sample(&lease.node, id).cloned().unwrap_or_default();
            let models = self.models(&lease);
            let term = TermRow { lease, since, at, sample, models };
            self.draft.batch.rows.push(Row::Term(Box::new(term)));
        }
    }

    fn derive_decision(&mut self, at: Timestamp, decision: &Decision) {
        let job = match decision {
            Decision::Grant { job, leases } | Decision::Grow { job, leases } => {
                for lease in leases {
                    let tenant = lease.tenant.clone();
                    self.draft.leases.push((lease.id, *job, tenant, LeaseState::Granted));
                }
                job
            }
            Decision::Finish { job, outcome } => {
                if let Some(mut finished) = self.engine.job(*job) {
                    finished.state = JobState::Finished { outcome: outcome.clone() };
                    finished.finished_at = Some(at);
                    self.draft.batch.rows.push(Row::Job(Box::new(finished.clone())));
                    self.draft.finished.insert(*job, finished);
                }
                job
            }
            Decision::Preempt { job, victims, shrinks, .. } => {
                self.draft.jobs.extend(victims);
                self.draft.jobs.extend(shrinks.iter().map(|shrink| shrink.job));
                job
            }
            Decision::Start { job }
            | Decision::Release { job }
            | Decision::Return { job, .. }
            | Decision::Stop { job, .. }
            | Decision::Shrink { job, .. }
            | Decision::Retry { job, .. } => job,
        };
        self.draft.jobs.insert(*job);
    }

    fn note_lease(&mut self, lease: LeaseId, state: LeaseState) {
        if let Some(granted) = self.engine.lease(lease) {
            self.draft.jobs.insert(granted.job);
            self.draft.leases.push((lease, granted.job, granted.tenant.clone(), state));
        }
    }

    fn models(&self, lease: &Lease) -> Vec<String> {
        let node = self.engine.node(&lease.node);
        let model = |id| {
            let devices = &node.as_ref()?.inventory.devices;
            Some(devices.iter().find(|device| device.id == id)?.model.clone())
        };
        lease.slices.iter().map(|slice| model(slice.device.clone()).unwrap_or_default()).collect()
    }

    /// Takes in what the engine decides, until it decides nothing more. True when it must be
    /// asked again after this transaction.
    pub(super) fn plan(&mut self) -> Result<bool, WriterError> {
        for _ in 0..PLAN_ROUNDS_MAX {
            self.planned_at = self.time.peek();
            let (decisions, _) = self.engine.plan(self.planned_at);
            if decisions.is_empty() {
                return Ok(false);
            }
            for decision in decisions {
                let at = self.time.next();
                self.take(at, Event::Decided { decision })?;
            }
            if self.draft.batch.events.len() > EVENTS_MAX {
                break;
            }
        }
        Ok(true)
    }

    /// Handles one write: who, may they, is it acceptable. Every write of a known user is in the
    /// audit log, the refused ones too.
    pub(super) fn write(
        &mut self,
        caller: &Caller,
        write: Write,
        known: KnownKey,
    ) -> Result<Result<Pending, WriteError>, WriterError> {
        let who = match principal(&self.engine, caller) {
            Ok(who) => who,
            Err(UnknownUser(user)) => return Ok(Err(WriteError::Unknown(UnknownUser(user)))),
        };
        let (action, mut subject) = describe(&write);
        let result = self.authorised(&who, write, known)?;
        if let Ok(Pending::Job { id, created: true }) = &result {
            subject = id.to_string();
        }
        let result_text = match &result {
            Ok(_) => "ok".to_owned(),
            Err(error) => shorten(&error.to_string()),
        };
        let at = self.time.next();
        let (user, subject) = (who.user, shorten(&subject));
        self.draft.batch.rows.push(Row::Audit { at, user, action, subject, result: result_text });
        Ok(result)
    }

    fn authorised(
        &mut self,
        who: &Principal,
        write: Write,
        known: KnownKey,
    ) -> Result<Result<Pending, WriteError>, WriterError> {
        let may = |action: Action<'_>| decide(who, action);
        match write {
            Write::Submit { ask, key } => return self.submit(who, *ask, key, known),
            Write::Cancel { job } => return self.cancel(who, job),
            Write::Scale { job, min, max } => return self.scale(who, job, min, max),
            Write::Resize { job, request } => return self.resize(who, job, &request),
            Write::TenantSet { tenant } => {
                let allowed = may(Action::ChangeTenant(&tenant.path));
                self.change(allowed, Event::TenantSet { tenant }, Written::Tenant)
            }
            Write::TenantRemove { path } => {
                let allowed = may(Action::ChangeTenant(&path));
                self.change(allowed, Event::TenantRemoved { tenant: path }, Written::Removed)
            }
            Write::PolicySet { policy } => self.set_policy(may(Action::ChangePolicy), policy),
            Write::PolicyRollBack => {
                let allowed = may(Action::ChangePolicy);
                self.change(allowed, Event::PolicyRolledBack, Written::Noted)
            }
            Write::PolicyShadow { policy } => {
                let allowed = may(Action::ChangePolicy);
                match policy.as_deref().map_or(Ok(()), Policy::check_written) {
                    Err(error) if allowed.is_ok() => Ok(Err(WriteError::Refused(error.into()))),
                    _ => self.change(allowed, Event::PolicyShadowed { policy }, Written::Noted),
                }
            }
            Write::ReservationSet { reservation } => {
                let allowed = may(Action::Reserve);
                self.change(allowed, Event::ReservationSet { reservation }, Written::Noted)
            }
            Write::ReservationRemove { name } => {
                let allowed = may(Action::Reserve);
                self.change(allowed, Event::ReservationRemoved { name }, Written::Removed)
            }
            Write::UserSet { name, change } if change.role != Role::Admin && is_owner(&name) => {
                Ok(Err(WriteError::Owner { user: name }))
            }
            Write::UserRemove { name } if is_owner(&name) => {
                Ok(Err(WriteError::Owner { user: name }))
            }
            Write::UserSet { name, change } => {
                let before = self.engine.users().find(|user| user.name == name);
                let added_at = before.map_or_else(|| self.time.peek(), |user| user.added_at);
                let (role, tenants) = (change.role, &change.tenants);
                let allowed = may(Action::SetUser { before, role, tenants });
                let user = User { name, role, tenants: change.tenants, added_at };
                let written = Written::User(Box::new(user.clone()));
                self.change(allowed, Event::UserSet { user }, written)
            }
            Write::UserRemove { name } => {
                let user = self.engine.users().find(|user| user.name == name);
                let allowed = user.map_or(Ok(()), |user| may(Action::RemoveUser(user)));
                self.change(allowed, Event::UserRemoved { user: name }, Written::Removed)
            }
            Write::Backup { .. } => {
                Ok(may(Action::Backup).map_err(WriteError::Denied).map(|()| Written::Noted))
            }
            Write::Shutdown { end_tasks } => match may(Action::Shutdown) {
                Err(denied) => Ok(Err(WriteError::Denied(denied))),
                Ok(()) => self.stop_all(who, end_tasks),
            },
        }
        .map(|result| result.map(Pending::Done))
    }

    fn change(
        &mut self,
        allowed: Result<(), Denied>,
        event: Event,
        written: Written,
    ) -> Result<Result<Written, WriteError>, WriterError> {
        if let Err(denied) = allowed {
            return Ok(Err(WriteError::Denied(denied)));
        }
        Ok(self.record(event)?.map_err(WriteError::Refused).map(|()| written))
    }

    /// Puts a policy in force. The one that is in force already is no step of the history: going
    /// back would change nothing.
    fn set_policy(
        &mut self,
        allowed: Result<(), Denied>,
        policy: Box<Policy>,
    ) -> Result<Result<Written, WriteError>, WriterError> {
        if allowed.is_ok() {
            if let Err(error) = policy.check_written() {
                return Ok(Err(WriteError::Refused(error.into())));
            }
            if *self.engine.policy() == *policy {
                return Ok(Ok(Written::Noted));
            }
        }
        self.change(allowed, Event::PolicySet { policy }, Written::Noted)
    }

    fn stop_all(
        &mut self,
        who: &Principal,
        end_tasks: bool,
    ) -> Result<Result<Written, WriteError>, WriterError> {
        let mut cancelled = 0;
        if end_tasks {
            self.draining = true;
            let jobs: Vec<JobId> = self.engine.jobs().map(|job| job.id).collect();
            for job in jobs {
                let by = who.user.clone();
                cancelled += u64::from(self.record(Event::JobCancelled { job, by })?.is_ok());
            }
        }
        Ok(Ok(Written::Stopped { cancelled }))
    }
}

/// A write for the audit log: what it does, and to what.
fn describe(write: &Write) -> (&'static str, String) {
    match write {
        Write::Submit { ask, .. } => ("job.submit", format!("for tenant {}", ask.tenant)),
        Write::Cancel { job } => ("job.cancel", job.to_string()),
        Write::Resize { job, request } => ("job.resize", format!("{job} to {request}")),
        Write::Scale { job, min, max } => ("job.scale", format!("{job} to {min}..{max}")),
        Write::TenantSet { tenant } => ("tenant.set", tenant.path.to_string()),
        Write::TenantRemove { path } => ("tenant.remove", path.to_string()),
        Write::PolicySet { .. } => ("policy.set", "the policy".to_owned()),
        Write::PolicyRollBack => ("policy.rollback", "the policy".to_owned()),
        Write::PolicyShadow { policy: Some(_) } => ("policy.shadow", "a policy".to_owned()),
        Write::PolicyShadow { policy: None } => ("policy.shadow", "none".to_owned()),
        Write::ReservationSet { reservation } => ("reservation.set", reservation.name.clone()),
        Write::ReservationRemove { name } => ("reservation.remove", name.clone()),
        Write::UserSet { name, .. } => ("user.set", name.to_string()),
        Write::UserRemove { name } => ("user.remove", name.to_string()),
        Write::Backup { path } => ("backup", path.clone()),
        Write::Shutdown { end_tasks: true } => ("shutdown", "with every task".to_owned()),
        Write::Shutdown { end_tasks: false } => ("shutdown", "tasks run on".to_owned()),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(AUDIT_TEXT_MAX).collect()
}

/// Whether this user is the one as whom the server runs.
fn is_owner(user: &UserName) -> bool {
    *user == Caller::from_token().user
}
