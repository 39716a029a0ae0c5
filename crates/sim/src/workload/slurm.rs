//! What `sacct --parsable2` prints: a cluster's own history from Slurm.
//!
//! Ask it for at least `JobID,Submit,ElapsedRaw,State,AllocTRES`, better also
//! `JobName,User,Account,TimelimitRaw,ReqTRES,Priority`. Steps (`12.batch`) are passed over, as are
//! jobs that never ran. GPUs come from TRES; a job over several nodes becomes a gang of one task a
//! node. Its times have no zone and count as UTC, so that the hours of a policy are those of the
//! cluster's own clock. CPU-only jobs ask for no device.

use super::journal::History;
use super::row::{BadRows, Columns, ReadError, Sieve, Wrong, number, shown};
use super::{JOBS_MAX, SPAN_MAX, WorkJob, Workload, ask_share, ask_whole, counted, name_from};
use polder_model::{Ask, Bytes, Gang, Micros, MilliCpu, Outcome, Permille, Timestamp};
use std::collections::BTreeMap;

/// Most devices of one task; a job with more on a node becomes a gang of single devices.
const TASK_DEVICES_MAX: u64 = 16;
/// What sacct prints of a job without a time limit of its own.
const NO_LIMIT: [&str; 4] = ["", "UNLIMITED", "Partition_Limit", "INVALID"];
/// The year before which no job was submitted to Slurm: it prints 1970 for a time that it lacks.
const YEAR_MIN: i64 = 2000;
/// The last year of which a history is believed to tell: what is later is a clock or a date gone wrong,
/// and one such row would make a replay last for decades.
const YEAR_MAX: i64 = 2099;
/// Most CPUs of one task: as many as an ask can hold.
const TASK_CPUS_MAX: u64 = 10_000;
const HELP: &str = "run sacct --parsable2 --allusers --format \
                    JobID,JobName,User,Account,Submit,ElapsedRaw,TimelimitRaw,State,AllocTRES";

/// Reads what sacct printed.
///
/// # Errors
/// Names the line and the field.
pub fn read(text: &str, bad: BadRows) -> Result<History, ReadError> {
    read_first(text, bad, usize::MAX)
}

/// Reads the first jobs of what sacct printed.
pub(crate) fn read_first(text: &str, bad: BadRows, wanted: usize) -> Result<History, ReadError> {
    let mut lines = (1u64..).zip(text.lines());
    let (_, heading) = lines.next().ok_or(ReadError::UnknownFormat)?;
    let columns = Columns::new(heading.split('|'));
    let places = Places {
        id: columns.need("JobID", HELP)?,
        submit: columns.need("Submit", HELP)?,
        state: columns.need("State", HELP)?,
        raw: columns.find("ElapsedRaw"),
        elapsed: columns.find("Elapsed"),
        allocated: columns.find("AllocTRES"),
        requested: columns.find("ReqTRES"),
        name: columns.find("JobName"),
        user: columns.find("User"),
        account: columns.find("Account"),
        limit_raw: columns.find("TimelimitRaw"),
        limit: columns.find("Timelimit"),
    };
    if places.raw.or(places.elapsed).is_none() {
        return Err(ReadError::NoColumn { field: "ElapsedRaw", help: HELP });
    }
    if places.allocated.or(places.requested).is_none() {
        return Err(ReadError::NoColumn { field: "AllocTRES", help: HELP });
    }
    let mut sieve = Sieve::new(bad);
    let (mut past, mut running): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut jobs: Vec<(u64, WorkJob)> = Vec::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for (line, row) in lines.filter(|(_, row)| !row.trim().is_empty()) {
        let cells: Vec<&str> = row.split('|').collect();
        let cell = |at: usize| cells.get(at).map_or("", |cell| cell.trim());
        let id = cell(places.id);
        if id.contains('.') {
            continue; // a step of a job
        }
        let job = match seen.get(id) {
            Some(first) => Err(("JobID", Wrong::Duplicate { value: shown(id), first: *first })),
            None => columns.fill(cells.len()).and_then(|()| job(&places, cell)),
        };
        match sieve.keep(line, job)? {
            Some(Some(job)) => {
                let limit = places.limit(|at| at.map_or("", cell)).is_ok_and(|l| l.is_some());
                past.extend((limit && job.ask.when.time_limit.is_none()).then_some(line));
                running.extend(cell(places.state).starts_with("RUNNING").then_some(line));
                seen.insert(id.to_owned(), line);
                jobs.push((line, job));
            }
            Some(None) => sieve.pass_over(line, places.elapsed_named(), "zero: it never ran"),
            None => {}
        }
        if jobs.len() > JOBS_MAX {
            return Err(ReadError::TooMany { max: JOBS_MAX });
        }
    }
    let (jobs, counts) = super::first(jobs, wanted);
    let mut notes = sieve.notes(&counts);
    if jobs.is_empty() {
        return Err(ReadError::empty(&notes, HELP));
    }
    let (past, running) = (counts.jobs(&past), counts.jobs(&running));
    if past > 0 {
        let jobs = counted(past, "job");
        notes.push(format!("{jobs} ran past the time limit, which does not limit them here"));
    }
    if running > 0 {
        let jobs = counted(running, "job");
        notes.push(format!("{jobs} still ran: how long until then is taken for all of it"));
    }
    let mut workload = Workload { name: "slurm".into(), jobs, notes };
    let begin = Some(Timestamp(workload.start_at_zero().0));
    Ok(History { workload, begin, ..History::default() })
}

struct Places {
    id: usize,
    submit: usize,
    state: usize,
    raw: Option<usize>,
    elapsed: Option<usize>,
    allocated: Option<usize>,
    requested: Option<usize>,
    name: Option<usize>,
    user: Option<usize>,
    account: Option<usize>,
    limit_raw: Option<usize>,
    limit: Option<usize>,
}

/// A row's job; nothing when it never ran.
fn job<'a>(
    places: &Places,
    cell: impl Fn(usize) -> &'a str,
) -> Result<Option<WorkJob>, (&'static str, Wrong)> {
    let span = SPAN_MAX.0 / 1_000_000;
    let may = |at: Option<usize>| at.map_or("", &cell);
    if cell(places.id).is_empty() {
        return Err(("JobID", Wrong::Missing));
    }
    let submit = submitted(cell(places.submit)).map_err(|wrong| ("Submit", wrong))?;
    let runs = match (places.raw, places.elapsed) {
        (Some(at), _) => number(cell(at), 0, span).map_err(|wrong| ("ElapsedRaw", wrong))?,
        (None, at) => length(may(at)).map_err(|wrong| (places.elapsed_named(), wrong))?,
    };
    if runs == 0 {
        return Ok(None);
    }
    let tres = [("AllocTRES", places.allocated), ("ReqTRES", places.requested)];
    let tres = tres.map(|(named, at)| (named, may(at)));
    let tres = tres.into_iter().find(|(_, text)| !text.is_empty());
    let (named, tres) = tres.ok_or((places.resources_named(), Wrong::Missing))?;
    let wanted = wanted(tres).map_err(|wrong| (named, wrong))?;
    let bad_name = |_| ("Account", Wrong::Not { value: String::new(), what: "a name" });
    let tenant = name_from(may(places.account), "slurm").parse().map_err(bad_name)?;
    let user = name_from(may(places.user), "nobody").parse().map_err(bad_name)?;
    let mut ask = wanted.ask(ask_whole(tenant, user, 1));
    let name = may(places.name);
    ask.name = (!name.is_empty()).then(|| shown(name));
    // A limit that it ran past was raised meanwhile, or was never meant.
    let limit = places.limit(may)?.filter(|limit| *limit >= runs);
    ask.when.time_limit = limit.map(Micros::from_secs);
    let mut job = WorkJob::new(Micros::from_secs(submit), ask, Micros::from_secs(runs));
    job.ask.yields.preemptible = cell(places.state).starts_with("PREEMPTED");
    job.outcome = outcome(cell(places.state))?;
    Ok(Some(job))
}

impl Places {
    /// How long a job might run, in seconds, where it says so.
    fn limit<'a>(
        &self,
        may: impl Fn(Option<usize>) -> &'a str,
    ) -> Result<Option<u64>, (&'static str, Wrong)> {
        let says = |text: &str| !NO_LIMIT.iter().any(|none| none.eq_ignore_ascii_case(text));
        let (raw, limit) = (may(self.limit_raw), may(self.limit));
        let seconds = if says(raw) {
            let minutes = number(raw, 0, SPAN_MAX.0 / 60_000_000);
            minutes.map_err(|wrong| ("TimelimitRaw", wrong))? * 60
        } else if says(limit) {
            length(limit).map_err(|wrong| ("Timelimit", wrong))?
        } else {
            0
        };
        Ok(Some(seconds).filter(|seconds| *seconds > 0))
    }

    /// The column that says what a job had.
    fn resources_named(&self) -> &'static str {
        if self.allocated.is_some() { "AllocTRES" } else { "ReqTRES" }
    }

    /// The column that says how long a job ran.
    fn elapsed_named(&self) -> &'static str {
        if self.raw.is_some() { "ElapsedRaw" } else { "Elapsed" }
    }
}

/// How a job ended; one that has not ended as well as can be.
fn outcome(state: &str) -> Result<Outcome, (&'static str, Wrong)> {
    Ok(match state.split_whitespace().next().unwrap_or("") {
        "FAILED" | "OUT_OF_MEMORY" | "NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED"
        | "RECONFIG_FAIL" | "SPECIAL_EXIT" => Outcome::Failed { code: 1 },
        "CANCELLED" | "PREEMPTED" | "REVOKED" => Outcome::Cancelled,
        "TIMEOUT" | "DEADLINE" => Outcome::TimedOut,
        "COMPLETED" | "COMPLETING" | "RUNNING" | "SUSPENDED" | "STOPPED" | "STAGE_OUT"
        | "SIGNALING" | "RESIZING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "PENDING"
        | "CONFIGURING" | "POWER_UP_NODE" | "EXPEDITING" | "RESV_DEL_HOLD" => Outcome::Succeeded,
        "" => return Err(("State", Wrong::Missing)),
        _ => return Err(("State", Wrong::Not { value: shown(state), what: "a state of a job" })),
    })
}

/// What a job had.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    gpus: u64,
    nodes: u64,
    cpus: u64,
    memory: u64,
}

impl Wanted {
    /// How many tasks it becomes, and how many devices each has.
    fn tasks(&self) -> (u64, u64) {
        let nodes = self.nodes.max(1);
        let even = self.gpus.is_multiple_of(nodes) && self.gpus / nodes <= TASK_DEVICES_MAX;
        match self.gpus {
            0 => (nodes, 0),
            gpus if even => (nodes, gpus / nodes),
            gpus => (gpus, 1),
        }
    }

    /// Refuses what no job can have: nothing to run on, or more than an ask can say.
    fn check(self, tres: &str) -> Result<Self, Wrong> {
        if self.gpus == 0 && self.cpus == 0 {
            return Err(Wrong::Not { value: shown(tres), what: WITH_CPUS });
        }
        let absurd = |value: u64, max: u64| Wrong::Absurd { value: value.to_string(), min: 0, max };
        let ((tasks, _), gang) = (self.tasks(), u64::from(polder_model::GANG_MAX));
        if tasks > gang {
            return Err(absurd(tasks, gang));
        }
        let cpus = TASK_CPUS_MAX * tasks;
        if self.cpus > cpus { Err(absurd(self.cpus, cpus)) } else { Ok(self) }
    }

    fn ask(&self, mut ask: Ask) -> Ask {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let (tasks, devices) = self.tasks();
        ask.gang = Gang { min: small(tasks), max: small(tasks), ..Gang::default() };
        ask.devices.count = small(devices);
        if devices == 0 {
            ask = ask_share(ask, Permille(0), Bytes(0));
        }
        let cpus = self.cpus.saturating_mul(1000) / tasks;
        ask.host.cpu = (10..=10_000_000).contains(&cpus).then(|| MilliCpu(small(cpus)));
        let memory = self.memory / tasks;
        ask.host.memory = (1 << 20..=u64::MAX >> 12).contains(&memory).then_some(Bytes(memory));
        ask
    }
}

const RESOURCES: &str = "a list such as cpu=8,gres/gpu=4,node=2";
const WITH_CPUS: &str = "a list that gives the job CPUs or GPUs";

/// What `billing=8,cpu=8,gres/gpu=4,mem=64G,node=2` says.
fn wanted(tres: &str) -> Result<Wanted, Wrong> {
    let mut wanted = Wanted::default();
    let mut typed = 0;
    for entry in tres.split(',') {
        let Some((key, value)) = entry.split_once('=') else {
            return Err(Wrong::Not { value: shown(tres), what: RESOURCES });
        };
        match key {
            "cpu" => wanted.cpus = number(value, 0, 10_000_000)?,
            "node" => wanted.nodes = number(value, 0, 100_000)?,
            "gres/gpu" => wanted.gpus = number(value, 0, 100_000)?,
            "mem" => wanted.memory = size(value)?,
            _ if key.starts_with("gres/gpu:") => typed += number(value, 0, 100_000)?,
            _ => {}
        }
    }
    wanted.gpus = wanted.gpus.max(typed);
    wanted.check(tres)
}

/// `64G`, `512000M`, `1.5T`: Slurm's sizes, powers of 1024.
fn size(text: &str) -> Result<u64, Wrong> {
    const BYTES_MAX: u64 = 1 << 52;
    let wrong = || Wrong::Not { value: shown(text), what: "a size such as 64G" };
    let unit = text.chars().last().ok_or(Wrong::Missing)?;
    let shift = match unit {
        'K' => 10,
        'M' | '0'..='9' => 20,
        'G' => 30,
        'T' => 40,
        'P' => 50,
        _ => return Err(wrong()),
    };
    let digits = text.trim_end_matches(unit_letters);
    let value: f64 = digits.parse().map_err(|_| wrong())?;
    if value < 0.0 {
        return Err(Wrong::Negative { value: shown(text) });
    }
    let bytes = value * (1u64 << shift) as f64;
    if bytes > BYTES_MAX as f64 {
        return Err(Wrong::Absurd { value: shown(text), min: 0, max: BYTES_MAX });
    }
    Ok(crate::num::count(bytes))
}

fn unit_letters(c: char) -> bool {
    c.is_ascii_alphabetic()
}

/// When a job was submitted, in seconds since 1970.
fn submitted(text: &str) -> Result<u64, Wrong> {
    let seconds = moment(text)?;
    let year = text.split('-').next().and_then(|year| year.parse::<i64>().ok()).unwrap_or(0);
    let wrong = |what| Err(Wrong::Not { value: shown(text), what });
    match year {
        ..YEAR_MIN => wrong("a time at which Slurm was there"),
        YEAR_MIN..=YEAR_MAX => Ok(seconds),
        _ => wrong("a time of a history: its year lies between 2000 and 2099"),
    }
}

/// Days of a month, of which 1 is January.
fn days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds since 1970 of `2024-05-01T12:00:00`.
fn moment(text: &str) -> Result<u64, Wrong> {
    let wrong = || Wrong::Not { value: shown(text), what: "a time such as 2024-05-01T12:00:00" };
    if text.is_empty() || text == "Unknown" || text == "None" {
        return Err(Wrong::Missing);
    }
    let (date, time) = text.split_once('T').ok_or_else(wrong)?;
    let three = |text: &str, by: char| -> Option<[i64; 3]> {
        let mut parts = text.split(by).map(|part| part.parse::<u32>().ok().map(i64::from));
        let parts = [parts.next()??, parts.next()??, parts.next()??];
        Some(parts)
    };
    let [year, month, day] = three(date, '-').ok_or_else(wrong)?;
    let [hour, minute, second] = three(time, ':').ok_or_else(wrong)?;
    let plain = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !plain {
        return Err(wrong());
    }
    // Days from the civil calendar, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).map_err(|_| wrong())
}

/// Seconds of `1-02:03:04`, `02:03:04` or `03:04`.
fn length(text: &str) -> Result<u64, Wrong> {
    let wrong = || Wrong::Not { value: shown(text), what: "a length such as 1-02:03:04" };
    if text.is_empty() {
        return Err(Wrong::Missing);
    }
    let (days, rest) = text.split_once('-').unwrap_or(("0", text));
    let whole_days = text.contains('-');
    let mut total: u64 = days.parse::<u32>().map_err(|_| wrong())?.into();
    let parts: Vec<&str> = rest.split(':').collect();
    let [hours, minutes, seconds] = match parts.as_slice() {
        [hours, minutes, seconds] => [*hours, *minutes, *seconds],
        [minutes, seconds] => ["0", *minutes, *seconds],
        _ => return Err(wrong()),
    };
    for (part, scale) in [(hours, 24), (minutes, 60), (seconds, 60)] {
        let part = part.split('.').next().unwrap_or("");
        let part = u64::from(part.parse::<u32>().map_err(|_| wrong())?);
        // Hours may be any number where no days stand before them.
        if part >= scale && (scale != 24 || whole_days) {
            return Err(wrong());
        }
        total = total * scale + part;
    }
    if total > SPAN_MAX.0 / 1_000_000 {
        return Err(Wrong::Absurd { value: shown(text), min: 0, max: SPAN_MAX.0 / 1_000_000 });
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "JobID|JobName|User|Account|Submit|ElapsedRaw|TimelimitRaw|State|AllocTRES";
    const GOOD: &str = "1|train|ada|lab|2024-05-01T12:00:00|600|60|COMPLETED|\
                        billing=8,cpu=8,gres/gpu=4,mem=64G,node=2";

    fn check(row: &str, expect: &str) {
        let text = format!("{HEAD}\n{GOOD}\n{row}\n");
        let error = read(&text, BadRows::Refuse).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}");
        assert_eq!(read(&text, BadRows::LeaveOut).unwrap().workload.jobs.len(), 1);
    }

    #[test]
    fn bad_rows_are_named() {
        check("2|x|a|l|yesterday|600|60|COMPLETED|cpu=1", "line 3, Submit: \"yesterday\" is not");
        check("2|x|a|l|Unknown|600|60|COMPLETED|cpu=1", "line 3, Submit: is missing");
        check(
            "2|x|a|l|2024-05-01T12:00:00|-6|60|COMPLETED|cpu=1",
            "line 3, ElapsedRaw: \"-6\" is neg",
        );
        check("1|x|a|l|2024-05-01T12:00:00|6|60|COMPLETED|cpu=1", "line 3, JobID: \"1\" is also");
        check(
            "2|x|a|l|2024-05-01T12:00:00|6|60|COMPLETED|gres/gpu=lots",
            "line 3, AllocTRES: \"lots\" is not",
        );
        check("2|x|a|l|2024-05-01T12:00:00|6|60|WEIRD|cpu=1", "line 3, State: \"WEIRD\" is not");
        check("2|x|a|l|2024-05-01T12:00:00|6|60||cpu=1", "line 3, State: is missing");
        check(
            "2|x|a|l|2024-05-01T12:00:00|6|60|COMPLETED|gres/gpu=2.5",
            "line 3, AllocTRES: \"2.5\" is not a whole number",
        );
        check("2|x|a|l|2024-05-01T12:00:00|6|60|COMPLETED|cpu=1|7", "line 3, the row: has 10 col");
        check("2|x|a|l|2024-05-01T12:00:00|6|60|COMPLETED", "line 3, the row: has 8 columns where");
        let plain =
            "JobID|Submit|Elapsed|State|AllocTRES\n1|2024-05-01T12:00:00|00:00:00|CANCELLED|\n";
        let more = format!("{plain}2|2024-05-01T12:00:00|00:00:06|COMPLETED|cpu=1\n");
        let notes = read(&more, BadRows::Refuse).unwrap().workload.notes;
        assert_eq!(notes, ["left out 1 row: Elapsed is zero: it never ran (first at line 2)"]);
        let error = read("JobID|Submit|State\n", BadRows::Refuse).unwrap_err().to_string();
        assert!(error.contains("no column ElapsedRaw: run sacct"), "{error}");
    }

    #[test]
    fn what_no_job_can_have_had_is_named() {
        let ran = |submit: &str, limit: &str, tres: &str, expect: &str| {
            check(&format!("2|x|a|l|{submit}|6|{limit}|COMPLETED|{tres}"), expect);
        };
        let submit = |at: &str, expect: &str| ran(at, "60", "cpu=1", expect);
        submit("2024-02-31T09:00:00", "line 3, Submit: \"2024-02-31T09:00:00\" is not a time");
        submit("2023-02-29T09:00:00", "line 3, Submit: \"2023-02-29T09:00:00\" is not a time");
        submit("2024-04-31T09:00:00", "line 3, Submit: \"2024-04-31T09:00:00\" is not a time");
        submit("1970-01-01T00:00:00", "line 3, Submit: \"1970-01-01T00:00:00\" is not a time");
        let late = "is not a time of a history: its year lies between 2000 and 2099";
        for at in ["2100-01-01T00:00:00", "2200-12-31T00:00:00", "9999-12-31T00:00:00"] {
            submit(at, &format!("line 3, Submit: \"{at}\" {late}"));
        }
        let at = "2024-05-01T12:00:00";
        let tres = |tres: &str, expect: &str| ran(at, "60", tres, expect);
        tres("gibberish", "line 3, AllocTRES: \"gibberish\" is not a list");
        tres("cpu=1,gibberish", "line 3, AllocTRES: \"cpu=1,gibberish\" is not a list");
        tres("", "line 3, AllocTRES: is missing");
        tres("billing=8,node=1", "line 3, AllocTRES: \"billing=8,node=1\" is not a list that");
        tres("cpu=8,gres/gpu=5000", "line 3, AllocTRES: \"5000\" is absurd: it lies between 0");
        tres("cpu=5000,node=5000", "line 3, AllocTRES: \"5000\" is absurd: it lies between 0");
        tres("cpu=20001,node=2", "line 3, AllocTRES: \"20001\" is absurd: it lies between 0");
        ran(at, "-1", "cpu=1", "line 3, TimelimitRaw: \"-1\" is negative");
        ran(at, "soon", "cpu=1", "line 3, TimelimitRaw: \"soon\" is not a number");
    }

    #[test]
    fn what_sacct_leaves_out_is_no_fault() {
        let text = format!(
            "{HEAD}\n{GOOD}\n2|x|a|l|2024-05-01T12:00:00|0|60|CANCELLED|\n\
             3|x|a|l|2024-02-29T12:00:00|6|Partition_Limit|COMPLETED|cpu=1\n\
             4|x|a|l|2024-05-01T12:00:00|6|UNLIMITED|COMPLETED|cpu=1,gres/gpu=4096\n\
             5|x|a|l|2024-05-01T12:00:00|6||COMPLETED|gres/gpu:a100=1,mem=1G,energy=12\n"
        );
        let jobs = read(&text, BadRows::Refuse).unwrap().workload.jobs;
        assert_eq!(jobs.len(), 4);
        let limits: Vec<_> = jobs.iter().filter_map(|job| job.ask.when.time_limit).collect();
        assert_eq!(limits, [Micros::from_secs(3600)]);
        assert!(jobs.iter().all(|job| job.ask.check().is_ok()), "{jobs:?}");
    }

    #[test]
    fn rows_become_jobs() {
        let text = format!(
            "{HEAD}\n{GOOD}\n1.batch||||2024-05-01T12:00:00|600||COMPLETED|cpu=8\n\
             2|wait|ada|lab|2024-05-01T11:59:00|0|60|CANCELLED by 1000|\n\
             3|small|eve|lab|2024-05-01T11:58:00|30||FAILED|cpu=2,mem=512M,node=1\n\
             4|long|eve|lab|2024-05-01T12:05:00|7200|60|RUNNING|cpu=2,node=1\n"
        );
        let History { workload, begin, .. } = read(&text, BadRows::Refuse).unwrap();
        // 2024-05-01T11:58.
        assert_eq!(begin, Some(Timestamp(1_714_564_680_000_000)));
        assert_eq!(workload.jobs.len(), 3);
        assert_eq!(workload.jobs[2].ask.when.time_limit, None);
        let notes = workload.notes.join(";");
        assert!(notes.contains("1 job ran past the time limit"), "{notes}");
        assert!(notes.contains("1 job still ran"), "{notes}");
        let (small, train) = (&workload.jobs[0], &workload.jobs[1]);
        assert_eq!(train.arrives, Micros::from_secs(120));
        assert_eq!((train.ask.gang.min, train.ask.devices.count), (2, 2));
        assert_eq!(train.ask.host.memory, Some(Bytes(32 << 30)));
        assert_eq!(train.ask.when.time_limit, Some(Micros::from_secs(3600)));
        assert_eq!((small.ask.devices.count, small.ask.devices.whole), (0, false));
        assert!(small.ask.check().is_ok() && train.ask.check().is_ok());
        assert_eq!(small.outcome, Outcome::Failed { code: 1 });
    }

    #[test]
    fn times_are_understood() {
        assert_eq!(moment("1970-01-01T00:00:00"), Ok(0));
        assert_eq!(moment("2024-02-29T01:02:03"), Ok(1_709_168_523));
        assert_eq!(length("1-02:03:04"), Ok(93_784));
        assert_eq!(length("03:04.5"), Ok(184));
        assert_eq!(length("99:59:59"), Ok(359_999), "some print no days");
        for nonsense in ["99:99:99", "00:60:00", "00:00:60", "60:00", "1-24:00:00", "1-99:99:99"] {
            assert!(length(nonsense).is_err(), "{nonsense}");
        }
        assert_eq!(size("1.5G"), Ok(3 << 29));
        assert!(length("UNLIMITED").is_err() && size("G").is_err() && size("-1G").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\\n]{0,300}", unicode in ".{0,60}") {
            let _ = read(&text, BadRows::LeaveOut);
            let _ = read(&format!("{HEAD}\n{text}"), BadRows::LeaveOut);
            let _ = read(&format!("{HEAD}\n{unicode}|{unicode}"), BadRows::Refuse);
            let _ = (moment(&unicode), length(&unicode), size(&unicode));
        }
    }
}
