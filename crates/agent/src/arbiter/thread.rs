//! The arbiter's thread: doorbells and timers in, gates out.
//!
//! It trusts nothing that a tenant can reach. A doorbell is never read: a tenant shares its file
//! description and could make the read block, so the thread listens for edges only. One that rings
//! without end is not listened to until the next heartbeat.

use super::core::{Arbiter, GateOrder};
use super::handle::{ArbiterError, kernel};
use super::page::{LeasePages, Terms};
use polder_ledger::{gate, monotonic_ns};
use polder_model::LeaseId;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;

/// How often each page is told that the arbiter lives, and every lease looked at.
const HEARTBEAT_NS: u64 = 100_000_000;
/// Most rings of one lease that are heard between two heartbeats: an order of magnitude above
/// what a program with the shortest kernels needs.
const RINGS_MAX: u32 = 1_000;
/// Most rounds of gates and censuses in one wake-up; what is left follows at once in the next.
const ROUNDS_MAX: u32 = 16;
/// Events taken at a time.
const EVENTS_MAX: usize = 64;
/// Shortest sleep: whatever the core asks for, programs get the CPU in between.
const SLEEP_MIN_NS: u64 = 20_000;

const CONTROL: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// What the rest of the agent asks of the thread.
pub(super) enum Command {
    Add {
        lease: LeaseId,
        terms: Terms,
        pages: Arc<LeasePages>,
        reply: SyncSender<Result<(), ArbiterError>>,
    },
    Resize {
        lease: LeaseId,
        terms: Terms,
        reply: SyncSender<()>,
    },
    Remove {
        lease: LeaseId,
        reply: SyncSender<()>,
    },
    Stop,
}

/// A lease as the thread holds it.
struct Member {
    pages: Arc<LeasePages>,
    /// Heard since the last heartbeat.
    rings: u32,
    deadline_ns: u64,
}

struct Loop {
    core: Arbiter,
    members: BTreeMap<LeaseId, Member>,
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What the timer is set to; 0 when it is off.
    armed_ns: u64,
    control: Arc<OwnedFd>,
    commands: Receiver<Command>,
    heartbeat_at_ns: u64,
    /// Flags that every gate has, whoever's turn it is.
    always: u32,
}

/// Starts it.
pub(super) fn start(
    control: Arc<OwnedFd>,
    commands: Receiver<Command>,
    always: u32,
) -> Result<JoinHandle<()>, ArbiterError> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(kernel("creating an epoll"))?;
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer =
        timerfd_create(TimerfdClockId::Monotonic, flags).map_err(kernel("creating a timer"))?;
    let listen = kernel("listening to a descriptor");
    epoll::add(&epoll, &control, EventData::new_u64(CONTROL), EventFlags::IN).map_err(&listen)?;
    epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN).map_err(&listen)?;
    let body = Loop {
        core: Arbiter::default(),
        members: BTreeMap::new(),
        epoll,
        timer,
        armed_ns: 0,
        control,
        commands,
        heartbeat_at_ns: 0,
        always,
    };
    std::thread::Builder::new()
        .name("arbiter".into())
        .spawn(move || body.run())
        .map_err(kernel("starting a thread"))
}

impl Loop {
    fn run(mut self) {
        super::priority::raise();
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    // Cannot happen with descriptors of our own; programs go on without us.
                    tracing::error!(%error, "arbiter cannot listen and stops");
                    return;
                }
            }
            let mut rung = Vec::new();
            for event in &events {
                match event.data.u64() {
                    CONTROL => {
                        if !self.obey() {
                            return;
                        }
                    }
                    TIMER => self.timer_fired(),
                    lease => rung.push(LeaseId(lease)),
                }
            }
            self.wake(&rung);
        }
    }

    /// Does what it was told; false to stop.
    fn obey(&mut self) -> bool {
        let mut count = [0; 8];
        // Nothing to read means that another wake-up has read it.
        let _ = rustix::io::read(&*self.control, &mut count);
        while let Ok(command) = self.commands.try_recv() {
            let now_ns = monotonic_ns();
            // Who no longer waits for an answer needs none.
            match command {
                Command::Add { lease, terms, pages, reply } => {
                    let _ = reply.send(self.add(now_ns, lease, &terms, pages));
                }
                Command::Resize { lease, terms, reply } => {
                    self.look(now_ns, lease);
                    self.core.resize(now_ns, lease, &terms);
                    let _ = reply.send(());
                }
                Command::Remove { lease, reply } => {
                    self.remove(now_ns, lease);
                    let _ = reply.send(());
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn add(
        &mut self,
        now_ns: u64,
        lease: LeaseId,
        terms: &Terms,
        pages: Arc<LeasePages>,
    ) -> Result<(), ArbiterError> {
        let data = EventData::new_u64(lease.0);
        epoll::add(&self.epoll, &pages.doorbell, data, EventFlags::IN | EventFlags::ET)
            .map_err(kernel("listening to a lease's doorbell"))?;
        if self.always != 0 {
            // The core writes a gate only when it changes, and this one is closed to it.
            gate::set(&pages.limits, self.always);
        }
        self.core.add(now_ns, lease, terms);
        if let Some(told) = pages.before {
            self.core.go_on(lease, told, pages.census());
        }
        self.members.insert(lease, Member { pages, rings: 0, deadline_ns: 0 });
        self.look(now_ns, lease);
        Ok(())
    }

    fn remove(&mut self, now_ns: u64, lease: LeaseId) {
        self.look(now_ns, lease);
        self.tell_charges();
        self.core.remove(now_ns, lease);
        if let Some(member) = self.members.remove(&lease) {
            gate::set(&member.pages.limits, 0);
            // Listened to since it was added; the kernel has nothing to object.
            let _ = epoll::delete(&self.epoll, &member.pages.doorbell);
        }
    }

    fn timer_fired(&mut self) {
        let mut count = [0; 8];
        // Nothing to read means that it was set anew in the meantime.
        let _ = rustix::io::read(&self.timer, &mut count);
        self.armed_ns = 0;
    }

    /// One wake-up: look, decide, write, until nothing changes.
    fn wake(&mut self, rung: &[LeaseId]) {
        let now_ns = monotonic_ns();
        if now_ns >= self.heartbeat_at_ns {
            self.heartbeat(now_ns);
        }
        for &lease in rung {
            self.heard(lease);
            self.look(now_ns, lease);
        }
        let watched: Vec<LeaseId> = self.core.watched().collect();
        for lease in watched {
            self.look(now_ns, lease);
        }
        let mut rounds = 0;
        let settled = loop {
            let orders = self.core.advance(monotonic_ns());
            for &order in &orders {
                self.write(order);
            }
            // Only a census taken after a gate was written says what came of it.
            let now_ns = monotonic_ns();
            for order in &orders {
                self.look(now_ns, order.lease);
            }
            rounds += 1;
            if orders.is_empty() || rounds == ROUNDS_MAX {
                break orders.is_empty();
            }
        };
        self.tell_charges();
        let next_ns = if settled { self.core.next_wake().unwrap_or(u64::MAX) } else { 0 };
        let heartbeat_ns = if self.members.is_empty() { u64::MAX } else { self.heartbeat_at_ns };
        self.arm(next_ns.min(heartbeat_ns).max(monotonic_ns() + SLEEP_MIN_NS));
    }

    fn heartbeat(&mut self, now_ns: u64) {
        self.heartbeat_at_ns = now_ns + HEARTBEAT_NS;
        let mut muted = Vec::new();
        for (&lease, member) in &mut self.members {
            member.pages.limits.heartbeat_ns.store(now_ns, Ordering::Release);
            self.core.observe(now_ns, lease, member.pages.census());
            member.pages.owes(self.core.owed(lease));
            if std::mem::take(&mut member.rings) >= RINGS_MAX {
                muted.push(lease);
            }
        }
        for lease in muted {
            self.listen(lease, EventFlags::IN | EventFlags::ET);
        }
    }

    /// Counts a ring, and stops to listen to one that rings without end.
    fn heard(&mut self, lease: LeaseId) {
        let Some(member) = self.members.get_mut(&lease) else { return };
        member.rings = member.rings.saturating_add(1);
        if member.rings == RINGS_MAX {
            tracing::warn!(%lease, "rings its doorbell without end: heard ten times a second now");
            self.listen(lease, EventFlags::empty());
        }
    }

    fn listen(&self, lease: LeaseId, to: EventFlags) {
        let Some(member) = self.members.get(&lease) else { return };
        // As in `remove`.
        let _ = epoll::modify(&self.epoll, &member.pages.doorbell, EventData::new_u64(lease.0), to);
    }

    fn look(&mut self, now_ns: u64, lease: LeaseId) {
        if let Some(member) = self.members.get(&lease) {
            self.core.observe(now_ns, lease, member.pages.census());
        }
    }

    fn write(&mut self, order: GateOrder) {
        let Some(member) = self.members.get_mut(&order.lease) else { return };
        let limits = &member.pages.limits;
        let was_open = gate::look(limits).open();
        let longer = member.deadline_ns != order.deadline_ns;
        member.deadline_ns = order.deadline_ns;
        limits.deadline_ns.store(order.deadline_ns, Ordering::Release);
        limits.quantum_ns.store(order.in_flight_ns, Ordering::Release);
        limits.heartbeat_ns.store(monotonic_ns(), Ordering::Release);
        let now = gate::set(limits, order.flags | self.always);
        // Those who wait at a closed gate, and those for whom an open one closed too soon.
        if now.open() && (!was_open || longer) {
            limits.wake();
        }
    }

    fn tell_charges(&mut self) {
        let members = &self.members;
        for (lease, member) in members {
            if let Some(upto_ns) = self.core.told(*lease) {
                member.pages.keep_counted(upto_ns);
            }
        }
        self.core.take_charges(|lease, index, charge| {
            if let Some(member) = members.get(&lease) {
                member.pages.charge(index, charge);
            }
        });
    }

    /// Sets the timer; `u64::MAX` turns it off.
    fn arm(&mut self, at_ns: u64) {
        let at_ns = if at_ns == u64::MAX { 0 } else { at_ns };
        if at_ns == self.armed_ns {
            return;
        }
        self.armed_ns = at_ns;
        let at = Timespec {
            tv_sec: i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (at_ns % 1_000_000_000).cast_signed(),
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: at };
        if let Err(error) = timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::ABSTIME, &spec) {
            tracing::error!(%error, "arbiter cannot set its timer");
        }
    }
}
