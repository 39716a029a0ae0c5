//! Lending: an idle tenant's share is used by its neighbour, and is there again when it returns.

use super::figures::{Figures, Target};
use super::stamps::{Stamp, turns};
use super::stats;
use super::tenants::{Bench, Load};
use anyhow::{Context, Result};

/// The arbiter's quantum, as `docs/` states it; the bound on coming back is two of them and a kernel.
const QUANTUM_MS: f64 = 20.0;
const KERNEL_MS: f64 = 1.0;

/// The 70 % tenant works, sleeps and comes back, several times; the 30 % tenant never stops.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let seconds = bench.choose(24.0, 6.0);
    bench.step("70/30, the 70 % tenant sleeps a second in every two");
    let steady = Load::saturating(1_000, seconds);
    let sleeper = Load { phase_ms: Some((1_000, 1_000)), ..Load::saturating(1_000, seconds - 2.0) };
    let neighbour = bench.leased("b", &["--compute", "30%"], &steady)?;
    crate::polder::pause(std::time::Duration::from_secs(1))?;
    let sleeper = bench.leased("a", &["--compute", "70%"], &sleeper)?;
    let (summary, sleeper) = sleeper.finish()?;
    let (_, neighbour) = neighbour.finish()?;
    let returns: Vec<u64> = summary
        .get("returns_ns")
        .and_then(serde_json::Value::as_array)
        .context("the workload does not say when it came back")?
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .collect();

    let mut lent = Vec::new();
    let mut back = Vec::new();
    let mut share_after = Vec::new();
    for at in &returns {
        let Some(first) = sleeper.iter().find(|stamp| stamp.end > *at) else { continue };
        back.push((first.start.saturating_sub(*at)) as f64 / 1e6);
        let after = first.start;
        share_after.push(busy(&sleeper, &neighbour, after, after + 500_000_000));
        let asleep = (at.saturating_sub(900_000_000), at.saturating_sub(20_000_000));
        let had = alone_busy(&neighbour, asleep.0, asleep.1);
        lent.push(had * 100.0);
    }
    let reached = stats::median(&mut lent);
    figures.add(
        "70 % tenant idle: the 30 % tenant's device time of wall",
        reached,
        "%",
        Some(100.0),
        Target::AtLeast(95.0),
    );
    let worst = back.iter().copied().fold(0.0, f64::max);
    let limit = 2.0 * QUANTUM_MS + KERNEL_MS;
    figures.add(
        format!("70 % tenant returns: first kernel starts after, worst of {}", back.len()),
        worst,
        "ms",
        Some(limit),
        Target::AtMost(limit),
    );
    figures.add(
        "70 % tenant back: its share over the next 500 ms",
        stats::median(&mut share_after) * 100.0,
        "%",
        Some(70.0),
        // More, for a while: it comes back with a bounded credit for the time it lent.
        Target::AtLeast(70.0),
    );
    Ok(())
}

/// The first tenant's part of what both had between `from` and `to`.
fn busy(one: &[Stamp], two: &[Stamp], from: u64, to: u64) -> f64 {
    let near = |stamps: &[Stamp]| -> Vec<Stamp> {
        stamps.iter().filter(|stamp| stamp.start >= from && stamp.end <= to).copied().collect()
    };
    let turns = turns(&[near(one), near(two)]);
    let had = |tenant: usize| -> u64 {
        turns.iter().filter(|turn| turn.tenant == tenant).map(|turn| turn.end - turn.start).sum()
    };
    had(0) as f64 / (had(0) + had(1)).max(1) as f64
}

/// The part of the time between `from` and `to` in which the tenant had something on the device.
fn alone_busy(stamps: &[Stamp], from: u64, to: u64) -> f64 {
    let mut at = from;
    let mut sum = 0;
    for stamp in stamps.iter().filter(|stamp| stamp.end > from && stamp.start < to) {
        sum += stamp.end.min(to).saturating_sub(stamp.start.max(at));
        at = at.max(stamp.end);
    }
    sum as f64 / (to - from).max(1) as f64
}
