//! A server of short requests beside a batch job that never rests: what its slowest requests wait.

use super::figures::{Figures, Target};
use super::stats;
use super::tenants::{Bench, Load, soon};
use anyhow::{Context, Result};
use serde_json::Value;

/// A request comes in each such time...
const EVERY_MS: u64 = 50;
/// ...and takes so many kernels...
const KERNELS: u64 = 5;
/// ...of so many microseconds.
const KERNEL_US: u64 = 1_000;
/// Of the neighbour.
const BATCH_KERNEL_US: u64 = 10_000;

/// Five milliseconds of work every fifty, alone and beside kernels of ten milliseconds.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let requests: u32 = bench.choose(1_000, 60);
    let seconds = f64::from(requests) * EVERY_MS as f64 / 1000.0;
    let requests = Some((EVERY_MS, KERNELS));
    let server = Load { requests, ..Load::saturating(KERNEL_US, seconds) };
    let batch = Load::saturating(BATCH_KERNEL_US, seconds + 2.0);
    let flags = ["--compute", "30%", "--class", "inference"];
    bench.calibrate(&server)?;
    bench.calibrate(&batch)?;

    bench.step("requests alone");
    let (seen, _) = bench.leased("a", &flags, &server)?.finish()?;
    let alone = latencies_ms(&seen)?;
    bench.step("kernels of 10 ms alone");
    let batch_alone = bench.rate_alone(&batch)?;

    for class in ["inference", "batch"] {
        bench.step(&format!("requests of class {class} beside kernels of 10 ms"));
        bench.settle()?;
        let start_at = Some(soon());
        let flags = ["--compute", "30%", "--class", class];
        let server = bench.leased("a", &flags, &Load { start_at, ..server.clone() })?;
        let other = Load { start_at, ..batch.clone() };
        let other = bench.leased("b", &["--compute", "70%"], &other)?;
        let beside = latencies_ms(&server.finish()?.0)?;
        let stamps = other.finish()?.1;
        let lengths = stamps.iter().map(|stamp| (stamp.end - stamp.start) as f64 / 1e6);
        let kernel = stats::median(&mut lengths.collect::<Vec<_>>());
        let name = |what: &str| format!("requests of class {class} beside 10 ms: {what}");
        let quantile = |of: &[f64], fraction| stats::percentile(&mut of.to_vec(), fraction);
        // To the tenth of a millisecond, as people read it.
        let limit = ((1.10 * quantile(&alone, 0.99) + kernel) * 10.0).round() / 10.0;
        let target = if class == "inference" { Target::AtMost(limit) } else { Target::Shown };
        let (p99, base) = (quantile(&beside, 0.99), quantile(&alone, 0.99));
        figures.add(name("p99"), p99, "ms", Some(base), target);
        let (p50, base) = (quantile(&beside, 0.5), quantile(&alone, 0.5));
        figures.add(name("p50"), p50, "ms", Some(base), Target::Shown);
        figures.add(name("neighbour's kernel"), kernel, "ms", None, Target::Shown);
        let rate = super::tenants::rate(&stamps) / batch_alone * 100.0;
        let neighbour = name("neighbour's kernels of its rate alone");
        figures.add(neighbour, rate, "%", Some(90.0), Target::Shown);
    }
    Ok(())
}

/// How long each request took.
fn latencies_ms(summary: &Value) -> Result<Vec<f64>> {
    let list = summary["latencies_ns"].as_array().context("the server told no latencies")?;
    let ms = list.iter().filter_map(Value::as_f64).map(|ns| ns / 1e6).collect::<Vec<_>>();
    if ms.is_empty() {
        anyhow::bail!("the server answered no request");
    }
    Ok(ms)
}
