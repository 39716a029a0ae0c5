//! Logs in the format of the Muri simulator, as a workload of whole devices.
//!
//! What a job runs is what it trains; a gang of more than eight devices has tasks of eight.

use super::{BadRows, ReadError, WorkJob, Workload, ask_whole, counted};
use crate::jct::trace;
use crate::num::count;
use polder_model::{Gang, Micros, TenantPath, UserName};

/// Devices of one node there, and so of one task.
const TASK_DEVICES: u32 = 8;

/// Reads a log.
///
/// # Errors
/// Names the line and what is wrong with it.
pub fn read(text: &str, bad: BadRows) -> Result<Workload, ReadError> {
    read_first(text, bad, usize::MAX)
}

/// Reads the first jobs of a log.
pub(crate) fn read_first(text: &str, bad: BadRows, wanted: usize) -> Result<Workload, ReadError> {
    let other = |why: String| ReadError::Other { why };
    let (rows, left_out) =
        trace::sift("the log", text.as_bytes()).map_err(|error| other(error.to_string()))?;
    if let (Some((line, fault)), BadRows::Refuse) = (left_out.first(), bad) {
        return Err(ReadError::Line { line: *line, why: fault.to_string() });
    }
    let tenant: TenantPath = "muri".parse().map_err(|error| other(format!("{error}")))?;
    let user: UserName = "muri".parse().map_err(|error| other(format!("{error}")))?;
    let micros = |seconds: f64| Micros(count(seconds * 1e6));
    let job = |row: &trace::Job| {
        let devices = row.seen.devices;
        let (tasks, each) = match devices {
            wide if wide > TASK_DEVICES && wide.is_multiple_of(TASK_DEVICES) => {
                (wide / TASK_DEVICES, TASK_DEVICES)
            }
            wide if wide > TASK_DEVICES => (wide, 1),
            narrow => (1, narrow),
        };
        let mut ask = ask_whole(tenant.clone(), user.clone(), each);
        ask.gang = Gang { min: tasks, max: tasks, ..Gang::default() };
        ask.name = Some(super::plain(&row.seen.model, 100));
        let runs = micros(row.iterations * row.seen.iteration);
        WorkJob::new(micros(row.seen.submitted), ask, Micros(runs.0.max(1)))
    };
    let jobs = rows.iter().map(|row| (row.line, job(&row.job))).collect();
    let (jobs, counts) = super::first(jobs, wanted);
    let mut notes = Vec::new();
    let lines: Vec<u64> = left_out.iter().map(|(line, _)| *line).collect();
    if let (Some((line, fault)), 1..) = (left_out.first(), counts.rows(&lines)) {
        let rows = counted(counts.rows(&lines), "row");
        notes.push(format!("left out {rows} (first, line {line}: {fault})"));
    }
    if jobs.is_empty() {
        return Err(ReadError::empty(&notes, "check that it has rows"));
    }
    let unlike: Vec<u64> = rows.iter().filter(|row| row.contradicts).map(|row| row.line).collect();
    if counts.jobs(&unlike) > 0 {
        let rows = counted(counts.jobs(&unlike), "row");
        notes.push(format!(
            "{rows}: duration is not iterations x iteration_time, which is what counts"
        ));
    }
    let mut workload = Workload { name: "muri".into(), jobs, notes };
    workload.start_at_zero();
    Ok(workload)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "job_id,num_gpu,submit_time,iterations,model_name,batch_size,duration,\
                        interval,iteration_time,resource_time_0,resource_time_1,\
                        resource_time_2,priority\n";

    #[test]
    fn the_duration_is_looked_at() {
        let log = |duration: &str| {
            format!(
                "{HEAD}0,1,0,1000,dqn,128,490000,1,490,446,8,0,1\n\
                 1,1,0,1000,dqn,128,{duration},1,490,446,8,0,1\n"
            )
        };
        let bad = |duration: &str, expect: &str| {
            let error = read(&log(duration), BadRows::Refuse).unwrap_err().to_string();
            assert!(error.starts_with("line 3: ") && error.contains(expect), "{error}");
            assert_eq!(read(&log(duration), BadRows::LeaveOut).unwrap().jobs.len(), 1);
        };
        bad("-5", "duration is -5, and must be from 0");
        bad("NaN", "duration is NaN, and must be");
        bad("1e300", "and must be from 0 to a century");
        bad("", "duration is missing");
        bad("long", "invalid float");
        // Cut off to whole iterations, as the logs are, or not.
        let notes = |duration: &str| read(&log(duration), BadRows::Refuse).unwrap().notes;
        assert_eq!(notes("490489"), [""; 0]);
        let expect = "1 row: duration is not iterations x iteration_time, which is what counts";
        assert_eq!((notes("490500"), notes("5")), (vec![expect.into()], vec![expect.into()]));
        let without = log("7").replace(",duration", "").replace(",490000,1,", ",1,");
        let without = read(&without.replace(",7,1,", ",1,"), BadRows::Refuse).unwrap();
        assert_eq!((without.jobs.len(), without.notes.len()), (2, 0), "a log may do without");
    }

    #[test]
    fn rows_become_gangs_of_nodes() {
        let text = format!(
            "{HEAD}0,1,0,1000,dqn,128,490000,1,490,446,8,0,1\n\
             1,16,2000,500,bert,4,500000,1,1000,435,8,1,0\n"
        );
        let workload = read(&text, BadRows::Refuse).unwrap();
        let [one, wide] = workload.jobs.as_slice() else { panic!("{workload:?}") };
        assert_eq!((one.runs, one.ask.devices.count), (Micros::from_secs(490), 1));
        assert_eq!((wide.ask.gang.min, wide.ask.devices.count), (2, 8));
        assert_eq!(wide.arrives, Micros::from_secs(2));
        assert!(wide.ask.check().is_ok());
        let error = read(&text.replace("2000", "-2"), BadRows::Refuse).unwrap_err().to_string();
        assert!(error.starts_with("line 3: submit_time is -2"), "{error}");
        let bad = format!("{text}2,1,0,10,dqn,128,1,1,490,446,8,0,1,7\n");
        let error = read(&bad, BadRows::Refuse).unwrap_err().to_string();
        assert!(error.starts_with("line 4: it has 14 columns") && error.contains("--skip-bad"));
        let kept = read(&bad, BadRows::LeaveOut).unwrap();
        assert_eq!(kept.jobs.len(), 2);
        assert!(kept.notes[0].starts_with("left out 1 row (first, line 4"), "{:?}", kept.notes);
    }
}
