//! Images for tests of jobs in containers, made of this machine's own files, and who keeps them:
//! podman, or a daemon of Docker's that runs for the test alone.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]
#![allow(clippy::print_stderr, reason = "skips must be heard")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::common::{Said, program, say, soon};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// Where the agent looks for Docker's client.
const DOCKER_CLIENTS: [&str; 2] = ["/usr/bin/docker", "/usr/local/bin/docker"];

fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Who keeps images and starts containers.
pub enum Engine {
    Podman,
    Docker(Dockerd),
}

/// Docker's daemon with folders of its own; ends with this.
pub struct Dockerd {
    child: Child,
    client: &'static str,
    folder: tempfile::TempDir,
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        // What it leaves mounted would keep its folder.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = self.folder.path().to_string_lossy().into_owned();
        let own = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|it| it.starts_with(&own));
        for mount in own {
            let _ = Command::new("umount").args(["--lazy", mount]).status();
        }
    }
}

/// Debian's packages of Docker, fetched into `folder` and unpacked there.
fn fetch(folder: &Path) -> Option<PathBuf> {
    let root = folder.join("root");
    if root.join("usr/sbin/dockerd").exists() {
        return Some(root);
    }
    fs::create_dir_all(folder).ok()?;
    let mut apt = Command::new("timeout");
    apt.args(["60", "apt-get", "-q", "-oAPT::Sandbox::User=root", "download", "docker.io"]);
    apt.args(["containerd", "tini"]).current_dir(folder).stdout(Stdio::null());
    apt.status().ok()?.success().then_some(())?;
    let packages = files_in(folder.to_str()?, |name| name.ends_with(".deb"));
    let half = folder.join(format!("half-{}", std::process::id()));
    for package in packages {
        let unpacked = Command::new("dpkg-deb").arg("-x").arg(package).arg(&half).status().ok()?;
        unpacked.success().then_some(())?;
    }
    // Two tests may do so at one time; either's is whole.
    let _ = fs::rename(&half, &root);
    root.join("usr/sbin/dockerd").exists().then_some(root)
}

impl Engine {
    /// Podman, or a loud word on why there is none.
    pub fn podman() -> Option<Self> {
        let there = Command::new("podman").arg("--version").output();
        if !there.is_ok_and(|output| output.status.success()) {
            skip("there is no podman here; on Debian: apt install podman runc catatonit");
            return None;
        }
        Some(Self::Podman)
    }

    /// Docker with a daemon for this test, or a loud word on why there is none.
    pub fn docker() -> Option<Self> {
        let Some(client) = DOCKER_CLIENTS.into_iter().find(|path| Path::new(path).exists()) else {
            skip("there is no docker client here; on Debian: apt install docker.io");
            return None;
        };
        if !rustix::process::geteuid().is_root() {
            skip("this test starts Docker's daemon as root");
            return None;
        }
        let installed = Path::new("/usr/sbin/dockerd").exists().then(|| PathBuf::from("/"));
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker");
        let Some(root) = installed.or_else(|| fetch(&kept)) else {
            skip("there is no dockerd here, and apt-get does not reach Debian's");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("dk").tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(root.join("usr/sbin/dockerd"));
        let own = ["usr/bin", "usr/sbin"].map(|it| root.join(it).display().to_string()).join(":");
        command.env("PATH", format!("{own}:/usr/sbin:/usr/bin:/sbin:/bin"));
        let at = |name: &str| folder.path().join(name);
        command.arg(format!("--host=unix://{}", at("socket").display()));
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            command.arg(flag).arg(at(name));
        }
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--userland-proxy=false"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut docker = Self::Docker(Dockerd { child, client, folder });
        let answers = soon("Docker's daemon", || {
            let gone = match &mut docker {
                Self::Docker(daemon) => daemon.child.try_wait().unwrap().is_some(),
                Self::Podman => false,
            };
            if gone {
                return Some(false);
            }
            (docker.say(&["version"]).code == 0).then_some(true)
        });
        if !answers {
            let Self::Docker(daemon) = &docker else { return None };
            let log = fs::read_to_string(daemon.folder.path().join("log")).unwrap_or_default();
            skip(&format!("dockerd does not run here: {}", log.lines().last().unwrap_or_default()));
            return None;
        }
        Some(docker)
    }

    /// Flags with which a pool uses it.
    pub fn flags(&self) -> Vec<String> {
        let which = match self {
            Self::Podman => "podman".to_owned(),
            Self::Docker(daemon) => {
                format!("docker:{}", daemon.folder.path().join("socket").display())
            }
        };
        vec!["--no-listen".into(), "--containers".into(), which]
    }

    /// Runs one of its own commands to its end.
    pub fn say(&self, words: &[&str]) -> Said {
        let mut command = match self {
            Self::Podman => {
                let mut command = Command::new("podman");
                command.arg("--cgroup-manager=cgroupfs");
                command
            }
            Self::Docker(daemon) => {
                let mut command = Command::new(daemon.client);
                let socket = daemon.folder.path().join("socket");
                command.arg(format!("--host=unix://{}", socket.display()));
                command
            }
        };
        command.args(words).stdin(Stdio::null());
        say(command)
    }

    /// Runs a container that is no lease's.
    pub fn run(&self, words: &[&str]) -> Said {
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        let usual = ["run", "--rm", "--network=host"];
        match self {
            Self::Podman => {
                let runc = Path::new("/usr/sbin/runc").exists();
                let runtime = ["--runtime", if runc { "runc" } else { "crun" }];
                self.say(&[&runtime, &usual[..], &limits, words].concat())
            }
            Self::Docker(_) => self.say(&[&usual[..], words].concat()),
        }
    }

    /// An image of the tree that `fill` makes, or a loud word on why there is none.
    pub fn image(&self, fill: impl FnOnce(&Path)) -> Option<Image<'_>> {
        if !rustix::process::geteuid().is_root() {
            skip("this test makes its image as root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (root, archive) = (folder.path().join("root"), folder.path().join("image.tar"));
        fs::create_dir(&root).unwrap();
        fill(&root);
        let packed =
            Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".").status();
        assert!(packed.unwrap().success());
        let name = format!("localhost/polder-test:{}", std::process::id());
        let made = self.say(&["import", archive.to_str().unwrap(), &name]);
        assert_eq!(made.code, 0, "{made:?}");
        let image = Image { engine: self, name };
        let tried = self.run(&[&image.name, "true-ish"]);
        // 127: it ran, and found no such program.
        if tried.code != 127 {
            skip(&format!("no container can be run here: {}", tried.stderr.trim()));
            return None;
        }
        Some(image)
    }
}

/// A user whose own podman runs containers, with a home and a store of images that go with this.
pub struct Rootless {
    user: String,
    home: tempfile::TempDir,
    pub image: String,
}

impl Rootless {
    /// One with subordinate ids, or a loud word on why there is none.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("this test runs podman as another user");
            return None;
        }
        let known = fs::read_to_string("/etc/subuid").unwrap_or_default();
        let Some(user) = known.lines().find_map(|line| line.split(':').next()) else {
            skip("no user here has subordinate ids, which a podman of their own takes");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (root, archive) = (folder.path().join("root"), folder.path().join("image.tar"));
        fs::create_dir(&root).unwrap();
        plain(&root, &[], &[]);
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let packed =
            Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".").status();
        assert!(packed.unwrap().success());
        let home = tempfile::tempdir().unwrap();
        let own = Self { user: user.to_owned(), home, image: "localhost/polder-test:1".to_owned() };
        let given = Command::new("chown").arg(&own.user).arg(own.home.path()).status();
        assert!(given.unwrap().success());
        let mut import = own.command("podman");
        import.arg("import").arg(&archive).arg(&own.image);
        let said = say(import);
        if said.code != 0 {
            skip(&format!("{user} has no podman of their own here: {}", said.stderr.trim()));
            return None;
        }
        Some(own)
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// Settings of that user's podman.
    pub fn settings(&self, text: &str) {
        let folder = self.home.path().join(".config/containers");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("containers.conf"), text).unwrap();
    }

    /// A program as that user, in a folder that everybody has.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("runuser");
        let home = format!("HOME={}", self.home.path().display());
        command.args(["-u", &self.user, "--", "env", "-i", &home]);
        command.args(["PATH=/usr/bin:/bin:/usr/sbin", program]);
        command.current_dir("/tmp").stdin(Stdio::null());
        command
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        // What it keeps mounted would keep the home.
        let _ = self.command("podman").args(["system", "reset", "--force"]).output();
    }
}

/// An image in its engine's store; goes with this.
pub struct Image<'a> {
    engine: &'a Engine,
    pub name: String,
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        let _ = self.engine.say(&["rmi", "--force", &self.name]);
    }
}

/// Copies a file of the machine into a tree under the name that it has here, whatever it links to.
fn copy(tree: &Path, file: &Path) {
    // `/lib` is a link to `/usr/lib`, in the tree too.
    let usual = file.strip_prefix("/").unwrap();
    let place =
        if usual.starts_with("usr") { usual.to_owned() } else { Path::new("usr").join(usual) };
    let to = tree.join(place);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(file, to).unwrap();
}

fn files_in(folder: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.is_file());
    files.filter(|path| wanted(&path.file_name().unwrap().to_string_lossy())).collect()
}

/// A shell, a few programs and those named, with every library that they load; `libraries` and what
/// those load are put there too.
pub fn plain(tree: &Path, programs: &[PathBuf], libraries: &[PathBuf]) {
    for folder in ["usr/bin", "usr/lib", "usr/lib64", "etc", "tmp", "root"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    for link in ["bin", "lib", "lib64"] {
        symlink(Path::new("usr").join(link), tree.join(link)).unwrap();
    }
    let usual =
        ["dash", "sleep", "cat", "ls", "env", "id"].map(|it| Path::new("/usr/bin").join(it));
    let all: Vec<&PathBuf> = usual.iter().chain(programs).collect();
    let mut loaded = BTreeSet::new();
    for file in all.iter().copied().chain(libraries) {
        let said = Command::new("ldd").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        loaded.extend(paths.map(PathBuf::from));
    }
    libraries.iter().chain(&loaded).for_each(|file| copy(tree, file));
    for file in all {
        fs::copy(file, tree.join("usr/bin").join(file.file_name().unwrap())).unwrap();
    }
    symlink("dash", tree.join("usr/bin/sh")).unwrap();
}

/// Whether there is PoCL to put into an image. Says loudly when not.
pub fn has_pocl() -> bool {
    let there = Path::new("/etc/OpenCL/vendors/pocl.icd").exists() && Path::new(LIBRARIES).exists();
    if !there {
        skip("there is no PoCL here to put into an image");
    }
    there
}

/// The test's own programs, an OpenCL loader, PoCL and the linker that it calls.
pub fn pocl(tree: &Path) {
    let mut programs: Vec<PathBuf> = vec!["/usr/bin/ld".into()];
    programs.extend(["workload", "steady"].map(|name| program(name).into()));
    let mut wanted: Vec<PathBuf> = files_in(LIBRARIES, |name| {
        name.starts_with("libpocl.so.2") || name.starts_with("libOpenCL.so.1")
    });
    wanted.extend(files_in(&format!("{LIBRARIES}/pocl"), |_| true));
    plain(tree, &programs, &wanted);
    // What PoCL's linking of kernels looks for, and its own headers and built-ins.
    let mut wanted = files_in(LIBRARIES, |name| {
        ["libc.so", "libc_nonshared.a", "libm.so", "libmvec.so.1"].contains(&name)
            || name.starts_with("crt")
    });
    for version in fs::read_dir("/usr/lib/gcc/x86_64-linux-gnu").into_iter().flatten().flatten() {
        wanted.extend(files_in(&version.path().to_string_lossy(), |name| {
            name.starts_with("crt") || name == "libgcc.a" || name == "libgcc_s.so"
        }));
    }
    wanted.extend(files_in("/usr/share/pocl", |_| true));
    wanted.extend(files_in("/usr/share/pocl/include", |_| true));
    wanted.iter().for_each(|file| copy(tree, file));
    // What a registry's image would have: the vendor's own, which Polder's must stand over.
    fs::create_dir_all(tree.join("etc/OpenCL/vendors")).unwrap();
    fs::copy("/etc/OpenCL/vendors/pocl.icd", tree.join("etc/OpenCL/vendors/pocl.icd")).unwrap();
}
