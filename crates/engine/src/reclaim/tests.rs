//! Proofs of what [`super`] promises, against answers found by looking at everything.

mod endless;
mod examples;
mod large;
mod naive;
mod oracle;
mod parts;

use super::cover::Share;
use super::right::{Claimant, Grounds, Manner, Right};
use super::room::{Constraint, Demand, Lie, Room, Rooms};
use super::running::{GangFacts, MemberFacts, Running, Yields};
use super::select::{Ending, Found, Front, Place};
use super::trial::Trial;
use crate::Held;
use crate::mig::{Table, Wants};
use crate::order::turn::{ByTurn, Turn};
use polder_model::{Bytes, Ground, Permille};
use proptest::prelude::*;

/// All grounds count.
const ALL: Grounds =
    Grounds { spot: true, class: true, priority: true, quota: true, order: Some(ByTurn::first()) };
/// Network of every node in these tests.
const NIC: u64 = 4;
/// Memory of every device in these tests.
const MEMORY: u64 = 16;
/// The tenants: the parent of each, which comes before it.
const PARENTS: [Option<usize>; 5] = [None, Some(0), Some(0), Some(1), None];

/// A job, whether or not it runs.
#[derive(Clone, Debug)]
struct Job {
    facts: GangFacts,
    demand: Demand,
    /// How its devices must lie.
    lies: Lies,
    /// Its class: its home are the nodes whose number leaves this when divided by two.
    class: Option<usize>,
    /// Where its members are; empty while it waits.
    members: Vec<MemberFacts>,
}

/// A small pool, as plain data.
#[derive(Clone, Debug)]
struct Pool {
    /// Devices, CPU and memory of each node.
    nodes: Vec<(usize, u64, u64)>,
    /// What each tenant deserves and its limit, in devices.
    tenants: Vec<(Option<u64>, Option<u64>)>,
    jobs: Vec<Job>,
    now: u64,
}

/// What every device's hardware cuts it into: the smallest there is.
fn table() -> &'static Table {
    Table::of("NVIDIA A30", Bytes(24 << 30)).unwrap()
}

/// How devices lie: in pairs on an island, each with a rail by its place.
#[derive(Clone, Copy, Debug, Default)]
struct Lies {
    island: bool,
    rail: bool,
}

impl Lies {
    fn of(self, device: usize) -> Lie {
        let device = u64::try_from(device).unwrap();
        let island = if self.island { (device / 2, 0) } else { (0, 0) };
        Lie { island, rail: self.rail.then_some(device % 2) }
    }
}

/// Where one of these jobs may go, and where the others may.
struct To<'a> {
    lies: Lies,
    class: Option<usize>,
    jobs: &'a [Job],
}

impl Constraint for To<'_> {
    fn lie(&self, node: usize, device: usize) -> Option<Lie> {
        is_home(self.class, node).then(|| self.lies.of(device))
    }

    fn takes(&self, node: usize) -> bool {
        is_home(self.class, node)
    }

    fn lie_of_job(&self, job: u64, node: usize, device: usize) -> Option<Lie> {
        let job = self.jobs.iter().find(|other| other.facts.job == job).unwrap();
        is_home(job.class, node).then(|| job.lies.of(device))
    }

    fn takes_of_job(&self, job: u64, node: usize) -> bool {
        let job = self.jobs.iter().find(|other| other.facts.job == job);
        is_home(job.and_then(|job| job.class), node)
    }

    fn wants_of_job(&self, job: u64) -> (Option<Wants>, bool) {
        let job = self.jobs.iter().find(|other| other.facts.job == job).unwrap();
        (job.demand.cut, job.demand.apart)
    }
}

fn devices(amount: Option<u64>) -> Share {
    Share { devices: amount, ..Share::default() }
}

fn rooms((devices, cpu, memory): (usize, u64, u64)) -> Rooms {
    let devices = vec![Room::idle(MEMORY, Some(table())); devices];
    Rooms { devices, cpu, memory, nic: NIC, backing: 0 }
}

fn is_home(class: Option<usize>, node: usize) -> bool {
    class.is_none_or(|class| node % 2 == class)
}

impl Job {
    /// Says anew whose room it has.
    fn settle(&mut self) {
        let away = self.members.iter().any(|member| !is_home(self.class, member.node));
        let lender = self.class.filter(|_| away && self.facts.yields.is_some());
        self.facts.lenders = lender.map(|class| 1 - class).into_iter().collect();
    }

    fn claimant(&self) -> Claimant {
        let (tasks, each) = (u64::from(self.demand.tasks), u64::from(self.demand.devices));
        // Instances count by what they are, which only limits in devices leave out of account here.
        let compute = if self.demand.whole { 1000 } else { u64::from(self.demand.compute) };
        let held = Held {
            devices: tasks * each,
            compute: tasks * each * compute,
            memory: Bytes(tasks * each * self.demand.memory),
            leases: tasks,
        };
        let facts = &self.facts;
        Claimant {
            job: facts.job,
            tenant: facts.tenant,
            priority: facts.priority,
            spot: facts.spot,
            turn: facts.turn,
            home: self.class,
            held,
        }
    }

    fn runs(&self) -> bool {
        !self.members.is_empty()
    }
}

impl Pool {
    fn running(&self) -> Running {
        let mut running = Running::default();
        for parent in PARENTS {
            running.add_tenant(parent);
        }
        for (tenant, (deserved, limit)) in self.tenants.iter().enumerate() {
            running.set_tenant(tenant, devices(*deserved), devices(*limit));
        }
        for node in &self.nodes {
            running.add_node(rooms(*node));
        }
        for job in self.jobs.iter().filter(|job| job.runs()) {
            running.add_gang(job.facts.clone(), job.members.clone());
        }
        running
    }

    /// What is free, from the jobs that run.
    fn free<'a>(&self, jobs: impl Iterator<Item = &'a [MemberFacts]>) -> Vec<Rooms> {
        let mut free: Vec<Rooms> = self.nodes.iter().map(|node| rooms(*node)).collect();
        for member in jobs.flatten() {
            free[member.node].take(member);
        }
        free
    }

    /// Who ends for a job that waits.
    fn find(&self, job: &Job) -> Found {
        let running = self.running();
        let mut trial = Trial::new(&running);
        let right = Right::new(&trial, job.claimant(), Manner::End(ALL), self.now);
        let to = To { lies: job.lies, class: job.class, jobs: &self.jobs };
        let mut front = Front::new(&trial, right, job.demand, &to);
        let found = front.find(&mut trial, &to);
        let free: Vec<Rooms> = (0..self.nodes.len()).map(|node| trial.free(node)).collect();
        let members = self.jobs.iter().map(|job| job.members.as_slice());
        assert_eq!(free, self.free(members), "a search left a trace");
        assert_eq!(front.find(&mut trial, &to), found, "a second search differs");
        if let Found::Fits(Ending { victims, .. }) = &found {
            let could = front.right.could(&running);
            assert!(victims.is_empty() || could, "who yields was overlooked");
        }
        found
    }
}

fn fits(found: Found) -> Ending {
    match found {
        Found::Fits(ending) => ending,
        other => panic!("{other:?}"),
    }
}

prop_compose! {
    fn demand()(
        tasks in prop_oneof![3 => Just(1u32), 2 => Just(2), 1 => Just(3)],
        devices in prop_oneof![4 => Just(1u32), 2 => Just(2), 1 => Just(0)],
        compute in prop_oneof![Just(1000u32), Just(600), Just(500), Just(300)],
        memory in prop_oneof![Just(4u64), Just(8), Just(1)],
        whole in prop::bool::weighted(0.3),
        cpu in 0u64..4,
        host_memory in 0u64..3,
        slots in prop::option::weighted(0.35, prop_oneof![Just(1u32), Just(2), Just(4)]),
        apart in prop::bool::weighted(0.15),
        nic in prop_oneof![3 => Just(0u64), 1 => 1u64..4],
    ) -> Demand {
        let cpu = if devices == 0 { cpu + 1 } else { cpu };
        let (compute, memory) = if whole { (1000, 0) } else { (compute, memory) };
        let cut = slots.filter(|_| devices > 0).map(|slots| {
            Wants::share(Permille(slots * 250 - 100), Bytes(1))
        });
        let whole = whole && cut.is_none();
        Demand { tasks, devices, compute, memory, whole, cut, apart, cpu, host_memory, nic, backing: 0 }
    }
}

prop_compose! {
    /// A job that waits, and where it would like to be.
    fn job()(
        demand in demand(),
        tenant in 0..PARENTS.len(),
        priority in 0i32..3,
        spot in prop::bool::weighted(0.25),
        served in 0i64..9,
        yields in prop::option::weighted(0.85, (0u64..60, prop::option::of(1u64..80), 0u64..40)),
        started_at in 0u64..100,
        fewer in 0u32..3,
        lies in (prop::bool::weighted(0.2), prop::bool::weighted(0.2)),
        class in prop::option::weighted(0.4, 0usize..2),
    ) -> Job {
        let lies = Lies { island: lies.0, rail: lies.1 };
        let of = |(runtime_min, interval, restart)| Yields { runtime_min, interval, restart };
        let yields = yields.map(of);
        let min = demand.tasks.saturating_sub(fewer).max(1);
        let facts = GangFacts {
            job: 0,
            tenant,
            priority,
            spot,
            turn: Turn::of(served),
            lenders: Vec::new(),
            yields,
            started_at,
            min,
            is_complete: true,
        };
        Job { facts, demand, lies, class, members: Vec::new() }
    }
}

prop_compose! {
    /// A pool in which all jobs but the last run where they fit; those that do not fit are left out.
    fn pool(jobs_max: usize)(
        nodes in prop::collection::vec((1usize..4, 4u64..9, 4u64..7), 1..4),
        tenants in prop::collection::vec(
            (prop::option::of(0u64..5), prop::option::weighted(0.15, 1u64..8)), PARENTS.len()),
        jobs in prop::collection::vec((job(), any::<prop::sample::Index>()), 2..=jobs_max),
    ) -> Pool {
        let mut pool = Pool { nodes, tenants, jobs: Vec::new(), now: 100 };
        let last = jobs.len() - 1;
        for (number, (mut job, start)) in jobs.into_iter().enumerate() {
            job.facts.job = 1 + number as u64;
            if number < last {
                place(&pool, &mut job, start.index(pool.nodes.len()));
                if !job.runs() {
                    continue;
                }
            }
            pool.jobs.push(job);
        }
        pool
    }
}

/// Places a job's tasks wherever they fit, node by node from `start`; none if not all fit.
fn place(pool: &Pool, job: &mut Job, start: usize) {
    let mut free = pool.free(pool.jobs.iter().map(|job| job.members.as_slice()));
    let nodes: Vec<usize> = (start..free.len()).chain(0..start).collect();
    let mut members: Vec<MemberFacts> = Vec::new();
    // One task a node first, so that gangs are spread.
    for (node, most) in nodes.iter().map(|n| (*n, 1)).chain(nodes.iter().map(|n| (*n, u32::MAX))) {
        let want = job.demand.tasks - u32::try_from(members.len()).unwrap();
        let taken = members.iter().any(|member| member.node == node);
        if job.demand.apart && taken {
            continue;
        }
        let lie = |device| Some(job.lies.of(device));
        for pieces in job.demand.fill(&free[node], lie, want.min(most)) {
            let member = Place { node, pieces }.member(&job.demand);
            free[node].take(&member);
            members.push(member);
        }
    }
    if members.len() == job.demand.tasks as usize {
        job.members = members;
        job.settle();
    }
}

/// The grounds in an ending.
fn grounds(ending: &Ending) -> Vec<(u64, Ground)> {
    ending.victims.iter().map(|victim| (victim.job, victim.ground)).collect()
}
