//! Scenarios in virtual time.

mod counts;
mod live;
mod long;
mod urgent;

use super::sim::{MS, Program, SEC, Sim, US};
use super::*;
use proptest::prelude::*;

/// The shares of programs in thousandths over 20 s: within a point of what was asked.
fn check_shares(programs: Vec<Program>, expect: &[u64]) -> Sim {
    let kernels: Vec<u64> = programs.iter().map(|program| program.kernel_ns).collect();
    let mut sim = Sim::new(programs);
    sim.run(20 * SEC);
    let got: Vec<u64> = (0..expect.len()).map(|index| sim.share(index)).collect();
    let near = got.iter().zip(expect).all(|(got, expect)| got.abs_diff(*expect) <= 10);
    assert!(near, "{got:?} instead of {expect:?} with kernels of {kernels:?} ns");
    sim
}

fn saturating(shares: &[u64], kernel_ns: u64, depth: usize) -> Vec<Program> {
    let compute = |share: &u64| u32::try_from(*share).expect("thousandths");
    shares.iter().map(|share| Program::new(compute(share), kernel_ns).depth(depth)).collect()
}

/// What a program would run in 20 s if it had the device to itself.
fn alone_ns(program: Program) -> u64 {
    Sim::new(vec![program]).run(20 * SEC).ran_ns(0)
}

#[test]
fn saturating_tenants_get_their_shares_and_lose_little_by_sharing() {
    for kernel_ns in [MS / 10, MS, 10 * MS, 100 * MS] {
        for shares in [&[500, 500][..], &[700, 300], &[900, 100], &[600, 300, 100]] {
            for depth in [1, 64] {
                let programs = saturating(shares, kernel_ns, depth);
                let alone = alone_ns(programs[0].clone());
                let sim = check_shares(programs, shares);
                let ran: u64 = (0..shares.len()).map(|index| sim.ran_ns(index)).sum();
                assert!(ran >= alone / 100 * 97, "{ran} of {alone} ns with {kernel_ns} ns");
            }
        }
    }
}

#[test]
fn any_second_of_short_kernels_is_near_the_shares() {
    for kernel_ns in [MS / 10, MS, 10 * MS] {
        for shares in [&[500, 500][..], &[700, 300], &[900, 100], &[600, 300, 100]] {
            let mut sim = Sim::new(saturating(shares, kernel_ns, 1));
            let mut before = vec![0; shares.len()];
            for second in 1..=20 {
                sim.run(second * SEC);
                for (index, share) in shares.iter().enumerate() {
                    let now = sim.charged(index).contended_ns;
                    let got = (now - before[index]) / MS;
                    assert!(got.abs_diff(*share) <= 80, "{got} of {share} in second {second}");
                    before[index] = now;
                }
            }
        }
    }
}

#[test]
fn kernels_of_different_lengths_share_by_time() {
    check_shares(vec![Program::new(500, MS), Program::new(500, 30 * MS)], &[500, 500]);
    check_shares(vec![Program::new(300, 30 * MS), Program::new(700, MS)], &[300, 700]);
}

#[test]
fn a_tenant_with_host_gaps_takes_nothing_from_its_neighbour_and_is_served_at_once() {
    let gappy = || Program::new(500, MS).gap(2 * MS);
    let gappy_alone = alone_ns(gappy());
    // What it still gets, in percent: it must wait for one kernel, or for what is in flight.
    for (kernel_ns, depth, served) in
        [(MS / 10, 1, 85), (MS, 1, 85), (MS, 64, 35), (10 * MS, 1, 20)]
    {
        let neighbour = || Program::new(500, kernel_ns).depth(depth);
        let mut sim = Sim::new(vec![neighbour(), gappy()]);
        sim.run(20 * SEC);
        let (ran, gaps) = (sim.ran_ns(0), sim.ran_ns(1));
        let half = alone_ns(neighbour()) / 2;
        assert!(ran >= half, "the neighbour ran {ran} ns, half of what it does alone is {half}");
        let got = gaps * 100 / gappy_alone;
        assert!(got >= served, "{got} % of what it does alone beside {kernel_ns} ns x {depth}");
    }
}

#[test]
fn idle_time_is_lent() {
    let asleep = Program::new(700, MS).runs(19 * SEC..20 * SEC);
    let mut sim = Sim::new(vec![Program::new(300, MS), asleep]);
    sim.run(10 * SEC);
    let alone = alone_ns(Program::new(300, MS)) / 2;
    assert!(sim.ran_ns(0) >= alone / 100 * 95, "{} ns of {alone}", sim.ran_ns(0));
}

#[test]
fn a_lease_that_returns_has_its_share_back_within_two_quanta_and_a_kernel() {
    for (kernel_ns, depth) in [(MS, 1), (MS, 64), (30 * MS, 1), (100 * MS, 4)] {
        let back_ns = 5 * SEC + 3 * MS;
        let returning = Program::new(700, MS).runs(back_ns..u64::MAX);
        let mut sim = Sim::new(vec![Program::new(300, kernel_ns).depth(depth), returning]);
        sim.run(back_ns + 2 * QUANTUM_NS + kernel_ns);
        assert!(sim.finished(1) > 0, "not even one kernel beside {kernel_ns} ns x {depth}");
        let (before, from_ns) = (sim.ran_ns(1), back_ns + 2 * QUANTUM_NS + kernel_ns);
        let share = (sim.run(from_ns + 2 * SEC).ran_ns(1) - before) / (2 * MS);
        assert!(share >= 640, "{share} thousandths beside {kernel_ns} ns x {depth}");
    }
}

#[test]
fn credit_is_bounded() {
    // After a long sleep the lease may catch up a quantum, not its whole absence.
    let sleeper = Program::new(500, MS).runs(10 * SEC..u64::MAX);
    let mut sim = Sim::new(vec![Program::new(500, MS), sleeper]);
    let before = sim.run(10 * SEC).ran_ns(0);
    let ran = sim.run(11 * SEC).ran_ns(0) - before;
    assert!(ran >= 440 * MS, "{ran} ns in the second after the other came back");
}

#[test]
fn a_hard_cap_holds_alone_and_beside_others() {
    for kernel_ns in [MS / 10, MS, 10 * MS, 100 * MS] {
        for others in [0, 1] {
            let mut programs = vec![Program::new(300, kernel_ns).capped(300)];
            programs.extend(saturating(&[600][..others], 5 * MS, 1));
            let mut sim = Sim::new(programs);
            let charged = sim.run(20 * SEC).charged(0).charged_ns / (20 * MS);
            assert!((280..=320).contains(&charged), "{charged} with {kernel_ns} ns, {others}");
        }
    }
}

#[test]
fn the_slower_the_turns_of_a_cap_drain_the_more_it_saves_up_for_the_next() {
    let lease = LeaseId(1);
    let starts_with = |drain_ns: u64| {
        let mut arbiter = Arbiter::default();
        arbiter.add(0, lease, &Program::new(300, MS).capped(300).terms());
        let lease = arbiter.leases.get_mut(&lease).expect("it was just added");
        (0..32).for_each(|_| lease.drained_in(drain_ns));
        lease.start_ns() / MS
    };
    assert_eq!([0, MS / 4, 3 * MS, SEC].map(starts_with), [10, 10, 47, 50]);
}

#[test]
fn alone_and_uncapped_nothing_happens_but_the_heartbeat() {
    for neighbours in [0, 1] {
        let mut programs = vec![Program::new(300, MS)];
        programs.extend((0..neighbours).map(|_| Program::new(700, MS).runs(90 * SEC..91 * SEC)));
        let mut sim = Sim::new(programs);
        sim.run(SEC);
        assert!(sim.open(0));
        let (wakes, writes) = (sim.wakes, sim.writes);
        sim.run(11 * SEC);
        assert_eq!(sim.writes, writes, "gates were written");
        assert!(sim.wakes - wakes <= 102, "{} wake-ups in ten seconds", sim.wakes - wakes);
    }
}

#[test]
fn what_runs_alone_is_charged_and_what_is_idle_is_not() {
    let mut sim = Sim::new(vec![Program::new(300, MS).runs(0..SEC)]);
    let charged = sim.run(10 * SEC).charged(0);
    assert!((900 * MS..1_150 * MS).contains(&charged.charged_ns), "{charged:?}");
    assert_eq!(charged.contended_ns, 0);
}

#[test]
fn a_stopped_holder_stops_nobody_and_is_charged() {
    let stopped = Program::new(500, 5 * MS).stopped(2 * SEC..12 * SEC);
    let mut sim = Sim::new(vec![Program::new(500, 5 * MS), stopped]);
    let (before, charged) = (sim.run(2 * SEC).ran_ns(0), sim.charged(1).charged_ns);
    let ran = sim.run(12 * SEC).ran_ns(0) - before;
    assert!(ran >= 9_700 * MS, "the neighbour ran {ran} ns of ten seconds");
    let charged = sim.charged(1).charged_ns - charged;
    assert!(charged >= 9_900 * MS, "the stopped one was charged {charged} ns of ten seconds");
}

#[test]
fn debt_is_bounded() {
    // A tenth of the device, held a minute too long, would be paid back for nine minutes: ten seconds are, in a minute and a half.
    let stopped = Program::new(100, 5 * MS).stopped(SEC / 2..62 * SEC);
    let mut sim = Sim::new(vec![Program::new(900, 5 * MS).runs(SEC..u64::MAX), stopped]);
    assert!(sim.run(60 * SEC).charged(1).charged_ns > 58 * SEC, "it was not stopped in flight");
    let before = sim.ran_ns(1);
    let ran = sim.run(140 * SEC).ran_ns(1) - before;
    assert!(ran <= 50 * MS, "{ran} ns while it was in debt");
    let before = sim.run(165 * SEC).ran_ns(1);
    let ran = sim.run(175 * SEC).ran_ns(1) - before;
    assert!(ran >= 950 * MS, "{ran} ns of ten seconds");
}

#[test]
fn one_stopped_while_it_waits_wastes_little() {
    let stopped = Program::new(500, 60 * MS).stopped(2 * SEC + 30 * MS..12 * SEC);
    let mut sim = Sim::new(vec![Program::new(500, 60 * MS), stopped]);
    let before = sim.run(3 * SEC).ran_ns(0);
    let ran = sim.run(12 * SEC).ran_ns(0) - before;
    assert!(ran >= 8_700 * MS, "the neighbour ran {ran} ns of nine seconds");
}

#[test]
fn one_that_claims_to_wait_and_never_launches_wastes_little() {
    let mut sim = Sim::new(vec![Program::new(500, MS), Program::new(500, MS).lies()]);
    sim.run(10 * SEC);
    let ran = sim.ran_ns(0);
    assert!(ran >= 9_500 * MS, "its neighbour ran {ran} ns of ten seconds");
}

#[test]
fn leases_over_two_devices_neither_deadlock_nor_starve() {
    let both = || Program::new(500, 5 * MS).on(&["d0", "d1"]);
    check_shares(vec![both(), Program::new(500, 5 * MS).on(&["d1", "d0"])], &[500, 500]);
    for kernel_ns in [MS, 10 * MS, 40 * MS] {
        let one = |device| Program::new(500, kernel_ns).on(&[device]);
        let mut sim = Sim::new(vec![both(), one("d0"), one("d1")]);
        sim.run(20 * SEC);
        let ran: Vec<u64> = (0..3).map(|index| sim.ran_ns(index) / MS).collect();
        assert!(ran.iter().all(|ran| *ran >= 8_000), "{ran:?} ms of 20000 each");
    }
}

#[test]
fn a_ring_of_leases_over_pairs_of_devices_goes_round() {
    let pair = |a, b| Program::new(500, 3 * MS).on(&[a, b]);
    let mut sim = Sim::new(vec![pair("d0", "d1"), pair("d1", "d2"), pair("d2", "d0")]);
    sim.run(20 * SEC);
    let ran: Vec<u64> = (0..3).map(|index| sim.ran_ns(index) / MS).collect();
    // Any two of them share a device, so only one can run at a time.
    assert!(ran.iter().all(|ran| *ran >= 6_000), "{ran:?} ms of 20000");
}

fn any_program() -> impl Strategy<Value = Program> {
    let devices = prop::sample::subsequence(vec!["d0", "d1", "d2"], 1..=3);
    let times = (50u64..60_000, 10u64..4_000, 1usize..40);
    (20u32..1000, times, devices, any::<bool>()).prop_map(|(compute, times, devices, capped)| {
        let (kernel_us, gap_us, depth) = times;
        let program = Program::new(compute, kernel_us * US).gap(gap_us * US).depth(depth);
        let program = program.on(&devices);
        if capped && compute > 500 { program.capped(compute) } else { program }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whoever_waits_is_served(programs in prop::collection::vec(any_program(), 1..6)) {
        let weights: u32 = programs.iter().map(|it| it.shares[0].compute.0).sum();
        let longest_ns = programs.iter().map(|it| it.kernel_ns).max().unwrap_or(0);
        let mut sim = Sim::new(programs.clone());
        sim.run(30 * SEC);
        for (index, program) in programs.iter().enumerate() {
            // A tenth of what a lease would have if all competed for one device.
            let fair_ns = 30 * SEC * u64::from(program.shares[0].compute.0) / u64::from(weights);
            // One that pauses after each kernel gives its devices up and waits for a kernel of
            // another each time.
            let pauses = program.gap_ns + 50 * US >= IDLE_GRACE_NS;
            let pause_ns = program.gap_ns + if pauses { longest_ns + MS } else { 0 };
            let used_ns = sim.ran_ns(index) + sim.finished(index) * pause_ns;
            prop_assert!(used_ns >= fair_ns / 10, "{used_ns} of {fair_ns} ns for {index}");
        }
    }

    #[test]
    fn a_device_is_never_charged_beyond_the_clock(
        programs in prop::collection::vec(any_program(), 1..6),
    ) {
        // Nobody here is late: a quantum and one kernel of at most a quantum drain by the limit,
        // also while the arbiter has not heard yet how long the kernels are.
        let short = |it: &Program| Program { kernel_ns: it.kernel_ns / 3, ..it.clone().on(&["d0"]) };
        let mut sim = Sim::new(programs.iter().map(short).collect());
        sim.run(10 * SEC);
        let charged: u64 = (0..programs.len()).map(|index| sim.charged(index).charged_ns).sum();
        prop_assert!(charged <= 10 * SEC, "{charged} ns charged in ten seconds");
    }

    /// Tenants write what they like; the core stays bounded, settles, and never gives a device to
    /// two leases at once.
    #[test]
    fn nonsense_in_the_census_harms_nobody(
        steps in prop::collection::vec(
            (0u64..4, 0u64..50_000, any::<(u64, u64, u64, u64, u64)>(), 0u8..32),
            1..300,
        ),
    ) {
        let mut core = Arbiter::default();
        for (lease, program) in [&["d0"][..], &["d0"], &["d0", "d1"], &["d1"]].iter().enumerate() {
            let capped = if lease == 1 { 400 } else { 1000 };
            let program = Program::new(250, MS).on(program).capped(capped);
            core.add(0, LeaseId(lease as u64), &program.terms());
        }
        let mut now_ns = 0;
        for (lease, passed_us, (inflight, waiting, completed, longest_ns, busy_ns), zero) in steps {
            now_ns += passed_us * US;
            let keep = |bit: u8, value: u64| if zero & bit == 0 { value } else { 0 };
            let census = Census {
                processes: 1,
                inflight: keep(1, inflight),
                waiting: keep(2, waiting),
                completed: keep(4, completed),
                longest_ns: keep(8, longest_ns),
                busy_ns: keep(16, busy_ns),
            };
            core.observe(now_ns, LeaseId(lease), census);
            for _ in 0..16 {
                let orders = core.advance(now_ns);
                if orders.is_empty() {
                    break;
                }
                for order in orders {
                    core.observe(now_ns, order.lease, core.leases[&order.lease].census);
                }
            }
            prop_assert!(core.advance(now_ns).is_empty(), "it does not settle");
            prop_assert!(core.next_wake().is_none_or(|at_ns| at_ns > now_ns), "it never sleeps");
            for device in 0..core.devices.len() {
                let holds = |lease: &&Lease| {
                    lease.turn != Turn::Out
                        && lease.standing.iter().any(|standing| standing.device == device)
                };
                prop_assert!(core.leases.values().filter(holds).count() <= 1);
            }
        }
    }
}
