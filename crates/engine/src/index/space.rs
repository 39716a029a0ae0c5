//! What is free, arranged so that the tightest fit is found without looking at the rest.
//!
//! Nodes of one [`Shape`] form a group; in it, devices of one class form a cell, ordered by free
//! compute and then free memory. Only healthy devices of nodes that answer are here.

use crate::shape::{Host, Hosts, Shape};
use polder_model::{DeviceId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A group of nodes and a class of devices in it.
pub(crate) type CellKey = (Arc<Shape>, usize);

/// What is free on one device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Room {
    /// Place of its class in the node's shape.
    pub(crate) class: usize,
    pub(crate) compute: u32,
    pub(crate) memory: u64,
}

/// What is free on one node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeSpace {
    pub(crate) shape: Arc<Shape>,
    /// What the machine has beside its devices; what is free of it follows.
    pub(crate) host: Host,
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
    pub(crate) devices: BTreeMap<DeviceId, Room>,
}

/// What one lease takes of its node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Take {
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
    pub(crate) devices: Vec<(DeviceId, u32, u64)>,
}

/// Nodes by how free their k-th freest device is, for each k from 2.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ranks(Vec<BTreeMap<u32, BTreeSet<NodeId>>>);

/// Devices of one class, by what is free on them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    free: BTreeMap<u32, BTreeMap<u64, BTreeSet<(NodeId, DeviceId)>>>,
    pub(crate) ranks: Ranks,
}

/// Nodes of one shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Group {
    pub(crate) hosts: Hosts,
    pub(crate) cells: Vec<Cell>,
    /// Over all classes; kept where there is more than one.
    pub(crate) ranks: Ranks,
}

/// What is free in the pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Space {
    nodes: BTreeMap<NodeId, NodeSpace>,
    groups: BTreeMap<Arc<Shape>, Group>,
}

/// Free compute, free memory, node, device: smallest is tightest.
pub(crate) type Candidate<'a> = (u32, u64, &'a NodeId, &'a DeviceId);

impl Cell {
    /// Devices with at least this much free, the tightest first.
    pub(crate) fn fitting(&self, compute: u32, memory: u64) -> impl Iterator<Item = Candidate<'_>> {
        self.free.range(compute..).flat_map(move |(compute, by_memory)| {
            by_memory.range(memory..).flat_map(move |(memory, devices)| {
                devices.iter().map(move |(node, device)| (*compute, *memory, node, device))
            })
        })
    }

    fn insert(&mut self, room: &Room, node: &NodeId, device: &DeviceId) {
        let by_memory = self.free.entry(room.compute).or_default();
        by_memory.entry(room.memory).or_default().insert((node.clone(), device.clone()));
    }

    fn remove(&mut self, room: &Room, node: &NodeId, device: &DeviceId) {
        let Some(by_memory) = self.free.get_mut(&room.compute) else { return };
        if let Some(devices) = by_memory.get_mut(&room.memory) {
            devices.remove(&(node.clone(), device.clone()));
            if devices.is_empty() {
                by_memory.remove(&room.memory);
            }
        }
        if by_memory.is_empty() {
            self.free.remove(&room.compute);
        }
    }
}

impl Ranks {
    /// Nodes with at least `count` devices of at least this much free compute, tightest first.
    pub(crate) fn fitting(
        &self,
        count: u32,
        compute: u32,
    ) -> impl Iterator<Item = (u32, &NodeId)> + '_ {
        let place = usize::try_from(count).ok().and_then(|count| count.checked_sub(2));
        let by_level = place.and_then(|place| self.0.get(place));
        by_level.into_iter().flat_map(move |by_level| {
            by_level
                .range(compute..)
                .flat_map(|(level, nodes)| nodes.iter().map(move |node| (*level, node)))
        })
    }

    /// `levels` from freest to least free.
    fn insert(&mut self, levels: &[u32], node: &NodeId) {
        let wanted = levels.len().saturating_sub(1);
        if self.0.len() < wanted {
            self.0.resize_with(wanted, BTreeMap::new);
        }
        for (by_level, level) in self.0.iter_mut().zip(levels.iter().skip(1)) {
            by_level.entry(*level).or_default().insert(node.clone());
        }
    }

    fn remove(&mut self, levels: &[u32], node: &NodeId) {
        for (by_level, level) in self.0.iter_mut().zip(levels.iter().skip(1)) {
            if let Some(nodes) = by_level.get_mut(level) {
                nodes.remove(node);
                if nodes.is_empty() {
                    by_level.remove(level);
                }
            }
        }
    }
}

impl NodeSpace {
    /// Whether all of `take` is free.
    pub(crate) fn has(&self, take: &Take) -> bool {
        self.cpu >= take.cpu
            && self.memory >= take.memory
            && take.devices.iter().all(|(device, compute, memory)| {
                let room = self.devices.get(device);
                room.is_some_and(|room| room.compute >= *compute && room.memory >= *memory)
            })
    }

    pub(crate) fn take(&mut self, take: &Take) {
        self.cpu = self.cpu.saturating_sub(take.cpu);
        self.memory = self.memory.saturating_sub(take.memory);
        for (device, compute, memory) in &take.devices {
            if let Some(room) = self.devices.get_mut(device) {
                room.compute = room.compute.saturating_sub(*compute);
                room.memory = room.memory.saturating_sub(*memory);
            }
        }
    }

    /// The reverse of [`NodeSpace::take`].
    pub(crate) fn give(&mut self, take: &Take) {
        self.cpu = self.cpu.saturating_add(take.cpu);
        self.memory = self.memory.saturating_add(take.memory);
        for (device, compute, memory) in &take.devices {
            if let Some(room) = self.devices.get_mut(device) {
                room.compute = room.compute.saturating_add(*compute);
                room.memory = room.memory.saturating_add(*memory);
            }
        }
    }

    /// Free compute from freest to least free: of one class, or of all.
    fn levels(&self, class: Option<usize>) -> Vec<u32> {
        let rooms = self.devices.values();
        let of_class = rooms.filter(|room| class.is_none_or(|class| room.class == class));
        let mut levels: Vec<u32> = of_class.map(|room| room.compute).collect();
        levels.sort_unstable_by(|a, b| b.cmp(a));
        levels
    }
}

impl Space {
    pub(crate) fn node(&self, node: &NodeId) -> Option<&NodeSpace> {
        self.nodes.get(node)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Arc<Shape>, &Group)> {
        self.groups.iter()
    }

    pub(crate) fn group(&self, shape: &Shape) -> Option<&Group> {
        self.groups.get(shape)
    }

    /// How many cells there are.
    pub(crate) fn cells(&self) -> usize {
        self.groups.values().map(|group| group.cells.len()).sum()
    }

    pub(crate) fn insert(&mut self, id: NodeId, node: NodeSpace) {
        let group = self.groups.entry(Arc::clone(&node.shape)).or_insert_with(|| {
            let cells = node.shape.classes.iter().map(|_| Cell::default()).collect();
            Group { hosts: Hosts::default(), cells, ranks: Ranks::default() }
        });
        group.hosts.insert(node.host);
        group.link(&id, &node);
        self.nodes.insert(id, node);
    }

    pub(crate) fn remove(&mut self, id: &NodeId) {
        let Some(node) = self.nodes.remove(id) else { return };
        if let Some(group) = self.groups.get_mut(&node.shape) {
            group.unlink(id, &node);
            group.hosts.remove(node.host);
            if group.hosts.is_empty() {
                self.groups.remove(&node.shape);
            }
        }
    }

    /// Changes what is free on a node.
    pub(crate) fn change(&mut self, id: &NodeId, change: impl FnOnce(&mut NodeSpace)) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if let Some(group) = self.groups.get_mut(&node.shape) {
            group.unlink(id, node);
            change(node);
            group.link(id, node);
        }
    }
}

impl Group {
    fn link(&mut self, id: &NodeId, node: &NodeSpace) {
        for (device, room) in &node.devices {
            if let Some(cell) = self.cells.get_mut(room.class) {
                cell.insert(room, id, device);
            }
        }
        for (class, cell) in self.cells.iter_mut().enumerate() {
            cell.ranks.insert(&node.levels(Some(class)), id);
        }
        if self.cells.len() > 1 {
            self.ranks.insert(&node.levels(None), id);
        }
    }

    fn unlink(&mut self, id: &NodeId, node: &NodeSpace) {
        for (device, room) in &node.devices {
            if let Some(cell) = self.cells.get_mut(room.class) {
                cell.remove(room, id, device);
            }
        }
        for (class, cell) in self.cells.iter_mut().enumerate() {
            cell.ranks.remove(&node.levels(Some(class)), id);
        }
        if self.cells.len() > 1 {
            self.ranks.remove(&node.levels(None), id);
        }
    }
}
