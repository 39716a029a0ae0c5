//! `polder down`: stops the daemon.

use super::{Context, Done};
use crate::failure::Failure;
use clap::Args;
use polder_server::api::{ShutdownAnswer, ShutdownRequest, VersionInfo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags};
use std::time::Duration;

/// Longest wait for the daemon's answer; ending all tasks takes their longest grace.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// Longest wait for the process to end after its last answer.
const EXIT_MAX: Duration = Duration::from_secs(30);

/// Flags of `polder down`.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// End every job first, waiting included. Without it tasks run on under their shims, and the
    /// next `polder up` adopts them.
    #[arg(long)]
    all: bool,
}

impl Down {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        let version: VersionInfo = client.get("version").await?;
        // Held from before the shutdown, so that the number cannot come to mean another process.
        let process = i32::try_from(version.pid)
            .ok()
            .and_then(Pid::from_raw)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let request = ShutdownRequest { end_tasks: self.all };
        let answer: ShutdownAnswer = client.send_slow("shutdown", &request, ANSWER_MAX).await?;
        if let Some(process) = process {
            wait_for_exit(process, version.pid).await?;
        }
        if context.out.json_wanted() {
            context.out.json(&answer)?;
        } else {
            context.out.note(&told(&answer, self.all));
        }
        Ok(0)
    }
}

async fn wait_for_exit(process: OwnedFd, pid: u32) -> Result<(), Failure> {
    let wait = move || {
        let limit = Timespec::try_from(EXIT_MAX).ok();
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, limit.as_ref()))
    };
    let waited = tokio::task::spawn_blocking(wait).await;
    match waited.unwrap_or(Ok(0)) {
        Ok(0) => Err(Failure::failed(format!(
            "process {pid} has not ended {} seconds after its last answer",
            EXIT_MAX.as_secs()
        ))
        .help(format!("see what it does, or end it with `kill -9 {pid}`"))),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::failed(format!("waiting for process {pid}: {error}"))),
    }
}

fn told(answer: &ShutdownAnswer, all: bool) -> String {
    let s = |count: u64| if count == 1 { "" } else { "s" };
    if all {
        return format!("stopped; {} job{} ended", answer.cancelled, s(answer.cancelled));
    }
    match answer.leases_left {
        0 => "stopped; nothing was running".to_owned(),
        left => format!(
            "stopped; {left} task{} run{} on, and the next `polder up` adopts {}",
            s(left),
            if left == 1 { "s" } else { "" },
            if left == 1 { "it" } else { "them" },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_runs_on() {
        let check = |leases_left, all, expect: &str| {
            assert_eq!(told(&ShutdownAnswer { cancelled: 3, leases_left }, all), expect);
        };
        check(0, false, "stopped; nothing was running");
        check(1, false, "stopped; 1 task runs on, and the next `polder up` adopts it");
        check(2, false, "stopped; 2 tasks run on, and the next `polder up` adopts them");
        check(0, true, "stopped; 3 jobs ended");
    }
}
