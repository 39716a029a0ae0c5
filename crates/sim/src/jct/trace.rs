//! Reads traces in the format of the Muri simulator: one row a job.
//!
//! Every row is checked before it counts: the model divides by what a row says, and one absurd row
//! would turn an average over thousands of jobs into nonsense without a word.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// A trace has at most so many jobs.
pub const JOBS_MAX: usize = 100_000;
/// Longest trace, in bytes: 64 MiB, several times what so many jobs take.
pub const BYTES_MAX: u64 = 64 << 20;
/// A job of a trace asks for at most so many devices.
pub const DEVICES_MAX: u32 = 64;
/// No job of a trace is submitted later or runs longer than this, in seconds: a century.
pub const SECONDS_MAX: f64 = 3.2e9;

/// What a policy may see of a job: what is known when it is submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The `job_id` of the row.
    pub id: u64,
    /// When it was submitted, in seconds.
    pub submitted: f64,
    /// How many devices its gang takes.
    pub devices: u32,
    /// The name of what it trains.
    pub model: String,
    /// Samples in one iteration.
    pub batch: u32,
    /// Seconds of one iteration alone on three kinds of resource, as a profiler reports them.
    pub stages: [f64; 3],
    /// Seconds of one iteration alone, as a profiler reports them.
    pub iteration: f64,
}

/// One job of a trace, with what only the future knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What a policy may see.
    pub seen: Seen,
    /// How many iterations it will run: with `iteration`, its duration.
    pub iterations: f64,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file or its header.
    #[error("{name}: {source}: a trace is a CSV file with the columns of the Muri simulator")]
    Csv {
        /// Which trace.
        name: String,
        /// What was wrong.
        source: csv::Error,
    },
    /// One row.
    #[error("{name}, line {line}: {fault}: correct or remove the row")]
    Row {
        /// Which trace.
        name: String,
        /// Counted from 1, the header included.
        line: u64,
        /// What was wrong.
        fault: RowFault,
    },
    /// The whole.
    #[error("{name}: {fault}")]
    Whole {
        /// Which trace.
        name: String,
        /// What was wrong.
        fault: WholeFault,
    },
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RowFault {
    /// A number outside what the model can hold.
    #[error("{column} is {value}, and must be {range}")]
    Range {
        /// Which column.
        column: &'static str,
        /// What it says.
        value: f64,
        /// What it may say.
        range: &'static str,
    },
    /// The same job twice.
    #[error("job {0} is there twice")]
    Twice(u64),
    /// Too few or too many columns.
    #[error("it has {has} columns where the heading has {expected}")]
    Columns {
        /// How many.
        has: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A value that is not what its column holds.
    #[error("{0}")]
    Unread(String),
    /// A column that the heading has is empty.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No model is named.
    #[error("job {0} names no model")]
    Nameless(u64),
}

/// What is wrong with a trace as a whole.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WholeFault {
    /// Nothing in it.
    #[error("has no jobs")]
    Empty,
    /// The heading lacks a column.
    #[error("its heading has no column {0}")]
    NoColumn(&'static str),
    /// Too long to be read.
    #[error("is longer than {} MiB: cut it into parts", BYTES_MAX >> 20)]
    TooManyBytes,
    /// Too much in it.
    #[error("has more than {JOBS_MAX} jobs: cut it into parts")]
    TooLong,
}

/// A row as it is written: times in milliseconds.
#[derive(Debug, Deserialize)]
struct Row {
    job_id: u64,
    num_gpu: u32,
    submit_time: f64,
    iterations: f64,
    model_name: String,
    batch_size: u32,
    /// What it says is known already: see [`Kept::contradicts`]. A log may do without.
    #[serde(default)]
    duration: Option<f64>,
    iteration_time: f64,
    resource_time_0: f64,
    resource_time_1: f64,
    resource_time_2: f64,
}

/// A column that a trace may have.
const DURATION: &str = "duration";

/// Columns that a trace must have.
const COLUMNS: [&str; 10] = [
    "job_id",
    "num_gpu",
    "submit_time",
    "iterations",
    "model_name",
    "batch_size",
    "iteration_time",
    "resource_time_0",
    "resource_time_1",
    "resource_time_2",
];

/// Reads a trace from a file.
///
/// # Errors
/// Names the file, the line and what is wrong with it.
pub fn read(path: &Path) -> Result<Vec<Job>, TraceError> {
    let name = path.display().to_string();
    match std::fs::File::open(path) {
        Ok(file) => parse(&name, std::io::BufReader::new(file)),
        Err(error) => Err(TraceError::Csv { name, source: error.into() }),
    }
}

/// Reads a trace; `name` is what errors call it. Jobs come by their time, whatever the order of rows.
///
/// # Errors
/// Names the trace, the line and what is wrong with it.
pub fn parse(name: &str, from: impl Read) -> Result<Vec<Job>, TraceError> {
    let (kept, bad) = sift(name, from)?;
    match bad.into_iter().next() {
        Some((line, fault)) => Err(TraceError::Row { name: name.into(), line, fault }),
        None if kept.is_empty() => {
            Err(TraceError::Whole { name: name.into(), fault: WholeFault::Empty })
        }
        None => Ok(kept.into_iter().map(|kept| kept.job).collect()),
    }
}

/// A row that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its line, from 1.
    pub line: u64,
    /// What it says.
    pub job: Job,
    /// Its `duration` is an iteration or more away from what `iterations` and `iteration_time` give,
    /// which are what counts.
    pub contradicts: bool,
}

/// Rows that make no sense: the line of each, from 1, and what is wrong with it.
pub type BadRows = Vec<(u64, RowFault)>;

/// Reads the rows that make sense, by the time of their jobs, and gives the others beside them.
///
/// # Errors
/// Names the trace, and what is wrong with it as a whole.
pub fn sift(name: &str, from: impl Read) -> Result<(Vec<Kept>, BadRows), TraceError> {
    let whole = |fault| TraceError::Whole { name: name.into(), fault };
    let broken = |source| TraceError::Csv { name: name.into(), source };
    let mut text = String::new();
    from.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| broken(error.into()))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > BYTES_MAX {
        return Err(whole(WholeFault::TooManyBytes));
    }
    // One line a row: the format has no quoted line breaks.
    let mut lines = (1u64..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty());
    let head = lines.next().map_or("", |(_, head)| head);
    let head: csv::StringRecord = head.split(',').map(str::trim).collect();
    if let Some(column) = COLUMNS.into_iter().find(|column| !head.iter().any(|c| c == *column)) {
        return Err(whole(WholeFault::NoColumn(column)));
    }
    let has_duration = head.iter().any(|column| column == DURATION);
    let (mut kept, mut bad): (Vec<Kept>, BadRows) = (Vec::new(), Vec::new());
    let mut ids = BTreeSet::new();
    for (line, text) in lines {
        let checked = row(&head, text).and_then(|row| {
            let duration = duration(&row, has_duration)?;
            let job = check(row)?;
            let twice = RowFault::Twice(job.seen.id);
            let contradicts = duration.is_some_and(|duration| contradicts(duration, &job));
            let kept = Kept { line, job, contradicts };
            if ids.insert(kept.job.seen.id) { Ok(kept) } else { Err(twice) }
        });
        match checked {
            Ok(row) => kept.push(row),
            Err(fault) => bad.push((line, fault)),
        }
        if kept.len() + bad.len() > JOBS_MAX {
            return Err(whole(WholeFault::TooLong));
        }
    }
    kept.sort_by(|a, b| a.job.seen.submitted.total_cmp(&b.job.seen.submitted));
    Ok((kept, bad))
}

/// One line as a row.
fn row(head: &csv::StringRecord, line: &str) -> Result<Row, RowFault> {
    let unread = |error: csv::Error| RowFault::Unread(error.to_string());
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record).map_err(unread)?;
    if record.len() != head.len() {
        return Err(RowFault::Columns { has: record.len(), expected: head.len() });
    }
    // Where it is in the file is said by who asks.
    record.set_position(None);
    record.deserialize(Some(head)).map_err(unread)
}

/// What a row says of how long its job ran, in seconds.
fn duration(row: &Row, has: bool) -> Result<Option<f64>, RowFault> {
    let holds = |value: f64| value >= 0.0 && value / 1000.0 <= SECONDS_MAX;
    match row.duration {
        None if has => Err(RowFault::Missing(DURATION)),
        Some(value) if !holds(value) => {
            let range = "from 0 to a century of milliseconds";
            Err(RowFault::Range { column: DURATION, value, range })
        }
        duration => Ok(duration.map(|milliseconds| milliseconds / 1000.0)),
    }
}

/// Whether a length, in seconds, is not that of whole iterations: logs are cut off to these.
fn contradicts(duration: f64, job: &Job) -> bool {
    (duration - job.iterations * job.seen.iteration).abs() >= job.seen.iteration
}

/// One row as a job, or what is wrong with it.
fn check(row: Row) -> Result<Job, RowFault> {
    let range = |column, value: f64, range, holds: bool| {
        // A number that is not one fails every comparison and so is refused.
        if holds { Ok(value) } else { Err(RowFault::Range { column, value, range }) }
    };
    let stage = |column, value: f64| {
        let holds = value >= 0.0 && value / 1000.0 <= SECONDS_MAX;
        range(column, value, "from 0 to a century of milliseconds", holds)
    };
    let devices = row.num_gpu;
    let holds = (1..=DEVICES_MAX).contains(&devices);
    range("num_gpu", f64::from(devices), "from 1 to 64", holds)?;
    let submitted = stage("submit_time", row.submit_time)? / 1000.0;
    let holds = row.iteration_time > 0.0 && row.iteration_time / 1000.0 <= SECONDS_MAX;
    let century = "more than 0 and no more than a century of milliseconds";
    let iteration = range("iteration_time", row.iteration_time, century, holds)? / 1000.0;
    let holds = row.iterations > 0.0 && row.iterations * iteration <= SECONDS_MAX;
    let century = "more than 0, and with iteration_time no more than a century";
    let iterations = range("iterations", row.iterations, century, holds)?;
    if row.model_name.trim().is_empty() {
        return Err(RowFault::Nameless(row.job_id));
    }
    let stages = [
        stage("resource_time_0", row.resource_time_0)? / 1000.0,
        stage("resource_time_1", row.resource_time_1)? / 1000.0,
        stage("resource_time_2", row.resource_time_2)? / 1000.0,
    ];
    let model = row.model_name;
    let seen = Seen {
        id: row.job_id,
        submitted,
        devices,
        model,
        batch: row.batch_size,
        stages,
        iteration,
    };
    Ok(Job { seen, iterations })
}
