//! The cgroups of a lease: limits on CPU, memory and processes where the machine permits them, and
//! a list of the lease's processes that none of them can leave by forking.
//!
//! Version 1, version 2 and both at once are served. What cannot be applied is said in words; a
//! lease never fails for it.

use polder_model::{HostAsk, HostLimit, LeaseId, NotEnforced};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder above the leases' own.
const PARENT: &str = "polder";
/// The CPU period, microseconds; a quota counts within it.
const CPU_PERIOD_US: u64 = 100_000;
/// How often a folder is made again because another shim has just removed the one above it.
const CREATE_TRIES: usize = 8;
/// How deep cgroups lie in a lease's that are looked into: a container's own, and one within it.
const NESTED_MAX: usize = 3;
/// How often, and with what pause, a folder is removed while its dead are still leaving.
const REMOVE_TRIES: usize = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(5);
/// How often the list of processes is killed again where the kernel cannot kill it at once.
const KILL_ROUNDS_MAX: usize = 64;

/// One mounted hierarchy, as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    /// Where the lease's folder goes: below the cgroup this process is in.
    own: PathBuf,
    /// Where it is mounted.
    mount: PathBuf,
    /// Version 1: what it controls. Version 2: `None`.
    controllers: Option<BTreeSet<String>>,
}

impl Hierarchy {
    fn has(&self, name: &str) -> bool {
        self.controllers.as_ref().is_some_and(|all| all.contains(name))
    }
}

/// One folder of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folder {
    path: PathBuf,
    version_2: bool,
}

/// Who makes cgroups below a lease's, and moves processes into these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Below {
    /// Nobody: the task joins the lease's own, and no process of it may leave them.
    #[default]
    Nobody,
    /// A program that the task starts. It names one place for all hierarchies, or splits the only one.
    Task,
    /// A program that starts processes elsewhere, which are the lease's by their cgroup alone: so there
    /// is one in every hierarchy.
    Elsewhere,
}

/// The lease's folders, one per hierarchy in use. Empty where nothing is permitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cgroup {
    folders: Vec<Folder>,
    /// Where somebody makes cgroups below the lease's, by one name for every hierarchy.
    place: Option<String>,
    /// That folder in each hierarchy, in use or not: what others made there goes with the lease.
    everywhere: Vec<PathBuf>,
}

/// Reads which hierarchies are mounted and where in each this process is.
fn hierarchies(mountinfo: &str, own: &str) -> Vec<Hierarchy> {
    let places: Vec<(&str, &str)> = own
        .lines()
        .filter_map(|line| line.split_once(':').and_then(|(_, rest)| rest.split_once(':')))
        .collect();
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(root), Some(mount)) = (left.get(3), left.get(4)) else { continue };
        let (Some(kind), Some(options)) = (right.first(), right.get(2)) else { continue };
        let options: BTreeSet<&str> = options.split(',').collect();
        let place = places.iter().find(|(names, _)| match *kind {
            "cgroup2" => names.is_empty(),
            "cgroup" => !names.is_empty() && names.split(',').all(|name| options.contains(name)),
            _ => false,
        });
        let Some((names, place)) = place else { continue };
        // Inside a container the mount may begin below the hierarchy's root.
        let Ok(below) = Path::new(place).strip_prefix(root) else { continue };
        let controllers =
            (*kind == "cgroup").then(|| names.split(',').map(str::to_owned).collect());
        let mount = PathBuf::from(mount);
        found.push(Hierarchy { own: mount.join(below), mount, controllers });
    }
    found
}

/// What a limit needs: the controller, and the file and value in each version.
struct Limit {
    host: HostLimit,
    controller: &'static str,
    files_1: Vec<(&'static str, String)>,
    files_2: Vec<(&'static str, String)>,
}

fn limits(host: &HostAsk) -> Vec<Limit> {
    let mut all = Vec::new();
    if let Some(cpu) = host.cpu {
        let quota = u64::from(cpu.0) * CPU_PERIOD_US / 1000;
        all.push(Limit {
            host: HostLimit::Cpu,
            controller: "cpu",
            files_1: vec![
                ("cpu.cfs_period_us", CPU_PERIOD_US.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ],
            files_2: vec![("cpu.max", format!("{quota} {CPU_PERIOD_US}"))],
        });
    }
    if let Some(memory) = host.memory {
        all.push(Limit {
            host: HostLimit::Memory,
            controller: "memory",
            files_1: vec![("memory.limit_in_bytes", memory.0.to_string())],
            files_2: vec![("memory.max", memory.0.to_string())],
        });
    }
    if let Some(pids) = host.pids {
        all.push(Limit {
            host: HostLimit::Pids,
            controller: "pids",
            files_1: vec![("pids.max", pids.to_string())],
            files_2: vec![("pids.max", pids.to_string())],
        });
    }
    all
}

/// Lets the cgroups below `above` have what the limit needs. Version 2.
fn hand_down(above: &Path, limit: &Limit) -> io::Result<()> {
    put(&above.join("cgroup.subtree_control"), &format!("+{}", limit.controller))
}

/// In version 2 a cgroup with processes hands nothing down, and ours has this one. Where that stands
/// in the way the leases' folders go to the top, which is exempt, if that is permitted.
fn choose_base(all: &mut [Hierarchy], limits: &[Limit]) {
    let wanted = |all: &[Hierarchy], limit: &&Limit| !all.iter().any(|h| h.has(limit.controller));
    let wanted: Vec<&Limit> = limits.iter().filter(|limit| wanted(all, limit)).collect();
    let Some(hierarchy) = all.iter_mut().find(|h| h.controllers.is_none()) else { return };
    let offers = |base: &Path| wanted.iter().all(|limit| hand_down(base, limit).is_ok());
    if !offers(&hierarchy.own) && offers(&hierarchy.mount) {
        hierarchy.own.clone_from(&hierarchy.mount);
    }
}

/// Whoever else makes cgroups names one place for all hierarchies. Where this process is not in the same
/// one everywhere, the leases' folders go to the top, as those of other containers do: beside a lease's
/// folders nothing would be limited.
fn choose_one_place(all: &mut [Hierarchy]) {
    let below = |h: &Hierarchy| h.own.strip_prefix(&h.mount).map(Path::to_owned).ok();
    let first = all.first().and_then(below);
    if first.is_none() || all.iter().any(|h| below(h) != first) {
        all.iter_mut().for_each(|h| h.own.clone_from(&h.mount));
    }
}

impl Cgroup {
    /// Makes the lease's folders and sets its limits. Names those that could not be set.
    pub(crate) fn create(lease: LeaseId, host: &HostAsk, below: Below) -> (Self, Vec<NotEnforced>) {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let mut all = hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let limits = limits(host);
        choose_base(&mut all, &limits);
        if below != Below::Nobody {
            choose_one_place(&mut all);
        }
        let mut made = Self::default();
        made.place_of(lease, &all, below);
        made.track(lease, &all);
        if below == Below::Elsewhere
            && !all.iter().all(|hierarchy| made.folder(lease, hierarchy).is_ok())
        {
            made.place = None;
        }
        let mut not_enforced = Vec::new();
        for limit in &limits {
            if let Err(why) = made.limit(lease, &all, limit) {
                let help = "run the daemon as root, or under systemd with Delegate=yes";
                let why = format!("{why}: {help}");
                not_enforced.push(NotEnforced { limit: limit.host, why });
            }
        }
        if host.nic.is_some() {
            let why = "bandwidth is kept free for it by placement, and not limited".to_owned();
            not_enforced.push(NotEnforced { limit: HostLimit::Nic, why });
        }
        (made, not_enforced)
    }

    /// Notes where the lease's folders are, or would be, for who makes some below. A task on version 2
    /// alone has that split instead.
    fn place_of(&mut self, lease: LeaseId, all: &[Hierarchy], below: Below) {
        let name = format!("{PARENT}/{lease}-{}", std::process::id());
        let place = |h: &Hierarchy| h.own.strip_prefix(&h.mount).map(|own| own.join(&name)).ok();
        let named = match below {
            Below::Nobody => false,
            Below::Task => all.iter().any(|h| h.controllers.is_some()),
            Below::Elsewhere => true,
        };
        self.everywhere = all.iter().map(|h| h.own.join(&name)).collect();
        let first = all.first().and_then(place).filter(|_| named);
        self.place = first.map(|place| format!("/{}", place.display()));
    }

    /// The place of the lease in every hierarchy, for a container's own cgroup below it.
    pub(crate) fn place(&self) -> Option<&str> {
        self.place.as_deref().filter(|_| !self.folders.is_empty())
    }

    /// A folder that lists the lease's processes, whatever is limited.
    fn track(&mut self, lease: LeaseId, all: &[Hierarchy]) {
        let order = |h: &&Hierarchy| match &h.controllers {
            None => 0,
            Some(_) if h.has("pids") => 1,
            Some(_) if h.has("freezer") => 2,
            Some(_) => 3,
        };
        let mut by_use: Vec<&Hierarchy> = all.iter().collect();
        by_use.sort_by_key(order);
        // The first that permits it; where none does, descent alone tells what belongs to a lease.
        let _ = by_use.into_iter().take(3).find(|h| self.folder(lease, h).is_ok());
    }

    /// The lease's folder in a hierarchy, made when it is not there.
    fn folder(&mut self, lease: LeaseId, hierarchy: &Hierarchy) -> io::Result<PathBuf> {
        let parent = hierarchy.own.join(PARENT);
        // Two pools on one machine may count the same leases.
        let path = parent.join(format!("{lease}-{}", std::process::id()));
        if self.folders.iter().any(|folder| folder.path == path) {
            return Ok(path);
        }
        for round in 1.. {
            let made = make(&parent).and_then(|()| make(&path));
            match made {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound && round < CREATE_TRIES => {}
                Err(error) => return Err(named(&path, &error)),
            }
        }
        let version_2 = hierarchy.controllers.is_none();
        self.folders.push(Folder { path: path.clone(), version_2 });
        Ok(path)
    }

    fn limit(&mut self, lease: LeaseId, all: &[Hierarchy], limit: &Limit) -> io::Result<()> {
        if let Some(hierarchy) = all.iter().find(|h| h.has(limit.controller)) {
            let path = self.folder(lease, hierarchy)?;
            return limit.files_1.iter().try_for_each(|(name, value)| put(&path.join(name), value));
        }
        let absent = || io::Error::other("this kernel or container offers no such controller");
        let hierarchy = all.iter().find(|h| h.controllers.is_none()).ok_or_else(absent)?;
        let path = self.folder(lease, hierarchy)?;
        hand_down(&hierarchy.own, limit)?;
        hand_down(&hierarchy.own.join(PARENT), limit)?;
        limit.files_2.iter().try_for_each(|(name, value)| put(&path.join(name), value))
    }

    /// The cgroup that a shim recorded, for whoever cleans up after it.
    pub(crate) fn from_paths(paths: &[PathBuf]) -> Self {
        let folders = paths
            .iter()
            .map(|path| Folder { path: path.clone(), version_2: path.join("cgroup.kill").exists() })
            .collect();
        Self { folders, ..Self::default() }
    }

    /// Its folders.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.path.clone()).collect()
    }

    /// The folder that a child can be born in, if there is one.
    pub(crate) fn birthplace(&self) -> Option<OwnedFd> {
        let folder = self.folders.iter().find(|folder| folder.version_2)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&folder.path, flags, Mode::empty()).ok()
    }

    /// Puts the calling process into every folder; but for the birthplace when it was `born` there.
    ///
    /// # Errors
    /// What the system says, naming the file.
    pub(crate) fn join(&self, born: bool) -> io::Result<()> {
        let mut folders = self.folders.iter().filter(|folder| !(born && folder.version_2));
        folders.try_for_each(|folder| put(&folder.path.join("cgroup.procs"), "0"))
    }

    /// Kills every process in it. True when none is left, as far as can be seen.
    pub(crate) fn kill(&self) -> bool {
        for folder in self.folders.iter().filter(|folder| folder.version_2) {
            let _ = put(&folder.path.join("cgroup.kill"), "1");
        }
        for folder in &self.folders {
            // No more forks while the list is worked through.
            let _ = put(&folder.path.join("pids.max"), "0");
        }
        (0..KILL_ROUNDS_MAX).any(|_| {
            let pids = self.processes();
            super::processes::signal_all(&pids, rustix::process::Signal::KILL);
            pids.is_empty()
        })
    }

    /// The processes in it, zombies left out by the kernel.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut text = String::new();
        for folder in &self.folders {
            inside(&folder.path, NESTED_MAX, &mut |path| {
                text += &std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            });
        }
        let mut pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        pids.sort_unstable();
        pids.dedup();
        // 0 is a process that this namespace cannot see, and to kill it would mean ourselves.
        pids.retain(|pid| *pid != 0);
        pids
    }

    /// How often the kernel has ended one of its processes because the memory limit was reached.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let count = |folder: &Folder| {
            let name = if folder.version_2 { "memory.events" } else { "memory.oom_control" };
            let text = std::fs::read_to_string(folder.path.join(name)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
        };
        self.folders.iter().filter_map(count).sum()
    }

    /// Removes its folders, and the one above when it was the last. Its processes are dead.
    pub(crate) fn remove(&self) {
        let own = self.folders.iter().map(|folder| &folder.path);
        for path in own.chain(&self.everywhere) {
            // Those inside before those around them.
            inside(path, NESTED_MAX, &mut |path| {
                for _ in 0..REMOVE_TRIES {
                    match std::fs::remove_dir(path) {
                        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                            std::thread::sleep(REMOVE_PAUSE);
                        }
                        _ => break,
                    }
                }
            });
            // Fails while other leases have folders there, as it should.
            let _ = path.parent().map(std::fs::remove_dir);
        }
    }
}

/// Whether a process is in the cgroup at `place`, or in one below it. The caller holds a pidfd of the
/// process, opened before, and looks at it after.
pub(crate) fn is_inside(pid: u32, place: &str) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    text.is_ok_and(|text| names(&text, place))
}

/// Whether `/proc/PID/cgroup` names the cgroup at `place`, or one below it.
fn names(text: &str, place: &str) -> bool {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    place != "/" && paths.into_iter().any(|path| Path::new(path).starts_with(place))
}

/// A folder and those inside it, the innermost first.
fn inside(path: &Path, levels: usize, each: &mut dyn FnMut(&Path)) {
    if levels > 0 {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                inside(&entry.path(), levels - 1, each);
            }
        }
    }
    each(path);
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn make(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn put(path: &Path, value: &str) -> io::Result<()> {
    let write = || {
        use std::io::Write;
        std::fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
    };
    write().map_err(|error| named(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mountinfo: &str, own: &str, expect: &[(&str, Option<&[&str]>)]) {
        let expect: Vec<_> = expect
            .iter()
            .map(|(own, controllers)| {
                let controllers =
                    controllers.map(|all| all.iter().map(|&s| s.to_owned()).collect());
                (PathBuf::from(own), controllers)
            })
            .collect();
        let found = hierarchies(mountinfo, own).into_iter();
        assert_eq!(found.map(|h| (h.own, h.controllers)).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn every_way_of_mounting_is_read() {
        check(
            "31 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/system.slice/polder.service\n",
            &[("/sys/fs/cgroup/system.slice/polder.service", None)],
        );
        check(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             22 27 0:21 / /proc rw - proc proc rw\n",
            "5:cpu,cpuacct:/a\n4:memory:/b/c\n0::/\n",
            &[
                ("/sys/fs/cgroup/cpu,cpuacct/a", Some(&["cpu", "cpuacct"])),
                ("/sys/fs/cgroup/memory/b/c", Some(&["memory"])),
            ],
        );
        // A container that sees only its own part.
        check(
            "9 8 0:1 /docker/x /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n",
            "8:pids:/docker/x/y\n",
            &[("/sys/fs/cgroup/pids/y", Some(&["pids"]))],
        );
        check("9 8 0:1 /other /sys/fs/cgroup rw - cgroup2 c rw\n", "0::/elsewhere\n", &[]);
        check("nonsense\n - \n", ":::\n", &[]);
    }

    #[test]
    fn a_container_has_one_place_below_the_lease_in_every_hierarchy() {
        let place = |below, mountinfo: &str, own: &str| {
            let mut all = hierarchies(mountinfo, own);
            choose_one_place(&mut all);
            let mut cgroup = Cgroup::default();
            cgroup.place_of(LeaseId(7), &all, below);
            let name = format!("polder/L7-{}", std::process::id());
            assert!(cgroup.everywhere.iter().all(|path| path.ends_with(&name)));
            cgroup.place.map(|place| place.replace(&name, "polder/L7-N"))
        };
        let elsewhere =
            |mountinfo: &str, own: &str| place(Below::Elsewhere, mountinfo, own).unwrap();
        let one = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                   35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let two = "36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(elsewhere(one, "5:cpu:/a\n4:memory:/a\n"), "/a/polder/L7-N");
        assert_eq!(elsewhere(one, "5:cpu:/\n4:memory:/b\n"), "/polder/L7-N");
        assert_eq!(elsewhere(two, "0::/a/b\n"), "/a/b/polder/L7-N");
        let task = |mountinfo: &str, own: &str| place(Below::Task, mountinfo, own);
        let both = format!("{one}{two}");
        assert_eq!(task(&both, "5:cpu:/a\n4:memory:/a\n0::/a\n").unwrap(), "/a/polder/L7-N");
        assert_eq!(task(&both, "5:cpu:/\n4:memory:/b\n0::/\n").unwrap(), "/polder/L7-N");
        assert_eq!(task(two, "0::/a\n"), None, "podman splits what there is");
        assert_eq!(place(Below::Nobody, one, "5:cpu:/a\n4:memory:/a\n"), None, "it stays inside");
    }

    #[test]
    fn a_process_is_a_leases_by_the_cgroup_that_the_kernel_names() {
        let check = |text: &str, expect: bool| {
            assert_eq!(names(text, "/polder/L7-9"), expect, "{text}");
        };
        check("8:pids:/polder/L7-9/902ca0\n0::/\n", true);
        check("8:pids:/\n0::/polder/L7-9\n", true);
        check("8:pids:/polder/L7-99\n0::/polder\n", false);
        check("8:pids:/x/polder/L7-9/a:b\n", false);
        check("0::/../polder/L7-9\n", false);
        check("nonsense\n::\n", false);
        assert!(!names("0::/a\n", "/"), "everybody is in the first");
    }

    #[test]
    fn a_limit_is_spelled_for_both_versions() {
        let host = HostAsk {
            cpu: Some(polder_model::MilliCpu(1500)),
            memory: Some(polder_model::Bytes(1 << 30)),
            pids: Some(64),
            nic: None,
        };
        let files: Vec<String> = limits(&host)
            .iter()
            .flat_map(|limit| limit.files_1.iter().chain(&limit.files_2))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            files,
            [
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000",
                "cpu.max=150000 100000",
                "memory.limit_in_bytes=1073741824",
                "memory.max=1073741824",
                "pids.max=64",
                "pids.max=64"
            ]
        );
    }
}
