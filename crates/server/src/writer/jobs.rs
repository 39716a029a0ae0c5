//! What people ask of jobs: who may, what is refused, and which event follows.

use super::core::{Core, KnownKey, Pending};
use super::{WriteError, WriterError};
use crate::api::ResizeRequest;
use crate::auth::{Action, Principal, decide};
use crate::journal::{Row, digest_of};
use polder_engine::Refusal;
use polder_model::{Ask, Event, JobId, JobState, Micros, Size, Timestamp, When};

/// How late a deadline may be for an ask to be taken: the time that it took to come here, and by how
/// much clocks differ.
const LATE_MAX: Micros = Micros::from_secs(10);
impl Core {
    pub(super) fn submit(
        &mut self,
        who: &Principal,
        ask: Ask,
        key: Option<String>,
        known: KnownKey,
    ) -> Result<Result<Pending, WriteError>, WriterError> {
        if let Err(denied) = decide(who, Action::Submit(&ask.tenant)) {
            return Ok(Err(WriteError::Denied(denied)));
        }
        let mut row = None;
        if let Some(key) = &key {
            let text = serde_json::to_vec(&ask).expect("asks have only string keys");
            let digest = digest_of(&[&text]);
            let entry = (who.user.clone(), key.clone());
            if let Some((job, before)) = known.or_else(|| self.draft.keys.get(&entry).copied()) {
                return Ok(if before == digest {
                    Ok(Pending::Job { id: job, created: false })
                } else {
                    Err(WriteError::KeyReused { key: key.clone(), job })
                });
            }
            row = Some((entry, digest));
        }
        if self.draining {
            return Ok(Err(WriteError::Stopping));
        }
        if let Some(late) = late(&ask.when, self.time.peek()) {
            return Ok(Err(late));
        }
        let id = self.engine.next_job_id();
        if let Err(refusal) = self.record(Event::JobSubmitted { job: id, ask, key })? {
            return Ok(Err(WriteError::Refused(refusal)));
        }
        if let Some((entry, digest)) = row {
            self.draft.keys.insert(entry.clone(), (id, digest));
            let (user, key) = entry;
            self.draft.batch.rows.push(Row::Key { user, key, job: id, digest });
        }
        Ok(Ok(Pending::Job { id, created: true }))
    }

    pub(super) fn cancel(
        &mut self,
        who: &Principal,
        id: JobId,
    ) -> Result<Result<Pending, WriteError>, WriterError> {
        let done = Ok(Ok(Pending::Job { id, created: false }));
        if let Err(error) = self.may_end(who, id) {
            return Ok(Err(error));
        }
        match self.record(Event::JobCancelled { job: id, by: who.user.clone() })? {
            // What was wanted is already under way.
            Ok(()) | Err(Refusal::AlreadyCancelled { .. }) => done,
            Err(refusal) => Ok(Err(WriteError::Refused(refusal))),
        }
    }

    /// Whether somebody may end a job, or decide how much of it there is.
    fn may_end(&self, who: &Principal, id: JobId) -> Result<(), WriteError> {
        self.may(who, id, |ask| Action::Cancel { owner: &ask.user, tenant: &ask.tenant })
    }

    /// Whether somebody may do this to a job.
    fn may(
        &self,
        who: &Principal,
        id: JobId,
        action: impl for<'a> FnOnce(&'a Ask) -> Action<'a>,
    ) -> Result<(), WriteError> {
        // Over, perhaps in this very transaction; who asks will be shown how it ended.
        let unknown = || WriteError::Refused(Refusal::UnknownJob { job: id });
        let job = self.engine.job(id).ok_or_else(unknown)?;
        // A job that the caller may not see is not there.
        if decide(who, Action::SeeTenant(&job.ask.tenant)).is_err() && job.ask.user != who.user {
            return Err(unknown());
        }
        let action = action(&job.ask);
        decide(who, action).map_err(WriteError::Denied)
    }

    pub(super) fn scale(
        &mut self,
        who: &Principal,
        id: JobId,
        min: u32,
        max: u32,
    ) -> Result<Result<Pending, WriteError>, WriterError> {
        if let Err(error) = self.may_end(who, id) {
            return Ok(Err(error));
        }
        let event = Event::JobScaled { job: id, min, max, by: who.user.clone() };
        let done = Pending::Job { id, created: false };
        Ok(self.record(event)?.map(|()| done).map_err(WriteError::Refused))
    }

    pub(super) fn resize(
        &mut self,
        who: &Principal,
        id: JobId,
        request: &ResizeRequest,
    ) -> Result<Result<Pending, WriteError>, WriterError> {
        let allowed =
            self.may(who, id, |ask| Action::Resize { owner: &ask.user, tenant: &ask.tenant });
        if let Err(error) = allowed {
            return Ok(Err(error));
        }
        let done = Pending::Job { id, created: false };
        let Some(job) = self.engine.job(id) else { return Ok(Ok(done)) };
        let from = Size::of(&job.ask);
        let to = request.of(from);
        // What was wanted is so already, unless it is being ended.
        if to == from && job.state != JobState::Stopping {
            return Ok(Ok(done));
        }
        let event = Event::JobResized { job: id, to, by: who.user.clone(), until_shrunk: true };
        // What no job can have is told first, whatever this one holds.
        if let Err(refusal) = self.engine.admit(self.time.peek(), &event) {
            return Ok(Err(WriteError::Refused(refusal)));
        }
        if let Err(error) = self.holds_no_more(id, &from, &to) {
            return Ok(Err(error));
        }
        Ok(self.record(event)?.map(|()| done).map_err(WriteError::Refused))
    }

    /// Whether no task of a job holds more memory than it would have, as far as its node last said.
    fn holds_no_more(&self, job: JobId, from: &Size, to: &Size) -> Result<(), WriteError> {
        if to.memory >= from.memory {
            return Ok(());
        }
        for id in self.engine.resizable(job) {
            let Some(lease) = self.engine.lease(id) else { continue };
            let sample = self.nodes.sample(&lease.node, id);
            let mut used = sample.into_iter().flat_map(|sample| &sample.devices);
            if let Some(used) = used.find(|used| used.memory > to.memory) {
                return Err(WriteError::Holds {
                    job,
                    node: lease.node.clone(),
                    device: used.device.clone(),
                    held: used.memory,
                    wanted: to.memory,
                });
            }
        }
        Ok(())
    }
}

/// Refuses a deadline that cannot be met.
fn late(when: &When, now: Timestamp) -> Option<WriteError> {
    let (deadline, estimate) = (when.deadline?, when.estimate);
    let over_at = now.after(estimate.unwrap_or(Micros(0)));
    let is_late = over_at > deadline.after(LATE_MAX);
    is_late.then_some(WriteError::Late { left: deadline.since(now), estimate })
}
