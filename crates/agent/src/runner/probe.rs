//! What can be guaranteed to a lease here, found out in a child that then exits: user directories
//! are large and may be slow, and a namespace once entered is not left.

use super::account::Account;
use super::fork::{Forked, fork};
use super::launch::WORDS_BYTES_MAX;
use super::mounts::{Binds, Namespace};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Signal, WaitOptions};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};

/// Longest a look-up of the user may take.
const PROBE_SECONDS_MAX: i64 = 20;

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// The lease's user, or words that say why there is none.
    pub(crate) account: Result<Account, String>,
    /// How its programs can be shown no ICD but Polder's, or why not.
    pub(crate) namespace: Result<Namespace, String>,
}

/// Probes for a lease of `user`, whose namespace is to have `binds`.
///
/// # Errors
/// What the system says, or that it took too long.
pub(crate) fn probe(user: &str, binds: &Binds) -> io::Result<Probe> {
    let child = fork(|words| {
        let account = Account::find(user);
        let namespace = match &account {
            Ok(account) => Namespace::find(account, binds).map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        };
        if let Ok(bytes) = serde_json::to_vec(&Probe { account, namespace }) {
            // When the shim is gone there is nobody to tell.
            let _ = File::from(words).write_all(&bytes);
        }
    })?;
    let pid = child.pid;
    let found = read(child);
    if found.is_err() {
        // It may be gone already.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()))?;
    found
}

fn read(child: Forked) -> io::Result<Probe> {
    let timeout = Timespec { tv_sec: PROBE_SECONDS_MAX, tv_nsec: 0 };
    let mut fds = [PollFd::new(&child.words, PollFlags::IN)];
    if rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)))? == 0 {
        let why = format!("looking up the lease's user took over {PROBE_SECONDS_MAX} s");
        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
    }
    let mut bytes = Vec::new();
    File::from(child.words).take(WORDS_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}
