//! Any trace that Polder knows, told apart by what it holds.

use super::journal::{self, History};
use super::{BadRows, ReadError, Workload, muri, openb, slurm, swf};
use flate2::read::GzDecoder;
use polder_model::Bytes;
use std::borrow::Cow;
use std::io::Read as _;

/// Longest trace read, in bytes after unpacking: 1 GiB. A row has some 100 to 200 bytes, so this holds
/// more jobs than [`super::JOBS_MAX`] lets be replayed of most formats; public traces have a tenth.
pub const TRACE_BYTES_MAX: u64 = 1 << 30;

/// Reads a trace; a gzip file is unpacked first.
///
/// # Errors
/// Nobody knows what it is, or a row of it is wrong.
pub fn read(bytes: &[u8], bad: BadRows) -> Result<History, ReadError> {
    read_jobs(bytes, bad, usize::MAX)
}

/// Reads the first jobs of a trace, by their arrival; what is said counts these and the rows among
/// them. A row that is wrong is left alone where those jobs do not depend on it: it comes after all of
/// them, and they are the same whatever it says.
///
/// # Errors
/// As [`read`].
pub fn read_first(bytes: &[u8], bad: BadRows, jobs: usize) -> Result<History, ReadError> {
    let (line, error) = match read_jobs(bytes, bad, jobs) {
        Err(error @ (ReadError::Row { line, .. } | ReadError::Line { line, .. }))
            if jobs < usize::MAX =>
        {
            (line, error)
        }
        other => return other,
    };
    let Ok(text) = unpack(bytes, TRACE_BYTES_MAX).map(|text| {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        lines.take(crate::num::place(line - 1)).collect::<Vec<_>>().concat()
    }) else {
        return Err(error);
    };
    let before = read_jobs(&text, BadRows::Refuse, jobs);
    match (before, read_jobs(bytes, BadRows::LeaveOut, jobs)) {
        (Ok(before), Ok(all))
            if before.workload.jobs.len() == jobs && before.workload.jobs == all.workload.jobs =>
        {
            Ok(before)
        }
        _ => Err(error),
    }
}

fn read_jobs(bytes: &[u8], bad: BadRows, jobs: usize) -> Result<History, ReadError> {
    let bytes = unpack(bytes, TRACE_BYTES_MAX)?;
    if bytes.is_empty() {
        return Err(ReadError::NoBytes);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| ReadError::UnknownFormat)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().next().unwrap_or("");
    let mut history = read_text(text, first, bad, jobs)?;
    if history.begin.is_none() {
        history.workload.notes.push(NO_DATES.to_owned());
    }
    Ok(history)
}

/// What is said of a trace that counts from its own beginning (see [`crate::world::BEGIN`]).
const NO_DATES: &str = "it says no dates: its first job comes on Monday, 2024-01-01, at 00:00 UTC";

/// The bytes of a file, or what a gzip file holds; at most `max`.
fn unpack(bytes: &[u8], max: u64) -> Result<Cow<'_, [u8]>, ReadError> {
    let other = |why: String| ReadError::Other { why };
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let read = GzDecoder::new(bytes).take(max.saturating_add(1)).read_to_end(&mut unpacked);
        read.map_err(|error| other(format!("the file cannot be unpacked: {error}")))?;
        Cow::Owned(unpacked)
    } else {
        Cow::Borrowed(bytes)
    };
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        return Err(ReadError::TooLong { max: Bytes(max) });
    }
    Ok(bytes)
}

fn read_text(text: &str, first: &str, bad: BadRows, jobs: usize) -> Result<History, ReadError> {
    let only = |workload: Workload| History { workload, ..History::default() };
    if first.starts_with('{') {
        journal::read_first(text, jobs)
    } else if first.split('|').any(|name| name.trim() == "JobID") {
        slurm::read_first(text, bad, jobs)
    } else if first.starts_with("name,") && first.contains("gpu_milli") {
        openb::read_first(text, bad, jobs).map(only)
    } else if first.starts_with("job_id,") && first.contains("iteration_time") {
        muri::read_first(text, bad, jobs).map(only)
    } else if first.trim_start().starts_with(';') || swf::is_row(first) {
        swf::read_first(text, bad, jobs)
    } else {
        Err(ReadError::UnknownFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    #[test]
    fn what_is_packed_is_bounded_by_what_it_unpacks_to() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = packer.finish().unwrap();
        assert!(packed.len() < 1 << 12);
        assert_eq!(unpack(&packed, 1 << 20).unwrap().len(), 1 << 20);
        let error = unpack(&packed, (1 << 20) - 1).unwrap_err();
        assert_eq!(error, ReadError::TooLong { max: Bytes((1 << 20) - 1) });
        let error = ReadError::TooLong { max: Bytes(TRACE_BYTES_MAX) }.to_string();
        assert_eq!(error, "it is longer than 1 GiB, unpacked: cut it, and replay a part");
        assert!(unpack(&[b'a'; 9], 8).is_err() && unpack(&[b'a'; 8], 8).is_ok());
    }

    #[test]
    fn an_empty_file_is_called_empty() {
        let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for empty in [Vec::new(), packed.finish().unwrap()] {
            let error = read(&empty, BadRows::Refuse).unwrap_err().to_string();
            assert!(error.starts_with("it is empty: "), "{error}");
        }
    }

    #[test]
    fn what_nobody_knows_is_said() {
        let error = read(b"a,b\n1,2\n", BadRows::Refuse).unwrap_err().to_string();
        assert!(error.contains("no trace that Polder knows: it reads openb"), "{error}");
        let error = read(&[0x1f, 0x8b, 8, 0], BadRows::Refuse).unwrap_err().to_string();
        assert!(error.contains("cannot be unpacked"), "{error}");
    }

    #[test]
    fn a_mark_of_its_encoding_hides_no_trace() {
        let row = "1 0 0 60 4 -1 -1 4 -1 -1 1 7 1 3 2 -1 -1 -1\n";
        let marked = format!("\u{feff}; MaxProcs: 4\n{row}");
        let history = read(marked.as_bytes(), BadRows::Refuse).unwrap();
        assert_eq!(history.workload.jobs.len(), 1);
        // Without its heading it is known all the same, and what it lacks is said.
        let error = read(row.as_bytes(), BadRows::Refuse).unwrap_err().to_string();
        assert!(error.contains("no `; MaxProcs:` line"), "{error}");
    }

    #[test]
    fn what_is_left_where_nothing_is_says_why() {
        let text = b"; MaxProcs: 4\n1 0 0 60\n";
        let error = read(text, BadRows::LeaveOut).unwrap_err().to_string();
        assert!(error.contains("left out 1 row (first, line 2: has 4 columns"), "{error}");
        let text = b"JobID|Submit|Elapsed|State|AllocTRES\n1|soon|1|RUNNING|cpu=1\n";
        let error = read(text, BadRows::LeaveOut).unwrap_err().to_string();
        assert!(error.contains("left out 1 row: Submit is not understood"), "{error}");
    }

    #[test]
    fn the_first_jobs_do_not_depend_on_what_is_wrong_later() {
        let row = |id: u32, at: u32| format!("{id} {at} 0 60 4 -1 -1 4 -1 -1 1 7 1 3 2 -1 -1 -1\n");
        let rows = format!("; MaxProcs: 64\n{}{}5 2\n{}", row(1, 0), row(2, 10), row(3, 20));
        let first = |text: &str, jobs| read_first(text.as_bytes(), BadRows::Refuse, jobs);
        assert!(first(&rows, 2).unwrap().workload.jobs.len() >= 2);
        let error = first(&rows, 3).unwrap_err().to_string();
        assert!(error.starts_with("line 4: has 2 columns"), "{error}");
        // The last row came before the second.
        let early = rows.replace("3 20", "3 5");
        assert!(first(&early, 2).is_err() && first(&early, 1).is_ok());
    }

    /// Two jobs between rows that are none, then a job and rows that are not replayed.
    #[test]
    fn what_is_said_counts_the_jobs_that_are_replayed() {
        let check = |head: &str, begin: &str, later: &str, expect: &str| {
            let text = format!("{head}{begin}{later}");
            let notes = |text: &str, bad| {
                let history = read_first(text.as_bytes(), bad, 2).unwrap();
                assert_eq!(history.workload.jobs.len(), 2);
                history.workload.notes
            };
            let alone = notes(&format!("{head}{begin}"), BadRows::Refuse);
            assert!(alone.iter().any(|note| note.contains(expect)), "{alone:?}");
            assert_eq!(notes(&text, BadRows::Refuse), alone);
            assert_eq!(notes(&text, BadRows::LeaveOut), alone);
            let whole = read(text.as_bytes(), BadRows::LeaveOut).unwrap().workload;
            assert!(whole.jobs.len() == 3 && whole.notes != alone, "{:?}", whole.notes);
        };
        let swf = |id: u32, at: u32, ran: u32| {
            format!("{id} {at} 0 {ran} 4 -1 -1 4 60 -1 1 7 1 3 2 -1 -1 -1\n")
        };
        let begin = [swf(1, 0, 90), swf(2, 5, 0), swf(3, 10, 60)].concat();
        let later = [swf(4, 20, 0), swf(5, 30, 90), "6 2\n".to_owned()].concat();
        check("; MaxProcs: 64\n", &begin, &later, "1 job ran past the user's estimate");
        check("; MaxProcs: 64\n", &begin, &later, "left out 1 job that never ran");
        let sacct = |id: u32, ran: u32, state: &str| {
            format!("{id}|2024-05-01T12:00:0{id}|{ran}|1|{state}|gres/gpu=1\n")
        };
        let head = "JobID|Submit|ElapsedRaw|TimelimitRaw|State|AllocTRES\n";
        let jobs = |ids: [u32; 3], state: &str| {
            [sacct(ids[0], 90, state), sacct(ids[1], 0, "CANCELLED"), sacct(ids[2], 60, state)]
                .concat()
        };
        let begin = jobs([1, 2, 3], "COMPLETED");
        let later = [sacct(4, 90, "RUNNING"), sacct(5, 0, "CANCELLED"), "6|\n".into()].concat();
        check(head, &begin, &later, "1 job ran past the time limit");
        check(head, &begin, &later, "left out 1 row: ElapsedRaw is zero");
        let head = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time,\
                    scheduled_time\n";
        let begin = "a,1,1,1,500,5,70,20\nn,1,1,1,500,6,,\nb,1,1,1,500,7,70,20\n";
        let later = "m,1,1,1,500,8,,\nc,1,1,1,500,9,70,20\nd,1\n";
        check(head, begin, later, "left out 1 row: scheduled_time is missing");
        let head = "job_id,num_gpu,submit_time,iterations,model_name,batch_size,duration,\
                    iteration_time,resource_time_0,resource_time_1,resource_time_2\n";
        let muri = |id: u32, ran: u32| format!("{id},1,{id}000,10,dqn,8,{ran},10,4,3,3\n");
        let begin = [muri(1, 7), muri(2, 100)].concat();
        let later = [muri(3, 9), "4,1\n".to_owned()].concat();
        check(head, &begin, &later, "1 row: duration is not");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = (read(&bytes, BadRows::LeaveOut), read_first(&bytes, BadRows::Refuse, 1));
            let _ = read(&[&b"JobID|State\n"[..], &bytes].concat(), BadRows::LeaveOut);
            let _ = read(&[&b"{"[..], &bytes].concat(), BadRows::LeaveOut);
        }
    }
}
