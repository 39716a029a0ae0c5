//! Traces in the Standard Workload Format, as a workload.
//!
//! The format knows processors and no devices: a job is one task that wants so many CPUs of one
//! node and no device, so a pool of one node with the machine's processors serves it as the machine
//! did. A user's estimate becomes the time limit, after which such machines end a job.

use super::{BadRows, ReadError, WorkJob, Workload, ask_share, ask_whole};
use crate::wait;
use polder_model::{Bytes, Micros, MilliCpu, Permille};

/// Most CPUs that one task may ask for.
const CPUS_MAX: u32 = 10_000;

/// Reads a trace.
///
/// # Errors
/// The header lacks the machine's size, or a row is wrong and bad rows are not to be left out.
pub fn read(text: &str, bad: BadRows) -> Result<Workload, ReadError> {
    let other = |why: String| ReadError::Other { why };
    let trace = wait::read(text.as_bytes()).map_err(|error| other(error.to_string()))?;
    let mut notes = Vec::new();
    if let Some((line, error)) = trace.refused.first() {
        if bad == BadRows::Refuse {
            let help = "mend the row, or leave bad rows out with --skip-bad";
            return Err(other(format!("line {line}: {error}; {help}")));
        }
        notes.push(format!("left out {} rows (first, line {line}: {error})", trace.refused_rows));
    }
    let (mut jobs, mut never, mut wide) = (Vec::new(), 0u64, 0u64);
    for row in &trace.jobs {
        if row.run == 0 {
            never += 1;
            continue;
        }
        if row.processors > CPUS_MAX {
            wide += 1;
            continue;
        }
        let user = row.user.map_or("nobody".to_owned(), |user| format!("user{user}"));
        let tenant = row.queue.map_or("swf".to_owned(), |queue| format!("queue{queue}"));
        let named = |error: polder_model::IdError| other(error.to_string());
        let ask = ask_whole(tenant.parse().map_err(named)?, user.parse().map_err(named)?, 0);
        let mut ask = ask_share(ask, Permille(0), Bytes(0));
        ask.name = row.program.map(|program| format!("program{program}"));
        ask.host.cpu = Some(MilliCpu(row.processors * 1000));
        let limit = row.estimate.filter(|limit| *limit >= row.run);
        ask.when.time_limit = limit.map(Micros::from_secs);
        let (arrives, runs) = (Micros::from_secs(row.submitted), Micros::from_secs(row.run));
        jobs.push(WorkJob::new(arrives, ask, runs));
    }
    if never > 0 {
        notes.push(format!("left out {never} jobs that never ran"));
    }
    if wide > 0 {
        notes.push(format!("left out {wide} jobs of more than {CPUS_MAX} processors"));
    }
    if jobs.is_empty() {
        return Err(ReadError::Empty { help: "check that it has run times" });
    }
    let mut workload = Workload { name: "swf".into(), jobs, notes };
    workload.sort();
    workload.start_at_zero();
    Ok(workload)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "; MaxProcs: 64\n\
        1 10 0 60 4 -1 -1 4 3600 -1 1 7 1 3 2 -1 -1 -1\n\
        2 20 0 0 4 -1 -1 4 3600 -1 1 7 1 3 2 -1 -1 -1\n\
        3 30 0 90 8 -1 -1 8 30 -1 1 8 1 3 2 -1 -1 -1\n";

    #[test]
    fn rows_become_jobs_of_cpus() {
        let workload = read(TEXT, BadRows::Refuse).unwrap();
        let [one, two] = workload.jobs.as_slice() else { panic!("{workload:?}") };
        assert_eq!((one.arrives, two.arrives), (Micros(0), Micros::from_secs(20)));
        assert_eq!(one.ask.host.cpu, Some(MilliCpu(4000)));
        assert_eq!(one.ask.when.time_limit, Some(Micros::from_secs(3600)));
        assert_eq!(two.ask.when.time_limit, None, "it ran for longer than its estimate");
        assert!(one.ask.check().is_ok() && two.ask.check().is_ok());
        assert_eq!(workload.notes, ["left out 1 jobs that never ran"]);
    }

    #[test]
    fn bad_rows_are_named() {
        let text = format!("{TEXT}4 40 0 90\n");
        let error = read(&text, BadRows::Refuse).unwrap_err().to_string();
        assert!(error.starts_with("line 5: ") && error.contains("--skip-bad"), "{error}");
        assert_eq!(read(&text, BadRows::LeaveOut).unwrap().jobs.len(), 2);
    }
}
