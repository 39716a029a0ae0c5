//! The numbers of the published simulator: nodes, start overheads, interleaving.
//!
//! All of it is somebody else's model of a cluster, kept as it was published, so that figures from
//! it can stand beside figures that others have published. Nothing here is how Polder works.

use super::trace::Seen;

/// Nodes of the modelled cluster.
pub const NODES: usize = 8;
/// Devices of each node.
pub const NODE_DEVICES: u32 = 8;
/// Devices of the modelled cluster.
pub const DEVICES: u32 = 64;
/// At most so many jobs share the same devices.
pub const SHARERS_MAX: usize = 4;
/// Every iteration time alone is longer than its profile by this factor.
pub const STRETCH: f64 = 1.015;
/// What interleaving 2, 3 or 4 jobs costs, over [`STRETCH`].
const SHARING: [f64; 5] = [1.0, 1.0, 1.33 / STRETCH, 1.5 / STRETCH, 1.37 / STRETCH];
/// The start overhead of a model that was not profiled, in seconds.
const OVERHEAD_UNKNOWN: f64 = 10.0;

/// Seconds of one iteration of a job that has its devices alone.
#[must_use]
pub fn alone(job: &Seen) -> f64 {
    job.iteration * STRETCH
}

/// Seconds that a running job loses at every event.
#[must_use]
pub fn overhead(job: &Seen) -> f64 {
    let by_devices: [f64; 6] = match job.model.as_str() {
        "vgg16" => [7.0, 7.0, 8.0, 9.0, 9.0, 10.0],
        "vgg19" => [7.0, 7.0, 8.0, 9.0, 10.0, 10.0],
        "resnet18" => [4.0, 5.0, 5.0, 7.0, 7.0, 7.0],
        "shufflenet_v2_x1_0" => [4.0, 4.0, 5.0, 5.0, 7.0, 8.0],
        "bert" | "gpt2" => [10.0; 6],
        "a2c" => [38.0, 39.0, 39.0, 46.0, 46.0, 46.0],
        "dqn" => [5.0, 5.0, 6.0, 6.0, 8.0, 8.0],
        _ => [OVERHEAD_UNKNOWN; 6],
    };
    let column = match job.devices {
        1 => 0,
        2 => 1,
        4 => 2,
        8 => 3,
        16 => 4,
        32 => 5,
        _ => return OVERHEAD_UNKNOWN,
    };
    by_devices[column]
}

/// Seconds of one common iteration of jobs that share the same devices: the best rotation of their
/// stages against each other. One job alone takes its own iteration.
#[must_use]
pub fn together(sharers: &[&Seen]) -> f64 {
    match sharers {
        [] => 0.0,
        [job] => alone(job),
        [first, second] => {
            let crossed = |a: &Seen, b: &Seen| a.stages[0].max(b.stages[1] + b.stages[2]);
            let crossed = crossed(first, second) + crossed(second, first);
            crossed.min(rotated(sharers)) * SHARING[2]
        }
        _ => rotated(sharers) * SHARING[sharers.len().min(SHARERS_MAX)],
    }
}

/// The shortest common iteration over all orders of the sharers in the four slots.
fn rotated(sharers: &[&Seen]) -> f64 {
    let mut order: Vec<usize> = (0..sharers.len()).collect();
    let mut best = f64::INFINITY;
    permute(&mut order, 0, &mut |order| {
        best = best.min(period(order.iter().map(|&index| &sharers[index].stages)));
    });
    best
}

/// Calls `each` with every order of `order[from..]` behind `order[..from]`.
fn permute(order: &mut Vec<usize>, from: usize, each: &mut impl FnMut(&[usize])) {
    if from + 1 >= order.len() {
        return each(order);
    }
    for index in from..order.len() {
        order.swap(from, index);
        permute(order, from + 1, each);
        order.swap(from, index);
    }
}

/// The period of sharers in given slots, as published: the second and third stage take one slot
/// each, the first takes two and may overlap with another's; a slot ends when the longest stage
/// that ends in it does, and one in which none ends counts from the start. Slots are run through
/// twice: then the period has settled.
fn period<'a>(stages: impl Iterator<Item = &'a [f64; 3]>) -> f64 {
    const SLOTS: usize = 4;
    let mut slots: [Option<&[f64; 3]>; SLOTS] = [None; SLOTS];
    for (slot, stages) in slots.iter_mut().zip(stages) {
        *slot = Some(stages);
    }
    let mut ends = [0.0_f64; 2 * SLOTS + 1];
    for now in 0..2 * SLOTS {
        let ending = |stage: usize, slot: usize, since: f64| {
            slots[(now + slot) % SLOTS].map_or(0.0, |stages| since + stages[stage])
        };
        let mut end = ending(2, 1, ends[now]).max(ending(1, 2, ends[now]));
        if now > 0 {
            end = end.max(ending(0, 3, ends[now - 1]));
        }
        ends[now + 1] = end;
        if now >= SLOTS {
            let (period, before) = (end - ends[now - 3], ends[now] - ends[now - 4]);
            if (period - before).abs() <= 1e-3 * period.abs().max(before.abs()) && period > 0.0 {
                return period;
            }
        }
    }
    ends[2 * SLOTS] - ends[SLOTS]
}

/// Free devices of every node, filled first fit in the order of asking: a gang of up to a node's
/// devices inside one node, a larger one on whole nodes and a rest.
#[derive(Debug, Clone)]
pub struct Nodes([u32; NODES]);

impl Nodes {
    /// All free.
    #[must_use]
    pub fn free() -> Self {
        Self([NODE_DEVICES; NODES])
    }

    /// Takes devices for one gang, or leaves everything as it is.
    pub fn take(&mut self, devices: u32) -> bool {
        let before = self.0;
        let (mut whole, rest) = (devices / NODE_DEVICES, devices % NODE_DEVICES);
        for free in self.0.iter_mut().filter(|free| **free == NODE_DEVICES) {
            if whole == 0 {
                break;
            }
            (*free, whole) = (0, whole - 1);
        }
        let mut taken = whole == 0;
        if taken && rest > 0 {
            let node = self.0.iter_mut().find(|free| **free >= rest);
            taken = node.map(|free| *free -= rest).is_some();
        }
        if !taken {
            self.0 = before;
        }
        taken
    }
}
