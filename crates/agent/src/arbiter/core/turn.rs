//! Turns: granted, held, watched for idling, drained, given to the next.

use super::rank::Place;
use super::{
    Arbiter, DRAIN_MAX_NS, HOLD_BACK_GRACE_NS, IDLE_GRACE_NS, LEAD_NS, Lease, NO_SHOW_MAX_NS,
    NO_SHOW_MIN_NS, PREEMPT_NS, QUANTUM_NS, REST_MAX_NS, REST_MIN_NS, RUN_MIN_NS, START_GRACE_NS,
};
use polder_ledger::gate::{self, Census};
use polder_model::LeaseId;

/// Commands completed within one rest that prove a holder of many short ones: it is looked at
/// after each rest instead of being told to ring, which it would do thousands of times a second.
const BUSY_COMMANDS: u64 = 2;

/// What a lease has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing: its gate is closed.
    Out,
    /// Its devices, for as long as nobody else wants them.
    Free {
        since_ns: u64,
        /// It was seen to do nothing for longer than the idle grace.
        idle: bool,
    },
    /// Its devices, until then or until it goes idle.
    Held(Held),
    /// Its gate is closed and commands are in flight; from the limit on the devices are shared.
    Draining {
        since_ns: u64,
        limit_ns: u64,
        /// A census was taken after the gate was closed.
        looked: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    since_ns: u64,
    until_ns: u64,
    /// By how much a command may pass the end: half its length, so that it is rounded to the
    /// nearest whole number of commands, not down.
    overrun_ns: u64,
    watch: Watch,
}

/// How closely a holder is watched for idling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Just granted: its programs are waking up.
    Start { started: bool },
    /// It rings when nothing is in flight.
    Armed,
    /// Nothing was in flight at that time, nor seen since.
    Grace { since_ns: u64, active: bool },
    /// It has proved active and is left alone for a while.
    Rest { until_ns: u64, completed: u64 },
}

impl Turn {
    /// The gate that belongs to it: flags and deadline.
    pub(super) fn gate(&self) -> (u32, u64) {
        match self {
            Self::Out | Self::Draining { .. } => (0, 0),
            Self::Free { .. } => (gate::OPEN, u64::MAX),
            Self::Held(held) => {
                let watched = match held.watch {
                    Watch::Start { .. } | Watch::Armed | Watch::Grace { .. } => gate::WATCH,
                    Watch::Rest { .. } => 0,
                };
                (gate::OPEN | gate::CONTENDED | watched, held.until_ns + held.overrun_ns)
            }
        }
    }

    /// Takes a new census into account.
    pub(super) fn look(&mut self, passed_ns: u64, before: &Census, now: &Census) {
        let moved = now.moved_since(before);
        match self {
            Self::Out => {}
            Self::Free { idle, .. } => {
                let long = *idle || passed_ns >= IDLE_GRACE_NS;
                *idle = long && !moved && before.inflight == 0;
            }
            Self::Held(Held { watch: Watch::Start { started }, .. }) => *started |= moved,
            Self::Held(Held { watch: Watch::Grace { active, .. }, .. }) => *active |= moved,
            Self::Held(_) => {}
            Self::Draining { looked, .. } => *looked = true,
        }
    }
}

impl Lease {
    fn close(&mut self, now_ns: u64) {
        let longest_ns = self.census.longest_ns.min(DRAIN_MAX_NS);
        let limit_ns = (2 * QUANTUM_NS + longest_ns).min(DRAIN_MAX_NS);
        // One that never drained from its last turn has had its time to drain.
        let limit_ns = if self.late { now_ns } else { now_ns + limit_ns };
        self.turn = Turn::Draining { since_ns: now_ns, limit_ns, looked: false };
    }

    fn launched_nothing(&mut self, now_ns: u64) {
        self.absent_wait_ns = (self.absent_wait_ns * 2).clamp(NO_SHOW_MIN_NS, NO_SHOW_MAX_NS);
        self.absent_until_ns = now_ns + self.absent_wait_ns;
        self.close(now_ns);
    }

    pub(super) fn shares_device(&self, other: &Self) -> bool {
        self.standing.iter().any(|mine| other.uses(mine.device))
    }

    fn uses(&self, device: usize) -> bool {
        self.standing.iter().any(|standing| standing.device == device)
    }

    /// Its threads wait although its gate is open.
    fn holds_back(&self) -> bool {
        self.census.inflight == 0 && self.census.waiting > 0
    }

    fn grace_ns(&self) -> u64 {
        if self.holds_back() { HOLD_BACK_GRACE_NS } else { IDLE_GRACE_NS }
    }

    fn overrun_ns(&self) -> u64 {
        self.census.longest_ns.min(QUANTUM_NS) / 2
    }

    /// The next state of a holder's watch, and whether it has gone idle.
    fn watch(&mut self, now_ns: u64, held: Held) -> (Watch, bool) {
        let idle_now = self.census.inflight == 0;
        let rest =
            Watch::Rest { until_ns: now_ns + self.rest_ns, completed: self.census.completed };
        let longer_ns = (self.rest_ns * 2).min(REST_MAX_NS);
        match held.watch {
            Watch::Start { started: true } if self.rest_ns == REST_MAX_NS => (rest, false),
            // It has been told to ring since its grant, and may have done so for the last time.
            Watch::Start { started: true } | Watch::Armed if idle_now => {
                (Watch::Grace { since_ns: now_ns, active: false }, false)
            }
            Watch::Start { started: true } => (Watch::Armed, false),
            Watch::Grace { active: true, .. } => {
                self.rest_ns = longer_ns;
                (rest, false)
            }
            Watch::Grace { since_ns, .. } if now_ns >= since_ns + self.grace_ns() => {
                self.rest_ns = REST_MIN_NS;
                (held.watch, true)
            }
            Watch::Rest { until_ns, completed } if now_ns >= until_ns || self.holds_back() => {
                let done = self.census.completed.saturating_sub(completed);
                if idle_now {
                    (Watch::Grace { since_ns: now_ns, active: false }, false)
                } else if done >= BUSY_COMMANDS {
                    self.rest_ns = longer_ns;
                    (rest, false)
                } else {
                    (Watch::Armed, false)
                }
            }
            other => (other, false),
        }
    }
}

impl Lease {
    /// Takes the devices from a holder that does not use them.
    fn watch_holder(&mut self, now_ns: u64, held: Held, goes_on: bool, quantum_ns: u64) {
        if held.watch == (Watch::Start { started: false }) {
            if now_ns >= held.since_ns + START_GRACE_NS {
                self.launched_nothing(now_ns);
            }
            return;
        }
        let (watch, idle) = self.watch(now_ns, held);
        self.turn = Turn::Held(Held { watch, ..held });
        if idle && goes_on && self.holds_back() {
            let completed = self.census.completed;
            let watch = Watch::Rest { until_ns: now_ns + self.rest_ns, completed };
            let (until_ns, overrun_ns) = (now_ns + quantum_ns, self.overrun_ns());
            self.turn = Turn::Held(Held { until_ns, overrun_ns, watch, ..held });
        } else if idle {
            self.close(now_ns);
        }
    }
}

impl Arbiter {
    /// Ends, extends and closes what is due.
    pub(super) fn take_turns(&mut self) {
        let now_ns = self.now_ns;
        let ids: Vec<LeaseId> = self.leases.keys().copied().collect();
        for id in ids {
            match self.leases[&id].turn {
                Turn::Out => {}
                Turn::Free { since_ns, idle } => self.contest(id, since_ns, idle),
                Turn::Held(held) => self.hold(id, held),
                Turn::Draining { .. } => {}
            }
            if let Turn::Draining { since_ns, limit_ns, looked } = self.leases[&id].turn {
                let shared = now_ns >= limit_ns && self.is_wanted(&self.leases[&id]);
                let lease = self.leases.get_mut(&id).expect("ids were just listed");
                let drained = looked && lease.census.inflight == 0;
                lease.late |= shared && !drained;
                if drained || shared {
                    lease.drained_in(now_ns.saturating_sub(since_ns));
                    lease.turn = Turn::Out;
                    // Not looked at again before it asks: it must be seen to come back then.
                    lease.active = lease.is_active(now_ns);
                }
            }
        }
    }

    /// A lease that had its devices to itself, when somebody else wants one of them.
    fn contest(&mut self, id: LeaseId, since_ns: u64, idle: bool) {
        let lease = &self.leases[&id];
        let capped = lease.capped();
        if !capped && !self.is_wanted(lease) {
            return;
        }
        let now_ns = self.now_ns;
        let until_ns = now_ns.max(since_ns + self.quantum_ns(lease));
        let overrun_ns = lease.overrun_ns();
        let held = Held { since_ns, until_ns, overrun_ns, watch: Watch::Armed };
        let lease = self.leases.get_mut(&id).expect("it was just seen");
        if idle && lease.census.inflight == 0 && !capped {
            lease.close(now_ns);
        } else {
            lease.turn = Turn::Held(held);
            self.hold(id, held);
        }
    }

    /// A holder: whether its quantum goes on, and whether it uses it.
    fn hold(&mut self, id: LeaseId, mut held: Held) {
        let now_ns = self.now_ns;
        let lease = &self.leases[&id];
        let wanted = self.is_wanted(lease);
        let (allowance_ns, quantum_ns) = (lease.allowance_ns(), self.quantum_ns(lease));
        if self.is_preempted(lease) {
            held.until_ns = held.until_ns.min(now_ns.max(held.since_ns + RUN_MIN_NS));
        }
        let left_ns = held.until_ns.saturating_sub(now_ns);
        let uncontested = !wanted && allowance_ns.is_none();
        let goes_on = allowance_ns != Some(0) && !self.is_outranked(lease, left_ns.min(LEAD_NS));
        // Where the fair queue says the same, nothing ends when its rank no longer counts.
        let presses_for_ns = lease.presses_for_ns().filter(|ns| self.is_outranked(lease, *ns));
        let lease = self.leases.get_mut(&id).expect("it was just seen");
        if uncontested && left_ns == 0 {
            lease.turn = Turn::Free { since_ns: held.since_ns, idle: false };
            return;
        }
        if !uncontested && left_ns <= LEAD_NS && goes_on {
            held.until_ns = held.until_ns.max(now_ns) + quantum_ns;
            held.overrun_ns = lease.overrun_ns();
        }
        let presses_for_ns = presses_for_ns.map(|ns| ns.max(RUN_MIN_NS));
        for most_ns in allowance_ns.into_iter().chain(presses_for_ns) {
            held.until_ns = held.until_ns.min(now_ns + most_ns);
        }
        lease.turn = Turn::Held(held);
        if now_ns >= held.until_ns {
            lease.close(now_ns);
        } else if !uncontested {
            lease.watch_holder(now_ns, held, goes_on, quantum_ns);
        }
    }

    /// Whether another lease waits for a device of this one.
    fn is_wanted(&self, lease: &Lease) -> bool {
        self.leases.values().any(|other| other.is_ready(self.now_ns) && other.shares_device(lease))
    }

    /// Whether one that waits goes before this holder when that one has held for `more_ns` more.
    fn is_outranked(&self, lease: &Lease, more_ns: u64) -> bool {
        let place = self.place_after(lease, more_ns);
        self.leases.values().any(|other| {
            other.is_ready(self.now_ns)
                && other.shares_device(lease)
                && self.place(other) <= place
                && self.goes_before_holders(other, Some(lease))
        })
    }

    /// Whether one of higher rank waits, or one has just come back and is behind this holder by
    /// enough to end its quantum.
    fn is_preempted(&self, lease: &Lease) -> bool {
        let ahead = self.ahead(lease);
        self.leases.values().any(|other| {
            other.is_ready(self.now_ns)
                && other.shares_device(lease)
                && if self.presses_on(other, lease) {
                    self.goes_before_holders(other, Some(lease))
                } else {
                    other.woke
                        && !self.presses_on(lease, other)
                        && (lease.owes(self.now_ns) && !other.owes(self.now_ns)
                            || self.ahead_after(other, PREEMPT_NS) < ahead)
                }
        })
    }

    /// Whether a waiting lease goes before all that hold its devices, `but` one.
    fn goes_before_holders(&self, waiting: &Lease, but: Option<&Lease>) -> bool {
        let place = self.place(waiting);
        self.leases.values().all(|holder| {
            holder.turn == Turn::Out
                || !holder.shares_device(waiting)
                || but.is_some_and(|but| std::ptr::eq(but, holder))
                || place <= self.place(holder)
        })
    }

    /// Gives free devices to those that wait, least ahead first.
    pub(super) fn grant(&mut self) {
        let now_ns = self.now_ns;
        let owed = self.owed_devices();
        let mut waiting: Vec<(Place, LeaseId)> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.is_ready(now_ns) && !self.lets_others(lease, &owed))
            .map(|(&id, lease)| (self.place(lease), id))
            .collect();
        waiting.sort_unstable();
        let mut kept = vec![false; self.devices.len()];
        for (_, id) in waiting {
            let lease = &self.leases[&id];
            if lease.standing.iter().all(|standing| kept[standing.device]) {
                continue;
            }
            let passed_over = lease.standing.iter().any(|standing| kept[standing.device]);
            let held = |other: &Lease| other.turn != Turn::Out && other.shares_device(lease);
            let free = !self.leases.values().any(held);
            if !passed_over && free || self.goes_before_holders(lease, None) {
                for standing in &lease.standing {
                    kept[standing.device] = true;
                }
            }
            if !passed_over && free {
                self.give(id);
            }
        }
        self.give_unasked();
    }

    fn give(&mut self, id: LeaseId) {
        let now_ns = self.now_ns;
        let lease = &self.leases[&id];
        let alone = !self
            .leases
            .iter()
            .any(|(&other_id, other)| other_id != id && other.shares_device(lease));
        let quantum_ns = self.quantum_ns(lease);
        let lease = self.leases.get_mut(&id).expect("it was just seen");
        lease.turn = if alone && !lease.capped() {
            Turn::Free { since_ns: now_ns, idle: false }
        } else {
            let until_ns = now_ns + lease.allowance_ns().unwrap_or(quantum_ns).min(quantum_ns);
            let watch = Watch::Start { started: false };
            let overrun_ns = lease.overrun_ns();
            Turn::Held(Held { since_ns: now_ns, until_ns, overrun_ns, watch })
        };
    }

    /// A lease that shares its devices with nobody has them before it asks.
    fn give_unasked(&mut self) {
        let sole = |id: LeaseId, lease: &Lease| {
            lease.turn == Turn::Out
                && !lease.capped()
                && !self.leases.iter().any(|(&other, it)| other != id && it.shares_device(lease))
        };
        let ids: Vec<LeaseId> =
            self.leases.iter().filter(|&(&id, it)| sole(id, it)).map(|(&id, _)| id).collect();
        for id in ids {
            self.give(id);
        }
    }

    /// When this lease must be looked at again by itself.
    pub(super) fn wake_of(&self, lease: &Lease) -> Option<u64> {
        match lease.turn {
            Turn::Free { .. } => None,
            Turn::Out => {
                let refilled_ns = self.now_ns + lease.refill_ns(self.now_ns);
                let mut at_ns = refilled_ns.max(lease.absent_until_ns);
                if at_ns <= self.now_ns {
                    let changes = [lease.presses_in_ns(), self.pays_in_ns(lease)];
                    let in_ns = changes.into_iter().flatten().min().unwrap_or(0);
                    at_ns = self.now_ns.saturating_add(in_ns);
                }
                (lease.census.waiting > 0 && at_ns > self.now_ns).then_some(at_ns)
            }
            Turn::Draining { limit_ns, .. } => {
                (limit_ns > self.now_ns || self.is_wanted(lease)).then_some(limit_ns)
            }
            Turn::Held(held) => {
                let lead_ns = held.until_ns.saturating_sub(LEAD_NS);
                let end_ns = if lead_ns > self.now_ns { lead_ns } else { held.until_ns };
                let contested = lease.capped() || self.is_wanted(lease);
                let watch_ns = match held.watch {
                    _ if !contested => u64::MAX,
                    Watch::Start { .. } => held.since_ns + START_GRACE_NS,
                    Watch::Armed => u64::MAX,
                    Watch::Grace { since_ns, .. } => since_ns + lease.grace_ns(),
                    Watch::Rest { until_ns, .. } => until_ns,
                };
                Some(end_ns.min(watch_ns))
            }
        }
    }
}
