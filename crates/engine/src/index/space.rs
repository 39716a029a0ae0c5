//! What is free, by name: the kernel of free space knows numbers only, this knows whose they are.
//!
//! Nodes of one [`Shape`] form a group; in it, devices of one class form a cell. Only healthy
//! devices of nodes that answer are here. What was looked up for a need is kept until the nodes
//! change; what is kept shows in no answer.

use crate::fleet::{
    Bits, CellIx, Demand, Device, DeviceSpec, Fleet, Node, NodeIx, NodeSpec, Rule, RuleIx,
    Take as Amounts,
};
use crate::index::entry::{Entry, NodeSpace, Take, signed};
use crate::index::rule::{Making, needs_usual};
use crate::near::Where;
use crate::need::Need;
use crate::scratch::Scratch;
use crate::shape::{Class, Hosts, Lie, Shape};
use crate::sieve::{SIEVES_MAX, Sieve};
use crate::topology::{Card, Prices, card};
use polder_model::{DeviceId, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group of nodes and a class of devices in it.
pub(crate) type CellKey = CellIx;

/// Stands for the machines themselves, which jobs without devices need.
pub(crate) const MACHINES: CellKey = CellIx(u32::MAX);

/// Most needs of which is remembered what could serve them.
const ANSWERS_MAX: usize = 8192;

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

impl Answer {
    /// The need as the kernel knows it, if these are all the cells that could serve it.
    pub(crate) fn demand(&self, cells: &[CellKey]) -> Option<&Demand> {
        (self.cells.as_slice() == cells).then_some(&self.demand)
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
