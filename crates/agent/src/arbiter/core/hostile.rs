//! Leases whose pages are noise, beside one that tells the truth: whatever they say, the honest one
//! keeps its share in the long run, because a grant is charged from grant to release.

use super::*;
use crate::arbiter::page::Share;
use polder_ledger::gate::{CONTENDED, COUNT_MAX, OPEN};
use polder_model::{Bytes, Permille, WorkClass};
use proptest::prelude::*;

const MS: u64 = 1_000_000;
/// Between two looks.
const STEP_NS: u64 = 100_000;
/// Long enough for what is owed from the start to weigh little.
const RUN_NS: u64 = 5_000 * MS;
/// As the thread has it: with a page that changes under every look the core need not settle.
const ROUNDS_MAX: u32 = 16;
const HONEST: LeaseId = LeaseId(0);

fn terms(compute: u32, class: WorkClass) -> Terms {
    let device = "d0".parse().expect("a device's name");
    let (compute, compute_max) = (Permille(compute), Permille(1000));
    let (memory, granularity) = (Bytes(0), Bytes(1));
    let backing = Bytes(0);
    let share = Share { device, compute, compute_max, memory, backing, granularity };
    Terms { class, ..Terms::batch(vec![share]) }
}

/// What a liar's page says.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// Anything, anew at each look.
    Noise,
    /// Always the same.
    Always(Census),
}

/// A generator that anybody can repeat.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn noise(state: &mut u64) -> Census {
    let mut pick = |of: [u64; 4]| of[usize::try_from(random(state) % 4).expect("below 4")];
    let inflight = pick([0, 1, 3, u64::from(COUNT_MAX)]);
    let waiting = pick([0, 1, 7, u64::from(COUNT_MAX)]);
    let longest_ns = pick([0, MS, 1 << 40, u64::MAX]);
    let completed = random(state) << (random(state) % 31);
    let busy_ns = random(state) << (random(state) % 31);
    Census { processes: 1, inflight, waiting, completed, longest_ns, busy_ns }
}

/// A program with one kernel after another on its share of the device.
#[derive(Debug)]
struct Honest {
    kernel_ns: u64,
    census: Census,
    gate: GateOrder,
    ends_ns: u64,
    ran_ns: u64,
}

impl Honest {
    fn step(&mut self, now_ns: u64) {
        if self.census.inflight > 0 && now_ns >= self.ends_ns {
            self.census.inflight = 0;
            self.census.completed += 1;
            self.census.longest_ns = self.kernel_ns;
            self.ran_ns += self.kernel_ns;
        }
        if self.census.inflight > 0 {
            return;
        }
        let fits = self.gate.flags & CONTENDED == 0 || now_ns < self.gate.deadline_ns;
        let goes = self.gate.flags & OPEN != 0 && fits;
        self.census.waiting = u64::from(!goes);
        self.census.inflight = u64::from(goes);
        self.ends_ns = now_ns + self.kernel_ns;
    }
}

/// Runs an honest lease of `compute` thousandths beside these liars, of `class`, who share the rest. Returns how
/// long its kernels ran.
fn run(compute: u32, kernel_ns: u64, lies: &[Lie], class: WorkClass, seed: u64) -> u64 {
    let mut core = Arbiter::default();
    core.add(0, HONEST, &terms(compute, WorkClass::Batch));
    let others = (1u64..).zip(lies);
    let rest = (1000 - compute) / u32::try_from(lies.len().max(1)).expect("a few");
    others.clone().for_each(|(lease, _)| core.add(0, LeaseId(lease), &terms(rest, class)));
    let gate = GateOrder { lease: HONEST, flags: 0, deadline_ns: 0, in_flight_ns: 0 };
    let census = Census { processes: 1, ..Census::default() };
    let mut honest = Honest { kernel_ns, census, gate, ends_ns: 0, ran_ns: 0 };
    let mut state = seed;
    let mut says = |lie: Lie| match lie {
        Lie::Noise => noise(&mut state),
        Lie::Always(census) => census,
    };
    let mut charged = vec![0; lies.len() + 1];
    for now_ns in (0..RUN_NS).step_by(usize::try_from(STEP_NS).expect("small")) {
        honest.step(now_ns);
        core.observe(now_ns, HONEST, honest.census);
        others.clone().for_each(|(lease, lie)| core.observe(now_ns, LeaseId(lease), says(*lie)));
        for _ in 0..ROUNDS_MAX {
            let orders = core.advance(now_ns);
            for order in &orders {
                if order.lease == HONEST {
                    honest.gate = *order;
                    core.observe(now_ns, HONEST, honest.census);
                } else {
                    let at = usize::try_from(order.lease.0).expect("a few") - 1;
                    core.observe(now_ns, order.lease, says(lies[at]));
                }
            }
            if orders.is_empty() {
                break;
            }
        }
        core.take_charges(|lease, _, more| {
            charged[usize::try_from(lease.0).expect("a few")] += more.charged_ns;
        });
    }
    assert!(charged[0] <= RUN_NS, "nobody is charged for more than has passed");
    honest.ran_ns
}

#[track_caller]
fn check(compute: u32, kernel_ns: u64, lies: &[Lie], class: WorkClass, seed: u64) {
    let alone = run(1000, kernel_ns, &[], class, seed);
    let ran = run(compute, kernel_ns, lies, class, seed);
    let got = ran * 1000 / alone;
    // Two points for the moments in which nobody is granted anything.
    assert!(got + 20 >= u64::from(compute), "{got} of {compute} thousandths beside {lies:?}");
}

#[test]
fn one_lie_told_for_ever_takes_nothing_from_the_honest() {
    for inflight in [0, 1, u64::from(COUNT_MAX)] {
        for waiting in [0, 1] {
            for longest_ns in [0, u64::MAX] {
                let counts = Census { completed: 0, busy_ns: 0, ..Census::default() };
                let census = Census { processes: 1, inflight, waiting, longest_ns, ..counts };
                for class in [WorkClass::Batch, WorkClass::Inference] {
                    check(500, 2 * MS, &[Lie::Always(census)], class, 1);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn noise_takes_nothing_from_the_honest(
        seed: u64,
        compute in 100u32..=900,
        kernel_ns in prop_oneof![Just(MS / 2), Just(2 * MS), Just(20 * MS)],
        liars in 1usize..=3,
        urgent: bool,
    ) {
        let class = if urgent { WorkClass::Inference } else { WorkClass::Batch };
        check(compute, kernel_ns, &vec![Lie::Noise; liars], class, seed);
    }
}
