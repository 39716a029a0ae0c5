//! What the server remembers of its agents between calls. None of it is durable: all of it is
//! said again by the agents after a restart.

use super::{Reply, SyncError};
use polder_model::{LeaseId, LeaseSample, NodeId, SyncRefusal, SyncResponse, Version};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Every agent that has called, and every node of the journal.
#[derive(Default)]
pub(crate) struct Nodes {
    pub(super) links: BTreeMap<NodeId, Link>,
}

/// One agent.
pub(super) struct Link {
    pub(super) incarnation: u64,
    pub(super) sequence: u64,
    /// When it last called, or when this server started.
    pub(super) contact: Instant,
    /// Whether it has called since this server started.
    pub(super) called: bool,
    pub(super) waiting: Option<Waiting>,
    pub(super) samples: BTreeMap<LeaseId, LeaseSample>,
    pub(super) orphans: Vec<LeaseId>,
}

/// A call that is held until there is something new.
pub(super) struct Waiting {
    pub(super) reply: Reply<Result<SyncResponse, SyncError>>,
    /// What the agent would be told now; it is answered once that has changed.
    pub(super) told: Version,
    pub(super) deadline: Instant,
}

impl Link {
    pub(super) fn new(incarnation: u64, now: Instant) -> Self {
        Self {
            incarnation,
            sequence: 0,
            contact: now,
            called: false,
            waiting: None,
            samples: BTreeMap::new(),
            orphans: Vec::new(),
        }
    }

    /// Ends the call that is held, because a newer one has come.
    pub(super) fn supersede(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            // The agent may have given that call up already.
            let _ = waiting.reply.send(Err(SyncError::Refused(SyncRefusal::Superseded)));
        }
    }

    /// Whether the agent has neither called for `limit` nor holds a call open.
    pub(super) fn is_silent(&mut self, now: Instant, limit: Duration) -> bool {
        match &self.waiting {
            Some(waiting) if !waiting.reply.is_closed() => self.contact = now,
            Some(_) => self.waiting = None,
            None => {}
        }
        now.duration_since(self.contact) > limit
    }
}

impl Nodes {
    /// The latest sample of a live lease.
    pub(crate) fn sample(&self, node: &NodeId, lease: LeaseId) -> Option<&LeaseSample> {
        self.links.get(node)?.samples.get(&lease)
    }

    /// How long ago the node's agent last called, if it did since this server started.
    pub(crate) fn last_contact(&self, node: &NodeId) -> Option<Duration> {
        let link = self.links.get(node).filter(|link| link.called)?;
        let open = link.waiting.as_ref().is_some_and(|waiting| !waiting.reply.is_closed());
        Some(if open { Duration::ZERO } else { link.contact.elapsed() })
    }

    /// This server heard nobody for so long, since it did not run itself: that is no agent's silence. Each
    /// has the chance to call that it would have had.
    pub(super) fn lapsed(&mut self, length: Duration, now: Instant) {
        for link in self.links.values_mut() {
            link.contact = (link.contact + length).min(now);
        }
    }

    /// Leases that the node's agent holds and this server does not know.
    pub(crate) fn orphans(&self, node: &NodeId) -> &[LeaseId] {
        self.links.get(node).map_or(&[], |link| &link.orphans)
    }

    /// When the first held call must be answered.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(|link| Some(link.waiting.as_ref()?.deadline)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments in seconds since any; nobody waits for them.
    fn nodes(now: Instant) -> Nodes {
        let mut nodes = Nodes::default();
        nodes.links.insert("n1".parse().unwrap(), Link::new(1, now));
        nodes
    }

    #[test]
    fn time_in_which_the_server_did_not_run_is_no_silence_of_an_agent() {
        let (began, secs) = (Instant::now(), Duration::from_secs);
        let limit = secs(30);
        let silent = |nodes: &mut Nodes, at: u64| {
            nodes.links.values_mut().any(|link| link.is_silent(began + secs(at), limit))
        };
        let mut nodes = nodes(began);
        assert!(!silent(&mut nodes, 20));
        // It does not run for an hour.
        nodes.lapsed(secs(3600), began + secs(3620));
        assert!(!silent(&mut nodes, 3620), "silent for 20 seconds, as far as anybody could tell");
        assert!(!silent(&mut nodes, 3630));
        assert!(silent(&mut nodes, 3631), "it ran, and nobody called");
        // Who called just now gains nothing.
        let mut called = self::nodes(began + secs(50));
        called.lapsed(secs(3600), began + secs(60));
        assert!(!silent(&mut called, 90) && silent(&mut called, 91));
    }
}
