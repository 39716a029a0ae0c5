//! The words with which Podman starts a task.
//!
//! What Podman leaves behind (its monitor, and through it the container's processes) comes to the
//! shim, which is the subreaper: whatever runs in the container descends from the shim.

use super::hand::{self, Mount};
use super::{Moment, either_way, run_soon};
use crate::runner::Account;
use crate::shim::{ICD_FOLDER, Plan};
use rustix::process::Rlimit;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Podman is looked for, whatever the job's `PATH` says.
const PODMAN_PATHS: [&str; 3] = ["/usr/bin/podman", "/usr/local/bin/podman", "/bin/podman"];
/// Where Podman's `--init` lies.
const INIT_PATHS: [&str; 3] =
    ["/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/lib/podman/catatonit"];
/// OCI runtimes in the order in which they are taken: the first serves every layout of cgroups.
const RUNTIME_PATHS: [&str; 4] =
    ["/usr/bin/runc", "/usr/sbin/runc", "/usr/local/bin/runc", "/usr/bin/crun"];
/// Podman lowers its own limit on processes to this, and what it starts cannot have more.
const PROCESSES_MAX: u64 = 32_768;

/// What of this machine starts containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Podman {
    pub(super) program: PathBuf,
    pub(super) runtime: Option<&'static str>,
    pub(super) has_init: bool,
    /// The machine has the second version of cgroups alone.
    pub(super) splits: bool,
}

impl Podman {
    /// Podman on this machine.
    ///
    /// # Errors
    /// Words that say what to install.
    pub(super) fn find() -> Result<Self, String> {
        let there = |path: &&'static str| Path::new(path).exists();
        let program = PODMAN_PATHS.iter().copied().find(|path| there(path)).ok_or(
            "this node has no podman, which runs jobs with --image: install it (Debian: apt \
             install podman runc catatonit), or leave --image out",
        )?;
        Ok(Self {
            program: program.into(),
            runtime: RUNTIME_PATHS.iter().copied().find(|path| there(path)),
            has_init: INIT_PATHS.iter().any(there),
            splits: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        })
    }

    /// Everything before the variables and the image.
    pub(super) fn words(&self, plan: &Plan, name: &str, moment: &Moment<'_>) -> Vec<String> {
        let mut words = vec!["podman".to_owned()];
        let mut flag = |name: &str, value: String| words.push(format!("--{name}={value}"));
        // Limits are the lease's own cgroup's, in which the container's is made.
        flag("cgroup-manager", "cgroupfs".into());
        // No program of the machine's own adds anything to the container: this folder holds none.
        flag("hooks-dir", moment.dir.join(ICD_FOLDER).display().to_string());
        if let Some(runtime) = self.runtime {
            flag("runtime", runtime.into());
        }
        words.push("run".into());
        let lower = |limit: Option<u64>| Some(limit.unwrap_or(PROCESSES_MAX).min(PROCESSES_MAX));
        let Rlimit { current, maximum } = moment.processes;
        let processes = Rlimit { current: lower(current), maximum: lower(maximum) };
        words.extend(either_way(plan, name, moment, (self.has_init, processes)));
        let mut flag = |name: &str, value: String| words.push(format!("--{name}={value}"));
        // Said in any case: the user's own settings may say that no limits are wanted.
        match moment.cgroup {
            Some(cgroup) => {
                flag("cgroups", "enabled".into());
                flag("cgroup-parent", cgroup.to_owned());
            }
            // The one that this process is in by now, in two.
            None => flag("cgroups", if self.splits { "split" } else { "enabled" }.into()),
        }
        if let Some(umask) = plan.order.work.umask {
            flag("umask", format!("{umask:04o}"));
        }
        for Mount { from, to, read_only } in hand::mounts(plan, moment.dir) {
            words.push("--mount".into());
            let how = if read_only { ",ro=true" } else { "" };
            words.push(format!("type=bind,source={from},destination={to}{how}"));
        }
        words
    }

    /// Removes what is kept of a container, if anything. Blocking.
    ///
    /// # Errors
    /// Words that say what went wrong.
    pub(super) fn remove(&self, plan: &Plan, name: &str) -> Result<(), String> {
        let account = Account::find(plan.order.lease.user.as_str())?;
        let mut command = Command::new(&self.program);
        command.args(["--cgroup-manager=cgroupfs", "rm", "--force", "--ignore", "--volumes", name]);
        if rustix::process::geteuid().is_root() && account.uid != 0 {
            command.uid(account.uid).gid(account.gid);
            let home = plan.order.work.environment.get("HOME").map_or("/", String::as_str);
            command.env("HOME", home).env_remove("XDG_RUNTIME_DIR");
        }
        run_soon(command, &format!("podman rm {name}"))
    }
}
