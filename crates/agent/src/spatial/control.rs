//! Speaks to a control daemon through the vendor's own program, one command at a time.
//!
//! That program says with its status only whether it reached a daemon, and is silent about commands
//! that it refuses; so everything that is set is read back.

use super::partition::{Chunks, Partition, PartitionError};
use super::words::{LOG_VARIABLE, PIPE_VARIABLE, Part};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Longest wait for an answer.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Servers whose own limits are set; a daemon has one, and another while that one ends.
const SERVERS_MAX: usize = 16;
/// How long `quit` lets servers finish, in seconds.
const QUIT_SECONDS: u32 = 3;

/// Why a daemon does not have what it was told.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The vendor's program could not be run.
    #[error("running {}: {source}", program.display())]
    Run {
        /// Which.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There was no answer in time.
    #[error("the MPS control daemon in {} has not answered within {} s", pipe.display(), ANSWER_WAIT.as_secs())]
    Late {
        /// Its folder.
        pipe: PathBuf,
    },
    /// No daemon listens there.
    #[error("no MPS control daemon listens in {}: {said}", pipe.display())]
    Gone {
        /// Its folder.
        pipe: PathBuf,
        /// The program's words.
        said: String,
    },
    /// It answers otherwise than it was told.
    #[error("the MPS control daemon in {} was told {told:?} and says {said:?}", pipe.display())]
    Otherwise {
        /// Its folder.
        pipe: PathBuf,
        /// The command.
        told: String,
        /// Its answer.
        said: String,
    },
    /// It made no partition.
    #[error(transparent)]
    Partition(#[from] PartitionError),
}

/// One daemon, by the folder in which it listens.
#[derive(Debug, Clone)]
pub struct Control {
    program: PathBuf,
    pipe: PathBuf,
}

impl Control {
    /// `program` is the vendor's `nvidia-cuda-mps-control`.
    #[must_use]
    pub fn new(program: &Path, pipe: &Path) -> Self {
        Self { program: program.to_owned(), pipe: pipe.to_owned() }
    }

    /// The program with the daemon's environment and nothing else.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        command.env(PIPE_VARIABLE, &self.pipe).env(LOG_VARIABLE, self.log());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Where the daemon writes its logs.
    pub(super) fn log(&self) -> PathBuf {
        self.pipe.join("log.d")
    }

    pub(super) fn failed(&self, source: io::Error) -> ControlError {
        ControlError::Run { program: self.program.clone(), source }
    }

    /// Gives one command and returns the answer's lines.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn say(&self, words: &str) -> Result<Vec<String>, ControlError> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|source| self.failed(source))?;
        if let Some(mut input) = child.stdin.take() {
            // One that is gone already has said so by its status.
            let _ = input.write_all(format!("{words}\n").as_bytes());
        }
        let ended = wait(&mut child, ANSWER_WAIT).map_err(|source| self.failed(source))?;
        let Some(status) = ended else {
            return Err(ControlError::Late { pipe: self.pipe.clone() });
        };
        let mut said = Vec::new();
        if let Some(output) = child.stdout.take() {
            let read = output.take(ANSWER_BYTES_MAX).read_to_end(&mut said);
            read.map_err(|source| self.failed(source))?;
        }
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if !status.success() {
            return Err(ControlError::Gone { pipe: self.pipe.clone(), said });
        }
        Ok(said.lines().map(|line| line.trim().to_owned()).collect())
    }

    fn expect(
        &self,
        told: &str,
        ask: &str,
        is: impl FnOnce(&str) -> bool,
    ) -> Result<(), ControlError> {
        self.say(told)?;
        let said = self.say(ask)?.join("\n");
        if is(&said) {
            return Ok(());
        }
        Err(ControlError::Otherwise { pipe: self.pipe.clone(), told: told.to_owned(), said })
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn answers(&self) -> Result<(), ControlError> {
        self.say("get_default_active_thread_percentage").map(drop)
    }

    /// Most that any program gets that names no part of its own, or a larger one. Holds for programs
    /// that begin from now on.
    ///
    /// # Errors
    /// [`ControlError`], also where the daemon does not have it afterwards.
    pub fn hold_to(&self, most: &Part) -> Result<(), ControlError> {
        let percentage = most.percentage();
        self.expect(
            &format!("set_default_active_thread_percentage {percentage}"),
            "get_default_active_thread_percentage",
            |said| most.is_percentage(said),
        )?;
        for server in self.servers()? {
            // A server that ends meanwhile takes no more programs in.
            self.say(&format!("set_active_thread_percentage {server} {percentage}"))?;
        }
        self.hold_memory_to(most)
    }

    /// The same of memory alone, for a daemon whose programs compute in partitions.
    ///
    /// # Errors
    /// [`ControlError`], also where the daemon does not have it afterwards.
    pub fn hold_memory_to(&self, most: &Part) -> Result<(), ControlError> {
        let memory = most.memory();
        self.expect(
            &format!("set_default_device_pinned_mem_limit 0 {memory}"),
            "get_default_device_pinned_mem_limit 0",
            |said| most.is_memory(said),
        )?;
        for server in self.servers()? {
            self.say(&format!("set_device_pinned_mem_limit {server} 0 {memory}"))?;
        }
        Ok(())
    }

    /// Cuts a partition of a card. The daemon was started for it.
    ///
    /// # Errors
    /// [`ControlError`], also where it says that there is none.
    pub fn cut(&self, uuid: &str, chunks: Chunks) -> Result<Partition, ControlError> {
        let said = self.say(&format!("sm_partition add {uuid} {}", chunks.count))?;
        Ok(Partition::read(uuid, chunks, &said)?)
    }

    /// Gives a partition's multiprocessors back.
    ///
    /// # Errors
    /// [`ControlError`], also where it is still there afterwards: a program may compute in it.
    pub fn give_back(&self, uuid: &str, partition: &Partition) -> Result<(), ControlError> {
        let told = format!("sm_partition rm {uuid} {}", partition.name());
        let said = self.say(&told)?.join("\n");
        let listed = self.say("lspart")?;
        let mut words = listed.iter().flat_map(|line| line.split_whitespace());
        if words.all(|word| word.rsplit('/').next() != Some(partition.name())) {
            return Ok(());
        }
        Err(ControlError::Otherwise { pipe: self.pipe.clone(), told, said })
    }

    /// Processes of its servers. None until the first program comes.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn servers(&self) -> Result<Vec<u32>, ControlError> {
        let said = self.say("get_server_list")?;
        Ok(said.iter().filter_map(|line| line.parse().ok()).take(SERVERS_MAX).collect())
    }

    /// Ends it and its servers.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn quit(&self) -> Result<(), ControlError> {
        self.say(&format!("quit -t {QUIT_SECONDS}")).map(drop)
    }
}

/// What a control program says of its version; older ones say that they know no such flag. Blocking.
#[must_use]
pub fn version(program: &Path) -> String {
    let mut command = Command::new(program);
    command.env_clear().arg("-v").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return String::new() };
    let ended = wait(&mut child, ANSWER_WAIT).ok().flatten();
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take().filter(|_| ended.is_some_and(|it| it.success())) {
        // What cannot be read is not said.
        let _ = output.take(ANSWER_BYTES_MAX).read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Waits for a child to end; one that has not ended in time is killed, and `None`.
pub(super) fn wait(child: &mut Child, longest: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + longest;
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let left = until.saturating_duration_since(Instant::now());
    let ended = ended_within(&pidfd, left)?;
    if !ended {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    child.wait().map(Some)
}

/// Whether the process of a pidfd has ended, or ends within this time.
pub(super) fn ended_within(pidfd: &impl std::os::fd::AsFd, longest: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(longest.subsec_nanos()),
    };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))?;
    Ok(ready > 0)
}
