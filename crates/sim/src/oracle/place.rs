//! Fit and gangs: every arrangement of equal tasks over what is free is tried.

use super::{Bench, between, text};
use crate::pool;
use crate::random::Random;
use crate::workload::{ask_share, ask_whole};
use polder_engine::Policy;
use polder_model::{Ask, Bytes, Gang, Lease, MilliCpu, Permille, Tenant};

const GIB: u64 = 1 << 30;
/// Memory of a device in GiB, and CPUs of a machine.
const MEMORY: u64 = 8;
const CPUS: u32 = 12;

/// What one task needs: compute in tenths, memory in GiB, CPUs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) devices: u32,
    /// Absent for whole devices.
    pub(super) share: Option<(u32, u64)>,
    pub(super) cpus: u32,
}

/// What is free on one node: CPUs, and tenths and GiB of each device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Free {
    pub(super) cpus: u32,
    pub(super) devices: Vec<(u32, u64)>,
}

impl Task {
    pub(super) fn draw(random: &mut Random) -> Self {
        let whole = random.below(4) == 0;
        Self {
            devices: if random.below(3) == 0 { 2 } else { 1 },
            share: (!whole).then(|| (between(random, 1, 10), 1 + random.below(MEMORY))),
            cpus: between(random, 0, 6),
        }
    }

    pub(super) fn ask(&self, gang: u32) -> Result<Ask, String> {
        let tenant = "lab".parse().map_err(text)?;
        let mut ask = ask_whole(tenant, "ada".parse().map_err(text)?, self.devices);
        if let Some((tenths, gib)) = self.share {
            ask = ask_share(ask, Permille(tenths * 100), Bytes(gib * GIB));
        }
        ask.host.cpu = (self.cpus > 0).then_some(MilliCpu(self.cpus * 1000));
        ask.gang = Gang { min: gang, max: gang, ..Gang::default() };
        Ok(ask)
    }

    fn fits_on(&self, device: (u32, u64)) -> bool {
        match self.share {
            None => device == (10, MEMORY),
            Some((tenths, gib)) => device.0 >= tenths && device.1 >= gib,
        }
    }

    fn takes(&self) -> (u32, u64) {
        self.share.unwrap_or((10, MEMORY))
    }
}

/// Whether so many more tasks fit in any arrangement at all.
pub(super) fn fits(free: &mut [Free], task: &Task, tasks: u32) -> bool {
    if tasks == 0 {
        return true;
    }
    for node in 0..free.len() {
        let number = free[node].devices.len();
        if free[node].cpus < task.cpus {
            continue;
        }
        for set in (0u32..1 << number).filter(|set| set.count_ones() == task.devices) {
            let places = || (0..number).filter(move |place| set >> place & 1 == 1);
            if !places().all(|place| task.fits_on(free[node].devices[place])) {
                continue;
            }
            let before = free[node].clone();
            free[node].cpus -= task.cpus;
            let (tenths, gib) = task.takes();
            for place in places() {
                let device = &mut free[node].devices[place];
                *device = (device.0 - tenths, device.1 - gib);
            }
            let rest = fits(free, task, tasks - 1);
            free[node] = before;
            if rest {
                return true;
            }
        }
    }
    false
}

/// What leases leave of nodes with so many devices each.
pub(super) fn free<'l>(
    nodes: &[u32],
    leases: impl Iterator<Item = (&'l Lease, u32)>,
) -> Result<Vec<Free>, String> {
    let idle =
        |devices: &u32| Free { cpus: CPUS, devices: (0..*devices).map(|_| (10, MEMORY)).collect() };
    let mut free: Vec<Free> = nodes.iter().map(idle).collect();
    for (lease, cpus) in leases {
        let number = |name: &str| name[1..].parse::<usize>().map_err(text);
        let node = free.get_mut(number(lease.node.as_str())?).ok_or("no such node")?;
        node.cpus = node.cpus.checked_sub(cpus).ok_or("more CPUs than there are")?;
        for slice in &lease.slices {
            let device = node.devices.get_mut(number(slice.device.as_str())?);
            let device = device.ok_or("no such device")?;
            let tenths = device.0.checked_sub(slice.compute.0 / 100);
            let gib = device.1.checked_sub(lease.kept(slice).0 / GIB);
            *device = tenths.zip(gib).ok_or("more of a device than there is")?;
        }
    }
    Ok(free)
}

/// A pool of nodes with so many devices each, and what each job on it asked for.
pub(super) struct Pool {
    pub(super) bench: Bench,
    pub(super) nodes: Vec<u32>,
}

impl Pool {
    pub(super) fn new(random: &mut Random, policy: Policy) -> Result<Self, String> {
        let nodes: Vec<u32> = (0..between(random, 1, 3)).map(|_| between(random, 1, 3)).collect();
        let mut bench = Bench::new(policy);
        bench.tenant(Tenant::new("lab".parse().map_err(text)?))?;
        for (number, devices) in nodes.iter().enumerate() {
            let card = |place| pool::device(&format!("d{place}"), "Tide", Bytes(MEMORY * GIB));
            let cards = (0..*devices).map(card).collect::<Result<_, _>>().map_err(text)?;
            let inventory = pool::node(MilliCpu(CPUS * 1000), Bytes(1 << 40), cards);
            bench.node(format!("n{number}").parse().map_err(text)?, inventory)?;
        }
        Ok(Self { bench, nodes })
    }

    /// Lets some tasks in, whichever fit; others are cancelled, so that they hold nothing back.
    fn fill(&mut self, random: &mut Random) -> Result<(), String> {
        for _ in 0..random.below(9) {
            let Some(job) = self.bench.submit(Task::draw(random).ask(1)?)? else { continue };
            self.bench.settle()?;
            if self.bench.leases_of(job).is_empty() {
                self.bench.cancel(job)?;
            }
        }
        Ok(())
    }

    pub(super) fn free(&self) -> Result<Vec<Free>, String> {
        let cpus = |lease: &Lease| {
            let job = self.bench.engine.job(lease.job);
            job.and_then(|job| job.ask.host.cpu).map_or(0, |cpu| cpu.0 / 1000)
        };
        free(&self.nodes, self.bench.engine.leases().map(|lease| (lease, cpus(lease))))
    }
}

/// One task.
///
/// # Errors
/// It was placed where there is no room, or refused where there is.
pub fn fit(random: &mut Random) -> Result<(), String> {
    placed(random, 1)
}

/// Up to four tasks that start together.
///
/// # Errors
/// The gang was placed where no arrangement exists, or refused where one does, or placed in part.
pub fn gang(random: &mut Random) -> Result<(), String> {
    let size = between(random, 2, 4);
    placed(random, size)
}

fn placed(random: &mut Random, size: u32) -> Result<(), String> {
    let mut pool = Pool::new(random, Policy::default())?;
    pool.fill(random)?;
    let task = Task::draw(random);
    let mut free = pool.free()?;
    let expect = fits(&mut free, &task, size);
    let job = pool.bench.submit(task.ask(size)?)?;
    pool.bench.settle()?;
    let placed = job.map_or(0, |job| pool.bench.leases_of(job).len());
    let wanted = if expect { usize::try_from(size).map_err(text)? } else { 0 };
    if placed != wanted {
        return Err(format!("{placed} of {size} placed, should be {wanted}: {task:?} on {free:?}"));
    }
    pool.free()?;
    pool.bench.check()
}
