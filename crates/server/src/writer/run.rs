//! The loop: gather, decide, append, answer.

use super::core::Pending;
use super::sync::Taken;
use super::{
    CHANGES_MAX, COMMANDS_MAX, Command, Core, Handle, QUERIES_MAX, Query, Reply, Watchers, Write,
    WriteError, WriterError, Written,
};
use crate::api::Change;
use crate::journal::{Archive, Journal};
use crate::stop::signalled;
use polder_engine::ENGINE_VERSION;
use polder_model::{Envelope, JobId, LeaseState};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

/// Commands in one transaction.
const BATCH_COMMANDS_MAX: usize = 512;
/// Queries run in a row before writes have their turn again.
const QUERIES_IN_A_ROW: usize = 256;
/// Events between two snapshots, so that a restart replays at most about so many.
const SNAPSHOT_EVENTS: u64 = 20_000;
/// Events behind the newest snapshot that make one worth its while when the server stops.
const SNAPSHOT_EVENTS_AT_STOP: u64 = 1_000;
/// How often silence and held calls are looked at.
const TICK: Duration = Duration::from_secs(1);
/// A gap between two such looks from which on this server did not run, or could not write: nobody could be
/// heard meanwhile.
const LAPSE_MIN: Duration = Duration::from_secs(5);
/// How often the independent checker looks at the live state.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// What the writer is made of.
pub(crate) struct WriterParts {
    pub(crate) core: Core,
    pub(crate) journal: Journal,
    pub(crate) archive: Archive,
    pub(crate) silent_after: Duration,
    /// The last event of the newest snapshot.
    pub(crate) snapshot_seq: u64,
}

/// The one writer.
pub(crate) struct Writer {
    parts: WriterParts,
    commands: mpsc::Receiver<Command>,
    queries: mpsc::Receiver<Query>,
    changes: broadcast::Sender<Change>,
    watchers: Arc<Watchers>,
    checked: Instant,
    /// When silent nodes were last looked for.
    looked: Instant,
    /// When the newest transaction began; a tick is due from here, however many queries come.
    began: Instant,
    /// Planning ended at its bound: go on at once.
    again: bool,
}

type WriteReply = (Reply<Result<Written, WriteError>>, Result<Pending, WriteError>);

impl Writer {
    pub(crate) fn new(parts: WriterParts) -> (Self, Handle) {
        let (command_sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (query_sender, queries) = mpsc::channel(QUERIES_MAX);
        let changes = broadcast::Sender::new(CHANGES_MAX);
        let watchers = Arc::new(Watchers::default());
        let handle = Handle {
            commands: command_sender,
            queries: query_sender,
            changes: changes.clone(),
            watchers: Arc::clone(&watchers),
        };
        let began = Instant::now();
        let (checked, looked) = (began, began);
        (
            Self {
                parts,
                commands,
                queries,
                changes,
                watchers,
                checked,
                looked,
                began,
                again: true,
            },
            handle,
        )
    }

    /// Works until told to stop. An error means that the process must end.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), WriterError> {
        let mut waiting = Vec::with_capacity(BATCH_COMMANDS_MAX);
        loop {
            let wake = self.next_wake();
            tokio::select! {
                count = self.commands.recv_many(&mut waiting, BATCH_COMMANDS_MAX) => {
                    if count == 0 {
                        break;
                    }
                    self.batch(&mut waiting).await?;
                }
                Some(query) = self.queries.recv() => self.run_queries(query),
                () = tokio::time::sleep_until(wake) => self.batch(&mut waiting).await?,
                () = signalled(&mut stop) => break,
            }
        }
        let behind = self.parts.journal.head().seq - self.parts.snapshot_seq;
        if behind >= SNAPSHOT_EVENTS_AT_STOP {
            self.snapshot().await?;
        }
        self.parts.archive.close().await;
        self.parts.journal.close().await;
        Ok(())
    }

    fn run_queries(&mut self, first: Query) {
        let view = self.parts.core.view();
        first(&view);
        for _ in 1..QUERIES_IN_A_ROW {
            let Ok(query) = self.queries.try_recv() else { break };
            query(&view);
        }
    }

    /// When there is something to do although nobody calls.
    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        if self.again {
            return now;
        }
        let core = &self.parts.core;
        let at = core.time.peek();
        let planned = core.engine.next_wake(core.planned_at);
        let planned = planned.map(|wake| now + wake.since(at).to_duration().min(TICK));
        let tick = self.began + TICK;
        [planned, core.nodes.first_deadline()].into_iter().flatten().fold(tick, Instant::min)
    }

    /// One transaction: everything that waits, and what the engine decides upon it.
    async fn batch(&mut self, waiting: &mut Vec<Command>) -> Result<(), WriterError> {
        let now = Instant::now();
        self.began = now;
        let mut writes: Vec<WriteReply> = Vec::new();
        let mut syncs: Vec<Taken> = Vec::new();
        if let Some(step) = self.parts.core.time.step() {
            tracing::warn!(?step, "the clock went back; server time goes on");
            let recorded = self.parts.core.record(step)?;
            recorded.map_err(|refusal| WriterError::Engine { what: refusal.to_string() })?;
        }
        for command in waiting.drain(..) {
            let WriterParts { core, archive, .. } = &mut self.parts;
            match command {
                Command::Sync { request, reply } => {
                    syncs.extend(core.sync(*request, reply, archive, now).await?);
                }
                Command::Write { caller, write, reply } => {
                    let known = match &write {
                        Write::Submit { key: Some(key), .. } => {
                            archive.key(&caller.user, key).await?
                        }
                        _ => None,
                    };
                    writes.push((reply, core.write(&caller, write, known)?));
                }
            }
        }
        let looked = now.duration_since(self.looked);
        if looked >= TICK {
            self.looked = now;
            if looked >= LAPSE_MIN {
                self.parts.core.nodes.lapsed(looked, now);
            }
            self.parts.core.notice_silence(now, self.parts.silent_after)?;
        }
        self.again = self.parts.core.plan()?;
        let envelopes = self.append().await?;
        self.publish(&envelopes);
        self.answer(writes).await?;
        let epoch = self.parts.journal.head().epoch;
        for taken in syncs {
            self.parts.core.settle(taken, epoch, now);
        }
        self.parts.core.answer_waiting(epoch, now);
        self.parts.core.draft = super::core::Draft::default();
        if self.parts.journal.head().seq - self.parts.snapshot_seq >= SNAPSHOT_EVENTS {
            self.snapshot().await?;
        }
        self.check(now);
        Ok(())
    }

    /// Makes the draft durable. Nothing of it has been seen outside before this returns.
    async fn append(&mut self) -> Result<Vec<Envelope>, WriterError> {
        let WriterParts { core, journal, .. } = &mut self.parts;
        core.positions.take();
        if core.draft.batch.is_empty() {
            return Ok(Vec::new());
        }
        Ok(journal.append(&core.draft.batch).await?)
    }

    /// Tells listeners what has become durable.
    fn publish(&self, envelopes: &[Envelope]) {
        let Some(newest) = envelopes.last() else { return };
        let (seq, at) = (newest.seq, newest.at);
        let draft = &self.parts.core.draft;
        let live: BTreeSet<JobId> = draft.jobs.iter().copied().collect();
        for job in live {
            self.watchers.wake(job);
            if self.changes.receiver_count() == 0 {
                continue;
            }
            let over = draft.finished.get(&job).cloned();
            if let Some(now) = over.or_else(|| self.parts.core.engine.job(job)) {
                let (tenant, state) = (now.ask.tenant, now.state);
                // Nobody listens any more: that is no failure.
                let _ = self.changes.send(Change::Job { seq, job, tenant, state, at });
            }
        }
        for (lease, job, tenant, state) in &draft.leases {
            let (lease, job, tenant, state): (_, _, _, LeaseState) =
                (*lease, *job, tenant.clone(), *state);
            let _ = self.changes.send(Change::Lease { seq, lease, job, tenant, state, at });
        }
    }

    async fn answer(&mut self, writes: Vec<WriteReply>) -> Result<(), WriterError> {
        for (reply, result) in writes {
            let result = match result {
                Ok(Pending::Done(written)) => Ok(written),
                Ok(Pending::Job { id, created }) => self.job_as_it_is(id, created).await?,
                Err(error) => Err(error),
            };
            // A caller that has gone away needs no answer: what it wanted is durable.
            let _ = reply.send(result);
        }
        Ok(())
    }

    async fn job_as_it_is(
        &self,
        id: JobId,
        created: bool,
    ) -> Result<Result<Written, WriteError>, WriterError> {
        let WriterParts { core, archive, .. } = &self.parts;
        let mut job = core.engine.job(id).or_else(|| core.draft.finished.get(&id).cloned());
        if job.is_none() {
            job = archive.job(id).await?;
        }
        let refusal = WriteError::Refused(polder_engine::Refusal::UnknownJob { job: id });
        Ok(job.map(|job| Written::Job { job: Box::new(job), created }).ok_or(refusal))
    }

    async fn snapshot(&mut self) -> Result<(), WriterError> {
        let WriterParts { core, journal, snapshot_seq, .. } = &mut self.parts;
        let body = serde_json::to_string(&core.engine).map_err(|error| WriterError::Engine {
            what: format!("its state cannot be written: {error}"),
        })?;
        journal.snapshot(ENGINE_VERSION, &body).await?;
        *snapshot_seq = journal.head().seq;
        Ok(())
    }

    /// Looks at the live state with the independent checker, now and then.
    fn check(&mut self, now: Instant) {
        if now.duration_since(self.checked) < CHECK_INTERVAL {
            return;
        }
        self.checked = now;
        for violation in self.parts.core.engine.check() {
            tracing::error!(what = violation.what, "a promise of the engine is broken");
        }
    }
}
