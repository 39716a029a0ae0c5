//! The steps of the suite that need no framework.

use super::Ended;
use super::card::{Card, Machine};
use super::frameworks::Python;
use super::report::{Figure, Target};
use super::run::{Running, number, start};
use super::tenants::{mean, rates};
use crate::polder::{Pool, pause};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest run of a program that only looks, with its compilation.
pub(crate) const LOOK_MAX: Duration = Duration::from_secs(120);
/// How much longer than its work a program that works may take.
pub(crate) const SLACK: Duration = Duration::from_secs(120);
/// Memory of leases that work, and of the one whose memory is looked at.
pub(crate) const MEMORY: &str = "2GiB";
const MEMORY_BYTES: f64 = (2_u64 << 30) as f64;
/// What of its memory a lease's context and code may take at most.
const HIDDEN_BYTES: f64 = (1_u64 << 30) as f64;
/// When the processes on the card are looked at: while a program that shows its context stays.
const CONTEXT_LOOK: Duration = Duration::from_secs(5);
/// MPS rounds a part to multiprocessors, and two of them share its memory.
const MPS_POINTS: f64 = 5.0;
/// By what the tenant's program is told how large the whole card is.
const MULTIPROCESSORS: &str = "GPU_WORK_MULTIPROCESSORS";
/// How long before their beginning programs are started that are to begin together.
const BEGIN_NS: u64 = 4_000_000_000;
/// Length of the longer ones of the kernels whose launches are timed.
const LAUNCHED_US: u64 = 10;
/// How much of a daemon's log is shown.
const LOG_LINES: usize = 20;
/// A launch may cost so much more than without Polder, nanoseconds.
const LAUNCH_NS: f64 = 20.0;

/// What the steps share.
pub(crate) struct Scene {
    pub(crate) machine: Machine,
    pub(crate) card: Card,
    pub(crate) quick: bool,
    pub(crate) python: Python,
    pool: Option<(Pool, tempfile::TempDir)>,
    figures: Vec<Figure>,
    /// Of the whole card, once a kernel was measured on it.
    multiprocessors: Option<u64>,
    rounds: BTreeMap<u64, u64>,
    alone: BTreeMap<u64, f64>,
}

impl Scene {
    pub(crate) fn new(machine: Machine, card: Card, quick: bool, python: Python) -> Self {
        Self {
            machine,
            card,
            quick,
            python,
            pool: None,
            figures: Vec::new(),
            multiprocessors: None,
            rounds: BTreeMap::new(),
            alone: BTreeMap::new(),
        }
    }

    /// The pool whose leases have turns, started when it is first wanted.
    pub(crate) fn pool(&mut self) -> Result<&Pool> {
        if self.pool.is_none() {
            self.begin_pool(&[])?;
        }
        self.pool.as_ref().map(|(pool, _)| pool).context("there is a pool")
    }

    pub(crate) fn begin_pool(&mut self, flags: &[&str]) -> Result<()> {
        self.drop_pool()?;
        let folder = tempfile::Builder::new().prefix("pg-").tempdir()?;
        let pool = self.machine.pool(folder.path(), flags)?;
        self.pool = Some((pool, folder));
        Ok(())
    }

    /// Ends the pool, if there is one.
    pub(crate) fn drop_pool(&mut self) -> Result<()> {
        self.pool.take().map_or(Ok(()), |(pool, _folder)| pool.stop())
    }

    /// The end of what the pool's daemon said, for a step that failed.
    pub(crate) fn log(&self) -> Option<String> {
        let (pool, _) = self.pool.as_ref()?;
        let log = std::fs::read_to_string(pool.state().join("up.log")).ok()?;
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES);
        Some(lines.get(from..)?.join("\n"))
    }

    pub(crate) fn take_figures(&mut self) -> Vec<Figure> {
        std::mem::take(&mut self.figures)
    }

    pub(crate) fn figure(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        baseline: Option<f64>,
        target: Target,
    ) {
        self.figures.push(Figure::new(name, value, unit, baseline, target));
    }

    /// A target for what is timed: the stand-in and a smoke run show only that it can be.
    pub(crate) fn timed(&self, target: Target) -> Target {
        if self.quick || self.machine.is_stand_in() { Target::Shown } else { target }
    }

    fn choose(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    pub(crate) fn native(&self, words: &[String]) -> Command {
        self.machine.native(&self.machine.work(), words)
    }

    /// A program of a lease with a part of the card. The OpenCL devices of the machine have no such
    /// feature.
    pub(crate) fn leased(
        &mut self,
        flags: &[&str],
        program: &Path,
        words: &[String],
    ) -> Result<Command> {
        let program = program.display().to_string();
        let mut all = vec!["run", "--quiet", "--feature", "cuda"];
        all.extend(flags);
        all.extend(["--", program.as_str()]);
        all.extend(words.iter().map(String::as_str));
        Ok(self.pool()?.command(all))
    }

    pub(crate) fn work(&mut self, flags: &[&str], words: &[String]) -> Result<Command> {
        let program = self.machine.work();
        let mut command = self.leased(flags, &program, words)?;
        command.envs(self.multiprocessors.map(|all| (MULTIPROCESSORS, all.to_string())));
        Ok(command)
    }

    /// Rounds of the loop that make a kernel of this length here, measured once and alone.
    pub(crate) fn rounds(&mut self, length_us: u64) -> Result<u64> {
        if let Some(known) = self.rounds.get(&length_us) {
            return Ok(*known);
        }
        let said = start(&mut self.native(&words(&[&"calibrate", &length_us])), LOOK_MAX)?;
        let figures = said.finish_well()?.figures()?;
        let rounds = figures["rounds"].as_u64().context("no rounds")?;
        self.multiprocessors = figures["multiprocessors"].as_u64();
        self.rounds.insert(length_us, rounds);
        Ok(rounds)
    }

    /// Kernels of this length a second without Polder and without company.
    pub(crate) fn alone(&mut self, length_us: u64) -> Result<f64> {
        if let Some(known) = self.alone.get(&length_us) {
            return Ok(*known);
        }
        let seconds = self.choose(5, 2);
        let load = self.load(length_us, seconds, 0)?;
        let rate = rate(&start(&mut self.native(&load), SLACK)?.finish_well()?.figures()?)?;
        self.alone.insert(length_us, rate);
        Ok(rate)
    }

    pub(crate) fn load(&mut self, length_us: u64, seconds: u64, at_ns: u64) -> Result<Vec<String>> {
        let rounds = self.rounds(length_us)?;
        Ok(words(&[&"load", &length_us, &rounds, &seconds, &at_ns]))
    }

    /// What programs had of the card that began at the same moment: per cent of a program alone.
    fn together(&mut self, leases: &[&[&str]], length_us: u64, seconds: u64) -> Result<Vec<f64>> {
        let alone = self.alone(length_us)?;
        // Their contexts and code take a second or two to be there.
        let at_ns = monotonic_ns() + BEGIN_NS;
        let load = self.load(length_us, seconds, at_ns)?;
        let limit = Duration::from_secs(seconds) + SLACK;
        let mut running: Vec<Running> = Vec::new();
        for flags in leases {
            running.push(start(&mut self.work(flags, &load)?, limit)?);
        }
        let mut had = Vec::new();
        for program in running {
            had.push(rate(&program.finish_well()?.figures()?)? * 100.0 / alone);
        }
        Ok(had)
    }
}

pub(crate) fn words(all: &[&dyn std::fmt::Display]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn rate(figures: &Value) -> Result<f64> {
    let seconds = number(figures, "seconds")?;
    ensure!(figures["on_time"] != false, "it was not ready when it was to begin");
    Ok(number(figures, "kernels")? / seconds.max(0.001))
}

pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let whole = u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000;
    whole + u64::try_from(now.tv_nsec).unwrap_or(0)
}

pub(crate) const SHARE: [&str; 4] = ["--compute", "50%", "--memory", MEMORY];

/// The same program, line by line.
pub(crate) fn driver(scene: &mut Scene) -> Result<Ended> {
    let check = words(&[&"check"]);
    let native = start(&mut scene.native(&check), LOOK_MAX)?.finish_well()?.stdout;
    let leased = start(&mut scene.work(&SHARE, &check)?, LOOK_MAX)?.finish_well()?.stdout;
    ensure!(native == leased, "natively it says {native:?}, and leased {leased:?}");
    // The stand-in computes nothing.
    let computed = native.contains("computed: true");
    ensure!(computed || scene.machine.is_stand_in(), "the kernel's results are wrong: {native}");
    Ok(Ended::Passed)
}

/// One device, of the lease's size, whoever asks.
pub(crate) fn view(scene: &mut Scene) -> Result<Ended> {
    let told = start(&mut scene.work(&SHARE, &words(&[&"info"]))?, LOOK_MAX)?;
    let told = told.finish_well()?.figures()?;
    scene.figure("devices", number(&told, "devices")?, "", Some(1.0), Target::Within(0.0));
    for (name, of) in [("cuDeviceTotalMem", "total"), ("cuMemGetInfo, total", "total_of_context")] {
        let mib = number(&told, of)? / f64::from(1 << 20);
        scene.figure(name, mib, "MiB", Some(2048.0), Target::Within(0.5));
    }
    let smi = ["--query-gpu=memory.total", "--format=csv,noheader,nounits"].map(str::to_owned);
    let Some(program) = on_path("nvidia-smi").filter(|_| !scene.machine.is_stand_in()) else {
        return Ok(Ended::Passed);
    };
    let said = start(&mut scene.leased(&SHARE, &program, &smi)?, LOOK_MAX)?.finish_well()?.stdout;
    let cards: Vec<f64> = said.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let count = u32::try_from(cards.len()).unwrap_or(u32::MAX);
    scene.figure("nvidia-smi: cards", f64::from(count), "", Some(1.0), Target::Within(0.0));
    let total = cards.first().copied().unwrap_or(0.0);
    scene.figure("nvidia-smi: memory", total, "MiB", Some(2048.0), Target::Within(0.5));
    Ok(Ended::Passed)
}

/// Nanoseconds that a launch takes the caller: in one program, through Polder's library and through the
/// vendor's behind it in turn.
pub(crate) fn launches(scene: &mut Scene) -> Result<Ended> {
    let rounds = scene.rounds(LAUNCHED_US)?;
    let count = words(&[&"launches", &scene.choose(200_000, 4_000), &rounds]);
    let said = start(&mut scene.work(&SHARE, &count)?, LOOK_MAX)?.finish_well()?;
    let lines = said.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for told in lines.filter(|line| line["launches"].is_u64()) {
        let of = told["of"].as_str().unwrap_or_default();
        let (ours, vendor) = (number(&told, "ns")?, number(&told, "vendor_ns")?);
        let name = format!("a launch of {of} kernels, leased");
        scene.figure(name, ours, "ns", Some(vendor), Target::Shown);
        let target = scene.timed(Target::AtMost(LAUNCH_NS));
        scene.figure(format!("{of} kernels: added, medians"), ours - vendor, "ns", None, target);
        let added = number(&told, "mean_ns")? - number(&told, "vendor_mean_ns")?;
        let name = format!("{of} kernels: added, means, with the driver's calls for timing");
        scene.figure(name, added, "ns", None, Target::Shown);
    }
    Ok(Ended::Passed)
}

/// The most that a lease gets is its memory, and what it gives back it gets again.
pub(crate) fn memory(scene: &mut Scene) -> Result<Ended> {
    let told = start(&mut scene.work(&SHARE, &words(&[&"memory"]))?, LOOK_MAX)?;
    let told = told.finish_well()?.figures()?;
    let bytes = number(&told, "bytes")?;
    let mib = f64::from(1 << 20);
    scene.figure("got of 2 GiB", bytes / mib, "MiB", None, Target::AtMost(MEMORY_BYTES / mib));
    let least = Target::AtLeast((MEMORY_BYTES - HIDDEN_BYTES) / mib);
    scene.figure("got of 2 GiB, beside its context", bytes / mib, "MiB", None, least);
    ensure!(told["out_of_memory"] == true, "it was refused with {}", told["refused"]);
    ensure!(told["given_back"] == true, "what it gave back it did not get again");
    Ok(Ended::Passed)
}

/// What the driver holds for a program beyond what it allocated is its lease's, as the driver tells it.
pub(crate) fn context(scene: &mut Scene) -> Result<Ended> {
    let program = start(&mut scene.work(&SHARE, &words(&[&"context"]))?, LOOK_MAX)?;
    pause(CONTEXT_LOOK)?;
    let told_by_nvidia = processes_on_the_card(scene)?;
    let told = program.finish_well()?.figures()?;
    let mib = f64::from(1 << 20);
    let used = number(&told, "used")? / mib;
    let beyond = used - number(&told, "allocated")? / mib;
    scene.figure("its context, by its slice", beyond, "MiB", None, Target::AtLeast(1.0));
    let Some(all) = told_by_nvidia else { return Ok(Ended::Passed) };
    let pid = number(&told, "pid")?;
    let own = all.iter().find(|(known, _)| *known == pid).map(|(_, mib)| *mib);
    let own = own.with_context(|| format!("nvidia-smi lists no process {pid}: {all:?}"))?;
    let within = Target::Within(own / 100.0);
    scene.figure("used of its slice, and by nvidia-smi", used, "MiB", Some(own), within);
    Ok(Ended::Passed)
}

/// Processes on the card and what each has of its memory in MiB, as the node's own `nvidia-smi` says; none
/// on the stand-in.
fn processes_on_the_card(scene: &Scene) -> Result<Option<Vec<(f64, f64)>>> {
    let Some(program) = on_path("nvidia-smi").filter(|_| !scene.machine.is_stand_in()) else {
        return Ok(None);
    };
    let asked = ["--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"];
    let words = asked.map(str::to_owned);
    let said = start(&mut scene.machine.native(&program, &words), LOOK_MAX)?.finish_well()?.stdout;
    let line = |line: &str| {
        let (pid, mib) = line.split_once(',')?;
        Some((pid.trim().parse().ok()?, mib.trim().parse().ok()?))
    };
    Ok(Some(said.lines().filter_map(line).collect()))
}

/// Two and three leases that always have work.
pub(crate) fn shares(scene: &mut Scene) -> Result<Ended> {
    let seconds = scene.choose(10, 4);
    for length_us in if scene.quick { vec![1_000] } else { vec![100, 1_000, 10_000] } {
        for shares in [&[30_u32, 70][..], &[50, 25, 10]] {
            let texts: Vec<String> = shares.iter().map(|share| format!("{share}%")).collect();
            let flags: Vec<[&str; 4]> =
                texts.iter().map(|share| ["--compute", share, "--memory", MEMORY]).collect();
            let leases: Vec<&[&str]> = flags.iter().map(|flags| &flags[..]).collect();
            let had = scene.together(&leases, length_us, seconds)?;
            let all: f64 = had.iter().sum();
            let asked: u32 = shares.iter().sum();
            for (share, had) in shares.iter().zip(&had) {
                let fair = f64::from(*share) * 100.0 / f64::from(asked);
                let name =
                    format!("kernels of {length_us} us, {share} of {shares:?}: of what all had");
                let target = scene.timed(Target::Within(2.0));
                scene.figure(name, had * 100.0 / all, "%", Some(fair), target);
            }
            let name = format!("kernels of {length_us} us, {shares:?}: all, of one program alone");
            scene.figure(name, all, "%", Some(100.0), Target::Shown);
        }
    }
    Ok(Ended::Passed)
}

/// A cap holds although nobody else is there.
pub(crate) fn cap(scene: &mut Scene) -> Result<Ended> {
    let seconds = scene.choose(10, 4);
    for length_us in if scene.quick { vec![1_000] } else { vec![100, 1_000, 10_000] } {
        let flags = ["--compute", "30%", "--compute-max", "30%", "--memory", MEMORY];
        let had = scene.together(&[&flags], length_us, seconds)?;
        let name = format!("kernels of {length_us} us, at most 30 %: of one program alone");
        let had = had.first().copied().unwrap_or(0.0);
        let target = scene.timed(Target::Within(2.0));
        scene.figure(name, had, "%", Some(30.0), target);
    }
    // Whoever waits for each of its kernels leaves the device idle in between, in its own time.
    let (length_us, capped) =
        (1_000, ["--compute", "30%", "--compute-max", "30%", "--memory", MEMORY]);
    let load = words(&[&"rates", &length_us, &scene.rounds(length_us)?, &3, &1]);
    let one = |command: &mut Command| {
        mean(rates(&start(command, LOOK_MAX)?.finish_well()?.figures()?)?.get(5..))
    };
    let natively = one(&mut scene.native(&load))?;
    let had = one(&mut scene.work(&capped, &load)?)? * 100.0 / natively;
    let name = "kernels of 1000 us, waited for one by one, at most 30 %: of the same natively";
    scene.figure(name, had, "%", Some(30.0), Target::Shown);
    Ok(Ended::Passed)
}

/// 5 ms of work every 50 ms beside kernels of 10 ms.
pub(crate) fn latency(scene: &mut Scene) -> Result<Ended> {
    const BATCH_US: u64 = 10_000;
    let requests = scene.choose(1_000, 60);
    let rounds = scene.rounds(5_000)?;
    let asks = words(&[&"latency", &5_000, &rounds, &requests, &50]);
    let flags = ["--compute", "30%", "--memory", MEMORY, "--class", "inference"];
    let limit = Duration::from_millis(requests * 50) + SLACK;
    let one = |scene: &mut Scene| -> Result<Value> {
        start(&mut scene.work(&flags, &asks)?, limit)?.finish_well()?.figures()
    };
    let alone = number(&one(scene)?, "p99_ms")?;
    let load = scene.load(BATCH_US, requests / 20 + 60, 0)?;
    let batch = ["--compute", "60%", "--memory", MEMORY, "--class", "batch"];
    let beside = start(&mut scene.work(&batch, &load)?, limit + SLACK)?;
    pause(Duration::from_secs(5))?;
    let both = one(scene)?;
    drop(beside);
    scene.drop_pool()?;
    let most = 1.10 * alone + BATCH_US as f64 / 1000.0;
    let target = scene.timed(Target::AtMost(most));
    scene.figure("p99 beside a batch job", number(&both, "p99_ms")?, "ms", Some(alone), target);
    scene.figure("p50 beside a batch job", number(&both, "p50_ms")?, "ms", None, Target::Shown);
    Ok(Ended::Passed)
}

/// A lease faults, another exhausts its memory, and the third goes on with its work.
pub(crate) fn containment(scene: &mut Scene) -> Result<Ended> {
    let seconds = scene.choose(10, 8);
    let alone = scene.alone(1_000)?;
    let load = scene.load(1_000, seconds, 0)?;
    let part = ["--compute", "30%", "--memory", MEMORY];
    let steady = start(&mut scene.work(&part, &load)?, Duration::from_secs(seconds) + SLACK)?;
    let mut command = scene.work(&part, &words(&[&"fault"]))?;
    if scene.machine.is_stand_in() {
        // Its kernels touch no memory: the driver is told to fail.
        command.env("STANDIN_FAIL", "cuCtxSynchronize:700");
    }
    let fault = start(&mut command, LOOK_MAX)?.finish()?;
    let told = fault.figures()?;
    ensure!(told["ended"] != 0, "the fault was none: {told}");
    start(&mut scene.work(&part, &words(&[&"memory"]))?, LOOK_MAX)?.finish_well()?;
    let had = rate(&steady.finish_well()?.figures()?)? * 100.0 / alone;
    scene.figure("its neighbour, of one program alone", had, "%", None, Target::Shown);
    let after = start(&mut scene.work(&part, &words(&[&"check"]))?, LOOK_MAX)?.finish_well()?;
    ensure!(after.stdout.contains("copies: true"), "after it: {}", after.words());
    Ok(Ended::Passed)
}

/// Spatial parts: what they get together, their memory, and what a fault does to a neighbour.
pub(crate) fn mps(scene: &mut Scene) -> Result<Ended> {
    if scene.machine.is_stand_in() {
        return Ok(Ended::Skipped("an MPS server needs a card: the stand-in has none".into()));
    }
    if on_path("nvidia-cuda-mps-control").is_none() {
        return Ok(Ended::Skipped("nvidia-cuda-mps-control is not on PATH: install it".into()));
    }
    // Known before, so that no part of the card is taken while it is measured.
    scene.alone(1_000)?;
    let cards = scene.card.uuid.clone();
    scene.begin_pool(&["--spatial", &cards])?;
    let ended = under_mps(scene);
    scene.drop_pool()?;
    ended
}

fn under_mps(scene: &mut Scene) -> Result<Ended> {
    let part = |share| ["--mechanism", "spatial", "--compute", share, "--memory", MEMORY];
    let seconds = scene.choose(8, 4);
    let had = scene.together(&[&part("30%"), &part("60%")], 1_000, seconds)?;
    for (share, had) in [30.0, 60.0].into_iter().zip(had) {
        let name = format!("a part of {share} % beside another: of one program alone");
        let target = scene.timed(Target::Within(MPS_POINTS));
        scene.figure(name, had, "%", Some(share), target);
    }
    let told = start(&mut scene.work(&part("30%"), &words(&[&"memory"]))?, LOOK_MAX)?;
    let bytes = number(&told.finish_well()?.figures()?, "bytes")?;
    let mib = f64::from(1 << 20);
    scene.figure("got of 2 GiB", bytes / mib, "MiB", None, Target::AtMost(MEMORY_BYTES / mib));
    // Told, not judged: MPS promises nothing here.
    let load = scene.load(1_000, seconds + 10, 0)?;
    let limit = Duration::from_secs(seconds) + SLACK;
    let steady = start(&mut scene.work(&part("30%"), &load)?, limit)?;
    pause(Duration::from_secs(6))?;
    start(&mut scene.work(&part("30%"), &words(&[&"fault"]))?, LOOK_MAX)?.finish()?;
    let died = if steady.finish()?.status.success() { 0.0 } else { 1.0 };
    scene.figure(
        "neighbours of the same user that a fault ended",
        died,
        "of 1",
        None,
        Target::Shown,
    );
    Ok(Ended::Passed)
}

/// Where a program is.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}
