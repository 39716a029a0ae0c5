//! The work that runs, densely: nodes, tenants, gangs and their members by index.
//!
//! It shows the room that will be there once everything that is being ended has ended: whoever
//! keeps it removes a gang when its end begins, and adds room that is promised as a gang that does
//! not yield. A change costs what it changes; nothing is ever copied for a decision.

use super::Standing;
use super::cost::Value;
use super::cover::{Cover, Share};
use super::room::{Piece, Room, Rooms};
use crate::Held;
use crate::order::turn::Turn;
use polder_model::Bytes;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Everything that runs or is promised room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    pub(crate) nodes: Vec<Node>,
    pub(crate) tenants: Vec<Tenant>,
    gangs: Slots<Gang>,
    members: Slots<Member>,
    by_job: BTreeMap<u64, usize>,
    /// How many gangs that yield there are, by whether they are spot, by priority and by turn.
    pub(crate) tiers: BTreeMap<(bool, i32, Turn), u32>,
    /// How many of them are in room that a partition lends, by partition.
    pub(crate) lent: BTreeMap<usize, u32>,
}

/// One node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// What it has.
    has: Rooms,
    /// What its members hold.
    used: Rooms,
    /// Members on it, in no order.
    pub(crate) members: Vec<usize>,
}

/// One tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenant {
    pub(crate) parent: Option<usize>,
    /// Tenants above it.
    pub(crate) depth: u32,
    /// The most that it and all below it may hold.
    pub(crate) limit: Share,
    /// What it deserves and keeps, without what is loose.
    pub(crate) cover: Cover,
    /// What it and all below it hold, what is loose too.
    pub(crate) held: Held,
    /// Gangs of it and all below it.
    pub(crate) gangs: BTreeMap<Standing, usize>,
    /// How many of them are its own.
    pub(crate) own: u32,
}

/// How a gang yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Yields {
    /// Microseconds it runs before it has to.
    pub(crate) runtime_min: u64,
    /// Microseconds between its checkpoints; absent when what it did is lost.
    pub(crate) interval: Option<u64>,
    /// Microseconds that a restart costs beside the work lost.
    pub(crate) restart: u64,
}

/// What a gang is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GangFacts {
    pub(crate) job: u64,
    pub(crate) tenant: usize,
    pub(crate) priority: i32,
    pub(crate) spot: bool,
    pub(crate) turn: Turn,
    /// Partitions of other classes that it has room of; empty where it is at home.
    pub(crate) lenders: Vec<usize>,
    /// Absent when it never yields.
    pub(crate) yields: Option<Yields>,
    /// Microseconds since 1970 when it started, or was granted if it has not.
    pub(crate) started_at: u64,
    /// Fewest members that make sense.
    pub(crate) min: u32,
    /// All its members are still there: it can go on elsewhere as it is.
    pub(crate) is_complete: bool,
}

/// What one member of a gang holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberFacts {
    pub(crate) node: usize,
    /// Of which devices how much.
    pub(crate) slices: Vec<Piece>,
    /// Thousandths of a CPU.
    pub(crate) cpu: u64,
    /// Bytes of the machine's memory.
    pub(crate) host_memory: u64,
    /// Bits a second of its network.
    pub(crate) nic: u64,
    /// Bytes of the machine's memory behind that of its devices.
    pub(crate) backing: u64,
}

/// A gang that runs.
#[derive(Clone, Debug)]
pub(crate) struct Gang {
    pub(crate) facts: GangFacts,
    /// By rank; the first is the gang's meeting point.
    pub(crate) members: Vec<usize>,
    /// What it holds.
    pub(crate) held: Held,
    /// Whether its members are on more than one node.
    pub(crate) is_spread: bool,
}

/// A member of a gang that runs.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) gang: usize,
    /// Place in its gang.
    pub(crate) rank: usize,
    pub(crate) facts: MemberFacts,
}

/// Values by index; indices of what was removed are used again.
#[derive(Clone, Debug)]
struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn insert(&mut self, value: T) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.slots[place] = Some(value);
                place
            }
            None => {
                self.slots.push(Some(value));
                self.slots.len() - 1
            }
        }
    }

    fn remove(&mut self, place: usize) -> Option<T> {
        let value = self.slots.get_mut(place)?.take()?;
        self.free.push(place);
        Some(value)
    }

    fn get(&self, place: usize) -> Option<&T> {
        self.slots.get(place)?.as_ref()
    }
}

impl GangFacts {
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            spot: self.spot,
            borrows: !self.lenders.is_empty(),
            priority: Reverse(self.priority),
            turn: self.turn,
            job: self.job,
        }
    }

    /// What ending one of its members at `now` comes to.
    pub(crate) fn value(&self, member: &MemberFacts, now: u64) -> Value {
        let compute: u64 = member.slices.iter().map(|piece| u64::from(piece.compute)).sum();
        // Work without devices weighs as much as the CPU it has.
        let weight = if member.slices.is_empty() { member.cpu } else { compute };
        let ran = now.saturating_sub(self.started_at);
        let interval = self.yields.and_then(|yields| yields.interval);
        let lost = interval.map_or(ran, |interval| ran % interval.max(1));
        let restart = self.yields.map_or(0, |yields| yields.restart);
        Value::of(lost, restart, weight, ran)
    }
}

impl MemberFacts {
    pub(crate) fn held(&self) -> Held {
        self.slices.iter().fold(Held { leases: 1, ..Held::default() }, |held, slice| Held {
            devices: held.devices + 1,
            compute: held.compute + u64::from(slice.compute),
            memory: Bytes(held.memory.0.saturating_add(slice.memory)),
            ..held
        })
    }
}

impl Rooms {
    /// Frees what a member holds.
    pub(crate) fn give(&mut self, member: &MemberFacts) {
        self.cpu = self.cpu.saturating_add(member.cpu);
        self.memory = self.memory.saturating_add(member.host_memory);
        self.nic = self.nic.saturating_add(member.nic);
        self.backing = self.backing.saturating_add(member.backing);
        for piece in &member.slices {
            if let Some(room) = self.devices.get_mut(piece.device) {
                room.give(piece);
            }
        }
    }

    /// The reverse of [`Rooms::give`].
    pub(crate) fn take(&mut self, member: &MemberFacts) {
        self.cpu = self.cpu.saturating_sub(member.cpu);
        self.memory = self.memory.saturating_sub(member.host_memory);
        self.nic = self.nic.saturating_sub(member.nic);
        self.backing = self.backing.saturating_sub(member.backing);
        for piece in &member.slices {
            if let Some(room) = self.devices.get_mut(piece.device) {
                room.take(piece);
            }
        }
    }
}

impl Node {
    /// What is free on it.
    pub(crate) fn free(&self) -> Rooms {
        let room = |(has, used): (&Room, &Room)| Room {
            compute: has.compute.saturating_sub(used.compute),
            open: has.open & !used.open,
            memory: has.memory.saturating_sub(used.memory),
            parts: has.parts,
        };
        Rooms {
            devices: self.has.devices.iter().zip(&self.used.devices).map(room).collect(),
            cpu: self.has.cpu.saturating_sub(self.used.cpu),
            memory: self.has.memory.saturating_sub(self.used.memory),
            nic: self.has.nic.saturating_sub(self.used.nic),
            backing: self.has.backing.saturating_sub(self.used.backing),
        }
    }
}

impl Running {
    /// Removes one member that holds this.
    pub(crate) fn remove_member(&mut self, job: u64, like: &MemberFacts) {
        let Some(place) = self.gang_of(job) else { return };
        let Some(Some(gang)) = self.gangs.slots.get_mut(place) else { return };
        let is = |member: &usize| self.members.get(*member).is_some_and(|m| m.facts == *like);
        // What a device can be cut into may be said otherwise by now.
        let on = |facts: &MemberFacts| {
            (facts.node, facts.slices.iter().map(|piece| piece.device).collect::<Vec<_>>())
        };
        let same = |member: &usize| {
            self.members.get(*member).is_some_and(|member| on(&member.facts) == on(like))
        };
        let exactly = gang.members.iter().position(is);
        let Some(at) = exactly.or_else(|| gang.members.iter().position(same)) else { return };
        let member = gang.members.remove(at);
        let Some(facts) = self.members.remove(member) else { return };
        let standing = gang.facts.standing();
        let held = facts.facts.held();
        gang.facts.is_complete = false;
        gang.held.subtract(held);
        let (tenant, left) = (gang.facts.tenant, gang.held);
        if let Some(node) = self.nodes.get_mut(facts.facts.node) {
            node.used.take(&facts.facts);
            node.members.retain(|other| *other != member);
        }
        let lineage: Vec<usize> = self.lineage(tenant).collect();
        for tenant in lineage {
            if let Some(tenant) = self.tenants.get_mut(tenant) {
                tenant.held.subtract(held);
                if !standing.is_loose() {
                    tenant.cover.remove(standing);
                    tenant.cover.insert(standing, left);
                }
            }
        }
    }

    /// Adds a node that has this much.
    pub(crate) fn add_node(&mut self, has: Rooms) -> usize {
        let devices = vec![Room::default(); has.devices.len()];
        let used = Rooms { devices, ..Rooms::default() };
        self.nodes.push(Node { has, used, members: Vec::new() });
        self.nodes.len() - 1
    }

    /// Changes what a node has. Devices keep their places.
    pub(crate) fn set_node(&mut self, node: usize, has: Rooms) {
        if let Some(node) = self.nodes.get_mut(node) {
            let wanted = has.devices.len().max(node.used.devices.len());
            node.used.devices.resize(wanted, Room::default());
            node.has = has;
        }
    }

    /// Makes a node have places for so many devices.
    pub(crate) fn grow_node(&mut self, node: usize, devices: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            let wanted = devices.max(node.has.devices.len());
            node.has.devices.resize(wanted, Room::default());
            node.used.devices.resize(wanted, Room::default());
        }
    }

    /// Adds a tenant below another, which was added before it.
    pub(crate) fn add_tenant(&mut self, parent: Option<usize>) -> usize {
        let above = parent.and_then(|parent| self.tenants.get(parent));
        let depth = above.map_or(0, |above| above.depth + 1);
        self.tenants.push(Tenant { parent, depth, ..Tenant::default() });
        self.tenants.len() - 1
    }

    /// Changes what a tenant deserves and the most it may hold.
    pub(crate) fn set_tenant(&mut self, tenant: usize, deserved: Share, limit: Share) {
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.cover.set_deserved(deserved);
            tenant.limit = limit;
        }
    }

    /// Spot or not and priority of gangs that yield, and the latest turn of each such kind.
    pub(crate) fn latest(&self) -> impl Iterator<Item = (bool, i32, Turn)> + '_ {
        let last = self.tiers.last_key_value().map(|(tier, _)| *tier);
        std::iter::successors(last, |(spot, priority, _)| {
            let first = (*spot, *priority, Turn::FIRST);
            self.tiers.range(..first).next_back().map(|(tier, _)| *tier)
        })
    }

    pub(crate) fn gang(&self, gang: usize) -> Option<&Gang> {
        self.gangs.get(gang)
    }

    pub(crate) fn member(&self, member: usize) -> Option<&Member> {
        self.members.get(member)
    }

    /// The gang of a job.
    pub(crate) fn gang_of(&self, job: u64) -> Option<usize> {
        self.by_job.get(&job).copied()
    }

    /// Places that members have, the freed ones too.
    pub(crate) fn members_bound(&self) -> usize {
        self.members.slots.len()
    }

    /// A tenant and those above it, nearest first.
    pub(crate) fn lineage(&self, tenant: usize) -> impl Iterator<Item = usize> + '_ {
        let above = |tenant: &usize| self.tenants.get(*tenant).and_then(|tenant| tenant.parent);
        std::iter::successors(Some(tenant), above)
    }

    /// Adds a gang of a job that is not in here.
    pub(crate) fn add_gang(&mut self, facts: GangFacts, members: Vec<MemberFacts>) {
        let (job, tenant, standing) = (facts.job, facts.tenant, facts.standing());
        if facts.yields.is_some() {
            *self.tiers.entry((facts.spot, facts.priority, facts.turn)).or_default() += 1;
            for lender in &facts.lenders {
                *self.lent.entry(*lender).or_default() += 1;
            }
        }
        let mut held = Held::default();
        members.iter().for_each(|member| held.add(member.held()));
        let first = members.first().map(|member| member.node);
        let is_spread = members.iter().any(|member| Some(member.node) != first);
        let gang = self.gangs.insert(Gang { facts, members: Vec::new(), held, is_spread });
        let members = members.into_iter().enumerate();
        let places: Vec<usize> =
            members.map(|(rank, facts)| self.add_member(Member { gang, rank, facts })).collect();
        if let Some(Some(slot)) = self.gangs.slots.get_mut(gang) {
            slot.members = places;
        }
        self.by_job.insert(job, gang);
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.own += 1;
        }
        let lineage: Vec<usize> = self.lineage(tenant).collect();
        for tenant in lineage {
            if let Some(tenant) = self.tenants.get_mut(tenant) {
                tenant.held.add(held);
                tenant.gangs.insert(standing, gang);
                if !standing.is_loose() {
                    tenant.cover.insert(standing, held);
                }
            }
        }
    }

    fn add_member(&mut self, member: Member) -> usize {
        let node = member.facts.node;
        if let Some(node) = self.nodes.get_mut(node) {
            node.used.give(&member.facts);
        }
        let member = self.members.insert(member);
        if let Some(node) = self.nodes.get_mut(node) {
            node.members.push(member);
        }
        member
    }

    /// Removes the gang of a job.
    pub(crate) fn remove_gang(&mut self, job: u64) -> Option<GangFacts> {
        let place = self.by_job.remove(&job)?;
        let gang = self.gangs.remove(place)?;
        let tier = (gang.facts.spot, gang.facts.priority, gang.facts.turn);
        if gang.facts.yields.is_some()
            && let Some(gangs) = self.tiers.get_mut(&tier)
        {
            *gangs -= 1;
            if *gangs == 0 {
                self.tiers.remove(&tier);
            }
            for lender in &gang.facts.lenders {
                if let Some(gangs) = self.lent.get_mut(lender) {
                    *gangs = gangs.saturating_sub(1);
                }
            }
        }
        for place in &gang.members {
            let Some(member) = self.members.remove(*place) else { continue };
            if let Some(node) = self.nodes.get_mut(member.facts.node) {
                node.used.take(&member.facts);
                node.members.retain(|other| other != place);
            }
        }
        let standing = gang.facts.standing();
        if let Some(tenant) = self.tenants.get_mut(gang.facts.tenant) {
            tenant.own -= 1;
        }
        let lineage: Vec<usize> = self.lineage(gang.facts.tenant).collect();
        for tenant in lineage {
            if let Some(tenant) = self.tenants.get_mut(tenant) {
                tenant.held.subtract(gang.held);
                tenant.gangs.remove(&standing);
                tenant.cover.remove(standing);
            }
        }
        Some(gang.facts)
    }
}
