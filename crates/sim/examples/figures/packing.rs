//! Packing: openb's 17 workloads, seeds 42 to 46, at 130 % arrived.

use polder_engine::fleet::{Knobs, Rule};
use polder_sim::figure::{Figure, Target};
use polder_sim::packing::moves::{self, Limits};
use polder_sim::packing::published::{PUBLISHED, Published, SEEDS_JUDGED, SEEDS_TUNED};
use polder_sim::packing::replay::Workload;
use polder_sim::packing::{bound, openb};
use polder_sim::traces;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far from the published value a reproduction may be, in points.
const REPRODUCED_WITHIN: f64 = 0.3;
/// What the rule should give out of `default`, per cent.
const DEFAULT_AT_LEAST: f64 = 96.2;

/// What the rule with moves should give out of `default`, per cent.
const MOVED_AT_LEAST: f64 = 98.0;

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// A workload with its arrivals by seed.
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) arrivals: Vec<(u64, Vec<usize>)>,
}

pub(crate) fn case(
    cluster: &Arc<openb::Cluster>,
    name: &str,
    seeds: &[u64],
) -> Result<Case, String> {
    let list = traces::file(&format!("openb/openb_pod_list_{name}.csv"))?;
    let pods = openb::pods(&list, cluster).map_err(|error| error.to_string())?;
    let order = |seed: &u64| {
        let path = traces::file(&format!("openb_order/{name}_{seed}.idx.gz"))?;
        let order = openb::order(&path, pods.len()).map_err(|error| error.to_string())?;
        Ok((*seed, order))
    };
    let arrivals = seeds.iter().map(order).collect::<Result<_, String>>()?;
    Ok(Case { workload: Workload::new(Arc::clone(cluster), pods), arrivals })
}

/// By seed: per cent given out, moves for a thousand arrivals, per cent of all compute moved.
#[derive(Default)]
struct Moves {
    percent: Vec<f64>,
    moves: Vec<f64>,
    milli: Vec<f64>,
}

impl Case {
    /// Per cent given out, by seed.
    pub(crate) fn percent(&self, rule: &Rule) -> Vec<f64> {
        let replay = |(seed, order): &(u64, Vec<usize>)| {
            self.workload.percent(self.workload.replay(order, rule.clone(), *seed).milli)
        };
        self.arrivals.iter().map(replay).collect()
    }

    /// The same with moves.
    fn with_moves(&self) -> Moves {
        let outlook = self.workload.outlook(Knobs::default());
        let mut all = Moves::default();
        for (seed, order) in &self.arrivals {
            let limits = Limits::default();
            let outlook = Arc::clone(&outlook);
            let replayed = moves::replay(&self.workload, order, outlook, *seed, limits);
            all.percent.push(self.workload.percent(replayed.outcome.milli));
            all.moves.push(1000.0 * replayed.moved.moves as f64 / order.len().max(1) as f64);
            all.milli.push(self.workload.percent(replayed.moved.milli));
        }
        all
    }

    /// Bounds in per cent by seed: by what arrived alone, and where what fits is placed.
    fn bounds(&self) -> (Vec<f64>, Vec<f64>) {
        let percent = |milli: f64| 100.0 * milli / self.workload.cluster.milli().max(1) as f64;
        let both = |(_, order): &(u64, Vec<usize>)| {
            let arrived = bound::bound(&self.workload, order, &BTreeMap::new());
            let forced = bound::forced(&self.workload, order);
            let held = bound::bound(&self.workload, order, &forced);
            // What bounds every policy bounds those that keep the rule.
            (percent(arrived), percent(held.min(arrived)))
        };
        self.arrivals.iter().map(both).unzip()
    }

    /// Of values by seed those on which rules are judged.
    fn judged(&self, values: &[f64]) -> Vec<f64> {
        let judged = self.arrivals.iter().zip(values);
        judged.filter(|((seed, _), _)| SEEDS_JUDGED.contains(seed)).map(|(_, v)| *v).collect()
    }
}

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let nodes = traces::file("openb/openb_node_list_gpu_node.csv")?;
    let cluster = Arc::new(openb::cluster(&nodes).map_err(|error| error.to_string())?);
    let all: Vec<u64> = SEEDS_TUNED.into_iter().chain(SEEDS_JUDGED).collect();
    let (workloads, seeds) =
        if quick { (&PUBLISHED[..1], &all[2..3]) } else { (&PUBLISHED[..], &all[..]) };
    let mut figures = Vec::new();
    for published in workloads {
        eprintln!("packing: {}", published.workload);
        figures.extend(workload(&cluster, published, seeds)?);
    }
    Ok(figures)
}

fn workload(
    cluster: &Arc<openb::Cluster>,
    published: &Published,
    seeds: &[u64],
) -> Result<Vec<Figure>, String> {
    let name = published.workload;
    let case = case(cluster, name, seeds)?;
    let fgd = case.percent(&case.workload.fgd());
    let best_fit = case.percent(&case.workload.best_fit());
    let polder = case.percent(&Rule::Outlook(case.workload.outlook(Knobs::default())));
    let moves = case.with_moves();
    let (arrived, held) = case.bounds();
    let gain: Vec<f64> = polder.iter().zip(&fgd).map(|(ours, theirs)| ours - theirs).collect();
    let figure = |what: &str, values: &[f64], unit: &str| {
        Figure::shown(format!("packing {name}: {what}"), mean(values), unit)
    };
    let reproduced = Target::Within(REPRODUCED_WITHIN);
    let own = figure("Polder", &polder, "%").against(published.fgd);
    let own = if name == "default" { own.target(Target::AtLeast(DEFAULT_AT_LEAST)) } else { own };
    let moved = figure("Polder with moves", &moves.percent, "%").against(mean(&held));
    let moved =
        if name == "default" { moved.target(Target::AtLeast(MOVED_AT_LEAST)) } else { moved };
    Ok(vec![
        figure("FGD, reproduced", &fgd, "%").against(published.fgd).target(reproduced),
        figure("best fit, reproduced", &best_fit, "%")
            .against(published.best_fit)
            .target(reproduced),
        own,
        figure("Polder above FGD, seeds 44 to 46", &case.judged(&gain), "points")
            .target(Target::AtLeast(0.0)),
        moved,
        figure("moves for a thousand arrivals", &moves.moves, "moves"),
        figure("compute moved, of all compute", &moves.milli, "%"),
        figure("bound by what arrived", &arrived, "%"),
        figure("bound where what fits is placed", &held, "%"),
    ])
}
