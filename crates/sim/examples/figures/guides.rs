//! Figure 4: the guides' own case. Twenty servers of eight cards, jobs drawn from openb.
//!
//! Jobs are openb's pods with cards of its last thirty days, drawn with replacement by a printed
//! seed; each comes when it was created, on a clock that runs so much faster that all of them come
//! within [`WINDOW`]. A pod that ran for longer than a day is cut at a day: else one of them would
//! decide the mean. Load 1.0 is what whole-card allocation can serve: the part of the cards that it
//! keeps taken while there is always a queue, measured first. A higher load has the same jobs, and
//! then more of them in the same time.
//!
//! A job really uses 0.37 of the compute it asks for, and holds that part of the memory (openb does
//! not say what memory its pods hold). Whole-card allocation serves them as they come. Polder
//! serves the same jobs with shares, which it sizes by what it has metered of such jobs (its own
//! prediction; at first it believes what is asked), under [`POLICY`]. Tasks on one card slow each
//! other down as `polder_sim::world::Interference` says. All of it is decided by the engine.

use polder_engine::predict::{Book, Traits};
use polder_model::{Ask, Bytes, LeaseEnd, Micros, MilliCpu, Outcome, Permille, Policy, Timestamp};
use polder_sim::figure::{Figure, Target};
use polder_sim::pool::{self, Pool};
use polder_sim::random::Random;
use polder_sim::report::Spread;
use polder_sim::traces;
use polder_sim::workload::{BadRows, WorkJob, Workload, ask_share, openb};
use polder_sim::world::{Advisor, Interference, Records, Setup, World};

/// Polder's layered policy: who came first, and beside those who were promised a start whoever fits.
const POLICY: &str = r#"
    [order]
    by = ["arrival"]
    [backfill]
    reserved = 8
    believe = "predicted"
"#;
/// All jobs come within this time.
const WINDOW: Micros = Micros::from_secs(2 * DAY);
const DAY: u64 = 86_400;
const CARDS: f64 = 160.0;
const CARD_MEMORY: u64 = 80 << 30;
/// What a job really uses of what it asks for, in thousandths.
const USES: u64 = 370;
const SEEDS: [u64; 3] = [1, 2, 3];
/// The load at which Polder is to wait no longer than whole cards do at 1.0.
const BOLD: f64 = 2.8;

/// What is varied.
#[derive(Clone, Copy)]
struct Case {
    /// In parts of what whole-card allocation can serve.
    load: f64,
    /// What that is, in parts of the cards.
    served: f64,
    seed: u64,
    sharing: Sharing,
    slowdown: f64,
    /// Thousandths of a job's use by which it may lie above or below the mean.
    spread: u64,
    /// Part of the memory asked for that a job really holds, in thousandths.
    memory: u64,
    /// Servers have no more CPUs and memory than openb's servers of eight cards, and jobs ask for
    /// what openb's pods asked for.
    hosts: bool,
}

/// How cards are given out.
#[derive(Clone, Copy, PartialEq)]
enum Sharing {
    /// Whole, first come, first served.
    Whole,
    /// In the shares that are asked for.
    Asked,
    /// In shares sized by what was metered.
    Sized,
}

/// What one run comes to.
#[derive(Clone, Copy, Default)]
struct Outcomes {
    /// Work of jobs over by the end of the window, in parts of what whole cards could serve.
    carried: f64,
    /// Part of the cards' time in the window during which programs kept them busy.
    busy: f64,
    /// Of a hundred jobs, ninety-five waited for at most so long, in seconds.
    wait_p95: f64,
    wait_mean: f64,
}

/// Sizes shares by what such jobs were metered to use of what they asked for.
#[derive(Default)]
struct Sizer {
    compute: Book,
    memory: Book,
}

/// Sizes are rounded up to whole steps, so that jobs stay alike.
const COMPUTE_STEP: u64 = 10;
const MEMORY_STEP: u64 = 256 << 20;
/// Of a hundred such jobs, so many used at most what is guaranteed; what a job uses beyond, it
/// borrows from those that use less.
const COMPUTE_QUANTILE: u32 = 500;
const MEMORY_QUANTILE: u32 = 990;

impl Advisor for Sizer {
    fn advise(&mut self, ask: &mut Ask) {
        let subject = Traits::of(ask).subject();
        let of = |book: &Book, thousandths| book.forecast(&subject, None).quantile(thousandths);
        let devices = &mut ask.devices;
        if let Some(part) = of(&self.compute, COMPUTE_QUANTILE) {
            let size = (u64::from(devices.compute.0) * part).div_ceil(1000);
            let size = size.next_multiple_of(COMPUTE_STEP).clamp(1, 1000);
            devices.compute = Permille(u32::try_from(size).unwrap_or(1000));
        }
        if let Some(part) = of(&self.memory, MEMORY_QUANTILE) {
            let size = devices.memory.0 / 1000 * part;
            devices.memory = Bytes(size.next_multiple_of(MEMORY_STEP).clamp(1, CARD_MEMORY));
        }
    }

    fn learn(&mut self, ask: &Ask, end: &LeaseEnd) {
        let Some(device) = end.sample.devices.first() else { return };
        if end.ran.0 == 0 || end.outcome != Outcome::Succeeded {
            return;
        }
        let subject = Traits::of(ask).subject();
        let busy = device.device_time.0.saturating_mul(1000) / end.ran.0;
        let part = busy * 1000 / u64::from(ask.devices.compute.0.max(1));
        self.compute.observe(&subject, part, false, None);
        let part = device.memory_peak.0 / (ask.devices.memory.0 / 1000).max(1);
        self.memory.observe(&subject, part, false, None);
    }
}

/// Jobs whose work on whole cards adds up to the load.
fn draw(pods: &[WorkJob], case: Case) -> Workload {
    let mut random = Random::stream(case.seed, "guides");
    let first = pods.iter().map(|pod| pod.arrives.0).min().unwrap_or(0);
    let last = pods.iter().map(|pod| pod.arrives.0).max().unwrap_or(0);
    let mut left = case.load * case.served * CARDS * seconds(WINDOW);
    let mut jobs = Vec::new();
    while left > 0.0 {
        let Some(pod) = pods.get(usize::try_from(random.below(count(pods.len()))).unwrap_or(0))
        else {
            break;
        };
        // Pods were created in whole seconds, many at once; a second more or less is added.
        let within = pod.arrives.0 - first + random.below(1_000_000);
        let arrives =
            u128::from(within) * u128::from(WINDOW.0) / u128::from(last - first + 1_000_000);
        let tilt = random.below(2 * case.spread + 1);
        let mut job = pod.clone();
        job.arrives = Micros(u64::try_from(arrives).unwrap_or(0));
        job.runs = job.runs.min(Micros::from_secs(DAY));
        job.outcome = Outcome::Succeeded;
        left -= work(&job);
        shape(&mut job, case, USES + tilt - case.spread);
        jobs.push(job);
    }
    let mut workload = Workload { name: "guides".into(), jobs, notes: vec![] };
    workload.sort();
    workload
}

/// What a job asks for and really uses in this case.
fn shape(job: &mut WorkJob, case: Case, uses: u64) {
    let ask = &mut job.ask;
    let milli = u64::from(ask.devices.compute.0);
    job.uses = Permille(u32::try_from((milli * uses / 1000).max(1)).unwrap_or(1000));
    let memory = milli * (CARD_MEMORY / 1000);
    job.memory_peak = Some(Bytes(memory / 1000 * case.memory));
    ask.devices.models.clear();
    if !case.hosts {
        (ask.host.cpu, ask.host.memory) = (None, None);
    }
    if case.sharing == Sharing::Whole {
        ask.devices.whole = true;
        (ask.devices.compute, ask.devices.memory) = (Permille::WHOLE, Bytes(0));
        job.memory_peak = None;
        return;
    }
    let shared =
        ask_share(ask.clone(), Permille(u32::try_from(milli).unwrap_or(1000)), Bytes(memory));
    *ask = shared;
    if case.sharing == Sharing::Asked {
        // A user knows what memory their job holds; only a card's whole memory is more.
        ask.devices.memory = Bytes(memory / 1000 * case.memory);
    }
}

fn pool(hosts: bool) -> Result<Pool, String> {
    let mut pool = pool::preset("guides").map_err(|error| error.to_string())?;
    if hosts {
        for (_, inventory) in &mut pool {
            inventory.node.cpu = MilliCpu(96_000);
            inventory.node.memory = Bytes(393_216 << 20);
        }
    }
    Ok(pool)
}

/// What whole-card allocation can serve: the part of the cards it keeps taken over the window while
/// twice as much work as could be done waits from the beginning.
fn served(pods: &[WorkJob], case: Case, seeds: &[u64]) -> Result<f64, String> {
    let mut sum = 0.0;
    for seed in seeds {
        let case = Case { load: 2.0, seed: *seed, ..case };
        let mut workload = draw(pods, case);
        workload.jobs.iter_mut().for_each(|job| job.arrives = Micros(0));
        let mut world = world(case)?;
        world.load(workload);
        let end = world.begin().after(WINDOW);
        world.run_until(end).map_err(|error| error.to_string())?;
        sum += world.records().series.mean().held / CARDS;
    }
    Ok(sum / seeds.len() as f64)
}

fn world(case: Case) -> Result<World, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let policy = match case.sharing {
        Sharing::Whole => Policy::default(),
        _ => toml::from_str(POLICY).map_err(|error| text(&error))?,
    };
    policy.check().map_err(|error| text(&error))?;
    let mut setup = Setup::new(pool(case.hosts)?, policy);
    (setup.seed, setup.check_every) = (case.seed, 1000);
    setup.interference = Interference { slowdown: case.slowdown };
    let mut world = World::new(setup).map_err(|error| text(&error))?;
    if case.sharing == Sharing::Sized {
        world.advise_by(Box::new(Sizer::default()));
    }
    Ok(world)
}

fn simulate(pods: &[WorkJob], case: Case) -> Result<Outcomes, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut world = world(case)?;
    world.load(draw(pods, case));
    let end = world.begin().after(WINDOW);
    world.run_until(end).map_err(|error| text(&error))?;
    let levels = world.records().series.mean();
    let records = world.finish(None).map_err(|error| text(&error))?;
    Ok(outcomes(&records, end, levels.busy / CARDS))
}

fn outcomes(records: &Records, end: Timestamp, busy: f64) -> Outcomes {
    let over = records.jobs.iter().filter(|job| job.ended.is_some_and(|ended| ended <= end));
    let carried: f64 = over.map(|job| job.width() * seconds(job.alone)).sum();
    let waits = records.jobs.iter().filter_map(|job| job.wait()).map(seconds).collect();
    let waits = Spread::of(waits);
    Outcomes {
        carried: carried / (CARDS * seconds(WINDOW)),
        busy,
        wait_p95: waits.p95,
        wait_mean: waits.mean,
    }
}

/// Means over seeds.
fn mean(pods: &[WorkJob], case: Case, seeds: &[u64]) -> Result<Outcomes, String> {
    let mut sum = Outcomes::default();
    for seed in seeds {
        let one = simulate(pods, Case { seed: *seed, ..case })?;
        sum.carried += one.carried;
        sum.busy += one.busy;
        sum.wait_p95 += one.wait_p95;
        sum.wait_mean += one.wait_mean;
        eprintln!(
            "  load {:.2}, seed {seed}: carried {:.3}, busy {:.3}, wait mean {:.0} s, p95 {:.0} s",
            case.load, one.carried, one.busy, one.wait_mean, one.wait_p95
        );
    }
    let number = seeds.len() as f64;
    Ok(Outcomes {
        carried: sum.carried / number,
        busy: sum.busy / number,
        wait_p95: sum.wait_p95 / number,
        wait_mean: sum.wait_mean / number,
    })
}

/// Card-seconds that a job takes when it has whole cards to itself.
fn work(job: &WorkJob) -> f64 {
    f64::from(job.ask.devices.count) * seconds(job.runs)
}

fn seconds(length: Micros) -> f64 {
    length.0 as f64 / 1e6
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Pods with cards that came in openb's last thirty days.
fn population() -> Result<Vec<WorkJob>, String> {
    let path = traces::file("openb/openb_pod_list_default.csv")?;
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let workload = openb::read(&text, BadRows::Refuse).map_err(|error| error.to_string())?;
    let last = workload.jobs.last().map_or(0, |pod| pod.arrives.0);
    let from = last.saturating_sub(30 * DAY * 1_000_000);
    let recent = |pod: &WorkJob| pod.ask.devices.count > 0 && pod.arrives.0 >= from;
    Ok(workload.jobs.into_iter().filter(recent).collect())
}

/// Pods to draw from, and the case of whole cards at load 1.0, calibrated.
fn calibrated(quick: bool) -> Result<(Vec<WorkJob>, Case), String> {
    let pods = population()?;
    let seeds = if quick { &SEEDS[..1] } else { &SEEDS[..] };
    eprintln!("guides: {} pods to draw from, seeds {seeds:?}", pods.len());
    let case = Case {
        load: 1.0,
        served: 1.0,
        seed: 0,
        sharing: Sharing::Whole,
        slowdown: Interference::default().slowdown,
        spread: 0,
        memory: USES,
        hosts: false,
    };
    let served = served(&pods, case, seeds)?;
    eprintln!("whole-card allocation keeps {served:.3} of the cards taken: load 1.0");
    Ok((pods, Case { served, ..case }))
}

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let seeds = if quick { &SEEDS[..1] } else { &SEEDS[..] };
    let (pods, case) = calibrated(quick)?;
    let sized = Case { sharing: Sharing::Sized, ..case };
    let can = "guides: whole cards can serve";
    let mut figures = vec![Figure::shown(can, case.served, "of the cards")];
    let mut reference = None;
    for load in [1.0, 1.5, 2.0] {
        let whole = mean(&pods, Case { load, ..case }, seeds)?;
        let polder = mean(&pods, Case { load, ..sized }, seeds)?;
        reference.get_or_insert(whole);
        for (what, unit, of) in MEASURES {
            let name = format!("guides, load {load:.1}: {what}");
            figures.push(Figure::shown(name, of(&polder), unit).against(of(&whole)));
        }
    }
    let reference = reference.unwrap_or_default();
    let polder = mean(&pods, Case { load: BOLD, ..sized }, seeds)?;
    for (what, unit, of) in MEASURES {
        let name = format!("guides, load {BOLD}: {what}");
        let figure = Figure::shown(name, of(&polder), unit).against(of(&reference));
        let judged = what == WAIT;
        figures.push(if judged {
            figure.target(Target::AtMost(reference.wait_p95))
        } else {
            figure
        });
    }
    Ok(figures)
}

/// What is assumed, varied one by one on the first seed, each against whole cards at load 1.0.
pub(crate) fn varied(quick: bool) -> Result<Vec<Figure>, String> {
    let seeds = &SEEDS[..1];
    let (pods, case) = calibrated(quick)?;
    let reference = mean(&pods, case, seeds)?;
    let bold = Case { load: BOLD, sharing: Sharing::Sized, ..case };
    let calm = Case { slowdown: 0.0, ..bold };
    let rough = Case { slowdown: 0.3, ..bold };
    let mut cases = vec![
        ("no slowdown by neighbours", calm),
        ("slowdown 0.2", Case { slowdown: 0.2, ..bold }),
        ("slowdown 0.3", rough),
        ("use of 0.22 to 0.52", Case { spread: 150, ..bold }),
    ];
    if !quick {
        cases.extend([
            ("slowdown 0.3", Case { load: 2.0, ..rough }),
            ("slowdown 0.3", Case { load: 1.5, ..rough }),
            ("slowdown 0.3", Case { load: 1.0, ..rough }),
            ("shares as asked", Case { sharing: Sharing::Asked, ..bold }),
            ("openb's CPUs and memory", Case { hosts: true, ..bold }),
            ("memory used as asked", Case { memory: 1000, ..bold }),
        ]);
    }
    let mut figures = Vec::new();
    for (what, varied) in cases {
        eprintln!("{what}:");
        let polder = mean(&pods, varied, seeds)?;
        for (measure, unit, of) in MEASURES {
            let name = format!("guides, load {:.1}: {measure}, {what}", varied.load);
            // Said at once: a run that is ended keeps what it had.
            eprintln!("  {name}: {:.3} {unit}, whole cards {:.3}", of(&polder), of(&reference));
            figures.push(Figure::shown(name, of(&polder), unit).against(of(&reference)));
        }
    }
    Ok(figures)
}

/// The largest load with a wait that is no worse than that of whole cards at 1.0, on the first seed.
pub(crate) fn most(quick: bool) -> Result<Vec<Figure>, String> {
    let seeds = &SEEDS[..1];
    let (pods, case) = calibrated(quick)?;
    let reference = mean(&pods, case, seeds)?;
    let sized = Case { sharing: Sharing::Sized, ..case };
    let bearable = bearable(&pods, sized, reference.wait_p95, seeds)?;
    let largest = "guides: largest load with a p95 wait no worse than whole cards at 1.0";
    Ok(vec![Figure::shown(largest, bearable, "x").against(1.0)])
}

/// A measure's name, its unit, and where it lies.
type Measure = (&'static str, &'static str, fn(&Outcomes) -> f64);
const WAIT: &str = "p95 wait";
const MEASURES: [Measure; 4] = [
    ("work carried", "x", |outcomes| outcomes.carried),
    ("real use", "of the cards", |outcomes| outcomes.busy),
    (WAIT, "s", |outcomes| outcomes.wait_p95),
    ("mean wait", "s", |outcomes| outcomes.wait_mean),
];

/// The largest load, in steps of 0.2 from [`BOLD`] down or up, at which the wait stays at most
/// `limit`; it is looked for up to 4.
fn bearable(pods: &[WorkJob], case: Case, limit: f64, seeds: &[u64]) -> Result<f64, String> {
    let borne = |fifths: u32| -> Result<bool, String> {
        let load = f64::from(fifths) / 5.0;
        Ok(mean(pods, Case { load, ..case }, seeds)?.wait_p95 <= limit)
    };
    let mut fifths = 14;
    if borne(fifths)? {
        while fifths < 20 && borne(fifths + 1)? {
            fifths += 1;
        }
    } else {
        while fifths > 5 && !borne(fifths - 1)? {
            fifths -= 1;
        }
        fifths -= 1;
    }
    Ok(f64::from(fifths) / 5.0)
}
