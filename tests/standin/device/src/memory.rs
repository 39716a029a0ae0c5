//! Whose memory how much of it is.

use crate::model::{GRANULARITY, Model};
use std::collections::BTreeMap;

/// An allocation that the device does not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryError {
    /// So many bytes were asked for and so many are free.
    Out {
        /// Asked for, after rounding.
        asked_bytes: u64,
        /// Free.
        free_bytes: u64,
    },
    /// More is given back than the process has.
    NotHeld,
}

impl std::fmt::Display for MemoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Out { asked_bytes, free_bytes } => {
                write!(f, "{asked_bytes} bytes asked for, {free_bytes} are free on the stand-in")
            }
            Self::NotHeld => f.write_str("more given back than the process holds"),
        }
    }
}

impl std::error::Error for MemoryError {}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    held: BTreeMap<u32, u64>,
}

/// What an allocation of `bytes` really takes.
pub(crate) fn rounded(bytes: u64) -> u64 {
    bytes.max(1).checked_next_multiple_of(GRANULARITY).unwrap_or(u64::MAX)
}

impl Memory {
    pub(crate) fn used(&self) -> u64 {
        self.held.values().sum()
    }

    pub(crate) fn held(&self, process: u32) -> u64 {
        self.held.get(&process).copied().unwrap_or(0)
    }

    pub(crate) fn take(
        &mut self,
        model: &Model,
        process: u32,
        bytes: u64,
    ) -> Result<u64, MemoryError> {
        let asked_bytes = rounded(bytes);
        let free_bytes = model.memory_bytes.saturating_sub(self.used());
        if asked_bytes > free_bytes {
            return Err(MemoryError::Out { asked_bytes, free_bytes });
        }
        *self.held.entry(process).or_default() += asked_bytes;
        Ok(asked_bytes)
    }

    pub(crate) fn give(&mut self, process: u32, bytes: u64) -> Result<(), MemoryError> {
        let bytes = rounded(bytes);
        let held = self.held.get_mut(&process).filter(|held| **held >= bytes);
        let held = held.ok_or(MemoryError::NotHeld)?;
        *held -= bytes;
        if *held == 0 {
            self.held.remove(&process);
        }
        Ok(())
    }

    /// All that a process that is gone had.
    pub(crate) fn forget(&mut self, process: u32) {
        self.held.remove(&process);
    }
}
