//! Twelve cells of the limiter matrix in wall time: `wall PART [--quick]` prints one JSON object a
//! figure. Real processes load Polder's `libcuda.so.1`, which loads the stand-in's; the arbiter's
//! thread writes real pages; what they had of the device is what the stand-in's host has in its log.
//!
//! Needs the libraries and the client beside it: `cargo xtask bench enforce` builds them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod lease;

use lease::Lease;
use polder_standin::MODELS;
use polder_standin_host::{Ask, Client, Script, now_ns, serve};
use serde_json::json;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PART: &str = "wall";
/// Place of the model in the list: the stand-in H200.
const MODEL: usize = 3;
/// Kind and length in microseconds, as the client takes them, and what they are called.
const SHAPES: [(&str, u64, &str); 4] = [
    ("kernel", 50, "kernel 50 us"),
    ("kernel", 1_000, "gemm 1 ms"),
    ("graph", 2_000, "graph of 200 nodes"),
    ("kernel", 100_000, "kernel 100 ms"),
];
/// Percent of the device, and processes.
const LEASES: [(u32, u32); 3] = [(30, 1), (50, 2), (10, 8)];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The device, served from a thread of this process.
struct Host {
    folder: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (at, told) = (folder.path().join("device"), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            if let Err(error) = serve(&at, Script { model: MODEL }, || told.load(Ordering::Acquire))
            {
                eprintln!("the stand-in's host: {error}");
            }
        });
        let host = Self { folder, stop, thread: Some(thread) };
        while !host.socket().exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(host)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("device")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A panic in it has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Where cargo puts what was built beside this.
fn built(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().and_then(Path::parent).ok_or("no folder of builds")?;
    let path = folder.join(name);
    if path.exists() { Ok(path) } else { Err(format!("{} was not built", path.display()).into()) }
}

/// Children that are ended with this.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended by itself needs neither.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What one run showed.
struct Had {
    /// Percent of the device, changes between the lease's own contexts included, by second.
    windows: Vec<f64>,
}

impl Had {
    fn mean(&self) -> f64 {
        self.windows.iter().sum::<f64>() / self.windows.len().max(1) as f64
    }
}

/// Longest that clients may take until the first of them has had something of the device.
const START: Duration = Duration::from_secs(20);

/// Starts `processes` clients and looks for so many seconds at what they have, from the first that any
/// of them has on: what they take while they start is paid back later, and both count.
fn look(
    host: &Host,
    lease: Option<&Lease>,
    shape: (&str, u64),
    processes: u32,
    seconds: u64,
) -> Result<Had> {
    let library = built(if lease.is_some() { "libpolder_cuda.so" } else { "libstandin_cuda.so" })?;
    let length = (seconds + 30).to_string();
    let mut children = Children(Vec::new());
    for _ in 0..processes {
        let mut command = Command::new(built("examples/client")?);
        command.arg(&library).args(["saturate", shape.0, &shape.1.to_string(), &length]);
        command.env("STANDIN_SOCKET", host.socket()).stdout(Stdio::null());
        if let Some(lease) = lease {
            command.env("POLDER_SOCKET", lease.socket());
        }
        children.0.push(command.spawn()?);
    }
    let watch =
        Client::connect(&host.socket(), std::process::id()).map_err(|it| format!("{it:?}"))?;
    let had = || -> Result<u64> {
        let mut sum = 0;
        for child in &children.0 {
            let truth =
                watch.ask(Ask::Truth { pid: child.id() }).map_err(|it| format!("{it:?}"))?;
            sum += truth[0] + truth[1];
        }
        Ok(sum)
    };
    let started = Instant::now();
    let first_ns = loop {
        let first_ns = had()?;
        if first_ns > 0 {
            break first_ns;
        }
        if started.elapsed() > START {
            return Err("nothing ran on the stand-in".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut windows = Vec::new();
    let (mut before, mut from_ns) = (0, now_ns().saturating_sub(first_ns));
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        let (now, to_ns) = (had()?, now_ns());
        windows.push((now - before) as f64 * 100.0 / (to_ns - from_ns) as f64);
        (before, from_ns) = (now, to_ns);
    }
    for child in &mut children.0 {
        if let Some(status) = child.try_wait()? {
            return Err(format!("a client ended before its time: {status}").into());
        }
    }
    Ok(Had { windows })
}

fn figure(name: &str, value: f64, unit: &str, baseline: Option<f64>, target: &serde_json::Value) {
    let figure = json!({
        "name": name, "value": value, "unit": unit, "baseline": baseline, "target": target,
    });
    println!("{figure}");
}

fn measure(quick: bool) -> Result<()> {
    let name = MODELS[MODEL].name;
    let seconds = if quick { 3 } else { 20 };
    let (mut errors, mut windows, mut near) = (Vec::new(), 0, 0);
    for (kind, length_us, shape) in SHAPES.into_iter().step_by(if quick { 2 } else { 1 }) {
        // The control: the same program without a limit.
        let host = Host::start()?;
        let free = look(&host, None, (kind, length_us), 1, seconds.min(5))?.mean();
        let title = format!("wall: {name}, {shape}, no limit, 1 process");
        figure(&title, free, "%", None, &json!("shown"));
        for (share, processes) in LEASES {
            let host = Host::start()?;
            let lease = Lease::start(share, &built("libstandin_cuda.so")?)?;
            let had = look(&host, Some(&lease), (kind, length_us), processes, seconds)?;
            let error = (had.mean() - f64::from(share)).abs();
            errors.push(error);
            if length_us <= 10_000 {
                let by = |window: &&f64| (**window - f64::from(share)).abs() <= 8.0;
                windows += had.windows.len();
                near += had.windows.iter().filter(by).count();
            }
            let title = format!("wall: {name}, {shape}, {share} %, {processes} processes");
            figure(&title, had.mean(), "%", Some(f64::from(share)), &json!({ "within": 2.0 }));
        }
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    figure("wall: mean error", mean, "points", None, &json!({ "at_most": 0.5 }));
    let worst = errors.iter().copied().fold(0.0, f64::max);
    figure("wall: worst cell", worst, "points", None, &json!({ "at_most": 2.0 }));
    let part = f64::from(near_of(near)) * 100.0 / f64::from(near_of(windows).max(1));
    figure("wall: seconds within 8 points", part, "%", None, &json!({ "at_least": 95.0 }));
    Ok(())
}

fn near_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let quick = words.any(|word| word == "--quick");
    if name == "--list" {
        println!("{PART}");
        return ExitCode::SUCCESS;
    }
    if name != PART {
        eprintln!("no part {name:?}: the part is {PART}");
        return ExitCode::FAILURE;
    }
    match measure(quick) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{PART}: {error}");
            ExitCode::FAILURE
        }
    }
}
