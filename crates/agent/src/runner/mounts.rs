//! A mount namespace of the task's own, in which Polder's ICD is the only one, or none is there, and
//! Polder's `libcuda.so.1` and `libnvidia-ml.so.1` lie over the vendor's, whatever name a program opens
//! those by. The lease's socket is bound onto itself, so that a program whose environment was cleared finds
//! it in the list of its mounts.
//!
//! The mount lives and dies with the namespace: when the task's last process is gone the kernel
//! has undone it, whoever else is dead by then.

use super::account::Account;
use super::cuda::{StandIn, intercepts_cuda, stand_ins};
use super::environment::shares;
use crate::shim::{DRIVER_SOCKET, ICD_FOLDER, Plan};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Where every loader of OpenCL looks when no variable says otherwise.
const VENDORS: &str = "/etc/OpenCL/vendors";

/// What a task's namespace shows in the place of what the machine has.
#[derive(Debug, Clone)]
pub(crate) struct Binds {
    /// Over the vendors' folder.
    icd: PathBuf,
    /// Ours over the vendor's libraries.
    libraries: Vec<StandIn>,
    /// Onto itself: where the lease's drivers attach.
    socket: Option<PathBuf>,
}

impl Binds {
    /// What the lease in `dir` needs.
    pub(crate) fn of(plan: &Plan, dir: &Path) -> Self {
        let libraries = intercepts_cuda(plan).map(|libraries| stand_ins(libraries, dir));
        let socket = shares(plan).then(|| dir.join(DRIVER_SOCKET));
        Self { icd: dir.join(ICD_FOLDER), libraries: libraries.unwrap_or_default(), socket }
    }
}

/// How the task gets its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Namespace {
    /// With the agent's own right to mount.
    Plain,
    /// In a user namespace, in which the user is mapped to itself.
    WithUser,
}

impl Namespace {
    /// Moves the calling process, which has one thread, into a new namespace and binds there what
    /// `binds` says.
    ///
    /// # Errors
    /// What the system says, naming the step.
    #[expect(unsafe_code, reason = "rustix cannot know that the process has one thread")]
    pub(crate) fn enter(self, account: &Account, binds: &Binds) -> io::Result<()> {
        let step = |name: &'static str| {
            move |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"))
        };
        let flags = match self {
            Self::Plain => UnshareFlags::NEWNS,
            Self::WithUser => UnshareFlags::NEWNS | UnshareFlags::NEWUSER,
        };
        // SAFETY: no descriptor table is unshared, and the process has one thread.
        unsafe { rustix::thread::unshare_unsafe(flags) }
            .map_err(|errno| step("a new namespace")(errno.into()))?;
        if self == Self::WithUser {
            map_to_itself(account).map_err(step("mapping the user"))?;
        }
        // Downstream: nothing mounted here reaches the machine, while what the machine mounts
        // later (an automounted home) still arrives.
        let downstream = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", downstream).map_err(|errno| step("own propagation")(errno.into()))?;
        match mount_bind(&binds.icd, VENDORS) {
            // Without the folder no loader finds anything but what the variable names.
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(step("binding over /etc/OpenCL/vendors")(errno.into())),
        }
        if let Some(socket) = &binds.socket {
            mount_bind(socket, socket)
                .map_err(|errno| step("binding the lease's socket")(errno.into()))?;
        }
        for library in &binds.libraries {
            let named = |what: &str, errno: rustix::io::Errno| {
                let (error, vendor) = (io::Error::from(errno), library.vendor.display());
                io::Error::new(error.kind(), format!("{what} {vendor}: {error}"))
            };
            mount_bind(&library.vendor, &library.kept)
                .map_err(|errno| named("keeping the vendor's", errno))?;
            mount_bind(&library.ours, &library.vendor)
                .map_err(|errno| named("binding over", errno))?;
        }
        Ok(())
    }

    /// Which way works for this account, if any. Leaves the calling process in the namespace that
    /// it tried: call it in one that will exit.
    ///
    /// # Errors
    /// Why none works.
    pub(crate) fn find(account: &Account, binds: &Binds) -> io::Result<Self> {
        let Err(plain) = Self::Plain.enter(account, binds) else { return Ok(Self::Plain) };
        if rustix::process::geteuid().as_raw() != account.uid {
            return Err(plain);
        }
        Self::WithUser.enter(account, binds).map(|()| Self::WithUser)
    }
}

fn map_to_itself(account: &Account) -> io::Result<()> {
    let Account { uid, .. } = account;
    let gid = rustix::process::getegid().as_raw();
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}
