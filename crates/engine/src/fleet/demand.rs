//! What one task needs, without names.

use super::node::{Device, Node, Take};
use super::{Bits, NONE, Suits, cut};
use crate::mig::Wants;
use crate::topology::{Together, Wish};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one task needs. Two asks with equal demands are placed alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Devices, all on one node; 0 for a task of host CPU and memory alone.
    pub count: u32,
    /// Compute of each device in thousandths.
    pub compute: i32,
    /// Memory of each device in bytes. Of a whole device it is the least that it must have.
    pub device_memory: i64,
    /// The devices are for it alone: untouched, with all their memory.
    pub whole: bool,
    /// How the devices lie to each other.
    pub wish: Wish,
    /// What an instance on each device must have, where hardware cuts it; compute and memory of
    /// devices do not count then.
    pub cut: Option<Wants>,
    /// Host CPU in thousandths of a core.
    pub cpu: i64,
    /// Host memory in bytes.
    pub memory: i64,
    /// Network in bits a second.
    pub nic: i64,
    /// Host memory behind its devices', bytes.
    pub backing: i64,
    /// Cells whose devices would do; absent means any.
    pub cells: Option<Bits>,
    /// Traits that the node must have, all of them.
    pub must: Bits,
    /// Traits that the node must not have, any of them.
    pub never: Bits,
    /// Which of those cells are taken first; absent where all are alike.
    pub suits: Option<Arc<Suits>>,
}

impl Demand {
    /// Whether a device could serve it now.
    #[must_use]
    pub fn fits_on(&self, device: &Device) -> bool {
        let has = match &self.cut {
            Some(wants) => cut::room(device, wants) > 0,
            // A device that its hardware has cut is of no use to others.
            None => {
                device.is_uncut()
                    && device.compute >= self.compute
                    && device.memory >= self.device_memory
                    && (!self.whole || device.is_idle())
            }
        };
        has && device.spec.healthy && self.is_served_by(device.spec.cell.0) && self.may_lie(device)
    }

    /// A device of which no rail is known is on none of its own.
    fn may_lie(&self, device: &Device) -> bool {
        self.wish.rails != Together::Required || device.spec.rail != NONE
    }

    /// Whether devices of a cell would do.
    #[must_use]
    pub fn is_served_by(&self, cell: u32) -> bool {
        self.cells.as_ref().is_none_or(|cells| cells.has(cell))
    }

    /// How well a device suits it: 0 is best.
    #[must_use]
    pub fn rank(&self, device: &Device) -> usize {
        self.suits.as_ref().map_or(0, |suits| suits.rank(device.spec.cell))
    }

    /// Whether the machine beside the devices could carry it now.
    #[must_use]
    pub fn fits_beside(&self, node: &Node) -> bool {
        node.present
            && node.cpu >= self.cpu
            && node.memory >= self.memory
            && node.nic >= self.nic
            && node.backing >= self.backing
            && node.traits.holds(&self.must)
            && !node.traits.meets(&self.never)
    }

    /// Tasks that one device could carry now.
    #[must_use]
    pub fn tasks_on(&self, device: &Device) -> u64 {
        if !self.fits_on(device) {
            return 0;
        }
        if let Some(wants) = &self.cut {
            return cut::room(device, wants).into();
        }
        if self.whole {
            return 1;
        }
        let by_compute = times(device.compute.into(), self.compute.into());
        by_compute.min(times(device.memory, self.device_memory))
    }

    /// Tasks that the machine beside the devices could carry now.
    #[must_use]
    pub fn tasks_beside(&self, node: &Node) -> u64 {
        if !self.fits_beside(node) {
            return 0;
        }
        let by_memory = times(node.memory, self.memory);
        let by_backing = times(node.backing, self.backing);
        times(node.cpu, self.cpu).min(by_memory).min(times(node.nic, self.nic)).min(by_backing)
    }

    /// Tasks that a node could carry now, exactly.
    #[must_use]
    pub fn tasks_in(&self, node: &Node) -> u64 {
        let beside = self.tasks_beside(node);
        if self.count == 0 || beside == 0 {
            return beside;
        }
        let of = |group: &Group| most_tasks(&group.rooms(), self.count);
        groups(self, node).iter().map(of).fold(0, u64::saturating_add).min(beside)
    }

    /// What one task takes on these devices of a node.
    #[must_use]
    pub fn take(&self, node: &Node, devices: &[u16]) -> Take {
        let (cpu, memory, nic, backing) = (self.cpu, self.memory, self.nic, self.backing);
        let mut take = Take { cpu, memory, nic, backing, ..Take::default() };
        for place in devices {
            let Some(device) = node.devices.get(usize::from(*place)) else { continue };
            let (mut compute, mut memory) = (self.compute, self.device_memory);
            if self.whole {
                memory = device.spec.memory;
            }
            if let Some(part) = self.cut.as_ref().and_then(|wants| cut::next(device, wants)) {
                (compute, memory) = (part.compute, part.memory);
                take.cuts.push((*place, part.mask));
            }
            take.devices.push((*place, compute, memory));
        }
        take
    }
}

/// Devices among which the tasks of a demand may be put together, by what counts once for each
/// task: rails where each device needs one of its own, else the devices.
pub(super) struct Group(Vec<Unit>);

/// Devices of which a task takes at most one: tasks that each could carry, and its place.
type Unit = Vec<(u64, u16)>;

impl Group {
    /// Tasks that each unit could carry.
    pub(super) fn rooms(&self) -> Vec<u64> {
        let room = |unit: &Unit| unit.iter().map(|(tasks, _)| *tasks).fold(0, u64::saturating_add);
        self.0.iter().map(room).collect()
    }

    /// Takes a device of each of the `count` units that could carry the most further tasks: this
    /// misses no arrangement that exists.
    pub(super) fn next(&mut self, count: usize) -> Vec<u16> {
        let rooms = self.rooms();
        let mut units: Vec<usize> = (0..self.0.len()).collect();
        units.sort_by_key(|unit| Reverse(rooms.get(*unit).copied()));
        let mut devices = Vec::with_capacity(count);
        for unit in units.into_iter().take(count) {
            let freest = |unit: &mut Unit| {
                let device =
                    unit.iter_mut().max_by_key(|(tasks, place)| (*tasks, Reverse(*place)))?;
                device.0 = device.0.checked_sub(1)?;
                Some(device.1)
            };
            devices.extend(self.0.get_mut(unit).and_then(freest));
        }
        devices.sort_unstable();
        devices
    }
}

/// The devices of a node that could serve a demand, apart where a task may not have both.
pub(super) fn groups(demand: &Demand, node: &Node) -> Vec<Group> {
    let mut groups: BTreeMap<(u16, u16), BTreeMap<u16, Unit>> = BTreeMap::new();
    for (place, device) in (0u16..).zip(&node.devices) {
        let required = |together, name| match together {
            // Devices of which nothing is known are not together: each is a group of its own.
            Together::Required if name == NONE => NONE - place,
            Together::Required => name,
            Together::Any | Together::Preferred => 0,
        };
        let tasks = demand.tasks_on(device);
        if tasks > 0 {
            let spec = &device.spec;
            let island = required(demand.wish.island, spec.island);
            let group = groups.entry((island, required(demand.wish.numa, spec.numa))).or_default();
            let own_rail = demand.wish.rails == Together::Required;
            group.entry(if own_rail { spec.rail } else { place }).or_default().push((tasks, place));
        }
    }
    groups.into_values().map(|group| Group(group.into_values().collect())).collect()
}

/// How often `need` is in `free`; without end when nothing is needed.
fn times(free: i64, need: i64) -> u64 {
    free.checked_div(need).map_or(u64::MAX, |times| u64::try_from(times).unwrap_or(0))
}

/// Most tasks of `count` distinct devices each, given how many tasks each device could carry: the
/// largest `t` with `sum(min(room, t)) >= count * t`.
pub(super) fn most_tasks(rooms: &[u64], count: u32) -> u64 {
    let count = u128::from(count.max(1));
    let all: u128 = rooms.iter().map(|room| u128::from(*room)).sum();
    let holds = |tasks: u128| {
        let sum: u128 = rooms.iter().map(|room| u128::from(*room).min(tasks)).sum();
        sum >= count * tasks
    };
    let (mut low, mut high) = (0, all / count);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    u64::try_from(low).unwrap_or(u64::MAX)
}
