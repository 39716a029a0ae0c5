//! Tenants' programs whose progress can be watched, and ways to hold them still.

pub(crate) use super::common::program;
use super::common::{Pool, soon};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const SEC: i64 = 1000 * MS;
/// Half of the device.
pub(crate) const HALF: [&str; 4] = ["--compute", "50%", "--memory", "64MiB"];
/// Iterations of a kernel of a few milliseconds.
pub(crate) const SHORT: u32 = 200_000;
/// Iterations of a kernel of several quanta.
pub(crate) const LONG: u32 = 4_000_000;
/// Longest wait for a job that must end; what takes longer is stuck.
const END_MAX: &str = "60s";

/// One test at a time: each fills the device and is told from others by what it gets of it.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nanoseconds of the clock that programs stamp with.
pub(crate) fn now() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * SEC + time.tv_nsec
}

/// The latest, or the last, sample of a job's one lease.
pub(crate) fn sample(pool: &Pool, job: &str) -> Value {
    let shown = pool.json(&["show", job]);
    let lease = &shown["leases"][0];
    let last = &lease["ending"]["end"]["sample"];
    if last.is_null() { lease["sample"].clone() } else { last.clone() }
}

/// Waits until a job is over, which one that is stuck never is; then checks its exit code and returns
/// what it wrote.
#[track_caller]
pub(crate) fn finished(pool: &Pool, job: &str, code: i32) -> String {
    let said = pool.say(&["wait", job, "--timeout", END_MAX]);
    let stderr = || pool.say(&["logs", "--stderr", job]).stdout;
    assert_eq!(said.code, code, "job {job}: {said:?}: {}", stderr());
    pool.ok(&["logs", job])
}

/// A running `steady`: it checks its results itself, and says when each came.
pub(crate) struct Steady<'a> {
    pool: &'a Pool,
    pub(crate) job: String,
    beats: PathBuf,
    until: PathBuf,
    ended: bool,
}

impl<'a> Steady<'a> {
    /// Starts one that goes on until it is told, with a few commands in its queue.
    pub(crate) fn start(pool: &'a Pool, name: &str, iterations: u32) -> Self {
        Self::start_with(pool, name, iterations, "--in-queue 4")
    }

    pub(crate) fn start_with(pool: &'a Pool, name: &str, iterations: u32, more: &str) -> Self {
        let beats = pool.file(&format!("{name}.beats"));
        let until = pool.file(&format!("{name}.until"));
        let script = format!(
            "{} --beats {} --until {} --iterations {iterations} {more} && exit 31",
            program("steady"),
            beats.display(),
            until.display(),
        );
        let job = pool.submit(&HALF, &script);
        Self { pool, job, beats, until, ended: false }
    }

    /// The first line: who it is, and when it began.
    fn first_line(&self) -> Option<(u32, i64)> {
        let text = fs::read_to_string(&self.beats).ok()?;
        let (pid, begin) = text.split_once('\n')?.0.split_once(' ')?;
        Some((pid.parse().unwrap(), begin.parse().unwrap()))
    }

    pub(crate) fn begun(&self) -> (u32, i64) {
        soon(&format!("job {} begins", self.job), || self.first_line())
    }

    /// When each of its commands was seen to be over.
    pub(crate) fn beats(&self) -> Vec<i64> {
        let text = fs::read_to_string(&self.beats).unwrap_or_default();
        // The last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().skip(1).map(|line| line.parse().unwrap()).collect()
    }

    pub(crate) fn beats_within(&self, from: i64, to: i64) -> usize {
        self.beats().into_iter().filter(|beat| (from..to).contains(beat)).count()
    }

    /// Waits until so many more of its commands are over.
    pub(crate) fn wait_more(&self, count: usize) {
        let before = self.beats().len();
        let what = format!("{count} more commands of job {}", self.job);
        soon(&what, || (self.beats().len() >= before + count).then_some(()));
    }

    /// Waits until it has had to wait for a while: somebody else's command is under way.
    pub(crate) fn wait_silent(&self, at_least: i64) {
        let silent = || {
            let last = *self.beats().last().unwrap_or(&0);
            (now() - last > at_least).then_some(())
        };
        soon(&format!("job {} has to wait", self.job), silent);
    }

    /// The longest time without a command of its own that ends.
    pub(crate) fn longest_gap(&self, from: i64, to: i64) -> i64 {
        let mut points = vec![from];
        points.extend(self.beats().into_iter().filter(|beat| (from..to).contains(beat)));
        points.push(to);
        points.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }

    /// Device time charged, as far as is known now, in nanoseconds.
    pub(crate) fn charged(&self) -> i64 {
        sample(self.pool, &self.job)["devices"][0]["device_time"].as_i64().unwrap_or(0) * 1000
    }

    /// Ends it; its results must be right.
    #[track_caller]
    pub(crate) fn end(mut self) {
        fs::write(&self.until, "").unwrap();
        let wrote = finished(self.pool, &self.job, 31);
        assert!(wrote.starts_with("right after "), "{wrote}");
        self.ended = true;
    }
}

impl Drop for Steady<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // The test has failed; others go on in the same pool.
            let _ = fs::write(&self.until, "");
            self.pool.say(&["cancel", &self.job]);
        }
    }
}

pub(crate) fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A process that does nothing until this is dropped.
pub(crate) enum Held {
    Stopped(u32),
    Debugged { gdb: Child, go: PathBuf },
}

impl Held {
    pub(crate) fn stop(pid: u32) -> Self {
        signal(pid, Signal::STOP);
        Self::Stopped(pid)
    }

    /// Attaches a debugger; nothing where that is not permitted or there is none.
    pub(crate) fn debug(pid: u32, folder: &Path) -> Option<Self> {
        let (ready, go) = (folder.join("gdb.ready"), folder.join("gdb.go"));
        for file in [&ready, &go] {
            let _ = fs::remove_file(file);
        }
        let hold = format!(
            "shell touch {}; while [ ! -e {} ]; do sleep 0.05; done",
            ready.display(),
            go.display()
        );
        let mut command = Command::new("gdb");
        // Reading the symbols of a compiler's libraries would take long, and nobody looks at them.
        command.args(["-nx", "-batch", "-iex", "set auto-solib-add off"]);
        command.args(["-iex", "set debuginfod enabled off", "-p", &pid.to_string()]);
        command.args(["-ex", &hold, "-ex", "detach"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let gdb = command.spawn().ok()?;
        let traced = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line == format!("TracerPid:\t{}", gdb.id()))
        };
        soon("gdb", || ready.exists().then_some(()));
        if traced() {
            return Some(Self::Debugged { gdb, go });
        }
        drop(Self::Debugged { gdb, go });
        None
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            Self::Stopped(pid) => signal(*pid, Signal::CONT),
            Self::Debugged { gdb, go } => {
                fs::write(go, "").unwrap();
                gdb.wait().unwrap();
            }
        }
    }
}

/// Whether a debugger may attach to what this process started. Says loudly when not.
pub(crate) fn may_debug(folder: &Path) -> bool {
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    let may = Held::debug(sleeper.id(), folder).is_some();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    if !may {
        eprintln!("SKIPPED: no gdb here, or ptrace is not permitted");
    }
    may
}

/// Waits for a fixed time: the hold itself is what is tested.
pub(crate) fn for_a_while(seconds: u64) {
    sleep(Duration::from_secs(seconds));
}
