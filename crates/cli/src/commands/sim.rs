//! `polder sim`: what would have happened, decided by the engine that the daemon runs.

use super::{Context, Done};
use crate::failure::Failure;
use crate::output::{Progress, Table};
use clap::Args;
use polder_model::{Micros, Policy};
use polder_sim::pool::{self, Pool};
use polder_sim::report::{self, About, Summary};
use polder_sim::workload::journal::{History, Reader};
use polder_sim::workload::{BadRows, any};
use polder_sim::world::{Faults, Interference, Records, Setup, World};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How every SQLite file begins.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Longest policy or pool file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Steps between two looks at how far the run has come.
const STEPS_SHOWN: u32 = 2048;

/// Flags of `polder sim`.
#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// What to replay: an openb pod list, a Muri log, an SWF file (these may be gzipped), what
    /// `sacct --parsable2` printed, or a journal that `polder admin backup` wrote.
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
    /// The pool: `guides`, `muri`, NODESxCARDS such as 4x8, or a TOML file of `[[node]]` tables; a
    /// journal brings its own.
    #[arg(long, value_name = "FILE|PRESET")]
    nodes: Option<String>,
    /// The policy, as TOML; a journal brings its own [default: the engine's].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Run under both policies and show the difference.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "policy")]
    compare: Option<Vec<PathBuf>>,
    /// What chance is drawn from; the same seed gives the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write jobs.csv, leases.csv, series.csv, summary.json and report.html into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Let nodes crash, devices get lost and contact break, as in a bad month.
    #[arg(long)]
    faults: bool,
    /// Time between arrivals in parts of what it was: 0.5 doubles the load.
    #[arg(long, value_name = "PARTS", default_value_t = 1.0)]
    stretch: f64,
    /// Only the first jobs.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// End the run after this much simulated time.
    #[arg(long, value_name = "TIME")]
    until: Option<Micros>,
    /// Part of its time that a task loses for each whole device's worth of its neighbours' use.
    #[arg(long, value_name = "PARTS", default_value_t = Interference::default().slowdown)]
    slowdown: f64,
    /// What one device costs an hour.
    #[arg(long, value_name = "PRICE", default_value_t = 1.0)]
    price: f64,
    /// Leave bad rows out, and say how many, instead of refusing the trace.
    #[arg(long)]
    skip_bad: bool,
    /// Recompute the engine's promises after every so many events; 0 for never.
    #[arg(long, value_name = "EVENTS", default_value_t = 1000)]
    check: u64,
}

/// A run and what it is called.
struct Ran {
    summary: Summary,
    records: Records,
}

/// Two runs, for programs.
#[derive(Serialize)]
struct Compared<'a> {
    a: &'a Summary,
    b: &'a Summary,
}

impl Sim {
    pub(super) async fn execute(self, context: &Context) -> Done {
        self.check_numbers()?;
        let mut history = self.history().await?;
        self.shape(&mut history);
        let pool = self.pool(&history)?;
        let policies = self.policies(&history)?;
        // The simulator computes and waits for nothing: other tasks go on beside it.
        let runs = tokio::task::block_in_place(|| {
            policies
                .into_iter()
                .map(|(name, policy)| self.run(context, &history, &pool, name, policy))
                .collect::<Result<Vec<Ran>, Failure>>()
        })?;
        self.write(context, &runs)?;
        show(context, &runs)
    }

    fn check_numbers(&self) -> Result<(), Failure> {
        for (flag, value, max) in [
            ("--stretch", self.stretch, 1e6),
            ("--slowdown", self.slowdown, 100.0),
            ("--price", self.price, 1e6),
        ] {
            if !(0.0..=max).contains(&value) {
                return Err(Failure::usage(format!("{flag} is {value}: give 0 to {max}")));
            }
        }
        Ok(())
    }

    async fn history(&self) -> Result<History, Failure> {
        let path = &self.trace;
        let named =
            |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
        let bytes = read(path, any::TRACE_BYTES_MAX)?;
        if !bytes.starts_with(SQLITE) {
            let bad = if self.skip_bad { BadRows::LeaveOut } else { BadRows::Refuse };
            return any::read(&bytes, bad).map_err(|error| named(&error));
        }
        let (mut reader, mut wrong) = (Reader::default(), None);
        let read = polder_server::read_journal(path, |envelope| {
            if let Err(error) = reader.take(&envelope) {
                wrong.get_or_insert(error);
            }
        });
        read.await.map_err(|error| named(&error))?;
        wrong.map_or(Ok(()), |error| Err(named(&error)))?;
        Ok(reader.finish())
    }

    /// The part of the workload that is wanted, at the load that is wanted.
    fn shape(&self, history: &mut History) {
        let jobs = &mut history.workload.jobs;
        jobs.truncate(self.jobs.unwrap_or(usize::MAX));
        if self.stretch.to_bits() != 1.0f64.to_bits() {
            jobs.iter_mut().for_each(|job| job.arrives = scaled(job.arrives, self.stretch));
        }
        if self.faults {
            // A job that a fault ends is tried again, as users do.
            jobs.iter_mut().for_each(|job| job.ask.yields.retries = job.ask.yields.retries.max(10));
        }
    }

    fn pool(&self, history: &History) -> Result<Pool, Failure> {
        match &self.nodes {
            None if history.pool.is_empty() => Err(Failure::usage("which nodes?")
                .help("say --nodes guides, --nodes 4x8 or --nodes FILE")),
            None => Ok(history.pool.clone()),
            Some(text) if Path::new(text).is_file() => {
                let text = text_of(Path::new(text))?;
                pool::parse(&text).map_err(|error| Failure::usage(format!("--nodes: {error}")))
            }
            Some(text) => {
                pool::preset(text).map_err(|error| Failure::usage(format!("--nodes: {error}")))
            }
        }
    }

    fn policies(&self, history: &History) -> Result<Vec<(String, Policy)>, Failure> {
        let files = self.compare.as_deref().unwrap_or_default().iter().chain(&self.policy);
        let read: Vec<_> = files.map(|path| policy(path)).collect::<Result<_, _>>()?;
        if !read.is_empty() {
            return Ok(read);
        }
        Ok(vec![match &history.policy {
            Some(policy) => ("the journal's policy".to_owned(), policy.clone()),
            None => ("the default policy".to_owned(), Policy::default()),
        }])
    }

    fn run(
        &self,
        context: &Context,
        history: &History,
        pool: &Pool,
        name: String,
        policy: Policy,
    ) -> Result<Ran, Failure> {
        let mut setup = Setup::new(pool.clone(), policy);
        setup.tenants.clone_from(&history.tenants);
        (setup.seed, setup.check_every) = (self.seed, self.check);
        setup.interference.slowdown = self.slowdown;
        if self.faults {
            setup.faults = Faults::usual();
        }
        let weights = history.tenants.iter().map(|t| (t.path.clone(), t.share.weight)).collect();
        let mut world = World::new(setup).map_err(Failure::failed)?;
        world.load(history.workload.clone());
        let until = self.until.map(|until| world.begin().after(until));
        let mut progress = context.out.progress();
        let mut steps = 0u32;
        while world.next().is_some_and(|at| until.is_none_or(|until| at <= until)) {
            if steps.is_multiple_of(STEPS_SHOWN) {
                shown(&mut progress, &name, &world);
            }
            steps = steps.wrapping_add(1);
            if world.is_done() || !world.step().map_err(Failure::failed)? {
                break;
            }
        }
        progress.clear();
        let records = world.into_records().map_err(Failure::failed)?;
        let about = About {
            workload: stem(&self.trace),
            policy: name,
            seed: self.seed,
            nodes: u64::try_from(pool.len()).unwrap_or(u64::MAX),
            notes: history.workload.notes.clone(),
            price_hour: scaled(Micros(1_000_000), self.price).0,
            weights,
        };
        Ok(Ran { summary: Summary::new(about, &records), records })
    }

    fn write(&self, context: &Context, runs: &[Ran]) -> Result<(), Failure> {
        let Some(folder) = &self.out else { return Ok(()) };
        for (letter, ran) in ["a", "b"].iter().zip(runs) {
            let folder = if runs.len() > 1 { folder.join(letter) } else { folder.clone() };
            report::write(&folder, &ran.summary, &ran.records).map_err(Failure::failed)?;
            context.out.note(&format!("wrote {}", folder.join("report.html").display()));
        }
        Ok(())
    }
}

fn shown(progress: &mut Progress, name: &str, world: &World) {
    let (over, all) = world.progress();
    let cells = (over * 24).checked_div(all).unwrap_or(0).min(24);
    let bar = format!("{}{}", "█".repeat(cells), "░".repeat(24 - cells));
    let time = world.now().since(world.begin());
    progress.set(&format!("{name} {bar} {over} of {all} jobs, {time}"));
}

/// A length times a factor; what is too long stays as long as can be.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and the factor is not negative"
)]
fn scaled(length: Micros, factor: f64) -> Micros {
    Micros((length.0 as f64 * factor).round() as u64)
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let named = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(named)?.len();
    if length > bytes_max {
        let message = format!("{} is {length} bytes: at most {bytes_max}", path.display());
        return Err(Failure::failed(message));
    }
    std::fs::read(path).map_err(named)
}

fn text_of(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path, FILE_BYTES_MAX)?)
        .map_err(|_| Failure::usage(format!("{} is not text", path.display())))
}

/// A policy and the name of its file.
fn policy(path: &Path) -> Result<(String, Policy), Failure> {
    let wrong = |error: String| Failure::usage(format!("{}: {error}", path.display()));
    let policy: Policy =
        toml::from_str(&text_of(path)?).map_err(|error| wrong(error.to_string()))?;
    policy.check().map_err(|error| wrong(error.to_string()))?;
    Ok((stem(path), policy))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn show(context: &Context, runs: &[Ran]) -> Done {
    let summaries: Vec<&Summary> = runs.iter().map(|ran| &ran.summary).collect();
    match summaries.as_slice() {
        [a, b] if context.out.json_wanted() => context.out.json(&Compared { a, b })?,
        [one, ..] if context.out.json_wanted() => context.out.json(one)?,
        [a, b] => context.out.table(&compared(a, b))?,
        [one, ..] => context.out.table(&table(one))?,
        [] => {}
    }
    for note in summaries.first().into_iter().flat_map(|summary| &summary.about.notes) {
        context.out.note(note);
    }
    Ok(0)
}

/// One line of the table: a name, a value, and how it is written.
type Row = (String, f64, Written);
/// How a value is written.
type Written = fn(f64) -> String;

fn rows(summary: &Summary) -> Vec<Row> {
    let percent: Written = |part| format!("{:.1}%", part * 100.0);
    let time: Written = |seconds| scaled(Micros(1_000_000), seconds.max(0.0)).to_string();
    let number: Written = |value| format!("{value:.0}");
    let hours: Written = |value| format!("{value:.1} h");
    let fine: Written = |value| format!("{value:.3}");
    let whole = |value: u64| value as f64;
    let row = |name: &str, value, written| (name.to_owned(), value, written);
    let mut rows = vec![row("jobs", whole(summary.jobs), number)];
    rows.extend(
        summary.states.iter().map(|(state, jobs)| (format!("  {state}"), whole(*jobs), number)),
    );
    let (wait, completion) = (summary.wait_seconds, summary.completion_seconds);
    rows.extend([
        row("span", summary.span_seconds, time),
        row("held", summary.held, percent),
        row("busy", summary.busy, percent),
        row("fragmentation", summary.fragmentation, percent),
        row("wait, mean", wait.mean, time),
        row("wait, p95", wait.p95, time),
        row("wait, p99", wait.p99, time),
        row("completion, mean", completion.mean, time),
        row("completion, p99", completion.p99, time),
        row("slowdown, mean", summary.slowdown_mean, fine),
        row("queue, mean", summary.queue_mean, fine),
        row("fairness (Jain)", summary.jain, fine),
        row("work carried", summary.carried_hours, hours),
        row("work lost", summary.lost_hours, hours),
        row("restarts", whole(summary.restarts), number),
        row("cost", whole(summary.cost) / 1e6, fine),
    ]);
    rows
}

fn table(summary: &Summary) -> Table {
    let mut table = Table::new(&["FIGURE", ">VALUE"], "nothing happened");
    for (name, value, written) in rows(summary) {
        table.row([name, written(value)]);
    }
    table
}

fn compared(a: &Summary, b: &Summary) -> Table {
    let mut table = Table::new(&["FIGURE", ">A", ">B", ">B TO A"], "nothing happened");
    table.row(["policy".into(), a.about.policy.clone(), b.about.policy.clone(), String::new()]);
    let (of_a, of_b) = (rows(a), rows(b));
    let find = |rows: &[Row], name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1);
    let mut names: Vec<(&String, Written)> = of_a.iter().map(|row| (&row.0, row.2)).collect();
    // A state that only one run has stands with the others.
    for row in &of_b {
        if find(&of_a, &row.0).is_none() {
            names.insert(1, (&row.0, row.2));
        }
    }
    for (name, written) in names {
        let (a, b) = (find(&of_a, name).unwrap_or(0.0), find(&of_b, name).unwrap_or(0.0));
        let change = match b / a {
            ratio if ratio.is_finite() => format!("{:+.1}%", (ratio - 1.0) * 100.0),
            _ => String::new(),
        };
        table.row([name.clone(), written(a), written(b), change]);
    }
    table
}
