//! Pod lists of the openb trace, with their times.
//!
//! Replays as it was: each pod comes when it was created and runs as long as it did between being
//! scheduled and deleted. Pods that were never scheduled have no run time and are passed over. Best
//! effort (`BE`) yields to all others; latency sensitive ones (`LS`) serve requests.

use super::row::{BadRows, Columns, ReadError, Sieve, Wrong, number, shown};
use super::{JOBS_MAX, SPAN_MAX, WorkJob, Workload, ask_share, ask_whole};
use polder_model::{Bytes, Micros, MilliCpu, Outcome, Permille, WorkClass};
use std::collections::BTreeMap;

/// Device memory of a thousandth of a card: the list does not say what pods hold, so a share of
/// compute stands for the same share of memory, of the smallest card that has a name here.
const MEMORY_PER_MILLI: u64 = (16 << 30) / 1000;

/// Reads a pod list.
///
/// # Errors
/// Names the line and the field.
pub fn read(text: &str, bad: BadRows) -> Result<Workload, ReadError> {
    read_first(text, bad, usize::MAX)
}

/// Reads the first jobs of a pod list.
pub(crate) fn read_first(text: &str, bad: BadRows, wanted: usize) -> Result<Workload, ReadError> {
    let mut lines = (1u64..).zip(text.lines());
    let (_, heading) = lines.next().ok_or(ReadError::UnknownFormat)?;
    let columns = Columns::new(heading.split(','));
    let need = |field| columns.need(field, "take a pod list of cluster-trace-gpu-v2023");
    let places = Places {
        name: need("name")?,
        cpu: need("cpu_milli")?,
        memory: need("memory_mib")?,
        devices: need("num_gpu")?,
        milli: need("gpu_milli")?,
        models: columns.find("gpu_spec"),
        class: columns.find("qos"),
        phase: columns.find("pod_phase"),
        created: need("creation_time")?,
        deleted: need("deletion_time")?,
        scheduled: need("scheduled_time")?,
    };
    let mut sieve = Sieve::new(bad);
    let mut jobs: Vec<(u64, WorkJob)> = Vec::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for (line, row) in lines.filter(|(_, row)| !row.trim().is_empty()) {
        let cells: Vec<&str> = row.split(',').collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or("");
        if cell(places.scheduled).is_empty() && !cell(places.created).is_empty() {
            sieve.pass_over(line, "scheduled_time", "missing: it never ran");
            continue;
        }
        let name = cell(places.name).to_owned();
        let job = match seen.get(&name) {
            Some(first) => Err(("name", Wrong::Duplicate { value: shown(&name), first: *first })),
            None => columns.hold(cells.len()).and_then(|()| job(&places, cell)),
        };
        if let Some(job) = sieve.keep(line, job)? {
            seen.insert(name, line);
            jobs.push((line, job));
        }
        if jobs.len() > JOBS_MAX {
            return Err(ReadError::TooMany { max: JOBS_MAX });
        }
    }
    let (jobs, counts) = super::first(jobs, wanted);
    if jobs.is_empty() {
        return Err(ReadError::empty(&sieve.notes(&counts), "check that it has times"));
    }
    let mut workload = Workload { name: "openb".into(), jobs, notes: sieve.notes(&counts) };
    workload.start_at_zero();
    Ok(workload)
}

struct Places {
    name: usize,
    cpu: usize,
    memory: usize,
    devices: usize,
    milli: usize,
    models: Option<usize>,
    class: Option<usize>,
    phase: Option<usize>,
    created: usize,
    deleted: usize,
    scheduled: usize,
}

fn job<'a>(
    places: &Places,
    cell: impl Fn(usize) -> &'a str,
) -> Result<WorkJob, (&'static str, Wrong)> {
    let field = |field: &'static str, at: usize, min: u64, max: u64| {
        number(cell(at), min, max).map_err(|wrong| (field, wrong))
    };
    if cell(places.name).trim().is_empty() {
        return Err(("name", Wrong::Missing));
    }
    let span = SPAN_MAX.0 / 1_000_000;
    let cpu = field("cpu_milli", places.cpu, 0, 10_000_000)?;
    let memory = field("memory_mib", places.memory, 0, 1 << 24)?;
    let devices = field("num_gpu", places.devices, 0, 16)?;
    let milli = field("gpu_milli", places.milli, devices.min(1), 1000)?;
    let created = field("creation_time", places.created, 0, span)?;
    let deleted = field("deletion_time", places.deleted, 0, span)?;
    let scheduled = field("scheduled_time", places.scheduled, 0, span)?;
    let backwards = |value: usize, other, before: usize| Wrong::Backwards {
        value: shown(cell(value)),
        other,
        before: shown(cell(before)),
    };
    if scheduled < created {
        let wrong = backwards(places.scheduled, "creation_time", places.created);
        return Err(("scheduled_time", wrong));
    }
    if deleted < scheduled {
        let wrong = backwards(places.deleted, "scheduled_time", places.scheduled);
        return Err(("deletion_time", wrong));
    }
    let class = places.class.map_or("", &cell);
    let (tenant, user) = (super::name_from(class, "pods"), "openb");
    let name =
        |what: &'static str| move |_| (what, Wrong::Not { value: String::new(), what: "a name" });
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let mut ask = ask_whole(
        tenant.parse().map_err(name("qos"))?,
        user.parse().map_err(name("user"))?,
        small(devices),
    );
    ask.name = Some(super::plain(cell(places.name), 100));
    if devices == 0 {
        ask = ask_share(ask, Permille(0), Bytes(0));
    } else if milli < 1000 {
        ask = ask_share(ask, Permille(small(milli)), Bytes(milli * MEMORY_PER_MILLI));
    }
    match class {
        // Best effort: it runs where nobody else wants to.
        "BE" => super::yields_to_all(&mut ask),
        "LS" => ask.when.class = WorkClass::Inference,
        _ => {}
    }
    let models = places.models.map_or("", &cell);
    if devices > 0 {
        ask.devices.models =
            models.split('|').filter(|m| !m.is_empty()).map(|m| super::plain(m, 100)).collect();
    }
    ask.host.cpu = (cpu >= 10).then(|| MilliCpu(small(cpu)));
    ask.host.memory = (memory > 0).then_some(Bytes(memory << 20));
    let runs = Micros::from_secs((deleted - scheduled).max(1));
    let mut job = WorkJob::new(Micros::from_secs(created), ask, runs);
    job.outcome = match places.phase.map_or("", &cell) {
        "Failed" => Outcome::Failed { code: 1 },
        // Where it still ran or nothing is said, it ended well as far as anybody knows.
        "" | "Running" | "Succeeded" | "Pending" | "Unknown" => Outcome::Succeeded,
        other => {
            let wrong = Wrong::Not { value: shown(other), what: "a phase of a pod" };
            return Err(("pod_phase", wrong));
        }
    };
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::Market;
    use proptest::prelude::*;

    const HEAD: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,\
                        creation_time,deletion_time,scheduled_time";

    fn check(row: &str, expect: &str) {
        let text = format!("{HEAD}\na,4000,1024,1,500,,LS,Running,10,70,20\n{row}\n");
        let error = read(&text, BadRows::Refuse).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}");
        let kept = read(&text, BadRows::LeaveOut).unwrap();
        assert_eq!((kept.jobs.len(), kept.notes.len()), (1, 1), "{:?}", kept.notes);
    }

    #[test]
    fn bad_rows_are_named() {
        check("b,1,1,1,500,,LS,Running,-5,70,20", "line 3, creation_time: \"-5\" is negative");
        check("b,1,1,17,500,,LS,Running,5,70,20", "line 3, num_gpu: \"17\" is absurd");
        check(
            "b,1,1,1,0,,LS,Running,5,70,20",
            "line 3, gpu_milli: \"0\" is absurd: it lies between 1",
        );
        check("b,1,1,1,,,LS,Running,5,70,20", "line 3, gpu_milli: is missing");
        check("a,1,1,1,500,,LS,Running,5,70,20", "line 3, name: \"a\" is also that of line 2");
        check("b,1,1,1,500,,LS,Running,5,10,20", "line 3, deletion_time: \"10\" is before sched");
        check("b,1", "line 3, memory_mib: is missing");
        check("b,1,1,1,500,,LS,Foo,5,70,20", "line 3, pod_phase: \"Foo\" is not a phase");
        check(
            "b,1,1,1,500,,LS,Running,5,70,20,9",
            "line 3, the row: has 12 columns where the head",
        );
    }

    #[test]
    fn rows_become_jobs() {
        let text = format!(
            "{HEAD}\nlate,4000,1024,2,1000,V100M16|T4,LS,Failed,100,170.0,120\n\
             soon,4000,0,0,0,,BE,Running,40,50,40\nnever,1,1,1,1,,BE,Pending,41,,\n"
        );
        let workload = read(&text, BadRows::Refuse).unwrap();
        assert_eq!(workload.jobs.len(), 2);
        let (soon, late) = (&workload.jobs[0], &workload.jobs[1]);
        assert_eq!((soon.arrives, late.arrives), (Micros(0), Micros::from_secs(60)));
        assert_eq!((soon.ask.devices.count, soon.ask.host.memory), (0, None));
        assert_eq!((late.runs, late.ask.devices.count), (Micros::from_secs(50), 2));
        assert!(late.ask.devices.whole && soon.ask.check().is_ok() && late.ask.check().is_ok());
        let spot = |job: &WorkJob| (job.ask.yields.preemptible, job.ask.when.market);
        assert_eq!((spot(soon), spot(late)), ((true, Market::Spot), (false, Market::OnDemand)));
        assert_eq!(late.ask.when.class, WorkClass::Inference);
        assert_eq!(late.ask.devices.models, ["V100M16", "T4"]);
        assert!(workload.notes[0].contains("it never ran"), "{:?}", workload.notes);
    }

    #[test]
    fn what_would_move_the_cursor_becomes_blank() {
        let text = format!("{HEAD}\na\u{1b}[2J\u{202e}b,1,1,1,500,T\u{1b}4,LS,Running,5,70,20\n");
        let jobs = read(&text, BadRows::Refuse).unwrap().jobs;
        assert_eq!(jobs[0].ask.name.as_deref(), Some("a [2J b"));
        assert_eq!(jobs[0].ask.devices.models, ["T 4"]);
        assert!(jobs[0].ask.check().is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\\n]{0,300}") {
            let _ = read(&text, BadRows::LeaveOut);
            let _ = read(&format!("{HEAD}\n{text}"), BadRows::LeaveOut);
        }
    }
}
