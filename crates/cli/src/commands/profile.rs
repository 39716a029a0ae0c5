//! `polder profile`: `polder run`, and then where the time went.
//!
//! The command runs as under `polder run`; Polder's driver writes down what it does in a folder that
//! its environment names, and this client reads that when it is over. What is printed goes to standard
//! error, for standard output is the command's own; with `--output json` the summary follows it there.

use super::run::perform;
use super::{Context, Done, ask};
use crate::failure::Failure;
use crate::job::JobFlags;
use crate::output::{Output, Table};
use crate::terminal::{ends, stop_self};
use clap::Args;
use polder_model::{Ask, Bytes, Mechanism};
use polder_profile::record::{
    Budget, Log, LogError, PROFILE_VARIABLE, RECORD_BYTES, RECORD_SUFFIX,
};
use polder_profile::{
    Part, Picture, Run, Summary, Timeline, percent, report, summarise, time, trace,
};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most processes whose records are read: those that wrote most.
const PROCESSES_MAX: usize = 4096;
/// Most files of records that are looked at.
const FILES_MAX: usize = 1 << 16;
/// Most files of which it is said why they are not read; more are counted.
const COMPLAINTS_MAX: usize = 5;
/// Rows of names that are printed.
const NAMES_SHOWN: usize = 12;
/// What a run leaves in its folder.
const LEFT: [&str; 3] = ["profile.json", "trace.json", "report.html"];
/// What the names of these end with until all of them are whole.
const PART: &str = ".part";
/// Where the processes write while they run.
const RECORDS: &str = "records";
/// Flags of a profile that are not said again where its program is run with the slice that suits it; each
/// has a value.
const NOT_AGAIN: [&str; 5] = ["--out", "--output", "--compute", "--compute-max", "--memory"];

const PROFILE_HELP: &str = "\
The command runs as under `polder run`, with the same flags, and needs no change: whatever it puts on a
shared device through OpenCL or CUDA is written down, in all its processes. When it is over, the
verdict and the tables are printed on standard error, and DIR holds report.html, trace.json (open it
in ui.perfetto.dev) and profile.json. What is recorded costs the program some microseconds a command;
a program that is not profiled pays nothing. docs/profile.md says what each figure means.

Exit codes: as of `polder run`; 128+N when signal N interrupted what follows the command.";

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
        let command = ask::words(self.command)?;
        let mut draft = self.job.into_draft(command.clone(), None);
        can_be_profiled(&draft.check()?)?;
        let mut made = None;
        let ran = perform(context, || {
            let folder = made.insert(Folder::make(&self.out)?);
            draft.environment.insert(PROFILE_VARIABLE.to_owned(), folder.variable()?);
            Ok(draft)
        });
        let ran = ran.await;
        let (mut ran, folder) = match (ran, made) {
            (Ok(ran), Some(folder)) if ran.times.is_some() => (ran, Arc::new(folder)),
            // The command never began: an earlier profile stays.
            (ran, folder) => {
                folder.inspect(|folder| folder.forget(context.out));
                return ran.map(|ran| ran.code);
            }
        };
        let devices = &ran.ask.devices;
        let (began_ns, ended_ns) = ran.times.unwrap_or_default();
        let run = Run {
            command,
            compute: devices.compute,
            memory: devices.memory,
            began_ns,
            ended_ns,
            logs: Vec::new(),
            unread: 0,
            words: words_again(std::env::args()),
        };
        let (making, out, code) = (Arc::clone(&folder), context.out, ran.code);
        let mut making = tokio::task::spawn_blocking(move || making.fill(out, run, code));
        let signal = loop {
            tokio::select! {
                done = &mut making => {
                    return done.map_err(|error| Failure::failed(format!("the profile: {error}")))?;
                }
                signal = ran.signals.next() => {
                    if ends(signal) {
                        break signal;
                    } else if signal == Signal::TSTP.as_raw() {
                        stop_self();
                    }
                }
            }
        };
        if !folder.settle() {
            // All of it is there and is being put in its place: that is over in a moment.
            return making
                .await
                .map_err(|error| Failure::failed(format!("the profile: {error}")))?;
        }
        // What is being made ends with this process.
        context
            .out
            .warn("the profile was interrupted: it is not written, and its records are gone");
        folder.forget(context.out);
        Ok(128 + signal)
    }
}

/// Refuses what Polder's driver does not see.
fn can_be_profiled(ask: &Ask) -> Result<(), Failure> {
    let why = match ask.devices.mechanism() {
        _ if ask.devices.count == 0 => {
            "a job without a device has nothing to profile: leave out --devices 0"
        }
        Mechanism::Whole => {
            "a whole device runs without Polder's driver, which is what records: ask for --compute 100% \
             instead of --whole or --mechanism whole"
        }
        Mechanism::Spatial => {
            "a spatial part runs without Polder's driver, which is what records: leave out --mechanism \
             spatial"
        }
        Mechanism::Mig => {
            "an instance cut by the hardware runs without Polder's driver, which is what records: leave \
             out --mechanism mig and --isolation"
        }
        _ if ask.work.image.is_some() => {
            "a program in a container cannot reach the folder of the records: leave out --image"
        }
        _ => return Ok(()),
    };
    Err(Failure::usage(why))
}

/// The words of a command line that ran a profile, as those of `polder run` with everything that was asked
/// for but the slice.
fn words_again(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut again = vec!["polder".to_owned()];
    let mut words = words.skip(1).take_while(|word| word != "--");
    let mut verb = false;
    while let Some(word) = words.next() {
        let (flag, value) = word.split_once('=').map_or((&*word, false), |(flag, _)| (flag, true));
        if NOT_AGAIN.contains(&flag) {
            if !value {
                words.next();
            }
        } else if !verb && ["--state", "--server"].contains(&&*word) {
            again.push(word);
            again.extend(words.next());
        } else if !verb && word == "profile" {
            verb = true;
            again.push("run".to_owned());
        } else {
            again.push(word);
        }
    }
    again
}

/// Where a profile goes.
#[derive(Debug)]
struct Folder {
    shown: PathBuf,
    path: PathBuf,
    /// Locked for as long as this profile is made.
    _lock: File,
    /// Whether it is decided if this profile takes the place of an earlier one.
    settled: AtomicBool,
}

impl Folder {
    /// Makes the folder, or takes that of an earlier profile, which goes when this one is written.
    fn make(shown: &Path) -> Result<Self, Failure> {
        if shown.is_relative() {
            // Its own words, where the directory has been removed.
            super::ask::here(None, polder_model::Stdio::Client)?;
        }
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
            let known = name.to_str().map(|name| name.strip_suffix(PART).unwrap_or(name));
            if name != RECORDS && !known.is_some_and(|known| LEFT.contains(&known)) {
                let why = format!("holds {}, which no profile left there", name.display());
                return Err(refuse(&why));
            }
        }
        let folder =
            Self { shown: shown.to_owned(), path, _lock: lock, settled: AtomicBool::new(false) };
        folder.forget_records().and_then(|()| folder.forget_parts()).map_err(failed)?;
        DirBuilder::new().mode(0o700).create(folder.records()).map_err(failed)?;
        Ok(folder)
    }

    /// Decides what becomes of this profile: it takes its place, or it is given up. Whether that was left
    /// to decide; once it is, the other does not happen.
    fn settle(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
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

    fn forget_parts(&self) -> io::Result<()> {
        LEFT.iter().try_for_each(|left| match std::fs::remove_file(self.part(left)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }

    fn part(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{PART}"))
    }

    /// Takes away what is of no more use; what is there of an earlier profile stays.
    fn forget(&self, out: Output) {
        if let Err(error) = self.forget_records().and_then(|()| self.forget_parts()) {
            out.warn(&format!(
                "{}: what was to hold its records stays: {error}",
                self.shown.display()
            ));
        }
    }

    /// What the processes are told.
    fn variable(&self) -> Result<String, Failure> {
        self.records().into_os_string().into_string().map_err(|path| {
            Failure::usage(format!("the folder {} is not UTF-8", path.display()))
                .help("name another with --out")
        })
    }

    /// Makes the profile of a run whose command is over, with its exit code: prints it and writes it.
    fn fill(&self, out: Output, mut run: Run, code: i32) -> Done {
        self.read(out, &mut run);
        let timeline = Timeline::of(&run);
        let (summary, picture) = summarise(&run, &timeline);
        // A full disk takes neither the verdict nor the command's exit code away.
        say(out, &summary)?;
        match self.write((&run, &timeline), (&summary, &picture)) {
            Err(failure) if code == 0 => return Err(failure),
            Err(failure) => out.warn(&failure.message),
            Ok(left_out) => {
                if left_out > 0 {
                    out.warn(&format!(
                        "trace.json holds the first calls alone; {left_out} are not in it"
                    ));
                }
                if !out.json_wanted() {
                    let shown = self.shown.display();
                    out.note(&format!(
                        "wrote {shown}/report.html, {shown}/trace.json (ui.perfetto.dev opens it)"
                    ));
                }
            }
        }
        Ok(code)
    }

    /// Reads what the processes wrote, within what is read of a run.
    fn read(&self, out: Output, run: &mut Run) {
        let mut files = Vec::new();
        let entries = std::fs::read_dir(self.records()).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        for path in paths.filter(|path| path.extension().is_some_and(|it| it == RECORD_SUFFIX)) {
            if files.len() >= FILES_MAX {
                run.unread += 1;
                continue;
            }
            let length = std::fs::symlink_metadata(&path).map_or(0, |about| about.len());
            files.push((length / RECORD_BYTES as u64, path));
        }
        files.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.cmp(b)));
        run.unread += files.len().saturating_sub(PROCESSES_MAX) as u64;
        files.truncate(PROCESSES_MAX);
        // The same records make the same profile.
        files.sort_by(|(_, one), (_, other)| one.cmp(other));
        // The header is no record.
        let mut budget =
            Budget::of(files.iter().map(|(records, _)| records.saturating_sub(1)).collect());
        let mut complaints = 0;
        for (_, path) in &files {
            let file = open_record(path).map_err(LogError::from);
            match file.and_then(|file| Log::read(file, &mut budget)) {
                Ok(log) => run.logs.push(log),
                Err(error) => {
                    run.unread += 1;
                    complaints += 1;
                    if complaints <= COMPLAINTS_MAX {
                        out.warn(&format!("{}: {error}", path.display()));
                    }
                }
            }
        }
    }

    /// Writes what stays, and forgets the records. An earlier profile is replaced once all of this one is
    /// there. Returns how many calls are not in the trace.
    fn write(
        &self,
        (run, timeline): (&Run, &Timeline),
        (summary, picture): (&Summary, &Picture),
    ) -> Result<usize, Failure> {
        let failed =
            |error: io::Error| Failure::failed(format!("{}: {error}", self.shown.display()));
        let json = serde_json::to_vec_pretty(summary).map_err(|error| failed(error.into()))?;
        self.forget_parts().map_err(failed)?;
        // What the command may have put there meanwhile is not followed.
        let anew = |name| OpenOptions::new().write(true).create_new(true).open(self.part(name));
        let put = |name, bytes: &[u8]| anew(name).and_then(|mut file| file.write_all(bytes));
        put("profile.json", &json).map_err(failed)?;
        put("report.html", report(summary, picture).as_bytes()).map_err(failed)?;
        let file = anew("trace.json").map_err(failed)?;
        let left_out = trace(run, timeline, &mut BufWriter::new(file)).map_err(failed)?;
        if !self.settle() {
            return Err(Failure::failed("the profile was interrupted"));
        }
        for left in LEFT {
            std::fs::rename(self.part(left), self.path.join(left)).map_err(failed)?;
        }
        self.forget_records().map_err(failed)?;
        Ok(left_out)
    }
}

/// A file of records. The command may have put anything there: no link is followed, nothing waited for.
fn open_record(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

/// Prints the summary.
fn say(out: Output, summary: &Summary) -> Done {
    if out.json_wanted() {
        out.json(summary)?;
        return Ok(0);
    }
    let verdict = &summary.verdict;
    out.aside(&format!(
        "\n{} in all, {} between its first call and its last\n{}: {}\n\n",
        time(summary.length_ns),
        time(summary.active_ns),
        verdict.line("of that"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_said_again_without_its_slice() {
        let check = |line: &str, expect: &str| {
            let words = words_again(line.split(' ').map(str::to_owned)).join(" ");
            assert_eq!(words, expect);
        };
        check("polder profile -- true", "polder run");
        check("/usr/bin/polder --state profile profile --out x", "polder --state profile run");
        check(
            "polder -q --state /s profile --devices 2 --memory 1GiB --tenant a --output json -- x --tenant b",
            "polder -q --state /s run --devices 2 --tenant a",
        );
        check(
            "p profile --compute=20% --compute-max 50% --name profile",
            "polder run --name profile",
        );
    }
}
