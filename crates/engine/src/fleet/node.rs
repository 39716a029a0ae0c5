//! One node: what it has, and what is free of it.
//!
//! Amounts are signed: a node that lost memory under its leases has less than nothing free, and
//! taking and giving back stay exact opposites.

use super::{Bits, WHOLE};
use crate::mig::{Layouts, Table};

/// A node's slot: the order in which nodes joined. Ties go to the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeIx(pub u32);

/// Devices of one class in nodes of one shape: the finest that demands tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellIx(pub u32);

/// What a device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Its class, in its node's shape.
    pub cell: CellIx,
    /// Its memory in bytes.
    pub memory: i64,
    /// Devices of one node with equal numbers are joined by fast links.
    pub island: u16,
    /// Its NUMA node.
    pub numa: u16,
    /// The network rail it is nearest to.
    pub rail: u16,
    /// What its hardware cuts it into, if it does.
    pub parts: Option<&'static Table>,
    /// Whether work may be placed on it.
    pub healthy: bool,
}

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSpec {
    /// Host CPU in thousandths of a core.
    pub cpu: i64,
    /// Host memory in bytes.
    pub memory: i64,
    /// Network in bits a second.
    pub nic: i64,
    /// Host memory for backing, bytes.
    pub backing: i64,
    /// Labels, features and partitions, by numbers that the owner hands out.
    pub traits: Bits,
    /// Its devices; ties within a node go to the first.
    pub devices: Vec<DeviceSpec>,
}

/// A device and what is free on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Free compute in thousandths.
    pub compute: i32,
    /// Free memory in bytes.
    pub memory: i64,
    /// Where its hardware has cut instances from it: a mask of places of its table.
    pub cut: u32,
    /// Where instances are promised: they may be at places that others are still leaving.
    pub kept: u32,
    /// What it is.
    pub spec: DeviceSpec,
}

/// A node and what is free on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Whether it is there, answers, and may take work.
    pub present: bool,
    /// Free host CPU in thousandths of a core.
    pub cpu: i64,
    /// Free host memory in bytes.
    pub memory: i64,
    /// Free network in bits a second.
    pub nic: i64,
    /// Free host memory for backing, bytes.
    pub backing: i64,
    /// Host CPU it has.
    pub cpu_all: i64,
    /// Host memory it has.
    pub memory_all: i64,
    /// Labels, features and partitions.
    pub traits: Bits,
    /// Its devices.
    pub devices: Vec<Device>,
}

/// What one task takes of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Take {
    /// Host CPU in thousandths of a core.
    pub cpu: i64,
    /// Host memory in bytes.
    pub memory: i64,
    /// Network in bits a second.
    pub nic: i64,
    /// Host memory for backing, bytes.
    pub backing: i64,
    /// Place of the device in the node, compute in thousandths, memory in bytes.
    pub devices: Vec<(u16, i32, i64)>,
    /// Place of the device in the node, and the mask of the instances cut from it.
    pub cuts: Vec<(u16, u32)>,
    /// The same of instances that are promised and not cut yet.
    pub keeps: Vec<(u16, u32)>,
}

impl Device {
    /// Whether no instance is on it, or promised.
    #[must_use]
    pub fn is_uncut(&self) -> bool {
        self.cut == 0 && self.kept == 0
    }

    /// Whether nobody is on it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.compute == WHOLE && self.memory == self.spec.memory && self.is_uncut()
    }
}

impl Node {
    /// A node with everything free.
    #[must_use]
    pub fn idle(spec: &NodeSpec) -> Self {
        let idle = |spec: &DeviceSpec| {
            let (memory, spec) = (spec.memory, *spec);
            Device { compute: WHOLE, memory, cut: 0, kept: 0, spec }
        };
        Self {
            present: true,
            cpu: spec.cpu,
            memory: spec.memory,
            nic: spec.nic,
            backing: spec.backing,
            cpu_all: spec.cpu,
            memory_all: spec.memory,
            traits: spec.traits.clone(),
            devices: spec.devices.iter().map(idle).collect(),
        }
    }

    /// Takes from it. What is not free goes below zero.
    pub fn take(&mut self, take: &Take) {
        self.change(take, 1);
    }

    /// Gives back to it.
    pub fn give(&mut self, take: &Take) {
        self.change(take, -1);
    }

    /// Takes (`1`) or gives back (`-1`). A device that is not there takes nothing.
    pub(super) fn change(&mut self, take: &Take, sign: i8) {
        let sign = i64::from(sign);
        self.cpu -= sign * take.cpu;
        self.memory -= sign * take.memory;
        self.nic -= sign * take.nic;
        self.backing -= sign * take.backing;
        for (place, compute, memory) in &take.devices {
            if let Some(device) = self.devices.get_mut(usize::from(*place)) {
                device.compute -= if sign < 0 { -compute } else { *compute };
                device.memory -= sign * memory;
            }
        }
        for (place, mask) in &take.cuts {
            if let Some(device) = self.devices.get_mut(usize::from(*place)) {
                device.cut = if sign < 0 { device.cut & !mask } else { device.cut | mask };
            }
        }
        for (place, mask) in &take.keeps {
            if let Some(device) = self.devices.get_mut(usize::from(*place)) {
                device.kept = if sign < 0 { device.kept & !mask } else { device.kept | mask };
            }
        }
    }

    /// Whether the same is free on another state of this node.
    #[must_use]
    pub fn is_as_free(&self, other: &Self) -> bool {
        let same = |(one, other): (&Device, &Device)| {
            (one.compute, one.memory) == (other.compute, other.memory)
                && (one.cut, one.kept) == (other.cut, other.kept)
        };
        (self.cpu, self.memory, self.nic, self.backing)
            == (other.cpu, other.memory, other.nic, other.backing)
            && self.devices.iter().zip(&other.devices).all(same)
    }

    /// Makes the same free as on another state of this node.
    pub fn be_as_free(&mut self, other: &Self) {
        (self.cpu, self.memory) = (other.cpu, other.memory);
        (self.nic, self.backing) = (other.nic, other.backing);
        for (one, other) in self.devices.iter_mut().zip(&other.devices) {
            (one.compute, one.memory) = (other.compute, other.memory);
            (one.cut, one.kept) = (other.cut, other.kept);
        }
    }

    /// Leaves no more free than on another state of this node; what either has cut is cut.
    pub fn be_no_freer(&mut self, other: &Self) {
        self.cpu = self.cpu.min(other.cpu);
        self.memory = self.memory.min(other.memory);
        self.nic = self.nic.min(other.nic);
        self.backing = self.backing.min(other.backing);
        for (one, other) in self.devices.iter_mut().zip(&other.devices) {
            one.compute = one.compute.min(other.compute);
            one.memory = one.memory.min(other.memory);
            one.cut |= other.cut;
            one.kept |= other.kept;
        }
    }

    /// Whether all of `take` is free.
    #[must_use]
    pub fn has(&self, take: &Take) -> bool {
        let on = |(place, compute, memory): &(u16, i32, i64)| {
            self.devices.get(usize::from(*place)).is_some_and(|device| {
                // A device that its hardware has cut is of no use but for instances.
                let mut cuts = take.cuts.iter().chain(&take.keeps);
                let uncut = device.is_uncut() || cuts.any(|(other, _)| other == place);
                uncut && device.compute >= *compute && device.memory >= *memory
            })
        };
        let cut = |(place, mask): &(u16, u32)| {
            self.devices.get(usize::from(*place)).is_some_and(|device| {
                let layouts = device.spec.parts.map(Table::layouts);
                let taken = device.cut | device.kept;
                let fits = |layouts: &Layouts| layouts.card_of(taken | mask).is_some();
                // What is shared otherwise cannot be cut: promised instances alone do not share it.
                let held = i64::from(WHOLE - device.compute);
                let kept = |layouts: &Layouts| layouts.compute_of(device.kept) == held;
                let is_free = device.cut != 0 || layouts.is_some_and(kept);
                is_free && taken & mask == 0 && layouts.is_some_and(fits)
            })
        };
        let beside = self.cpu >= take.cpu && self.memory >= take.memory && self.nic >= take.nic;
        let beside = beside && self.backing >= take.backing;
        let mut cuts = take.cuts.iter().chain(&take.keeps);
        beside && take.devices.iter().all(on) && cuts.all(cut)
    }
}
