//! The one way work reaches a device: wait for the lease's turn and for room, count the command in,
//! and count it out when it completes. How a command is handed over and how its end is heard of is
//! each API's own affair.
//!
//! [`STUCK_NS`]: wait::STUCK_NS
//!
//! **Invariant of waits.** A wait for the gate ends by what the arbiter or the clock does, never by what
//! the waiting thread holds up. A thread of the program holds nothing up. One on which the driver calls
//! the program back may hold up what is behind its command, and the news of what is over; for the lease
//! to be seen drained, it asks by itself while it waits ([`HeldUp`]): what is over is counted out, and what
//! has not begun is counted out until the wait ends. Where something is in flight all the same, so that
//! the gate may never open again, it waits [`STUCK_NS`] and goes as soon as the lease's own share pays for
//! the command, as it does without an arbiter; that is counted for the agent, which tells of it.

mod wait;

pub use wait::HeldUp;

use crate::attach::Attachment;
use crate::ends::End;
use crate::meter::{Done, Kind, Member, Meter, Moment, Room, Verdict};
use crate::state::State;
use polder_ledger::busy;
use polder_ledger::gate::{self, Bell, CONTENDED, Gate, ONE, UNGATED, WATCH};
use polder_ledger::single::{self, Single};
use polder_ledger::{Limits, monotonic_ns, wake_waiting};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use wait::{GATE_WAIT_NS, LOOK_NS, Lent, ROOM_WAIT_NS, TURN_WAIT_NS, Wait};

/// The quantum when the page names none.
const QUANTUM_NS: u64 = 10_000_000;
/// Longest sleep of a process that keeps to its share by itself.
const SHARE_WAIT_NS: u64 = 20_000_000;

/// A command on its way past the gate.
#[derive(Debug)]
pub struct Passage {
    state: &'static State,
    device: usize,
    kind: Kind,
    estimate_ns: AtomicU64,
    launched_ns: AtomicU64,
    /// Counted as in flight.
    entered: AtomicBool,
    /// Its estimate was taken from the process's own credit.
    paid: AtomicBool,
    /// What it has if it is the lease's single command; else zero.
    single: AtomicU64,
}

impl Passage {
    /// A command of `kind` for a device of the lease, not counted yet.
    #[must_use]
    pub fn new(state: &'static State, device: usize, kind: Kind) -> Self {
        Self {
            state,
            device,
            kind,
            estimate_ns: AtomicU64::new(0),
            launched_ns: AtomicU64::new(0),
            entered: AtomicBool::new(false),
            paid: AtomicBool::new(false),
            single: AtomicU64::new(0),
        }
    }

    /// What the process knew of itself when the command was made.
    #[must_use]
    pub fn state(&self) -> &'static State {
        self.state
    }

    /// What it was taken for, nanoseconds; 0 before it has entered.
    #[must_use]
    pub fn estimate_ns(&self) -> u64 {
        self.estimate_ns.load(Ordering::Relaxed)
    }

    /// Takes it out of what is in flight.
    fn member(&self) -> Member {
        Member { counted: self.entered.swap(false, Ordering::AcqRel), ..self.told() }
    }

    /// What there is to learn from.
    fn told(&self) -> Member {
        Member {
            kind: self.kind,
            count: 1,
            launched_ns: self.launched_ns(),
            estimate_ns: self.estimate_ns(),
            counted: false,
            paid: self.paid.load(Ordering::Relaxed),
        }
    }

    fn entered(&self, estimate_ns: u64, now_ns: u64) {
        self.estimate_ns.store(estimate_ns, Ordering::Relaxed);
        self.launched_ns.store(now_ns, Ordering::Relaxed);
        self.entered.store(true, Ordering::Release);
    }

    /// Counts the command in whatever the gate says.
    pub fn enter_late(&self) {
        let Some(attachment) = &self.state.attachment else { return };
        gate::enter_late(attachment.slot());
        let now_ns = monotonic_ns();
        let quantum_ns = quantum(attachment.limits());
        let estimate = self.state.meters[self.device].launch(now_ns, self.kind, quantum_ns);
        self.entered(estimate, now_ns);
    }

    /// Waits until the command may go, and counts it in. Before the thread sleeps, `flush` hands
    /// over what the driver has queued and not begun.
    pub fn enter(&self, flush: &dyn Fn()) {
        self.enter_holding(flush, None);
    }

    /// The same, on a thread on which the driver has called the program back.
    pub fn enter_called_back(&self, flush: &dyn Fn(), held: &dyn HeldUp) {
        self.enter_holding(flush, Some(held));
    }

    /// While it waited, what was under way may have stood still.
    pub fn stood_still(&self) {
        self.state.meters[self.device].go_on(monotonic_ns());
    }

    fn enter_holding(&self, flush: &dyn Fn(), held: Option<&dyn HeldUp>) {
        let Some(attachment) = &self.state.attachment else { return };
        let mut wait = Wait::new(attachment, flush, held);
        let mut right = None;
        loop {
            let now_ns = monotonic_ns();
            let limits = attachment.limits();
            let seen = gate::look(limits);
            // Had for this look; whatever comes of it, it is asked for anew.
            let had = right.take();
            let mut moment = Moment {
                one: seen.has(ONE),
                impatient: wait.room_ns >= wait.room_most_ns,
                single: had.is_some(),
                called_back: held.is_some(),
                ..Moment::at(now_ns, quantum(limits))
            };
            if seen.has(UNGATED) {
                return self.enter_late();
            }
            if limits.is_deserted(now_ns) {
                if self.enter_alone(attachment, moment, &mut wait) {
                    return;
                }
                continue;
            }
            if !seen.open() {
                if wait.is_stuck(now_ns) {
                    // What is in flight may be unable to make room.
                    let moment = Moment { impatient: true, ..moment };
                    if self.pay(attachment, limits, moment).is_ok() {
                        if let Some(count) = limits.out_of_turn(attachment.slot()) {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        return;
                    }
                }
                wait.at_gate(limits, seen, GATE_WAIT_NS);
                continue;
            }
            if seen.has(ONE) {
                moment.quantum_ns /= gate::at_work(attachment.usage(), attachment.index());
            }
            let contended = seen.has(CONTENDED);
            moment.deadline_ns = contended.then(|| limits.deadline_ns.load(Ordering::Acquire));
            let deadline_ns = moment.deadline_ns.unwrap_or(0);
            moment.held_back = contended && wait.patience.held_back(deadline_ns);
            let meter = &self.state.meters[self.device];
            match meter.admit(moment, self.kind, wait.flushed && held.is_none()) {
                Verdict::Go { estimate_ns } => match gate::enter(limits, attachment.slot()) {
                    Ok(_) => {
                        let word = had.and_then(Lent::keep).map_or(0, Single::word);
                        self.single.store(word, Ordering::Release);
                        return self.entered(estimate_ns, now_ns);
                    }
                    Err((_, bell)) => {
                        meter.cancel(estimate_ns);
                        answer(attachment, bell);
                    }
                },
                Verdict::Single { long } => {
                    let turn = moment.deadline_ns.filter(|_| long);
                    right = wait.for_right(limits, seen, now_ns, turn);
                }
                Verdict::Room(ns) => {
                    wait.for_room(now_ns);
                    if let Some(held) = held {
                        wait.room_most_ns = ns.min(ROOM_WAIT_NS);
                        held.look();
                        meter.wait_for_end(LOOK_NS);
                    }
                }
                Verdict::Turn => {
                    wait.patience.held_back_in(deadline_ns);
                    wait.announce();
                    let left = deadline_ns.saturating_sub(now_ns);
                    if left == 0 || meter.wait_for_end(left.min(TURN_WAIT_NS)) {
                        wait.at_gate(limits, seen, TURN_WAIT_NS);
                    }
                }
            }
        }
    }

    /// Without an arbiter: keeps to the lease's share, divided among its processes. False when the
    /// caller should look again.
    fn enter_alone(&self, attachment: &Attachment, moment: Moment, wait: &mut Wait<'_>) -> bool {
        let before = attachment.limits();
        attachment.refresh();
        if !std::ptr::eq(before, attachment.limits()) {
            return false;
        }
        wait.flush();
        match self.pay(attachment, before, moment) {
            Ok(()) => true,
            Err(pause) => {
                std::thread::sleep(pause.min(Duration::from_nanos(SHARE_WAIT_NS)));
                wait.room_ns += monotonic_ns().saturating_sub(moment.now_ns);
                false
            }
        }
    }

    /// Counts the command in if the process's part of the lease's share pays for it; else tells how long
    /// to wait.
    fn pay(
        &self,
        attachment: &Attachment,
        limits: &Limits,
        moment: Moment,
    ) -> Result<(), Duration> {
        let live = attachment.usage().slots().iter();
        let live = live.filter(|slot| slot.pid.load(Ordering::Relaxed) != 0).count().max(1);
        let compute = limits.device[self.device].compute.load(Ordering::Relaxed);
        let share = (u64::from(compute.min(1000)) / live as u64).max(1);
        let estimate_ns = self.state.meters[self.device].pay(moment, self.kind, share)?;
        gate::enter_late(attachment.slot());
        self.paid.store(true, Ordering::Relaxed);
        self.entered(estimate_ns, moment.now_ns);
        Ok(())
    }

    /// Counts the command out until [`Passage::resume`]: it has not begun, and a thread waits at the gate
    /// that may hold it up. False when it is not counted in.
    pub fn pause(&self) -> bool {
        let attachment = self.state.attachment.as_ref().filter(|_| self.state.is_current());
        let Some(attachment) = attachment else { return false };
        let counted = self.entered.swap(false, Ordering::AcqRel);
        if counted {
            self.give_back(attachment);
            self.state.meters[self.device].pause(self.estimate_ns());
            answer(attachment, gate::pause(attachment.limits(), attachment.slot()));
        }
        counted
    }

    /// Counts a command in again that is paused: it had not begun at `from_ns` of the monotonic clock.
    pub fn resume(&self, from_ns: u64) {
        let Some(attachment) = &self.state.attachment else { return };
        gate::resume(attachment.slot());
        self.state.meters[self.device].resume(from_ns, self.estimate_ns());
        self.entered(self.estimate_ns(), from_ns);
    }

    /// The lease may have another single command.
    fn give_back(&self, attachment: &Attachment) {
        if let Some(single) = Single::of_word(self.single.swap(0, Ordering::AcqRel)) {
            give_back(attachment, single);
        }
    }

    /// Counts the command out before its end, of which nobody will hear.
    pub fn leave_early(&self) {
        let Some(attachment) = self.state.attachment.as_ref().filter(|_| self.state.is_current())
        else {
            return;
        };
        if self.entered.swap(false, Ordering::AcqRel) {
            self.give_back(attachment);
            let meter = &self.state.meters[self.device];
            meter.leave_early(monotonic_ns(), self.estimate_ns());
            answer(attachment, gate::leave(attachment.limits(), attachment.slot()));
        }
    }

    /// Counts the command out. `completed` when it ran, so that its length can be learned. In the
    /// child of a fork the command is the parent's.
    pub fn leave(&self, completed: bool) {
        if !self.state.is_current() {
            return;
        }
        let Some(attachment) = &self.state.attachment else { return };
        if !self.entered.swap(false, Ordering::AcqRel) {
            return;
        }
        self.give_back(attachment);
        let meter = &self.state.meters[self.device];
        let estimate = self.estimate_ns.load(Ordering::Relaxed);
        if completed {
            let launched = self.launched_ns.load(Ordering::Relaxed);
            let paid = self.paid.load(Ordering::Relaxed);
            let done = meter.complete(monotonic_ns(), launched, estimate, self.kind, paid);
            count(self.state, self.device, attachment, done);
        } else {
            meter.cancel(estimate);
        }
        answer(attachment, gate::leave(attachment.limits(), attachment.slot()));
    }
}

/// The gate, if it is open and nobody else wants the device: while it stays as it is, a command that
/// follows another need not ask.
#[must_use]
pub fn calm(state: &State) -> Option<Gate> {
    let seen = gate::look(state.attachment.as_ref()?.limits());
    let pressed = CONTENDED | ONE | WATCH;
    (seen.open() && !seen.has(pressed)).then_some(seen)
}

/// Room for launches that will not ask one by one; in flight they are counted as one command.
#[derive(Debug)]
pub struct Ahead {
    state: &'static State,
    device: usize,
    room: Room,
}

impl Ahead {
    /// What was taken.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room
    }

    /// Gives back all but what `used` will tell of.
    pub fn trim(&mut self, used: Room) {
        let unused = Room {
            commands: self.room.commands.saturating_sub(used.commands),
            estimate_ns: self.room.estimate_ns.saturating_sub(used.estimate_ns),
        };
        self.room = used;
        if self.state.is_current() && unused != Room::default() {
            self.state.meters[self.device].give_back(unused);
        }
    }

    /// Counts it out. `told` when its commands are told to the meter otherwise.
    pub fn leave(mut self, told: bool) {
        if !self.state.is_current() {
            return;
        }
        let Some(attachment) = &self.state.attachment else { return };
        if !told {
            self.trim(Room::default());
        }
        answer(attachment, gate::release(attachment.limits(), attachment.slot()));
    }
}

impl Passage {
    /// Takes room ahead, once the command has entered: at most `most`, and none while anything presses.
    pub fn ahead(&self, most: Room) -> Option<Ahead> {
        let attachment = self.state.attachment.as_ref()?;
        if !self.entered.load(Ordering::Acquire) || self.paid.load(Ordering::Relaxed) {
            return None;
        }
        let quantum_ns = quantum(attachment.limits());
        let launched_ns = self.launched_ns.load(Ordering::Relaxed);
        let room = self.state.meters[self.device].take(launched_ns, quantum_ns, most);
        if room == Room::default() {
            return None;
        }
        gate::hold(attachment.slot());
        Some(Ahead { state: self.state, device: self.device, room })
    }

    /// When it was handed over, nanoseconds of the monotonic clock.
    #[must_use]
    pub fn launched_ns(&self) -> u64 {
        self.launched_ns.load(Ordering::Relaxed)
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// Counts out commands of `device` that are known to be over now; those that have left already only tell
/// their part of the time. `more` are those that no passage stands for.
pub fn leave_together(
    state: &'static State,
    device: usize,
    passages: &[Passage],
    more: impl Iterator<Item = Member>,
) {
    count_out((state, device), passages, more, |meter, now_ns, members| {
        meter.complete_together(now_ns, members)
    });
}

/// Commands that were counted out when their end was heard of. They had ended earlier: when is learned
/// later.
#[derive(Debug)]
pub struct Told {
    state: &'static State,
    device: usize,
    heard_ns: u64,
    members: Vec<Member>,
}

/// The same for commands of whose end is heard late.
pub fn heard_together(
    state: &'static State,
    device: usize,
    passages: &[Passage],
    more: impl Iterator<Item = Member>,
) -> Option<Told> {
    let mut heard_ns = 0;
    let members = count_out((state, device), passages, more, |meter, now_ns, members| {
        heard_ns = now_ns;
        meter.heard_together(now_ns, members)
    })?;
    Some(Told { state, device, heard_ns, members })
}

impl Told {
    /// When it was heard of, nanoseconds of the monotonic clock.
    #[must_use]
    pub fn heard_ns(&self) -> u64 {
        self.heard_ns
    }

    /// The last moment at which it is known not to have been over.
    #[must_use]
    pub fn launched_ns(&self) -> u64 {
        self.members.iter().map(|member| member.launched_ns).max().unwrap_or(0)
    }

    /// This is how it had ended.
    pub fn learn(&self, end: End) {
        let Some(attachment) = &self.state.attachment else { return };
        if self.state.is_current() {
            let meter = &self.state.meters[self.device];
            let longest = meter.learn_late(end, self.heard_ns, &self.members);
            attachment.slot().longest_ns.store(longest, Ordering::Relaxed);
        }
    }
}

/// Counts commands of one device out; `tell` tells its meter.
fn count_out(
    (state, device): (&'static State, usize),
    passages: &[Passage],
    more: impl Iterator<Item = Member>,
    tell: impl FnOnce(&Meter, u64, &[Member]) -> Done,
) -> Option<Vec<Member>> {
    let attachment = state.attachment.as_ref().filter(|_| state.is_current())?;
    let mut members: Vec<_> = passages.iter().map(Passage::member).collect();
    let counted = members.iter().filter(|member| member.counted).count();
    members.extend(more);
    passages.iter().for_each(|passage| passage.give_back(attachment));
    let done = tell(&state.meters[device], monotonic_ns(), &members);
    count(state, device, attachment, done);
    for _ in 0..counted {
        answer(attachment, gate::leave(attachment.limits(), attachment.slot()));
    }
    Some(members)
}

/// Counts the time that commands which have ended had the device, before they are counted out. A process
/// with several devices counts each moment once, whichever of them had commands in it.
fn count(state: &State, device: usize, attachment: &Attachment, done: Done) {
    let slot = attachment.slot();
    slot.longest_ns.store(done.longest_ns, Ordering::Relaxed);
    let devices = attachment.limits().device_count();
    let ns = if devices > 1 {
        let others = state.meters.iter().take(devices).enumerate();
        let others = others.filter(|(other, _)| *other != device);
        done.uncounted_ns(others.filter_map(|(_, meter)| meter.busy_since()), &state.counted_ns)
    } else {
        done.to_ns.saturating_sub(done.from_ns)
    };
    busy::count(slot, ns);
}

fn quantum(limits: &Limits) -> u64 {
    match limits.quantum_ns.load(Ordering::Relaxed) {
        0 => QUANTUM_NS,
        quantum => quantum,
    }
}

#[inline]
pub(crate) fn answer(attachment: &Attachment, bell: Bell) {
    #[cold]
    fn ring(attachment: &Attachment) {
        attachment.ring();
    }
    if bell == Bell::Ring {
        ring(attachment);
    }
}

fn give_back(attachment: &Attachment, single: Single) {
    if single::give_back(attachment.usage(), single) {
        wake_waiting(attachment.limits());
    }
}
