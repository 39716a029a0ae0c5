//! Whole runs with chance and faults: every promise of the engine after every event, the same
//! bytes from the same seed, and no device time given twice.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use polder_engine::Policy;
use polder_model::{Bytes, Gang, Micros, Outcome, Permille};
use polder_sim::pool;
use polder_sim::random::Random;
use polder_sim::workload::{WorkJob, Workload, ask_share, ask_whole};
use polder_sim::world::{Faults, Records, Setup, World};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Jobs of every kind, a minute apart at most.
fn workload(seed: u64, jobs: u64) -> Workload {
    let mut random = Random::stream(seed, "workload");
    let mut arrives = 0;
    let mut job = |_| {
        arrives += random.below(60);
        let tenant = ["org/a", "org/b", "lab"][usize::try_from(random.below(3)).unwrap()];
        let devices = u32::try_from(random.below(3) + 1).unwrap();
        let mut ask = ask_whole(tenant.parse().unwrap(), "ada".parse().unwrap(), devices);
        if random.below(3) > 0 {
            let share = u32::try_from(random.below(1000) + 1).unwrap();
            ask = ask_share(ask, Permille(share), Bytes((random.below(40) + 1) << 30));
            ask.devices.count = 1;
        }
        let max = u32::try_from(random.below(4) + 1).unwrap();
        ask.gang = Gang {
            min: u32::try_from(random.below(max.into()) + 1).unwrap(),
            max,
            ..Gang::default()
        };
        ask.yields.retries = 2;
        ask.yields.checkpoint_interval = (random.below(2) == 0).then_some(Micros::from_secs(600));
        ask.yields.restart_cost = Micros::from_secs(30);
        let runs = Micros::from_secs(random.below(3600) + 1);
        if random.below(8) == 0 {
            ask.when.time_limit = Some(Micros(runs.0 / 2 + 1));
        }
        let mut job = WorkJob::new(Micros::from_secs(arrives), ask, runs);
        job.uses = Permille(u32::try_from(random.below(1000) + 1).unwrap());
        job
    };
    let jobs = (0..jobs).map(&mut job).collect();
    Workload { name: "random".into(), jobs, notes: vec![] }
}

fn faults(seconds: u64) -> Faults {
    let every = Some(Micros::from_secs(seconds));
    Faults {
        crash_every: every,
        crash_lasts: Micros::from_secs(120),
        device_every: every,
        device_lasts: Micros::from_secs(300),
        cut_every: every,
        cut_lasts: Micros::from_secs(400),
    }
}

fn run(seed: u64, jobs: u64, faults: Faults) -> Records {
    let mut setup = Setup::new(pool::preset("3x4").unwrap(), Policy::default());
    (setup.seed, setup.faults) = (seed, faults);
    let mut world = World::new(setup).unwrap();
    world.load(workload(seed, jobs));
    world.finish(None).unwrap_or_else(|error| panic!("{error}"))
}

/// Compute held of one device at no moment passes the whole of it.
fn nothing_is_given_twice(records: &Records) {
    let mut changes: BTreeMap<usize, Vec<(u64, i64)>> = BTreeMap::new();
    for lease in &records.leases {
        for device in &lease.devices {
            let compute = i64::from(lease.compute.0);
            let of = changes.entry(*device).or_default();
            of.push((lease.granted.0, compute));
            // An end at the moment of a grant comes first: the engine granted what had ended.
            of.extend(lease.ended.map(|ended| (ended.0, -compute)));
        }
    }
    for (device, mut of) in changes {
        of.sort_unstable();
        let mut held = 0;
        for (at, change) in of {
            held += change;
            assert!(held <= 1000, "device {device} holds {held} at {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn a_run_keeps_every_promise_and_repeats_itself(seed: u64, every in 2_000u64..20_000) {
        let records = run(seed, 40, faults(every));
        prop_assert_eq!(&records, &run(seed, 40, faults(every)));
        nothing_is_given_twice(&records);
        for job in &records.jobs {
            prop_assert!(job.ended.is_some(), "job {} is {}", job.row, job.state);
        }
        let mean = records.series.mean();
        prop_assert!(mean.held <= mean.devices.max(12.0) && mean.busy <= 12.0 + 1e-6);
    }
}

/// What a fault ends is submitted again; what ends by itself is not, however it ends.
#[test]
fn only_what_a_fault_ended_comes_again() {
    let mut jobs = workload(3, 80);
    for (at, job) in jobs.jobs.iter_mut().enumerate() {
        job.ask.yields.retries = 0;
        job.ask.when.time_limit = None;
        if at % 3 == 0 {
            job.outcome = Outcome::Failed { code: 1 };
        }
    }
    let mut setup = Setup::new(pool::preset("3x4").unwrap(), Policy::default());
    (setup.seed, setup.faults, setup.submits_again) = (3, faults(30_000), 100);
    let mut world = World::new(setup).unwrap();
    world.load(jobs);
    let records = world.finish(None).unwrap();
    assert_eq!(records.jobs.len(), 80);
    let again = records.jobs.iter().filter(|job| job.runs > 1).count();
    assert!(again > 5, "only {again} jobs met a fault");
    for job in &records.jobs {
        let expected = if job.row % 3 == 1 { "failed (1)" } else { "succeeded" };
        let refused = job.state.starts_with("refused: ");
        assert!(refused || job.state == expected, "job {} is {}", job.row, job.state);
    }
    let of = |job| records.jobs.iter().find(|record| record.job == Some(job));
    let fail = records.leases.iter().filter(|lease| lease.state == "failed (1)");
    let mut fails: BTreeMap<_, u32> = BTreeMap::new();
    fail.for_each(|lease| *fails.entry(lease.job).or_default() += 1);
    for (job, number) in fails {
        let tasks = of(job).unwrap().tasks;
        assert!(number <= tasks, "job {job} failed {number} times");
    }
}

#[test]
fn without_faults_every_job_does_its_work() {
    let records = run(7, 300, Faults::default());
    assert_eq!(records.jobs.len(), 300);
    for job in &records.jobs {
        let fine = ["succeeded", "timed out"].contains(&job.state.as_str());
        assert!(fine || job.state.starts_with("refused: "), "job {} is {}", job.row, job.state);
        assert_eq!(job.lost.0 > 0, job.state == "timed out", "job {} {:?}", job.row, job.lost);
        if job.state == "succeeded" {
            let took = job.ended.unwrap().since(job.started.unwrap());
            assert!(took.0 + 1 >= job.alone.0, "job {} took {took} of {}", job.row, job.alone);
        }
    }
    let mean = records.series.mean();
    assert!(mean.devices > 11.999 && mean.held > 6.0 && mean.busy > 1.0, "{mean:?}");
}
