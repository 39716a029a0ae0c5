//! The story itself.

use super::programs::{fft, hashcat, hashes_tried};
use super::watch::{self, Seen};
use crate::polder::{Pool, pause};
use crate::say;
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// How long the two neighbours are watched together.
const TOGETHER: Duration = Duration::from_secs(22);

/// Two tenants share a device; a queue forms, is explained, and drains; a greedy program meets its
/// limit; and everybody's use is on the bill.
pub(crate) fn tell(pool: &Pool) -> Result<()> {
    say::heading("1. What is here");
    say::line(pool.text(["devices"])?.trim_end());
    for (tenant, arguments) in [("vision", vec![]), ("speech", vec![]), ("guest", vec![])] {
        let mut words = vec!["admin", "tenant", "set", tenant];
        words.extend::<Vec<&str>>(arguments);
        pool.text(words)?;
    }

    say::heading("2. Two tenants, one device: 70 % and 30 %, both searching without pause");
    let vision = submit(pool, "vision", "70%", "1GiB", "search-v", &hashcat("vision", 75))?;
    let speech = submit(pool, "speech", "30%", "1GiB", "search-s", &hashcat("speech", 75))?;
    wait_started(pool, vision)?;
    wait_started(pool, speech)?;
    let neighbours = [vision, speech];
    wait_until_both_compute(pool, neighbours)?;
    let before = looks(pool, neighbours)?;
    let tried_before = tried(pool, neighbours)?;
    watch_shares(pool, neighbours, TOGETHER)?;
    let after = looks(pool, neighbours)?;
    let tried_after = tried(pool, neighbours)?;

    say::heading("3. The device is full: a queue forms");
    let greedy = submit(pool, "guest", "10%", "16MiB", "greedy", &fft(1 << 21, 4))?;
    let mut waiting = vec![greedy];
    for number in 1..=4 {
        let name = format!("fft-{number}");
        waiting.push(submit(pool, "guest", "15%", "64MiB", &name, &fft(1 << 20, 20))?);
    }
    pause(Duration::from_millis(300))?;
    say::line(pool.text(["queue"])?.trim_end());
    say::line(format!("\n$ polder explain {greedy}"));
    say::line(pool.text(["explain", &greedy.to_string()])?.trim_end());

    say::heading(
        "4. speech ends: the queue drains beside vision, and the greedy one meets its limit",
    );
    pool.text(["cancel", &speech.to_string()])?;
    let held_before = watch::lease_of(pool, vision)?.context("vision has no lease")?;
    drain(pool, &waiting)?;
    let held_after = watch::lease_of(pool, vision)?.context("vision has no lease")?;
    show_refusal(pool, greedy)?;
    if held_after.device_time <= held_before.device_time {
        bail!("vision stood still while the queue drained");
    }
    let ran = (held_after.device_time - held_before.device_time) as f64 / 1e6;
    say::line(format!("vision ran on beside it: {ran:.1} more seconds of device time"));
    pool.text(["cancel", &vision.to_string()])?;
    wait_over(pool, &[vision, speech])?;

    say::heading("5. What was asked, and what was had");
    table(pool, neighbours, (&before, &after), (&tried_before, &tried_after), &waiting)?;
    say::heading("6. Metered");
    say::line(pool.text(["usage"])?.trim_end());
    Ok(())
}

fn submit(
    pool: &Pool,
    tenant: &str,
    compute: &str,
    memory: &str,
    name: &str,
    words: &[String],
) -> Result<u64> {
    let mut line = vec!["submit", "--tenant", tenant, "--compute", compute, "--memory", memory];
    line.extend(["--name", name, "--"]);
    line.extend(words.iter().map(String::as_str));
    say::line(format!("$ polder {}", shorten(&line.join(" "), 96)));
    pool.text(line)?.trim().parse().context("submit printed no number")
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    format!("{}…", text.chars().take(width - 1).collect::<String>())
}

fn wait_started(pool: &Pool, job: u64) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(20);
    while Instant::now() < limit {
        let live = watch::live_jobs(pool)?;
        if live.iter().any(|(id, state, _)| *id == job && state == "running") {
            return Ok(());
        }
        pause(Duration::from_millis(200))?;
    }
    bail!("job {job} did not start: {}", pool.text(["explain", &job.to_string()])?)
}

fn wait_over(pool: &Pool, jobs: &[u64]) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(30);
    while watch::live_jobs(pool)?.iter().any(|(id, _, _)| jobs.contains(id)) {
        if Instant::now() > limit {
            bail!("jobs {jobs:?} did not end");
        }
        pause(Duration::from_millis(200))?;
    }
    Ok(())
}

fn looks(pool: &Pool, jobs: [u64; 2]) -> Result<[Seen; 2]> {
    let look = |job| Ok::<_, anyhow::Error>(watch::lease_of(pool, job)?.unwrap_or_default());
    Ok([look(jobs[0])?, look(jobs[1])?])
}

/// Hashes each search says it has tried: the programs' own count, not Polder's.
fn tried(pool: &Pool, jobs: [u64; 2]) -> Result<[u64; 2]> {
    let count = |job: u64| {
        let log = pool.text(["logs", &job.to_string()])?;
        Ok::<_, anyhow::Error>(hashes_tried(&log).unwrap_or(0))
    };
    Ok([count(jobs[0])?, count(jobs[1])?])
}

/// The searches read their kernels and tune first; they contend once both have tried something.
fn wait_until_both_compute(pool: &Pool, jobs: [u64; 2]) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(40);
    while tried(pool, jobs)?.contains(&0) {
        if Instant::now() > limit {
            bail!(
                "the searches did not start: {}",
                pool.text(["logs", "--stderr", &jobs[0].to_string()])?
            );
        }
        pause(Duration::from_millis(250))?;
    }
    Ok(())
}

fn watch_shares(pool: &Pool, jobs: [u64; 2], length: Duration) -> Result<()> {
    let start = Instant::now();
    let first = looks(pool, jobs)?;
    let mut drawn = 0;
    while start.elapsed() < length {
        pause(Duration::from_secs(1))?;
        let now = looks(pool, jobs)?;
        let had = |at: usize| now[at].device_time.saturating_sub(first[at].device_time) as f64;
        let sum = (had(0) + had(1)).max(1.0);
        let lines: Vec<String> = (0..2)
            .map(|at| {
                let asked = now[at].compute as f64 / 10.0;
                let share = had(at) / sum * 100.0;
                let bar = say::bar(share, 100.0, 40);
                let held = now[at].held / MIB;
                format!(
                    "  {:<7} asked {asked:4.1} %  {bar} {share:4.1} %  {held} MiB",
                    now[at].tenant
                )
            })
            .collect();
        if say::live() {
            say::redraw(drawn, &lines);
            drawn = lines.len();
        } else if start.elapsed() + Duration::from_secs(1) >= length {
            say::redraw(0, &lines);
        }
    }
    Ok(())
}

fn drain(pool: &Pool, jobs: &[u64]) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(45);
    let mut last = String::new();
    loop {
        let live = watch::live_jobs(pool)?;
        let part = |wanted: &str| -> Vec<String> {
            live.iter()
                .filter(|(id, state, _)| jobs.contains(id) && (state == wanted))
                .map(|(_, _, name)| name.clone())
                .collect()
        };
        let (waits, runs) = (part("queued"), part("running"));
        let line = format!("  waiting: {:<32} running: {}", waits.join(" "), runs.join(" "));
        if line != last {
            say::line(&line);
            last = line;
        }
        if !live.iter().any(|(id, _, _)| jobs.contains(id)) {
            return Ok(());
        }
        if Instant::now() > limit {
            bail!("the queue did not drain");
        }
        pause(Duration::from_millis(200))?;
    }
}

fn show_refusal(pool: &Pool, job: u64) -> Result<()> {
    let id = job.to_string();
    let log = pool.text(["logs", &id])? + &pool.text(["logs", "--stderr", &id])?;
    let refusal = log
        .lines()
        .find(|line| line.contains("ALLOCATION_FAILURE"))
        .with_context(|| format!("the greedy program met no limit: {log}"))?;
    say::line("\nthe greedy program asked for 32 MiB in a lease of 16 MiB, and the API told it:");
    say::line(format!("  \x1b[33m{}\x1b[0m", refusal.trim()));
    Ok(())
}

fn table(
    pool: &Pool,
    neighbours: [u64; 2],
    (before, after): (&[Seen; 2], &[Seen; 2]),
    (tried_before, tried_after): (&[u64; 2], &[u64; 2]),
    others: &[u64],
) -> Result<()> {
    let contended = |at: usize| after[at].contended.saturating_sub(before[at].contended) as f64;
    let tried = |at: usize| tried_after[at].saturating_sub(tried_before[at]) as f64;
    let part = |of: &dyn Fn(usize) -> f64, at: usize| {
        format!("{:.1} %", of(at) / (of(0) + of(1)).max(1.0) * 100.0)
    };
    let memory = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB as f64);
    let mut rows = Vec::new();
    for (at, job) in neighbours.into_iter().enumerate() {
        let seen = watch::lease_of(pool, job)?.unwrap_or_default();
        rows.push(vec![
            seen.tenant.clone(),
            job.to_string(),
            format!("{:.0} %", seen.compute as f64 / 10.0),
            part(&contended, at),
            part(&tried, at),
            memory(seen.memory),
            memory(seen.peak),
        ]);
    }
    for job in others {
        let seen = watch::lease_of(pool, *job)?.unwrap_or_default();
        rows.push(vec![
            seen.tenant.clone(),
            seen.job.to_string(),
            format!("{:.0} %", seen.compute as f64 / 10.0),
            "-".into(),
            "-".into(),
            memory(seen.memory),
            memory(seen.peak),
        ]);
    }
    let heading = ["tenant", "job", "asked", "device time", "hashes tried", "memory asked", "peak"];
    say::table(&heading, &rows);
    say::note(
        "  device time: of the contended time, as charged; hashes tried: as the programs say",
    );
    Ok(())
}
