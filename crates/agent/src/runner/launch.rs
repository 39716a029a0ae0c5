//! From an order to a running program: everything between `fork` and `execve`.
//!
//! The child does each step as late as it can and says in words, through a pipe that `execve`
//! closes, which one failed. The shim never blocks on it: a directory on a hung file system hangs
//! the child alone, and the child can be killed.

use super::account::Account;
use super::cgroup::Cgroup;
use super::container::{Moment, Runtime, Start};
use super::cuda::intercepts_cuda;
use super::environment::{PATH_DEFAULT, intercepts_opencl, shares};
use super::fork::{Forked, default_signals, fork, fork_into};
use super::mounts::{Binds, Namespace};
use crate::inherited::Inherited;
use crate::shim::{DRIVER_SOCKET, Plan};
use rustix::fs::{Access, Mode};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest words of a child that are read.
pub(crate) const WORDS_BYTES_MAX: usize = 4096;

/// The descriptors that become the task's input, output and error.
#[derive(Debug)]
pub(crate) struct TaskStdio {
    pub(crate) fds: [OwnedFd; 3],
    /// They are a terminal, to become the controlling one.
    pub(crate) terminal: bool,
}

/// All that a launch needs.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) plan: &'a Plan,
    /// The lease's folder.
    pub(crate) dir: &'a Path,
    pub(crate) account: &'a Account,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) stdio: TaskStdio,
    /// What it inherits besides.
    pub(crate) inherited: Inherited,
    /// What this process had before it raised its own limit.
    pub(crate) open_files: Rlimit,
}

/// Starts the task's main process. Its pipe closes silently when its program runs, or says why it
/// cannot; then the process exits by itself.
///
/// # Errors
/// What the system says of the fork.
pub(crate) fn launch(launch: Launch<'_>) -> io::Result<Forked> {
    let shim = rustix::process::getpid();
    let become_task = |born: bool| {
        let launch = &launch;
        move |words: OwnedFd| {
            // Out of the way of the numbers that the task's descriptors get.
            let words = launch.lift(&words).unwrap_or(words);
            let Err(why) = launch.run(shim, born);
            // When the shim is gone there is nobody to tell.
            let _ = File::from(words).write_all(why.as_bytes());
        }
    };
    if !launch.is_apart()
        && let Some(folder) = launch.cgroup.birthplace()
        && let Some(forked) = fork_into(folder.as_fd(), become_task(true))?
    {
        return Ok(forked);
    }
    fork(become_task(false))
}

impl Launch<'_> {
    /// In the child: becomes the task, or says why not. `born`: it was born in the cgroup's
    /// birthplace.
    fn run(&self, shim: rustix::process::Pid, born: bool) -> Result<Infallible, String> {
        self.own_session()?;
        // Before the user is switched: only the agent's user may.
        let join = || if self.is_apart() { Ok(()) } else { self.cgroup.join(born) };
        join().map_err(|error| format!("joining the lease's cgroup: {error}"))?;
        if let Some(namespace) = self.namespace {
            namespace
                .enter(self.account, &Binds::of(self.plan, self.dir))
                .map_err(|error| format!("making the task's mount namespace: {error}"))?;
        }
        self.become_user()?;
        // A task without its shim has no limit, no end and no exit code, so it goes with it.
        // Switching the user clears the wish, hence after it; and the shim may be dead already.
        let wish = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        if wish.is_err() || rustix::process::getppid() != Some(shim) {
            return Err("the shim has gone".to_owned());
        }
        let umask = self.plan.order.work.umask.map_or(Mode::WGRP | Mode::WOTH, Mode::from_raw_mode);
        rustix::process::umask(umask);
        let directory = &self.plan.order.work.directory;
        std::env::set_current_dir(directory).map_err(|error| {
            format!(
                "directory {directory:?} cannot be entered by {} on this node: {error}: create it \
                 here, or ask for another directory",
                self.who()
            )
        })?;
        self.check_reach()?;
        self.execute()
    }

    /// Whether its processes get a cgroup of their own below the lease's, so that what starts them
    /// is not counted.
    fn is_apart(&self) -> bool {
        self.cgroup.place().is_some()
    }

    /// A copy of a descriptor above all numbers that the task's own get.
    fn lift(&self, fd: &OwnedFd) -> Result<OwnedFd, Errno> {
        let top = self.inherited.descriptors.iter().map(|(number, _)| *number).max();
        rustix::io::fcntl_dupfd_cloexec(fd, top.unwrap_or(2) + 1)
    }

    /// The descriptors that it inherits, out of each other's way.
    fn lifted(&self) -> Result<Vec<(i32, OwnedFd)>, String> {
        let lift = |(number, fd): &(i32, OwnedFd)| {
            let lifted = self.lift(fd);
            lifted.map(|fd| (*number, fd)).map_err(|errno| no_room(*number, errno))
        };
        self.inherited.descriptors.iter().map(lift).collect()
    }

    fn own_session(&self) -> Result<(), String> {
        let failed = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
        rustix::process::setsid().map_err(failed("starting a session"))?;
        let [input, output, error] = &self.stdio.fds;
        rustix::stdio::dup2_stdin(input).map_err(failed("handing over the input"))?;
        rustix::stdio::dup2_stdout(output).map_err(failed("handing over the output"))?;
        rustix::stdio::dup2_stderr(error).map_err(failed("handing over the error output"))?;
        if self.stdio.terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).map_err(|errno| {
                format!("the input cannot become the task's terminal: {errno}: give a new pty")
            })?;
        }
        default_signals(self.inherited.ignored);
        Ok(())
    }

    fn become_user(&self) -> Result<(), String> {
        let mine = rustix::process::geteuid();
        if mine.is_root() && self.namespace != Some(Namespace::WithUser) {
            let become_it = self.account.become_it();
            return become_it.map_err(|error| format!("becoming {}: {error}", self.who()));
        }
        if mine.as_raw() == self.account.uid {
            return Ok(());
        }
        Err(format!(
            "this node's agent runs as uid {} and so can run nothing as {}: run the agent as \
             root, or ask as its own user",
            mine.as_raw(),
            self.who()
        ))
    }

    fn who(&self) -> String {
        match &self.account.name {
            Some(name) => format!("user {name:?}"),
            None => format!("uid {}", self.account.uid),
        }
    }

    /// What the lease's programs must reach, seen as their user: a failure here would otherwise
    /// show as a device that is missing, much later and without words.
    fn check_reach(&self) -> Result<(), String> {
        let reach = |path: &Path, access: Access, what: &str| {
            rustix::fs::access(path, access).map_err(|errno| {
                format!(
                    "{what} {} cannot be reached by {}: {errno}: make every folder above it \
                     searchable for all",
                    path.display(),
                    self.who()
                )
            })
        };
        if shares(self.plan) {
            reach(&self.dir.join(DRIVER_SOCKET), Access::WRITE_OK, "the lease's socket")?;
        }
        if let Some(libraries) = intercepts_cuda(self.plan) {
            reach(&libraries.ours, Access::READ_OK, "Polder's library for CUDA")?;
        }
        match &self.plan.driver {
            Some(driver) if intercepts_opencl(self.plan) => {
                reach(driver, Access::READ_OK, "Polder's driver")
            }
            _ => Ok(()),
        }
    }

    /// What is executed: the job's program, or what starts it in a container.
    fn begin(&self) -> Result<Start, String> {
        let work = &self.plan.order.work;
        let Some(image) = &work.image else {
            let name = work.command.first().map_or("", String::as_str);
            let path = self.environment.get("PATH").map_or(PATH_DEFAULT, String::as_str);
            let program = find_program(name, path)?;
            let (words, environment) = (work.command.clone(), self.environment.clone());
            return Ok(Start { program, words, environment });
        };
        let home = self.environment.get("HOME").map_or("/", String::as_str);
        let runtime = format!("/run/user/{}", self.account.uid);
        let has_runtime = self.account.uid != 0 && Path::new(&runtime).is_dir();
        let moment = Moment {
            dir: self.dir,
            terminal: self.stdio.terminal,
            open_files: self.open_files,
            processes: rustix::process::getrlimit(Resource::Nproc),
            cgroup: self.cgroup.place(),
            account: self.account,
            home,
            runtime_dir: has_runtime.then_some(runtime.as_str()),
        };
        let shim = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        Runtime::find(&self.plan.containers)?.start(
            self.plan,
            (image, shim),
            &self.environment,
            &moment,
        )
    }

    fn execute(&self) -> Result<Infallible, String> {
        let Start { program, words, environment } = self.begin()?;
        let text = |text: &[u8]| {
            CString::new(text).map_err(|_| "the command holds a NUL byte: remove it".to_owned())
        };
        let arguments =
            words.iter().map(|part| text(part.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let variables = environment.iter();
        let variables = variables
            .map(|(name, value)| text(format!("{name}={value}").as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let program_text = text(program.as_os_str().as_bytes())?;
        let inherited = self.lifted()?;
        super::exec::hand_over(&inherited).map_err(|(number, errno)| no_room(number, errno))?;
        // Best effort: a limit that was lowered meanwhile stays lowered.
        let _ = rustix::process::setrlimit(Resource::Nofile, self.open_files);
        let errno = super::exec::execute(&program_text, &arguments, &variables);
        Err(refusal(&program, errno))
    }
}

/// Words for a descriptor that does not find its place.
fn no_room(number: i32, errno: Errno) -> String {
    format!(
        "descriptor {number} of the caller cannot be handed over: {errno}: close it there, or raise \
         the daemon's limit on open files"
    )
}

/// Words for a program that is there and does not start.
fn refusal(program: &Path, errno: Errno) -> String {
    let hint = match errno {
        Errno::NOENT => "the interpreter that it names is missing: install it",
        Errno::NOEXEC => {
            "it is neither a program for this machine nor a script with a #! line: add one, or \
             run it with its interpreter"
        }
        Errno::TOOBIG => "its arguments and environment are longer than the system takes",
        Errno::ACCESS => "it, its interpreter or its file system does not permit execution",
        _ => "see the node's log",
    };
    format!("program {} cannot be executed: {errno}: {hint}", program.display())
}

/// Looks a program up as a shell does. A name with a slash is taken as it is.
fn find_program(name: &str, path: &str) -> Result<PathBuf, String> {
    let executable = |program: &Path| {
        let meta = std::fs::metadata(program)?;
        if meta.is_dir() {
            return Err(io::Error::from(Errno::ISDIR));
        }
        if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
            return Err(io::Error::from(Errno::ACCESS));
        }
        rustix::fs::accessat(
            rustix::fs::CWD,
            program,
            Access::EXEC_OK,
            rustix::fs::AtFlags::EACCESS,
        )
        .or_else(|errno| if errno == Errno::NOSYS { Ok(()) } else { Err(errno) })?;
        Ok(())
    };
    let denied = |program: &Path| {
        format!("program {} is not executable: chmod +x it, or name another", program.display())
    };
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(denied(Path::new(name)))
            }
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(format!(
                "{name} is a directory: name a program in it, or run one with it as an argument"
            )),
            Err(error) => Err(format!(
                "program {name:?} is not there: {error}: a path counts from the job's directory"
            )),
        };
    }
    let mut refused = None;
    for folder in path.split(':') {
        let program = Path::new(if folder.is_empty() { "." } else { folder }).join(name);
        match executable(&program) {
            Ok(()) => return Ok(program),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                refused.get_or_insert(program);
            }
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(program) => denied(&program),
        None => format!(
            "program {name:?} is not in the job's PATH ({path}) on this node: install it here, or \
             give its full path"
        ),
    })
}

/// The two ends of a pipe for the task's output: the shim's, which never blocks, and the task's.
///
/// # Errors
/// What the system says.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let flags = rustix::fs::fcntl_getfl(read.as_fd())?;
    rustix::fs::fcntl_setfl(&read, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, path: &str, expect: Result<&str, &str>) {
        match (find_program(name, path), expect) {
            (Ok(got), Ok(program)) => assert_eq!(got, Path::new(program)),
            (Err(got), Err(words)) => assert!(got.contains(words), "{got}"),
            (got, expect) => panic!("{name} in {path}: {got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("sh");
        std::fs::write(&plain, "").unwrap();
        let folder = dir.path().to_str().unwrap();
        check("sh", "/nowhere:/bin", Ok("/bin/sh"));
        check("/bin/sh", "", Ok("/bin/sh"));
        // One that may not be executed is passed over, and named only when there is no other.
        check("sh", &format!("{folder}:/bin"), Ok("/bin/sh"));
        check("sh", folder, Err("is not executable: chmod +x"));
        check(
            "no-such-program",
            "/bin",
            Err("\"no-such-program\" is not in the job's PATH (/bin)"),
        );
        check("./no-such", "/bin", Err("counts from the job's directory"));
        check("bin", "/", Err("is not in the job's PATH"));
        check("/bin", "/", Err("/bin is a directory"));
    }
}
