//! A replay under one policy, or two.

use super::Run;
use super::source::{stem, warn_of_partitions, within};
use super::table::{compared, show};
use super::yielding::without_effect;
use crate::commands::{Context, Done};
use crate::failure::Failure;
use crate::output::Progress;
use polder_model::{Micros, MilliCpu, Policy};
use polder_sim::pool::{HOST_CPUS, Pool};
use polder_sim::report::{self, About, Side, Summary};
use polder_sim::workload::journal::History;
use polder_sim::world::{Faults, Records, Setup, World};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Steps between two looks at how far the run has come.
const STEPS_SHOWN: u32 = 2048;

/// The folders of the two runs of a comparison.
const SIDES: [&str; 2] = ["a", "b"];

/// How often a user submits a job again that a fault ended.
const SUBMITS_AGAIN: u32 = 10;

/// A run and what it is called.
pub(super) struct Ran {
    pub(super) summary: Summary,
    records: Records,
}

impl Run {
    pub(super) async fn execute(self, context: &Context) -> Done {
        within("--price", self.price, 0.0, 1e6)?;
        self.may_write()?;
        let history = self.source.history().await?;
        let pool = self.source.pool(&history)?;
        let policies = self.policies(&history)?;
        warn_of_partitions(context, &pool, policies.iter().map(|(_, policy)| policy));
        self.check_out()?;
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

    fn policies(&self, history: &History) -> Result<Vec<(String, Policy)>, Failure> {
        let files = self.compare.as_deref().unwrap_or_default().iter().chain(&self.policy);
        let files: Vec<&PathBuf> = files.collect();
        if !files.is_empty() {
            let policies = names(&files).into_iter().zip(&files);
            return policies.map(|(name, path)| Ok((name, crate::policy::read(path)?))).collect();
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
        let mut notes = history.workload.notes.clone();
        notes.extend(without_effect(&policy, &history.workload.jobs));
        notes.extend(cpus_without_end(pool, history));
        let mut setup = Setup::new(pool.clone(), policy);
        setup.tenants.clone_from(&history.tenants);
        (setup.seed, setup.check_every) = (self.source.seed, self.check);
        setup.interference.slowdown = self.source.slowdown;
        setup.begin = history.begin.unwrap_or(setup.begin);
        if self.faults {
            (setup.faults, setup.submits_again) = (Faults::usual(), SUBMITS_AGAIN);
        }
        let weights = history.tenants.iter().map(|t| (t.path.clone(), t.share.weight)).collect();
        let mut world = World::new(setup).map_err(Failure::failed)?;
        world.load(history.workload.clone());
        let until = self.until.map(|until| world.begin().after(until));
        let mut progress = context.out.progress_on_terminal();
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
        world.cut_off(until);
        let records = world.into_records().map_err(Failure::failed)?;
        notes.extend(refusals(&records));
        let about = About {
            workload: self.source.name(),
            policy: name,
            seed: self.source.seed,
            nodes: u64::try_from(pool.len()).unwrap_or(u64::MAX),
            notes,
            price_hour: scaled(Micros(1_000_000), self.price).0,
            weights,
        };
        Ok(Ran { summary: Summary::new(about, &records), records })
    }

    /// Refuses a folder that holds what no run left, before anything is computed.
    fn may_write(&self) -> Result<(), Failure> {
        let Some(folder) = &self.out else { return Ok(()) };
        if self.compare.is_none() {
            return report::only_runs(folder).map_err(Failure::failed);
        }
        report::only_comparisons(folder).map_err(Failure::failed)?;
        SIDES
            .into_iter()
            .try_for_each(|side| report::only_runs(&folder.join(side)).map_err(Failure::failed))
    }

    /// Refuses a folder that could not be written into, before the run.
    fn check_out(&self) -> Result<(), Failure> {
        let Some(folder) = &self.out else { return Ok(()) };
        let folders = match &self.compare {
            Some(_) => SIDES.map(|side| folder.join(side)).to_vec(),
            None => vec![folder.clone()],
        };
        let check = |folder: &PathBuf| report::check_writable(folder).map_err(Failure::failed);
        folders.iter().try_for_each(check)
    }

    fn write(&self, context: &Context, runs: &[Ran]) -> Result<(), Failure> {
        let Some(folder) = &self.out else { return Ok(()) };
        for (letter, ran) in SIDES.iter().zip(runs) {
            let folder = if runs.len() > 1 { folder.join(letter) } else { folder.clone() };
            report::write(&folder, &ran.summary, &ran.records).map_err(Failure::failed)?;
            context.out.note(&format!("wrote {}", folder.join("report.html").display()));
        }
        if let [a, b] = runs {
            let sides = [a, b].map(|ran| Side { summary: &ran.summary, records: &ran.records });
            let rows = compared(&a.summary, &b.summary);
            report::write_compared(folder, sides, &rows).map_err(Failure::failed)?;
            context.out.note(&format!("wrote {}", folder.join("compare.html").display()));
        }
        Ok(())
    }
}

/// What the policies of some files are called: by the file's name, or by its path where two files
/// have one name, and by their place where even that is the same.
fn names(files: &[&PathBuf]) -> Vec<String> {
    let differ = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let stems: Vec<String> = files.iter().map(|path| stem(path)).collect();
    let paths: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    if differ(&stems) {
        return stems;
    }
    if differ(&paths) {
        return paths;
    }
    stems.iter().zip(["A", "B"]).map(|(stem, place)| format!("{stem} ({place})")).collect()
}

/// How many jobs the pool refused, and what was said most often; jobs.csv has every one.
fn refusals(records: &Records) -> Option<String> {
    let mut said: BTreeMap<&str, usize> = BTreeMap::new();
    let refused = records.jobs.iter().filter_map(|job| job.state.strip_prefix("refused: "));
    refused.for_each(|why| *said.entry(why).or_default() += 1);
    let all: usize = said.values().sum();
    let (why, most) = said.into_iter().max_by_key(|(_, jobs)| *jobs)?;
    let jobs = if all == 1 { "1 job was".to_owned() } else { format!("{all} jobs were") };
    let most = if most == all { String::new() } else { format!(" ({most} of them)") };
    Some(format!("{jobs} refused{most}: {why}"))
}

/// What is said where CPUs are counted in a pool that has more than anything asks for.
fn cpus_without_end(pool: &Pool, history: &History) -> Option<String> {
    let no_end = |cpu: MilliCpu| cpu.0 / 1000 >= HOST_CPUS;
    let without = history.workload.jobs.iter().all(|job| job.ask.devices.count == 0);
    let note = "no job asks for a device, so CPUs are counted, and a node of this pool has more than \
                anything asks for: give --nodes FILE with cpus";
    let any = pool.iter().any(|(_, inventory)| no_end(inventory.node.cpu));
    (without && any).then(|| note.to_owned())
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
pub(super) fn scaled(length: Micros, factor: f64) -> Micros {
    Micros((length.0 as f64 * factor).round() as u64)
}
