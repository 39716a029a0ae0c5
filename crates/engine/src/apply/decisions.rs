//! What a decision changes.

use crate::Engine;
use crate::facts::{Claim, Hold, LeaseFacts};
use crate::history::Shown;
use crate::members::Joining;
use polder_model::{
    Decision, GangKind, Ground, JobId, Lease, LeaseId, Move, NodeId, Shrink, StopReason,
};
use std::collections::{BTreeMap, BTreeSet};

impl Engine {
    pub(super) fn decided(&mut self, decision: &Decision) {
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

    pub(super) fn preempted(
        &mut self,
        id: JobId,
        victims: &[JobId],
        ground: Ground,
        moves: &[Move],
    ) {
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

    pub(super) fn granted(&mut self, id: JobId, leases: &[Lease]) {
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
            job.evicted = None;
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
                sized_at: None,
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
    pub(super) fn grown(&mut self, id: JobId, leases: &[Lease]) {
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
                sized_at: None,
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
    pub(super) fn shrunk(&mut self, id: JobId, leases: &[LeaseId], why: &StopReason) {
        let now = self.facts.now;
        self.change_hold(id, |hold| {
            leases.iter().for_each(|lease| hold.leave(*lease, why.clone(), now));
        });
        self.bump_leases(leases);
    }

    /// Where a gang meets: the address of rank 0's node and the port it holds there.
    pub(super) fn master_of(&self, id: JobId) -> Option<String> {
        let first = self.facts.jobs.get(&id)?.hold.as_ref()?.leases.first()?;
        let lease = self.facts.leases.get(first)?;
        let address = &self.facts.nodes.get(&lease.lease.node)?.inventory.node.address;
        Some(format!("{address}:{}", lease.master_port?))
    }
}
