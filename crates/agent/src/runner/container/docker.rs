//! The words with which Docker starts a task.
//!
//! Docker's containers are children of its daemon and not of the task, so what runs in one is the
//! lease's by its cgroup, which lies below the lease's: its limits, its end and its right to come in
//! at the shim's door all go by that. It takes a daemon that makes cgroups itself, and an agent that may
//! make the lease's.
//!
//! Its daemon is root, and whoever may reach its socket can be: it is the machine's administrator's to say
//! who may. The task is its user's all the same, whatever the image says of users: no process of it has
//! another user or can become one. Its groups are looked up in the image's `/etc/group`, and some daemons
//! (20.10 is one) take a group there whose *name* is the number: so an image can add groups to the task.

use super::hand::{self, Mount};
use super::{ASK_MAX, Moment, PATH_DEFAULT, either_way, hear_soon, own_variables, run_soon};
use crate::runner::processes::takes;
use crate::shim::Plan;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use thiserror::Error;

/// Where Docker's client is looked for, whatever the job's `PATH` says.
const DOCKER_PATHS: [&str; 3] = ["/usr/bin/docker", "/usr/local/bin/docker", "/bin/docker"];
/// Where its daemon listens, if nobody says otherwise.
const SOCKET: &str = "/var/run/docker.sock";
/// What its daemon is asked: who makes cgroups, and which program it has for `--init`.
const QUESTION: &str = "{{.CgroupDriver}} {{.InitBinary}}";
/// The only answer to the former that serves.
const CGROUPFS: &str = "cgroupfs";
/// What it is asked of a container: whether it runs, as which process, and whether with `--init`.
const STANDING: &str = "{{.State.Running}} {{.State.Pid}} {{.HostConfig.Init}}";
/// Most groups of a user that are handed on.
const GROUPS_MAX: usize = 256;

/// What starts the containers of a node's jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Containers {
    /// Podman where it is installed, else Docker.
    #[default]
    Auto,
    /// Podman.
    Podman,
    /// Docker, whose daemon listens on this socket, or where it usually does.
    Docker(Option<PathBuf>),
}

/// A text that names nothing that starts containers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} starts no containers: write auto, podman, docker, or docker: and the full path of its \
     daemon's socket"
)]
pub struct ContainersError(String);

impl FromStr for Containers {
    type Err = ContainersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "podman" => Ok(Self::Podman),
            "docker" => Ok(Self::Docker(None)),
            _ => {
                let socket = text.strip_prefix("docker:").map(PathBuf::from);
                let socket = socket.filter(|socket| socket.is_absolute());
                let wrong = || ContainersError(text.chars().take(64).collect());
                socket.map(|socket| Self::Docker(Some(socket))).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for Containers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Podman => f.pad("podman"),
            Self::Docker(None) => f.pad("docker"),
            Self::Docker(Some(socket)) => f.pad(&format!("docker:{}", socket.display())),
        }
    }
}

/// What of this machine starts containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Docker {
    pub(super) program: PathBuf,
    pub(super) socket: PathBuf,
}

/// What its daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Daemon {
    pub(super) has_init: bool,
}

impl Docker {
    /// Docker on this machine: its client, and the socket of a daemon.
    ///
    /// # Errors
    /// Words that say what is not there.
    pub(super) fn find(socket: Option<&Path>) -> Result<Self, String> {
        let found = DOCKER_PATHS.into_iter().map(Path::new).find(|path| path.exists());
        let program = found.ok_or(
            "docker is not on this node: install it (Debian: apt install docker.io), or leave \
             --image out",
        )?;
        let socket = socket.unwrap_or(Path::new(SOCKET));
        if !socket.exists() {
            let socket = socket.display();
            return Err(format!("its daemon does not listen on {socket}: start dockerd"));
        }
        Ok(Self { program: program.into(), socket: socket.to_owned() })
    }

    fn host(&self) -> String {
        format!("--host=unix://{}", self.socket.display())
    }

    /// Everything before the variables and the image. Blocks while the daemon is asked.
    ///
    /// # Errors
    /// Words that say why it does not serve.
    pub(super) fn words(
        &self,
        plan: &Plan,
        name: &str,
        moment: &Moment<'_>,
    ) -> Result<Vec<String>, String> {
        let daemon = self.ask(moment)?;
        let groups = rustix::process::getgroups().unwrap_or_default();
        let groups: Vec<u32> = groups.into_iter().map(rustix::process::Gid::as_raw).collect();
        self.spell(plan, name, moment, (&daemon, &groups))
    }

    /// Asks the daemon, as the task's user.
    fn ask(&self, moment: &Moment<'_>) -> Result<Daemon, String> {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(own_variables(moment)).env("PATH", PATH_DEFAULT);
        command.args([&self.host(), "info", "--format", QUESTION]).stdin(Stdio::null());
        let said = command.output().map_err(|error| format!("docker info: {error}"))?;
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr);
            let (socket, why) = (self.socket.display(), why.trim());
            return Err(format!("docker's daemon at {socket} does not answer this user: {why}"));
        }
        Daemon::read(&String::from_utf8_lossy(&said.stdout))
    }

    pub(super) fn spell(
        &self,
        plan: &Plan,
        name: &str,
        moment: &Moment<'_>,
        (daemon, groups): (&Daemon, &[u32]),
    ) -> Result<Vec<String>, String> {
        let cgroup = moment.cgroup.ok_or(
            "docker's containers are held by the lease's cgroup, and this agent may make none: run \
             the daemon as root, or use podman",
        )?;
        let mut words = vec!["docker".to_owned(), self.host(), "run".to_owned()];
        words.extend(either_way(plan, name, moment, (daemon.has_init, moment.processes)));
        let mut flag = |name: &str, value: String| words.push(format!("--{name}={value}"));
        flag("security-opt", "no-new-privileges".into());
        flag("cgroup-parent", cgroup.to_owned());
        let account = moment.account;
        flag("user", format!("{}:{}", account.uid, account.gid));
        for group in groups.iter().filter(|group| **group != account.gid).take(GROUPS_MAX) {
            flag("group-add", group.to_string());
        }
        for Mount { from, to, read_only } in hand::mounts(plan, moment.dir) {
            let how = if read_only { ",readonly" } else { "" };
            flag("mount", format!("type=bind,source={from},destination={to}{how}"));
        }
        Ok(words)
    }

    /// Whether the daemon would pass a signal on to this container: one that its client hands it earlier is
    /// refused, and lost, and so is what comes before `--init` listens. Blocking.
    pub(super) fn passes_on(&self, name: &str) -> bool {
        let mut command = Command::new(&self.program);
        command.args([&self.host(), "container", "inspect", "--format", STANDING, name]);
        command.env_clear().env("PATH", PATH_DEFAULT);
        let said = hear_soon(command, "docker inspect", ASK_MAX).unwrap_or_default();
        let words: Vec<&str> = said.split_whitespace().collect();
        match words[..] {
            ["true", pid, "true"] => pid.parse().is_ok_and(|pid| takes(pid, Signal::INT)),
            ["true", ..] => true,
            _ => false,
        }
    }

    /// Removes what is kept of a container, if anything, as the agent's own user. Blocking.
    ///
    /// # Errors
    /// Words that say what went wrong.
    pub(super) fn remove(&self, name: &str) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.args([&self.host(), "rm", "--force", "--volumes", name]);
        command.env_clear().env("PATH", PATH_DEFAULT);
        match run_soon(command, &format!("docker rm {name}")) {
            Err(why) if why.contains("No such container") => Ok(()),
            other => other,
        }
    }
}

impl Daemon {
    /// Reads the answer to [`QUESTION`].
    pub(super) fn read(answer: &str) -> Result<Self, String> {
        let mut words = answer.split_whitespace();
        match words.next() {
            Some(CGROUPFS) => Ok(Self { has_init: words.next().is_some() }),
            driver => Err(format!(
                "docker's daemon lets {} make its cgroups, so its containers are not the lease's to \
                 limit: start it with --exec-opt native.cgroupdriver={CGROUPFS}, or use podman",
                driver.unwrap_or("nobody")
            )),
        }
    }
}
