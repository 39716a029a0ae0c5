//! What an agent observes becomes events, each once; what it should hold becomes its answer.

use super::nodes::{Link, Waiting};
use super::{Core, Reply, SyncError, WriterError};
use crate::api::SYNC_WAIT_MS_MAX;
use crate::journal::Archive;
use polder_model::{
    Event, FINDINGS_MAX, Finding, Inventory, LeaseEnd, LeaseId, LeaseReport, LeaseState, NodeId,
    NotEnforced, Outcome, Phase, SYNC_PROTOCOL, SyncRefusal, SyncRequest, SyncResponse, Version,
};
use std::time::Duration;
use tokio::time::Instant;

/// A call that has been taken in and waits for its transaction.
pub(super) struct Taken {
    node: NodeId,
    sequence: u64,
    seen: Option<Version>,
    wait: Duration,
    acknowledged: Vec<LeaseId>,
    reply: Reply<Result<SyncResponse, SyncError>>,
}

impl Core {
    /// Takes one call in. Returns it when it is to be answered after the transaction.
    pub(super) async fn sync(
        &mut self,
        request: SyncRequest,
        reply: Reply<Result<SyncResponse, SyncError>>,
        archive: &Archive,
        now: Instant,
    ) -> Result<Option<Taken>, WriterError> {
        if let Err(refusal) = self.accept_call(&request, now) {
            // An agent that has gone away needs no answer.
            let _ = reply.send(Err(SyncError::Refused(refusal)));
            return Ok(None);
        }
        let SyncRequest { node, incarnation, sequence, seen, inventory, leases, wait, .. } =
            request;
        if let Err(error) = self.report_node(&node, incarnation, inventory)? {
            let _ = reply.send(Err(error));
            return Ok(None);
        }
        let mut acknowledged = Vec::new();
        let mut orphans = Vec::new();
        let mut samples = std::collections::BTreeMap::new();
        for LeaseReport { lease, mut phase, mut sample, resizes, findings } in leases {
            let ended = matches!(phase, Phase::Ended { .. });
            if self.engine.lease(lease).is_some_and(|known| known.node == node) {
                // An agent that has lost its record may know less than it once told.
                let told = match &mut phase {
                    Phase::Ended { end } => Some(&mut end.sample),
                    _ => sample.as_mut(),
                };
                if let (Some(told), Some(earlier)) = (told, self.nodes.sample(&node, lease)) {
                    told.raise_to(earlier);
                }
                samples.extend(sample.map(|sample| (lease, sample)));
                self.report_findings(lease, findings)?;
                self.report_resizes(lease, resizes)?;
                self.report_lease(lease, phase)?;
            }
            if ended && self.has_ended(lease, &node, archive).await? {
                acknowledged.push(lease);
                samples.remove(&lease);
            } else if self.engine.lease(lease).is_none_or(|known| known.node != node) {
                orphans.push(lease);
            }
        }
        if let Some(link) = self.nodes.links.get_mut(&node) {
            if link.orphans != orphans && !orphans.is_empty() {
                tracing::warn!(%node, ?orphans, "the node holds leases this server does not know; \
                    they are kept running");
            }
            (link.samples, link.orphans) = (samples, orphans);
        }
        let wait = wait.to_duration().min(Duration::from_millis(SYNC_WAIT_MS_MAX));
        Ok(Some(Taken { node, sequence, seen, wait, acknowledged, reply }))
    }

    /// Whether this is the newest call of the newest agent, and ends the call before it.
    fn accept_call(&mut self, request: &SyncRequest, now: Instant) -> Result<(), SyncRefusal> {
        if request.protocol != SYNC_PROTOCOL {
            let (agent, server) = (request.protocol, SYNC_PROTOCOL);
            return Err(SyncRefusal::Protocol { agent, server });
        }
        let node = &request.node;
        let this = request.incarnation;
        let journaled = self.engine.node(node).map_or(0, |known| known.incarnation);
        let new = || Link::new(journaled, now);
        let link = self.nodes.links.entry(node.clone()).or_insert_with(new);
        let current = link.incarnation.max(journaled);
        if this < current {
            return Err(SyncRefusal::OldIncarnation { node: node.clone(), current, this });
        }
        if this == link.incarnation && request.sequence <= link.sequence {
            return Err(SyncRefusal::Superseded);
        }
        link.supersede();
        link.incarnation = this;
        link.sequence = request.sequence;
        link.contact = now;
        link.called = true;
        Ok(())
    }

    fn report_node(
        &mut self,
        node: &NodeId,
        incarnation: u64,
        inventory: Option<Inventory>,
    ) -> Result<Result<(), SyncError>, WriterError> {
        let known = self.engine.node(node);
        let event = match (known, inventory) {
            (None, None) => None,
            (None, Some(inventory)) => Some((incarnation, inventory)),
            (Some(known), inventory) => {
                let inventory = inventory.unwrap_or_else(|| known.inventory.clone());
                let same = known.incarnation == incarnation && *known.inventory == inventory;
                if same && known.silent {
                    let event = Event::NodeBack { node: node.clone() };
                    return Ok(self.record(event)?.map_err(SyncError::Inventory));
                }
                (!same).then_some((incarnation, inventory))
            }
        };
        let Some((incarnation, inventory)) = event else { return Ok(Ok(())) };
        let event = Event::NodeReported { node: node.clone(), incarnation, inventory };
        Ok(self.record(event)?.map_err(SyncError::Inventory))
    }

    /// Turns a lease's phase into the events that are still missing; the same report again makes
    /// none.
    fn report_lease(&mut self, lease: LeaseId, phase: Phase) -> Result<(), WriterError> {
        let Some(state) = self.engine.lease(lease).map(|known| known.state) else { return Ok(()) };
        let event = match phase {
            Phase::Prepared { isolation, master_port, not_enforced }
                if state == LeaseState::Granted =>
            {
                let not_enforced = NotEnforced::bounded(not_enforced);
                Event::LeasePrepared { lease, isolation, master_port, not_enforced }
            }
            Phase::Started if state == LeaseState::Prepared => Event::LeaseStarted { lease },
            Phase::Ended { end } => {
                if state == LeaseState::Prepared && has_run(&end) {
                    // It was over before a report could say that it runs.
                    self.report_event(Event::LeaseStarted { lease })?;
                }
                Event::LeaseEnded { lease, end }
            }
            _ => return Ok(()),
        };
        self.report_event(event)
    }

    /// What a resize took from a lease is free once its node has the newest one in force. It says how
    /// many it has, for what it says of an older one may be overtaken by an answer on its way.
    fn report_resizes(&mut self, lease: LeaseId, in_force: u32) -> Result<(), WriterError> {
        let Some(known) = self.engine.lease(lease) else { return Ok(()) };
        if known.leaving.is_zero() || known.resizes != in_force {
            return Ok(());
        }
        self.report_event(Event::LeaseShrunk { lease })
    }

    /// Journals what is new among a node's findings. The same report again makes no event, and no
    /// lease fills the journal.
    fn report_findings(
        &mut self,
        lease: LeaseId,
        findings: Vec<Finding>,
    ) -> Result<(), WriterError> {
        for finding in Finding::bounded(findings) {
            let Some(known) = self.engine.lease(lease) else { return Ok(()) };
            let full = known.findings.len() >= FINDINGS_MAX;
            if full || known.findings.iter().any(|one| finding.is_again(one)) {
                continue;
            }
            tracing::warn!("{}", finding.line(lease));
            self.report_event(Event::LeaseFound { lease, finding })?;
        }
        Ok(())
    }

    fn report_event(&mut self, event: Event) -> Result<(), WriterError> {
        if let Err(refusal) = self.record(event)? {
            tracing::warn!(%refusal, "an agent reports what cannot be; its report is left out");
        }
        Ok(())
    }

    /// Whether the end of this lease on this node is journaled, or will be with this transaction.
    async fn has_ended(
        &self,
        lease: LeaseId,
        node: &NodeId,
        archive: &Archive,
    ) -> Result<bool, WriterError> {
        if let Some(ended_on) = self.draft.ended.get(&lease) {
            return Ok(ended_on == node);
        }
        if self.engine.lease(lease).is_some() {
            return Ok(false);
        }
        Ok(archive.ended_on(lease).await?.as_deref() == Some(node.as_str()))
    }

    /// Answers a call, now that its transaction is durable, or holds it until there is something
    /// new.
    pub(super) fn settle(&mut self, taken: Taken, epoch: u64, now: Instant) {
        let Taken { node, sequence, seen, wait, acknowledged, reply } = taken;
        let told = self.version(&node, epoch);
        // An agent that has seen a newer answer, or another pool's, heeds none of ours.
        let heeds = |seen: &Version| {
            seen.pool == told.pool && (seen.epoch, seen.version) < (told.epoch, told.version)
        };
        if seen.as_ref().is_none_or(heeds) || !acknowledged.is_empty() || wait.is_zero() {
            let _ = reply.send(Ok(self.desired(&node, told, acknowledged)));
            return;
        }
        if let Some(seen) = seen.filter(|seen| *seen != told) {
            tracing::warn!(%node, ?seen, ?told, "the node obeys a newer state of this pool, or \
                another pool: was this server restored from a backup? The node's leases are kept");
        }
        let Some(link) = self.nodes.links.get_mut(&node) else { return };
        if link.sequence == sequence {
            link.waiting = Some(Waiting { reply, told, deadline: now + wait });
        } else {
            // A newer call came in the same transaction.
            let _ = reply.send(Err(SyncError::Refused(SyncRefusal::Superseded)));
        }
    }

    /// Answers the held calls whose desired state has changed, or whose time is over.
    pub(super) fn answer_waiting(&mut self, epoch: u64, now: Instant) {
        let due = |waiting: &Waiting, version: &Version| {
            waiting.told != *version || waiting.deadline <= now || waiting.reply.is_closed()
        };
        let ready: Vec<(NodeId, Version)> = self
            .nodes
            .links
            .iter()
            .filter_map(|(node, link)| {
                let version = self.version(node, epoch);
                due(link.waiting.as_ref()?, &version).then(|| (node.clone(), version))
            })
            .collect();
        for (node, version) in ready {
            let Some(link) = self.nodes.links.get_mut(&node) else { continue };
            let Some(waiting) = link.waiting.take() else { continue };
            if !waiting.reply.is_closed() {
                link.contact = now;
            }
            let _ = waiting.reply.send(Ok(self.desired(&node, version, Vec::new())));
        }
    }

    /// Takes in that agents have fallen silent.
    pub(super) fn notice_silence(
        &mut self,
        now: Instant,
        limit: Duration,
    ) -> Result<(), WriterError> {
        let awake: Vec<(NodeId, u64)> = self
            .engine
            .nodes()
            .filter(|node| !node.silent)
            .map(|node| (node.id.clone(), node.incarnation))
            .collect();
        for (node, incarnation) in awake {
            let new = || Link::new(incarnation, now);
            let link = self.nodes.links.entry(node.clone()).or_insert_with(new);
            if link.is_silent(now, limit) {
                tracing::warn!(%node, "no call from this node's agent; its leases are kept");
                self.report_event(Event::NodeSilent { node })?;
            }
        }
        Ok(())
    }

    fn version(&self, node: &NodeId, epoch: u64) -> Version {
        Version { pool: self.pool.clone(), epoch, version: self.engine.desired_version(node) }
    }

    fn desired(&self, node: &NodeId, version: Version, acknowledged: Vec<LeaseId>) -> SyncResponse {
        let (leases, tombstones) = self.engine.desired(node);
        SyncResponse { version, leases, tombstones, acknowledged }
    }
}

/// Whether a program ran before this end.
fn has_run(end: &LeaseEnd) -> bool {
    match &end.outcome {
        Outcome::NotStarted { .. } | Outcome::Returned => false,
        Outcome::Succeeded
        | Outcome::Failed { .. }
        | Outcome::Signalled { .. }
        | Outcome::TimedOut => true,
        Outcome::Cancelled | Outcome::Lost { .. } => end.ran.0 > 0,
    }
}
