//! How fast decisions are made: the kernel of free space alone, and the whole engine from submitted
//! jobs to applied grants. One thread. Times are those the thread had a processor, so that what
//! else the machine does shows as little as can be; beside them stand instructions, as valgrind
//! counts them on smaller cases.
//!
//! The pool and its jobs are made up, in proportions like those of the public list of pods: four
//! in ten ask for a share, half for one card, some for several, some for none.

use crate::{backfill, openb};
use polder_engine::fleet::{Bits, Demand, DeviceSpec, Fleet, NodeIx, NodeSpec, Rule};
use polder_engine::{Engine, Policy, Refusal};
use polder_model::{
    Ask, Bytes, Decision, Event, Inventory, LeaseEnd, LeaseId, LeaseSample, Micros, MilliCpu,
    NodeId, Outcome, Permille, Quota, Tenant, TenantPath, Timestamp, UserName,
};
use polder_sim::figure::{Figure, Target};
use polder_sim::random::Random;
use polder_sim::{pool, workload};
use std::process::Command;
use std::time::Duration;

/// What decides the draw of kinds, nodes and jobs.
const SEED: u64 = 42;
/// Kinds of ask in use at once; the public list has 151.
const KINDS: u64 = 150;
/// Teams that submit.
const TEAMS: u64 = 20;
const GIB: u64 = 1 << 30;
const NODE_CPUS: u32 = 128;

/// Measures, and gives the figures.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let words: Vec<String> = std::env::args().collect();
    if let Some(place) = words.iter().position(|word| word == "--case") {
        let word = |ahead: usize| words.get(place + ahead).map_or("", String::as_str);
        return case(word(1), number(word(2))?, number(word(3))?).map(|()| Vec::new());
    }
    let mut figures = Vec::new();
    figures.extend(million(quick)?);
    figures.extend(small_jobs(quick)?);
    figures.extend(growth(quick)?);
    figures.extend(openb::run(quick)?);
    figures.extend(backfill::run(quick)?);
    figures.extend(instructions(quick)?);
    Ok(figures)
}

pub(crate) fn number(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

/// Runs one case without measuring it, for a profiler to look at.
fn case(name: &str, nodes: u32, jobs: u32) -> Result<(), String> {
    match name {
        "kernel" => {
            let mut kernel = Kernel::new(nodes);
            kernel.place_each();
            kernel.place(jobs);
        }
        "engine" => {
            let mut world = World::new(nodes, 8)?;
            world.submit_each()?;
            world.settle(None)?;
            world.submit_mix(jobs)?;
            world.settle(None)?;
        }
        "backfill" => {
            let mut world = backfill::full(nodes)?;
            for lease in world
                .leases
                .iter()
                .copied()
                .take(usize::try_from(jobs).unwrap_or(0))
                .collect::<Vec<_>>()
            {
                world.end(lease)?;
                world.settle(None)?;
            }
        }
        "cpu" => {
            let mut world = World::new(nodes, 0)?;
            world.submit_cpu(jobs)?;
            world.settle(None)?;
        }
        _ => return Err(format!("no case {name:?}")),
    }
    Ok(())
}

/// What one kind of job asks for.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    devices: u32,
    whole: bool,
    compute: u32,
    memory_gib: u64,
    cpu_milli: u32,
    host_gib: u64,
}

pub(crate) fn kinds() -> Vec<Kind> {
    let mut random = Random::stream(SEED, "kinds");
    let mut draw = |below: u64| u32::try_from(random.below(below)).unwrap_or(0);
    let kind = |_| {
        let devices = match draw(100) {
            0..4 => 0,
            4..94 => 1,
            94..96 => 2,
            96..98 => 4,
            _ => 8,
        };
        let whole = devices > 1 || draw(100) < 55;
        let (compute, memory_gib) = (100 + 10 * draw(80), u64::from(1 + draw(40)));
        let cpu_milli = 1000 * devices.max(1) * (1 + draw(12));
        let host_gib = u64::from(devices.max(1) * (1 + draw(24)));
        Kind { devices, whole, compute, memory_gib, cpu_milli, host_gib }
    };
    (0..KINDS).map(kind).collect()
}

/// The number of the next job's kind: few kinds are asked for often, as in life.
pub(crate) fn next_kind(random: &mut Random) -> usize {
    let (one, other) = (random.below(KINDS), random.below(KINDS));
    usize::try_from(one.min(other)).unwrap_or(0)
}

impl Kind {
    pub(crate) fn ask(self, tenant: TenantPath, user: UserName) -> Ask {
        let mut ask = workload::ask_whole(tenant, user, self.devices);
        if self.devices == 0 {
            ask = workload::ask_share(ask, Permille(0), Bytes(0));
        } else if !self.whole {
            ask = workload::ask_share(ask, Permille(self.compute), Bytes(self.memory_gib * GIB));
        }
        ask.host.cpu = Some(MilliCpu(self.cpu_milli));
        ask.host.memory = Some(Bytes(self.host_gib * GIB));
        ask
    }

    fn demand(self) -> Demand {
        Demand {
            count: self.devices,
            compute: match (self.devices, self.whole) {
                (0, _) => 0,
                (_, true) => 1000,
                (_, false) => i32::try_from(self.compute).unwrap_or(0),
            },
            device_memory: if self.whole { 0 } else { i64::try_from(self.memory_gib).unwrap_or(0) },
            whole: self.whole,
            cpu: self.cpu_milli.into(),
            memory: i64::try_from(self.host_gib).unwrap_or(0),
            ..Demand::default()
        }
    }
}

/// Time that this thread had a processor, from some moment on.
pub(crate) struct Watch(Duration);

impl Watch {
    pub(crate) fn start() -> Self {
        Self(Self::now())
    }

    fn now() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let part = |number: i64| u64::try_from(number).unwrap_or(0);
        Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().saturating_sub(self.0)
    }
}

/// The kernel alone.
struct Kernel {
    fleet: Fleet,
    rule: polder_engine::fleet::RuleIx,
    demands: Vec<Demand>,
    random: Random,
    placed: Vec<(NodeIx, polder_engine::fleet::Take)>,
}

impl Kernel {
    fn new(nodes: u32) -> Self {
        let mut fleet = Fleet::default();
        let device = DeviceSpec { memory: 80, healthy: true, ..DeviceSpec::default() };
        let spec = NodeSpec {
            cpu: i64::from(NODE_CPUS) * 1000,
            memory: 1024,
            nic: 0,
            backing: 0,
            traits: Bits::default(),
            devices: vec![device; 8],
        };
        (0..nodes).for_each(|ix| fleet.set(NodeIx(ix), &spec));
        let rule = fleet.rule(Rule::Tightest);
        let demands = kinds().into_iter().map(Kind::demand).collect();
        Self { fleet, rule, demands, random: Random::stream(SEED, "kernel"), placed: Vec::new() }
    }

    /// Places one of each kind: from then on no kind is new.
    fn place_each(&mut self) {
        for demand in &self.demands {
            self.fleet.place(demand, self.rule, 1);
        }
    }

    /// Places so many; what does not fit makes the oldest go.
    fn place(&mut self, tasks: u32) {
        let mut oldest = 0;
        for _ in 0..tasks {
            let Some(demand) = self.demands.get(next_kind(&mut self.random)) else { continue };
            let spots = self.fleet.place(demand, self.rule, 1);
            if let Some(spot) = spots.first()
                && let Some(node) = self.fleet.node(spot.node)
            {
                self.placed.push((spot.node, demand.take(node, &spot.devices)));
            } else if let Some((node, take)) = self.placed.get(oldest) {
                self.fleet.give(*node, take);
                oldest += 1;
            }
        }
    }

    /// Seconds a placement takes in a pool that is as full as it gets.
    fn steady(nodes: u32, tasks: u32) -> f64 {
        let mut kernel = Self::new(nodes);
        kernel.place(nodes * 12);
        let start = Watch::start();
        kernel.place(tasks);
        start.elapsed().as_secs_f64() / f64::from(tasks)
    }
}

/// An engine and its clock.
pub(crate) struct World {
    pub(crate) engine: Engine,
    at: Timestamp,
    random: Random,
    pub(crate) grants: u64,
    /// Leases in the order in which they were granted.
    pub(crate) leases: Vec<LeaseId>,
}

/// Times of single questions.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn quantile(&mut self, of_thousand: usize) -> f64 {
        self.0.sort_unstable();
        let place = (self.0.len() * of_thousand / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(place).map_or(0.0, Duration::as_secs_f64)
    }
}

impl World {
    fn new(nodes: u32, devices: u32) -> Result<Self, String> {
        Self::with_policy(Policy::default(), nodes, devices)
    }

    /// Teams, and no node yet.
    pub(crate) fn empty(policy: Policy) -> Result<Self, String> {
        let mut world = Self {
            engine: Engine::new(policy),
            at: Timestamp(1),
            random: Random::stream(SEED, "jobs"),
            grants: 0,
            leases: Vec::new(),
        };
        for team in 0..TEAMS {
            let (path, quota) = (tenant(team)?, Quota::default());
            let mut tenant: Tenant =
                serde_json::from_value(serde_json::json!({ "path": path.as_str() }))
                    .map_err(|error| error.to_string())?;
            tenant.quota = quota;
            world.apply(&Event::TenantSet { tenant })?;
        }
        Ok(world)
    }

    pub(crate) fn with_policy(policy: Policy, nodes: u32, devices: u32) -> Result<Self, String> {
        let mut world = Self::empty(policy)?;
        let cards: Result<Vec<_>, _> = (0..devices)
            .map(|place| pool::device(&format!("gpu{place}"), "Card 80", Bytes(80 * GIB)))
            .collect();
        let cpu = MilliCpu(if devices == 0 { 64_000 } else { NODE_CPUS * 1000 });
        let cards = cards.map_err(|error| error.to_string())?;
        let inventory = pool::node(cpu, Bytes(1024 * GIB), cards);
        for node in 0..nodes {
            let node: NodeId = format!("n{node:05}").parse().map_err(|e| format!("{e}"))?;
            world.join(node, inventory.clone())?;
        }
        Ok(world)
    }

    pub(crate) fn join(&mut self, node: NodeId, inventory: Inventory) -> Result<(), String> {
        self.apply(&Event::NodeReported { node, incarnation: 1, inventory })
    }

    /// Submits a job and decides; a job that cannot start at once is cancelled, one that never could is
    /// refused.
    pub(crate) fn place_or_cancel(&mut self, ask: Ask) -> Result<bool, String> {
        let (job, before) = (self.engine.next_job_id(), self.grants);
        let event = Event::JobSubmitted { job, ask, key: None };
        match self.engine.admit(self.at, &event) {
            Ok(()) => self.apply(&event)?,
            Err(Refusal::PastPool { .. }) => return Ok(false),
            Err(refusal) => return Err(refusal.to_string()),
        }
        self.pass()?;
        if self.grants > before {
            return Ok(true);
        }
        let by = "ada".parse().map_err(|error| format!("{error}"))?;
        self.apply(&Event::JobCancelled { job, by })?;
        self.settle(None)?;
        Ok(false)
    }

    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), String> {
        self.at = Timestamp(self.at.0 + 1);
        self.engine.apply(self.at, event).map_err(|error| error.to_string())
    }

    pub(crate) fn submit(&mut self, ask: Ask) -> Result<(), String> {
        let job = self.engine.next_job_id();
        let event = Event::JobSubmitted { job, ask, key: None };
        self.engine.admit(self.at, &event).map_err(|refusal| refusal.to_string())?;
        self.apply(&event)
    }

    fn submit_mix(&mut self, jobs: u32) -> Result<(), String> {
        let kinds = kinds();
        let user: UserName = "ada".parse().map_err(|e| format!("{e}"))?;
        let teams: Result<Vec<_>, _> = (0..TEAMS).map(tenant).collect();
        let teams = teams?;
        for _ in 0..jobs {
            let team = usize::try_from(self.random.below(TEAMS)).unwrap_or(0);
            let kind = kinds.get(next_kind(&mut self.random));
            if let (Some(kind), Some(team)) = (kind, teams.get(team)) {
                self.submit(kind.ask(team.clone(), user.clone()))?;
            }
        }
        Ok(())
    }

    /// One job of each kind: from then on no kind is new.
    fn submit_each(&mut self) -> Result<(), String> {
        let user: UserName = "ada".parse().map_err(|e| format!("{e}"))?;
        for kind in kinds() {
            self.submit(kind.ask(tenant(0)?, user.clone()))?;
        }
        Ok(())
    }

    /// Small jobs without devices, one core each.
    fn submit_cpu(&mut self, jobs: u32) -> Result<(), String> {
        let kind = Kind {
            devices: 0,
            whole: false,
            compute: 0,
            memory_gib: 0,
            cpu_milli: 1000,
            host_gib: 1,
        };
        let (team, user) = (tenant(0)?, "ada".parse().map_err(|e| format!("{e}"))?);
        let ask = kind.ask(team, user);
        (0..jobs).try_for_each(|_| self.submit(ask.clone()))
    }

    /// Plans once and applies what was decided; gives how long the plan took.
    pub(crate) fn pass(&mut self) -> Result<(usize, bool, Duration), String> {
        let start = Watch::start();
        let (decisions, report) = self.engine.plan(self.at);
        let took = start.elapsed();
        let number = decisions.len();
        for decision in decisions {
            if let Decision::Grant { leases, .. } = &decision {
                self.grants += 1;
                self.leases.extend(leases.iter().map(|lease| lease.id));
            }
            self.apply(&Event::Decided { decision })?;
        }
        Ok((number, report.more, took))
    }

    /// Plans and applies until nothing is left to decide, or so many grants were made.
    pub(crate) fn settle(&mut self, grants: Option<u64>) -> Result<(), String> {
        while grants.is_none_or(|most| self.grants < most) {
            let (number, _, _) = self.pass()?;
            if number == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Ends a lease, and the job with it.
    pub(crate) fn end(&mut self, lease: LeaseId) -> Result<(), String> {
        let outcome = Outcome::Succeeded;
        let end = LeaseEnd { outcome, ran: Micros(1), sample: LeaseSample::default() };
        self.apply(&Event::LeaseEnded { lease, end })
    }
}

pub(crate) fn tenant(team: u64) -> Result<TenantPath, String> {
    format!("team{team:02}").parse().map_err(|error| format!("{error}"))
}

/// The most memory that this process ever had, in bytes.
fn memory_peak() -> Result<f64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| e.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u32>().ok());
    kib.map(|kib| f64::from(kib) * 1024.0).ok_or("no VmHWM in /proc/self/status".to_owned())
}

/// A million jobs wait for 12,500 nodes of eight devices.
fn million(quick: bool) -> Result<Vec<Figure>, String> {
    let (nodes, jobs, ends) =
        if quick { (200, 20_000, 200) } else { (12_500, 1_000_000, 20_000u32) };
    eprintln!("{jobs} jobs for {nodes} nodes");
    let mut world = World::new(nodes, 8)?;
    let start = Watch::start();
    world.submit_mix(jobs)?;
    let submitted = f64::from(jobs) / start.elapsed().as_secs_f64();
    let start = Watch::start();
    world.settle(None)?;
    let filled = world.grants;
    let fill = as_f64(filled) / start.elapsed().as_secs_f64();
    eprintln!("{filled} placed; now one ends, and its room is given to the next");
    let (mut oldest, mut times, start) = (0, Times::default(), Watch::start());
    for _ in 0..ends {
        if let Some(lease) = world.leases.get(oldest) {
            world.end(*lease)?;
            oldest += 1;
        }
        loop {
            let (number, _, took) = world.pass()?;
            times.push(took);
            if number == 0 {
                break;
            }
        }
    }
    let steady = as_f64(world.grants - filled) / start.elapsed().as_secs_f64();
    let memory = memory_peak()?;
    let violations = world.engine.check().len();
    if violations > 0 {
        return Err(format!("{violations} promises broken"));
    }
    Ok(vec![
        Figure::shown("jobs submitted a second, with admission", submitted, "1/s"),
        Figure::shown("placements a second while the pool fills", fill, "1/s")
            .target(Target::AtLeast(50_000.0)),
        Figure::shown("placements a second, one end at a time in a full pool", steady, "1/s"),
        Figure::shown("p50 of one plan in a full pool", times.quantile(500) * 1e3, "ms"),
        Figure::shown("p99 of one plan in a full pool", times.quantile(990) * 1e3, "ms")
            .target(Target::AtMost(1.0)),
        Figure::shown("longest plan in a full pool", times.quantile(1000) * 1e3, "ms"),
        Figure::shown("memory of the process", memory / f64::from(1u32 << 30), "GiB")
            .target(Target::AtMost(2.0)),
    ])
}

fn as_f64(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// 64,000 small jobs without devices, 64 a node.
fn small_jobs(quick: bool) -> Result<Vec<Figure>, String> {
    let nodes = if quick { 50 } else { 1000 };
    eprintln!("{} small jobs for {nodes} nodes", nodes * 64);
    let mut world = World::new(nodes, 0)?;
    world.submit_cpu(nodes * 64)?;
    let start = Watch::start();
    world.settle(None)?;
    let took = start.elapsed().as_secs_f64();
    if world.grants != u64::from(nodes * 64) {
        return Err(format!("{} of {} were placed", world.grants, nodes * 64));
    }
    let scale = 64_000.0 / f64::from(nodes * 64);
    Ok(vec![
        Figure::shown("64,000 jobs without devices onto 1,000 nodes", took * scale, "s")
            .against(0.69)
            .target(Target::AtMost(0.35)),
    ])
}

/// What a placement costs in a small and a large pool.
fn growth(quick: bool) -> Result<Vec<Figure>, String> {
    let (small, large, tasks) = if quick { (125, 1250, 2000) } else { (125, 12_500, 200_000) };
    eprintln!("the kernel with {small} and {large} nodes");
    let (one, other) = (Kernel::steady(small, tasks), Kernel::steady(large, tasks));
    let mut engine = [0.0; 2];
    for (seconds, nodes) in engine.iter_mut().zip([small, large]) {
        eprintln!("the engine with {nodes} nodes");
        let mut world = World::new(nodes, 8)?;
        // As many jobs for every node, and as many placed on each before it counts.
        world.submit_mix(nodes * 16)?;
        let before = u64::from(nodes) * 4;
        world.settle(Some(before))?;
        let (start, grants) = (Watch::start(), world.grants);
        world.settle(Some(before + u64::from(nodes) * 4))?;
        *seconds = start.elapsed().as_secs_f64() / as_f64(world.grants - grants);
    }
    let [engine_one, engine_other] = engine;
    let name = |what: &str| format!("{what}: 100,000 devices against 1,000");
    Ok(vec![
        Figure::shown("a placement by the kernel, 1,000 devices", one * 1e6, "us"),
        Figure::shown("a placement by the kernel, 100,000 devices", other * 1e6, "us"),
        Figure::shown(name("time of a placement by the kernel"), other / one, "x"),
        Figure::shown("a placement by the engine, 1,000 devices", engine_one * 1e6, "us"),
        Figure::shown("a placement by the engine, 100,000 devices", engine_other * 1e6, "us"),
        Figure::shown(name("time of a placement by the engine"), engine_other / engine_one, "x")
            .target(Target::AtMost(2.0)),
    ])
}

/// Instructions of one placement: those of a case with so many jobs, less those with half. They
/// are few enough for a pool of 1,000 devices, so that all are placed.
fn instructions(quick: bool) -> Result<Vec<Figure>, String> {
    let jobs = if quick { 50 } else { 250 };
    let large = if quick { 1250 } else { 12_500 };
    let mut figures = Vec::new();
    for (case, small, large) in [("kernel", 125, large), ("engine", 125, large), ("cpu", 10, 1000)]
    {
        let mut each = Vec::new();
        for nodes in [small, large] {
            eprintln!("instructions of {case} with {nodes} nodes");
            let (half, all) =
                (counted("speed", case, nodes, jobs)?, counted("speed", case, nodes, 2 * jobs)?);
            each.push((all - half) / f64::from(jobs));
        }
        if let [one, other] = each[..] {
            let name = |nodes| format!("instructions of a placement ({case}), {nodes} nodes");
            figures.push(Figure::shown(name(small), one, "1"));
            figures.push(Figure::shown(name(large), other, "1").against(one));
        }
    }
    Ok(figures)
}

/// Instructions of one case of a part, as valgrind counts them.
pub(crate) fn counted(part: &str, case: &str, nodes: u32, jobs: u32) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([part, "--case", case, &nodes.to_string(), &jobs.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}: install it to count instructions"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text.lines().find_map(|line| line.split("Collected :").nth(1));
    let counted = counted.and_then(|number| number.trim().parse::<f64>().ok());
    counted.ok_or_else(|| format!("valgrind counted nothing: {text}"))
}
