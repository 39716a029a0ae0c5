//! What is lacking for a task that does not fit, where the least is lacking, and what would help.

use crate::Engine;
use crate::explain::EXPLAIN_RESERVATIONS_MAX;
use crate::facts::JobFacts;
use crate::index::space::CellKey;
use crate::index::take_of;
use crate::nearest;
use crate::need::{Beside, Need, WHOLE};
use crate::place::{Overlay, Spot};
use crate::sieve::{self, Sieve};
use polder_model::{
    BitRate, Bytes, DeviceId, Help, JobId, Lease, MilliCpu, NodeId, Permille, Reason, Timestamp,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Most devices that one explanation looks at.
const EXPLAIN_DEVICES_MAX: usize = 100_000;
/// Most jobs named as those that must end for a gang.
const HELP_JOBS_MAX: usize = 8;
/// Most jobs whose ends are tried for that.
const HELP_JOBS_TRIED_MAX: usize = 32;
/// Most leases whose ends are looked at to predict a start.
const PREDICT_LEASES_MAX: usize = 1024;

/// A look at the devices that one need could use.
pub(crate) struct Closest<'a> {
    engine: &'a Engine,
    space: &'a Overlay<'a>,
    need: &'a Need,
    cells: &'a [CellKey],
    /// Devices that its own gang would have whole: not what keeps the next of its tasks.
    own: BTreeSet<(&'a NodeId, &'a DeviceId)>,
}

/// What one device lacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lack<'a> {
    /// Sum of both in thousandths of what is needed.
    weight: u128,
    device: &'a DeviceId,
    compute: u32,
    memory: u64,
}

impl<'a> Closest<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        space: &'a Overlay<'a>,
        need: &'a Need,
        cells: &'a [CellKey],
    ) -> Self {
        Self { engine, space, need, cells, own: BTreeSet::new() }
    }

    /// The same beside members of its own gang that would fit, and that the space has taken in.
    pub(crate) fn beside(self, spots: &'a [Spot]) -> Self {
        let whole = spots.iter().filter(|_| self.need.is_whole());
        let own = whole.flat_map(|spot| spot.devices.iter().map(|device| (&spot.node, device)));
        Self { own: own.collect(), ..self }
    }

    /// Devices that it could use, but for those of its own gang, and what is free of their compute.
    fn others(&self) -> impl Iterator<Item = u32> + '_ {
        let all = self.space.fitting(self.cells, 0, 0).take(EXPLAIN_DEVICES_MAX);
        let others = all.filter(|(_, _, node, device)| !self.own.contains(&(*node, *device)));
        others.map(|(compute, ..)| compute)
    }

    /// How many of the devices that it could use others are on.
    pub(crate) fn in_use(&self) -> u32 {
        let in_use = self.others().filter(|free| *free < WHOLE).count();
        u32::try_from(in_use).unwrap_or(u32::MAX)
    }

    fn lack(&self, compute: u32, memory: u64, device: &'a DeviceId) -> Lack<'a> {
        let compute = self.need.compute.saturating_sub(compute);
        let memory = self.need.memory.saturating_sub(memory);
        let part = |lacking: u128, of: u128| (lacking * 1000).checked_div(of).unwrap_or(0);
        let weight = part(compute.into(), self.need.compute.into())
            + part(memory.into(), self.need.memory.into());
        Lack { weight, device, compute, memory }
    }

    /// The node where the least is lacking, and what its last device needed lacks.
    fn node(&self) -> Option<(&'a NodeId, Lack<'a>)> {
        let mut lacks: BTreeMap<&NodeId, Vec<Lack<'a>>> = BTreeMap::new();
        let all = self.space.fitting(self.cells, 0, 0);
        for (compute, memory, node, device) in all.take(EXPLAIN_DEVICES_MAX) {
            if self.own.contains(&(node, device)) {
                continue;
            }
            lacks.entry(node).or_default().push(self.lack(compute, memory, device));
        }
        let last = usize::try_from(self.need.count.saturating_sub(1)).unwrap_or(usize::MAX);
        let of_nodes = lacks.into_iter().filter_map(|(node, mut lacks)| {
            lacks.sort();
            Some((node, lacks.into_iter().nth(last)?))
        });
        of_nodes.min_by(|(a, lack_a), (b, lack_b)| (lack_a.weight, a).cmp(&(lack_b.weight, b)))
    }

    /// What a node lacks beside its devices.
    fn lacks(&self, node: &NodeId) -> Beside {
        let free = self.space.node(node).map_or(Beside::default(), |space| space.beside());
        Beside {
            cpu: self.need.cpu.saturating_sub(free.cpu),
            memory: self.need.host_memory.saturating_sub(free.memory),
            nic: self.need.nic.saturating_sub(free.nic),
            backing: self.need.backing.saturating_sub(free.backing),
        }
    }

    /// The node whose machine lacks the least.
    fn machine(&self) -> Option<&'a NodeId> {
        let part = |lacking: u64, of: u64| {
            (u128::from(lacking) * 1000).checked_div(of.into()).unwrap_or(0)
        };
        let weight = |node: &NodeId| {
            let lacks = self.lacks(node);
            part(lacks.cpu, self.need.cpu)
                + part(lacks.memory, self.need.host_memory)
                + part(lacks.nic, self.need.nic)
                + part(lacks.backing, self.need.backing)
        };
        self.space.nodes_of(self.cells).into_iter().min_by_key(|node| (weight(node), *node))
    }

    fn no_host_room(&self, node: &NodeId) -> Reason {
        let lacks = self.lacks(node);
        Reason::NoHostRoom {
            devices: self.need.count,
            node: node.clone(),
            cpu_lacking: MilliCpu(u32::try_from(lacks.cpu).unwrap_or(u32::MAX)),
            memory_lacking: Bytes(lacks.memory),
            nic_lacking: BitRate(lacks.nic),
            backing_lacking: Bytes(lacks.backing),
        }
    }

    /// The reason to give when so many tasks would fit.
    pub(crate) fn reason(&self, placeable: u32) -> Option<Reason> {
        if self.need.count == 0 {
            return self.machine().map(|node| self.no_host_room(node));
        }
        if let Some(reason) = nearest::reason(self.space, self.need, self.cells) {
            return Some(reason);
        }
        let (node, lack) = self.node()?;
        if lack.compute == 0 && lack.memory == 0 {
            return Some(self.no_host_room(node));
        }
        if self.need.is_whole() {
            let fitting = self.others().count().saturating_add(self.own.len());
            return Some(Reason::NoIdleDevice {
                placeable,
                needed: self.need.min,
                fitting: u32::try_from(fitting).unwrap_or(u32::MAX),
                in_use: self.in_use(),
                node: node.clone(),
                device: lack.device.clone(),
                compute_held: Permille(lack.compute),
            });
        }
        Some(Reason::NotEnoughFree {
            placeable,
            needed: self.need.min,
            node: node.clone(),
            device: lack.device.clone(),
            compute_lacking: Permille(lack.compute),
            memory_lacking: Bytes(lack.memory),
        })
    }

    /// What would let one task of one device start now or soonest.
    pub(crate) fn help(&self) -> Vec<Help> {
        let beside = |node: &NodeId| {
            let space = self.space.node(node);
            let beside = space.map(|space| space.beside());
            beside.is_some_and(|free| self.need.tasks_beside(free) > 0)
        };
        let fitting = |compute, memory| {
            let fitting = self.space.fitting(self.cells, compute, memory);
            fitting.take(EXPLAIN_DEVICES_MAX).filter(|(_, _, node, _)| beside(node))
        };
        let mut help = Vec::new();
        if !self.need.is_whole() && self.need.wants().is_none() {
            let memory = fitting(self.need.compute, 1).map(|(_, memory, _, _)| memory).max();
            help.extend(memory.map(|memory| Help::LessMemory { fits: Bytes(memory) }));
            let compute = fitting(1, self.need.memory).map(|(compute, _, _, _)| compute).max();
            help.extend(compute.map(|compute| Help::LessCompute { fits: Permille(compute) }));
        }
        help.extend(nearest::smaller(self.space, self.need, self.cells, beside));
        help.extend(self.job_that_frees().map(|job| Help::JobEnds { job }));
        help
    }

    /// The job whose end makes room on the closest device: the one that must end first, or else
    /// the one that has had it longest.
    fn job_that_frees(&self) -> Option<JobId> {
        let (node, lack) = self.node()?;
        let space = self.space.node(node)?;
        let frees = |lease: &&Lease| {
            let Some(job) = self.engine.facts.jobs.get(&lease.job) else { return false };
            let mut space = space.clone();
            space.give(&take_of(lease, &job.ask));
            if self.need.wants().is_some() {
                return space.tasks(self.need) > 0;
            }
            let room = space.room(lack.device);
            self.need.tasks_beside(space.beside()) > 0
                && room.is_some_and(|room| self.need.tasks_on(room.compute, room.memory) > 0)
        };
        let leases = self.engine.leases_of_node(node).filter(frees);
        let first = leases.min_by_key(|lease| {
            let end = self.end(lease);
            (end.is_none(), end, lease.id)
        });
        first.map(|lease| lease.job)
    }

    /// The jobs whose ends make room for the whole gang, none of which it could do without: those that
    /// must end first, or else have run longest, before others. Nothing where it takes too many.
    pub(crate) fn jobs_that_free(&self, sieve: Sieve) -> Option<Help> {
        let sieve = Rc::new(sieve);
        let mut leases: BTreeMap<JobId, Vec<&Lease>> = BTreeMap::new();
        let nodes = self.space.nodes_of(self.cells);
        let all = nodes.into_iter().flat_map(|node| self.engine.leases_of_node(node));
        for lease in all.take(PREDICT_LEASES_MAX) {
            leases.entry(lease.job).or_default().push(lease);
        }
        let mut jobs: Vec<(JobId, Vec<&Lease>)> = leases.into_iter().collect();
        jobs.sort_by_key(|(job, leases)| {
            let end = leases.iter().map(|lease| self.end(lease)).max().flatten();
            (end.is_none(), end, *job)
        });
        let gives = |(job, leases): &(JobId, Vec<&Lease>)| -> Vec<_> {
            let job = self.engine.facts.jobs.get(job);
            let give = |lease: &&Lease| Some((lease.node.clone(), take_of(lease, &job?.ask)));
            leases.iter().filter_map(give).collect()
        };
        jobs.truncate(HELP_JOBS_TRIED_MAX);
        let one_by_one = jobs.iter().map(|job| (gives(job), Rc::clone(&sieve)));
        let last = self.space.enough_after(one_by_one, self.need, self.cells)?;
        jobs.truncate(last.saturating_add(1));
        let mut place = 0;
        while jobs.len() > 1 && place < jobs.len() {
            let mut without = jobs.clone();
            without.remove(place);
            let all =
                std::iter::once((without.iter().flat_map(gives).collect(), Rc::clone(&sieve)));
            if self.space.enough_after(all, self.need, self.cells).is_some() {
                jobs = without;
            } else {
                place += 1;
            }
        }
        let mut jobs: Vec<JobId> = jobs.into_iter().map(|(job, _)| job).collect();
        jobs.sort_unstable();
        match jobs[..] {
            [job] => Some(Help::JobEnds { job }),
            _ if jobs.len() <= HELP_JOBS_MAX => Some(Help::JobsEnd { jobs }),
            _ => None,
        }
    }

    /// When a lease is over at the latest, if its job has a time limit.
    fn end(&self, lease: &Lease) -> Option<Timestamp> {
        let ask = &self.engine.facts.jobs.get(&lease.job)?.ask;
        Some(lease.started_at?.after(ask.when.time_limit?).after(ask.yields.grace))
    }

    /// When the whole gang of a job fits at the latest, if the time limits of those that run and
    /// the ends of reservations tell.
    pub(crate) fn predicted_start(&self, job: &JobFacts, at: Timestamp) -> Option<Timestamp> {
        let facts = &self.engine.facts;
        let nodes = self.space.nodes_of(self.cells);
        let leases = nodes.into_iter().flat_map(|node| self.engine.leases_of_node(node));
        let mut ends: Vec<(Timestamp, Option<&Lease>)> =
            leases.filter_map(|lease| Some((self.end(lease)?, Some(lease)))).collect();
        ends.sort_by_key(|(end, lease)| (*end, Reverse(lease.map(|lease| lease.id))));
        ends.truncate(PREDICT_LEASES_MAX);
        let mut reserved: Vec<Timestamp> =
            facts.reservations.values().map(|one| one.until).collect();
        reserved.retain(|until| *until > at);
        reserved.sort();
        ends.extend(reserved.into_iter().take(EXPLAIN_RESERVATIONS_MAX).map(|until| (until, None)));
        ends.sort_by_key(|(end, _)| *end);
        // Tasks that it is to be apart from are not looked ahead for.
        let mut free = job.clone();
        free.ask.place.apart = None;
        // Nodes open and close at few of these moments.
        let mut sieves: Vec<(Vec<bool>, Rc<Sieve>)> = Vec::new();
        let steps = ends.iter().map(|(end, lease)| {
            let moment = (*end).max(at);
            let all = facts.reservations.values();
            let closed: Vec<bool> =
                all.map(|one| sieve::is_closed(one, &free.ask, moment)).collect();
            if sieves.last().is_none_or(|(before, _)| *before != closed) {
                let sieve = Sieve::of(facts, &self.engine.index, &free, moment);
                sieves.push((closed, Rc::new(sieve)));
            }
            let give = lease.and_then(|lease| {
                let job = facts.jobs.get(&lease.job)?;
                Some((lease.node.clone(), take_of(lease, &job.ask)))
            });
            (
                give.into_iter().collect(),
                sieves.last().map(|(_, sieve)| Rc::clone(sieve)).unwrap_or_default(),
            )
        });
        let last = self.space.enough_after(steps, self.need, self.cells)?;
        ends.get(last).map(|(end, _)| (*end).max(at))
    }
}
