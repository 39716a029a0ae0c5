//! Leases for whose work somebody waits, and priorities: how soon they have their turn, and that
//! rank takes from nobody what is guaranteed to it.

use super::super::sim::{MS, Program, SEC, Sim};
use super::super::{QUANTUM_NS, URGENT_NS};
use super::alone_ns;
use polder_model::WorkClass::{Batch, Inference, Interactive, Training};

const REQUESTS: u64 = 1000;
const EVERY_NS: u64 = 50 * MS;

/// Five milliseconds of work in so many kernels.
fn server(compute: u32, kernels: u64) -> Program {
    let program = Program::new(compute, 5 * MS / kernels).class(Inference);
    program.requests(EVERY_NS, kernels)
}

/// The 99th percentile over a thousand requests.
fn p99(programs: Vec<Program>, server: usize) -> (u64, Sim) {
    let mut sim = Sim::new(programs);
    sim.run((REQUESTS + 2) * EVERY_NS);
    let (latency_ns, count) = sim.latency_ns(server, 990);
    assert!(count as u64 >= REQUESTS, "only {count} requests were answered");
    (latency_ns, sim)
}

#[test]
fn a_request_waits_for_one_kernel_of_a_saturating_neighbour_and_no_more() {
    for (kernels, kernel_ns, depth, class) in [
        (1, 10 * MS, 1, Batch),
        (5, 10 * MS, 4, Batch),
        (5, 10 * MS, 4, Training),
        (50, 10 * MS, 4, Batch),
        (5, MS, 8, Batch),
        (5, MS / 10, 64, Batch),
        (1, 40 * MS, 2, Training),
    ] {
        let (alone, _) = p99(vec![server(300, kernels)], 0);
        let trainer = Program::new(700, kernel_ns).depth(depth).class(class);
        let (beside, sim) = p99(vec![server(300, kernels), trainer.clone()], 0);
        let limit = alone / 100 * 110 + kernel_ns;
        let name = format!("{kernels} kernels beside {kernel_ns} ns x {depth}");
        assert!(beside <= limit, "{name}: {beside} ns, {alone} alone");
        // What the requests leave: nine tenths of the time, less what the changes of turns cost and
        // the time that a server is watched before it counts as idle.
        let ran = sim.ran_ns(1) * 100 / (REQUESTS * EVERY_NS);
        let alone = alone_ns(trainer) * 100 / (20 * SEC);
        assert!(ran + 13 >= alone - 10, "{name}: it ran {ran} % of the time, {alone} % alone");
    }
}

#[test]
fn a_class_is_no_licence_to_starve_others() {
    for (share, rest) in [(500, 500), (300, 700), (900, 100), (100, 900)] {
        for (kernel_ns, depth) in [(MS / 10, 16), (5 * MS, 1), (60 * MS, 2)] {
            // It never rests, whatever its class says.
            let greedy = Program::new(share, kernel_ns).depth(depth).class(Inference);
            let mut sim = Sim::new(vec![greedy, Program::new(rest, 2 * MS)]);
            sim.run(20 * SEC);
            let got = sim.share(0);
            let name = format!("{got} of {share} with {kernel_ns} ns x {depth}");
            assert!(got.abs_diff(u64::from(share)) <= 15, "{name}");
            let bound = (URGENT_NS + kernel_ns) * 1000 / u64::from(rest) + 2 * QUANTUM_NS;
            let waited = sim.longest_wait_ns(1);
            assert!(waited <= bound, "{name}: batch waited {waited} of {bound} ns");
        }
    }
}

#[test]
fn two_urgent_leases_leave_a_batch_lease_its_tenth() {
    let greedy = |share| Program::new(share, 3 * MS).class(Interactive);
    let programs = vec![greedy(500), greedy(400).priority(9), Program::new(100, MS)];
    let mut sim = Sim::new(programs);
    sim.run(20 * SEC);
    for (index, share) in [(0, 500), (1, 400), (2, 100)] {
        assert!(sim.share(index).abs_diff(share) <= 20, "{} of {share}", sim.share(index));
    }
    let waited = sim.longest_wait_ns(2);
    assert!(waited <= 2 * (URGENT_NS + 3 * MS) * 10 + 2 * QUANTUM_NS, "{waited} ns");
}

#[test]
fn a_higher_priority_has_the_next_kernel_boundary_within_its_share() {
    let waited = [0, 5].map(|priority| {
        // Forty milliseconds of work at a time: more than the fair queue gives it in one go.
        let asks = Program::new(200, 5 * MS).requests(250 * MS, 8).priority(priority);
        let others = (0..3).map(|_| Program::new(260, 10 * MS).depth(2));
        let mut sim = Sim::new([asks].into_iter().chain(others).collect());
        sim.run(30 * SEC);
        sim.latency_ns(0, 990).0
    });
    // Beside no latency class, what the holder has in flight may be two kernels.
    assert!(waited[1] <= 40 * MS + 2 * 10 * MS + 2 * MS, "{waited:?}");
    assert!(waited[0] > waited[1] + 10 * MS, "{waited:?}");
}

#[test]
fn priorities_alone_move_no_share() {
    for (low, high) in [(0, 7), (-1000, 0), (-3, 1000)] {
        for kernel_ns in [MS, 10 * MS] {
            let programs = vec![
                Program::new(300, kernel_ns).priority(high),
                Program::new(500, kernel_ns),
                Program::new(200, kernel_ns).priority(low),
            ];
            let mut sim = Sim::new(programs);
            sim.run(20 * SEC);
            for (index, share) in [(0, 300), (1, 500), (2, 200)] {
                assert!(
                    sim.share(index).abs_diff(share) <= 15,
                    "{} of {share}: {low} to {high}, {kernel_ns} ns",
                    sim.share(index)
                );
            }
        }
    }
}

#[test]
fn beside_a_server_that_sleeps_long_enough_nothing_is_held_back() {
    let server = Program::new(300, MS).class(Inference).runs(0..SEC);
    let batch = Program::new(700, MS).depth(8);
    let mut sim = Sim::new(vec![server, batch.clone()]);
    let before = sim.run(3 * SEC).ran_ns(1);
    let ran = sim.run(13 * SEC).ran_ns(1) - before;
    assert!(ran >= alone_ns(batch) / 2 / 100 * 99, "{ran} ns of ten seconds");
}
