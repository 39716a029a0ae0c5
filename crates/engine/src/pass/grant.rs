//! What a place that was found becomes: leases, within the quotas, with numbers that go on from the
//! last. Where the place is, is not decided here.

use super::{Pass, Wait};
use crate::ahead;
use crate::facts::JobFacts;
use crate::index::{held_of, take_of};
use crate::need::Need;
use crate::place::Spot;
use crate::quota::Shortage;
use crate::{Held, admit, quota};
use polder_model::{
    Ask, Bytes, JobId, Lease, LeaseId, LeaseState, Mechanism, Permille, Slice, TaskIndex,
};

impl Pass<'_> {
    /// The same as [`Pass::grant`], for a job that was not looked ahead for: the future, if there is
    /// one already, is told.
    pub(crate) fn grant_unlooked(
        &mut self,
        id: JobId,
        job: &JobFacts,
        need: &Need,
        spots: &[Spot],
    ) -> Result<Vec<Lease>, Wait> {
        let leases = self.grant(id, job, need, spots)?;
        if let Some(ahead) = &mut self.ahead {
            let laid = leases.iter().filter_map(|lease| ahead::laid(self.index, lease, job));
            ahead.taken(&laid.collect(), ahead::span(self.facts, job));
        }
        Ok(leases)
    }

    /// The leases that these spots, which are taken already, become.
    pub(crate) fn grant(
        &mut self,
        id: JobId,
        job: &JobFacts,
        need: &Need,
        spots: &[Spot],
    ) -> Result<Vec<Lease>, Wait> {
        let mut leases = self.leases(id, job, spots);
        let within = self.within_quota(need, job, &mut leases);
        if within.is_err() {
            self.give(job, &leases);
        }
        within.map_err(Wait::Quota)?;
        self.commit(&leases);
        if let Some(word) = &job.ask.place.apart {
            let on = self.apart.entry((job.ask.tenant.clone(), word.clone())).or_default();
            on.extend(leases.iter().map(|lease| lease.node.clone()));
        }
        Ok(leases)
    }

    /// Gives back what was taken at spots that come to nothing.
    pub(crate) fn give_back(&mut self, job: &JobFacts, spots: &[Spot]) {
        let leases = self.leases(JobId(0), job, spots);
        self.give(job, &leases);
    }

    /// Tasks that the quotas leave room for, if they are enough.
    pub(crate) fn quota_room(&self, ask: &Ask, need: &Need) -> Result<u32, Shortage> {
        let each = admit::each(self.index, need);
        match quota::room(self.facts, self.index, &self.more, (&ask.tenant, &ask.user), each) {
            (room, Some(short)) if room < need.min.into() => Err(short),
            (room, _) => Ok(u32::try_from(room).unwrap_or(u32::MAX).min(need.max)),
        }
    }

    /// Drops members of a gang until its tenants' quotas hold. Only whole devices and instances need
    /// it: how much they add is known once they are chosen.
    fn within_quota(
        &mut self,
        need: &Need,
        job: &JobFacts,
        leases: &mut Vec<Lease>,
    ) -> Result<(), Shortage> {
        while (need.is_whole() || need.wants().is_some())
            && let Some(first) = leases.first()
        {
            let sum = leases.iter().map(held_of).fold(Held::default(), |mut sum, held| {
                sum.add(held);
                sum
            });
            let whose = (&first.tenant, &first.user);
            let (room, short) = quota::room(self.facts, self.index, &self.more, whose, sum);
            let Some(short) = short.filter(|_| room == 0) else { break };
            if leases.len() <= usize::try_from(need.min).unwrap_or(usize::MAX) {
                return Err(short);
            }
            let gone = leases.pop();
            self.give(job, gone.as_slice());
        }
        Ok(())
    }

    /// Gives back what was taken for leases that come to nothing.
    fn give(&mut self, job: &JobFacts, leases: &[Lease]) {
        for lease in leases {
            self.space.give(&lease.node, &take_of(lease, &job.ask));
        }
    }

    /// The leases that these spots become.
    pub(crate) fn leases(&self, id: JobId, job: &JobFacts, spots: &[Spot]) -> Vec<Lease> {
        let lease = |(task, spot): (usize, &Spot)| Lease {
            id: LeaseId(self.next_lease.0 + u64::try_from(task).unwrap_or(u64::MAX)),
            job: id,
            task: TaskIndex::try_from(task).unwrap_or(TaskIndex::MAX),
            attempt: job.attempt,
            tenant: job.ask.tenant.clone(),
            user: job.ask.user.clone(),
            node: spot.node.clone(),
            slices: (0..spot.devices.len()).filter_map(|at| self.slice(job, spot, at)).collect(),
            leaving: Bytes(0),
            resizes: 0,
            class: job.ask.when.class,
            priority: crate::order::priority(job, self.at),
            state: LeaseState::Granted,
            isolation: None,
            not_enforced: Vec::new(),
            findings: Vec::new(),
            granted_at: self.at,
            started_at: None,
            contact_limit: self.facts.policy.contact_limit,
        };
        spots.iter().enumerate().map(lease).collect()
    }

    fn slice(&self, job: &JobFacts, spot: &Spot, at: usize) -> Option<Slice> {
        let (ask, device) = (&job.ask.devices, spot.devices.get(at)?);
        let whole = || self.space.memory_of(&spot.node, device).unwrap_or(Bytes(0));
        let slice = Slice {
            instance: None,
            device: device.clone(),
            mechanism: ask.mechanism(),
            compute: ask.compute,
            compute_max: ask.compute_max.unwrap_or(Permille::WHOLE),
            memory: if ask.whole { whole() } else { ask.memory },
            backing: ask.backing.unwrap_or(Bytes(0)),
        };
        // What hardware or the vendor's driver cuts is as large as it is, and no larger when others
        // are idle.
        let Some(instance) = spot.instances.get(at) else {
            let spatial = slice.mechanism == Mechanism::Spatial;
            return Some(if spatial {
                Slice { compute_max: slice.compute, ..slice }
            } else {
                slice
            });
        };
        let (compute, memory) = self.space.node(&spot.node)?.entry.amounts_of(device, instance)?;
        let instance = Some(instance.clone());
        Some(Slice { instance, compute, compute_max: compute, memory, ..slice })
    }

    fn commit(&mut self, leases: &[Lease]) {
        for lease in leases {
            self.more.add(&lease.tenant, &lease.user, held_of(lease));
            self.next_lease = LeaseId(self.next_lease.0.max(lease.id.0 + 1));
        }
    }
}
