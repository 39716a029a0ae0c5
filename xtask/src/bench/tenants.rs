//! Programs of several tenants on one device, with and without Polder.

use super::stamps::{self, Stamp};
use crate::build::Products;
use crate::polder::{Pool, pause};
use crate::say;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Host memory that a benchmark's pool keeps behind its device.
const HOST_BACKING: &str = "256MiB";

/// A pool for a benchmark, and the calibrations that its programs share.
pub(crate) struct Bench {
    /// The pool.
    pub(crate) pool: Pool,
    /// A smoke run.
    pub(crate) quick: bool,
    workload: PathBuf,
    folder: tempfile::TempDir,
    iterations: BTreeMap<u64, u64>,
    runs: u32,
}

/// What a program does.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Length of its kernels when nobody else is there, microseconds.
    pub(crate) kernel_us: u64,
    /// Sleep between commands on the host, microseconds.
    pub(crate) gap_us: u64,
    /// Commands it keeps in flight; 1 means that it waits for each.
    pub(crate) depth: u32,
    /// How long it runs, seconds.
    pub(crate) seconds: f64,
    /// Works and sleeps by turns, milliseconds each.
    pub(crate) phase_ms: Option<(u64, u64)>,
    /// Works on requests: one in each so many milliseconds, of so many kernels.
    pub(crate) requests: Option<(u64, u64)>,
    /// Launches nothing before this `CLOCK_MONOTONIC` nanosecond.
    pub(crate) start_at: Option<u64>,
}

/// `CLOCK_MONOTONIC` now, nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let whole = u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000;
    whole + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// A moment by which programs started now are ready: `CLOCK_MONOTONIC` nanoseconds.
pub(crate) fn soon() -> u64 {
    monotonic_ns() + 2_000_000_000
}

impl Load {
    /// Kernels of one length, several in flight, without a pause.
    pub(crate) fn saturating(kernel_us: u64, seconds: f64) -> Self {
        // Enough to hide the host behind the device, whatever the length.
        let depth = u32::try_from((2_000 / kernel_us).clamp(2, 32)).expect("at most 32");
        Self {
            kernel_us,
            gap_us: 0,
            depth,
            seconds,
            phase_ms: None,
            requests: None,
            start_at: None,
        }
    }
}

/// A program at work.
pub(crate) struct Running {
    child: Child,
    stamps: PathBuf,
}

impl Running {
    /// Waits for its end; its own summary and stamps.
    pub(crate) fn finish(self) -> Result<(Value, Vec<Stamp>)> {
        let output = self.child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "the workload ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().context("the workload printed nothing")?;
        Ok((serde_json::from_str(last)?, stamps::read(&self.stamps)?))
    }
}

impl Bench {
    /// Starts a pool.
    pub(crate) fn start(products: &Products, quick: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("polder-bench-").tempdir()?;
        let cache = std::env::temp_dir().join("polder-kernel-cache");
        let flags = ["--no-listen", "--host-backing", HOST_BACKING];
        let pool = Pool::start(&products.polder, &folder.path().join("state"), &cache, &flags)?;
        for tenant in ["a", "b", "c"] {
            pool.text(["admin", "tenant", "set", tenant])?;
        }
        let workload = products.workload.clone();
        Ok(Self { pool, quick, workload, folder, iterations: BTreeMap::new(), runs: 0 })
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<()> {
        self.pool.stop()
    }

    /// The program that measures itself.
    pub(crate) fn workload(&self) -> &Path {
        &self.workload
    }

    /// A folder that goes with the run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `full`, or `quick` in a smoke run.
    pub(crate) fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Iterations of the inner loop that make a kernel of that length here: measured once, without
    /// Polder, so that a program does the same work alone and in company.
    fn iterations(&mut self, kernel_us: u64) -> Result<u64> {
        if let Some(known) = self.iterations.get(&kernel_us) {
            return Ok(*known);
        }
        let output = Command::new(&self.workload)
            .args(["--calibrate-only", "--kernel-us", &kernel_us.to_string()])
            .env("POCL_CACHE_DIR", std::env::temp_dir().join("polder-kernel-cache"))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Ok(found) = text.trim().parse() else {
            bail!("calibration failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        };
        self.iterations.insert(kernel_us, found);
        Ok(found)
    }

    /// Measures now what `load` would otherwise measure when it starts.
    pub(crate) fn calibrate(&mut self, load: &Load) -> Result<()> {
        self.iterations(load.kernel_us).map(drop)
    }

    fn arguments(&mut self, load: &Load) -> Result<(Vec<String>, PathBuf)> {
        self.runs += 1;
        let stamps = self.folder.path().join(format!("stamps-{}", self.runs));
        let iterations = self.iterations(load.kernel_us)?;
        let mut words = vec![self.workload.display().to_string()];
        for (flag, value) in [
            ("--kernel-us", load.kernel_us.to_string()),
            ("--iterations", iterations.to_string()),
            ("--seconds", load.seconds.to_string()),
            ("--gap-us", load.gap_us.to_string()),
            ("--async", load.depth.to_string()),
            ("--stamps", stamps.display().to_string()),
        ] {
            words.extend([flag.to_owned(), value]);
        }
        if let Some(start_at) = load.start_at {
            words.extend(["--start-at".to_owned(), start_at.to_string()]);
        }
        if let Some((work, sleep)) = load.phase_ms {
            words.extend(["--phase-ms".to_owned(), format!("{work},{sleep}")]);
        }
        if let Some((every_ms, kernels)) = load.requests {
            words.extend(["--requests".to_owned(), format!("{every_ms},{kernels}")]);
        }
        Ok((words, stamps))
    }

    /// Starts a program on the bare device.
    pub(crate) fn native(&mut self, load: &Load) -> Result<Running> {
        let (words, stamps) = self.arguments(load)?;
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env("POCL_CACHE_DIR", std::env::temp_dir().join("polder-kernel-cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Running { child, stamps })
    }

    /// Starts a program under a lease of `tenant`.
    pub(crate) fn leased(&mut self, tenant: &str, flags: &[&str], load: &Load) -> Result<Running> {
        let (words, stamps) = self.arguments(load)?;
        let mut line: Vec<&str> = vec!["run", "--quiet", "--tenant", tenant];
        line.extend(["--memory", "64MiB"]);
        line.extend(flags);
        line.push("--");
        line.extend(words.iter().map(String::as_str));
        let child =
            self.pool.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Running { child, stamps })
    }

    /// Commands a second of a program alone on the bare device: the median of three runs.
    pub(crate) fn rate_alone(&mut self, load: &Load) -> Result<f64> {
        let seconds = self.choose(3.0, 1.0);
        let mut rates = Vec::new();
        for _ in 0..self.choose(3, 1) {
            let (_, stamps) = self.native(&Load { seconds, ..load.clone() })?.finish()?;
            rates.push(rate(&stamps));
        }
        Ok(super::stats::median(&mut rates))
    }

    /// Lets the machine come to rest between measurements.
    pub(crate) fn settle(&self) -> Result<()> {
        pause(Duration::from_millis(self.choose(500, 50)))
    }

    /// Says what runs now.
    pub(crate) fn step(&self, text: &str) {
        say::note(format!("  {text} ..."));
    }
}

/// Commands a second between the first start and the last end.
pub(crate) fn rate(stamps: &[Stamp]) -> f64 {
    let (Some(first), Some(last)) = (stamps.first(), stamps.last()) else { return 0.0 };
    stamps.len() as f64 / ((last.end - first.start).max(1) as f64 / 1e9)
}
