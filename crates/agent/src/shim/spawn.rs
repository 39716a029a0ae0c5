//! Starts a shim that outlives whoever started it, and learns at once if it could not begin.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Longest wait for a shim to have prepared its lease.
pub const SPAWN_WAIT: Duration = Duration::from_secs(30);
/// Most bytes of a failed shim's words that are kept.
const WORDS_BYTES_MAX: u64 = 4096;

/// Why there is no shim.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The program could not be run.
    #[error("starting the shim {program}: {error}")]
    Run {
        /// Which program.
        program: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// It ran and gave up.
    #[error("the shim could not prepare {dir}: {why}")]
    GaveUp {
        /// The lease's folder.
        dir: PathBuf,
        /// Its words.
        why: String,
    },
    /// It has not come up in time, and was killed.
    #[error("the shim has not prepared {dir} within {} s", SPAWN_WAIT.as_secs())]
    Late {
        /// The lease's folder.
        dir: PathBuf,
    },
}

/// Runs `exe args dir` and returns when that shim listens in `dir` and its lease is prepared (or
/// has ended, because it can never start). The shim is then nobody's child.
///
/// `dir` holds the plan ([`super::write_plan`]). It, and every folder above it, must be searchable
/// by the lease's user, whose programs find their socket there.
///
/// # Errors
/// [`SpawnError`]; then no process of it stays.
pub fn spawn_shim<S: AsRef<OsStr>>(exe: &Path, args: &[S], dir: &Path) -> Result<(), SpawnError> {
    let run = |error| SpawnError::Run { program: exe.to_owned(), error };
    let mut child = Command::new(exe)
        .args(args)
        .arg(dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(run)?;
    let Some(status) = wait(&mut child).map_err(run)? else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(SpawnError::Late { dir: dir.to_owned() });
    };
    if status.success() {
        return Ok(());
    }
    let mut words = Vec::new();
    if let Some(errors) = child.stderr.take() {
        let _ = errors.take(WORDS_BYTES_MAX).read_to_end(&mut words);
    }
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    let why = if words.is_empty() { status.to_string() } else { words };
    Err(SpawnError::GaveUp { dir: dir.to_owned(), why })
}

/// Waits for the first process of the shim, which exits when the second is ready.
fn wait(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    let until = Instant::now() + SPAWN_WAIT;
    let pid = rustix::process::Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let left = until.saturating_duration_since(Instant::now());
    let timeout = rustix::event::Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)))?;
    child.try_wait()
}
