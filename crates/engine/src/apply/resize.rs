//! A job has another size from now on.
//!
//! **Invariant.** Bytes are free once no program can have them any more. What a resize takes from a
//! lease is *leaving*: it stays with the lease, in free room and in quotas, until the lease's node has
//! said that its pages allow no more than the new size and that no more is held. So the caps in force
//! on a device never pass its memory, however late a node hears of a resize.

use crate::Engine;
use crate::facts::LeaseFacts;
use crate::resize::member_ids;
use polder_model::{Bytes, JobId, LeaseId, RESIZES_KEPT, Resized, Size, UserName};

impl Engine {
    /// All that is known of the job follows at once: its leases are taken out of everything that is
    /// derived from them, changed, and put back.
    pub(super) fn resized(&mut self, id: JobId, (to, by): (&Size, &UserName), until_shrunk: bool) {
        let Some(job) = self.facts.jobs.get(&id) else { return };
        let from = Size::of(&job.ask);
        let (at, tenant) = (self.facts.now, job.ask.tenant.clone());
        let other_part = to.is_other_part(&from);
        let members = if other_part { member_ids(&self.facts, job) } else { Vec::new() };
        // What is known of members that yield is known of all at once.
        self.index.live.remove_job(id);
        self.note_use(at, &tenant);
        let mut taken: Vec<(LeaseId, LeaseFacts)> = Vec::with_capacity(members.len());
        for lease in members {
            taken.extend(self.take_out(lease).map(|facts| (lease, facts)));
        }
        self.change_job(id, |job| {
            to.give(&mut job.ask);
            if other_part {
                // What was kept for it is of another size.
                job.claim = None;
            }
            if job.resizes.len() >= RESIZES_KEPT {
                job.resizes.remove(0);
            }
            job.resizes.push(Resized { at, by: by.clone(), from, to: *to });
        });
        self.stands_with_others(id);
        for (lease, mut facts) in taken {
            let granted = &mut facts.lease;
            let kept = granted.slices.iter().map(|slice| granted.kept(slice)).max();
            let leaving = kept.map_or(0, |kept| kept.0.saturating_sub(to.memory.0));
            granted.leaving = Bytes(if until_shrunk { leaving } else { 0 });
            granted.resizes = granted.resizes.saturating_add(1);
            for slice in &mut granted.slices {
                slice.compute = to.compute;
                slice.compute_max = to.compute_max;
                slice.memory = to.memory;
            }
            facts.weighted = self.weighted(&facts.lease);
            facts.sized_at = Some(at);
            self.put_back(lease, facts);
        }
        self.urge_members(id);
        self.relink_live(id);
        self.bump_job(id);
    }

    /// What was leaving a lease is free.
    pub(super) fn lease_shrunk(&mut self, id: LeaseId) {
        let Some(job) = self.facts.leases.get(&id).map(|facts| facts.lease.job) else { return };
        self.index.live.remove_job(job);
        if let Some(mut facts) = self.take_out(id) {
            facts.lease.leaving = Bytes(0);
            self.put_back(id, facts);
        }
        self.relink_live(job);
    }

    /// Takes a lease out of the facts and of what is derived from it.
    fn take_out(&mut self, id: LeaseId) -> Option<LeaseFacts> {
        let facts = self.facts.leases.remove(&id)?;
        self.index.unlink_lease(&self.facts, id, &facts);
        Some(facts)
    }

    fn put_back(&mut self, id: LeaseId, facts: LeaseFacts) {
        self.index.link_lease(&self.facts, id, &facts);
        self.facts.leases.insert(id, facts);
    }

    /// Its leases are as urgent as it is from now on. Nothing is derived from how urgent they are.
    fn urge_members(&mut self, id: JobId) {
        let Some(job) = self.facts.jobs.get(&id) else { return };
        let priority = crate::order::priority(job, self.facts.now);
        let class = job.ask.when.class;
        for lease in member_ids(&self.facts, job) {
            if let Some(facts) = self.facts.leases.get_mut(&lease) {
                (facts.lease.class, facts.lease.priority) = (class, priority);
            }
        }
    }

    /// A job that is like others than before has their index of service.
    fn stands_with_others(&mut self, id: JobId) {
        let Some(job) = self.facts.jobs.get(&id) else { return };
        // Not that of itself, which it had among those that it was like before.
        self.index.unlink_job(&self.facts, id, job);
        let index = self.index.alike.index(&self.facts, job, job.served_before);
        if let Some(job) = self.facts.jobs.get_mut(&id) {
            job.index = index;
        }
        if let Some(job) = self.facts.jobs.get(&id) {
            self.index.link_job(&self.facts, id, job);
        }
    }
}
