//! Reads traces in the Standard Workload Format, plain or gzipped.
//!
//! A row that makes no sense is left out and named, with its line; the rest of the trace stands.

use flate2::read::GzDecoder;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most rows of one trace.
pub const ROWS_MAX: usize = 20_000_000;
/// Most refused rows that are kept by name; the others are only counted.
pub const REFUSED_MAX: usize = 1_000;
/// Longest time that is believed, in seconds: ten years.
pub const SECONDS_MAX: i64 = 10 * 366 * 86_400;
/// Most processors that are believed.
pub const PROCESSORS_MAX: i64 = 100_000_000;
/// Most memory of a processor that is believed, in KiB: 4 PiB.
const MEMORY_KIB_MAX: i64 = 1 << 42;
/// The last moment at which a trace is believed to begin, in seconds since 1970: the year 2100.
const START_MAX: i64 = 4_102_444_800;
/// The last of the ways in which a job ends: 0 to 4, and 5 that some archives use for cancelled.
const STATUS_MAX: i64 = 5;
/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// How much of a value of the header an error shows, in characters.
const VALUE_CHARS_SHOWN: usize = 32;
const DAY_SECONDS: u64 = 86_400;
/// Columns of a row.
pub const COLUMNS: usize = 18;

/// A job of a trace. Times are in seconds from the start of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwfJob {
    /// Which line of the trace it is, from 1.
    pub line: u64,
    /// Its number in the trace.
    pub id: i64,
    /// When it was submitted.
    pub submitted: u64,
    /// How long it waited then.
    pub waited: Option<u64>,
    /// How long it ran.
    pub run: u64,
    /// Processors it ran on, or asked for.
    pub processors: u32,
    /// The user's own estimate of its run time, after which it was ended.
    pub estimate: Option<u64>,
    /// Who.
    pub user: Option<u32>,
    /// What, as a number of its program or name.
    pub program: Option<u32>,
    /// Which queue.
    pub queue: Option<u32>,
}

/// A trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Processors of the machine, as the header says.
    pub processors: u32,
    /// Seconds since 1970 at the start of the trace, as the header says.
    pub unix_start: u64,
    /// How far the machine's clock was ahead of UTC, in seconds, as the header's start tells.
    pub zone_seconds: u64,
    /// Queues whose jobs may be ended to make room, as the header's words for them say.
    pub yielding: BTreeSet<u32>,
    /// Queues of people at a terminal, as they say.
    pub interactive: BTreeSet<u32>,
    /// By time of submission.
    pub jobs: Vec<SwfJob>,
    /// Rows left out, the first [`REFUSED_MAX`] by name.
    pub refused: Vec<(u64, RowError)>,
    /// The lines of all rows left out.
    pub refused_lines: Vec<u64>,
}

/// Why a row was left out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowError {
    /// Too few or too many columns.
    #[error("has {0} columns where {COLUMNS} are expected")]
    Columns(usize),
    /// Not a number.
    #[error("{column} is {text:?}, which is not a number")]
    NotANumber {
        /// Which column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// A part of one where only whole ones are.
    #[error("{column} is {text:?}: only whole ones can be")]
    NotWhole {
        /// Which column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// Nothing known (-1) where something must be.
    #[error("{column} is missing")]
    Missing {
        /// Which column.
        column: &'static str,
    },
    /// Below zero, and not the -1 that means missing.
    #[error("{column} is {value}: it cannot be negative")]
    Negative {
        /// Which column.
        column: &'static str,
        /// What stands there.
        value: i64,
    },
    /// Too large to be true.
    #[error("{column} is {value}: at most {most} is believed")]
    Absurd {
        /// Which column.
        column: &'static str,
        /// What stands there.
        value: i64,
        /// The most that is believed.
        most: i64,
    },
    /// A number that an earlier row has.
    #[error("job {id} stands here for the second time")]
    Duplicate {
        /// Which.
        id: i64,
    },
    /// More processors than the machine has.
    #[error("asks for {wanted} of {has} processors")]
    NeverFits {
        /// How many it asks for.
        wanted: u32,
        /// How many there are.
        has: u32,
    },
}

/// Why a trace was not read at all.
#[derive(Debug, Error)]
pub enum SwfError {
    /// The file could not be read.
    #[error("cannot read {path}: check that it is there and readable")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither the header nor an argument says how many processors there are.
    #[error("the trace has no `; MaxProcs:` line: add one that says how many processors there are")]
    NoProcessors,
    /// The header says it in a way that cannot be.
    #[error(
        "line {line}, MaxProcs: {value:?} is no number of processors: write one from 1 to \
         {PROCESSORS_MAX}"
    )]
    Processors {
        /// Where, from 1.
        line: u64,
        /// What stands there, its beginning.
        value: String,
    },
    /// The header says when the trace began in a way that cannot be.
    #[error(
        "line {line}, UnixStartTime: {value:?} is no time: write seconds since 1970, before the year \
         2100, or leave it out"
    )]
    Start {
        /// Where, from 1.
        line: u64,
        /// What stands there, its beginning.
        value: String,
    },
    /// More rows than are kept.
    #[error("more than {ROWS_MAX} rows: split the trace")]
    TooLong,
}

/// Reads a trace from a file; one that ends in `.gz` is unpacked.
///
/// # Errors
/// The file cannot be read, or its header does not say how large the machine is.
pub fn read_file(path: &Path) -> Result<Trace, SwfError> {
    let unreadable = |source| SwfError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let is_packed = path.extension().is_some_and(|extension| extension == "gz");
    let source: Box<dyn Read> =
        if is_packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    read(source).map_err(|error| match error {
        SwfError::Unreadable { source, .. } => unreadable(source),
        other => other,
    })
}

/// Reads a trace.
///
/// # Errors
/// See [`read_file`].
pub fn read(source: impl Read) -> Result<Trace, SwfError> {
    let mut source = BufReader::new(source);
    let mut trace = Trace::default();
    let (mut ids, mut line, mut wrong) = (BTreeSet::new(), Vec::new(), None);
    for number in 1u64.. {
        line.clear();
        let read = (&mut source).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let read = read.map_err(|source| SwfError::Unreadable { path: PathBuf::new(), source })?;
        if read == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if let Some(comment) = text.strip_prefix(';') {
            match trace.header(number, comment) {
                Err(error @ SwfError::Processors { .. }) => wrong = Some(error),
                read => read?,
            }
        } else if !text.is_empty() {
            if trace.jobs.len() + trace.refused_lines.len() >= ROWS_MAX {
                return Err(SwfError::TooLong);
            }
            match trace.row(number, text, &mut ids) {
                Ok(job) => trace.jobs.push(job),
                Err(error) => trace.refuse(number, error),
            }
        }
    }
    trace.jobs.sort_by_key(|job| job.submitted);
    match trace.processors {
        0 => Err(wrong.unwrap_or(SwfError::NoProcessors)),
        _ => Ok(trace),
    }
}

impl Trace {
    /// Its beginning: the jobs submitted in so many seconds.
    #[must_use]
    pub fn first(&self, seconds: u64) -> Self {
        let first = self.jobs.first().map_or(0, |job| job.submitted);
        let jobs = self.jobs.iter().take_while(|job| job.submitted - first < seconds);
        Self { jobs: jobs.cloned().collect(), ..self.clone() }
    }

    /// Takes what a line of the header says.
    fn header(&mut self, line: u64, comment: &str) -> Result<(), SwfError> {
        let beginning = |value: &str| value.chars().take(VALUE_CHARS_SHOWN).collect();
        let Some((name, value)) = comment.split_once(':') else { return Ok(()) };
        match name.trim() {
            "MaxProcs" => {
                let value = value.trim();
                let believed = |most: &u32| (1..=PROCESSORS_MAX).contains(&i64::from(*most));
                self.processors = value.parse().ok().filter(believed).unwrap_or(0);
                if self.processors == 0 {
                    return Err(SwfError::Processors { line, value: beginning(value) });
                }
            }
            "UnixStartTime" => {
                // As in the rows, -1 and nothing at all mean that it is not known.
                let value = value.trim();
                let start = if value.is_empty() { Some(-1) } else { value.parse::<i64>().ok() };
                let start = start.filter(|start| (-1..=START_MAX).contains(start));
                let wrong = || SwfError::Start { line, value: beginning(value) };
                self.unix_start = u64::try_from(start.ok_or_else(wrong)?).unwrap_or(0);
            }
            "Queue" => {
                let value = value.trim();
                let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
                let (number, words) = value.split_at(end);
                let Ok(queue) = number.parse() else { return Ok(()) };
                let words = words.to_lowercase();
                if yields(&words) {
                    self.yielding.insert(queue);
                }
                if words.contains("interactive") {
                    self.interactive.insert(queue);
                }
            }
            "StartTime" => {
                let start = value.split_ascii_whitespace().find_map(second_of_day);
                self.zone_seconds = start.map_or(0, |start| {
                    (start + DAY_SECONDS - self.unix_start % DAY_SECONDS) % DAY_SECONDS
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, error: RowError) {
        self.refused_lines.push(line);
        if self.refused.len() < REFUSED_MAX {
            self.refused.push((line, error));
        }
    }

    fn row(&self, line: u64, text: &str, ids: &mut BTreeSet<i64>) -> Result<SwfJob, RowError> {
        let columns: Vec<&str> = text.split_ascii_whitespace().collect();
        if columns.len() != COLUMNS {
            return Err(RowError::Columns(columns.len()));
        }
        let row = Row(columns);
        let id = row.known("job number", 0, i64::MAX)?;
        let submitted = row.seconds("submit time", 1)?.ok_or(missing("submit time"))?;
        row.number("status", 10, STATUS_MAX)?;
        // Said of each processor, and looked at only to tell nonsense.
        row.number("used memory", 6, MEMORY_KIB_MAX)?;
        row.number("requested memory", 9, MEMORY_KIB_MAX)?;
        let processors = match row.whole("processors", 4, PROCESSORS_MAX)? {
            Some(processors) => processors,
            None => {
                let column = "requested processors";
                row.whole(column, 7, PROCESSORS_MAX)?.ok_or(missing(column))?
            }
        };
        let job = SwfJob {
            line,
            id,
            submitted,
            waited: row.seconds("wait time", 2)?,
            run: row.seconds("run time", 3)?.ok_or(missing("run time"))?,
            processors: small(processors),
            estimate: row.seconds("requested time", 8)?,
            user: row.number("user", 11, u32::MAX.into())?.map(small),
            program: row.number("program", 13, u32::MAX.into())?.map(small),
            queue: row.number("queue", 14, u32::MAX.into())?.map(small),
        };
        if job.processors == 0 {
            return Err(missing("processors"));
        }
        if self.processors > 0 && job.processors > self.processors {
            let (wanted, has) = (job.processors, self.processors);
            return Err(RowError::NeverFits { wanted, has });
        }
        if ids.insert(id) { Ok(job) } else { Err(RowError::Duplicate { id }) }
    }
}

/// Whether what a header says of a queue means that its jobs yield.
fn yields(words: &str) -> bool {
    let effort = ["besteffort", "best effort", "best-effort"];
    let preempt = words.contains("preempt") && !words.contains("not preempt");
    preempt || effort.iter().any(|name| words.contains(name))
}

/// `10:57:59` as seconds since midnight.
fn second_of_day(text: &str) -> Option<u64> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let is_a_time = hours < 24 && minutes < 60 && seconds <= 60;
    is_a_time.then(|| hours * 3600 + minutes * 60 + seconds)
}

fn missing(column: &'static str) -> RowError {
    RowError::Missing { column }
}

/// A number that was checked to be small enough.
fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

struct Row<'t>(Vec<&'t str>);

impl Row<'_> {
    /// A whole number; -1 is none. Fractions are cut off.
    fn number(
        &self,
        column: &'static str,
        place: usize,
        most: i64,
    ) -> Result<Option<i64>, RowError> {
        let text = self.0.get(place).copied().unwrap_or_default();
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
        let value: i64 = whole
            .parse()
            .map_err(|_| RowError::NotANumber { column, text: text.chars().take(32).collect() })?;
        match value {
            -1 => Ok(None),
            ..0 => Err(RowError::Negative { column, value }),
            _ if value > most => Err(RowError::Absurd { column, value, most }),
            _ => Ok(Some(value)),
        }
    }

    /// The same, where a fraction makes no sense.
    fn whole(
        &self,
        column: &'static str,
        place: usize,
        most: i64,
    ) -> Result<Option<i64>, RowError> {
        let text = self.0.get(place).copied().unwrap_or_default();
        if text.split_once('.').is_some_and(|(_, part)| part.bytes().any(|digit| digit != b'0')) {
            return Err(RowError::NotWhole { column, text: text.chars().take(32).collect() });
        }
        self.number(column, place, most)
    }

    fn known(&self, column: &'static str, place: usize, most: i64) -> Result<i64, RowError> {
        self.number(column, place, most)?.ok_or(missing(column))
    }

    fn seconds(&self, column: &'static str, place: usize) -> Result<Option<u64>, RowError> {
        let seconds = self.whole(column, place, SECONDS_MAX)?;
        Ok(seconds.and_then(|seconds| u64::try_from(seconds).ok()))
    }
}
