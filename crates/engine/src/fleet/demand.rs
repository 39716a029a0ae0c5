//! What one task needs, without names.

use super::node::{Device, Node, Take};
use super::{Bits, WHOLE};

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
    /// All devices from one island.
    pub together: bool,
    /// Host CPU in thousandths of a core.
    pub cpu: i64,
    /// Host memory in bytes.
    pub memory: i64,
    /// Cells whose devices would do; absent means any.
    pub cells: Option<Bits>,
    /// Traits that the node must have, all of them.
    pub must: Bits,
    /// Traits that the node must not have, any of them.
    pub never: Bits,
}

impl Demand {
    /// Whether a device could serve it now.
    #[must_use]
    pub fn fits_on(&self, device: &Device) -> bool {
        device.compute >= self.compute
            && device.memory >= self.device_memory
            && device.spec.healthy
            && (!self.whole || (device.compute == WHOLE && device.memory == device.spec.memory))
            && self.is_served_by(device.spec.cell.0)
    }

    /// Whether devices of a cell would do.
    #[must_use]
    pub fn is_served_by(&self, cell: u32) -> bool {
        self.cells.as_ref().is_none_or(|cells| cells.has(cell))
    }

    /// Whether the machine beside the devices could carry it now.
    #[must_use]
    pub fn fits_beside(&self, node: &Node) -> bool {
        node.present
            && node.cpu >= self.cpu
            && node.memory >= self.memory
            && node.traits.holds(&self.must)
            && !node.traits.meets(&self.never)
    }

    /// Tasks that one device could carry now.
    #[must_use]
    pub fn tasks_on(&self, device: &Device) -> u64 {
        if !self.fits_on(device) {
            return 0;
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
        times(node.cpu, self.cpu).min(times(node.memory, self.memory))
    }

    /// Tasks that a node could carry now, exactly.
    #[must_use]
    pub fn tasks_in(&self, node: &Node) -> u64 {
        let beside = self.tasks_beside(node);
        if self.count == 0 || beside == 0 {
            return beside;
        }
        let of = |island: Option<u16>| {
            let devices = node.devices.iter();
            let of = devices.filter(|d| island.is_none_or(|island| d.spec.island == island));
            let rooms: Vec<u64> = of.map(|device| self.tasks_on(device)).collect();
            most_tasks(&rooms, self.count)
        };
        if !self.together {
            return beside.min(of(None));
        }
        let mut islands: Vec<u16> = node.devices.iter().map(|d| d.spec.island).collect();
        islands.sort_unstable();
        islands.dedup();
        islands.into_iter().map(|island| of(Some(island))).fold(0, u64::saturating_add).min(beside)
    }

    /// What one task takes on these devices of a node.
    #[must_use]
    pub fn take(&self, node: &Node, devices: &[u16]) -> Take {
        let on = |place: &u16| {
            let all = node.devices.get(usize::from(*place)).map_or(0, |device| device.spec.memory);
            (*place, self.compute, if self.whole { all } else { self.device_memory })
        };
        Take { cpu: self.cpu, memory: self.memory, devices: devices.iter().map(on).collect() }
    }
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
