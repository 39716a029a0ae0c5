//! All openb runs against the clock: 17 workloads with 5 orders of arrival each, until 130 % of the
//! pool's compute has been asked for. Once by the kernel of free space alone, as the packing figures
//! are made, and once through the whole engine: each pod is admitted, submitted, decided, granted,
//! and, where it fits nowhere, cancelled. Reading the files is not timed.

use crate::packing::{self, Case};
use crate::speed::{Watch, World};
use polder_engine::Policy;
use polder_engine::fleet::{Knobs, Rule};
use polder_model::{Bytes, Inventory, MilliCpu, NodeId, Permille, PlaceRule, Placement};
use polder_sim::figure::{Figure, Target};
use polder_sim::packing::openb::{self, Pod};
use polder_sim::packing::published::{PUBLISHED, SEEDS_JUDGED, SEEDS_TUNED};
use polder_sim::random::Random;
use polder_sim::{pool, traces, workload};
use std::sync::Arc;

/// Most that all runs together should take, in seconds, on one thread.
const SECONDS_MAX: f64 = 20.0;
const MIB: u64 = 1 << 20;
/// Memory of a card: the lists do not say, and no pod asks for any.
const CARD: Bytes = Bytes(16 << 30);

/// Measures, and gives the figures. `quick` takes one run of one workload.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let nodes = traces::file("openb/openb_node_list_gpu_node.csv")?;
    let cluster = Arc::new(openb::cluster(&nodes).map_err(|error| error.to_string())?);
    let all: Vec<u64> = SEEDS_TUNED.into_iter().chain(SEEDS_JUDGED).collect();
    let (workloads, seeds) =
        if quick { (&PUBLISHED[..1], &all[..1]) } else { (&PUBLISHED[..], &all[..]) };
    let (mut kernel, mut engine, mut runs) = (0.0, [0.0; 2], 0u32);
    let mut percent = [0.0; 2];
    let rules = [PlaceRule::Tightest, PlaceRule::Layered];
    for published in workloads {
        eprintln!("against the clock: {}", published.workload);
        let case = packing::case(&cluster, published.workload, seeds)?;
        let start = Watch::start();
        let rule = Rule::Outlook(case.workload.outlook(Knobs::default()));
        case.percent(&rule);
        kernel += start.elapsed().as_secs_f64();
        for (seed, order) in &case.arrivals {
            runs += 1;
            for ((seconds, percent), rule) in engine.iter_mut().zip(&mut percent).zip(rules) {
                let (took, milli) = through_engine(&case, order, *seed, rule)?;
                *seconds += took;
                *percent += case.workload.percent(milli);
            }
        }
    }
    let name = |what: &str| format!("openb, {runs} runs: {what}");
    let judged = |figure: Figure| {
        if quick { figure } else { figure.target(Target::AtMost(SECONDS_MAX)) }
    };
    let mut figures =
        vec![judged(Figure::shown(name("the kernel, Polder's own rule"), kernel, "s"))];
    for ((seconds, percent), rule) in engine.into_iter().zip(percent).zip(["tightest", "layered"]) {
        let time = Figure::shown(name(&format!("the whole engine, rule {rule}")), seconds, "s");
        figures.push(judged(time));
        let of = name(&format!("given out by the engine, rule {rule}"));
        figures.push(Figure::shown(of, percent / f64::from(runs), "%"));
    }
    Ok(figures)
}

/// Seconds that one run takes, and the compute that was given out, in thousandths of a device.
fn through_engine(
    case: &Case,
    order: &[usize],
    seed: u64,
    rule: PlaceRule,
) -> Result<(f64, i64), String> {
    let policy = Policy { place: Placement { rule, suit: false }, ..Policy::default() };
    let mut world = World::empty(policy)?;
    let models = &case.workload.cluster.models;
    let mut nodes: Vec<_> = case.workload.cluster.nodes.iter().collect();
    // Ties go to the node that joined first: in the same order as where the kernel is alone.
    Random::stream(seed, "node order").shuffle(&mut nodes);
    for (number, row) in nodes.iter().enumerate() {
        let model = models.get(row.model).ok_or("a node without a model")?;
        let card = |place| pool::device(&format!("gpu{place}"), model, CARD);
        let cards: Result<Vec<_>, _> = (0..row.devices).map(card).collect();
        let cpu = MilliCpu(u32::try_from(row.cpu_milli).map_err(|e| e.to_string())?);
        let memory = Bytes(u64::try_from(row.memory_mib).map_err(|e| e.to_string())? * MIB);
        let inventory: Inventory = pool::node(cpu, memory, cards.map_err(|e| e.to_string())?);
        let node: NodeId = format!("n{number:04}").parse().map_err(|e| format!("{e}"))?;
        world.join(node, inventory)?;
    }
    let asks: Result<Vec<_>, String> =
        case.workload.pods.iter().map(|pod| ask(pod, models)).collect();
    let asks = asks?;
    let start = Watch::start();
    let mut milli = 0;
    for row in order {
        let (Some(ask), Some(pod)) = (asks.get(*row), case.workload.pods.get(*row)) else {
            continue;
        };
        if world.place_or_cancel(ask.clone())? {
            milli += pod.milli_all();
        }
    }
    Ok((start.elapsed().as_secs_f64(), milli))
}

fn ask(pod: &Pod, models: &[String]) -> Result<polder_model::Ask, String> {
    let tenant = "team00".parse().map_err(|error| format!("{error}"))?;
    let user = "ada".parse().map_err(|error| format!("{error}"))?;
    let mut ask = workload::ask_whole(tenant, user, pod.devices);
    if pod.devices == 0 {
        ask = workload::ask_share(ask, Permille(0), Bytes(0));
    } else if pod.milli < 1000 {
        let compute = Permille(u32::try_from(pod.milli).unwrap_or(0));
        ask = workload::ask_share(ask, compute, Bytes(1));
    }
    if pod.models.is_some() {
        let served = models.iter().enumerate().filter(|(place, _)| pod.is_served_by(*place));
        ask.devices.models = served.map(|(_, model)| model.clone()).collect();
    }
    ask.host.cpu = u32::try_from(pod.cpu_milli).ok().filter(|cpu| *cpu > 0).map(MilliCpu);
    let memory = u64::try_from(pod.memory_mib).unwrap_or(0) * MIB;
    ask.host.memory = (memory > 0).then_some(Bytes(memory));
    Ok(ask)
}
