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
/// nothing of what was guaranteed to a neighbour. Longer ones do, and docs/isolation.md says so.
#[test]
fn kernels_of_up_to_a_second_take_nothing_of_a_neighbours_guarantee() {
    for kernel_ns in [100 * MS, 250 * MS, 500 * MS, SEC] {
        let mut sim = Sim::new(vec![Program::new(800, 20 * MS), Program::new(100, kernel_ns)]);
        let before = sim.run(20 * SEC).ran_ns(0);
        let ran = (sim.run(220 * SEC).ran_ns(0) - before) / (200 * MS);
        assert!(ran >= 840, "{ran} thousandths of 889 beside kernels of {kernel_ns} ns");
    }
}
