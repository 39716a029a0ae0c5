//! Kinds of device and of node, as far as asks can tell them apart.

use polder_model::{
    Bytes, Device, DeviceKind, Inventory, Isolation, Mechanism, MilliCpu, NodeFacts,
};
use std::collections::{BTreeMap, BTreeSet};

/// Devices that no ask can tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) model: String,
    pub(crate) model_lower: String,
    kind: DeviceKind,
    pub(crate) memory: Bytes,
    pub(crate) features: BTreeSet<String>,
    pub(crate) mechanisms: BTreeSet<Mechanism>,
}

/// Nodes with the same devices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// Kinds of device, and how many of each.
    pub(crate) classes: Vec<(Class, u32)>,
}

/// The machine beside the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Host {
    pub(crate) cpu: MilliCpu,
    pub(crate) memory: Bytes,
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
            mechanisms: device.mechanisms.iter().copied().collect(),
        }
    }

    /// What cutting this device that way guarantees before anything better is arranged.
    pub(crate) fn isolation(&self, mechanism: Mechanism) -> Isolation {
        match (mechanism, self.kind) {
            (Mechanism::TimeSlice, _) => Isolation::Soft,
            (Mechanism::Mig, _) => Isolation::Hardware,
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
        Self { classes: classes.into_iter().collect() }
    }
}

impl Host {
    pub(crate) fn of(node: &NodeFacts) -> Self {
        Self { cpu: node.cpu, memory: node.memory }
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
