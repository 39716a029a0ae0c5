//! What looking ahead costs: one plan in a full pool in which a job has just ended, while so many
//! wait that may start before the first of them if that delays it by nothing (EASY).

use crate::speed::{Times, World, kinds, next_kind, tenant};
use polder_engine::Policy;
use polder_model::{Backfill, Believe, Event, Micros, UserName};
use polder_sim::figure::{Figure, Target};
use polder_sim::random::Random;

/// Jobs for each node: about half of them find room.
const JOBS: u32 = 24;
/// What one plan that looks ahead may take in the large pool, in milliseconds. No reference
/// publishes such a figure: it is what a server that plans ten times a second can afford.
const PLAN_MS: f64 = 100.0;

/// Measures, and gives the figures.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let (small, large, ends) = if quick { (50, 200, 10) } else { (125, 12_500, 40) };
    let mut figures = Vec::new();
    for nodes in [small, large] {
        eprintln!("backfill with {nodes} full nodes");
        let (mut times, grants) = measure(nodes, ends)?;
        let name = |what: &str| format!("{what} of one plan with backfill, {nodes} full nodes");
        let p50 = Figure::shown(name("p50"), times.quantile(500) * 1e3, "ms");
        let is_judged = nodes == large && !quick;
        figures.push(if is_judged { p50.target(Target::AtMost(PLAN_MS)) } else { p50 });
        figures.push(Figure::shown(name("longest"), times.quantile(1000) * 1e3, "ms"));
        figures.push(Figure::shown(name("jobs started after one end: mean"), grants, "1"));
    }
    Ok(figures)
}

/// A full pool and jobs that wait, all with limits.
pub(crate) fn full(nodes: u32) -> Result<World, String> {
    let mut world = World::with_policy(Policy::default(), nodes, 8)?;
    let user: UserName = "ada".parse().map_err(|error| format!("{error}"))?;
    let (kinds, mut random) = (kinds(), Random::stream(42, "backfill"));
    for _ in 0..nodes * JOBS {
        let Some(kind) = kinds.get(next_kind(&mut random)) else { continue };
        let mut ask = kind.ask(tenant(random.below(20))?, user.clone());
        ask.when.time_limit = Some(Micros::from_secs(3600 << random.below(5)));
        world.submit(ask)?;
    }
    world.settle(None)?;
    let backfill = Backfill { reserved: 1, believe: Believe::Limit };
    let policy = Policy { backfill, ..Policy::default() };
    world.apply(&Event::PolicySet { policy: Box::new(policy) })?;
    world.settle(None)?;
    Ok(world)
}

fn measure(nodes: u32, ends: usize) -> Result<(Times, f64), String> {
    let mut world = full(nodes)?;
    let (mut times, before) = (Times::default(), world.grants);
    let leases: Vec<_> = world.leases.iter().copied().take(ends).collect();
    for lease in leases {
        world.end(lease)?;
        loop {
            let (number, _, took) = world.pass()?;
            times.push(took);
            if number == 0 {
                break;
            }
        }
    }
    let broken = world.engine.check();
    if !broken.is_empty() {
        return Err(format!("{} promises broken", broken.len()));
    }
    let grants = u32::try_from(world.grants - before).unwrap_or(u32::MAX);
    Ok((times, f64::from(grants) / f64::from(u32::try_from(ends).unwrap_or(1))))
}
