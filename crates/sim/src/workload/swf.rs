//! Traces in the Standard Workload Format, as a workload.
//!
//! The format knows processors and no devices: a job is one task that wants so many CPUs of one
//! node and no device, so a pool of one node with the machine's processors (which the header says, and
//! which is the pool unless another is given) serves it as the machine did. A user's estimate becomes the time limit, after which such machines end a job. Jobs of queues
//! that the header calls best effort or preemptible yield to all others, at a priority below theirs.

use super::journal::History;
use super::{BadRows, ReadError, WorkJob, Workload, ask_share, ask_whole, counted};
use crate::pool::{self, Pool};
use crate::wait;
use polder_model::{Bytes, Micros, MilliCpu, NodeId, Permille, Timestamp, WorkClass};

/// Most CPUs that one task may ask for.
const CPUS_MAX: u32 = 10_000;

/// Reads a trace.
///
/// # Errors
/// The header lacks the machine's size, or a row is wrong and bad rows are not to be left out.
pub fn read(text: &str, bad: BadRows) -> Result<History, ReadError> {
    read_first(text, bad, usize::MAX)
}

/// Reads the first jobs of a trace.
pub(crate) fn read_first(text: &str, bad: BadRows, wanted: usize) -> Result<History, ReadError> {
    let other = |why: String| ReadError::Other { why };
    let trace = wait::read(text.as_bytes()).map_err(|error| other(error.to_string()))?;
    if let (Some((line, error)), BadRows::Refuse) = (trace.refused.first(), bad) {
        return Err(ReadError::Line { line: *line, why: error.to_string() });
    }
    let (mut jobs, mut never, mut wide) = (Vec::new(), Vec::new(), Vec::new());
    let mut short = Vec::new();
    for row in &trace.jobs {
        if row.run == 0 {
            never.push(row.line);
            continue;
        }
        if row.processors > CPUS_MAX {
            wide.push(row.line);
            continue;
        }
        let user = row.user.map_or("nobody".to_owned(), |user| format!("user{user}"));
        let tenant = row.queue.map_or("swf".to_owned(), |queue| format!("queue{queue}"));
        let named = |error: polder_model::IdError| other(error.to_string());
        let ask = ask_whole(tenant.parse().map_err(named)?, user.parse().map_err(named)?, 0);
        let mut ask = ask_share(ask, Permille(0), Bytes(0));
        ask.name = row.program.map(|program| format!("program{program}"));
        if row.queue.is_some_and(|queue| trace.yielding.contains(&queue)) {
            super::yields_to_all(&mut ask);
            ask.when.priority = -1;
        } else if row.queue.is_some_and(|queue| trace.interactive.contains(&queue)) {
            ask.when.class = WorkClass::Interactive;
        }
        ask.host.cpu = Some(MilliCpu(row.processors * 1000));
        let limit = row.estimate.filter(|limit| *limit >= row.run);
        short.extend((limit.is_none() && row.estimate.is_some()).then_some(row.line));
        ask.when.time_limit = limit.map(Micros::from_secs);
        let (arrives, runs) = (Micros::from_secs(row.submitted), Micros::from_secs(row.run));
        jobs.push((row.line, WorkJob::new(arrives, ask, runs)));
    }
    let (jobs, counts) = super::first(jobs, wanted);
    let mut notes = Vec::new();
    let refused = counts.rows(&trace.refused_lines);
    if let (Some((line, error)), 1..) = (trace.refused.first(), refused) {
        let rows = counted(refused, "row");
        notes.push(format!("left out {rows} (first, line {line}: {error})"));
    }
    let (never, wide) = (counts.rows(&never), counts.rows(&wide));
    let short = counts.jobs(&short);
    if never > 0 {
        notes.push(format!("left out {} that never ran", counted(never, "job")));
    }
    if wide > 0 {
        let jobs = counted(wide, "job");
        notes.push(format!("left out {jobs} of more than {CPUS_MAX} processors"));
    }
    if short > 0 {
        let jobs = counted(short, "job");
        notes.push(format!("{jobs} ran past the user's estimate, which does not limit them here"));
    }
    if jobs.is_empty() {
        return Err(ReadError::empty(&notes, "check that it has run times"));
    }
    notes.push("each job is one task, with all its CPUs on one node".to_owned());
    for queue in &trace.yielding {
        notes.push(format!("queue{queue} yields to all others, as the trace's header says"));
    }
    let mut workload = Workload { name: "swf".into(), jobs, notes };
    let first = workload.start_at_zero();
    let begin = Some(Timestamp(Micros::from_secs(trace.unix_start).0));
    let begin = begin.filter(|start| start.0 > 0).map(|start| start.after(first));
    if begin.is_some() && trace.zone_seconds > 0 {
        workload.notes.push(zone(trace.zone_seconds));
    }
    Ok(History { workload, begin, pool: machine(trace.processors), ..History::default() })
}

/// Whether a line has the columns of a job, all of them numbers.
pub(super) fn is_row(line: &str) -> bool {
    let numbers = line.split_ascii_whitespace().map(|cell| cell.parse::<f64>().is_ok());
    let numbers: Vec<bool> = numbers.take(wait::COLUMNS + 1).collect();
    numbers.len() == wait::COLUMNS && !numbers.contains(&false)
}

/// The machine as one node; none where it has more CPUs than a node can have.
fn machine(processors: u32) -> Pool {
    let cpu = processors.checked_mul(1000).filter(|_| processors <= pool::HOST_CPUS);
    let name = "machine".parse::<NodeId>().ok();
    let node = |(cpu, name)| (name, pool::node(MilliCpu(cpu), pool::HOST_MEMORY, Vec::new()));
    cpu.zip(name).map(node).into_iter().collect()
}

/// How far the machine's clock was ahead of UTC, as a policy says it.
fn zone(seconds: u64) -> String {
    let minutes = i64::try_from(seconds / 60).unwrap_or(0);
    // Nobody's clock is more than 14 hours ahead: then it is behind.
    let minutes = if minutes > 14 * 60 { minutes - 24 * 60 } else { minutes };
    format!(
        "its clock differed from UTC: utc_offset_minutes = {minutes} in a policy is its own time"
    )
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
        let History { workload, begin, pool, .. } = read(TEXT, BadRows::Refuse).unwrap();
        assert_eq!(begin, None);
        let [one, two] = workload.jobs.as_slice() else { panic!("{workload:?}") };
        assert_eq!((one.arrives, two.arrives), (Micros(0), Micros::from_secs(20)));
        assert_eq!(one.ask.host.cpu, Some(MilliCpu(4000)));
        assert_eq!(one.ask.when.time_limit, Some(Micros::from_secs(3600)));
        assert_eq!(two.ask.when.time_limit, None, "it ran for longer than its estimate");
        assert!(one.ask.check().is_ok() && two.ask.check().is_ok());
        assert!(workload.notes.iter().any(|note| note.starts_with("each job is one task")));
        let machine: Vec<_> = pool.iter().map(|(_, of)| of.node.cpu).collect();
        assert_eq!(machine, [MilliCpu(64_000)]);
        assert!(workload.notes[0].starts_with("left out 1 job that never ran"));
        assert!(workload.notes[1].starts_with("1 job ran past the user's estimate"));
    }

    #[test]
    fn queues_that_yield_do() {
        let head = ";  Queue: 1 - Normal jobs queue - jobs are not preemptible\n\
                    ;  Queue: 2 - Besteffort jobs queue - jobs can be preempted\n\
                    ;  Queues: Queue nb 1 is preemptible\n; Queue: 0 interactive\n";
        let three = TEXT.replace(" 1 3 2 -1", " 1 3 1 -1");
        let rows = format!(
            "{head}{three}4 95 0 60 4 -1 -1 4 3600 -1 1 7 1 3 2 -1 -1 -1\n\
             5 96 0 60 4 -1 -1 4 3600 -1 1 7 1 3 0 -1 -1 -1\n"
        );
        let jobs = read(&rows, BadRows::Refuse).unwrap().workload.jobs;
        let last: Vec<_> = jobs.iter().rev().take(3).map(|job| &job.ask).collect();
        let [interactive, effort, normal] = last.as_slice() else { panic!("{jobs:?}") };
        assert!(effort.yields.preemptible && effort.when.priority < normal.when.priority);
        assert!(effort.check().is_ok() && !interactive.yields.preemptible);
        assert_eq!(interactive.when.class, WorkClass::Interactive);
    }

    #[test]
    fn a_trace_keeps_its_clock() {
        let head = "; UnixStartTime: 1400749079\n; StartTime: Thu May 22 10:57:59 CEST 2014\n";
        let history = read(&format!("{head}{TEXT}"), BadRows::Refuse).unwrap();
        assert_eq!(history.begin, Some(Timestamp(1_400_749_089_000_000)), "ten seconds later");
        let notes = history.workload.notes.join(";");
        assert!(notes.contains("utc_offset_minutes = 120"), "{notes}");
        assert!(zone(19 * 3600).contains("= -300"));
        for unknown in ["-1", "0", ""] {
            let text = format!("; UnixStartTime: {unknown}\n{TEXT}");
            assert_eq!(read(&text, BadRows::Refuse).unwrap().begin, None, "{unknown}");
        }
        for nonsense in ["99999999999999", "4102444801", "-2", "May", "1.5"] {
            let text = format!("; MaxProcs: 9\n; UnixStartTime: {nonsense}\n{TEXT}");
            let error = read(&text, BadRows::LeaveOut).unwrap_err().to_string();
            let expect = format!("line 2, UnixStartTime: {nonsense:?} is no time");
            assert!(error.starts_with(&expect), "{error}");
        }
    }

    #[test]
    fn rows_are_sorted() {
        let text = format!("{TEXT}4 5 0 60 4 -1 -1 4 3600 -1 1 7 1 3 2 -1 -1 -1\n");
        let jobs = read(&text, BadRows::Refuse).unwrap().workload.jobs;
        let arrives: Vec<u64> = jobs.iter().map(|job| job.arrives.0 / 1_000_000).collect();
        assert_eq!(arrives, [0, 5, 25]);
    }

    #[test]
    fn bad_rows_are_named() {
        let text = format!("{TEXT}4 40 0 90\n");
        let error = read(&text, BadRows::Refuse).unwrap_err().to_string();
        assert!(error.starts_with("line 5: ") && error.contains("--skip-bad"), "{error}");
        assert_eq!(read(&text, BadRows::LeaveOut).unwrap().workload.jobs.len(), 2);
    }
}
