//! How fast it is decided who yields, through the whole engine: from the question to the applied
//! decision. One thread, time that the thread had a processor; instructions beside it.
//!
//! Both cases have the shape of a published benchmark (KAI's `BenchmarkReclaimLargeJobs` and
//! `ReclaimManySingleGPUJobs`): nodes of 8 devices, full of jobs of one device whose tenant deserves
//! nothing; what waits is of a tenant that deserves everything.

use crate::speed::{Watch, counted, number};
use polder_engine::{Engine, Policy};
use polder_model::{
    Bytes, Decision, Event, Gang, Isolation, LeaseId, MilliCpu, NodeId, Reclaim, Share, Tenant,
    Timestamp,
};
use polder_sim::figure::{Figure, Target};
use polder_sim::{pool, workload};
use std::time::Duration;

const DEVICES: u32 = 8;
/// How often each case is timed; the middle time counts.
const REPEATS: usize = 5;

/// Measures, and gives the figures.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let words: Vec<String> = std::env::args().collect();
    if let Some(place) = words.iter().position(|word| word == "--case") {
        let word = |ahead: usize| words.get(place + ahead).map_or("", String::as_str);
        let mut world = World::full(number(word(2))?)?;
        if number(word(3))? > 0 {
            world.submit(word(1))?;
            world.yields()?;
        }
        return Ok(Vec::new());
    }
    let scale = if quick { 10 } else { 1 };
    let mut figures = Vec::new();
    for (case, nodes, baseline, most) in
        [("gang", 1000 / scale, 76.3, 0.05), ("many", 500 / scale, 165.6, 0.5)]
    {
        eprintln!("{case}: {nodes} full nodes");
        let of = measure(case, nodes)?;
        let name = match case {
            "gang" => format!("reclaim for a gang of {} x 8 on {nodes} full nodes", nodes / 2),
            _ => format!("reclaim for {0} jobs from {0} jobs on {nodes} nodes", nodes * DEVICES),
        };
        let time = Figure::shown(name.clone(), of.time.as_secs_f64(), "s");
        figures.push(if quick {
            time
        } else {
            time.against(baseline).target(Target::AtMost(most))
        });
        figures.push(Figure::shown(format!("{name}: victims"), of.victims, "1"));
        figures.push(Figure::shown(format!("{name}: looked at"), of.steps, "1"));
        let small = nodes / 10;
        let counts: Result<Vec<f64>, String> =
            [0, 1].into_iter().map(|jobs| counted("reclaim", case, small, jobs)).collect();
        if let [without, with] = counts?[..] {
            let each =
                (with - without) / f64::from(small * DEVICES / if case == "gang" { 2 } else { 1 });
            let name = format!(
                "instructions for each victim, from submission to applied decision ({case}), {small} nodes"
            );
            figures.push(Figure::shown(name, each, "1"));
        }
    }
    Ok(figures)
}

/// What one case came to.
struct Measured {
    time: Duration,
    victims: f64,
    steps: f64,
}

fn measure(case: &str, nodes: u32) -> Result<Measured, String> {
    let mut full = World::full(nodes)?;
    full.submit(case)?;
    let mut times = Vec::new();
    let (mut victims, mut steps) = (0, 0);
    for _ in 0..REPEATS {
        let mut world = World { engine: full.engine.clone(), at: full.at };
        let start = Watch::start();
        (victims, steps) = world.yields()?;
        times.push(start.elapsed());
        let broken = world.engine.check();
        if !broken.is_empty() {
            return Err(format!("{broken:?}"));
        }
    }
    times.sort_unstable();
    let expected = if case == "gang" { nodes * DEVICES / 2 } else { nodes * DEVICES };
    if victims != expected {
        return Err(format!("{victims} jobs yield where {expected} should"));
    }
    let time = times.get(REPEATS / 2).copied().unwrap_or_default();
    let steps = u32::try_from(steps).map_err(|error| error.to_string())?;
    Ok(Measured { time, victims: victims.into(), steps: steps.into() })
}

/// An engine and its clock.
struct World {
    engine: Engine,
    at: Timestamp,
}

impl World {
    /// Nodes whose every device runs a job of a tenant that deserves nothing.
    fn full(nodes: u32) -> Result<Self, String> {
        let reclaim = Reclaim { quota: true, ..Reclaim::default() };
        let policy = Policy { reclaim, ..Policy::default() };
        let mut world = Self { engine: Engine::new(policy), at: Timestamp(1) };
        let all = u64::from(nodes) * u64::from(DEVICES) * 1000;
        for (path, deserved) in [("queue0", 0), ("queue1", all)] {
            let path = path.parse().map_err(|error| format!("{error}"))?;
            let share = Share { deserved, ..Share::default() };
            world.apply(&Event::TenantSet { tenant: Tenant { share, ..Tenant::new(path) } })?;
        }
        let cards: Result<Vec<_>, _> = (0..DEVICES)
            .map(|place| pool::device(&format!("gpu{place}"), "Card 80", Bytes(80 << 30)))
            .collect();
        let cards = cards.map_err(|error| error.to_string())?;
        let inventory = pool::node(MilliCpu(128_000), Bytes(1 << 40), cards);
        for node in 0..nodes {
            let node: NodeId = format!("n{node:05}").parse().map_err(|e| format!("{e}"))?;
            let inventory = inventory.clone();
            world.apply(&Event::NodeReported { node, incarnation: 1, inventory })?;
        }
        for _ in 0..nodes * DEVICES {
            world.submit_one("queue0", 1, Gang::default())?;
        }
        world.settle()?;
        let leases: Vec<LeaseId> = world.engine.leases().map(|lease| lease.id).collect();
        for lease in &leases {
            let isolation = Isolation::None;
            let prepared = Event::LeasePrepared {
                lease: *lease,
                isolation,
                master_port: None,
                not_enforced: Vec::new(),
            };
            world.apply(&prepared)?;
        }
        world.settle()?;
        for lease in leases {
            world.apply(&Event::LeaseStarted { lease })?;
        }
        world.at = Timestamp(world.at.0 + 60_000_000);
        Ok(world)
    }

    fn submit(&mut self, case: &str) -> Result<(), String> {
        let nodes = u32::try_from(self.engine.nodes().count()).map_err(|e| e.to_string())?;
        if case == "gang" {
            let gang = Gang { min: nodes / 2, max: nodes / 2, ..Gang::default() };
            return self.submit_one("queue1", DEVICES, gang);
        }
        (0..nodes * DEVICES).try_for_each(|_| self.submit_one("queue1", 1, Gang::default()))
    }

    fn submit_one(&mut self, tenant: &str, devices: u32, gang: Gang) -> Result<(), String> {
        let tenant = tenant.parse().map_err(|error| format!("{error}"))?;
        let user = "ada".parse().map_err(|error| format!("{error}"))?;
        let mut ask = workload::ask_whole(tenant, user, devices);
        ask.gang = gang;
        ask.yields.preemptible = true;
        self.apply(&Event::JobSubmitted { job: self.engine.next_job_id(), ask, key: None })
    }

    fn apply(&mut self, event: &Event) -> Result<(), String> {
        self.at = Timestamp(self.at.0 + 1);
        self.engine.apply(self.at, event).map_err(|error| error.to_string())
    }

    fn settle(&mut self) -> Result<(), String> {
        while !self.pass()?.0.is_empty() {}
        Ok(())
    }

    /// Plans once and applies what was decided; the decisions, and the steps they took.
    fn pass(&mut self) -> Result<(Vec<Decision>, u64), String> {
        let (decisions, report) = self.engine.plan(self.at);
        for decision in &decisions {
            self.apply(&Event::Decided { decision: decision.clone() })?;
        }
        Ok((decisions, report.steps))
    }

    /// Decides, and applies, until nobody more is told to yield; how many were, and the steps.
    fn yields(&mut self) -> Result<(u32, u64), String> {
        let (mut victims, mut steps) = (0, 0);
        loop {
            let (decisions, took) = self.pass()?;
            steps += took;
            if decisions.is_empty() {
                return Ok((victims, steps));
            }
            for decision in decisions {
                if let Decision::Preempt { victims: of, .. } = decision {
                    victims += u32::try_from(of.len()).map_err(|error| error.to_string())?;
                }
            }
        }
    }
}
