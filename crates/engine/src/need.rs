//! What one task needs, and which kinds of device and node could serve it.
//!
//! Asks with equal needs are placed alike: this is what makes one look serve many jobs.

use polder_model::{
    Ask, Bytes, Device, DeviceKind, Inventory, Isolation, Mechanism, MilliCpu, Permille,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// All of a device's compute.
pub(crate) const WHOLE: u32 = Permille::WHOLE.0;

/// Everything in an ask that placement looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// Devices for each task, all on one node.
    pub(crate) count: u32,
    pub(crate) mechanism: Mechanism,
    /// Free compute that a device must have.
    pub(crate) compute: u32,
    /// Free memory that a device must have; an untouched device's own when it is taken whole.
    pub(crate) memory: u64,
    /// In lower case.
    models: BTreeSet<String>,
    features: BTreeSet<String>,
    isolation: Option<Isolation>,
    pub(crate) cpu: u64,
    pub(crate) host_memory: u64,
    /// Fewest and most tasks.
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// Devices that no ask can tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) model: String,
    pub(crate) kind: DeviceKind,
    pub(crate) memory: Bytes,
    features: BTreeSet<String>,
    mechanisms: BTreeSet<Mechanism>,
}

/// Nodes that no ask can tell apart while they are empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) cpu: MilliCpu,
    pub(crate) memory: Bytes,
    /// Kinds of device, and how many of each.
    pub(crate) classes: Vec<(Class, u32)>,
}

/// One thing about a device or node that rules it out for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    Model { wanted: String },
    Feature { wanted: String },
    Mechanism { wanted: Mechanism },
    Isolation { wanted: Isolation, has: Isolation },
    Memory { wanted: Bytes, has: Bytes },
    Devices { wanted: u32, has: u64 },
    Cpu { wanted: u64, has: MilliCpu },
    HostMemory { wanted: Bytes, has: Bytes },
}

impl Class {
    pub(crate) fn of(device: &Device) -> Self {
        Self {
            model: device.model.clone(),
            kind: device.kind,
            memory: device.memory,
            features: device.features.clone(),
            mechanisms: device.mechanisms.iter().copied().collect(),
        }
    }

    /// What cutting this device that way guarantees before anything better is arranged.
    pub(crate) fn isolation(&self, mechanism: Mechanism) -> Isolation {
        match (mechanism, self.kind) {
            (Mechanism::TimeSlice, _) => Isolation::Soft,
            (Mechanism::Whole, DeviceKind::Gpu) => Isolation::Hardware,
            (Mechanism::Whole, DeviceKind::Cpu | DeviceKind::Accelerator) => Isolation::None,
        }
    }
}

impl Shape {
    /// The shape of a node, counting the devices that `counts` lets through.
    pub(crate) fn of(inventory: &Inventory, counts: impl Fn(&Device) -> bool) -> Self {
        let mut classes: BTreeMap<Class, u32> = BTreeMap::new();
        for device in inventory.devices.iter().filter(|device| counts(device)) {
            *classes.entry(Class::of(device)).or_default() += 1;
        }
        Self {
            cpu: inventory.node.cpu,
            memory: inventory.node.memory,
            classes: classes.into_iter().collect(),
        }
    }
}

impl Need {
    pub(crate) fn of(ask: &Ask) -> Self {
        let devices = &ask.devices;
        Self {
            count: devices.count,
            mechanism: devices.mechanism(),
            compute: if devices.whole { WHOLE } else { devices.compute.0 },
            memory: if devices.whole { 0 } else { devices.memory.0 },
            models: devices.models.iter().map(|model| model.to_lowercase()).collect(),
            features: devices.features.clone(),
            isolation: devices.isolation,
            cpu: ask.host.cpu.map_or(0, |cpu| cpu.0.into()),
            host_memory: ask.host.memory.map_or(0, |memory| memory.0),
            min: ask.gang.min,
            max: ask.gang.max,
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.mechanism == Mechanism::Whole
    }

    /// Everything about a kind of device that rules it out.
    pub(crate) fn misses(&self, class: &Class) -> Vec<Miss> {
        let mut misses = Vec::new();
        let model = class.model.to_lowercase();
        if !self.models.is_empty() && !self.models.iter().any(|wanted| model.contains(wanted)) {
            let wanted = self.models.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
            misses.push(Miss::Model { wanted });
        }
        let lacks = |feature: &&String| !class.features.contains(*feature);
        if let Some(feature) = self.features.iter().find(lacks) {
            misses.push(Miss::Feature { wanted: feature.clone() });
        }
        if !class.mechanisms.contains(&self.mechanism) {
            misses.push(Miss::Mechanism { wanted: self.mechanism });
        }
        let has = class.isolation(self.mechanism);
        if let Some(wanted) = self.isolation
            && has < wanted
        {
            misses.push(Miss::Isolation { wanted, has });
        }
        if class.memory.0 < self.memory {
            misses.push(Miss::Memory { wanted: Bytes(self.memory), has: class.memory });
        }
        misses
    }

    /// Tasks that one device with this much free could carry.
    pub(crate) fn tasks_on(&self, compute: u32, memory: u64) -> u64 {
        if self.is_whole() {
            return u64::from(compute == WHOLE);
        }
        let by_memory = memory.checked_div(self.memory).unwrap_or(u64::MAX);
        u64::from(compute.checked_div(self.compute).unwrap_or(0)).min(by_memory)
    }

    /// Tasks that a machine with this much CPU and memory free could carry.
    pub(crate) fn tasks_beside(&self, cpu: u64, memory: u64) -> u64 {
        let by_cpu = cpu.checked_div(self.cpu).unwrap_or(u64::MAX);
        by_cpu.min(memory.checked_div(self.host_memory).unwrap_or(u64::MAX))
    }

    /// Tasks that an empty node of this shape could carry, at most `max`.
    pub(crate) fn room(&self, shape: &Shape) -> u64 {
        let fitting = shape.classes.iter().filter(|(class, _)| self.misses(class).is_empty());
        let rooms: Vec<(u64, u64)> = fitting
            .map(|(class, number)| (self.tasks_on(WHOLE, class.memory.0), u64::from(*number)))
            .collect();
        let beside = self.tasks_beside(shape.cpu.0.into(), shape.memory.0);
        most_tasks(&rooms, self.count).min(beside).min(self.max.into())
    }

    /// Devices of one node of this shape that would do.
    pub(crate) fn fitting(&self, shape: &Shape) -> u64 {
        let fitting = shape.classes.iter().filter(|(class, _)| self.misses(class).is_empty());
        fitting.map(|(_, number)| u64::from(*number)).sum()
    }

    /// Everything about a node of this shape that rules it out although it has the right devices.
    fn node_misses(&self, shape: &Shape, fitting: u64) -> Vec<Miss> {
        let mut misses = Vec::new();
        if fitting < u64::from(self.count) {
            misses.push(Miss::Devices { wanted: self.count, has: fitting });
        }
        if u64::from(shape.cpu.0) < self.cpu {
            misses.push(Miss::Cpu { wanted: self.cpu, has: shape.cpu });
        }
        if shape.memory.0 < self.host_memory {
            let wanted = Bytes(self.host_memory);
            misses.push(Miss::HostMemory { wanted, has: shape.memory });
        }
        misses
    }

    /// The kind of device that comes nearest to what is needed, and what it lacks, in words.
    pub(crate) fn nearest<'a>(&self, shapes: impl Iterator<Item = &'a Shape>) -> String {
        let mut best: Option<(usize, std::cmp::Reverse<Bytes>, &Class, Vec<Miss>)> = None;
        for shape in shapes {
            let fitting = self.fitting(shape);
            for (class, _) in &shape.classes {
                let mut misses = self.misses(class);
                if misses.is_empty() {
                    misses = self.node_misses(shape, fitting);
                }
                let rank = (misses.len(), std::cmp::Reverse(class.memory), class);
                if best.as_ref().is_none_or(|(n, memory, class, _)| rank < (*n, *memory, class)) {
                    best = Some((rank.0, rank.1, class, misses));
                }
            }
        }
        match best {
            None => "the pool has no device yet".to_owned(),
            Some((_, _, class, misses)) => {
                let misses: Vec<String> = misses.iter().map(ToString::to_string).collect();
                format!("the nearest, {} ({}), {}", class.model, class.memory, misses.join(" and "))
            }
        }
    }
}

/// Most tasks of `count` distinct devices each, given how many tasks each device could carry
/// (and how many such devices there are): the largest `t` with `sum(min(room, t)) >= count * t`.
fn most_tasks(rooms: &[(u64, u64)], count: u32) -> u64 {
    let count = u128::from(count.max(1));
    let holds = |tasks: u128| {
        let sum: u128 = rooms
            .iter()
            .map(|(room, number)| u128::from(*room).min(tasks) * u128::from(*number))
            .sum();
        sum >= count * tasks
    };
    let all: u128 =
        rooms.iter().map(|(room, number)| u128::from(*room) * u128::from(*number)).sum();
    let (mut low, mut high) = (0, all / count);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    u64::try_from(low).unwrap_or(u64::MAX)
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { wanted } => write!(f, "is not a {wanted}"),
            Self::Feature { wanted } => write!(f, "has no {wanted}"),
            Self::Mechanism { wanted } => write!(f, "cannot be cut by {wanted}"),
            Self::Isolation { wanted, has } => {
                write!(f, "gives {has} isolation where {wanted} is wanted")
            }
            Self::Memory { wanted, has } => {
                write!(f, "has {has} of memory where {wanted} is wanted")
            }
            Self::Devices { wanted, has } => {
                write!(f, "is one of {has} on its node where {wanted} are wanted")
            }
            Self::Cpu { wanted, has } => {
                let wanted = MilliCpu(u32::try_from(*wanted).unwrap_or(u32::MAX));
                write!(f, "is on a node of {has} CPUs where {wanted} are wanted")
            }
            Self::HostMemory { wanted, has } => {
                write!(f, "is on a node of {has} memory where {wanted} is wanted")
            }
        }
    }
}
