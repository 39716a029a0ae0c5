//! The mark: the newest event that anybody may have been told of, kept beside the journal.
//!
//! SQLite takes a log whose end is damaged for one whose last writes never happened: what was
//! acknowledged would silently be gone, and its numbers handed out again. The mark is written after
//! an append is durable and before it is acknowledged, and is not synced: so it is never ahead of
//! what is durable, is behind after a power cut at most, and survives the death of the process. A
//! journal that ends before its mark has lost something.

use super::chain;
use super::error::JournalError;
use crate::state::make_private;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a mark: twenty digits, a space, sixteen digits of its digest, the end of the line.
const LENGTH: usize = 38;

/// The mark of one journal.
pub(crate) struct Mark {
    path: PathBuf,
    file: File,
    /// Said once that it cannot be written.
    complained: bool,
}

impl Mark {
    /// Opens the mark of the journal at `path`; makes it if it is absent.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = beside(path);
        make_private(&path)?;
        let file = File::options().read(true).write(true).open(&path)?;
        Ok(Self { path, file, complained: false })
    }

    /// Remembers that everything up to `seq` is durable. A mark that stays behind notices less and
    /// harms nothing, so a failure ends nothing.
    pub(crate) fn set(&mut self, seq: u64) {
        if let Err(error) = self.file.write_all_at(line(seq).as_bytes(), 0)
            && !std::mem::replace(&mut self.complained, true)
        {
            let path = self.path.display();
            tracing::warn!(%error, "{path} cannot be written: losses may go unnoticed");
        }
    }
}

/// Says so when the journal at `path`, which ends at event `found` (0 when it is not there), ends
/// before its mark.
pub(crate) fn check(path: &Path, found: u64) -> Result<(), JournalError> {
    match newest(path) {
        Some(newest) if newest > found => {
            Err(JournalError::Lost { path: path.to_owned(), found, newest })
        }
        _ => Ok(()),
    }
}

/// What the mark says; nothing when it is absent or not as it was written.
fn newest(path: &Path) -> Option<u64> {
    let path = beside(path);
    let text = std::fs::read(&path).ok().filter(|text| !text.is_empty())?;
    let seq = read(&text);
    if seq.is_none() {
        // A power cut may have left it so: nothing can be refused for it.
        let path = path.display();
        tracing::warn!("{path} is damaged: whether the journal has lost its end cannot be told");
    }
    seq
}

fn read(text: &[u8]) -> Option<u64> {
    let seq = std::str::from_utf8(text.get(..20)?).ok()?.parse().ok()?;
    (text == line(seq).as_bytes()).then_some(seq)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-mark");
    name.into()
}

fn line(seq: u64) -> String {
    let number = format!("{seq:020}");
    let digest = chain::of(&[b"polder mark ", number.as_bytes()]);
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let line = format!("{number} {digest}\n");
    debug_assert_eq!(line.len(), LENGTH, "each mark covers the one before");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_mark_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        assert!(check(&path, 0).is_ok(), "no mark, nothing to say");
        let mut mark = Mark::open(&path).unwrap();
        assert!(check(&path, 0).is_ok(), "an empty mark");
        for seq in [7, u64::MAX, 12] {
            mark.set(seq);
            assert!(check(&path, seq).is_ok(), "{seq}");
            let error = check(&path, seq - 1).unwrap_err().to_string();
            assert!(error.contains(&format!("event {seq} was acknowledged")), "{error}");
        }
        std::fs::write(beside(&path), line(12).replace("12 ", "13 ")).unwrap();
        assert!(check(&path, 0).is_ok(), "a mark that nobody wrote");
    }
}
