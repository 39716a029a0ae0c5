//! Terms that change while a lease runs: they hold from one quantum after the change.

use super::super::sim::{MS, Program, SEC, Sim};
use super::super::{QUANTUM_MAX_NS, QUANTUM_NS};
use polder_model::{Permille, WorkClass};

/// A program's part of the contended time over a second from a quantum after the change.
fn share_after(sim: &mut Sim, from_ns: u64) -> u64 {
    let of = |sim: &Sim| [0, 1].map(|index| sim.charged(index).contended_ns);
    let before = of(sim.run(from_ns + QUANTUM_NS));
    let after = of(sim.run(from_ns + QUANTUM_NS + SEC));
    let [mine, other] = [after[0] - before[0], after[1] - before[1]];
    mine * 1000 / (mine + other)
}

#[test]
fn a_new_share_holds_from_one_quantum_after_the_change() {
    for kernel_ns in [MS / 10, MS, 10 * MS] {
        for (before, after) in [(300, 700), (700, 300), (500, 900), (900, 100)] {
            // At any moment of a turn.
            for part in 0..5 {
                let with = |share| Program::new(share, kernel_ns).depth(4);
                let mut sim = Sim::new(vec![with(before), with(1000 - before)]);
                let at_ns = 2 * SEC + part * QUANTUM_NS / 4;
                sim.run(at_ns);
                sim.resize(0, &with(after).terms());
                sim.resize(1, &with(1000 - after).terms());
                let got = share_after(&mut sim, at_ns);
                let near = got.abs_diff(u64::from(after)) <= 30;
                assert!(near, "{got} of {after} after {before}, kernels of {kernel_ns} ns");
            }
        }
    }
}

#[test]
fn a_new_cap_holds_from_one_quantum_after_the_change() {
    for (before, after) in [(1000, 300), (600, 200), (200, 1000)] {
        let with = |cap| Program::new(200, MS).capped(cap);
        let mut sim = Sim::new(vec![with(before)]);
        sim.run(2 * SEC);
        sim.resize(0, &with(after).terms());
        let charged = sim.run(2 * SEC + QUANTUM_NS).charged(0).charged_ns;
        let got = (sim.run(3 * SEC + QUANTUM_NS).charged(0).charged_ns - charged) / MS;
        let least = if after == 1000 { 950 } else { after - 30 };
        assert!((least..=after + 30).contains(&u32::try_from(got).unwrap()), "{got} of {after}");
    }
}

#[test]
fn a_lease_that_becomes_urgent_is_served_as_one_from_a_quantum_on() {
    // Forty milliseconds of work at a time: more than the fair queue gives it in one go.
    let asks = |class| Program::new(200, 5 * MS).requests(250 * MS, 8).class(class);
    let run = |change| {
        let others = (0..3).map(|_| Program::new(260, 10 * MS).depth(4));
        let mut sim = Sim::new([asks(WorkClass::Batch)].into_iter().chain(others).collect());
        sim.run(SEC);
        if change {
            sim.resize(0, &asks(WorkClass::Interactive).terms());
        }
        sim.run(SEC + QUANTUM_MAX_NS);
        let (_, seen) = sim.latency_ns(0, 1000);
        sim.run(31 * SEC);
        sim.latency_since_ns(0, seen + 1)
    };
    let (plain, urgent) = (run(false), run(true));
    assert!(urgent <= 40 * MS + 10 * MS + 2 * MS, "{urgent} ns, {plain} without");
    assert!(plain > urgent + 20 * MS, "{urgent} ns, {plain} without");
}

#[test]
fn a_turn_that_has_begun_ends_within_a_quantum_of_losing_its_share() {
    let long = || Program::new(999, MS).class(WorkClass::Training);
    let mut other = Program::new(1, MS);
    let mut sim = Sim::new(vec![long(), other.clone()]);
    sim.run(SEC);
    let before = sim.ran_ns(1);
    other.shares[0].compute = Permille(999);
    let mut small = long();
    small.shares[0].compute = Permille(1);
    sim.resize(0, &small.terms());
    sim.resize(1, &other.terms());
    sim.run(SEC + QUANTUM_NS + 2 * MS);
    assert!(sim.ran_ns(1) > before, "it has not had a kernel");
}
