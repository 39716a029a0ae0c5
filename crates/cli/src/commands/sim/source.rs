//! What is replayed, and on which pool.

use super::run::scaled;
use super::yielding::Yielding;
use crate::commands::Context;
use crate::failure::Failure;
use clap::Args;
use polder_model::{Bytes, Policy};
use polder_sim::pool::{self, Pool};
use polder_sim::workload::journal::{History, Reader};
use polder_sim::workload::{BadRows, any};
use polder_sim::world::Interference;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// How every SQLite file begins.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Longest pool file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Least `--stretch`: a day in a tenth of a second. At 0 all jobs would come at once.
const STRETCH_MIN: f64 = 0.000_001;
/// The journal in a state folder.
const JOURNAL: &str = "journal.db";

/// What is replayed, and on which pool.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// What to replay: an openb pod list, a Muri log, an SWF file (these may be gzipped), what
    /// `sacct --parsable2` printed, a daemon's state folder, which is only read, or a journal that
    /// `polder admin backup` wrote.
    #[arg(value_name = "TRACE", required = true)]
    trace: Option<PathBuf>,
    /// The pool: `guides`, `muri`, NODESxCARDS such as 4x8, or a TOML file of `[[node]]` tables
    /// (docs/simulate.md shows its keys); a journal brings its own.
    #[arg(long, value_name = "FILE|PRESET", allow_hyphen_values = true)]
    nodes: Option<String>,
    /// What chance is drawn from; the same seed gives the same bytes.
    #[arg(
        long, value_name = "N", default_value_t = 1, allow_hyphen_values = true,
        value_parser = whole
    )]
    pub(super) seed: u64,
    /// Time between arrivals in parts of what it was: 0.5 doubles the load.
    #[arg(long, value_name = "PARTS", default_value_t = 1.0, allow_hyphen_values = true)]
    stretch: f64,
    /// Only the first jobs.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = whole)]
    jobs: Option<u64>,
    /// Part of its time that a task loses for each whole device's worth of its neighbours' use.
    #[arg(
        long, value_name = "PARTS", default_value_t = Interference::default().slowdown,
        allow_hyphen_values = true
    )]
    pub(super) slowdown: f64,
    /// Leave bad rows out, and say how many, instead of refusing the trace.
    #[arg(long)]
    skip_bad: bool,
    #[command(flatten)]
    yielding: Yielding,
}

impl Source {
    /// What it is called.
    pub(super) fn name(&self) -> String {
        self.trace.as_deref().map(stem).unwrap_or_default()
    }

    /// The part of the history that is wanted, at the load that is wanted.
    pub(super) async fn history(&self) -> Result<History, Failure> {
        within("--stretch", self.stretch, STRETCH_MIN, 1e6)?;
        within("--slowdown", self.slowdown, 0.0, 100.0)?;
        if self.jobs == Some(0) {
            return Err(Failure::usage("--jobs is 0: give 1 or more, or leave it out for all"));
        }
        let path = self.trace.as_deref().ok_or_else(|| Failure::usage("which trace?"))?;
        let mut history = read(path, self.skip_bad, self.jobs).await?;
        if self.stretch.to_bits() != 1.0f64.to_bits() {
            let jobs = &mut history.workload.jobs;
            jobs.iter_mut().for_each(|job| job.arrives = scaled(job.arrives, self.stretch));
            history.waits.clear();
        }
        self.yielding.apply(&mut history.workload.jobs)?;
        Ok(history)
    }

    /// The pool it is replayed on.
    pub(super) fn pool(&self, history: &History) -> Result<Pool, Failure> {
        match &self.nodes {
            None if history.pool.is_empty() => Err(Failure::usage("which nodes?")
                .help("say --nodes guides, --nodes 4x8 or --nodes FILE")),
            None => Ok(history.pool.clone()),
            Some(text) if Path::new(text).is_file() => {
                let bytes = bytes_unless(None, Path::new(text), Bytes(FILE_BYTES_MAX))?;
                let file = String::from_utf8(bytes.unwrap_or_default())
                    .map_err(|_| Failure::usage(format!("--nodes: {text} is not text")))?;
                pool::parse(&file)
                    .map_err(|error| Failure::usage(format!("--nodes: {text}: {error}")))
            }
            Some(text) => {
                pool::preset(text).map_err(|error| Failure::usage(format!("--nodes: {error}")))
            }
        }
    }
}

/// Says which partitions the classes of some policies go to that no node of the pool is in.
pub(super) fn warn_of_partitions<'p>(
    context: &Context,
    pool: &Pool,
    policies: impl Iterator<Item = &'p Policy>,
) {
    let nodes = || pool.iter().map(|(_, inventory)| &inventory.node);
    let how =
        |partition: &str| format!(" in a file for --nodes, with partitions = [\"{partition}\"]");
    let missing =
        policies.flat_map(|policy| crate::policy::partitions_missing(policy, nodes(), how));
    let missing: BTreeSet<String> = missing.collect();
    missing.iter().for_each(|text| context.out.warn(text));
}

/// Refuses a number that is not between the least and the most.
pub(super) fn within(flag: &str, value: f64, min: f64, max: f64) -> Result<(), Failure> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    // Not in hundreds of digits.
    let short = value == 0.0 || (1e-9..1e15).contains(&value.abs()) || !value.is_finite();
    let value = if short { value.to_string() } else { format!("{value:e}") };
    Err(Failure::usage(format!("{flag} is {value}: give {min} to {max}")))
}

/// A whole number that is not negative.
pub(super) fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a whole number, 0 or more".to_owned())
}

/// Reads a trace, or a journal as it stands; nothing is changed. Of a trace of which only the first
/// jobs are wanted, what is wrong after them does not matter.
pub(crate) async fn read(
    path: &Path,
    skip_bad: bool,
    first: Option<u64>,
) -> Result<History, Failure> {
    let first = first.map_or(usize::MAX, |jobs| usize::try_from(jobs).unwrap_or(usize::MAX));
    let folder = path.is_dir();
    if folder && !path.join(JOURNAL).exists() {
        let message = format!("{} is a folder without a {JOURNAL}", path.display());
        return Err(Failure::failed(format!(
            "{message}: name a trace, or the state folder of a daemon"
        )));
    }
    let path = &if folder { path.join(JOURNAL) } else { path.to_owned() };
    let named =
        |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
    if !folder && let Some(bytes) = bytes_unless(Some(SQLITE), path, Bytes(any::TRACE_BYTES_MAX))? {
        let bad = if skip_bad { BadRows::LeaveOut } else { BadRows::Refuse };
        return any::read_first(&bytes, bad, first).map_err(|error| named(&error));
    }
    let (mut reader, mut wrong) = (Reader::default(), None);
    let read = polder_server::read_journal(path, |envelope| {
        if wrong.is_none()
            && let Err(error) = reader.take(&envelope)
        {
            wrong = Some(error);
        }
    });
    if !read.await.map_err(|error| named(&error))? {
        return Err(named(&"it holds no journal yet: start the daemon once"));
    }
    wrong.map_or(Ok(()), |error| Err(named(&error)))?;
    Ok(reader.finish(first))
}

/// What a file or a pipe holds, at most `max`; nothing where it begins with some bytes, of which no more
/// is read then. It is opened once: what was read of a pipe is gone.
fn bytes_unless(
    beginning: Option<&[u8]>,
    path: &Path,
    max: Bytes,
) -> Result<Option<Vec<u8>>, Failure> {
    let named = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let wrong = |what: &str| Err(Failure::failed(format!("{} {what}", path.display())));
    let about = std::fs::metadata(path).map_err(named)?;
    if !about.is_file() && !about.file_type().is_fifo() {
        return wrong("is no file and no pipe: name one of these");
    }
    let too_long = || wrong(&format!("is longer than {max}: cut it, and give a part"));
    if about.len() > max.0 && beginning.is_none() {
        return too_long();
    }
    let (mut file, mut bytes) = (std::fs::File::open(path).map_err(named)?, Vec::new());
    if let Some(beginning) = beginning {
        let length = u64::try_from(beginning.len()).unwrap_or(u64::MAX);
        file.by_ref().take(length).read_to_end(&mut bytes).map_err(named)?;
        if bytes == beginning {
            return Ok(None);
        }
    }
    if about.len() > max.0 {
        return too_long();
    }
    file.take(max.0.saturating_add(1)).read_to_end(&mut bytes).map_err(named)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max.0 {
        return too_long();
    }
    Ok(Some(bytes))
}

/// The name of a file without its ending.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn files_and_pipes_are_read_to_a_bound_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |path: &Path, max| match bytes_unless(Some(SQLITE), path, Bytes(max)) {
            Ok(bytes) => Ok(bytes),
            Err(failure) => Err(failure.message),
        };
        let file = folder.path().join("trace");
        std::fs::write(&file, [b'a'; 40]).expect("written");
        assert_eq!(said(&file, 40), Ok(Some(vec![b'a'; 40])));
        let error = said(&file, 39).expect_err("too long");
        assert!(error.contains("trace is longer than 39 B: cut it"), "{error}");
        std::fs::write(&file, [SQLITE, &[0; 99]].concat()).expect("written");
        assert_eq!(said(&file, 20), Ok(None), "a journal's length is bounded by its reader");
        for device in ["/dev/zero", "/dev/null"] {
            let error = said(Path::new(device), 20).expect_err("no file");
            assert!(error.contains(&format!("{device} is no file and no pipe")), "{error}");
        }
        // Files of the system that do not say how long they are.
        let error = said(Path::new("/proc/self/status"), 20).expect_err("too long");
        assert!(error.contains("is longer than 20 B"), "{error}");
        for (max, whole) in [(40, true), (39, false)] {
            let (reader, mut writer) = std::io::pipe().expect("a pipe");
            writer.write_all(&[b'p'; 40]).expect("written");
            drop(writer);
            let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
            assert_eq!(said(&path, max).ok(), whole.then(|| Some(vec![b'p'; 40])));
        }
    }
}
