//! `polder profile`: `polder run`, and then where the time went.
//!
//! The command runs as under `polder run`; Polder's driver writes down what it does in a folder that
//! its environment names, and this client reads that when it is over. What is printed goes to standard
//! error, for standard output is the command's own; with `--output json` the summary follows it there.

use super::run::{Ran, perform};
use super::{Context, Done, ask};
use crate::failure::Failure;
use crate::job::{Draft, JobFlags};
use crate::output::Table;
use clap::Args;
use polder_model::Bytes;
use polder_profile::record::{Log, PROFILE_VARIABLE, RECORD_SUFFIX};
use polder_profile::{Part, Run, Summary, Timeline, percent, report, summarise, time, trace};
use rustix::fs::{FlockOperation, OFlags, flock};
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Most processes whose records are read.
const PROCESSES_MAX: usize = 4096;
/// Most spans of all processes together, about half a gigabyte of memory.
const SPANS_MAX: usize = 4 << 20;
/// Rows of names that are printed.
const NAMES_SHOWN: usize = 12;
/// What a run leaves in its folder.
const LEFT: [&str; 3] = ["profile.json", "trace.json", "report.html"];
/// Where the processes write while they run.
const RECORDS: &str = "records";

const PROFILE_HELP: &str = "\
The command runs as under `polder run`, with the same flags, and needs no change: whatever it puts on a
shared device through OpenCL or CUDA is written down, in all its processes. When it is over, the
verdict and the tables are printed on standard error, and DIR holds report.html, trace.json (open it
in ui.perfetto.dev) and profile.json. What is recorded costs the program some microseconds a command;
a program that is not profiled pays nothing. docs/profile.md says what each figure means.

Exit codes: as of `polder run`.";

/// Flags of `polder profile`.
#[derive(Debug, Args)]
#[command(after_long_help = PROFILE_HELP)]
pub(crate) struct Profile {
    /// Where report.html, trace.json and profile.json go; those of an earlier run are replaced.
    #[arg(long, value_name = "DIR", default_value = "polder-profile")]
    out: PathBuf,
    #[command(flatten)]
    job: JobFlags,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Profile {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let words = ask::words(self.command)?;
        let mut draft = self.job.into_draft(words.clone(), None);
        can_be_profiled(&draft)?;
        draft.check()?;
        let mut made = None;
        let ran = perform(context, || {
            let folder = made.insert(Folder::make(&self.out)?);
            draft.environment.insert(PROFILE_VARIABLE.to_owned(), folder.variable()?);
            Ok(draft)
        });
        let ran = ran.await;
        let run = match (&ran, &made) {
            (Ok(ran), Some(folder)) => folder.read(context, words, ran),
            _ => None,
        };
        let (Some(folder), Some(run)) = (&made, run) else {
            // The command never began: an earlier profile stays.
            if let Some(Err(error)) = made.as_ref().map(Folder::forget_records) {
                context.out.warn(&format!("what was to hold its records stays: {error}"));
            }
            return ran.map(|ran| ran.code);
        };
        let code = ran?.code;
        let timeline = Timeline::of(&run);
        let summary = summarise(&run, &timeline);
        // A full disk takes neither the verdict nor the command's exit code away.
        say(context, &summary)?;
        match folder.write(context, &run, &timeline, &summary) {
            Err(failure) if code == 0 => return Err(failure),
            Err(failure) => context.out.warn(&failure.message),
            Ok(()) if context.out.json_wanted() => {}
            Ok(()) => {
                let shown = folder.shown.display();
                context.out.note(&format!(
                    "wrote {shown}/report.html, {shown}/trace.json (ui.perfetto.dev opens it)"
                ));
            }
        }
        Ok(code)
    }
}

/// Refuses what Polder's driver does not see.
fn can_be_profiled(draft: &Draft) -> Result<(), Failure> {
    let why = if draft.whole == Some(true) {
        "a whole device runs without Polder's driver, which is what records: ask for --compute 100% \
         instead of --whole"
    } else if draft.devices == Some(0) {
        "a job without a device has nothing to profile: leave out --devices 0"
    } else if draft.terms.is_beside_others() {
        "a spatial part runs without Polder's driver, which is what records: leave out --mechanism spatial"
    } else if draft.image.is_some() {
        "a program in a container cannot reach the folder of the records: leave out --image"
    } else {
        return Ok(());
    };
    Err(Failure::usage(why))
}

/// Where a profile goes.
#[derive(Debug)]
struct Folder {
    shown: PathBuf,
    path: PathBuf,
    /// Locked for as long as this profile is made.
    _lock: File,
}

impl Folder {
    /// Makes the folder, or takes that of an earlier profile, which goes when this one is written.
    fn make(shown: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("{}: {error}", shown.display()));
        std::fs::create_dir_all(shown).map_err(failed)?;
        let path = std::fs::canonicalize(shown).map_err(failed)?;
        let lock = File::open(&path).map_err(failed)?;
        let refuse = |why: &str| {
            let failure = Failure::usage(format!("{} {why}", shown.display()));
            failure.help("name a folder of its own with --out")
        };
        // Its owner could put something in the place of what is written there.
        if lock.metadata().map_err(failed)?.uid() != rustix::process::geteuid().as_raw() {
            return Err(refuse("belongs to another user"));
        }
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(refuse("is another profile's, whose command still runs"));
        }
        let entries = std::fs::read_dir(&path).map_err(failed)?;
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            if name != RECORDS && !LEFT.iter().any(|left| name == *left) {
                let why = format!("holds {}, which no profile left there", name.display());
                return Err(refuse(&why));
            }
        }
        let folder = Self { shown: shown.to_owned(), path, _lock: lock };
        folder.forget_records().map_err(failed)?;
        DirBuilder::new().mode(0o700).create(folder.records()).map_err(failed)?;
        Ok(folder)
    }

    fn records(&self) -> PathBuf {
        self.path.join(RECORDS)
    }

    fn forget_records(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(self.records()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What the processes are told.
    fn variable(&self) -> Result<String, Failure> {
        self.records().into_os_string().into_string().map_err(|path| {
            Failure::usage(format!("the folder {} is not UTF-8", path.display()))
                .help("name another with --out")
        })
    }

    /// What the processes wrote; none when the command never began.
    fn read(&self, context: &Context, command: Vec<String>, ran: &Ran) -> Option<Run> {
        let (began_ns, ended_ns) = ran.times?;
        let mut logs = Vec::new();
        let mut spans = 0;
        let entries = std::fs::read_dir(self.records()).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|suffix| suffix == RECORD_SUFFIX));
        paths.sort();
        for (at, path) in paths.iter().enumerate() {
            if at >= PROCESSES_MAX || spans >= SPANS_MAX {
                let left = paths.len() - at;
                context
                    .out
                    .warn(&format!("{left} more processes wrote records, which are not read"));
                break;
            }
            match open_record(path).map_err(Into::into).and_then(Log::read) {
                Ok(log) => {
                    spans += log.spans.len();
                    logs.push(log);
                }
                Err(error) => context.out.warn(&format!("{}: {error}", path.display())),
            }
        }
        let devices = &ran.ask.devices;
        let (compute, memory) = (devices.compute, devices.memory);
        Some(Run { command, compute, memory, began_ns, ended_ns, logs })
    }

    /// Writes what stays, and forgets the records.
    fn write(
        &self,
        context: &Context,
        run: &Run,
        timeline: &Timeline,
        summary: &Summary,
    ) -> Result<(), Failure> {
        let failed =
            |error: io::Error| Failure::failed(format!("{}: {error}", self.shown.display()));
        let json = serde_json::to_vec_pretty(summary).map_err(|error| failed(error.into()))?;
        for left in LEFT {
            match std::fs::remove_file(self.path.join(left)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        // What the command may have put there meanwhile is not followed.
        let anew =
            |name| OpenOptions::new().write(true).create_new(true).open(self.path.join(name));
        let put = |name, bytes: &[u8]| anew(name).and_then(|mut file| file.write_all(bytes));
        put("profile.json", &json).map_err(failed)?;
        put("report.html", report(summary, timeline).as_bytes()).map_err(failed)?;
        let file = anew("trace.json").map_err(failed)?;
        let left_out = trace(run, timeline, &mut BufWriter::new(file)).map_err(failed)?;
        if left_out > 0 {
            let why = format!("trace.json holds the first calls alone; {left_out} are not in it");
            context.out.warn(&why);
        }
        self.forget_records().map_err(failed)
    }
}

/// A file of records. The command may have put anything there: no link is followed, nothing waited for.
fn open_record(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

/// Prints the summary.
fn say(context: &Context, summary: &Summary) -> Done {
    let out = context.out;
    if out.json_wanted() {
        out.json(summary)?;
        return Ok(0);
    }
    let verdict = &summary.verdict;
    out.aside(&format!(
        "\n{} in all, {} between its first call and its last\n{}, {} of that: {}\n\n",
        time(summary.length_ns),
        time(summary.active_ns),
        verdict.text,
        percent(verdict.thousandths),
        verdict.detail
    ));
    out.aside_table(&parts(summary));
    if summary.commands > 0 {
        out.aside("\n");
        out.aside_table(&names(summary));
    }
    if !summary.moved.is_empty() {
        out.aside("\n");
        out.aside_table(&moved(summary));
    }
    let mut text = String::from("\n");
    if let Some(advice) = &summary.advice {
        text.push_str(&format!("a slice that would suit it: {}\n", advice.line));
        for why in &advice.why {
            text.push_str(&format!("  {why}\n"));
        }
        let at: Vec<String> = advice
            .at_shares
            .iter()
            .map(|at| {
                let times = f64::from(at.time_thousandths) / 1000.0;
                format!("{}% of a device: {times:.2} times as long", at.compute_thousandths / 10)
            })
            .collect();
        text.push_str(&format!("  {}\n", at.join(", ")));
    }
    for note in &summary.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    out.aside(&text);
    Ok(0)
}

fn parts(summary: &Summary) -> Table {
    let mut table = Table::new(&["WHERE THE TIME GOES", ">TIME", ">SHARE"], "it took no time");
    for part in Part::ALL {
        let ns = summary.parts.get(&part).copied().unwrap_or(0);
        if ns > 0 {
            let share = u128::from(ns) * 1000 / u128::from(summary.length_ns.max(1));
            let share = percent(u32::try_from(share).unwrap_or(1000));
            table.row([part.title().to_owned(), time(ns), share]);
        }
    }
    table
}

fn names(summary: &Summary) -> Table {
    let titles = ["KIND", ">CALLS", ">TIME", ">MEAN", ">LONGEST", ">BYTES", "NAME"];
    let mut table = Table::new(&titles, "nothing ran");
    for named in summary.names.iter().take(NAMES_SHOWN) {
        let bytes = if named.bytes > 0 { Bytes(named.bytes).to_string() } else { String::new() };
        table.row([
            named.kind.replace('_', "-"),
            named.count.to_string(),
            time(named.total_ns),
            time(named.total_ns / named.count.max(1)),
            time(named.longest_ns),
            bytes,
            named.name.clone(),
        ]);
    }
    table
}

fn moved(summary: &Summary) -> Table {
    let mut table =
        Table::new(&["MOVED", ">CALLS", ">BYTES", ">TIME", ">A SECOND"], "nothing moved");
    for (way, moved) in &summary.moved {
        let rate = moved.bytes_per_second.map(|rate| format!("{}/s", Bytes(rate)));
        table.row([
            way.replace('_', "-"),
            moved.count.to_string(),
            Bytes(moved.bytes).to_string(),
            time(moved.total_ns),
            rate.unwrap_or_default(),
        ]);
    }
    table
}
