//! How many equal tasks a node's free room carries, and on which devices.

/// Thousandths of a device's compute in a whole device.
const WHOLE: u32 = 1000;

/// What is free on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Thousandths.
    pub(crate) compute: u32,
    /// Bytes.
    pub(crate) memory: u64,
}

/// What is free on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rooms {
    pub(crate) devices: Vec<Room>,
    /// Thousandths of a CPU.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) memory: u64,
}

/// What each of `tasks` equal tasks needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) tasks: u32,
    /// Devices for each task, all on one node and in one island.
    pub(crate) devices: u32,
    /// Free compute on each, thousandths; all of it for `whole`.
    pub(crate) compute: u32,
    /// Free memory on each, bytes.
    pub(crate) memory: u64,
    /// The device must be untouched.
    pub(crate) whole: bool,
    /// Thousandths of a CPU.
    pub(crate) cpu: u64,
    /// Bytes of the machine's memory.
    pub(crate) host_memory: u64,
}

/// Where tasks may go. The topology and kinds of device come in through this.
pub(crate) trait Constraint {
    /// The island of a device, all of a task's devices being in one; `None` where the gang that
    /// wants room may not go.
    fn island(&self, node: usize, device: usize) -> Option<u32>;

    /// Whether a node takes tasks at all, those without devices too.
    fn takes(&self, _node: usize) -> bool {
        true
    }

    /// The part of the pool that a node is in, if the whole gang must be in one part.
    fn part(&self, _node: usize) -> Option<u32> {
        None
    }

    /// The same as [`Constraint::island`], for a job that already runs and may have to move.
    fn island_of_job(&self, _job: u64, node: usize, device: usize) -> Option<u32> {
        self.island(node, device)
    }
}

/// Anywhere.
impl Constraint for () {
    fn island(&self, _node: usize, _device: usize) -> Option<u32> {
        Some(0)
    }
}

impl Demand {
    /// Tasks that this much free on one device could carry.
    pub(crate) fn on(&self, room: &Room) -> u32 {
        if self.whole {
            return u32::from(room.compute >= WHOLE && room.memory >= self.memory);
        }
        let by_memory = room.memory.checked_div(self.memory).unwrap_or(u64::MAX);
        let by_compute = room.compute.checked_div(self.compute).unwrap_or(u32::MAX);
        u32::try_from(by_memory).map_or(by_compute, |tasks| tasks.min(by_compute))
    }

    /// Tasks that this much free beside the devices could carry.
    pub(crate) fn beside(&self, cpu: u64, memory: u64) -> u32 {
        let by_cpu = cpu.checked_div(self.cpu).unwrap_or(u64::MAX);
        let by_memory = memory.checked_div(self.host_memory).unwrap_or(u64::MAX);
        u32::try_from(by_cpu.min(by_memory)).unwrap_or(u32::MAX)
    }

    /// Whether a device can never carry two of its tasks.
    pub(crate) fn is_alone(&self) -> bool {
        self.whole || self.compute > WHOLE / 2
    }

    /// Most tasks that a node's free room carries, at most as many as are wanted. Exact.
    pub(crate) fn most(&self, rooms: &Rooms, island: impl Fn(usize) -> Option<u32>) -> u32 {
        let beside = self.beside(rooms.cpu, rooms.memory).min(self.tasks);
        if beside == 0 || self.devices == 0 {
            return beside;
        }
        let mut tasks = 0;
        for (_, carries) in self.islands(&rooms.devices, island) {
            tasks += most(&carries, self.devices, beside - tasks);
            if tasks == beside {
                break;
            }
        }
        tasks
    }

    /// Devices by island, each with the tasks that it could carry.
    fn islands(
        &self,
        rooms: &[Room],
        island: impl Fn(usize) -> Option<u32>,
    ) -> Vec<(u32, Vec<u32>)> {
        let mut islands: Vec<(u32, Vec<u32>)> = Vec::with_capacity(1);
        for (device, room) in rooms.iter().enumerate() {
            let carries = self.on(room);
            let Some(island) = island(device).filter(|_| carries > 0) else { continue };
            match islands.iter_mut().find(|(other, _)| *other == island) {
                Some((_, group)) => group.push(carries),
                None => {
                    let mut group = Vec::with_capacity(rooms.len());
                    group.push(carries);
                    islands.push((island, group));
                }
            }
        }
        islands
    }

    /// Devices for up to `want` tasks. Finds as many as [`Demand::most`] says there are: each task
    /// takes the devices that could carry the most further tasks, of equals the tightest.
    pub(crate) fn fill(
        &self,
        rooms: &Rooms,
        island: impl Fn(usize) -> Option<u32>,
        want: u32,
    ) -> Vec<Vec<usize>> {
        let want = want.min(self.beside(rooms.cpu, rooms.memory));
        let count = usize::try_from(self.devices).unwrap_or(usize::MAX);
        if count == 0 {
            return (0..want).map(|_| Vec::new()).collect();
        }
        let mut open: Vec<(u32, usize, Room, u32)> = Vec::with_capacity(rooms.devices.len());
        for (device, room) in rooms.devices.iter().enumerate() {
            let carries = self.on(room);
            if let Some(island) = island(device).filter(|_| carries > 0) {
                open.push((island, device, *room, carries));
            }
        }
        let mut names: Vec<u32> = open.iter().map(|(island, ..)| *island).collect();
        names.sort_unstable();
        names.dedup();
        let mut filled = Vec::new();
        for name in names {
            let mut group: Vec<_> = open.iter().filter(|open| open.0 == name).copied().collect();
            while u32::try_from(filled.len()).unwrap_or(u32::MAX) < want {
                group.retain(|(.., carries)| *carries > 0);
                if group.len() < count {
                    break;
                }
                group.sort_by_key(|(_, device, room, carries)| {
                    (std::cmp::Reverse(*carries), room.compute, room.memory, *device)
                });
                let mut devices = Vec::with_capacity(count);
                for (_, device, room, carries) in group.iter_mut().take(count) {
                    *carries -= 1;
                    room.compute = room.compute.saturating_sub(self.compute);
                    room.memory = room.memory.saturating_sub(self.memory);
                    devices.push(*device);
                }
                devices.sort_unstable();
                filled.push(devices);
            }
        }
        filled
    }
}

/// Most tasks of `count` distinct devices each, at most `limit`: the largest `t` for which the sum
/// of `min(carries, t)` reaches `count * t`.
fn most(carries: &[u32], count: u32, limit: u32) -> u32 {
    let holds = |tasks: u32| {
        let sum: u64 = carries.iter().map(|carries| u64::from((*carries).min(tasks))).sum();
        sum >= u64::from(count) * u64::from(tasks)
    };
    let all: u64 = carries.iter().map(|carries| u64::from(*carries)).sum();
    let (mut low, mut high) = (0, limit.min(u32::try_from(all).unwrap_or(u32::MAX)));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    low
}
