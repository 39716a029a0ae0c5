//! Two tenants who use more memory than the device has, against the same two with all of it on the
//! device, and against both on the bare device: what the host memory behind it costs.
//!
//! PoCL's device memory is the host's own, so a move between device and host is a copy within one
//! memory: what is shown is what moving costs there, and that results are right.

use super::figures::{Figures, Target};
use super::tenants::Bench;
use crate::polder::pause;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Buffers of one tenant, and the size of each.
const BUFFERS: u64 = 16;
const BUFFER_MIB: u64 = 4;
/// What a tenant has of the device when both have 1.6 times as much as it: ten of sixteen buffers.
const PART_MIB: u64 = 40;
/// Behind it: the other six, and room to move two.
const BEHIND_MIB: u64 = 32;
/// Longest wait for the programs to be ready.
const READY_MAX: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(10);

/// How the two run.
#[derive(Clone, Copy)]
enum Way {
    Native,
    Fitting,
    Backed,
}

/// Each change of a word repeated so often: a program bound by memory, and one by compute.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let rounds = bench.choose(6, 2);
    for (what, work) in [("little compute", 4_u64), ("much compute", 400)] {
        let mut times = [0.0_f64; 3];
        for (at, way) in [Way::Native, Way::Fitting, Way::Backed].into_iter().enumerate() {
            bench.step(&format!("two tenants, {what}, {}", name(way)));
            times[at] = two(bench, way, rounds, work)?;
            bench.settle()?;
        }
        let [native, fitting, backed] = times;
        figures.add(
            format!("{what}: two tenants with 1.6 times the device, against native where all fits"),
            backed,
            "s",
            Some(native),
            Target::Shown,
        );
        figures.add(
            format!("{what}: the same against two leases where all fits"),
            backed,
            "s",
            Some(fitting),
            Target::Shown,
        );
    }
    Ok(())
}

fn name(way: Way) -> &'static str {
    match way {
        Way::Native => "on the bare device",
        Way::Fitting => "all of it on the device",
        Way::Backed => "1.6 times the device",
    }
}

/// Seconds until both have come to their results, which must be right.
fn two(bench: &mut Bench, way: Way, rounds: u64, work: u64) -> Result<f64> {
    let go = bench.folder().join("go");
    let _ = std::fs::remove_file(&go);
    let mut running = Vec::new();
    for tenant in ["a", "b"] {
        let ready = bench.folder().join(format!("ready-{tenant}"));
        let _ = std::fs::remove_file(&ready);
        running.push((start(bench, tenant, way, rounds, work, &ready, &go)?, ready));
    }
    let mut waited = Duration::ZERO;
    while !running.iter().all(|(_, ready)| ready.exists()) {
        pause(LOOK)?;
        waited += LOOK;
        if waited > READY_MAX {
            bail!("the programs are not ready");
        }
    }
    std::fs::write(&go, "")?;
    let mut longest = 0.0_f64;
    for (child, _) in running {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("spread: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let said: Value = serde_json::from_str(text.lines().last().context("it said nothing")?)?;
        if said.get("right") != Some(&Value::Bool(true)) {
            bail!("a result is wrong: {said}");
        }
        let seconds = said.get("seconds").and_then(Value::as_f64).context("no seconds")?;
        longest = longest.max(seconds);
    }
    Ok(longest)
}

fn start(
    bench: &Bench,
    tenant: &str,
    way: Way,
    rounds: u64,
    work: u64,
    ready: &Path,
    go: &Path,
) -> Result<Child> {
    let program: PathBuf = bench.workload().with_file_name("spread");
    let numbers =
        [("--buffers", BUFFERS), ("--mib", BUFFER_MIB), ("--rounds", rounds), ("--work", work)];
    let mut words = vec![program.display().to_string()];
    words.extend(numbers.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.to_string()]));
    for (flag, path) in [("--ready", ready), ("--go", go)] {
        words.extend([flag.to_owned(), path.display().to_string()]);
    }
    let mut command = match way {
        Way::Native => {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            command.env("POCL_CACHE_DIR", std::env::temp_dir().join("polder-kernel-cache"));
            command.stdin(Stdio::null());
            command
        }
        Way::Fitting | Way::Backed => {
            let (memory, behind) = match way {
                Way::Backed => (PART_MIB, Some(BEHIND_MIB)),
                _ => (BUFFERS * BUFFER_MIB, None),
            };
            let mut line: Vec<String> =
                ["run", "--quiet", "--tenant", tenant, "--compute", "50%"].map(String::from).into();
            line.extend(["--memory".to_owned(), format!("{memory}MiB")]);
            if let Some(behind) = behind {
                line.extend(["--host-backed".to_owned(), format!("{behind}MiB")]);
            }
            line.push("--".to_owned());
            line.extend(words);
            bench.pool.command(line)
        }
    };
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}
