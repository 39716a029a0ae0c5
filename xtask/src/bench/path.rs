//! The job path: ten thousand short jobs through submission, queue, lease, shim and end.

use super::figures::{Figures, Target};
use super::stats;
use super::tenants::Bench;
use crate::polder::pause;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;

/// Submissions a second, scheduling latency, and the memory of the daemon and of a shim.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let jobs = bench.choose(10_000, 300);
    let socket = bench.pool.state().join("polder.sock");
    let baseline = synced_writes(bench.folder())?;
    let idle = rss(bench.pool.pid().context("the pool has ended")?)?;
    figures.add("daemon, idle: resident memory", idle, "MiB", None, Target::Shown);

    bench.step(&format!("{jobs} jobs from {CLIENTS} clients"));
    let start = Instant::now();
    let ids = submit_all(&socket, jobs)?;
    let rate = jobs as f64 / start.elapsed().as_secs_f64();
    figures.add(
        "durable submissions a second (baseline: one synced write at a time)",
        rate,
        "1/s",
        Some(baseline),
        Target::Shown,
    );
    let full = rss(bench.pool.pid().context("the pool has ended")?)?;
    figures.add(
        format!("daemon, {jobs} jobs accepted: resident memory"),
        full,
        "MiB",
        Some(idle),
        Target::Shown,
    );

    bench.step("waiting for the queue to drain");
    let drained = drain(&socket, start, jobs)?;
    figures.add(
        "jobs run to their end a second",
        jobs as f64 / drained,
        "1/s",
        None,
        Target::Shown,
    );
    queued_latency(&socket, &ids, figures)?;
    idle_latency(&socket, figures, bench.choose(200, 20))?;
    shim_memory(bench, figures)
}

fn ask(command: &[&str], compute: u32) -> Value {
    json!({
        "tenant": "a", "user": "anyone",
        "work": {"command": command, "directory": "/", "environment": {"PATH": "/usr/bin:/bin"}},
        "devices": {"count": 1, "compute": compute, "memory": 1_048_576},
    })
}

/// Submits from several connections at once; the ids.
fn submit_all(socket: &Path, jobs: usize) -> Result<Vec<u64>> {
    let body = ask(&["true"], 250);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let body = &body;
                scope.spawn(move || -> Result<Vec<u64>> {
                    let mut api = Api::connect(socket)?;
                    let mine = (client..jobs).step_by(CLIENTS);
                    mine.map(|_| {
                        let job = api.call("POST", "/api/v1/jobs", Some(body))?;
                        job["id"].as_u64().context("a job without id")
                    })
                    .collect()
                })
            })
            .collect();
        let mut ids = Vec::new();
        for client in clients {
            ids.extend(client.join().expect("a client does not panic")?);
        }
        Ok(ids)
    })
}

/// Waits until nothing is queued or running; seconds since `start`.
fn drain(socket: &Path, start: Instant, jobs: usize) -> Result<f64> {
    let mut api = Api::connect(socket)?;
    let limit = Duration::from_secs(60 + jobs as u64 / 5);
    loop {
        let busy =
            ["queued", "starting", "running", "stopping"].iter().try_fold(0, |sum, state| {
                let page = api.call("GET", &format!("/api/v1/jobs?state={state}&limit=1"), None)?;
                anyhow::Ok(sum + crate::polder::items(&page).len())
            })?;
        if busy == 0 {
            return Ok(start.elapsed().as_secs_f64());
        }
        if start.elapsed() > limit {
            bail!("jobs still wait after {limit:?}");
        }
        pause(Duration::from_millis(200))?;
    }
}

/// From the journal's own times: a lease ends, and the next job in the queue has its lease.
fn queued_latency(socket: &Path, ids: &[u64], figures: &mut Figures) -> Result<()> {
    let mut api = Api::connect(socket)?;
    let mut grants = Vec::new();
    let mut ends = Vec::new();
    for id in ids {
        let detail = api.call("GET", &format!("/api/v1/jobs/{id}"), None)?;
        let end = detail["job"]["finished_at"].as_u64().context("a job that has not ended")?;
        let granted =
            detail["leases"][0]["lease"]["granted_at"].as_u64().context("a job without lease")?;
        if detail["job"]["state"]["outcome"]["outcome"] != "succeeded" {
            bail!("job {id} did not succeed: {}", detail["job"]);
        }
        grants.push(granted);
        ends.push(end);
    }
    ends.sort_unstable();
    // The device holds four of these jobs: after those, every grant follows an end.
    grants.sort_unstable();
    let mut latency: Vec<f64> = grants
        .iter()
        .skip(4)
        .map(|granted| {
            let before = ends.partition_point(|end| end <= granted);
            before.checked_sub(1).map_or(0.0, |at| (granted - ends[at]) as f64 / 1000.0)
        })
        .collect();
    let p50 = stats::percentile(&mut latency, 0.5);
    let p99 = stats::percentile(&mut latency, 0.99);
    figures.add("queue: from an end to the next lease, p50", p50, "ms", None, Target::Shown);
    figures.add("queue: from an end to the next lease, p99", p99, "ms", Some(p50), Target::Shown);
    Ok(())
}

/// On an idle pool: from the submission to the program's start.
fn idle_latency(socket: &Path, figures: &mut Figures, jobs: usize) -> Result<()> {
    let mut api = Api::connect(socket)?;
    let (mut granted, mut started) = (Vec::new(), Vec::new());
    for _ in 0..jobs {
        let job = api.call("POST", "/api/v1/jobs", Some(&ask(&["true"], 250)))?;
        let id = job["id"].as_u64().context("a job without id")?;
        let wait = format!("/api/v1/jobs/{id}/wait?until=finished&timeout_ms=20000");
        api.call("GET", &wait, None)?;
        let detail = api.call("GET", &format!("/api/v1/jobs/{id}"), None)?;
        let submitted = job["submitted_at"].as_u64().context("no time")?;
        let at = |value: &Value| Some((value.as_u64()? - submitted) as f64 / 1000.0);
        granted.extend(at(&detail["leases"][0]["lease"]["granted_at"]));
        started.extend(at(&detail["job"]["started_at"]));
    }
    for (what, times) in [("lease", &mut granted), ("running program", &mut started)] {
        let p50 = stats::percentile(times, 0.5);
        let p99 = stats::percentile(times, 0.99);
        figures.add(
            format!("idle pool: from submission to {what}, p50"),
            p50,
            "ms",
            None,
            Target::Shown,
        );
        figures.add(
            format!("idle pool: from submission to {what}, p99"),
            p99,
            "ms",
            Some(p50),
            Target::Shown,
        );
    }
    Ok(())
}

/// Resident memory of shims with a sleeping task.
fn shim_memory(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let mut api = Api::connect(&bench.pool.state().join("polder.sock"))?;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let job = api.call("POST", "/api/v1/jobs", Some(&ask(&["sleep", "30"], 250)))?;
        let id = job["id"].as_u64().context("a job without id")?;
        api.call("GET", &format!("/api/v1/jobs/{id}/wait?until=started&timeout_ms=20000"), None)?;
        jobs.push(id);
    }
    pause(Duration::from_millis(300))?;
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let state = bench.pool.state().to_string_lossy().into_owned();
        let ours = words.iter().any(|word| String::from_utf8_lossy(word).starts_with(&state));
        if ours && words.contains(&b"shim".as_slice()) {
            sizes.push(rss(pid)?);
        }
    }
    for id in jobs {
        api.call("POST", &format!("/api/v1/jobs/{id}/cancel"), None)?;
    }
    if sizes.len() < 4 {
        bail!("found {} shims of 4 running jobs", sizes.len());
    }
    figures.add("a shim: resident memory", stats::median(&mut sizes), "MiB", None, Target::Shown);
    Ok(())
}

/// Writes of one record, each synced before the next: what a journal without group commit does.
fn synced_writes(folder: &Path) -> Result<f64> {
    let mut file = File::create(folder.join("synced"))?;
    let record = [7_u8; 600];
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&record)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Resident memory of a process that is its own, MiB: shared pages of the binary count too.
fn rss(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// A connection to the API, kept open.
struct Api {
    stream: BufReader<UnixStream>,
}

impl Api {
    fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: polder\r\npolder-api: 1\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let good = line.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
        let mut length = 0;
        loop {
            let mut header = String::new();
            self.stream.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        if !good {
            bail!("{method} {path}: {} {}", line.trim(), String::from_utf8_lossy(&bytes));
        }
        if bytes.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) }
    }
}
