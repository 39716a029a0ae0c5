//! One control daemon: started, found again after a restart of the agent, and ended.
//!
//! The daemon outlives the agent, as leases do. What it writes about itself lies in a folder that its
//! user's programs may write to, so nothing there is believed: a process is taken for the daemon only
//! when the kernel says that it is the agent's own user's, runs the vendor's program, and was started
//! for this very folder; and it is ended only through a pidfd that was opened before that was looked at.

use super::control::{Control, ControlError, ended_within, wait};
use super::words::PIPE_VARIABLE;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// The file in which a daemon names its process.
const PID_FILE: &str = "nvidia-cuda-mps-control.pid";
/// Longest wait for a daemon to listen.
const START_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for a daemon to be gone after `quit`, and after SIGKILL.
const END_WAIT: Duration = Duration::from_secs(5);
/// Largest log that is kept: it grows with every program that connects.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Most bytes of an environment or a file that are read.
const READ_BYTES_MAX: u64 = 64 << 10;

/// Why there is no daemon.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Its folder.
    #[error("the MPS folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its program.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It gave up.
    #[error("{} did not start for {}: {why}", program.display(), pipe.display())]
    GaveUp {
        /// The program.
        program: PathBuf,
        /// The folder.
        pipe: PathBuf,
        /// How it ended, and its last words.
        why: String,
    },
}

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    pid: u32,
    pidfd: OwnedFd,
    program: PathBuf,
    pipe: PathBuf,
}

/// How a daemon is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Who may reach it beside the agent's own user: whoever is in this group, the user's first.
    pub gid: u32,
    /// It cuts its card into static partitions, and lets programs compute in these alone.
    pub partitions: bool,
}

impl Daemon {
    /// Starts one that serves the card `uuid` and listens in `pipe`, a folder that is made for it.
    /// What an earlier one left there goes. Returns when it listens.
    ///
    /// # Errors
    /// [`DaemonError`]; then none runs.
    pub fn start(
        program: &Path,
        pipe: &Path,
        uuid: &str,
        reach: Reach,
    ) -> Result<Self, DaemonError> {
        let control = Control::new(program, pipe);
        let fail = |source| DaemonError::Folder { path: pipe.to_owned(), source };
        make_folders(pipe, &control.log(), reach).map_err(fail)?;
        let mut command = control.command();
        // By its UUID: a number would be another card's where some are hidden.
        command.arg("-d").args(reach.partitions.then_some("-S"));
        command.env("CUDA_VISIBLE_DEVICES", uuid);
        let mut child = command.spawn().map_err(|source| control.failed(source))?;
        let ended = wait(&mut child, START_WAIT).map_err(|source| control.failed(source))?;
        let found = ended.filter(std::process::ExitStatus::success);
        match found.and_then(|_| Self::find(program, pipe)) {
            Some(daemon) => Ok(daemon),
            None => Err(DaemonError::GaveUp {
                program: program.to_owned(),
                pipe: pipe.to_owned(),
                why: last_words(&control.log(), ended),
            }),
        }
    }

    /// The daemon that listens in `pipe`, if one runs.
    #[must_use]
    pub fn find(program: &Path, pipe: &Path) -> Option<Self> {
        let named = read(&pipe.join(PID_FILE))?;
        let pid: u32 = String::from_utf8_lossy(&named).trim().parse().ok()?;
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        let daemon = Self { pid, pidfd, program: program.to_owned(), pipe: pipe.to_owned() };
        (daemon.is_itself() && daemon.is_alive()).then_some(daemon)
    }

    /// Whether the kernel says what the folder says.
    fn is_itself(&self) -> bool {
        let proc = PathBuf::from(format!("/proc/{}", self.pid));
        let own = rustix::process::geteuid().as_raw();
        let ours = std::fs::metadata(&proc).is_ok_and(|it| it.uid() == own);
        let name = self.program.file_name();
        // An update of the driver may have replaced the program under it: its name is left.
        let runs = std::fs::read_link(proc.join("exe")).ok();
        let runs = runs.as_ref().and_then(|exe| exe.file_name()?.to_str());
        let runs = runs.map(|exe| exe.trim_end_matches(" (deleted)"));
        let environment = read(&proc.join("environ")).unwrap_or_default();
        let wanted = format!("{PIPE_VARIABLE}={}", self.pipe.display());
        let mut variables = environment.split(|byte| *byte == 0);
        let here = variables.any(|variable| variable == wanted.as_bytes());
        ours && runs.is_some() && runs == name.and_then(|name| name.to_str()) && here
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !ended_within(&self.pidfd, Duration::ZERO).unwrap_or(false)
    }

    /// How it is spoken to.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(&self.program, &self.pipe)
    }

    /// Cuts logs that have grown too long. The daemon writes on where it was: what is before is a hole.
    pub fn keep_logs_short(&self) {
        for name in ["control.log", "server.log"] {
            let path = self.control().log().join(name);
            if std::fs::metadata(&path).is_ok_and(|it| it.blocks() * 512 > LOG_BYTES_MAX) {
                let opened = std::fs::OpenOptions::new().write(true).open(&path);
                if let Err(error) = opened.and_then(|file| file.set_len(0)) {
                    tracing::warn!(%error, path = %path.display(), "a log of MPS cannot be cut");
                }
            }
        }
    }

    /// Ends it and its servers, and removes its folder.
    ///
    /// # Errors
    /// [`DaemonError`] when the folder stays.
    pub fn stop(self) -> Result<(), DaemonError> {
        let servers = self.control().servers().unwrap_or_default();
        if let Err(error) = self.control().quit() {
            tracing::warn!(pid = self.pid, %error, "an MPS control daemon does not quit by itself");
        }
        if !ended_within(&self.pidfd, END_WAIT).unwrap_or(false) {
            tracing::warn!(pid = self.pid, ?servers, "an MPS control daemon is killed");
            // One that has ended meanwhile needs no signal.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = ended_within(&self.pidfd, END_WAIT);
        }
        remove(&self.pipe)
    }
}

/// Removes a daemon's folder.
///
/// # Errors
/// [`DaemonError`] when it stays.
pub fn remove(pipe: &Path) -> Result<(), DaemonError> {
    match std::fs::remove_dir_all(pipe) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| DaemonError::Folder { path: pipe.to_owned(), source }),
    }
}

/// Makes the folder anew: for the agent's user, and for the group where the agent is root.
fn make_folders(pipe: &Path, log: &Path, reach: Reach) -> io::Result<()> {
    match std::fs::remove_dir_all(pipe) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    if let Some(above) = pipe.parent() {
        DirBuilder::new().recursive(true).mode(0o711).create(above)?;
    }
    DirBuilder::new().mode(0o700).create(pipe)?;
    DirBuilder::new().mode(0o700).create(log)?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(pipe, None, Some(reach.gid))?;
        // Its sockets are open to everybody: the folder says who gets to them. Nobody but the agent
        // puts anything into it.
        std::fs::set_permissions(pipe, PermissionsExt::from_mode(0o750))?;
    }
    Ok(())
}

fn last_words(log: &Path, ended: Option<std::process::ExitStatus>) -> String {
    let how = ended.map_or_else(
        || format!("not listening after {} s", START_WAIT.as_secs()),
        |status| status.to_string(),
    );
    let said = read(&log.join("control.log")).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    last.map_or(how.clone(), |last| format!("{how}: {}", last.trim()))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(READ_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
