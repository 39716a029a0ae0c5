//! How many equal tasks a node's free room carries, and on which devices.

use crate::fleet::WHOLE as WHOLE_COMPUTE;
use crate::mig::{Card, Layouts, Set, Table, Wants};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Thousandths of a device's compute in a whole device.
const WHOLE: u32 = 1000;
const _: () = assert!(WHOLE_COMPUTE == 1000);

/// What is free on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Thousandths.
    pub(crate) compute: u32,
    /// Where no instance is cut from it: a mask of places of its table. All, if hardware cut nothing.
    pub(crate) open: u32,
    /// Bytes.
    pub(crate) memory: u64,
    /// What its hardware cuts it into, if it does.
    pub(crate) parts: Option<&'static Table>,
}

/// What a task holds, or would hold, of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Piece {
    pub(crate) device: usize,
    /// Thousandths.
    pub(crate) compute: u32,
    /// Bytes.
    pub(crate) memory: u64,
    /// Its instance: a mask of places of the device's table; nothing unless hardware cuts it.
    pub(crate) cut: u32,
}

/// What is free on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rooms {
    pub(crate) devices: Vec<Room>,
    /// Thousandths of a CPU.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) memory: u64,
    /// Bits a second.
    pub(crate) nic: u64,
    /// Bytes kept for backing.
    pub(crate) backing: u64,
}

/// What each of `tasks` equal tasks needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// What an instance on each must have, where hardware cuts it; compute and memory of the device
    /// do not count then.
    pub(crate) cut: Option<Wants>,
    /// No two tasks on one node.
    pub(crate) apart: bool,
    /// Thousandths of a CPU.
    pub(crate) cpu: u64,
    /// Bytes of the machine's memory.
    pub(crate) host_memory: u64,
    /// Bits a second of its network.
    pub(crate) nic: u64,
    /// Bytes of the machine's memory behind that of its devices.
    pub(crate) backing: u64,
}

/// What all devices of a task must have in common, as a name.
pub(crate) type Island = (u64, u64);

/// How a device lies to the others of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lie {
    /// All of a task's devices are in one.
    pub(crate) island: Island,
    /// Of devices with one of these a task takes at most one; absent where that does not count.
    pub(crate) rail: Option<u64>,
}

/// Where tasks may go. The topology and kinds of device come in through this.
pub(crate) trait Constraint {
    /// How a device lies; `None` where the gang that wants room may not go.
    fn lie(&self, node: usize, device: usize) -> Option<Lie>;

    /// Whether a node takes tasks at all, those without devices too.
    fn takes(&self, _node: usize) -> bool {
        true
    }

    /// The same as [`Constraint::lie`], for a job that already runs and may have to move.
    fn lie_of_job(&self, _job: u64, node: usize, device: usize) -> Option<Lie> {
        self.lie(node, device)
    }

    /// What an instance must have for a job that already runs, and whether its tasks are apart.
    fn wants_of_job(&self, _job: u64) -> (Option<Wants>, bool) {
        (None, false)
    }

    /// The same of a node, for a job that may have to move.
    fn takes_of_job(&self, _job: u64, node: usize) -> bool {
        self.takes(node)
    }
}

/// Anywhere.
impl Constraint for () {
    fn lie(&self, _node: usize, _device: usize) -> Option<Lie> {
        Some(Lie::default())
    }
}

impl Room {
    /// An idle device.
    pub(crate) fn idle(memory: u64, parts: Option<&'static Table>) -> Self {
        Self { compute: WHOLE, open: u32::MAX, memory, parts }
    }

    /// The places at which instances are.
    pub(crate) fn cut(&self) -> u32 {
        !self.open
    }

    /// Frees a piece of it.
    pub(crate) fn give(&mut self, piece: &Piece) {
        self.compute = self.compute.saturating_add(piece.compute);
        // The memory of instances is what their hardware says, and of no use to anybody else.
        let memory = if piece.cut == 0 { piece.memory } else { 0 };
        self.memory = self.memory.saturating_add(memory);
        self.open |= piece.cut;
    }

    /// The reverse of [`Room::give`].
    pub(crate) fn take(&mut self, piece: &Piece) {
        self.compute = self.compute.saturating_sub(piece.compute);
        let memory = if piece.cut == 0 { piece.memory } else { 0 };
        self.memory = self.memory.saturating_sub(memory);
        self.open &= !piece.cut;
    }

    /// What it can be cut into yet, if its hardware cuts it and nobody is on it otherwise.
    pub(crate) fn card(&self) -> Option<(&'static Layouts, Card)> {
        let layouts = self.parts?.layouts();
        let held = i64::from(WHOLE) - i64::from(self.compute);
        let card = layouts.card_of(self.cut())?;
        (held == layouts.compute_of(self.cut())).then_some((layouts, card))
    }
}

impl Demand {
    /// Tasks that this much free on one device could carry.
    pub(crate) fn on(&self, room: &Room) -> u32 {
        if let Some(wants) = &self.cut {
            let room = room.card().and_then(|(layouts, card)| layouts.room_for(card, wants));
            return room.map_or(0, |(_, room)| room);
        }
        if room.cut() != 0 {
            // A device that its hardware has cut is of no use but for instances.
            return 0;
        }
        if self.whole {
            return u32::from(room.compute >= WHOLE && room.memory >= self.memory);
        }
        let by_memory = room.memory.checked_div(self.memory).unwrap_or(u64::MAX);
        let by_compute = room.compute.checked_div(self.compute).unwrap_or(u32::MAX);
        u32::try_from(by_memory).map_or(by_compute, |tasks| tasks.min(by_compute))
    }

    /// Tasks that this much free beside the devices could carry.
    pub(crate) fn beside(&self, rooms: &Rooms) -> u32 {
        let times = |free: u64, need: u64| free.checked_div(need).unwrap_or(u64::MAX);
        let by_cpu = times(rooms.cpu, self.cpu);
        let by_memory = times(rooms.memory, self.host_memory);
        let by_nic = times(rooms.nic, self.nic).min(times(rooms.backing, self.backing));
        let most = if self.apart { 1 } else { u64::from(u32::MAX) };
        u32::try_from(by_cpu.min(by_memory).min(by_nic).min(most)).unwrap_or(u32::MAX)
    }

    /// Whether a device can never carry two of its tasks.
    pub(crate) fn is_alone(&self) -> bool {
        self.cut.is_none() && (self.whole || self.compute > WHOLE / 2)
    }

    /// Most tasks that a node's free room carries, at most as many as are wanted. Exact.
    pub(crate) fn most(&self, rooms: &Rooms, lie: impl Fn(usize) -> Option<Lie>) -> u32 {
        let beside = self.beside(rooms).min(self.tasks);
        if beside == 0 || self.devices == 0 {
            return beside;
        }
        let mut tasks = 0;
        for (_, carries) in self.islands(&rooms.devices, lie) {
            tasks += most(&carries, self.devices, beside - tasks);
            if tasks == beside {
                break;
            }
        }
        tasks
    }

    /// By island the tasks that each unit could carry: a rail, where each device of a task needs one
    /// of its own, else a device.
    fn islands(
        &self,
        rooms: &[Room],
        lie: impl Fn(usize) -> Option<Lie>,
    ) -> Vec<(Island, Vec<u32>)> {
        let mut islands: Vec<(Island, Vec<u32>)> = Vec::with_capacity(1);
        // Where the sum of each rail of an island is.
        let mut rails: Vec<(Island, u64, usize)> = Vec::new();
        for (device, room) in rooms.iter().enumerate() {
            let carries = self.on(room);
            let Some(Lie { island, rail }) = lie(device).filter(|_| carries > 0) else { continue };
            let place = islands.iter().position(|(other, _)| *other == island);
            let place = place.unwrap_or_else(|| {
                islands.push((island, Vec::with_capacity(rooms.len())));
                islands.len() - 1
            });
            let Some((_, group)) = islands.get_mut(place) else { continue };
            let known = rail.and_then(|rail| {
                rails.iter().find(|known| (known.0, known.1) == (island, rail)).map(|known| known.2)
            });
            match (known.and_then(|at| group.get_mut(at)), rail) {
                (Some(sum), _) => *sum = sum.saturating_add(carries),
                (None, rail) => {
                    rails.extend(rail.map(|rail| (island, rail, group.len())));
                    group.push(carries);
                }
            }
        }
        islands
    }

    /// What up to `want` tasks take. Finds as many as [`Demand::most`] says there are: each task
    /// takes the devices that could carry the most further tasks, of equals the tightest.
    pub(crate) fn fill(
        &self,
        rooms: &Rooms,
        lie: impl Fn(usize) -> Option<Lie>,
        want: u32,
    ) -> Vec<Vec<Piece>> {
        let want = want.min(self.beside(rooms));
        let want = usize::try_from(want).unwrap_or(usize::MAX);
        let count = usize::try_from(self.devices).unwrap_or(usize::MAX);
        if count == 0 {
            return vec![Vec::new(); want];
        }
        let mut open: BTreeMap<Island, Vec<Open>> = BTreeMap::new();
        for (device, room) in rooms.devices.iter().enumerate() {
            let carries = self.on(room);
            if let Some(Lie { island, rail }) = lie(device).filter(|_| carries > 0) {
                open.entry(island).or_default().push(Open { device, rail, room: *room, carries });
            }
        }
        let mut filled: Vec<Vec<Piece>> = Vec::new();
        for group in open.values_mut() {
            while filled.len() < want {
                let Some(chosen) = next(group, count) else { break };
                let mut pieces: Vec<Piece> =
                    chosen.iter().map(|at| self.taken(group, *at)).collect();
                pieces.sort_unstable();
                filled.push(pieces);
            }
        }
        if self.cut.is_some() {
            self.cut_out(rooms, &mut filled);
        }
        filled
    }

    /// Takes one task's piece of a device; what it is cut into is for later to say.
    fn taken(&self, group: &mut [Open], at: usize) -> Piece {
        let Some(open) = group.get_mut(at) else { return Piece::default() };
        let compute = if self.whole { WHOLE } else { self.compute };
        let piece = Piece { device: open.device, compute, memory: self.memory, cut: 0 };
        open.carries = open.carries.saturating_sub(1);
        if self.cut.is_none() {
            open.room.take(&piece);
        }
        piece
    }

    /// Gives each piece an instance. All pieces of one device are placed together: one by one the
    /// first might lie where the last then does not fit.
    fn cut_out(&self, rooms: &Rooms, filled: &mut [Vec<Piece>]) {
        let Some(wants) = &self.cut else { return };
        let mut on: BTreeMap<usize, Vec<&mut Piece>> = BTreeMap::new();
        for piece in filled.iter_mut().flatten() {
            on.entry(piece.device).or_default().push(piece);
        }
        for (device, pieces) in on {
            let Some(room) = rooms.devices.get(device) else { continue };
            let Some((layouts, card)) = room.card() else { continue };
            let instances = if pieces.len() == 1 {
                layouts.place_wants(card, wants).map(|(instance, _)| vec![instance])
            } else {
                let number = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
                let profile = layouts.room_for(card, wants).map(|(profile, _)| profile);
                let set = profile.map(|profile| Set::of(profile, number));
                set.and_then(|set| layouts.place_set(card, set)).map(|(instances, _)| instances)
            };
            for (piece, instance) in pieces.into_iter().zip(instances.into_iter().flatten()) {
                *piece = part(layouts, device, instance);
            }
        }
    }
}

/// What an instance takes of its device.
pub(crate) fn part(layouts: &Layouts, device: usize, instance: crate::mig::Instance) -> Piece {
    let table = layouts.table();
    let profile = table.profiles.get(instance.profile);
    Piece {
        device,
        compute: profile.map_or(0, |profile| table.compute(profile).0),
        memory: profile.map_or(0, |profile| profile.memory.0),
        cut: layouts.bit(instance),
    }
}

/// A device that tasks may take.
struct Open {
    device: usize,
    rail: Option<u64>,
    room: Room,
    /// Further tasks that it could carry.
    carries: u32,
}

/// A device of each of the `count` units that could carry the most further tasks; `None` if there
/// are not so many.
fn next(group: &[Open], count: usize) -> Option<Vec<usize>> {
    let key =
        |open: &Open| (Reverse(open.carries), open.room.compute, open.room.memory, open.device);
    let mut units: Vec<(Reverse<u32>, usize)> = Vec::with_capacity(group.len());
    let mut rails: BTreeMap<u64, (u32, usize)> = BTreeMap::new();
    for (at, open) in group.iter().enumerate().filter(|(_, open)| open.carries > 0) {
        match open.rail {
            None => units.push((Reverse(open.carries), at)),
            Some(rail) => {
                let unit = rails.entry(rail).or_insert((0, at));
                unit.0 = unit.0.saturating_add(open.carries);
                if group.get(unit.1).is_some_and(|best| key(open) < key(best)) {
                    unit.1 = at;
                }
            }
        }
    }
    units.extend(rails.into_values().map(|(carries, at)| (Reverse(carries), at)));
    if units.len() < count {
        return None;
    }
    units.sort_by_key(|(carries, at)| (*carries, group.get(*at).map(key)));
    units.truncate(count);
    Some(units.into_iter().map(|(_, at)| at).collect())
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
