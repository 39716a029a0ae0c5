//! One lease's folder: made before anything else of it, and what is left of it after its end.
//!
//! The files decide what a restarted agent believes: a plan says that the lease was ordered, a mark
//! in which boot, the shim's status how far it came, and an end that the server has taken note. So
//! no lease is started twice, and none whose end is known is started again.

use crate::paths::{StatePaths, lease_folders, read_whole, write_whole};
use crate::shim::PLAN_FILE;
use polder_model::{Bytes, LeaseEnd, LeaseId};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What the agent knew when it took the lease.
const MARK_FILE: &str = "held.json";
/// How the lease ended, once the server has taken note.
const END_FILE: &str = "end.json";
/// What stays of a lease for `polder logs`: files that begin so.
pub(crate) const KEPT_PREFIXES: [&str; 2] = ["stdout", "stderr"];

/// Most leases whose logs are kept after their end.
pub(crate) const KEPT_LEASES_MAX: usize = 1000;
/// Most bytes of logs that are kept after their leases' ends.
pub(crate) const KEPT_BYTES_MAX: u64 = 1 << 30;

/// What the agent knew when it took the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The kernel's boot id: under another one, nothing of the lease is alive.
    pub(crate) boot: String,
    /// Each device's allocation granularity, in the lease's order.
    pub(crate) granularity: Vec<Bytes>,
}

/// What a folder says of its lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: it was never ordered here, or the agent died before it had written the order down.
    Nothing,
    /// It is or was held, and the server has not taken note of an end.
    Held(Option<Mark>),
    /// Its end is known to the server; only logs are left.
    Over(LeaseEnd),
}

/// The folder of one lease.
#[derive(Debug, Clone)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn of(paths: &StatePaths, lease: LeaseId) -> Self {
        Self(paths.lease(lease))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What it says. A mark or end that cannot be read counts as absent: the careful reading.
    pub(crate) fn find(&self) -> Found {
        if let Ok(Some(end)) = read_whole(&self.0.join(END_FILE)) {
            return Found::Over(end);
        }
        if self.0.join(PLAN_FILE).exists() {
            return Found::Held(read_whole(&self.0.join(MARK_FILE)).ok().flatten());
        }
        Found::Nothing
    }

    /// Makes it, passable for the lease's user, and marks it.
    pub(crate) fn create(&self, mark: &Mark) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o711).create(&self.0)?;
        write_whole(&self.0.join(MARK_FILE), mark, false)
    }

    /// Keeps `end` and the logs, and removes the rest. Repeating it does no harm.
    pub(crate) fn close(&self, end: &LeaseEnd) -> io::Result<()> {
        if !self.0.exists() {
            return Ok(());
        }
        write_whole(&self.0.join(END_FILE), end, false)?;
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == END_FILE || KEPT_PREFIXES.iter().any(|kept| name.starts_with(kept)) {
                continue;
            }
            let path = entry.path();
            let removed = match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Bytes of its files, for those whose lease is over; `None` for all others.
    fn kept_bytes(&self) -> Option<u64> {
        if !self.0.join(END_FILE).exists() {
            return None;
        }
        let entries = fs::read_dir(&self.0).ok()?.flatten();
        Some(entries.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum())
    }
}

/// Removes the oldest logs of leases that are over, as far as there are too many.
pub(crate) fn prune(paths: &StatePaths) -> io::Result<()> {
    let kept = lease_folders(paths)?
        .into_iter()
        .filter_map(|lease| Some((lease, Folder::of(paths, lease).kept_bytes()?)))
        .collect::<Vec<_>>();
    for lease in surplus(&kept, KEPT_LEASES_MAX, KEPT_BYTES_MAX) {
        fs::remove_dir_all(paths.lease(lease))?;
    }
    Ok(())
}

/// Which of `kept` (lowest lease first) go, so that at most `leases_max` and `bytes_max` stay.
fn surplus(kept: &[(LeaseId, u64)], leases_max: usize, bytes_max: u64) -> Vec<LeaseId> {
    let mut bytes = 0u64;
    let stays = |(nth, (_, size)): &(usize, &(LeaseId, u64))| {
        bytes = bytes.saturating_add(*size);
        *nth < leases_max && bytes <= bytes_max
    };
    let staying = kept.iter().rev().enumerate().take_while(stays).count();
    kept[..kept.len() - staying].iter().map(|(lease, _)| *lease).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::{LeaseSample, Micros, Outcome};

    fn end() -> LeaseEnd {
        let sample = LeaseSample::default();
        LeaseEnd { outcome: Outcome::Failed { code: 3 }, ran: Micros(5), sample }
    }

    fn mark() -> Mark {
        Mark { boot: "b".into(), granularity: vec![Bytes(128)] }
    }

    #[test]
    fn a_folder_says_how_far_its_lease_came() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::of(&StatePaths(state.path().to_owned()), LeaseId(7));
        assert_eq!(folder.find(), Found::Nothing);
        folder.create(&mark()).unwrap();
        assert_eq!(folder.find(), Found::Nothing, "nothing was ordered yet");
        fs::write(folder.path().join(PLAN_FILE), "{}").unwrap();
        assert_eq!(folder.find(), Found::Held(Some(mark())));
        fs::write(folder.path().join(MARK_FILE), "{\"boo").unwrap();
        assert_eq!(folder.find(), Found::Held(None), "a torn mark is none");
        fs::create_dir(folder.path().join("icd")).unwrap();
        fs::write(folder.path().join("stdout.log"), "words").unwrap();
        folder.close(&end()).unwrap();
        assert_eq!(folder.find(), Found::Over(end()));
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["end.json", "stdout.log"]);
        folder.close(&end()).unwrap();
    }

    #[test]
    fn the_oldest_logs_go_first() {
        let check = |leases_max, bytes_max, expect: &[u64]| {
            let kept = [(LeaseId(1), 10), (LeaseId(2), 50), (LeaseId(9), 20)];
            let expect: Vec<_> = expect.iter().copied().map(LeaseId).collect();
            assert_eq!(surplus(&kept, leases_max, bytes_max), expect, "{leases_max} {bytes_max}");
        };
        check(3, 80, &[]);
        check(2, 80, &[1]);
        check(3, 79, &[1]);
        check(3, 69, &[1, 2]);
        check(3, 19, &[1, 2, 9]);
        check(0, 80, &[1, 2, 9]);
    }

    #[test]
    fn only_what_is_over_is_pruned() {
        let state = tempfile::tempdir().unwrap();
        let paths = StatePaths(state.path().to_owned());
        for lease in 0..=KEPT_LEASES_MAX as u64 + 1 {
            let folder = Folder::of(&paths, LeaseId(lease));
            folder.create(&mark()).unwrap();
            if lease > 0 {
                folder.close(&end()).unwrap();
            }
        }
        prune(&paths).unwrap();
        let left = lease_folders(&paths).unwrap();
        assert_eq!((left[0], left[1], left.len()), (LeaseId(0), LeaseId(2), KEPT_LEASES_MAX + 1));
    }
}
