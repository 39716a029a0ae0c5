//! A task in a container: what is the same whoever starts it, Podman or Docker.
//!
//! The program that starts it is the task's main process, so its exit code, descriptors and signals
//! are the task's. [`podman`] and [`docker`] spell their own words; [`hand`] says what of the machine
//! is handed in.
//!
//! What must hold: of the machine the container has the job's directory and, where the lease has a
//! device, what that device's lease needs there and nothing of any other device. Words of the user are
//! values, never flags. What runs in the container is the lease's by what the kernel says: it descends
//! from the lease's shim (Podman), or is in a cgroup below the lease's (Docker, whose containers are
//! children of its daemon).
//!
//! It does not look into images: a program that is not in one, or a library of the system's that a
//! driver needs there, is the image's to have.

mod docker;
mod hand;
mod podman;

use super::account::Account;
use super::cgroup::Below;
use super::environment::{OPENCL_VENDORS_VARIABLE, PATH_DEFAULT, has_no_device, shares};
use crate::shim::Plan;
use docker::Docker;
pub use docker::{Containers, ContainersError};
pub(crate) use hand::{barred, nodes};
use podman::Podman;
use polder_model::{Finding, Micros, Rule};
use rustix::process::Rlimit;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The exit code of a job whose container's runtime failed.
pub(crate) const RUNTIME_FAILED: i32 = 125;
/// How long a runtime may take to make or remove a container.
const RUN_MAX: Duration = Duration::from_secs(20);
/// How long it may take to say what became of one on which somebody waits.
const ASK_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether it has.
const RUN_LOOK: Duration = Duration::from_millis(10);
/// Most bytes of what a runtime says that are read.
const SAID_BYTES_MAX: u64 = 4096;

/// Variables that are the machine's: in the image they would name what is not there.
const OF_THE_MACHINE: [&str; 8] =
    ["PATH", "HOME", "SHELL", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "OLDPWD"];
/// Beginnings of variables that would change what a runtime itself does.
const OF_THE_RUNTIME: [&str; 9] = [
    "CONTAINER",
    "PODMAN",
    "STORAGE_",
    "BUILDAH",
    "REGISTRY_AUTH",
    "XDG_",
    "_CONTAINERS",
    "DOCKER_",
    "BUILDKIT_",
];

/// Words and variables with which a task is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) words: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// What only the moment of a start knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// The lease's folder.
    pub(crate) dir: &'a Path,
    /// Its input is a terminal.
    pub(crate) terminal: bool,
    /// Open files and processes that the task may have.
    pub(crate) open_files: Rlimit,
    pub(crate) processes: Rlimit,
    /// The lease's cgroup in every hierarchy, where the container's is made below it.
    pub(crate) cgroup: Option<&'a str>,
    /// Whose task it is.
    pub(crate) account: &'a Account,
    /// Home folder and, if there is one, runtime folder of the user.
    pub(crate) home: &'a str,
    pub(crate) runtime_dir: Option<&'a str>,
}

/// What of this machine starts a lease's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runtime {
    Podman(Podman),
    Docker(Docker),
}

impl Runtime {
    /// The one that the node's administrator chose, or Podman before Docker.
    ///
    /// # Errors
    /// Words that say what to install.
    pub(crate) fn find(chosen: &Containers) -> Result<Self, String> {
        match chosen {
            Containers::Podman => Podman::find().map(Self::Podman),
            Containers::Docker(socket) => Docker::find(socket.as_deref()).map(Self::Docker),
            Containers::Auto => match (Podman::find(), Docker::find(None)) {
                (Ok(podman), _) => Ok(Self::Podman(podman)),
                (Err(_), Ok(docker)) => Ok(Self::Docker(docker)),
                (Err(podman), Err(docker)) => Err(format!("{podman}; nor has it Docker: {docker}")),
            },
        }
    }

    /// How a task of `image` starts under the shim of this number. `environment` is the task's. Blocks
    /// while Docker's daemon is asked: call it in the task's own process.
    ///
    /// # Errors
    /// Words that say why it cannot.
    pub(crate) fn start(
        &self,
        plan: &Plan,
        (image, shim): (&str, i32),
        environment: &BTreeMap<String, String>,
        moment: &Moment<'_>,
    ) -> Result<Start, String> {
        let name = container_name(plan, shim.unsigned_abs());
        let mut inside = inside(plan, environment);
        let mut words = match self {
            Self::Podman(podman) => podman.words(plan, &name, moment),
            Self::Docker(docker) => docker.words(plan, &name, moment)?,
        };
        // Its value is the runtime's own: a command line can be read by everybody.
        words.extend(inside.keys().map(|name| format!("--env={name}")));
        inside.extend(own_variables(moment));
        words.push("--".into());
        words.push(image.to_owned());
        words.extend(plan.order.work.command.iter().cloned());
        let program = match self {
            Self::Podman(podman) => podman.program.clone(),
            Self::Docker(docker) => docker.program.clone(),
        };
        Ok(Start { program, words, environment: inside })
    }
}

/// Who makes the cgroups of a lease's processes, given whose they are: only root's Podman can make some
/// below the lease's, and anybody else's stays in these with all that it starts.
pub(crate) fn below(plan: &Plan, account: &Account) -> Below {
    match plan.order.work.image.as_ref().and_then(|_| Runtime::find(&plan.containers).ok()) {
        Some(Runtime::Docker(_)) => Below::Elsewhere,
        Some(Runtime::Podman(_)) if account.uid == 0 => Below::Task,
        Some(Runtime::Podman(_)) | None => Below::Nobody,
    }
}

/// Variables of the runtime's own process.
fn own_variables(moment: &Moment<'_>) -> impl Iterator<Item = (String, String)> {
    let fixed = [("PATH", PATH_DEFAULT), ("HOME", moment.home)];
    let all = fixed.into_iter().chain(moment.runtime_dir.map(|dir| ("XDG_RUNTIME_DIR", dir)));
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Variables of the task in its container.
fn inside(plan: &Plan, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = environment.clone();
    all.retain(|name, _| goes_in(name));
    if shares(plan) || has_no_device(plan) {
        all.insert(OPENCL_VENDORS_VARIABLE.into(), hand::VENDORS.into());
    }
    // Hooks of other runtimes give devices by this variable; what it has is handed in by us.
    all.insert("NVIDIA_VISIBLE_DEVICES".into(), "void".into());
    all
}

/// What the container of a task is called: two pools on one machine may count the same leases.
fn container_name(plan: &Plan, shim: u32) -> String {
    format!("polder-{}-{shim}", plan.order.lease.id)
}

/// Removes what the runtime keeps of the container that this shim had started, if anything. Blocking.
///
/// # Errors
/// Words that say what went wrong.
pub(crate) fn remove(plan: &Plan, shim: u32) -> Result<(), String> {
    let name = container_name(plan, shim);
    match Runtime::find(&plan.containers)? {
        Runtime::Podman(podman) => podman.remove(plan, &name),
        Runtime::Docker(docker) => docker.remove(&name),
    }
}

/// The exit code of a lease whose container ended with `code` although its program did not: it could not be
/// executed there, or the runtime failed before it began ([`RUNTIME_FAILED`]). None where the code is the
/// program's own. Blocking.
pub(crate) fn refusal(
    plan: &Plan,
    (dir, shim): (&Path, u32),
    (code, ran): (i32, Micros),
) -> Option<i32> {
    plan.order.work.image.as_ref().filter(|_| [1, 126].contains(&code))?;
    let name = container_name(plan, shim);
    match (Runtime::find(&plan.containers).ok()?, code) {
        (Runtime::Podman(podman), 1) => podman.refusal(plan, dir, &name),
        (Runtime::Podman(podman), _) => podman.failure(plan, (dir, &name), ran),
        // Its daemon's `--init` has the usual codes, and so has it.
        (Runtime::Docker(_), _) => None,
    }
}

/// Whether what the shim has started, and leads this process group below it, passes signals on to the task's
/// container by now. Blocks for at most [`ASK_MAX`] while Docker's daemon is asked.
pub(crate) fn passes_on(plan: &Plan, shim: u32, leader: u32) -> bool {
    match plan.order.work.image.as_ref().and_then(|_| Runtime::find(&plan.containers).ok()) {
        Some(Runtime::Podman(_)) => podman::passes_on(shim, leader),
        Some(Runtime::Docker(docker)) => docker.passes_on(&container_name(plan, shim)),
        None => true,
    }
}

/// What is told of a lease whose container's runtime failed before the program began.
pub(crate) fn failed(plan: &Plan) -> Finding {
    let counts = plan.order.host.pids.map_or(String::new(), |pids| {
        format!(
            "; what begins a container counts in --pids, which is {pids}: ask for more, if that is why"
        )
    });
    Finding {
        rule: Rule::ContainerFailed,
        pid: 0,
        program: String::new(),
        evidence: format!("its own words are on the job's standard error{counts}"),
        ended: false,
    }
}

/// Runs a runtime's own command to its end, which must come soon, and returns what it said of an error.
fn run_soon(command: Command, what: &str) -> Result<(), String> {
    hear_soon(command, what, RUN_MAX).map(drop)
}

/// The same, with the beginning of what it said.
fn hear_soon(mut command: Command, what: &str, within: Duration) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    let mut child = command.spawn().map_err(|error| format!("{what}: {error}"))?;
    let until = Instant::now() + within;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(said(child.stdout.take())),
            Ok(Some(status)) => {
                return Err(format!("{what}: {status}: {}", said(child.stderr.take())));
            }
            Ok(None) if Instant::now() < until => std::thread::sleep(RUN_LOOK),
            Ok(None) => {
                // It may have ended in this moment.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{what}: not within {} s", within.as_secs()));
            }
            Err(error) => return Err(format!("{what}: {error}")),
        }
    }
}

/// The beginning of what a child that has ended said.
fn said(from: Option<impl Read>) -> String {
    let mut text = Vec::new();
    if let Some(from) = from {
        // What cannot be read is not said.
        let _ = from.take(SAID_BYTES_MAX).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Whether a variable of the task is given to it in its container.
fn goes_in(name: &str) -> bool {
    let of_the_runtime = OF_THE_RUNTIME.iter().any(|begin| name.starts_with(begin));
    !of_the_runtime && !OF_THE_MACHINE.contains(&name)
}

/// Flags that both programs know by the same names, for a task whose runtime has a program for `--init`
/// or not, and may have so many processes.
fn either_way(
    plan: &Plan,
    name: &str,
    moment: &Moment<'_>,
    (has_init, processes): (bool, Rlimit),
) -> Vec<String> {
    let mut words = Vec::new();
    let mut flag = |name: &str, value: String| words.push(format!("--{name}={value}"));
    flag("rm", "true".into());
    flag("name", name.into());
    flag("interactive", "true".into());
    flag("tty", moment.terminal.to_string());
    flag("init", has_init.to_string());
    flag("log-driver", "none".into());
    flag("network", "host".into());
    flag("security-opt", "label=disable".into());
    for (name, limit) in [("nofile", moment.open_files), ("nproc", processes)] {
        flag("ulimit", format!("{name}={}", limit_words(limit)));
    }
    flag("workdir", plan.order.work.directory.clone());
    if hand::shares_memory(plan) {
        flag("ipc", "host".into());
    }
    for node in plan.nodes.iter().flatten() {
        flag("device", node.display().to_string());
    }
    words
}

fn limit_words(limit: Rlimit) -> String {
    let word = |limit: Option<u64>| limit.map_or("-1".to_owned(), |limit| limit.to_string());
    format!("{}:{}", word(limit.current), word(limit.maximum))
}

#[cfg(test)]
mod tests;
