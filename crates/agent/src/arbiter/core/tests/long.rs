//! Kernels of seconds: what they take beyond their turn is paid back.

use super::*;

/// A hard cap forgets nothing, however long one kernel takes.
#[test]
fn kernels_of_seconds_pay_a_hard_cap_back_in_full() {
    for kernel_ns in [100 * MS, SEC, 2 * SEC, 7 * SEC] {
        for others in [0, 1] {
            let mut programs = vec![Program::new(100, kernel_ns).capped(100)];
            programs.extend((0..others).map(|_| Program::new(800, 20 * MS)));
            let mut sim = Sim::new(programs);
            let before = sim.run(80 * SEC).ran_ns(0);
            let ran = (sim.run(780 * SEC).ran_ns(0) - before) / (700 * MS);
            assert!(
                (85..=105).contains(&ran),
                "{ran} thousandths, {kernel_ns} ns, {others} others"
            );
        }
    }
}

/// Beside others a lease carries debt up to [`DEBT_NS`](super::super::DEBT_NS): kernels up to there take
/// nothing of what was guaranteed to a neighbour.
#[test]
fn kernels_of_up_to_ten_seconds_take_nothing_of_a_neighbours_guarantee() {
    for kernel_ns in [100 * MS, SEC, 7 * SEC, 10 * SEC] {
        let mut sim = Sim::new(vec![Program::new(800, 50 * MS), Program::new(100, kernel_ns)]);
        let before = sim.run(100 * SEC).ran_ns(0);
        let ran = (sim.run(500 * SEC).ran_ns(0) - before) / (400 * MS);
        assert!(ran >= 840, "{ran} thousandths of 889 beside kernels of {kernel_ns} ns");
    }
}

/// A neighbour that waits for each of its kernels, or computes on the host for a moment, leaves the device
/// idle now and then: what is owed is not forgotten because of that, and no kernel of seconds fits there.
#[test]
fn a_neighbour_that_comes_and_goes_keeps_its_guarantee_beside_kernels_of_seconds() {
    for (own_ns, gap_ns) in [(10 * MS, 400 * US), (40 * MS, 20 * MS)] {
        let neighbour = || Program::new(700, own_ns).gap(gap_ns);
        let alone = Sim::new(vec![neighbour()]).run(10 * SEC).ran_ns(0) / (10 * MS);
        for kernel_ns in [500 * MS, 2 * SEC] {
            let mut sim = Sim::new(vec![neighbour(), Program::new(100, kernel_ns)]);
            let before = [0, 1].map(|index| sim.run(20 * SEC).ran_ns(index));
            let part = [0, 1].map(|at| (sim.run(120 * SEC).ran_ns(at) - before[at]) / (100 * MS));
            // Who waits for its own kernels cannot make up for the time that another has had.
            let least = (alone * 85 / 100).min(700 * 95 / 100);
            assert!(
                part[0] >= least && part[1] <= 150,
                "{part:?} thousandths where {alone} alone, gaps of {gap_ns}, beside {kernel_ns} ns"
            );
        }
    }
}

/// Nor do kernels that are a little longer than a quantum take what a neighbour lets lie for a moment: of two
/// that both idle after each of theirs, the one that is guaranteed more has about twice as much.
#[test]
fn who_outlasts_its_turns_takes_no_gap_that_is_anothers() {
    for (more_ms, less_ms) in [(30, 30), (60, 60), (100, 100), (15, 60), (200, 30)] {
        let gaps = |share, ms| Program::new(share, ms * MS).gap(2 * MS);
        let mut sim = Sim::new(vec![gaps(700, more_ms), gaps(300, less_ms)]);
        let before = [0, 1].map(|index| sim.run(20 * SEC).ran_ns(index));
        let [more, less] =
            [0, 1].map(|at| (sim.run(140 * SEC).ran_ns(at) - before[at]) / (120 * MS));
        assert!(
            more >= 600 && less <= 340,
            "{more} and {less} thousandths with kernels of {more_ms} and {less_ms} ms"
        );
    }
}

/// And whoever owes has the device when nobody else is there.
#[test]
fn who_owes_has_what_nobody_wants() {
    let neighbour = Program::new(700, 10 * MS).gap(MS).runs(0..20 * SEC);
    let mut sim = Sim::new(vec![neighbour, Program::new(100, 2 * SEC)]);
    let before = sim.run(22 * SEC).ran_ns(1);
    let ran = sim.run(42 * SEC).ran_ns(1) - before;
    assert!(ran >= 18 * SEC, "{ran} ns of twenty seconds alone");
}

/// Thousandths of the device that a row of leases of 10 % has, each of one kernel and the next at once,
/// and those of its neighbour.
fn row_of_leases(row: Program, neighbour: Option<Program>) -> (u64, u64) {
    let others = usize::from(neighbour.is_some());
    let mut sim = Sim::new(std::iter::once(row.gap(2 * MS)).chain(neighbour).collect());
    let mut left_ns = 150 * SEC;
    while left_ns > 0 {
        let done = sim.finished(0);
        left_ns -= sim.run_until(|sim| sim.finished(0) > done, left_ns);
        if sim.finished(0) > done {
            sim.end(0);
            sim.begin(0, "lab");
        }
    }
    let part = |index: usize| sim.ran_ns(index) / (150 * MS);
    (part(0), if others > 0 { part(1) } else { 0 })
}

#[test]
fn a_row_of_leases_has_no_more_beside_others_than_one_that_lasts() {
    for kernel_ns in [20 * MS, 100 * MS, SEC, 5 * SEC] {
        let row = Program::new(100, kernel_ns).of("lab");
        let (ran, others) = row_of_leases(row, Some(Program::new(800, 50 * MS)));
        let one = kernel_ns / (150 * MS);
        assert!(ran <= 125 + one, "{ran} thousandths with kernels of {kernel_ns} ns");
        assert!(others >= 840, "{others} thousandths of 889 beside kernels of {kernel_ns} ns");
    }
}

#[test]
fn a_row_of_leases_has_no_more_than_the_cap_of_each() {
    for kernel_ns in [20 * MS, 100 * MS, SEC, 5 * SEC] {
        let (ran, _) = row_of_leases(Program::new(100, kernel_ns).capped(100).of("lab"), None);
        assert!((90..=110).contains(&ran), "{ran} thousandths with kernels of {kernel_ns} ns");
    }
}

/// How long the next lease waits for its turn, when one of 10 % has ended after a kernel of five seconds
/// beside a neighbour that saturates.
fn waits_ns(after_ns: u64, tenant: &'static str) -> u64 {
    let row = Program::new(100, 5 * SEC).gap(100 * SEC).of("lab");
    let mut sim = Sim::new(vec![row, Program::new(800, 20 * MS)]);
    sim.run_until(|sim| sim.finished(0) > 0, 60 * SEC);
    sim.end(0);
    sim.run_until(|_| false, after_ns);
    sim.begin(0, tenant);
    sim.run_until(|sim| sim.open(0), 60 * SEC)
}

#[test]
fn what_one_tenant_owes_no_other_pays() {
    let (own, others) = (waits_ns(0, "lab"), waits_ns(0, "home"));
    assert!((30 * SEC..60 * SEC).contains(&own), "its own next lease waits for {own} ns");
    assert!(others < 100 * MS, "somebody else's waits for {others} ns");
}

#[test]
fn no_lease_takes_a_debt_away_from_another() {
    let row = Program::new(100, 5 * SEC).gap(100 * SEC).of("lab");
    let idle = Program::new(10, MS).of("lab").runs(0..0);
    let mut sim = Sim::new(vec![row, Program::new(800, 20 * MS), idle]);
    sim.run_until(|sim| sim.finished(0) > 0, 60 * SEC);
    sim.end(2);
    sim.end(0);
    sim.begin(2, "lab");
    sim.run_until(|_| false, SEC);
    sim.begin(0, "lab");
    sim.end(2);
    let waited = sim.run_until(|sim| sim.open(0), 60 * SEC);
    assert!(waited >= 30 * SEC, "{waited} ns behind a lease that did nothing");
}

#[test]
fn another_cap_forgives_nothing() {
    let mut sim = Sim::new(vec![Program::new(100, 2 * SEC).capped(100)]);
    let mut caps = [110, 100].into_iter().cycle();
    for at in 1..1000 {
        sim.run(at * 300 * MS);
        let cap = caps.next().unwrap_or(100);
        let terms = Program::new(100, 2 * SEC).capped(cap).terms();
        sim.resize(0, &terms);
    }
    let ran = sim.ran_ns(0) / (300 * MS);
    assert!(ran <= 125, "{ran} thousandths under caps of 10 and 11 %");
}

#[test]
fn a_debt_is_paid_while_nobody_is_there_who_owes_it() {
    let waited = waits_ns(20 * SEC, "lab");
    assert!((10 * SEC..30 * SEC).contains(&waited), "half of it is paid: {waited} ns");
    assert!(waits_ns(51 * SEC, "lab") < 100 * MS);
}
