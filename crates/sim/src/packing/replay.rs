//! Replays arrivals through the engine's kernel of free space.

use super::openb::{Cluster, NodeRow, Pod};
use crate::random::Random;
use polder_engine::fleet::{
    Bits, CellIx, Demand, DeviceSpec, Fleet, Knobs, NodeIx, NodeSpec, Outlook, Part, Rule, Spot,
    Supply, Typical, TypicalTask,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a MiB.
const MIB: i64 = 1 << 20;
/// The part of all pods that typical ones stand for, in hundredths: the published threshold.
const TYPICAL_PERCENT: usize = 95;
/// CPU in thousandths of a core that the published best fit counts as all.
const BEST_FIT_CPU: i64 = 128_000;
/// Compute in thousandths of a device that the published best fit counts as all.
const BEST_FIT_COMPUTE: i64 = 8000;

/// A pod that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its row in the list.
    pub row: usize,
    /// Where it is.
    pub spot: Spot,
}

/// What became of the arrivals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Pods that were placed, in the order of arrival.
    pub placed: Vec<Placed>,
    /// Rows of those that were dropped.
    pub dropped: Vec<usize>,
    /// Compute given out in thousandths of a device.
    pub milli: i64,
}

/// A cluster, a list of pods, and what is typical of it.
#[derive(Debug)]
pub struct Workload {
    /// The machines.
    pub cluster: Arc<Cluster>,
    /// Rows of the list.
    pub pods: Vec<Pod>,
    /// The most frequent shapes that together make up 95 % of the rows.
    pub typical: Arc<Typical>,
    /// Each row as the kernel sees it.
    demands: Vec<Demand>,
}

impl Workload {
    /// A list of pods on a cluster.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, pods: Vec<Pod>) -> Self {
        let demands = pods.iter().map(demand).collect();
        let typical = Arc::new(typical(&pods));
        Self { cluster, pods, typical, demands }
    }

    /// What a row needs.
    #[must_use]
    pub fn demand(&self, row: usize) -> Option<&Demand> {
        self.demands.get(row)
    }

    /// The published gradient.
    #[must_use]
    pub fn fgd(&self) -> Rule {
        Rule::Sum(vec![(1, Part::Fgd(Arc::clone(&self.typical)))])
    }

    /// The published best fit.
    #[must_use]
    pub fn best_fit(&self) -> Rule {
        Rule::Sum(vec![(1, Part::BestFit { cpu: BEST_FIT_CPU, compute: BEST_FIT_COMPUTE })])
    }

    /// Polder's own rule, from what the gradient knows: the typical pods and the machines.
    #[must_use]
    pub fn outlook(&self, knobs: Knobs) -> Arc<Outlook> {
        let nodes = &self.cluster.nodes;
        let cpu = nodes.iter().map(|node| node.cpu_milli).sum();
        let supply = Supply { cpu, compute: self.cluster.milli() };
        Arc::new(Outlook::new(&self.typical, supply, knobs))
    }

    /// The empty cluster, its machines in a fixed order drawn by `seed`: ties go to the first.
    #[must_use]
    pub fn fleet(&self, seed: u64) -> Fleet {
        let mut fleet = Fleet::default();
        let mut nodes: Vec<&NodeRow> = self.cluster.nodes.iter().collect();
        Random::stream(seed, "node order").shuffle(&mut nodes);
        for (slot, node) in (0u32..).zip(nodes) {
            let cell = CellIx(u32::try_from(node.model).unwrap_or(u32::MAX));
            let device = DeviceSpec { cell, healthy: true, ..DeviceSpec::default() };
            let devices = usize::try_from(node.devices).unwrap_or(0);
            let (cpu, memory) = (node.cpu_milli, node.memory_mib * MIB);
            let traits = Bits::default();
            fleet.set(
                NodeIx(slot),
                &NodeSpec {
                    cpu,
                    memory,
                    nic: 0,
                    backing: 0,
                    traits,
                    devices: vec![device; devices],
                },
            );
        }
        fleet
    }

    /// Lets pods arrive in an order. Those that fit nowhere are dropped.
    #[must_use]
    pub fn replay(&self, order: &[usize], rule: Rule, seed: u64) -> Outcome {
        let mut fleet = self.fleet(seed);
        let rule = fleet.rule(rule);
        let mut outcome = Outcome::default();
        for row in order.iter().copied() {
            let (Some(pod), Some(demand)) = (self.pods.get(row), self.demands.get(row)) else {
                continue;
            };
            match fleet.place(demand, rule, 1).pop() {
                Some(spot) => {
                    outcome.milli += pod.milli_all();
                    outcome.placed.push(Placed { row, spot });
                }
                None => outcome.dropped.push(row),
            }
        }
        outcome
    }

    /// Compute given out, in hundredths of all there is.
    #[must_use]
    pub fn percent(&self, milli: i64) -> f64 {
        // Both are far below 2^53.
        100.0 * milli as f64 / self.cluster.milli().max(1) as f64
    }
}

/// What a pod needs of the kernel.
fn demand(pod: &Pod) -> Demand {
    let bits = |models: u64| (0..64).filter(|bit| models >> bit & 1 == 1).collect::<Bits>();
    Demand {
        count: pod.devices,
        compute: pod.milli,
        cpu: pod.cpu_milli,
        memory: pod.memory_mib * MIB,
        cells: pod.models.map(bits),
        ..Demand::default()
    }
}

/// The typical pods: shapes without memory, the most frequent first, until they make up 95 %.
fn typical(pods: &[Pod]) -> Typical {
    let mut counts: BTreeMap<Pod, u32> = BTreeMap::new();
    for pod in pods {
        *counts.entry(Pod { memory_mib: 0, ..pod.clone() }).or_default() += 1;
    }
    let mut shapes: Vec<(Pod, u32)> = counts.into_iter().collect();
    shapes.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    let mut seen = 0usize;
    let still = |(_, count): &(Pod, u32)| {
        let goes_on = seen * 100 < TYPICAL_PERCENT * pods.len();
        seen += usize::try_from(*count).unwrap_or(0);
        goes_on
    };
    let task = |(pod, weight)| TypicalTask { weight, demand: demand(&pod) };
    Typical::new(shapes.into_iter().take_while(still).map(task).collect())
}
