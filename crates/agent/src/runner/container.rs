//! A task in a container: the words with which Podman starts it.
//!
//! Podman is the task's main process, so its exit code, descriptors and signals are the task's. What
//! it leaves behind (its monitor, and through it the container's processes) comes to the shim, which
//! is the subreaper: whatever runs in the container descends from the shim and is let in at its door
//! as any other process of the lease, and no other is.
//!
//! What must hold: of the machine the container has the job's directory and, where the lease shares a
//! device, the lease's socket, Polder's driver and the folder that names it, over the image's own; no
//! device, and no driver of the vendors'. Words of the user are values, never flags.
//!
//! It does not look into images: a program that is not in one, or a vendor's library that Polder's
//! driver needs there, is the image's to have.

use super::account::Account;
use super::cuda::intercepts_cuda;
use super::environment::{
    OPENCL_VENDORS_VARIABLE, PATH_DEFAULT, has_no_device, intercepts_opencl, shares,
};
use crate::shim::{DRIVER_SOCKET, ICD_FOLDER, Plan};
use rustix::process::Rlimit;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
/// How long Podman may take to remove what it keeps of a container, and how often it is looked at.
const REMOVE_MAX: Duration = Duration::from_secs(20);
const REMOVE_LOOK: Duration = Duration::from_millis(20);
/// Where every loader of OpenCL looks inside the image.
const VENDORS: &str = "/etc/OpenCL/vendors";

/// Variables that are the machine's: in the image they would name what is not there.
const OF_THE_MACHINE: [&str; 8] =
    ["PATH", "HOME", "SHELL", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "OLDPWD"];
/// Beginnings of variables that would change what Podman itself does.
const OF_PODMAN: [&str; 7] =
    ["CONTAINER", "PODMAN", "STORAGE_", "BUILDAH", "REGISTRY_AUTH", "XDG_", "_CONTAINERS"];

/// What of this machine starts containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Podman {
    program: PathBuf,
    runtime: Option<&'static str>,
    has_init: bool,
    /// The machine has the second version of cgroups alone.
    splits: bool,
}

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
    /// The lease's cgroup, where it has the same name in every hierarchy.
    pub(crate) cgroup: Option<&'a str>,
    /// Home folder and, if there is one, runtime folder of the user.
    pub(crate) home: &'a str,
    pub(crate) runtime_dir: Option<&'a str>,
}

impl Podman {
    /// Podman on this machine.
    ///
    /// # Errors
    /// Words that say what to install.
    pub(crate) fn find() -> Result<Self, String> {
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

    /// How a task of `image` starts under the shim of this number. `environment` is the task's.
    pub(crate) fn start(
        &self,
        plan: &Plan,
        (image, shim): (&str, i32),
        environment: &BTreeMap<String, String>,
        moment: &Moment<'_>,
    ) -> Start {
        let work = &plan.order.work;
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
        let mut flag = |name: &str, value: String| words.push(format!("--{name}={value}"));
        flag("rm", "true".into());
        flag("name", container_name(plan, shim.unsigned_abs()));
        flag("interactive", "true".into());
        flag("tty", moment.terminal.to_string());
        flag("init", self.has_init.to_string());
        flag("log-driver", "none".into());
        flag("network", "host".into());
        flag("security-opt", "label=disable".into());
        match moment.cgroup {
            Some(cgroup) => flag("cgroup-parent", cgroup.to_owned()),
            // The one that this process is in by now, in two.
            None => flag("cgroups", if self.splits { "split" } else { "enabled" }.into()),
        }
        let lower = |limit: Option<u64>| Some(limit.unwrap_or(PROCESSES_MAX).min(PROCESSES_MAX));
        let Rlimit { current, maximum } = moment.processes;
        let processes = Rlimit { current: lower(current), maximum: lower(maximum) };
        for (name, limit) in [("nofile", moment.open_files), ("nproc", processes)] {
            flag("ulimit", format!("{name}={}", limit_words(limit)));
        }
        if let Some(umask) = work.umask {
            flag("umask", format!("{umask:04o}"));
        }
        flag("workdir", work.directory.clone());
        for (from, to, how) in mounts(plan, moment.dir) {
            words.push("--mount".into());
            words.push(format!("type=bind,source={from},destination={to}{how}"));
        }
        let mut all = environment.clone();
        all.retain(|name, _| goes_in(name));
        if shares(plan) || has_no_device(plan) {
            all.insert(OPENCL_VENDORS_VARIABLE.into(), VENDORS.into());
            // Hooks of other runtimes give devices by this variable.
            all.insert("NVIDIA_VISIBLE_DEVICES".into(), "void".into());
        }
        for name in all.keys() {
            // Its value is Podman's own: a command line can be read by everybody.
            words.push(format!("--env={name}"));
        }
        all.insert("PATH".into(), PATH_DEFAULT.into());
        all.insert("HOME".into(), moment.home.into());
        all.extend(moment.runtime_dir.map(|dir| ("XDG_RUNTIME_DIR".into(), dir.into())));
        words.push("--".into());
        words.push(image.to_owned());
        words.extend(work.command.iter().cloned());
        Start { program: self.program.clone(), words, environment: all }
    }
}

/// What the container of a task is called: two pools on one machine may count the same leases.
fn container_name(plan: &Plan, shim: u32) -> String {
    format!("polder-{}-{shim}", plan.order.lease.id)
}

/// Removes what Podman keeps of the container that this shim had started, if anything. Blocking.
///
/// # Errors
/// Words that say what went wrong.
pub(crate) fn remove(plan: &Plan, shim: u32) -> Result<(), String> {
    let account = Account::find(plan.order.lease.user.as_str())?;
    let name = container_name(plan, shim);
    let mut command = Command::new(Podman::find()?.program);
    command.args(["--cgroup-manager=cgroupfs", "rm", "--force", "--ignore", "--volumes", &name]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    if rustix::process::geteuid().is_root() && account.uid != 0 {
        command.uid(account.uid).gid(account.gid);
        let home = plan.order.work.environment.get("HOME").map_or("/", String::as_str);
        command.env("HOME", home).env_remove("XDG_RUNTIME_DIR");
    }
    let mut child = command.spawn().map_err(|error| format!("podman: {error}"))?;
    let until = Instant::now() + REMOVE_MAX;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("podman rm {name}: {status}")),
            Ok(None) if Instant::now() < until => std::thread::sleep(REMOVE_LOOK),
            Ok(None) => {
                // It may have ended in this moment.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("podman rm {name}: not within {} s", REMOVE_MAX.as_secs()));
            }
            Err(error) => return Err(format!("podman rm {name}: {error}")),
        }
    }
}

/// Whether a variable of the task is given to it in its container.
fn goes_in(name: &str) -> bool {
    let of_podman = OF_PODMAN.iter().any(|begin| name.starts_with(begin));
    !of_podman && !OF_THE_MACHINE.contains(&name)
}

fn limit_words(limit: Rlimit) -> String {
    let word = |limit: Option<u64>| limit.map_or("-1".to_owned(), |limit| limit.to_string());
    format!("{}:{}", word(limit.current), word(limit.maximum))
}

/// What of the machine is in the container, and where: from, to, and how.
fn mounts(plan: &Plan, dir: &Path) -> Vec<(String, String, &'static str)> {
    let shown = |path: &Path| path.display().to_string();
    let same = |path: &Path, how| (shown(path), shown(path), how);
    let mut mounts = Vec::new();
    let directory = Path::new(&plan.order.work.directory);
    if directory != Path::new("/") {
        mounts.push(same(directory, ""));
    }
    if shares(plan) {
        mounts.push(same(&dir.join(DRIVER_SOCKET), ""));
    }
    if shares(plan) || has_no_device(plan) {
        mounts.push((shown(&dir.join(ICD_FOLDER)), VENDORS.to_owned(), ",ro=true"));
    }
    if let Some(driver) = plan.driver.as_deref().filter(|_| intercepts_opencl(plan)) {
        mounts.push(same(driver, ",ro=true"));
    }
    mounts
}

/// Why an image cannot be run on this lease, if it cannot.
pub(crate) fn barred(plan: &Plan) -> Option<String> {
    let comma = |path: &str| path.contains([',', '"']);
    let paths = mounts_of_user(plan);
    if let Some(path) = paths.iter().find(|path| comma(path)) {
        return Some(format!("{path:?} cannot be shown to a container: leave out , and \" in it"));
    }
    let whole = !shares(plan) && !has_no_device(plan);
    (whole || intercepts_cuda(plan).is_some()).then(|| {
        "into containers only shares of OpenCL devices are handed yet, no whole device, no slice \
         that hardware cut and no card through CUDA: ask for a share, or leave --image out"
            .to_owned()
    })
}

fn mounts_of_user(plan: &Plan) -> Vec<String> {
    mounts(plan, Path::new("/")).into_iter().map(|(from, ..)| from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::test_plan;
    use polder_model::Address;

    fn podman() -> Podman {
        Podman {
            program: "/usr/bin/podman".into(),
            runtime: Some("/usr/bin/runc"),
            has_init: true,
            splits: false,
        }
    }

    fn plan() -> Plan {
        let mut plan = test_plan(&["--privileged", "x"]);
        plan.order.work.directory = "/home/ada".into();
        plan.driver = Some("/opt/libpolder_opencl.so".into());
        plan.addresses = vec![Address::Opencl {
            library: "libpocl.so.2".into(),
            platform: "PoCL".into(),
            index: 0,
        }];
        plan
    }

    fn start(plan: &Plan, terminal: bool) -> Start {
        let limit = Rlimit { current: Some(1024), maximum: None };
        let moment = Moment {
            dir: Path::new("/s/L7"),
            terminal,
            open_files: limit,
            processes: limit,
            cgroup: Some("/polder/L7-9"),
            home: "/home/ada",
            runtime_dir: None,
        };
        let environment = [
            ("SECRET", "s"),
            ("PATH", "/mine"),
            ("LD_PRELOAD", "/evil.so"),
            ("CONTAINER_HOST", "tcp://elsewhere"),
            ("NVIDIA_VISIBLE_DEVICES", "all"),
            ("OCL_ICD_VENDORS", "/s/L7/icd"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        podman().start(plan, ("localhost/tools:1", 9), &environment.into(), &moment)
    }

    #[test]
    fn words_of_the_user_are_values_and_never_flags() {
        let start = start(&plan(), false);
        let end = start.words.iter().position(|word| word == "--").unwrap();
        assert_eq!(start.words[end + 1..], ["localhost/tools:1", "--privileged", "x"]);
        assert!(start.words[..end].iter().all(|word| !word.contains("privileged")));
        assert!(!start.words.iter().any(|word| word == "--tty=true"), "{:?}", start.words);
    }

    #[test]
    fn of_the_machine_it_has_the_directory_the_socket_and_polders_driver() {
        let start = start(&plan(), true);
        let mounts: Vec<&String> = start.words.iter().filter(|w| w.starts_with("type=")).collect();
        assert_eq!(
            mounts,
            [
                "type=bind,source=/home/ada,destination=/home/ada",
                "type=bind,source=/s/L7/driver.sock,destination=/s/L7/driver.sock",
                "type=bind,source=/s/L7/icd,destination=/etc/OpenCL/vendors,ro=true",
                "type=bind,source=/opt/libpolder_opencl.so,destination=/opt/libpolder_opencl.so,ro=true",
            ]
        );
        assert!(start.words.contains(&"--ulimit=nofile=1024:-1".to_owned()));
        assert!(start.words.contains(&"--ulimit=nproc=1024:32768".to_owned()));
        assert!(start.words.contains(&"--cgroup-parent=/polder/L7-9".to_owned()));
        assert!(start.words.contains(&"--name=polder-L7-9".to_owned()));
        assert!(!start.words.iter().any(|word| word.starts_with("--device")));
    }

    #[test]
    fn variables_are_the_jobs_without_those_of_the_machine_and_of_podman() {
        let start = start(&plan(), false);
        assert_eq!(start.environment["SECRET"], "s");
        assert!(start.words.contains(&"--env=SECRET".to_owned()));
        assert!(!start.words.iter().any(|word| word.contains("=s")), "{:?}", start.words);
        for name in ["PATH", "LD_PRELOAD", "CONTAINER_HOST", "HOME"] {
            assert!(!start.words.contains(&format!("--env={name}")), "{name}");
        }
        assert!(!start.environment.contains_key("CONTAINER_HOST"));
        assert!(!start.environment.contains_key("LD_PRELOAD"));
        assert_eq!(start.environment["OCL_ICD_VENDORS"], "/etc/OpenCL/vendors");
        assert_eq!(start.environment["NVIDIA_VISIBLE_DEVICES"], "void");
        assert_eq!(start.environment["PATH"], "/usr/local/bin:/usr/bin:/bin");
    }

    #[test]
    fn what_cannot_be_handed_in_is_named() {
        let mut whole = plan();
        whole.order.lease.slices[0].mechanism = polder_model::Mechanism::Whole;
        assert!(barred(&whole).unwrap().contains("ask for a share"));
        let mut odd = plan();
        odd.order.work.directory = "/home/a,source=/".into();
        assert!(barred(&odd).unwrap().contains("leave out ,"));
        assert_eq!(barred(&plan()), None);
    }
}
