//! What is free, by name: the kernel of free space knows numbers only, this knows whose they are.
//!
//! Nodes of one [`Shape`] form a group; in it, devices of one class form a cell. Only healthy
//! devices of nodes that answer are here. What was looked up for a need is kept until the nodes
//! change; what is kept shows in no answer.

use crate::fleet::{
    Bits, CellIx, Demand, Device, DeviceSpec, Fleet, NONE, Node, NodeIx, NodeSpec, Rule, RuleIx,
    Take as Amounts,
};
use crate::index::rule::{Making, needs_usual};
use crate::mig::{self, Layouts, Table};
use crate::near::Where;
use crate::need::{Beside, Need};
use crate::scratch::Scratch;
use crate::shape::{Class, Host, Hosts, Lie, Shape};
use crate::sieve::{SIEVES_MAX, Sieve};
use crate::topology::{Card, Prices, Together, Wish, card};
use polder_model::{Bytes, DeviceId, Instance, NodeId, Permille};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A group of nodes and a class of devices in it.
pub(crate) type CellKey = CellIx;

/// Stands for the machines themselves, which jobs without devices need.
pub(crate) const MACHINES: CellKey = CellIx(u32::MAX);

/// Most needs of which is remembered what could serve them.
const ANSWERS_MAX: usize = 8192;

/// What is free on one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    /// Place of its class in the node's shape.
    pub(crate) class: usize,
    /// Whether its hardware has cut it.
    pub(crate) is_cut: bool,
    pub(crate) compute: u32,
    pub(crate) memory: u64,
}

/// A node of the pool: what does not change as leases come and go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) id: NodeId,
    pub(crate) shape: Arc<Shape>,
    host: Host,
    /// Its devices by name, and the place of each one's class in the shape.
    pub(crate) devices: Vec<(DeviceId, Lie)>,
}

/// What is free on one node, as a value.
#[derive(Clone, Debug)]
pub(crate) struct NodeSpace {
    pub(crate) entry: Arc<Entry>,
    free: Node,
}

/// What one lease takes of its node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Take {
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
    pub(crate) nic: u64,
    pub(crate) backing: u64,
    pub(crate) devices: Vec<(DeviceId, u32, u64)>,
    /// Instances that hardware cuts from devices for it.
    pub(crate) cuts: Vec<(DeviceId, Instance)>,
    /// Instances that are promised to it; what they are of a device counts, and is not in `devices`.
    pub(crate) keeps: Vec<(DeviceId, Instance)>,
}

/// Nodes of one shape.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) hosts: Hosts,
    /// One for each class of the shape.
    pub(crate) cells: Vec<CellKey>,
    /// What a device of each class can do.
    pub(crate) cards: Vec<Card>,
}

/// What could serve a need if it were free.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) cells: Vec<CellKey>,
    /// Tasks that the pool would hold if it were empty; exact up to what the need's gang needs.
    pub(crate) room: u64,
    /// The need as the kernel knows it, with all those cells.
    demand: Demand,
}

/// What is free in the pool.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    fleet: Scratch<Fleet>,
    rule: RuleIx,
    /// What the rule is made of, and whether it is to be made anew.
    making: Making,
    rule_is_stale: Scratch<bool>,
    /// By slot.
    entries: Vec<Option<Arc<Entry>>>,
    slots: BTreeMap<Named, NodeIx>,
    groups: BTreeMap<Arc<Shape>, Group>,
    /// Numbers of cells that were given back.
    unused: Vec<CellKey>,
    /// Numbers of cells ever used.
    cells_made: u32,
    answers: Scratch<BTreeMap<Need, Arc<Answer>>>,
    /// What the pool's resources are worth, once somebody asked.
    prices: Scratch<Option<Prices>>,
    /// Traits by which the kernel knows which nodes are open to whom.
    sieves: Scratch<BTreeMap<Sieve, u32>>,
}

impl Default for Space {
    fn default() -> Self {
        let mut fleet = Fleet::default();
        let rule = fleet.rule(Rule::Tightest);
        Self {
            fleet: Scratch::new(fleet),
            rule,
            making: Making::default(),
            rule_is_stale: Scratch::new(false),
            entries: Vec::new(),
            slots: BTreeMap::new(),
            groups: BTreeMap::new(),
            unused: Vec::new(),
            cells_made: 0,
            answers: Scratch::default(),
            prices: Scratch::default(),
            sieves: Scratch::default(),
        }
    }
}

/// Numbers of cells depend on the order in which nodes came, so they do not count.
impl PartialEq for Space {
    fn eq(&self, other: &Self) -> bool {
        let free = |space: &Self| -> Vec<_> {
            let fleet = space.fleet.borrow();
            let amounts = |node: &Node| {
                let of = |d: &Device| (d.compute, d.memory, d.cut, d.kept);
                let devices: Vec<_> = node.devices.iter().map(of).collect();
                (node.present, node.cpu, node.memory, (node.nic, node.backing), devices)
            };
            let of = |ix: &NodeIx| (*ix, fleet.settled(*ix).as_ref().map(amounts));
            space.slots.values().map(of).collect()
        };
        let hosts = |space: &Self| -> Vec<_> {
            space
                .groups
                .iter()
                .map(|(shape, group)| (Arc::clone(shape), group.hosts.clone()))
                .collect()
        };
        let entries =
            |space: &Self| -> Vec<_> { space.entries.iter().flatten().cloned().collect() };
        self.slots == other.slots
            && entries(self) == entries(other)
            && hosts(self) == hosts(other)
            && free(self) == free(other)
    }
}

/// A node's name, found by a digest of it: names of one pool differ in their last letters only.
type Named = (u64, NodeId);

fn named(id: &NodeId) -> Named {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    (id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, step), id.clone())
}

fn place(ix: NodeIx) -> usize {
    usize::try_from(ix.0).unwrap_or(usize::MAX)
}

/// An amount as the kernel counts it.
fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn unsigned(amount: i64) -> u64 {
    u64::try_from(amount).unwrap_or(0)
}

impl Entry {
    pub(crate) fn new(
        id: NodeId,
        shape: Arc<Shape>,
        host: Host,
        mut devices: Vec<(DeviceId, Lie)>,
    ) -> Self {
        devices.sort();
        Self { id, shape, host, devices }
    }

    fn device(&self, id: &DeviceId) -> Option<u16> {
        let place = self.devices.binary_search_by(|(other, _)| other.cmp(id)).ok()?;
        u16::try_from(place).ok()
    }

    fn amounts(&self, take: &Take) -> Amounts {
        let of = |(device, compute, memory): &(DeviceId, u32, u64)| {
            // Of a card that came back as another one nobody has a part beside an instance that is still
            // on it, though nothing says any more where.
            let is_stranded = |(cut, instance): &(DeviceId, Instance)| {
                cut == device && self.mask(device, instance).is_none()
            };
            let whole = take.cuts.iter().any(is_stranded);
            let compute = if whole { Permille::WHOLE.0 } else { *compute };
            let compute = i32::try_from(compute).unwrap_or(i32::MAX);
            Some((self.device(device)?, compute, signed(*memory)))
        };
        let cut = |(device, instance): &(DeviceId, Instance)| {
            Some((self.device(device)?, self.mask(device, instance)?))
        };
        let kept = |(device, instance): &(DeviceId, Instance)| {
            let (compute, memory) = self.amounts_of(device, instance)?;
            let compute = i32::try_from(compute.0).unwrap_or(i32::MAX);
            Some((self.device(device)?, compute, signed(memory.0)))
        };
        let devices = take.devices.iter().filter_map(of);
        Amounts {
            cpu: signed(take.cpu),
            memory: signed(take.memory),
            nic: signed(take.nic),
            backing: signed(take.backing),
            devices: devices.chain(take.keeps.iter().filter_map(kept)).collect(),
            cuts: take.cuts.iter().filter_map(cut).collect(),
            keeps: take.keeps.iter().filter_map(cut).collect(),
        }
    }
}

impl Answer {
    /// The need as the kernel knows it, if these are all the cells that could serve it.
    pub(crate) fn demand(&self, cells: &[CellKey]) -> Option<&Demand> {
        (self.cells.as_slice() == cells).then_some(&self.demand)
    }
}

impl Entry {
    /// All the memory of a device.
    pub(crate) fn memory_of(&self, device: &DeviceId) -> Option<Bytes> {
        let (_, lie) = self.devices.get(usize::from(self.device(device)?))?;
        self.shape.classes.get(lie.class).map(|(class, _)| class.memory)
    }

    /// What a device is cut into.
    pub(crate) fn layouts(&self, device: &DeviceId) -> Option<&'static Layouts> {
        let (_, lie) = self.devices.get(usize::from(self.device(device)?))?;
        self.shape.classes.get(lie.class)?.0.parts.map(Table::layouts)
    }

    /// An instance as the kernel knows it.
    fn mask(&self, device: &DeviceId, instance: &Instance) -> Option<u32> {
        let layouts = self.layouts(device)?;
        let profile = layouts.table().profile(&instance.profile)?;
        let bit = layouts.bit(mig::Instance { profile, start: instance.start });
        (bit != 0).then_some(bit)
    }

    /// Compute and memory of an instance.
    pub(crate) fn amounts_of(
        &self,
        device: &DeviceId,
        instance: &Instance,
    ) -> Option<(Permille, Bytes)> {
        let table = self.layouts(device)?.table();
        let profile = table.profiles.get(table.profile(&instance.profile)?)?;
        Some((table.compute(profile), profile.memory))
    }

    /// An instance that the kernel cut, by name.
    pub(crate) fn instance(&self, device: &DeviceId, mask: u32) -> Option<Instance> {
        let layouts = self.layouts(device)?;
        let mig::Instance { profile, start } = layouts.instance(mask)?;
        let profile = layouts.table().profiles.get(profile)?.name.to_owned();
        Some(Instance { profile, start })
    }
}

impl NodeSpace {
    /// What is free beside the devices.
    pub(crate) fn beside(&self) -> Beside {
        let Node { cpu, memory, nic, backing, .. } = &self.free;
        Beside {
            cpu: unsigned(*cpu),
            memory: unsigned(*memory),
            nic: unsigned(*nic),
            backing: unsigned(*backing),
        }
    }

    /// What is free on a device.
    pub(crate) fn room(&self, device: &DeviceId) -> Option<Room> {
        let place = usize::from(self.entry.device(device)?);
        let (free, (_, lie)) = (self.free.devices.get(place)?, self.entry.devices.get(place)?);
        Some(Room {
            class: lie.class,
            is_cut: !free.is_uncut(),
            compute: u32::try_from(free.compute).unwrap_or(0),
            memory: unsigned(free.memory),
        })
    }

    /// Whether all of `take` is free.
    pub(crate) fn has(&self, take: &Take) -> bool {
        let known = take.devices.iter().all(|(device, ..)| self.entry.device(device).is_some());
        let amounts = self.entry.amounts(take);
        let cut = amounts.cuts.len() == take.cuts.len() && amounts.keeps.len() == take.keeps.len();
        known && cut && self.free.has(&amounts)
    }

    /// Whether devices lie to each other as a wish requires.
    pub(crate) fn lie_as_required<'d>(
        &self,
        devices: impl Iterator<Item = &'d DeviceId>,
        wish: &Wish,
    ) -> bool {
        let lie = |device| Some(self.entry.devices.get(usize::from(self.entry.device(device)?))?.1);
        let lies: Vec<Lie> = devices.filter_map(lie).collect();
        let one = |name: fn(&Lie) -> u16| {
            let first = lies.first().map(name);
            lies.len() < 2 || lies.iter().all(|lie| Some(name(lie)) == first) && first != Some(NONE)
        };
        let rails: BTreeSet<u16> = lies.iter().map(|lie| lie.rail).collect();
        let own_rails = lies.len() < 2 || (rails.len() == lies.len() && !rails.contains(&NONE));
        (wish.island != Together::Required || one(|lie| lie.island))
            && (wish.numa != Together::Required || one(|lie| lie.numa))
            && (wish.rails != Together::Required || own_rails)
    }

    /// Tasks that it could carry now, whichever of its devices they take.
    pub(crate) fn tasks(&self, need: &Need) -> u64 {
        let classes = self.entry.shape.classes.iter();
        let fit: Vec<bool> = classes.map(|(class, _)| need.misses(class).is_empty()).collect();
        let mut free = self.free.clone();
        for (device, (_, lie)) in free.devices.iter_mut().zip(&self.entry.devices) {
            device.spec.healthy &= fit.get(lie.class).copied().unwrap_or(false);
        }
        Demand { cells: None, ..need.demand(&[]) }.tasks_in(&free)
    }

    pub(crate) fn take(&mut self, take: &Take) {
        self.free.take(&self.entry.amounts(take));
    }

    /// The reverse of [`NodeSpace::take`].
    pub(crate) fn give(&mut self, take: &Take) {
        self.free.give(&self.entry.amounts(take));
    }
}

impl Space {
    pub(crate) fn fleet(&self) -> &Scratch<Fleet> {
        &self.fleet
    }

    pub(crate) fn rule(&self) -> RuleIx {
        self.rule
    }

    /// What was looked up was about other nodes.
    fn forget(&mut self) {
        self.answers.get_mut().clear();
        *self.prices.get_mut() = None;
        self.sieves.get_mut().clear();
        self.rule_is_stale_with_nodes();
    }

    /// The usual asks are judged against the nodes there are.
    fn rule_is_stale_with_nodes(&mut self) {
        if needs_usual(self.making.place) {
            *self.rule_is_stale.get_mut() = true;
        }
    }

    /// Whether kinds of device that suit a need go before others.
    pub(super) fn prefers_suited(&self) -> bool {
        self.making.suit
    }

    pub(super) fn kept_prices(&self) -> &Scratch<Option<Prices>> {
        &self.prices
    }

    /// By what places are judged from now on.
    pub(crate) fn make_rule(&mut self, making: Making) {
        if self.making != making {
            if self.making.suit != making.suit {
                self.answers.get_mut().clear();
            }
            self.making = making;
            *self.rule_is_stale.get_mut() = true;
        }
    }

    /// Makes the rule anew if what it is made of has changed.
    pub(crate) fn refresh_rule(&self) {
        if std::mem::take(&mut *self.rule_is_stale.borrow_mut()) {
            let rule = self.made(&self.making);
            self.fleet.borrow_mut().change_rule(self.rule, rule);
        }
    }

    /// A node that answers.
    pub(crate) fn node(&self, node: &NodeId) -> Option<NodeSpace> {
        let ix = self.slot(node)?;
        let entry = Arc::clone(self.entry(ix)?);
        Some(NodeSpace { entry, free: self.fleet.borrow().settled(ix)? })
    }

    pub(crate) fn slot(&self, node: &NodeId) -> Option<NodeIx> {
        self.slots.get(&named(node)).copied()
    }

    pub(crate) fn entry(&self, ix: NodeIx) -> Option<&Arc<Entry>> {
        self.entries.get(place(ix))?.as_ref()
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Arc<Shape>, &Group)> {
        self.groups.iter()
    }

    /// The racks and blocks that nodes say they are in, by number; nodes that say nothing are not in
    /// here.
    pub(crate) fn lies(&self) -> BTreeMap<NodeIx, Where> {
        let mut known: BTreeMap<&str, u32> = BTreeMap::new();
        let mut lies = BTreeMap::new();
        for ix in self.slots.values() {
            let Some(entry) = self.entry(*ix) else { continue };
            let mut number = |key: &str| {
                let mut labels = entry.shape.labels.iter().map(String::as_str);
                let label = labels.find(|label| label.strip_prefix(key).is_some());
                let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
                label.map_or(u32::MAX - ix.0, |label| *known.entry(label).or_insert(next))
            };
            lies.insert(*ix, (number("rack="), number("block=")));
        }
        lies
    }

    /// Nodes that answer.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &NodeId> {
        self.slots.keys().map(|(_, id)| id)
    }

    /// How many cells there are, without [`MACHINES`].
    pub(crate) fn cells(&self) -> usize {
        self.groups.values().map(|group| group.cells.len()).sum()
    }

    /// Puts a node that answers into its slot, with everything free.
    pub(crate) fn insert(&mut self, ix: NodeIx, entry: Entry) {
        let Self { groups, unused, cells_made, .. } = self;
        let group = groups.entry(Arc::clone(&entry.shape)).or_insert_with(|| {
            let mut number = || {
                unused.pop().unwrap_or_else(|| {
                    *cells_made += 1;
                    CellIx(*cells_made - 1)
                })
            };
            let classes = entry.shape.classes.iter();
            let cells = classes.clone().map(|_| number()).collect();
            let card =
                |(class, _): &(Class, u32)| card(&class.model, class.memory, class.bandwidth);
            Group { hosts: Hosts::default(), cells, cards: classes.map(card).collect() }
        });
        group.hosts.insert(entry.host);
        let spec = |(_, lie): &(DeviceId, Lie)| {
            let spec = entry.shape.classes.get(lie.class).map(|(class, _)| class.spec(lie));
            let cell = group.cells.get(lie.class).copied().unwrap_or_default();
            DeviceSpec { cell, ..spec.unwrap_or_default() }
        };
        let spec = NodeSpec {
            cpu: entry.host.cpu.0.into(),
            memory: signed(entry.host.memory.0),
            nic: signed(entry.host.nic.0),
            backing: signed(entry.host.backing.0),
            traits: Bits::default(),
            devices: entry.devices.iter().map(spec).collect(),
        };
        self.fleet.get_mut().set(ix, &spec);
        self.slots.insert(named(&entry.id), ix);
        if self.entries.len() <= place(ix) {
            self.entries.resize(place(ix) + 1, None);
        }
        if let Some(slot) = self.entries.get_mut(place(ix)) {
            *slot = Some(Arc::new(entry));
        }
        self.forget();
    }

    pub(crate) fn remove(&mut self, id: &NodeId) {
        let Some(ix) = self.slots.remove(&named(id)) else { return };
        self.fleet.get_mut().clear(ix);
        let Some(entry) = self.entries.get_mut(place(ix)).and_then(Option::take) else { return };
        if let Some(group) = self.groups.get_mut(&entry.shape) {
            group.hosts.remove(entry.host);
            if group.hosts.is_empty()
                && let Some(group) = self.groups.remove(&entry.shape)
            {
                self.unused.extend(group.cells);
            }
        }
        self.forget();
    }

    pub(crate) fn take(&mut self, id: &NodeId, take: &Take) {
        if let Some(ix) = self.slot(id)
            && let Some(entry) = self.entry(ix)
        {
            let amounts = entry.amounts(take);
            self.fleet.get_mut().take(ix, &amounts);
        }
    }

    /// The reverse of [`Space::take`].
    pub(crate) fn give(&mut self, id: &NodeId, take: &Take) {
        if let Some(ix) = self.slot(id)
            && let Some(entry) = self.entry(ix)
        {
            let amounts = entry.amounts(take);
            self.fleet.get_mut().give(ix, &amounts);
        }
    }

    /// What one lease takes, in the kernel's numbers.
    pub(crate) fn amounts(&self, id: &NodeId, take: &Take) -> Option<(NodeIx, Amounts)> {
        let ix = self.slot(id)?;
        Some((ix, self.entry(ix)?.amounts(take)))
    }

    /// Whether the nodes of a cell belong to a partition.
    pub(crate) fn is_in(&self, cell: CellKey, partition: &str) -> bool {
        let of = self.groups.iter().find(|(_, group)| group.cells.contains(&cell));
        of.is_some_and(|(shape, _)| shape.partitions.contains(partition))
    }

    /// The trait that nodes have which are open.
    pub(crate) fn sieved(&self, sieve: &Sieve) -> u32 {
        let mut sieves = self.sieves.borrow_mut();
        if let Some(number) = sieves.get(sieve) {
            return *number;
        }
        if sieves.len() >= SIEVES_MAX {
            sieves.clear();
        }
        let number = u32::try_from(sieves.len()).unwrap_or(u32::MAX);
        let mut fleet = self.fleet.borrow_mut();
        for ((_, id), ix) in &self.slots {
            fleet.set_trait(*ix, number, sieve.lets(id));
        }
        sieves.insert(sieve.clone(), number);
        number
    }

    /// What could serve a need.
    pub(crate) fn answer(&self, need: &Need) -> Arc<Answer> {
        if let Some(answer) = self.answers.borrow().get(need) {
            return Arc::clone(answer);
        }
        let (mut cells, mut room) = (Vec::new(), 0u64);
        for (shape, group) in &self.groups {
            let tasks = need.room(shape, &group.hosts);
            if tasks == 0 {
                continue;
            }
            room = room.saturating_add(tasks);
            if need.count == 0 {
                continue;
            }
            for ((class, _), cell) in shape.classes.iter().zip(&group.cells) {
                if need.misses(class).is_empty() {
                    cells.push(*cell);
                }
            }
        }
        if need.count == 0 && room > 0 {
            cells.push(MACHINES);
        }
        let suits = self.suits(need, &cells);
        let answer = Answer { demand: Demand { suits, ..need.demand(&cells) }, cells, room };
        let answer = Arc::new(answer);
        let mut answers = self.answers.borrow_mut();
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(need.clone(), Arc::clone(&answer));
        answer
    }

    /// A need as the kernel knows it, when only some cells are open to it.
    pub(crate) fn demand(&self, need: &Need, cells: &[CellKey]) -> Demand {
        let answer = self.answer(need);
        if let Some(demand) = answer.demand(cells) {
            return demand.clone();
        }
        let suits = answer.demand.suits.as_ref();
        let suits = suits.and_then(|suits| suits.among(cells)).map(Arc::new);
        Demand { suits, ..need.demand(cells) }
    }
}
