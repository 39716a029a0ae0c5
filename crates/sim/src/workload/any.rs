//! Any trace that Polder knows, told apart by what it holds.

use super::journal::{self, History};
use super::{BadRows, ReadError, Workload, muri, openb, slurm, swf};
use flate2::read::GzDecoder;
use std::borrow::Cow;
use std::io::Read as _;

/// Longest trace read, in bytes after unpacking: 2 GiB.
pub const TRACE_BYTES_MAX: u64 = 2 << 30;

/// Reads a trace; a gzip file is unpacked first.
///
/// # Errors
/// Nobody knows what it is, or a row of it is wrong.
pub fn read(bytes: &[u8], bad: BadRows) -> Result<History, ReadError> {
    let bytes = unpack(bytes)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| ReadError::UnknownFormat)?;
    let first = text.lines().next().unwrap_or("");
    let mut history = read_text(text, first, bad)?;
    if history.begin.is_none() {
        history.workload.notes.push(NO_DATES.to_owned());
    }
    Ok(history)
}

/// Reads the first jobs of a trace, by their arrival. A row that is wrong is left alone where those
/// jobs do not depend on it: it comes after all of them, and they are the same whatever it says.
///
/// # Errors
/// As [`read`].
pub fn read_first(bytes: &[u8], jobs: usize) -> Result<History, ReadError> {
    let (line, error) = match read(bytes, BadRows::Refuse) {
        Err(error @ (ReadError::Row { line, .. } | ReadError::Line { line, .. })) => (line, error),
        other => return other,
    };
    let Ok(text) = unpack(bytes).map(|text| {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        lines.take(crate::num::place(line - 1)).collect::<Vec<_>>().concat()
    }) else {
        return Err(error);
    };
    let first = |history: &History| history.workload.jobs.get(..jobs).map(<[_]>::to_vec);
    match (read(&text, BadRows::Refuse), read(bytes, BadRows::LeaveOut)) {
        (Ok(before), Ok(all)) if first(&before).is_some() && first(&before) == first(&all) => {
            Ok(before)
        }
        _ => Err(error),
    }
}

/// What is said of a trace that counts from its own beginning (see [`crate::world::BEGIN`]).
const NO_DATES: &str = "it says no dates: its first job comes on Monday, 2024-01-01, at 00:00 UTC";

/// The bytes of a file, or what a gzip file holds.
fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ReadError> {
    let other = |why: String| ReadError::Other { why };
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let read = GzDecoder::new(bytes).take(TRACE_BYTES_MAX + 1).read_to_end(&mut unpacked);
        read.map_err(|error| other(format!("the file cannot be unpacked: {error}")))?;
        Cow::Owned(unpacked)
    } else {
        Cow::Borrowed(bytes)
    };
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > TRACE_BYTES_MAX {
        let max = TRACE_BYTES_MAX >> 30;
        return Err(other(format!("it is longer than {max} GiB: replay a part of it")));
    }
    Ok(bytes)
}

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

    #[test]
    fn the_first_jobs_do_not_depend_on_what_is_wrong_later() {
        let row = |id: u32, at: u32| format!("{id} {at} 0 60 4 -1 -1 4 -1 -1 1 7 1 3 2 -1 -1 -1\n");
        let rows = format!("; MaxProcs: 64\n{}{}5 2\n{}", row(1, 0), row(2, 10), row(3, 20));
        let first = |text: &str, jobs| read_first(text.as_bytes(), jobs);
        assert!(first(&rows, 2).unwrap().workload.jobs.len() >= 2);
        let error = first(&rows, 3).unwrap_err().to_string();
        assert!(error.starts_with("line 4: has 2 columns"), "{error}");
        // The last row came before the second.
        let early = rows.replace("3 20", "3 5");
        assert!(first(&early, 2).is_err() && first(&early, 1).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = (read(&bytes, BadRows::LeaveOut), read_first(&bytes, 1));
            let _ = read(&[&b"JobID|State\n"[..], &bytes].concat(), BadRows::LeaveOut);
            let _ = read(&[&b"{"[..], &bytes].concat(), BadRows::LeaveOut);
        }
    }
}
