//! Polder's limiter: the arbiter's production core as its thread drives it, and in each process the
//! driver's production meter behind a gate, with the latencies of a busy machine between them.

use crate::MS;
use crate::limiter::{Answer, Limiter};
use polder_agent::arbiter::core::{Arbiter, GateOrder, IN_FLIGHT_NS};
use polder_agent::arbiter::{Share, Terms};
use polder_driver::meter::{Kind, Meter, Moment, Verdict};
use polder_ledger::gate::{CONTENDED, Census, ONE, OPEN, WATCH};
use polder_model::{Bytes, LeaseId, Permille};
use polder_standin::{Device, Work};
use std::collections::VecDeque;

const LEASE: LeaseId = LeaseId(1);
const HEARTBEAT_NS: u64 = 100 * MS;
/// From a ring to the arbiter's reaction, and from an opened gate to the program's.
const RING_NS: u64 = 30_000;
const WAKE_NS: u64 = 60_000;
/// As in the arbiter's thread and the driver's gate.
const SLEEP_MIN_NS: u64 = 20_000;
const GATE_WAIT_NS: u64 = 100 * MS;
const TURN_WAIT_NS: u64 = 2 * MS;
const ROOM_WAIT_NS: u64 = 250 * MS;
const ROUNDS_MAX: u32 = 16;

#[derive(Debug, Default)]
struct Slot {
    meter: Meter,
    /// Launched at, with this estimate, of this kind.
    flight: VecDeque<(u64, u64, Kind)>,
    completed: u64,
    longest_ns: u64,
    waiting: bool,
    room_since_ns: Option<u64>,
}

/// The limiter.
#[derive(Debug)]
pub struct Polder {
    core: Arbiter,
    slots: Vec<Slot>,
    flags: u32,
    deadline_ns: u64,
    rung_at_ns: Option<u64>,
    timer_ns: u64,
    heartbeat_ns: u64,
    released: Vec<(usize, u64)>,
    jitter: u64,
}

impl Polder {
    /// For a lease of `processes` that has `compute` and may have no more.
    ///
    /// # Panics
    /// Never: the device's name is one.
    #[must_use]
    pub fn new(compute: Permille, processes: usize) -> Self {
        let share = Share {
            device: "d0".parse().expect("a device's name"),
            compute,
            compute_max: compute,
            memory: Bytes(0),
            granularity: Bytes(1),
        };
        let mut core = Arbiter::default();
        core.add(0, LEASE, &Terms::batch(vec![share]));
        Self {
            core,
            slots: (0..processes).map(|_| Slot::default()).collect(),
            flags: 0,
            deadline_ns: 0,
            rung_at_ns: None,
            timer_ns: u64::MAX,
            heartbeat_ns: 0,
            released: Vec::new(),
            jitter: 1,
        }
    }

    /// A latency, up to half more or less.
    fn about(&mut self, ns: u64) -> u64 {
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ns / 2 + (self.jitter >> 33) % ns.max(1)
    }

    fn ring(&mut self, now_ns: u64) {
        let at_ns = now_ns + self.about(RING_NS);
        self.rung_at_ns = Some(self.rung_at_ns.map_or(at_ns, |before| before.min(at_ns)));
    }

    fn census(&self) -> Census {
        let mut census = Census::default();
        for slot in &self.slots {
            census.processes += 1;
            census.inflight += slot.flight.len() as u64;
            census.waiting += u64::from(slot.waiting);
            census.completed += slot.completed;
            census.longest_ns = census.longest_ns.max(slot.longest_ns);
        }
        census
    }

    fn write(&mut self, now_ns: u64, order: GateOrder) {
        let was_open = self.flags & OPEN != 0;
        let longer = self.deadline_ns != order.deadline_ns;
        (self.flags, self.deadline_ns) = (order.flags, order.deadline_ns);
        if self.flags & OPEN == 0 || was_open && !longer {
            return;
        }
        for index in 0..self.slots.len() {
            if self.slots[index].waiting {
                let at_ns = now_ns + self.about(WAKE_NS);
                self.released.push((index, at_ns));
            }
        }
    }

    fn wait(&mut self, now_ns: u64, process: usize, until_ns: u64) -> Answer {
        if !self.slots[process].waiting {
            self.slots[process].waiting = true;
            self.ring(now_ns);
        }
        Answer::Until(until_ns)
    }
}

fn kind(work: &Work) -> Kind {
    let (what, items) = match work {
        Work::Kernel(kernel) => (1, u64::from(kernel.blocks) * u64::from(kernel.threads)),
        Work::Graph { nodes, .. } => (2, u64::from(*nodes)),
        Work::Copy(copy) => (3, copy.bytes),
        Work::Fence(_) => (4, 0),
    };
    let size = u8::try_from(u64::BITS - items.leading_zeros()).expect("at most 64");
    Kind { what, size, guess_ns: 0 }
}

impl Limiter for Polder {
    fn launch(&mut self, now_ns: u64, process: usize, work: &Work) -> Answer {
        if self.flags & OPEN == 0 {
            return self.wait(now_ns, process, now_ns + GATE_WAIT_NS);
        }
        let deadline_ns = (self.flags & CONTENDED != 0).then_some(self.deadline_ns);
        let slot = &mut self.slots[process];
        let moment = Moment {
            now_ns,
            deadline_ns,
            quantum_ns: IN_FLIGHT_NS,
            one: self.flags & ONE != 0,
            impatient: slot.room_since_ns.is_some_and(|since| now_ns - since >= ROOM_WAIT_NS),
        };
        let kind = kind(work);
        match slot.meter.admit(moment, kind, false) {
            Verdict::Go { estimate_ns } => {
                slot.flight.push_back((now_ns, estimate_ns, kind));
                (slot.waiting, slot.room_since_ns) = (false, None);
                Answer::Go
            }
            Verdict::Room(ns) => {
                slot.room_since_ns.get_or_insert(now_ns);
                Answer::Until(now_ns + ns)
            }
            Verdict::Turn => {
                let left_ns = self.deadline_ns.saturating_sub(now_ns);
                let until_ns = match slot.flight.is_empty() || left_ns == 0 {
                    true => TURN_WAIT_NS,
                    false => left_ns.min(TURN_WAIT_NS),
                };
                self.wait(now_ns, process, now_ns + until_ns)
            }
        }
    }

    fn completed(&mut self, now_ns: u64, process: usize) {
        let slot = &mut self.slots[process];
        let Some((launched_ns, estimate_ns, kind)) = slot.flight.pop_front() else { return };
        slot.longest_ns = slot.meter.complete(now_ns, launched_ns, estimate_ns, kind, false);
        slot.completed += 1;
        if !slot.flight.is_empty() {
            return;
        }
        if slot.room_since_ns.is_some() {
            self.released.push((process, now_ns));
        }
        if self.flags & OPEN == 0 || self.flags & WATCH != 0 {
            self.ring(now_ns);
        }
    }

    fn next_wake(&self) -> Option<u64> {
        Some(self.rung_at_ns.unwrap_or(u64::MAX).min(self.timer_ns).min(self.heartbeat_ns))
    }

    fn wake(&mut self, now_ns: u64, _device: &Device) {
        self.rung_at_ns = None;
        if now_ns >= self.heartbeat_ns {
            self.heartbeat_ns = now_ns + HEARTBEAT_NS;
        }
        self.core.observe(now_ns, LEASE, self.census());
        let mut rounds = 0;
        loop {
            let orders = self.core.advance(now_ns);
            if orders.is_empty() {
                break;
            }
            for order in orders {
                self.write(now_ns, order);
                self.core.observe(now_ns, LEASE, self.census());
            }
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "the core does not settle");
        }
        self.core.take_charges(|_, _, _| ());
        let next_ns = self.core.next_wake().unwrap_or(u64::MAX);
        self.timer_ns = next_ns.max(now_ns + SLEEP_MIN_NS);
    }

    fn released(&mut self) -> Vec<(usize, u64)> {
        std::mem::take(&mut self.released)
    }
}
