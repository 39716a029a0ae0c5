//! Programs, devices and latencies in virtual time, around the core as its thread drives it.

use super::{Arbiter, GateOrder};
use crate::arbiter::page::{Carried, Share, Terms};
use polder_ledger::gate::{CONTENDED, Census, ONE, OPEN, WATCH};
use polder_model::{Bytes, LeaseId, Permille, WorkClass};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

pub(super) const US: u64 = 1_000;
pub(super) const MS: u64 = 1_000_000;
pub(super) const SEC: u64 = 1_000_000_000;
const HEARTBEAT_NS: u64 = 100 * MS;
/// From a ring to the arbiter's reaction, and from an opened gate to the program's: what a busy
/// machine with a raised arbiter shows.
const RING_NS: u64 = 30 * US;
const WAKE_NS: u64 = 60 * US;
/// A driver with a command too long for its turn looks again after so long.
const TURN_WAIT_NS: u64 = 2 * MS;
const ROUNDS_MAX: u32 = 16;

/// What a tenant's program does.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) shares: Vec<Share>,
    pub(super) class: WorkClass,
    pub(super) priority: i32,
    /// Works on requests, and sleeps between them.
    pub(super) requests: Option<Requests>,
    /// Whose its leases are, if they pay for one another.
    pub(super) tenant: Option<&'static str>,
    pub(super) kernel_ns: u64,
    /// On the host, after each kernel.
    pub(super) gap_ns: u64,
    /// Commands it keeps in flight.
    pub(super) depth: usize,
    /// When it runs.
    pub(super) runs: std::ops::Range<u64>,
    /// While it is stopped nothing it does is seen, its kernels' completions included.
    pub(super) stopped: std::ops::Range<u64>,
    /// Says to be waiting when it is not there to launch.
    pub(super) lies: bool,
    /// Its driver counts the device time that it uses; older ones do not.
    pub(super) counts: bool,
}

/// Requests that come to a program, whether it is done with the last or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requests {
    /// One in each such time, at any moment of the first half of it.
    pub(super) every_ns: u64,
    /// Kernels it takes.
    pub(super) kernels: u64,
}

impl Program {
    pub(super) fn new(compute: u32, kernel_ns: u64) -> Self {
        Self {
            shares: vec![share("d0", compute, 1000)],
            class: WorkClass::Batch,
            priority: 0,
            requests: None,
            tenant: None,
            kernel_ns,
            gap_ns: 20 * US,
            depth: 1,
            runs: 0..u64::MAX,
            stopped: 0..0,
            lies: false,
            counts: true,
        }
    }

    pub(super) fn on(mut self, devices: &[&str]) -> Self {
        let compute = self.shares[0].compute.0;
        self.shares = devices.iter().map(|device| share(device, compute, 1000)).collect();
        self
    }

    pub(super) fn class(self, class: WorkClass) -> Self {
        Self { class, ..self }
    }

    pub(super) fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    pub(super) fn requests(self, every_ns: u64, kernels: u64) -> Self {
        Self { requests: Some(Requests { every_ns, kernels }), ..self }
    }

    pub(super) fn terms(&self) -> Terms {
        let owner = |name: &str| {
            let user = name.parse().expect("a user's name");
            (name.parse().expect("a tenant's name"), user)
        };
        let owner = self.tenant.map(owner);
        let (devices, class, priority) = (self.shares.clone(), self.class, self.priority);
        Terms { devices, class, priority, owner }
    }

    pub(super) fn of(self, tenant: &'static str) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    pub(super) fn gap(self, gap_ns: u64) -> Self {
        Self { gap_ns, ..self }
    }

    pub(super) fn depth(self, depth: usize) -> Self {
        Self { depth, ..self }
    }

    pub(super) fn runs(self, runs: std::ops::Range<u64>) -> Self {
        Self { runs, ..self }
    }

    pub(super) fn stopped(self, stopped: std::ops::Range<u64>) -> Self {
        Self { stopped, ..self }
    }

    pub(super) fn lies(self) -> Self {
        Self { lies: true, ..self }
    }

    pub(super) fn old(self) -> Self {
        Self { counts: false, ..self }
    }

    pub(super) fn capped(mut self, compute_max: u32) -> Self {
        for share in &mut self.shares {
            share.compute_max = Permille(compute_max);
        }
        self
    }
}

fn share(device: &str, compute: u32, compute_max: u32) -> Share {
    Share {
        device: device.parse().expect("a device's name"),
        compute: Permille(compute),
        compute_max: Permille(compute_max),
        memory: Bytes(0),
        backing: Bytes(0),
        granularity: Bytes(1),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arbiter,
    Heartbeat,
    Launch(usize),
    Complete(usize),
}

#[derive(Debug)]
struct State {
    program: Program,
    census: Census,
    gate: u32,
    deadline_ns: u64,
    in_flight_ns: u64,
    turn: u64,
    launched_in: Option<u64>,
    /// Ends of the kernels in flight.
    ends: VecDeque<u64>,
    /// Since when it has had commands in flight without a break that it has not counted.
    since_ns: u64,
    /// Busy on the host until then.
    host_until_ns: u64,
    /// The only launch that counts among its events.
    launch_at_ns: u64,
    finished: u64,
    charged: Vec<Carried>,
    /// Time during which a kernel of its ran.
    ran_ns: u64,
    /// When the requests came that it is not done with, and when the next comes.
    asked_ns: VecDeque<u64>,
    next_request: u64,
    next_request_ns: u64,
    /// Kernels of the first of them that were launched, and that are over.
    begun: u64,
    done: u64,
    /// From a request's coming to the end of its last kernel.
    latencies_ns: Vec<u64>,
    /// The longest time between two kernels' ends.
    longest_wait_ns: u64,
    last_end_ns: u64,
}

/// The node.
pub(super) struct Sim {
    core: Arbiter,
    now_ns: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    states: Vec<State>,
    free_at: Vec<(String, u64)>,
    rung: BTreeSet<usize>,
    wake_at_ns: u64,
    /// Wake-ups of the arbiter.
    pub(super) wakes: u64,
    /// Gates written.
    pub(super) writes: u64,
    jitter: u64,
}

impl Sim {
    pub(super) fn new(programs: Vec<Program>) -> Self {
        let mut sim = Self {
            core: Arbiter::default(),
            now_ns: 0,
            events: BinaryHeap::new(),
            count: 0,
            states: Vec::new(),
            free_at: Vec::new(),
            rung: BTreeSet::new(),
            wake_at_ns: u64::MAX,
            wakes: 0,
            writes: 0,
            jitter: 1,
        };
        for program in programs {
            let index = sim.states.len();
            sim.core.add(0, lease(index), &program.terms());
            let start_ns = program.runs.start;
            let charged = vec![Carried::default(); program.shares.len()];
            sim.states.push(State {
                program,
                census: Census { processes: 1, ..Census::default() },
                gate: 0,
                deadline_ns: 0,
                in_flight_ns: 0,
                turn: 0,
                launched_in: None,
                ends: VecDeque::new(),
                since_ns: 0,
                host_until_ns: 0,
                launch_at_ns: u64::MAX,
                finished: 0,
                charged,
                ran_ns: 0,
                asked_ns: VecDeque::new(),
                next_request: 0,
                next_request_ns: start_ns,
                begun: 0,
                done: 0,
                latencies_ns: Vec::new(),
                longest_wait_ns: 0,
                last_end_ns: start_ns,
            });
            sim.launch_at(start_ns, index);
        }
        sim.at(0, Event::Heartbeat);
        sim
    }

    pub(super) fn run(&mut self, until_ns: u64) -> &mut Self {
        while let Some(&Reverse((at_ns, _, event))) = self.events.peek() {
            if at_ns > until_ns {
                break;
            }
            self.events.pop();
            self.now_ns = at_ns;
            match event {
                Event::Arbiter => self.arbiter(),
                Event::Heartbeat => {
                    self.rung.extend(0..self.states.len());
                    self.arbiter();
                    self.at(self.now_ns + HEARTBEAT_NS, Event::Heartbeat);
                }
                Event::Launch(index) if self.states[index].launch_at_ns == at_ns => {
                    self.states[index].launch_at_ns = u64::MAX;
                    self.launch(index);
                }
                Event::Launch(_) => {}
                Event::Complete(index) => self.complete(index),
            }
        }
        self.now_ns = until_ns;
        self.rung.extend(0..self.states.len());
        self.arbiter();
        self
    }

    pub(super) fn finished(&self, index: usize) -> u64 {
        self.states[index].finished
    }

    /// Time during which a kernel of the program ran, up to its last completion.
    pub(super) fn ran_ns(&self, index: usize) -> u64 {
        self.states[index].ran_ns
    }

    /// The time within which so many thousandths of the requests were answered, of how many.
    pub(super) fn latency_ns(&self, index: usize, thousandths: usize) -> (u64, usize) {
        let latencies = &self.states[index].latencies_ns;
        (percentile(latencies, thousandths), latencies.len())
    }

    /// The time within which 99 of 100 requests were answered, after the first so many.
    pub(super) fn latency_since_ns(&self, index: usize, first: usize) -> u64 {
        percentile(&self.states[index].latencies_ns[first..], 990)
    }

    /// The longest that a program went without a kernel's end.
    pub(super) fn longest_wait_ns(&self, index: usize) -> u64 {
        self.states[index].longest_wait_ns
    }

    /// Gives a lease other terms while it runs.
    pub(super) fn resize(&mut self, index: usize, terms: &Terms) {
        self.look(index);
        self.core.resize(self.now_ns, lease(index), terms);
        self.arbiter();
    }

    /// Ends a program's lease, of which nothing is in flight.
    pub(super) fn end(&mut self, index: usize) {
        self.look(index);
        self.arbiter();
        self.core.remove(self.now_ns, lease(index));
        let state = &mut self.states[index];
        assert!(state.ends.is_empty(), "a lease that ends has nothing in flight");
        state.census = Census { processes: 1, ..Census::default() };
        (state.gate, state.launched_in, state.host_until_ns) = (0, None, 0);
    }

    /// Begins another lease of `tenant` with the same terms for it.
    pub(super) fn begin(&mut self, index: usize, tenant: &'static str) {
        let program = &mut self.states[index].program;
        program.tenant = Some(tenant);
        let (terms, now_ns) = (program.terms(), self.now_ns);
        self.core.add(now_ns, lease(index), &terms);
        self.launch_at(now_ns, index);
        self.arbiter();
    }

    /// Runs on until `done`, seen every millisecond; returns for how long.
    pub(super) fn run_until(&mut self, done: impl Fn(&Self) -> bool, most_ns: u64) -> u64 {
        let since_ns = self.now_ns;
        while !done(self) && self.now_ns - since_ns < most_ns {
            let next_ns = self.now_ns + MS;
            self.run(next_ns);
        }
        self.now_ns - since_ns
    }

    pub(super) fn charged(&self, index: usize) -> Carried {
        self.states[index].charged[0]
    }

    /// How often a program's gate is open now and every device it has free of others' gates.
    pub(super) fn open(&self, index: usize) -> bool {
        self.states[index].gate & OPEN != 0
    }

    /// A program's part of all contended time, thousandths.
    pub(super) fn share(&self, index: usize) -> u64 {
        let all: u64 = (0..self.states.len()).map(|it| self.charged(it).contended_ns).sum();
        (self.charged(index).contended_ns * 1000 + all / 2) / all.max(1)
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at_ns, self.count, event)));
    }

    fn launch_at(&mut self, at_ns: u64, index: usize) {
        if at_ns < self.states[index].launch_at_ns {
            self.states[index].launch_at_ns = at_ns;
            self.at(at_ns, Event::Launch(index));
        }
    }

    /// A latency, up to half more or less.
    fn about(&mut self, ns: u64) -> u64 {
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ns / 2 + (self.jitter >> 33) % ns.max(1)
    }

    fn ring(&mut self, index: usize) {
        self.rung.insert(index);
        let at_ns = self.now_ns + self.about(RING_NS);
        self.at(at_ns, Event::Arbiter);
    }

    fn arbiter(&mut self) {
        self.wakes += 1;
        for index in std::mem::take(&mut self.rung) {
            self.look(index);
        }
        let watched: Vec<LeaseId> = self.core.watched().collect();
        for lease in watched {
            self.look(index_of(lease));
        }
        let mut rounds = 0;
        loop {
            let orders = self.core.advance(self.now_ns);
            if orders.is_empty() {
                break;
            }
            for &order in &orders {
                self.write(order);
            }
            for order in orders {
                self.look(index_of(order.lease));
            }
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "the core does not settle");
        }
        let states = &mut self.states;
        self.core.take_charges(|lease, device, more| {
            let charged = &mut states[index_of(lease)].charged[device];
            charged.charged_ns += more.charged_ns;
            charged.contended_ns += more.contended_ns;
        });
        if let Some(at_ns) = self.core.next_wake() {
            assert!(at_ns > self.now_ns, "the core would be woken without end");
            if at_ns != self.wake_at_ns {
                self.wake_at_ns = at_ns;
                self.at(at_ns, Event::Arbiter);
            }
        }
    }

    fn look(&mut self, index: usize) {
        let state = &self.states[index];
        self.core.observe(self.now_ns, lease(index), state.census);
    }

    fn write(&mut self, order: GateOrder) {
        self.writes += 1;
        let index = index_of(order.lease);
        let state = &mut self.states[index];
        (state.gate, state.deadline_ns) = (order.flags, order.deadline_ns);
        state.in_flight_ns = order.in_flight_ns;
        state.turn += 1;
        if order.flags & OPEN != 0 && state.census.waiting > 0 {
            let at_ns = self.now_ns + self.about(WAKE_NS);
            self.launch_at(at_ns, index);
        }
    }

    fn launch(&mut self, index: usize) {
        let now_ns = self.now_ns;
        let state = &mut self.states[index];
        let program = &state.program;
        if program.stopped.contains(&now_ns) {
            let end_ns = program.stopped.end;
            self.launch_at(end_ns, index);
            return;
        }
        if program.lies {
            state.census.waiting = 7;
            self.ring(index);
            self.launch_at(now_ns + 10 * MS, index);
            return;
        }
        let was_waiting = std::mem::take(&mut state.census.waiting) > 0;
        if now_ns < state.host_until_ns {
            let host_until_ns = state.host_until_ns;
            return self.launch_at(host_until_ns, index);
        }
        if !program.runs.contains(&now_ns) || state.ends.len() >= program.depth {
            return;
        }
        if !self.has_work(index) {
            return;
        }
        let state = &mut self.states[index];
        let program = &state.program;
        if state.gate & OPEN == 0 {
            return self.wait(index, was_waiting);
        }
        // What is left in flight of one's own ends when its last kernel does.
        let left_ns = state.ends.back().map_or(0, |end| end.saturating_sub(now_ns));
        if state.gate & CONTENDED != 0 {
            let first = state.ends.is_empty() && state.launched_in != Some(state.turn);
            let fits = now_ns + left_ns + program.kernel_ns <= state.deadline_ns;
            if !(fits || first && now_ns < state.deadline_ns) {
                self.launch_at(now_ns + TURN_WAIT_NS, index);
                return self.wait(index, was_waiting);
            }
            state.launched_in = Some(state.turn);
        }
        let kernels = state.ends.len() as u64 + 1;
        let room = if state.gate & ONE == 0 {
            left_ns < state.in_flight_ns
        } else {
            kernels * program.kernel_ns <= state.in_flight_ns
        };
        if room || state.ends.is_empty() {
            state.begun += 1;
            self.start(index);
            self.launch_at(now_ns + US, index);
        }
    }

    /// Whether a program has a kernel to launch; if not, it comes again with its next request.
    fn has_work(&mut self, index: usize) -> bool {
        let Some(requests) = self.states[index].program.requests else { return true };
        while self.states[index].next_request_ns <= self.now_ns {
            let at_ns = self.about(requests.every_ns / 2).saturating_sub(requests.every_ns / 4);
            let state = &mut self.states[index];
            state.asked_ns.push_back(state.next_request_ns);
            state.next_request += 1;
            let from_ns = state.program.runs.start + state.next_request * requests.every_ns;
            state.next_request_ns = from_ns + at_ns;
        }
        let state = &self.states[index];
        if state.asked_ns.is_empty() {
            let at_ns = state.next_request_ns;
            self.launch_at(at_ns, index);
            return false;
        }
        state.begun < requests.kernels
    }

    fn wait(&mut self, index: usize, announced: bool) {
        self.states[index].census.waiting = 1;
        if !announced {
            self.ring(index);
        }
    }

    fn start(&mut self, index: usize) {
        let names: Vec<String> =
            self.states[index].program.shares.iter().map(|it| it.device.to_string()).collect();
        let start_ns = names.iter().map(|name| *self.free_at(name)).max().unwrap_or(0);
        let end_ns = start_ns.max(self.now_ns) + self.states[index].program.kernel_ns;
        for name in names {
            *self.free_at(&name) = end_ns;
        }
        let state = &mut self.states[index];
        if state.ends.is_empty() {
            state.since_ns = self.now_ns;
        }
        state.ends.push_back(end_ns);
        state.census.inflight += 1;
        let stopped = &state.program.stopped;
        let seen_ns = if stopped.contains(&end_ns) { stopped.end } else { end_ns };
        self.at(seen_ns, Event::Complete(index));
    }

    fn free_at(&mut self, name: &str) -> &mut u64 {
        let found = self.free_at.iter().position(|(it, _)| it == name);
        let at = found.unwrap_or_else(|| {
            self.free_at.push((name.to_owned(), 0));
            self.free_at.len() - 1
        });
        &mut self.free_at[at].1
    }

    fn complete(&mut self, index: usize) {
        let now_ns = self.now_ns;
        let state = &mut self.states[index];
        state.ends.pop_front();
        state.census.inflight -= 1;
        state.census.completed += 1;
        if state.program.counts {
            state.census.busy_ns += now_ns - state.since_ns;
        }
        state.since_ns = now_ns;
        state.census.longest_ns = state.program.kernel_ns;
        state.finished += 1;
        state.ran_ns += state.program.kernel_ns;
        state.longest_wait_ns = state.longest_wait_ns.max(now_ns - state.last_end_ns);
        state.last_end_ns = now_ns;
        state.done += 1;
        if state.program.requests.is_some_and(|requests| requests.kernels == state.done) {
            let asked_ns = state.asked_ns.pop_front().expect("its kernels were launched");
            state.latencies_ns.push(now_ns - asked_ns);
            (state.begun, state.done) = (0, 0);
        }
        let gap_ns = state.program.gap_ns;
        state.host_until_ns = now_ns + if state.program.depth == 1 { gap_ns } else { 0 };
        let host_until_ns = state.host_until_ns;
        let closed = state.gate & OPEN == 0 || state.gate & WATCH != 0;
        if state.census.inflight == 0 && closed {
            self.ring(index);
        }
        self.launch_at(host_until_ns, index);
    }
}

fn percentile(latencies: &[u64], thousandths: usize) -> u64 {
    let mut latencies = latencies.to_vec();
    latencies.sort_unstable();
    let at = (latencies.len() * thousandths).div_ceil(1000).max(1) - 1;
    latencies.get(at).copied().unwrap_or(u64::MAX)
}

fn lease(index: usize) -> LeaseId {
    LeaseId(index as u64)
}

fn index_of(lease: LeaseId) -> usize {
    usize::try_from(lease.0).expect("an index")
}
