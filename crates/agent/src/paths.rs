//! What lies where in the state folder, and files that are whole or absent whatever happens.

use crate::shim::{ShimClient, ShimState};
use polder_model::LeaseId;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Largest file of ours that is read back. An order holds at most
/// [`polder_model::TEXT_BYTES_MAX`] of text, which JSON may spell in up to six bytes each.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePaths(pub PathBuf);

impl StatePaths {
    /// Where the server answers.
    #[must_use]
    pub fn server_socket(&self) -> PathBuf {
        self.0.join("polder.sock")
    }

    /// Where the agent waits for clients that hand over their descriptors.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// What the agent remembers across restarts.
    #[must_use]
    pub fn memory(&self) -> PathBuf {
        self.0.join("agent.json")
    }

    /// The lock that one agent holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("agent.lock")
    }

    /// One folder per control daemon of MPS.
    #[must_use]
    pub fn mps(&self) -> PathBuf {
        self.0.join("mps")
    }

    /// One folder per lease.
    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.0.join("leases")
    }

    /// The folder of one lease.
    #[must_use]
    pub fn lease(&self, lease: LeaseId) -> PathBuf {
        self.leases().join(lease.to_string())
    }
}

/// Writes `value` so that after any crash of a process the file holds the old or the new value,
/// whole. With `durable`, after a power cut too, and it has reached the disk when this returns.
///
/// # Errors
/// What the system says.
pub(crate) fn write_whole(
    path: &Path,
    value: &impl serde::Serialize,
    durable: bool,
) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let fresh = path.with_extension("new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&fresh, flags | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(opened);
    file.write_all(&serde_json::to_vec(value)?)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&fresh, path)?;
    if durable {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads what [`write_whole`] wrote; `None` when there is no such file.
///
/// # Errors
/// What the system says, or `InvalidData` for a file that is not such a value.
pub(crate) fn read_whole<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        opened => File::from(opened?),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// What to do about a state folder that cannot be used, to be said after the system's word.
pub(crate) fn write_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free space there and start again"
        }
        _ => ": the agent must be able to write its state folder",
    }
}

/// Every lease that has a folder here, lowest first; what is no lease's folder is passed over.
///
/// # Errors
/// What the system says; no folder at all is no error.
pub(crate) fn lease_folders(paths: &StatePaths) -> io::Result<Vec<LeaseId>> {
    let entries = match std::fs::read_dir(paths.leases()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut leases = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let lease = name.to_str().and_then(|name| name.parse::<LeaseId>().ok());
        leases.extend(lease.filter(|lease| name.to_str() == Some(&lease.to_string())));
    }
    leases.sort_unstable();
    Ok(leases)
}

/// What the shims that are alive in a state folder say of themselves, by lease: an agent that is
/// gone has left them, or one is at work.
///
/// # Errors
/// What the system says.
pub fn live_shims(state: &Path) -> io::Result<Vec<ShimState>> {
    let paths = StatePaths(state.to_owned());
    let ask = |lease| Some(ShimClient::connect(&paths.lease(lease)).ok()?.hello().ok()?.state);
    Ok(lease_folders(&paths)?.into_iter().filter_map(ask).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lease_folders_are_leases() {
        let state = tempfile::tempdir().unwrap();
        let paths = StatePaths(state.path().to_owned());
        assert_eq!(lease_folders(&paths).unwrap(), []);
        for name in ["L12", "L3", "L03", "7", "Lx", "L4.new", "lost+found"] {
            std::fs::create_dir_all(paths.leases().join(name)).unwrap();
        }
        assert_eq!(lease_folders(&paths).unwrap(), [LeaseId(3), LeaseId(12)]);
    }

    #[test]
    fn a_torn_write_leaves_the_old_value() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("value.json");
        assert_eq!(read_whole::<u32>(&path).unwrap(), None);
        write_whole(&path, &7, true).unwrap();
        std::fs::write(path.with_extension("new"), "half of a val").unwrap();
        assert_eq!(read_whole::<u32>(&path).unwrap(), Some(7));
        write_whole(&path, &8, false).unwrap();
        assert_eq!(read_whole::<u32>(&path).unwrap(), Some(8));
    }
}
