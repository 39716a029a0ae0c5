//! Runs a child that may crash, hang or babble, within bounds of time and size.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use thiserror::Error;

/// Longest answer read from a child.
pub(crate) const STDOUT_BYTES_MAX: usize = 4 << 20;
/// How much of the end of a child's error output is kept.
const STDERR_BYTES_KEPT: usize = 2 << 10;
/// Read at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Why a child gave no answer.
#[derive(Debug, Error)]
pub(crate) enum ChildError {
    /// It could not be started.
    #[error("cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It could not be watched.
    #[error("cannot be watched: {0}")]
    Watch(#[source] io::Error),
    /// It gave no answer in time and was killed.
    #[error("gave no answer within {0:?} and was killed")]
    Hung(Duration),
    /// It printed too much and was killed.
    #[error("printed more than {STDOUT_BYTES_MAX} bytes and was killed")]
    Babbled,
}

/// What a child left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    /// The last of its error output.
    pub(crate) stderr: String,
}

impl Finished {
    /// How it ended, when not well: `was killed by signal 11`.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.status.success() {
            return None;
        }
        let how = match (self.status.signal(), self.status.code()) {
            (Some(signal), _) => format!("crashed with signal {signal}"),
            (None, Some(code)) => format!("ended with exit code {code}"),
            (None, None) => "ended badly".to_owned(),
        };
        let last = self.stderr.trim();
        Some(if last.is_empty() { how } else { format!("{how}, saying {last:?}") })
    }
}

/// Runs `command` to its end, at most for `limit`. It and all it started in its process group are
/// gone when this returns.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Finished, ChildError> {
    let deadline = Instant::now() + limit;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ChildError::Start)?;
    let watched = watch(&mut child, deadline, limit);
    // The child is not yet reaped, so its number still names its own group and nobody else's.
    let _ = kill_process_group(pid(&child), Signal::KILL);
    let status = child.wait().map_err(ChildError::Watch)?;
    let (stdout, stderr) = watched?;
    Ok(Finished { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// One of the child's output pipes.
struct Stream<T> {
    pipe: Option<T>,
    kept: Vec<u8>,
}

impl<T: Read + AsFd> Stream<T> {
    fn new(pipe: Option<T>) -> Self {
        Self { pipe, kept: Vec::new() }
    }

    /// Reads once; called only when the pipe has something or has ended.
    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK_BYTES];
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        match pipe.read(&mut chunk)? {
            0 => self.pipe = None,
            count => self.kept.extend_from_slice(&chunk[..count]),
        }
        Ok(())
    }
}

/// Reads both pipes until the child has ended and they are empty, and returns what they gave.
fn watch(
    child: &mut Child,
    deadline: Instant,
    limit: Duration,
) -> Result<(Vec<u8>, Vec<u8>), ChildError> {
    let mut stdout = Stream::new(child.stdout.take());
    let mut stderr = Stream::new(child.stderr.take());
    let handle = pidfd_open(pid(child), PidfdFlags::empty())
        .map_err(|error| ChildError::Watch(error.into()))?;
    let mut ended = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ChildError::Hung(limit));
        }
        // After the child's end only what already lies in the pipes counts: a process that left
        // its group may hold them open for ever.
        let wait = if ended { Duration::ZERO } else { left };
        let process = (!ended).then(|| handle.as_fd());
        let fds =
            [stdout.pipe.as_ref().map(AsFd::as_fd), stderr.pipe.as_ref().map(AsFd::as_fd), process];
        let ready = ready(fds, wait).map_err(ChildError::Watch)?;
        if ready == [false; 3] && ended {
            return Ok((stdout.kept, stderr.kept));
        }
        if ready[0] {
            stdout.read().map_err(ChildError::Watch)?;
        }
        if ready[1] {
            stderr.read().map_err(ChildError::Watch)?;
            let excess = stderr.kept.len().saturating_sub(STDERR_BYTES_KEPT);
            stderr.kept.drain(..excess);
        }
        ended |= ready[2];
        if stdout.kept.len() > STDOUT_BYTES_MAX {
            return Err(ChildError::Babbled);
        }
    }
}

/// Which of `fds` have something to say, waiting for the first at most for `wait`.
fn ready(fds: [Option<BorrowedFd<'_>>; 3], wait: Duration) -> io::Result<[bool; 3]> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut polled, Some(&wait)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok([false; 3]),
        Err(error) => return Err(error.into()),
    }
    let mut said = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(fds.map(|fd| fd.is_some() && said.next().unwrap_or(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit_ms: u64) -> Result<Finished, ChildError> {
        run(Command::new("sh").args(["-c", script]), Duration::from_millis(limit_ms))
    }

    #[test]
    fn output_and_exit_are_kept() {
        let finished = sh("echo answer; echo trouble >&2; exit 3", 10_000).unwrap();
        assert_eq!(finished.stdout, b"answer\n");
        let fault = finished.fault().unwrap();
        assert!(fault.contains("code 3") && fault.contains("trouble"), "{fault}");
        assert!(sh("true", 10_000).unwrap().fault().is_none());
    }

    #[test]
    fn a_crash_names_its_signal() {
        let fault = sh("kill -SEGV $$", 10_000).unwrap().fault().unwrap();
        assert!(fault.contains("signal 11"), "{fault}");
    }

    #[test]
    fn a_hung_child_is_killed_with_its_children() {
        let pipe = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sleep 600 & echo $! > {}; wait", pipe.path().display());
        assert!(matches!(sh(&script, 300), Err(ChildError::Hung(_))));
        let sleeper = std::fs::read_to_string(pipe.path()).unwrap();
        assert!(dies(sleeper.trim()));
    }

    /// Killed, though perhaps not yet collected by the process it was handed to.
    fn dies(pid: &str) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
        })
    }

    #[test]
    fn an_end_is_seen_though_another_holds_the_pipe() {
        let finished = sh("setsid sleep 5 & echo answer", 60_000).unwrap();
        assert_eq!(finished.stdout, b"answer\n");
    }

    #[test]
    fn endless_output_is_cut_short() {
        assert!(matches!(sh("exec cat /dev/zero", 60_000), Err(ChildError::Babbled)));
        let quiet = sh("head -c 5000000 /dev/zero >&2; echo end >&2", 60_000).unwrap();
        assert!(quiet.stderr.len() <= STDERR_BYTES_KEPT && quiet.stderr.ends_with("end\n"));
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let error = run(&mut Command::new("/nonexistent/probe"), Duration::from_secs(1));
        assert!(matches!(error, Err(ChildError::Start(_))));
    }
}
