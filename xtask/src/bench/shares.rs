//! Shares: two and three saturating tenants, read from the programs' own event stamps.

use super::figures::{Figures, Target};
use super::stamps::Contention;
use super::tenants::{Bench, Load, soon};
use anyhow::Result;

const TENANTS: [&str; 3] = ["a", "b", "c"];

/// The share matrix, mixed lengths, and a tenant with host gaps.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let splits: &[&[u32]] = &[&[50, 50], &[70, 30], &[90, 10], &[60, 30, 10]];
    for kernel_us in bench.choose(vec![100, 1_000, 10_000, 100_000], vec![1_000]) {
        let alone = |bench: &mut Bench| bench.rate_alone(&Load::saturating(kernel_us, 3.0));
        let mut before = alone(bench)?;
        for split in bench.choose(splits, &splits[1..2]) {
            let seen = equal(bench, kernel_us, split)?;
            // The machine's own speed drifts within minutes: the baseline is what it was on both
            // sides of the measurement.
            let after = alone(bench)?;
            note(figures, kernel_us, split, &seen, f64::midpoint(before, after));
            before = after;
        }
    }
    mixed(bench, figures)?;
    gaps(bench, figures)
}

/// Runs one saturating program per share and returns what each had.
fn together(bench: &mut Bench, split: &[u32], loads: &[Load]) -> Result<Contention> {
    for load in loads {
        bench.calibrate(load)?;
    }
    bench.settle()?;
    // All calibrated before the clock starts, and at work at the same moment.
    let start_at = soon();
    let mut running = Vec::new();
    for ((share, load), tenant) in split.iter().zip(loads).zip(TENANTS) {
        let compute = format!("{share}%");
        let load = Load { start_at: Some(start_at), ..load.clone() };
        running.push(bench.leased(tenant, &["--compute", &compute], &load)?);
    }
    let mut stamps = Vec::new();
    for program in running {
        stamps.push(program.finish()?.1);
    }
    Ok(Contention::of(&stamps, 500_000_000))
}

fn name(kernel_us: u64, split: &[u32]) -> String {
    let split: Vec<String> = split.iter().map(u32::to_string).collect();
    format!("{} of {} ms", split.join("/"), kernel_us as f64 / 1000.0)
}

fn equal(bench: &mut Bench, kernel_us: u64, split: &[u32]) -> Result<Contention> {
    bench.step(&name(kernel_us, split));
    let seconds = bench.choose(21.0, 4.0);
    let loads = vec![Load::saturating(kernel_us, seconds); split.len()];
    together(bench, split, &loads)
}

/// What each tenant had: time, kernels against `alone` kernels a second, and how steadily.
fn note(figures: &mut Figures, kernel_us: u64, split: &[u32], seen: &Contention, alone: f64) {
    let name = name(kernel_us, split);
    for (tenant, share) in split.iter().enumerate() {
        let asked = f64::from(*share);
        let label = format!("{name}, tenant of {share}");
        let had = seen.share(tenant) * 100.0;
        figures.add(format!("{label}: device time"), had, "%", Some(asked), Target::Within(1.0));
        let finished = seen.rate(tenant) / alone * 100.0;
        let kernels = format!("{label}: kernels of its rate alone");
        figures.add(kernels, finished, "%", Some(asked), Target::Within(3.0));
        if kernel_us <= 10_000 {
            let near = seen.seconds_within(tenant, asked / 100.0, 8.0) * 100.0;
            let windows = format!("{label}: seconds within 8 points");
            figures.add(windows, near, "%", None, Target::AtLeast(95.0));
        }
    }
}

/// Kernels of 1 ms beside kernels of 30 ms: time is shared, whatever the lengths.
fn mixed(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    bench.step("50/50, kernels of 1 ms beside kernels of 30 ms");
    let seconds = bench.choose(21.0, 4.0);
    let loads = [Load::saturating(1_000, seconds), Load::saturating(30_000, seconds)];
    let alone = bench.rate_alone(&loads[0])?;
    let seen = together(bench, &[50, 50], &loads)?;
    for (tenant, length) in ["1 ms", "30 ms"].iter().enumerate() {
        let had = seen.share(tenant) * 100.0;
        let name = format!("50/50 of 1 and 30 ms, tenant of {length}: device time");
        figures.add(name, had, "%", Some(50.0), Target::Within(1.0));
    }
    let finished = seen.rate(0) / alone * 100.0;
    let name = "50/50 of 1 and 30 ms, tenant of 1 ms: kernels of its rate alone";
    figures.add(name, finished, "%", Some(50.0), Target::Within(3.0));
    Ok(())
}

/// A tenant that sleeps 2 ms on the host after each kernel: its neighbour must not lose by it.
fn gaps(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    bench.step("50/50, a tenant with 2 ms host gaps");
    let seconds = bench.choose(21.0, 4.0);
    let steady = Load::saturating(1_000, seconds);
    let gappy = Load { gap_us: 2_000, depth: 1, ..steady.clone() };
    let alone = bench.rate_alone(&steady)?;
    let seen = together(bench, &[50, 50], &[gappy, steady])?;
    let neighbour = seen.rate(1) / alone * 100.0;
    let name = "50/50, beside a tenant with 2 ms gaps: neighbour's kernels of its rate alone";
    figures.add(name, neighbour, "%", Some(50.0), Target::AtLeast(49.0));
    let own = seen.share(0) * 100.0;
    let name = "50/50, the tenant with 2 ms gaps: device time";
    figures.add(name, own, "%", Some(50.0), Target::Shown);
    Ok(())
}
