//! One node of the index, and what is free on it: names on one side, the kernel's numbers on the
//! other. Which nodes there are, and what could serve a need, is not known here.

use crate::fleet::{Demand, NONE, Node, Take as Amounts};
use crate::mig::{self, Layouts, Table};
use crate::need::{Beside, Need};
use crate::shape::{Host, Lie, Shape};
use crate::topology::{Together, Wish};
use polder_model::{Bytes, DeviceId, Instance, NodeId, Permille};
use std::collections::BTreeSet;
use std::sync::Arc;

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
    pub(super) host: Host,
    /// Its devices by name, and the place of each one's class in the shape.
    pub(crate) devices: Vec<(DeviceId, Lie)>,
}

/// What is free on one node, as a value.
#[derive(Clone, Debug)]
pub(crate) struct NodeSpace {
    pub(crate) entry: Arc<Entry>,
    pub(super) free: Node,
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

/// An amount as the kernel counts it.
pub(super) fn signed(amount: u64) -> i64 {
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

    pub(super) fn amounts(&self, take: &Take) -> Amounts {
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
