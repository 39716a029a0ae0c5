//! What it costs to be alone under Polder, and whether a hard cap holds.

use super::figures::{Figures, Target};
use super::stamps::turns;
use super::stats;
use super::tenants::{Bench, Load, rate};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// Interleaved pairs against the same program without Polder, with an A/A control beside them.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let load = Load { seconds: bench.choose(3.2, 0.6), ..Load::saturating(100, 0.0) };
    let pairs = bench.choose(15, 3);
    let (mut ratios, mut control) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        bench.step(&format!("pair {} of {pairs}", pair + 1));
        // The order turns round from pair to pair, so that a drift of the machine cancels.
        let mut rates = [0.0; 3];
        let mut order = [0, 1, 2];
        order.rotate_left(pair % 3);
        for which in order {
            let program = match which {
                0 | 1 => bench.native(&load)?,
                _ => bench.leased("a", &["--compute", "30%"], &load)?,
            };
            rates[which] = rate(&program.finish()?.1);
        }
        ratios.push(rates[2] / rates[0] * 100.0);
        control.push(rates[1] / rates[0] * 100.0);
    }
    let lower = stats::lower_bound(&ratios);
    let name = "alone, uncapped, kernels of 0.1 ms: speed, lower 95 % bound";
    figures.add(name, lower, "% of native", Some(100.0), Target::AtLeast(97.0));
    let middle = stats::median(&mut ratios);
    figures.add("alone: speed, median", middle, "% of native", Some(100.0), Target::Shown);
    let lower = stats::lower_bound(&control);
    let name = "native against native (A/A control): lower 95 % bound";
    figures.add(name, lower, "% of native", Some(100.0), Target::Shown);
    instructions(bench, figures)
}

/// Instructions that Polder adds to one command from its enqueue to its end, counted under callgrind
/// in all threads of the program.
fn instructions(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    bench.step("instructions per enqueue");
    let (few, many) = (200_u32, 1_200_u32);
    let mut per_enqueue = [0.0; 2];
    for (leased, slot) in [false, true].into_iter().zip(&mut per_enqueue) {
        // The least of three: a run in which PoCL compiled the kernel, or whose threads looked for
        // work for longer, has counted that too.
        let count = |commands: u32| -> Result<f64> {
            let mut least = f64::INFINITY;
            for _ in 0..3 {
                least = least.min(enqueue_cost(bench, leased, commands)?);
            }
            Ok(least)
        };
        *slot = (count(many)? - count(few)?) / f64::from(many - few);
    }
    let added = per_enqueue[1] - per_enqueue[0];
    let name = "instructions added per enqueue, all threads";
    figures.add(name, added, "instructions", Some(per_enqueue[0]), Target::Shown);
    Ok(())
}

fn enqueue_cost(bench: &Bench, leased: bool, commands: u32) -> Result<f64> {
    let out = bench.folder().join("callgrind.out");
    let words = [
        "valgrind".to_owned(),
        "--tool=callgrind".into(),
        format!("--callgrind-out-file={}", out.display()),
        bench.workload().display().to_string(),
        "--iterations".into(),
        "1".into(),
        "--seconds".into(),
        "600".into(),
        "--commands".into(),
        commands.to_string(),
    ];
    let mut command = if leased {
        let mut line = vec!["run", "--quiet", "--tenant", "a", "--compute", "30%"];
        line.extend(["--memory", "64MiB", "--"]);
        line.extend(words.iter().map(String::as_str));
        bench.pool.command(line)
    } else {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    };
    let cache = std::env::temp_dir().join("polder-kernel-cache");
    let output = command.env("POCL_CACHE_DIR", cache).stdin(Stdio::null()).output()?;
    let text = std::fs::read_to_string(&out).with_context(|| {
        format!("callgrind left nothing: {}", String::from_utf8_lossy(&output.stderr).trim())
    })?;
    text.lines()
        .find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")))
        .and_then(|total| total.trim().parse().ok())
        .context("callgrind's file has no total")
}

/// A hard cap of 30 % holds although nobody else is there.
pub(crate) fn cap(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    for kernel_us in bench.choose(vec![1_000, 10_000], vec![1_000]) {
        let load = Load::saturating(kernel_us, bench.choose(15.0, 3.0));
        bench.step(&format!("hard cap of 30 %, kernels of {} ms", kernel_us / 1000));
        let flags = ["--compute", "30%", "--compute-max", "30%"];
        let (_, stamps) = bench.leased("a", &flags, &load)?.finish()?;
        // Alone, a turn ends where the device stood still for longer than the arbiter's grace.
        let mut busy = 0;
        let mut at = stamps.first().context("no kernels")?.start;
        let from = at;
        for turn in stamps.iter().flat_map(|stamp| turns(&[vec![*stamp]])) {
            let gap = turn.start.saturating_sub(at);
            busy +=
                turn.end.saturating_sub(turn.start.max(at)) + if gap < 200_000 { gap } else { 0 };
            at = at.max(turn.end);
        }
        let share = busy as f64 / (at - from) as f64 * 100.0;
        let name =
            format!("hard cap of 30 %, kernels of {} ms: device time of wall", kernel_us / 1000);
        figures.add(name, share, "%", Some(30.0), Target::Within(2.0));
    }
    Ok(())
}
