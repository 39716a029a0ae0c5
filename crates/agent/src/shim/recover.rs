//! What became of a lease whose shim does not answer.

use super::prepare::lock;
use super::protocol::{SHIM_PROTOCOL, ShimPhase, ShimState};
use super::status::{boot_id, read_plan, read_status, write_status};
use crate::runner::{Cgroup, LEASE_DIR_VARIABLE, signal_all};
use polder_model::{LeaseEnd, LeaseSample, Micros, Outcome};
use rustix::process::Signal;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most bytes of a process's environment that are searched.
const ENVIRON_BYTES_MAX: u64 = 4 << 20;
/// How often leftovers are looked for again, since one may fork while another is killed.
const SWEEPS_MAX: usize = 16;

/// Why an end could not be told.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// A shim is at work there: connect to it, or try again in a moment.
    #[error("the shim in {dir} is alive")]
    Alive {
        /// The lease's folder.
        dir: PathBuf,
    },
    /// The folder holds neither a plan nor a state.
    #[error("{dir} is no lease's folder: it has neither a plan nor a state")]
    NoLease {
        /// The folder.
        dir: PathBuf,
    },
    /// The system refused.
    #[error("recovering the lease in {dir}: {error}")]
    System {
        /// The lease's folder.
        dir: PathBuf,
        /// What it said.
        #[source]
        error: io::Error,
    },
}

/// Tells the end of a lease whose shim is gone. Without a known end it is lost: the machine was
/// restarted or the shim was killed. Then whatever is left of its task is killed first, so that it
/// may run elsewhere, and the end is made durable. What a lost task used is not known here.
///
/// # Errors
/// [`RecoverError`].
pub fn recover(dir: &Path) -> Result<ShimState, RecoverError> {
    let system = |error| RecoverError::System { dir: dir.to_owned(), error };
    let Some(_lock) = lock(dir).map_err(system)? else {
        return Err(RecoverError::Alive { dir: dir.to_owned() });
    };
    // A status that a power cut has torn tells no end.
    let known = read_status(dir).ok().flatten();
    let boot = boot_id().map_err(system)?;
    let mut state = match known {
        Some(state) => state,
        None => unprepared(dir, &boot)?,
    };
    if matches!(state.phase, ShimPhase::Ended { .. }) {
        return Ok(state);
    }
    let why = if state.boot == boot {
        sweep(dir, &state);
        "the shim that watched the task was killed, and the task with it"
    } else {
        "the machine was restarted while the task ran"
    };
    let outcome = Outcome::Lost { why: why.to_owned() };
    let end = LeaseEnd { outcome, ran: Micros(0), sample: LeaseSample::default() };
    state.phase = ShimPhase::Ended { end };
    state.cgroups.clear();
    state.attached.clear();
    write_status(dir, &state, true).map_err(system)?;
    Ok(state)
}

/// The state of a lease whose shim died before it wrote one.
fn unprepared(dir: &Path, boot: &str) -> Result<ShimState, RecoverError> {
    let plan = read_plan(dir)
        .map_err(|error| RecoverError::System { dir: dir.to_owned(), error })?
        .ok_or_else(|| RecoverError::NoLease { dir: dir.to_owned() })?;
    Ok(ShimState {
        protocol: SHIM_PROTOCOL,
        layout: polder_ledger::LAYOUT,
        lease: plan.order.lease.id,
        boot: boot.to_owned(),
        shim: 0,
        phase: ShimPhase::Prepared { isolation: polder_model::Isolation::None, master_port: None },
        attached: Vec::new(),
        limits_epoch: None,
        log_bytes_lost: 0,
        not_enforced: Vec::new(),
        notes: Vec::new(),
        cgroups: Vec::new(),
    })
}

/// Kills what is left of the task. Its main process died with the shim; what that had started is
/// found in the lease's cgroup, or else by the environment it was given.
fn sweep(dir: &Path, state: &ShimState) {
    let cgroup = Cgroup::from_paths(&state.cgroups);
    cgroup.kill();
    for _ in 0..SWEEPS_MAX {
        let left = marked(dir);
        if left.is_empty() {
            break;
        }
        signal_all(&left, Signal::STOP);
        signal_all(&left, Signal::KILL);
    }
    cgroup.remove();
}

/// Processes whose environment names the lease's folder.
fn marked(dir: &Path) -> Vec<u32> {
    let mark = format!("{LEASE_DIR_VARIABLE}={}", dir.display());
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_mark = |pid: &u32| {
        let Ok(file) = std::fs::File::open(format!("/proc/{pid}/environ")) else { return false };
        let mut bytes = Vec::new();
        let read = file.take(ENVIRON_BYTES_MAX).read_to_end(&mut bytes);
        read.is_ok() && bytes.split(|byte| *byte == 0).any(|part| part == mark.as_bytes())
    };
    pids.filter(|pid| *pid != std::process::id()).filter(has_mark).collect()
}
