//! The words with which Podman starts a task.
//!
//! What Podman leaves behind (its monitor, and through it the container's processes) comes to the
//! shim, which is the subreaper: whatever runs in the container descends from the shim.

use super::hand::{self, Mount};
use super::{Moment, RUN_MAX, RUNTIME_FAILED, either_way, hear_soon, limit_words, run_soon};
use crate::runner::Account;
use crate::runner::processes::{catches, descendants, stat};
use crate::shim::{ICD_FOLDER, Plan};
use polder_model::Micros;
use rustix::process::{Resource, Rlimit, Signal, getrlimit};
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
/// How long before its program began a container may have been made, at most, seconds.
const MADE_BEFORE_S: u64 = 600;
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
        words.extend(either_way(plan, name, moment, (self.has_init, lowered(moment.processes))));
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

    /// The exit code of a program that cannot be executed in its image, if it is one. Podman's `--init`
    /// ends with 1 then, as a program may. So the container is made once more, without it, and not
    /// started: the OCI runtime has looked for the program by then, and nothing of the image has run.
    /// Blocking.
    pub(super) fn refusal(&self, plan: &Plan, dir: &Path, name: &str) -> Option<i32> {
        if self.has_init { self.look(plan, dir, name) } else { None }
    }

    /// The exit code of a container that ended with 126 because Podman failed. A program may end with it, and
    /// Podman does too when the OCI runtime fails for want of processes, say: then its record of events has
    /// the container made and never started, and nothing is wrong with the program. Blocking.
    pub(super) fn failure(
        &self,
        plan: &Plan,
        (dir, name): (&Path, &str),
        ran: Micros,
    ) -> Option<i32> {
        let since = ran.to_duration().as_secs().saturating_add(MADE_BEFORE_S);
        let words = [
            "events".to_owned(),
            "--stream=false".to_owned(),
            format!("--since={since}s"),
            format!("--filter=container={name}"),
            "--format={{.Status}}".to_owned(),
        ];
        let events = hear_soon(self.own(plan, &words).ok()?, "podman events", RUN_MAX).ok()?;
        let failed = !began(&events)? && self.look(plan, dir, name) != Some(126);
        failed.then_some(RUNTIME_FAILED)
    }

    /// What the OCI runtime says of the program. Blocking.
    fn look(&self, plan: &Plan, dir: &Path, name: &str) -> Option<i32> {
        let name = format!("{name}-look");
        let look = || {
            run_soon(self.own(plan, &self.look_words(plan, dir, &name)).ok()?, "podman create")
                .ok()?;
            let said =
                run_soon(self.own(plan, &["init".to_owned(), name.clone()]).ok()?, "podman init");
            said.err().and_then(|why| code_of(&why))
        };
        let code = look();
        // What is left of it has never run, and its name is the lease's own.
        let _ = self.remove(plan, &name);
        code
    }

    /// Words for a container that is made to be looked at.
    fn look_words(&self, plan: &Plan, dir: &Path, name: &str) -> Vec<String> {
        let mut words = vec![format!("--hooks-dir={}", dir.join(ICD_FOLDER).display())];
        words.extend(self.runtime.map(|runtime| format!("--runtime={runtime}")));
        // What is not here by now did not run, and is not worth waiting for.
        words.extend(["create".to_owned(), "--pull=never".to_owned(), format!("--name={name}")]);
        let fixed = [
            "--init=false",
            "--network=none",
            "--log-driver=none",
            "--env=NVIDIA_VISIBLE_DEVICES=void",
        ];
        words.extend(fixed.map(str::to_owned));
        // Said in any case, as where it is run.
        words.extend(["--security-opt=label=disable", "--cgroups=enabled"].map(str::to_owned));
        let limits = [("nofile", Resource::Nofile), ("nproc", Resource::Nproc)];
        words.extend(limits.map(|(name, resource)| {
            format!("--ulimit={name}={}", limit_words(lowered(getrlimit(resource))))
        }));
        let directory = &plan.order.work.directory;
        words.push(format!("--workdir={directory}"));
        if directory != "/" {
            words.push("--mount".to_owned());
            words.push(format!("type=bind,source={directory},destination={directory}"));
        }
        words.push("--".to_owned());
        words.extend(plan.order.work.image.clone());
        words.extend(plan.order.work.command.iter().cloned());
        words
    }

    /// Removes what is kept of a container, if anything. Blocking.
    ///
    /// # Errors
    /// Words that say what went wrong.
    pub(super) fn remove(&self, plan: &Plan, name: &str) -> Result<(), String> {
        let words = ["rm", "--force", "--ignore", "--volumes", name].map(str::to_owned);
        run_soon(self.own(plan, &words)?, &format!("podman rm {name}"))
    }

    /// A command of Podman's own, as the job's user.
    fn own(&self, plan: &Plan, words: &[String]) -> Result<Command, String> {
        let account = Account::find(plan.order.lease.user.as_str())?;
        let mut command = Command::new(&self.program);
        command.arg("--cgroup-manager=cgroupfs").args(words);
        if rustix::process::geteuid().is_root() && account.uid != 0 {
            command.uid(account.uid).gid(account.gid);
            let home = plan.order.work.environment.get("HOME").map_or("/", String::as_str);
            command.env("HOME", home).env_remove("XDG_RUNTIME_DIR");
        }
        Ok(command)
    }
}

/// Whether Podman, which leads this process group below the shim, passes on to its container what signals
/// it gets. Until then SIGINT ends it with 1, SIGTERM with 0, and others are lost, and up to version 4.3 it begins
/// to only after the container's program has. Its Go runtime catches what stops a program at a terminal
/// only when it is asked for every signal. A user's own Podman is two processes in one group.
pub(super) fn passes_on(shim: u32, leader: u32) -> bool {
    let program = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let podman = program(leader);
    let is_podman =
        |pid: &u32| stat(*pid).is_some_and(|stat| stat.leader == leader) && program(*pid) == podman;
    catches(leader, Signal::TTIN)
        && descendants(shim).into_iter().filter(is_podman).all(|pid| catches(pid, Signal::TTIN))
}

/// Whether a container's program has begun, by what became of the container; none where that was not written
/// down.
pub(super) fn began(events: &str) -> Option<bool> {
    let has = |what: &str| events.lines().any(|line| line.trim() == what);
    if has("start") { Some(true) } else { has("create").then_some(false) }
}

/// A limit that Podman can give.
fn lowered(Rlimit { current, maximum }: Rlimit) -> Rlimit {
    let lower = |limit: Option<u64>| Some(limit.unwrap_or(PROCESSES_MAX).min(PROCESSES_MAX));
    Rlimit { current: lower(current), maximum: lower(maximum) }
}

/// The exit code that is usual for what an OCI runtime says of a program that it cannot execute.
pub(super) fn code_of(said: &str) -> Option<i32> {
    // Runc names what it executes, crun does not; both say more of what else they are not permitted.
    let executes = said.contains("exec: \"") || said.contains("open executable");
    if said.contains("a command that was not found") {
        Some(127)
    } else if executes && said.contains("OCI permission denied") {
        Some(126)
    } else {
        None
    }
}
