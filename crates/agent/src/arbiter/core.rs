//! Who has which devices, and until when: a state machine in virtual time.
//!
//! The caller tells it what it sees ([`Arbiter::observe`]) and asks what follows
//! ([`Arbiter::advance`]); it writes the gates it is given, takes a fresh census of those leases
//! *after* the write, and asks again until nothing changes. The core never believes that a lease
//! has drained from a census older than the closing of its gate.
//!
//! **Order.** Weighted fair queueing, on each device by itself: a lease's virtual time there grows
//! by what it is charged over its weight, and the lease that is least ahead of the device's own
//! virtual time is next. A lease with several devices is as far ahead as on its worst one, waits
//! for all of them together, and keeps them from later leases once it is first among all that hold
//! or want them: so nobody holds one device while waiting for another, and nobody starves.
//!
//! **Rank.** A lease whose work somebody waits for, and one with a higher priority, goes before
//! others with time that its own share has earned, and no further: see [`rank`]. Beside a lease
//! that somebody waits for, others have one command in flight, so that its turn is one away.
//!
//! **Invariants.** A device has at most one lease that holds it. Every nanosecond from a grant to
//! its release is charged, and every nanosecond with commands in flight without a grant, as far as looks
//! show it or its processes have counted it ([`counted`]).
//! Exclusivity is never needed for progress: a holder that does not drain by its limit loses the
//! devices all the same, and is charged on.

mod account;
mod counted;
#[cfg(test)]
mod hostile;
mod left;
mod quantum;
mod rank;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod turn;

use super::page::{Carried, Owner, Terms};
use account::Standing;
pub use counted::Told;
use counted::{Counted, Look};
use left::Debts;
use polder_ledger::gate::{self, Census};
use polder_model::{DeviceId, LeaseId, WorkClass};
use rank::Rank;
use std::collections::BTreeMap;
use turn::Turn;

/// The usual quantum: how long a grant lasts before it is weighed against those who wait. See
/// [`quantum`] for when it is shorter or longer.
pub const QUANTUM_NS: u64 = 20_000_000;
/// The shortest...
pub const QUANTUM_MIN_NS: u64 = 1_000_000;
/// ...and the longest.
pub const QUANTUM_MAX_NS: u64 = 50_000_000;
/// How much estimated work a lease may have in flight: enough to hide the host behind the device,
/// little enough that one which comes back need not wait long for another to drain.
pub const IN_FLIGHT_NS: u64 = QUANTUM_NS / 4;
/// The same beside a lease for whose work somebody waits, unless it is a single command.
pub const IN_FLIGHT_BESIDE_NS: u64 = 200_000;
/// So long after it last had work, a lease counts as one that others stand beside.
pub const LATENCY_RECENT_NS: u64 = 1_000_000_000;
/// The most device time that a lease may save up to go before lower ranks with...
pub const URGENT_NS: u64 = 50_000_000;
/// ...and how much it must have earned again once it had none.
pub const URGENT_AGAIN_NS: u64 = 5_000_000;
/// How long before the end of a quantum it is decided whether another follows, so that programs
/// with many commands under way need not run dry at each end.
pub const LEAD_NS: u64 = 2_000_000;
/// A holder with nothing in flight and nothing completed for so long has gone idle.
pub const IDLE_GRACE_NS: u64 = 200_000;
/// The same for one whose threads wait although its gate is open: what is left of its turn is too
/// short for its next command.
pub const HOLD_BACK_GRACE_NS: u64 = 50_000;
/// How long a lease may take to launch its first command after a grant.
pub const START_GRACE_NS: u64 = 2_000_000;
/// A lease that was granted its devices and launched nothing is asked again after so long, doubled
/// each time...
pub const NO_SHOW_MIN_NS: u64 = 5_000_000;
/// ...up to this.
pub const NO_SHOW_MAX_NS: u64 = 320_000_000;
/// How long a holder that has proved active is left alone at first, doubled each time...
pub const REST_MIN_NS: u64 = 200_000;
/// ...up to this.
pub const REST_MAX_NS: u64 = 3_200_000;
/// A grant that is not drained after two quanta and its longest command is shared; after so long
/// in any case.
pub const DRAIN_MAX_NS: u64 = 250_000_000;
/// The most device time that a lease which was idle may be behind, and so catch up.
pub const CREDIT_NS: u64 = QUANTUM_NS;
/// The most device time that a lease can owe, or be ahead by commands in flight without a grant: kernels
/// up to so long take nothing of a neighbour's guarantee. A program that stands in a debugger with a
/// command in flight owes as if it ran, so it is bounded.
pub const DEBT_NS: u64 = 10_000_000_000;
/// A lease that comes back ends another's quantum early when it is behind it by more than this.
pub const PREEMPT_NS: u64 = QUANTUM_NS / 4;
/// No quantum is ended early before this.
pub const RUN_MIN_NS: u64 = 500_000;
/// What a capped lease may use in one go, and save up while it does nothing.
pub const BURST_NS: u64 = QUANTUM_NS;
/// A command that completed between two looks is taken to have run at least this long.
pub const COMMAND_MIN_NS: u64 = 20_000;

/// A gate to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateOrder {
    /// Whose.
    pub lease: LeaseId,
    /// As in [`polder_ledger::gate`].
    pub flags: u32,
    /// As in [`polder_ledger::Limits::deadline_ns`].
    pub deadline_ns: u64,
    /// As in [`polder_ledger::Limits::quantum_ns`].
    pub in_flight_ns: u64,
}

/// One lease as the arbiter sees it.
#[derive(Debug)]
struct Lease {
    /// Whose later leases owe what it owes when it has ended.
    owner: Option<Owner>,
    /// By device, in the lease's order.
    standing: Vec<Standing>,
    class: WorkClass,
    rank: Rank,
    /// The lowest rank among those that share a device with it.
    least_rank: Rank,
    /// It has earned time to go before lower ranks with.
    urgent: bool,
    /// When it was last seen to have work.
    worked_ns: Option<u64>,
    census: Census,
    looked_ns: u64,
    counted: Counted,
    turn: Turn,
    /// Wanted a device, held one or used one when last looked at.
    active: bool,
    /// Became active since the last [`Arbiter::advance`].
    woke: bool,
    /// Did not drain by its limit, and has had commands in flight ever since.
    late: bool,
    /// Launched nothing when last granted: not asked again before this.
    absent_until_ns: u64,
    absent_wait_ns: u64,
    rest_ns: u64,
    /// What its turns have lately taken to drain.
    drain_ns: u64,
    gate: GateOrder,
}

#[derive(Debug, Default)]
struct Device {
    /// How far its fair queue has come: the least virtual time of those active, never falling.
    vtime: u128,
    /// Leases that want or use it, and of them those that owe nothing; only valid while time is settled.
    demand: u32,
    claims: u32,
    /// The weights of all that have wanted it lately.
    recent: u64,
    /// Leases on it for whose work somebody waits; only valid while orders are written.
    served: u32,
}

/// The arbiter of one node.
#[derive(Debug, Default)]
pub struct Arbiter {
    now_ns: u64,
    leases: BTreeMap<LeaseId, Lease>,
    names: BTreeMap<DeviceId, usize>,
    devices: Vec<Device>,
    debts: Debts,
}

impl Arbiter {
    /// Begins to arbitrate a lease, which owes what ended leases of its owner have left. One that is there
    /// already is replaced.
    pub fn add(&mut self, now_ns: u64, lease: LeaseId, terms: &Terms) {
        self.settle(now_ns);
        let standing = terms.devices.iter().map(|share| {
            let next = self.names.len();
            let device = *self.names.entry(share.device.clone()).or_insert(next);
            if device == self.devices.len() {
                self.devices.push(Device::default());
            }
            Standing::new(device, share, self.devices[device].vtime)
        });
        let mut standing: Vec<Standing> = standing.collect();
        self.take_over(terms.owner.as_ref(), &mut standing);
        let rank = Rank::of(terms.class, terms.priority);
        let lease_state = Lease {
            owner: terms.owner.clone(),
            standing,
            class: terms.class,
            rank,
            least_rank: rank,
            urgent: true,
            worked_ns: None,
            census: Census::default(),
            looked_ns: now_ns,
            counted: Counted::default(),
            turn: Turn::Out,
            active: false,
            woke: false,
            late: false,
            absent_until_ns: 0,
            absent_wait_ns: 0,
            rest_ns: REST_MIN_NS,
            drain_ns: 0,
            gate: GateOrder { lease, flags: 0, deadline_ns: 0, in_flight_ns: IN_FLIGHT_NS },
        };
        self.leases.insert(lease, lease_state);
        self.compare_ranks();
    }

    /// Goes on with a lease that an earlier arbiter had, which was just added: `census` says what its
    /// processes have done by now. What is owed since is charged, and held against nobody: they have
    /// kept to their share by themselves.
    pub fn go_on(&mut self, lease: LeaseId, told: Told, census: Census) {
        let Some(this) = self.leases.get_mut(&lease) else { return };
        this.counted = Counted::after(told);
        let before = Census { busy_ns: told.upto_ns, ..Census::default() };
        let look = Look { passed_ns: 0, before: &before, now: &census, free: false, guess_ns: 0 };
        let owed_ns = this.counted.look(look);
        for standing in &mut this.standing {
            standing.untold.charged_ns += owed_ns;
        }
        this.census.completed = census.completed;
        this.census.busy_ns = census.busy_ns;
    }

    /// Up to where what a lease's processes have counted is charged, with what [`Self::take_charges`]
    /// will take.
    #[must_use]
    pub fn told(&self, lease: LeaseId) -> Option<u64> {
        self.leases.get(&lease).map(|lease| lease.counted.told())
    }

    /// Changes what a lease may have of the devices it has, and how urgently; what it did until now
    /// must have been observed. A turn that goes on is
    /// weighed anew at the next [`Arbiter::advance`], and ends no later than a quantum after it.
    pub fn resize(&mut self, now_ns: u64, lease: LeaseId, terms: &Terms) {
        self.settle(now_ns);
        let Some(lease) = self.leases.get_mut(&lease) else { return };
        for (standing, share) in lease.standing.iter_mut().zip(&terms.devices) {
            standing.resize(share, self.devices[standing.device].vtime);
        }
        lease.class = terms.class;
        lease.rank = Rank::of(terms.class, terms.priority);
        self.compare_ranks();
    }

    /// Stops arbitrating a lease. Its charges must have been taken.
    pub fn remove(&mut self, now_ns: u64, lease: LeaseId) {
        self.settle(now_ns);
        if let Some(lease) = self.leases.remove(&lease) {
            self.leave(lease);
        }
        self.compare_ranks();
    }

    /// What a lease's processes say of themselves now.
    pub fn observe(&mut self, now_ns: u64, lease: LeaseId, census: Census) {
        self.settle(now_ns);
        let now_ns = self.now_ns;
        let Some(this) = self.leases.get_mut(&lease) else { return };
        this.charge_unseen(now_ns, &census, &self.devices);
        this.turn.look(now_ns.saturating_sub(this.looked_ns), &this.census, &census);
        this.late &= census.inflight > 0;
        if census.moved_since(&this.census) {
            (this.absent_until_ns, this.absent_wait_ns) = (0, 0);
            this.worked_ns = Some(now_ns);
        }
        this.census = census;
        this.looked_ns = now_ns;
        let active = this.is_active(now_ns);
        if active && !this.active {
            this.woke = true;
            for standing in &mut this.standing {
                standing.come_back(self.devices[standing.device].vtime);
            }
        }
        this.active = active;
        self.move_devices();
    }

    /// What follows at `now_ns`. Empty when nothing changes.
    pub fn advance(&mut self, now_ns: u64) -> Vec<GateOrder> {
        self.settle(now_ns);
        self.take_turns();
        self.grant();
        self.count_served();
        let mut orders = Vec::new();
        for (&lease, this) in &mut self.leases {
            this.woke = false;
            let own = u32::from(this.serves(now_ns));
            let mut devices = this.standing.iter().map(|standing| &self.devices[standing.device]);
            let beside = devices.any(|device| device.served > own);
            let (mut flags, deadline_ns) = this.turn.gate();
            let in_flight_ns = if beside { IN_FLIGHT_BESIDE_NS } else { IN_FLIGHT_NS };
            if beside && flags & gate::OPEN != 0 {
                flags |= gate::ONE;
            }
            let order = GateOrder { lease, flags, deadline_ns, in_flight_ns };
            if order != this.gate {
                this.gate = order;
                orders.push(order);
            }
        }
        orders
    }

    /// Counts the leases on each device for whose work somebody waits.
    fn count_served(&mut self) {
        for device in &mut self.devices {
            device.served = 0;
        }
        for lease in self.leases.values().filter(|lease| lease.serves(self.now_ns)) {
            for standing in &lease.standing {
                self.devices[standing.device].served += 1;
            }
        }
    }

    /// When to look again, if nothing is heard before; `None` when there is nothing to wait for.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        self.leases.values().filter_map(|lease| self.wake_of(lease)).min()
    }

    /// The leases of which a fresh census matters now: those that hold devices or use them.
    pub fn watched(&self) -> impl Iterator<Item = LeaseId> + '_ {
        let watched = |lease: &Lease| lease.turn != Turn::Out || lease.census.inflight > 0;
        self.leases.iter().filter(move |(_, lease)| watched(lease)).map(|(&id, _)| id)
    }

    /// Takes what has been charged since the last call: lease, place of the device in the lease,
    /// and how much.
    pub fn take_charges(&mut self, mut take: impl FnMut(LeaseId, usize, Carried)) {
        for (&id, lease) in &mut self.leases {
            for (index, standing) in lease.standing.iter_mut().enumerate() {
                let charge = std::mem::take(&mut standing.untold);
                if charge != Carried::default() {
                    take(id, index, charge);
                }
            }
        }
    }
}
