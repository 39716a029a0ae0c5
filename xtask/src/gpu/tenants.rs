//! Steps in which a lease changes, ends, or has a tenant that keeps to nothing.

use super::Ended;
use super::report::Target;
use super::run::{Said, number, start};
use super::steps::{LOOK_MAX, MEMORY, SHARE, SLACK, Scene, monotonic_ns, words};
use crate::polder::pause;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};

/// A process without a slot is found, and in `strict` ended, within this.
const FOUND_MAX_MS: f64 = 2_000.0;
/// How long a process without a slot would stay.
const STAY_SECONDS: u64 = 20;
/// Cap before and after a change, per cent.
const CAPS: [u32; 2] = [20, 60];
/// Longest wait until a job that was started is known to its pool.
const KNOWN_MAX: Duration = Duration::from_secs(10);
/// Memory of a lease and what stands behind it, and what is taken.
const BEHIND: [&str; 2] = ["1GiB", "3GiB"];
const TAKEN_MIB: u64 = 2_048;

/// A copy of the vendor's library, an empty environment, and so a program that Polder's driver never
/// sees: in `strict` it is ended, and its lease goes on.
pub(crate) fn strict(scene: &mut Scene) -> Result<Ended> {
    if scene.machine.is_stand_in() {
        return Ok(Ended::Skipped("the stand-in NVML knows no such process".into()));
    }
    let vendor = start(&mut scene.native(&words(&[&"vendor"])), LOOK_MAX)?.finish_well()?.stdout;
    let folder = tempfile::Builder::new().prefix("polder-vendor-").tempdir()?;
    std::fs::copy(vendor.trim(), folder.path().join("libcuda.so.1"))
        .with_context(|| format!("cannot copy {}", vendor.trim()))?;
    scene.begin_pool(&["--enforcement", "strict"])?;
    let script = format!(
        "env -i LD_LIBRARY_PATH={} {} stay {STAY_SECONDS}; echo \"{{\\\"status\\\": $?}}\"",
        folder.path().display(),
        scene.machine.work().display()
    );
    let shell = std::path::Path::new("/bin/sh");
    let mut command = scene.leased(&SHARE, shell, &["-c".to_owned(), script])?;
    let said = start(&mut command, LOOK_MAX)?.finish_well()?;
    let lasted = lasted(&said)?;
    scene.drop_pool()?;
    let most = Target::AtMost(FOUND_MAX_MS);
    scene.figure(
        "a process without a slot, on the card before it was ended",
        lasted,
        "ms",
        None,
        most,
    );
    Ok(Ended::Passed)
}

/// How long a program was on the card, milliseconds, that a signal ended.
fn lasted(said: &Said) -> Result<f64> {
    let ended_ns = monotonic_ns();
    let line = |name: &str| {
        let mut all =
            said.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        all.find_map(|line| line[name].as_u64())
    };
    let status = line("status").with_context(|| format!("it said nothing: {}", said.words()))?;
    let killed = 128 + 9;
    ensure!(status == killed, "it ended with {status}, not with SIGKILL: {}", said.words());
    let on_card = line("on_card_ns").unwrap_or(ended_ns);
    Ok(ended_ns.saturating_sub(on_card) as f64 / 1e6)
}

/// What a lease leaves in the card's memory, the next one does not find there.
pub(crate) fn cleared(scene: &mut Scene) -> Result<Ended> {
    scene.begin_pool(&[])?;
    let leave = start(&mut scene.work(&SHARE, &words(&[&"mark"]))?, LOOK_MAX)?.finish_well()?;
    let left = number(&leave.figures()?, "marked")?;
    let seek = start(&mut scene.work(&SHARE, &words(&[&"seek"]))?, LOOK_MAX)?.finish_well()?;
    let seek = seek.figures()?;
    let mib = f64::from(1 << 20);
    let (found, other) = (number(&seek, "found")? / mib, number(&seek, "not_zero")? / mib);
    scene.figure("left in the card's memory", left / mib, "MiB", None, Target::AtLeast(1.0));
    scene.figure("of it found by the next lease", found, "MiB", None, Target::AtMost(0.0));
    scene.figure("else found by the next lease", other, "MiB", None, Target::AtMost(0.0));
    Ok(Ended::Passed)
}

/// A program that is moved off the card for a while: its memory comes back, and it pays for no time away.
pub(crate) fn checkpoint(scene: &mut Scene) -> Result<Ended> {
    const AWAY_SECONDS: u64 = 6;
    scene.begin_pool(&[])?;
    let mut command = scene.work(&SHARE, &words(&[&"away", &AWAY_SECONDS]))?;
    let said = start(&mut command, LOOK_MAX)?.finish()?;
    // Not supported, or not there, as drivers before 12.8 have it.
    if ["left: 801", "left: 500"].iter().any(|result| said.words().contains(result)) {
        return Ok(Ended::Skipped(format!("this driver moves no process: {}", said.words())));
    }
    let had = said.figures()?;
    ensure!(had["moved"] == true, "it was not moved: {}", said.words());
    let mib = f64::from(1 << 20);
    let same = number(&had, "same")? / mib;
    let least = Target::AtLeast(number(&had, "bytes")? / mib);
    scene.figure("came back to the card as it was", same, "MiB", None, least);
    let usage = scene.pool()?.json(["usage"])?;
    let rows = usage["rows"].as_array().context("no usage")?.iter();
    let charged = rows.filter_map(|row| row["device_time"].as_f64()).sum::<f64>() / 1e6;
    let on_card = number(&had, "on_card_s")?;
    // Twice the time between two looks at the card, and one.
    let most = Target::AtMost(on_card + 2.0);
    scene.figure("charged of a program that was away", charged, "s", Some(on_card), most);
    Ok(Ended::Passed)
}

/// Twice a lease's memory, with host memory behind it.
pub(crate) fn backing(scene: &mut Scene) -> Result<Ended> {
    scene.begin_pool(&["--host-backing", BEHIND[1]])?;
    let took = words(&[&"behind", &TAKEN_MIB]);
    let flags = ["--compute", "50%", "--memory", BEHIND[0]];
    let without = start(&mut scene.work(&flags, &took)?, LOOK_MAX)?.finish_well()?.figures()?;
    ensure!(without["refused"] != 0, "without backing it had more than its memory: {without}");
    let flags = [&flags[..], &["--host-backed", BEHIND[1]]].concat();
    let had = start(&mut scene.work(&flags, &took)?, LOOK_MAX)?.finish_well()?.figures()?;
    ensure!(had["refused"] == 0, "with backing it was refused: {had}");
    let right = number(&had, "right")? / f64::from(1 << 20);
    // The stand-in keeps no bytes.
    let least = if scene.machine.is_stand_in() { 0.0 } else { TAKEN_MIB as f64 };
    scene.figure("came back as written", right, "MiB", None, Target::AtLeast(least));
    Ok(Ended::Passed)
}

/// A running lease's cap, changed: what it had before and has after, and how soon.
pub(crate) fn resize(scene: &mut Scene) -> Result<Ended> {
    const LENGTH_US: u64 = 1_000;
    const TOGETHER: u64 = 10;
    scene.begin_pool(&[])?;
    let rounds = scene.rounds(LENGTH_US)?;
    let seconds = if scene.quick { 6 } else { 12 };
    let few = words(&[&"rates", &LENGTH_US, &rounds, &2, &TOGETHER]);
    let natively = start(&mut scene.native(&few), LOOK_MAX)?.finish_well()?.figures()?;
    let natively = mean(rates(&natively)?.get(5..))?;
    let caps = CAPS.map(|cap| format!("{cap}%"));
    let flags = ["--compute", &caps[0], "--compute-max", &caps[0], "--memory", MEMORY];
    let load = words(&[&"rates", &LENGTH_US, &rounds, &seconds, &TOGETHER]);
    let running = start(&mut scene.work(&flags, &load)?, Duration::from_secs(seconds) + SLACK)?;
    let job = running_job(scene)?;
    pause(Duration::from_secs(2 + seconds / 2))?;
    let words = ["resize", &job, "--compute", &caps[1], "--compute-max", &caps[1]];
    let asked_ns = monotonic_ns();
    scene.pool()?.text(words)?;
    let told_ns = monotonic_ns();
    let figures = running.finish_well()?.figures()?;
    let from_ns = figures["from_ns"].as_u64().context("no beginning")?;
    let rates: Vec<f64> =
        rates(&figures)?.into_iter().map(|count| count * 100.0 / natively).collect();
    let tenth =
        |at_ns: u64| usize::try_from(at_ns.saturating_sub(from_ns) / 100_000_000).unwrap_or(0);
    let (asked, told) = (tenth(asked_ns), tenth(told_ns));
    // The first half second has the start in it.
    let before = mean(rates.get(5..asked))?;
    let after = mean(rates.get(told + 2..))?;
    let within = || scene.timed(Target::Within(2.0));
    let [low, high] = CAPS.map(f64::from);
    let (first, second) = (within(), within());
    scene.figure("before, of the same natively", before, "%", Some(low), first);
    scene.figure("after, of the same natively", after, "%", Some(high), second);
    let took = told_ns.saturating_sub(asked_ns) as f64 / 1e6;
    scene.figure("until the change was answered", took, "ms", None, Target::Shown);
    // Half of the way: a tenth of a second that the change falls into is between the two.
    let half = f64::midpoint(low, high);
    let late = rates.iter().skip(asked).position(|rate| *rate > half).context("it never held")?;
    let tenths = u32::try_from(late).unwrap_or(u32::MAX);
    scene.figure(
        "tenths of a second until it held",
        f64::from(tenths),
        "",
        None,
        Target::AtMost(2.0),
    );
    Ok(Ended::Passed)
}

/// Kernels that ended in each tenth of a second.
pub(crate) fn rates(figures: &Value) -> Result<Vec<f64>> {
    let ended = figures["ended"].as_array().context("no rates")?;
    Ok(ended.iter().map(|count| count.as_f64().unwrap_or(0.0)).collect())
}

pub(crate) fn mean(of: Option<&[f64]>) -> Result<f64> {
    let of = of.filter(|of| !of.is_empty()).context("too short to tell")?;
    Ok(of.iter().sum::<f64>() / of.len() as f64)
}

/// The job that runs, once its pool shows it.
fn running_job(scene: &mut Scene) -> Result<String> {
    let until = Instant::now() + KNOWN_MAX;
    loop {
        let queue = scene.pool()?.json(["queue"])?;
        let first = queue["active"].as_array().and_then(|active| active.first());
        if let Some(number) = first.and_then(|job| job["id"].as_u64()) {
            return Ok(number.to_string());
        }
        ensure!(Instant::now() < until, "no job runs: {queue}");
        pause(Duration::from_millis(50))?;
    }
}

/// What `polder profile` says of kernels whose length is known.
pub(crate) fn profile(scene: &mut Scene) -> Result<Ended> {
    const LENGTH_US: u64 = 1_000;
    let load = scene.load(LENGTH_US, 3, 0)?;
    let out = tempfile::Builder::new().prefix("polder-profile-").tempdir()?;
    let folder = out.path().join("out").display().to_string();
    let program = scene.machine.work().display().to_string();
    let mut all = vec!["profile", "--out", &folder, "--feature", "cuda"];
    all.extend(SHARE);
    all.extend(["--", program.as_str()]);
    all.extend(load.iter().map(String::as_str));
    let said = start(&mut scene.pool()?.command(all), LOOK_MAX)?.finish_well()?;
    let kernels = number(&said.figures()?, "kernels")?;
    let text = std::fs::read(std::path::Path::new(&folder).join("profile.json"))?;
    let told: Value = serde_json::from_slice(&text).context("profile.json")?;
    let name = format!("work_{LENGTH_US}us");
    let rows = told["names"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["name"] == name.as_str());
    let row = row.with_context(|| format!("no {name} among {} names: {told}", rows.len()))?;
    // One kernel comes before those that are counted.
    let launches = Target::Within(1.0);
    scene.figure("launches told", number(row, "count")?, "", Some(kernels), launches);
    let each = number(row, "total_ns")? / number(row, "count")?.max(1.0) / 1e3;
    let near = scene.timed(Target::Within(LENGTH_US as f64 / 10.0));
    scene.figure("length told of a kernel of 1,000 us", each, "us", Some(LENGTH_US as f64), near);
    Ok(Ended::Passed)
}
