//! Who yields: every set of jobs that may is tried.

use super::place::{Pool, Task, fits, free};
use super::{between, text};
use crate::random::Random;
use polder_engine::Policy;
use polder_model::{Decision, JobId, Lease, Reclaim};
use std::collections::BTreeSet;

/// A job that runs.
struct Job {
    id: JobId,
    priority: i32,
    may_yield: bool,
    cpus: u32,
}

/// A job of some priority comes to a full pool in which lower priority yields.
///
/// # Errors
/// Somebody yields although it fits without; nobody does although a set of jobs exists whose end
/// would let its whole gang in; somebody who may not; or one of those who do could have stayed.
pub fn minimal(random: &mut Random) -> Result<(), String> {
    let reclaim = Reclaim { priority: true, ..Reclaim::default() };
    let mut pool = Pool::new(random, Policy { reclaim, ..Policy::default() })?;
    let mut jobs = Vec::new();
    for _ in 0..between(random, 3, 10) {
        let task = Task::draw(random);
        let mut ask = task.ask(between(random, 1, 2))?;
        // Highest first, so that nobody makes another yield while the pool fills.
        let priority = 2 - i32::try_from(jobs.len() / 3).map_err(text)?;
        ask.when.priority = priority;
        ask.yields.preemptible = random.below(4) > 0;
        let may_yield = ask.yields.preemptible;
        let Some(id) = pool.bench.submit(ask)? else { continue };
        pool.bench.pass()?;
        if pool.bench.leases_of(id).is_empty() {
            pool.bench.cancel(id)?;
        } else {
            jobs.push(Job { id, priority, may_yield, cpus: task.cpus });
        }
    }
    pool.bench.run()?;
    let task = Task::draw(random);
    let (size, priority) =
        (between(random, 1, 3), i32::try_from(random.below(5)).map_err(text)? - 1);
    let mut ask = task.ask(size)?;
    ask.when.priority = priority;
    let Some(id) = pool.bench.submit(ask)? else { return Ok(()) };
    let leases: Vec<Lease> = pool.bench.engine.leases().cloned().collect();
    let cpus =
        |lease: &Lease| jobs.iter().find(|job| job.id == lease.job).map_or(0, |job| job.cpus);
    let without = |gone: &BTreeSet<JobId>| {
        let rest = leases.iter().filter(|lease| !gone.contains(&lease.job));
        let mut free = free(&pool.nodes, rest.map(|lease| (lease, cpus(lease))))?;
        Ok::<bool, String>(fits(&mut free, &task, size))
    };
    let fits_now = without(&BTreeSet::new())?;
    let may: Vec<JobId> = jobs
        .iter()
        .filter(|job| job.may_yield && job.priority < priority)
        .map(|job| job.id)
        .collect();
    // More room never does harm, so a set exists exactly when all of them are one.
    let exists = without(&may.iter().copied().collect())?;
    let decisions = pool.bench.pass()?;
    let victims = decisions.iter().find_map(|decision| match decision {
        Decision::Preempt { job, victims, .. } if *job == id => Some(victims.clone()),
        _ => None,
    });
    let is_granted = !pool.bench.leases_of(id).is_empty();
    let say = |what: &str| {
        let free = pool.free();
        Err(format!("{what}: {size} of {task:?} at {priority}, {decisions:?}, free {free:?}"))
    };
    if is_granted != fits_now {
        return say("placed or not against what fits");
    }
    match victims {
        Some(_) if fits_now => say("somebody yields although it fits"),
        None if !fits_now && exists => say("nobody yields although a set exists"),
        None => pool.bench.check(),
        Some(victims) => {
            let all: BTreeSet<JobId> = victims.iter().copied().collect();
            if !all.iter().all(|victim| may.contains(victim)) {
                return say("somebody yields who may not");
            }
            if !without(&all)? {
                return say("it does not fit once they have gone");
            }
            for victim in &all {
                let mut fewer = all.clone();
                fewer.remove(victim);
                if without(&fewer)? {
                    return say("one of them could stay");
                }
            }
            pool.bench.check()
        }
    }
}
