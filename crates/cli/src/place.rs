//! Where the daemon keeps its state, and where a client looks for it.

use crate::failure::Failure;
use std::path::{Path, PathBuf};

/// The state folder of a daemon that root starts.
const SYSTEM_STATE: &str = "/var/lib/polder";
/// The socket in a state folder.
pub(crate) const SOCKET: &str = "polder.sock";
/// Longest path of a state folder: a socket's whole path has at most 107 bytes.
const FOLDER_BYTES_MAX: usize = 107 - "/".len() - SOCKET.len();
/// The token for loopback HTTP in a state folder.
pub(crate) const TOKEN: &str = "token";
/// What a detached daemon says after it is ready.
pub(crate) const DAEMON_LOG: &str = "daemon.log";

/// The facts of the process that decide where the state folder is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    root: bool,
    xdg_state_home: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn here() -> Self {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        Self {
            root: rustix::process::geteuid().is_root(),
            xdg_state_home: variable("XDG_STATE_HOME").filter(|path| path.is_absolute()),
            home: variable("HOME").filter(|path| path.is_absolute()),
        }
    }

    /// The folder of a daemon that this user starts.
    fn own(&self) -> Result<PathBuf, Failure> {
        if self.root {
            return Ok(SYSTEM_STATE.into());
        }
        let base = self.xdg_state_home.clone();
        let base = base.or_else(|| self.home.as_ref().map(|home| home.join(".local/state")));
        base.map(|base| base.join("polder")).ok_or_else(|| {
            Failure::usage("neither HOME nor XDG_STATE_HOME says where state can be kept")
                .help("name a folder with --state DIR")
        })
    }
}

/// The folder `polder up` uses.
pub(crate) fn for_daemon(
    named: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<PathBuf, Failure> {
    let folder = match named {
        Some(path) => absolute(path)?,
        None => surroundings.own()?,
    };
    let length = folder.as_os_str().len();
    if length > FOLDER_BYTES_MAX {
        return Err(Failure::usage(format!(
            "state folder {}: its path has {length} bytes, and a socket in it allows \
             {FOLDER_BYTES_MAX}",
            folder.display()
        ))
        .help("choose a shorter path with --state"));
    }
    Ok(folder)
}

/// The folder a client looks in: the one named, else the caller's own, else the machine's.
pub(crate) fn for_client(
    named: Option<&Path>,
    surroundings: &Surroundings,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return absolute(path);
    }
    let system = PathBuf::from(SYSTEM_STATE);
    match surroundings.own() {
        Ok(own) if own == system || exists(&own.join(SOCKET)) => Ok(own),
        _ if exists(&system.join(SOCKET)) => Ok(system),
        own => own,
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::usage(format!("state folder {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Surroundings {
        Surroundings { root: false, xdg_state_home: None, home: Some("/home/ada".into()) }
    }

    fn check(surroundings: &Surroundings, sockets: &[&str], expect: &str) {
        let found = for_client(None, surroundings, |path| sockets.iter().any(|s| path == *s));
        assert_eq!(found.unwrap(), Path::new(expect));
    }

    #[test]
    fn a_client_prefers_its_own_daemon_and_finds_the_machines() {
        let own = "/home/ada/.local/state/polder";
        let mine = format!("{own}/polder.sock");
        let shared = "/var/lib/polder/polder.sock";
        check(&ada(), &[], own);
        check(&ada(), &[&mine, shared], own);
        check(&ada(), &[shared], "/var/lib/polder");
        check(&Surroundings { root: true, ..ada() }, &[&mine], "/var/lib/polder");
        let xdg = Surroundings { xdg_state_home: Some("/x".into()), ..ada() };
        check(&xdg, &[], "/x/polder");
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_before_anything_is_done() {
        let folder = |length: usize| PathBuf::from(format!("/{}", "x".repeat(length - 1)));
        let check = |length| for_daemon(Some(&folder(length)), &ada());
        assert!(check(FOLDER_BYTES_MAX).is_ok());
        let failure = check(FOLDER_BYTES_MAX + 1).unwrap_err();
        assert!(failure.message.contains("has 96 bytes"), "{failure:?}");
    }

    #[test]
    fn without_a_home_the_flag_is_asked_for() {
        let nobody = Surroundings::default();
        assert!(for_daemon(None, &nobody).unwrap_err().help.unwrap().contains("--state"));
        assert_eq!(for_daemon(Some(Path::new("/s")), &nobody).unwrap(), Path::new("/s"));
        let relative = for_client(Some(Path::new("s")), &nobody, |_| false).unwrap();
        assert!(relative.is_absolute());
    }
}
