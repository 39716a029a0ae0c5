//! How a shim comes to stand alone: its own session, nobody's child, no terminal.

use super::prepare::prepare;
use crate::runner::{Forked, WORDS_BYTES_MAX, fork};
use rustix::fs::{Mode, OFlags};
use rustix::process::WaitOptions;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

/// What the second process says when it listens; anything else is why it does not.
const READY: &[u8] = b"ready";

/// The hidden subcommand `polder shim DIR`: returns when the shim of the lease in `dir` is ready
/// (success), or after saying on the error output why there is none. Call it first thing in
/// `main`, while the process has one thread and nothing open.
#[must_use]
pub fn shim_main(dir: &Path) -> ExitCode {
    match begin(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The agent reads these words; when it is gone nobody does.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(dir: &Path) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let Forked { pid, words } = fork(|ready| stand_alone(&dir, ready))?;
    let mut said = Vec::new();
    File::from(words).take(WORDS_BYTES_MAX as u64).read_to_end(&mut said)?;
    if said == READY {
        return Ok(());
    }
    rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    Err(io::Error::other(if said.is_empty() { "it died without a word".to_owned() } else { said }))
}

/// In the second process: prepares, says so, and serves. Nobody waits for this process, so how it
/// exits means nothing; an end that it did not write is an end lost, as if it had been killed.
fn stand_alone(dir: &Path, ready: OwnedFd) {
    let mut ready = File::from(ready);
    let mut shim = match detach(&ready).and_then(|()| prepare(dir)) {
        Ok(shim) => shim,
        Err(error) => {
            // When the first process is gone there is nobody to tell.
            let _ = ready.write_all(error.to_string().as_bytes());
            return;
        }
    };
    // A first process that was killed meanwhile has told nobody of this shim: it goes as well.
    if ready.write_all(READY).is_err() {
        return shim.abandon();
    }
    drop(ready);
    if shim.serve().is_err() {
        shim.abandon();
    }
}

fn detach(keep: &File) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    std::env::set_current_dir("/")?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    close_all_but(keep)
}

/// Closes whatever the starter left open: a listening socket of a dead agent would keep its port.
#[expect(unsafe_code, reason = "closing descriptors by number")]
fn close_all_but(keep: &File) -> io::Result<()> {
    let keep = libc::c_uint::try_from(keep.as_raw_fd()).map_err(io::Error::other)?;
    for (first, last) in [(3, keep.saturating_sub(1)), (keep + 1, libc::c_uint::MAX)] {
        if first <= last {
            // SAFETY: this process was forked a moment ago and owns no descriptor but `keep` and
            // the standard three.
            unsafe { libc::close_range(first, last, 0) };
        }
    }
    Ok(())
}
