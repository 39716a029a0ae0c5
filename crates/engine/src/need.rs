//! What one task needs, and which kinds of device and node could serve it.
//!
//! Asks with equal needs are placed alike: this is what makes one look serve many jobs.

use crate::fleet::{CellIx, Demand, DeviceSpec, Node, NodeSpec};
use crate::mig::Wants;
use crate::shape::{Class, Host, Hosts, Lie, Shape};
use crate::topology::{Needs, Together, Wish, card};
use polder_model::{Ask, BitRate, Bytes, Isolation, Mechanism, MilliCpu, Permille, PlaceAsk};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

/// All of a device's compute.
pub(crate) const WHOLE: u32 = Permille::WHOLE.0;

/// Features that an instance of a device may have, and not the device.
const MEDIA: &str = "media";
const GRAPHICS: &str = "graphics";

/// Everything in an ask that placement looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// Of what most tells needs apart: they are compared by it first.
    digest: u64,
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
    /// Bytes a second between memory and compute.
    bandwidth: u64,
    /// How the devices of a task lie to each other.
    pub(crate) wish: Wish,
    /// The tasks had better be near each other.
    pub(crate) near: bool,
    /// Where the node must belong, and what it must be labelled.
    pub(crate) partition: Option<String>,
    labels: BTreeSet<String>,
    pub(crate) cpu: u64,
    pub(crate) host_memory: u64,
    /// Bits a second.
    pub(crate) nic: u64,
    /// Bytes of host memory behind that of its devices.
    pub(crate) backing: u64,
    /// Fewest and most tasks.
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// What is free beside the devices of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Thousandths of a CPU.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) memory: u64,
    /// Bits a second.
    pub(crate) nic: u64,
    /// Bytes kept for backing.
    pub(crate) backing: u64,
}

impl Beside {
    /// All that a machine has.
    fn of(host: &Host) -> Self {
        let (nic, backing) = (host.nic.0, host.backing.0);
        Self { cpu: host.cpu.0.into(), memory: host.memory.0, nic, backing }
    }
}

/// One thing about a device or node that rules it out for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    Model { wanted: String },
    Feature { wanted: String },
    Mechanism { wanted: Mechanism },
    Isolation { wanted: Isolation, has: Isolation },
    Memory { wanted: Bytes, has: Bytes },
    Bandwidth { wanted: Bytes, has: Bytes },
    Instance { wants: Wants },
    Together { wanted: u32 },
    Partition { wanted: String },
    Label { wanted: String },
    Devices { wanted: u32, has: u64 },
    Cpu { wanted: u64, has: MilliCpu },
    HostMemory { wanted: Bytes, has: Bytes },
    Nic { wanted: BitRate, has: BitRate },
    Backing { wanted: Bytes, has: Bytes },
}

impl Need {
    pub(crate) fn of(ask: &Ask) -> Self {
        let devices = &ask.devices;
        let amounts = [
            devices.count.into(),
            devices.compute.0.into(),
            devices.memory.0,
            ask.host.cpu.map_or(0, |cpu| cpu.0.into()),
            ask.host.memory.map_or(0, |memory| memory.0),
            ask.gang.min.into(),
            ask.gang.max.into(),
        ];
        let mix = |hash: u64, amount: u64| {
            (hash.rotate_left(5) ^ amount).wrapping_mul(0x517c_c1b7_2722_0a95)
        };
        Self {
            digest: amounts.into_iter().fold(0, mix),
            count: devices.count,
            mechanism: devices.mechanism(),
            compute: if devices.whole { WHOLE } else { devices.compute.0 },
            memory: if devices.whole { 0 } else { devices.memory.0 },
            models: devices.models.iter().map(|model| model.to_lowercase()).collect(),
            features: devices.features.clone(),
            isolation: devices.isolation,
            bandwidth: devices.bandwidth.map_or(0, |bandwidth| bandwidth.0),
            wish: if devices.count > 1 { wish(&ask.place) } else { Wish::default() },
            near: ask.place.near && ask.gang.max > 1,
            partition: ask.place.partition.clone(),
            labels: ask.place.labels.clone(),
            cpu: ask.host.cpu.map_or(0, |cpu| cpu.0.into()),
            host_memory: ask.host.memory.map_or(0, |memory| memory.0),
            nic: ask.host.nic.map_or(0, |nic| nic.0),
            backing: devices.backing_each_task().0,
            min: ask.gang.start_min(),
            max: ask.gang.max,
        }
    }

    /// What one of its tasks needs.
    pub(crate) fn alone(self) -> Self {
        Self { min: 1, max: 1, ..self }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.mechanism == Mechanism::Whole
    }

    /// What an instance must have, if hardware is to cut the devices. The words `media` and
    /// `graphics` then select an instance that has them.
    pub(crate) fn wants(&self) -> Option<Wants> {
        (self.mechanism == Mechanism::Mig).then(|| Wants {
            compute: Permille(self.compute),
            memory: Bytes(self.memory),
            media: self.features.contains(MEDIA),
            graphics: self.features.contains(GRAPHICS),
        })
    }

    /// What a card is judged by that is to serve it. The bandwidth asked for is a device's, of which
    /// a share has its part.
    pub(crate) fn needs(&self) -> Needs {
        let part =
            |all: u64| u128::from(all) * u128::from(self.compute.min(WHOLE)) / u128::from(WHOLE);
        Needs {
            memory: Bytes(self.memory),
            share: Permille(self.compute),
            bandwidth: u64::try_from(part(self.bandwidth)).unwrap_or(u64::MAX),
            compute: 0,
            whole: self.is_whole(),
        }
    }

    /// Everything about a kind of device that rules it out.
    pub(crate) fn misses(&self, class: &Class) -> Vec<Miss> {
        let mut misses = Vec::new();
        let wants = self.wants();
        let is_model = |wanted: &String| class.model_lower.contains(wanted);
        if !self.models.is_empty() && !self.models.iter().any(is_model) {
            let wanted = self.models.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
            misses.push(Miss::Model { wanted });
        }
        let of_instance = |feature: &str| wants.is_some() && [MEDIA, GRAPHICS].contains(&feature);
        let lacks = |feature: &&String| !class.features.contains(*feature) && !of_instance(feature);
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
        } else if let Some(wants) = wants
            && class.mechanisms.contains(&self.mechanism)
            && class.parts.is_none_or(|table| table.sufficient(&wants).is_empty())
        {
            misses.push(Miss::Instance { wants });
        }
        if self.bandwidth > 0 {
            let card = card(&class.model, class.memory, class.bandwidth);
            let (wanted, has) = (Bytes(self.bandwidth), Bytes(card.bandwidth));
            if has < wanted {
                misses.push(Miss::Bandwidth { wanted, has });
            }
        }
        misses
    }

    /// Host memory behind each of its devices'.
    pub(crate) fn backing_each(&self) -> Bytes {
        Bytes(self.backing.checked_div(self.count.into()).unwrap_or(0))
    }

    /// Tasks that one device with this much free could carry.
    pub(crate) fn tasks_on(&self, compute: u32, memory: u64) -> u64 {
        if self.is_whole() {
            return u64::from(compute == WHOLE);
        }
        let by_memory = memory.checked_div(self.memory).unwrap_or(u64::MAX);
        u64::from(compute.checked_div(self.compute).unwrap_or(0)).min(by_memory)
    }

    /// Tasks that a machine with this much CPU, memory and network free could carry.
    pub(crate) fn tasks_beside(&self, free: Beside) -> u64 {
        let times = |free: u64, need: u64| free.checked_div(need).unwrap_or(u64::MAX);
        let by_memory = times(free.memory, self.host_memory);
        let by_backing = times(free.backing, self.backing);
        times(free.cpu, self.cpu).min(by_memory).min(times(free.nic, self.nic)).min(by_backing)
    }

    /// Tasks that the devices of one empty node of this shape could carry, at most `max`.
    pub(crate) fn tasks_in(&self, shape: &Shape) -> u64 {
        if self.count == 0 {
            return self.max.into();
        }
        if self.wants().is_some() || self.wish != Wish::default() {
            return self.tasks_lying(shape).min(self.max.into());
        }
        let fitting = shape.classes.iter().filter(|(class, _)| self.misses(class).is_empty());
        let rooms: Vec<(u64, u64)> = fitting
            .map(|(class, number)| (self.tasks_on(WHOLE, class.memory.0), u64::from(*number)))
            .collect();
        most_tasks(&rooms, self.count).min(self.max.into())
    }

    /// The same where it matters how devices lie or what they are cut into.
    fn tasks_lying(&self, shape: &Shape) -> u64 {
        let device = |lie: &Lie| {
            let class = &shape.classes.get(lie.class)?.0;
            self.misses(class).is_empty().then(|| class.spec(lie))
        };
        let devices = shape.lies.iter().filter_map(device).collect();
        let node = Node::idle(&NodeSpec { devices, ..NodeSpec::default() });
        let alone =
            Demand { cells: None, cpu: 0, memory: 0, nic: 0, backing: 0, ..self.demand(&[]) };
        alone.tasks_in(&node)
    }

    /// What one task needs, as the kernel knows it, when these cells are open to it.
    pub(crate) fn demand(&self, cells: &[CellIx]) -> Demand {
        let amount = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        Demand {
            count: self.count,
            compute: i32::try_from(self.compute).unwrap_or(i32::MAX),
            device_memory: amount(self.memory),
            whole: self.is_whole(),
            wish: self.wish,
            cut: self.wants(),
            cpu: amount(self.cpu),
            memory: amount(self.host_memory),
            nic: amount(self.nic),
            backing: amount(self.backing),
            cells: (self.count > 0).then(|| cells.iter().map(|cell| cell.0).collect()),
            ..Demand::default()
        }
    }

    /// Tasks that empty nodes of one shape on these machines could carry. Exact up to what the
    /// smallest gang needs, so that a large pool is not counted to its end.
    pub(crate) fn room(&self, shape: &Shape, hosts: &Hosts) -> u64 {
        if !self.is_inside(shape) {
            return 0;
        }
        let (tasks, mut room) = (self.tasks_in(shape), 0u64);
        for (host, nodes) in hosts.iter() {
            if tasks == 0 || room >= self.min.into() {
                break;
            }
            let beside = self.tasks_beside(Beside::of(host));
            room = room.saturating_add(tasks.min(beside).saturating_mul(nodes));
        }
        room
    }

    /// Whether nodes of this shape belong where they must.
    fn is_inside(&self, shape: &Shape) -> bool {
        let partition = self.partition.as_ref();
        partition.is_none_or(|partition| shape.partitions.contains(partition))
            && self.labels.is_subset(&shape.labels)
    }

    /// Devices of one node of this shape that would do.
    pub(crate) fn fitting(&self, shape: &Shape) -> u64 {
        let fitting = shape.classes.iter().filter(|(class, _)| self.misses(class).is_empty());
        fitting.map(|(_, number)| u64::from(*number)).sum()
    }

    /// Everything about a node that rules it out although it has such devices.
    fn node_misses(&self, host: &Host, shape: &Shape) -> Vec<Miss> {
        let (mut misses, fitting) = (Vec::new(), self.fitting(shape));
        if let Some(wanted) = self.partition.as_ref().filter(|p| !shape.partitions.contains(*p)) {
            misses.push(Miss::Partition { wanted: wanted.clone() });
        }
        if let Some(wanted) = self.labels.iter().find(|label| !shape.labels.contains(*label)) {
            misses.push(Miss::Label { wanted: wanted.clone() });
        }
        if fitting < u64::from(self.count) {
            misses.push(Miss::Devices { wanted: self.count, has: fitting });
        } else if self.tasks_in(shape) == 0 {
            misses.push(Miss::Together { wanted: self.count });
        }
        if u64::from(host.cpu.0) < self.cpu {
            misses.push(Miss::Cpu { wanted: self.cpu, has: host.cpu });
        }
        if host.memory.0 < self.host_memory {
            let wanted = Bytes(self.host_memory);
            misses.push(Miss::HostMemory { wanted, has: host.memory });
        }
        if host.nic.0 < self.nic {
            misses.push(Miss::Nic { wanted: BitRate(self.nic), has: host.nic });
        }
        if host.backing.0 < self.backing {
            misses.push(Miss::Backing { wanted: Bytes(self.backing), has: host.backing });
        }
        misses
    }

    /// What the best machine of one shape misses.
    fn beside_misses(&self, shape: &Shape, hosts: &Hosts) -> Vec<Miss> {
        // Of equally good machines the largest: it is the one to compare with.
        let beside = hosts.iter().map(|(host, _)| (self.node_misses(host, shape), host));
        let beside = beside.min_by_key(|(misses, host)| (far(misses), Reverse(**host)));
        beside.map(|(misses, _)| misses).unwrap_or_default()
    }

    /// The kind of device that comes nearest to what is needed, and what it lacks, in words; of a
    /// task without devices, what the nearest machine lacks. Nearest is what misses the fewest
    /// things, then the least of them.
    pub(crate) fn nearest<'a>(
        &self,
        known: impl Iterator<Item = (&'a Shape, &'a Hosts)> + Clone,
    ) -> String {
        let words = |misses: &[Miss], word: fn(&Miss) -> String| -> String {
            misses.iter().map(word).collect::<Vec<_>>().join(" and ")
        };
        if self.count == 0 {
            let machines = known.map(|(shape, hosts)| self.beside_misses(shape, hosts));
            let nearest = machines.min_by_key(|misses| far(misses));
            return nearest.map_or("the pool has no node yet".to_owned(), |misses| {
                format!("the nearest node {}", words(&misses, Miss::of_node))
            });
        }
        let nodes: u64 = known.clone().map(|(_, hosts)| hosts.nodes()).sum();
        let misses = known.flat_map(|(shape, hosts)| {
            let beside = self.beside_misses(shape, hosts);
            shape.classes.iter().map(move |(class, _)| {
                let misses = self.misses(class);
                (if misses.is_empty() { beside.clone() } else { misses }, class)
            })
        });
        let nearest =
            misses.min_by_key(|(misses, class)| (far(misses), Reverse(class.memory), *class));
        match (nearest, nodes) {
            (Some((misses, class)), _) => {
                let misses = words(&misses, ToString::to_string);
                format!("the nearest, {} ({}), {misses}", class.model, class.memory)
            }
            (None, 0) => "the pool has no device yet".to_owned(),
            (None, _) => "no node has a device".to_owned(),
        }
    }

    /// Machines that could carry a task beside their devices.
    pub(crate) fn machines(&self, shape: &Shape, hosts: &Hosts) -> u64 {
        let carries = |host: &Host| self.tasks_beside(Beside::of(host)) > 0;
        let nodes = hosts.iter().filter(|(host, _)| carries(host)).map(|(_, nodes)| nodes);
        if self.is_inside(shape) { nodes.sum() } else { 0 }
    }
}

/// How far that is from what is needed: whoever names a model means it, then the fewest things, then
/// the least of them.
fn far(misses: &[Miss]) -> (bool, usize, u64) {
    let another = misses.iter().any(|miss| matches!(miss, Miss::Model { .. }));
    (another, misses.len(), misses.iter().map(Miss::weight).sum())
}

/// How the devices of a task are to lie to each other. One device lies alone.
fn wish(place: &PlaceAsk) -> Wish {
    let together = |wish| match wish {
        polder_model::Wish::Any => Together::Any,
        polder_model::Wish::Prefer => Together::Preferred,
        polder_model::Wish::Require => Together::Required,
    };
    Wish { island: together(place.island), numa: together(place.numa), rails: together(place.rail) }
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

impl Class {
    /// A device of this kind, as the kernel knows it; its cell is for the caller to say.
    pub(crate) fn spec(&self, lie: &Lie) -> DeviceSpec {
        DeviceSpec {
            memory: i64::try_from(self.memory.0).unwrap_or(i64::MAX),
            island: lie.island,
            numa: lie.numa,
            rail: lie.rail,
            parts: self.parts,
            healthy: true,
            ..DeviceSpec::default()
        }
    }
}

/// The weight of missing what is there or not.
const ABSENT: u64 = 2000;

impl Miss {
    /// How much is missing, in thousandths of what is wanted; what is there or not weighs more.
    fn weight(&self) -> u64 {
        let part = |wanted: u64, has: u64| {
            let lacking = u128::from(wanted.saturating_sub(has)) * 1000;
            u64::try_from(lacking / u128::from(wanted.max(1))).unwrap_or(ABSENT)
        };
        match self {
            Self::Memory { wanted, has }
            | Self::Bandwidth { wanted, has }
            | Self::HostMemory { wanted, has }
            | Self::Backing { wanted, has } => part(wanted.0, has.0),
            Self::Devices { wanted, has } => part((*wanted).into(), *has),
            Self::Cpu { wanted, has } => part(*wanted, has.0.into()),
            Self::Nic { wanted, has } => part(wanted.0, has.0),
            Self::Model { .. }
            | Self::Feature { .. }
            | Self::Mechanism { .. }
            | Self::Isolation { .. }
            | Self::Instance { .. }
            | Self::Together { .. }
            | Self::Partition { .. }
            | Self::Label { .. } => ABSENT,
        }
    }

    /// What is wrong with a node, said of the node.
    fn of_node(&self) -> String {
        match self {
            Self::Partition { wanted } => format!("is outside partition {wanted}"),
            Self::Label { wanted } => format!("is without label {wanted}"),
            Self::Cpu { wanted, has } => {
                let wanted = MilliCpu(u32::try_from(*wanted).unwrap_or(u32::MAX));
                format!("has {has} CPUs where {wanted} are wanted")
            }
            Self::HostMemory { wanted, has } => {
                format!("has {has} memory where {wanted} is wanted")
            }
            Self::Nic { wanted, has: BitRate(0) } => {
                format!("has a network of unknown speed where {wanted} is wanted")
            }
            Self::Nic { wanted, has } => format!("has {has} of network where {wanted} is wanted"),
            Self::Backing { wanted, has: Bytes(0) } => {
                format!("keeps no host memory for backing where {wanted} is wanted")
            }
            Self::Backing { wanted, has } => {
                format!("can back {has} with host memory where {wanted} is wanted")
            }
            other => other.to_string(),
        }
    }
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
            Self::Bandwidth { wanted, has } => {
                write!(f, "moves {has} a second where {wanted} is wanted")
            }
            Self::Instance { wants } => {
                write!(f, "is cut into no part of {} and {}", wants.compute, wants.memory)?;
                if wants.media {
                    write!(f, " with media engines")?;
                }
                if wants.graphics {
                    write!(f, " with graphics")?;
                }
                Ok(())
            }
            Self::Together { wanted } => {
                let others = wanted.saturating_sub(1);
                let s = if others == 1 { "" } else { "s" };
                write!(f, "does not lie together with {others} other{s} as asked")
            }
            Self::Devices { wanted, has } => match has {
                1 => write!(f, "is the only one on its node where {wanted} are wanted"),
                _ => write!(f, "is one of {has} on its node where {wanted} are wanted"),
            },
            Self::Partition { .. }
            | Self::Label { .. }
            | Self::Cpu { .. }
            | Self::HostMemory { .. }
            | Self::Nic { .. }
            | Self::Backing { .. } => write!(f, "is on a node that {}", self.of_node()),
        }
    }
}
