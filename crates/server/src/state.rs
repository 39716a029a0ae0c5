//! The state folder: one server at a time, and files only its owner reads.

use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// It cannot be made or written.
    #[error("state folder {path}: {source}: choose a folder you own with --state")]
    Unusable {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is another user's: they could change what is in it at any time.
    #[error("state folder {path} belongs to user id {owner}: choose a folder you own with --state")]
    Foreign {
        /// Which folder.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// Another server has it.
    #[error(
        "state folder {path} is in use by process {pid}: talk to that server, stop it with \
         `polder down`, or choose another folder with --state"
    )]
    InUse {
        /// Which folder.
        path: PathBuf,
        /// Who has it, as its lock file says.
        pid: String,
    },
}

/// The lock on a state folder; held as long as this lives, and let go by the kernel whatever
/// happens to the process.
#[derive(Debug)]
pub(crate) struct StateLock {
    path: PathBuf,
    file: File,
}

impl StateLock {
    /// Whether the folder is still the one that was taken: somebody may have removed it and made it
    /// anew, and then it is another server's.
    pub(crate) fn is_still_there(&self) -> bool {
        let (Ok(taken), Ok(there)) = (self.file.metadata(), fs::symlink_metadata(&self.path))
        else {
            return false;
        };
        (taken.dev(), taken.ino()) == (there.dev(), there.ino())
    }
}

/// Makes the folder if needed and takes it for this process.
pub(crate) fn lock(folder: &Path) -> Result<StateLock, StateError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| StateError::Unusable { path, source }
    };
    // Others may pass through to the socket, and list nothing.
    let made = DirBuilder::new().recursive(true).mode(0o711).create(folder);
    made.map_err(fail(folder))?;
    let owner = fs::metadata(folder).map_err(fail(folder))?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(StateError::Foreign { path: folder.to_owned(), owner });
    }
    let path = folder.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(opened.map_err(io::Error::from).map_err(fail(&path))?);
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut pid);
        let pid = if pid.trim().is_empty() { "(unknown)" } else { pid.trim() };
        return Err(StateError::InUse { path: folder.to_owned(), pid: pid.to_owned() });
    }
    file.set_len(0).map_err(fail(&path))?;
    writeln!(file, "{}", std::process::id()).map_err(fail(&path))?;
    Ok(StateLock { path, file })
}

/// The process that has a state folder now, if one has and the system says so. Nothing is locked to
/// find out: a server that starts at this moment would be refused.
pub fn holder(folder: &Path) -> Option<u32> {
    let path = folder.join("lock");
    let mut written = String::new();
    File::open(&path).ok()?.take(20).read_to_string(&mut written).ok()?;
    let pid: u32 = written.trim().parse().ok()?;
    let inode = format!(":{}", fs::metadata(&path).ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let held = locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, "FLOCK", _, "WRITE", by, file, ..]
            if by.parse() == Ok(pid) && file.ends_with(&inode))
    });
    held.then_some(pid)
}

/// Makes sure that a file exists and that only its owner reads it. SQLite gives the files that it
/// makes beside it the same mode.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    file.set_permissions(Permissions::from_mode(0o600))
}

/// So many random bytes, as lower-case hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The token for loopback HTTP; drawn when the folder is first used.
pub(crate) fn token(folder: &Path) -> Result<String, StateError> {
    let path = folder.join("token");
    let fail = |source| StateError::Unusable { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(token) if token.trim().len() >= 32 => {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(fail)?;
            return Ok(token.trim().to_owned());
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let token = random_hex(32).map_err(fail)?;
    let fresh = folder.join("token.new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&fresh, flags | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(opened.map_err(|error| fail(error.into()))?);
    writeln!(file, "{token}").and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&fresh, &path).map_err(fail)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_told_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        let second = lock(folder.path()).unwrap_err().to_string();
        assert!(second.contains(&format!("process {}", std::process::id())), "{second}");
        drop(first);
        lock(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_made_anew_is_not_the_one_that_was_taken() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = lock(&state).unwrap();
        assert!(first.is_still_there());
        fs::remove_dir_all(&state).unwrap();
        assert!(!first.is_still_there());
        let second = lock(&state).unwrap();
        assert!(second.is_still_there() && !first.is_still_there());
    }

    #[test]
    fn the_token_is_private_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = token(folder.path()).unwrap();
        assert_eq!(token(folder.path()).unwrap(), first);
        assert_eq!(first.len(), 64);
        let mode = fs::metadata(folder.path().join("token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
