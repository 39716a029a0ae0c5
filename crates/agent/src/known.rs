//! One lease as the node's loop knows it.

use crate::arbiter::ArbiterHandle;
use crate::leases::{Command, ran_since};
use crate::reconcile::Held;
use crate::sample::{sample, takes_turns};
use polder_model::{
    DeviceKind, FINDINGS_MAX, Finding, Inventory, Lease, LeaseId, LeaseReport, LeaseSample, Micros,
    Outcome, Phase,
};
use tokio::sync::mpsc;

/// How long before its contact limit a lease is ended, beside its grace: the time that ending
/// takes, so that nothing of it runs when the server may call it lost.
const CONTACT_SLACK: Micros = Micros::from_secs(5);

/// One lease as the loop knows it.
pub(crate) struct Known {
    pub(crate) held: Held,
    pub(crate) phase: Phase,
    /// When its program started, on the boot clock.
    pub(crate) started: Option<Micros>,
    pub(crate) sample: Option<LeaseSample>,
    /// What was found of it that breaks the rules.
    pub(crate) findings: Vec<Finding>,
    /// What was granted; unknown for a lease of which only a tombstone is known.
    pub(crate) lease: Option<Lease>,
    /// How many of its resizes are in its pages and its plan.
    pub(crate) resized: u32,
    /// How many are in force, as the server is told: no more memory than they left is held.
    pub(crate) in_force: u32,
    /// Other terms that it has not been told of yet: it had too many commands to hear.
    pub(crate) resize: Option<Box<Lease>>,
    pub(crate) grace: Micros,
    /// The server has noted its end: it is not reported any more.
    pub(crate) noted: bool,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Known {
    pub(crate) fn report(&self, lease: LeaseId) -> LeaseReport {
        let (phase, sample) = (self.phase.clone(), self.sample.clone());
        let (resizes, findings) = (self.in_force, self.findings.clone());
        LeaseReport { lease, phase, sample, resizes, findings }
    }

    /// Keeps what was found. True when it is new.
    pub(crate) fn found(&mut self, finding: Finding) -> bool {
        let room = self.findings.len() < FINDINGS_MAX;
        let new = room && !self.findings.iter().any(|one| one.is_again(&finding));
        if new {
            self.findings.push(finding);
        }
        new
    }

    pub(crate) fn sample_now(&self, id: LeaseId, arbiter: &ArbiterHandle) -> Option<LeaseSample> {
        let lease = self.lease.as_ref()?;
        if self.held.ended {
            return None;
        }
        let started = self.started?;
        let metered = takes_turns(lease).then(|| arbiter.sample(id)).flatten();
        if takes_turns(lease) && metered.is_none() {
            // Out of the arbiter for a moment, because its shim is out of reach.
            return self.sample.clone();
        }
        Some(sample(lease, metered, ran_since(started)))
    }

    /// Whether the server wants other terms for it than those it was last told of, or is about to be.
    pub(crate) fn differs(&self, wanted: &Lease) -> bool {
        let told = self.resize.as_deref().or(self.lease.as_ref());
        told.is_some_and(|told| !same_terms(told, wanted))
    }

    /// Tells it of terms that it has not heard of yet.
    pub(crate) fn resize(&mut self) {
        let (Some(lease), Some(wanted)) = (&mut self.lease, self.resize.take()) else { return };
        match self.commands.try_send(Command::Resize { to: wanted.clone() }) {
            Ok(()) => take_terms(lease, &wanted),
            Err(mpsc::error::TrySendError::Full(_)) => self.resize = Some(wanted),
            // It has ended.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Looks whether the terms in its pages are in force. True when that is news.
    ///
    /// **Invariant.** A number that is told stays true: terms come to a lease in the order of the
    /// server's answers, so none with more memory than these has is still on its way.
    pub(crate) fn settle(&mut self, id: LeaseId, arbiter: &ArbiterHandle) -> bool {
        let waits = self.in_force != self.resized && !self.held.ended;
        let settled = waits && arbiter.is_in_force(id);
        if settled {
            self.in_force = self.resized;
        }
        settled
    }

    /// Whether one of its devices can vanish at all: the host's own processor does not, and looking
    /// at it would take its time from the leases that share it.
    pub(crate) fn may_have_lost_a_device(&self, inventory: &Inventory) -> bool {
        let slices = self.lease.iter().flat_map(|lease| &lease.slices);
        slices.map(|slice| &slice.device).any(|id| {
            let known = inventory.devices.iter().find(|device| device.id == *id);
            known.is_none_or(|device| device.kind != DeviceKind::Cpu)
        })
    }

    /// Whether the server has been out of reach for so long that the lease must end, and how.
    pub(crate) fn cut_off(&self, silence: Micros) -> Option<(Outcome, Micros)> {
        let limit = self.lease.as_ref()?.contact_limit;
        let (end_after, grace) = contact_end(limit, self.grace);
        let over = self.held.stop || self.held.ended || silence < end_after;
        let why = || format!("its node had no contact with the server for {silence}");
        (!over).then(|| (Outcome::Lost { why: why() }, grace))
    }
}

/// After how much silence a lease is ended, and with which grace, so that it is over before
/// `limit` has passed.
fn contact_end(limit: Micros, grace: Micros) -> (Micros, Micros) {
    let half = Micros(limit.0 / 2);
    let slack = CONTACT_SLACK.min(Micros(limit.0 / 4));
    let grace = grace.min(Micros(half.0 - slack.0));
    (Micros(limit.0 - grace.0 - slack.0), grace)
}

/// Whether two accounts of a lease agree on what its devices give it, and how urgently.
pub(crate) fn same_terms(one: &Lease, other: &Lease) -> bool {
    let urgency = |lease: &Lease| (lease.class, lease.priority);
    let size = |lease: &Lease| lease.resizes;
    one.slices == other.slices && size(one) == size(other) && urgency(one) == urgency(other)
}

/// Gives a lease the terms of a newer account of it; the rest is as it was.
pub(crate) fn take_terms(lease: &mut Lease, newer: &Lease) {
    lease.slices.clone_from(&newer.slices);
    lease.resizes = newer.resizes;
    (lease.class, lease.priority) = (newer.class, newer.priority);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_out_of_contact_is_over_before_its_limit() {
        let secs = Micros::from_secs;
        assert_eq!(contact_end(secs(600), secs(10)), (secs(585), secs(10)));
        assert_eq!(contact_end(secs(8), secs(60)), (secs(4), secs(2)));
        assert_eq!(contact_end(Micros(0), secs(60)), (Micros(0), Micros(0)));
        for (limit, grace) in [(1, 9), (7, 0), (1_000_000, 999), (u64::MAX, u64::MAX)] {
            let (after, grace) = contact_end(Micros(limit), Micros(grace));
            assert!(after.0 + grace.0 <= limit);
        }
    }
}
