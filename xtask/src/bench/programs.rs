//! Programs that nobody here wrote, as tenants under shares and hard caps.
//!
//! The truth is what each program says it has done, at the moment its line arrives here, or the
//! stamps of its own events; nothing comes from the ledger. Two tenants run the same program, and
//! what counts is the time in which both were at work.
//!
//! A prototype of a hundred lines that gave each process credit reached .495, .248 and .099 of the
//! device for caps of .50, .25 and .10, and .2985 and .6938 of the rate alone for shares of .30 and
//! .70, with kernels made for it: its errors are the targets here.

use super::figures::{Figures, Target};
use super::peak;
use super::tenants::{Bench, monotonic_ns};
use crate::python::{self, Python};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// Caps in per cent of the device, and the prototype's error in points.
const CAPS: [(u32, f64); 3] = [(50, 0.5), (25, 0.2), (10, 0.1)];
/// Shares of two tenants in per cent, and the prototype's error in points of the rate alone.
pub(super) const SPLIT: [(u32, f64); 2] = [(30, 0.15), (70, 0.62)];
/// Of the time in which programs are looked at, what is left out at either end.
const EDGE_NS: u64 = 500_000_000;
/// Batches of transforms a second on a small machine, from which their number is taken.
const TRANSFORMS_A_SECOND: f64 = 1_500.0;
/// A hash that no candidate has.
const NO_HASH: &str = "00000000000000000000000000000000\n";

/// A program: how to start it for so many seconds in which it has a part of the device, and what a
/// line of it says.
struct Program {
    name: &'static str,
    words: fn(&Files, f64, f64) -> Vec<String>,
    read: fn(&str) -> Option<Said>,
    /// It says once, at its end, how many it did a second; then `done` is that.
    is_speed: bool,
}

impl Program {
    /// Lines that it must have said.
    fn least(&self) -> usize {
        if self.is_speed { 1 } else { 2 }
    }
}

/// What a program says of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Said {
    /// Work done since it began, in its own unit.
    done: f64,
    /// Time that its commands had on the device, by their own stamps; nanoseconds.
    busy_ns: Option<f64>,
}

/// What it said, and when that was heard.
type Progress<T = Said> = Vec<(u64, T)>;

const MATRICES: Program = Program {
    name: "pyopencl, products of matrices",
    words: matrices,
    read: done,
    is_speed: false,
};
const PROGRAMS: &[Program] = &[
    MATRICES,
    Program { name: "hashcat, MD5", words: hashcat, read: hashcat_done, is_speed: false },
    Program { name: "tinygrad, training", words: training, read: done, is_speed: false },
    Program { name: "clFFT, rows of 1,024", words: transforms, read: speed, is_speed: true },
];

/// What the programs need on disk.
pub(super) struct Files {
    python: Python,
    folder: PathBuf,
}

fn matrices(files: &Files, seconds: f64, _part: f64) -> Vec<String> {
    script(files, "matrices.py", seconds)
}

fn training(files: &Files, seconds: f64, _part: f64) -> Vec<String> {
    script(files, "training.py", seconds)
}

fn script(files: &Files, name: &str, seconds: f64) -> Vec<String> {
    let script = crate::build::root().join("xtask/src/bench/programs").join(name);
    let program = files.python.program();
    vec![program.display().to_string(), script.display().to_string(), seconds.to_string()]
}

fn hashcat(files: &Files, seconds: f64, _part: f64) -> Vec<String> {
    // Each run is a session of its own, by the moment of its start.
    let session = format!("polder-{}", monotonic_ns());
    let runtime = (seconds.ceil() + 1.0).to_string();
    // How large its commands are is said: alone and beside a neighbour it would choose differently.
    let hash = files.folder.join("hash").display().to_string();
    ["hashcat", "--potfile-disable", "-D", "1", "--force", "-m", "0", "-a", "3", "-O"]
        .into_iter()
        .chain(["-n", "256", "-u", "256"])
        .chain(["--status", "--status-json", "--status-timer", "1", "--session", &session])
        .chain(["--runtime", &runtime, &hash, "?a?a?a?a?a?a?a?a"])
        .map(str::to_owned)
        .collect()
}

/// As many transforms as take about so long with that part of the device, for it ends after a
/// number and not after a time: with its part of them each of two tenants ends at about the same.
fn transforms(_files: &Files, seconds: f64, part: f64) -> Vec<String> {
    let count = format!("{:.0}", (seconds * part * TRANSFORMS_A_SECOND).max(10.0));
    ["clFFT-client", "-c", "-x", "1024", "-b", "64", "-p", &count].map(str::to_owned).to_vec()
}

/// `done COUNT [BUSY]`.
fn done(line: &str) -> Option<Said> {
    let mut numbers = line.strip_prefix("done ")?.split(' ').map(|word| word.parse().ok());
    Some(Said { done: numbers.next()??, busy_ns: numbers.next().flatten() })
}

/// clFFT's own measure of one batch, as batches a second.
fn speed(line: &str) -> Option<Said> {
    let milliseconds = line.strip_prefix("Execution wall time: ")?.strip_suffix(" ms")?;
    let each: f64 = milliseconds.trim().parse().ok().filter(|each| *each > 0.0)?;
    Some(Said { done: 1000.0 / each, busy_ns: None })
}

/// hashcat's status: a line of JSON with the candidates tried.
fn hashcat_done(line: &str) -> Option<Said> {
    let (_, rest) = line.split_once("\"progress\": [")?;
    let (tried, _) = rest.split_once(',')?;
    Some(Said { done: tried.trim().parse().ok()?, busy_ns: None })
}

/// A program at work, and what is heard of it.
pub(super) struct Running<T = Said> {
    child: Child,
    heard: JoinHandle<Progress<T>>,
}

impl<T: Send + 'static> Running<T> {
    /// Starts `command`, of whose lines `read` takes what it understands.
    pub(super) fn start(mut command: Command, read: fn(&str) -> Option<T>) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out = child.stdout.take().context("its output was asked for")?;
        let heard = std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(std::result::Result::ok);
            lines.filter_map(|line| Some((monotonic_ns(), read(&line)?))).collect()
        });
        Ok(Self { child, heard })
    }

    /// What the program called `name` said until its end, `least` times at least.
    pub(super) fn finish(self, name: &str, least: usize) -> Result<Progress<T>> {
        let output = self.child.wait_with_output()?;
        let progress = self.heard.join().expect("the reader does not panic");
        // Its status is not judged: hashcat has one of its own for the end of its time.
        if progress.len() < least {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{name} said too little ({}): {}", output.status, why.trim());
        }
        Ok(progress)
    }
}

/// What was done by a moment: between two lines, as much as lies between them in time.
fn at(progress: &Progress, moment: u64, what: impl Fn(&Said) -> f64) -> f64 {
    let after = progress.partition_point(|(heard, _)| *heard <= moment);
    match (after.checked_sub(1).map(|before| &progress[before]), progress.get(after)) {
        (Some((from, a)), Some((to, b))) => {
            let part = (moment - from) as f64 / (to - from).max(1) as f64;
            what(a) + (what(b) - what(a)) * part
        }
        (Some((_, last)), None) => what(last),
        (None, first) => first.map_or(0.0, |(_, said)| what(said)),
    }
}

/// The time in which all were at work, without its edges.
fn window(all: &[&Progress]) -> (u64, u64) {
    let first = all.iter().filter_map(|p| p.first()).map(|(heard, _)| *heard).max().unwrap_or(0);
    let last = all.iter().filter_map(|p| p.last()).map(|(heard, _)| *heard).min().unwrap_or(0);
    (first + EDGE_NS, last.saturating_sub(EDGE_NS).max(first + EDGE_NS + 1))
}

fn a_second(progress: &Progress, window: (u64, u64), what: impl Fn(&Said) -> f64) -> f64 {
    let done = at(progress, window.1, &what) - at(progress, window.0, &what);
    done / ((window.1 - window.0) as f64 / 1e9)
}

/// What each did a second while all were at work.
fn rates(program: &Program, all: &[&Progress]) -> Vec<f64> {
    let window = window(all);
    let rate = |one: &&Progress| match program.is_speed {
        true => one.last().map_or(0.0, |(_, said)| said.done),
        false => a_second(one, window, |said| said.done),
    };
    all.iter().map(rate).collect()
}

/// Every program alone and in two tenants, and hard caps.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let folder = bench.folder().join("programs");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("hash"), NO_HASH)?;
    let files = Files { python: python::install()?, folder };
    let seconds = bench.choose(12.0, 5.0);
    for program in PROGRAMS {
        bench.step(&format!("{}: alone", program.name));
        let alone = |seconds: f64| -> Result<f64> {
            let running = start(bench, &files, program, (100, &[]), seconds)?;
            let progress = running.finish(program.name, program.least())?;
            Ok(rates(program, &[&progress])[0])
        };
        // Once to compile, and once to be measured.
        alone(1.0)?;
        let rate = alone(seconds / 2.0)?;
        together(bench, &files, program, seconds, rate, figures)?;
    }
    caps(bench, &files, seconds / 2.0, figures)?;
    peak::run(bench, &files, figures)
}

/// Starts a program under a lease with so much of the device, per cent, and other flags.
fn start(
    bench: &Bench,
    files: &Files,
    program: &Program,
    (compute, flags): (u32, &[&str]),
    seconds: f64,
) -> Result<Running> {
    let words = (program.words)(files, seconds, f64::from(compute) / 100.0);
    Running::start(leased(bench, files, (compute, flags), &words)?, program.read)
}

/// The command of a program under such a lease.
pub(super) fn leased(
    bench: &Bench,
    files: &Files,
    (compute, flags): (u32, &[&str]),
    words: &[String],
) -> Result<Command> {
    let compute = format!("{compute}%");
    let mut line = vec!["run", "--quiet", "--memory", "2GiB", "--compute", &compute];
    line.extend(if flags.is_empty() { &["--tenant", "a"] } else { flags });
    line.push("--");
    line.extend(words.iter().map(String::as_str));
    let mut command = bench.pool.command(line);
    // hashcat keeps its compiled kernels in the home folder.
    let home = files.python.cache().join("home");
    std::fs::create_dir_all(&home)?;
    command.env("HOME", home).env("XDG_CACHE_HOME", files.python.cache());
    command.env("DEV", "CL").env("TRAINING", "1");
    Ok(command)
}

/// Two tenants of one program with unequal shares.
fn together(
    bench: &Bench,
    files: &Files,
    program: &Program,
    seconds: f64,
    alone: f64,
    figures: &mut Figures,
) -> Result<()> {
    bench.step(&format!("{}: two tenants", program.name));
    bench.settle()?;
    let mut running = Vec::new();
    for ((share, _), tenant) in SPLIT.iter().zip(["a", "b"]) {
        running.push(start(bench, files, program, (*share, &["--tenant", tenant]), seconds)?);
    }
    let finish = |one: Running| one.finish(program.name, program.least());
    let both: Vec<_> = running.into_iter().map(finish).collect::<Result<_>>()?;
    let rates = rates(program, &both.iter().collect::<Vec<_>>());
    let sum: f64 = rates.iter().sum();
    for ((share, error), rate) in SPLIT.iter().zip(&rates) {
        let asked = Some(f64::from(*share));
        let label = format!("{}, {share} beside {}", program.name, 100 - share);
        let part = rate / sum * 100.0;
        figures.add(format!("{label}: of what both did"), part, "%", asked, Target::Within(*error));
        let name = format!("{label}: of its rate alone");
        figures.add(name, rate / alone * 100.0, "%", asked, Target::Shown);
    }
    Ok(())
}

/// One tenant under hard caps, by the stamps of its own events.
fn caps(bench: &Bench, files: &Files, seconds: f64, figures: &mut Figures) -> Result<()> {
    for (cap, error) in CAPS {
        bench.step(&format!("{}: at most {cap} %", MATRICES.name));
        let most = format!("{cap}%");
        let flags = ["--tenant", "a", "--compute-max", &most];
        let running = start(bench, files, &MATRICES, (cap, &flags), seconds)?;
        let progress = running.finish(MATRICES.name, MATRICES.least())?;
        let window = window(&[&progress]);
        let busy = a_second(&progress, window, |said| said.busy_ns.unwrap_or(f64::NAN));
        let name = format!("{}, hard cap of {cap} %: device time of wall", MATRICES.name);
        let asked = Some(f64::from(cap));
        figures.add(name, busy / 1e9 * 100.0, "%", asked, Target::Within(error));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_programs_are_read() {
        assert_eq!(done("done 12 3400"), Some(Said { done: 12.0, busy_ns: Some(3400.0) }));
        assert_eq!(done("done 12"), Some(Said { done: 12.0, busy_ns: None }));
        assert_eq!((done("done"), done("done x"), done("")), (None, None, None));
        let status = r#"{ "status": 3, "progress": [316669952, 6634204312890625], "restore": 0 }"#;
        assert_eq!(hashcat_done(status).map(|said| said.done), Some(316_669_952.0));
        assert_eq!(hashcat_done("[s]tatus"), None);
        assert_eq!(speed("Execution wall time: 0.5 ms").map(|said| said.done), Some(2000.0));
        assert_eq!(speed("Execution wall time: 0 ms"), None);
    }

    #[test]
    fn only_the_time_in_which_both_worked_counts() {
        const S: u64 = 1_000_000_000;
        let steady = |from: u64, to: u64, rate: f64| -> Progress {
            let said = |second: u64| Said { done: (second - from) as f64 * rate, busy_ns: None };
            (from..=to).map(|second| (second * S, said(second))).collect()
        };
        let (one, mut other) = (steady(2, 10, 30.0), steady(0, 12, 70.0));
        // Alone at either end it was faster.
        other.last_mut().unwrap().1.done += 1000.0;
        let window = window(&[&one, &other]);
        assert_eq!(window, (2 * S + EDGE_NS, 10 * S - EDGE_NS));
        assert!((a_second(&one, window, |said| said.done) - 30.0).abs() < 1e-6);
        assert!((a_second(&other, window, |said| said.done) - 70.0).abs() < 1e-6);
    }
}
