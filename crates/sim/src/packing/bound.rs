//! A bound that no policy can pass, moves or not, from what has arrived.
//!
//! It is the Lagrangian dual of a relaxation of the best selection of arrivals, so any prices give a
//! valid bound, and a search for good prices only makes it tight. Held: each shape of pod is placed
//! at most as often as it arrived and, under the rule that what fits on arrival is placed, at least
//! as often as [`forced`] can prove; CPU and memory of all nodes of one shape together; models; that
//! a node of its shape could hold the pod at all; that a device is cut into whole pods (by dynamic
//! programming, not linearly). Relaxed: which node of a shape a pod is on, so CPU and memory left
//! over on one node may serve another; a pod of several devices may lie on devices of several nodes;
//! and numbers of pods need not be whole.

use super::openb::{NodeRow, Pod};
use super::replay::Workload;
use std::collections::BTreeMap;

/// Compute of a device is cut in steps of so many thousandths; pods are rounded down to it.
const GRAIN: usize = 10;
/// Steps of a device, and one for nothing.
const GRAINS: usize = 101;
/// How often the search for prices goes through all groups.
const PASSES: u32 = 300;
/// After so many of them the prices, and their mean, are tried.
const TRY_EVERY: u32 = 30;
/// The first step of the price of a shape, in thousandths of a device.
const STRIDE_SHAPE: f64 = 300.0;
/// The first step of the price of a thousandth of a core, in thousandths of a device.
const STRIDE_CPU: f64 = 0.03;
/// The first step of the price of a MiB, in thousandths of a device.
const STRIDE_MEMORY: f64 = 0.01;
/// Shapes for which it is worked out how many must be placed: those that arrive most.
const FORCED_SHAPES_MAX: usize = 48;
/// Weights of nodes that are tried for that.
const WEIGHTINGS: usize = 12;

/// Nodes that are alike.
struct Group {
    node: NodeRow,
    count: f64,
}

impl Group {
    fn devices(&self) -> f64 {
        self.count * f64::from(self.node.devices)
    }

    /// Whether a node, all idle, could hold the pod.
    fn holds(&self, pod: &Pod) -> bool {
        self.node.cpu_milli >= pod.cpu_milli
            && self.node.memory_mib >= pod.memory_mib
            && (pod.devices == 0
                || (self.node.devices >= pod.devices && pod.is_served_by(self.node.model)))
    }
}

fn groups(nodes: &[NodeRow]) -> Vec<Group> {
    let mut counts: BTreeMap<(i64, i64, u32, usize), f64> = BTreeMap::new();
    for node in nodes {
        let shape = (node.cpu_milli, node.memory_mib, node.devices, node.model);
        *counts.entry(shape).or_default() += 1.0;
    }
    let group = |((cpu_milli, memory_mib, devices, model), count)| Group {
        node: NodeRow { cpu_milli, memory_mib, devices, model },
        count,
    };
    counts.into_iter().map(group).collect()
}

/// A shape of pod, and how often it may and must be placed.
struct Shape<'a> {
    pod: &'a Pod,
    most: f64,
    least: f64,
    /// By group, whether a node could hold it.
    holds: Vec<bool>,
}

impl Shape<'_> {
    fn devices(&self) -> f64 {
        f64::from(self.pod.devices)
    }

    fn milli(&self) -> f64 {
        self.devices() * f64::from(self.pod.milli)
    }

    /// Grains of one device that it takes.
    fn grains(&self) -> usize {
        (usize::try_from(self.pod.milli).unwrap_or(0) / GRAIN).clamp(1, GRAINS - 1)
    }
}

/// What each thing costs.
#[derive(Clone)]
struct Prices {
    /// By shape, in thousandths of a device.
    shapes: Vec<f64>,
    /// By group, of a thousandth of a core and of a MiB.
    groups: Vec<(f64, f64)>,
}

impl Prices {
    /// Nothing costs anything.
    fn free(groups: &[Group], shapes: &[Shape]) -> Self {
        Self { shapes: vec![0.0; shapes.len()], groups: vec![(0.0, 0.0); groups.len()] }
    }
}

/// The most compute, in thousandths of a device, that can be given out of these arrivals. `must`
/// says how often each shape has to be placed, by the rows' pods; nothing if it is empty.
#[must_use]
pub fn bound(workload: &Workload, order: &[usize], must: &BTreeMap<Pod, u64>) -> f64 {
    let groups = groups(&workload.cluster.nodes);
    let mut counts: BTreeMap<&Pod, f64> = BTreeMap::new();
    for pod in order.iter().filter_map(|row| workload.pods.get(*row)) {
        *counts.entry(pod).or_default() += 1.0;
    }
    let shape = |(pod, most)| Shape {
        pod,
        most,
        least: must.get(pod).map_or(0.0, |least| *least as f64),
        holds: groups.iter().map(|group| group.holds(pod)).collect(),
    };
    let shapes: Vec<Shape> = counts.into_iter().map(shape).collect();
    let nothing = Prices::free(&groups, &shapes);
    let told = (0..=GRAINS / 2).map(|rest| rests(&groups, &shapes, rest));
    let told = told.map(|prices| (dual(&groups, &shapes, &prices), prices));
    let (mut best, told) =
        told.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::MAX, nothing.clone()));
    for (start, stride) in [(&nothing, 1.0), (&nothing, 0.1), (&told, 0.1), (&told, 0.01)] {
        best = best.min(search(&groups, &shapes, start.clone(), stride));
    }
    best
}

/// Prices that tell what is lost on the rest of a device: a pod that leaves at most `rest` grains
/// over costs less than nothing by what it leaves, and one that fits there costs what it takes.
fn rests(groups: &[Group], shapes: &[Shape], rest: usize) -> Prices {
    let price = |shape: &Shape| {
        let grains = (shape.grains() * GRAIN) as f64;
        if shape.pod.devices == 1 && shape.grains() + rest >= GRAINS - 1 {
            if shape.least > 0.0 { grains - 1000.0 } else { 0.0 }
        } else if shape.pod.devices > 0 && shape.grains() <= rest {
            shape.milli()
        } else {
            0.0
        }
    };
    Prices { shapes: shapes.iter().map(price).collect(), ..Prices::free(groups, shapes) }
}

/// The lowest dual found on a way from some prices.
fn search(groups: &[Group], shapes: &[Shape], start: Prices, stride: f64) -> f64 {
    let (mut prices, mut sums) = (start, Prices::free(groups, shapes));
    let mut mean = prices.clone();
    let mut best = f64::INFINITY;
    for pass in 0..PASSES {
        step(groups, shapes, &mut prices, &mut sums, stride);
        if pass < PASSES / 4 {
            mean = prices.clone();
        } else {
            blend(&mut mean, &prices, 1.0 / f64::from(pass - PASSES / 4 + 1));
        }
        if pass % TRY_EVERY == TRY_EVERY - 1 {
            best = best.min(dual(groups, shapes, &prices)).min(dual(groups, shapes, &mean));
        }
    }
    best
}

/// Goes through the groups once. After each, every price takes a step along its own subgradient,
/// the shorter the longer its way has been (AdaGrad); `sums` keeps the squares.
fn step(groups: &[Group], shapes: &[Shape], prices: &mut Prices, sums: &mut Prices, stride: f64) {
    let all: f64 = groups.iter().map(Group::devices).sum();
    let without = without_devices(groups, shapes, prices).1;
    for (place, group) in groups.iter().enumerate() {
        let (cpu, memory) = prices.groups.get(place).copied().unwrap_or_default();
        let mut chosen = vec![0.0; shapes.len()];
        let mut used = without.get(place).copied().unwrap_or_default();
        for at in best_cut(place, shapes, &prices.shapes, cpu, memory).1 {
            let Some((shape, chosen)) = shapes.get(at).zip(chosen.get_mut(at)) else { continue };
            let pods = group.devices() / shape.devices();
            *chosen += pods;
            used.0 += pods * shape.pod.cpu_milli as f64;
            used.1 += pods * shape.pod.memory_mib as f64;
        }
        let part = group.devices() / all.max(1.0);
        let sums_of = sums.shapes.iter_mut().zip(prices.shapes.iter_mut());
        for ((shape, chosen), (sum, price)) in shapes.iter().zip(&chosen).zip(sums_of) {
            let allowed = if *price >= 0.0 { shape.most } else { shape.least };
            climb(price, sum, chosen - allowed * part, stride * STRIDE_SHAPE);
            if shape.least <= 0.0 {
                *price = price.max(0.0);
            }
        }
        if let Some((price, sum)) = prices.groups.get_mut(place).zip(sums.groups.get_mut(place)) {
            let over = |used: f64, each: i64| used / (group.count * each as f64) - 1.0;
            climb(
                &mut price.0,
                &mut sum.0,
                over(used.0, group.node.cpu_milli),
                stride * STRIDE_CPU,
            );
            climb(
                &mut price.1,
                &mut sum.1,
                over(used.1, group.node.memory_mib),
                stride * STRIDE_MEMORY,
            );
            *price = (price.0.max(0.0), price.1.max(0.0));
        }
    }
}

/// One step of one price.
fn climb(price: &mut f64, sum: &mut f64, slope: f64, stride: f64) {
    *sum += slope * slope;
    if *sum > 0.0 {
        *price += stride * slope / sum.sqrt();
    }
}

/// Moves a mean towards what was added to it.
fn blend(mean: &mut Prices, prices: &Prices, part: f64) {
    let to = |mean: &mut f64, price: f64| *mean += part * (price - *mean);
    mean.shapes.iter_mut().zip(&prices.shapes).for_each(|(mean, price)| to(mean, *price));
    for (mean, price) in mean.groups.iter_mut().zip(&prices.groups) {
        to(&mut mean.0, price.0);
        to(&mut mean.1, price.1);
    }
}

/// Pods without devices gain nothing: each is placed where it costs least, as often as it must.
/// What that costs, and the CPU and memory it takes of each group.
fn without_devices(groups: &[Group], shapes: &[Shape], prices: &Prices) -> (f64, Vec<(f64, f64)>) {
    let mut used = vec![(0.0, 0.0); groups.len()];
    let mut sum = 0.0;
    for shape in shapes.iter().filter(|shape| shape.pod.devices == 0 && shape.least > 0.0) {
        let cost = |(place, (cpu, memory)): (usize, &(f64, f64))| {
            let holds = shape.holds.get(place) == Some(&true);
            let cost = cpu * shape.pod.cpu_milli as f64 + memory * shape.pod.memory_mib as f64;
            holds.then_some((cost, place))
        };
        let all = prices.groups.iter().enumerate().filter_map(cost);
        let Some((cost, place)) = all.min_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
        sum += cost * shape.least;
        if let Some(used) = used.get_mut(place) {
            used.0 += shape.least * shape.pod.cpu_milli as f64;
            used.1 += shape.least * shape.pod.memory_mib as f64;
        }
    }
    (sum, used)
}

/// The dual at some prices: a valid bound, whatever they are.
fn dual(groups: &[Group], shapes: &[Shape], prices: &Prices) -> f64 {
    let of_shape = |(shape, price): (&Shape, &f64)| match shape.pod.devices {
        0 => 0.0,
        _ => price * if *price >= 0.0 { shape.most } else { shape.least },
    };
    let of_group = |(place, (group, (cpu, memory))): (usize, (&Group, &(f64, f64)))| {
        let node = &group.node;
        let beside = cpu * node.cpu_milli as f64 + memory * node.memory_mib as f64;
        let worth = best_cut(place, shapes, &prices.shapes, *cpu, *memory).0;
        group.count * beside + group.devices() * worth
    };
    let shapes_sum: f64 = shapes.iter().zip(&prices.shapes).map(of_shape).sum();
    let groups_sum: f64 = groups.iter().zip(&prices.groups).enumerate().map(of_group).sum();
    shapes_sum + groups_sum - without_devices(groups, shapes, prices).0
}

/// The best way to cut a device of a group: its worth, and the shapes it is cut into.
fn best_cut(
    place: usize,
    shapes: &[Shape],
    prices: &[f64],
    cpu: f64,
    memory: f64,
) -> (f64, Vec<usize>) {
    // By grains, the shape that gains most there.
    let mut gains = [(0.0f64, usize::MAX); GRAINS];
    for (at, (shape, price)) in shapes.iter().zip(prices).enumerate() {
        if shape.pod.devices == 0 || shape.holds.get(place) != Some(&true) {
            continue;
        }
        let beside = cpu * shape.pod.cpu_milli as f64 + memory * shape.pod.memory_mib as f64;
        let gain = (shape.milli() - price - beside) / shape.devices();
        if let Some(best) = gains.get_mut(shape.grains())
            && gain > best.0
        {
            *best = (gain, at);
        }
    }
    let sizes: Vec<usize> = (1..GRAINS).filter(|size| gains[*size].0 > 0.0).collect();
    let mut worth = [0.0f64; GRAINS];
    let mut first = [0usize; GRAINS];
    for free in 1..GRAINS {
        worth[free] = worth[free - 1];
        for size in sizes.iter().copied().filter(|size| *size <= free) {
            let this = worth[free - size] + gains[size].0;
            if this > worth[free] {
                (worth[free], first[free]) = (this, size);
            }
        }
    }
    let (mut cut, mut free) = (Vec::new(), GRAINS - 1);
    while free > 0 {
        if first[free] > 0 {
            cut.push(gains[first[free]].1);
        }
        free -= first[free].max(1);
    }
    (worth[GRAINS - 1], cut)
}

/// How often, at least, each of the most frequent shapes is placed by whoever places what fits.
///
/// A pod is dropped only when every node that could hold it is blocked: its CPU, its memory or
/// enough of its devices are taken so far that the pod does not fit. Each pod that has arrived does
/// at most some part of blocking one node, whichever it is on; so with any weights for nodes, the
/// parts of all arrivals, each on the node where it does most, must reach the weight of all nodes.
/// Until they do, every pod of the shape was placed.
#[must_use]
pub fn forced(workload: &Workload, order: &[usize]) -> BTreeMap<Pod, u64> {
    let groups = groups(&workload.cluster.nodes);
    let mut numbers: BTreeMap<&Pod, usize> = BTreeMap::new();
    let arrivals: Vec<usize> = order
        .iter()
        .filter_map(|row| workload.pods.get(*row))
        .map(|pod| {
            let next = numbers.len();
            *numbers.entry(pod).or_insert(next)
        })
        .collect();
    let mut pods: Vec<(&Pod, usize)> = numbers.into_iter().collect();
    pods.sort_by_key(|(_, number)| *number);
    let pods: Vec<&Pod> = pods.into_iter().map(|(pod, _)| pod).collect();
    let mut often = vec![0u64; pods.len()];
    for number in &arrivals {
        if let Some(often) = often.get_mut(*number) {
            *often += 1;
        }
    }
    let mut most: Vec<usize> = (0..pods.len()).collect();
    most.sort_by_key(|number| std::cmp::Reverse(often.get(*number).copied()));
    let mut forced = BTreeMap::new();
    for number in most.into_iter().take(FORCED_SHAPES_MAX) {
        let Some(pod) = pods.get(number) else { continue };
        let until = blocked_from(&groups, &pods, &arrivals, pod);
        let before = arrivals.iter().take(until).filter(|other| **other == number).count();
        forced.insert((*pod).clone(), u64::try_from(before).unwrap_or(0));
    }
    forced
}

/// Arrivals before which no pod like this one can be dropped.
fn blocked_from(groups: &[Group], pods: &[&Pod], arrivals: &[usize], pod: &Pod) -> usize {
    let able: Vec<&Group> = groups.iter().filter(|group| group.holds(pod)).collect();
    let parts: Vec<Vec<f64>> = pods
        .iter()
        .map(|other| able.iter().map(|group| part(group, other, pod)).collect())
        .collect();
    let mut weights: Vec<f64> =
        able.iter().map(|group| f64::from(group.node.devices.max(1))).collect();
    let mut latest = 0;
    for _ in 0..WEIGHTINGS {
        let needed: f64 =
            able.iter().zip(&weights).map(|(group, weight)| group.count * weight).sum();
        let best = |parts: &Vec<f64>| {
            let all = parts.iter().zip(&weights).map(|(part, weight)| part * weight).enumerate();
            all.fold(
                (0usize, 0.0f64),
                |best, (at, this)| if this > best.1 { (at, this) } else { best },
            )
        };
        let best: Vec<(usize, f64)> = parts.iter().map(best).collect();
        let (mut sum, mut until) = (0.0, 0usize);
        let mut load = vec![0.0f64; able.len()];
        for number in arrivals {
            let Some((at, this)) = best.get(*number) else { continue };
            // A grain of doubt, so that rounding never claims too much.
            if sum >= needed * (1.0 - 1e-9) {
                break;
            }
            sum += this;
            until += 1;
            let own = parts.get(*number).and_then(|parts| parts.get(*at)).copied().unwrap_or(0.0);
            if let Some(load) = load.get_mut(*at) {
                *load += own;
            }
        }
        latest = latest.max(until);
        for ((weight, load), group) in weights.iter_mut().zip(&load).zip(&able) {
            *weight *= (group.count / (load + 0.05 * group.count)).sqrt().clamp(0.7, 1.4);
        }
    }
    latest
}

/// The part of blocking one node of a group for `pod` that another pod there does at most.
fn part(group: &Group, other: &Pod, pod: &Pod) -> f64 {
    if !group.holds(other) {
        return 0.0;
    }
    let of = |used: i64, room: i64| used as f64 / (room + 1) as f64;
    let cpu = of(other.cpu_milli, group.node.cpu_milli - pod.cpu_milli);
    let memory = of(other.memory_mib, group.node.memory_mib - pod.memory_mib);
    let devices = if pod.devices == 0 {
        0.0
    } else {
        let each = (f64::from(other.milli) / f64::from(1001 - pod.milli)).min(1.0);
        each * f64::from(other.devices) / f64::from(group.node.devices - pod.devices + 1)
    };
    cpu.max(memory).max(devices).min(1.0)
}
