//! Kinds of device and of node, as far as asks can tell them apart.

use crate::fleet::NONE;
use crate::mig::Table;
use polder_model::{
    BitRate, Bytes, Device, DeviceId, DeviceKind, Inventory, Isolation, Mechanism, MilliCpu,
    NodeFacts,
};
use std::collections::{BTreeMap, BTreeSet};

/// Devices that no ask can tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) model: String,
    pub(crate) model_lower: String,
    pub(crate) kind: DeviceKind,
    pub(crate) memory: Bytes,
    pub(crate) features: BTreeSet<String>,
    pub(crate) mechanisms: BTreeSet<Mechanism>,
    pub(crate) bandwidth: Option<Bytes>,
    /// What its hardware cuts it into, where that is known.
    pub(crate) parts: Option<&'static Table>,
}

/// How a device lies to the others of its node, by numbers that mean nothing on another; [`NONE`]
/// where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lie {
    /// Place of its class in the shape.
    pub(crate) class: usize,
    pub(crate) island: u16,
    pub(crate) numa: u16,
    pub(crate) rail: u16,
}

/// Nodes with the same devices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// Kinds of device, and how many of each.
    pub(crate) classes: Vec<(Class, u32)>,
    /// Sorted.
    pub(crate) lies: Vec<Lie>,
    pub(crate) partitions: BTreeSet<String>,
    pub(crate) labels: BTreeSet<String>,
}

/// The machine beside the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Host {
    pub(crate) cpu: MilliCpu,
    pub(crate) memory: Bytes,
    /// Nothing where it is not known.
    pub(crate) nic: BitRate,
    /// Kept behind the memory of devices.
    pub(crate) backing: Bytes,
}

/// Machines, and how many of each. They are kept apart from [`Shape`] because equal nodes of a
/// fleet still differ by a few pages of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hosts(BTreeMap<Host, u64>);

impl Class {
    pub(crate) fn of(device: &Device) -> Self {
        Self {
            model: device.model.clone(),
            model_lower: device.model.to_lowercase(),
            kind: device.kind,
            memory: device.memory,
            features: device.features.clone(),
            mechanisms: mechanisms(device),
            bandwidth: device.memory_bandwidth,
            parts: if device.mechanisms.contains(&Mechanism::Mig) {
                Table::of(&device.model, device.memory)
            } else {
                None
            },
        }
    }

    /// What cutting this device that way guarantees before anything better is arranged.
    pub(crate) fn isolation(&self, mechanism: Mechanism) -> Isolation {
        match (mechanism, self.kind) {
            (Mechanism::TimeSlice, _) => Isolation::Soft,
            // Its programs are told their part in their environment.
            (Mechanism::Spatial, _) => Isolation::None,
            (Mechanism::Mig, _) => Isolation::Hardware,
            (Mechanism::Whole, DeviceKind::Gpu) => Isolation::Hardware,
            (Mechanism::Whole, DeviceKind::Cpu | DeviceKind::Accelerator) => Isolation::None,
        }
    }
}

/// How a device can be cut. One that is shared spatially is shared in no other way: turns and
/// instances beside it would hold neither.
fn mechanisms(device: &Device) -> BTreeSet<Mechanism> {
    let all: BTreeSet<Mechanism> = device.mechanisms.iter().copied().collect();
    let beside = [Mechanism::Spatial, Mechanism::Whole];
    let spatial = all.contains(&Mechanism::Spatial);
    all.into_iter().filter(|one| !spatial || beside.contains(one)).collect()
}

impl Shape {
    /// The shape of a node, counting the devices that `counts` lets through.
    pub(crate) fn of(inventory: &Inventory, counts: impl Fn(&Device) -> bool) -> Self {
        Self::with_devices(inventory, counts).0
    }

    /// The same, and how each of those devices lies.
    pub(crate) fn with_devices(
        inventory: &Inventory,
        counts: impl Fn(&Device) -> bool,
    ) -> (Self, Vec<(DeviceId, Lie)>) {
        let devices = inventory.devices.iter().filter(|device| counts(device));
        let mut devices: Vec<(Class, &Device)> =
            devices.map(|device| (Class::of(device), device)).collect();
        // Names of islands and rails are numbered by what lies there, not by names of devices, so
        // that equal nodes have equal shapes.
        let lie = |device: &Device| (device.island, device.numa_node, device.rail);
        devices.sort_by(|(a, left), (b, right)| {
            (a, lie(left), &left.id).cmp(&(b, lie(right), &right.id))
        });
        let mut shape = Self {
            classes: Vec::new(),
            lies: Vec::new(),
            partitions: inventory.node.partitions.clone(),
            labels: inventory.node.labels.clone(),
        };
        let mut numbers: [BTreeMap<u32, u16>; 3] = Default::default();
        let mut named = Vec::with_capacity(devices.len());
        for (class, device) in devices {
            match shape.classes.last_mut() {
                Some((last, number)) if *last == class => *number += 1,
                _ => shape.classes.push((class, 1)),
            }
            let (island, numa, rail) = lie(device);
            let [islands, numas, rails] = &mut numbers;
            let lie = Lie {
                class: shape.classes.len() - 1,
                island: number(islands, island),
                numa: number(numas, numa),
                rail: number(rails, rail),
            };
            shape.lies.push(lie);
            named.push((device.id.clone(), lie));
        }
        shape.lies.sort_unstable();
        (shape, named)
    }
}

/// Numbers names in the order in which they come.
fn number(known: &mut BTreeMap<u32, u16>, name: Option<u32>) -> u16 {
    let next = u16::try_from(known.len()).unwrap_or(NONE);
    name.map_or(NONE, |name| *known.entry(name).or_insert(next))
}

impl Host {
    pub(crate) fn of(node: &NodeFacts) -> Self {
        let (nic, backing) = (node.nic.unwrap_or_default(), node.backing);
        Self { cpu: node.cpu, memory: node.memory, nic, backing }
    }
}

impl Hosts {
    pub(crate) fn insert(&mut self, host: Host) {
        *self.0.entry(host).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, host: Host) {
        if let Some(nodes) = self.0.get_mut(&host) {
            *nodes -= 1;
            if *nodes == 0 {
                self.0.remove(&host);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many machines.
    pub(crate) fn nodes(&self) -> u64 {
        self.0.values().sum()
    }

    /// Machines, the largest first, and how many of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Host, u64)> {
        self.0.iter().rev().map(|(host, nodes)| (host, *nodes))
    }
}
