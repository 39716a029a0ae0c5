//! Any trace that Polder knows, told apart by what it holds.

use super::journal::{self, History};
use super::{BadRows, ReadError, Workload, muri, openb, slurm, swf};
use flate2::read::GzDecoder;
use std::io::Read as _;

/// Longest trace read, in bytes after unpacking: 2 GiB.
pub const TRACE_BYTES_MAX: u64 = 2 << 30;

/// Reads a trace; a gzip file is unpacked first.
///
/// # Errors
/// Nobody knows what it is, or a row of it is wrong.
pub fn read(bytes: &[u8], bad: BadRows) -> Result<History, ReadError> {
    let other = |why: String| ReadError::Other { why };
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let read = GzDecoder::new(bytes).take(TRACE_BYTES_MAX + 1).read_to_end(&mut unpacked);
        read.map_err(|error| other(format!("the file cannot be unpacked: {error}")))?;
        unpacked.as_slice()
    } else {
        bytes
    };
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > TRACE_BYTES_MAX {
        let max = TRACE_BYTES_MAX >> 30;
        return Err(other(format!("it is longer than {max} GiB: replay a part of it")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ReadError::UnknownFormat)?;
    let first = text.lines().next().unwrap_or("");
    let mut history = read_text(text, first, bad)?;
    if history.begin.is_none() {
        history.workload.notes.push(NO_DATES.to_owned());
    }
    Ok(history)
}

/// What is said of a trace that counts from its own beginning (see [`crate::world::BEGIN`]).
const NO_DATES: &str = "it says no dates: its first job comes on Monday, 2024-01-01, at 00:00 UTC";

fn read_text(text: &str, first: &str, bad: BadRows) -> Result<History, ReadError> {
    let only = |workload: Workload| History { workload, ..History::default() };
    if first.starts_with('{') {
        journal::read(text)
    } else if first.split('|').any(|name| name.trim() == "JobID") {
        slurm::read(text, bad)
    } else if first.starts_with("name,") && first.contains("gpu_milli") {
        openb::read(text, bad).map(only)
    } else if first.starts_with("job_id,") && first.contains("iteration_time") {
        muri::read(text, bad).map(only)
    } else if first.trim_start().starts_with(';') {
        swf::read(text, bad)
    } else {
        Err(ReadError::UnknownFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_nobody_knows_is_said() {
        let error = read(b"a,b\n1,2\n", BadRows::Refuse).unwrap_err().to_string();
        assert!(error.contains("no trace that Polder knows: it reads openb"), "{error}");
        let error = read(&[0x1f, 0x8b, 8, 0], BadRows::Refuse).unwrap_err().to_string();
        assert!(error.contains("cannot be unpacked"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes, BadRows::LeaveOut);
            let _ = read(&[&b"JobID|State\n"[..], &bytes].concat(), BadRows::LeaveOut);
            let _ = read(&[&b"{"[..], &bytes].concat(), BadRows::LeaveOut);
        }
    }
}
