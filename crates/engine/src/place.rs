//! Where: the devices whose free share is tightest, for one task or a gang of them.
//!
//! A search changes nothing. Each device is looked at once per gang, because tasks of a gang are
//! equal: best fit fills the tightest device, then the next.

use crate::index::space::{Candidate, CellKey, NodeSpace, Ranks, Space, Take};
use crate::need::Need;
use crate::shape::Shape;
use polder_model::{DeviceId, NodeId};
use std::cell::Cell as Counter;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::sync::Arc;

/// The free space of the pool as a pass sees it: what it granted so far is laid over the index.
pub(crate) struct Overlay<'a> {
    base: &'a Space,
    /// The nodes on which this pass granted something, as they are then.
    over: Space,
    /// Index entries looked at.
    pub(crate) steps: Counter<u64>,
}

/// A node and devices on it for one task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) node: NodeId,
    pub(crate) devices: Vec<DeviceId>,
}

/// Sorted sequences as one. There are few, so the smallest is sought by looking at each.
struct Merge<'a, T>(Vec<Peekable<Box<dyn Iterator<Item = T> + 'a>>>);

impl<T: Ord> Iterator for Merge<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let mut smallest: Option<(usize, &T)> = None;
        for (place, source) in self.0.iter_mut().enumerate() {
            if let Some(item) = source.peek()
                && smallest.is_none_or(|(_, other)| item < other)
            {
                smallest = Some((place, item));
            }
        }
        let place = smallest?.0;
        self.0.get_mut(place)?.next()
    }
}

impl<'a, T> Merge<'a, T> {
    fn push(&mut self, source: impl Iterator<Item = T> + 'a) {
        let source: Box<dyn Iterator<Item = T> + 'a> = Box::new(source);
        self.0.push(source.peekable());
    }
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a Space) -> Self {
        Self { base, over: Space::default(), steps: Counter::new(0) }
    }

    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    pub(crate) fn node(&self, node: &NodeId) -> Option<&NodeSpace> {
        self.over.node(node).or_else(|| self.base.node(node))
    }

    pub(crate) fn take(&mut self, node: &NodeId, take: &Take) {
        if self.over.node(node).is_none()
            && let Some(space) = self.base.node(node)
        {
            self.over.insert(node.clone(), space.clone());
        }
        self.over.change(node, |space| space.take(take));
    }

    /// How many cells there are.
    pub(crate) fn cells(&self) -> usize {
        self.base.cells()
    }

    /// The cells that could serve a need if they were free, and how many tasks they would hold.
    pub(crate) fn cells_for(&self, need: &Need) -> (Vec<CellKey>, u64) {
        let mut cells = Vec::new();
        let mut tasks = 0u64;
        for (shape, group) in self.base.groups() {
            self.step();
            let room = need.room(shape, &group.hosts);
            if room == 0 {
                continue;
            }
            tasks = tasks.saturating_add(room);
            for (place, (class, _)) in shape.classes.iter().enumerate() {
                if need.misses(class).is_empty() {
                    cells.push((Arc::clone(shape), place));
                }
            }
        }
        (cells, tasks)
    }

    /// Room for up to `want` tasks in these cells, tightest first; sorted by node and device.
    pub(crate) fn find(&self, need: &Need, cells: &[CellKey], want: u32) -> Vec<Spot> {
        let want = usize::try_from(want).unwrap_or(usize::MAX);
        let mut spots = if need.count == 1 {
            self.on_devices(need, cells, want)
        } else {
            self.on_nodes(need, cells, want)
        };
        spots.sort();
        spots
    }

    /// Devices in these cells with at least so much free, tightest first.
    pub(crate) fn fitting<'s>(
        &'s self,
        cells: &[CellKey],
        compute: u32,
        memory: u64,
    ) -> impl Iterator<Item = Candidate<'s>> + use<'s, 'a> {
        let mut merge = Merge(Vec::new());
        for (shape, place) in cells {
            let cell = |space: &'s Space| space.group(shape)?.cells.get(*place);
            if let Some(cell) = cell(self.base) {
                let fitting = cell.fitting(compute, memory);
                merge.push(fitting.filter(move |(_, _, node, _)| {
                    self.step();
                    self.over.node(node).is_none()
                }));
            }
            if let Some(cell) = cell(&self.over) {
                merge.push(cell.fitting(compute, memory).inspect(|_| self.step()));
            }
        }
        merge
    }

    fn on_devices(&self, need: &Need, cells: &[CellKey], want: usize) -> Vec<Spot> {
        let mut spots = Vec::new();
        let mut beside: BTreeMap<&NodeId, u64> = BTreeMap::new();
        for (compute, memory, node, device) in self.fitting(cells, need.compute, need.memory) {
            let left = beside.entry(node).or_insert_with(|| {
                self.node(node).map_or(0, |space| need.tasks_beside(space.cpu, space.memory))
            });
            let wanted = u64::try_from(want - spots.len()).unwrap_or(u64::MAX);
            let tasks = need.tasks_on(compute, memory).min(*left).min(wanted);
            *left -= tasks;
            for _ in 0..tasks {
                spots.push(Spot { node: node.clone(), devices: vec![device.clone()] });
            }
            if spots.len() >= want {
                break;
            }
        }
        spots
    }

    /// For tasks of several devices: the node whose last device needed is the tightest, filled
    /// as far as it goes, then the next.
    fn on_nodes(&self, need: &Need, cells: &[CellKey], want: usize) -> Vec<Spot> {
        let mut by_shape: BTreeMap<&Arc<Shape>, BTreeSet<usize>> = BTreeMap::new();
        for (shape, place) in cells {
            by_shape.entry(shape).or_default().insert(*place);
        }
        let mut merge = Merge(Vec::new());
        for (shape, places) in &by_shape {
            if let Some(ranks) = ranks(self.base, shape, places) {
                let fitting = ranks.fitting(need.count, need.compute);
                merge.push(fitting.filter(|(_, node)| {
                    self.step();
                    self.over.node(node).is_none()
                }));
            }
            if let Some(ranks) = ranks(&self.over, shape, places) {
                let fitting = ranks.fitting(need.count, need.compute);
                merge.push(fitting.inspect(|_| self.step()));
            }
        }
        let mut spots = Vec::new();
        for (_, node) in merge {
            if let Some(space) = self.node(node)
                && let Some(places) = by_shape.get(&space.shape)
            {
                let tasks = fill(need, space, places, want - spots.len());
                spots.extend(tasks.into_iter().map(|d| Spot { node: node.clone(), devices: d }));
            }
            if spots.len() >= want {
                break;
            }
        }
        spots
    }
}

/// The order of a shape's nodes that looks at the fewest other devices.
fn ranks<'s>(space: &'s Space, shape: &Shape, places: &BTreeSet<usize>) -> Option<&'s Ranks> {
    let group = space.group(shape)?;
    let only = places.first().filter(|_| places.len() == 1);
    only.map_or(Some(&group.ranks), |place| group.cells.get(*place).map(|cell| &cell.ranks))
}

/// Devices for up to `want` tasks of several devices each on one node.
///
/// While more than one task is wanted, each takes the devices that could carry the most further
/// tasks: for equal tasks this misses no arrangement that exists. The last takes the tightest.
fn fill(
    need: &Need,
    node: &NodeSpace,
    places: &BTreeSet<usize>,
    want: usize,
) -> Vec<Vec<DeviceId>> {
    struct Open<'s> {
        tasks: u64,
        compute: u32,
        memory: u64,
        device: &'s DeviceId,
    }
    let count = usize::try_from(need.count).unwrap_or(usize::MAX);
    let beside = need.tasks_beside(node.cpu, node.memory);
    let want = want.min(usize::try_from(beside).unwrap_or(usize::MAX));
    let rooms = node.devices.iter().filter(|(_, room)| places.contains(&room.class));
    let mut open: Vec<Open<'_>> = rooms
        .map(|(device, room)| Open {
            tasks: need.tasks_on(room.compute, room.memory),
            compute: room.compute,
            memory: room.memory,
            device,
        })
        .collect();
    let mut filled = Vec::new();
    while filled.len() < want {
        open.retain(|open| open.tasks > 0);
        if open.len() < count {
            break;
        }
        if want - filled.len() == 1 {
            open.sort_by_key(|open| (open.compute, open.memory, open.device));
        } else {
            open.sort_by_key(|open| (Reverse(open.tasks), open.compute, open.memory, open.device));
        }
        let mut devices = Vec::with_capacity(count);
        for open in open.iter_mut().take(count) {
            open.tasks -= 1;
            open.compute = open.compute.saturating_sub(need.compute);
            open.memory = open.memory.saturating_sub(need.memory);
            devices.push(open.device.clone());
        }
        devices.sort();
        filled.push(devices);
    }
    filled
}
