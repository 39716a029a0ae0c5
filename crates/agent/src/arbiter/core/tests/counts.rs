//! What processes count of themselves is charged, once, whoever looks when.

use super::*;
use polder_ledger::gate::COUNT_MAX;

const LEASE: LeaseId = LeaseId(1);
const LOOK_NS: u64 = 100 * MS;

fn alone(compute: u32) -> Arbiter {
    let mut core = Arbiter::default();
    core.add(0, LEASE, &Program::new(compute, MS).terms());
    core.observe(0, LEASE, Census::default());
    core.advance(0);
    core
}

fn taken(core: &mut Arbiter) -> u64 {
    let mut sum = 0;
    core.take_charges(|_, _, more| sum += more.charged_ns);
    sum
}

/// Twenty processes, each of which comes, works for a moment and is gone before anybody looks.
#[test]
fn processes_that_come_and_go_between_two_looks_are_charged_what_they_counted() {
    for neighbours in [0, 1] {
        let mut core = alone(500);
        if neighbours > 0 {
            core.add(0, LeaseId(2), &Program::new(500, MS).terms());
        }
        let mut census = Census::default();
        for process in 1..=20 {
            census.busy_ns += 300 * US;
            core.observe(process * LOOK_NS, LEASE, census);
            core.advance(process * LOOK_NS);
        }
        assert_eq!(taken(&mut core), 6 * MS, "beside {neighbours}");
    }
}

/// A command that takes many looks is charged as it goes, and not again when it is counted.
#[test]
fn a_command_in_flight_through_many_looks_is_charged_once() {
    let mut core = alone(500);
    let flying = Census { processes: 1, inflight: 1, ..Census::default() };
    // From the middle of the first look to the middle of the last.
    for look in 1..=10 {
        core.observe(look * LOOK_NS, LEASE, flying);
        core.advance(look * LOOK_NS);
    }
    assert_eq!(taken(&mut core), 9 * LOOK_NS, "while nobody knows since when");
    let over =
        Census { completed: 1, busy_ns: SEC, ..Census { processes: 1, ..Census::default() } };
    core.observe(10 * LOOK_NS + LOOK_NS / 2, LEASE, over);
    assert_eq!(taken(&mut core), LOOK_NS, "what is left of a second");
}

/// Work that is in flight when its process is killed is charged as far as looks have shown it.
#[test]
fn who_is_killed_in_flight_does_not_go_free() {
    let mut core = alone(500);
    let mut census = Census { processes: 2, inflight: 1, ..Census::default() };
    for look in 1..=10 {
        // Another process counts a little all the while.
        (census.busy_ns, census.completed) = (look, look);
        core.observe(look * LOOK_NS, LEASE, census);
        core.advance(look * LOOK_NS);
    }
    core.observe(11 * LOOK_NS, LEASE, Census { inflight: 0, ..census });
    assert!(taken(&mut core) >= 9 * LOOK_NS);
}

/// Whatever a grant was charged for is not charged again when it is counted after the grant.
#[test]
fn what_was_charged_from_grant_to_release_is_not_charged_as_counted() {
    for counts in [true, false] {
        let two = || Program { counts, ..Program::new(500, 30 * MS).depth(4) };
        let mut sim = Sim::new(vec![two().runs(0..5 * SEC), two().runs(0..5 * SEC)]);
        sim.run(10 * SEC);
        let (charged, ran): (Vec<u64>, Vec<u64>) =
            (0..2).map(|index| (sim.charged(index).charged_ns, sim.ran_ns(index))).unzip();
        let (charged, ran): (u64, u64) = (charged.iter().sum(), ran.iter().sum());
        assert!((ran..=ran + ran / 20 + LOOK_NS).contains(&charged), "{charged} for {ran} ns");
    }
}

/// Alone and with gaps: charged what it used, not whole looks.
#[test]
fn who_runs_alone_with_gaps_is_charged_about_what_it_used() {
    for (kernel_ns, gap_ns) in [(MS, 9 * MS), (5 * MS, 15 * MS), (20 * MS, 80 * MS), (MS, 499 * MS)]
    {
        let mut sim = Sim::new(vec![Program::new(500, kernel_ns).gap(gap_ns)]);
        sim.run(60 * SEC);
        let (charged, ran) = (sim.charged(0).charged_ns, sim.ran_ns(0));
        assert!(
            (ran - kernel_ns..=ran + ran / 4 + kernel_ns).contains(&charged),
            "{charged} for {ran} ns"
        );
    }
}

#[test]
fn of_older_drivers_what_ends_between_looks_is_still_guessed() {
    let mut sim = Sim::new(vec![Program::new(500, 2 * MS).gap(18 * MS).old()]);
    sim.run(60 * SEC);
    let (charged, ran) = (sim.charged(0).charged_ns, sim.ran_ns(0));
    assert!(charged >= ran * 9 / 10, "{charged} for {ran} ns");
}

#[test]
fn a_successor_charges_what_was_counted_since_and_nothing_again() {
    let mut census = Census { processes: 1, completed: 5, busy_ns: 7 * MS, ..Census::default() };
    let go_on = |told: Told, census: Census| {
        let mut core = Arbiter::default();
        core.add(900 * MS, LEASE, &Program::new(500, MS).capped(500).terms());
        core.go_on(LEASE, told, census);
        core.observe(900 * MS, LEASE, census);
        core
    };
    let told = Told { upto_ns: 5 * MS, away_ns: SEC };
    let mut core = go_on(told, census);
    assert_eq!(taken(&mut core), 2 * MS);
    assert_eq!(
        core.leases[&LEASE].refill_ns(core.now_ns),
        0,
        "nobody was there to hold it to its cap"
    );
    census.busy_ns += 3 * MS;
    core.observe(905 * MS, LEASE, census);
    assert_eq!((taken(&mut core), core.told(LEASE)), (3 * MS, Some(10 * MS)));
    // A command that was charged beforehand, and is counted only now.
    let ahead = Told { upto_ns: 12 * MS, away_ns: SEC };
    let mut core = go_on(ahead, Census { inflight: 1, ..census });
    census.busy_ns += 4 * MS;
    core.observe(905 * MS, LEASE, census);
    assert_eq!(taken(&mut core), 5 * MS, "by the clock, and not again when it is counted");
    // A page that lies is charged no more than the time that nobody looked.
    let liar = Census { busy_ns: u64::MAX / 2, ..census };
    assert_eq!(taken(&mut go_on(Told { away_ns: 50 * MS, ..told }, liar)), 50 * MS);
}

proptest! {
    /// Whatever the page says: what is charged never falls, is never more than the clock, and at least
    /// what was counted since nothing was in flight.
    #[test]
    fn a_page_of_lies_never_lowers_what_was_charged_nor_passes_the_clock(
        steps in prop::collection::vec((1u64..300, any::<u64>(), 0u64..3, any::<bool>()), 1..100),
        others in any::<bool>(),
    ) {
        let mut core = alone(500);
        if others {
            core.add(0, LeaseId(2), &Program::new(500, MS).terms());
        }
        let (mut now_ns, mut sum_ns) = (0, 0);
        for (passed_ms, busy_ns, inflight, much) in steps {
            now_ns += passed_ms * MS;
            let inflight = if much { u64::from(COUNT_MAX) } else { inflight };
            let census = Census { processes: 1, inflight, busy_ns, ..Census::default() };
            core.observe(now_ns, LEASE, census);
            core.advance(now_ns);
            core.take_charges(|lease, _, more| {
                assert_eq!(lease, LEASE, "a neighbour is charged for it");
                sum_ns += more.charged_ns;
            });
            prop_assert!(sum_ns <= now_ns, "{sum_ns} ns charged in {now_ns}");
        }
    }

    /// An honest page: whatever is in flight when, all that was counted is charged in the end, and no
    /// more than was in flight and the looks around it.
    #[test]
    fn all_that_honest_processes_count_is_charged(
        commands in prop::collection::vec((1u64..400_000, 0u64..400_000), 1..60),
        look_us in 50_000u64..150_000,
    ) {
        let mut core = alone(500);
        let (mut at_us, mut look_at_us) = (0, look_us);
        let mut census = Census { processes: 1, ..Census::default() };
        let mut used_us = 0;
        for (long_us, gap_us) in commands {
            let end_us = at_us + long_us;
            while look_at_us < end_us {
                census.inflight = u64::from(look_at_us >= at_us);
                core.observe(look_at_us * US, LEASE, census);
                core.advance(look_at_us * US);
                look_at_us += look_us;
            }
            census.busy_ns += long_us * US;
            census.completed += 1;
            census.inflight = 0;
            used_us += long_us;
            at_us = end_us + gap_us;
        }
        core.observe(look_at_us.max(at_us) * US, LEASE, census);
        let charged_ns = taken(&mut core);
        prop_assert!(charged_ns >= used_us * US, "{charged_ns} for {used_us} us");
        let clock_us = look_at_us.max(at_us);
        prop_assert!(charged_ns <= clock_us * US);
    }
}
