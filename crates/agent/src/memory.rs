//! What an agent remembers across restarts: how often it has started, and whom it obeys.

use crate::paths::{StatePaths, read_whole, write_help, write_whole};
use polder_model::{PoolId, SyncResponse, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why the agent's memory could not be used.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// It cannot be read or written.
    #[error("{path}: {source}{}", write_help(.source))]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is there and not readable as such: guessing a lower incarnation would be refused, and
    /// forgetting the pool could obey a foreign one.
    #[error(
        "{path} is damaged ({source}): restore it from a copy, or remove it once no older agent \
         of this node runs"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
}

/// The memory as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    incarnation: u64,
    #[serde(default)]
    pool: Option<PoolId>,
    #[serde(default)]
    epoch: u64,
}

/// The memory of this incarnation.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    kept: Kept,
    version: Option<u64>,
}

/// What an answer is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as new as any before it.
    Obey,
    /// An older answer has been overtaken by what was seen before it.
    Older,
    /// It comes from another pool.
    Foreign,
}

impl Memory {
    /// Opens the memory and counts this start, durably: whoever started before is older.
    pub(crate) fn open(paths: &StatePaths) -> Result<Self, MemoryError> {
        let path = paths.memory();
        let kept: Kept = match read_whole(&path) {
            Ok(kept) => kept.unwrap_or_default(),
            Err(source) if source.kind() == io::ErrorKind::InvalidData => {
                return Err(MemoryError::Damaged { path, source });
            }
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(MemoryError::Damaged { path, source });
            }
            Err(source) => return Err(MemoryError::Unusable { path, source }),
        };
        let kept = Kept { incarnation: kept.incarnation.saturating_add(1), ..kept };
        let memory = Self { path, kept, version: None };
        memory.write(&memory.kept)?;
        Ok(memory)
    }

    fn write(&self, kept: &Kept) -> Result<(), MemoryError> {
        write_whole(&self.path, kept, true)
            .map_err(|source| MemoryError::Unusable { path: self.path.clone(), source })
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.kept.incarnation
    }

    /// The newest answer of this incarnation.
    pub(crate) fn seen(&self) -> Option<Version> {
        let (pool, version) = (self.kept.pool.clone()?, self.version?);
        Some(Version { pool, epoch: self.kept.epoch, version })
    }

    /// Whether `version` is of an epoch before the one that is obeyed.
    pub(crate) fn is_newer_epoch_than(&self, version: &Version) -> bool {
        self.kept.epoch > version.epoch
    }

    /// Judges an answer. What is to be obeyed is remembered before it is acted on.
    pub(crate) fn judge(&mut self, answer: &SyncResponse) -> Result<Verdict, MemoryError> {
        let Version { pool, epoch, version } = &answer.version;
        if self.kept.pool.as_ref().is_some_and(|known| known != pool) {
            return Ok(Verdict::Foreign);
        }
        let newest = (self.kept.epoch, self.version.unwrap_or(0));
        if (*epoch, *version) < newest {
            return Ok(Verdict::Older);
        }
        let kept = Kept { pool: Some(pool.clone()), epoch: *epoch, ..self.kept.clone() };
        if kept != self.kept {
            self.write(&kept)?;
            self.kept = kept;
        }
        self.version = Some(*version);
        Ok(Verdict::Obey)
    }
}

impl fmt::Display for Memory {
    /// Whom it obeys, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kept.pool {
            Some(pool) => write!(f, "pool {pool}, epoch {}", self.kept.epoch),
            None => f.write_str("no pool yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pool: &str, epoch: u64, version: u64) -> SyncResponse {
        let version = Version { pool: pool.parse().unwrap(), epoch, version };
        SyncResponse { version, leases: vec![], tombstones: vec![], acknowledged: vec![] }
    }

    fn open(state: &tempfile::TempDir) -> Memory {
        Memory::open(&StatePaths(state.path().to_owned())).unwrap()
    }

    #[test]
    fn each_start_is_a_new_incarnation_even_after_a_torn_write() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(open(&state).incarnation(), 1);
        assert_eq!(open(&state).incarnation(), 2);
        // The power went while the third start wrote its number.
        std::fs::write(state.path().join("agent.new"), "{\"incarn").unwrap();
        assert_eq!(open(&state).incarnation(), 3);
    }

    #[test]
    fn a_damaged_memory_is_named_and_never_guessed() {
        for damage in ["", "{\"incarnation\":", "[]", "{\"incarnation\":-1}"] {
            let state = tempfile::tempdir().unwrap();
            std::fs::write(state.path().join("agent.json"), damage).unwrap();
            let error = Memory::open(&StatePaths(state.path().to_owned())).unwrap_err();
            assert!(matches!(error, MemoryError::Damaged { .. }), "{damage:?}: {error}");
            assert!(error.to_string().contains("agent.json is damaged"), "{error}");
        }
    }

    #[test]
    fn older_and_foreign_answers_are_told_apart_across_restarts() {
        use Verdict::{Foreign, Obey, Older};
        let state = tempfile::tempdir().unwrap();
        let mut memory = open(&state);
        let check = |memory: &mut Memory, pool, epoch, version, expect| {
            let verdict = memory.judge(&answer(pool, epoch, version)).unwrap();
            assert_eq!(verdict, expect, "{pool} {epoch} {version}");
        };
        check(&mut memory, "north", 2, 5, Obey);
        check(&mut memory, "north", 2, 5, Obey);
        check(&mut memory, "north", 2, 4, Older);
        check(&mut memory, "north", 1, 9, Older);
        check(&mut memory, "south", 9, 9, Foreign);
        check(&mut memory, "north", 3, 0, Obey);
        assert_eq!(memory.seen(), Some(answer("north", 3, 0).version));

        let mut memory = open(&state);
        assert_eq!(memory.seen(), None, "the first call of an incarnation is answered at once");
        check(&mut memory, "north", 2, 99, Older);
        check(&mut memory, "south", 9, 9, Foreign);
        check(&mut memory, "north", 3, 0, Obey);
    }
}
