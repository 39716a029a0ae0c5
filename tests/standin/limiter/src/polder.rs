//! Polder's limiter: the arbiter's production core as its thread drives it, and in each process the
//! driver's production meter behind a gate, with the latencies of a busy machine between them.
//!
//! Of a command's end it hears as OpenCL's driver does, command by command, or as CUDA's, once per
//! batch ([`Hearing`]); the second follows `flight.rs` of the CUDA driver for one stream.

use crate::MS;
use crate::limiter::{Answer, Limiter};
use polder_agent::arbiter::core::{Arbiter, GateOrder, IN_FLIGHT_NS};
use polder_agent::arbiter::{Share, Terms};
use polder_driver::ends::Ends;
use polder_driver::meter::{Done, Kind, Member, Meter, Moment, Verdict};
use polder_driver::patience::{POLITE_NS, Patience, Right};
use polder_ledger::Usage;
use polder_ledger::gate::{self, CONTENDED, Census, ONE, OPEN, WATCH};
use polder_ledger::single::{self, Held, Single};
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

/// As in the CUDA driver: most expected work of a batch, most launches of one, and the most that is
/// not heard of by itself.
const BATCH_NS_MAX: u64 = 2 * MS;
const BATCH_MAX: usize = 64;
const DUST_NS_MAX: u64 = 200_000;

/// How a process hears that its commands are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// At once, of each.
    Each,
    /// Of a batch, so many nanoseconds after its end, up to half more or less.
    Batches(u64),
}

/// Launches whose end is heard of together: they are over when so many of the process's are.
#[derive(Debug)]
struct Batch {
    members: Vec<Member>,
    single: Option<Single>,
    last: u64,
    /// When it was over, by the device's clock.
    ended_ns: Option<u64>,
}

/// A batch that was counted out, and whose end a thread of the program will look up.
#[derive(Debug)]
struct Heard {
    members: Vec<Member>,
    ended_ns: u64,
    heard_ns: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Heard of in batches: what has gathered, what is with the driver, what is not heard of by
    /// itself, and how many commands were handed over and are over.
    open: Vec<Member>,
    open_single: Option<Single>,
    /// A thread waits for all of it, and will tell of its end.
    syncing: bool,
    heard: Vec<Heard>,
    clock: Ends,
    away: VecDeque<Batch>,
    dust_ns: u64,
    launched: u64,
    over: u64,
    meter: Meter,
    /// Launched at, with this estimate, of this kind, as the lease's single command.
    flight: VecDeque<(u64, u64, Kind, Option<Single>)>,
    completed: u64,
    longest_ns: u64,
    busy_ns: u64,
    waiting: bool,
    room_since_ns: Option<u64>,
    patience: Patience,
    right: Option<Right>,
}

/// The limiter.
#[derive(Debug)]
pub struct Polder {
    core: Arbiter,
    slots: Vec<Slot>,
    /// The page in which the processes see each other.
    usage: Box<Usage>,
    flags: u32,
    deadline_ns: u64,
    rung_at_ns: Option<u64>,
    timer_ns: u64,
    heartbeat_ns: u64,
    released: Vec<(usize, u64)>,
    hearing: Hearing,
    /// When the oldest batch of a process is heard of.
    ends: Vec<(u64, usize)>,
    jitter: u64,
}

impl Slot {
    /// Commands that count as in flight.
    fn inflight(&self) -> u64 {
        let away = self.away.iter().flat_map(|batch| &batch.members);
        let counted = self.open.iter().chain(away).filter(|member| member.counted).count();
        (self.flight.len() + counted) as u64
    }

    /// Counts commands out before their end, of which nothing is heard.
    fn leave_early(&mut self, now_ns: u64, members: &[Member]) {
        for member in members.iter().filter(|member| member.counted) {
            self.meter.leave_early(now_ns, member.estimate_ns);
            self.completed += 1;
        }
    }

    /// A thread of the program looks up when the batches ended that were heard of since.
    fn look_up(&mut self) {
        for heard in std::mem::take(&mut self.heard) {
            let launched_ns = heard.members.last().map_or(0, |last| last.launched_ns);
            let Heard { members, ended_ns, heard_ns } = heard;
            let end = self.clock.end(ended_ns, heard_ns, launched_ns);
            self.longest_ns = self.meter.learn_late(end, heard_ns, &members);
        }
    }

    fn count(&mut self, done: Done) {
        self.longest_ns = done.longest_ns;
        self.busy_ns += done.to_ns.saturating_sub(done.from_ns);
    }

    /// Counts commands out that are known to be over together.
    fn leave_together(&mut self, now_ns: u64, members: &[Member]) {
        if members.is_empty() {
            return;
        }
        let done = self.meter.complete_together(now_ns, members);
        self.count(done);
        self.completed += members.iter().filter(|member| member.counted).count() as u64;
    }
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
            backing: Bytes(0),
            granularity: Bytes(1),
        };
        let mut core = Arbiter::default();
        core.add(0, LEASE, &Terms::batch(vec![share]));
        let usage = Box::new(Usage::new(LEASE.0));
        for slot in 0..processes {
            usage.claim_slot(slot, 1);
        }
        Self {
            core,
            usage,
            slots: (0..processes).map(|_| Slot::default()).collect(),
            flags: 0,
            deadline_ns: 0,
            rung_at_ns: None,
            timer_ns: u64::MAX,
            heartbeat_ns: 0,
            released: Vec::new(),
            hearing: Hearing::Each,
            ends: Vec::new(),
            jitter: 1,
        }
    }

    /// The same, hearing of ends otherwise.
    #[must_use]
    pub fn hearing(self, hearing: Hearing) -> Self {
        Self { hearing, ..self }
    }

    /// A command was handed over to a driver that tells of batches.
    fn gather(&mut self, now_ns: u64, process: usize, mut member: Member, single: Option<Single>) {
        let slot = &mut self.slots[process];
        slot.launched += 1;
        let alone = slot.away.is_empty();
        let dust = alone && slot.dust_ns.saturating_add(member.estimate_ns) <= DUST_NS_MAX;
        if dust {
            slot.dust_ns += member.estimate_ns;
            slot.leave_early(now_ns, &[member]);
            member.counted = false;
        } else {
            slot.open_single = slot.open_single.or(single);
        }
        slot.open.push(member);
        let estimate_ns: u64 = slot.open.iter().map(|member| member.estimate_ns).sum();
        let full = estimate_ns >= BATCH_NS_MAX || slot.open.len() >= BATCH_MAX;
        if full || alone && !dust {
            self.close(now_ns, process);
        }
        if dust {
            self.give_back(now_ns, single);
        }
    }

    /// The lease may have another single command: those that wait hear of it.
    fn give_back(&mut self, now_ns: u64, single: Option<Single>) {
        let Some(single) = single else { return };
        if single::give_back(&self.usage, single) {
            self.wake_waiting(now_ns);
        }
    }

    fn wake_waiting(&mut self, now_ns: u64) {
        for index in 0..self.slots.len() {
            if self.slots[index].waiting {
                let at_ns = now_ns + self.about(WAKE_NS);
                self.released.push((index, at_ns));
            }
        }
    }

    /// Has the driver tell when what has gathered is over.
    fn close(&mut self, now_ns: u64, process: usize) {
        let slot = &mut self.slots[process];
        if slot.open.is_empty() {
            return;
        }
        slot.dust_ns = 0;
        let (members, last) = (std::mem::take(&mut slot.open), slot.launched);
        let single = slot.open_single.take();
        slot.away.push_back(Batch { members, single, last, ended_ns: None });
        self.ended(now_ns, process);
    }

    /// Batches that have ended will be heard of.
    fn ended(&mut self, now_ns: u64, process: usize) {
        let Hearing::Batches(late_ns) = self.hearing else { return };
        let slot = &mut self.slots[process];
        let over = slot.over;
        let due =
            slot.away.iter_mut().filter(|batch| batch.ended_ns.is_none() && batch.last <= over);
        let count = due.map(|batch| batch.ended_ns = Some(now_ns)).count();
        for _ in 0..count {
            let at_ns = now_ns + self.about(late_ns);
            self.ends.push((at_ns, process));
        }
    }

    /// The oldest batch that is away is over, and this is heard of now.
    fn count_out(&mut self, now_ns: u64, process: usize) {
        let slot = &mut self.slots[process];
        let Some(batch) = slot.away.pop_front() else { return };
        let done = slot.meter.heard_together(now_ns, &batch.members);
        slot.count(done);
        slot.completed += batch.members.iter().filter(|member| member.counted).count() as u64;
        let ended_ns = batch.ended_ns.unwrap_or(now_ns);
        slot.heard.push(Heard { members: batch.members, ended_ns, heard_ns: now_ns });
        self.give_back(now_ns, batch.single);
    }

    fn hear(&mut self, now_ns: u64, process: usize) {
        self.count_out(now_ns, process);
        let slot = &mut self.slots[process];
        if slot.away.is_empty() && !slot.syncing {
            let tail = std::mem::take(&mut slot.open);
            slot.leave_early(now_ns, &tail);
            let single = slot.open_single.take();
            self.give_back(now_ns, single);
        }
        self.left(now_ns, process);
    }

    /// Something was counted out: whoever waits for that hears of it.
    fn left(&mut self, now_ns: u64, process: usize) {
        let slot = &self.slots[process];
        if slot.room_since_ns.is_some() {
            self.released.push((process, now_ns));
        }
        if slot.inflight() == 0 && (self.flags & OPEN == 0 || self.flags & WATCH != 0) {
            self.ring(now_ns);
        }
    }

    fn arbiter_at_ns(&self) -> u64 {
        self.rung_at_ns.unwrap_or(u64::MAX).min(self.timer_ns).min(self.heartbeat_ns)
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
            census.inflight += slot.inflight();
            census.waiting += u64::from(slot.waiting);
            census.completed += slot.completed;
            census.longest_ns = census.longest_ns.max(slot.longest_ns);
            census.busy_ns += slot.busy_ns;
        }
        census
    }

    fn write(&mut self, now_ns: u64, order: GateOrder) {
        let was_open = self.flags & OPEN != 0;
        let longer = self.deadline_ns != order.deadline_ns;
        (self.flags, self.deadline_ns) = (order.flags, order.deadline_ns);
        if self.flags & OPEN != 0 && (!was_open || longer) {
            self.wake_waiting(now_ns);
        }
    }

    fn wait(&mut self, now_ns: u64, process: usize, until_ns: u64) -> Answer {
        self.close(now_ns, process);
        self.announce(now_ns, process);
        Answer::Until(until_ns)
    }

    fn announce(&mut self, now_ns: u64, process: usize) {
        if !self.slots[process].waiting {
            self.slots[process].waiting = true;
            gate::wait_begin(&self.usage.slot[process]);
            self.ring(now_ns);
        }
    }

    /// As the driver's gate asks for the right to be the lease's single command.
    fn for_right(&mut self, now_ns: u64, process: usize, turn: Option<u64>) -> Result<(), Answer> {
        let announced = self.slots[process].waiting;
        let slot = &mut self.slots[process];
        let held = match slot.patience.ask(&self.usage, process, now_ns, turn) {
            Ok(right) => {
                slot.right = Some(right);
                return Ok(());
            }
            Err(held) => held,
        };
        if turn.is_none() {
            slot.room_since_ns.get_or_insert(now_ns);
        }
        if !announced {
            self.wait(now_ns, process, now_ns);
            return self.for_right(now_ns, process, turn);
        }
        let most_ns = if held == Held::Line { POLITE_NS } else { TURN_WAIT_NS };
        Err(self.wait(now_ns, process, now_ns + most_ns))
    }
}

impl Polder {
    /// The command goes.
    fn go(
        &mut self,
        now_ns: u64,
        process: usize,
        (kind, estimate_ns): (Kind, u64),
        single: Option<Single>,
    ) -> Answer {
        let slot = &mut self.slots[process];
        if std::mem::take(&mut slot.waiting) {
            gate::wait_end(&self.usage.slot[process]);
        }
        (slot.room_since_ns, slot.patience) = (None, Patience::default());
        match self.hearing {
            Hearing::Each => slot.flight.push_back((now_ns, estimate_ns, kind, single)),
            Hearing::Batches(_) => {
                let (count, launched_ns, counted, paid) = (1, now_ns, true, false);
                let member = Member { kind, count, launched_ns, estimate_ns, counted, paid };
                self.gather(now_ns, process, member, single);
            }
        }
        Answer::Go
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
        self.slots[process].look_up();
        if self.flags & OPEN == 0 {
            return self.wait(now_ns, process, now_ns + GATE_WAIT_NS);
        }
        let deadline_ns = (self.flags & CONTENDED != 0).then_some(self.deadline_ns);
        let slot = &mut self.slots[process];
        let right = slot.right.take();
        let moment = Moment {
            deadline_ns,
            one: self.flags & ONE != 0,
            impatient: slot.room_since_ns.is_some_and(|since| now_ns - since >= ROOM_WAIT_NS),
            held_back: deadline_ns.is_some_and(|deadline| slot.patience.held_back(deadline)),
            single: right.is_some(),
            ..Moment::at(now_ns, IN_FLIGHT_NS)
        };
        let kind = kind(work);
        let verdict = slot.meter.admit(moment, kind, false);
        let single = right.and_then(|right| match right {
            Right::Own(single) => Some(single),
            Right::Waited => None,
        });
        if !matches!(verdict, Verdict::Go { .. }) {
            self.give_back(now_ns, single);
        }
        match verdict {
            Verdict::Go { estimate_ns } => self.go(now_ns, process, (kind, estimate_ns), single),
            Verdict::Single { long } => {
                match self.for_right(now_ns, process, deadline_ns.filter(|_| long)) {
                    Ok(()) => self.launch(now_ns, process, work),
                    Err(answer) => answer,
                }
            }
            Verdict::Room(ns) => {
                self.slots[process].room_since_ns.get_or_insert(now_ns);
                self.close(now_ns, process);
                Answer::Until(now_ns + ns)
            }
            Verdict::Turn => {
                let slot = &mut self.slots[process];
                slot.patience.held_back_in(self.deadline_ns);
                let left_ns = self.deadline_ns.saturating_sub(now_ns);
                let until_ns = match slot.inflight() == 0 || left_ns == 0 {
                    true => TURN_WAIT_NS,
                    false => left_ns.min(TURN_WAIT_NS),
                };
                self.wait(now_ns, process, now_ns + until_ns)
            }
        }
    }

    fn completed(&mut self, now_ns: u64, process: usize) {
        let slot = &mut self.slots[process];
        slot.over += 1;
        if self.hearing != Hearing::Each {
            return self.ended(now_ns, process);
        }
        let Some((launched_ns, estimate_ns, kind, single)) = slot.flight.pop_front() else {
            return;
        };
        let done = slot.meter.complete(now_ns, launched_ns, estimate_ns, kind, false);
        slot.count(done);
        slot.completed += 1;
        let empty = slot.flight.is_empty();
        self.give_back(now_ns, single);
        if empty {
            self.left(now_ns, process);
        }
    }

    fn syncing(&mut self, _now_ns: u64, process: usize) {
        self.slots[process].syncing = true;
    }

    fn synced(&mut self, now_ns: u64, process: usize) {
        self.slots[process].syncing = false;
        // The thread that has waited knows that all of it is over, and when.
        while !self.slots[process].away.is_empty() {
            self.count_out(now_ns, process);
        }
        self.ends.retain(|(_, other)| *other != process);
        let slot = &mut self.slots[process];
        slot.look_up();
        let open = std::mem::take(&mut slot.open);
        slot.leave_together(now_ns, &open);
        let single = slot.open_single.take();
        self.give_back(now_ns, single);
        self.left(now_ns, process);
    }

    fn next_wake(&self) -> Option<u64> {
        let ends_ns = self.ends.iter().map(|end| end.0).min().unwrap_or(u64::MAX);
        Some(self.arbiter_at_ns().min(ends_ns))
    }

    fn wake(&mut self, now_ns: u64, _device: &Device) {
        let due: Vec<_> = self.ends.extract_if(.., |end| end.0 <= now_ns).collect();
        due.into_iter().for_each(|(_, process)| self.hear(now_ns, process));
        if self.arbiter_at_ns() > now_ns {
            return;
        }
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
